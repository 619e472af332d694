"""Classes that go by several names, such as "tv" and "television"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipzoo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor


def split_names(classes: Sequence[str | Sequence[str]]) -> tuple[list[str], list[int]]:
    """All names of all classes, and the class of each.

    Args:
        classes: of each class its names, as a list or as one text with commas (the files of the open-vocabulary
            segmentation methods have a class a line and its names with commas).

    Raises:
        DataError: if there is no class, or one has no name.

    >>> split_names(["person, man, woman", "tv"])
    (['person', 'man', 'woman', 'tv'], [0, 0, 0, 1])
    """
    names: list[str] = []
    index: list[int] = []
    for place, entry in enumerate(classes):
        own = [part.strip() for part in (entry.split(",") if isinstance(entry, str) else entry)]
        own = [name for name in own if name]
        if not own:
            raise DataError(f"class {place} has no name: {entry!r}")
        names += own
        index += [place] * len(own)
    if not names:
        raise DataError("no classes were given")
    return names, index


def merge_names(scores: Tensor, index: Sequence[int], how: str = "max", dim: int = -1) -> Tensor:
    """Scores of names as scores of classes.

    Args:
        scores: with one entry a name along ``dim``; for ``"max"`` usually probabilities.
        index: class of each name, from :func:`split_names`.
        how: ``"max"`` over the names of a class (segmentation) or ``"mean"`` (detection).
        dim: axis of the names.

    Raises:
        DataError: if there are not as many names as entries.
        ConfigError: if ``how`` is unknown.

    >>> import torch
    >>> merge_names(torch.tensor([0.25, 0.5, 0.125]), [0, 0, 1]).tolist()
    [0.5, 0.125]
    """
    import torch

    if how not in ("max", "mean"):
        raise ConfigError(f'no way called "{how}" to merge names', expected="max or mean")
    if scores.shape[dim] != len(index):
        raise DataError(f"{scores.shape[dim]} scores and {len(index)} names", expected="as many of each")
    classes = max(index) + 1
    moved = scores.movedim(dim, -1)
    place = torch.tensor(list(index), device=scores.device).expand(moved.shape)
    merged = moved.new_zeros(*moved.shape[:-1], classes)
    merged = merged.scatter_reduce(-1, place, moved, "amax" if how == "max" else "mean", include_self=False)
    return merged.movedim(-1, dim)
