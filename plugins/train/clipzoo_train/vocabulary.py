"""CLIP's vocabulary cut down to the tokens in use: training does not carry 49 000 rows that never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn


class CompactVocabulary:
    """While it is in place, the text tower knows the tokens of the given sentences alone.

    The rows of other tokens stay where they were and are put back by :meth:`full_table`. Ids keep their order:
    CLIP's tower finds the end of a sentence as its largest id.

    Args:
        tower: the module that holds ``token_embedding``; changed in place.
        tokens: ids of every sentence that will be asked for, ``[sentences, length]``.
    """

    def __init__(self, tower: Any, tokens: Int[Tensor, "sentences length"]) -> None:
        """Replace the embedding."""
        table = tower.token_embedding.weight
        self.known = tokens.unique()
        self._table = table.detach().cpu().clone()
        self._end = int(self._table.shape[0]) - 1
        tower.token_embedding = nn.Embedding.from_pretrained(table.detach()[self.known], freeze=False)

    def compact(self, tokens: Int[Tensor, "sentences length"]) -> Int[Tensor, "sentences length"]:
        """Compact ids of full ones; a token that is not known becomes the nearest below it."""
        return torch.searchsorted(self.known, tokens.contiguous()).clamp(max=len(self.known) - 1)

    def full_table(self, rows: Tensor) -> Tensor:
        """The whole table with the trained rows in it."""
        table = self._table.clone()
        table[self.known] = rows.detach().cpu().to(table.dtype)
        return table


def longest_first(sentences: Sequence[str]) -> list[str]:
    """Different sentences, the longest first, so that batches of them share their lengths."""
    return sorted(dict.fromkeys(sentences), key=lambda sentence: (-len(sentence), sentence))
