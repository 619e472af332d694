"""Aeroplanes: nose towards +z, about one unit long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import TAU, ellipsoid, foil, loft, mirrored, rod, spin
from clipzoo.data.shapes.primitives import box, join, move, rotate


def _fuselage(
    length: float,
    radius: float,
    nose: float,
    tail: float,
    upsweep: float,
    aspect: float = 1.0,
    sharp: float = 0.5,
) -> np.ndarray:
    """Rings from tail to nose; `sharp` is the exponent of the nose: 0.5 an ellipse, 1 a cone."""
    s = np.array([0.0, 0.35, 0.65, 0.85, 0.96, 1.0])
    rear = np.array([0.0, 0.3, 0.65, 1.0])
    z = np.concatenate([(-0.5 + tail * rear) * length, (0.5 - nose + nose * s) * length])
    r = np.concatenate([radius * (0.12 + 0.88 * np.sin(rear * np.pi / 2)), radius * (1 - s**2 * 0.995) ** sharp])
    y = np.concatenate([upsweep * radius * (1 - rear) ** 1.2, -0.25 * radius * s**2])
    angle = np.arange(12) / 12 * TAU
    rings = np.empty((len(z), 12, 3), np.float32)
    rings[..., 0] = r[:, None] * np.cos(angle)
    rings[..., 1] = y[:, None] + r[:, None] * np.sin(angle) * aspect
    rings[..., 2] = z[:, None]
    return loft(rings)


def _pod(length: float, radius: float, front: Sequence) -> np.ndarray:
    """A jet engine with an open intake; `front` is the centre of its intake."""
    profile = [
        (0, -0.25),
        (0.75, -0.2),
        (0.85, 0),
        (1, -0.12),
        (1, -0.5),
        (0.62, -0.9),
        (0.4, -0.9),
        (0.05, -1.1),
    ]
    return spin([(r * radius, z * length) for r, z in profile], "z", front, 10)


def _propeller(rng: Generator, radius: float, centre: tuple[float, float, float]) -> np.ndarray:
    blades = integer(rng, 2, 4)
    blade = box((radius * 0.13, radius, radius * 0.05), (0, radius / 2, 0))
    start = rng.random() * TAU
    parts = [rotate(blade, "z", start + k * TAU / blades) for k in range(blades)]
    hub = spin([(radius * 0.16, -radius * 0.2), (radius * 0.14, radius * 0.1), (0, radius * 0.3)], "z", (0, 0, 0), 8)
    return move(join(*parts, hub), centre)


def _gear(x: float, top: float, bottom: float, z: float, radius: float) -> np.ndarray:
    return join(
        rod((x, top, z), (x, bottom + radius, z), radius * 0.25, 5),
        spin(
            [(0, -radius * 0.3), (radius, -radius * 0.3), (radius, radius * 0.3), (0, radius * 0.3)],
            "x",
            (x, bottom + radius, z),
            8,
        ),
    )


def _tail(rng: Generator, z: float, y: float, span: float, fin: float, sweep: float, style: str) -> np.ndarray:
    """Tailplane and fin with their roots' leading edges at z; `style` is low, high (a T) or cross."""
    chord = uniform(rng, 0.1, 0.15)
    level = {"low": y, "cross": y + fin * 0.45, "high": y + fin * 0.97}[style]
    back = sweep * (1.0 if style == "high" else 0.0) * fin
    root = z - (back if style == "high" else 0.0)
    plane = foil(
        [(0, level, root), (span, level + span * uniform(rng, 0, 0.12), root - span * sweep)],
        [chord, chord * uniform(rng, 0.4, 0.7)],
        0.1,
    )
    upright = foil(
        [(0, y * 0.5, z + 0.04), (0, y + fin, z - fin * sweep * 1.1)],
        [chord * 1.5, chord * uniform(rng, 0.6, 0.9)],
        0.09,
        "x",
    )
    return join(mirrored(plane), upright)


