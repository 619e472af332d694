import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipzoo.encoders import pixels as encoder_pixels
from clipzoo.errors import ConfigError, DataError
from clipzoo.images.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    PIXEL_PRESETS,
    PixelContract,
    area_matrix,
    check_range,
    clamp_with_gradient,
    clip_pixels,
    mean_max_pool,
)
from clipzoo.images.resampling import WINDOW_KERNELS, axis_weights, resize_windows

ORACLE = Path(__file__).parent / "oracle"


@pytest.fixture(scope="module")
def oracle() -> dict[str, torch.Tensor]:
    with np.load(ORACLE / "pixels.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# The area matrix.


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_area_matrix_is_repeating_seven_times_and_pooling(size: int) -> None:
    # Along one axis: repeat each pixel seven times, then average windows of size / 32.
    row = np.random.default_rng(size).standard_normal(size)
    expected = np.repeat(row, 7).reshape(224, size // 32).mean(1)
    found = area_matrix(size, 224, dtype=torch.float64).numpy() @ row
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_area_matrix_is_repeating_and_pooling_on_images() -> None:
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = F.avg_pool2d(images.repeat_interleave(7, 2).repeat_interleave(7, 3), 8)
    rows = area_matrix(64, 56, dtype=torch.float64)
    torch.testing.assert_close(rows @ images @ rows.T, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("size_in", "size_out"), [(1024, 224), (100, 7), (7, 100), (224, 224), (1, 5), (3, 2)])
def test_area_matrix_keeps_constants_and_sums(size_in: int, size_out: int) -> None:
    matrix = area_matrix(size_in, size_out, dtype=torch.float64)
    assert matrix.shape == (size_out, size_in)
    torch.testing.assert_close(matrix.sum(1), torch.ones(size_out, dtype=torch.float64), rtol=0, atol=1e-13)
    # Every input pixel is seen by the same share of the output.
    expected = torch.full((size_in,), size_out / size_in, dtype=torch.float64)
    torch.testing.assert_close(matrix.sum(0), expected, rtol=0, atol=1e-12)
    assert (matrix >= 0).all()


def test_area_matrix_is_kept_and_can_be_differentiated_after_inference_mode() -> None:
    with torch.inference_mode():
        made = area_matrix(19, 11)
    assert area_matrix(19, 11) is made
    images = torch.rand(1, 3, 19, 19, requires_grad=True)
    (made @ images @ made.T).sum().backward()
    assert images.grad is not None and bool((images.grad > 0).all())
    with pytest.raises(ConfigError, match="0 to 4"):
        area_matrix(0, 4)


def test_area_is_not_interpolates_area() -> None:
    images = torch.randn(1, 1, 256, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = area_matrix(256, 224, dtype=torch.float64)
    assert float((rows @ images @ rows.T - F.interpolate(images, 224, mode="area")).abs().max()) > 0.4


# Presets against what the published code gave.


def test_styleclip_pixels(oracle: dict[str, torch.Tensor]) -> None:
    found = clip_pixels(oracle["styleclip/image_32"], "styleclip")[..., ::37, :]
    torch.testing.assert_close(found, oracle["styleclip/encoder_pixels_32_rows"].float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [512, 1024])
def test_styleclip_pixels_of_large_images(size: int, oracle: dict[str, torch.Tensor]) -> None:
    found = clip_pixels(random_images(1, 3, size, size, seed=size), "styleclip")[0]
    torch.testing.assert_close(found[:, 0], oracle[f"styleclip/{size}_first_row"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), oracle[f"styleclip/{size}_diagonal"], rtol=0, atol=1e-5)


def test_nada_pixels(oracle: dict[str, torch.Tensor]) -> None:
    red = oracle["nada/red_256"].float()[:, None].expand(-1, 3, -1, -1)
    for resize, key in (("bicubic", "nada/red_row_100"), ("bicubic-antialias", "nada/red_row_100_antialias")):
        found = clip_pixels(red, "nada", resize=resize)[0, 0, 100]
        torch.testing.assert_close(found, oracle[key], rtol=0, atol=1e-5)
    found = clip_pixels(oracle["nada/image_96x128"], "nada")[0, :, 100]
    torch.testing.assert_close(found, oracle["nada/row_100_96x128"], rtol=0, atol=1e-5)


def test_clamp_with_gradient_as_published(oracle: dict[str, torch.Tensor]) -> None:
    for x, y, cotangent, gradient in (("x", "y", "cot", "grad"), ("table_x", "table_y", "table_g", "table_grad")):
        leaf = oracle[f"clamp/{x}"].clone().requires_grad_()
        made = clamp_with_gradient(leaf)
        made.backward(oracle[f"clamp/{cotangent}"])
        assert torch.equal(made, oracle[f"clamp/{y}"]) and leaf.grad is not None
        assert torch.equal(leaf.grad, oracle[f"clamp/{gradient}"])


def test_every_row_of_the_published_table_has_a_preset() -> None:
    systems = {
        "styleclip", "styleclip-global", "nada", "diffusionclip", "clipasso", "clipdraw", "vqgan-clip",
        "guided-diffusion", "glide", "clipnerf", "dream-fields", "clipstyler",
    }  # fmt: skip
    assert systems <= set(PIXEL_PRESETS)


@pytest.mark.parametrize("name", PIXEL_PRESETS)
def test_presets_give_squares_and_pass_gradients(name: str) -> None:
    contract = PIXEL_PRESETS[name]
    side = contract.size if contract.resize == "none" else 60
    low, high = contract.input_range
    images = (random_images(2, 3, side, side) * (high - low) + low).requires_grad_()
    made = contract(images)
    assert made.shape == (2, 3, contract.size, contract.size)
    made.square().sum().backward()
    assert images.grad is not None and bool(torch.isfinite(images.grad).all()) and bool((images.grad != 0).any())


def test_presets_state_range_and_statistics() -> None:
    # A grey image that is 0.5 in [0, 1], in the range that each system feeds.
    grey = {"clip": 0.5, "nada": 0.0, "glide": 0.0, "vqgan-clip": 0.5, "clipnerf": 0.5, "styleclip": 0.0}
    normalised = (0.5 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    for name, value in grey.items():
        size = PIXEL_PRESETS[name].size
        found = clip_pixels(torch.full((1, 3, size, size), value), name)[0, :, 0, 0].numpy()
        expected = {"clipnerf": np.full(3, 0.5), "styleclip": np.zeros(3)}.get(name, normalised)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


def test_glide_pixels_are_bytes_normalised() -> None:
    images = random_images(1, 3, 64, 64) * 2 - 1
    mean, std = (np.array(part).reshape(3, 1, 1) for part in (CLIP_MEAN, CLIP_STD))
    expected = ((images[0].numpy().astype(np.float64) + 1) * 127.5 - 255 * mean) / (255 * std)
    np.testing.assert_allclose(clip_pixels(images, "glide")[0].numpy(), expected, atol=1e-5)


def test_clipnerf_aligns_corners() -> None:
    images = random_images(1, 3, 60, 60)
    made = clip_pixels(images, "clipnerf")
    assert torch.allclose(made[..., 0, 0], images[..., 0, 0], atol=1e-6)
    assert torch.allclose(made[..., -1, -1], images[..., -1, -1], atol=1e-6)


def test_statistics_are_the_encoders() -> None:
    assert encoder_pixels.CLIP_MEAN == CLIP_MEAN and encoder_pixels.CLIP_STD == CLIP_STD


# The contract.


@pytest.mark.parametrize(("height", "width"), [(97, 130), (130, 97), (64, 64), (33, 200)])
def test_centre_crop_is_torchvisions(height: int, width: int) -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = random_images(1, 3, height, width)
    resized = functional.resize(images, 48, interpolation=functional.InterpolationMode.BICUBIC, antialias=True)
    expected = functional.center_crop(resized, 48)
    torch.testing.assert_close(clip_pixels(images, size=48, normalise=False), expected, rtol=0, atol=1e-6)


def test_squash_keeps_what_a_crop_cuts() -> None:
    images = torch.zeros(1, 3, 32, 64)
    images[..., :8] = 1
    cropped = clip_pixels(images, size=32, normalise=False)
    squashed = clip_pixels(images, size=32, normalise=False, crop="none")
    assert cropped.max() == 0 and float(squashed[0, 0, 16, 0]) == pytest.approx(1)


def test_hard_clamp_also_removes_the_overshoot_of_the_kernel() -> None:
    images = (torch.arange(64) % 8 < 4).float().expand(1, 3, 64, 64)
    soft = clip_pixels(images, size=96, normalise=False)
    hard = clip_pixels(images, size=96, normalise=False, clamp="hard")
    assert soft.max() > 1.02 and soft.min() < -0.02
    assert hard.max() == 1 and hard.min() == 0


@pytest.mark.parametrize(
    "resize", ["bicubic", "bicubic-antialias", "bilinear", "bilinear-antialias", "area-matrix", "adaptive-average"]
)
def test_contract_is_differentiable(resize: str) -> None:
    contract = PixelContract(input_range=(-1.0, 1.0), resize=resize, size=5)  # type: ignore[arg-type]
    images = (random_images(1, 3, 9, 12, dtype=torch.float64) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(contract, (images,), atol=1e-6)


def test_mean_max_pool_is_differentiable_and_between_its_parts() -> None:
    images = random_images(1, 3, 9, 12, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mean_max_pool(x, 4), (images,), atol=1e-6)
    made = mean_max_pool(images, 4)
    assert bool((made >= F.adaptive_avg_pool2d(images, 4)).all() and (made <= F.adaptive_max_pool2d(images, 4)).all())


def test_contract_does_not_depend_on_the_batch() -> None:
    images = random_images(5, 3, 70, 90)
    for name in ("clip", "styleclip", "vqgan-clip"):
        together = clip_pixels(images, name)
        alone = torch.cat([clip_pixels(image[None], name) for image in images])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


# Bad input.


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 3, 8, 8), 128.0), "divide by 255"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), math.nan), "images \\[0\\]"),
        (torch.full((1, 3, 8, 8), math.inf), "NaN or infinite"),
        (torch.zeros(3, 8, 8), "batch axis"),
        (torch.zeros(1, 4, 8, 8), "RGB"),
        (torch.zeros(0, 3, 8, 8), "at least one image"),
    ],
)
def test_bad_images_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        clip_pixels(images, size=8)


