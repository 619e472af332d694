"""The states of a vision transformer after every block, computed so that a training step on a processor is short."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def embedding_and_states(
    visual: Any, pixels: Float[Tensor, "images 3 side side"], dtype: torch.dtype = torch.bfloat16
) -> tuple[Float[Tensor, "images dim"], list[Float[Tensor, "images tokens width"]]]:
    """What ``visual(pixels)`` is, not normalised, and the residual stream after each block, class token first.

    The same function as open_clip's, with the operands of every product side by side in memory: at this size a step
    takes three quarters of the time, because the attention of small heads is bound by strides.

    Args:
        visual: open_clip's ``VisionTransformer`` that pools its class token.
        pixels: normalised.
        dtype: of matrix products; sums, normalisation and the result are fp32.
    """
    count, patch = len(pixels), visual.patch_size[0]
    grid = pixels.shape[-1] // patch
    cut = pixels.to(dtype).view(count, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
    patches = cut.reshape(count, grid * grid, 3 * patch * patch)
    tokens = (patches @ visual.conv1.weight.flatten(1).T.to(dtype)).float()
    first = visual.class_embedding.expand(count, 1, -1)
    state = visual.ln_pre(torch.cat([first, tokens], 1) + visual.positional_embedding)
    states = []
    for block in visual.transformer.resblocks:
        state = _block(block, state, dtype)
        states.append(state)
    return visual.ln_post(state[:, 0]) @ visual.proj, states


def _block(block: Any, state: Tensor, dtype: torch.dtype) -> Tensor:
    count, tokens, width = state.shape
    heads = block.attn.num_heads
    size = width // heads

    def linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(values, weight.to(dtype), bias.to(dtype))

    inside = linear(block.ln_1(state).to(dtype), block.attn.in_proj_weight, block.attn.in_proj_bias)
    apart = inside.view(count, tokens, 3, heads, size).permute(2, 0, 3, 1, 4).contiguous()
    query, key, value = apart.view(3, count * heads, tokens, size).unbind(0)
    mixed = ((query * size**-0.5) @ key.transpose(1, 2)).softmax(-1) @ value
    joined = mixed.view(count, heads, tokens, size).transpose(1, 2).reshape(count, tokens, width)
    state = state + linear(joined, block.attn.out_proj.weight, block.attn.out_proj.bias)
    wide = linear(block.ln_2(state).to(dtype), block.mlp.c_fc.weight, block.mlp.c_fc.bias)
    return state + linear(F.gelu(wide), block.mlp.c_proj.weight, block.mlp.c_proj.bias)
