"""Stairs, straight and spiral."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import loft, rod
from clipzoo.data.shapes.primitives import box, cylinder, join, move, rotate, tube


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
        spots = (0.0,) if chance(rng, 0.25) else (-width / 2, width / 2)
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
    rings[:, :, 0] = np.array([-width / 2, width / 2, width / 2, -width / 2], np.float32)
    rings[:, :2, 1], rings[:, 2:, 1] = edge[:, 1:2], np.minimum(floor, edge[:, 1])[:, None]
    rings[:, :, 2] = edge[:, :1]
    return loft(rings)


def _railing(rng: Generator, steps: int, run: float, rise: float, x: float) -> np.ndarray:
    high, thick = uniform(rng, 0.8, 1.0), uniform(rng, 0.02, 0.035)
    rail = rod((x, rise + high, -run / 2), (x, steps * rise + high, -(steps - 0.5) * run), thick)
    each = 1 if chance(rng, 0.6) else 3
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
    kind = pick(rng, (("straight", 0.45), ("turn", 0.2), ("back", 0.12), ("spiral", 0.23)))
    rise, run, width = uniform(rng, 0.15, 0.2), uniform(rng, 0.22, 0.34), uniform(rng, 0.8, 1.6)
    style = str(pick(rng, (("solid", 0.4), ("soffit", 0.25), ("open", 0.35))))
    rails = chance(rng, 0.55)
    if kind == "spiral":
        return _spiral(rng, rise, rails)

    def flight(steps: int) -> np.ndarray:
        parts = [_flight(rng, steps, run, rise, width, style)]
        if rails:
            parts += [
                _railing(rng, steps, run, rise, x)
                for x in ((-width / 2, width / 2) if chance(rng, 0.7) else (width / 2,))
            ]
        return join(*parts)

    if kind == "straight":
        steps = integer(rng, 3, 8) if chance(rng, 0.3) else integer(rng, 9, 18)
        if steps < 8:
            width *= uniform(rng, 1.0, 2.0)
        return flight(steps)
    first, second = integer(rng, 4, 9), integer(rng, 4, 9)
    top, end = first * rise, -first * run
    slab = top if style == "solid" else 0.15
    low, high = flight(first), flight(second)
    if kind == "turn":
        landing = box((width, slab, width), (0, top - slab / 2, end - width / 2))
        side = 1 if chance(rng, 0.5) else -1
        high = move(rotate(high, "y", -side * np.pi / 2), (side * width / 2, top, end - width / 2))
        parts = [low, landing, high]
        if style == "solid" and chance(rng, 0.7):
            reach = second * run
            parts.append(box((reach, top, width), (side * (width + reach) / 2, top / 2, end - width / 2)))
        return join(*parts)
    landing = box((width * 2.1, slab, width), (width * 0.55, top - slab / 2, end - width / 2))
    return join(low, landing, move(rotate(high, "y", np.pi), (width * 1.1, top, end)))


def _spiral(rng: Generator, rise: float, rails: bool) -> np.ndarray:
    """Wedge treads about a post."""
    steps, radius = integer(rng, 10, 20), uniform(rng, 0.8, 1.4)
    wedge = uniform(rng, 0.3, 0.5) * (1 if chance(rng, 0.5) else -1)
    inner = 0.06 if chance(rng, 0.75) else radius * 0.4
    yaw = np.arange(steps) * wedge
    corner = np.stack([yaw, yaw + wedge * 1.1], 1)
    flat = np.stack([np.cos(corner), np.sin(corner)], -1)
    thick = 0.05 if chance(rng, 0.7) else rise
    plan = np.concatenate([flat * inner, flat[:, ::-1] * radius], 1)
    rings = np.empty((steps, 2, 4, 3), np.float32)
    rings[..., 0], rings[..., 2] = plan[:, None, :, 0], plan[:, None, :, 1]
    top = (np.arange(steps) + 1) * rise
    rings[:, 0, :, 1], rings[:, 1, :, 1] = top[:, None] - thick, top[:, None]
    parts = [loft(ring) for ring in rings]
    if inner < 0.1:
        parts.append(cylinder(0.06, steps * rise + 0.9, (0, (steps * rise + 0.9) / 2, 0), segments=10))
    if rails:
        middle = yaw + wedge / 2
        path = np.stack([np.cos(middle) * radius, top + 0.9, np.sin(middle) * radius], 1).astype(np.float32)
        parts.append(tube(path, 0.025, 6))
        parts += [box((0.025, 0.9, 0.025), (p[0], p[1] - 0.45, p[2])) for p in path]
    return join(*parts)
