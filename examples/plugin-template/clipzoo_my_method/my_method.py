"""The method, in the order and the symbols of its paper; it can be used without the command line."""

from __future__ import annotations

import torch
from clipzoo import FrozenCLIP
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def similarity(
    clip: FrozenCLIP, pixels: Float[Tensor, "batch 3 height width"], sentence: str
) -> Float[Tensor, " batch"]:
    """The cosine between each image and a sentence (Radford et al. 2021, figure 3 without the temperature).

    Args:
        clip: the encoder.
        pixels: RGB in [0, 1].
        sentence: what to look for.

    Returns:
        One number an image, in [-1, 1].

    Raises:
        DataError: if ``pixels`` has another shape or range.

    >>> import clipzoo
    >>> similarity(clipzoo.load_clip("tiny"), torch.rand(2, 3, 64, 64), "a red circle").shape
    torch.Size([2])
    """
    return clip.encode_image(pixels) @ clip.encode_text([sentence])[0]