def test_one_bad_image_of_a_batch_is_named() -> None:
    images = torch.zeros(4, 3, 8, 8)
    images[2, 1, 3, 3] = math.nan
    with pytest.raises(DataError, match=r"images \[2\]"):
        check_range(images)


def test_generators_may_overshoot_and_the_check_can_be_switched_off() -> None:
    overshooting = torch.full((1, 3, 224, 224), -1.7)
    assert clip_pixels(overshooting, "nada").shape == (1, 3, 224, 224)
    wrong = torch.full((1, 3, 224, 224), 200.0)
    with pytest.raises(DataError, match=r"127\.5"):
        clip_pixels(wrong, "nada")
    assert clip_pixels(wrong, "nada", check=False).shape == (1, 3, 224, 224)


def test_images_of_another_size_are_refused_where_nothing_is_resized() -> None:
    with pytest.raises(DataError, match="100 x 100"):
        clip_pixels(torch.zeros(1, 3, 100, 100), "clipdraw")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": "bicubik"}, "bicubic"),
        ({"clamp": "soft"}, "gradient"),
        ({"crop": "center"}, "centre"),
        ({"input_range": (1.0, 0.0)}, "low < high"),
        ({"size": 0}, "one pixel"),
        ({"std": (1.0, 0.0, 1.0)}, "positive"),
        ({"resize": "area-matrix", "align_corners": True}, "bilinear or bicubic"),
        ({"sizes": 4}, "size"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        clip_pixels(torch.zeros(1, 3, 8, 8), **settings)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="clipstyler"):
        clip_pixels(torch.zeros(1, 3, 8, 8), "clipstyle")


