"""Procedural objects of the ModelNet40 categories that are not furniture.

Every generator takes a `numpy.random.Generator` and returns triangles, float32 ``[T, 3, 3]``, y up. The front
faces +z unless the docstring says otherwise, and the scale is free: the caller normalises. All draws come
from the generator, so a seed names one shape.

Example:
    >>> from clipzoo.data.shapes.objects import GENERATORS
    >>> GENERATORS["vase"](np.random.default_rng(0)).shape[1:]
    (3, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from clipzoo.data.shapes import primitives
from clipzoo.data.shapes.primitives import (
    box,
    cylinder,
    join,
    move,
    revolve,
    rotate,
    rounded_box,
    sheet,
    tube,
)

Generator = np.random.Generator
Maker = Callable[[Generator], np.ndarray]
TAU = 2.0 * np.pi


# --------------------------------------------------------------------------------------------------
# Draws and building blocks
# --------------------------------------------------------------------------------------------------


def _u(rng: Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _n(rng: Generator, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _chance(rng: Generator, probability: float) -> bool:
    return rng.random() < probability


def _pick(rng: Generator, weighted: Sequence[tuple]) -> object:
    """One of (item, weight) pairs; `Generator.choice` takes twenty times as long for so few."""
    left = rng.random() * sum(weight for _, weight in weighted)
    for item, weight in weighted:
        left -= weight
        if left < 0:
            return item
    return weighted[-1][0]


@lru_cache(maxsize=256)
def _loft_index(rings: int, points: int, closed: bool) -> np.ndarray:
    row = np.arange(rings - 1)[:, None] * points
    col = np.arange(points if closed else points - 1)[None]
    following = (col + 1) % points
    a, b = row + col, row + following
    c, d = a + points, b + points
    return np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


def _loft(rings: np.ndarray, caps: bool = True, closed: bool = True) -> np.ndarray:
    """Skin over rings ``[m, n, 3]``; caps fan from the ring centre, so rings should be star-shaped."""
    rings = np.asarray(rings, np.float32)
    skin = rings.reshape(-1, 3)[_loft_index(*rings.shape[:2], closed)]
    if not caps:
        return skin
    ends = rings[[0, -1]]
    middle = np.broadcast_to(ends.mean(1, keepdims=True), ends.shape)
    return np.concatenate([skin, np.stack([middle, ends, np.roll(ends, -1, 1)], 2).reshape(-1, 3, 3)])


@lru_cache(maxsize=8)
def _ball(segments: int) -> np.ndarray:
    return primitives.ellipsoid((1.0, 1.0, 1.0), segments=segments)


def _ellipsoid(radii: Sequence, centre: Sequence, segments: int = 14) -> np.ndarray:
    return _ball(segments) * np.asarray(radii, np.float32) + np.asarray(centre, np.float32)


_AXES = {"x": [1, 0, 2], "y": [0, 1, 2], "z": [0, 2, 1]}


def _spin(profile: Sequence, axis: str = "y", centre: Sequence = (0, 0, 0), segments: int = 14) -> np.ndarray:
    """Surface of revolution of (radius, distance along the axis) about any axis."""
    return revolve(np.asarray(profile, np.float32), segments)[..., _AXES[axis]] + np.asarray(centre, np.float32)


def _rod(start: Sequence, end: Sequence, radius: float, segments: int = 6) -> np.ndarray:
    return tube(np.asarray([start, end], np.float32), radius, segments)


def _both(triangles: np.ndarray) -> np.ndarray:
    """The part and its mirror image at -x."""
    return np.concatenate([triangles, triangles * np.float32([-1, 1, 1])])


def _curve(points: Sequence, count: int = 20) -> np.ndarray:
    """Catmull-Rom curve through points ``[k, d]``, evaluated at `count` places."""
    points = np.asarray(points, np.float32)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    place = np.linspace(0, len(points) - 1, count)
    start = np.minimum(place.astype(int), len(points) - 2)
    t = (place - start)[:, None]
    a, b, c, d = (padded[start + k] for k in range(4))
    value = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    return (0.5 * value).astype(np.float32)


def _outline(rng: Generator, kind: str, count: int = 24) -> np.ndarray:
    """Unit cross-section ``[count, 2]`` in xz: round, oval, square, polygon, fluted, lobed or wavy."""
    angle = np.arange(count) / count * TAU
    radius = np.ones(count)
    if kind == "square":
        power = _u(rng, 4, 12)
        angle = angle + TAU / 8
        radius = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    elif kind == "polygon":
        sides = _n(rng, 3, 8)
        wedge = (angle % (TAU / sides)) - np.pi / sides
        radius = np.cos(np.pi / sides) / np.cos(wedge)
    elif kind == "fluted":
        radius = 1 + _u(rng, 0.03, 0.08) * np.sign(np.sin(angle * _n(rng, 6, 8)))
    elif kind == "lobed":
        radius = 1 + _u(rng, 0.1, 0.35) * np.cos(angle * _n(rng, 3, 6))
    outline = np.stack([np.cos(angle) * radius, np.sin(angle) * radius], 1)
    if kind == "oval":
        outline[:, 1] *= _u(rng, 0.35, 0.8)
    return outline


def _turned(profile: Sequence, outline: np.ndarray | None = None, twist: float = 0.0) -> np.ndarray:
    """Profile of (radius, height) carried round an outline; a round one if none is given."""
    profile = np.asarray(profile, np.float32)
    if outline is None and not twist:
        return revolve(profile, 20)
    radius, height = profile[:, 0], profile[:, 1]
    flat = np.broadcast_to(outline, (len(profile), *outline.shape))
    if twist:
        angle = twist * (height - height.min()) / max(np.ptp(height), 1e-6)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        flat = np.stack([flat[..., 0] * c - flat[..., 1] * s, flat[..., 0] * s + flat[..., 1] * c], -1)
    rings = np.empty((len(profile), len(outline), 3), np.float32)
    rings[..., 0] = flat[..., 0] * radius[:, None]
    rings[..., 1] = height[:, None]
    rings[..., 2] = flat[..., 1] * radius[:, None]
    return _loft(rings, caps=False)


def _shell(outer: np.ndarray, wall: float, floor: float) -> np.ndarray:
    """Profile of a vessel: up the outside, over the lip, down the inside to the floor."""
    outer = np.asarray(outer, np.float32)
    inside = outer[outer[:, 1] > floor][::-1].copy()
    inside[:, 0] = np.maximum(inside[:, 0] - wall, 0.05 * wall)
    bottom = np.float32([[inside[-1, 0], floor], [0.0, floor]])
    return np.concatenate([np.float32([[0.0, outer[0, 1]]]), outer, inside, bottom])


def _slices(
    y: Sequence, left: Sequence, right: Sequence, front: Sequence | float, back: Sequence | float
) -> np.ndarray:
    """A body of rectangular slices stacked along y: x from left to right, z from back to front."""
    y, left, right = np.broadcast_arrays(np.asarray(y, np.float32), left, right)
    front, back = np.broadcast_to(front, y.shape), np.broadcast_to(back, y.shape)
    rings = np.stack(
        [
            np.stack([left, y, back], -1),
            np.stack([right, y, back], -1),
            np.stack([right, y, front], -1),
            np.stack([left, y, front], -1),
        ],
        1,
    )
    return _loft(rings)


def _foil(leading: Sequence, chords: Sequence, ratio: float, normal: str = "y") -> np.ndarray:
    """A wing or fin: sections at leading-edge points ``[k, 3]``, chord to -z, thickness along `normal`."""
    leading, chords = np.asarray(leading, np.float32), np.asarray(chords, np.float32)[:, None]
    rings = np.repeat(leading[:, None], 6, 1)
    rings[..., 2] -= chords * np.float32([0, 0.25, 0.65, 1, 0.65, 0.25])
    rings[..., 0 if normal == "x" else 1] += chords * ratio * np.float32([0, 0.5, 0.35, 0, -0.35, -0.5])
    return _loft(rings)


def _blades(
    rng: Generator,
    root: np.ndarray,
    yaw: np.ndarray,
    length: np.ndarray,
    rise: np.ndarray,
    bend: float,
    width: float,
    tip: float = 0.0,
    steps: int = 5,
) -> np.ndarray:
    """Arching leaves: from root ``[n, 3]`` at elevation `rise`, bent down by `bend` rad over the length."""
    count = len(yaw)
    t = np.linspace(0, 1, steps + 1)
    slope = rise[:, None] - bend * t[None] * (0.7 + 0.6 * rng.random((count, 1)))
    step = length[:, None] / steps
    out = np.concatenate([np.zeros((count, 1)), np.cumsum(np.cos(slope[:, :-1]) * step, 1)], 1)
    up = np.concatenate([np.zeros((count, 1)), np.cumsum(np.sin(slope[:, :-1]) * step, 1)], 1)
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    spine = np.stack([out * c, up, out * s], -1) + root[:, None]
    half = 0.5 * width * (np.sin(np.pi * np.clip(t * 0.85 + 0.15, 0, 1)) ** 0.7 * (1 - tip) + tip)
    side = np.stack([-s, np.zeros_like(s), c], -1) * half[None, :, None]
    rings = np.stack([spine - side, spine + side], 2).astype(np.float32)
    index = _loft_index(steps + 1, 2, False)
    return rings.reshape(count, -1, 3)[:, index].reshape(-1, 3, 3)


def _leaves(rng: Generator, centre: np.ndarray, length: float, width: float) -> np.ndarray:
    """Small diamond leaves of any direction about the centres ``[n, 3]``."""
    along = rng.normal(size=centre.shape)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, rng.normal(size=centre.shape))
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    along, across = along * length / 2, across * width / 2
    a, b, c, d = centre - along, centre + across, centre + along, centre - across
    return np.stack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)], 1).reshape(-1, 3, 3).astype(np.float32)


def _cloud(rng: Generator, count: int, radii: Sequence, centre: Sequence, hollow: float = 0.5) -> np.ndarray:
    """Points ``[count, 3]`` in the outer part of an ellipsoid."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (hollow + (1 - hollow) * rng.random((count, 1))) * np.asarray(radii) + np.asarray(centre)


def _wheel(radius: float, width: float, centre: Sequence) -> np.ndarray:
    half = width / 2
    profile = [
        (0, -half * 0.6),
        (radius * 0.6, -half * 0.7),
        (radius * 0.65, -half),
        (radius * 0.95, -half),
        (radius, -half * 0.7),
        (radius, half * 0.7),
        (radius * 0.95, half),
        (radius * 0.65, half),
        (radius * 0.6, half * 0.7),
        (0, half * 0.6),
    ]
    return _spin(profile, "x", centre)


# --------------------------------------------------------------------------------------------------
# Aeroplanes: nose towards +z, about one unit long
# --------------------------------------------------------------------------------------------------


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
    return _loft(rings)


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
    return _spin([(r * radius, z * length) for r, z in profile], "z", front, 10)


def _propeller(rng: Generator, radius: float, centre: Sequence) -> np.ndarray:
    blades = _n(rng, 2, 4)
    blade = box((radius * 0.13, radius, radius * 0.05), (0, radius / 2, 0))
    start = rng.random() * TAU
    parts = [rotate(blade, "z", start + k * TAU / blades) for k in range(blades)]
    hub = _spin([(radius * 0.16, -radius * 0.2), (radius * 0.14, radius * 0.1), (0, radius * 0.3)], "z", (0, 0, 0), 8)
    return move(join(*parts, hub), centre)


def _gear(x: float, top: float, bottom: float, z: float, radius: float) -> np.ndarray:
    return join(
        _rod((x, top, z), (x, bottom + radius, z), radius * 0.25, 5),
        _spin(
            [(0, -radius * 0.3), (radius, -radius * 0.3), (radius, radius * 0.3), (0, radius * 0.3)],
            "x",
            (x, bottom + radius, z),
            8,
        ),
    )


def _tail(rng: Generator, z: float, y: float, span: float, fin: float, sweep: float, style: str) -> np.ndarray:
    """Tailplane and fin with their roots' leading edges at z; `style` is low, high (a T) or cross."""
    chord = _u(rng, 0.1, 0.15)
    level = {"low": y, "cross": y + fin * 0.45, "high": y + fin * 0.97}[style]
    back = sweep * (1.0 if style == "high" else 0.0) * fin
    root = z - (back if style == "high" else 0.0)
    plane = _foil(
        [(0, level, root), (span, level + span * _u(rng, 0, 0.12), root - span * sweep)],
        [chord, chord * _u(rng, 0.4, 0.7)],
        0.1,
    )
    upright = _foil(
        [(0, y * 0.5, z + 0.04), (0, y + fin, z - fin * sweep * 1.1)],
        [chord * 1.5, chord * _u(rng, 0.6, 0.9)],
        0.09,
        "x",
    )
    return join(_both(plane), upright)


def _airliner(rng: Generator) -> np.ndarray:
    radius = _u(rng, 0.042, 0.068)
    half = _u(rng, 0.4, 0.54)
    sweep = _u(rng, 0.35, 0.62)
    chord = _u(rng, 0.15, 0.22)
    z = _u(rng, 0.08, 0.18)
    y = -radius * _u(rng, 0.3, 0.75)
    rise = _u(rng, 0.05, 0.14)
    kink = _u(rng, 0.3, 0.42)
    tip = chord * _u(rng, 0.2, 0.35)
    wing = [
        (0, y, z),
        (half * kink, y + rise * half * kink, z - sweep * half * kink),
        (half, y + rise * half, z - sweep * half),
    ]
    chords = [chord, chord * _u(rng, 0.52, 0.65), tip]
    parts = [
        _fuselage(1.0, radius, _u(rng, 0.09, 0.16), _u(rng, 0.25, 0.36), _u(rng, 0.3, 0.7), _u(rng, 0.95, 1.15)),
        _both(_foil(wing, chords, 0.11)),
    ]
    if _chance(rng, 0.45):
        x, top, at = wing[-1]
        high = _u(rng, 0.03, 0.06)
        parts.append(_both(_foil([(x, top, at), (x + high * 0.4, top + high, at - high)], [tip, tip * 0.4], 0.08)))
    rear = _chance(rng, 0.28)
    size = radius * _u(rng, 0.45, 0.68)
    if rear:
        at = -0.5 + _u(rng, 0.22, 0.3)
        out = radius * 1.15 + size
        parts.append(
            _both(
                join(
                    _pod(size * _u(rng, 4, 5.5), size, (out, radius * 0.35, at + 0.06)),
                    box((out, size * 0.25, size * 1.8), (out / 2, radius * 0.35, at - 0.03)),
                )
            )
        )
        if _chance(rng, 0.2):
            parts.append(_pod(size * 5, size, (0, radius * 1.5, at)))
    else:
        for spot in [0.3, 0.6] if _chance(rng, 0.3) else [_u(rng, 0.28, 0.38)]:
            x = half * spot
            ahead = z - sweep * x + size * _u(rng, 1.0, 2.6)
            below = y + rise * x - size * _u(rng, 0.9, 1.5)
            pylon = box((size * 0.3, size * 1.4, size * 2.5), (x, below + size * 0.9, ahead - size * 2.4))
            parts.append(_both(join(_pod(size * _u(rng, 3.2, 4.5), size, (x, below, ahead)), pylon)))
    style = "high" if rear else ("low" if _chance(rng, 0.88) else "cross")
    parts.append(_tail(rng, -0.36, radius * 0.5, _u(rng, 0.14, 0.2), _u(rng, 0.13, 0.2), _u(rng, 0.5, 0.8), style))
    if _chance(rng, 0.5):
        low = -radius * _u(rng, 1.7, 2.4)
        parts.append(_both(_gear(radius * _u(rng, 0.9, 1.6), y, low, -0.03, radius * 0.3)))
        parts.append(_gear(0, -radius * 0.5, low, 0.36, radius * 0.22))
    return join(*parts)


def _turboprop(rng: Generator) -> np.ndarray:
    radius = _u(rng, 0.045, 0.075)
    half = _u(rng, 0.42, 0.6)
    chord = _u(rng, 0.11, 0.17)
    high = _chance(rng, 0.65)
    y = radius * 0.95 if high else -radius * 0.6
    z = _u(rng, 0.06, 0.14)
    rise = _u(rng, -0.02, 0.03) if high else _u(rng, 0.05, 0.1)
    back = _u(rng, 0.0, 0.1) * half
    parts = [
        _fuselage(1.0, radius, _u(rng, 0.12, 0.2), _u(rng, 0.3, 0.42), _u(rng, 0.4, 0.9)),
        _both(_foil([(0, y, z), (half, y + rise * half, z - back)], [chord, chord * _u(rng, 0.45, 0.9)], 0.13)),
    ]
    size = radius * _u(rng, 0.35, 0.5)
    for spot in [0.27, 0.52] if _chance(rng, 0.25) else [_u(rng, 0.26, 0.36)]:
        x = half * spot
        at = (x, y + rise * x - size * 0.3, z + size * _u(rng, 2, 4))
        body = _spin([(size * 0.5, 0), (size, -size), (size, -size * 5), (size * 0.2, -size * 9)], "z", at, 10)
        parts.append(_both(join(body, _propeller(rng, _u(rng, 0.07, 0.11), at))))
    style = str(_pick(rng, (("high", 0.5), ("low", 0.4), ("cross", 0.1))))
    parts.append(_tail(rng, -0.36, radius * 0.6, _u(rng, 0.15, 0.22), _u(rng, 0.13, 0.19), _u(rng, 0.1, 0.5), style))
    if _chance(rng, 0.6):
        low = -radius * _u(rng, 1.5, 2.2)
        parts.append(_both(_gear(radius * _u(rng, 0.9, 2.5), min(y, 0), low, -0.02, radius * 0.3)))
        parts.append(_gear(0, -radius * 0.5, low, 0.36, radius * 0.25))
    return join(*parts)


