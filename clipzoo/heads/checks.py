"""What every head refuses, and how every head is chosen on held-out items."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clipzoo.errors import DataError


def check_labelled(features: Tensor, labels: Tensor, classes: int, what: str = "features") -> None:
    """Refuse rows and labels that cannot be trained on.

    Raises:
        DataError: if the shapes do not agree, a label is outside 0 .. ``classes`` - 1, nothing is there, or a row is
            not finite.
    """
    if features.ndim != 2 or labels.ndim != 1 or len(features) != len(labels):
        raise DataError(
            f"{what} {tuple(features.shape)} and labels {tuple(labels.shape)}", expected="[items, dim] and [items]"
        )
    if not len(labels):
        raise DataError(f"there are no {what}", expected="at least one item")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataError(f"labels run from {int(labels.min())} to {int(labels.max())}", expected=f"0 to {classes - 1}")
    if not bool(torch.isfinite(features).all()):
        raise DataError(f"{what} hold NaN or infinite values")


def held_out_score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy, and minus the cross-entropy to decide among equals: larger is better."""
    right = (logits.argmax(1) == labels.to(logits.device)).double().mean()
    return float(right), -float(F.cross_entropy(logits.double(), labels.to(logits.device)))
