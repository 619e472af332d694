"""Colour changes of views, with one setting an image: jitter (kornia), grey, erased rectangles."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from torch import Tensor

JITTER_DRAWS = 5
ERASE_DRAWS = 6
_GREY = (0.299, 0.587, 0.114)


def jitter_factors(
    u: Float[Tensor, "*batch 5"], strength: float = 0.1, hue: float | None = None, probability: float = 1.0
) -> Float[Tensor, "*batch 4"]:
    """Factors of brightness, contrast and saturation in ``1 -+ strength``, and an angle of hue in radians.

    Args:
        u: :data:`JITTER_DRAWS` uniform numbers.
        strength: largest change of a factor.
        hue: largest change of hue in turns; default ``strength``.
        probability: of each image to be changed; the others get 1, 1, 1, 0.
    """
    turn = 2 * torch.pi * (strength if hue is None else hue)
    spread = torch.tensor([strength, strength, strength, turn], dtype=u.dtype)
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=u.dtype)
    return torch.where((u[..., 4:] < probability), neutral + (2 * u[..., :4] - 1) * spread, neutral)


def jitter(
    images: Float[Tensor, "batch 3 height width"], factors: Float[Tensor, "batch 4"]
) -> Float[Tensor, "batch 3 height width"]:
    """Change brightness, contrast, saturation and hue, in this order, of RGB images in [0, 1]; neutral rows are kept.

    torchvision and kornia draw a new order for each call; with one for each image there could be no batch.
    """
    factors = factors.to(images)
    changed = (factors != factors.new_tensor([1.0, 1.0, 1.0, 0.0])).any(-1)
    made = adjust_brightness_accumulative(images.clamp(0, 1), factors[:, 0])
    made = adjust_contrast_with_mean_subtraction(made, factors[:, 1])
    made = adjust_saturation_with_gray_subtraction(made, factors[:, 2])
    made = adjust_hue(made, factors[:, 3])
    return torch.where(changed[:, None, None, None], made, images)


def grey(
    images: Float[Tensor, "*batch 3 height width"], chosen: Bool[Tensor, "*batch"] | None = None
) -> Float[Tensor, "*batch 3 height width"]:
    """Luminance (Rec. 601) in all three channels, of the chosen images or of all.

    >>> grey(torch.ones(1, 3, 1, 1)).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    weights = images.new_tensor(_GREY)[:, None, None]
    made = (images * weights).sum(-3, keepdim=True).expand_as(images)
    return made if chosen is None else torch.where(chosen.to(images.device)[..., None, None, None], made, images)


def erased_boxes(
    u: Float[Tensor, "*batch 6"],
    side: int,
    scale: tuple[float, float] = (0.1, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
    probability: float = 1.0,
) -> Float[Tensor, "*batch 4"]:
    """Rectangles (top, left, height, width), px, to erase; empty where nothing is erased.

    Args:
        u: :data:`ERASE_DRAWS` uniform numbers: area, ratio, which half of the ratios, top, left, whether.
        side: of the image, px.
        scale: least and largest share of the area.
        ratio: least and largest height / width; below and above one are as likely.
        probability: of each image to be changed.
    """
    area = side * side * (scale[0] + u[..., 0] * (scale[1] - scale[0]))
    flat, steep = ratio[0] + u[..., 1] * (1 - ratio[0]), 1 + u[..., 1] * (ratio[1] - 1)
    aspect = torch.where(u[..., 2] < 0.5, flat, steep)
    tall, wide = ((area * aspect).sqrt().round().clamp(1, side), (area / aspect).sqrt().round().clamp(1, side))
    top, left = (u[..., 3] * (side - tall + 1)).floor(), (u[..., 4] * (side - wide + 1)).floor()
    return torch.stack([top, left, tall, wide], -1) * (u[..., 5:] < probability)


def erase(
    images: Float[Tensor, "*batch 3 side side"], boxes: Float[Tensor, "*batch 4"], value: float = 0.0
) -> Float[Tensor, "*batch 3 side side"]:
    """Set the rectangles to ``value``."""
    top, left, tall, wide = boxes.to(images.device)[..., None].unbind(-2)
    rows = torch.arange(images.shape[-2], device=images.device)
    columns = torch.arange(images.shape[-1], device=images.device)
    down = (rows >= top) & (rows < top + tall)
    across = (columns >= left) & (columns < left + wide)
    hit = down[..., :, None] & across[..., None, :]
    return torch.where(hit[..., None, :, :], value, images)
