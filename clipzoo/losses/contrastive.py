"""Contrastive losses with one positive a row: CLIP's symmetric InfoNCE and SimCLR's NT-Xent."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.losses.features import Reduction, check_positive, check_rows, exact, reduced, similarity, unit
from clipzoo.losses.gather import Gather, gather_rows


def contrastive_loss(
    image: Float[Tensor, "batch dim"],
    text: Float[Tensor, "batch dim"],
    logit_scale: float | Float[Tensor, ""],
    *,
    logit_bias: float | Float[Tensor, ""] | None = None,
    gather: Gather = "local",
    group: dist.ProcessGroup | None = None,
    normalise: bool = True,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " rows"]:
    r"""Symmetric InfoNCE (CLIP, Radford et al. 2021, figure 3): each image picks its text, each text its image.

    Half the sum of both cross-entropies of the logits :math:`s \langle i, t \rangle + b` with the labels 0, 1, ...
    Chance is ln N for N pairs, so losses of different batch sizes do not compare: report the loss minus ln N.

    Across processes the pairs of all count, N = W n. Both modes have exactly the gradient of one process with the whole
    batch after DDP's averaging:

    - ``"local"``: this process's rows against all columns, O(n N) numbers. The value is this process's; its mean over
      processes is the loss.
    - ``"global"``: all rows against all columns on every process, O(N^2) numbers. The value is the loss.

    Args:
        image: features of images.
        text: of their texts, row by row.
        logit_scale: factor on cosines, not its logarithm; CLIP learns it from 1 / 0.07 and keeps it at most 100.
        logit_bias: added to all logits. It cancels in both cross-entropies, and exists for encoders that carry one.
        gather: see above; only matters in a process group.
        group: the processes; by default all.
        normalise: make the rows unit; with ``False`` the dot products are of what is given.
        reduction: over this mode's rows; a row is the mean of its two cross-entropies.

    Raises:
        DataError: if the features are not two floating-point ``[batch, dim]`` of one shape.
        ConfigError: if ``reduction`` or ``gather`` is unknown, or gathers without gradient, which is wrong.

    >>> contrastive_loss(torch.eye(4), torch.eye(4), 100.0)
    tensor(0.)
    """
    check_rows(image=image, text=text)
    check_positive("logit_scale", logit_scale)
    image, text = exact(image, text)
    if normalise:
        image, text = unit(image), unit(text)
    rows, columns, first = gather_rows(gather, group, image, text)
    labels = torch.arange(len(rows[0]), device=image.device) + first
    losses = [
        F.cross_entropy(logits if logit_bias is None else logits + logit_bias, labels, reduction="none")
        for logits in both_directions(rows, columns, logit_scale)
    ]
    return reduced((losses[0] + losses[1]) / 2, reduction)


def both_directions(
    rows: tuple[Tensor, ...], columns: tuple[Tensor, ...], scale: float | Tensor
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]:
    """Logits of image rows against all texts, and of text rows against all images."""
    images = scale * similarity(rows[0], columns[1])
    if rows[0] is columns[0]:
        return images, images.mT
    return images, scale * similarity(rows[1], columns[0])


def nt_xent_loss(
    first: Float[Tensor, "batch dim"],
    second: Float[Tensor, "batch dim"],
    temperature: float | Float[Tensor, ""] = 0.1,
    *,
    gather: Gather = "local",
    group: dist.ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " views"]:
    r"""Normalised temperature-scaled cross-entropy of two views (SimCLR, Chen et al. 2020, eq. 1).

    Each of the 2N views picks its other view among the remaining 2N - 1, by cosine over ``temperature``. The mean is
    over views; SimCLR's TensorFlow code returns the sum of the two directions' means, twice this value.

    Args:
        first: features of one view; any length, normalised here.
        second: of the other, row by row.
        temperature: 0.1 for ImageNet, 0.5 for CIFAR-10 in the paper.
        gather: ``"local"`` or ``"global"`` as in :func:`contrastive_loss`; both exact after DDP's averaging.
        group: the processes; by default all.
        reduction: over views, those of ``first`` before those of ``second``.

    Raises:
        DataError: if the features are not two floating-point ``[batch, dim]`` of one shape.
        ConfigError: if ``reduction`` or ``gather`` is unknown, or ``temperature`` is not positive.

    >>> nt_xent_loss(torch.eye(4), torch.eye(4), 0.01)
    tensor(0.)
    """
    check_rows(first=first, second=second)
    check_positive("temperature", temperature)
    first, second = exact(first, second)
    rows, columns, start = gather_rows(gather, group, unit(first), unit(second))
    labels = torch.arange(len(rows[0]), device=first.device) + start
    itself = F.one_hot(labels, len(columns[0])).bool()
    losses = []
    for own, other in ((0, 1), (1, 0)):
        partners = similarity(rows[own], columns[other]) / temperature
        # Dividing what is masked would give a learned temperature the gradient NaN.
        alike = (similarity(rows[own], columns[own]) / temperature).masked_fill(itself, -torch.inf)
        losses.append(F.cross_entropy(torch.cat((partners, alike), 1), labels, reduction="none"))
    return reduced(torch.cat(losses), reduction)