# Windows as matrices.


def reference(kernel: str, crop: torch.Tensor, size: int) -> torch.Tensor:
    if kernel == "adaptive-average":
        return F.adaptive_avg_pool2d(crop, size)
    mode, _, antialias = kernel.partition("-")
    return F.interpolate(crop, (size, size), mode=mode, align_corners=False, antialias=bool(antialias))


@pytest.mark.parametrize(
    "kernel", ["adaptive-average", "bilinear", "bilinear-antialias", "bicubic", "bicubic-antialias"]
)
@pytest.mark.parametrize("size", [7, 24])
def test_windows_are_cutting_and_resizing(kernel: str, size: int) -> None:
    images = random_images(2, 3, 41, 33, dtype=torch.float64)
    boxes = torch.tensor([[0, 0, 41, 33], [3, 5, 20, 20], [40, 32, 1, 1], [10, 0, 7, 30], [0, 31, 41, 2]])
    found = resize_windows(images, boxes[None], size, kernel)  # type: ignore[arg-type]
    for place, (top, left, tall, wide) in enumerate(boxes.tolist()):
        expected = reference(kernel, images[..., top : top + tall, left : left + wide], size)
        # interpolate's antialiased kernels compute their weights in less than float64.
        torch.testing.assert_close(found[:, place], expected, rtol=0, atol=1e-5 if "anti" in kernel else 1e-12)


