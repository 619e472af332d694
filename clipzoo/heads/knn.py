"""The k-nearest-neighbour probe."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError
from clipzoo.heads.checks import check_labelled


def knn_probabilities(
    queries: Float[Tensor, "queries dim"],
    features: Float[Tensor, "items dim"],
    labels: Int[Tensor, " items"],
    classes: int,
    *,
    neighbours: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Float[Tensor, "queries classes"]:
    r"""Shares of the vote of the nearest training rows (Wu et al. 2018, section 3.4).

    Each of the ``neighbours`` nearest by cosine votes for its class with weight :math:`\exp(\cos / \tau)`.

    Args:
        queries: unit rows to classify.
        features: unit rows of the training items.
        labels: class of each.
        classes: how many there are.
        neighbours: k; at most as many as there are items are used.
        temperature: tau.
        chunk: queries at once, which bounds the memory.

    Raises:
        DataError: if features and labels do not belong together.
        ConfigError: if ``neighbours`` or ``temperature`` is not above 0.

    >>> knn_probabilities(torch.tensor([[1.0, 0.0]]), torch.eye(2), torch.tensor([1, 0]), 2, neighbours=1).tolist()
    [[0.0, 1.0]]
    """
    check_labelled(features, labels, classes)
    if neighbours < 1 or temperature <= 0:
        raise ConfigError(f"neighbours={neighbours}, temperature={temperature}", expected="both above 0")
    labels = labels.to(features.device)
    found = []
    for part in queries.to(features).split(chunk):
        nearest = (part @ features.T).topk(min(neighbours, len(features)), dim=1)
        # Relative to the nearest, so that no weight overflows.
        votes = ((nearest.values - nearest.values[:, :1]) / temperature).exp()
        scores = votes.new_zeros(len(part), classes).scatter_add_(1, labels[nearest.indices], votes)
        found.append(scores / scores.sum(1, keepdim=True))
    return torch.cat(found)
