"""Tip-Adapter (Zhang et al., ECCV 2022): a cache of few examples beside the sentences, without training or with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.heads.checks import check_labelled, held_out_score


@dataclass(frozen=True)
class TipAdapter:
    r"""Logits :math:`s f W^T + \alpha \exp(-\beta (1 - f F^T)) V` (equation 4 and 6).

    Attributes:
        text: classifier ``W``, unit rows ``[classes, dim]``.
        keys: features of the examples ``F``, unit rows ``[examples, dim]``.
        values: one-hot labels ``V``, ``[examples, classes]``.
        alpha: weight of the cache.
        beta: sharpness of the cache.
        scale: factor ``s`` on the cosines with the sentences.
    """

    text: Tensor
    keys: Tensor
    values: Tensor
    alpha: float = 1.0
    beta: float = 5.5
    scale: float = 100.0

    @classmethod
    def build(
        cls,
        text: Float[Tensor, "classes dim"],
        features: Float[Tensor, "examples dim"],
        labels: Int[Tensor, " examples"],
        *,
        alpha: float = 1.0,
        beta: float = 5.5,
        scale: float = 100.0,
    ) -> TipAdapter:
        """A cache of labelled examples.

        Args:
            text: classifier, unit rows.
            features: of the examples, unit rows (the mean over augmented views, normalised, is what was published).
            labels: class of each.
            alpha: weight of the cache.
            beta: sharpness of the cache.
            scale: factor on the cosines with the sentences.

        Raises:
            DataError: if features and labels do not belong together.
        """
        check_labelled(features, labels, len(text))
        keys = F.normalize(features.float(), dim=-1)
        values = F.one_hot(labels.long(), len(text)).float().to(keys.device)
        return cls(text.to(keys), keys, values, alpha, beta, scale)

    def affinity(self, features: Float[Tensor, "items dim"]) -> Float[Tensor, "items classes"]:
        """What the cache says, before its weight."""
        return torch.exp(-self.beta * (1 - features @ self.keys.T)) @ self.values

    def logits(self, features: Float[Tensor, "items dim"]) -> Float[Tensor, "items classes"]:
        """Scores of each class for unit rows."""
        features = features.to(self.keys)
        return self.scale * features @ self.text.T + self.alpha * self.affinity(features)


def search_tip(
    adapter: TipAdapter,
    features: Float[Tensor, "held dim"],
    labels: Int[Tensor, " held"],
    *,
    largest_alpha: float = 3.0,
    largest_beta: float = 7.0,
    steps: tuple[int, int] = (20, 200),
) -> TipAdapter:
    """Choose alpha and beta by accuracy on held-out rows: a grid as published, on validation data only.

    Among equals, which few held-out rows make common, the lower cross-entropy decides.

    Args:
        adapter: built from the training examples.
        features: held-out unit rows; the published code searched on the test split.
        labels: class of each.
        largest_alpha: of the grid, which starts above 0.
        largest_beta: of the grid, which starts above 0.
        steps: of alpha and of beta.

    Raises:
        DataError: if features and labels do not belong together.
    """
    check_labelled(features, labels, len(adapter.text), "validation features")
    features = features.to(adapter.keys)
    labels = labels.to(features.device)
    known = adapter.scale * features @ adapter.text.T
    distance = 1 - features @ adapter.keys.T
    alphas = torch.arange(1, steps[0] + 1, device=features.device) * (largest_alpha / steps[0])
    best, chosen = (-1.0, -float("inf")), (adapter.alpha, adapter.beta)
    for step in range(1, steps[1] + 1):
        beta = step * largest_beta / steps[1]
        logits = known + alphas[:, None, None] * (torch.exp(-beta * distance) @ adapter.values)
        right = (logits.argmax(-1) == labels).float().mean(1)
        likely = logits.log_softmax(-1)[:, torch.arange(len(labels)), labels].mean(1)
        for alpha, *score in zip(alphas.tolist(), right.tolist(), likely.tolist(), strict=True):
            if tuple(score) > best:
                best, chosen = (score[0], score[1]), (alpha, beta)
    return replace(adapter, alpha=chosen[0], beta=chosen[1])


def train_tip_adapter(
    adapter: TipAdapter,
    features: Float[Tensor, "items dim"],
    labels: Int[Tensor, " items"],
    validation: tuple[Tensor, Tensor],
    *,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    generator: torch.Generator | None = None,
) -> TipAdapter:
    """Tip-Adapter-F: the keys learn; the epoch that is best on validation data is kept.

    AdamW (eps 1e-4), cosine schedule, cross-entropy of the logits with the examples' own labels. The published code
    kept the epoch that was best on the test split.

    Args:
        adapter: where to start.
        features: training unit rows (further views of the examples, or the examples themselves).
        labels: class of each.
        validation: held-out unit rows and labels.
        epochs: over the training rows.
        batch_size: rows a step.
        learning_rate: of the first step.
        generator: decides the order of the rows.

    Raises:
        DataError: if features and labels do not belong together.
    """
    check_labelled(features, labels, len(adapter.text))
    check_labelled(*validation, len(adapter.text), "validation features")
    rows, labels = features.to(adapter.keys), labels.to(adapter.keys.device)
    held, held_labels = validation[0].to(adapter.keys), validation[1].to(adapter.keys.device)
    keys = adapter.keys.clone().requires_grad_(True)
    current = replace(adapter, keys=keys)
    optimiser = torch.optim.AdamW([keys], lr=learning_rate, eps=1e-4)
    steps = epochs * -(-len(rows) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    @torch.no_grad()
    def score() -> tuple[float, float]:
        return held_out_score(current.logits(held), held_labels)

    best, kept = score(), adapter.keys
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        with torch.enable_grad():
            for part in order.split(batch_size):
                loss = F.cross_entropy(current.logits(rows[part]), labels[part])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        now = score()
        if now > best:
            best, kept = now, keys.detach().clone()
    return replace(adapter, keys=kept)
