import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipzoo.errors import ConfigError, DataError
from clipzoo.images import colours
from clipzoo.images.cutouts import CUTOUT_STYLES, Cutouts, Draw
from clipzoo.images.pixels import clamp_with_gradient, mean_max_pool
from clipzoo.images.resampling import axis_weights, resize_windows
from clipzoo.images.warps import stream_key, uniforms

ORACLE = Path(__file__).parent / "oracle"


@pytest.fixture(scope="module")
def oracle() -> dict[str, torch.Tensor]:
    with np.load(ORACLE / "cutouts.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def boxes_of(size_x_y: torch.Tensor) -> torch.Tensor:
    size, x, y = size_x_y.double().unbind(1)
    return torch.stack([y, x, size, size], 1)[None]


# Against what the published code gave, for the windows that it drew.


@pytest.mark.parametrize("size", ["24x24", "16x60", "48x20", "80x80"])
def test_lanczos_and_bicubic_as_published(size: str, oracle: dict[str, torch.Tensor]) -> None:
    height, width = map(int, size.split("x"))
    image = oracle["resample/image"]
    rows, columns = (
        axis_weights("lanczos-bicubic", torch.tensor(0.0), torch.tensor(float(full)), full, wanted).float()
        for full, wanted in zip(image.shape[-2:], (height, width), strict=True)
    )
    torch.testing.assert_close(rows @ image @ columns.T, oracle[f"resample/{size}"], rtol=0, atol=1e-5)


def test_original_cutouts_as_published(oracle: dict[str, torch.Tensor]) -> None:
    image = oracle["original/image"].clone().requires_grad_()
    draw = Draw((48, 60), boxes=boxes_of(oracle["original/size_x_y"]))
    views = Cutouts("original", size=32, count=6).apply(image, draw)[0]
    views.backward(oracle["original/cotangent"])
    torch.testing.assert_close(views, oracle["original/views"], rtol=0, atol=1e-5)
    assert image.grad is not None
    scale = float(oracle["original/gradient"].abs().max())
    torch.testing.assert_close(image.grad / scale, oracle["original/gradient"] / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("power", ["1.0", "0.5"])
def test_crowsons_cutouts_as_published(power: str, oracle: dict[str, torch.Tensor]) -> None:
    draw = Draw((48, 60), boxes=boxes_of(oracle[f"crowson/{power}_size_x_y"]))
    views = Cutouts("crowson", size=32, count=6).apply(oracle["resample/image"], draw)[0]
    torch.testing.assert_close(views, oracle[f"crowson/{power}_views"], rtol=0, atol=1e-6)


def test_pooling_as_published(oracle: dict[str, torch.Tensor]) -> None:
    views = Cutouts("vqgan", size=32, count=3, augment=False)(oracle["resample/image"])
    assert views.shape == (1, 3, 3, 32, 32)
    for view in views[0]:
        torch.testing.assert_close(view, oracle["pooled"][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("style", ["clipdraw", "clipasso"])
def test_two_resamplings_are_torchvisions(style: str) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    cutouts = Cutouts(style, size=96, compose_warps=False)
    image = random_images(1, 3, 96, 96)
    draw = cutouts.draw(96, 96, seeds=5)
    views = cutouts.apply(image, draw)
    u = uniforms(5, cutouts.views, CUTOUT_STYLES[style].draws)[0]
    corners = torch.tensor([[0, 0], [95, 0], [95, 95], [0, 95]])
    signs = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    assert draw.boxes is not None
    for view in range(1 if style == "clipasso" else 0, cutouts.views):
        moved = corners + signs * (u[view, :8].reshape(4, 2) * 25).floor().long()
        tilted = functional.perspective(
            image,
            corners.tolist(),
            moved.tolist(),
            functional.InterpolationMode.BILINEAR,
            [cutouts.setting("fill")] * 3,
        )
        top, left, tall, wide = (int(value) for value in draw.boxes[0, view])
        expected = functional.resized_crop(tilted, top, left, tall, wide, [96, 96], antialias=True)
        torch.testing.assert_close(views[:, view], expected, rtol=0, atol=5e-5)


def test_clipstylers_two_resamplings_are_torchvisions() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    cutouts = Cutouts("clipstyler", size=56, count=4, compose_warps=False, options={"window": 32})
    image = random_images(1, 3, 64, 80)
    draw = cutouts.draw(64, 80, seeds=2)
    views = cutouts.apply(image, draw)
    u = uniforms(2, 4, CUTOUT_STYLES["clipstyler"].draws)[0]
    corners = torch.tensor([[0, 0], [31, 0], [31, 31], [0, 31]])
    signs = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    assert draw.boxes is not None
    for view in range(4):
        top, left = (int(value) for value in draw.boxes[0, view, :2])
        moved = corners + signs * (u[view, 2:10].reshape(4, 2) * 9).floor().long()
        window = image[..., top : top + 32, left : left + 32]
        tilted = functional.perspective(
            window, corners.tolist(), moved.tolist(), functional.InterpolationMode.BILINEAR, [0.0] * 3
        )
        expected = functional.resize(tilted, [56, 56], antialias=True)
        torch.testing.assert_close(views[:, view], expected, rtol=0, atol=5e-5)


def test_disco_shows_the_whole_image_then_squares() -> None:
    cutouts = Cutouts("disco", size=24, augment=False, options={"overview": 4, "inner": 5})
    image = random_images(1, 3, 40, 64)
    draw = cutouts.draw(40, 64, seeds=1)
    views = cutouts.apply(image, draw)[0]
    whole = F.interpolate(F.pad(image, (0, 0, 12, 12)), 24, mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(views[0], whole)
    torch.testing.assert_close(views[1], colours.grey(whole))
    torch.testing.assert_close(views[2], whole.flip(-1))
    torch.testing.assert_close(views[3], colours.grey(whole.flip(-1)))
    # A grey share of 0.2 of five is one, and one more.
    greys = [bool((view[0] - view[1]).abs().max() < 1e-6) for view in views[4:]]
    assert greys == [True, True, False, False, False]
    assert draw.boxes is not None
    top, left, side, _ = (int(value) for value in draw.boxes[0, 4])
    window = image[..., top : top + side, left : left + side]
    torch.testing.assert_close(
        views[8], F.interpolate(window, 24, mode="bicubic", antialias=True)[0], rtol=0, atol=1e-5
    )
    many = Cutouts("disco", size=24, augment=False, options={"overview": 6, "inner": 0})(image)[0]
    for view in many:
        torch.testing.assert_close(view, whole)


def test_the_second_version_takes_one_side_from_each_stratum() -> None:
    cutouts = Cutouts("crowson-v2", size=100)
    draw = cutouts.draw(300, 500, seeds=list(range(40)))
    assert draw.boxes is not None
    side = draw.boxes[..., 2]
    cumulative = torch.special.ndtr((side - 240) / 90)
    low, high = (0.5 * (1 + math.erf((bound - 240) / 90 / math.sqrt(2))) for bound in (100, 500))
    stratum = ((cumulative - low) / (high - low) * 32).clamp(0, 31.999).floor()
    assert torch.equal(stratum.sort(1).values, torch.arange(32.0, dtype=torch.float64).expand(40, -1))
    assert not torch.equal(stratum[0], stratum[1]), "the order of the strata is random"
    assert (draw.boxes[..., 0] + side <= 500).all() and (draw.boxes[..., 1] + side <= 500).all()


def test_the_second_version_pads_with_the_mean_colour() -> None:
    image = random_images(1, 3, 20, 60)
    cutouts = Cutouts("crowson-v2", size=60, count=1)
    whole = Draw((20, 60), boxes=torch.tensor([[[0.0, 0, 60, 60]]], dtype=torch.float64))
    view = cutouts.apply(image, whole)[0, 0]
    torch.testing.assert_close(view[:, 20:40], image[0], rtol=0, atol=1e-5)
    mean = image[0].mean((1, 2))[:, None, None]
    torch.testing.assert_close(view[:, :19], mean.expand(3, 19, 60), rtol=0, atol=1e-5)


def test_clipasso_shows_the_image_itself_first() -> None:
    image = random_images(2, 3, 64, 64)
    for composed in (True, False):
        views = Cutouts("clipasso", size=64, compose_warps=composed)(image, seeds=[0, 1])
        torch.testing.assert_close(views[:, 0], image, rtol=0, atol=1e-5)
        assert float((views[:, 1] - image).abs().mean()) > 0.05


def test_clipdraw_is_white_and_clipasso_black_outside() -> None:
    grey = torch.full((1, 3, 64, 64), 0.5)
    white = Cutouts("clipdraw", size=64, count=40)(grey)
    black = Cutouts("clipasso", size=64, count=40)(grey)
    assert white.max() == 1 and float(white.min()) == pytest.approx(0.5, abs=1e-5)
    assert black.min() == 0 and float(black.max()) == pytest.approx(0.5, abs=1e-5)


def test_composed_warps_show_the_same_and_are_sharper() -> None:
    smooth = F.interpolate(random_images(1, 3, 6, 6), 112, mode="bicubic").clamp(0, 1)
    once, twice = (Cutouts("clipasso", size=112, compose_warps=composed)(smooth)[0, 1:] for composed in (True, False))
    assert float((once - twice).abs().mean()) < 0.005
    noise = random_images(1, 3, 112, 112)
    once, twice = (Cutouts("clipasso", size=112, compose_warps=composed)(noise)[0, 1:] for composed in (True, False))
    assert float(once[..., 40:72, 40:72].var()) > 1.2 * float(twice[..., 40:72, 40:72].var())


def test_eleuthers_sides_are_normal() -> None:
    draw = Cutouts("eleuther", size=60, count=400, augment=False).draw(100, 150)
    assert draw.boxes is not None
    side = draw.boxes[0, :, 2]
    assert side.min() == 60 and side.max() == 100
    # P(N(0.8, 0.3) > 1) = 0.2525
    assert (side == 100).double().mean() == pytest.approx(0.2525, abs=0.07)


def test_eleuthers_and_vqgans_changes() -> None:
    image = random_images(1, 3, 80, 80)
    pooled = mean_max_pool(image, 40)
    views = Cutouts("vqgan", size=40, count=64)(image)[0]
    distance = (views - pooled).flatten(1).abs().mean(1)
    assert distance.min() > 0.001 and distance.median() < 0.5
    quiet = Cutouts("vqgan", size=40, count=64, options={"noise": 0.0, "probability": 0.0})(image)[0]
    torch.testing.assert_close(quiet, pooled.expand(64, -1, -1, -1), rtol=0, atol=1e-5)
    clamped = Cutouts("eleuther", size=40, count=16)(image)
    assert clamped.min() >= 0 and clamped.max() <= 1


# What holds for every style.

SMALL = {
    style: Cutouts(style, size=24, options={"window": 24} if style == "clipstyler" else {}) for style in CUTOUT_STYLES
}


@pytest.mark.parametrize("style", SMALL)
def test_views_do_not_depend_on_what_else_is_in_the_batch(style: str) -> None:
    cutouts, images = SMALL[style], random_images(3, 3, 50, 70)
    together = cutouts(images, seeds=[5, 2, 9], step=4)
    assert together.shape == (3, cutouts.views, 3, 24, 24)
    for place, seed in enumerate([5, 2, 9]):
        alone = cutouts(images[place : place + 1], seeds=[seed], step=4)[0]
        torch.testing.assert_close(together[place], alone, rtol=0, atol=1e-6)
    other = cutouts(images, seeds=[5, 2, 9], step=5)
    assert float((other - together).abs().mean()) > 1e-4


@pytest.mark.parametrize("style", SMALL)
def test_one_seed_gives_the_same_views_of_every_image(style: str) -> None:
    cutouts = SMALL[style]
    one = random_images(1, 3, 50, 70)
    pair = cutouts(one.expand(2, -1, -1, -1), seeds=3)
    torch.testing.assert_close(pair[0], pair[1], rtol=0, atol=1e-6)
    draw = cutouts.draw(50, 70, seeds=3)
    torch.testing.assert_close(cutouts.apply(one, draw)[0], pair[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("style", SMALL)
def test_gradients_reach_the_image(style: str, composed: bool) -> None:
    # Half grey: the gradient of hue and saturation must not be NaN there.
    images = random_images(1, 3, 48, 48)
    images[..., :24] = images[:, :1, :, :24]
    images.requires_grad_()
    cutouts = Cutouts(style, size=24, compose_warps=composed, options=SMALL[style].options)
    cutouts(images).square().sum().backward()
    assert images.grad is not None and bool(torch.isfinite(images.grad).all())
    assert float((images.grad != 0).float().mean()) > 0.5


@pytest.mark.parametrize("style", ["clipdraw", "clipasso", "crowson", "crowson-v2", "disco", "clipstyler"])
def test_views_are_linear_in_the_image_and_differentiable(style: str) -> None:
    options = {"window": 6} if style == "clipstyler" else {}
    cutouts = Cutouts(style, size=5, count=None if style == "disco" else 4, augment=False, options=options)
    images = random_images(1, 3, 12, 9, dtype=torch.float64).requires_grad_()
    draw = cutouts.draw(12, 9)
    assert torch.autograd.gradcheck(lambda x: cutouts.apply(x, draw), (images,))


def test_numbers_of_views_are_the_published_ones() -> None:
    assert {style: Cutouts(style).views for style in CUTOUT_STYLES} == {
        "clipdraw": 4, "clipasso": 5, "vqgan": 32, "crowson": 16, "crowson-v2": 32, "eleuther": 32, "original": 32,
        "disco": 16, "clipstyler": 64,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Cutouts("clipasoo"), ConfigError, "clipasso"),
        (lambda: Cutouts("crowson", options={"cut_power": 1}), ConfigError, "power"),
        (lambda: Cutouts("crowson", count=0), ConfigError, "one view"),
        (lambda: Cutouts("crowson", options={"count": 3}), ConfigError, "count"),
        (lambda: Cutouts("disco", count=3), ConfigError, "overview"),
        (lambda: Cutouts("clipstyler")(torch.zeros(1, 3, 64, 64)), DataError, "128 px"),
        (lambda: Cutouts("crowson")(torch.zeros(1, 1, 64, 64)), DataError, "RGB"),
        (lambda: Cutouts("crowson")(torch.zeros(1, 3, 64, 64).byte()), DataError, "uint8"),
        (lambda: Cutouts("crowson")(torch.zeros(1, 3, 1, 1)), DataError, "2 x 2"),
        (lambda: Cutouts("crowson")(torch.zeros(3, 3, 64, 64), seeds=[1, 2]), DataError, "3 images and 2 seeds"),
        (
            lambda: Cutouts("crowson").apply(torch.zeros(1, 3, 64, 64), Cutouts("crowson").draw(32, 32)),
            DataError,
            "64, 64",
        ),
    ],
)
def test_bad_input_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("style", [style for style in CUTOUT_STYLES if style != "clipstyler"])
def test_images_smaller_than_the_views(style: str) -> None:
    views = Cutouts(style, size=32)(random_images(1, 3, 9, 14))
    assert views.shape[2:] == (3, 32, 32) and bool(torch.isfinite(views).all())


# Colours.


def test_jitter_changes_each_image_as_it_should() -> None:
    images = random_images(5, 3, 8, 8)
    factors = torch.tensor(
        [[1, 1, 1, 0], [0.5, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 2 * math.pi / 3]], dtype=torch.float64
    )
    made = colours.jitter(images, factors)
    assert torch.equal(made[0], images[0])
    torch.testing.assert_close(made[1], images[1] / 2, rtol=0, atol=1e-5)
    luminance = colours.grey(images)
    torch.testing.assert_close(made[2], luminance[2].mean().expand(3, 8, 8), rtol=0, atol=1e-5)
    torch.testing.assert_close(made[3], luminance[3], rtol=0, atol=1e-5)
    # A third of a turn of hue exchanges the channels.
    torch.testing.assert_close(made[4], images[4].roll(1, 0), rtol=0, atol=1e-4)


def test_jitter_factors_lie_in_their_ranges() -> None:
    factors = colours.jitter_factors(uniforms(0, 3000, 5), 0.1, 0.3, 0.7)[0]
    neutral = (factors == torch.tensor([1, 1, 1, 0])).all(1)
    assert neutral.double().mean() == pytest.approx(0.3, abs=0.03)
    assert factors[:, :3].min() > 0.9 and factors[:, :3].max() < 1.1
    assert factors[:, 3].abs().max() == pytest.approx(0.6 * math.pi, abs=0.02)


def test_erased_rectangles() -> None:
    boxes = colours.erased_boxes(uniforms(0, 2000, 6), 100, probability=0.7)[0]
    empty = (boxes == 0).all(1)
    assert empty.double().mean() == pytest.approx(0.3, abs=0.04)
    top, left, tall, wide = boxes[~empty].unbind(1)
    assert (top + tall <= 100).all() and (left + wide <= 100).all()
    share = tall * wide / 1e4
    assert share.min() > 0.09 and share.max() < 0.41
    made = colours.erase(torch.ones(2, 3, 6, 6), torch.tensor([[1.0, 2, 3, 2], [0, 0, 0, 0]]))
    assert made[0, 0].sum() == 30 and (made[0, :, 1:4, 2:4] == 0).all() and (made[1] == 1).all()


def test_streams_differ_by_salt_and_place() -> None:
    keys = {
        stream_key(seed, step, view, salt)
        for seed in range(4)
        for step in range(4)
        for view in range(4)
        for salt in ("", "x")
    }
    assert len(keys) == 128 and all(0 <= key < 2**63 for key in keys)


def test_original_is_eleuthers_cut_without_its_changes() -> None:
    image = random_images(1, 3, 64, 64)
    draw = Cutouts("eleuther", size=24, count=3, augment=False).draw(64, 64)
    assert draw.boxes is not None
    expected = clamp_with_gradient(resize_windows(image, draw.boxes, 24, "lanczos-bicubic"))
    torch.testing.assert_close(Cutouts("original", size=24, count=3).apply(image, draw), expected)
