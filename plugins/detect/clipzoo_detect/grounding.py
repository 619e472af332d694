"""Detection as phrase grounding: prompts of many classes, and class scores from token scores (GLIP, Li et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import batched_nms

from clipzoo.errors import ConfigError, DataError
from clipzoo_detect.detections import Detections

Aggregate = Literal["mean", "max", "power", "onehot"]
CHUNK = 40
"""Classes a prompt for large vocabularies, as published for LVIS."""

_SHIFTS = (0, 1, 2)


def build_prompt(names: Sequence[str], sep: str = ". ") -> tuple[str, list[tuple[int, int]]]:
    """All class names in one sentence, and where each stands in it.

    Args:
        names: at least one.
        sep: between names; the prompt ends with it, without spaces.

    Returns:
        The prompt, and (first, last + 1) character of each name.

    Raises:
        DataError: if there is no name, or one is empty.

    >>> build_prompt(["cat", "traffic cone"])
    ('cat. traffic cone.', [(0, 3), (5, 17)])
    """
    if isinstance(names, str) or not names or not all(name.strip() for name in names):
        raise DataError(f"names are {names!r}"[:120], expected="a list of class names, none of them empty")
    spans, at = [], 0
    for name in names:
        spans.append((at, at + len(name)))
        at += len(name) + len(sep)
    return sep.join(names) + sep.strip(), spans


def chunk(names: Sequence[str], size: int = CHUNK) -> list[Sequence[str]]:
    """The names in parts of at most ``size``: a prompt holds 256 tokens.

    >>> [len(part) for part in chunk([str(k) for k in range(90)])]
    [40, 40, 10]
    """
    if size < 1:
        raise ConfigError(f"size is {size}", expected="at least one name a part")
    return [names[start : start + size] for start in range(0, len(names), size)]


def positive_map(
    tokenizer: Any, text: str, spans: Sequence[tuple[int, int]], tokens: int = 256
) -> Bool[Tensor, "classes tokens"]:
    """Which tokens of a prompt belong to which class.

    Args:
        tokenizer: called with the text, gives an encoding with ``char_to_token`` (the fast tokenizers of
            transformers).
        text: the prompt.
        spans: (first, last + 1) character of each name, from :func:`build_prompt`.
        tokens: columns of the result.

    Raises:
        DataError: if a name has no token among the first ``tokens``.
    """
    encoding = tokenizer(text)
    found = torch.zeros(len(spans), tokens, dtype=torch.bool)
    for row, (first, last) in enumerate(spans):
        # Characters that no token covers (spaces, accents that were stripped) are passed over, at most two.
        start = _token_at(encoding, [first + shift for shift in _SHIFTS if first + shift < last])
        end = _token_at(encoding, [last - 1 - shift for shift in _SHIFTS if last - 1 - shift >= first])
        if start is None or end is None or end >= tokens:
            raise DataError(
                f'"{text[first:last]}" has no tokens among the first {tokens} of the prompt',
                expected="fewer or shorter names a prompt",
                hint=f"chunk(names, {max(1, len(spans) // 2)})",
            )
        found[row, start : end + 1] = True
    return found


def _token_at(encoding: Any, characters: Sequence[int]) -> int | None:
    for character in characters:
        token = encoding.char_to_token(character)
        if token is not None:
            return int(token)
    return None


def aggregate(
    token_probs: Float[Tensor, "*boxes tokens"], positive: Bool[Tensor, "classes tokens"], how: Aggregate = "mean"
) -> Float[Tensor, "*boxes classes"]:
    """Class scores from the probabilities of the tokens.

    Args:
        token_probs: sigmoid of the region-word logits.
        positive: from :func:`positive_map`.
        how: ``"mean"`` (published default), ``"max"``, ``"power"`` (geometric mean), or ``"onehot"`` (column k is
            class k: a detector without text).

    Raises:
        ConfigError: if ``how`` is unknown.
        DataError: if the tokens are not as many, or a class has none.

    >>> aggregate(torch.tensor([[0.5, 0.25, 0.75]]), torch.tensor([[True, False, False], [False, True, True]])).tolist()
    [[0.5, 0.5]]
    """
    if how not in ("mean", "max", "power", "onehot"):
        raise ConfigError(f'no aggregation called "{how}"', expected="mean, max, power or onehot")
    if how == "onehot":
        return token_probs[..., : len(positive)]
    if positive.shape[1] != token_probs.shape[-1] or not bool(positive.any(1).all()):
        raise DataError(
            f"{token_probs.shape[-1]} tokens and a map {tuple(positive.shape)}",
            expected="as many tokens, and at least one for each class",
        )
    if how == "max":
        # Classes have a few tokens of 256 each: gathering those, not masking all, keeps the memory small.
        most = int(positive.sum(1).max())
        place = positive.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        own = positive.gather(1, place)
        return token_probs[..., place].masked_fill(~own, -math.inf).amax(-1)
    share = positive.to(token_probs) / positive.sum(1, keepdim=True)
    if how == "mean":
        return token_probs @ share.T
    return (token_probs.log().clamp(min=torch.finfo(token_probs.dtype).min / 1024) @ share.T).exp()


def merge_detections(
    parts: Sequence[Detections], chunks: Sequence[Sequence[str]], iou: float = 0.6, limit: int = 300
) -> Detections:
    """The detections of several prompts on one image as those of one.

    Args:
        parts: of each prompt, with labels that count within it.
        chunks: the names of each prompt.
        iou: of the suppression within each class.
        limit: how many are kept.

    Raises:
        DataError: if there is not one part a chunk.
    """
    if len(parts) != len(chunks) or not parts:
        raise DataError(f"{len(parts)} detections for {len(chunks)} prompts", expected="as many of each")
    first = [0]
    for names in chunks[:-1]:
        first.append(first[-1] + len(names))
    boxes = torch.cat([part.boxes for part in parts])
    scores = torch.cat([part.scores for part in parts])
    labels = torch.cat([part.labels + start for part, start in zip(parts, first, strict=True)])
    kept = batched_nms(boxes.float(), scores.float(), labels, iou)[:limit]
    return Detections(boxes[kept], scores[kept], labels[kept])


def token_focal_loss(
    logits: Float[Tensor, "images boxes tokens"],
    targets: Float[Tensor, "images boxes tokens"],
    mask: Bool[Tensor, "images tokens"],
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, " elements"]:
    r"""The focal loss of each region-word pair whose word is no padding (Lin et al. 2017, eq. 5; GLIP, section 3.1).

    :math:`-\alpha_t (1 - p_t)^\gamma \log p_t` with :math:`\alpha_t` = alpha for targets 1 and 1 - alpha for 0.

    Args:
        logits: region-word alignment scores.
        targets: 1 on every token of the phrase that a box matches.
        mask: tokens that are no padding.
        alpha: weight of the positives; below zero, none is weighted.
        gamma: how much easy pairs are played down.

    Returns:
        One value an unmasked pair, in order; the published detector sums them over the number of positives.
    """
    keep = mask.bool()[:, None].expand_as(logits)
    logits, targets = logits[keep], targets[keep]
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = torch.where(targets > 0, 1 - logits.sigmoid(), logits.sigmoid())
    loss = cross * wrong**gamma
    return loss if alpha < 0 else loss * torch.where(targets > 0, alpha, 1 - alpha)
