"""Boxes cut out of an image and resized to the encoder's input: all of them in one gather on the image's device."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, closest_matches
from clipzoo_detect.boxes import check_boxes, expand_boxes

Fit = Literal["centre", "squash", "square"]
FITS: tuple[str, ...] = get_args(Fit)

_BORDER_PX = 1


def crop_regions(
    image: Float[Tensor, "channels height width"],
    boxes: Float[Tensor, "boxes 4"],
    size: int,
    fit: Fit = "square",
) -> Float[Tensor, "boxes channels size size"]:
    """Cut out every box and resize it to ``size``.

    One bilinear ``grid_sample`` for all boxes: the image and its successive halvings lie side by side on one sheet,
    and each box reads the level at which its pixels are about as large as those of the crop, so that none aliases.

    Args:
        image: RGB in [0, 1].
        boxes: px; parts outside the image show its edge.
        size: side of the crops, px.
        fit: ``"centre"``: the middle square of the box, which is CLIP's own preprocessing and what ViLD does to crops;
            ``"square"``: the square around the box, moved into the image where it can be, so that nothing of the
            object is lost; ``"squash"``: the box itself, whatever its proportions.

    Returns:
        In [0, 1]. Differentiable in the image.

    Raises:
        ConfigError: if ``fit`` is unknown.
        DataError: if the boxes are none.

    >>> ramp = torch.arange(64.0).expand(3, 64, 64) / 64
    >>> crops = crop_regions(ramp, torch.tensor([[0.0, 0, 64, 64], [16, 8, 48, 40]]), 32)
    >>> crops.shape, round(float(crops[1, 0, 0, 0] * 64))
    (torch.Size([2, 3, 32, 32]), 16)
    """
    if fit not in FITS:
        raise ConfigError(f'no fit called "{fit}"', closest=closest_matches(fit, FITS), expected=", ".join(FITS))
    check_boxes(boxes)
    channels, height, width = image.shape
    boxes = fitted_boxes(boxes.to(image.device, torch.float32), fit, (height, width))
    extent = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    sheet, offsets, limits = _pyramid(image, size)
    # log2 of pixels of the image a pixel of the crop; at a half, both neighbouring levels are as good.
    level = (extent.prod(1).sqrt() / size).log2().round().clamp(0, len(offsets) - 1).long()
    steps = (torch.arange(size, device=image.device) + 0.5) / size
    place = boxes[:, None, :2] + extent[:, None] * steps[:, None]  # [boxes, size, (x, y)]
    place = place / (2.0 ** level[:, None, None])
    place = torch.minimum(place.clamp(min=0), limits[level][:, None]) + offsets[level][:, None]
    place = place / torch.tensor([sheet.shape[-1], sheet.shape[-2]], device=image.device) * 2 - 1
    grid = torch.stack(
        [place[:, None, :, 0].expand(-1, size, -1), place[:, :, None, 1].expand(-1, -1, size)], -1
    ).reshape(1, -1, size, 2)
    crops = F.grid_sample(sheet[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return crops.reshape(channels, -1, size, size).transpose(0, 1).clamp(0, 1)


def fitted_boxes(boxes: Float[Tensor, "boxes 4"], fit: Fit, size: tuple[int, int]) -> Float[Tensor, "boxes 4"]:
    """The rectangles that :func:`crop_regions` shows of each box.

    Args:
        boxes: px.
        fit: see :func:`crop_regions`.
        size: height and width of the image, px.

    >>> fitted_boxes(torch.tensor([[0.0, 0, 10, 20]]), "square", (40, 40)).tolist()
    [[0.0, 0.0, 20.0, 20.0]]
    >>> fitted_boxes(torch.tensor([[0.0, 0, 10, 20]]), "centre", (40, 40)).tolist()
    [[0.0, 5.0, 10.0, 15.0]]
    """
    if fit == "squash":
        return boxes
    extent = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = extent.amin(1, keepdim=True) if fit == "centre" else extent.amax(1, keepdim=True)
    if fit == "square":
        # Moved inwards as far as the image reaches; a box wider than the image is high keeps the image in its middle.
        whole = boxes.new_tensor([size[1], size[0]])
        half = side / 2
        inside = torch.maximum(torch.minimum(centre, whole - half), half)
        centre = torch.where(side <= whole, inside, whole / 2)
    return torch.cat([centre - side / 2, centre + side / 2], 1)


def region_crops(
    boxes: Float[Tensor, "boxes 4"], size: tuple[int, int], context: tuple[float, ...] = (1.0, 1.5)
) -> tuple[Float[Tensor, "crops 4"], Int[Tensor, "contexts boxes"]]:
    """The distinct crops that a set of boxes needs, on whole pixels, and which of them each box uses.

    Args:
        boxes: px.
        size: height and width of the image, px.
        context: factors by which each box grows.

    Returns:
        Crops (edges rounded outwards, clipped to the image), and for each factor and box the row of its crop.

    >>> crops, rows = region_crops(torch.tensor([[0.0, 0, 9.9, 10], [0, 0, 10, 9.7]]), (10, 10))
    >>> crops.tolist(), rows.tolist()
    ([[0.0, 0.0, 10.0, 10.0]], [[0, 0], [0, 0]])
    """
    wanted = []
    for factor in context:
        grown = expand_boxes(boxes, factor, size)
        corner = grown[:, :2].floor()
        wanted.append(torch.cat([corner, torch.maximum(grown[:, 2:].ceil(), corner + 1)], 1))
    crops, rows = torch.cat(wanted).unique(dim=0, return_inverse=True)
    return crops, rows.reshape(len(context), -1)


def _pyramid(image: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The image and its halvings on one sheet, each in a border of its own edge; where they lie, how large they are."""
    levels = [image.float()]
    while min(levels[-1].shape[-2:]) > 2 and max(levels[-1].shape[-2:]) > size * 1.5:
        levels.append(F.avg_pool2d(levels[-1][None], 2, ceil_mode=True, count_include_pad=False)[0])
    padded = [F.pad(level[None], [_BORDER_PX] * 4, mode="replicate")[0] for level in levels]
    if len(padded) == 1:
        sheet = padded[0]
        corners = [(0, 0)]
    else:
        below = [0]
        for level in padded[1:]:
            below.append(below[-1] + level.shape[-2])
        left = padded[0].shape[-1]
        sheet = image.new_zeros(
            len(image), max(padded[0].shape[-2], below[-1]), left + padded[1].shape[-1], dtype=torch.float32
        )
        corners = [(0, 0), *((left, top) for top in below[:-1])]
        for level, (x, y) in zip(padded, corners, strict=True):
            sheet[:, y : y + level.shape[-2], x : x + level.shape[-1]] = level
    offsets = torch.tensor(corners, dtype=torch.float32, device=image.device) + _BORDER_PX
    limits = torch.tensor([level.shape[:-3:-1] for level in levels], dtype=torch.float32, device=image.device)
    return sheet, offsets, limits
