"""The sigmoid loss of SigLIP, in chunks, so that its memory does not grow with the square of the batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clipzoo.errors import ConfigError
from clipzoo.losses.features import Reduction, check_positive, check_rows, exact, reduced, similarity, unit
from clipzoo.losses.gather import gather_rows


def siglip_loss(
    image: Float[Tensor, "batch dim"],
    text: Float[Tensor, "batch dim"],
    logit_scale: float | Float[Tensor, ""],
    logit_bias: float | Float[Tensor, ""],
    *,
    chunk_size: int | None = None,
    group: dist.ProcessGroup | None = None,
    normalise: bool = True,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""Every image-text pair a yes-or-no question (SigLIP, Zhai et al. 2023, section 3.2).

    :math:`\frac{1}{n} \sum_i \sum_j \log(1 + \exp(-z_{ij} (s \langle i, t_j \rangle + b)))` with ``z`` 1 for pairs and
    -1 otherwise; ``j`` runs over the texts of all processes, ``i`` over the images of this one. The mean of the
    values over processes is the loss, and its parameter gradient is exact after DDP's averaging.

    Args:
        image: features of images.
        text: of their texts, row by row.
        logit_scale: factor on cosines, not its logarithm; learned from 10.
        logit_bias: learned from -10.
        chunk_size: texts that are scored at once; similarities are computed again in the backward pass, so that
            at most ``n x chunk_size`` of them exist. By default all at once.
        group: the processes; by default all.
        normalise: make the rows unit; with ``False`` the dot products are of what is given.
        reduction: over images; the texts of an image are summed.

    Raises:
        DataError: if the features are not two floating-point ``[batch, dim]`` of one shape.
        ConfigError: if ``chunk_size`` or ``reduction`` is none that exists.

    >>> siglip_loss(torch.eye(4), torch.eye(4), 10.0, -10.0, chunk_size=3)
    tensor(0.6933)
    """
    check_rows(image=image, text=text)
    check_positive("logit_scale", logit_scale)
    if chunk_size is not None and chunk_size < 1:
        raise ConfigError(f"chunk_size is {chunk_size}", expected="at least 1, or None for all at once")
    image, text = exact(image, text)
    if normalise:
        image, text = unit(image), unit(text)
    _, (texts,), first = gather_rows("local", group, text)
    own = torch.arange(len(image), device=image.device)[:, None] + first
    if chunk_size is None or chunk_size >= len(texts):
        return reduced(_pair_losses(image, texts, own, logit_scale, logit_bias), reduction)
    total = image.new_zeros(len(image))
    for start in range(0, len(texts), chunk_size):
        part = texts[start : start + chunk_size]
        total = total + checkpoint(
            _pair_losses,
            image,
            part,
            own - start,
            logit_scale,
            logit_bias,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return reduced(total, reduction)


def _pair_losses(image: Tensor, text: Tensor, own: Tensor, scale: float | Tensor, bias: float | Tensor) -> Tensor:
    logits = scale * similarity(image, text) + bias
    pairs = torch.arange(len(text), device=text.device) == own
    return F.softplus(torch.where(pairs, -logits, logits)).sum(1)