def _fighter(rng: Generator) -> np.ndarray:
    radius = _u(rng, 0.04, 0.06)
    half = _u(rng, 0.26, 0.4)
    delta = _chance(rng, 0.45)
    chord = _u(rng, 0.4, 0.55) if delta else _u(rng, 0.24, 0.34)
    z = _u(rng, 0.02, 0.14)
    sweep = (chord * _u(rng, 0.7, 0.95) if delta else chord * _u(rng, 0.4, 0.8)) / half
    y = _u(rng, -0.5, 0.6) * radius
    wing = [(0, y, z), (half, y + half * _u(rng, -0.08, 0.06), z - sweep * half)]
    parts = [
        _fuselage(1.0, radius, _u(rng, 0.3, 0.42), _u(rng, 0.1, 0.2), 0.0, _u(rng, 0.8, 1.2), _u(rng, 0.7, 1.0)),
        _both(_foil(wing, [chord, chord * _u(rng, 0.08, 0.3)], 0.035)),
        _ellipsoid((radius * 0.6, radius * 0.9, _u(rng, 0.08, 0.13)), (0, radius * 0.8, _u(rng, 0.18, 0.26))),
    ]
    if _chance(rng, 0.7):
        wide = radius * _u(rng, 0.7, 1.1)
        parts.append(_both(box((wide, radius * 1.5, _u(rng, 0.4, 0.55)), (radius + wide * 0.4, -radius * 0.1, -0.15))))
    fin = _u(rng, 0.12, 0.19)
    lean = _u(rng, 0.0, 0.4) * fin
    twin = _chance(rng, 0.5)
    x = radius * _u(rng, 1.0, 1.8) if twin else 0.0
    upright = _foil(
        [(x, radius * 0.4, -0.25), (x + (lean if twin else 0), radius * 0.4 + fin, -0.25 - fin * 0.9)],
        [_u(rng, 0.16, 0.22), _u(rng, 0.06, 0.1)],
        0.04,
        "x",
    )
    parts.append(_both(upright) if twin else upright)
    if not delta or _chance(rng, 0.3):
        span = half * _u(rng, 0.45, 0.65)
        at = _u(rng, 0.2, 0.26) if delta else -0.32
        span = span * (0.7 if delta else 1.0)
        parts.append(_both(_foil([(0, 0, at), (radius + span, 0, at - span * 0.7)], [0.16, 0.06], 0.04)))
    nozzle = radius * 0.7
    for x in (-nozzle, nozzle) if twin else (0.0,):
        parts.append(_spin([(nozzle, 0.05), (nozzle * 0.8, -0.06), (nozzle * 0.6, -0.02)], "z", (x, 0, -0.5), 8))
    if _chance(rng, 0.5):
        for spot in [0.55, 0.8, 1.0] if _chance(rng, 0.4) else [_u(rng, 0.4, 1.0)]:
            x = half * spot
            body = _u(rng, 0.009, 0.02)
            at = (x, y - (0.035 if spot < 1 else 0), z - sweep * x + 0.06)
            parts.append(_both(_spin([(0, 0), (body, -0.04), (body, -0.2), (body * 0.5, -0.24)], "z", at, 6)))
    if _chance(rng, 0.35):
        parts.append(_both(_gear(radius * 1.6, 0, -radius * 2.4, -0.1, radius * 0.4)))
        parts.append(_gear(0, 0, -radius * 2.4, 0.22, radius * 0.3))
    return join(*parts)


def _light_plane(rng: Generator, biplane: bool = False) -> np.ndarray:
    radius = _u(rng, 0.055, 0.085)
    half = _u(rng, 0.5, 0.7) * (0.85 if biplane else 1.0)
    chord = _u(rng, 0.17, 0.25)
    z = _u(rng, 0.2, 0.3)
    high = biplane or _chance(rng, 0.45)
    y = radius * (_u(rng, 1.6, 2.2) if biplane else 1.15) if high else -radius * 0.6
    rise = _u(rng, 0, 0.03) if high else _u(rng, 0.05, 0.11)
    tip = chord * _u(rng, 0.45, 1.0)
    back = (chord - tip) * _u(rng, 0.1, 0.6)
    round_tip = [
        (0, y, z),
        (half * 0.85, y + rise * half * 0.85, z - back),
        (half, y + rise * half, z - back - tip * 0.25),
    ]
    chords = [chord, tip, tip * _u(rng, 0.35, 0.9)]
    parts = [
        _fuselage(1.0, radius, _u(rng, 0.08, 0.2), _u(rng, 0.45, 0.6), _u(rng, 0.2, 0.6), _u(rng, 1.0, 1.35), 0.35),
        _both(_foil(round_tip, chords, 0.1)),
        _propeller(rng, _u(rng, 0.1, 0.16), (0, -0.01, 0.52)),
    ]
    if biplane:
        low = -radius * 0.9
        parts.append(_both(_foil([(0, low, z - 0.03), (half, low, z - 0.03)], [chord, tip], 0.1)))
        for x in (half * 0.3, half * 0.8):
            for at in (z - chord * 0.15, z - chord * 0.7):
                parts.append(_both(_rod((x, low, at - 0.03), (x, y, at), 0.007, 4)))
    elif high and _chance(rng, 0.6):
        parts.append(_both(_rod((radius * 0.8, -radius, z - 0.08), (half * 0.55, y, z - 0.08), 0.008, 4)))
    if not high:
        parts.append(_ellipsoid((radius * 0.7, radius * 0.8, _u(rng, 0.1, 0.17)), (0, radius * 0.9, 0.05)))
    parts.append(_tail(rng, -0.37, radius * 0.35, _u(rng, 0.17, 0.24), _u(rng, 0.13, 0.19), _u(rng, 0.1, 0.45), "low"))
    if _chance(rng, 0.75):
        low = -radius * _u(rng, 2.0, 2.8)
        spread = radius * _u(rng, 1.2, 2.6)
        parts.append(_both(_gear(spread, -radius * 0.5, low, z - 0.03, radius * _u(rng, 0.4, 0.6))))
        end = -0.42 if _chance(rng, 0.5) else 0.36
        parts.append(_gear(0, 0, low * (0.8 if end < 0 else 1.0), end, radius * 0.25))
    return join(*parts)


def _biplane(rng: Generator) -> np.ndarray:
    return _light_plane(rng, biplane=True)


def _flying_wing(rng: Generator) -> np.ndarray:
    half = _u(rng, 0.5, 0.85)
    sweep = _u(rng, 0.55, 0.9)
    chord = _u(rng, 0.45, 0.65)
    wing = _foil(
        [(0, 0, 0.3), (half * 0.3, 0, 0.3 - sweep * half * 0.3), (half, 0.01, 0.3 - sweep * half)],
        [chord, chord * 0.5, 0.09],
        0.09,
    )
    hump = _ellipsoid((0.09, 0.06, 0.25), (0, 0.02, 0.05))
    pods = _both(_ellipsoid((0.05, 0.04, 0.14), (0.17, 0.02, 0.0)))
    return join(_both(wing), hump, pods)


