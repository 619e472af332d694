"""Depth projections: the published numbers, symmetries, gradients, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from clipzoo_points import project_depth, view_rotations

from clipzoo.errors import ConfigError, DataError

EYE = torch.eye(3)[None]


def assert_same_image(found: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (found - expected).abs()
    assert int((difference > 1e-3).sum()) == 0, "pixels differ"
    assert float(difference.max()) <= 1e-5


@pytest.mark.parametrize("seed", [0, 1])
def test_v1_zero_shot_equals_the_published_code(oracle, seed):
    stored = oracle(f"projection_seed{seed}")
    assert_same_image(project_depth(stored["points"][None], "v1")[0], stored["zero_shot_128"])


def test_v1_few_shot_equals_the_published_code(oracle):
    stored = oracle("projection_seed0")
    assert_same_image(project_depth(stored["points"][None], "v1", "few-shot")[0], stored["few_shot_224"])


@pytest.mark.parametrize("seed", [0, 1])
def test_v2_equals_the_published_code(oracle, seed):
    stored = oracle(f"projection_seed{seed}")
    assert_same_image(project_depth(stored["points"][None], "v2")[0], stored["v2_110"])


def test_v2_at_224_pixels_equals_the_published_code(oracle):
    stored = oracle("projection_seed0")
    found = project_depth(stored["points"][None], "v2", size=224)[0]
    assert_same_image(found[[0, 9]], stored["v2_224_views_0_9"])


@pytest.mark.parametrize(("views", "key"), [("zero-shot", "zero_shot"), ("few-shot", "few_shot"), ("v2", "v2")])
def test_view_rotations_equal_the_published_ones(oracle, views, key):
    # The published code multiplies rows: its matrices are transposed.
    found, stored = view_rotations(views), oracle("projection_seed0")[f"{key}_rotations"].mT
    assert found.shape == stored.shape
    assert float((found - stored).abs().max()) < 1e-6


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_the_order_of_points_does_not_matter(clouds, mode):
    order = torch.randperm(clouds.shape[1], generator=torch.Generator().manual_seed(1))
    assert_same_image(project_depth(clouds[:, order], mode), project_depth(clouds, mode))


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_a_batch_equals_its_clouds_one_by_one(clouds, mode):
    single = torch.cat([project_depth(cloud[None], mode) for cloud in clouds])
    assert_same_image(project_depth(clouds, mode), single)


@pytest.mark.parametrize(("mode", "views"), [("v1", "zero-shot"), ("v1", "few-shot"), ("v2", "v2")])
def test_rotating_a_cloud_by_a_view_gives_that_view(clouds, mode, views):
    points = clouds.double()
    options = {"size": 64, "distance": 1.5} if mode == "v1" else {}
    images = project_depth(points, mode, views, **options)
    for place, rotation in enumerate(view_rotations(views).double()):
        turned = project_depth(points @ rotation.T, mode, EYE, **options)
        assert_same_image(turned[:, 0], images[:, place])


def test_v1_is_depth_and_the_background_is_zero():
    image = project_depth(torch.tensor([[[0.0, 0.0, 0.25], [0.9, 0.9, 0.0]]]), "v1", EYE, size=32, distance=1.5)[0, 0]
    assert sorted(image[image > 0].tolist()) == pytest.approx([1.5, 1.75])
    assert int((image > 0).sum()) == 2


def test_v1_averages_depth_harmonically():
    points = torch.tensor([[[0.0, 0.0, -0.5], [0.0, 0.0, 0.5]]])
    image = project_depth(points, "v1", EYE, size=16, distance=1.5)[0, 0]
    assert float(image.max()) == pytest.approx(2 / (1 / 1.0 + 1 / 2.0))


def test_v2_fits_any_scale_and_place(clouds):
    points = clouds.double()
    assert_same_image(project_depth(points * 40 + 7, "v2"), project_depth(points, "v2"))


def test_v2_is_white_with_the_near_dark(clouds):
    images = project_depth(clouds, "v2")
    assert float(images.min()) == 0
    assert float(images.max()) == 1
    assert bool((images[..., 0, :] == 1).all())


def differences(points: torch.Tensor, loss) -> torch.Tensor:
    """Central differences of ``loss`` for every coordinate of every point."""
    found, step = torch.zeros_like(points), 1e-6
    for place in range(points.numel()):
        for sign in (1, -1):
            moved = points.clone()
            moved.view(-1)[place] += sign * step
            found.view(-1)[place] += sign * loss(moved) / (2 * step)
    return found


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_gradients_equal_finite_differences(mode):
    generator = torch.Generator().manual_seed(3)
    # Flat in depth: no point lies on the border of two slabs.
    points = (torch.rand(1, 9, 3, generator=generator, dtype=torch.float64) - 0.5) * torch.tensor([1.6, 1.5, 0.7])
    size = 16 if mode == "v1" else 110
    weights = torch.rand(size, size, generator=generator, dtype=torch.float64)

    def loss(cloud: torch.Tensor) -> torch.Tensor:
        return (project_depth(cloud, mode, EYE, size=size) * weights).sum()

    points.requires_grad_()
    loss(points).backward()
    with torch.no_grad():
        numeric = differences(points.detach(), loss)
    assert float(numeric.abs().max()) > 1e-2
    assert float((points.grad - numeric).abs().max()) < 1e-5 * float(numeric.abs().max())


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_gradients_stay_finite_with_points_outside_the_image(mode):
    points = torch.tensor([[[5.0, 5.0, -3.2], [5.0, 5.0, 0.0], [0.1, 0.0, 0.0]]], requires_grad=True)
    project_depth(points, mode, EYE).sum().backward()
    assert bool(torch.isfinite(points.grad).all())


@pytest.mark.parametrize("mode", ["v1", "v2"])
@pytest.mark.parametrize(
    "cloud",
    [
        torch.zeros(1, 3),
        torch.full((50, 3), 0.3),
        torch.full((3, 3), -0.2),
        torch.tensor([[90.0, -70.0, 400.0]]),
        torch.tensor([[0.0, 0.0, -1.6], [0.0, 0.0, 0.0]]),
        torch.tensor([[1e30, -1e30, 1e30], [0.0, 0.0, 0.0]]),
    ],
    ids=["one", "identical", "three-identical", "far", "at-the-camera", "huge"],
)
def test_degenerate_clouds_give_finite_images(mode, cloud):
    image = project_depth(cloud[None], mode)
    assert bool(torch.isfinite(image).all())
    assert float(image.min()) >= 0
    if mode == "v2":
        assert float(image.min()) == 0, "something is always seen, because the cloud is fitted"
        assert float(image.max()) <= 1


def test_v1_of_a_cloud_far_outside_is_empty():
    assert float(project_depth(torch.tensor([[[50.0, 60.0, -70.0]]]), "v1", EYE).max()) == 0


def test_an_empty_batch_gives_no_images():
    assert project_depth(torch.zeros(0, 8, 3), "v1", size=16).shape == (0, 6, 16, 16)
    assert project_depth(torch.zeros(0, 8, 3), "v2").shape == (0, 10, 110, 110)


@pytest.mark.parametrize("shape", [(4, 3), (1, 0, 3), (1, 4, 2), (1, 1, 4, 3)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(DataError, match=r"\[batch, points, 3\]") as caught:
        project_depth(torch.zeros(shape))
    assert str(tuple(shape)) in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_cloud_that_is_not_finite_is_named(clouds, value):
    clouds[2, 7, 1] = value
    with pytest.raises(DataError, match=r"clouds \[2\] of the batch"):
        project_depth(clouds)


def test_whole_numbers_are_refused():
    with pytest.raises(DataError, match=r"torch\.int64"):
        project_depth(torch.zeros(1, 4, 3, dtype=torch.int64))


def test_an_unknown_mode_is_named(clouds):
    with pytest.raises(ConfigError, match='"v3"'):
        project_depth(clouds, "v3")


def test_unknown_views_are_named_with_the_closest(clouds):
    with pytest.raises(ConfigError, match="zero-shot") as caught:
        project_depth(clouds, "v1", "zero_shots")
    assert caught.value.closest[0] == "zero-shot"


@pytest.mark.parametrize(
    "options",
    [
        {"views": torch.zeros(3, 3)},
        {"size": 1},
        {"mode": "v1", "distance": 0.0},
        {"mode": "v1", "distance": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(clouds, options):
    with pytest.raises(ConfigError):
        project_depth(clouds, **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_a_gpu_gives_the_same_images(oracle, mode):
    points = oracle("projection_seed0")["points"][None]
    assert_same_image(project_depth(points.cuda(), mode).cpu(), project_depth(points, mode))
