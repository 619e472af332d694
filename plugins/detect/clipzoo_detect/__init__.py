"""Open-vocabulary detection with a frozen CLIP: ViLD."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo_detect.boxes import decode_boxes, expand_boxes
    from clipzoo_detect.coco import read_coco
    from clipzoo_detect.crops import crop_regions
    from clipzoo_detect.detections import Detections
    from clipzoo_detect.detectors import GroundingDetector, OWLv2Detector, detector
    from clipzoo_detect.network import TrainedViLD, ViLDNetwork
    from clipzoo_detect.precision import AveragePrecision, average_precision
    from clipzoo_detect.prompts import text_prompts
    from clipzoo_detect.proposals import GroupingProposer, Proposals, RPNProposer
    from clipzoo_detect.results import coco_results
    from clipzoo_detect.scores import base_cross_entropy, distillation_loss, region_logits, vild_ensemble
    from clipzoo_detect.vild import ViLD
    from clipzoo_detect.voc import read_voc

_HOMES = {
    "AveragePrecision": "precision",
    "average_precision": "precision",
    "decode_boxes": "boxes",
    "expand_boxes": "boxes",
    "read_coco": "coco",
    "crop_regions": "crops",
    "Detections": "detections",
    "GroundingDetector": "detectors",
    "OWLv2Detector": "detectors",
    "detector": "detectors",
    "TrainedViLD": "network",
    "ViLDNetwork": "network",
    "text_prompts": "prompts",
    "GroupingProposer": "proposals",
    "Proposals": "proposals",
    "RPNProposer": "proposals",
    "coco_results": "results",
    "base_cross_entropy": "scores",
    "distillation_loss": "scores",
    "region_logits": "scores",
    "vild_ensemble": "scores",
    "ViLD": "vild",
    "read_voc": "voc",
}

__all__ = [
    "AveragePrecision",
    "Detections",
    "GroundingDetector",
    "GroupingProposer",
    "OWLv2Detector",
    "Proposals",
    "RPNProposer",
    "TrainedViLD",
    "ViLD",
    "ViLDNetwork",
    "average_precision",
    "base_cross_entropy",
    "coco_results",
    "crop_regions",
    "decode_boxes",
    "detector",
    "distillation_loss",
    "expand_boxes",
    "read_coco",
    "read_voc",
    "region_logits",
    "text_prompts",
    "vild_ensemble",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"clipzoo_detect.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
