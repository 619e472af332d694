"""Procedural objects: sound triangles, one shape a seed, and the proportions that a category stands for."""

from __future__ import annotations

import numpy as np
import pytest

from clipzoo.data.shapes.objects import GENERATORS
from clipzoo.data.shapes.primitives import sample_surface

SEEDS = range(50)


def make(category: str, seed: int) -> np.ndarray:
    return GENERATORS[category](np.random.default_rng(seed))


def extents(category: str) -> np.ndarray:
    """Width, height and depth of fifty shapes, ``[50, 3]``."""
    return np.stack([np.ptp(make(category, seed).reshape(-1, 3), axis=0) for seed in SEEDS])


@pytest.mark.parametrize("category", sorted(GENERATORS))
def test_every_seed_gives_sound_triangles(category: str) -> None:
    for seed in SEEDS:
        triangles = make(category, seed)
        assert triangles.dtype == np.float32
        assert triangles.ndim == 3 and triangles.shape[1:] == (3, 3)
        assert np.isfinite(triangles).all()
        assert 12 <= len(triangles) <= 6000
        points = sample_surface(triangles, 256, np.random.default_rng(seed))
        size = np.ptp(points, axis=0)
        assert size.max() < 20 and np.sort(size)[1] > 0.02


@pytest.mark.parametrize("category", sorted(GENERATORS))
def test_a_seed_names_one_shape(category: str) -> None:
    for seed in range(5):
        np.testing.assert_array_equal(make(category, seed), make(category, seed))


@pytest.mark.parametrize("category", sorted(GENERATORS))
def test_seeds_differ(category: str) -> None:
    shapes = {make(category, seed).tobytes() for seed in SEEDS}
    assert len(shapes) == len(SEEDS)


@pytest.mark.parametrize("category", sorted(GENERATORS))
def test_proportions_vary(category: str) -> None:
    size = extents(category)
    ratio = size[:, 1] / size[:, [0, 2]].max(1)
    assert ratio.std() / ratio.mean() > 0.07


@pytest.mark.parametrize(
    ("category", "least"),
    [("bottle", 1.2), ("person", 0.9), ("cone", 0.8), ("vase", 0.65), ("lamp", 0.55)],
)
def test_tall_categories(category: str, least: float) -> None:
    size = extents(category)
    ratio = size[:, 1] / size[:, [0, 2]].max(1)
    assert ratio.min() > least or np.mean(ratio > least) >= 0.9
    assert np.median(ratio) > 1.2


@pytest.mark.parametrize(("category", "most"), [("bowl", 0.75), ("airplane", 0.6), ("keyboard", 0.2), ("car", 0.75)])
def test_flat_categories(category: str, most: float) -> None:
    size = extents(category)
    assert (size[:, 1] / size[:, [0, 2]].max(1)).max() < most


def test_a_car_is_longer_than_wide() -> None:
    size = extents("car")
    assert (size[:, 2] > 1.5 * size[:, 0]).all()


def test_a_laptop_faces_forwards_with_its_lid_behind() -> None:
    for seed in SEEDS:
        points = sample_surface(make("laptop", seed), 1024, np.random.default_rng(seed))
        high = points[:, 1] > np.quantile(points[:, 1], 0.8)
        assert points[high, 2].mean() < points[~high, 2].mean()


def test_stairs_climb_away_from_the_front() -> None:
    behind = 0
    for seed in SEEDS:
        points = sample_surface(make("stairs", seed), 512, np.random.default_rng(seed))
        behind += np.corrcoef(points[:, 1], points[:, 2])[0, 1] < -0.2
    assert behind > 25


@pytest.mark.parametrize("category", ["airplane", "car", "person", "vase"])
def test_bodies_are_symmetric_about_the_upright_axis(category: str) -> None:
    """The centre of the surface lies near the middle of the bounds, sideways, in most shapes."""
    off = []
    for seed in SEEDS:
        points = sample_surface(make(category, seed), 1024, np.random.default_rng(seed))
        middle = (points.min(0) + points.max(0)) / 2
        off.append(abs(points.mean(0)[0] - middle[0]) / np.ptp(points, axis=0)[0])
    assert np.median(off) < 0.06


def test_leaves_cover_more_of_a_plant_than_of_a_flower_pot() -> None:
    def high(category: str) -> float:
        shares = []
        for seed in SEEDS:
            points = sample_surface(make(category, seed), 512, np.random.default_rng(seed))
            bottom, top = points[:, 1].min(), points[:, 1].max()
            shares.append((points[:, 1] > bottom + 0.4 * (top - bottom)).mean())
        return float(np.mean(shares))

    assert high("plant") > high("flower_pot") + 0.05
