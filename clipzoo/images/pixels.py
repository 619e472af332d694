"""The pixel contract: everything that happens between an image and an encoder, explicit and differentiable.

Systems built on CLIP differ in what they feed it: the range, the kernel of the resize, whether CLIP's mean and standard
deviation are applied, whether values are clamped. A :class:`PixelContract` states all of it; :data:`PIXEL_PRESETS` has
one for each published system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches
from clipzoo.images.resampling import area_matrix

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "PIXEL_PRESETS",
    "PixelContract",
    "area_matrix",
    "check_range",
    "clamp_with_gradient",
    "clip_pixels",
    "mean_max_pool",
]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

ResizeKernel = Literal[
    "bicubic",
    "bicubic-antialias",
    "bilinear",
    "bilinear-antialias",
    "area-matrix",
    "adaptive-average",
    "mean-max",
    "none",
]
Clamp = Literal["none", "hard", "gradient"]
Crop = Literal["centre", "none"]

# A generator overshoots its range by a fraction of it; 0..255 overshoots by two hundred times.
_FAR_OUTSIDE = 8.0


class _ClampWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        outside = x - x.clamp(*ctx.bounds)
        return torch.where(gradient * outside >= 0, gradient, 0), None, None


def clamp_with_gradient(x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Clamp, but let gradients through that lead back inside.

    Forward it is ``x.clamp(low, high)``; backward, a gradient ``g`` passes where ``g * (x - clamp(x)) >= 0``: only what
    a descent step would push further out is blocked (VQGAN-CLIP, Crowson et al. 2022, section 3).

    >>> x = torch.tensor([2.0, 2.0], requires_grad=True)
    >>> (clamp_with_gradient(x) * torch.tensor([1.0, -1.0])).sum().backward()
    >>> x.grad.tolist()
    [1.0, 0.0]
    """
    return _ClampWithGradient.apply(x, low, high)  # type: ignore[return-value]


def mean_max_pool(images: Float[Tensor, "*batch height width"], size: int) -> Float[Tensor, "*batch size size"]:
    """The mean of adaptive average and adaptive maximum pooling, as VQGAN-CLIP shrinks images.

    >>> mean_max_pool(torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]), 1).item()
    0.625
    """
    return (F.adaptive_avg_pool2d(images, size) + F.adaptive_max_pool2d(images, size)) / 2


