"""Building blocks of shapes: surfaces over rings, bodies of revolution, wings, wheels, foliage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from clipzoo.data.shapes import primitives
from clipzoo.data.shapes.draws import Generator, integer, uniform
from clipzoo.data.shapes.primitives import revolve, tube

TAU = 2.0 * np.pi


@lru_cache(maxsize=256)
def loft_index(rings: int, points: int, closed: bool) -> np.ndarray:
    """Corners ``[T, 3]`` of the skin over ``rings`` rings of ``points`` points each, counted ring by ring."""
    row = np.arange(rings - 1)[:, None] * points
    col = np.arange(points if closed else points - 1)[None]
    following = (col + 1) % points
    a, b = row + col, row + following
    c, d = a + points, b + points
    return np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


def loft(rings: np.ndarray, caps: bool = True, closed: bool = True) -> np.ndarray:
    """Skin over rings ``[m, n, 3]``; caps fan from the ring centre, so rings should be star-shaped."""
    rings = np.asarray(rings, np.float32)
    skin = rings.reshape(-1, 3)[loft_index(*rings.shape[:2], closed)]
    if not caps:
        return skin
    ends = rings[[0, -1]]
    middle = np.broadcast_to(ends.mean(1, keepdims=True), ends.shape)
    return np.concatenate([skin, np.stack([middle, ends, np.roll(ends, -1, 1)], 2).reshape(-1, 3, 3)])


@lru_cache(maxsize=8)
def _ball(segments: int) -> np.ndarray:
    return primitives.ellipsoid((1.0, 1.0, 1.0), segments=segments)


def ellipsoid(radii: ArrayLike, centre: ArrayLike, segments: int = 14) -> np.ndarray:
    """An ellipsoid with three ``radii`` about ``centre``."""
    return _ball(segments) * np.asarray(radii, np.float32) + np.asarray(centre, np.float32)


_AXES = {"x": [1, 0, 2], "y": [0, 1, 2], "z": [0, 2, 1]}


def spin(profile: ArrayLike, axis: str = "y", centre: ArrayLike = (0, 0, 0), segments: int = 14) -> np.ndarray:
    """Surface of revolution of (radius, distance along the axis) about any axis."""
    return revolve(np.asarray(profile, np.float32), segments)[..., _AXES[axis]] + np.asarray(centre, np.float32)


def rod(start: ArrayLike, end: ArrayLike, radius: float, segments: int = 6) -> np.ndarray:
    """A straight tube."""
    return tube(np.asarray([start, end], np.float32), radius, segments)


def mirrored(triangles: np.ndarray) -> np.ndarray:
    """The part and its mirror image at -x."""
    return np.concatenate([triangles, triangles * np.array([-1, 1, 1], np.float32)])


def curve(points: ArrayLike | Sequence[ArrayLike], count: int = 20) -> np.ndarray:
    """Catmull-Rom curve through points ``[k, d]``, evaluated at `count` places."""
    points = np.asarray(points, np.float32)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    place = np.linspace(0, len(points) - 1, count)
    start = np.minimum(place.astype(int), len(points) - 2)
    t = (place - start)[:, None]
    a, b, c, d = (padded[start + k] for k in range(4))
    value = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    return (0.5 * value).astype(np.float32)


def cross_section(rng: Generator, kind: str, count: int = 24) -> np.ndarray:
    """Unit cross-section ``[count, 2]`` in xz: round, oval, square, polygon, fluted, lobed or wavy."""
    angle = np.arange(count) / count * TAU
    radius = np.ones(count)
    if kind == "square":
        power = uniform(rng, 4, 12)
        angle = angle + TAU / 8
        radius = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    elif kind == "polygon":
        sides = integer(rng, 3, 8)
        wedge = (angle % (TAU / sides)) - np.pi / sides
        radius = np.cos(np.pi / sides) / np.cos(wedge)
    elif kind == "fluted":
        radius = 1 + uniform(rng, 0.03, 0.08) * np.sign(np.sin(angle * integer(rng, 6, 8)))
    elif kind == "lobed":
        radius = 1 + uniform(rng, 0.1, 0.35) * np.cos(angle * integer(rng, 3, 6))
    outline = np.stack([np.cos(angle) * radius, np.sin(angle) * radius], 1)
    if kind == "oval":
        outline[:, 1] *= uniform(rng, 0.35, 0.8)
    return outline


def turned(profile: ArrayLike, outline: np.ndarray | None = None, twist: float = 0.0) -> np.ndarray:
    """Profile of (radius, height) carried round an outline; a round one if none is given."""
    profile = np.asarray(profile, np.float32)
    if outline is None:
        return revolve(profile, 20)  # a twist would not show
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
    return loft(rings, caps=False)


def wall_profile(outer: np.ndarray, wall: float, floor: float) -> np.ndarray:
    """Profile of a vessel: up the outside, over the lip, down the inside to the floor."""
    outer = np.asarray(outer, np.float32)
    inside = outer[outer[:, 1] > floor][::-1].copy()
    inside[:, 0] = np.maximum(inside[:, 0] - wall, 0.05 * wall)
    bottom = np.array([[inside[-1, 0], floor], [0.0, floor]], np.float32)
    return np.concatenate([np.array([[0.0, outer[0, 1]]], np.float32), outer, inside, bottom])


def slices(y: ArrayLike, left: ArrayLike, right: ArrayLike, front: ArrayLike, back: ArrayLike) -> np.ndarray:
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
    return loft(rings)


def foil(leading: ArrayLike, chords: ArrayLike, ratio: float, normal: str = "y") -> np.ndarray:
    """A wing or fin: sections at leading-edge points ``[k, 3]``, chord to -z, thickness along `normal`."""
    leading, chords = np.asarray(leading, np.float32), np.asarray(chords, np.float32)[:, None]
    rings = np.repeat(leading[:, None], 6, 1)
    rings[..., 2] -= chords * np.array([0, 0.25, 0.65, 1, 0.65, 0.25], np.float32)
    rings[..., 0 if normal == "x" else 1] += chords * ratio * np.array([0, 0.5, 0.35, 0, -0.35, -0.5], np.float32)
    return loft(rings)


def grass_blades(
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
    index = loft_index(steps + 1, 2, False)
    return rings.reshape(count, -1, 3)[:, index].reshape(-1, 3, 3)


def leaves(rng: Generator, centre: np.ndarray, length: float, width: float) -> np.ndarray:
    """Small diamond leaves of any direction about the centres ``[n, 3]``."""
    along = rng.normal(size=centre.shape)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, rng.normal(size=centre.shape))
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    along, across = along * length / 2, across * width / 2
    a, b, c, d = centre - along, centre + across, centre + along, centre - across
    return np.stack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)], 1).reshape(-1, 3, 3).astype(np.float32)


def foliage(rng: Generator, count: int, radii: ArrayLike, centre: ArrayLike, hollow: float = 0.5) -> np.ndarray:
    """Points ``[count, 3]`` in the outer part of an ellipsoid."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (hollow + (1 - hollow) * rng.random((count, 1))) * np.asarray(radii) + np.asarray(centre)


def wheel(radius: float, width: float, centre: ArrayLike) -> np.ndarray:
    """A wheel with a rim and a hub, its axle along x."""
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
    return spin(profile, "x", centre)
