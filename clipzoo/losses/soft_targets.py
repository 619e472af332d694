"""Contrastive losses with several right answers: by label (ActionCLIP), or by likeness (SimpleCLIP)."""

from __future__ import annotations

import math
from typing import Literal

import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError
from clipzoo.losses.contrastive import both_directions
from clipzoo.losses.features import (
    Reduction,
    check_ids,
    check_positive,
    check_rows,
    exact,
    reduced,
    similarity,
    unit,
)
from clipzoo.losses.gather import Gather, check_gather, gather_rows


def label_kl_loss(
    image: Float[Tensor, "batch dim"],
    text: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    logit_scale: float | Float[Tensor, ""],
    *,
    sharpness: float = 10.0,
    gather: Gather = "local",
    group: dist.ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " rows"]:
    r"""Divergence from targets that all pairs of one label share (ActionCLIP, Wang et al. 2021).

    :math:`\mathrm{KL}(P_i \,\|\, \mathrm{softmax}(L_i))` a row, :math:`P = \mathrm{softmax}(\tau G)` with
    :math:`G_{ij} = [y_i = y_j]` and logits :math:`L = s \cos`; half the sum of both directions, mean over rows.

    Args:
        image: features of videos; any length, normalised here.
        text: of their label texts, row by row.
        labels: class of each row.
        logit_scale: factor on cosines, not its logarithm.
        sharpness: the factor ``tau``, 10 in the released code: all other columns keep a little probability. With
            ``math.inf`` the columns of the label share all of it.
        gather: ``"local"`` or ``"global"`` as in :func:`contrastive_loss`; both exact after DDP's averaging.
        group: the processes; by default all.
        reduction: over this mode's rows.

    Raises:
        DataError: if the features are not two floating-point ``[batch, dim]`` of one shape, or ``labels`` is not one
            integer a row.
        ConfigError: if ``reduction`` or ``gather`` is unknown, or a factor is not positive.

    >>> import torch
    >>> label_kl_loss(torch.eye(4), torch.eye(4), torch.arange(4), 100.0, sharpness=math.inf)
    tensor(0.)
    """
    check_rows(image=image, text=text)
    check_ids("labels", labels, len(image))
    check_positive("logit_scale", logit_scale)
    check_positive("sharpness", sharpness, infinite=True)
    image, text = exact(image, text)
    rows, columns, _ = gather_rows(gather, group, unit(image), unit(text), labels)
    same = (rows[2][:, None] == columns[2]).to(image.dtype)
    target = same / same.sum(1, keepdim=True) if math.isinf(sharpness) else (sharpness * same).softmax(1)
    losses = [
        F.kl_div(logits.log_softmax(1), target, reduction="none").sum(1)
        for logits in both_directions(rows, columns, logit_scale)
    ]
    return reduced((losses[0] + losses[1]) / 2, reduction)


def soft_target_loss(
    image: Float[Tensor, "batch dim"],
    text: Float[Tensor, "batch dim"],
    *,
    temperature: float = 1.0,
    target_temperature: float | None = None,
    detach: bool | None = None,
    compat: Literal["shariatnia"] | None = None,
    gather: Gather = "local",
    group: dist.ProcessGroup | None = None,
    normalise: bool = False,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " rows"]:
    r"""Cross-entropy with targets from the likeness of images and of texts (SimpleCLIP, Shariatnia 2021).

    Logits :math:`T I^\top / \tau` and targets :math:`\mathrm{softmax}((I I^\top + T T^\top) / 2 \tau_t)`; half the
    sum of both directions, mean over rows. Duplicate images or texts become several right answers.

    ``compat="shariatnia"`` is the released code, which has three defects: gradients flow into the targets, so that the
    model can also win by flattening them; the targets are *multiplied* by the temperature that divides the
    logits; and the targets of images are columns of a softmax over rows, which do not sum to one.

    Args:
        image: embeddings, as they are: the method trains vectors that are not normalised.
        text: of their captions, row by row.
        temperature: of the logits.
        target_temperature: of the targets, 1 by default; none in compat mode.
        detach: no gradient into the targets; by default true, false in compat mode.
        compat: ``None`` or ``"shariatnia"``.
        gather: ``"local"`` or ``"global"`` as in :func:`contrastive_loss`; compat mode is always global.
        group: the processes; by default all.
        normalise: make the rows unit first; then lower temperatures make sense.
        reduction: over this mode's rows.

    Raises:
        DataError: if the embeddings are not two floating-point ``[batch, dim]`` of one shape.
        ConfigError: if a setting is unknown, not positive, or has no meaning in compat mode.

    >>> import torch
    >>> soft_target_loss(20 * torch.eye(4), 20 * torch.eye(4))
    tensor(0.)
    """
    if compat not in (None, "shariatnia"):
        raise ConfigError(f'no compat mode called "{compat}"', expected='None or "shariatnia"')
    if compat and target_temperature is not None:
        raise ConfigError("target_temperature was given in compat mode", expected="temperature alone, as in that code")
    check_rows(image=image, text=text)
    check_positive("temperature", temperature)
    check_positive("target_temperature", 1.0 if target_temperature is None else target_temperature)
    check_gather(gather)
    image, text = exact(image, text)
    if normalise:
        image, text = unit(image), unit(text)
    rows, columns, _ = gather_rows("global" if compat else gather, group, image, text)
    likeness = (similarity(rows[0], columns[0]) + similarity(rows[1], columns[1])) / 2
    target = (likeness * temperature if compat else likeness / (target_temperature or 1.0)).softmax(1)
    if detach or (detach is None and not compat):
        target = target.detach()
    to_texts, to_images = both_directions(rows, columns, 1 / temperature)
    loss_of_texts = F.cross_entropy(to_images, target, reduction="none")
    loss_of_images = F.cross_entropy(to_texts, target.mT if compat else target, reduction="none")
    return reduced((loss_of_texts + loss_of_images) / 2, reduction)
