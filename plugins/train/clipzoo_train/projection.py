"""Projection heads: a matrix, or SimpleCLIP's residual MLP."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualHead(nn.Module):
    r"""SimpleCLIP's projection (Shariatnia 2021): :math:`y = \mathrm{LN}(\mathrm{drop}(F\,\mathrm{GELU}(p)) + p)`.

    With :math:`p = W x + b`. Its outputs have a squared length of about ``dim``, and SimpleCLIP trains them as they
    are; other losses normalise.

    Args:
        width: of what comes in.
        dim: of what goes out.
        dropout: after the second layer.

    >>> import torch
    >>> ResidualHead(48, 32)(torch.zeros(2, 48)).shape
    torch.Size([2, 32])
    """

    def __init__(self, width: int, dim: int, dropout: float = 0.1) -> None:
        """Two layers and a norm."""
        super().__init__()
        self.projection = nn.Linear(width, dim)
        self.fc = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        """The projection of a tower's features."""
        projected = self.projection(features)
        return self.layer_norm(self.dropout(self.fc(F.gelu(projected))) + projected)
