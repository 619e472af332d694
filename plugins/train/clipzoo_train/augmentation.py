"""Random crops, mirror images and colours on whole batches, and square holes (CoarseDropout)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training image.

    Args:
        area: range of the share of the image that a crop takes; None takes the image as it will be measured.
        ratio: range of a crop's width over its height.
        mirror: chance of a mirror image. Captions that say left and right become wrong.
        colour: largest change of brightness, contrast and saturation.
        grey: chance of a grey image.
    """

    area: tuple[float, float] | None = (0.9, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: float = 0.0
    colour: float = 0.0
    grey: float = 0.0

    @property
    def margin(self) -> float:
        """How much larger than the crops the stored squares are, so that small crops are not enlarged."""
        return 1.0 if self.area is None else 1.0 / math.sqrt(sum(self.area) / 2)


PRESETS: dict[str, Augmentation] = {
    "none": Augmentation(area=None),
    "openclip": Augmentation(),
    "flip": Augmentation(area=(0.5, 1.0), mirror=0.5),
    "strong": Augmentation(area=(0.35, 1.0), mirror=0.5, colour=0.4, grey=0.1),
    "blog": Augmentation(area=None),
}
"""open_clip's defaults, FLIP's, a strong one for little data, and that of SimpleCLIP and the course blog: both sides of
an image are brought to one length, for measuring too; the blog's square holes are ``mask=pixels``."""


def augmented(
    squares: Float[Tensor, "batch 3 side side"],
    aspects: Float[Tensor, " batch"],
    preset: Augmentation,
    size: int,
    generator: torch.Generator,
) -> Float[Tensor, "batch 3 size size"]:
    """Crops of images that were squashed to squares.

    Args:
        squares: in [0, 1].
        aspects: width over height of the images before they were squashed.
        preset: what to do.
        size: of the result, px.
        generator: on the CPU, so that all devices draw the same.
    """
    batch = len(squares)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=generator) * (high - low) + low

    if preset.area is None:
        pixels = squares if squares.shape[-1] == size else _resized(squares, size)
    else:
        share = uniform(*preset.area)
        shape = torch.exp(uniform(*(math.log(edge) for edge in preset.ratio))) / aspects
        # Of the square: width w and height h with w h = share and w / h = shape, no side beyond the image.
        wide, tall = (share * shape).sqrt().clamp(max=1), (share / shape).sqrt().clamp(max=1)
        across, down = (uniform(-1, 1) * (1 - side) for side in (wide, tall))
        turn = torch.where(uniform(0, 1) < preset.mirror, -1.0, 1.0)
        nought = torch.zeros(batch)
        rows = torch.stack([torch.stack([wide * turn, nought, across], 1), torch.stack([nought, tall, down], 1)], 1)
        grid = F.affine_grid(rows.to(squares.device), [batch, 3, size, size], align_corners=False)
        pixels = F.grid_sample(squares, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if preset.colour:
        pixels = _coloured(pixels, preset.colour, generator)
    if preset.grey:
        grey = (uniform(0, 1) < preset.grey).to(pixels.device)[:, None, None, None]
        pixels = torch.where(grey, _luma(pixels), pixels)
    return pixels


def _resized(squares: Tensor, size: int) -> Tensor:
    return F.interpolate(squares, (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _luma(pixels: Tensor) -> Tensor:
    weights = pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return (pixels * weights).sum(1, keepdim=True)


def _coloured(pixels: Tensor, most: float, generator: torch.Generator) -> Tensor:
    factors = 1 + most * (2 * torch.rand(3, len(pixels), 1, 1, 1, generator=generator) - 1)
    bright, contrast, saturation = factors.to(pixels.device)
    pixels = pixels * bright
    pixels = (pixels - (mean := _luma(pixels).mean((2, 3), keepdim=True))) * contrast + mean
    return ((pixels - (grey := _luma(pixels))) * saturation + grey).clamp(0, 1)


def with_holes(
    pixels: Float[Tensor, "batch 3 size size"], share: float, holes: int, area: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 size size"]:
    """Square holes of black in some of the images (CoarseDropout, DeVries and Taylor 2017, as the course blog has it).

    Unlike FLIP's token dropping this saves no computation, and the statistics of the input shift.

    Args:
        pixels: in [0, 1].
        share: chance that an image has holes.
        holes: how many it then has; they may overlap.
        area: of a hole, share of the image.
        generator: on the CPU.

    >>> holed = with_holes(torch.ones(1, 3, 8, 8), 1.0, 1, 0.25, torch.Generator().manual_seed(0))
    >>> int((holed == 0).sum()) // 3
    16
    """
    batch, size = len(pixels), pixels.shape[-1]
    side = max(1, min(size, round(size * math.sqrt(area))))
    masked = torch.rand(batch, 1, generator=generator) < share
    left, top = (torch.randint(size - side + 1, (batch, holes, 1), generator=generator) for _ in range(2))
    place = torch.arange(size)
    columns, rows = ((place >= start) & (place < start + side) for start in (left, top))
    hole = (rows[..., :, None] & columns[..., None, :]).any(1) & masked[..., None]
    return pixels.masked_fill(hole[:, None].to(pixels.device), 0.0)
