import numpy as np
import pytest

from clipzoo.data.shapes import CATEGORIES, sample_shape, shape_dataset, shape_triangles
from clipzoo.data.shapes import primitives as p
from clipzoo.errors import ConfigError

MODELNET10 = ("bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet")


def extent(category: str, count: int = 40) -> np.ndarray:
    """Width, height and depth of some shapes of a category."""
    shapes = [shape_triangles(category, np.random.default_rng(k)).reshape(-1, 3) for k in range(count)]
    return np.array([shape.max(0) - shape.min(0) for shape in shapes])


def test_the_forty_categories_are_there() -> None:
    assert len(CATEGORIES) == 40 and set(MODELNET10) <= set(CATEGORIES)
    assert list(CATEGORIES) == sorted(CATEGORIES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_shape_is_sound_normalised_and_its_own(category) -> None:
    clouds, labels = shape_dataset(12, [category], points=256)
    assert clouds.shape == (12, 256, 3) and clouds.dtype == np.float32 and not labels.any()
    assert np.isfinite(clouds).all()
    np.testing.assert_allclose(clouds.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(clouds, axis=-1).max(1), 1, atol=1e-5)
    assert len({cloud.tobytes() for cloud in clouds}) == 12
    assert (
        np.std(extent(category, 12) / extent(category, 12).max(1, keepdims=True), axis=0).max() > 0.01
    )  # real variety


def test_a_shape_depends_on_seed_class_and_place_alone() -> None:
    few, _ = shape_dataset(2, ["chair", "table"], seed=5)
    many, _ = shape_dataset(4, ["table", "chair"], seed=5)
    np.testing.assert_array_equal(few[:2], many[4:6])
    np.testing.assert_array_equal(few[2:], many[:2])
    assert (shape_dataset(2, ["chair"], seed=6)[0] != few[:2]).any()


def test_proportions_are_those_of_the_thing() -> None:
    assert (extent("bed")[:, 2] > extent("bed")[:, 1]).mean() > 0.7  # longer than high
    assert (extent("monitor")[:, 0] > extent("monitor")[:, 2]).mean() > 0.75  # wider than deep
    assert (extent("sofa")[:, 0] > extent("sofa")[:, 1]).mean() > 0.9
    width, height, depth = extent("night_stand").T
    assert ((width / height > 0.5) & (width / height < 1.6)).all()
    assert (extent("dresser")[:, 2] < extent("dresser")[:, 0]).mean() > 0.9
    assert (extent("chair")[:, 1] > extent("chair")[:, 0]).mean() > 0.75
    assert depth.max() < 1


def test_unknown_categories_name_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean: night_stand"):
        shape_triangles("nightstand", np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least 1"):
        sample_shape("chair", np.random.default_rng(0), points=0)


def area(triangles: np.ndarray) -> float:
    edges = triangles[:, 1:] - triangles[:, :1]
    return float(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1).sum() / 2)


def volume(triangles: np.ndarray) -> float:
    return float(abs(np.einsum("ti,ti->t", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])).sum()) / 6)


@pytest.mark.parametrize(
    ("solid", "surface"),
    [
        (p.box((1, 2, 3)), 22), (p.cylinder(1, 2, segments=200), 6 * np.pi), (p.ellipsoid((1, 1, 1), segments=100), 4 * np.pi),
        (p.torus(2, 0.5, segments=200), 4 * np.pi**2), (p.extrude(np.array([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]), 1), 14),
        (p.sheet(np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]), 0.5), 4), (p.frame(3, 3, 1, 1), 8 + 8 + 12 + 4 + 8),
    ],
)  # fmt: skip
def test_primitives_have_the_area_of_their_formula(solid, surface) -> None:
    assert solid.dtype == np.float32 and solid.shape[1:] == (3, 3)
    assert area(solid) == pytest.approx(surface, rel=0.03)


def test_tube_and_revolve_agree_with_a_cylinder() -> None:
    tube = p.tube(np.array([(0, 0, 0), (0, 1, 0), (0, 2, 0)]), 1.0, segments=100)
    assert area(tube) == pytest.approx(4 * np.pi, rel=0.01)


def test_moves() -> None:
    box = p.box((1, 2, 3), (1, 0, 0))
    turned = p.rotate(box, "y", np.pi / 2)
    np.testing.assert_allclose(turned.reshape(-1, 3).mean(0), (0, 0, -1), atol=1e-6)
    np.testing.assert_allclose(np.ptp(turned.reshape(-1, 3), axis=0), (3, 2, 1), atol=1e-5)
    assert p.mirror(box, "x").reshape(-1, 3).mean(0)[0] == pytest.approx(-1)
    assert volume(p.scale(p.box((1, 1, 1)), (2, 3, 4))) == pytest.approx(24)


@pytest.mark.parametrize("pattern", ["uniform", "even", "clustered", "mixed"])
def test_points_lie_on_the_surface(pattern) -> None:
    points = p.sample_surface(p.box((1, 1, 1)), 500, np.random.default_rng(0), pattern)
    assert points.shape == (500, 3) and points.dtype == np.float32
    np.testing.assert_allclose(np.abs(points).max(1), 0.5, atol=1e-6)
    assert (np.abs(points).argmax(1)[None] == np.arange(3)[:, None]).sum(1).min() > 50  # all sides are met
