"""Retrieval: recall at k and ranks, with several right answers a query, honest about ties, in bounded memory.

Scores are compared one block of queries at a time; what is kept of a query are three counts, from which every metric
follows under every treatment of ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches

Ties = Literal["expected", "optimistic", "pessimistic"]
_BLOCK = 2**25  # scores in memory at once: 128 MB in fp32


@dataclass(frozen=True)
class RankCounts:
    """Where the best right answer of each query lies among the wrong ones.

    Args:
        above: wrong answers with a strictly higher score than the best right one, ``[Q]``.
        tied: wrong answers with exactly its score, ``[Q]``.
        right: right answers with exactly its score, at least one, ``[Q]``.
    """

    above: Int[np.ndarray, " queries"]
    tied: Int[np.ndarray, " queries"]
    right: Int[np.ndarray, " queries"]

    def __len__(self) -> int:
        """How many queries."""
        return len(self.above)


def rank_counts(
    queries: Float[Tensor, "queries dim"],
    gallery: Float[Tensor, "gallery dim"],
    query_labels: Int[Tensor, " queries"] | Sequence[int] | None = None,
    gallery_labels: Int[Tensor, " gallery"] | Sequence[int] | None = None,
    *,
    by_group: bool = False,
    block: int = _BLOCK,
) -> RankCounts:
    """Count for every query, from features; the matrix of all scores is never in memory.

    Args:
        queries: unit rows.
        gallery: unit rows, on the same device.
        query_labels: answers with the same label are right; default: answer i belongs to query i.
        gallery_labels: the same of the gallery.
        by_group: rank groups of equal label by their best member instead of single answers, as CLIP4Clip ranks the
            captions of a video.
        block: largest number of scores in memory.

    Raises:
        DataError: if shapes do not agree, a feature is not finite, or a query has no right answer.

    >>> rank_counts(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])).above.tolist()
    [0, 0]
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(gallery):
        raise DataError(
            f"queries of the shape {tuple(queries.shape)} and a gallery of {tuple(gallery.shape)}",
            expected="[queries, dim] and [gallery, dim], at least one each",
        )
    transposed = gallery.T

    def scores(first: int, last: int) -> Tensor:
        return queries[first:last] @ transposed

    return _count(scores, len(queries), len(gallery), query_labels, gallery_labels, by_group, block, queries.device)


def rank_counts_of_scores(
    scores: Float[Tensor, "queries gallery"] | np.ndarray,
    query_labels: Int[Tensor, " queries"] | Sequence[int] | None = None,
    gallery_labels: Int[Tensor, " gallery"] | Sequence[int] | None = None,
    *,
    by_group: bool = False,
    block: int = _BLOCK,
) -> RankCounts:
    """The same from a matrix of scores, for methods whose score is no inner product; it may be a memory map.

    Higher is better. Minus infinity marks an answer that is no candidate.
    """
    if scores.ndim != 2 or 0 in scores.shape:
        raise DataError(f"scores of the shape {tuple(scores.shape)}", expected="[queries, gallery], at least one each")
    device = scores.device if isinstance(scores, Tensor) else torch.device("cpu")

    def part(first: int, last: int) -> Tensor:
        rows = scores[first:last]
        return rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))

    return _count(part, scores.shape[0], scores.shape[1], query_labels, gallery_labels, by_group, block, device)


