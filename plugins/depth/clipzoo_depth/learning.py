"""A few images with known depth: depths of the bins and rows of the words learned on frozen features.

The features of the images are computed once; what is learned is small (K depths, K rows, a temperature), so that this
takes seconds on a CPU. Learnable depths and learnable context are those of Hu et al., "Learning to Adapt CLIP for
Few-Shot Monocular Depth Estimation", WACV 2024; rows without words those of Auty & Mikolajczyk, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from clipzoo.errors import ConfigError, DataError
from clipzoo_depth.depthclip import SCALE, DepthCLIP, depth_from_logits, enlarge

LEARNABLE = ("bins", "prompts", "context")


@dataclass(frozen=True)
class LearningRecipe:
    """How bins and prompts are learned.

    Attributes:
        steps: of Adam, each on all images.
        learning_rate: of the depths and the temperature.
        row_learning_rate: of the rows or the context.
        pull: of everything towards where it started: weight of the squared distances of rows, log depths and a tenth of
            that of the log temperature, beside the loss.
        context_tokens: learned vectors in front of the word, for ``"context"``.
        balance: the lambda of the scale-invariant loss.
        samples_a_cell: pixels a side of a cell that the loss looks at.
    """

    steps: int = 300
    learning_rate: float = 0.05
    row_learning_rate: float = 0.003
    pull: float = 0.003
    context_tokens: int = 4
    balance: float = 0.5
    samples_a_cell: int = 4


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        method: the method with the learned parts.
        losses: of every step.
        learned: which parts.
    """

    method: DepthCLIP
    losses: tuple[float, ...]
    learned: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Shots:
    """Features of training images and their depth, of one size."""

    features: Float[Tensor, "images rows columns dim"]
    depth: Float[Tensor, "images tall wide"]
    """m, at places that lie evenly over the image, corners included; 0 where it is unknown."""


def scale_invariant_loss(
    pred: Float[Tensor, "images tall wide"], target: Float[Tensor, "images tall wide"], balance: float = 0.5
) -> Float[Tensor, ""]:
    r"""Scale-invariant log loss (Eigen et al. 2014, eq. 4), a mean over images.

    With :math:`g = \log \hat d - \log d` over the pixels whose depth is known:
    :math:`\operatorname{mean}(g^2) - \lambda \operatorname{mean}(g)^2`.

    Args:
        pred: depth, m, above 0.
        target: true depth, m; 0 where it is unknown.
        balance: :math:`\lambda`; with 1 a common factor on an image costs nothing, with 0 as much as any other error.

    Raises:
        DataError: if no depth is known.

    >>> scale_invariant_loss(torch.full((1, 2, 2), 2.0), torch.ones(1, 2, 2), balance=1.0).abs().item() < 1e-6
    True
    """
    known = target > 0
    count = known.flatten(1).sum(1)
    if not bool((count > 0).any()):
        raise DataError("no depth is known", expected="at least one pixel above 0 m")
    gap = torch.where(known, pred.clamp_min(1e-6).log() - torch.where(known, target, 1.0).log(), 0.0).flatten(1)
    kept = count > 0
    mean, square = gap.sum(1)[kept] / count[kept], gap.square().sum(1)[kept] / count[kept]
    return (square - balance * mean.square()).mean()


def gather_shots(
    method: DepthCLIP,
    images: Sequence[Float[Tensor, "3 height width"]],
    depths: Sequence[Float[Tensor, "height width"]],
    recipe: LearningRecipe | None = None,
) -> list[Shots]:
    """Features and sampled depth of training images, those of one size together; mirror images are images too.

    Args:
        method: whose features are taken.
        images: RGB in [0, 1], of any sizes.
        depths: m, of the same sizes; 0 or NaN where it is unknown.
        recipe: for the number of samples.

    Raises:
        DataError: if there is no image, or an image and its depth differ in size.
    """
    recipe = recipe or LearningRecipe()
    if not images or len(images) != len(depths):
        raise DataError(f"{len(images)} images and {len(depths)} depth maps to learn from", expected="pairs")
    groups: dict[tuple[int, int], list[int]] = {}
    for place, (image, depth) in enumerate(zip(images, depths, strict=True)):
        if image.shape[-2:] != depth.shape[-2:]:
            raise DataError(f"an image of {tuple(image.shape[-2:])} px with depth of {tuple(depth.shape[-2:])} px")
        groups.setdefault((image.shape[-2], image.shape[-1]), []).append(place)
    found = []
    for places in groups.values():
        pixels = torch.stack([images[place] for place in places])
        true = torch.stack([depths[place] for place in places]).nan_to_num(0.0, 0.0, 0.0)
        with torch.no_grad():
            features = torch.cat([method.features(torch.cat([one[None], one[None].flip(-1)])) for one in pixels])
        true = torch.stack([true, true.flip(-1)], 1).flatten(0, 1)
        rows, columns = (count * recipe.samples_a_cell for count in features.shape[1:3])
        found.append(Shots(features, sampled(true, rows, columns).to(features)))
    return found


