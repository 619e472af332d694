"""From features to scores: the heads of the plugin, each chosen on held-out training images only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipzoo.heads import (
    TipAdapter,
    fit_probe_path,
    knn_probabilities,
    search_tip,
    train_clip_adapter,
    train_tip_adapter,
)
from clipzoo.zeroshot.features import Encoded


@dataclass(frozen=True)
class Scored:
    """Probabilities ``[items, classes]`` of one head, and how it was chosen."""

    probabilities: Tensor
    told: str


def zero_shot(features: Tensor, text: Tensor, scale: float) -> Scored:
    """Softmax of the scaled cosines with the classifier of the sentences."""
    return Scored((scale * features @ text.T).softmax(-1), "sentences alone")


def score_head(
    head: str,
    features: Tensor,
    text: Tensor,
    scale: float,
    train: Encoded,
    held: Encoded,
    generator: torch.Generator,
) -> Scored:
    """Train a head and score ``features`` with it.

    Args:
        head: one of those of the plugin, not ``zero-shot``.
        features: unit rows to classify.
        text: classifier of the sentences, unit rows ``[classes, dim]``.
        scale: factor on cosines.
        train: labelled training rows.
        held: labelled rows that hyper-parameters are chosen on.
        generator: of every random choice.
    """
    rows, labels, validation, classes = train.features, train.labels, (held.features, held.labels), len(text)
    if head in ("linear-probe", "text-probe"):
        prior = scale * text if head == "text-probe" else None
        path = fit_probe_path(rows, labels, validation, classes, prior=prior)
        told = f"lambda {path.probe.strength:.3g} of {len(path.tried)} tried"
        return Scored(path.probe.logits(features).softmax(-1).float(), told)
    if head == "knn":
        best, neighbours = _best_neighbours(train, held, classes)
        found = knn_probabilities(features, rows, labels, classes, neighbours=neighbours)
        return Scored(found, f"k = {neighbours} ({best:.1%} on held-out images)")
    if head == "clip-adapter":
        adapter = train_clip_adapter(text, rows, labels, validation, scale=scale, generator=generator)
        return Scored(adapter.logits(features, text, scale).softmax(-1), f"ratio {adapter.ratio}")
    tip = search_tip(TipAdapter.build(text, rows, labels, scale=scale), *validation)
    if head == "tip-adapter-f":
        tip = search_tip(train_tip_adapter(tip, rows, labels, validation, generator=generator), *validation)
    return Scored(tip.logits(features).softmax(-1), f"alpha {tip.alpha:.3g}, beta {tip.beta:.3g}")


def _best_neighbours(train: Encoded, held: Encoded, classes: int) -> tuple[float, int]:
    scores = []
    for neighbours in _sizes(len(train.keys)):
        found = knn_probabilities(held.features, train.features, train.labels, classes, neighbours=neighbours)
        scores.append((float((found.argmax(1) == held.labels).double().mean()), -neighbours))
    best, minus = max(scores)
    return best, -minus


def _sizes(items: int) -> Sequence[int]:
    return [size for size in (1, 2, 5, 10, 20, 50, 100, 200) if size <= items] or [1]
