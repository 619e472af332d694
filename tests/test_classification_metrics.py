"""Accuracy, confusion and recall against counts written out by hand; intervals against the binomial distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipzoo.errors import ConfigError, DataError
from clipzoo.metrics.classification import class_recall, confusion_matrix, top_k_accuracy
from clipzoo.metrics.intervals import bootstrap_interval


@pytest.mark.parametrize(("k", "share"), [(1, 1 / 4), (2, 3 / 4), (3, 1.0)])
def test_top_k_counts_the_label_among_the_best(k: int, share: float) -> None:
    ranked = [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]]
    assert top_k_accuracy(ranked, [0, 0, 1, 0], k) == share


def test_nothing_ranked_has_no_accuracy() -> None:
    assert math.isnan(top_k_accuracy([], [], 1))


def test_rankings_and_labels_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="2 rankings and 1 labels"):
        top_k_accuracy([[0], [1]], [0], 1)


def test_confusion_counts_every_pair_once() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 4, 200), random.integers(0, 4, 200)
    counts = confusion_matrix(predicted.tolist(), labels.tolist(), 4)
    for true in range(4):
        for given in range(4):
            assert counts[true, given] == sum((a, b) == (true, given) for a, b in zip(labels, predicted, strict=True))
    recall = class_recall(counts)
    assert recall == pytest.approx([np.mean(predicted[labels == true] == true) for true in range(4)])


def test_a_class_without_items_has_no_recall() -> None:
    recall = class_recall(confusion_matrix([0, 0], [0, 0], 2))
    assert recall[0] == 1 and math.isnan(recall[1])


@pytest.mark.parametrize(("predicted", "labels"), [([2], [0]), ([0], [2]), ([-1], [0]), ([0, 1], [0])])
def test_classes_that_do_not_exist_are_refused(predicted: list[int], labels: list[int]) -> None:
    with pytest.raises(DataError, match=r"outside 0 to 1|predictions"):
        confusion_matrix(predicted, labels, 2)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial() -> None:
    """Of 500 items, 450 right: the normal approximation is good to a few thousandths."""
    low, mean, high = bootstrap_interval([1] * 450 + [0] * 50, resamples=4000)
    half = 1.96 * math.sqrt(0.9 * 0.1 / 500)
    assert mean == pytest.approx(0.9)
    assert (low, high) == pytest.approx((0.9 - half, 0.9 + half), abs=4e-3)


def test_many_different_values_are_drawn_item_by_item() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    low, mean, high = bootstrap_interval(values, resamples=1000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.15 * half)


def test_a_wider_level_gives_a_wider_interval() -> None:
    values = [0, 1] * 50
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("values", "options"), [([], {}), ([1.0, math.nan], {}), ([1.0, math.inf], {})])
def test_values_without_a_mean_are_refused(values: list[float], options: dict) -> None:
    with pytest.raises(DataError, match="values"):
        bootstrap_interval(values, **options)


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": 1.0}, {"resamples": 0}])
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="expected"):
        bootstrap_interval([1, 0], **options)
