"""All sentences of a stage as tokens of a vocabulary that holds nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.encoders.text import encode_embedded
from clipzoo_train.vocabulary import CompactVocabulary


class SentenceTable:
    """Tokenises once; a lookup costs nothing after that.

    Args:
        model: an open_clip model with CLIP's own text tower; its token table is cut down.
        tokenizer: CLIP's.
        sentences: everything that will be said.
    """

    def __init__(self, model: Any, tokenizer: Any, sentences: Iterable[str]) -> None:
        """Cut the vocabulary."""
        told = list(sentences)
        tokens = tokenizer(told)
        self.vocabulary = CompactVocabulary(model, tokens)
        self.position = {sentence: row for row, sentence in enumerate(told)}
        self.tokens = self.vocabulary.compact(tokens)

    @property
    def known(self) -> Int[Tensor, " tokens"]:
        """Ids of the tokens that are in use."""
        return self.vocabulary.known

    def lookup(self, sentences: Sequence[str]) -> Int[Tensor, "sentences length"]:
        """Compact ids of sentences that were given at construction."""
        return self.tokens[[self.position[sentence] for sentence in sentences]]

    @staticmethod
    def encode(model: Any, tokens: Int[Tensor, "sentences length"]) -> Float[Tensor, "sentences dim"]:
        """Features on as many positions as the longest sentence fills: attention looks back only."""
        tokens = tokens[:, : int(tokens.argmax(1).max()) + 1]
        return encode_embedded(model, model.token_embedding(tokens), tokens)