def check_range(pixels: Float[Tensor, "batch 3 height width"], low: float = 0.0, high: float = 1.0) -> None:
    """Refuse what is no batch of RGB images in the range that was promised: uint8, 0..255 floats, NaN.

    Values a little outside pass, because generators overshoot. It costs one pass over the pixels and, on an
    accelerator, a wait for it; inside a compiled function or while a CUDA graph is recorded it does nothing.

    Args:
        pixels: the images.
        low: least nominal value.
        high: largest nominal value.

    Raises:
        DataError: if shape, type or range is wrong, or a value is NaN or infinite.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3 or 0 in pixels.shape:
        raise DataError(
            f"pixels has the shape {tuple(pixels.shape)}",
            expected="[batch, 3, height, width], RGB, at least one image",
            hint="add the batch axis with pixels[None]; put the channels first with pixels.permute(0, 3, 1, 2)",
        )
    if not pixels.is_floating_point():
        raise DataError(
            f"pixels has the type {pixels.dtype}",
            expected=f"floating point in [{low:g}, {high:g}]",
            hint="pixels.float() / 255" if low == 0 else "pixels.float() / 127.5 - 1",
        )
    if torch.compiler.is_compiling() or (pixels.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    least, most = torch.stack(torch.aminmax(pixels.detach())).tolist()
    if not (abs(least) < float("inf") and abs(most) < float("inf")):
        bad = (~torch.isfinite(pixels)).flatten(1).any(1).nonzero().flatten().tolist()
        raise DataError(f"images {bad[:8]} of the batch have pixels that are NaN or infinite")
    slack = _FAR_OUTSIDE * (high - low)
    if least < low - slack or most > high + slack:
        raise DataError(
            f"pixels lie in [{least:.4g}, {most:.4g}]",
            expected=f"about [{low:g}, {high:g}]",
            hint="divide by 255" if low == 0 else "x / 127.5 - 1",
        )


@dataclass(frozen=True)
class PixelContract:
    """From images to what an image tower takes: range, clamp, resize, crop, normalise, in this order.

    Args:
        input_range: nominal least and largest value of the images.
        rescale: map ``input_range`` to [0, 1]; ``False`` feeds the values as they are.
        resize: ``"bicubic"`` and ``"bilinear"`` as PyTorch interpolates, ``-antialias`` with its low-pass where they
            shrink; ``"area-matrix"`` the exact area filter; ``"adaptive-average"`` windows of whole pixels;
            ``"mean-max"`` the mean of average and maximum pooling; ``"none"`` refuses images of another size.
        size: side of the square that the tower takes, px.
        crop: ``"centre"`` brings the short side to ``size`` and keeps the middle square; ``"none"`` squashes.
        align_corners: of ``"bilinear"`` and ``"bicubic"`` without antialias.
        normalise: subtract ``mean`` and divide by ``std``, a channel.
        mean: of the encoder's training images in [0, 1].
        std: of the same.
        clamp: ``"hard"`` to [0, 1], before and after the resize as in a pipeline of bytes; ``"gradient"`` before it,
            with :func:`clamp_with_gradient`; ``"none"``.
        check: refuse wrong ranges and NaN, see :func:`check_range`; switch it off after the first step of a loop on an
            accelerator.

    Raises:
        ConfigError: if a setting is none that exists.

    >>> PIXEL_PRESETS["nada"](torch.rand(2, 3, 256, 320) * 2 - 1).shape
    torch.Size([2, 3, 224, 224])
    """

    input_range: tuple[float, float] = (0.0, 1.0)
    rescale: bool = True
    resize: ResizeKernel = "bicubic-antialias"
    size: int = 224
    crop: Crop = "centre"
    align_corners: bool = False
    normalise: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    clamp: Clamp = "none"
    check: bool = True

    def __post_init__(self) -> None:
        """Refuse settings that do not exist, before an image is there."""
        for name, value, kind in (
            ("resize", self.resize, ResizeKernel),
            ("crop", self.crop, Crop),
            ("clamp", self.clamp, Clamp),
        ):
            if value not in get_args(kind):
                raise ConfigError(
                    f'no {name} called "{value}"',
                    closest=closest_matches(str(value), get_args(kind)),
                    expected=", ".join(get_args(kind)),
                )
        low, high = self.input_range
        if not low < high:
            raise ConfigError(f"input_range is {self.input_range}", expected="(low, high) with low < high")
        if self.size < 1:
            raise ConfigError(f"size is {self.size}", expected="at least one pixel")
        if self.align_corners and self.resize not in ("bilinear", "bicubic"):
            raise ConfigError(f"align_corners with the kernel {self.resize}", expected="bilinear or bicubic")
        if self.normalise and (len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0):
            raise ConfigError(f"mean {self.mean} and std {self.std}", expected="three values each, std positive")

    def __call__(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 size size"]:
        """Encoder pixels of images of any size; differentiable.

        Raises:
            DataError: if the images are not what the contract says.
        """
        low, high = self.input_range
        if self.check:
            check_range(images, low, high)
        if self.rescale and (low, high) != (0.0, 1.0):
            images = (images - low) / (high - low)
        if self.clamp == "gradient":
            images = clamp_with_gradient(images)
        elif self.clamp == "hard":
            images = images.clamp(0, 1)
        images = self._fitted(images)
        if self.clamp == "hard":
            images = images.clamp(0, 1)
        if not self.normalise:
            return images
        mean, std = _statistics(self.mean, self.std, images.device, images.dtype)
        return (images - mean) / std

    def _fitted(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        size = self.size
        if (height, width) == (size, size):
            return images
        if self.resize == "none":
            raise DataError(f"the images are {height} x {width} and resize is none", expected=f"{size} x {size} pixels")
        if self.crop == "none":
            return self._resized(images, size, size)
        short = min(height, width)
        # The long side is cut down, not rounded, as torchvision does it.
        tall, wide = (size if side == short else max(size, size * side // short) for side in (height, width))
        images = self._resized(images, tall, wide)
        top, left = round((tall - size) / 2), round((wide - size) / 2)
        return images[..., top : top + size, left : left + size]

    def _resized(self, images: Tensor, height: int, width: int) -> Tensor:
        if tuple(images.shape[-2:]) == (height, width):
            return images
        if self.resize == "area-matrix":
            # Weights in half precision would not sum to one.
            exact = images.dtype if images.dtype == torch.float64 else torch.float32
            rows = area_matrix(images.shape[-2], height, device=images.device, dtype=exact)
            columns = area_matrix(images.shape[-1], width, device=images.device, dtype=exact)
            return (rows @ images.to(exact) @ columns.T).to(images.dtype)
        if self.resize == "adaptive-average":
            return F.adaptive_avg_pool2d(images, (height, width))
        if self.resize == "mean-max":
            return (F.adaptive_avg_pool2d(images, (height, width)) + F.adaptive_max_pool2d(images, (height, width))) / 2
        kernel, _, antialias = self.resize.partition("-")
        return F.interpolate(
            images, (height, width), mode=kernel, align_corners=self.align_corners, antialias=bool(antialias)
        )


@lru_cache(maxsize=64)
def _statistics(mean: tuple, std: tuple, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        made = [torch.tensor(part, device=device, dtype=dtype)[:, None, None] for part in (mean, std)]
        return made[0], made[1]


PIXEL_PRESETS: dict[str, PixelContract] = {
    "clip": PixelContract(),
    "styleclip": PixelContract(
        input_range=(-1.0, 1.0), rescale=False, resize="area-matrix", crop="none", normalise=False
    ),
    "styleclip-global": PixelContract(input_range=(-1.0, 1.0), clamp="hard"),
    "nada": PixelContract(input_range=(-1.0, 1.0), resize="bicubic"),
    "diffusionclip": PixelContract(input_range=(-1.0, 1.0), resize="bicubic"),
    "clipasso": PixelContract(resize="none"),
    "clipdraw": PixelContract(resize="none", normalise=False),
    "clipdraw-normalised": PixelContract(resize="none"),
    "vqgan-clip": PixelContract(resize="mean-max", crop="none", clamp="gradient"),
    "guided-diffusion": PixelContract(input_range=(-1.0, 1.0), resize="adaptive-average", crop="none"),
    "glide": PixelContract(input_range=(-1.0, 1.0), resize="none", size=64),
    "clipnerf": PixelContract(resize="bilinear", crop="none", align_corners=True, normalise=False),
    "dream-fields": PixelContract(resize="bilinear", crop="none"),
    "clipstyler": PixelContract(resize="bicubic", crop="none"),
}
"""What each published system feeds its encoder; ``"clip"`` is what CLIP was trained with.

