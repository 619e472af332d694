"""One feature a patch, in the space of the sentences: the training-free readings of a frozen CLIP.

All of them change the last attention alone. With ``u = ln_1(x)``, ``q, k, v`` its projections, ``s = 1/sqrt(d_head)``
and ``O`` the output projection:

=========== ============================= =========================== ===============================================
mode        attention A                   output of the last block    source
=========== ============================= =========================== ===============================================
vanilla     softmax(s q k)                x + O(Av), then + MLP       CLIP, Radford et al. 2021
maskclip    identity                      O(v)                        MaskCLIP, Zhou et al. 2022
sclip       softmax(s q q) + softmax(s k k)  x + O(Av), then + MLP    SCLIP, Wang et al. 2023
clearclip   softmax(s q q)                O(Av)                       ClearCLIP, Lan et al. 2024
kk          softmax(s k k)                O(Av)                       NACLIP without its neighbourhood
naclip      softmax(s k k + Gaussian)     O(Av)                       NACLIP, Hajimiri et al. 2024
=========== ============================= =========================== ===============================================

``attnpool`` is that of a ResNet: the attention pooling with every location as the query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.encoders.pixels import unit_rows
from clipzoo.encoders.towers import Kind, attention_pool, check_multiple, embed_patches, run_blocks
from clipzoo.errors import ConfigError, DataError, closest_matches

DenseMode = Literal["naclip", "maskclip", "sclip", "clearclip", "kk", "vanilla", "attnpool"]
VIT_MODES = ("naclip", "maskclip", "sclip", "clearclip", "kk", "vanilla")
MODES: dict[Kind, tuple[str, ...]] = {"vit": VIT_MODES, "resnet": ("attnpool",), "map": ("maskclip",)}
"""The modes that each kind of tower has; the first is its default."""

_KEEPS_RESIDUAL = ("vanilla", "sclip")
_SIGMA = 5.0


def check_mode(mode: str | None, kind: Kind, name: str) -> str:
    """The mode, or the default of this kind of tower.

    Raises:
        ConfigError: if no mode is called so, or this tower has none like it.
    """
    if mode is None:
        return MODES[kind][0]
    if mode in MODES[kind]:
        return mode
    known = sorted({known for modes in MODES.values() for known in modes})
    if mode not in known:
        raise ConfigError(
            f'no dense mode called "{mode}"', closest=closest_matches(mode, known), expected=", ".join(MODES[kind])
        )
    towers = {"vit": "a ViT", "resnet": "a ResNet", "map": "a ViT with an attention pooling head"}
    raise ConfigError(
        f'{name} has no dense mode "{mode}": its image tower is {towers[kind]}',
        expected=", ".join(MODES[kind]),
        hint=f"mode={MODES[kind][0]}",
    )


def dense_features(
    visual: Any, pixels: Float[Tensor, "batch 3 height width"], kind: Kind, mode: str
) -> Float[Tensor, "batch rows columns dim"]:
    """Projected features of every patch, not yet normalised.

    Args:
        visual: an open_clip image tower of this ``kind``.
        pixels: normalised as the tower expects; sides are multiples of the patch (of 32 px for a ResNet).
        kind: see :func:`clipzoo.encoders.towers.tower_kind`.
        mode: one of ``MODES[kind]``.

    Raises:
        DataError: if the sides are no multiples.
    """
    if kind == "resnet":
        check_multiple(pixels, 32, 32)
        maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
        return attention_pool(visual.attnpool, maps)[:, 1:].unflatten(1, tuple(maps.shape[-2:]))
    if kind == "map":
        return _pool_each_token(visual, pixels)
    tokens, grid = vit_tokens(visual, pixels, mode)
    return tokens[:, 1:].unflatten(1, grid)


def vit_tokens(
    visual: Any, pixels: Float[Tensor, "batch 3 height width"], mode: str
) -> tuple[Float[Tensor, "batch tokens dim"], tuple[int, int]]:
    """All projected tokens of a ViT, the class token first, and the grid of the others."""
    tokens, grid = embed_patches(visual, pixels)
    blocks = visual.transformer.resblocks
    tokens = run_blocks(visual, tokens, 0, len(blocks) - 1)
    return visual.ln_post(last_block(blocks[-1], tokens, grid, mode)) @ visual.proj, grid


def last_block(
    block: Any, tokens: Float[Tensor, "batch tokens width"], grid: tuple[int, int], mode: str
) -> Float[Tensor, "batch tokens width"]:
    """The last block of a ViT as ``mode`` reads it; see the table of this module."""
    attended = block.ls_1(_attention(block.attn, block.ln_1(tokens), grid, mode))
    if mode not in _KEEPS_RESIDUAL:
        return attended
    tokens = tokens + attended
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def _attention(attention: Any, tokens: Tensor, grid: tuple[int, int], mode: str) -> Tensor:
    heads = attention.num_heads
    projected = F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1))
    if mode == "vanilla":
        mixed = F.scaled_dot_product_attention(q, k, v)
    elif mode == "maskclip":
        mixed = v
    elif mode == "sclip":
        mixed = F.scaled_dot_product_attention(q, q, v) + F.scaled_dot_product_attention(k, k, v)
    elif mode == "clearclip":
        mixed = F.scaled_dot_product_attention(q, q, v)
    elif mode == "kk":
        mixed = F.scaled_dot_product_attention(k, k, v)
    else:
        near = neighbourhood(grid).to(device=k.device, dtype=k.dtype)
        mixed = F.scaled_dot_product_attention(k, k, v, attn_mask=near)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


@lru_cache(maxsize=16)
def neighbourhood(grid: tuple[int, int], sigma: float = _SIGMA) -> Float[Tensor, "tokens tokens"]:
    r"""NACLIP's bias :math:`\exp(-d^2 / 2\sigma^2)` between patches ``d`` apart; 0 for the class token.

    Args:
        grid: rows and columns of patches.
        sigma: width in patches.

    >>> neighbourhood((2, 2))[1, 1].item()
    1.0
    """
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in grid), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], -1)
    squared = (places[:, None] - places[None]).square().sum(-1)
    return F.pad(torch.exp(-squared / (2 * sigma**2)), (1, 0, 1, 0))


def _pool_each_token(visual: Any, pixels: Tensor) -> Tensor:
    """The pooling head of SigLIP with each patch as all that it sees: MaskCLIP's idea for another head."""
    grid = cast(tuple[int, int], tuple(visual.trunk.patch_embed.grid_size))
    expected = tuple(side * cell for side, cell in zip(grid, visual.trunk.patch_embed.patch_size, strict=True))
    if tuple(pixels.shape[-2:]) != expected:
        raise DataError(
            f"images are {pixels.shape[-2]} x {pixels.shape[-1]}, and this tower takes one size only",
            expected=f"{expected[0]} x {expected[1]} pixels",
        )
    tokens = visual.trunk.forward_features(pixels)[:, visual.trunk.num_prefix_tokens :]
    pooled = visual.head(visual.trunk.forward_head(tokens.flatten(0, 1)[:, None]))
    return pooled.unflatten(0, (len(pixels), *grid))


