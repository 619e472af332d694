"""Features from inside an image tower, for losses on layers (CLIPasso) and for probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from clipzoo.encoders.towers import Kind, attention_pool, check_multiple, embed_patches, run_block
from clipzoo.errors import ConfigError, closest_matches

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
EMBEDDING = "embedding"


def layer_names(visual: Any, kind: Kind) -> tuple[str, ...]:
    """The names that :func:`layer_features` knows for this tower, in the order of computation."""
    if kind == "resnet":
        return (*STAGES, EMBEDDING)
    if kind == "vit":
        return (*(f"block{index}" for index in range(len(visual.transformer.resblocks))), EMBEDDING)
    raise ConfigError(
        "the layers of this image tower have no names here", expected="a ViT with a class token or a CLIP ResNet"
    )


def layer_features(
    visual: Any, pixels: Float[Tensor, "batch 3 height width"], names: Sequence[str | int], kind: Kind
) -> dict[str, Tensor]:
    """Outputs of the layers ``names``; the tower runs no further than the last one asked for.

    Args:
        visual: an open_clip image tower.
        pixels: normalised as the tower expects.
        names: of a ResNet ``stem``, ``layer1`` .. ``layer4`` (``[batch, channels, rows, columns]``); of a ViT
            ``block0`` .. or plain indices, also negative ones (``[batch, 1 + patches, width]``, class token
            first); ``embedding`` for the projected embedding, not normalised (``[batch, dim]``).
        kind: see :func:`clipzoo.encoders.towers.tower_kind`.

    Returns:
        Name as it was asked for (as text) to tensor.

    Raises:
        ConfigError: if a name does not exist, or none was given.
    """
    known = layer_names(visual, kind)
    asked = {str(name): _place(name, known, kind) for name in names}
    if not asked:
        raise ConfigError("no layer was named", expected=", ".join(known))
    found = _walk(visual, pixels, max(asked.values()), kind, known)
    return {name: found[place] for name, place in asked.items()}


def _place(name: str | int, known: tuple[str, ...], kind: Kind) -> int:
    if kind == "vit" and str(name).lstrip("-").isdigit():
        blocks = len(known) - 1
        index = int(name)
        if -blocks <= index < blocks:
            return index % blocks
    elif name in known:
        return known.index(str(name))
    raise ConfigError(f'no layer called "{name}"', closest=closest_matches(str(name), known), expected=", ".join(known))


def _walk(visual: Any, pixels: Tensor, last: int, kind: Kind, known: tuple[str, ...]) -> list[Tensor]:
    found: list[Tensor] = []
    if kind == "resnet":
        check_multiple(pixels, 32, 32)
        maps = pixels
        for stage in known[: min(last + 1, len(STAGES))]:
            maps = getattr(visual, stage)(maps)
            found.append(maps)
        if last == len(STAGES):
            found.append(attention_pool(visual.attnpool, maps)[:, 0])
        return found
    tokens, _ = embed_patches(visual, pixels)
    blocks = len(known) - 1
    for index in range(min(last + 1, blocks)):
        tokens = run_block(visual, tokens, index)
        found.append(tokens)
    if last == blocks:
        found.append(visual.ln_post(tokens)[:, 0] @ visual.proj)
    return found