@torch.no_grad()
def _count(
    scores: Callable[[int, int], Tensor],
    queries: int,
    gallery: int,
    query_labels: Tensor | Sequence[int] | None,
    gallery_labels: Tensor | Sequence[int] | None,
    by_group: bool,
    block: int,
    device: torch.device,
) -> RankCounts:
    ours, theirs = _labels(query_labels, gallery_labels, queries, gallery, device)
    groups = None
    if by_group:
        theirs, groups = theirs.unique(return_inverse=True)
    rows = max(1, block // gallery)
    found = []
    for first in range(0, queries, rows):
        last = min(first + rows, queries)
        score = scores(first, last)
        if bool(score.isnan().any()):
            bad = score.isnan().any(1).nonzero().flatten()[:8] + first
            raise DataError(f"scores of the queries {bad.tolist()} are NaN", hint="are all features finite?")
        if groups is not None:
            best = score.new_full((last - first, len(theirs)), float("-inf"))
            score = best.scatter_reduce(1, groups.expand(last - first, -1), score, "amax")
        right = ours[first:last, None] == theirs
        alone = ~right.any(1)
        if bool(alone.any()):
            raise DataError(
                f"the queries {(alone.nonzero().flatten()[:8] + first).tolist()} have no right answer in the gallery",
                hint="drop them, or check the labels",
            )
        best = score.masked_fill(~right, float("-inf")).amax(1, keepdim=True)
        equal = score == best
        found.append(torch.stack([((score > best) & ~right).sum(1), (equal & ~right).sum(1), (equal & right).sum(1)]))
    counts = torch.cat(found, 1).cpu().numpy() if found else np.zeros((3, 0), int)
    return RankCounts(*counts)


def _labels(
    query_labels: Tensor | Sequence[int] | None,
    gallery_labels: Tensor | Sequence[int] | None,
    queries: int,
    gallery: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    if (query_labels is None) != (gallery_labels is None):
        raise DataError("labels of one side only", expected="labels of queries and gallery, or of neither")
    if query_labels is None or gallery_labels is None:
        if queries != gallery:
            raise DataError(
                f"{queries} queries and {gallery} answers without labels", expected="as many of each, or labels"
            )
        both = torch.arange(queries, device=device)
        return both, both
    ours, theirs = torch.as_tensor(query_labels, device=device), torch.as_tensor(gallery_labels, device=device)
    if ours.shape != (queries,) or theirs.shape != (gallery,):
        raise DataError(
            f"labels of the shapes {tuple(ours.shape)} and {tuple(theirs.shape)}",
            expected=f"[{queries}] and [{gallery}]",
        )
    return ours, theirs


def ranks(counts: RankCounts, ties: Ties = "expected") -> Float[np.ndarray, " queries"]:
    """Rank of the best right answer of each query, from one.

    With ties in random order the first of m right among t wrong ones has the expected rank
    ``above + (t + m + 1) / (m + 1)``, for m = 1 half-way between the best and the worst.

    Args:
        counts: from :func:`rank_counts`.
        ties: ``"expected"``, ``"optimistic"`` (right answers first) or ``"pessimistic"`` (last).

    >>> one = RankCounts(*np.array([[2], [3], [1]]))
    >>> [float(ranks(one, ties)[0]) for ties in ("optimistic", "expected", "pessimistic")]
    [3.0, 4.5, 6.0]
    """
    _check_ties(ties)
    if ties == "optimistic":
        return counts.above + 1.0
    if ties == "pessimistic":
        return counts.above + counts.tied + 1.0
    return counts.above + (counts.tied + counts.right + 1.0) / (counts.right + 1.0)


def recall_at(counts: RankCounts, k: int, ties: Ties = "expected") -> float:
    """Share of queries with a right answer among the first ``k``; NaN without queries.

    ``"expected"`` is the mean over all orders of tied answers, so that a model that gives every answer the same score
    gets what guessing gets.

    Args:
        counts: from :func:`rank_counts`.
        k: how many answers are looked at, at least one.
        ties: as in :func:`ranks`.

    >>> recall_at(RankCounts(*np.array([[0], [3], [1]])), 1)
    0.25
    """
    if k < 1:
        raise ConfigError(f"recall at {k}", expected="at least 1")
    return _mean(counts, lambda rank: (rank <= k).astype(float), ties)


def reciprocal_rank(counts: RankCounts, ties: Ties = "expected") -> float:
    """Mean of one over the rank of the best right answer (MRR); NaN without queries."""
    return _mean(counts, lambda rank: 1 / rank, ties)


def _mean(counts: RankCounts, value: Callable[[np.ndarray], np.ndarray], ties: Ties) -> float:
    """Mean over queries of the expectation of ``value`` of the rank."""
    _check_ties(ties)
    if not len(counts):
        return float("nan")
    if ties != "expected":
        return float(value(ranks(counts, ties)).mean())
    total = 0.0
    pairs = np.stack([counts.tied, counts.right], 1)
    # Queries with the same numbers of ties share one distribution.
    for tied, right in np.unique(pairs, axis=0):
        place, times = np.unique(counts.above[(pairs == (tied, right)).all(1)], return_counts=True)
        chance = _first_right(int(tied), int(right))
        for above, often in zip(place, times, strict=True):
            total += often * float(value(above + np.arange(1.0, tied + 2)) @ chance)
    return float(total / len(counts))


def _first_right(tied: int, right: int) -> np.ndarray:
    """Chance that the first of ``right`` among ``tied`` others in random order is at place 1 .. tied + 1."""
    before = np.arange(tied + 1.0)  # wrong answers that came first
    left = tied + right - before
    still = np.concatenate([[1.0], np.cumprod((tied - before[:-1]) / left[:-1])])
    return still * right / left


def retrieval_metrics(counts: RankCounts, ks: Sequence[int] = (1, 5, 10), ties: Ties = "expected") -> dict[str, float]:
    """The usual table: ``recall@k`` (shares, 0 to 1), ``median_rank``, ``mean_rank`` (from 1) and ``mrr``.

    Args:
        counts: from :func:`rank_counts` or :func:`rank_counts_of_scores`.
        ks: for which recall is wanted.
        ties: as in :func:`ranks`; the median of an even number is the mean of the middle two.

    >>> retrieval_metrics(rank_counts(torch.eye(3), torch.eye(3)), ks=[1])
    {'recall@1': 1.0, 'median_rank': 1.0, 'mean_rank': 1.0, 'mrr': 1.0}
    """
    place = ranks(counts, ties)
    empty = not len(counts)
    return {
        **{f"recall@{k}": recall_at(counts, k, ties) for k in ks},
        "median_rank": float("nan") if empty else float(np.median(place)),
        "mean_rank": float("nan") if empty else float(place.mean()),
        "mrr": reciprocal_rank(counts, ties),
    }


def retrieval(
    similarity: Float[Tensor, "queries gallery"] | np.ndarray,
    groups: Sequence[int] | Int[Tensor, " queries"] | None = None,
    *,
    ks: Sequence[int] = (1, 5, 10),
    ties: Ties = "expected",
) -> dict[str, dict[str, float]]:
    """The table of a retrieval paper from one matrix: sentences find videos (or images), and the reverse.

    Every sentence is a query of its own. In the other direction the sentences of one video are one answer, scored by
    the best of them, as CLIP4Clip ranks collections with several captions a video.

    Args:
        similarity: score of each sentence (row) with each video (column), higher is better.
        groups: column that each row belongs to; default: row i belongs to column i.
        ks: for which recall is wanted.
        ties: as in :func:`ranks`.

    Returns:
        ``text_to_video`` and ``video_to_text``, each as :func:`retrieval_metrics`. A video without a sentence is no
        query, but stays in the gallery.

    Raises:
        DataError: if a row belongs to no column, the number of groups is not that of the rows, or a score is NaN.

    >>> table = retrieval(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), groups=[0, 0, 1], ks=[1])
    >>> table["text_to_video"]["recall@1"], table["video_to_text"]["recall@1"]
    (1.0, 1.0)
    """
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise DataError(
            f"similarity of the shape {tuple(similarity.shape)}", expected="[queries, gallery], at least one each"
        )
    rows = list(range(similarity.shape[0])) if groups is None else [int(group) for group in groups]
    wide = similarity.shape[1]
    if len(rows) != similarity.shape[0] or not all(0 <= row < wide for row in rows):
        raise DataError(
            f"{len(rows)} groups up to {max(rows, default=0)} for {tuple(similarity.shape)} scores",
            expected=f"a column, 0 to {wide - 1}, for each of the {similarity.shape[0]} rows",
        )
    told = sorted(set(rows))
    forward = rank_counts_of_scores(similarity, rows, list(range(wide)))
    backward = rank_counts_of_scores(similarity.T[told], told, rows, by_group=True)
    return {
        "text_to_video": retrieval_metrics(forward, ks, ties),
        "video_to_text": retrieval_metrics(backward, ks, ties),
    }


def _check_ties(ties: str) -> None:
    if ties not in get_args(Ties):
        raise ConfigError(
            f'no treatment of ties called "{ties}"',
            closest=closest_matches(str(ties), get_args(Ties)),
            expected=", ".join(get_args(Ties)),
        )
