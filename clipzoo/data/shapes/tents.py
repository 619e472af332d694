"""Tents and pavilions."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import TAU, loft, rod, turned
from clipzoo.data.shapes.primitives import box, join, rotate, tube


def tent(rng: Generator) -> np.ndarray:
    """Triangles of a tent: ridges, domes, tunnels, pyramids, tepees, pavilions on legs, marquees with walls.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the door towards +z.
    """
    kind = pick(
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
        w, h, long = uniform(rng, 0.6, 1.0), uniform(rng, 0.5, 0.8), uniform(rng, 1.2, 2.2)
        place = np.linspace(-0.5, 0.5, 5)
        size = 1 - uniform(rng, 0.1, 0.6) * (2 * np.abs(place)) ** 2
        rings = np.stack(
            [
                np.stack([np.cos(t) * w * s, np.sin(t) * h * s, np.full(11, p * long)], 1)
                for p, s in zip(place, size, strict=True)
            ]
        )
        whole = loft(rings)
    else:
        sides = 4 if kind == "pyramid" else integer(rng, 8, 16)
        angle = (np.arange(sides) + 0.5) / sides * TAU
        ring = np.stack([np.cos(angle), np.sin(angle)], 1)
        tall = uniform(rng, 0.7, 1.1) if kind == "pyramid" else uniform(rng, 1.4, 2.2)
        wall = tall * uniform(rng, 0.0, 0.3) if kind == "pyramid" else 0.0
        whole = turned([(1.0, 0), (0.97, wall), (0.03, tall), (0, tall)], ring)
        if kind == "tepee":
            poles = [
                rod((x * 0.15, tall * 0.9, z * 0.15), (-x * 0.15, tall * 1.15, -z * 0.15), 0.015, 4)
                for x, z in ring[::2]
            ]
            whole = join(whole, *poles)
    if chance(rng, 0.25):
        w, d = np.ptp(whole[..., 0]), np.ptp(whole[..., 2])
        whole = join(whole, box((w * 1.02, 0.015, d * 1.02), (*(whole[..., [0]].mean(axis=(0, 1))), -0.01, 0)))
    return rotate(whole, "y", pick(rng, ((0.0, 0.45), (np.pi / 2, 0.4), (rng.random() * TAU, 0.15))))


def _ridge_tent(rng: Generator, marquee: bool) -> np.ndarray:
    w, long = 1.0, uniform(rng, 1.0, 2.2)
    wall = uniform(rng, 0.35, 0.7) if marquee else (uniform(rng, 0.08, 0.25) if chance(rng, 0.3) else 0.0)
    rise = uniform(rng, 0.25, 0.5) if marquee else uniform(rng, 0.45, 0.95)
    hip = uniform(rng, 0.1, 0.3) * long if chance(rng, 0.3) else 0.0
    sag = uniform(rng, 0.0, 0.08)
    x = w / 2
    eave, top = wall, wall + rise
    mid = np.array([x * 0.5 - sag, eave + rise * 0.5 - sag])
    section = [(-x, 0), (-x, eave), (-mid[0], mid[1]), (0, top), (mid[0], mid[1]), (x, eave), (x, 0)]
    rings = np.empty((2, 7, 3), np.float32)
    rings[..., :2] = section
    rings[0, :, 2], rings[1, :, 2] = -long / 2, long / 2
    rings[0, 2:5, 2] += np.array([0.5, 1, 0.5], np.float32) * hip
    rings[1, 2:5, 2] -= np.array([0.5, 1, 0.5], np.float32) * hip
    roof = loft(rings, caps=False, closed=chance(rng, 0.5))
    parts = [roof]
    closing = pick(rng, (("both", 0.5), ("back", 0.3), ("none", 0.2)))
    for end, ring in ((0, rings[0]), (1, rings[1])):
        if closing == "both" or (closing == "back" and end == 0):
            hub = np.broadcast_to(ring[[0, -1]].mean(0), (6, 3))
            parts.append(np.stack([hub, ring[:-1], ring[1:]], 1))
    if chance(rng, 0.3):
        parts += [rod((0, 0, z * long / 2), (0, top, z * (long / 2 - hip)), 0.012, 5) for z in (-1, 1)]
    if chance(rng, 0.25):
        parts += [
            rod((side * x, eave, z), (side * (x + 0.35), 0, z), 0.006, 4)
            for side in (-1, 1)
            for z in (-long / 2, 0, long / 2)
        ]
    return join(*parts)


def _dome_tent(rng: Generator) -> np.ndarray:
    w, d, h = 1.0, uniform(rng, 0.7, 1.3), uniform(rng, 0.45, 0.75)
    t = np.linspace(0, 1, 9)
    power = uniform(rng, 0.5, 0.75)
    sides = pick(rng, ((4, 0.5), (6, 0.25), (24, 0.25)))
    angle = (np.arange(sides) + 0.5) / sides * TAU
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    parts = [turned(np.stack([(1 - t**2) ** power, t * h], 1), ring) * np.array([w, 1, d], np.float32)]
    if chance(rng, 0.4):
        arc = np.linspace(0, np.pi, 9)
        size = uniform(rng, 0.4, 0.6)
        front = np.stack([np.cos(arc) * size, np.sin(arc) * size * 0.8, np.full(9, d * 0.95)], 1)
        parts.append(loft(np.stack([front, front * (1, 1, 0.4)]).astype(np.float32), caps=False, closed=False))
    if chance(rng, 0.3):
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
    w, d = 1.0, uniform(rng, 0.6, 1.0)
    leg, rise = uniform(rng, 0.5, 0.8), uniform(rng, 0.2, 0.5)
    drop = uniform(rng, 0.0, 0.12)
    bow = uniform(rng, 0.3, 0.55)
    square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], np.float32)
    roof = turned(
        [(1, leg - drop), (1, leg), (bow, leg + rise * (1 - bow) * uniform(rng, 0.7, 1.0)), (0.01, leg + rise)],
        square,
    )
    if chance(rng, 0.25):
        roof = roof * np.array([1, 1, 1], np.float32)
        roof[..., 0] += np.sign(roof[..., 0]) * 0.2
    parts = [roof * np.array([w, 1, d], np.float32)]
    edge = float(parts[0][..., 0].max()) * 0.97
    thick = uniform(rng, 0.015, 0.04)
    parts += [box((thick, leg, thick), (x * edge, leg / 2, z * d * 0.485)) for x in (-1, 1) for z in (-1, 1)]
    if chance(rng, 0.2):
        parts.append(box((edge * 2, leg, 0.01), (0, leg / 2, -d * 0.49)))
    return join(*parts)
