"""The text tower from the embeddings of tokens on, for prompts that are learned (CoOp, Zhou et al. 2022)."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.errors import ConfigError, DataError


def text_tower(model: Any) -> Any:
    """The module of an open_clip model that holds the text tower.

    Raises:
        ConfigError: if it is not CLIP's transformer, or has a class token (CoCa).
    """
    tower = getattr(model, "text", model)
    parts = ("token_embedding", "positional_embedding", "transformer", "ln_final")
    if not all(hasattr(tower, part) for part in parts) or getattr(tower, "cls_emb", None) is not None:
        raise ConfigError(
            f"the text tower is a {type(tower).__name__}, which does not take token embeddings",
            expected="CLIP's own text transformer",
            hint="model=ViT-B-32/openai",
        )
    return tower


def embed_tokens(model: nn.Module, tokens: Int[Tensor, "sentences length"]) -> Float[Tensor, "sentences length width"]:
    """Token embeddings, without positions."""
    return text_tower(model).token_embedding(tokens)


def encode_embedded(
    model: nn.Module, embedded: Float[Tensor, "sentences length width"], tokens: Int[Tensor, "sentences length"]
) -> Float[Tensor, "sentences dim"]:
    """Projected features, not normalised, of sentences given as token embeddings.

    Args:
        model: an open_clip model.
        embedded: token embeddings without positions; at most as long as the context.
        tokens: ids that say where each sentence ends.

    Raises:
        ConfigError: see :func:`text_tower`.
        DataError: if the shapes do not agree.
    """
    from open_clip.transformer import text_global_pool

    tower = text_tower(model)
    length, context = tokens.shape[-1], len(tower.positional_embedding)
    if embedded.shape[:2] != tokens.shape or length > context:
        raise DataError(
            f"embeddings {tuple(embedded.shape)} and tokens {tuple(tokens.shape)}",
            expected=f"[sentences, length, width] and [sentences, length], length at most {context}",
        )
    hidden = embedded + tower.positional_embedding[:length]
    mask = tower.attn_mask
    hidden = tower.transformer(hidden, attn_mask=None if mask is None else mask[:length, :length])
    end = getattr(tower, "eos_id", None)
    if end is None:
        end = getattr(tower, "text_eos_id", None)
    kind = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", "argmax")
    pooled = text_global_pool(tower.ln_final(hidden), tokens, kind, eos_token_id=end)
    projection = tower.text_projection
    if projection is None:
        return pooled
    return projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
