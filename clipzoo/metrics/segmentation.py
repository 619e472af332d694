"""Semantic segmentation from a confusion matrix that grows image by image: mIoU, accuracies, FB-IoU."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, DataError


class SegmentationScore:
    """Counts of pixels by true and predicted class, on the device of the predictions.

    Args:
        classes: K, numbered from 0.
        ignore_index: label of pixels that do not count; ``None`` if every pixel counts.

    >>> score = SegmentationScore(2)
    >>> score.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    >>> score.compute()["miou"]
    0.25
    """

    def __init__(self, classes: int, ignore_index: int | None = 255) -> None:
        """Start with no pixels."""
        if classes < 1 or (ignore_index is not None and 0 <= ignore_index < classes):
            raise ConfigError(
                f"{classes} classes and the label {ignore_index} to ignore", expected="a label outside 0 .. classes - 1"
            )
        self.classes = classes
        self.ignore_index = ignore_index
        self._counts: Tensor | None = None

    @property
    def confusion(self) -> Int[np.ndarray, "true predicted"]:
        """Pixels of each true class that were predicted as each class."""
        if self._counts is None:
            return np.zeros((self.classes, self.classes), int)
        return self._counts.cpu().numpy()

    def update(self, predicted: Int[Tensor, "*pixels"], target: Int[Tensor, "*pixels"]) -> None:
        """Add the pixels of one image or of a batch.

        Args:
            predicted: class of each pixel.
            target: true class, or ``ignore_index``.

        Raises:
            DataError: if the shapes differ, the types are no integers, or a class is out of range.
        """
        if predicted.shape != target.shape:
            raise DataError(
                f"predictions of the shape {tuple(predicted.shape)} and targets of {tuple(target.shape)}",
                expected="the same; resize the logits to the target, not the target to the logits",
            )
        for name, labels in (("predictions", predicted), ("targets", target)):
            if labels.is_floating_point() or labels.is_complex():
                raise DataError(f"{name} have the type {labels.dtype}", expected="integers: classes of pixels")
        predicted, target = predicted.flatten().long(), target.flatten().to(predicted.device).long()
        if self.ignore_index is not None:
            kept = target != self.ignore_index
            predicted, target = predicted[kept], target[kept]
        if not len(target):
            return
        for name, labels in (("prediction", predicted), ("target", target)):
            least, most = (int(bound) for bound in torch.aminmax(labels))
            if least < 0 or most >= self.classes:
                raise DataError(
                    f"a {name} has the class {least if least < 0 else most}",
                    expected=f"0 to {self.classes - 1}"
                    + (f", or {self.ignore_index} to ignore" if name == "target" and self.ignore_index else ""),
                )
        counts = torch.bincount(target * self.classes + predicted, minlength=self.classes**2)
        counts = counts.reshape(self.classes, self.classes)
        self._counts = counts if self._counts is None else self._counts.to(counts.device) + counts

    def merge(self, other: SegmentationScore) -> None:
        """Add the pixels of another score, of a shard or a process.

        Raises:
            DataError: if it has other classes.
        """
        if (other.classes, other.ignore_index) != (self.classes, self.ignore_index):
            raise DataError(
                f"{other.classes} classes and ignore {other.ignore_index}",
                expected=f"{self.classes} and {self.ignore_index}",
            )
        if other._counts is not None:
            self._counts = other._counts.clone() if self._counts is None else self._counts + other._counts

    def iou(self) -> Float[np.ndarray, " classes"]:
        """Intersection over union of each class; NaN for one that is neither in targets nor in predictions."""
        return _iou(self.confusion)

    def compute(self) -> dict[str, float]:
        """``miou``, ``pixel_accuracy``, ``mean_accuracy``, shares from 0 to 1; NaN without pixels.

        ``miou`` is the mean over classes that occur in targets or predictions: a class that is predicted where it
        never is counts as 0. ``mean_accuracy`` is the mean over classes that occur in targets.
        """
        confusion = self.confusion
        true, total = confusion.sum(1), confusion.sum()
        correct = np.diag(confusion)
        return {
            "miou": _mean(self.iou()),
            "pixel_accuracy": float(correct.sum() / total) if total else float("nan"),
            "mean_accuracy": _mean(np.where(true > 0, correct / np.maximum(true, 1), np.nan)),
        }

    def foreground_background_iou(self, background: int = 0) -> float:
        """FB-IoU: mean of the IoU of the background and of all other classes taken as one.

        Args:
            background: class of the background.

        Raises:
            ConfigError: if there is no such class.
        """
        if not 0 <= background < self.classes:
            raise ConfigError(f"background is the class {background}", expected=f"0 to {self.classes - 1}")
        confusion = self.confusion
        both = confusion[background, background]
        missed, taken = confusion[background].sum() - both, confusion[:, background].sum() - both
        rest = confusion.sum() - both - missed - taken
        return _mean(_iou(np.array([[both, missed], [taken, rest]])))


def _iou(confusion: np.ndarray) -> np.ndarray:
    shared = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - shared
    return np.where(union > 0, shared / np.maximum(union, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