def in_windows(
    encode: Callable[[Float[Tensor, "windows 3 h w"]], Float[Tensor, "windows rows columns dim"]],
    pixels: Float[Tensor, "batch 3 height width"],
    side: int,
    cell: tuple[int, int],
) -> Float[Tensor, "batch rows columns dim"]:
    """Unit rows of the patches of large images: the mean over windows that overlap by half (SCLIP, section 4.1).

    Args:
        encode: gives unit rows of the patches of windows.
        pixels: of any size that the patches tile.
        side: of a window, px, a multiple of both sides of a patch; an image that is smaller is one window.
        cell: height and width of a patch, px.

    Raises:
        DataError: if the patches do not tile the images.
    """
    check_multiple(pixels, *cell)
    tops, lefts = (_begins(length, side, own) for length, own in zip(pixels.shape[-2:], cell, strict=True))
    places = [(top, left) for top in tops for left in lefts]
    cut = torch.cat([pixels[..., top : top + side, left : left + side] for top, left in places])
    found = encode(cut).unflatten(0, (len(places), len(pixels)))
    total = found.new_zeros(len(pixels), pixels.shape[-2] // cell[0], pixels.shape[-1] // cell[1], found.shape[-1])
    for (top, left), rows in zip(places, found, strict=True):
        row, column = top // cell[0], left // cell[1]
        total[:, row : row + rows.shape[1], column : column + rows.shape[2]] += rows
    return unit_rows(total)


def _begins(length: int, side: int, cell: int) -> list[int]:
    """Where windows begin along one side of an image: half a window apart, the last at its end."""
    last = max(0, length - side)
    step = max(1, side // 2 // cell) * cell
    return sorted({*range(0, last, step), last})
