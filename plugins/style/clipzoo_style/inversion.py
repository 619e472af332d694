"""Inversion without an encoder: move a code until its image is the picture that was given."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo.optim import Moment, optimise
from clipzoo_style.encoding import Encoder, seen
from clipzoo_style.latent_optimisation import ramped_rate
from clipzoo_style.latents import Latent
from clipzoo_style.stylegan2 import StyleGAN2


def invert(
    generator: StyleGAN2,
    images: Float[Tensor, "batch 3 height width"],
    clip: Encoder | None = None,
    *,
    steps: int = 200,
    rate: float = 0.05,
    perceptual_weight: float = 0.3,
    mean_weight: float = 2e-3,
    candidates: int = 256,
    on_step: Callable[[Moment], None] | None = None,
) -> tuple[Latent, Float[Tensor, " batch"]]:
    """Codes in W+ whose images are those given.

    Starts from the nearest of many samples, and minimises the squared error of pixels at several scales, one minus the
    cosine in CLIP space, and the distance from the start, so that the code stays where it can be edited.

    Args:
        generator: that the images are to come from.
        images: in [0, 1], aligned as its training images; resized to its size.
        clip: an encoder for the perceptual part, or None.
        steps: of Adam.
        rate: at its highest.
        perceptual_weight: of the part in CLIP space.
        mean_weight: of the mean squared distance from the start.
        candidates: samples that the start is chosen from.
        on_step: called after each step.

    Returns:
        The codes, and the root mean squared error of their images.

    Raises:
        DataError: if the images are none.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise DataError(f"images {tuple(images.shape)}, {images.dtype}", expected="floats [batch, 3, height, width]")
    if candidates < 1 or steps < 1:
        raise ConfigError(f"{steps} steps from {candidates} candidates", expected="one or more")
    size = (generator.size, generator.size)
    wanted = F.interpolate(images.to(generator.device), size, mode="bilinear", antialias=True, align_corners=False)
    wanted = wanted * 2 - 1
    start = _nearest(generator, wanted, candidates)
    code = start.clone().requires_grad_()
    with torch.no_grad():
        target = None if clip is None else seen(clip, wanted, "fixed")

    def objective(step: int) -> dict[str, Tensor]:
        made = generator.render(Latent("w+", code))
        pixels = _scales(made, wanted)
        away = (code - start).square().mean((1, 2))
        losses = {"pixels": pixels, "loss": pixels + mean_weight * away}
        if clip is not None and target is not None:
            losses["perceptual"] = 1 - (seen(clip, made, "fixed") * target).sum(1)
            losses["loss"] = losses["loss"] + perceptual_weight * losses["perceptual"]
        return losses

    found = optimise(
        objective,
        {"code": code},
        lambda step: ramped_rate(step, steps, rate),
        steps,
        evaluate_every=max(1, steps // 10),
        callbacks=() if on_step is None else (on_step,),
    )
    best = Latent("w+", found.best["code"])
    with torch.no_grad():
        error = (generator.synthesize(best) - (wanted + 1) / 2).square().mean((1, 2, 3)).sqrt()
    return best, error


def _scales(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error at full, half and quarter size, a number an image."""
    total = made.new_zeros(len(made))
    for _ in range(3):
        total = total + (made - wanted).square().mean((1, 2, 3))
        made, wanted = F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2)
    return total


@torch.no_grad()
def _nearest(generator: StyleGAN2, wanted: Tensor, candidates: int) -> Tensor:
    """The sample nearest to each image at a sixteenth of the pixels."""
    codes = generator.sample(candidates, seed=0, truncation=1.0)
    small = F.adaptive_avg_pool2d(wanted, 16).flatten(1)
    distances = torch.cat(
        [
            torch.cdist(small, F.adaptive_avg_pool2d(generator.render(codes[rows]), 16).flatten(1))
            for rows in torch.arange(candidates).split(32)
        ],
        1,
    )
    return generator.w_plus(codes[distances.argmin(1)]).clone()
