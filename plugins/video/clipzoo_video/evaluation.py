"""Retrieval of videos by sentences and of sentences by videos, in the table of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.metrics.ranking import rank_counts_of_scores, retrieval_metrics

KS = (1, 5, 10)


def retrieval_table(
    similarity: Float[Tensor, "texts videos"], owner: Sequence[int], *, any_caption: bool = False
) -> dict[str, dict[str, float]]:
    """R@1, R@5, R@10 in per cent, median and mean rank, in both directions.

    Every sentence is a query of its own. From videos to sentences, those of a video are one answer, scored by the
    best of them (the convention of the published code for MSVD); with ``any_caption`` each sentence is an answer, and
    the best placed one of the right ones counts.

    Args:
        similarity: higher is better.
        owner: the column of each sentence's video.
        any_caption: see above.

    >>> table = retrieval_table(torch.eye(3), [0, 1, 2])
    >>> table["text to video"]["R@1"], table["video to text"]["MdR"]
    (100.0, 1.0)
    """
    rows = list(owner)
    columns = list(range(similarity.shape[1]))
    forward = rank_counts_of_scores(similarity, rows, columns)
    told = sorted(set(rows))
    backward = rank_counts_of_scores(similarity.T[told], told, rows, by_group=not any_caption)
    return {"text to video": _row(forward), "video to text": _row(backward)}


def dual_softmax(similarity: Float[Tensor, "texts videos"], axis: int) -> Float[Tensor, "texts videos"]:
    """Scores times their softmax over the *queries* (Cheng et al. 2021, CAMoE): needs all queries at once.

    Args:
        similarity: logits.
        axis: of the queries: 0 where sentences ask, 1 where videos do.
    """
    return similarity * similarity.softmax(axis)


def paper_rows(head: str, similarity: Tensor, owner: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the table of the paper: a head in both directions, plain and with the dual softmax in rows of its own."""
    several = len(owner) > len(set(owner))
    plain = retrieval_table(similarity, owner)
    rows = [{"head": head, "direction": direction, "scores": "plain", **told} for direction, told in plain.items()]
    if several:
        told = retrieval_table(similarity, owner, any_caption=True)["video to text"]
        rows.append({"head": head, "direction": "video to text, any caption", "scores": "plain", **told})
    for axis, direction in enumerate(plain):
        told = retrieval_table(dual_softmax(similarity, axis), owner)[direction]
        rows.append({"head": head, "direction": direction, "scores": "dual softmax*", **told})
    return rows


def _row(counts: Any) -> dict[str, float]:
    told = retrieval_metrics(counts, KS)
    return {
        **{f"R@{k}": round(100 * told[f"recall@{k}"], 2) for k in KS},
        "MdR": round(told["median_rank"], 1),
        "MnR": round(told["mean_rank"], 2),
    }


def order_accuracy(right: Float[Tensor, " clips"], wrong: Float[Tensor, " clips"]) -> float:
    """Share of clips whose own caption scores higher than another one; equal scores count half."""
    return float(((right > wrong).double() + 0.5 * (right == wrong).double()).mean())


def similarity_in_blocks(model: Any, text: Tensor, videos: Any, block: int = 256) -> Tensor:
    """All scores, a block of sentences at a time, on the CPU."""
    with torch.no_grad():
        return torch.cat([model.similarity(part, videos).float().cpu() for part in text.split(block)])