def _airliner(rng: Generator) -> np.ndarray:
    radius = uniform(rng, 0.042, 0.068)
    half = uniform(rng, 0.4, 0.54)
    sweep = uniform(rng, 0.35, 0.62)
    chord = uniform(rng, 0.15, 0.22)
    z = uniform(rng, 0.08, 0.18)
    y = -radius * uniform(rng, 0.3, 0.75)
    rise = uniform(rng, 0.05, 0.14)
    kink = uniform(rng, 0.3, 0.42)
    tip = chord * uniform(rng, 0.2, 0.35)
    wing = [
        (0, y, z),
        (half * kink, y + rise * half * kink, z - sweep * half * kink),
        (half, y + rise * half, z - sweep * half),
    ]
    chords = [chord, chord * uniform(rng, 0.52, 0.65), tip]
    parts = [
        _fuselage(
            1.0,
            radius,
            uniform(rng, 0.09, 0.16),
            uniform(rng, 0.25, 0.36),
            uniform(rng, 0.3, 0.7),
            uniform(rng, 0.95, 1.15),
        ),
        mirrored(foil(wing, chords, 0.11)),
    ]
    if chance(rng, 0.45):
        x, top, at = wing[-1]
        high = uniform(rng, 0.03, 0.06)
        parts.append(mirrored(foil([(x, top, at), (x + high * 0.4, top + high, at - high)], [tip, tip * 0.4], 0.08)))
    rear = chance(rng, 0.28)
    size = radius * uniform(rng, 0.45, 0.68)
    if rear:
        at = -0.5 + uniform(rng, 0.22, 0.3)
        out = radius * 1.15 + size
        parts.append(
            mirrored(
                join(
                    _pod(size * uniform(rng, 4, 5.5), size, (out, radius * 0.35, at + 0.06)),
                    box((out, size * 0.25, size * 1.8), (out / 2, radius * 0.35, at - 0.03)),
                )
            )
        )
        if chance(rng, 0.2):
            parts.append(_pod(size * 5, size, (0, radius * 1.5, at)))
    else:
        for spot in [0.3, 0.6] if chance(rng, 0.3) else [uniform(rng, 0.28, 0.38)]:
            x = half * spot
            ahead = z - sweep * x + size * uniform(rng, 1.0, 2.6)
            below = y + rise * x - size * uniform(rng, 0.9, 1.5)
            pylon = box((size * 0.3, size * 1.4, size * 2.5), (x, below + size * 0.9, ahead - size * 2.4))
            parts.append(mirrored(join(_pod(size * uniform(rng, 3.2, 4.5), size, (x, below, ahead)), pylon)))
    style = "high" if rear else ("low" if chance(rng, 0.88) else "cross")
    parts.append(
        _tail(rng, -0.36, radius * 0.5, uniform(rng, 0.14, 0.2), uniform(rng, 0.13, 0.2), uniform(rng, 0.5, 0.8), style)
    )
    if chance(rng, 0.5):
        low = -radius * uniform(rng, 1.7, 2.4)
        parts.append(mirrored(_gear(radius * uniform(rng, 0.9, 1.6), y, low, -0.03, radius * 0.3)))
        parts.append(_gear(0, -radius * 0.5, low, 0.36, radius * 0.22))
    return join(*parts)


def _turboprop(rng: Generator) -> np.ndarray:
    radius = uniform(rng, 0.045, 0.075)
    half = uniform(rng, 0.42, 0.6)
    chord = uniform(rng, 0.11, 0.17)
    high = chance(rng, 0.65)
    y = radius * 0.95 if high else -radius * 0.6
    z = uniform(rng, 0.06, 0.14)
    rise = uniform(rng, -0.02, 0.03) if high else uniform(rng, 0.05, 0.1)
    back = uniform(rng, 0.0, 0.1) * half
    parts = [
        _fuselage(1.0, radius, uniform(rng, 0.12, 0.2), uniform(rng, 0.3, 0.42), uniform(rng, 0.4, 0.9)),
        mirrored(foil([(0, y, z), (half, y + rise * half, z - back)], [chord, chord * uniform(rng, 0.45, 0.9)], 0.13)),
    ]
    size = radius * uniform(rng, 0.35, 0.5)
    for spot in [0.27, 0.52] if chance(rng, 0.25) else [uniform(rng, 0.26, 0.36)]:
        x = half * spot
        at = (x, y + rise * x - size * 0.3, z + size * uniform(rng, 2, 4))
        body = spin([(size * 0.5, 0), (size, -size), (size, -size * 5), (size * 0.2, -size * 9)], "z", at, 10)
        parts.append(mirrored(join(body, _propeller(rng, uniform(rng, 0.07, 0.11), at))))
    style = str(pick(rng, (("high", 0.5), ("low", 0.4), ("cross", 0.1))))
    parts.append(
        _tail(
            rng, -0.36, radius * 0.6, uniform(rng, 0.15, 0.22), uniform(rng, 0.13, 0.19), uniform(rng, 0.1, 0.5), style
        )
    )
    if chance(rng, 0.6):
        low = -radius * uniform(rng, 1.5, 2.2)
        parts.append(mirrored(_gear(radius * uniform(rng, 0.9, 2.5), min(y, 0), low, -0.02, radius * 0.3)))
        parts.append(_gear(0, -radius * 0.5, low, 0.36, radius * 0.25))
    return join(*parts)


