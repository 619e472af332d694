"""The parts of an open_clip image tower: what dense features, layers and saliency are read from."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.errors import ConfigError, DataError

Kind = Literal["vit", "resnet", "map"]


def tower_kind(visual: nn.Module, name: str) -> Kind:
    """What sort of image tower this is.

    Returns:
        ``"vit"``: a ViT with a class token; ``"resnet"``: CLIP's ResNet with attention pooling; ``"map"``: a timm
        ViT with a multi-head attention pooling head (SigLIP).

    Raises:
        ConfigError: if it is none of these.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    if isinstance(visual, ModifiedResNet):
        return "resnet"
    if isinstance(visual, VisionTransformer):
        plain = all(type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks)
        if plain and visual.attn_pool is None and visual.pool_type == "tok" and not visual.final_ln_after_pool:
            return "vit"
    if isinstance(visual, TimmModel) and getattr(visual.trunk, "attn_pool", None) is not None:
        return "map"
    raise ConfigError(
        f"{name} has an image tower of another kind ({type(visual).__name__}): its patches cannot be read",
        expected="a ViT with a class token, a CLIP ResNet, or a ViT with an attention pooling head (SigLIP)",
        hint="model=ViT-B-16/openai",
    )


def check_multiple(pixels: Tensor, height: int, width: int) -> None:
    """Refuse images that do not split evenly into cells of ``height`` x ``width`` pixels.

    Raises:
        DataError: naming the nearest sizes that do.
    """
    sides = tuple(pixels.shape[-2:])
    rows, columns = (max(1, round(side / cell)) for side, cell in zip(sides, (height, width), strict=True))
    if sides != (rows * height, columns * width):
        raise DataError(
            f"images of {sides[0]} x {sides[1]} pixels do not split into cells of {height} x {width}",
            expected=f"multiples of {height} x {width}",
            hint=f"resize them to {rows * height} x {columns * width}",
        )


def embed_patches(visual: Any, pixels: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, tuple[int, int]]:
    """Tokens before the first block of a ViT, class token first, for images of any size.

    Returns:
        ``[batch, 1 + rows * columns, width]`` and ``(rows, columns)``.

    Raises:
        DataError: if the patches do not tile the images.
    """
    check_multiple(pixels, *visual.patch_size)
    cells = visual.conv1(pixels)
    grid = (cells.shape[2], cells.shape[3])
    tokens = cells.flatten(2).transpose(1, 2)
    first = visual.class_embedding.to(tokens.dtype).expand(len(tokens), 1, -1)
    position = resize_positions(visual.positional_embedding, tuple(visual.grid_size), grid)
    return visual.ln_pre(torch.cat([first, tokens], 1) + position.to(tokens.dtype)), grid


def resize_positions(
    position: Float[Tensor, "tokens width"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "new_tokens width"]:
    """Positional embeddings of a grid of another size; the first row, that of the class token, stays.

    Bicubic with the scale factor ``(new + 0.1) / old``, as every published dense use of CLIP does (the tenth keeps
    rounding from losing a row).
    """
    if old == new:
        return position
    grid = position[1:].T.reshape(1, -1, *old)
    factors = [(n + 0.1) / o for n, o in zip(new, old, strict=True)]
    resized = F.interpolate(grid, scale_factor=factors, mode="bicubic", align_corners=False)
    return torch.cat([position[:1], resized[0].flatten(1).T])


def attention_pool(pool: Any, maps: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch tokens dim"]:
    """CLIP's attention pooling of a ResNet with every token as a query (DepthCLIP, Zhang et al. 2022, section 3.2).

    The first row is the mean token, what the ResNet itself returns; the others are the locations, row by row. The
    positional embedding is resized bilinearly with aligned corners; its first row is that of the mean token.
    """
    new = (maps.shape[2], maps.shape[3])
    position = pool.positional_embedding
    side = round((len(position) - 1) ** 0.5)
    if new != (side, side):
        square = position[1:].T.reshape(1, -1, side, side)
        resized = F.interpolate(square, size=new, mode="bilinear", align_corners=True)
        position = torch.cat([position[:1], resized[0].flatten(1).T])
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + position.to(tokens.dtype)
    q, k, v = (
        layer(tokens).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
        for layer in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    return pool.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def run_blocks(visual: Any, tokens: Tensor, start: int, stop: int) -> Tensor:
    """Tokens ``[batch, tokens, width]`` through blocks ``start`` to ``stop`` (excluded)."""
    for index in range(start, stop):
        tokens = run_block(visual, tokens, index)
    return tokens


def run_block(visual: Any, tokens: Tensor, index: int) -> Tensor:
    """Tokens ``[batch, tokens, width]`` through one block."""
    block = visual.transformer.resblocks[index]
    if block.attn.batch_first:
        return block(tokens)
    return block(tokens.transpose(0, 1)).transpose(0, 1)


def cell_size(visual: nn.Module, kind: Kind) -> tuple[int, int]:
    """Height and width in pixels of the part of an image that one place of the dense features stands for."""
    if kind == "resnet":
        return 32, 32
    side: Any = visual.patch_size if kind == "vit" else visual.trunk.patch_embed.patch_size  # type: ignore[union-attr]
    return int(side[0]), int(side[1])
