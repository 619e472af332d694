"""Losses of the stages: several true sentences an image, and a teacher's embeddings."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def soft_contrastive_loss(
    images: Float[Tensor, "images dim"],
    texts: Float[Tensor, "texts dim"],
    scale: Tensor,
    truth: Bool[Tensor, "images texts"],
    known: Bool[Tensor, "images texts"] | None = None,
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy whose targets are spread evenly over all true pairs.

    Args:
        images: unit rows.
        texts: unit rows.
        scale: factor on the cosines.
        truth: every row and every column has a true entry.
        known: pairs of which nothing is known push neither way. Default: all are known.
    """
    logits = scale * images @ texts.T
    if known is not None:
        logits = logits.masked_fill(~known, -1e4)
    target = truth.to(logits.dtype)
    of_images = -(target / target.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    of_texts = -(target / target.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (of_images + of_texts) / 2


def teacher_loss(
    images: Float[Tensor, "images dim"],
    wanted: Float[Tensor, "images dim"],
    texts: Float[Tensor, "texts dim"],
    scale: Tensor,
) -> Float[Tensor, ""]:
    """How far an image tower is from its teacher: ten times the cosine distance, and the divergence of its scores.

    Args:
        images: unit rows of the student.
        wanted: unit rows of the teacher on the same images.
        texts: unit rows of sentences, the same for both.
        scale: factor on the cosines.
    """
    apart = (1 - (images * wanted).sum(1)).mean()
    answers, expected = ((scale * one @ texts.T).log_softmax(1) for one in (images, wanted))
    return 10 * apart + nn.functional.kl_div(answers, expected, log_target=True, reduction="batchmean")


def paste_windows(pixels: Float[Tensor, "images 3 side side"], share: float, draw: np.random.Generator) -> Tensor:
    """The images, and behind them ``share`` times as many with a window of another one pasted in.

    Args:
        pixels: of a batch.
        share: of the images that are added.
        draw: source of chance.
    """
    count, side = int(len(pixels) * share), pixels.shape[-1]
    if not count:
        return pixels
    onto, pasted = (torch.from_numpy(draw.integers(len(pixels), size=count)) for _ in range(2))
    mixed = pixels[onto].clone()
    for row in range(count):
        height, width = draw.integers(side // 4, 3 * side // 4 + 1, size=2)
        top, left = draw.integers(side - height + 1), draw.integers(side - width + 1)
        window = (row, slice(None), slice(top, top + height), slice(left, left + width))
        mixed[window] = pixels[pasted[row]][window[1:]]
    return torch.cat([pixels, mixed])
