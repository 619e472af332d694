"""A frozen teacher's idea of which image and text belong together, as a target."""

from __future__ import annotations

import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from clipzoo.losses.contrastive import both_directions
from clipzoo.losses.features import check_rows, exact, unit
from clipzoo.losses.gather import Gather, gather_rows


def distillation_loss(
    image: Float[Tensor, "batch dim"],
    text: Float[Tensor, "batch dim"],
    logit_scale: float | Float[Tensor, ""],
    teacher_image: Float[Tensor, "batch teacher_dim"],
    teacher_text: Float[Tensor, "batch teacher_dim"],
    teacher_scale: float,
    *,
    gather: Gather = "local",
    group: dist.ProcessGroup | None = None,
    normalise: bool = True,
) -> Float[Tensor, ""]:
    r"""Cross-entropy of the student's softmax with the teacher's, both directions (OpenCLIP's distillation).

    :math:`-\frac{1}{2N} \sum_i \mathrm{softmax}(s' I'_i T'^\top) \cdot \log \mathrm{softmax}(s I_i T^\top)` and the
    same for texts. It is not zero for a student that equals its teacher, but the entropy of the teacher.

    Args:
        image: the student's features; any length, normalised here.
        text: of their texts, row by row.
        logit_scale: the student's factor on cosines.
        teacher_image: the teacher's features of the same images; they get no gradient.
        teacher_text: of the same texts.
        teacher_scale: the teacher's factor.
        gather: as in :func:`clipzoo.losses.contrastive_loss`; both exact after averaging over processes.
        group: the processes; by default all.
        normalise: make the rows unit; with ``False`` the dot products are of what is given.

    Raises:
        DataError: if features are not floating-point ``[batch, dim]`` in equal numbers.

    >>> import torch
    >>> distillation_loss(*[torch.eye(4)] * 2, 100.0, *[torch.eye(4)] * 2, 100.0)
    tensor(0.)
    """
    check_rows(image=image, text=text)
    check_rows(teacher_image=teacher_image, teacher_text=teacher_text)
    image, text = exact(image, text)
    teacher = exact(teacher_image.detach(), teacher_text.detach())
    parts = [unit(part) if normalise else part for part in (image, text, *teacher)]
    rows, columns, _ = gather_rows(gather, group, *parts)
    own = both_directions(rows[:2], columns[:2], logit_scale)
    told = both_directions(rows[2:], columns[2:], teacher_scale)
    losses = [
        -(target.softmax(1) * logits.log_softmax(1)).sum(1).mean() for logits, target in zip(own, told, strict=True)
    ]
    return (losses[0] + losses[1]) / 2
