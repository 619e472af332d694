"""A latent code that knows its space: W, W+ or S."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from clipzoo.errors import DataError

Space = Literal["w", "w+", "s"]


@dataclass(frozen=True)
class Latent:
    """Codes of one space.

    Args:
        space: ``"w"`` ``[batch, style_dim]``, ``"w+"`` ``[batch, layers, style_dim]``, or ``"s"`` ``[batch, channels]``
            with the styles of all layers after one another, in the order of :attr:`StyleGAN2.style_layers`.
        codes: the numbers.

    >>> Latent("w", torch.zeros(2, 8)).moved(torch.ones(2, 8), 0.5).codes.mean().item()
    0.5
    """

    space: Space
    codes: Tensor

    def __post_init__(self) -> None:
        """Refuse codes with the wrong number of axes."""
        axes = {"w": 2, "w+": 3, "s": 2}.get(self.space)
        if axes is None or not self.codes.is_floating_point() or self.codes.ndim != axes:
            raise DataError(
                f'a latent of the space "{self.space}" has the shape {tuple(self.codes.shape)}, {self.codes.dtype}',
                expected="floats: w [batch, style_dim], w+ [batch, layers, style_dim] or s [batch, channels]",
            )

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Latent:
        return replace(self, codes=self.codes[rows])

    def moved(self, direction: Tensor, strength: float | Tensor = 1.0) -> Latent:
        """``codes + strength * direction``."""
        return replace(self, codes=self.codes + strength * direction)

    def to(self, *args: object) -> Latent:
        """As :meth:`torch.Tensor.to`."""
        return replace(self, codes=self.codes.to(*args))

    def detached(self) -> Latent:
        """Without history."""
        return replace(self, codes=self.codes.detach())

    def repeated(self, times: int) -> Latent:
        """Every code ``times`` times, its copies beside one another."""
        return replace(self, codes=self.codes.repeat_interleave(times, 0))


def joined(latents: Sequence[Latent]) -> Latent:
    """Latents of one space, after one another.

    Raises:
        DataError: if their spaces differ, or there is none.
    """
    spaces = {latent.space for latent in latents}
    if len(spaces) != 1:
        raise DataError(f"latents of the spaces {', '.join(sorted(spaces)) or 'none'}", expected="one space")
    return Latent(latents[0].space, torch.cat([latent.codes for latent in latents]))