def _fighter(rng: Generator) -> np.ndarray:
    radius = uniform(rng, 0.04, 0.06)
    half = uniform(rng, 0.26, 0.4)
    delta = chance(rng, 0.45)
    chord = uniform(rng, 0.4, 0.55) if delta else uniform(rng, 0.24, 0.34)
    z = uniform(rng, 0.02, 0.14)
    sweep = (chord * uniform(rng, 0.7, 0.95) if delta else chord * uniform(rng, 0.4, 0.8)) / half
    y = uniform(rng, -0.5, 0.6) * radius
    wing = [(0, y, z), (half, y + half * uniform(rng, -0.08, 0.06), z - sweep * half)]
    parts = [
        _fuselage(
            1.0,
            radius,
            uniform(rng, 0.3, 0.42),
            uniform(rng, 0.1, 0.2),
            0.0,
            uniform(rng, 0.8, 1.2),
            uniform(rng, 0.7, 1.0),
        ),
        mirrored(foil(wing, [chord, chord * uniform(rng, 0.08, 0.3)], 0.035)),
        ellipsoid((radius * 0.6, radius * 0.9, uniform(rng, 0.08, 0.13)), (0, radius * 0.8, uniform(rng, 0.18, 0.26))),
    ]
    if chance(rng, 0.7):
        wide = radius * uniform(rng, 0.7, 1.1)
        parts.append(
            mirrored(box((wide, radius * 1.5, uniform(rng, 0.4, 0.55)), (radius + wide * 0.4, -radius * 0.1, -0.15)))
        )
    fin = uniform(rng, 0.12, 0.19)
    lean = uniform(rng, 0.0, 0.4) * fin
    twin = chance(rng, 0.5)
    x = radius * uniform(rng, 1.0, 1.8) if twin else 0.0
    upright = foil(
        [(x, radius * 0.4, -0.25), (x + (lean if twin else 0), radius * 0.4 + fin, -0.25 - fin * 0.9)],
        [uniform(rng, 0.16, 0.22), uniform(rng, 0.06, 0.1)],
        0.04,
        "x",
    )
    parts.append(mirrored(upright) if twin else upright)
    if not delta or chance(rng, 0.3):
        span = half * uniform(rng, 0.45, 0.65)
        at = uniform(rng, 0.2, 0.26) if delta else -0.32
        span = span * (0.7 if delta else 1.0)
        parts.append(mirrored(foil([(0, 0, at), (radius + span, 0, at - span * 0.7)], [0.16, 0.06], 0.04)))
    nozzle = radius * 0.7
    for x in (-nozzle, nozzle) if twin else (0.0,):
        parts.append(spin([(nozzle, 0.05), (nozzle * 0.8, -0.06), (nozzle * 0.6, -0.02)], "z", (x, 0, -0.5), 8))
    if chance(rng, 0.5):
        for spot in [0.55, 0.8, 1.0] if chance(rng, 0.4) else [uniform(rng, 0.4, 1.0)]:
            x = half * spot
            body = uniform(rng, 0.009, 0.02)
            at = (x, y - (0.035 if spot < 1 else 0), z - sweep * x + 0.06)
            parts.append(mirrored(spin([(0, 0), (body, -0.04), (body, -0.2), (body * 0.5, -0.24)], "z", at, 6)))
    if chance(rng, 0.35):
        parts.append(mirrored(_gear(radius * 1.6, 0, -radius * 2.4, -0.1, radius * 0.4)))
        parts.append(_gear(0, 0, -radius * 2.4, 0.22, radius * 0.3))
    return join(*parts)