Those of StyleGAN-NADA, DiffusionCLIP and CLIPstyler resize without antialiasing, as their published numbers were made;
``dataclasses.replace(preset, resize="bicubic-antialias")`` is the better filter. The byte pipeline of
``"styleclip-global"`` also rounds to 8 bits, which has no gradient and is left out.
"""


def clip_pixels(
    images: Float[Tensor, "batch 3 height width"], contract: str | PixelContract = "clip", **changes: Any
) -> Float[Tensor, "batch 3 size size"]:
    """Images as an encoder takes them, under a named contract or one of your own.

    Args:
        images: in the range that the contract states.
        contract: a name of :data:`PIXEL_PRESETS`, or a contract.
        changes: fields of :class:`PixelContract` that differ.

    Raises:
        ConfigError: if there is no such preset or field.
        DataError: if the images are not what the contract says.

    >>> clip_pixels(torch.rand(1, 3, 64, 64), "clipstyler", size=32).shape
    torch.Size([1, 3, 32, 32])
    """
    if isinstance(contract, str):
        if contract not in PIXEL_PRESETS:
            raise ConfigError(
                f'no pixel contract called "{contract}"',
                closest=closest_matches(contract, PIXEL_PRESETS),
                expected=", ".join(PIXEL_PRESETS),
            )
        contract = PIXEL_PRESETS[contract]
    unknown = [name for name in changes if name not in PixelContract.__dataclass_fields__]
    if unknown:
        raise ConfigError(
            f'a pixel contract has no field "{unknown[0]}"',
            closest=closest_matches(unknown[0], PixelContract.__dataclass_fields__),
            expected=", ".join(PixelContract.__dataclass_fields__),
        )
    return (replace(contract, **changes) if changes else contract)(images)
