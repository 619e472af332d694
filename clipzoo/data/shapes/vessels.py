"""Vessels: bottle, bowl, cup, vase, cone."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import (
    TAU,
    cross_section,
    curve,
    ellipsoid,
    foliage,
    leaves,
    mirrored,
    spin,
    turned,
    wall_profile,
)
from clipzoo.data.shapes.primitives import box, cylinder, join, rotate, tube


def _bottle_profile(rng: Generator) -> np.ndarray:
    kind = pick(rng, (("shoulder", 0.34), ("slope", 0.2), ("water", 0.2), ("jar", 0.1), ("flask", 0.16)))
    body = uniform(rng, 0.11, 0.19)
    neck = body * uniform(rng, 0.26, 0.5)
    if kind == "shoulder":
        start = uniform(rng, 0.45, 0.7)
        end = start + uniform(rng, 0.04, 0.14)
        bend = start + (end - start) * 0.6
        top = max(end + 0.08, uniform(rng, 0.9, 1.0))
        return np.array(
            [
                (body * 0.93, 0),
                (body, 0.02),
                (body, start),
                (body * 0.85 + neck * 0.15, bend),
                (neck * 1.15, end),
                (neck, end + 0.03),
                (neck * 0.95, top),
            ],
            np.float32,
        )
    if kind == "slope":
        start = uniform(rng, 0.3, 0.5)
        slope = curve(
            [
                (body, start),
                (body * 0.85 + neck * 0.1, start + 0.13),
                (neck * 1.2, start + 0.3),
                (neck, start + 0.38),
            ],
            9,
        )
        return np.concatenate(
            [np.array([(body * 0.93, 0), (body, 0.02)], np.float32), slope, np.array([(neck, 1.0)], np.float32)]
        )
    if kind == "water":
        height = np.linspace(0.02, 0.72, 12)
        ridge = 1 - uniform(rng, 0.02, 0.07) * (np.arange(12) % 2)
        waist = 1 - uniform(rng, 0.0, 0.22) * np.exp(-(((height - 0.42) / 0.12) ** 2))
        side = np.stack([body * ridge * waist, height], 1)
        top = [(body * 0.7, 0.82), (neck * 1.1, 0.9), (neck, 0.92), (neck, 0.97)]
        return np.concatenate([[(body * 0.85, 0)], side, top]).astype(np.float32)
    if kind == "jar":
        body, tall = uniform(rng, 0.2, 0.3), uniform(rng, 0.7, 0.85)
        neck = body * uniform(rng, 0.6, 0.9)
        return np.array([(body * 0.9, 0), (body, 0.04), (body, tall), (neck, tall + 0.07), (neck, 0.95)], np.float32)
    low, wide = uniform(rng, 0.2, 0.45), uniform(rng, 0.16, 0.3)
    belly = curve([(wide * 0.7, 0), (wide, low), (wide * uniform(rng, 0.55, 0.8), low + 0.2), (neck, low + 0.38)], 12)
    return np.concatenate([belly, np.array([(neck, 0.97)], np.float32)])


def bottle(rng: Generator) -> np.ndarray:
    """Triangles of a standing bottle: wine, beer, water, spirits, jars, jugs and spray bottles.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, taller than wide.
    """
    profile = _bottle_profile(rng)
    profile[:, 0] *= uniform(rng, 0.8, 1.15)
    neck, top = profile[-1]
    shape = pick(rng, ((None, 0.8), ("square", 0.08), ("oval", 0.08), ("polygon", 0.04)))
    outline = None if shape is None else cross_section(rng, str(shape))
    closed = np.concatenate([[(0, 0)], profile, [(0, top)]]).astype(np.float32)
    parts = [turned(closed, outline)]
    end = pick(rng, (("lip", 0.4), ("cap", 0.35), ("plain", 0.13), ("cork", 0.07), ("pump", 0.05)))
    if end == "lip":
        parts.append(spin([(neck, top - 0.04), (neck * 1.2, top - 0.035), (neck * 1.2, top), (neck * 0.8, top)]))
    elif end == "cap":
        wide, tall = neck * uniform(rng, 1.05, 1.35), uniform(rng, 0.03, 0.09)
        parts.append(cylinder(wide, tall, (0, top + tall / 2, 0)))
    elif end == "cork":
        parts.append(cylinder(neck * 0.8, 0.06, (0, top + 0.03, 0)))
    elif end == "pump":
        parts += [
            cylinder(neck * 1.1, 0.06, (0, top + 0.03, 0)),
            cylinder(neck * 0.3, 0.14, (0, top + 0.1, 0)),
            box((0.04, 0.04, 0.17), (0, top + 0.17, 0.05)),
        ]
    if chance(rng, 0.06):
        wide = float(profile[:, 0].max())
        ear = curve(
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
    deep = pick(rng, ((uniform(rng, 0.4, 0.7), 0.45), (uniform(rng, 0.18, 0.4), 0.25), (uniform(rng, 0.7, 1.0), 0.3)))
    foot = uniform(rng, 0.1, 0.6)
    power = uniform(rng, 1.3, 3.2)
    t = np.linspace(0, 1, 10)
    radius = foot + (1 - foot) * np.sqrt(np.clip(1 - (1 - t) ** power, 0, 1)) ** uniform(rng, 0.8, 1.4)
    side = np.stack([radius, t * deep], 1)
    if chance(rng, 0.2):
        side[-3:, 0] *= np.array([0.99, 0.96, 0.91])
    if chance(rng, 0.25):
        side = np.concatenate([side, [(1 + uniform(rng, 0.04, 0.25), deep + uniform(rng, -0.01, 0.05))]])
    wall = pick(rng, ((uniform(rng, 0.015, 0.05), 0.6), (uniform(rng, 0.05, 0.12), 0.4)))
    kind = pick(rng, ((None, 0.78), ("square", 0.08), ("lobed", 0.05), ("polygon", 0.04), ("oval", 0.05)))
    outline = None if kind is None else cross_section(rng, str(kind), 32)
    parts = [turned(wall_profile(side, wall, max(wall, 0.03)), outline)]
    if chance(rng, 0.45):
        drop = uniform(rng, 0.03, 0.1)
        ring = [
            (foot * 0.95, 0.01),
            (foot * uniform(rng, 0.85, 1.05), -drop),
            (foot * 0.7, -drop),
            (foot * 0.7, 0),
        ]
        parts.append(turned(ring))
    elif chance(rng, 0.12):
        stem, base = uniform(rng, 0.1, 0.25), foot * uniform(rng, 0.8, 1.3)
        parts.append(turned([(foot * 0.5, 0.01), (foot * 0.3, -stem * 0.6), (base, -stem), (0, -stem)]))
    if chance(rng, 0.05):
        count = integer(rng, 4, 9)
        spots = foliage(rng, count, (0.5, 0.1, 0.5), (0, deep, 0))
        parts += [ellipsoid((0.17, 0.17, 0.17), spot) for spot in spots]
    return join(*parts)


def _handle(rng: Generator, radius: float, low: float, high: float) -> np.ndarray:
    """An ear on the +x side between two heights: round, square or a slim C."""
    reach = (high - low) * uniform(rng, 0.4, 0.75)
    thick = uniform(rng, 0.02, 0.05)
    x = radius * 0.96
    if chance(rng, 0.3):
        path = np.array([(x, high, 0), (x + reach, high, 0), (x + reach, low, 0), (x, low, 0)], np.float32)
    else:
        path = curve(
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
    if chance(rng, 0.4):
        ear = ear * np.array([1, 1, uniform(rng, 1.3, 2.5)], np.float32)
    return ear


def cup(rng: Generator) -> np.ndarray:
    """Triangles of a drinking vessel: mugs and teacups with a handle, tumblers, goblets, glasses on a stem.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    kind = pick(rng, (("mug", 0.5), ("tea", 0.16), ("tumbler", 0.12), ("goblet", 0.18), ("paper", 0.04)))
    parts = []
    if kind == "goblet":
        wide, deep, stem = uniform(rng, 0.2, 0.42), uniform(rng, 0.25, 0.6), uniform(rng, 0.2, 0.5)
        bulge, mouth = wide * uniform(rng, 0.9, 1.1), wide * uniform(rng, 0.72, 1.15)
        side = curve(
            [
                (0.03, stem),
                (wide * 0.75, stem + deep * 0.18),
                (bulge, stem + deep * 0.5),
                (mouth, stem + deep),
            ],
            12,
        )
        foot = wide * uniform(rng, 0.65, 1.0)
        base = [(0, 0), (foot, 0), (foot * 0.9, 0.02), (0.04, 0.06), (0.025, stem * 0.5), (0.03, stem)]
        return join(turned(wall_profile(side, 0.015, stem + 0.03)), turned(base))
    if kind == "tea":
        wide, deep = uniform(rng, 0.4, 0.55), uniform(rng, 0.38, 0.6)
        foot = wide * uniform(rng, 0.4, 0.6)
        side = curve([(foot, 0), (wide * 0.8, deep * 0.3), (wide * 0.93, deep * 0.65), (wide, deep)], 9)
        if chance(rng, 0.55):
            plate = wide * uniform(rng, 1.4, 1.8)
            parts.append(
                turned(
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
        deep = uniform(rng, 0.85, 1.1) if kind == "mug" else uniform(rng, 1.0, 1.4)
        top = uniform(rng, 0.36, 0.5)
        foot = top * (uniform(rng, 0.85, 1.0) if kind == "mug" and chance(rng, 0.7) else uniform(rng, 0.62, 0.85))
        waist = (top + foot) / 2 * uniform(rng, 0.92, 1.1)
        side = curve([(foot, 0), (waist, deep * 0.5), (top, deep)], 8)
        if chance(rng, 0.3):
            side = np.concatenate([np.array([(foot * 0.9, 0)], np.float32), side + np.array([0, 0.04], np.float32)])
    wall = uniform(rng, 0.015, 0.06)
    outline = cross_section(rng, "square" if chance(rng, 0.5) else "polygon") if chance(rng, 0.06) else None
    parts.append(turned(wall_profile(side, wall, float(side[0, 1]) + wall), outline))
    if kind in ("mug", "tea"):
        bottom, tall = float(side[0, 1]), float(side[-1, 1] - side[0, 1])
        low, high = bottom + tall * uniform(rng, 0.12, 0.35), bottom + tall * uniform(rng, 0.7, 0.93)
        reach = float(np.interp((low + high) / 2, side[:, 1], side[:, 0]))
        parts.append(_handle(rng, reach, low, high))
    if kind == "paper" or chance(rng, 0.04):
        wide, top = float(side[-1, 0]), float(side[-1, 1])
        parts.append(
            turned(
                [
                    (wide * 1.05, top - 0.05),
                    (wide * 1.05, top + 0.02),
                    (wide * 0.9, top + 0.06),
                    (0, top + 0.05),
                ]
            )
        )
    return rotate(join(*parts), "y", pick(rng, ((np.pi / 2, 0.5), (0.0, 0.2), (np.pi, 0.15), (rng.random() * 6, 0.15))))


def vase_profile(rng: Generator) -> np.ndarray:
    """Profile of a vase as (radius, height), from the foot up."""
    knots = integer(rng, 3, 6)
    kind = pick(rng, (("free", 0.35), ("urn", 0.2), ("pear", 0.2), ("straight", 0.15), ("globe", 0.1)))
    slim = uniform(rng, 0.14, 0.34) if chance(rng, 0.78) else uniform(rng, 0.34, 0.52)
    if kind == "free":
        radius = slim * (0.55 + 0.75 * rng.random(knots))
    elif kind == "urn":
        radius = slim * np.array(
            [uniform(rng, 0.4, 0.65), uniform(rng, 0.6, 0.9), 1.15, uniform(rng, 0.5, 0.8), uniform(rng, 0.55, 1.0)]
        )
    elif kind == "pear":
        neck = uniform(rng, 0.18, 0.5)
        radius = slim * np.array(
            [uniform(rng, 0.6, 0.85), 1.15, uniform(rng, 0.7, 1.0), neck * 1.1, neck, neck * uniform(rng, 1, 2)]
        )
    elif kind == "straight":
        radius = slim * np.array([uniform(rng, 0.55, 1.0), uniform(rng, 0.8, 1.0), 1.0])
    else:
        radius = uniform(rng, 0.3, 0.5) * np.array([0.55, 0.95, 1.0, 0.8, uniform(rng, 0.4, 0.7)])
    height = np.linspace(0, 1, len(radius))
    height[1:-1] += (rng.random(len(radius) - 2) - 0.5) * 0.5 / len(radius)
    smooth = 16 if chance(rng, 0.85) else len(radius)
    profile = curve(np.stack([radius, height], 1), smooth)
    profile[:, 0] = np.maximum(profile[:, 0], 0.02)
    return profile


def vase(rng: Generator) -> np.ndarray:
    """Triangles of a vase: turned profiles, flat, square, fluted, twisted, footed or with two ears.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, mostly taller than wide.
    """
    profile = vase_profile(rng)
    if chance(rng, 0.25):
        rim = float(profile[-1, 0])
        profile = np.concatenate(
            [profile, np.array([(rim * uniform(rng, 1.1, 1.5), 1.0 + uniform(rng, 0.0, 0.05))], np.float32)]
        )
    kind = pick(
        rng,
        ((None, 0.6), ("square", 0.1), ("oval", 0.08), ("polygon", 0.08), ("fluted", 0.06), ("lobed", 0.08)),
    )
    outline = None if kind is None else cross_section(rng, str(kind), 24)
    twist = uniform(rng, 0.5, 2.5) if kind in ("square", "polygon", "lobed") and chance(rng, 0.3) else 0.0
    wall = min(uniform(rng, 0.012, 0.04), 0.5 * float(profile[:, 0].min()))
    skin = wall_profile(profile, wall, 0.03)
    if chance(rng, 0.3):
        skin = skin[: len(profile) + 4]
    parts = [turned(skin, outline, twist)]
    if chance(rng, 0.15):
        foot = float(profile[0, 0]) * uniform(rng, 1.0, 1.3)
        parts.append(turned([(foot * 0.7, 0), (foot * 0.75, -0.04), (foot, -0.07), (foot, -0.1), (0, -0.1)]))
    if kind is None and chance(rng, 0.08):
        high, low = 0.92, uniform(rng, 0.5, 0.65)
        top, mid = (float(np.interp(h, profile[:, 1], profile[:, 0])) for h in (high, low))
        reach = max(top, mid) + uniform(rng, 0.06, 0.15)
        ear = curve([(top, high, 0), (reach, high - 0.02, 0), (reach, low + 0.1, 0), (mid, low, 0)], 9)
        parts.append(mirrored(tube(ear, 0.022, 6)))
    if chance(rng, 0.12):
        parts.append(stalks(rng, float(profile[-1, 0]) * 0.5, float(profile[-1, 1])))
    return join(*parts)


def stalks(rng: Generator, spread: float, top: float) -> np.ndarray:
    """Stems with flower heads that leave a vase."""
    parts = []
    for _ in range(integer(rng, 2, 6)):
        yaw, lean, tall = rng.random() * TAU, uniform(rng, 0.2, 1.2), uniform(rng, 0.3, 0.8)
        root = np.array([np.cos(yaw), 0, np.sin(yaw)])
        end = root * (spread + lean * tall * 0.6) + (0, top + tall, 0)
        path = np.stack([root * spread * 0.5 + (0, top * 0.7, 0), root * spread + (0, top + tall * 0.4, 0), end])
        parts.append(tube(path.astype(np.float32), 0.008, 4))
        head = uniform(rng, 0.04, 0.11)
        parts.append(leaves(rng, foliage(rng, 24, (head, head, head), end), head, head * 0.6))
    return join(*parts)


def cone(rng: Generator) -> np.ndarray:
    """Triangles of a cone: traffic cones on a square or round base, bare cones, cups of ice, party hats.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the point upwards except in a few.
    """
    foot = uniform(rng, 0.2, 0.42)
    kind = pick(rng, (("traffic", 0.58), ("bare", 0.27), ("ice", 0.08), ("brim", 0.07)))
    if kind == "bare":
        tip = 0.0 if chance(rng, 0.8) else foot * uniform(rng, 0.05, 0.3)
        foot *= uniform(rng, 0.7, 1.7)
        outline = cross_section(rng, "polygon") if chance(rng, 0.15) else None
        floor = [(0, 0)] if chance(rng, 0.7) else []
        solid = turned([*floor, (foot, 0), (tip, 1), *([(0, 1)] if tip else [])], outline)
        return rotate(solid, "x", np.pi) if chance(rng, 0.06) else solid
    if kind == "ice":
        wide = foot * 0.9
        return join(
            turned([(0.01, 0), (wide, 0.8), (wide * 1.1, 0.82), (wide * 1.1, 0.9), (wide * 0.9, 0.9)]),
            ellipsoid((wide, wide, wide), (0, 0.95, 0)),
        )
    if kind == "brim":
        brim = foot * uniform(rng, 1.3, 1.9)
        return turned([(0, 0), (brim, 0), (brim, 0.03), (foot, 0.05), (foot * 0.05, 1), (0, 1)])
    tip = foot * uniform(rng, 0.08, 0.3)
    thick = uniform(rng, 0.02, 0.08)
    side = [(foot, thick), (tip, 1.0)]
    if chance(rng, 0.3):
        lip = foot * 1.12
        side = [(lip, thick), (lip, thick + 0.04), (foot, thick + 0.05), (tip, 1.0)]
    if chance(rng, 0.3):
        low, high = uniform(rng, 0.35, 0.5), uniform(rng, 0.6, 0.75)
        radius = [foot + (tip - foot) * (h - thick) / (1 - thick) for h in (low, high)]
        side = [
            *side[:-1],
            (radius[0], low),
            (radius[0] * 1.06, low),
            (radius[1] * 1.06, high),
            (radius[1], high),
            side[-1],
        ]
    if chance(rng, 0.6):
        side.append((0, 1.0))
    size = 2 * foot * uniform(rng, 1.12, 1.55)
    base = pick(rng, (("square", 0.45), ("rounded", 0.35), ("round", 0.1), ("polygon", 0.1)))
    if base == "square":
        plate = box((size, thick, size), (0, thick / 2, 0))
    else:
        outline = None if base == "round" else cross_section(rng, "square" if base == "rounded" else "polygon")
        flat = size / 2 * (0.95 if base == "rounded" else 1.1)
        plate = turned([(0, 0), (flat, 0), (flat, thick), (0, thick)], outline)
    return join(plate, turned(side))
