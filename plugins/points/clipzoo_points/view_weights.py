"""Choosing the weights of the views: on held-out training clouds, without labels, or as published."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo_points.pointclip import view_logits

GRID = (0.25, 0.5, 0.75, 1.0)
"""The published candidates for each weight."""


def search_weights(
    features: Float[Tensor, "batch views dim"],
    labels: Int[Tensor, " batch"],
    text: Float[Tensor, "classes dim"],
    scale: float,
    sweeps: int = 4,
) -> tuple[Float[Tensor, " views"], float]:
    """Coordinate descent over the published grid: one view at a time, the best of four values, until none helps.

    # differs from the paper: its exhaustive search takes 4^V evaluations on the test labels. Ten views take about
    # 120 evaluations here, on clouds that the caller has held out of *training*.

    Args:
        features: unit rows a cloud and view.
        labels: class of each cloud.
        text: unit rows a class.
        scale: CLIP's logit scale.
        sweeps: how often each view is visited at most.

    Returns:
        The weights, and the accuracy that they reach on these clouds.
    """
    views = features.shape[1]
    # What every view says about every class, once: each evaluation is then one small product.
    votes = torch.einsum("bvd,kd->vbk", features, text)
    weights = torch.ones(views, device=features.device)
    labels = labels.to(features.device)
    candidates = torch.tensor(GRID, device=features.device)

    def score(choices: Tensor) -> Tensor:
        logits = torch.einsum("cv,vbk->cbk", choices, votes)
        accuracy = (logits.argmax(-1) == labels).float().mean(-1)
        # Accuracy has ties; the likelihood breaks them without overruling it.
        likelihood = (
            (scale / views**0.5 * logits).log_softmax(-1).gather(-1, labels.expand(len(choices), -1)[..., None])
        )
        return accuracy + 1e-6 * likelihood.mean((-1, -2)).clamp(min=-1e3)

    best = score(weights[None])[0]
    for _ in range(sweeps):
        before = best.clone()
        for view in range(views):
            choices = weights.repeat(len(GRID), 1)
            choices[:, view] = candidates
            scores = score(choices)
            if scores.max() > best:
                best, weights = scores.max(), choices[scores.argmax()]
        if best <= before:
            break
    accuracy = (view_logits(features, text, weights, scale).argmax(1) == labels).float().mean()
    return weights, float(accuracy)


def agreement_weights(
    features: Float[Tensor, "batch views dim"], text: Float[Tensor, "classes dim"], scale: float
) -> Float[Tensor, " views"]:
    """Weights without labels: how often a view alone says what all views together say, the best one set to 1."""
    together = view_logits(features, text, torch.ones(features.shape[1], device=features.device), scale).argmax(1)
    alone = torch.einsum("bvd,kd->bvk", features, text).argmax(-1)
    agreement = (alone == together[:, None]).float().mean(0)
    return agreement / agreement.max().clamp(min=1e-6)
