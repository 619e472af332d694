"""Which strokes matter: take away one after the other, always the one that is missed least."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo_sketch.ink import Ink


@torch.no_grad()
def importance_order(
    score: Callable[[Ink], Float[Tensor, " drawings"]], ink: Ink
) -> tuple[list[int], Float[Tensor, " strokes"]]:
    """Strokes in the order of their importance, so that the first k of them are a drawing of k strokes.

    Backward elimination: of the strokes that are left, the one without which the score is least goes next; the last
    to go is the first in the order. Costs ``P (P + 1) / 2`` renderings.

    Args:
        score: one number a drawing, less is better.
        ink: one drawing of P strokes.

    Returns:
        Indices of strokes, and the score of the first 1, 2, ..., P of them.
    """
    left = list(range(ink.paths))
    gone: list[int] = []
    scores = [score(ink)[0]]
    while len(left) > 1:
        tried = torch.ones(len(left), ink.paths, dtype=torch.bool, device=ink.points.device)
        tried[:, gone] = False
        tried[torch.arange(len(left)), left] = False
        found = score(ink.masked(tried))
        worst = int(found.nan_to_num(float("inf")).argmin())
        scores.append(found[worst])
        gone.append(left.pop(worst))
    return [*left, *gone[::-1]], torch.stack(scores[::-1])
