"""Which classes of a benchmark are base (seen in training) and which are novel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches
from clipzoo_detect.annotations import DetectionData
from clipzoo_detect.prompts import prompt_name
from clipzoo_detect.toy import NOVEL as TOY_NOVEL

OV_COCO_NOVEL = (
    "airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard", "skateboard", "cup", "knife",
    "cake", "couch", "keyboard", "sink", "scissors",
)  # fmt: skip
"""The 17 novel classes of open-vocabulary COCO (Bansal et al. 2018)."""

OV_COCO_BASE = (
    "person", "bicycle", "car", "motorcycle", "train", "truck", "boat", "bench", "bird", "horse", "sheep", "bear",
    "zebra", "giraffe", "backpack", "handbag", "suitcase", "frisbee", "skis", "kite", "surfboard", "bottle", "fork",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "pizza", "donut", "chair", "bed",
    "toilet", "tv", "laptop", "mouse", "remote", "microwave", "oven", "toaster", "refrigerator", "book", "clock",
    "vase", "toothbrush",
)  # fmt: skip
"""The 48 base classes; the other 15 of COCO take no part."""

SPLITS = ("none", "ov-coco", "lvis", "toy")


def novel_labels(data: DetectionData, split: str, novel: Sequence[str] = ()) -> list[int]:
    """Labels of the novel classes.

    Args:
        data: whose names.
        split: ``"none"``, ``"ov-coco"``, ``"lvis"`` (the rare classes) or ``"toy"``.
        novel: names of your own instead.

    Raises:
        ConfigError: if there is no such split.
        DataError: if the data lacks what the split needs.
    """
    if novel:
        return _labels_of(data, novel)
    if split not in SPLITS:
        raise ConfigError(
            f'no split called "{split}"', closest=closest_matches(split, SPLITS), expected=", ".join(SPLITS)
        )
    if split == "none":
        return []
    if split == "lvis":
        if not data.frequency:
            raise DataError(f"{data.name} does not say how frequent its classes are", expected="annotations of LVIS")
        return [label for label, kind in enumerate(data.frequency) if kind == "r"]
    return _labels_of(data, OV_COCO_NOVEL if split == "ov-coco" else TOY_NOVEL, all_needed=False)


def split_data(data: DetectionData, split: str) -> DetectionData:
    """The data with the classes that take part in the split: of OV-COCO 65, of the others all."""
    if split != "ov-coco":
        return data
    own = {prompt_name(name) for name in data.classnames}
    return data.with_classnames([name for name in (*OV_COCO_BASE, *OV_COCO_NOVEL) if name in own])


def base_mask(count: int, novel: Sequence[int]) -> Bool[Tensor, " classes"]:
    """True for base classes."""
    mask = torch.ones(count, dtype=torch.bool)
    mask[list(novel)] = False
    return mask


def _labels_of(data: DetectionData, names: Sequence[str], all_needed: bool = True) -> list[int]:
    own = {prompt_name(name): label for label, name in enumerate(data.classnames)}
    lacking = [name for name in names if prompt_name(name) not in own]
    if lacking and (all_needed or len(lacking) == len(names)):
        raise DataError(
            f"{data.name} has no class called {', '.join(map(repr, lacking[:5]))}",
            closest=closest_matches(lacking[0], data.classnames),
        )
    return sorted(own[prompt_name(name)] for name in names if prompt_name(name) in own)
