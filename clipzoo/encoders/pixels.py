"""From pixels in [0, 1] to what an image tower takes: explicit, differentiable, in one place."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError

Resize = Literal["bicubic", "bilinear", "area", "none"]


def check_pixels(pixels: Tensor) -> None:
    """Refuse what is no batch of RGB images, before an encoder turns it into plausible nonsense.

    Raises:
        DataError: if ``pixels`` is not floating-point ``[batch, 3, height, width]`` with something in it.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3 or 0 in pixels.shape:
        raise DataError(
            f"pixels has the shape {tuple(pixels.shape)}",
            expected="[batch, 3, height, width], RGB, at least one image",
            hint="add the batch axis with pixels[None]; put the channels first with pixels.permute(0, 3, 1, 2)",
        )
    if not pixels.is_floating_point():
        raise DataError(
            f"pixels has the type {pixels.dtype}", expected="floating point in [0, 1]", hint="pixels.float() / 255"
        )


def fit_to_square(pixels: Float[Tensor, "batch 3 height width"], size: int, resize: Resize) -> Tensor:
    """The short side resized to ``size`` and the middle cut out, as CLIP was trained.

    Args:
        pixels: images of any size.
        size: side of the square in pixels.
        resize: interpolation, always antialiased where it shrinks; ``"none"`` takes the pixels as they are.

    Raises:
        ConfigError: if ``resize`` is unknown.
        DataError: if ``resize`` is ``"none"`` and the images are not ``size`` a side.
    """
    height, width = pixels.shape[-2:]
    if resize not in ("bicubic", "bilinear", "area", "none"):
        raise ConfigError(f'no resize called "{resize}"', expected="bicubic, bilinear, area or none")
    if (height, width) == (size, size):
        return pixels
    if resize == "none":
        raise DataError(f"the images are {height} x {width} and resize is none", expected=f"{size} x {size} pixels")
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    if resize == "area":
        pixels = F.interpolate(pixels, size=target, mode="area")
    else:
        pixels = F.interpolate(pixels, size=target, mode=resize, align_corners=False, antialias=True)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return pixels[..., top : top + size, left : left + size]


def normalise_pixels(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(pixels - mean) / std`` a channel."""
    return (pixels - pixels.new_tensor(mean)[:, None, None]) / pixels.new_tensor(std)[:, None, None]


def unit_rows(features: Tensor) -> Tensor:
    """Features in fp32 with Euclidean norm one along the last axis."""
    return F.normalize(features.to(torch.float32), dim=-1)
