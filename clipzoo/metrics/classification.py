"""Accuracy of classifiers: overall, a class, and who is taken for whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipzoo.errors import DataError


def top_k_accuracy(ranked: Sequence[Sequence[int]], labels: Sequence[int], k: int) -> float:
    """Share of items whose label is among their ``k`` best classes; NaN if nothing was ranked.

    Args:
        ranked: classes of each item, best first.
        labels: the true class of each item.
        k: how many of the best count.

    >>> top_k_accuracy([[0, 1], [0, 1]], [0, 1], k=1)
    0.5
    """
    if len(ranked) != len(labels):
        raise DataError(f"{len(ranked)} rankings and {len(labels)} labels", expected="as many of each")
    if not labels:
        return float("nan")
    return float(np.mean([label in row[:k] for row, label in zip(ranked, labels, strict=True)]))


def confusion_matrix(predicted: Sequence[int], labels: Sequence[int], classes: int) -> np.ndarray:
    """Counts ``[true class, predicted class]``.

    Raises:
        DataError: if a class is outside 0 .. ``classes`` - 1, or the lengths differ.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    rows, columns = np.asarray(labels, int), np.asarray(predicted, int)
    if len(rows) != len(columns):
        raise DataError(f"{len(columns)} predictions and {len(rows)} labels", expected="as many of each")
    if len(rows) and (min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= classes):
        raise DataError(f"a class is outside 0 to {classes - 1}")
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (rows, columns), 1)
    return counts


def class_recall(confusion: np.ndarray) -> np.ndarray:
    """Share of each true class that is predicted right; NaN for a class without items.

    >>> class_recall(np.array([[1, 1], [0, 1]])).tolist()
    [0.5, 1.0]
    """
    total = confusion.sum(1)
    return np.where(total > 0, np.diag(confusion) / np.maximum(total, 1), np.nan)
