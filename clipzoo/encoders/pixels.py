"""From pixels in [0, 1] to what an image tower takes: explicit, differentiable, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, WeightsError

Resize = Literal["bicubic", "bilinear", "area", "none"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


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


def check_range(pixels: Tensor) -> None:
    """Refuse pixels that cannot be in [0, 1]: NaN, or 0..255 that were only cast to float.

    Up to 16 is let through: generators overshoot, and optimised pixels wander. Pixels that are already on an
    accelerator are not looked at, which would make every step of an optimisation wait for the device.

    Raises:
        DataError: naming what was found.
    """
    if pixels.device.type != "cpu":
        return
    low, high = (float(value) for value in pixels.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = (~torch.isfinite(pixels.detach())).flatten(1).any(1).nonzero().flatten().tolist()
        raise DataError(f"images {bad[:8]} of the batch hold NaN or infinite pixels")
    if max(abs(low), high) > 16:
        raise DataError(
            f"pixels run from {low:.4g} to {high:.4g}: probably 0..255", expected="[0, 1]", hint="pixels / 255"
        )


@dataclass(frozen=True)
class Preprocessing:
    """How an encoder was trained to see images; it travels with the weights.

    Args:
        size: side of the square that the tower takes, px.
        mean: subtracted from each channel of pixels in [0, 1].
        std: each channel is divided by it after that.
        interpolation: ``"bicubic"`` or ``"bilinear"``, antialiased.
        fit: ``"shortest"`` (short side, then the middle square), ``"squash"`` (both sides) or ``"longest"`` (long
            side, then a border of ``fill``).
        fill: value of that border, 0 to 1.
    """

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    interpolation: str = "bicubic"
    fit: str = "shortest"
    fill: float = 0.0

    @classmethod
    def of(cls, visual: Any) -> Preprocessing:
        """What an open_clip image tower says of itself.

        Raises:
            WeightsError: if it takes no square images, or says what cannot be.
        """
        told = dict(getattr(visual, "preprocess_cfg", None) or {})
        size = visual.image_size
        try:
            height, width = size if isinstance(size, tuple | list) else (size, size)
            if height != width:
                raise WeightsError(f"the image tower takes {height} x {width} pixels", expected="a square")
            fill = told.get("fill_color", 0) or 0
            return cls(
                int(height),
                _channels(told.get("mean") or getattr(visual, "image_mean", None) or CLIP_MEAN),
                _channels(told.get("std") or getattr(visual, "image_std", None) or CLIP_STD),
                told.get("interpolation") or "bicubic",
                told.get("resize_mode") or "shortest",
                (fill[0] if isinstance(fill, tuple | list) else fill) / 255,
            )
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise WeightsError(
                f"the preprocessing of the encoder cannot be read: {error}",
                expected="a size, and mean and std of three numbers each",
            ) from error

    @property
    def identity(self) -> str:
        """One line that two encoders share exactly if they treat pixels alike."""
        mean, std = (",".join(f"{value:.6g}" for value in part) for part in (self.mean, self.std))
        fit = {"shortest": "centre-crop"}.get(self.fit, self.fit)
        return f"{self.interpolation}-antialias,{fit},{self.size},mean={mean},std={std}"


def _channels(values: Any) -> tuple[float, ...]:
    """One finite number a channel."""
    channels = tuple(float(value) for value in values)
    if len(channels) != 3 or not all(map(math.isfinite, channels)):
        raise ValueError(f"{values} are not three numbers")
    return channels


def fit_pixels(
    pixels: Float[Tensor, "batch 3 height width"], preprocessing: Preprocessing, resize: Resize | None = None
) -> Float[Tensor, "batch 3 size size"]:
    """Images of any size as the square that an encoder takes.

    Args:
        pixels: images of any size.
        preprocessing: of the encoder.
        resize: interpolation instead of the encoder's own, antialiased where it shrinks; ``"area"`` averages over
            windows; ``"none"`` takes the pixels as they are.

    Raises:
        ConfigError: if ``resize`` is unknown.
        DataError: if ``resize`` is ``"none"`` and the images have another size.
    """
    size = preprocessing.size
    height, width = pixels.shape[-2:]
    if resize not in (None, "bicubic", "bilinear", "area", "none"):
        raise ConfigError(f'no resize called "{resize}"', expected="bicubic, bilinear, area or none")
    if (height, width) == (size, size):
        return pixels
    if resize == "none":
        raise DataError(f"the images are {height} x {width} and resize is none", expected=f"{size} x {size} pixels")
    kernel = resize or preprocessing.interpolation
    if preprocessing.fit == "squash":
        return _resized(pixels, (size, size), kernel)
    if preprocessing.fit == "longest":
        scale = size / max(height, width)
        pixels = _resized(pixels, (max(1, round(height * scale)), max(1, round(width * scale))), kernel)
        below, right = size - pixels.shape[-2], size - pixels.shape[-1]
        border = (right // 2, right - right // 2, below // 2, below - below // 2)
        return F.pad(pixels, border, value=preprocessing.fill)
    scale = size / min(height, width)
    # The long side is cut down, not rounded, as torchvision does it.
    pixels = _resized(pixels, (max(size, int(height * scale)), max(size, int(width * scale))), kernel)
    top, left = round((pixels.shape[-2] - size) / 2), round((pixels.shape[-1] - size) / 2)
    return pixels[..., top : top + size, left : left + size]


def _resized(pixels: Tensor, size: tuple[int, int], kernel: str) -> Tensor:
    if kernel == "area":
        return F.interpolate(pixels, size=size, mode="area")
    return F.interpolate(pixels, size=size, mode=kernel, align_corners=False, antialias=True)


def normalise_pixels(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(pixels - mean) / std`` a channel."""
    return (pixels - pixels.new_tensor(mean)[:, None, None]) / pixels.new_tensor(std)[:, None, None]


def unit_rows(features: Tensor) -> Tensor:
    """Features in fp32 with Euclidean norm one along the last axis."""
    return F.normalize(features.to(torch.float32), dim=-1)
