"""Losses on pixels that keep an optimised image clean: total variation, and staying in range."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo.losses.features import Reduction, check_tensor, exact, reduced


def total_variation_loss(
    images: Float[Tensor, "batch channels height width"], *, reduction: Reduction = "mean"
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""Mean over channels and pixels of :math:`dx^2 + dy^2` (Crowson's CLIP-guided diffusion).

    Differences to the right and downwards; at the last column and row they are zero, and counted.

    Args:
        images: in any range.
        reduction: over images. For guidance sum, so that the gradient of one does not depend on how many there are.

    Raises:
        DataError: if ``images`` is not floating-point ``[batch, channels, height, width]``.
        ConfigError: if ``reduction`` is unknown.

    >>> total_variation_loss(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor(0.5000)
    """
    (images,) = _checked(images)
    across = images.diff(dim=3).square().sum((1, 2, 3))
    down = images.diff(dim=2).square().sum((1, 2, 3))
    return reduced((across + down) / images[0].numel(), reduction)


def total_variation_norm_loss(
    images: Float[Tensor, "batch channels height width"], *, reduction: Reduction = "mean"
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""Sum of the Euclidean norms of four difference images: right, down and both diagonals (CLIPstyler, 2022).

    A norm, so it grows with the square root of the number of pixels; published weight 2e-3 at 512 px.

    Args:
        images: at least 2 x 2 pixels, in any range.
        reduction: over images. The released code takes norms over the batch, which is the same for its batch of one.

    Raises:
        DataError: if ``images`` is not floating-point ``[batch, channels, height, width]``, or below 2 x 2 pixels.
        ConfigError: if ``reduction`` is unknown.

    >>> total_variation_norm_loss(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))  # sqrt(2) + 0 + 1 + 1
    tensor(3.4142)
    """
    (images,) = _checked(images)
    if min(images.shape[-2:]) < 2:
        raise DataError(f"images has the shape {tuple(images.shape)}", expected="at least 2 x 2 pixels")
    right, down = images.diff(dim=3), images.diff(dim=2)
    falling = images[..., 1:, 1:] - images[..., :-1, :-1]
    rising = images[..., 1:, :-1] - images[..., :-1, 1:]
    # differs from the paper: its code takes the norms over the whole batch.
    # The norm of an even image has the gradient zero, not NaN.
    norms = [torch.linalg.vector_norm(part, dim=(1, 2, 3)) for part in (right, down, falling, rising)]
    return reduced(torch.stack(norms).sum(0), reduction)


def range_loss(
    images: Float[Tensor, "batch channels height width"],
    *,
    low: float = -1.0,
    high: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""Mean over channels and pixels of the squared excess, :math:`(x - \mathrm{clamp}(x))^2` (Crowson).

    Args:
        images: a predicted clean image, say.
        low: least value that costs nothing; -1 as published, 0 for clipzoo's images.
        high: greatest value that costs nothing.
        reduction: over images. For guidance sum, so that the gradient of one does not depend on how many there are.

    Raises:
        DataError: if ``images`` is not floating-point ``[batch, channels, height, width]``.
        ConfigError: if ``reduction`` is unknown, or ``low`` is not below ``high``.

    >>> range_loss(torch.tensor([[[[3.0, 0.0]]]]))
    tensor(2.)
    """
    return reduced(_excess(images, low, high).square().mean((1, 2, 3)), reduction)


def saturation_loss(
    images: Float[Tensor, "batch channels height width"],
    *,
    low: float = -1.0,
    high: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""Mean over channels and pixels of the absolute excess, :math:`|x - \mathrm{clamp}(x)|` (Disco Diffusion).

    Args:
        images: the image that is fed to CLIP, say.
        low: least value that costs nothing; -1 as published, 0 for clipzoo's images.
        high: greatest value that costs nothing.
        reduction: over images.

    Raises:
        DataError: if ``images`` is not floating-point ``[batch, channels, height, width]``.
        ConfigError: if ``reduction`` is unknown, or ``low`` is not below ``high``.

    >>> saturation_loss(torch.tensor([[[[3.0, 0.0]]]]))
    tensor(1.)
    """
    return reduced(_excess(images, low, high).abs().mean((1, 2, 3)), reduction)


def _checked(images: Tensor) -> tuple[Tensor, ...]:
    check_tensor("images", images, "[batch, channels, height, width]", 4, 4)
    return exact(images)


def _excess(images: Tensor, low: float, high: float) -> Tensor:
    if not low < high:
        raise ConfigError(f"low is {low} and high is {high}", expected="low below high")
    (images,) = _checked(images)
    return images - images.clamp(low, high)
