"""Lamps: table, floor, desk, hanging, street."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import TAU, cross_section, curve, ellipsoid, rod, turned
from clipzoo.data.shapes.primitives import box, cylinder, join, move, rotate, tube


def _shade(rng: Generator, radius: float, base: float, height: float) -> np.ndarray:
    """A lamp shade open at both ends, or a globe or dome."""
    kind = pick(rng, (("taper", 0.6), ("drum", 0.14), ("dome", 0.14), ("globe", 0.12)))
    if kind == "globe":
        return ellipsoid((radius * 0.8,) * 3, (0, base + radius * 0.7, 0))
    if kind == "dome":
        t = np.linspace(0, 1, 7)
        return turned(np.stack([radius * np.sqrt(1 - t**2 * 0.97), base + t * height * 0.8], 1))
    top = radius * (uniform(rng, 0.35, 0.8) if kind == "taper" else 1.0)
    bow = (radius + top) / 2 * (uniform(rng, 0.85, 1.0) if kind == "taper" else 1.0)
    shape = pick(rng, ((None, 0.7), ("square", 0.18), ("polygon", 0.06), ("fluted", 0.06)))
    outline = None if shape is None else cross_section(rng, str(shape))
    side = turned([(radius, base), (bow, base + height / 2), (top, base + height)], outline)
    if chance(rng, 0.5):
        return join(side, side * np.array([0.97, 1, 0.97], np.float32))
    return join(side, turned([(top, base + height), (0, base + height)], outline)) if chance(rng, 0.3) else side


def _table_lamp(rng: Generator) -> np.ndarray:
    tall = uniform(rng, 0.35, 0.65)
    wide = uniform(rng, 0.06, 0.2)
    kind = pick(rng, (("turned", 0.5), ("stick", 0.3), ("block", 0.2)))
    foot = wide * uniform(rng, 0.8, 1.4)
    if kind == "turned":
        knots = wide * (0.25 + 0.75 * rng.random(5))
        profile = curve(np.stack([np.concatenate([[foot], knots, [0.02]]), np.linspace(0.02, tall, 7)], 1), 16)
        profile[:, 0] = np.maximum(profile[:, 0], 0.015)
        base = turned(np.concatenate([np.array([(0, 0), (foot, 0)], np.float32), profile]))
    elif kind == "stick":
        foot = uniform(rng, 0.12, 0.24)
        flat = uniform(rng, 0.01, 0.05)
        base = turned([(0, 0), (foot, 0), (foot * 0.95, flat), (0.02, flat + 0.02), (0.018, tall)])
    else:
        base = join(
            box((wide * 1.3, tall * 0.8, wide * 1.3), (0, tall * 0.4, 0)),
            rod((0, 0, 0), (0, tall, 0), 0.015),
        )
    high = uniform(rng, 0.22, 0.42)
    radius = uniform(rng, 0.17, 0.34)
    parts = [base, _shade(rng, radius, tall - high * uniform(rng, 0.0, 0.3), high)]
    if chance(rng, 0.25):
        parts.append(ellipsoid((0.04, 0.06, 0.04), (0, tall + 0.05, 0)))
    return join(*parts)


def _floor_lamp(rng: Generator) -> np.ndarray:
    tall = 1.5
    thick = uniform(rng, 0.012, 0.05)
    foot = uniform(rng, 0.13, 0.26)
    kind = pick(rng, (("pole", 0.6), ("tripod", 0.16), ("arc", 0.16), ("torch", 0.08)))
    parts = []
    if kind == "tripod":
        for k in range(3):
            yaw = k * TAU / 3 + 0.5
            parts.append(rod((0, tall * 0.92, 0), (np.cos(yaw) * 0.4, 0, np.sin(yaw) * 0.4), thick * 0.7))
    elif kind == "arc":
        out = uniform(rng, 0.6, 1.2)
        path = curve([(0, 0, 0), (0, tall * 0.7, 0), (out * 0.4, tall, 0), (out, tall * 0.85, 0)], 14)
        dome = move(_shade(rng, 0.2, 0, 0.2), (out, tall * 0.65, 0))
        base = cylinder(foot, 0.05, (0, 0.025, 0))
        return join(tube(path, thick * 0.7, 6), dome, base)
    else:
        parts.append(turned([(0, 0), (foot, 0), (foot * 0.9, uniform(rng, 0.02, 0.09)), (thick, 0.11), (thick, tall)]))
    if kind == "torch":
        parts.append(turned([(0.03, tall), (0.15, tall + 0.08), (0.22, tall + 0.2)]))
    else:
        high = uniform(rng, 0.2, 0.45)
        parts.append(_shade(rng, uniform(rng, 0.18, 0.36), tall - high * uniform(rng, 0.2, 0.7), high))
    if chance(rng, 0.12):
        parts.append(move(rotate(_shade(rng, 0.1, 0, 0.15), "z", 1.0), (0.15, tall * 0.6, 0)))
    return join(*parts)


def _desk_lamp(rng: Generator) -> np.ndarray:
    """Base, two arms with a joint, a head that points down and forwards."""
    lower, upper = uniform(rng, 0.35, 0.55), uniform(rng, 0.3, 0.5)
    lean, fold = uniform(rng, -0.6, 0.2), uniform(rng, 0.4, 1.3)
    elbow = np.array([0, 0.03 + lower * np.cos(lean), lower * np.sin(lean)])
    head = elbow + upper * np.array([0, np.cos(fold), np.sin(fold)])
    thick = uniform(rng, 0.012, 0.025)
    foot = uniform(rng, 0.12, 0.2)
    base = cylinder(foot, 0.04, (0, 0.02, 0)) if chance(rng, 0.7) else box((foot * 2, 0.04, foot * 1.6), (0, 0.02, 0))
    if chance(rng, 0.25):
        arms = [tube(curve([(0, 0.03, 0), elbow, head], 12), thick, 6)]
    else:
        arms = [
            rod((x, *a[1:]), (x, *b[1:]), thick * 0.7, 5)
            for a, b in ((np.array([0, 0.03, 0]), elbow), (elbow, head))
            for x in ((-0.02, 0.02) if foot > 0.16 else (0,))
        ]
    size = uniform(rng, 0.09, 0.16)
    hood = turned([(size * 0.25, 0.08), (size * 0.4, 0), (size * 0.9, -size), (size, -size * 1.5)])
    if chance(rng, 0.2):
        hood = box((uniform(rng, 0.1, 0.4), 0.05, 0.12), (0, 0, 0))
    hood = move(rotate(hood, "x", -uniform(rng, 0.0, 0.9)), head)
    return join(base, *arms, hood, ellipsoid((0.03, 0.03, 0.03), elbow))


def _hanging_lamp(rng: Generator) -> np.ndarray:
    drop = uniform(rng, 0.25, 0.9)
    parts = [rod((0, 0, 0), (0, -drop, 0), 0.012), cylinder(uniform(rng, 0.05, 0.12), 0.04, (0, -0.02, 0))]
    if chance(rng, 0.35):
        arms, reach = integer(rng, 3, 8), uniform(rng, 0.25, 0.45)
        parts.append(ellipsoid((0.06, 0.12, 0.06), (0, -drop, 0)))
        arm = tube(curve([(0, -drop, 0), (reach * 0.5, -drop - 0.12, 0), (reach, -drop, 0)], 7), 0.012, 5)
        lit = join(arm, move(_shade(rng, 0.09, 0, 0.12), (reach, -drop, 0)))
        parts += [rotate(lit, "y", k * TAU / arms) for k in range(arms)]
    else:
        high = uniform(rng, 0.15, 0.4)
        parts.append(_shade(rng, uniform(rng, 0.18, 0.4), -drop - high, high))
    return join(*parts)


def lamp(rng: Generator) -> np.ndarray:
    """Triangles of a lamp: table, floor, tripod, arc, desk with arms, hanging, chandelier, street lamp.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    make = pick(
        rng,
        (
            (_table_lamp, 0.42),
            (_floor_lamp, 0.22),
            (_desk_lamp, 0.2),
            (_hanging_lamp, 0.12),
            (_street_lamp, 0.04),
        ),
    )
    return rotate(make(rng), "y", pick(rng, ((0.0, 0.5), (np.pi, 0.15), (np.pi / 2, 0.2), (-np.pi / 2, 0.15))))


def _street_lamp(rng: Generator) -> np.ndarray:
    post = turned([(0, 0), (0.12, 0), (0.1, 0.15), (0.05, 0.2), (0.03, 1.5)])
    arms = integer(rng, 1, 3)
    if arms == 1:
        return join(
            post,
            turned([(0.05, 1.5), (0.13, 1.75), (0.15, 1.77), (0.05, 1.88), (0, 1.93)], cross_section(rng, "polygon")),
        )
    arm = join(rod((0, 1.4, 0), (0.3, 1.45, 0), 0.02), ellipsoid((0.09, 0.11, 0.09), (0.3, 1.56, 0)))
    return join(post, *(rotate(arm, "y", k * TAU / arms) for k in range(arms)))
