"""Resizing as matrices: one small matrix an axis, exact, differentiable, and batched over windows of every size.

Upstream code cuts windows in a loop because each has another size. A window of any size, resized to a fixed size, is
``rows @ image @ columns.T``; the matrices differ, their shapes do not.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches

WindowKernel = Literal[
    "area", "adaptive-average", "bilinear", "bilinear-antialias", "bicubic", "bicubic-antialias", "lanczos-bicubic"
]
WINDOW_KERNELS: tuple[str, ...] = get_args(WindowKernel)

_CUBIC = -0.75  # PyTorch's cubic without antialiasing
_CUBIC_ANTIALIAS = -0.5  # Pillow's, and PyTorch's with it


def area_matrix(
    size_in: int, size_out: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Float[Tensor, "size_out size_in"]:
    r"""The exact area filter along one axis: row i averages the input over ``[i, i + 1] * size_in / size_out``.

    :math:`Y = R X R^\top` is what StyleCLIP (Patashnik et al. 2021) computes by repeating pixels seven times and
    pooling windows of ``size / 32``, without the 7 x larger image. ``interpolate(mode="area")`` is another filter:
    its windows are whole pixels.

    Args:
        size_in: pixels along the axis.
        size_out: pixels wanted.
        device: where the matrix is needed; one is kept for each device and type.
        dtype: floating-point type; computed in float64 and rounded once.

    Raises:
        ConfigError: if a size is below one.

    >>> area_matrix(3, 2).tolist()
    [[0.6666666865348816, 0.3333333432674408, 0.0], [0.0, 0.3333333432674408, 0.6666666865348816]]
    """
    if size_in < 1 or size_out < 1:
        raise ConfigError(f"an area matrix from {size_in} to {size_out} pixels", expected="at least one pixel each")
    # A matrix made inside inference mode could never take part in a backward pass.
    with torch.inference_mode(False):
        return _area_matrix(size_in, size_out, torch.device(device), dtype)


@lru_cache(maxsize=64)
def _area_matrix(size_in: int, size_out: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    whole = torch.tensor([0.0, float(size_in)], dtype=torch.float64)
    return axis_weights("area", whole[:1], whole[1:], size_in, size_out)[0].to(device, dtype)


def axis_weights(
    kernel: WindowKernel,
    start: Float[Tensor, "*windows"],
    length: Float[Tensor, "*windows"],
    size_in: int,
    size_out: int,
) -> Float[Tensor, "*windows size_out size_in"]:
    """Weights that resize the window ``[start, start + length)`` of an axis to ``size_out`` pixels.

    What lies outside the window has no weight: cutting first and resizing then gives the same.

    Args:
        kernel: ``"area"`` (fractional overlaps), ``"adaptive-average"`` (windows of whole pixels, as
            ``adaptive_avg_pool2d``), ``"bilinear"`` and ``"bicubic"`` (as ``interpolate``), both also with
            ``-antialias``, or ``"lanczos-bicubic"`` (VQGAN-CLIP's low-pass of width 2 and then a bicubic with aligned
            corners).
        start: of each window, px; whole numbers except for ``"area"`` and the antialiased kernels.
        length: of each window, px, at least one.
        size_in: pixels along the axis.
        size_out: pixels wanted.

    Raises:
        ConfigError: if there is no such kernel.
        DataError: if a window leaves the axis or is shorter than a pixel.
    """
    _check_kernel(kernel)
    _check_windows(start, length, size_in)
    return _weights(kernel, start, length, size_in, size_out)


def _check_kernel(kernel: str) -> None:
    """Refuse a kernel for windows that does not exist."""
    if kernel not in WINDOW_KERNELS:
        raise ConfigError(
            f'no kernel called "{kernel}" for windows',
            closest=closest_matches(str(kernel), WINDOW_KERNELS),
            expected=", ".join(WINDOW_KERNELS),
        )


def _check_windows(start: Tensor, length: Tensor, size_in: int) -> None:
    if start.numel() and (start.min() < 0 or length.min() < 1 or (start + length).max() > size_in + 1e-9):
        raise DataError(
            f"a window from {float(start.min()):g} to {float((start + length).max()):g} px, "
            f"the shortest {float(length.min()):g} px",
            expected=f"windows of at least one pixel inside 0 to {size_in}",
        )


def _weights(kernel: str, start: Tensor, length: Tensor, size_in: int, size_out: int) -> Tensor:
    start, length = start.double()[..., None, None], length.double()[..., None, None]
    here = torch.arange(size_in, dtype=torch.float64, device=start.device)
    wanted = torch.arange(size_out, dtype=torch.float64, device=start.device)[:, None]
    if kernel == "area":
        return _overlap(start, length, here, wanted, size_out)
    if kernel == "adaptive-average":
        first = start + (wanted * length / size_out).floor()
        last = start + ((wanted + 1) * length / size_out).ceil()
        return ((here >= first) & (here < last)).double() / (last - first)
    if kernel.endswith("-antialias"):
        return _antialiased(kernel, start, length, here, wanted, size_out)
    if kernel == "lanczos-bicubic":
        places, values = _lanczos_bicubic(start, length, wanted, size_in, size_out)
    else:
        centre = start + (wanted + 0.5) * length / size_out - 0.5
        taps = torch.arange(0, 2) if kernel == "bilinear" else torch.arange(-1, 3)
        places = centre.floor() + taps.to(centre)
        values = _triangle(places - centre) if kernel == "bilinear" else _cubic(places - centre, _CUBIC)
        places = _inside(places, start, length)
    weights = torch.zeros(*places.shape[:-1], size_in, dtype=torch.float64, device=start.device)
    return weights.scatter_add_(-1, places.long(), values.expand_as(places))


def _overlap(start: Tensor, length: Tensor, here: Tensor, wanted: Tensor, size_out: int) -> Tensor:
    width = length / size_out
    first = start + wanted * width
    shared = torch.minimum(here + 1, first + width) - torch.maximum(here, first)
    return shared.clamp(min=0) / width


def _antialiased(kernel: str, start: Tensor, length: Tensor, here: Tensor, wanted: Tensor, size_out: int) -> Tensor:
    scale = (length / size_out).clamp(min=1)
    centre = start + (wanted + 0.5) * length / size_out
    support = scale * (1 if kernel.startswith("bilinear") else 2)
    offset = (here + 0.5 - centre) / scale
    value = _triangle(offset) if kernel.startswith("bilinear") else _cubic(offset, _CUBIC_ANTIALIAS)
    # Pixels partly inside the window count whole, as in PyTorch and Pillow, and the rest is renormalised.
    first = torch.maximum((centre - support + 0.5).floor(), start.floor())
    last = torch.minimum((centre + support + 0.5).floor(), (start + length).ceil())
    value = value * ((here >= first) & (here < last))
    return value / value.sum(-1, keepdim=True)


def _lanczos_bicubic(
    start: Tensor, length: Tensor, wanted: Tensor, size_in: int, size_out: int
) -> tuple[Tensor, Tensor]:
    """Pixels that each result is made of, and their weights: every cubic tap spread by every tap of the low-pass."""
    ratio = (size_out / length).clamp(max=1)
    reach = max(math.ceil(2 * size_in / size_out), 2)
    offsets = torch.arange(1 - reach, reach).to(start)
    low = _lanczos(offsets * ratio)
    low = torch.where(length > size_out, low / low.sum(-1, keepdim=True), (offsets == 0).double())
    position = start + wanted * (length - 1) / max(size_out - 1, 1)
    taps = position.floor() + torch.arange(-1, 3).to(start)
    cubic = _cubic(taps - position, _CUBIC)
    places = _inside(taps, start, length)[..., None] + offsets
    # The low-pass reflects at both ends of the window, without repeating the end.
    first, last = start[..., None], (start + length - 1)[..., None]
    places = first + (places - first).abs()
    places = last - (last - places).abs()
    # Only taps without weight, and a low-pass wider than the window, still lie outside.
    places = torch.minimum(torch.maximum(places, first), last)
    return places.flatten(-2), (cubic[..., None] * low[..., None, :]).flatten(-2)


def _inside(place: Tensor, start: Tensor, length: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(place, start), start + length - 1)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel, of support two."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 2, torch.sinc(x) * torch.sinc(x / 2), 0)


def resize_windows(
    images: Float[Tensor, "images channels height width"],
    boxes: Float[Tensor, "images windows 4"],
    size: int,
    kernel: WindowKernel = "area",
) -> Float[Tensor, "images windows channels size size"]:
    """Cut windows out of each image and resize them all to one size, as two batched matrix products.

    Args:
        images: ``[B, C, H, W]``, floating point.
        boxes: top, left, height and width of each window, px; ``[1, N, 4]`` for the same windows of every image.
        size: side of the result, px.
        kernel: see :func:`axis_weights`.

    Returns:
        ``[B, N, C, size, size]``, differentiable in the images.

    Raises:
        ConfigError: if ``size`` or ``kernel`` is none that exists.
        DataError: if the shapes do not agree or a window leaves the image.

    >>> resize_windows(torch.ones(2, 3, 8, 8), torch.tensor([[[0.0, 0, 8, 8], [2, 1, 4, 4]]]), 4).shape
    torch.Size([2, 2, 3, 4, 4])
    """
    if size < 1:
        raise ConfigError(f"size is {size}", expected="at least one pixel")
    if images.ndim != 4 or boxes.ndim != 3 or boxes.shape[2] != 4 or boxes.shape[0] not in (1, len(images)):
        raise DataError(
            f"images of the shape {tuple(images.shape)} with boxes {tuple(boxes.shape)}",
            expected="[images, channels, height, width] with [images or 1, windows, 4]",
        )
    batch, channels, height, width = images.shape
    _check_kernel(kernel)
    # Checked where the boxes are, usually the CPU: looking at them on an accelerator would wait for it.
    _check_windows(boxes[..., 0], boxes[..., 2], height)
    _check_windows(boxes[..., 1], boxes[..., 3], width)
    top, left, tall, wide = boxes.to(images.device).unbind(-1)
    # Weights in half precision would not sum to one.
    work = images if images.dtype in (torch.float32, torch.float64) else images.float()
    rows = _weights(kernel, top, tall, height, size).to(work)
    columns = _weights(kernel, left, wide, width, size).to(work)
    windows = boxes.shape[1]
    # Every window of an image in one product along its rows: the image is read once and never repeated.
    flat = work.transpose(1, 2).reshape(batch, height, channels * width)
    half = (rows.reshape(-1, windows * size, height) @ flat).reshape(batch, windows, size * channels, width)
    done = (half @ columns.transpose(-1, -2)).reshape(batch, windows, size, channels, size)
    return done.transpose(2, 3).to(images.dtype)


def whole_image(height: int, width: int) -> Float[Tensor, "1 1 4"]:
    """The window that is the image."""
    return torch.tensor([[[0, 0, height, width]]], dtype=torch.float64)


def mip_levels(height: int, width: int, size: int) -> int:
    """How often an image may be halved before it is as small as what is sampled from it.

    >>> mip_levels(1024, 1024, 224), mip_levels(224, 224, 224)
    (3, 0)
    """
    return max(0, math.ceil(math.log2(max(height, width) / size)))
