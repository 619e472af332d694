"""Where a frozen CLIP looks: attention of the class token, or Grad-CAM."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.encoders.layers import layer_features
from clipzoo.encoders.towers import Kind, attention_pool, embed_patches, run_block
from clipzoo.errors import ConfigError, DataError


def saliency_maps(
    visual: Any,
    pixels: Float[Tensor, "batch 3 height width"],
    kind: Kind,
    target: Float[Tensor, "batch dim"] | None = None,
) -> Float[Tensor, "batch height width"]:
    """Saliency in [0, 1], one map an image, of the size of ``pixels``.

    A ViT: attention from the class token to the patches, mean over all blocks and heads (CLIPasso, Vinker et al.
    2022, section 4.2), resized bicubically. A ResNet: Grad-CAM (Selvaraju et al. 2017) on ``layer4`` for the
    similarity with ``target``. Each map is stretched to 0 .. 1; a constant one is 0.

    Args:
        visual: an open_clip image tower.
        pixels: normalised as the tower expects.
        kind: see :func:`clipzoo.encoders.towers.tower_kind`.
        target: unit rows that a ResNet's map explains, one an image or one for all; by default the image's own.

    Raises:
        ConfigError: if the tower has no saliency, or a ViT is given a ``target``.
    """
    if kind == "resnet":
        maps = _grad_cam(visual, pixels, target)
    elif kind == "vit":
        if target is not None:
            raise ConfigError("the attention of a ViT does not depend on a target", hint="a ResNet, such as tiny-rn")
        maps = class_attention(visual, pixels)
    else:
        raise ConfigError("this image tower has no class token and no stages", expected="a ViT or a CLIP ResNet")
    # A constant map must not become its own rounding errors, stretched.
    flat = maps.amax((1, 2)) - maps.amin((1, 2)) <= 1e-6 * maps.abs().amax((1, 2))
    maps = torch.where(flat[:, None, None], 0.0, maps)
    maps = F.interpolate(maps[:, None], size=pixels.shape[-2:], mode="bicubic", align_corners=False)[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


@torch.no_grad()
def class_attention(visual: Any, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch rows columns"]:
    """Attention of the class token to each patch, mean over the heads of every block."""
    tokens, grid = embed_patches(visual, pixels)
    blocks = visual.transformer.resblocks
    total = tokens.new_zeros(len(tokens), tokens.shape[1], dtype=torch.float32)
    for index, block in enumerate(blocks):
        attention = block.attn
        projected = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
        q, k, _ = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1))
        scores = (q[:, :, :1] @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        total += scores.softmax(-1).mean(1)[:, 0]
        if index + 1 < len(blocks):
            tokens = run_block(visual, tokens, index)
    return (total / len(blocks))[:, 1:].unflatten(1, grid)


def _grad_cam(visual: Any, pixels: Tensor, target: Tensor | None) -> Tensor:
    with torch.no_grad():
        maps = layer_features(visual, pixels, ["layer4"], "resnet")["layer4"]
    with torch.enable_grad():
        maps = maps.detach().requires_grad_(True)
        # Not normalised: the cosine of a row with itself has no slope.
        embedding = attention_pool(visual.attnpool, maps)[:, 0].float()
        if target is None:
            target = F.normalize(embedding.detach(), dim=-1)
        elif target.shape[-1] != embedding.shape[-1] or (target.ndim == 2 and len(target) not in (1, len(maps))):
            raise DataError(
                f"target has the shape {tuple(target.shape)}", expected=f"[{len(maps)} or 1, {embedding.shape[-1]}]"
            )
        similarity = (embedding * target.to(embedding)).sum()
        (slope,) = torch.autograd.grad(similarity, maps)
    weights = slope.mean((2, 3), keepdim=True)
    return (weights * maps.detach()).sum(1).clamp(min=0).float()
