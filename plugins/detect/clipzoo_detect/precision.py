"""Average precision as COCO and LVIS define it, computed by their own tools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from clipzoo.errors import ConfigError, DataError, MissingExtra
from clipzoo_detect.annotations import DetectionData
from clipzoo_detect.detections import Detections
from clipzoo_detect.results import BACKENDS, coco_results, coco_truth

Backend = Literal["auto", "pycocotools", "faster-coco-eval"]


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """What an evaluation gives; fractions, NaN for what has no instance.

    Attributes:
        summary: AP (mean over IoU 0.5 to 0.95), AP50, AP75, and by area APs (< 32² px), APm, APl (> 96² px).
        by_class: AP of each class.
        by_class_50: AP50 of each class.
        instances: annotated things of each class that are no crowd.
        curves: precision at IoU 0.5 at 101 levels of recall, [classes, 101]; NaN without instances.
        backend: which tool computed them.
    """

    summary: dict[str, float]
    by_class: Float[np.ndarray, " classes"]
    by_class_50: Float[np.ndarray, " classes"]
    instances: np.ndarray
    curves: Float[np.ndarray, "classes levels"] = field(repr=False)
    backend: str

    def mean_of(self, labels: Sequence[int], at_50: bool = False) -> float:
        """The mean over some of the classes, those without instances left out."""
        values = (self.by_class_50 if at_50 else self.by_class)[list(labels)]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else math.nan

    def curve_of(self, labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(recall, precision) at IoU 0.5, the mean over some of the classes."""
        rows = self.curves[list(labels)]
        rows = rows[~np.isnan(rows).any(1)]
        return np.linspace(0, 1, 101), rows.mean(0) if len(rows) else np.zeros(101)


def average_precision(
    data: DetectionData,
    found: Mapping[str, Detections],
    *,
    masks: bool = False,
    limit: int | None = None,
    backend: Backend = "auto",
) -> AveragePrecision:
    """COCO's average precision of detections; where ``data`` says which classes each image was checked for, LVIS's.

    LVIS counts a detection of a class only in images where the class is annotated or was checked to be absent, and
    forgives unmatched ones where the annotation is not exhaustive (Gupta et al. 2019, section 3).

    Args:
        data: the truth; images without detections count as images where nothing was found.
        found: of each image, by its key.
        masks: compare masks, not boxes.
        limit: detections an image; 100, of LVIS 300.
        backend: ``"pycocotools"`` or ``"faster-coco-eval"`` (the one for LVIS); by default the first that is installed
            and fits.

    Raises:
        DataError: if nothing is annotated.
        MissingExtra: if the tool is not installed.
        ConfigError: if it is unknown, or cannot evaluate LVIS.

    >>> from clipzoo_detect.results import truth_as_detections
    >>> from clipzoo_detect.toy import toy_scenes
    >>> data = toy_scenes(3)
    >>> round(average_precision(data, truth_as_detections(data)).summary["AP"], 6)
    1.0
    """
    if not data.annotated or not any(image.things for image in data.images):
        raise DataError(f"{data.name} has no boxes to compare with", expected="annotations of COCO, LVIS or Pascal VOC")
    federated = any(image.absent is not None for image in data.images)
    limit = limit or (300 if federated else 100)
    chosen = _backend(backend, federated)
    rows = coco_results(found, data, masks=masks, limit=limit)
    truth = coco_truth(data, masks=masks)
    instances = np.zeros(len(data.classnames), dtype=int)
    for image in data.images:
        for label in image.labels:
            instances[label] += 1
    precision = _precision(chosen, truth, rows, "segm" if masks else "bbox", limit, federated)
    # Axes: IoU, recall, class in the order of category ids, area, limits. COCO's tools sort the ids.
    order = np.argsort(np.argsort(data.category_ids))
    precision = np.where(precision < 0, np.nan, precision)[:, :, order]
    everything = precision[..., 0, -1]
    with np.errstate(all="ignore"):
        by_class = _mean(everything, (0, 1))
        by_class_50 = _mean(everything[0], 0)
    summary = {
        "AP": float(_mean(by_class, 0)),
        "AP50": float(_mean(by_class_50, 0)),
        "AP75": float(_mean(_mean(everything[5], 0), 0)),
    }
    for place, name in enumerate(("APs", "APm", "APl"), start=1):
        summary[name] = float(_mean(_mean(precision[..., place, -1], (0, 1)), 0))
    if data.frequency:
        for kind in "rcf":
            own = by_class[[k for k, frequency in enumerate(data.frequency) if frequency == kind]]
            summary[f"AP{kind}"] = float(_mean(own, 0)) if len(own) else math.nan
    return AveragePrecision(summary, by_class, by_class_50, instances, everything[0].T, chosen)


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> Any:
    """The mean of what is no NaN; NaN without a warning where nothing is left."""
    there = ~np.isnan(values)
    count = there.sum(axis)
    total = np.where(there, values, 0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _backend(chosen: str, federated: bool) -> str:
    installed = [name for name, module in BACKENDS.items() if find_spec(module) is not None]
    if chosen == "auto":
        fitting = [name for name in installed if not federated or name == "faster-coco-eval"]
        if not fitting:
            needed = "faster-coco-eval" if federated else "pycocotools or faster-coco-eval"
            raise MissingExtra(f"average precision needs {needed}", hint='pip install "clipzoo-detect[lvis]"')
        return fitting[0]
    if chosen not in BACKENDS:
        raise ConfigError(f'no evaluation tool called "{chosen}"', expected=f"auto, {', '.join(BACKENDS)}")
    if chosen not in installed:
        raise MissingExtra(f"{chosen} is not installed", hint='pip install "clipzoo-detect[lvis]"')
    if federated and chosen == "pycocotools":
        raise ConfigError("pycocotools cannot evaluate LVIS", hint="backend=faster-coco-eval")
    return chosen


def _precision(
    backend: str, truth: dict[str, Any], rows: list[dict[str, Any]], kind: str, limit: int, federated: bool
) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):  # both tools print their progress
        if backend == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval

            reference: Any = COCO()
            reference.dataset = truth
            reference.createIndex()
            if not rows:
                return _nothing_found(truth)
            run: Any = COCOeval(reference, reference.loadRes(rows), kind)  # type: ignore[arg-type]
        else:
            from faster_coco_eval import COCO as FasterCOCO
            from faster_coco_eval import COCOeval_faster

            reference = FasterCOCO(truth)
            if not rows:
                return _nothing_found(truth)
            run = COCOeval_faster(
                reference,
                reference.loadRes(rows),
                kind,  # type: ignore[arg-type]
                lvis_style=federated,
                print_function=lambda *_: None,
            )
        run.params.maxDets = [1, 10, limit] if not federated else [limit]
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"])


def _nothing_found(truth: dict[str, Any]) -> np.ndarray:
    """Zero for every class with an instance, as the tools give for detections that match none; they refuse none."""
    precision = np.full((10, 101, len(truth["categories"]), 4, 1), -1.0)
    place = {number: k for k, number in enumerate(sorted(row["id"] for row in truth["categories"]))}
    bounds = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))
    for row in truth["annotations"]:
        if not row["iscrowd"]:
            for area, (low, high) in enumerate(bounds):
                if low <= row["area"] <= high:
                    precision[:, :, place[row["category_id"]], area] = 0
    return precision
