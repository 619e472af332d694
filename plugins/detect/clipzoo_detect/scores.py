"""The arithmetic of ViLD: region logits, the loss over base classes, the distillation loss, the ensemble."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, DataError

TEMPERATURE = 0.01


def region_logits(
    regions: Float[Tensor, "regions dim"],
    text: Float[Tensor, "classes dim"],
    background: Float[Tensor, "backgrounds dim"] | Float[Tensor, " dim"] | None = None,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "regions outputs"]:
    r"""Scaled cosines of regions with the text of the classes, the background first (Gu et al. 2022, eq. 2).

    :math:`z(r) = [\mathrm{sim}(e_r, e_{bg}), \mathrm{sim}(e_r, t_1), \ldots] / \tau`

    Args:
        regions: embeddings of the regions; normalised here.
        text: embeddings of the classes; normalised here.
        background: one learned vector, or several of sentences; None leaves the columns out.
        temperature: tau.

    Returns:
        ``[regions, backgrounds + classes]``.
    """
    if background is not None:
        text = torch.cat([background.reshape(-1, text.shape[1]), text])
    return F.normalize(regions, dim=-1) @ F.normalize(text, dim=-1).T / temperature


def base_cross_entropy(
    logits: Float[Tensor, "regions outputs"],
    labels: Int[Tensor, " regions"],
    base_mask: Bool[Tensor, " classes"],
    novel: Literal["-inf", "zero"] = "-inf",
) -> Float[Tensor, " regions"]:
    """Cross-entropy over the background and the base classes (Gu et al. 2022, eq. 3).

    Args:
        logits: from :func:`region_logits` with one background column, the first.
        labels: 0 for the background, k + 1 for class k.
        base_mask: which classes may be learned from.
        novel: ``"-inf"`` leaves novel classes out of the softmax; ``"zero"`` multiplies their logits by zero, as the
            released code does, which adds ``exp(0)`` to the partition sum for each.

    Raises:
        ConfigError: if ``novel`` is unknown.
        DataError: if there are not as many columns as classes and one more.
    """
    if novel not in ("-inf", "zero"):
        raise ConfigError(f'no treatment of novel logits called "{novel}"', expected="-inf or zero")
    if logits.shape[1] != len(base_mask) + 1:
        raise DataError(
            f"{logits.shape[1]} logits and {len(base_mask)} classes", expected="one more for the background"
        )
    learned = torch.cat([base_mask.new_ones(1), base_mask]).bool()
    kept = torch.where(learned, logits, float("-inf") if novel == "-inf" else 0.0)
    return F.cross_entropy(kept, labels, reduction="none")


def distillation_loss(
    regions: Float[Tensor, "regions dim"],
    targets: Float[Tensor, "regions dim"],
    valid: Bool[Tensor, " regions"] | None = None,
    weight: float = 0.5,
) -> Float[Tensor, ""]:
    r"""The L1 distance of region embeddings to CLIP's (Gu et al. 2022, eq. 4).

    :math:`w \cdot \frac{1}{M} \sum_r \sum_d |e_{r,d} - v_{r,d}|` over the valid proposals; both sides normalised here.

    Args:
        regions: embeddings of the image branch.
        targets: embeddings of the crops.
        valid: which proposals are no padding.
        weight: w, 0.5 for a ResNet-50.
    """
    distance = (F.normalize(regions, dim=-1) - F.normalize(targets, dim=-1)).abs().sum(-1)
    if valid is None:
        return weight * distance.mean()
    return weight * torch.where(valid, distance, 0).sum() / valid.sum().clamp(min=1)


def vild_ensemble(
    p_text: Float[Tensor, "*regions classes"],
    p_image: Float[Tensor, "*regions classes"],
    base_mask: Bool[Tensor, " classes"],
    weight: float = 2 / 3,
) -> Float[Tensor, "*regions classes"]:
    r"""Geometric mean of the text and the image branch, each trusted where it was trained (Gu et al. 2022, eq. 5).

    :math:`p = p_\mathrm{text}^{\lambda} p_\mathrm{img}^{1 - \lambda}` for base classes, the exponents swapped for novel
    ones; not normalised again.

    Args:
        p_text: probabilities of the text branch, its background column dropped.
        p_image: probabilities of the image branch.
        base_mask: which classes were trained on.
        weight: lambda.

    Raises:
        DataError: if the shapes do not agree.

    >>> p = torch.tensor([[0.8, 0.1]])
    >>> q = torch.tensor([[0.1, 0.8]])
    >>> torch.allclose(vild_ensemble(p, q, torch.tensor([True, False])), torch.tensor([[0.4, 0.4]]))
    True
    """
    if p_text.shape != p_image.shape or base_mask.shape != p_text.shape[-1:]:
        raise DataError(
            f"probabilities {tuple(p_text.shape)} and {tuple(p_image.shape)}, mask {tuple(base_mask.shape)}",
            expected="the same [..., classes] twice, and [classes]",
        )
    power = torch.where(base_mask.bool(), weight, 1 - weight).to(p_text)
    return p_text**power * p_image ** (1 - power)
