"""Boxes that may hold an object, whatever it is: where the training-free tiers look."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb
from torch import Tensor
from torchvision.ops import nms

from clipzoo.encoders.weight_files import read_weight_file
from clipzoo.errors import ConfigError, DataError, WeightsError, closest_matches
from clipzoo_detect.boxes import check_boxes, clip_boxes, valid_boxes

PROPOSERS = ("grouping", "rpn")

# Parts of things are as contrasting and whole as things; a weak preference for the larger puts them behind.
_SIZE_POWER = 0.15
# Sky and ground run along the border of the image; things are cut off by it at a side or two.
_BORDER_COST = 0.8


@dataclass(frozen=True, eq=False)
class Proposals:
    """Candidate boxes, best first.

    Attributes:
        boxes: px.
        objectness: in [0, 1].
    """

    boxes: Float[Tensor, "boxes 4"]
    objectness: Float[Tensor, " boxes"]

    def __len__(self) -> int:
        return len(self.objectness)

    def first(self, count: int) -> Proposals:
        """The best ``count``."""
        return Proposals(self.boxes[:count], self.objectness[:count])


class Proposer(Protocol):
    """Anything that proposes boxes for an image."""

    def __call__(self, image: Float[Tensor, "3 height width"]) -> Proposals:
        """Candidate boxes of an RGB image in [0, 1], best first."""
        ...


def proposer(name: str | Proposer, device: torch.device | str = "cpu") -> Proposer:
    """A source of proposals by name.

    Args:
        name: ``"grouping"`` (bundled, no weights), ``"rpn"`` (torchvision's Mask R-CNN, its COCO weights in the local
            cache), or a proposer, which is returned.
        device: of the network, if it is one.

    Raises:
        ConfigError: if none is called so.
        WeightsError: if its weights are not there.
    """
    if not isinstance(name, str):
        return name
    if name == "grouping":
        return GroupingProposer()
    if name == "rpn":
        return RPNProposer.pretrained(device)
    raise ConfigError(
        f'no proposer called "{name}"', closest=closest_matches(name, PROPOSERS), expected=", ".join(PROPOSERS)
    )


@dataclass(frozen=True)
class GroupingProposer:
    """Boxes from merging regions that look alike, ranked by how whole the things inside them are: no weights at all.

    Regions of several over-segmentations are merged pair by pair, the most similar first, in colour histogram, size and
    fill, and every region on the way gives a box (selective search, Uijlings et al. 2013, section 3). The rank is that
    of the objectness measure: how little superpixels straddle the edge of the box, times the contrast of its colours
    with those around it (Alexe, Deselaers and Ferrari 2012, sections 2.2 and 2.4); small boxes and those along the
    border of the image are put behind.

    Args:
        count: boxes at most.
        side_px: longer side of the image that is segmented; larger images are shrunk to it.
        scales: of the over-segmentations (Felzenszwalb and Huttenlocher 2004, k).
        least: shorter side of a box as a fraction of the image's longer one.
        iou: boxes that overlap a better one by more are dropped.

    >>> image = torch.ones(3, 64, 64)
    >>> image[:, 16:40, 20:50] = torch.tensor([1.0, 0, 0])[:, None, None]
    >>> GroupingProposer()(image).boxes[0].round().tolist()
    [20.0, 16.0, 50.0, 40.0]
    """

    count: int = 300
    side_px: int = 256
    scales: tuple[float, ...] = (40.0, 120.0, 360.0)
    least: float = 0.03
    iou: float = 0.8

    def __call__(self, image: Float[Tensor, "3 height width"]) -> Proposals:
        """Candidate boxes, best first; of a picture without any edge, the whole of it."""
        height, width = image.shape[-2:]
        lab, factor = _small_lab(image, self.side_px)
        segmentations = [
            felzenszwalb(lab / 100, scale=scale * max(lab.shape) / 256, sigma=0.8, min_size=max(8, lab.size // 12000))
            for scale in self.scales
        ]
        boxes = np.concatenate([_merged_boxes(labels, lab) for labels in segmentations])
        side = max(lab.shape[:2])
        boxes = np.unique(boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) >= self.least * side], axis=0)
        whole = np.array([[0, 0, lab.shape[1], lab.shape[0]]])
        boxes = np.unique(np.concatenate([boxes, whole]), axis=0)
        score = np.max([_whole_inside(labels, boxes) for labels in segmentations[1:]], axis=0)
        score = np.sqrt(score * _contrast(lab, boxes)) * _share(lab, boxes) ** _SIZE_POWER
        score = score * (1 - _BORDER_COST * _on_border(lab, boxes))
        found = torch.from_numpy(boxes).float() * torch.tensor([*factor, *factor])
        objectness = torch.from_numpy(score).float().clamp(1e-3, 1)
        kept = nms(found, objectness, self.iou)[: self.count]
        return Proposals(clip_boxes(found[kept], (height, width)), objectness[kept])


def _small_lab(image: Tensor, side_px: int) -> tuple[np.ndarray, tuple[float, float]]:
    """The image in Lab, shrunk, and the factors from its pixels to those of the image, x and y."""
    height, width = image.shape[-2:]
    shrink = min(1.0, side_px / max(height, width))
    rows, columns = max(1, round(height * shrink)), max(1, round(width * shrink))
    small = image.detach().cpu().float()
    if (rows, columns) != (height, width):
        small = torch.nn.functional.interpolate(small[None], (rows, columns), mode="bilinear", antialias=True)[0]
    return rgb2lab(small.clamp(0, 1).permute(1, 2, 0).numpy()).astype(np.float32), (width / columns, height / rows)


def _merged_boxes(labels: np.ndarray, lab: np.ndarray) -> Int[np.ndarray, "regions 4"]:
    """Boxes of all regions and of all their unions on the way to one."""
    count = int(labels.max()) + 1
    size = np.bincount(labels.ravel(), minlength=count).astype(float).tolist()
    histogram = list(_histograms(labels, lab, count))
    boxes = _region_boxes(labels, count).tolist()
    neighbours = _neighbours(labels, count)
    total = labels.size
    alive = [True] * count

    def similarity(one: int, other: int) -> float:
        a, b = boxes[one], boxes[other]
        around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
        both = size[one] + size[other]
        return float(np.minimum(histogram[one], histogram[other]).sum()) + 2 - both / total - (around - both) / total

    heap = [(-similarity(a, b), a, b) for a in range(count) for b in neighbours[a] if a < b]
    heapq.heapify(heap)
    while heap:
        _, one, other = heapq.heappop(heap)
        if not (alive[one] and alive[other]):
            continue
        alive[one] = alive[other] = False
        new = len(size)
        alive.append(True)
        weight = size[one] + size[other]
        histogram.append((histogram[one] * size[one] + histogram[other] * size[other]) / weight)
        a, b = boxes[one], boxes[other]
        boxes.append([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
        size.append(weight)
        around = (neighbours[one] | neighbours[other]) - {one, other}
        neighbours.append(around)
        for near in around:
            neighbours[near] -= {one, other}
            neighbours[near].add(new)
            heapq.heappush(heap, (-similarity(near, new), near, new))
    return np.array(boxes)


def _histograms(labels: np.ndarray, lab: np.ndarray, count: int, bins: int = 12) -> np.ndarray:
    """Colour histograms of the regions, [count, 3 * bins], each a distribution."""
    scaled = (lab - (0, -80, -80)) / (100, 160, 160) * bins
    place = scaled.clip(0, bins - 1).astype(int).reshape(-1, 3) + np.arange(3) * bins
    flat = labels.ravel()[:, None] * 3 * bins + place
    found = np.bincount(flat.ravel(), minlength=count * 3 * bins).reshape(count, -1).astype(float)
    return found / found.sum(1, keepdims=True)


def _region_boxes(labels: np.ndarray, count: int) -> np.ndarray:
    height, width = labels.shape
    rows, columns = np.indices(labels.shape)
    boxes = np.empty((count, 4), dtype=np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    flat = labels.ravel()
    for side, values in ((0, columns), (1, rows)):
        np.minimum.at(boxes[:, side], flat, values.ravel())
        np.maximum.at(boxes[:, side + 2], flat, values.ravel() + 1)
    return boxes


def _neighbours(labels: np.ndarray, count: int) -> list[set[int]]:
    pairs = np.concatenate(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1),
        ]
    )
    found: list[set[int]] = [set() for _ in range(count)]
    for one, other in np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist():
        found[one].add(other)
        found[other].add(one)
    return found


def _whole_inside(labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    r"""One minus the share of the box taken by superpixels that straddle its edge.

    :math:`1 - \sum_s \min(|s \setminus w|, |s \cap w|) / |w|` (Alexe et al. 2012, eq. 7).
    """
    step = 2 if max(labels.shape) > 160 else 1
    labels = labels[::step, ::step]
    low, high = boxes[:, :2] // step, -(-boxes[:, 2:] // step)
    shape = labels.shape
    kinds, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(shape)
    straddling = np.zeros(len(boxes))
    for kind in range(len(kinds)):
        table = np.pad((labels == kind).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = table[high[:, 1], high[:, 0]] - table[low[:, 1], high[:, 0]]
        inside = inside - table[high[:, 1], low[:, 0]] + table[low[:, 1], low[:, 0]]
        straddling += np.minimum(inside, table[-1, -1] - inside)
    area = ((high - low).prod(1)).clip(1)
    return (1 - straddling / area).clip(0, 1)


def _contrast(lab: np.ndarray, boxes: np.ndarray, bins: int = 4) -> np.ndarray:
    """Chi-square distance of the colours in the box from those in a frame of half its width around it, in [0, 1]."""
    height, width = lab.shape[:2]
    scaled = ((lab - (0, -60, -60)) / (100, 120, 120) * bins).clip(0, bins - 1).astype(int)
    code = (scaled[..., 0] * bins + scaled[..., 1]) * bins + scaled[..., 2]
    kinds, code = np.unique(code, return_inverse=True)
    code = code.reshape(height, width)
    table = np.zeros((len(kinds), height + 1, width + 1), dtype=np.int32)
    for kind in range(len(kinds)):
        table[kind, 1:, 1:] = (code == kind).cumsum(0).cumsum(1)
    extent = boxes[:, 2:] - boxes[:, :2]
    low = np.maximum(boxes[:, :2] - np.ceil(extent * 0.25).astype(int), 0)
    high = np.minimum(boxes[:, 2:] + np.ceil(extent * 0.25).astype(int), (width, height))

    def counts(x1: Any, y1: Any, x2: Any, y2: Any) -> np.ndarray:
        return (table[:, y2, x2] - table[:, y1, x2] - table[:, y2, x1] + table[:, y1, x1]).astype(float)

    inside = counts(*boxes.T)
    around = counts(*low.T, *high.T) - inside
    empty = around.sum(0) == 0
    inside, around = inside / inside.sum(0).clip(1), around / around.sum(0).clip(1)
    distance = ((inside - around) ** 2 / (inside + around).clip(1e-9)).sum(0) / 2
    return np.where(empty, 0.05, distance.clip(0.02, 1))


def _share(lab: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Area of each box as a share of the image's."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1) / (lab.shape[0] * lab.shape[1])


def _on_border(lab: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Share of the edges of each box that lie on the border of the image."""
    height, width = lab.shape[:2]
    near = 0.01 * max(height, width)
    left, top, right, bottom = boxes.T
    wide, tall = right - left, bottom - top
    along = ((left <= near).astype(float) + (right >= width - near)) * tall
    along += ((top <= near).astype(float) + (bottom >= height - near)) * wide
    return along / (2 * (wide + tall))


