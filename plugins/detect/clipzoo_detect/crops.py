"""Boxes cut out of an image and resized to the encoder's input, all at once, with the pixels that Pillow would give."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, closest_matches
from clipzoo_detect import resampling
from clipzoo_detect.boxes import check_boxes, expand_boxes

Fit = Literal["centre", "squash", "square"]
FITS: tuple[str, ...] = get_args(Fit)

# Threads take turns of so many crops: few enough that they end together, whatever the sizes of the boxes.
_TURN = 4


def crop_regions(
    image: Float[Tensor, "channels height width"],
    boxes: Float[Tensor, "boxes 4"],
    size: int,
    fit: Fit = "square",
) -> Float[Tensor, "boxes channels size size"]:
    """Cut out every box and resize it to ``size`` as Pillow does with ``BICUBIC``, CLIP's own preprocessing.

    On the CPU a compiled loop over the boxes; on other devices, and where gradients are wanted, one product of the
    image with the matrices of weights of all boxes. Boxes with whole edges inside the image equal
    ``image.crop(box).resize`` up to the rounding of bytes, 3/255 at most and 1/500 in the mean.

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
    check_boxes(boxes)
    if len(boxes) == 0:
        return image.new_zeros(0, len(image), size, size, dtype=torch.float32)
    return next(crop_batches(image, boxes, size, fit, len(boxes)))


def crop_batches(
    image: Float[Tensor, "channels height width"],
    boxes: Float[Tensor, "boxes 4"],
    size: int,
    fit: Fit = "square",
    batch_size: int = 16,
) -> Iterator[Float[Tensor, "batch channels size size"]]:
    """The crops of :func:`crop_regions`, some at a time; on the CPU each batch is written over the one before.

    Memory that is used again needs no new pages, which for many crops cost as much time as the resizing, and few crops
    stay in the processor's cache.

    Args:
        image: RGB in [0, 1].
        boxes: px.
        size: side of the crops, px.
        fit: see :func:`crop_regions`.
        batch_size: crops at once.

    Raises:
        ConfigError: if ``fit`` is unknown.
        DataError: if the boxes are none.
    """
    if fit not in FITS:
        raise ConfigError(f'no fit called "{fit}"', closest=closest_matches(fit, FITS), expected=", ".join(FITS))
    check_boxes(boxes)
    fitted = fitted_boxes(boxes.detach().cpu().double(), fit, (image.shape[-2], image.shape[-1]))
    # A box of no width still shows what lies under it.
    fitted = torch.cat([fitted[:, :2], torch.maximum(fitted[:, 2:], fitted[:, :2] + 1e-3)], 1).numpy()
    if image.device.type != "cpu" or (image.requires_grad and torch.is_grad_enabled()):
        for begin in range(0, len(fitted), batch_size):
            yield _by_product(image.float(), fitted[begin : begin + batch_size], size)
        return
    turned = image.detach().float().transpose(1, 2).contiguous().numpy()
    sheet = torch.empty(min(batch_size, len(fitted)), len(image), size, size)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for begin in range(0, len(fitted), batch_size):
            part = fitted[begin : begin + batch_size]
            _by_loop(turned, part, sheet.numpy(), pool)
            yield sheet[: len(part)]


def _by_loop(turned: np.ndarray, boxes: np.ndarray, out: np.ndarray, pool: ThreadPoolExecutor) -> None:
    turns = [
        pool.submit(resampling.resample, turned, boxes, out, begin, min(begin + _TURN, len(boxes)))
        for begin in range(0, len(boxes), _TURN)
    ]
    for turn in turns:
        turn.result()


def _by_product(image: Tensor, boxes: np.ndarray, size: int) -> Tensor:
    """Each crop is weights of rows times the image times weights of columns."""
    height, width = image.shape[-2:]
    across = _weight_matrices(boxes[:, [0, 2]], size, width, image.device)
    down = _weight_matrices(boxes[:, [1, 3]], size, height, image.device)
    wide = torch.einsum("chw,nxw->nchx", image, across)
    return torch.einsum("nyh,nchx->ncyx", down, wide).clamp(0, 1)


def _weight_matrices(
    edges: np.ndarray, size: int, length: int, device: torch.device
) -> Float[Tensor, "boxes size length"]:
    """Weights of all pixels along an axis of the image in each pixel of the crops."""
    taps = int(np.ceil(4 * max(1.0, (edges[:, 1] - edges[:, 0]).max() / size))) + 1
    first = np.empty((len(edges), size), np.int64)
    weights = np.zeros((len(edges), taps, size), np.float32)
    resampling.weights_of_all(edges, first, weights)
    # Few numbers travel to the device; the matrices, mostly zeros, are laid out there.
    rows = torch.from_numpy(weights).to(device).transpose(1, 2)
    columns = torch.from_numpy(first).to(device)[..., None] + torch.arange(taps, device=device)
    found = torch.zeros(len(edges), size, length, device=device)
    return found.scatter_add_(2, columns.clamp(0, length - 1), rows)


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
