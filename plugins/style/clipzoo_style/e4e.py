"""The e4e encoder (Tov et al. 2021): from a photo to a code in W+, with the names of its published checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.errors import DataError, WeightsError
from clipzoo_style.checkpoints import _torch_content
from clipzoo_style.identity import ir_se_trunk
from clipzoo_style.latents import Latent
from clipzoo_style.stylegan2 import EqualLinear

_COARSE, _MIDDLE = 3, 7


class _Head(nn.Module):
    """A map of features down to one style."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(int(math.log2(side))):
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class E4E(nn.Module):
    """IR-SE50 at 256 px, a pyramid of three scales, one head a layer; the first head is the base of all layers.

    Args:
        layers: rows of W+ (18 at 1024 px).
        widths: of the four stages.
        units: in each stage.

    Attributes:
        latent_avg: what is added to the code, if the checkpoint starts from the mean.

    >>> encoder = E4E(8, (16, 16, 16, 32), (1, 1, 1, 1))
    >>> encoder(torch.zeros(1, 3, 256, 256)).shape
    torch.Size([1, 8, 32])
    """

    def __init__(
        self, layers: int, widths: Sequence[int] = (64, 128, 256, 512), units: Sequence[int] = (3, 4, 14, 3)
    ) -> None:
        """Random weights."""
        super().__init__()
        self.input_layer, self.body = ir_se_trunk(widths, units)
        self.taps = [sum(units[:stage]) - 1 for stage in (2, 3, 4)]
        top = widths[-1]
        sides = [16 if layer < _COARSE else 32 if layer < _MIDDLE else 64 for layer in range(layers)]
        self.styles = nn.ModuleList(_Head(top, side) for side in sides)
        self.latlayer1 = nn.Conv2d(widths[2], top, 1)
        self.latlayer2 = nn.Conv2d(widths[1], top, 1)
        self.latent_avg: Tensor | None = None

    def forward(self, images: Float[Tensor, "batch 3 256 256"]) -> Float[Tensor, "batch layers style_dim"]:
        """Codes in W+ of aligned images in [-1, 1]."""
        x = self.input_layer(images)
        found = []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in self.taps:
                found.append(x)
        fine, middle, coarse = found
        second = _added(coarse, self.latlayer1(middle))
        third = _added(second, self.latlayer2(fine))
        rows = [
            head(coarse if layer < _COARSE else second if layer < _MIDDLE else third)
            for layer, head in enumerate(self.styles)
        ]
        base = rows[0]
        codes = torch.stack([base, *(base + row for row in rows[1:])], 1)
        return codes if self.latent_avg is None else codes + self.latent_avg.to(codes)

    @torch.no_grad()
    def invert(self, images: Float[Tensor, "batch 3 height width"]) -> Latent:
        """Codes of aligned images in [0, 1] of any size."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise DataError(
                f"images of the shape {tuple(images.shape)}", expected="[batch, 3, height, width] in [0, 1]"
            )
        small = F.interpolate(images.float(), (256, 256), mode="bilinear", antialias=True, align_corners=False)
        return Latent("w+", self(small * 2 - 1))


def _added(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, large.shape[-2:], mode="bilinear", align_corners=True) + large


def load_e4e(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    units: Sequence[int] = (3, 4, 14, 3),
) -> E4E:
    """An encoder from a checkpoint of e4e: ``{state_dict: {encoder.*, ...}, latent_avg, opts}``.

    Raises:
        WeightsError: if it is none.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no file {path}", expected="a checkpoint of e4e, such as e4e_ffhq_encode.pt")
    content = _torch_content(path)
    try:
        state = {k.removeprefix("encoder."): v for k, v in content["state_dict"].items() if k.startswith("encoder.")}
        layers = len({key.split(".")[1] for key in state if key.startswith("styles.")})
        if layers == 0:
            raise KeyError("styles")
        encoder = E4E(layers, widths, units)
        encoder.load_state_dict(state)
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        text = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is no checkpoint of e4e: {text}", expected="state_dict with encoder.*") from error
    options = content.get("opts")
    starts = options.get("start_from_latent_avg", True) if isinstance(options, Mapping) else True
    mean = content.get("latent_avg")
    if starts and isinstance(mean, Tensor):
        encoder.latent_avg = mean.to(device)
    return encoder.to(device).eval().requires_grad_(False)
