"""The inter-view adapter of PointCLIP, and its training on cached features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.errors import ConfigError, DataError
from clipzoo_points.pointclip import adapted_logits


class InterViewAdapter(nn.Module):
    """A residual bottleneck over the views of a cloud (PointCLIP, section 3.3, eq. 4-6).

    A global feature is made of all views (each with its own learned ratio), and a residual a view is made of
    the global feature: ``out = 0.6 * a + 0.4 * f``.

    Args:
        views: V.
        dim: C, width of the encoder's features.
        residual_ratio: share of the adapted part.
        dropout: of the global branch.

    >>> InterViewAdapter(10, 16).eval()(torch.rand(4, 10, 16)).shape
    torch.Size([4, 10, 16])
    """

    def __init__(self, views: int, dim: int, residual_ratio: float = 0.6, dropout: float = 0.075) -> None:
        """Fresh weights."""
        super().__init__()
        self.residual_ratio = residual_ratio
        self.fusion_ratio = nn.Parameter(torch.full((views,), 0.5))
        self.view_norm = nn.BatchNorm1d(dim)
        self.view_dropout = nn.Dropout(dropout)
        self.fuse = nn.Linear(views * dim, dim)
        self.fuse_norm = nn.BatchNorm1d(dim)
        self.fuse_dropout = nn.Dropout(dropout)
        self.expand = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, views * dim), nn.ReLU())

    def forward(self, features: Float[Tensor, "batch views dim"]) -> Float[Tensor, "batch views dim"]:
        """Adapt the features of the views of each cloud.

        Raises:
            DataError: if ``features`` is not ``[batch, views, dim]`` of this adapter.
        """
        views, dim = len(self.fusion_ratio), self.view_norm.num_features
        if features.ndim != 3 or features.shape[1:] != (views, dim):
            raise DataError(f"features has the shape {tuple(features.shape)}", expected=f"[batch, {views}, {dim}]")
        weighted = features * self.fusion_ratio[:, None]
        rows = self.view_dropout(self.view_norm(weighted.flatten(0, 1)))
        whole = self.fuse_dropout(F.relu(self.fuse_norm(self.fuse(rows.reshape(len(features), -1)))))
        residual = self.expand(whole).reshape_as(features)
        return self.residual_ratio * residual + (1 - self.residual_ratio) * features

    def logits(
        self, features: Float[Tensor, "batch views dim"], text: Float[Tensor, "classes dim"], scale: float
    ) -> Float[Tensor, "batch classes"]:
        """Class scores of the adapted features."""
        return adapted_logits(self(features), text, scale)


def smoothed_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], smoothing: float = 0.2
) -> Float[Tensor, ""]:
    """Cross-entropy whose target leaves ``smoothing`` to the K - 1 other classes, evenly.

    PyTorch's ``label_smoothing`` spreads it over all K classes, the true one too; this is the published loss.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ConfigError("one class was given", expected="at least two classes to tell apart")
    target = torch.full_like(logits, smoothing / (classes - 1))
    target.scatter_(1, labels[:, None], 1 - smoothing)
    return -(target * logits.log_softmax(1)).sum(1).mean()


@dataclass(frozen=True)
class AdapterRecipe:
    """The published training: SGD, cosine schedule, the first epoch at a tiny constant rate."""

    epochs: int = 250
    batch_size: int = 32
    learning_rate: float = 0.01
    warmup_rate: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.2


@dataclass(frozen=True)
class AdapterFit:
    """The trained adapter, and what it did on the part that was held out of training."""

    adapter: InterViewAdapter
    validation_accuracy: float
    epoch: int


def train_adapter(
    features: Callable[[int], Float[Tensor, "shots views dim"]],
    labels: Int[Tensor, " shots"],
    text: Float[Tensor, "classes dim"],
    scale: float,
    *,
    validation: tuple[Float[Tensor, "held views dim"], Int[Tensor, " held"]],
    recipe: AdapterRecipe | None = None,
    generator: torch.Generator | None = None,
) -> AdapterFit:
    """Train the adapter on frozen features; keep the epoch that is best on held-out *training* clouds.

    # differs from the paper: the published code keeps the epoch that is best on the test set.

    Args:
        features: epoch to features of all shots; augmentation happens in there, before the encoder.
        labels: class of each shot.
        text: unit rows of the classes.
        scale: CLIP's logit scale.
        validation: features and labels of clouds that are not trained on.
        recipe: rates and sizes.
        generator: order of the batches and first weights.

    Raises:
        DataError: if there are fewer than two clouds to train on, which batch normalisation cannot take.
    """
    recipe = recipe or AdapterRecipe()
    first = features(0)
    if len(first) < 2:
        raise DataError(f"{len(first)} clouds were given to train on", expected="at least two")
    generator = generator or torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        adapter = InterViewAdapter(first.shape[1], first.shape[2]).to(first.device)
        optimiser = torch.optim.SGD(
            adapter.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, recipe.epochs - 1))
        best, best_epoch, best_state = -1.0, 0, None
        for epoch in range(recipe.epochs):
            for group in optimiser.param_groups:
                group["lr"] = recipe.warmup_rate if epoch == 0 else cosine.get_last_lr()[0]
            rows = first if epoch == 0 else features(epoch)
            adapter.train()
            for part in torch.randperm(len(rows), generator=generator).split(recipe.batch_size):
                if len(part) < 2:
                    continue
                loss = smoothed_cross_entropy(
                    adapter.logits(rows[part], text, scale), labels[part].to(rows.device), recipe.smoothing
                )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            if epoch > 0:
                cosine.step()
            accuracy = _accuracy(adapter.eval(), validation, text, scale)
            if accuracy > best:
                best, best_epoch = accuracy, epoch
                best_state = {key: value.clone() for key, value in adapter.state_dict().items()}
    if best_state is not None:
        adapter.load_state_dict(best_state)
    return AdapterFit(adapter.eval(), best, best_epoch)


@torch.no_grad()
def _accuracy(adapter: InterViewAdapter, held: tuple[Tensor, Tensor], text: Tensor, scale: float) -> float:
    guess = adapter.logits(held[0], text, scale).argmax(1)
    return float((guess == held[1].to(guess.device)).float().mean())


def augment_shots(points: Float[Tensor, "batch count 3"], generator: torch.Generator) -> Tensor:
    """The published augmentation: scale each axis by U(2/3, 3/2), shift it by U(-0.2, 0.2), shuffle the points."""
    shape = (len(points), 1, 3)
    scale = torch.rand(shape, generator=generator) * (3 / 2 - 2 / 3) + 2 / 3
    shift = torch.rand(shape, generator=generator) * 0.4 - 0.2
    order = torch.randperm(points.shape[1], generator=generator)
    return (points * scale.to(points) + shift.to(points))[:, order.to(points.device)]
