"""Directional losses: the change of an image should point where the change of the text points."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches
from clipzoo.losses.features import (
    Reduction,
    check_against,
    check_pairs,
    check_positive,
    check_tensor,
    exact,
    reduced,
    similarity,
    smooth_unit,
    unit,
)

Order = Literal["pairwise_mean", "prototype_diff", "raw_mean_diff"]

ORDERS = ("pairwise_mean", "prototype_diff", "raw_mean_diff")
"""The three published orders of averaging, normalising and subtracting prompts."""

_EPS = 1e-4
_NO_DIRECTION = 1e-6


def text_direction(
    source: Float[Tensor, "*classes templates dim"],
    target: Float[Tensor, "*classes templates dim"],
    order: Order = "pairwise_mean",
) -> Float[Tensor, "*classes dim"]:
    r"""Unit direction from a source text to a target text, each written in several templates.

    With :math:`n(v) = v / \|v\|` and the features :math:`s_k, t_k` of template ``k``:

    - ``"pairwise_mean"``: :math:`n(\mathrm{mean}_k(n(t_k) - n(s_k)))`; StyleGAN-NADA, DiffusionCLIP
    - ``"prototype_diff"``: :math:`n(n(\mathrm{mean}_k n(t_k)) - n(\mathrm{mean}_k n(s_k)))`; StyleCLIP's global
      directions
    - ``"raw_mean_diff"``: :math:`n(n(\mathrm{mean}_k t_k) - n(\mathrm{mean}_k s_k))`; CLIPstyler

    The three differ. The last needs features that are not yet normalised: of unit rows it is the second.

    Args:
        source: features of the source text, one row a template; leading axes are several texts at once.
        target: of the target text. The number of templates may differ, except for ``"pairwise_mean"``.
        order: which of the three.

    Returns:
        One unit row a text.

    Raises:
        DataError: if the shapes do not agree, or source and target have the same embedding.
        ConfigError: if ``order`` is unknown.

    >>> import torch
    >>> text_direction(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]]))
    tensor([-0.7071,  0.7071])
    """
    if order not in ORDERS:
        raise ConfigError(
            f'no order called "{order}"', closest=closest_matches(str(order), ORDERS), expected=", ".join(ORDERS)
        )
    for name, value in (("source", source), ("target", target)):
        check_tensor(name, value, "[..., templates, dim]", 2)
    paired = order == "pairwise_mean"
    if source.shape[:-2] != target.shape[:-2] or source.shape[-1] != target.shape[-1]:
        raise DataError(
            f"the shapes differ: source {tuple(source.shape)}, target {tuple(target.shape)}",
            expected="the same texts and width for both",
        )
    if paired and source.shape != target.shape:
        raise DataError(
            f"{source.shape[-2]} source templates and {target.shape[-2]} target templates",
            expected="as many of each, in the same order",
            hint='order="prototype_diff" takes different templates',
        )
    source, target = exact(source, target)
    if paired:
        difference = (unit(target) - unit(source)).mean(-2)
    elif order == "prototype_diff":
        difference = unit(unit(target).mean(-2)) - unit(unit(source).mean(-2))
    else:
        difference = unit(target.mean(-2)) - unit(source.mean(-2))
    if bool((difference.detach().norm(dim=-1) < _NO_DIRECTION).any()):
        raise DataError(
            "source and target text have the same embedding, so there is no direction between them",
            hint="name two texts that differ, and check that the tokenizer knows their words",
        )
    return unit(difference)


def directional_loss(
    source_image: Float[Tensor, "*batch dim"],
    edited_image: Float[Tensor, "*batch dim"],
    direction: Float[Tensor, " dim"] | Float[Tensor, "*batch dim"],
    *,
    eps: float = _EPS,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, "*batch"]:
    r"""One minus the cosine between the image change and the text change (StyleGAN-NADA, Gal et al. 2022, eq. 2).

    :math:`1 - \langle d / \sqrt{\|d\|^2 + \epsilon^2}, \Delta t \rangle` with
    :math:`d = n(e_\mathrm{edited}) - n(e_\mathrm{source})`, an image at a time.

    An image that did not move has no direction: its loss is 1, and its gradient is finite (at most 1 / ``eps`` for
    unit features) and points along the text. Clip the gradient norm of the first step if nothing has moved yet.

    Args:
        source_image: features of the images before; any length, normalised here.
        edited_image: of the images after, row by row.
        direction: of the text, from :func:`text_direction`: one for all, or one a row.
        eps: changes shorter than this count less than fully.
        reduction: over all images.

    Returns:
        In [0, 2]; a number, or with ``"none"`` one a row.

    Raises:
        DataError: if the shapes do not agree, or the features are not floating-point.
        ConfigError: if ``eps`` or ``reduction`` is none that exists.

    >>> import torch
    >>> x, y, along = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([-1.0, 1.0])
    >>> [round(float(directional_loss(x, edited, along)), 3) for edited in (y, x)]
    [0.0, 1.0]
    """
    change, direction = _changes(source_image, edited_image, direction, eps)
    # differs from the paper: its code divides by the norm, and shifts a whole batch that has not moved by 1e-6.
    return reduced(1 - (smooth_unit(change, eps) * direction).sum(-1), reduction)


def log_directional_loss(
    source_image: Float[Tensor, "*batch dim"],
    edited_image: Float[Tensor, "*batch dim"],
    direction: Float[Tensor, " dim"] | Float[Tensor, "*batch dim"],
    *,
    eps: float = _EPS,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, "*batch"]:
    r"""Directional loss ``L`` as :math:`-\log((2 - L) / 2)` (DiffusionCLIP, Kim et al. 2022, released code).

    0 where the image follows the text, ln 2 where it did not move, and steep where it moves the other way: about 20
    at the opposite, where rounding makes the plain formula infinite or NaN.

    The logarithm is taken an image at a time. The released code takes it of the mean over a batch, which is the same
    for its batch of one.

    Args:
        source_image: features of the images before; any length, normalised here.
        edited_image: of the images after, row by row.
        direction: of the text, from :func:`text_direction`: one for all, or one a row.
        eps: changes shorter than this count less than fully.
        reduction: over all images.

    Raises:
        DataError: if the shapes do not agree, or the features are not floating-point.
        ConfigError: if ``eps`` or ``reduction`` is none that exists.

    >>> import torch
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> log_directional_loss(x, x, torch.tensor([-1.0, 1.0]))
    tensor(0.6931)
    """
    change, direction = _changes(source_image, edited_image, direction, eps)
    # differs from the paper: its code takes the logarithm of the batch's mean.
    # 1 + <s, t> as a sum of squares: no cancellation near the opposite, and never zero or negative.
    shortfall = eps**2 / (change.square().sum(-1) + eps**2)
    along = ((smooth_unit(change, eps) + direction).square().sum(-1) + shortfall) / 4
    return reduced(-along.log(), reduction)


def patch_directional_loss(
    source_patches: Float[Tensor, "patches dim"],
    edited_patches: Float[Tensor, "patches dim"],
    directions: Float[Tensor, "parts dim"],
    *,
    eps: float = _EPS,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " patches"]:
    r"""Directional loss of patches against directions of parts, weighted by how well each fits (StyleGAN-NADA code).

    :math:`\mathrm{mean}_p (1 - \cos(d, \Delta t_p)) \cdot \mathrm{softmax}_p \langle d, \Delta t_p \rangle`, where
    ``d`` is the direction of a patch's change and ``p`` runs over parts ("nose", "eye", ...). Gradients flow through
    the weights too.

    Args:
        source_patches: features of patches of the images before.
        edited_patches: of the same places after.
        directions: of the parts, from :func:`text_direction`.
        eps: changes shorter than this count less than fully.
        reduction: over patches; parts are averaged.

    Raises:
        DataError: if the shapes do not agree, or the features are not floating-point.
        ConfigError: if ``eps`` or ``reduction`` is none that exists.

    >>> import torch
    >>> patch_directional_loss(torch.eye(4)[:2], torch.eye(4)[2:], torch.eye(4)).shape
    torch.Size([])
    """
    check_positive("eps", eps)
    check_pairs(source_patches=source_patches, edited_patches=edited_patches)
    for name, value in (("source_patches", source_patches), ("directions", directions)):
        check_tensor(name, value, "[count, dim]", 2, 2)
    if directions.shape[-1] != source_patches.shape[-1]:
        raise DataError(
            f"directions has the shape {tuple(directions.shape)}", expected=f"[parts, {source_patches.shape[-1]}]"
        )
    source, edited, directions = exact(source_patches, edited_patches, directions)
    change = smooth_unit(unit(edited) - unit(source), eps)
    cosine = similarity(change, unit(directions))
    return reduced(((1 - cosine) * cosine.softmax(-1)).mean(-1), reduction)


def patch_threshold_directional_loss(
    source_image: Float[Tensor, "batch dim"],
    crops: Float[Tensor, "batch crops dim"],
    direction: Float[Tensor, " dim"] | Float[Tensor, "batch dim"],
    *,
    threshold: float = 0.7,
    eps: float = _EPS,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    """Directional loss of crops against the whole source image, without those that fit (CLIPstyler, Kwon & Ye 2022).

    A crop whose loss is below ``threshold`` counts as zero, and has no gradient; the mean is over all crops, so that
    one hard crop does not weigh more when the others are done.

    Args:
        source_image: features of the whole images before.
        crops: of random crops of the images after.
        direction: of the text, from :func:`text_direction` (CLIPstyler: ``"raw_mean_diff"``).
        threshold: losses below it are set to zero; in [0, 2].
        eps: changes shorter than this count less than fully.
        reduction: over images; crops are averaged.

    Raises:
        DataError: if the shapes do not agree, or the features are not floating-point.
        ConfigError: if ``threshold``, ``eps`` or ``reduction`` is none that exists.

    >>> import torch
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    >>> patch_threshold_directional_loss(x, y, torch.tensor([-1.0, 1.0]))
    tensor(0.5000)
    """
    if not 0 <= threshold <= 2:
        raise ConfigError(f"threshold is {threshold}", expected="0 to 2, the range of one minus a cosine")
    check_tensor("source_image", source_image, "[batch, dim]", 2, 2)
    check_tensor("crops", crops, "[batch, crops, dim]", 3, 3)
    if (crops.shape[0], crops.shape[2]) != tuple(source_image.shape):
        raise DataError(
            f"crops has the shape {tuple(crops.shape)}, source_image {tuple(source_image.shape)}",
            expected="[batch, crops, dim] and [batch, dim]",
        )
    check_against("direction", direction, "source_image", source_image)
    if direction.ndim == 2:
        direction = direction[:, None].expand(len(crops), 1, -1)
    loss = directional_loss(source_image[:, None].expand_as(crops), crops, direction, eps=eps, reduction="none")
    return reduced((loss * (loss >= threshold)).mean(-1), reduction)


def _changes(source: Tensor, edited: Tensor, direction: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    check_positive("eps", eps)
    check_pairs(source_image=source, edited_image=edited)
    check_against("direction", direction, "source_image", source)
    source, edited, direction = exact(source, edited, direction)
    return unit(edited) - unit(source), unit(direction)
