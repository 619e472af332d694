"""Boxes as ``[N, 4]`` in pixels: left, top, right, bottom; the right and bottom edges are exclusive."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms

from clipzoo.errors import DataError

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of the deltas x, y, width and height in the second stage of Mask R-CNN and of ViLD."""

_MAX_LOG_SIZE = math.log(1000 / 16)


def check_boxes(boxes: Tensor) -> None:
    """Refuse what is no set of finite boxes.

    Raises:
        DataError: if the shape is not ``[N, 4]``, a number is NaN or infinite, or an edge lies before its opposite.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes of the shape {tuple(boxes.shape)}", expected="[N, 4]: left, top, right, bottom in px")
    if not bool(torch.isfinite(boxes).all()):
        bad = (~torch.isfinite(boxes)).any(1).nonzero().flatten().tolist()
        raise DataError(f"boxes {bad[:8]} have coordinates that are NaN or infinite")
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1).nonzero().flatten().tolist()
    if turned:
        raise DataError(
            f"box {turned[0]} is {boxes[turned[0]].tolist()}: an edge lies before its opposite",
            expected="left <= right and top <= bottom, in px",
            hint="of left, top, width, height: boxes[:, 2:] += boxes[:, :2]",
        )


def clip_boxes(boxes: Float[Tensor, "boxes 4"], size: tuple[int, int]) -> Float[Tensor, "boxes 4"]:
    """The part of each box that lies in the image.

    Args:
        boxes: px.
        size: height and width of the image, px.

    >>> clip_boxes(torch.tensor([[-5.0, 2, 20, 30]]), (24, 16)).tolist()
    [[0.0, 2.0, 16.0, 24.0]]
    """
    height, width = size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def expand_boxes(
    boxes: Float[Tensor, "boxes 4"], factor: float = 1.5, size: tuple[int, int] | None = None
) -> Float[Tensor, "boxes 4"]:
    r"""Boxes of the same centre, larger by ``factor``.

    With :math:`e = (f - 1) / 2`: :math:`x_1' = x_1 - e (x_2 - x_1)` and :math:`x_2' = x_2 + e (x_2 - x_1)`, which for
    1.5 is :math:`1.25 x_1 - 0.25 x_2`; the same for y (ViLD, Gu et al. 2022, section 3.3).

    Args:
        boxes: px.
        factor: of both sides.
        size: height and width of the image that they are clipped to, px; None does not clip.

    >>> expand_boxes(torch.tensor([[10.0, 20, 50, 100]]), 1.5, (110, 200)).tolist()
    [[0.0, 0.0, 60.0, 110.0]]
    """
    margin = (boxes[:, 2:] - boxes[:, :2]) * ((factor - 1) / 2)
    grown = torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1)
    return grown if size is None else clip_boxes(grown, size)


def decode_boxes(
    deltas: Float[Tensor, "boxes 4"],
    anchors: Float[Tensor, "boxes 4"],
    size: tuple[int, int] | None = None,
    weights: tuple[float, float, float, float] = BOX_WEIGHTS,
) -> Float[Tensor, "boxes 4"]:
    r"""Boxes from class-agnostic regression outputs.

    With anchors of centre :math:`(x_a, y_a)` and size :math:`(w_a, h_a)`: :math:`x = x_a + w_a d_x / w_x`,
    :math:`w = w_a \exp(d_w / w_w)`, the same for y and h (R-CNN, Girshick et al. 2014, eq. 1-4, with the weights of
    Mask R-CNN).

    Args:
        deltas: outputs x, y, width, height of each box, one set whatever the class.
        anchors: the proposals that they refine, px.
        size: height and width of the image to clip to, px.
        weights: divisors of the outputs.

    >>> decode_boxes(torch.zeros(1, 4), torch.tensor([[2.0, 4, 10, 8]])).tolist()
    [[2.0, 4.0, 10.0, 8.0]]
    """
    deltas = deltas / deltas.new_tensor(weights)
    extent = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * extent
    # The same bound as in Detectron: exp of an untrained output must not overflow.
    half = extent * deltas[:, 2:].clamp(max=_MAX_LOG_SIZE).exp() / 2
    boxes = torch.cat([centre - half, centre + half], 1)
    return boxes if size is None else clip_boxes(boxes, size)


def encode_boxes(
    boxes: Float[Tensor, "boxes 4"],
    anchors: Float[Tensor, "boxes 4"],
    weights: tuple[float, float, float, float] = BOX_WEIGHTS,
) -> Float[Tensor, "boxes 4"]:
    """The outputs that :func:`decode_boxes` turns into ``boxes``.

    >>> anchors = torch.tensor([[2.0, 4, 10, 8]])
    >>> encode_boxes(torch.tensor([[3.0, 4, 11, 8]]), anchors).tolist()
    [[1.25, 0.0, 0.0, 0.0]]
    """
    extent = (anchors[:, 2:] - anchors[:, :2]).clamp(min=1e-3)
    own = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2 / extent
    return torch.cat([shift, (own / extent).log()], 1) * boxes.new_tensor(weights)


def best_detections(
    boxes: Float[Tensor, "boxes 4"],
    scores: Float[Tensor, "boxes classes"],
    *,
    iou: float = 0.5,
    threshold: float = 0.0,
    candidates: int = 3000,
    limit: int = 300,
) -> tuple[Int[Tensor, " found"], Int[Tensor, " found"]]:
    """Rows and classes that survive non-maximum suppression within each class, best first.

    One box serves every class: it is never copied K times.

    Args:
        boxes: px.
        scores: of each box for each class.
        iou: a box that overlaps a better one of its class by more is dropped.
        threshold: scores must be above it.
        candidates: so many of the best (box, class) pairs enter.
        limit: so many are returned at most.

    Returns:
        Row in ``boxes`` and class of each.

    >>> boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 10, 10], [20, 20, 30, 30]])
    >>> rows, classes = best_detections(boxes, torch.tensor([[0.5, 0.1], [0.9, 0.2], [0.1, 0.3]]), threshold=0.15)
    >>> rows.tolist(), classes.tolist()
    ([1, 2, 1], [0, 1, 1])
    """
    flat = scores.flatten()
    # differs from the paper: its cut is 1000 boxes a class; one cut over all bounds the work for any vocabulary.
    best, place = flat.topk(min(candidates, flat.numel()))
    place = place[best > threshold]
    rows, classes = place // scores.shape[1], place % scores.shape[1]
    kept = batched_nms(boxes[rows].float(), flat[place].float(), classes, iou)[:limit]
    return rows[kept], classes[kept]


def valid_boxes(boxes: Float[Tensor, "boxes 4"], least_px: float = 1.0) -> Bool[Tensor, " boxes"]:
    """Which boxes have both sides of at least ``least_px``."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= least_px).all(1)