def _light_plane(rng: Generator, biplane: bool = False) -> np.ndarray:
    radius = uniform(rng, 0.055, 0.085)
    half = uniform(rng, 0.5, 0.7) * (0.85 if biplane else 1.0)
    chord = uniform(rng, 0.17, 0.25)
    z = uniform(rng, 0.2, 0.3)
    high = biplane or chance(rng, 0.45)
    y = radius * (uniform(rng, 1.6, 2.2) if biplane else 1.15) if high else -radius * 0.6
    rise = uniform(rng, 0, 0.03) if high else uniform(rng, 0.05, 0.11)
    tip = chord * uniform(rng, 0.45, 1.0)
    back = (chord - tip) * uniform(rng, 0.1, 0.6)
    round_tip = [
        (0, y, z),
        (half * 0.85, y + rise * half * 0.85, z - back),
        (half, y + rise * half, z - back - tip * 0.25),
    ]
    chords = [chord, tip, tip * uniform(rng, 0.35, 0.9)]
    parts = [
        _fuselage(
            1.0,
            radius,
            uniform(rng, 0.08, 0.2),
            uniform(rng, 0.45, 0.6),
            uniform(rng, 0.2, 0.6),
            uniform(rng, 1.0, 1.35),
            0.35,
        ),
        mirrored(foil(round_tip, chords, 0.1)),
        _propeller(rng, uniform(rng, 0.1, 0.16), (0, -0.01, 0.52)),
    ]
    if biplane:
        low = -radius * 0.9
        parts.append(mirrored(foil([(0, low, z - 0.03), (half, low, z - 0.03)], [chord, tip], 0.1)))
        for x in (half * 0.3, half * 0.8):
            for at in (z - chord * 0.15, z - chord * 0.7):
                parts.append(mirrored(rod((x, low, at - 0.03), (x, y, at), 0.007, 4)))
    elif high and chance(rng, 0.6):
        parts.append(mirrored(rod((radius * 0.8, -radius, z - 0.08), (half * 0.55, y, z - 0.08), 0.008, 4)))
    if not high:
        parts.append(ellipsoid((radius * 0.7, radius * 0.8, uniform(rng, 0.1, 0.17)), (0, radius * 0.9, 0.05)))
    parts.append(
        _tail(
            rng,
            -0.37,
            radius * 0.35,
            uniform(rng, 0.17, 0.24),
            uniform(rng, 0.13, 0.19),
            uniform(rng, 0.1, 0.45),
            "low",
        )
    )
    if chance(rng, 0.75):
        low = -radius * uniform(rng, 2.0, 2.8)
        spread = radius * uniform(rng, 1.2, 2.6)
        parts.append(mirrored(_gear(spread, -radius * 0.5, low, z - 0.03, radius * uniform(rng, 0.4, 0.6))))
        end = -0.42 if chance(rng, 0.5) else 0.36
        parts.append(_gear(0, 0, low * (0.8 if end < 0 else 1.0), end, radius * 0.25))
    return join(*parts)


def _biplane(rng: Generator) -> np.ndarray:
    return _light_plane(rng, biplane=True)


def _flying_wing(rng: Generator) -> np.ndarray:
    half = uniform(rng, 0.5, 0.85)
    sweep = uniform(rng, 0.55, 0.9)
    chord = uniform(rng, 0.45, 0.65)
    wing = foil(
        [(0, 0, 0.3), (half * 0.3, 0, 0.3 - sweep * half * 0.3), (half, 0.01, 0.3 - sweep * half)],
        [chord, chord * 0.5, 0.09],
        0.09,
    )
    hump = ellipsoid((0.09, 0.06, 0.25), (0, 0.02, 0.05))
    pods = mirrored(ellipsoid((0.05, 0.04, 0.14), (0.17, 0.02, 0.0)))
    return join(mirrored(wing), hump, pods)


def _glider(rng: Generator) -> np.ndarray:
    radius = uniform(rng, 0.035, 0.05)
    half = uniform(rng, 0.75, 1.1)
    wing = [(0, radius * 0.6, 0.15), (half * 0.6, radius * 0.6 + 0.02, 0.15), (half, radius + 0.05, 0.12)]
    return join(
        _fuselage(1.0, radius, 0.22, 0.6, 0.5, 1.2),
        mirrored(foil(wing, [0.11, 0.08, 0.04], 0.12)),
        _tail(rng, -0.4, radius * 0.5, uniform(rng, 0.12, 0.18), uniform(rng, 0.12, 0.16), 0.2, "high"),
    )


def airplane(rng: Generator) -> np.ndarray:
    """Triangles of an aircraft: airliner, turboprop, fighter, light plane, biplane, flying wing, glider.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the nose along +z or -z, sometimes along x, as in ModelNet40.

    Example:
        >>> airplane(np.random.default_rng(0)).shape[1:]
        (3, 3)
    """
    make = pick(
        rng,
        (
            (_airliner, 0.5),
            (_turboprop, 0.12),
            (_fighter, 0.19),
            (_light_plane, 0.12),
            (_biplane, 0.03),
            (_flying_wing, 0.02),
            (_glider, 0.02),
        ),
    )
    plane = make(rng)
    return rotate(plane, "y", pick(rng, ((0.0, 0.25), (np.pi, 0.65), (np.pi / 2, 0.05), (-np.pi / 2, 0.05))))
