"""Files of detections and of truth in the format of COCO, which LVIS shares."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from clipzoo.errors import MissingExtra
from clipzoo_detect.annotations import DetectionData
from clipzoo_detect.detections import Detections

BACKENDS = {"pycocotools": "pycocotools", "faster-coco-eval": "faster_coco_eval"}


def coco_results(
    found: Mapping[str, Detections], data: DetectionData, *, masks: bool = False, limit: int | None = None
) -> list[dict[str, Any]]:
    """Detections as the rows of a result file of COCO or LVIS.

    Args:
        found: of each image, by its key.
        data: whose images and classes.
        masks: write masks as run lengths, where there are any.
        limit: detections an image (COCO counts 100, LVIS 300).

    Returns:
        ``image_id``, ``category_id``, ``bbox`` (left, top, width, height, px), ``score``, and ``segmentation``.

    >>> import torch
    >>> from clipzoo_detect.toy import toy_scenes
    >>> one = Detections(torch.tensor([[1.0, 2, 3, 5]]), torch.tensor([0.5]), torch.tensor([7]))
    >>> coco_results({"test-00000": one}, toy_scenes(1))
    [{'image_id': 1, 'category_id': 8, 'bbox': [1.0, 2.0, 2.0, 3.0], 'score': 0.5}]
    """
    rows = []
    for image in data.images:
        own = found.get(image.key)
        if own is None:
            continue
        own = own[:limit]
        encoded = None if not masks or own.masks is None else [encode_mask(mask) for mask in own.masks.cpu().numpy()]
        for place, (box, score, label) in enumerate(
            zip(own.boxes.tolist(), own.scores.tolist(), own.labels.tolist(), strict=True)
        ):
            left, top, right, bottom = box
            row = {
                "image_id": image.number,
                "category_id": data.category_ids[label],
                "bbox": [round(left, 3), round(top, 3), round(right - left, 3), round(bottom - top, 3)],
                "score": round(score, 6),
            }
            if encoded is not None:
                row["segmentation"] = encoded[place]
            rows.append(row)
    return rows


def coco_truth(data: DetectionData, *, masks: bool = False) -> dict[str, Any]:
    """The annotations of ``data`` as the content of a COCO file.

    Args:
        data: with boxes.
        masks: write segmentations; things without one get their box.
    """
    annotations: list[dict[str, Any]] = []
    images = []
    federated = any(image.absent is not None for image in data.images)
    for image in data.images:
        assert image.size is not None
        height, width = image.size
        entry: dict[str, Any] = {"id": image.number, "file_name": image.key, "height": height, "width": width}
        if federated:
            entry["neg_category_ids"] = [data.category_ids[k] for k in image.absent or ()]
            entry["not_exhaustive_category_ids"] = [data.category_ids[k] for k in image.incomplete]
        images.append(entry)
        for thing in image.things:
            left, top, right, bottom = thing.box
            row = {
                # Ids from one: with zero, pycocotools takes a match for none.
                "id": len(annotations) + 1,
                "image_id": image.number,
                "category_id": data.category_ids[thing.label],
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top) if thing.area is None else thing.area,
                "iscrowd": int(thing.crowd),
                "ignore": int(thing.crowd),
            }
            if masks:
                row["segmentation"] = _segmentation(thing.segmentation, thing.box)
            annotations.append(row)
    categories: list[dict[str, Any]] = [
        {"id": number, "name": name} for number, name in zip(data.category_ids, data.classnames, strict=True)
    ]
    if data.frequency:
        for row, frequency in zip(categories, data.frequency, strict=True):
            row["frequency"] = frequency
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def truth_as_detections(data: DetectionData) -> dict[str, Detections]:
    """The annotations as perfect detections of score 1: what any evaluation must give AP 1 for."""
    import torch

    return {
        image.key: Detections(
            torch.from_numpy(image.boxes), torch.ones(len(image.boxes)), torch.tensor(image.labels, dtype=torch.long)
        )
        for image in data.images
    }


def decode_mask(segmentation: Any, size: tuple[int, int], box: Sequence[float] | None = None) -> np.ndarray:
    """A segmentation of COCO (polygons, run lengths, an array) as bool ``[height, width]``.

    Args:
        segmentation: of a :class:`Thing`; None gives the box.
        size: height and width of the image, px.
        box: used where there is no segmentation.
    """
    height, width = size
    if isinstance(segmentation, np.ndarray):
        return segmentation.astype(bool)
    if not segmentation:
        mask = np.zeros(size, dtype=bool)
        if box is not None:
            left, top, right, bottom = (round(edge) for edge in box)
            mask[max(top, 0) : bottom, max(left, 0) : right] = True
        return mask
    tools = mask_tools()
    if isinstance(segmentation, list):
        rows = tools.frPyObjects([polygon for polygon in segmentation if len(polygon) >= 6], height, width)
        return tools.decode(tools.merge(rows)).astype(bool) if rows else np.zeros(size, dtype=bool)
    rows = segmentation
    if isinstance(rows.get("counts"), list):
        rows = tools.frPyObjects(rows, height, width)
    return tools.decode(rows).astype(bool)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask as the run lengths of COCO, fit for JSON."""
    rows = mask_tools().encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in rows["size"]], "counts": rows["counts"].decode("ascii")}


def mask_tools() -> ModuleType:
    """The functions on run lengths of pycocotools, or of faster-coco-eval.

    Raises:
        MissingExtra: if neither is installed.
    """
    for name in ("pycocotools.mask", "faster_coco_eval.mask", "faster_coco_eval.core.mask"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtra("masks in the format of COCO need pycocotools", hint="pip install pycocotools")


def _segmentation(segmentation: Any, box: Sequence[float]) -> Any:
    if isinstance(segmentation, np.ndarray):
        return encode_mask(segmentation)
    if segmentation:
        return segmentation
    left, top, right, bottom = box
    return [[left, top, right, top, right, bottom, left, bottom]]