class RPNProposer:
    """The region proposal network of a torchvision detector, without regard to its classes.

    Args:
        model: with ``transform``, ``backbone`` and ``rpn`` (any R-CNN of torchvision).
        count: boxes at most.
    """

    def __init__(self, model: Any, count: int = 300) -> None:
        """Put it in evaluation mode."""
        self.model = model.eval()
        self.count = count

    @classmethod
    def pretrained(cls, device: torch.device | str = "cpu", count: int = 300) -> RPNProposer:
        """Torchvision's Mask R-CNN trained on COCO, from the local cache of torch.hub.

        Raises:
            WeightsError: if its weights are not in the cache.
        """
        from pathlib import Path

        from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, maskrcnn_resnet50_fpn_v2

        weights = MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1
        path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        if not path.exists():
            raise WeightsError(
                f"the weights of torchvision's Mask R-CNN are not in {path}",
                expected=f"the file from {weights.url}",
                hint="proposer=grouping, which needs none",
            )
        model = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91)
        model.load_state_dict(read_weight_file(path))
        return cls(model.to(device), count)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 height width"]) -> Proposals:
        """Candidate boxes, best first."""
        device = next(self.model.parameters()).device
        batch, _ = self.model.transform([image.to(device)])
        boxes, scores = rpn_proposals(self.model.rpn, batch, self.model.backbone(batch.tensors))
        height, width = batch.image_sizes[0]
        factor = torch.tensor([image.shape[-1] / width, image.shape[-2] / height] * 2, device=device)
        return Proposals((boxes * factor)[: self.count].to(image.device), scores[: self.count].to(image.device))