def _glider(rng: Generator) -> np.ndarray:
    radius = _u(rng, 0.035, 0.05)
    half = _u(rng, 0.75, 1.1)
    wing = [(0, radius * 0.6, 0.15), (half * 0.6, radius * 0.6 + 0.02, 0.15), (half, radius + 0.05, 0.12)]
    return join(
        _fuselage(1.0, radius, 0.22, 0.6, 0.5, 1.2),
        _both(_foil(wing, [0.11, 0.08, 0.04], 0.12)),
        _tail(rng, -0.4, radius * 0.5, _u(rng, 0.12, 0.18), _u(rng, 0.12, 0.16), 0.2, "high"),
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
    make = _pick(
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
    return rotate(plane, "y", _pick(rng, ((0.0, 0.25), (np.pi, 0.65), (np.pi / 2, 0.05), (-np.pi / 2, 0.05))))


# --------------------------------------------------------------------------------------------------
# Cars: front towards +z, metres
# --------------------------------------------------------------------------------------------------

# Roof lines from rear to front: (place along the length, share of the height), and what goes with them.
_CARS = {
    "sedan": (
        [
            (0, 0.36),
            (0.02, 0.64),
            (0.15, 0.68),
            (0.3, 0.97),
            (0.42, 1.0),
            (0.55, 0.98),
            (0.71, 0.66),
            (0.95, 0.52),
            (1.0, 0.3),
        ],
        (4.4, 5.0),
        (1.72, 1.86),
        (1.38, 1.5),
        0.64,
    ),
    "hatchback": (
        [
            (0, 0.36),
            (0.02, 0.66),
            (0.1, 0.92),
            (0.2, 0.99),
            (0.5, 1.0),
            (0.74, 0.64),
            (0.96, 0.52),
            (1.0, 0.28),
        ],
        (3.6, 4.2),
        (1.62, 1.8),
        (1.42, 1.56),
        0.62,
    ),
    "estate": (
        [
            (0, 0.34),
            (0.02, 0.62),
            (0.07, 0.94),
            (0.14, 1.0),
            (0.55, 0.99),
            (0.71, 0.66),
            (0.95, 0.54),
            (1.0, 0.28),
        ],
        (4.4, 4.9),
        (1.72, 1.86),
        (1.42, 1.55),
        0.63,
    ),
    "suv": (
        [
            (0, 0.36),
            (0.015, 0.62),
            (0.05, 0.95),
            (0.1, 1.0),
            (0.55, 1.0),
            (0.69, 0.66),
            (0.96, 0.58),
            (1.0, 0.3),
        ],
        (4.2, 5.0),
        (1.78, 2.0),
        (1.65, 1.95),
        0.62,
    ),
    "jeep": (
        [
            (0, 0.36),
            (0.01, 0.6),
            (0.02, 0.98),
            (0.05, 1.0),
            (0.58, 1.0),
            (0.62, 0.62),
            (0.98, 0.58),
            (1.0, 0.34),
        ],
        (3.6, 4.4),
        (1.6, 1.9),
        (1.75, 1.95),
        0.6,
    ),
    "sports": (
        [
            (0, 0.46),
            (0.02, 0.72),
            (0.14, 0.78),
            (0.34, 0.98),
            (0.44, 1.0),
            (0.52, 0.97),
            (0.68, 0.66),
            (0.94, 0.42),
            (1.0, 0.22),
        ],
        (4.1, 4.7),
        (1.8, 2.0),
        (1.08, 1.3),
        0.66,
    ),
    "coupe": (
        [
            (0, 0.4),
            (0.02, 0.66),
            (0.1, 0.7),
            (0.32, 0.98),
            (0.42, 1.0),
            (0.5, 0.97),
            (0.65, 0.68),
            (0.96, 0.56),
            (1.0, 0.3),
        ],
        (4.4, 5.1),
        (1.75, 1.95),
        (1.28, 1.42),
        0.66,
    ),
    "van": (
        [
            (0, 0.3),
            (0.01, 0.5),
            (0.02, 0.97),
            (0.05, 1.0),
            (0.72, 1.0),
            (0.88, 0.58),
            (0.97, 0.46),
            (1.0, 0.24),
        ],
        (4.5, 5.6),
        (1.8, 2.05),
        (1.8, 2.4),
        0.55,
    ),
    "bus": (
        [(0, 0.2), (0.005, 0.5), (0.01, 0.97), (0.03, 1.0), (0.95, 1.0), (0.98, 0.9), (1.0, 0.4)],
        (7.0, 11.0),
        (2.2, 2.6),
        (2.6, 3.2),
        0.5,
    ),
    "pickup": (
        [
            (0, 0.32),
            (0.005, 0.4),
            (0.35, 0.4),
            (0.355, 0.6),
            (0.37, 0.97),
            (0.42, 1.0),
            (0.58, 1.0),
            (0.7, 0.64),
            (0.97, 0.57),
            (1.0, 0.32),
        ],
        (4.9, 5.7),
        (1.8, 2.05),
        (1.65, 1.95),
        0.6,
    ),
    "roadster": (
        [
            (0, 0.46),
            (0.02, 0.76),
            (0.27, 0.82),
            (0.3, 0.55),
            (0.56, 0.55),
            (0.6, 0.84),
            (0.96, 0.6),
            (1.0, 0.34),
        ],
        (3.9, 4.6),
        (1.7, 1.9),
        (0.95, 1.1),
        0.84,
    ),
    "vintage": (
        [
            (0, 0.3),
            (0.06, 0.6),
            (0.14, 0.9),
            (0.2, 0.99),
            (0.5, 1.0),
            (0.53, 0.96),
            (0.57, 0.6),
            (0.62, 0.58),
            (0.97, 0.54),
            (1.0, 0.34),
        ],
        (3.8, 4.6),
        (1.3, 1.55),
        (1.6, 1.85),
        0.6,
    ),
}
_CAR_WEIGHTS = (
    ("sedan", 0.24),
    ("hatchback", 0.11),
    ("estate", 0.05),
    ("suv", 0.13),
    ("jeep", 0.05),
    ("sports", 0.14),
    ("coupe", 0.1),
    ("van", 0.05),
    ("bus", 0.02),
    ("pickup", 0.06),
    ("roadster", 0.05),
    ("vintage", 0.04),
)


_CAR_STATIONS = np.linspace(0.02, 0.98, 7)


def _car_body(
    rng: Generator, roof: np.ndarray, size: tuple, belt: float, clearance: float, wheels: tuple
) -> np.ndarray:
    """Loft from rear to front; the underside rises over the wheels to leave arches."""
    length, width, height = size
    radius, axles = wheels
    reach = radius * 1.2 / length
    arch = np.concatenate([axle + reach * np.array([-1.0, -0.98, -0.5, 0.5, 0.98, 1.0]) for axle in axles])
    place = np.sort(np.concatenate([roof[:, 0], arch, _CAR_STATIONS]))
    place = np.minimum(np.maximum(place, 0), 1)
    top = np.interp(place, roof[:, 0], roof[:, 1]) * height
    bottom = np.full(len(place), clearance) + np.where((place < 0.02) | (place > 0.98), 0.08, 0.0)
    inside = np.min(np.abs(place[:, None] - np.asarray(axles)), 1)
    bottom = np.where(inside < reach * 0.99, np.maximum(bottom, radius * _u(rng, 1.5, 1.9)), bottom)
    bottom = np.minimum(bottom, top - 0.05)
    round_end = _u(rng, 0.03, 0.16)
    half = 0.5 * width * (1 - round_end * (np.abs(place - 0.5) * 2) ** 4)
    side = np.minimum(top, belt * height)
    glass = np.minimum((top - side) / ((1 - belt) * height), 1.2)
    narrow = half * (0.94 - _u(rng, 0.06, 0.26) * glass)
    middle = 0.5 * (bottom + side)
    z = (place - 0.5) * length
    rings = np.empty((len(place), 8, 3), np.float32)
    for k, (x, y) in enumerate(((half * 0.94, bottom), (half, middle), (half * 0.97, side), (narrow, top))):
        rings[:, k, 0], rings[:, 7 - k, 0] = -x, x
        rings[:, k, 1] = rings[:, 7 - k, 1] = y
    rings[..., 2] = z[:, None]
    return _loft(rings)


def _truck(rng: Generator) -> np.ndarray:
    length, width = _u(rng, 5.5, 9.0), _u(rng, 2.0, 2.5)
    cab, tall = _u(rng, 1.6, 2.2), _u(rng, 1.5, 2.0)
    radius, floor = _u(rng, 0.42, 0.52), _u(rng, 0.75, 1.0)
    front = length / 2
    cab_body = _slices(
        [floor - 0.3, floor + tall * 0.45, floor + tall],
        -width / 2 * np.array([1, 1, 0.9]),
        width / 2 * np.array([1, 1, 0.9]),
        [front, front, front - _u(rng, 0.1, 0.6)],
        front - cab,
    )
    long = length - cab - _u(rng, 0.05, 0.3)
    load = _u(rng, 1.0, 2.6)
    body = box((width, load, long), (0, floor + load / 2, -front + long / 2))
    beams = _both(box((0.12, 0.2, length * 0.95), (0.4, floor - 0.15, 0)))
    axles = [front - cab * 0.6, -front + _u(rng, 0.9, 1.6)]
    if _chance(rng, 0.4):
        axles.append(axles[1] + radius * 2.3)
    tyres = [_both(_wheel(radius, 0.3, (width / 2 - 0.17, radius, z))) for z in axles]
    return join(cab_body, body, beams, *tyres)


def car(rng: Generator) -> np.ndarray:
    """Triangles of a road car on separate wheels: sedans, SUVs, sports cars, vans, pick-ups, lorries.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, front towards +z.
    """
    if _chance(rng, 0.03):
        return _truck(rng)
    kind = str(_pick(rng, _CAR_WEIGHTS))
    line, lengths, widths, heights, belt = _CARS[kind]
    roof = np.array(line, float)
    roof[1:-1, 0] += (rng.random(len(line) - 2) - 0.5) * 0.012
    roof[:, 1] *= 1 + (rng.random(len(line)) - 0.5) * 0.06
    roof[:, 0] = np.sort(roof[:, 0])
    length, width, height = _u(rng, *lengths), _u(rng, *widths), _u(rng, *heights)
    radius = height * _u(rng, 0.2, 0.245) if height < 1.6 else _u(rng, 0.34, 0.43)
    clearance = radius * _u(rng, 0.45, 0.85)
    axles = (_u(rng, 0.17, 0.23), _u(rng, 0.78, 0.84))
    parts = [_car_body(rng, roof, (length, width, height), belt, clearance, (radius, axles))]
    tread = _u(rng, 0.18, 0.27)
    wheels = _both(_wheel(radius, tread, (width / 2 - tread * _u(rng, 0.45, 0.62), radius, 0)))
    parts += [move(wheels, (0, 0, (axle - 0.5) * length)) for axle in axles]
    if _chance(rng, 0.6):
        at = (width / 2 + 0.05, height * belt + 0.06, length * 0.17)
        parts.append(_both(box((_u(rng, 0.12, 0.22), 0.12, 0.08), at)))
    if _chance(rng, 0.4):
        for end in (-1, 1):
            parts.append(rounded_box((width * 0.94, 0.16, 0.16), (0, clearance + 0.22, end * length / 2), 0.05))
    if kind in ("sports", "coupe") and _chance(rng, 0.4):
        high = height * _u(rng, 0.8, 0.98)
        parts.append(box((width * 0.85, 0.04, 0.25), (0, high, -length * 0.46)))
        parts.append(
            _both(
                box(
                    (0.05, high - height * 0.65, 0.12),
                    (width * 0.33, (high + height * 0.65) / 2, -length * 0.46),
                )
            )
        )
    if kind == "pickup":
        rail, floor = height * 0.6, height * 0.39
        wall = (0.08, rail - floor, length * 0.36)
        parts.append(_both(box(wall, (width / 2 * 0.93, (rail + floor) / 2, -length * 0.32))))
        parts.append(box((width * 0.9, rail - floor, 0.06), (0, (rail + floor) / 2, -length * 0.495)))
    if kind in ("roadster", "vintage", "jeep") and _chance(rng, 0.7):
        parts.append(_both(box((width * 0.3, height * 0.35, 0.15), (width * 0.2, height * 0.68, -length * 0.12))))
    if kind == "roadster":
        glass = height * _u(rng, 1.1, 1.3)
        parts.append(
            sheet(
                np.float32(
                    [
                        (-width * 0.4, height * 0.82, length * 0.1),
                        (width * 0.4, height * 0.82, length * 0.1),
                        (width * 0.34, glass, 0),
                        (-width * 0.34, glass, 0),
                    ]
                ),
                0.03,
            )
        )
    if kind == "vintage":
        for axle in axles:
            guard = rounded_box(
                (0.25, 0.12, radius * 2.6), (width / 2 + 0.08, radius * 2.05, (axle - 0.5) * length), 0.04
            )
            parts.append(_both(guard))
    if kind in ("suv", "estate", "jeep") and _chance(rng, 0.4):
        parts.append(_both(box((0.05, 0.05, length * 0.4), (width * 0.33, height + 0.05, -length * 0.12))))
    if kind == "jeep" and _chance(rng, 0.5):
        parts.append(_spin([(0, 0), (radius, 0), (radius, -0.22), (0, -0.22)], "z", (0, height * 0.5, -length / 2)))
    return join(*parts)


# --------------------------------------------------------------------------------------------------
# Vessels: bottle, bowl, cup, vase, cone
# --------------------------------------------------------------------------------------------------


def _bottle_profile(rng: Generator) -> np.ndarray:
    kind = _pick(rng, (("shoulder", 0.34), ("slope", 0.2), ("water", 0.2), ("jar", 0.1), ("flask", 0.16)))
    body = _u(rng, 0.11, 0.19)
    neck = body * _u(rng, 0.26, 0.5)
    if kind == "shoulder":
        start = _u(rng, 0.45, 0.7)
        end = start + _u(rng, 0.04, 0.14)
        bend = start + (end - start) * 0.6
        top = max(end + 0.08, _u(rng, 0.9, 1.0))
        return np.float32(
            [
                (body * 0.93, 0),
                (body, 0.02),
                (body, start),
                (body * 0.85 + neck * 0.15, bend),
                (neck * 1.15, end),
                (neck, end + 0.03),
                (neck * 0.95, top),
            ]
        )
    if kind == "slope":
        start = _u(rng, 0.3, 0.5)
        slope = _curve(
            [
                (body, start),
                (body * 0.85 + neck * 0.1, start + 0.13),
                (neck * 1.2, start + 0.3),
                (neck, start + 0.38),
            ],
            9,
        )
        return np.concatenate([np.float32([(body * 0.93, 0), (body, 0.02)]), slope, np.float32([(neck, 1.0)])])
    if kind == "water":
        height = np.linspace(0.02, 0.72, 12)
        ridge = 1 - _u(rng, 0.02, 0.07) * (np.arange(12) % 2)
        waist = 1 - _u(rng, 0.0, 0.22) * np.exp(-(((height - 0.42) / 0.12) ** 2))
        side = np.stack([body * ridge * waist, height], 1)
        top = [(body * 0.7, 0.82), (neck * 1.1, 0.9), (neck, 0.92), (neck, 0.97)]
        return np.concatenate([[(body * 0.85, 0)], side, top]).astype(np.float32)
    if kind == "jar":
        body, tall = _u(rng, 0.2, 0.3), _u(rng, 0.7, 0.85)
        neck = body * _u(rng, 0.6, 0.9)
        return np.float32([(body * 0.9, 0), (body, 0.04), (body, tall), (neck, tall + 0.07), (neck, 0.95)])
    low, wide = _u(rng, 0.2, 0.45), _u(rng, 0.16, 0.3)
    belly = _curve([(wide * 0.7, 0), (wide, low), (wide * _u(rng, 0.55, 0.8), low + 0.2), (neck, low + 0.38)], 12)
    return np.concatenate([belly, np.float32([(neck, 0.97)])])


def bottle(rng: Generator) -> np.ndarray:
    """Triangles of a standing bottle: wine, beer, water, spirits, jars, jugs and spray bottles.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, taller than wide.
    """
    profile = _bottle_profile(rng)
    profile[:, 0] *= _u(rng, 0.8, 1.15)
    neck, top = profile[-1]
    shape = _pick(rng, ((None, 0.8), ("square", 0.08), ("oval", 0.08), ("polygon", 0.04)))
    outline = None if shape is None else _outline(rng, str(shape))
    closed = np.concatenate([[(0, 0)], profile, [(0, top)]]).astype(np.float32)
    parts = [_turned(closed, outline)]
    end = _pick(rng, (("lip", 0.4), ("cap", 0.35), ("plain", 0.13), ("cork", 0.07), ("pump", 0.05)))
    if end == "lip":
        parts.append(_spin([(neck, top - 0.04), (neck * 1.2, top - 0.035), (neck * 1.2, top), (neck * 0.8, top)]))
    elif end == "cap":
        wide, tall = neck * _u(rng, 1.05, 1.35), _u(rng, 0.03, 0.09)
        parts.append(cylinder(wide, tall, (0, top + tall / 2, 0)))
    elif end == "cork":
        parts.append(cylinder(neck * 0.8, 0.06, (0, top + 0.03, 0)))
    elif end == "pump":
        parts += [
            cylinder(neck * 1.1, 0.06, (0, top + 0.03, 0)),
            cylinder(neck * 0.3, 0.14, (0, top + 0.1, 0)),
            box((0.04, 0.04, 0.17), (0, top + 0.17, 0.05)),
        ]
    if _chance(rng, 0.06):
        wide = float(profile[:, 0].max())
        ear = _curve(
            [(neck, top - 0.06, 0), (wide * 1.1, top - 0.1, 0), (wide * 1.3, 0.6, 0), (wide * 0.9, 0.4, 0)],
            10,
        )
        parts.append(tube(ear, 0.025, 6))
    return join(*parts)


def bowl(rng: Generator) -> np.ndarray:
    """Triangles of a bowl: shallow or deep, flared, footed, square, lobed, on a pedestal, or a pan-like dish.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, wider than tall.
    """
    deep = _pick(rng, ((_u(rng, 0.4, 0.7), 0.45), (_u(rng, 0.18, 0.4), 0.25), (_u(rng, 0.7, 1.0), 0.3)))
    foot = _u(rng, 0.1, 0.6)
    power = _u(rng, 1.3, 3.2)
    t = np.linspace(0, 1, 10)
    radius = foot + (1 - foot) * np.sqrt(np.clip(1 - (1 - t) ** power, 0, 1)) ** _u(rng, 0.8, 1.4)
    side = np.stack([radius, t * deep], 1)
    if _chance(rng, 0.2):
        side[-3:, 0] *= np.array([0.99, 0.96, 0.91])
    if _chance(rng, 0.25):
        side = np.concatenate([side, [(1 + _u(rng, 0.04, 0.25), deep + _u(rng, -0.01, 0.05))]])
    wall = _pick(rng, ((_u(rng, 0.015, 0.05), 0.6), (_u(rng, 0.05, 0.12), 0.4)))
    kind = _pick(rng, ((None, 0.78), ("square", 0.08), ("lobed", 0.05), ("polygon", 0.04), ("oval", 0.05)))
    outline = None if kind is None else _outline(rng, str(kind), 32)
    parts = [_turned(_shell(side, wall, max(wall, 0.03)), outline)]
    if _chance(rng, 0.45):
        drop = _u(rng, 0.03, 0.1)
        ring = [
            (foot * 0.95, 0.01),
            (foot * _u(rng, 0.85, 1.05), -drop),
            (foot * 0.7, -drop),
            (foot * 0.7, 0),
        ]
        parts.append(_turned(ring))
    elif _chance(rng, 0.12):
        stem, base = _u(rng, 0.1, 0.25), foot * _u(rng, 0.8, 1.3)
        parts.append(_turned([(foot * 0.5, 0.01), (foot * 0.3, -stem * 0.6), (base, -stem), (0, -stem)]))
    if _chance(rng, 0.05):
        count = _n(rng, 4, 9)
        spots = _cloud(rng, count, (0.5, 0.1, 0.5), (0, deep, 0))
        parts += [_ellipsoid((0.17, 0.17, 0.17), spot) for spot in spots]
    return join(*parts)


def _handle(rng: Generator, radius: float, low: float, high: float) -> np.ndarray:
    """An ear on the +x side between two heights: round, square or a slim C."""
    reach = (high - low) * _u(rng, 0.4, 0.75)
    thick = _u(rng, 0.02, 0.05)
    x = radius * 0.96
    if _chance(rng, 0.3):
        path = np.float32([(x, high, 0), (x + reach, high, 0), (x + reach, low, 0), (x, low, 0)])
    else:
        path = _curve(
            [
                (x, high, 0),
                (x + reach * 0.75, high + 0.01, 0),
                (x + reach, (low + 2 * high) / 3, 0),
                (x + reach * 0.7, low + (high - low) * 0.2, 0),
                (x, low, 0),
            ],
            10,
        )
    ear = tube(path, thick, 6)
    if _chance(rng, 0.4):
        ear = ear * np.float32([1, 1, _u(rng, 1.3, 2.5)])
    return ear


def cup(rng: Generator) -> np.ndarray:
    """Triangles of a drinking vessel: mugs and teacups with a handle, tumblers, goblets, glasses on a stem.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    kind = _pick(rng, (("mug", 0.5), ("tea", 0.16), ("tumbler", 0.12), ("goblet", 0.18), ("paper", 0.04)))
    parts = []
    if kind == "goblet":
        wide, deep, stem = _u(rng, 0.2, 0.42), _u(rng, 0.25, 0.6), _u(rng, 0.2, 0.5)
        bulge, mouth = wide * _u(rng, 0.9, 1.1), wide * _u(rng, 0.72, 1.15)
        side = _curve(
            [
                (0.03, stem),
                (wide * 0.75, stem + deep * 0.18),
                (bulge, stem + deep * 0.5),
                (mouth, stem + deep),
            ],
            12,
        )
        foot = wide * _u(rng, 0.65, 1.0)
        base = [(0, 0), (foot, 0), (foot * 0.9, 0.02), (0.04, 0.06), (0.025, stem * 0.5), (0.03, stem)]
        return join(_turned(_shell(side, 0.015, stem + 0.03)), _turned(base))
    if kind == "tea":
        wide, deep = _u(rng, 0.4, 0.55), _u(rng, 0.38, 0.6)
        foot = wide * _u(rng, 0.4, 0.6)
        side = _curve([(foot, 0), (wide * 0.8, deep * 0.3), (wide * 0.93, deep * 0.65), (wide, deep)], 9)
        if _chance(rng, 0.55):
            plate = wide * _u(rng, 1.4, 1.8)
            parts.append(
                _turned(
                    [
                        (0, 0),
                        (plate * 0.5, 0),
                        (plate, 0.1),
                        (plate * 0.97, 0.12),
                        (plate * 0.5, 0.03),
                        (0, 0.03),
                    ]
                )
            )
            side[:, 1] += 0.03
    else:
        deep = _u(rng, 0.85, 1.1) if kind == "mug" else _u(rng, 1.0, 1.4)
        top = _u(rng, 0.36, 0.5)
        foot = top * (_u(rng, 0.85, 1.0) if kind == "mug" and _chance(rng, 0.7) else _u(rng, 0.62, 0.85))
        waist = (top + foot) / 2 * _u(rng, 0.92, 1.1)
        side = _curve([(foot, 0), (waist, deep * 0.5), (top, deep)], 8)
        if _chance(rng, 0.3):
            side = np.concatenate([np.float32([(foot * 0.9, 0)]), side + np.float32([0, 0.04])])
    wall = _u(rng, 0.015, 0.06)
    outline = _outline(rng, "square" if _chance(rng, 0.5) else "polygon") if _chance(rng, 0.06) else None
    parts.append(_turned(_shell(side, wall, float(side[0, 1]) + wall), outline))
    if kind in ("mug", "tea"):
        bottom, tall = float(side[0, 1]), float(side[-1, 1] - side[0, 1])
        low, high = bottom + tall * _u(rng, 0.12, 0.35), bottom + tall * _u(rng, 0.7, 0.93)
        reach = float(np.interp((low + high) / 2, side[:, 1], side[:, 0]))
        parts.append(_handle(rng, reach, low, high))
    if kind == "paper" or _chance(rng, 0.04):
        wide, top = float(side[-1, 0]), float(side[-1, 1])
        parts.append(
            _turned(
                [
                    (wide * 1.05, top - 0.05),
                    (wide * 1.05, top + 0.02),
                    (wide * 0.9, top + 0.06),
                    (0, top + 0.05),
                ]
            )
        )
    return rotate(
        join(*parts), "y", _pick(rng, ((np.pi / 2, 0.5), (0.0, 0.2), (np.pi, 0.15), (rng.random() * 6, 0.15)))
    )


def _vase_profile(rng: Generator) -> np.ndarray:
    knots = _n(rng, 3, 6)
    kind = _pick(rng, (("free", 0.35), ("urn", 0.2), ("pear", 0.2), ("straight", 0.15), ("globe", 0.1)))
    slim = _u(rng, 0.14, 0.34) if _chance(rng, 0.78) else _u(rng, 0.34, 0.52)
    if kind == "free":
        radius = slim * (0.55 + 0.75 * rng.random(knots))
    elif kind == "urn":
        radius = slim * np.array([_u(rng, 0.4, 0.65), _u(rng, 0.6, 0.9), 1.15, _u(rng, 0.5, 0.8), _u(rng, 0.55, 1.0)])
    elif kind == "pear":
        neck = _u(rng, 0.18, 0.5)
        radius = slim * np.array([_u(rng, 0.6, 0.85), 1.15, _u(rng, 0.7, 1.0), neck * 1.1, neck, neck * _u(rng, 1, 2)])
    elif kind == "straight":
        radius = slim * np.array([_u(rng, 0.55, 1.0), _u(rng, 0.8, 1.0), 1.0])
    else:
        radius = _u(rng, 0.3, 0.5) * np.array([0.55, 0.95, 1.0, 0.8, _u(rng, 0.4, 0.7)])
    height = np.linspace(0, 1, len(radius))
    height[1:-1] += (rng.random(len(radius) - 2) - 0.5) * 0.5 / len(radius)
    smooth = 16 if _chance(rng, 0.85) else len(radius)
    profile = _curve(np.stack([radius, height], 1), smooth)
    profile[:, 0] = np.maximum(profile[:, 0], 0.02)
    return profile


def vase(rng: Generator) -> np.ndarray:
    """Triangles of a vase: turned profiles, flat, square, fluted, twisted, footed or with two ears.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, mostly taller than wide.
    """
    profile = _vase_profile(rng)
    if _chance(rng, 0.25):
        rim = float(profile[-1, 0])
        profile = np.concatenate([profile, np.float32([(rim * _u(rng, 1.1, 1.5), 1.0 + _u(rng, 0.0, 0.05))])])
    kind = _pick(
        rng,
        ((None, 0.6), ("square", 0.1), ("oval", 0.08), ("polygon", 0.08), ("fluted", 0.06), ("lobed", 0.08)),
    )
    outline = None if kind is None else _outline(rng, str(kind), 24)
    twist = _u(rng, 0.5, 2.5) if kind in ("square", "polygon", "lobed") and _chance(rng, 0.3) else 0.0
    wall = min(_u(rng, 0.012, 0.04), 0.5 * float(profile[:, 0].min()))
    skin = _shell(profile, wall, 0.03)
    if _chance(rng, 0.3):
        skin = skin[: len(profile) + 4]
    parts = [_turned(skin, outline, twist)]
    if _chance(rng, 0.15):
        foot = float(profile[0, 0]) * _u(rng, 1.0, 1.3)
        parts.append(_turned([(foot * 0.7, 0), (foot * 0.75, -0.04), (foot, -0.07), (foot, -0.1), (0, -0.1)]))
    if kind is None and _chance(rng, 0.08):
        high, low = 0.92, _u(rng, 0.5, 0.65)
        top, mid = (float(np.interp(h, profile[:, 1], profile[:, 0])) for h in (high, low))
        reach = max(top, mid) + _u(rng, 0.06, 0.15)
        ear = _curve([(top, high, 0), (reach, high - 0.02, 0), (reach, low + 0.1, 0), (mid, low, 0)], 9)
        parts.append(_both(tube(ear, 0.022, 6)))
    if _chance(rng, 0.12):
        parts.append(_stalks(rng, float(profile[-1, 0]) * 0.5, float(profile[-1, 1])))
    return join(*parts)


def _stalks(rng: Generator, spread: float, top: float) -> np.ndarray:
    """Stems with flower heads that leave a vase."""
    parts = []
    for _ in range(_n(rng, 2, 6)):
        yaw, lean, tall = rng.random() * TAU, _u(rng, 0.2, 1.2), _u(rng, 0.3, 0.8)
        root = np.array([np.cos(yaw), 0, np.sin(yaw)])
        end = root * (spread + lean * tall * 0.6) + (0, top + tall, 0)
        path = np.stack([root * spread * 0.5 + (0, top * 0.7, 0), root * spread + (0, top + tall * 0.4, 0), end])
        parts.append(tube(path.astype(np.float32), 0.008, 4))
        head = _u(rng, 0.04, 0.11)
        parts.append(_leaves(rng, _cloud(rng, 24, (head, head, head), end), head, head * 0.6))
    return join(*parts)


def cone(rng: Generator) -> np.ndarray:
    """Triangles of a cone: traffic cones on a square or round base, bare cones, cups of ice, party hats.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the point upwards except in a few.
    """
    foot = _u(rng, 0.2, 0.42)
    kind = _pick(rng, (("traffic", 0.58), ("bare", 0.27), ("ice", 0.08), ("brim", 0.07)))
    if kind == "bare":
        tip = 0.0 if _chance(rng, 0.8) else foot * _u(rng, 0.05, 0.3)
        foot *= _u(rng, 0.7, 1.7)
        outline = _outline(rng, "polygon") if _chance(rng, 0.15) else None
        floor = [(0, 0)] if _chance(rng, 0.7) else []
        solid = _turned([*floor, (foot, 0), (tip, 1), *([(0, 1)] if tip else [])], outline)
        return rotate(solid, "x", np.pi) if _chance(rng, 0.06) else solid
    if kind == "ice":
        wide = foot * 0.9
        return join(
            _turned([(0.01, 0), (wide, 0.8), (wide * 1.1, 0.82), (wide * 1.1, 0.9), (wide * 0.9, 0.9)]),
            _ellipsoid((wide, wide, wide), (0, 0.95, 0)),
        )
    if kind == "brim":
        brim = foot * _u(rng, 1.3, 1.9)
        return _turned([(0, 0), (brim, 0), (brim, 0.03), (foot, 0.05), (foot * 0.05, 1), (0, 1)])
    tip = foot * _u(rng, 0.08, 0.3)
    thick = _u(rng, 0.02, 0.08)
    side = [(foot, thick), (tip, 1.0)]
    if _chance(rng, 0.3):
        lip = foot * 1.12
        side = [(lip, thick), (lip, thick + 0.04), (foot, thick + 0.05), (tip, 1.0)]
    if _chance(rng, 0.3):
        low, high = _u(rng, 0.35, 0.5), _u(rng, 0.6, 0.75)
        radius = [foot + (tip - foot) * (h - thick) / (1 - thick) for h in (low, high)]
        side = [
            *side[:-1],
            (radius[0], low),
            (radius[0] * 1.06, low),
            (radius[1] * 1.06, high),
            (radius[1], high),
            side[-1],
        ]
    if _chance(rng, 0.6):
        side.append((0, 1.0))
    size = 2 * foot * _u(rng, 1.12, 1.55)
    base = _pick(rng, (("square", 0.45), ("rounded", 0.35), ("round", 0.1), ("polygon", 0.1)))
    if base == "square":
        plate = box((size, thick, size), (0, thick / 2, 0))
    else:
        outline = None if base == "round" else _outline(rng, "square" if base == "rounded" else "polygon")
        flat = size / 2 * (0.95 if base == "rounded" else 1.1)
        plate = _turned([(0, 0), (flat, 0), (flat, thick), (0, thick)], outline)
    return join(plate, _turned(side))


# --------------------------------------------------------------------------------------------------
# Plants and pots
# --------------------------------------------------------------------------------------------------


def _pot(rng: Generator, radius: float, height: float) -> np.ndarray:
    """A vessel with its soil at nine tenths of its height; tapered, square, bellied or straight."""
    kind = _pick(rng, (("taper", 0.55), ("square", 0.2), ("belly", 0.15), ("straight", 0.1)))
    foot = radius * (_u(rng, 0.9, 1.0) if kind == "straight" else _u(rng, 0.55, 0.85))
    middle = radius * _u(rng, 1.05, 1.25) if kind == "belly" else (foot + radius) / 2
    side = _curve([(foot, 0), (middle, height * 0.5), (radius, height)], 7 if kind == "belly" else 3)
    if kind == "taper" and _chance(rng, 0.5):
        lip = radius * _u(rng, 1.06, 1.15)
        cut = height * _u(rng, 0.72, 0.86)
        at = foot + (radius - foot) * cut / height
        side = np.float32([(foot, 0), (at, cut), (lip, cut), (lip, height)])
    outline = _outline(rng, "square") if kind == "square" else None
    return _turned(_shell(side, radius * 0.1, height * 0.88), outline)


def _grass(rng: Generator, radius: float, top: float, size: float) -> np.ndarray:
    """A rosette of arching blades: spider plants, agaves, sansevierias, ferns."""
    kind = _pick(rng, (("arch", 0.5), ("spike", 0.25), ("broad", 0.25)))
    count = {"arch": _n(rng, 25, 60), "spike": _n(rng, 8, 20), "broad": _n(rng, 9, 22)}[str(kind)]
    bend = {"arch": _u(rng, 1.2, 2.6), "spike": _u(rng, 0.0, 0.6), "broad": _u(rng, 0.8, 1.8)}[str(kind)]
    width = size * {"arch": _u(rng, 0.03, 0.08), "spike": _u(rng, 0.07, 0.15), "broad": _u(rng, 0.18, 0.35)}[str(kind)]
    yaw = rng.random(count) * TAU
    rise = np.pi / 2 - (0.15 + rng.random(count) * _u(rng, 0.5, 1.2))
    root = np.stack([np.cos(yaw), np.zeros(count), np.sin(yaw)], 1) * radius * 0.25
    root[:, 1] = top
    return _blades(rng, root, yaw, size * (0.55 + 0.45 * rng.random(count)), rise, bend, width, 0.05)


def _palm(rng: Generator, top: float, size: float) -> np.ndarray:
    """A trunk, often leaning, under a crown of fronds; each frond may carry its leaflets."""
    tall = size * _u(rng, 0.4, 0.8)
    lean = rng.normal(size=2) * 0.12 * tall
    crown = np.array([lean[0], top + tall, lean[1]])
    trunk = tube(_curve([(0, top, 0), (lean[0] * 0.3, top + tall * 0.5, lean[1] * 0.3), crown], 6), size * 0.025, 6)
    count = _n(rng, 9, 20)
    yaw = np.arange(count) / count * TAU * 2.4 + rng.random(count) * 0.4
    rise = 0.1 + rng.random(count) * 1.2
    length = size * _u(rng, 0.35, 0.6) * (0.8 + 0.4 * rng.random(count))
    fronds = _blades(
        rng,
        np.repeat(crown[None], count, 0),
        yaw,
        length,
        rise,
        _u(rng, 0.9, 2.0),
        size * _u(rng, 0.05, 0.16),
        0.1,
    )
    return join(trunk, fronds)


def _bush(rng: Generator, top: float, size: float) -> np.ndarray:
    """Small leaves in the outer part of a ball, column or cone, on a stem or straight from the soil."""
    count = _n(rng, 150, 320)
    wide, tall = size * _u(rng, 0.28, 0.5), size * _u(rng, 0.3, 0.55)
    stem = size * _u(rng, 0.0, 0.5)
    spots = _cloud(rng, count, (wide, tall, wide), (0, top + stem + tall * 0.85, 0), _u(rng, 0.2, 0.8))
    if _chance(rng, 0.25):
        spots[:, [0, 2]] *= np.clip(1.25 - (spots[:, 1:2] - top - stem) / (2 * tall), 0.05, 1.3)
    leaf = size * _u(rng, 0.07, 0.15)
    parts = [
        _leaves(rng, spots, leaf, leaf * _u(rng, 0.4, 0.8)),
        _rod((0, top, 0), (0, top + stem + tall, 0), size * 0.02),
    ]
    for spot in spots[: _n(rng, 0, 6)]:
        parts.append(_rod((0, top + stem * 0.7, 0), spot, size * 0.01, 4))
    return join(*parts)


def _leafy(rng: Generator, top: float, size: float) -> np.ndarray:
    """Stems that each end in a few broad leaves: rubber plants, monsteras, dracaenas, trees in a tub."""
    parts = []
    for _ in range(_n(rng, 3, 8)):
        yaw, out = rng.random() * TAU, _u(rng, 0.03, 0.35) * size
        end = np.array([np.cos(yaw) * out, top + size * _u(rng, 0.3, 0.85), np.sin(yaw) * out])
        parts.append(
            tube(
                _curve([(0, top, 0), (end[0] * 0.4, (top + end[1]) / 2, end[2] * 0.4), end], 5),
                size * 0.01,
                4,
            )
        )
        count = _n(rng, 4, 10)
        turn = rng.random(count) * TAU
        rise = _u(rng, 0.0, 0.9) + rng.random(count) * 0.5
        along = 1 - 0.5 * rng.random((count, 1))
        root = np.array([0, top, 0]) * (1 - along) + end * along
        length = size * _u(rng, 0.16, 0.3) * (0.7 + 0.5 * rng.random(count))
        parts.append(_blades(rng, root, turn, length, rise, _u(rng, 0.5, 1.6), size * _u(rng, 0.06, 0.16), 0.05, 4))
    return join(*parts)


def _cactus(rng: Generator, top: float, size: float) -> np.ndarray:
    tall, thick = size * _u(rng, 0.6, 0.95), size * _u(rng, 0.08, 0.14)
    parts = [
        _turned(
            [(thick, top), (thick, top + tall * 0.9), (thick * 0.6, top + tall), (0, top + tall * 1.02)],
            _outline(rng, "fluted"),
        )
    ]
    for side in (-1, 1)[: _n(rng, 0, 2)]:
        low, out = top + tall * _u(rng, 0.3, 0.5), thick * _u(rng, 2, 3) * side
        path = _curve(
            [
                (0, low, 0),
                (out * 0.8, low + 0.02, 0),
                (out, low + size * 0.1, 0),
                (out, low + tall * _u(rng, 0.25, 0.4), 0),
            ],
            8,
        )
        parts.append(tube(path, thick * 0.6, 8))
    return join(*parts)


def _flowers(rng: Generator, top: float, size: float) -> np.ndarray:
    """A clump of leaves with flower heads on stems above it."""
    parts = [_grass(rng, size * 0.2, top, size * 0.6)]
    for _ in range(_n(rng, 3, 9)):
        yaw, out = rng.random() * TAU, _u(rng, 0.0, 0.4) * size
        end = np.array([np.cos(yaw) * out, top + size * _u(rng, 0.5, 0.95), np.sin(yaw) * out])
        parts.append(_rod((0, top, 0), end, size * 0.008, 4))
        head = size * _u(rng, 0.04, 0.1)
        petals = _n(rng, 5, 9)
        root = np.repeat(end[None], petals, 0)
        parts.append(
            _blades(
                rng,
                root,
                np.arange(petals) / petals * TAU,
                np.full(petals, head),
                np.full(petals, 0.5),
                0.6,
                head * 0.6,
                0.4,
                2,
            )
        )
    return join(*parts)


def _greenery(rng: Generator, radius: float, top: float, size: float) -> np.ndarray:
    kind = _pick(
        rng,
        (
            ("grass", 0.34),
            ("bush", 0.24),
            ("leafy", 0.22),
            ("palm", 0.1),
            ("flowers", 0.07),
            ("cactus", 0.03),
        ),
    )
    if kind == "grass":
        return _grass(rng, radius, top, size)
    return {"bush": _bush, "leafy": _leafy, "palm": _palm, "flowers": _flowers, "cactus": _cactus}[str(kind)](
        rng, top, size
    )


def plant(rng: Generator) -> np.ndarray:
    """Triangles of a plant, most of them in a pot: rosettes, palms, bushes, broad leaves, flowers, cacti.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``; the leaves make up most of the surface.
    """
    bare = _pick(rng, (("pot", 0.72), ("ground", 0.19), ("vase", 0.06), ("leaf", 0.03)))
    if bare == "ground":
        return _greenery(rng, _u(rng, 0.05, 0.2), 0.0, 1.0)
    if bare == "leaf":
        count = _n(rng, 5, 11)
        rise = np.linspace(_u(rng, 0.3, 1.2), np.pi - _u(rng, 0.3, 1.2), count)
        fan = _blades(
            rng,
            np.zeros((count, 3)),
            np.zeros(count),
            1.0 - 0.4 * rng.random(count),
            rise,
            0.15,
            _u(rng, 0.1, 0.22),
            0.2,
        )
        return join(fan, box((0.03, 0.4, 0.01), (0, -0.2, 0)))
    if bare == "vase":
        profile = _vase_profile(rng) * _u(rng, 0.5, 0.8)
        top = float(profile[-1, 1])
        return join(
            _turned(_shell(profile, 0.01, 0.03)),
            _stalks(rng, float(profile[-1, 0]) * 0.5, top),
            _leaves(rng, _cloud(rng, _n(rng, 10, 60), (0.2, 0.2, 0.2), (0, top + 0.25, 0)), 0.12, 0.06),
        )
    radius, height = _u(rng, 0.09, 0.2), _u(rng, 0.12, 0.34)
    return join(_pot(rng, radius, height), _greenery(rng, radius, height * 0.88, _u(rng, 0.65, 1.2)))


def flower_pot(rng: Generator) -> np.ndarray:
    """Triangles of a flower pot, large against what grows in it; empty pots, troughs and bowls too.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    radius, height = _u(rng, 0.22, 0.42), _u(rng, 0.35, 0.65)
    if _chance(rng, 0.14):
        length = _u(rng, 0.5, 0.9)
        wide = _u(rng, 0.12, 0.22)
        trough = _box_shell((length * 2, height * 0.7, wide * 2), 0.03, height * 0.55)
        spots = _cloud(rng, _n(rng, 60, 200), (length * 0.9, 0.25, wide), (0, height * 0.85, 0), 0.2)
        leaf = _u(rng, 0.08, 0.15)
        return join(trough, _leaves(rng, spots, leaf, leaf * 0.5)) if _chance(rng, 0.7) else trough
    parts = [_pot(rng, radius, height)]
    if _chance(rng, 0.25):
        plate = radius * _u(rng, 0.9, 1.2)
        parts.append(
            _turned([(0, -0.01), (plate * 0.85, -0.01), (plate, 0.07), (plate * 0.93, 0.07), (plate * 0.8, 0.02)])
        )
    if _chance(rng, 0.68):
        parts.append(_greenery(rng, radius * 0.8, height * 0.88, _u(rng, 0.45, 1.0)))
    return join(*parts)


# --------------------------------------------------------------------------------------------------
# Boxes: glass box, keyboard, laptop, radio, xbox, range hood, sink
# --------------------------------------------------------------------------------------------------


def _box_shell(size: Sequence, wall: float, floor: float) -> np.ndarray:
    """A box without a lid, its base at y = 0: outside, rim, inside and a floor at height `floor`."""
    w, h, d = (value / 2 for value in size)
    corner = np.float32([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    steps = ((0.0, 0.0), (0.0, 2 * h), (wall, 2 * h), (wall, floor))
    rings = [np.stack([corner[:, 0] * (w - inset), np.full(4, y), corner[:, 1] * (d - inset)], 1) for inset, y in steps]
    return _loft(np.stack(rings))


def glass_box(rng: Generator) -> np.ndarray:
    """Triangles of a glass box: tanks, display cases, framed or lidded boxes, cases on a plinth.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    flat = _pick(rng, (("cube", 0.3), ("wide", 0.3), ("tall", 0.25), ("flat", 0.15)))
    w, d = _u(rng, 0.7, 1.0), _u(rng, 0.5, 1.0)
    h = {
        "cube": _u(rng, 0.7, 1.0),
        "wide": _u(rng, 0.4, 0.7),
        "tall": _u(rng, 1.1, 2.0),
        "flat": _u(rng, 0.12, 0.35),
    }[str(flat)]
    if flat == "wide":
        w *= _u(rng, 1.2, 2.0)
    kind = _pick(
        rng,
        (("plain", 0.22), ("tank", 0.26), ("double", 0.14), ("framed", 0.16), ("plinth", 0.12), ("lid", 0.1)),
    )
    wall = _u(rng, 0.01, 0.05)
    if kind == "plain":
        return box((w, h, d), (0, h / 2, 0))
    if kind == "tank":
        return _box_shell((w, h, d), wall, wall)
    if kind == "double":
        return join(box((w, h, d), (0, h / 2, 0)), box((w - 2 * wall, h - 2 * wall, d - 2 * wall), (0, h / 2, 0)))
    if kind == "lid":
        lid = _u(rng, 0.03, 0.1)
        parts = [_box_shell((w, h, d), wall, wall), box((w * 1.04, lid, d * 1.04), (0, h + lid / 2, 0))]
        if _chance(rng, 0.4):
            parts.append(_ellipsoid((0.05, 0.05, 0.05), (0, h + lid + 0.04, 0)))
        return join(*parts)
    if kind == "plinth":
        base = _u(rng, 0.1, 0.9) * h
        parts = [box((w * 1.03, base, d * 1.03), (0, -base / 2, 0)), box((w, h, d), (0, h / 2, 0))]
        if _chance(rng, 0.4):
            parts.append(box((w * 1.03, 0.05, d * 1.03), (0, h, 0)))
        return join(*parts)
    bar = _u(rng, 0.025, 0.06)
    parts = [box((bar, h, bar), (x * w / 2, h / 2, z * d / 2)) for x in (-1, 1) for z in (-1, 1)]
    parts += [box((w + bar, bar, bar), (0, y, z * d / 2)) for y in (0, h) for z in (-1, 1)]
    parts += [box((bar, bar, d), (x * w / 2, y, 0)) for y in (0, h) for x in (-1, 1)]
    if _chance(rng, 0.8):
        parts.append(box((w, h, d), (0, h / 2, 0)))
    for k in range(_n(rng, 1, 3) if _chance(rng, 0.35) else 0):
        parts.append(box((w, 0.015, d), (0, h * (k + 1) / 4, 0)))
    return join(*parts)


def _tiles(
    x: np.ndarray,
    z: np.ndarray,
    width: np.ndarray | float,
    depth: float,
    y: float,
    height: float,
    taper: float = 0.85,
) -> np.ndarray:
    """Key caps: many tapered blocks without a floor at (x, z), ``[n, 10, 3, 3]`` flattened."""
    count = len(x)
    corner = np.float32([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    half = np.stack([np.broadcast_to(np.asarray(width) / 2, count), np.full(count, depth / 2)], 1)
    low = np.empty((count, 4, 3), np.float32)
    low[..., 0] = x[:, None] + corner[:, 0] * half[:, :1]
    low[..., 1] = y
    low[..., 2] = z[:, None] + corner[:, 1] * half[:, 1:]
    high = low.copy()
    high[..., 0] = x[:, None] + corner[:, 0] * half[:, :1] * taper
    high[..., 1] = y + height
    high[..., 2] = z[:, None] + corner[:, 1] * half[:, 1:] * taper
    both = np.concatenate([low, high], 1)
    index = np.concatenate([_loft_index(2, 4, True), [[4, 5, 6], [4, 6, 7]]])
    return both[:, index].reshape(-1, 3, 3)


def _key_rows(
    rng: Generator,
    width: float,
    depth: float,
    y: float,
    rows: int,
    height: float,
    pad: bool,
    centre: Sequence = (0.0, 0.0),
) -> np.ndarray:
    """Rows of keys with a space bar in the first, and a block of digits at the right where `pad` is set."""
    pitch = depth / rows
    main = width * (0.76 if pad else 1.0)
    per_row = max(6, int(main / pitch + 0.5))
    step = main / per_row
    x, z, wide = [], [], []
    for row in range(rows):
        at = depth / 2 - (row + 0.5) * pitch
        if row == 0:
            edge = np.concatenate([np.arange(3) + 0.5, [per_row / 2], per_row - 2.5 + np.arange(3)])
            sizes = np.array([1.0, 1, 1, max(per_row - 7, 1), 1, 1, 1])
        else:
            edge, sizes = np.arange(per_row) + 0.5, np.ones(per_row)
        x.append(-width / 2 + edge * step)
        wide.append(sizes * step * 0.86)
        z.append(np.full(len(edge), at))
    if pad:
        columns = width / 2 - (np.arange(4) + 0.5) * width * 0.05
        for row in range(max(rows - 1, 1)):
            x.append(columns)
            wide.append(np.full(4, width * 0.043))
            z.append(np.full(4, depth / 2 - (row + 0.5) * pitch))
    return _tiles(
        np.concatenate(x) + centre[0],
        np.concatenate(z) + centre[1],
        np.concatenate(wide),
        pitch * 0.86,
        y,
        height,
    )


def keyboard(rng: Generator) -> np.ndarray:
    """Triangles of a computer keyboard: long or compact, flat or wedged, with feet, a palm rest or a split.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, flat, the long side along x.
    """
    pad = _chance(rng, 0.75)
    depth = _u(rng, 0.28, 0.44)
    width = _u(rng, 0.95, 1.1) if pad else _u(rng, 0.7, 0.95)
    front, back = _u(rng, 0.015, 0.03), _u(rng, 0.02, 0.07)
    rest = _u(rng, 0.1, 0.2) if _chance(rng, 0.2) else 0.0
    slant = np.arctan2(back - front, depth)
    edge = np.array([-depth / 2, depth / 2])
    body = rotate(
        _slices([0, 0.6, 1.0], [-width / 2] * 3, [width / 2] * 3, depth / 2, -depth / 2) * np.float32([1, front, 1]),
        "x",
        slant,
    )
    if _chance(rng, 0.5):
        body = rounded_box((width, front, depth), (0, front / 2, 0), front * 0.45)
        body = rotate(body, "x", slant)
    parts = [body]
    rows = 6 if _chance(rng, 0.65) else 5
    top_margin = depth * (_u(rng, 0.1, 0.25) if _chance(rng, 0.4) else 0.05)
    tall = _u(rng, 0.008, 0.025)
    area = depth - top_margin - depth * 0.05
    keys = _key_rows(rng, width * 0.95, area, front, rows, tall, pad, (0, (top_margin - depth * 0.05) / 2))
    parts.append(rotate(keys, "x", slant))
    if rest:
        parts.append(_slices([0, front * 0.8], [-width / 2] * 2, [width / 2] * 2, [depth / 2 + rest] * 2, edge[1]))
    if _chance(rng, 0.3):
        parts.append(_both(box((0.05, 0.04, 0.03), (width * 0.4, -0.02, -depth * 0.45))))
    whole = join(*parts)
    if pad or _chance(rng, 0.7):
        return whole
    half = rotate(whole * np.float32([0.55, 1, 1]), "y", _u(rng, 0.05, 0.25))
    return _both(move(half, (-0.03 - float(half[..., 0].max()), 0, 0)))


def laptop(rng: Generator) -> np.ndarray:
    """Triangles of an open laptop: the lid at 80 to 140 degrees, with or without keys and a touch pad.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the screen facing +z.
    """
    width = 1.0
    depth = width * _u(rng, 0.62, 0.8)
    base, lid = _u(rng, 0.02, 0.075), _u(rng, 0.012, 0.045)
    opening = _pick(rng, ((_u(rng, 88, 94), 0.25), (_u(rng, 95, 120), 0.55), (_u(rng, 120, 140), 0.2)))
    soft = _chance(rng, 0.4)
    block = (
        rounded_box((width, base, depth), (0, base / 2, 0), base * 0.4)
        if soft
        else box((width, base, depth), (0, base / 2, 0))
    )
    parts = [block]
    tall = depth * _u(rng, 0.92, 1.02)
    screen = box((width, tall, lid), (0, tall / 2, 0))
    parts_lid = [screen]
    if _chance(rng, 0.45):
        border = _u(rng, 0.03, 0.07)
        parts_lid.append(box((width - 2 * border, tall - 2 * border, lid * 0.4), (0, tall / 2, lid * 0.4)))
    raised = join(*parts_lid)
    raised = rotate(raised, "x", -np.deg2rad(opening - 90))
    lift = base * _u(rng, 0.4, 1.0)
    parts.append(move(raised, (0, lift, -depth / 2 + (lid / 2 if _chance(rng, 0.7) else -lid / 2))))
    if _chance(rng, 0.6):
        rows, high = _n(rng, 4, 6), _u(rng, 0.004, 0.015)
        parts.append(
            _key_rows(
                rng,
                width * _u(rng, 0.78, 0.94),
                depth * 0.45,
                base,
                rows,
                high,
                _chance(rng, 0.15),
                (0, -depth * 0.15),
            )
        )
    if _chance(rng, 0.5):
        parts.append(box((width * _u(rng, 0.18, 0.3), 0.006, depth * 0.2), (0, base, depth * 0.3)))
    if _chance(rng, 0.4):
        parts.append(_spin([(0, -0.4), (base * 0.4, -0.4), (base * 0.4, 0.4), (0, 0.4)], "x", (0, base, -depth / 2), 8))
    return join(*parts)


def radio(rng: Generator) -> np.ndarray:
    """Triangles of a radio: table sets, portables with handle and aerial, boom boxes, handsets, old arches.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the dial facing +z.
    """
    kind = _pick(rng, (("table", 0.34), ("portable", 0.26), ("boom", 0.2), ("handset", 0.08), ("arch", 0.12)))
    w, h, d = 1.0, _u(rng, 0.45, 0.75), _u(rng, 0.2, 0.45)
    if kind == "handset":
        w, h, d = _u(rng, 0.35, 0.5), 1.0, _u(rng, 0.15, 0.3)
    if kind == "boom":
        h, d = _u(rng, 0.38, 0.55), _u(rng, 0.2, 0.35)
    front = d / 2
    knob = _u(rng, 0.03, 0.07)
    if kind == "arch":
        h = _u(rng, 0.9, 1.3)
        y = np.array([0, 0.45, 0.65, 0.8, 0.9, 0.97, 1.0])
        half = np.where(y < 0.5, 1.0, np.sqrt(np.clip(1 - ((y - 0.5) / 0.52) ** 2, 0.02, 1))) * w / 2
        parts = [_slices(y * h, -half, half, front, -front), box((w * 1.06, 0.06, d * 1.1), (0, 0.03, 0))]
    elif _chance(rng, 0.55):
        parts = [box((w, h, d), (0, h / 2, 0))]
    else:
        parts = [rounded_box((w, h, d), (0, h / 2, 0), min(w, h, d) * _u(rng, 0.1, 0.35))]
    sides = (-1, 1) if kind == "boom" or _chance(rng, 0.25) else ((-1,) if _chance(rng, 0.7) else (1,))
    for side in sides:
        radius = min(w, h) * (_u(rng, 0.26, 0.38) if kind != "arch" else 0.28)
        at = (side * (w / 2 - radius - 0.04) if kind not in ("handset", "arch") else 0, h * 0.5, front)
        if kind == "handset":
            radius = w * 0.38
            at = (0, h * 0.28, front)
        deep = _u(rng, 0.01, 0.05)
        parts.append(
            _spin(
                [
                    (radius, -0.01),
                    (radius, deep),
                    (radius * 0.85, deep),
                    (radius * 0.4, deep * 0.2),
                    (0, deep * 0.2),
                ],
                "z",
                at,
                16,
            )
        )
    if kind != "boom":
        free = -sides[0] if len(sides) == 1 else 0
        parts.append(box((w * 0.36, h * 0.2, 0.03), (free * w * 0.24, h * _u(rng, 0.62, 0.75), front)))
    count = _n(rng, 1, 4)
    for k in range(count):
        x = (k - (count - 1) / 2) * w * 0.16 + (0 if len(sides) == 2 else -sides[0] * w * 0.22)
        x = float(np.clip(x, -w * 0.42, w * 0.42))
        high = h * (0.15 if kind != "boom" else 0.85)
        parts.append(_spin([(knob, 0), (knob * 0.9, knob), (0, knob)], "z", (x, high, front), 10))
    if kind == "boom" or (kind == "portable" and _chance(rng, 0.7)):
        reach, rise = w * _u(rng, 0.3, 0.48), _u(rng, 0.08, 0.25)
        path = np.float32([(-reach, h * 0.95, 0), (-reach, h + rise, 0), (reach, h + rise, 0), (reach, h * 0.95, 0)])
        parts.append(tube(path, _u(rng, 0.015, 0.035), 6))
    if kind in ("portable", "handset", "boom") and _chance(rng, 0.65):
        tall, lean = _u(rng, 0.4, 1.0), _u(rng, -0.1, 0.5)
        start = (w * 0.42, h * 0.98, -d * 0.3)
        parts.append(_rod(start, (start[0] + tall * np.sin(lean), start[1] + tall * np.cos(lean), start[2]), 0.012, 5))
    if _chance(rng, 0.3) and kind != "handset":
        parts.append(_both(cylinder(0.04, 0.05, (w * 0.38, -0.02, 0), segments=8)))
    if kind == "boom":
        parts.append(box((w * 0.28, h * 0.35, 0.04), (0, h * 0.35, front)))
    return join(*parts)


def xbox(rng: Generator) -> np.ndarray:
    """Triangles of a games console, lying or standing: heavy, waisted or slim; some game pads.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    kind = _pick(rng, (("first", 0.3), ("waisted", 0.3), ("slab", 0.25), ("pad", 0.15)))
    if kind == "pad":
        return _game_pad(rng)
    if kind == "first":
        w, h, d = 1.0, _u(rng, 0.28, 0.36), _u(rng, 0.75, 0.95)
        lid = h * _u(rng, 0.7, 0.85)
        bar = w * _u(rng, 0.12, 0.2)
        parts = [
            _slices(
                [0, lid * 0.5, lid],
                [-w / 2, -w / 2 * 0.97, -w / 2],
                [w / 2, w / 2 * 0.97, w / 2],
                d / 2,
                -d / 2,
            )
        ]
        top = (h - lid) / 2
        if _chance(rng, 0.75):
            slant = np.arctan2(d, w) * _u(rng, 0.7, 1.0)
            beam = box((np.hypot(w, d) * 0.88, h - lid, bar), (0, lid + top, 0))
            parts += [rotate(beam, "y", slant), rotate(beam, "y", -slant)]
        parts.append(cylinder(w * _u(rng, 0.13, 0.2), (h - lid) * 1.2, (0, lid + top, 0)))
        for k in range(4):
            parts.append(_spin([(0.05, 0), (0.05, 0.02), (0, 0.02)], "z", ((k - 1.5) * 0.14, lid * 0.3, d / 2), 10))
        parts.append(box((w * 0.4, h * 0.12, 0.02), (w * 0.1, lid * 0.7, d / 2)))
    elif kind == "waisted":
        w, h, d = 1.0, _u(rng, 0.24, 0.32), _u(rng, 0.75, 0.9)
        y = np.linspace(0, 1, 7)
        pinch = 1 - _u(rng, 0.02, 0.09) * np.sin(np.pi * y)
        x = np.linspace(-1, 1, 9)
        ring_h = h * (1 - _u(rng, 0.1, 0.25) * (1 - x**2))
        rings = np.stack(
            [
                np.stack(
                    [
                        np.full(4, a * w / 2),
                        np.float32([-1, 1, 1, -1]) * b / 2 + h / 2,
                        np.float32([-1, -1, 1, 1]) * d / 2 * (1 - 0.03 * (1 - a * a)),
                    ],
                    1,
                )
                for a, b in zip(x, ring_h, strict=True)
            ]
        )
        parts = [_loft(rings) * np.float32([1, 1, pinch.min()])]
        parts.append(_spin([(0.06, -0.01), (0.06, 0.02), (0, 0.02)], "z", (w * 0.38, h / 2, d / 2 * 0.96), 12))
        parts.append(box((w * 0.5, h * 0.14, 0.03), (-w * 0.05, h * 0.55, d / 2 * 0.95)))
        if _chance(rng, 0.4):
            parts.append(box((w * 0.22, h * 0.8, d * 0.7), (-w * 0.5, h / 2, -d * 0.08)))
    else:
        w, h, d = 1.0, _u(rng, 0.18, 0.28), _u(rng, 0.7, 0.98)
        parts = [box((w, h * 0.5, d), (0, h * 0.25, 0)), box((w * 0.98, h * 0.5, d * 0.98), (0, h * 0.75, 0))]
        parts.append(box((w * 0.4, 0.02, 0.02), (-w * 0.2, h * 0.7, d / 2)))
        parts.append(cylinder(w * 0.18, 0.02, (w * 0.2, h, 0)))
    whole = join(*parts)
    return rotate(whole, "z", np.pi / 2) if kind != "first" and _chance(rng, 0.4) else whole


def _game_pad(rng: Generator) -> np.ndarray:
    """A controller lying down: body, two grips, sticks, buttons."""
    wide, thick, deep = _u(rng, 0.42, 0.54), _u(rng, 0.1, 0.16), _u(rng, 0.22, 0.3)
    reach, end = _u(rng, 0.3, 0.55), _u(rng, 0.07, 0.12)
    parts = [
        _ellipsoid((wide, thick, deep), (0, 0.15, 0)),
        _ellipsoid((0.32, thick + 0.01, 0.22), (0, 0.16, 0.02)),
    ]
    path = _curve([(wide * 0.68, 0.15, 0), (wide * 0.9, 0.13, reach * 0.45), (wide * 0.94, 0.08, reach)], 6)
    parts += [_both(tube(path, np.linspace(0.16, end, 6), 8)), _both(_ellipsoid((end,) * 3, path[-1], 8))]
    top = 0.15 + thick
    for x, z in ((-0.25, -0.04), (0.13, 0.12)):
        parts.append(cylinder(0.07, 0.1, (x, top, z), segments=10))
    parts += [
        cylinder(0.03, 0.04, (0.28 + 0.07 * a, top, -0.05 + 0.07 * b), segments=8)
        for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
    ]
    parts += [box((0.15, 0.03, 0.05), (-0.13, top, 0.12)), box((0.05, 0.03, 0.15), (-0.13, top, 0.12))]
    whole = join(*parts)
    return rotate(whole, "x", _u(rng, 0, 1.57)) if _chance(rng, 0.4) else whole


def range_hood(rng: Generator) -> np.ndarray:
    """Triangles of a cooker hood: canopies under a chimney, flat T shapes, curved glass, wedges.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    kind = _pick(rng, (("canopy", 0.42), ("slab", 0.25), ("glass", 0.13), ("under", 0.12), ("tilted", 0.08)))
    w, d = 1.0, _u(rng, 0.45, 0.75)
    duct_w, duct_d = _u(rng, 0.22, 0.42), _u(rng, 0.22, 0.4)
    tall = _u(rng, 0.45, 1.1)
    against_wall = _chance(rng, 0.75)
    shift = (d - duct_d) / 2 if against_wall else 0.0
    lip = _u(rng, 0.03, 0.1)
    if kind == "under":
        h = _u(rng, 0.15, 0.35)
        return join(
            _slices(
                [0, h * 0.4, h],
                [-w / 2] * 3,
                [w / 2] * 3,
                [d / 2, d / 2, d / 2 - d * _u(rng, 0.1, 0.6)],
                -d / 2,
            ),
            box((w * 0.9, 0.02, d * 0.12), (0, h * 0.2, d / 2)),
        )
    duct = box((duct_w, tall, duct_d), (0, tall / 2, -shift))
    if _chance(rng, 0.2):
        duct = cylinder(duct_w / 2, tall, (0, tall / 2, -shift))
    if kind == "canopy":
        rise = _u(rng, 0.15, 0.45)
        t = np.linspace(0, 1, 6)
        ease = t if _chance(rng, 0.65) else 1 - (1 - t) ** 2.2
        y = np.concatenate([[0], lip + t * rise])
        half = np.concatenate([[w / 2], w / 2 + (duct_w / 2 - w / 2) * ease])
        front = np.concatenate([[d / 2], d / 2 + (duct_d / 2 - shift - d / 2) * ease])
        back = np.concatenate([[-d / 2], -d / 2 + (-duct_d / 2 - shift + d / 2) * ease])
        return join(_slices(y, -half, half, front, back), move(duct, (0, lip + rise, 0)))
    if kind == "glass":
        x = np.linspace(-1, 1, 9)
        drop = _u(rng, 0.08, 0.2)
        rings = np.stack(
            [
                np.stack(
                    [
                        np.full(4, a * w / 2),
                        np.float32([0, 0.02, 0.02, 0]) - drop * a * a,
                        np.float32([-1, -1, 1, 1]) * d / 2,
                    ],
                    1,
                )
                for a in x
            ]
        )
        return join(_loft(rings), box((w * 0.55, 0.08, d * 0.8), (0, 0.02, -d * 0.08)), duct)
    if kind == "tilted":
        plate = rotate(box((w, 0.08, d * 1.1), (0, 0, 0)), "x", _u(rng, 0.6, 1.1))
        return join(plate, move(duct, (0, 0.1, -0.1)))
    return join(
        box((w, lip, d), (0, lip / 2, 0)),
        move(duct, (0, lip, 0)),
        box((w * 0.85, 0.02, d * 0.8), (0, -0.01, 0)),
    )


def _tap(rng: Generator, base: Sequence, reach: float) -> np.ndarray:
    """A tap that leans towards +z: a swan neck or a straight spout, with a lever or two handles."""
    x, y, z = base
    rise, thick = _u(rng, 0.12, 0.4), _u(rng, 0.014, 0.026)
    if _chance(rng, 0.65):
        path = _curve(
            [
                (x, y, z),
                (x, y + rise, z),
                (x, y + rise * 1.2, z + reach * 0.5),
                (x, y + rise * 0.9, z + reach),
            ],
            10,
        )
    else:
        path = np.float32([(x, y, z), (x, y + rise * 0.6, z), (x, y + rise * 0.5, z + reach)])
    parts = [tube(path, thick, 6), cylinder(thick * 2, 0.03, (x, y + 0.015, z), segments=10)]
    if _chance(rng, 0.5):
        for side in (-1, 1):
            parts.append(cylinder(thick * 1.3, 0.08, (x + side * 0.14, y + 0.04, z), segments=8))
            parts.append(box((0.09, 0.02, 0.02), (x + side * 0.14, y + 0.085, z)))
    else:
        parts.append(_rod((x, y + 0.06, z), (x + 0.09, y + 0.12, z), thick * 0.5, 5))
    return join(*parts)


def sink(rng: Generator) -> np.ndarray:
    """Triangles of a sink: kitchen bowls, vessels, pedestals, wall basins, cabinets, with taps.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the tap at -z.
    """
    kind = _pick(rng, (("kitchen", 0.36), ("vessel", 0.18), ("pedestal", 0.2), ("wall", 0.14), ("cabinet", 0.12)))
    w, d, deep = _u(rng, 0.8, 1.2), _u(rng, 0.5, 0.7), _u(rng, 0.15, 0.3)
    parts = []
    if kind == "kitchen":
        bowls = _pick(rng, ((1, 0.45), (2, 0.5), (3, 0.05)))
        span = w / bowls * (1.0 if bowls > 1 or _chance(rng, 0.5) else 0.6)
        rim, back = _u(rng, 0.03, 0.06), _u(rng, 0.05, 0.12)
        for k in range(bowls):
            cell = span * (k - (bowls - 1) / 2) + (0 if bowls > 1 or span == w else w * 0.2)
            tub = _basin(span, d, deep, rim, back, 0.03 if _chance(rng, 0.5) else deep)
            parts.append(move(tub, (cell, 0, 0)))
        if bowls == 1 and span < w:
            parts.append(box((w * 0.4, 0.03, d), (-w * 0.3, -0.015, 0)))
        parts.append(_tap(rng, (0, 0, -d / 2 + back * 0.5), d * _u(rng, 0.25, 0.45)))
        return join(*parts)
    kinds = (("round", 0.5), ("oval", 0.3), ("square", 0.2))
    shape = _pick(rng, kinds)
    outline = _outline(rng, str(shape), 24) if shape != "round" else None
    radius = _u(rng, 0.28, 0.4)
    side = _curve([(radius * _u(rng, 0.4, 0.75), 0), (radius * 0.9, deep * 0.5), (radius, deep)], 6)
    tub = _turned(_shell(side, _u(rng, 0.02, 0.06), 0.04), outline)
    behind = -float(tub[..., 2].min())
    if kind == "vessel":
        top = box((w, _u(rng, 0.03, 0.12), d), (0, -0.03, 0))
        return join(tub, top, _tap(rng, (0, 0, -behind - 0.04), behind * 0.6)) if _chance(rng, 0.7) else tub
    tall = _u(rng, 0.55, 0.8)
    if kind == "pedestal":
        foot = radius * _u(rng, 0.4, 0.6)
        column = _turned(
            [
                (0, -tall),
                (foot, -tall),
                (foot * 0.9, -tall + 0.05),
                (foot * 0.55, -tall * 0.6),
                (foot * 0.75, 0.03),
            ]
        )
        slab = box((radius * 2, 0.06, radius * 0.6), (0, deep - 0.03, -behind - radius * 0.1))
        return join(tub, column, slab, _tap(rng, (0, deep, -behind - radius * 0.1), behind * 0.6))
    if kind == "wall":
        block = _basin(w * 0.7, d, deep, 0.04, _u(rng, 0.08, 0.15), _u(rng, 0.1, 1.0) * deep)
        return join(block, _tap(rng, (0, 0, -d / 2 + 0.05), d * 0.35))
    counter = _basin(w, d, deep, w * 0.18, 0.12, 0.04)
    cabinet = box((w * 0.96, tall, d * 0.94), (0, -tall / 2 - 0.04, 0))
    return join(counter, cabinet, _tap(rng, (0, 0, -d / 2 + 0.06), d * 0.35))


def _basin(w: float, d: float, deep: float, rim: float, back: float, skirt: float) -> np.ndarray:
    """A rectangular bowl cut into a slab: rim at y = 0, a wider ledge at the back, outside down to -skirt."""
    corner = np.float32([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    centre, half = (back - rim) / 2, (d - back - rim) / 2

    def ring(x: float, z: float, at: float, y: float) -> np.ndarray:
        return np.stack([corner[:, 0] * x, np.full(4, y), corner[:, 1] * z + at], 1)

    rings = [
        ring(w / 2, d / 2, 0, -skirt),
        ring(w / 2, d / 2, 0, 0),
        ring(w / 2 - rim, half, centre, 0),
        ring(w / 2 - rim * 1.6, half * 0.92, centre, -deep),
    ]
    parts = [_loft(np.stack(rings).astype(np.float32), caps=False)]
    parts.append(sheet(ring(w / 2 - rim * 1.6, half * 0.92, centre, -deep).astype(np.float32)))
    if skirt < deep * 0.8:
        outer = [
            ring(w / 2 - rim, half, centre, -skirt),
            ring(w / 2 - rim * 1.4, half * 0.95, centre, -deep - 0.015),
        ]
        parts.append(_loft(np.stack(outer).astype(np.float32), caps=False))
    parts.append(cylinder(0.035, 0.012, (0, -deep + 0.006, centre), segments=10))
    return join(*parts)


# --------------------------------------------------------------------------------------------------
# Instruments
# --------------------------------------------------------------------------------------------------


def _guitar_body(rng: Generator, electric: str) -> np.ndarray:
    """The body with its face to +z, from y = 0 to about 1."""
    thick = _u(rng, 0.08, 0.14) if electric else _u(rng, 0.2, 0.3)
    if electric == "vee":
        wing = _slices([-0.45, 0, 0.75], [-0.6, -0.35, -0.16], [-0.42, 0.02, 0.16], thick / 2, -thick / 2)
        return _both(move(wing, (0, 0.25, 0)))
    lower, upper, waist = _u(rng, 0.36, 0.44), _u(rng, 0.26, 0.33), _u(rng, 0.2, 0.29)
    if electric:
        lower, upper, waist = lower * 0.95, upper * 1.0, waist * 1.05
    half = _curve(
        [
            (0.02, 0),
            (lower * 0.75, 0.05),
            (lower, 0.27),
            (waist, 0.57),
            (upper, 0.82),
            (upper * 0.65, 0.97),
            (0.04, 1.0),
        ],
        22,
    )
    half[:, 0] = np.maximum(half[:, 0], 0.02)
    left, right = -half[:, 0].copy(), half[:, 0].copy()
    y = half[:, 1]
    parts = []
    if electric:
        cut = _u(rng, 0.08, 0.16)
        right = np.where(y > 0.85, np.minimum(right, cut), right)
        if electric == "double":
            left = np.where(y > 0.85, np.maximum(left, -cut), left)
            for side, tall in ((-1, _u(rng, 0.05, 0.25)), (1, _u(rng, 0.0, 0.15))):
                horn = _slices(
                    [0.75, 0.85, 0.95 + tall],
                    side * np.array([0.1, 0.13, 0.2]) - 0.05,
                    side * np.array([0.18, 0.2, 0.21]) + 0.05,
                    thick / 2,
                    -thick / 2,
                )
                parts.append(horn)
    elif _chance(rng, 0.25):
        right = np.where((y > 0.72) & (y < 1), np.minimum(right, 0.12), right)
    parts.append(_slices(y, left, right, thick / 2, -thick / 2))
    return join(*parts)


def guitar(rng: Generator) -> np.ndarray:
    """Triangles of a guitar: acoustic, single and double cut electrics, flying V; upright or lying.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    electric = str(_pick(rng, (("", 0.4), ("double", 0.33), ("single", 0.17), ("vee", 0.1))))
    body = _guitar_body(rng, electric)
    face = float(body[..., 2].max())
    top = float(body[..., 1].max()) if electric != "double" else 0.92
    long = _u(rng, 0.65, 1.2)
    width = _u(rng, 0.085, 0.12)
    parts = [body, box((width, long + 0.2, 0.05), (0, top + long / 2 - 0.1, face - 0.005))]
    if electric == "" or _chance(rng, 0.5):
        parts.append(box((width, 0.25, 0.02), (0, top - 0.2, face + 0.01)))
    head = _u(rng, 0.24, 0.38)
    slant = _u(rng, 0.0, 0.28)
    end = top + long
    wide = width * _u(rng, 1.2, 1.9)
    lean = _u(rng, -0.06, 0.1) if electric else 0.0
    plate = _slices(
        [0, head * 0.3, head],
        np.array([-width / 2, -wide / 2, -wide / 2 * 0.9 + lean]),
        np.array([width / 2, wide / 2, wide / 2 + lean]),
        0.02,
        -0.02,
    )
    parts.append(move(rotate(plate, "x", -slant), (0, end, face - 0.01)))
    one_sided = electric and _chance(rng, 0.5)
    for k in range(3 if not one_sided else 6):
        y = head * (0.3 + 0.55 * k / (2 if not one_sided else 5))
        for side in (-1, 1) if not one_sided else (-1,):
            parts.append(box((0.06, 0.025, 0.02), (side * (wide / 2 + 0.02), end + y, face - 0.01 - y * np.sin(slant))))
    bridge = _u(rng, 0.2, 0.32) + (0.1 if electric == "vee" else 0)
    parts.append(box((_u(rng, 0.16, 0.28), 0.05, 0.03), (0, bridge, face + 0.01)))
    if electric:
        for k in range(_n(rng, 2, 3)):
            parts.append(box((0.2, 0.06, 0.025), (0, bridge + 0.12 * (k + 1), face + 0.01)))
        for k in range(_n(rng, 2, 4)):
            parts.append(_spin([(0.025, 0), (0.025, 0.04), (0, 0.04)], "z", (0.17 + 0.03 * k, 0.3 - 0.08 * k, face), 8))
        if _chance(rng, 0.3):
            parts.append(_rod((0.08, bridge, face + 0.03), (0.18, bridge + 0.25, face + 0.06), 0.01, 4))
    elif _chance(rng, 0.7):
        parts.append(_spin([(0.13, 0), (0.13, 0.012), (0.105, 0.012), (0.1, -0.03)], "z", (0, top * 0.68, face), 14))
    whole = join(*parts)
    pose = _pick(rng, (("flat", 0.4), ("side", 0.2), ("upright", 0.4)))
    if pose == "upright":
        return rotate(whole, "x", -_u(rng, 0.0, 0.3)) if _chance(rng, 0.15) else whole
    lying = rotate(whole, "x", -np.pi / 2)
    return rotate(lying, "y", np.pi / 2 if pose == "side" else 0.0) if pose == "side" else lying


def _piano_keys(width: float, y: float, z: float, depth: float) -> np.ndarray:
    """White keys as one ledge, black keys as blocks."""
    count = 24
    x = (np.arange(count) - (count - 1) / 2) * width / count
    black = np.arange(count) % 7
    dark = x[(black != 2) & (black != 6)] + width / count / 2
    return join(
        box((width, 0.03, depth), (0, y, z)),
        _tiles(dark, np.full(len(dark), z - depth * 0.18), width / count * 0.5, depth * 0.6, y + 0.015, 0.02, 0.9),
    )


def _upright_piano(rng: Generator) -> np.ndarray:
    w, h, d = 1.5, _u(rng, 1.05, 1.4), _u(rng, 0.28, 0.42)
    shelf, reach = _u(rng, 0.6, 0.72), _u(rng, 0.22, 0.35)
    parts = [box((w, h, d), (0, h / 2, -reach / 2)), box((w * 1.02, 0.04, d * 1.1), (0, h, -reach / 2))]
    front = d / 2 - reach / 2
    parts.append(box((w, _u(rng, 0.06, 0.14), reach), (0, shelf - 0.05, front + reach / 2)))
    parts.append(_piano_keys(w * 0.9, shelf + 0.02, front + reach * 0.6, reach * 0.6))
    parts.append(_both(box((0.06, 0.2, reach), (w / 2 - 0.03, shelf + 0.05, front + reach / 2))))
    if _chance(rng, 0.7):
        parts.append(_both(box((0.07, shelf, 0.08), (w / 2 - 0.05, shelf / 2, front + reach - 0.06))))
        parts.append(_both(box((0.09, 0.07, reach), (w / 2 - 0.05, 0.035, front + reach / 2))))
    if _chance(rng, 0.5):
        parts.append(
            rotate(
                box((w * 0.5, 0.25, 0.02), (0, shelf + 0.25, front + 0.04)),
                "x",
                -0.2,
                (0, shelf + 0.15, front + 0.04),
            )
        )
    for k in range(_n(rng, 0, 3)):
        parts.append(box((0.03, 0.02, 0.1), ((k - 1) * 0.1, 0.08, front + 0.05)))
    return join(*parts)


def _grand_piano(rng: Generator) -> np.ndarray:
    w, long = 1.5, _u(rng, 1.5, 2.6)
    high, deep = _u(rng, 0.62, 0.72), _u(rng, 0.25, 0.35)
    z = np.linspace(0, 1, 18)
    bend = _u(rng, 0.42, 0.55)
    right = w * np.interp(
        z, [0, 0.25, 0.45, 0.7, 0.9, 0.97, 1.0], [1, 1, 0.86, bend + 0.05, bend, bend * 0.75, bend * 0.4]
    )
    left, right = np.full(18, -w / 2), right - w / 2
    left[-2:] += w * np.array([0.04, 0.12])
    depth_of = z * long

    def slab(base: float, thick: float) -> np.ndarray:
        rings = _slices(depth_of, left, right, base + thick, base)
        return rings[..., [0, 2, 1]] * np.float32([1, 1, -1]) + np.float32([0, 0, long * 0.5])

    parts = [slab(high, deep)]
    if _chance(rng, 0.6):
        lid = slab(0, 0.03) + np.float32([w / 2, 0, 0])
        lid = rotate(lid, "z", _u(rng, 0.35, 0.75)) - np.float32([w / 2, -(high + deep), 0])
        parts += [
            lid,
            _rod((w * 0.35, high + deep, long * 0.2), (w * 0.25, high + deep + w * 0.33, long * 0.2), 0.02, 4),
        ]
    front = long * 0.5
    ledge = _u(rng, 0.2, 0.3)
    parts.append(box((w, 0.1, ledge), (0, high + 0.06, front + ledge / 2)))
    parts.append(_piano_keys(w * 0.9, high + 0.13, front + ledge * 0.55, ledge * 0.7))
    parts.append(_both(box((0.07, deep * 0.7, ledge), (w / 2 - 0.035, high + deep * 0.35, front + ledge / 2))))
    thick = _u(rng, 0.04, 0.08)
    for x, at in ((-w * 0.43, front - 0.1), (w * 0.43, front - 0.1), (-w * 0.2, -front + long * 0.18)):
        parts.append(
            _turned([(thick * 0.6, 0), (thick * 0.5, 0.1), (thick, high * 0.7), (thick * 1.2, high)])
            + np.float32([x, 0, at])
        )
    if _chance(rng, 0.6):
        parts += [
            box((0.25, 0.05, 0.12), (0, 0.1, front - 0.2)),
            _both(_rod((0.08, 0.1, front - 0.22), (0.08, high, front - 0.25), 0.02, 4)),
        ]
    if _chance(rng, 0.5):
        parts.append(box((w * 0.45, 0.28, 0.03), (0, high + deep + 0.14, front - 0.1)))
    return join(*parts)


def piano(rng: Generator) -> np.ndarray:
    """Triangles of a piano: uprights, grands with the lid open or shut, stage pianos; some with a bench.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, the keys towards +z.
    """
    kind = _pick(rng, (("upright", 0.45), ("grand", 0.47), ("stage", 0.08)))
    if kind == "stage":
        high = _u(rng, 0.6, 0.8)
        parts = [box((1.4, 0.14, 0.4), (0, high, 0)), _piano_keys(1.25, high + 0.08, 0.1, 0.18)]
        parts.append(_both(box((0.05, high, 0.4), (0.6, high / 2, 0))))
        parts.append(box((1.2, 0.1, 0.03), (0, high * 0.35, -0.1)))
        whole = join(*parts)
    else:
        whole = _upright_piano(rng) if kind == "upright" else _grand_piano(rng)
    if _chance(rng, 0.28):
        front, high = float(whole[..., 2].max()), _u(rng, 0.42, 0.52)
        z = front + _u(rng, 0.05, 0.4)
        seat = box((_u(rng, 0.4, 0.9), 0.1, 0.35), (0, high, z))
        legs = [box((0.05, high, 0.05), (x * 0.18, high / 2, z + s * 0.13)) for x in (-1, 1) for s in (-1, 1)]
        whole = join(whole, seat, *legs)
    return whole


# --------------------------------------------------------------------------------------------------
# Lamps
# --------------------------------------------------------------------------------------------------


def _shade(rng: Generator, radius: float, base: float, height: float) -> np.ndarray:
    """A lamp shade open at both ends, or a globe or dome."""
    kind = _pick(rng, (("taper", 0.6), ("drum", 0.14), ("dome", 0.14), ("globe", 0.12)))
    if kind == "globe":
        return _ellipsoid((radius * 0.8,) * 3, (0, base + radius * 0.7, 0))
    if kind == "dome":
        t = np.linspace(0, 1, 7)
        return _turned(np.stack([radius * np.sqrt(1 - t**2 * 0.97), base + t * height * 0.8], 1))
    top = radius * (_u(rng, 0.35, 0.8) if kind == "taper" else 1.0)
    bow = (radius + top) / 2 * (_u(rng, 0.85, 1.0) if kind == "taper" else 1.0)
    shape = _pick(rng, ((None, 0.7), ("square", 0.18), ("polygon", 0.06), ("fluted", 0.06)))
    outline = None if shape is None else _outline(rng, str(shape))
    side = _turned([(radius, base), (bow, base + height / 2), (top, base + height)], outline)
    if _chance(rng, 0.5):
        return join(side, side * np.float32([0.97, 1, 0.97]))
    return join(side, _turned([(top, base + height), (0, base + height)], outline)) if _chance(rng, 0.3) else side


def _table_lamp(rng: Generator) -> np.ndarray:
    tall = _u(rng, 0.35, 0.65)
    wide = _u(rng, 0.06, 0.2)
    kind = _pick(rng, (("turned", 0.5), ("stick", 0.3), ("block", 0.2)))
    foot = wide * _u(rng, 0.8, 1.4)
    if kind == "turned":
        knots = wide * (0.25 + 0.75 * rng.random(5))
        profile = _curve(np.stack([np.concatenate([[foot], knots, [0.02]]), np.linspace(0.02, tall, 7)], 1), 16)
        profile[:, 0] = np.maximum(profile[:, 0], 0.015)
        base = _turned(np.concatenate([np.float32([(0, 0), (foot, 0)]), profile]))
    elif kind == "stick":
        foot = _u(rng, 0.12, 0.24)
        flat = _u(rng, 0.01, 0.05)
        base = _turned([(0, 0), (foot, 0), (foot * 0.95, flat), (0.02, flat + 0.02), (0.018, tall)])
    else:
        base = join(
            box((wide * 1.3, tall * 0.8, wide * 1.3), (0, tall * 0.4, 0)),
            _rod((0, 0, 0), (0, tall, 0), 0.015),
        )
    high = _u(rng, 0.22, 0.42)
    radius = _u(rng, 0.17, 0.34)
    parts = [base, _shade(rng, radius, tall - high * _u(rng, 0.0, 0.3), high)]
    if _chance(rng, 0.25):
        parts.append(_ellipsoid((0.04, 0.06, 0.04), (0, tall + 0.05, 0)))
    return join(*parts)


def _floor_lamp(rng: Generator) -> np.ndarray:
    tall = 1.5
    thick = _u(rng, 0.012, 0.05)
    foot = _u(rng, 0.13, 0.26)
    kind = _pick(rng, (("pole", 0.6), ("tripod", 0.16), ("arc", 0.16), ("torch", 0.08)))
    parts = []
    if kind == "tripod":
        for k in range(3):
            yaw = k * TAU / 3 + 0.5
            parts.append(_rod((0, tall * 0.92, 0), (np.cos(yaw) * 0.4, 0, np.sin(yaw) * 0.4), thick * 0.7))
    elif kind == "arc":
        out = _u(rng, 0.6, 1.2)
        path = _curve([(0, 0, 0), (0, tall * 0.7, 0), (out * 0.4, tall, 0), (out, tall * 0.85, 0)], 14)
        dome = move(_shade(rng, 0.2, 0, 0.2), (out, tall * 0.65, 0))
        base = cylinder(foot, 0.05, (0, 0.025, 0))
        return join(tube(path, thick * 0.7, 6), dome, base)
    else:
        parts.append(_turned([(0, 0), (foot, 0), (foot * 0.9, _u(rng, 0.02, 0.09)), (thick, 0.11), (thick, tall)]))
    if kind == "torch":
        parts.append(_turned([(0.03, tall), (0.15, tall + 0.08), (0.22, tall + 0.2)]))
    else:
        high = _u(rng, 0.2, 0.45)
        parts.append(_shade(rng, _u(rng, 0.18, 0.36), tall - high * _u(rng, 0.2, 0.7), high))
    if _chance(rng, 0.12):
        parts.append(move(rotate(_shade(rng, 0.1, 0, 0.15), "z", 1.0), (0.15, tall * 0.6, 0)))
    return join(*parts)


def _desk_lamp(rng: Generator) -> np.ndarray:
    """Base, two arms with a joint, a head that points down and forwards."""
    lower, upper = _u(rng, 0.35, 0.55), _u(rng, 0.3, 0.5)
    lean, fold = _u(rng, -0.6, 0.2), _u(rng, 0.4, 1.3)
    elbow = np.array([0, 0.03 + lower * np.cos(lean), lower * np.sin(lean)])
    head = elbow + upper * np.array([0, np.cos(fold), np.sin(fold)])
    thick = _u(rng, 0.012, 0.025)
    foot = _u(rng, 0.12, 0.2)
    base = cylinder(foot, 0.04, (0, 0.02, 0)) if _chance(rng, 0.7) else box((foot * 2, 0.04, foot * 1.6), (0, 0.02, 0))
    if _chance(rng, 0.25):
        arms = [tube(_curve([(0, 0.03, 0), elbow, head], 12), thick, 6)]
    else:
        arms = [
            _rod((x, *a[1:]), (x, *b[1:]), thick * 0.7, 5)
            for a, b in ((np.array([0, 0.03, 0]), elbow), (elbow, head))
            for x in ((-0.02, 0.02) if foot > 0.16 else (0,))
        ]
    size = _u(rng, 0.09, 0.16)
    hood = _turned([(size * 0.25, 0.08), (size * 0.4, 0), (size * 0.9, -size), (size, -size * 1.5)])
    if _chance(rng, 0.2):
        hood = box((_u(rng, 0.1, 0.4), 0.05, 0.12), (0, 0, 0))
    hood = move(rotate(hood, "x", -_u(rng, 0.0, 0.9)), head)
    return join(base, *arms, hood, _ellipsoid((0.03, 0.03, 0.03), elbow))


def _hanging_lamp(rng: Generator) -> np.ndarray:
    drop = _u(rng, 0.25, 0.9)
    parts = [_rod((0, 0, 0), (0, -drop, 0), 0.012), cylinder(_u(rng, 0.05, 0.12), 0.04, (0, -0.02, 0))]
    if _chance(rng, 0.35):
        arms, reach = _n(rng, 3, 8), _u(rng, 0.25, 0.45)
        parts.append(_ellipsoid((0.06, 0.12, 0.06), (0, -drop, 0)))
        arm = tube(_curve([(0, -drop, 0), (reach * 0.5, -drop - 0.12, 0), (reach, -drop, 0)], 7), 0.012, 5)
        lit = join(arm, move(_shade(rng, 0.09, 0, 0.12), (reach, -drop, 0)))
        parts += [rotate(lit, "y", k * TAU / arms) for k in range(arms)]
    else:
        high = _u(rng, 0.15, 0.4)
        parts.append(_shade(rng, _u(rng, 0.18, 0.4), -drop - high, high))
    return join(*parts)


def lamp(rng: Generator) -> np.ndarray:
    """Triangles of a lamp: table, floor, tripod, arc, desk with arms, hanging, chandelier, street lamp.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    make = _pick(
        rng,
        (
            (_table_lamp, 0.42),
            (_floor_lamp, 0.22),
            (_desk_lamp, 0.2),
            (_hanging_lamp, 0.12),
            (_street_lamp, 0.04),
        ),
    )
    return rotate(make(rng), "y", _pick(rng, ((0.0, 0.5), (np.pi, 0.15), (np.pi / 2, 0.2), (-np.pi / 2, 0.15))))


def _street_lamp(rng: Generator) -> np.ndarray:
    post = _turned([(0, 0), (0.12, 0), (0.1, 0.15), (0.05, 0.2), (0.03, 1.5)])
    arms = _n(rng, 1, 3)
    if arms == 1:
        return join(
            post,
            _turned([(0.05, 1.5), (0.13, 1.75), (0.15, 1.77), (0.05, 1.88), (0, 1.93)], _outline(rng, "polygon")),
        )
    arm = join(_rod((0, 1.4, 0), (0.3, 1.45, 0), 0.02), _ellipsoid((0.09, 0.11, 0.09), (0.3, 1.56, 0)))
    return join(post, *(rotate(arm, "y", k * TAU / arms) for k in range(arms)))


# --------------------------------------------------------------------------------------------------
# People
# --------------------------------------------------------------------------------------------------

_JOINT_WEIGHTS = _curve(np.eye(3), 7)
_LINEAR_WEIGHTS = np.stack([np.interp(np.linspace(0, 2, 7), np.arange(3), row) for row in np.eye(3)], 1)


def _limbs(chains: Sequence, radii: Sequence, segments: int = 8) -> np.ndarray:
    """Smooth tubes through three joints each: chains ``[k, 3, 3]``, radii at the joints ``[k, 3]``."""
    weights = _JOINT_WEIGHTS
    spine = np.einsum("nj,kjc->knc", weights, np.asarray(chains, np.float64))
    tangent = np.gradient(spine, axis=1)
    # The reference leans so far out of every plane that a limb moves in that no limb runs along it.
    side = np.stack(
        [
            tangent[..., 1] * 0.8 - tangent[..., 2] * 0.17,
            tangent[..., 2] * 0.57 - tangent[..., 0] * 0.8,
            tangent[..., 0] * 0.17 - tangent[..., 1] * 0.57,
        ],
        -1,
    )
    side /= np.sqrt((side**2).sum(-1, keepdims=True)) + 1e-9
    a, b = np.moveaxis(side, -1, 0), np.moveaxis(tangent, -1, 0)
    up = np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], -1)
    up /= np.sqrt((up**2).sum(-1, keepdims=True)) + 1e-9
    angle = np.arange(segments)[:, None] / segments * TAU
    thick = np.einsum("nj,kj->kn", _LINEAR_WEIGHTS, np.asarray(radii, np.float64))[:, :, None, None]
    rings = spine[:, :, None] + thick * (np.cos(angle) * side[:, :, None] + np.sin(angle) * up[:, :, None])
    index = _loft_index(len(weights), segments, True)
    return rings.astype(np.float32).reshape(len(spine), -1, 3)[:, index].reshape(-1, 3, 3)


def _arm(rng: Generator, shoulder: np.ndarray, side: int, pose: str) -> np.ndarray:
    """Shoulder, elbow and wrist ``[3, 3]`` of an arm; the pose says where the two bones go."""
    upper, fore = 0.29, 0.26
    out, ahead = {
        "down": (_u(rng, 0.05, 0.3), _u(rng, -0.15, 0.2)),
        "hip": (0.75, -0.25),
        "tee": (1.5, 0.0),
        "raised": (_u(rng, 1.3, 2.6), 0.1),
        "bent": (0.15, 0.1),
        "salute": (1.3, 0.2),
        "spread": (_u(rng, 0.5, 1.0), 0.0),
        "folded": (0.2, 0.25),
    }[pose]
    elbow = shoulder + upper * np.array([side * np.sin(out), -np.cos(out) * np.cos(ahead), np.cos(out) * np.sin(ahead)])
    reach = {
        "down": (side * 0.1, -1, _u(rng, 0.0, 0.4)),
        "hip": (-side * 0.9, -0.5, 0.25),
        "tee": (side, 0, 0),
        "raised": (side * _u(rng, -0.2, 0.8), 1, 0.1),
        "bent": (-side * _u(rng, -0.2, 0.6), _u(rng, -0.2, 0.5), 1),
        "salute": (-side * 0.9, 0.75, 0.25),
        "spread": (side * np.sin(out), -np.cos(out), 0.2),
        "folded": (-side, 0.1, 0.5),
    }[pose]
    return np.stack([shoulder, elbow, elbow + fore * np.asarray(reach) / np.linalg.norm(reach)])


def _leg(rng: Generator, hip: np.ndarray, side: int, pose: str) -> np.ndarray:
    """Hip, knee and ankle ``[3, 3]`` of a leg."""
    swing, bend = 0.0, 0.0
    if pose == "walk":
        swing, bend = side * _u(rng, 0.2, 0.5), _u(rng, 0.0, 0.5)
    if pose == "sit":
        swing, bend = _u(rng, 1.3, 1.6), 1.5
    spread = side * _u(rng, 0.0, 0.16)
    thigh_long, shin = 0.43, 0.42
    knee = hip + thigh_long * np.array([np.sin(spread), -np.cos(swing), np.sin(swing)])
    low = swing - bend
    ankle = knee + shin * np.array([np.sin(spread) * 0.6, -np.cos(low), np.sin(low)])
    return np.stack([hip, knee, ankle])


def person(rng: Generator) -> np.ndarray:
    """Triangles of a person, standing in various poses, some walking or seated; slim to stout.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, facing +z except for a few.
    """
    if _chance(rng, 0.04):
        return _flat_figure(rng)
    stout = _u(rng, 0.82, 1.3)
    hip_y = 0.9
    pose = str(_pick(rng, (("stand", 0.72), ("walk", 0.2), ("sit", 0.08))))
    arms = str(
        _pick(
            rng,
            (
                ("down", 0.46),
                ("hip", 0.1),
                ("tee", 0.06),
                ("raised", 0.08),
                ("bent", 0.14),
                ("spread", 0.1),
                ("folded", 0.06),
            ),
        )
    )
    heights = np.array([hip_y - 0.08, hip_y + 0.02, hip_y + 0.15, hip_y + 0.3, hip_y + 0.42, hip_y + 0.5, hip_y + 0.56])
    waist = _u(rng, 0.78, 1.05)
    wide = np.array([0.14, 0.17, 0.15 * waist, 0.165, 0.185, 0.15, 0.06]) * stout
    deep = np.array([0.1, 0.115, 0.1 * waist, 0.12, 0.12, 0.085, 0.06]) * stout * _u(rng, 0.9, 1.1)
    if _chance(rng, 0.25):
        wide[:3], deep[:3] = wide[:3] * 1.15, deep[:3] * 1.2
    angle = np.arange(12) / 12 * TAU
    rings = np.stack(
        [np.outer(wide, np.cos(angle)), np.repeat(heights[:, None], 12, 1), np.outer(deep, np.sin(angle))], -1
    )
    parts = [_loft(rings)]
    neck = hip_y + 0.56
    parts.append(_rod((0, neck - 0.03, 0), (0, neck + 0.1, 0.01), 0.055, 8))
    turn = _u(rng, -0.5, 0.5)
    skull = _ellipsoid((0.078, 0.115, 0.098), (0, neck + 0.17, 0.015), segments=10)
    parts.append(rotate(skull, "y", turn))
    cover = _pick(rng, (("hair", 0.4), ("none", 0.25), ("long", 0.17), ("hat", 0.1), ("cap", 0.08)))
    if cover == "hair":
        parts.append(_ellipsoid((0.088, 0.09, 0.105), (0, neck + 0.21, -0.01), segments=8))
    elif cover == "long":
        parts += [
            _ellipsoid((0.09, 0.09, 0.1), (0, neck + 0.2, -0.02), segments=8),
            _ellipsoid((0.085, 0.17, 0.05), (0, neck + 0.08, -0.07), segments=8),
        ]
    elif cover in ("hat", "cap"):
        brim = 0.17 if cover == "hat" else 0.1
        parts.append(_turned([(brim, neck + 0.24), (0.095, neck + 0.245), (0.085, neck + 0.33), (0, neck + 0.34)]))
    sleeve = _u(rng, 0.038, 0.058) * stout
    other = arms if _chance(rng, 0.6) else "down"
    if arms == "raised" and _chance(rng, 0.4):
        arms, other = "salute", "down"
    chains = [
        _arm(rng, np.array([side * 0.17 * stout, neck - 0.09, 0.0]), side, how)
        for side, how in ((1, arms), (-1, other))
    ]
    parts += [_ellipsoid((0.04, 0.05, 0.04), hand + 0.27 * (hand - elbow), 8) for _, elbow, hand in chains]
    if pose != "sit" and _chance(rng, 0.15):
        hem, length = _u(rng, 0.18, 0.34), _u(rng, 0.35, 0.85)
        parts.append(
            _turned([(0.15 * stout, hip_y + 0.12), (0.19 * stout, hip_y - 0.05), (hem, hip_y - length)])
            * np.float32([1, 1, 0.8])
        )
    thigh, cuff = _u(rng, 0.085, 0.11) * stout, _u(rng, 0.045, 0.085)
    legs = [_leg(rng, np.array([side * 0.09 * stout, hip_y - 0.02, 0.0]), side, pose) for side in (1, -1)]
    parts += [_ellipsoid((0.05, 0.045, 0.13), leg[2] + (0, -0.03, 0.07), 8) for leg in legs]
    arm, shank = (sleeve * 1.25, sleeve, sleeve * 0.75), (thigh, (thigh + cuff) * 0.45, cuff)
    parts.append(_limbs([*chains, *legs], [arm, arm, shank, shank]))
    if pose != "sit" and _chance(rng, 0.1):
        parts.append(
            box((0.12, 0.3, 0.38), (0.36 * stout, 0.62, 0))
            if _chance(rng, 0.5)
            else rounded_box((0.3, 0.42, 0.16), (0, neck - 0.28, -0.2), 0.05)
        )
    whole = join(*parts)
    return rotate(whole, "y", _pick(rng, ((0.0, 0.7), (np.pi, 0.12), (rng.random() * TAU, 0.18))))


def _flat_figure(rng: Generator) -> np.ndarray:
    """A cut-out person, as the scale figures of drawings are."""
    figure = person(np.random.default_rng(rng.integers(1 << 31)))
    return figure * np.float32([1, 1, 0.02])


# --------------------------------------------------------------------------------------------------
# Stairs and tents
# --------------------------------------------------------------------------------------------------


def _flight(rng: Generator, steps: int, run: float, rise: float, width: float, style: str) -> np.ndarray:
    """One flight climbing towards -z from the origin; solid, on a sloping soffit, or open treads."""
    z = -np.arange(steps) * run
    y = (np.arange(steps) + 1) * rise
    if style == "open":
        thick = min(rise * 0.3, 0.06)
        parts = [
            box((width, thick, run * 1.05), (0, top - thick / 2, at - run / 2)) for top, at in zip(y, z, strict=True)
        ]
        slope = np.arctan2(rise, run)
        long = np.hypot(steps * run, steps * rise)
        beam = rotate(box((0.05, 0.16, long), (0, 0, 0)), "x", slope)
        middle = (0, steps * rise / 2 - 0.08, -steps * run / 2)
        spots = (0.0,) if _chance(rng, 0.25) else (-width / 2, width / 2)
        return join(*parts, *(move(beam, (middle[0] + x, *middle[1:])) for x in spots))
    edge = np.empty((2 * steps + 1, 2))
    edge[0] = (0, 0)
    edge[1::2, 0], edge[1::2, 1] = z, y
    edge[2::2, 0], edge[2::2, 1] = z - run, y
    if style == "soffit":
        floor = np.maximum(-(edge[:, 0]) * rise / run - 0.25, 0)
    else:
        floor = np.zeros(len(edge))
    rings = np.empty((len(edge), 4, 3), np.float32)
    rings[:, :, 0] = np.float32([-width / 2, width / 2, width / 2, -width / 2])
    rings[:, :2, 1], rings[:, 2:, 1] = edge[:, 1:2], np.minimum(floor, edge[:, 1])[:, None]
    rings[:, :, 2] = edge[:, :1]
    return _loft(rings)


def _railing(rng: Generator, steps: int, run: float, rise: float, x: float) -> np.ndarray:
    high, thick = _u(rng, 0.8, 1.0), _u(rng, 0.02, 0.035)
    rail = _rod((x, rise + high, -run / 2), (x, steps * rise + high, -(steps - 0.5) * run), thick)
    each = 1 if _chance(rng, 0.6) else 3
    spots = np.unique(np.append(np.arange(0, steps, each), steps - 1))
    posts = [box((thick, high, thick), (x, (k + 1) * rise + high / 2, -(k + 0.5) * run)) for k in spots]
    return join(rail, *posts)


def stairs(rng: Generator) -> np.ndarray:
    """Triangles of stairs: straight, open or solid, with railings, L and U shapes with a landing, spirals.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, climbing towards -z.
    """
    kind = _pick(rng, (("straight", 0.45), ("turn", 0.2), ("back", 0.12), ("spiral", 0.23)))
    rise, run, width = _u(rng, 0.15, 0.2), _u(rng, 0.22, 0.34), _u(rng, 0.8, 1.6)
    style = str(_pick(rng, (("solid", 0.4), ("soffit", 0.25), ("open", 0.35))))
    rails = _chance(rng, 0.55)
    if kind == "spiral":
        return _spiral(rng, rise, rails)

    def flight(steps: int) -> np.ndarray:
        parts = [_flight(rng, steps, run, rise, width, style)]
        if rails:
            parts += [
                _railing(rng, steps, run, rise, x)
                for x in ((-width / 2, width / 2) if _chance(rng, 0.7) else (width / 2,))
            ]
        return join(*parts)

    if kind == "straight":
        steps = _n(rng, 3, 8) if _chance(rng, 0.3) else _n(rng, 9, 18)
        if steps < 8:
            width *= _u(rng, 1.0, 2.0)
        return flight(steps)
    first, second = _n(rng, 4, 9), _n(rng, 4, 9)
    top, end = first * rise, -first * run
    slab = top if style == "solid" else 0.15
    low, high = flight(first), flight(second)
    if kind == "turn":
        landing = box((width, slab, width), (0, top - slab / 2, end - width / 2))
        side = 1 if _chance(rng, 0.5) else -1
        high = move(rotate(high, "y", -side * np.pi / 2), (side * width / 2, top, end - width / 2))
        parts = [low, landing, high]
        if style == "solid" and _chance(rng, 0.7):
            reach = second * run
            parts.append(box((reach, top, width), (side * (width + reach) / 2, top / 2, end - width / 2)))
        return join(*parts)
    landing = box((width * 2.1, slab, width), (width * 0.55, top - slab / 2, end - width / 2))
    return join(low, landing, move(rotate(high, "y", np.pi), (width * 1.1, top, end)))


def _spiral(rng: Generator, rise: float, rails: bool) -> np.ndarray:
    """Wedge treads about a post."""
    steps, radius = _n(rng, 10, 20), _u(rng, 0.8, 1.4)
    wedge = _u(rng, 0.3, 0.5) * (1 if _chance(rng, 0.5) else -1)
    inner = 0.06 if _chance(rng, 0.75) else radius * 0.4
    yaw = np.arange(steps) * wedge
    corner = np.stack([yaw, yaw + wedge * 1.1], 1)
    flat = np.stack([np.cos(corner), np.sin(corner)], -1)
    thick = 0.05 if _chance(rng, 0.7) else rise
    plan = np.concatenate([flat * inner, flat[:, ::-1] * radius], 1)
    rings = np.empty((steps, 2, 4, 3), np.float32)
    rings[..., 0], rings[..., 2] = plan[:, None, :, 0], plan[:, None, :, 1]
    top = (np.arange(steps) + 1) * rise
    rings[:, 0, :, 1], rings[:, 1, :, 1] = top[:, None] - thick, top[:, None]
    parts = [_loft(ring) for ring in rings]
    if inner < 0.1:
        parts.append(cylinder(0.06, steps * rise + 0.9, (0, (steps * rise + 0.9) / 2, 0), segments=10))
    if rails:
        middle = yaw + wedge / 2
        path = np.stack([np.cos(middle) * radius, top + 0.9, np.sin(middle) * radius], 1).astype(np.float32)
        parts.append(tube(path, 0.025, 6))
        parts += [box((0.025, 0.9, 0.025), (p[0], p[1] - 0.45, p[2])) for p in path]
    return join(*parts)


def tent(rng: Generator) -> np.ndarray:
    """Triangles of a tent: ridges, domes, tunnels, pyramids, tepees, pavilions on legs, marquees with walls.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the door towards +z.
    """
    kind = _pick(
        rng,
        (
            ("ridge", 0.3),
            ("dome", 0.22),
            ("pavilion", 0.18),
            ("marquee", 0.12),
            ("pyramid", 0.08),
            ("tepee", 0.04),
            ("tunnel", 0.06),
        ),
    )
    if kind in ("ridge", "marquee"):
        whole = _ridge_tent(rng, marquee=kind == "marquee")
    elif kind == "dome":
        whole = _dome_tent(rng)
    elif kind == "pavilion":
        whole = _pavilion(rng)
    elif kind == "tunnel":
        t = np.linspace(0, np.pi, 11)
        w, h, long = _u(rng, 0.6, 1.0), _u(rng, 0.5, 0.8), _u(rng, 1.2, 2.2)
        place = np.linspace(-0.5, 0.5, 5)
        size = 1 - _u(rng, 0.1, 0.6) * (2 * np.abs(place)) ** 2
        rings = np.stack(
            [
                np.stack([np.cos(t) * w * s, np.sin(t) * h * s, np.full(11, p * long)], 1)
                for p, s in zip(place, size, strict=True)
            ]
        )
        whole = _loft(rings)
    else:
        sides = 4 if kind == "pyramid" else _n(rng, 8, 16)
        angle = (np.arange(sides) + 0.5) / sides * TAU
        ring = np.stack([np.cos(angle), np.sin(angle)], 1)
        tall = _u(rng, 0.7, 1.1) if kind == "pyramid" else _u(rng, 1.4, 2.2)
        wall = tall * _u(rng, 0.0, 0.3) if kind == "pyramid" else 0.0
        whole = _turned([(1.0, 0), (0.97, wall), (0.03, tall), (0, tall)], ring)
        if kind == "tepee":
            poles = [
                _rod((x * 0.15, tall * 0.9, z * 0.15), (-x * 0.15, tall * 1.15, -z * 0.15), 0.015, 4)
                for x, z in ring[::2]
            ]
            whole = join(whole, *poles)
    if _chance(rng, 0.25):
        w, d = np.ptp(whole[..., 0]), np.ptp(whole[..., 2])
        whole = join(whole, box((w * 1.02, 0.015, d * 1.02), (*(whole[..., [0]].mean(axis=(0, 1))), -0.01, 0)))
    return rotate(whole, "y", _pick(rng, ((0.0, 0.45), (np.pi / 2, 0.4), (rng.random() * TAU, 0.15))))


def _ridge_tent(rng: Generator, marquee: bool) -> np.ndarray:
    w, long = 1.0, _u(rng, 1.0, 2.2)
    wall = _u(rng, 0.35, 0.7) if marquee else (_u(rng, 0.08, 0.25) if _chance(rng, 0.3) else 0.0)
    rise = _u(rng, 0.25, 0.5) if marquee else _u(rng, 0.45, 0.95)
    hip = _u(rng, 0.1, 0.3) * long if _chance(rng, 0.3) else 0.0
    sag = _u(rng, 0.0, 0.08)
    x = w / 2
    eave, top = wall, wall + rise
    mid = np.array([x * 0.5 - sag, eave + rise * 0.5 - sag])
    section = [(-x, 0), (-x, eave), (-mid[0], mid[1]), (0, top), (mid[0], mid[1]), (x, eave), (x, 0)]
    rings = np.empty((2, 7, 3), np.float32)
    rings[..., :2] = section
    rings[0, :, 2], rings[1, :, 2] = -long / 2, long / 2
    rings[0, 2:5, 2] += np.float32([0.5, 1, 0.5]) * hip
    rings[1, 2:5, 2] -= np.float32([0.5, 1, 0.5]) * hip
    roof = _loft(rings, caps=False, closed=_chance(rng, 0.5))
    parts = [roof]
    closing = _pick(rng, (("both", 0.5), ("back", 0.3), ("none", 0.2)))
    for end, ring in ((0, rings[0]), (1, rings[1])):
        if closing == "both" or (closing == "back" and end == 0):
            hub = np.broadcast_to(ring[[0, -1]].mean(0), (6, 3))
            parts.append(np.stack([hub, ring[:-1], ring[1:]], 1))
    if _chance(rng, 0.3):
        parts += [_rod((0, 0, z * long / 2), (0, top, z * (long / 2 - hip)), 0.012, 5) for z in (-1, 1)]
    if _chance(rng, 0.25):
        parts += [
            _rod((side * x, eave, z), (side * (x + 0.35), 0, z), 0.006, 4)
            for side in (-1, 1)
            for z in (-long / 2, 0, long / 2)
        ]
    return join(*parts)


def _dome_tent(rng: Generator) -> np.ndarray:
    w, d, h = 1.0, _u(rng, 0.7, 1.3), _u(rng, 0.45, 0.75)
    t = np.linspace(0, 1, 9)
    power = _u(rng, 0.5, 0.75)
    sides = _pick(rng, ((4, 0.5), (6, 0.25), (24, 0.25)))
    angle = (np.arange(sides) + 0.5) / sides * TAU
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    parts = [_turned(np.stack([(1 - t**2) ** power, t * h], 1), ring) * np.float32([w, 1, d])]
    if _chance(rng, 0.4):
        arc = np.linspace(0, np.pi, 9)
        size = _u(rng, 0.4, 0.6)
        front = np.stack([np.cos(arc) * size, np.sin(arc) * size * 0.8, np.full(9, d * 0.95)], 1)
        parts.append(_loft(np.stack([front, front * (1, 1, 0.4)]).astype(np.float32), caps=False, closed=False))
    if _chance(rng, 0.3):
        for side in (-1, 1):
            path = np.stack(
                [
                    ring[0, 0] * w * (1 - t**2) ** power * side,
                    t * h + 0.02,
                    ring[0, 1] * d * (1 - t**2) ** power,
                ],
                1,
            )
            parts.append(tube(path.astype(np.float32), 0.012, 4))
    return join(*parts)


def _pavilion(rng: Generator) -> np.ndarray:
    """A pointed or hipped roof on legs."""
    w, d = 1.0, _u(rng, 0.6, 1.0)
    leg, rise = _u(rng, 0.5, 0.8), _u(rng, 0.2, 0.5)
    drop = _u(rng, 0.0, 0.12)
    bow = _u(rng, 0.3, 0.55)
    square = np.float32([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    roof = _turned(
        [(1, leg - drop), (1, leg), (bow, leg + rise * (1 - bow) * _u(rng, 0.7, 1.0)), (0.01, leg + rise)],
        square,
    )
    if _chance(rng, 0.25):
        roof = roof * np.float32([1, 1, 1])
        roof[..., 0] += np.sign(roof[..., 0]) * 0.2
    parts = [roof * np.float32([w, 1, d])]
    edge = float(parts[0][..., 0].max()) * 0.97
    thick = _u(rng, 0.015, 0.04)
    parts += [box((thick, leg, thick), (x * edge, leg / 2, z * d * 0.485)) for x in (-1, 1) for z in (-1, 1)]
    if _chance(rng, 0.2):
        parts.append(box((edge * 2, leg, 0.01), (0, leg / 2, -d * 0.49)))
    return join(*parts)


GENERATORS: dict[str, Maker] = {
    "airplane": airplane,
    "bottle": bottle,
    "bowl": bowl,
    "car": car,
    "cone": cone,
    "cup": cup,
    "flower_pot": flower_pot,
    "glass_box": glass_box,
    "guitar": guitar,
    "keyboard": keyboard,
    "lamp": lamp,
    "laptop": laptop,
    "person": person,
    "piano": piano,
    "plant": plant,
    "radio": radio,
    "range_hood": range_hood,
    "sink": sink,
    "stairs": stairs,
    "tent": tent,
    "vase": vase,
    "xbox": xbox,
}
"""Category name to generator: `numpy.random.Generator` in, float32 triangles ``[T, 3, 3]`` out."""