@pytest.mark.parametrize("kernel", WINDOW_KERNELS)
def test_weights_sum_to_one_inside_the_window(kernel: str) -> None:
    start, length = torch.tensor([0.0, 3.0, 17.0]), torch.tensor([20.0, 9.0, 2.0])
    weights = axis_weights(kernel, start, length, 20, 6)  # type: ignore[arg-type]
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6, dtype=torch.float64), rtol=0, atol=1e-12)
    assert not weights[1, :, :3].any() and not weights[1, :, 12:].any() and not weights[2, :, :17].any()


def test_windows_of_each_image_are_its_own() -> None:
    images = random_images(2, 3, 16, 16)
    boxes = torch.tensor([[[0.0, 0, 8, 8]], [[8.0, 8, 8, 8]]])
    found = resize_windows(images, boxes, 4)
    torch.testing.assert_close(found[0], resize_windows(images[:1], boxes[:1], 4)[0])
    torch.testing.assert_close(found[1], resize_windows(images[1:], boxes[1:], 4)[0])


@pytest.mark.parametrize("kernel", WINDOW_KERNELS)
def test_windows_are_differentiable(kernel: str) -> None:
    images = random_images(1, 2, 9, 8, dtype=torch.float64).requires_grad_()
    boxes = torch.tensor([[[1, 0, 8, 8], [2, 2, 3, 5]]])
    assert torch.autograd.gradcheck(lambda x: resize_windows(x, boxes, 4, kernel), (images,))  # type: ignore[arg-type]


def test_bad_windows_are_refused() -> None:
    images = torch.zeros(1, 3, 8, 8)
    for box in ([-1, 0, 4, 4], [0, 6, 4, 4], [0, 0, 0, 4]):
        with pytest.raises(DataError, match="inside 0 to 8"):
            resize_windows(images, torch.tensor([[box]]), 4)
    with pytest.raises(DataError, match="windows, 4"):
        resize_windows(images, torch.zeros(2, 1, 4), 4)
    with pytest.raises(ConfigError, match="bilinear"):
        resize_windows(images, torch.tensor([[[0, 0, 4, 4]]]), 4, "bilinaer")  # type: ignore[arg-type]


def test_half_precision_images_are_averaged_exactly() -> None:
    images = torch.ones(1, 3, 100, 100, dtype=torch.bfloat16)
    boxes = torch.tensor([[[0, 0, 100, 100], [3, 4, 77, 61]]])
    assert torch.equal(resize_windows(images, boxes, 30), torch.ones(1, 2, 3, 30, 30, dtype=torch.bfloat16))
    found = clip_pixels(images, "styleclip", size=30)
    assert torch.equal(found, torch.ones(1, 3, 30, 30, dtype=torch.bfloat16))
