import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipzoo.errors import ConfigError, DataError
from clipzoo.images.resampling import mip_levels
from clipzoo.images.warps import (
    AFFINE_DRAWS,
    PERSPECTIVE_DRAWS,
    RESIZED_CROP_DRAWS,
    compose,
    crop_homography,
    flips,
    identity_like,
    normals,
    pixel_homography,
    random_affine,
    random_normal_square,
    random_perspective,
    random_resized_crop,
    random_square,
    uniforms,
    warp,
)


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth_images(count: int, side: int) -> torch.Tensor:
    """Low frequencies only, so that one and two resamplings nearly agree."""
    return F.interpolate(random_images(count, 3, 5, 5), side, mode="bicubic", align_corners=False).clamp(0, 1)


# Random numbers.


def test_numbers_depend_on_seed_step_and_view_alone() -> None:
    many = uniforms([4, 9, 7], 6, 5, step=3)
    assert torch.equal(many[1], uniforms(9, 6, 5, step=3)[0])
    assert torch.equal(many[:, :2], uniforms([4, 9, 7], 2, 5, step=3))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert torch.equal(many, uniforms([4, 9, 7], 6, 5, step=3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_numbers_of_neighbours_are_unrelated() -> None:
    made = torch.stack([uniforms(range(20), 20, 50, step=step) for step in range(2)])
    assert len(made.flatten().unique()) == made.numel()
    assert made.mean() == pytest.approx(0.5, abs=0.01) and made.var() == pytest.approx(1 / 12, abs=0.002)
    rows = made.flatten(0, 2) - 0.5
    correlation = (rows[:-1] * rows[1:]).mean() / rows.var()
    assert abs(float(correlation)) < 0.03


def test_normal_numbers_are_normal_and_their_own() -> None:
    made = normals([1, 2], 3, (4, 500))
    assert torch.equal(made[1], normals(2, 3, (4, 500))[0])
    assert made.mean() == pytest.approx(0, abs=0.05) and made.std() == pytest.approx(1, abs=0.05)


# Parameters.


def test_perspective_moves_corners_inwards_by_whole_pixels() -> None:
    u = uniforms(0, 400, PERSPECTIVE_DRAWS)
    views = random_perspective(u, 224, 224)
    # Where the corners of the image come to lie in the result: the inverse, in pixels.
    inverse = torch.linalg.inv(views)[0]
    corners = torch.tensor([[0, 0], [223, 0], [223, 223], [0, 223]], dtype=torch.float64)
    unit = torch.cat([corners / 112 - 1, torch.ones(4, 1, dtype=torch.float64)], 1)
    moved = torch.einsum("nij,kj->nki", inverse, unit)
    moved = (moved[..., :2] / moved[..., 2:] + 1) * 112
    inward = (moved - corners).abs()
    assert torch.allclose(inward, inward.round(), atol=1e-6)
    assert inward.round().min() == 0 and inward.round().max() == 56
    assert inward.mean() == pytest.approx(28, abs=0.7)


def test_probability_of_a_perspective() -> None:
    u = uniforms(0, 2000, PERSPECTIVE_DRAWS)
    same = (random_perspective(u, 64, 64, 0.5, 0.7) == identity_like(u[..., 0])).all(-1).all(-1)
    assert same.double().mean() == pytest.approx(0.3, abs=0.03)


def test_clipassos_crop_is_200_of_224_pixels() -> None:
    boxes = random_resized_crop(uniforms(0, 500, RESIZED_CROP_DRAWS), 224, 224, (0.8, 0.8), (1.0, 1.0))[0]
    assert (boxes[:, 2:] == 200).all()
    assert boxes[:, :2].min() == 0 and boxes[:, :2].max() == 24


def test_clipdraws_crop_has_its_area_and_ratio() -> None:
    boxes = random_resized_crop(uniforms(0, 2000, RESIZED_CROP_DRAWS), 224, 224, (0.7, 0.9))[0]
    share, ratio = boxes[:, 2] * boxes[:, 3] / 224**2, boxes[:, 3] / boxes[:, 2]
    assert share.min() > 0.69 and share.max() < 0.91
    assert ratio.min() > 0.74 and ratio.max() < 1.35
    assert (boxes[:, 0] + boxes[:, 2] <= 224).all() and (boxes[:, 1] + boxes[:, 3] <= 224).all()


def test_a_crop_that_never_fits_is_the_largest_in_the_middle() -> None:
    u = uniforms(0, 50, RESIZED_CROP_DRAWS)
    assert (random_resized_crop(u, 10, 100, (0.9, 0.9), (0.9, 1.1)) == torch.tensor([0, 44, 10, 11])).all()
    assert (random_resized_crop(u, 100, 10, (0.9, 0.9), (1.0, 1.0)) == torch.tensor([45, 0, 10, 10])).all()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_squares_have_the_published_sides(power: float) -> None:
    boxes = random_square(uniforms(0, 3000, 3), 300, 400, 224, power)[0]
    side = boxes[:, 2]
    assert torch.equal(side, side.round()) and side.min() >= 224 and side.max() <= 300
    assert side.mean() == pytest.approx(224 + 76 / (power + 1) - 0.5, abs=1.5)
    assert (boxes[:, 0] + side <= 300).all() and (boxes[:, 1] + side <= 400).all()
    assert (random_square(uniforms(0, 5, 3), 100, 150, 224)[0, :, 2:] == 100).all()


def test_normal_squares_are_clipped() -> None:
    side = random_normal_square(uniforms(0, 3000, 3), 500, 600, 224)[0, :, 2]
    assert side.min() == 224 and side.max() == 500
    # P(N(0.8, 0.3) > 1) = 0.2525 and P(N(0.8, 0.3) < 224 / 500) = 0.1203.
    assert (side == 500).double().mean() == pytest.approx(0.2525, abs=0.03)
    assert (side == 224).double().mean() == pytest.approx(0.1203, abs=0.03)


# Geometry.


def test_composition_is_one_warp_after_the_other() -> None:
    images = smooth_images(2, 64)
    u = uniforms([0, 1], 3, PERSPECTIVE_DRAWS + AFFINE_DRAWS)
    # Smaller, so that the first warp pushes nothing out of the frame that the second could have shown.
    first = random_affine(u[..., PERSPECTIVE_DRAWS:], 64, 64, 20, (0.05, 0.05), (0.5, 0.6), 10)
    second = random_perspective(u[..., :PERSPECTIVE_DRAWS], 64, 64, 0.3)
    once = warp(images, compose(first, second), 64)
    between = warp(images, first, 64)
    twice = warp(between.flatten(0, 1), second.flatten(0, 1)[:, None], 64)[:, 0].reshape(once.shape)
    assert float((once - twice).abs().mean()) < 0.004
    other = warp(images, compose(second, first), 64)
    assert float((other - twice).abs().mean()) > 0.02


def test_identity_flip_and_crop() -> None:
    images = random_images(2, 3, 20, 30, dtype=torch.float64)
    one = torch.zeros(1, 1)
    torch.testing.assert_close(warp(images, identity_like(one), (20, 30))[:, 0], images)
    torch.testing.assert_close(warp(images, flips(one), (20, 30))[:, 0], images.flip(-1))
    box = torch.tensor([[[4.0, 6, 10, 15]]])
    torch.testing.assert_close(warp(images, crop_homography(box, 20, 30), (10, 15))[:, 0], images[..., 4:14, 6:21])


def test_a_rotation_by_a_right_angle() -> None:
    images = random_images(1, 3, 16, 16, dtype=torch.float64)
    u = torch.full((1, 1, AFFINE_DRAWS), 0.5, dtype=torch.float64)
    u[..., 0] = 1.0  # the largest angle
    quarter = random_affine(u, 16, 16, degrees=90.0)
    torch.testing.assert_close(warp(images, quarter, 16)[:, 0], images.rot90(-1, (-2, -1)))


def test_four_points_come_from_four_points() -> None:
    result = torch.tensor([[0.0, 0], [10, 2], [9, 8], [1, 7]], dtype=torch.float64)
    source = torch.tensor([[1.0, 1], [12, 0], [12, 9], [0, 8]], dtype=torch.float64)
    matrix = pixel_homography(result, source, 10, 14).numpy()
    for to, come_from in zip(result.numpy(), source.numpy(), strict=True):
        x, y, w = matrix @ [2 * to[0] / 14 - 1, 2 * to[1] / 10 - 1, 1]
        np.testing.assert_allclose([(x / w + 1) * 7, (y / w + 1) * 5], come_from, atol=1e-10)


def test_perspective_is_torchvisions() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = random_images(1, 3, 37, 52)
    u = uniforms(3, 4, PERSPECTIVE_DRAWS)
    for fill in (0.0, 1.0):
        found = warp(images, random_perspective(u, 37, 52), (37, 52), fill=fill, border="torchvision", antialias=False)
        for view in range(4):
            inward = (u[0, view, :8].reshape(4, 2) * (torch.tensor([13, 9]) + 1)).floor().long()
            corners = torch.tensor([[0, 0], [51, 0], [51, 36], [0, 36]])
            moved = corners + torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * inward
            expected = functional.perspective(
                images, corners.tolist(), moved.tolist(), functional.InterpolationMode.BILINEAR, [fill] * 3
            )
            torch.testing.assert_close(found[:, view], expected, rtol=0, atol=5e-5)


def test_affine_is_torchvisions() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = random_images(1, 3, 40, 40)
    u = uniforms(1, 5, AFFINE_DRAWS)
    found = warp(images, random_affine(u, 40, 40, 30, (0.2, 0.1), (0.7, 1.4), 20), 40, antialias=False)
    for view in range(5):
        angle, x, y, scale, shear = u[0, view, :5].tolist()
        expected = functional.affine(
            images,
            (2 * angle - 1) * 30,
            [(2 * x - 1) * 8, (2 * y - 1) * 4],
            0.7 + 0.7 * scale,
            [(2 * shear - 1) * 20, 0.0],
            functional.InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(found[:, view], expected, rtol=0, atol=5e-5)


# Applying.


def test_views_do_not_depend_on_the_batch() -> None:
    images = random_images(4, 3, 48, 40)
    views = random_perspective(uniforms([3, 1, 4, 5], 6, PERSPECTIVE_DRAWS), 48, 40)
    together = warp(images, views, 32)
    for place, seed in enumerate([3, 1, 4, 5]):
        own = random_perspective(uniforms(seed, 6, PERSPECTIVE_DRAWS), 48, 40)
        assert torch.equal(own[0], views[place])
        torch.testing.assert_close(warp(images[place : place + 1], own, 32)[0], together[place], rtol=0, atol=1e-6)


def test_the_same_views_of_two_images_and_of_one_image_under_many_seeds() -> None:
    views = random_perspective(uniforms(2, 5, PERSPECTIVE_DRAWS), 32, 32)
    pair = random_images(2, 3, 32, 32)
    torch.testing.assert_close(warp(pair, views, 32)[1], warp(pair[1:], views, 32)[0])
    many = random_perspective(uniforms([0, 1, 2], 5, PERSPECTIVE_DRAWS), 32, 32)
    spread = warp(pair[:1], many, 32)
    assert spread.shape == (3, 5, 3, 32, 32)
    torch.testing.assert_close(spread, warp(pair[:1].expand(3, -1, -1, -1), many, 32))


def test_what_lies_outside_has_the_fill() -> None:
    away = torch.eye(3, dtype=torch.float64).reshape(1, 1, 3, 3).clone()
    away[..., 0, 2] = 5
    images = random_images(1, 3, 8, 8)
    made = warp(images, away, 8, fill=(0.1, 0.2, 0.3))[0, 0]
    torch.testing.assert_close(made, torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(3, 8, 8))
    edge = warp(images, away, 8, border="replicate")[0, 0]
    torch.testing.assert_close(edge, images[0, :, :, -1:].expand(3, 8, 8))


def test_nothing_is_seen_behind_the_camera() -> None:
    strong = torch.eye(3, dtype=torch.float64).reshape(1, 1, 3, 3).clone()
    strong[..., 2, 0] = -2  # the denominator changes sign at x = 0.5
    made = warp(torch.ones(1, 3, 16, 16), strong, 16)[0, 0, 0]
    assert (made[:, 12:] == 0).all() and made[8, 4] == 1


def test_shrinking_views_do_not_alias() -> None:
    # Stripes of one pixel: an ideal low-pass leaves grey.
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    views = crop_homography(torch.tensor([[[8.0, 8, 240, 240], [13.0, 11, 200, 200]]]), 256, 256)
    filtered, plain = warp(stripes, views, 32), warp(stripes, views, 32, antialias=False)
    assert float((filtered - 0.5).abs().max()) < 1e-3
    assert float((plain - 0.5).abs().max()) > 0.2


def test_the_pyramid_is_near_the_exact_area_filter() -> None:
    images = random_images(1, 3, 256, 256)
    views = crop_homography(torch.tensor([[[0.0, 0, 256, 256]]]), 256, 256)
    exact = F.adaptive_avg_pool2d(images, 32)
    assert float((warp(images, views, 32)[:, 0] - exact).abs().max()) < 1e-5
    assert float((warp(images, views, 32, antialias=False)[:, 0] - exact).abs().mean()) > 0.1


def test_the_level_is_that_of_the_local_scale() -> None:
    # Four source pixels lie between neighbours: the second of three levels, exactly.
    images = random_images(1, 3, 256, 256)
    views = crop_homography(torch.tensor([[[64.0, 32, 128, 128]]]), 256, 256)
    exact = F.avg_pool2d(images[..., 64:192, 32:160], 4)
    torch.testing.assert_close(warp(images, views, 32)[:, 0], exact, rtol=0, atol=1e-5)
    # A window of the size of the view is not blurred at all.
    sharp = warp(images, crop_homography(torch.tensor([[[64.0, 32, 32, 32]]]), 256, 256), 32)
    torch.testing.assert_close(sharp[:, 0], images[..., 64:96, 32:64], rtol=0, atol=1e-5)


def test_levels_cost_nothing_without_shrinking() -> None:
    assert [mip_levels(side, side, 224) for side in (64, 224, 225, 448, 449)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("border", ["fill", "replicate", "torchvision"])
def test_warps_are_differentiable(border: str) -> None:
    images = random_images(2, 2, 11, 9, dtype=torch.float64).requires_grad_()
    views = random_perspective(uniforms([0, 1], 2, PERSPECTIVE_DRAWS), 11, 9)
    assert torch.autograd.gradcheck(lambda x: warp(x, views, 6, fill=0.3, border=border), (images,))


def test_warps_have_static_shapes() -> None:
    views = random_perspective(uniforms([0, 1], 2, PERSPECTIVE_DRAWS), 24, 24)
    images = random_images(2, 3, 24, 24)
    # One graph, without a Python decision that looks at a value.
    compiled = torch.compile(lambda x, h: warp(x, h, 12), backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(images, views), warp(images, views, 12))
    other = random_perspective(uniforms([7, 8], 2, PERSPECTIVE_DRAWS), 24, 24)
    torch.testing.assert_close(compiled(images, other), warp(images, other, 12))


def test_half_precision_images_keep_their_coordinates() -> None:
    images = random_images(1, 3, 224, 224)
    views = random_perspective(uniforms(0, 2, PERSPECTIVE_DRAWS), 224, 224)
    made = warp(images.bfloat16(), views, 224)
    assert made.dtype == torch.bfloat16
    assert float((made.float() - warp(images, views, 224)).abs().max()) < 0.02


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: warp(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 3), 8), DataError, "seeds, views, 3, 3"),
        (lambda: warp(torch.zeros(3, 8, 8), torch.zeros(1, 1, 3, 3), 8), DataError, "channels"),
        (lambda: warp(torch.zeros(2, 3, 8, 8), torch.zeros(3, 1, 3, 3), 8), DataError, "as many"),
        (lambda: warp(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 3, 3), 8, border="wrap"), ConfigError, "replicate"),
        (lambda: warp(torch.zeros(1, 3, 8, 8).byte(), torch.zeros(1, 1, 3, 3), 8), DataError, "uint8"),
        (lambda: random_perspective(uniforms(0, 1, 9), 8, 8, 1.0), ConfigError, "distortion"),
        (lambda: random_affine(uniforms(0, 1, 7), 8, 8, degrees=-1), ConfigError, "non-negative"),
        (lambda: random_resized_crop(uniforms(0, 1, 22), 8, 8, (0.5, 0.1)), ConfigError, "least"),
        (lambda: uniforms([], 1, 1), ConfigError, "0 seeds"),
        (lambda: compose(), ConfigError, "nothing"),
    ],
)
def test_bad_input_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_the_normal_quantile_is_finite_at_zero() -> None:
    boxes = random_normal_square(torch.zeros(1, 1, 3, dtype=torch.float64), 100, 100, 50)
    assert math.isfinite(float(boxes.sum())) and boxes[0, 0, 2] == 50
