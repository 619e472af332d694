"""Plants and their pots."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.appliances import box_shell
from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import (
    TAU,
    cross_section,
    curve,
    foliage,
    grass_blades,
    leaves,
    rod,
    turned,
    wall_profile,
)
from clipzoo.data.shapes.primitives import box, join, tube
from clipzoo.data.shapes.vessels import stalks, vase_profile


def _pot(rng: Generator, radius: float, height: float) -> np.ndarray:
    """A vessel with its soil at nine tenths of its height; tapered, square, bellied or straight."""
    kind = pick(rng, (("taper", 0.55), ("square", 0.2), ("belly", 0.15), ("straight", 0.1)))
    foot = radius * (uniform(rng, 0.9, 1.0) if kind == "straight" else uniform(rng, 0.55, 0.85))
    middle = radius * uniform(rng, 1.05, 1.25) if kind == "belly" else (foot + radius) / 2
    side = curve([(foot, 0), (middle, height * 0.5), (radius, height)], 7 if kind == "belly" else 3)
    if kind == "taper" and chance(rng, 0.5):
        lip = radius * uniform(rng, 1.06, 1.15)
        cut = height * uniform(rng, 0.72, 0.86)
        at = foot + (radius - foot) * cut / height
        side = np.array([(foot, 0), (at, cut), (lip, cut), (lip, height)], np.float32)
    outline = cross_section(rng, "square") if kind == "square" else None
    return turned(wall_profile(side, radius * 0.1, height * 0.88), outline)


def _grass(rng: Generator, radius: float, top: float, size: float) -> np.ndarray:
    """A rosette of arching blades: spider plants, agaves, sansevierias, ferns."""
    kind = pick(rng, (("arch", 0.5), ("spike", 0.25), ("broad", 0.25)))
    count = {"arch": integer(rng, 25, 60), "spike": integer(rng, 8, 20), "broad": integer(rng, 9, 22)}[str(kind)]
    bend = {"arch": uniform(rng, 1.2, 2.6), "spike": uniform(rng, 0.0, 0.6), "broad": uniform(rng, 0.8, 1.8)}[str(kind)]
    width = (
        size
        * {"arch": uniform(rng, 0.03, 0.08), "spike": uniform(rng, 0.07, 0.15), "broad": uniform(rng, 0.18, 0.35)}[
            str(kind)
        ]
    )
    yaw = rng.random(count) * TAU
    rise = np.pi / 2 - (0.15 + rng.random(count) * uniform(rng, 0.5, 1.2))
    root = np.stack([np.cos(yaw), np.zeros(count), np.sin(yaw)], 1) * radius * 0.25
    root[:, 1] = top
    return grass_blades(rng, root, yaw, size * (0.55 + 0.45 * rng.random(count)), rise, bend, width, 0.05)


def _palm(rng: Generator, top: float, size: float) -> np.ndarray:
    """A trunk, often leaning, under a crown of fronds; each frond may carry its leaflets."""
    tall = size * uniform(rng, 0.4, 0.8)
    lean = rng.normal(size=2) * 0.12 * tall
    crown = np.array([lean[0], top + tall, lean[1]])
    trunk = tube(curve([(0, top, 0), (lean[0] * 0.3, top + tall * 0.5, lean[1] * 0.3), crown], 6), size * 0.025, 6)
    count = integer(rng, 9, 20)
    yaw = np.arange(count) / count * TAU * 2.4 + rng.random(count) * 0.4
    rise = 0.1 + rng.random(count) * 1.2
    length = size * uniform(rng, 0.35, 0.6) * (0.8 + 0.4 * rng.random(count))
    fronds = grass_blades(
        rng,
        np.repeat(crown[None], count, 0),
        yaw,
        length,
        rise,
        uniform(rng, 0.9, 2.0),
        size * uniform(rng, 0.05, 0.16),
        0.1,
    )
    return join(trunk, fronds)


def _bush(rng: Generator, top: float, size: float) -> np.ndarray:
    """Small leaves in the outer part of a ball, column or cone, on a stem or straight from the soil."""
    count = integer(rng, 150, 320)
    wide, tall = size * uniform(rng, 0.28, 0.5), size * uniform(rng, 0.3, 0.55)
    stem = size * uniform(rng, 0.0, 0.5)
    spots = foliage(rng, count, (wide, tall, wide), (0, top + stem + tall * 0.85, 0), uniform(rng, 0.2, 0.8))
    if chance(rng, 0.25):
        spots[:, [0, 2]] *= np.clip(1.25 - (spots[:, 1:2] - top - stem) / (2 * tall), 0.05, 1.3)
    leaf = size * uniform(rng, 0.07, 0.15)
    parts = [
        leaves(rng, spots, leaf, leaf * uniform(rng, 0.4, 0.8)),
        rod((0, top, 0), (0, top + stem + tall, 0), size * 0.02),
    ]
    for spot in spots[: integer(rng, 0, 6)]:
        parts.append(rod((0, top + stem * 0.7, 0), spot, size * 0.01, 4))
    return join(*parts)


def _leafy(rng: Generator, top: float, size: float) -> np.ndarray:
    """Stems that each end in a few broad leaves: rubber plants, monsteras, dracaenas, trees in a tub."""
    parts = []
    for _ in range(integer(rng, 3, 8)):
        yaw, out = rng.random() * TAU, uniform(rng, 0.03, 0.35) * size
        end = np.array([np.cos(yaw) * out, top + size * uniform(rng, 0.3, 0.85), np.sin(yaw) * out])
        parts.append(
            tube(
                curve([(0, top, 0), (end[0] * 0.4, (top + end[1]) / 2, end[2] * 0.4), end], 5),
                size * 0.01,
                4,
            )
        )
        count = integer(rng, 4, 10)
        turn = rng.random(count) * TAU
        rise = uniform(rng, 0.0, 0.9) + rng.random(count) * 0.5
        along = 1 - 0.5 * rng.random((count, 1))
        root = np.array([0, top, 0]) * (1 - along) + end * along
        length = size * uniform(rng, 0.16, 0.3) * (0.7 + 0.5 * rng.random(count))
        parts.append(
            grass_blades(
                rng, root, turn, length, rise, uniform(rng, 0.5, 1.6), size * uniform(rng, 0.06, 0.16), 0.05, 4
            )
        )
    return join(*parts)


def _cactus(rng: Generator, top: float, size: float) -> np.ndarray:
    tall, thick = size * uniform(rng, 0.6, 0.95), size * uniform(rng, 0.08, 0.14)
    parts = [
        turned(
            [(thick, top), (thick, top + tall * 0.9), (thick * 0.6, top + tall), (0, top + tall * 1.02)],
            cross_section(rng, "fluted"),
        )
    ]
    for side in (-1, 1)[: integer(rng, 0, 2)]:
        low, out = top + tall * uniform(rng, 0.3, 0.5), thick * uniform(rng, 2, 3) * side
        path = curve(
            [
                (0, low, 0),
                (out * 0.8, low + 0.02, 0),
                (out, low + size * 0.1, 0),
                (out, low + tall * uniform(rng, 0.25, 0.4), 0),
            ],
            8,
        )
        parts.append(tube(path, thick * 0.6, 8))
    return join(*parts)


def _flowers(rng: Generator, top: float, size: float) -> np.ndarray:
    """A clump of leaves with flower heads on stems above it."""
    parts = [_grass(rng, size * 0.2, top, size * 0.6)]
    for _ in range(integer(rng, 3, 9)):
        yaw, out = rng.random() * TAU, uniform(rng, 0.0, 0.4) * size
        end = np.array([np.cos(yaw) * out, top + size * uniform(rng, 0.5, 0.95), np.sin(yaw) * out])
        parts.append(rod((0, top, 0), end, size * 0.008, 4))
        head = size * uniform(rng, 0.04, 0.1)
        petals = integer(rng, 5, 9)
        root = np.repeat(end[None], petals, 0)
        parts.append(
            grass_blades(
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
    kind = pick(
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
    bare = pick(rng, (("pot", 0.72), ("ground", 0.19), ("vase", 0.06), ("leaf", 0.03)))
    if bare == "ground":
        return _greenery(rng, uniform(rng, 0.05, 0.2), 0.0, 1.0)
    if bare == "leaf":
        count = integer(rng, 5, 11)
        rise = np.linspace(uniform(rng, 0.3, 1.2), np.pi - uniform(rng, 0.3, 1.2), count)
        fan = grass_blades(
            rng,
            np.zeros((count, 3)),
            np.zeros(count),
            1.0 - 0.4 * rng.random(count),
            rise,
            0.15,
            uniform(rng, 0.1, 0.22),
            0.2,
        )
        return join(fan, box((0.03, 0.4, 0.01), (0, -0.2, 0)))
    if bare == "vase":
        profile = vase_profile(rng) * uniform(rng, 0.5, 0.8)
        top = float(profile[-1, 1])
        return join(
            turned(wall_profile(profile, 0.01, 0.03)),
            stalks(rng, float(profile[-1, 0]) * 0.5, top),
            leaves(rng, foliage(rng, integer(rng, 10, 60), (0.2, 0.2, 0.2), (0, top + 0.25, 0)), 0.12, 0.06),
        )
    radius, height = uniform(rng, 0.09, 0.2), uniform(rng, 0.12, 0.34)
    return join(_pot(rng, radius, height), _greenery(rng, radius, height * 0.88, uniform(rng, 0.65, 1.2)))


def flower_pot(rng: Generator) -> np.ndarray:
    """Triangles of a flower pot, large against what grows in it; empty pots, troughs and bowls too.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    radius, height = uniform(rng, 0.22, 0.42), uniform(rng, 0.35, 0.65)
    if chance(rng, 0.14):
        length = uniform(rng, 0.5, 0.9)
        wide = uniform(rng, 0.12, 0.22)
        trough = box_shell((length * 2, height * 0.7, wide * 2), 0.03, height * 0.55)
        spots = foliage(rng, integer(rng, 60, 200), (length * 0.9, 0.25, wide), (0, height * 0.85, 0), 0.2)
        leaf = uniform(rng, 0.08, 0.15)
        return join(trough, leaves(rng, spots, leaf, leaf * 0.5)) if chance(rng, 0.7) else trough
    parts = [_pot(rng, radius, height)]
    if chance(rng, 0.25):
        plate = radius * uniform(rng, 0.9, 1.2)
        parts.append(
            turned([(0, -0.01), (plate * 0.85, -0.01), (plate, 0.07), (plate * 0.93, 0.07), (plate * 0.8, 0.02)])
        )
    if chance(rng, 0.68):
        parts.append(_greenery(rng, radius * 0.8, height * 0.88, uniform(rng, 0.45, 1.0)))
    return join(*parts)