def rpn_proposals(rpn: Any, batch: Any, maps: Any) -> tuple[Float[Tensor, "boxes 4"], Float[Tensor, " boxes"]]:
    """Boxes and objectness of the one image of a batch, best first: torchvision's network returns no scores.

    Args:
        rpn: a region proposal network of torchvision, in evaluation mode.
        batch: of one image, as the network's transform gives it.
        maps: of the backbone.
    """
    levels = list(maps.values())
    logits, deltas = rpn.head(levels)
    anchors = rpn.anchor_generator(batch, levels)
    counts = [level[0].numel() for level in logits]
    decoded = rpn.box_coder.decode(_flattened(deltas, 4).detach(), anchors).view(1, -1, 4)
    boxes, scores = rpn.filter_proposals(decoded, _flattened(logits, 1), batch.image_sizes, counts)
    order = scores[0].argsort(descending=True)
    return boxes[0][order], scores[0][order]


def _flattened(levels: list[Tensor], width: int) -> Tensor:
    """Outputs of the RPN's levels as rows, in the order of its anchors."""
    rows = [
        level.unflatten(1, (-1, width)).permute(0, 3, 4, 1, 2).reshape(level.shape[0], -1, width) for level in levels
    ]
    return torch.cat(rows, 1).reshape(-1, width)


def given_proposals(
    boxes: Float[Tensor, "boxes 4"], size: tuple[int, int], objectness: Float[Tensor, " boxes"] | None = None
) -> tuple[Proposals, int]:
    """A user's own boxes as proposals, those without area in the image left out.

    Args:
        boxes: px.
        size: height and width of the image, px.
        objectness: in [0, 1]; one by default.

    Returns:
        The proposals, and how many boxes were left out.

    Raises:
        DataError: if they are no boxes.
    """
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    check_boxes(boxes)
    score = torch.ones(len(boxes)) if objectness is None else torch.as_tensor(objectness, dtype=torch.float32)
    if score.shape != (len(boxes),):
        raise DataError(f"{len(boxes)} boxes with {tuple(score.shape)} scores", expected="one a box")
    inside = clip_boxes(boxes, size)
    kept = valid_boxes(inside)
    return Proposals(inside[kept], score[kept].clamp(0, 1)), int((~kept).sum())
