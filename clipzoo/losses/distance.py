"""Distances between an image and what it should look like, as angles on the sphere of features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.losses.features import Reduction, check_against, check_tensor, exact, reduced, unit


def global_loss(
    image: Float[Tensor, "*batch dim"],
    text: Float[Tensor, " dim"] | Float[Tensor, "*batch dim"],
    *,
    logit_scale: float | Tensor = 100.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, "*batch"]:
    r"""One minus the similarity to the text: :math:`1 - s \cos(i, t) / 100` (StyleCLIP, Patashnik et al. 2021).

    With OpenAI's weights the scale ``s`` is 100, and the loss one minus the cosine.

    Args:
        image: features; any length, normalised here.
        text: one vector for all, or rows that line up with ``image``; an axis of length one is stretched.
        logit_scale: the encoder's factor on cosines, not its logarithm.
        reduction: over all pairs.

    Raises:
        DataError: if the shapes do not agree, or the features are not floating-point.
        ConfigError: if ``reduction`` is unknown.

    >>> global_loss(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 0.0]), reduction="none")
    tensor([0., 1.])
    """
    image, text = _lined_up(image, text, "text")
    return reduced(1 - logit_scale / 100 * (image * text).sum(-1), reduction)


def spherical_loss(
    image: Float[Tensor, "*batch dim"],
    target: Float[Tensor, " dim"] | Float[Tensor, "*batch dim"],
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, "*batch"]:
    r"""Half the squared angle between features, :math:`\theta^2 / 2` (Crowson's CLIP guidance; VQGAN-CLIP, 2022).

    The published form :math:`2 \arcsin(\|a - b\| / 2)^2` of unit ``a`` and ``b`` has an infinite derivative at the
    opposite and an undefined one where they are equal. Here
    :math:`\theta = 2\,\mathrm{atan2}(\|a - b\|, \|a + b\|)`, the same angle, whose gradient is finite at both.

    Args:
        image: features; any length, normalised here.
        target: one vector for all, or rows that line up with ``image``; an axis of length one is stretched, so
            ``image[:, None]`` and ``target[None]`` compare all with all.
        reduction: over all pairs. For guidance sum over images, so that the gradient of one does not depend on how
            many there are.

    Returns:
        In [0, pi^2 / 2]; a number, or with ``"none"`` one a pair.

    Raises:
        DataError: if the shapes do not agree, or the features are not floating-point.
        ConfigError: if ``reduction`` is unknown.

    >>> spherical_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0]))  # (pi / 2)^2 / 2
    tensor(1.2337)
    """
    image, target = _lined_up(image, target, "target")
    between = torch.linalg.vector_norm(image - target, dim=-1)
    across = torch.linalg.vector_norm(image + target, dim=-1)
    return reduced(2 * torch.atan2(between, across).square(), reduction)


def _lined_up(image: Tensor, other: Tensor, name: str) -> tuple[Tensor, Tensor]:
    check_tensor("image", image, "[..., dim]", 1)
    check_against(name, other, "image", image)
    image, other = exact(image, other)
    return unit(image), unit(other)
