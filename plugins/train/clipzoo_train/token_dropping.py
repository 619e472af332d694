"""FLIP: a part of the patches never enters the transformer, and each step is that much cheaper (Li et al. 2023)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.errors import ConfigError


def kept_tokens(noise: Float[Tensor, "batch tokens"], share: float) -> Int[Tensor, "batch kept"]:
    """Places of the tokens that stay: those with the least noise, ``max(1, int(n (1 - share)))`` of ``n``.

    Args:
        noise: independent uniform numbers, one a token.
        share: of the tokens that go, 0 to 1.

    >>> kept_tokens(torch.tensor([[0.9, 0.1, 0.5, 0.3]]), 0.5)
    tensor([[1, 3]])
    """
    count = max(1, int(noise.shape[1] * (1 - share)))
    return noise.argsort(dim=1)[:, :count]


class TokenDropping(nn.Module):
    """Drops patch tokens in training; in eval mode, or with ``share`` 0, it does nothing.

    Args:
        share: of the patch tokens that go. May be changed between steps: the unmasked tuning that ends FLIP's
            training is ``share = 0``.
        prefix: tokens before the patches (class token, registers), which stay.
    """

    def __init__(self, share: float, prefix: int = 1) -> None:
        """Keep the settings; there are no weights."""
        super().__init__()
        self.share = share
        self.prefix = prefix

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch kept width"]:
        """Some of the tokens, in the order of their noise."""
        if not self.training or self.share == 0:
            return tokens
        first, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        noise = torch.rand(patches.shape[:2], device=tokens.device)
        places = kept_tokens(noise, self.share)
        kept = patches.gather(1, places[..., None].expand(-1, -1, patches.shape[2]))
        return torch.cat([first, kept], 1)


def install_token_dropping(visual: Any, share: float) -> TokenDropping:
    """Put a :class:`TokenDropping` into an open_clip or timm vision transformer, after its positions are added.

    Raises:
        ConfigError: if the image tower has no tokens.
    """
    trunk = getattr(visual, "trunk", visual)
    if hasattr(trunk, "patch_dropout"):
        trunk.patch_dropout = dropping = TokenDropping(share)
        return dropping
    if hasattr(trunk, "patch_drop") and not getattr(trunk, "return_indices", False):
        trunk.patch_drop = dropping = TokenDropping(share, int(getattr(trunk, "num_prefix_tokens", 1)))
        return dropping
    raise ConfigError(
        f"mask=tokens, and the image tower is a {type(trunk).__name__} without patch tokens to drop",
        expected="a vision transformer",
        hint="mask=pixels, or model=small-vit",
    )
