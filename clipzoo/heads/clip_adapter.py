"""CLIP-Adapter (Gao et al. 2021): a small residual network on the image features."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.errors import ConfigError
from clipzoo.heads.checks import check_labelled, held_out_score


class CLIPAdapter(nn.Module):
    r"""Features :math:`r A(f) + (1 - r) f`, normalised, with ``A`` two linear layers without bias and ReLU after each.

    Args:
        dim: width of the features.
        ratio: ``r``, how much of the answer is the adapter's (0.2 as published, 0.6 on fine-grained data).
        reduction: the hidden layer is ``dim // reduction`` wide.
        generator: draws the first weights.

    Raises:
        ConfigError: if ``ratio`` is outside 0 .. 1 or the hidden layer would be empty.
    """

    def __init__(
        self, dim: int, ratio: float = 0.2, reduction: int = 4, generator: torch.Generator | None = None
    ) -> None:
        """Draw the weights as ``nn.Linear`` does, from ``generator``."""
        super().__init__()
        if not 0 <= ratio <= 1 or dim // reduction < 1:
            raise ConfigError(
                f"ratio={ratio}, dim={dim}, reduction={reduction}", expected="a ratio in 0 .. 1, reduction up to dim"
            )
        self.ratio = ratio
        self.down = nn.Linear(dim, dim // reduction, bias=False)
        self.up = nn.Linear(dim // reduction, dim, bias=False)
        for layer in (self.down, self.up):
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)

    def forward(self, features: Float[Tensor, "items dim"]) -> Float[Tensor, "items dim"]:
        """Adapted unit rows."""
        adapted = F.relu(self.up(F.relu(self.down(features))))
        return F.normalize(self.ratio * adapted + (1 - self.ratio) * features, dim=-1)

    def logits(
        self, features: Float[Tensor, "items dim"], text: Float[Tensor, "classes dim"], scale: float = 100.0
    ) -> Float[Tensor, "items classes"]:
        """Scaled cosines of the adapted features with a text classifier."""
        weight = self.down.weight
        return scale * self(features.to(weight)) @ text.to(weight).T


def train_clip_adapter(
    text: Float[Tensor, "classes dim"],
    features: Float[Tensor, "items dim"],
    labels: Int[Tensor, " items"],
    validation: tuple[Tensor, Tensor],
    *,
    scale: float = 100.0,
    ratios: tuple[float, ...] = (0.2, 0.6),
    epochs: int = 200,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    generator: torch.Generator | None = None,
) -> CLIPAdapter:
    """Train an adapter for each ratio; the ratio and epoch that are best on validation data are kept.

    SGD with momentum 0.9 and weight decay 5e-4, cosine schedule, cross-entropy. The learning rate is meant for
    ``scale`` 100.

    Args:
        text: classifier, unit rows.
        features: training unit rows.
        labels: class of each.
        validation: held-out unit rows and labels.
        scale: factor on the cosines.
        ratios: tried one after the other.
        epochs: over the training rows, for each ratio.
        batch_size: rows a step.
        learning_rate: of the first step.
        generator: draws the weights and the order of the rows.

    Raises:
        DataError: if features and labels do not belong together.
        ConfigError: if there is no ratio.
    """
    check_labelled(features, labels, len(text))
    check_labelled(*validation, len(text), "validation features")
    if not ratios:
        raise ConfigError("no ratio was given", expected="for example (0.2, 0.6)")
    held, held_labels = validation
    best: tuple[tuple[float, float], CLIPAdapter] | None = None
    for ratio in ratios:
        adapter = CLIPAdapter(features.shape[1], ratio, generator=generator).to(features.device)
        optimiser = torch.optim.SGD(adapter.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(features) // batch_size))
        for _ in range(epochs):
            order = torch.randperm(len(features), generator=generator).to(features.device)
            with torch.enable_grad():
                for part in order.split(batch_size):
                    loss = F.cross_entropy(adapter.logits(features[part], text, scale), labels[part])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    schedule.step()
            with torch.no_grad():
                score = held_out_score(adapter.logits(held, text, scale), held_labels)
            if best is None or score > best[0]:
                best = score, copy.deepcopy(adapter)
    assert best is not None
    return best[1].eval().requires_grad_(False)
