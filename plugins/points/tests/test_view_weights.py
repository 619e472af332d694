"""Choosing view weights: the search finds a lying view, and never does harm where it searches."""

from __future__ import annotations

import pytest
import torch
from clipzoo_points import agreement_weights, search_weights
from clipzoo_points.pointclip import view_logits
from clipzoo_points.view_weights import GRID
from torch.nn.functional import normalize


def lying_view():
    """Three views that say the truth softly, and a fourth that says another class loudly."""
    text = torch.eye(3, 8)
    labels = torch.arange(3).repeat(5)
    rest = torch.zeros(8)
    rest[7] = (1 - 0.3**2) ** 0.5
    honest = 0.3 * text[labels] + rest
    features = torch.stack([honest, honest, honest, text[(labels + 1) % 3]], 1)
    return features, labels, text


def accuracy(features, labels, text, weights):
    return float((view_logits(features, text, weights, 100.0).argmax(1) == labels).float().mean())


def test_the_search_quietens_a_view_that_lies():
    features, labels, text = lying_view()
    assert accuracy(features, labels, text, torch.ones(4)) == 0
    weights, reached = search_weights(features, labels, text, 100.0)
    assert reached == accuracy(features, labels, text, weights) == 1
    assert float(weights[3]) < float(weights[:3].min())


@pytest.mark.parametrize("seed", range(8))
def test_the_search_is_never_worse_than_equal_weights(seed):
    generator = torch.Generator().manual_seed(seed)
    features = normalize(torch.randn(40, 10, 16, generator=generator), dim=-1)
    text = normalize(torch.randn(5, 16, generator=generator), dim=-1)
    labels = torch.randint(5, (40,), generator=generator)
    weights, reached = search_weights(features, labels, text, 100.0)
    assert reached >= accuracy(features, labels, text, torch.ones(10))
    assert reached == pytest.approx(accuracy(features, labels, text, weights))
    assert set(weights.tolist()) <= set(GRID)


def test_agreement_is_how_often_a_view_says_what_all_say():
    text = torch.eye(2, 4)
    classes = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]])  # cloud, view
    weights = agreement_weights(text[classes], text, 100.0)
    assert weights.tolist() == pytest.approx([1, 1, 0.5])
