"""The 3D toy world: procedural shapes of the ModelNet40 categories, sampled to point clouds."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from clipzoo.data.shapes.furniture import GENERATORS as _FURNITURE
from clipzoo.data.shapes.objects import GENERATORS as _OBJECTS
from clipzoo.data.shapes.primitives import Pattern, sample_surface
from clipzoo.errors import ConfigError, closest_matches

_GENERATORS = {**_FURNITURE, **_OBJECTS}
CATEGORIES: tuple[str, ...] = tuple(sorted(_GENERATORS))
"""Names as ModelNet spells them, for example ``"night_stand"``."""

__all__ = ["CATEGORIES", "sample_shape", "shape_dataset", "shape_triangles"]


def shape_triangles(category: str, generator: np.random.Generator) -> np.ndarray:
    """Triangles ``[T, 3, 3]`` of one random shape, y up, front towards +z, in metres or so.

    Raises:
        ConfigError: if there is no such category.
    """
    if category not in _GENERATORS:
        raise ConfigError(
            f'no toy shapes of the category "{category}"',
            closest=closest_matches(category, CATEGORIES),
            expected=f"one of {', '.join(CATEGORIES)}",
        )
    return _GENERATORS[category](generator)


def sample_shape(
    category: str,
    generator: np.random.Generator,
    points: int = 1024,
    pattern: Pattern = "mixed",
    normalise: bool = True,
) -> np.ndarray:
    """A point cloud ``[points, 3]`` float32 of one random shape.

    Args:
        category: one of :data:`CATEGORIES`.
        generator: source of randomness.
        points: how many, at least 1.
        pattern: how they lie on the surface, see :func:`clipzoo.data.shapes.primitives.sample_surface`.
        normalise: centre on the mean of the points and divide by the largest norm.

    Raises:
        ConfigError: if there is no such category, or ``points`` is less than 1.

    >>> sample_shape("chair", np.random.default_rng(0), points=64).shape
    (64, 3)
    """
    if points < 1:
        raise ConfigError(f"points is {points}", expected="at least 1")
    cloud = sample_surface(shape_triangles(category, generator), points, generator, pattern)
    if not normalise:
        return cloud
    cloud = cloud - cloud.mean(0)
    return cloud / max(float(np.linalg.norm(cloud, axis=1).max()), 1e-12)


def shape_dataset(
    count_per_class: int, categories: Sequence[str] | None = None, seed: int = 0, points: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """A labelled set of clouds; shape i of a class depends on (seed, class, i) and on nothing else.

    Returns:
        ``[n, points, 3]`` float32 and the index of each one's class in ``categories`` ``[n]`` int64.

    Raises:
        ConfigError: if a category does not exist.
    """
    names = CATEGORIES if categories is None else tuple(categories)
    clouds = np.empty((len(names) * count_per_class, points, 3), np.float32)
    for row in range(len(clouds)):
        name = names[row // count_per_class]
        sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode()), row % count_per_class])
        clouds[row] = sample_shape(name, np.random.default_rng(sequence), points)
    return clouds, np.repeat(np.arange(len(names)), count_per_class)