def sampled(
    depth: Float[Tensor, "images height width"], rows: int, columns: int
) -> Float[Tensor, "images rows columns"]:
    """The pixels nearest to ``rows`` x ``columns`` places that lie evenly, corners included: no depths are mixed."""
    height, width = depth.shape[-2:]
    down = torch.linspace(0, height - 1, min(rows, height)).round().long()
    across = torch.linspace(0, width - 1, min(columns, width)).round().long()
    return depth[:, down][:, :, across]


def learn_depth(
    method: DepthCLIP,
    shots: Sequence[Shots],
    learn: Sequence[str] = ("bins",),
    recipe: LearningRecipe | None = None,
) -> Learned:
    """Learn the depths of the bins, and rows or context of the words, with the scale-invariant loss.

    Args:
        method: where it starts.
        shots: from :func:`gather_shots`.
        learn: of ``"bins"`` (K depths that stay in order), ``"prompts"`` (K free rows that start at the words) and
            ``"context"`` (vectors in front of the word, through the frozen text tower). The temperature is learned
            with any of them.
        recipe: steps and rates.

    Raises:
        ConfigError: if there is nothing to learn, or ``learn`` names something else.
        DataError: if no depth is known.
    """
    recipe = recipe or LearningRecipe()
    learn = tuple(learn)
    if not learn or not set(learn) <= set(LEARNABLE):
        raise ConfigError(f"learn={','.join(learn) or 'nothing'}", expected=f"some of {', '.join(LEARNABLE)}")
    if {"prompts", "context"} <= set(learn):
        raise ConfigError("prompts and context cannot both be learned: each makes the rows of the words")
    if not any(bool((part.depth > 0).any()) for part in shots):
        raise DataError("the training images have no pixel of known depth")
    with torch.enable_grad():
        return _learn(method, shots, learn, recipe)


def _learn(method: DepthCLIP, shots: Sequence[Shots], learn: tuple[str, ...], recipe: LearningRecipe) -> Learned:
    steps = nn.Parameter(_steps_of(method.bins))
    temperature = nn.Parameter(torch.tensor(math.log(method.temperature), device=method.bins.device))
    rows, row_parameters = _rows(method, learn, recipe)
    groups = [{"params": [temperature, *([steps] if "bins" in learn else [])], "lr": recipe.learning_rate}]
    if row_parameters:
        groups.append({"params": row_parameters, "lr": recipe.row_learning_rate})
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    losses = []
    for _ in range(recipe.steps):
        bins = _bins_of(steps) if "bins" in learn else method.bins
        text = rows()
        total = sum(len(part.depth) for part in shots)
        losses_of_parts = [
            len(part.depth) / total * _loss(part, bins, text, temperature.exp(), recipe.balance) for part in shots
        ]
        loss = torch.stack(losses_of_parts).sum()
        pull = recipe.pull * (
            (text - method.text).square().sum()
            + (bins / method.bins).log().square().mean()
            + (temperature - math.log(method.temperature)).square() / 10
        )
        optimiser.zero_grad(set_to_none=True)
        (loss + pull).backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
    found = method.changed(
        bins=_bins_of(steps) if "bins" in learn else None,
        text=rows().detach() if row_parameters else None,
        temperature=float(temperature.detach().exp()),
    )
    return Learned(found, tuple(torch.stack(losses).tolist()), learn)


def _loss(part: Shots, bins: Tensor, text: Tensor, temperature: Tensor, balance: float) -> Tensor:
    logits = (SCALE / temperature * part.features @ text.T).movedim(-1, 1)
    coarse = depth_from_logits(logits, bins)[:, None]
    height, width = part.depth.shape[-2:]
    return scale_invariant_loss(enlarge(coarse, (height, width))[:, 0], part.depth, balance)


def _steps_of(bins: Tensor) -> Tensor:
    """The nearest depth and the steps to the others, as numbers without bounds: bins made of them ascend always."""
    steps = torch.cat([bins[:1], bins.diff()])
    return torch.log(torch.expm1(steps))


def _bins_of(steps: Tensor) -> Tensor:
    return softplus(steps).cumsum(0)


def _rows(
    method: DepthCLIP, learn: tuple[str, ...], recipe: LearningRecipe
) -> tuple[Callable[[], Tensor], list[nn.Parameter]]:
    """How rows of the words are made at each step, and what of it is learned."""
    if "prompts" in learn:
        free = nn.Parameter(method.text.clone())
        return lambda: normalize(free, dim=-1), [free]
    if "context" in learn:
        clip = method.clip
        # The words of "a" hold the places of the learned vectors, so that the sentences have their final length.
        tokens = clip.tokenise([f"{'a ' * recipe.context_tokens}{word}" for word in method.words])
        embedded = clip.embed_tokens(tokens).detach()
        start = slice(1, 1 + recipe.context_tokens)
        context = nn.Parameter(embedded[:1, start].clone())

        def encoded() -> Tensor:
            changed = torch.cat(
                [embedded[:, :1], context.expand(len(embedded), -1, -1), embedded[:, start.stop :]], dim=1
            )
            return clip.encode_embedded(changed, tokens)

        return encoded, [context]
    return lambda: method.text, []
