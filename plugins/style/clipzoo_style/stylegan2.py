"""StyleGAN2 (Karras et al. 2020, config f) in plain PyTorch: no compiled operator, any size, W, W+ and S.

Modules carry the names of the rosinality layout, so that a state dict in it loads as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipzoo.errors import ConfigError, DataError
from clipzoo.images.pixels import clamp_with_gradient
from clipzoo_style.latents import Latent

Noise = Literal["fixed", "fresh", "none"]

_MEAN_SAMPLES = 4096
_LEAKY = 0.2
_EPS = 1e-8


_MARK = "clipzoo_space"


def _as_w(w: Tensor) -> Tensor:
    """Mark rows of W: as many of them as the generator has layers look like one code in W+."""
    setattr(w, _MARK, "w")
    return w


class PixelNorm(nn.Module):
    r""":math:`x / \sqrt{\mathrm{mean}(x^2) + 10^{-8}}` over one axis."""

    def __init__(self, axis: int = 1) -> None:
        """Normalise over ``axis``."""
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with a second moment of one."""
        return x * torch.rsqrt(x.square().mean(self.axis, keepdim=True) + _EPS)


class EqualLinear(nn.Module):
    r"""A linear layer whose weight is scaled at run time: :math:`x (W m / \sqrt{in})^\top + b m`, then leaky ReLU."""

    def __init__(
        self, width_in: int, width_out: int, *, bias: float = 0.0, rate: float = 1.0, activated: bool = False
    ) -> None:
        """Weights from N(0, 1) / ``rate``, where ``rate`` is the factor m on the layer's learning rate."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width_out, width_in) / rate)
        self.bias = nn.Parameter(torch.full((width_out,), float(bias)))
        self.rate = rate
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        """Rows of width ``width_out``."""
        y = F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)
        return F.leaky_relu(y, _LEAKY) * math.sqrt(2) if self.activated else y


class _Bias(nn.Module):
    """Bias, leaky ReLU, gain of sqrt 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), _LEAKY) * math.sqrt(2)


class _NoiseStrength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def _smoothed(x: Tensor, pad: tuple[int, int]) -> Tensor:
    """The 4 x 4 filter [1, 3, 3, 1] with a gain of 4, after padding each side by ``pad``."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=torch.float32) / 4
    kernel = torch.outer(taps, taps).to(x.dtype).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=x.shape[1])


def _upsampled(x: Tensor) -> Tensor:
    """Twice the size: zeros between the pixels, then the filter."""
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, height, 2, width, 2)
    spread[:, :, :, 0, :, 0] = x
    return _smoothed(spread.reshape(batch, channels, 2 * height, 2 * width), (2, 1))


class ModulatedConv(nn.Module):
    r"""A convolution whose input channels are scaled by a style, and whose output is brought back to unit variance.

    With the style s and :math:`W' = W s / \sqrt{C_{in} k^2}`, each output channel is divided by
    :math:`\sqrt{\sum W'^2 + 10^{-8}}` (eq. 1 to 3 of the paper). Scaling input and output in place of the weights
    is the same number without a convolution per image; the sum is always in fp32.
    """

    def __init__(
        self, width_in: int, width_out: int, side: int, style_dim: int, *, demodulate: bool = True, up: bool = False
    ) -> None:
        """Weights from N(0, 1); styles start at one."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, width_out, width_in, side, side))
        self.modulation = EqualLinear(style_dim, width_in, bias=1.0)
        self.demodulate = demodulate
        self.up = up

    def forward(self, x: Tensor, style: Float[Tensor, "batch width_in"]) -> Tensor:
        """``[batch, width_out, height, width]``, twice as high and wide if it upsamples."""
        weight = self.weight[0] / math.sqrt(self.weight[0, 0].numel())
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1).to(x.dtype), stride=2)
            x = _smoothed(x, (1, 1))
        else:
            x = F.conv2d(x, weight.to(x.dtype), padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = style.float().square() @ weight.float().square().sum((2, 3)).T
            x = x * torch.rsqrt(power + _EPS)[:, :, None, None].to(x.dtype)
        return x


class _StyledConv(nn.Module):
    def __init__(self, width_in: int, width_out: int, style_dim: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(width_in, width_out, 3, style_dim, up=up)
        self.noise = _NoiseStrength()
        self.activate = _Bias(width_out)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None, clamp: float | None) -> Tensor:
        x = self.conv(x, style)
        if noise is not None:
            x = x + self.noise.weight.to(x.dtype) * noise.to(x.dtype)
        return _limited(self.activate(x), clamp)


class _ToRGB(nn.Module):
    def __init__(self, width: int, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(width, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, clamp: float | None) -> Tensor:
        return _limited(self.conv(x, style).float() + self.bias, clamp)


def _limited(x: Tensor, clamp: float | None) -> Tensor:
    return x if clamp is None else x.clamp(-clamp, clamp)


class _Start(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, width, 4, 4))


@dataclass(frozen=True)
class StyleLayer:
    """One modulated convolution.

    Args:
        name: ``conv1``, ``to_rgb1``, ``convs.3``, ``to_rgbs.1``, as in the state dict.
        w_index: which row of W+ it reads.
        channels: width of its style.
        resolution: side of its output, px.
        to_rgb: whether it writes colours.
        start: where its style begins in the flat S.
    """

    name: str
    w_index: int
    channels: int
    resolution: int
    to_rgb: bool
    start: int

    @property
    def span(self) -> slice:
        """Its part of the flat S."""
        return slice(self.start, self.start + self.channels)


def config_f_channels(size: int, multiplier: int = 2, most: int = 512) -> dict[int, int]:
    """Channels at each resolution of config f: ``min(16384 * multiplier / resolution, most)``.

    >>> config_f_channels(256)
    {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
    """
    return {side: min(16384 * multiplier // side, most) for side in _resolutions(size)}


def _resolutions(size: int) -> list[int]:
    if size < 8 or size & (size - 1):
        raise ConfigError(f"a generator of {size} px", expected="a power of two, 8 or more: 32, 64, ..., 1024")
    return [2**power for power in range(2, size.bit_length())]


class StyleGAN2(nn.Module):
    """The generator: a mapping network from z to w, and a synthesis network from styles to an image.

    Args:
        size: side of the images, px: a power of two.
        style_dim: width of w.
        z_dim: width of z; ``style_dim`` if None.
        mapping_layers: depth of the mapping network.
        channels: width at each resolution from 4 px on; config f's if None.
        label_dim: classes of a conditional model; 0 for none.
        clamp: bound on every activation, as some published models were trained with.

    Attributes:
        dtype: arithmetic of the synthesis network; ``torch.bfloat16`` keeps styles, demodulation and colours in fp32.
        checkpointing: recompute each resolution in the backward pass in place of keeping its activations.

    >>> generator = StyleGAN2(32, style_dim=16, mapping_layers=2, channels={4: 8, 8: 8, 16: 8, 32: 8})
    >>> w = generator.map(torch.randn(2, 16))
    >>> generator.synthesize(w).shape, generator.styles(w).space
    (torch.Size([2, 3, 32, 32]), 's')
    """

    w_mean: Tensor

    def __init__(
        self,
        size: int,
        *,
        style_dim: int = 512,
        z_dim: int | None = None,
        mapping_layers: int = 8,
        channels: Mapping[int, int] | None = None,
        label_dim: int = 0,
        clamp: float | None = None,
    ) -> None:
        """Random weights."""
        super().__init__()
        sides = _resolutions(size)
        widths = dict(channels) if channels is not None else config_f_channels(size)
        if sorted(widths) != sides:
            raise ConfigError(f"channels for {sorted(widths)} px", expected=f"one width for each of {sides}")
        self.size, self.style_dim, self.z_dim = size, style_dim, z_dim or style_dim
        self.label_dim, self.clamp, self.channels = label_dim, clamp, widths
        self.dtype, self.checkpointing = torch.float32, False
        self.name = f"stylegan2-{size}"
        first = self.z_dim + (style_dim if label_dim else 0)
        self.embed = EqualLinear(label_dim, style_dim) if label_dim else None
        self.style = nn.Sequential(
            PixelNorm(),
            *(
                EqualLinear(first if depth == 0 else style_dim, style_dim, rate=0.01, activated=True)
                for depth in range(mapping_layers)
            ),
        )
        self.input = _Start(widths[4])
        self.conv1 = _StyledConv(widths[4], widths[4], style_dim)
        self.to_rgb1 = _ToRGB(widths[4], style_dim)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for before, side in pairwise(sides):
            self.convs.append(_StyledConv(widths[before], widths[side], style_dim, up=True))
            self.convs.append(_StyledConv(widths[side], widths[side], style_dim))
            self.to_rgbs.append(_ToRGB(widths[side], style_dim))
        self.noises = nn.Module()
        for index in range(2 * len(sides) - 1):
            side = 2 ** ((index + 5) // 2)
            self.noises.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))
        self.register_buffer("w_mean", torch.full((style_dim,), float("nan")), persistent=False)
        self.style_layers = self._layers()

    def _layers(self) -> tuple[StyleLayer, ...]:
        modules: list[tuple[str, int, _StyledConv | _ToRGB, int]] = [
            ("conv1", 0, self.conv1, 4),
            ("to_rgb1", 1, self.to_rgb1, 4),
        ]
        for j, rgb in enumerate(self.to_rgbs):
            side = 8 * 2**j
            modules.append((f"convs.{2 * j}", 2 * j + 1, self.convs[2 * j], side))  # type: ignore[arg-type]
            modules.append((f"convs.{2 * j + 1}", 2 * j + 2, self.convs[2 * j + 1], side))  # type: ignore[arg-type]
            modules.append((f"to_rgbs.{j}", 2 * j + 3, rgb, side))  # type: ignore[arg-type]
        layers, start = [], 0
        for name, index, module, side in modules:
            width = module.conv.weight.shape[2]
            layers.append(StyleLayer(name, index, width, side, isinstance(module, _ToRGB), start))
            start += width
        return tuple(layers)

    @property
    def num_layers(self) -> int:
        """Rows of W+: 18 at 1024 px."""
        return 2 * int(math.log2(self.size)) - 2

    @property
    def num_styles(self) -> int:
        """Numbers in S: 9088 at 1024 px, config f."""
        return self.style_layers[-1].span.stop

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.input.input.device

    def map(
        self, z: Float[Tensor, "batch z_dim"], labels: Float[Tensor, "batch label_dim"] | None = None
    ) -> Float[Tensor, "batch style_dim"]:
        """The mapping network: z from N(0, I) to w.

        Args:
            z: seeds.
            labels: one-hot rows, for a conditional model alone.

        Raises:
            DataError: if shapes do not fit, or labels are missing or not wanted.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise DataError(f"z has the shape {tuple(z.shape)}", expected=f"[batch, {self.z_dim}]")
        if self.embed is None:
            if labels is not None:
                raise DataError("labels were given to a generator without classes", hint="leave labels out")
            return _as_w(self.style(z))
        if labels is None or tuple(labels.shape) != (len(z), self.label_dim):
            given = None if labels is None else tuple(labels.shape)
            raise DataError(
                f"labels {given} for a generator conditioned on {self.label_dim} classes",
                expected=f"one-hot rows [{len(z)}, {self.label_dim}]",
                hint=f"torch.nn.functional.one_hot(classes, {self.label_dim}).float()",
            )
        norm = self.style[0]
        return _as_w(self.style[1:](torch.cat([norm(z), norm(self.embed(labels))], 1)))

    @torch.no_grad()
    def set_mean(self, samples: int = _MEAN_SAMPLES, seed: int = 0) -> StyleGAN2:
        """Estimate the mean of w from ``samples`` seeds; for checkpoints that carry none."""
        draw = torch.Generator().manual_seed(seed)
        z = torch.randn(samples, self.z_dim, generator=draw).to(self.device)
        labels = None
        if self.label_dim:
            labels = F.one_hot(torch.arange(samples) % self.label_dim, self.label_dim).float().to(self.device)
        self.w_mean.copy_(
            torch.cat([self.map(part, None if labels is None else labels[: len(part)]) for part in z.split(512)]).mean(
                0
            )
        )
        return self

    def sample(
        self, count: int, *, seed: int | torch.Generator = 0, truncation: float = 0.7, cutoff: int | None = None
    ) -> Latent:
        """``count`` codes in W+ (W without ``cutoff``), truncated towards the mean."""
        draw = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.z_dim, generator=draw).to(self.device)
        labels = None
        if self.label_dim:
            classes = torch.randint(self.label_dim, (count,), generator=draw)
            labels = F.one_hot(classes, self.label_dim).float().to(self.device)
        with torch.no_grad():
            return self.truncate(Latent("w", self.map(z, labels)), truncation, cutoff)

    def truncate(self, latent: Latent | Tensor, psi: float, cutoff: int | None = None) -> Latent:
        r"""Pull codes towards the mean: :math:`\bar w + \psi (w - \bar w)`, in the first ``cutoff`` layers."""
        latent = self.latent(latent)
        if latent.space == "s":
            raise DataError("truncation of a latent in S", expected="W or W+: S has no published mean")
        if bool(torch.isnan(self.w_mean).any()):
            self.set_mean()
        mean = self.w_mean.to(latent.codes)
        if cutoff is None:
            return Latent(latent.space, mean + psi * (latent.codes - mean))
        codes = self.w_plus(latent)
        shrunk = mean + psi * (codes - mean)
        inside = (torch.arange(self.num_layers, device=codes.device) < cutoff)[None, :, None]
        return Latent("w+", torch.where(inside, shrunk, codes))

    def latent(self, value: Latent | Tensor | Sequence[Tensor]) -> Latent:
        """A typed latent of this generator, from a bare tensor too.

        A bare tensor is W+ if it is ``[batch, layers, style_dim]`` or ``[layers, style_dim]`` (one code), W if it is
        ``[batch, style_dim]`` or ``[style_dim]``, S if it is ``[batch, channels]`` or a list with the style of every
        layer, each ``[batch, width]`` or ``[batch, 1, width, 1, 1]``. What :meth:`map` returns is W whatever its
        length; as many other rows of W as there are layers need ``Latent("w", rows)``.

        Raises:
            DataError: if it is none of these.
        """
        if isinstance(value, Latent):
            self._check(value)
            return value
        if isinstance(value, Tensor):
            shape, layers, dim = tuple(value.shape), self.num_layers, self.style_dim
            if value.is_floating_point():
                if getattr(value, _MARK, "") == "w" and shape[1:] == (dim,):
                    return Latent("w", value)
                if shape[-2:] == (layers, dim) and value.ndim in (2, 3):
                    return Latent("w+", value if value.ndim == 3 else value[None])
                if value.ndim in (1, 2) and shape[-1] == dim:
                    return Latent("w", value if value.ndim == 2 else value[None])
                if value.ndim == 2 and shape[1] == self.num_styles:
                    return Latent("s", value)
        elif isinstance(value, Sequence) and value and all(isinstance(part, Tensor) for part in value):
            rows = [part.reshape(len(part), -1) for part in value]
            if [row.shape[1] for row in rows] == [layer.channels for layer in self.style_layers]:
                return Latent("s", torch.cat(rows, 1))
            shape = tuple(row.shape[1] for row in rows)
        else:
            shape = ()
        other = ""
        if len(shape) in (2, 3) and shape[-1] == self.style_dim and shape[-2] in range(8, 19):
            other = f"; {shape[-2]} layers are those of a generator of {2 ** (shape[-2] // 2 + 1)} px"
        raise DataError(
            f"a latent has the shape {shape or type(value).__name__}{other}",
            expected=f"W+ [batch, {self.num_layers}, {self.style_dim}], W [batch, {self.style_dim}], "
            f"or S [batch, {self.num_styles}], for {self.name} of {self.size} px",
        )

    def _check(self, latent: Latent) -> None:
        ends = {"w": (self.style_dim,), "w+": (self.num_layers, self.style_dim), "s": (self.num_styles,)}
        if tuple(latent.codes.shape[1:]) != ends[latent.space]:
            raise DataError(
                f"a latent in {latent.space.upper()} has the shape {tuple(latent.codes.shape)}",
                expected=f"[batch, {', '.join(map(str, ends[latent.space]))}] for {self.name} of {self.size} px",
            )

    def w_plus(self, latent: Latent | Tensor) -> Float[Tensor, "batch layers style_dim"]:
        """The code in W+.

        Raises:
            DataError: if it lies in S, from which there is no way back.
        """
        latent = self.latent(latent)
        if latent.space == "s":
            raise DataError("a latent in S has no W+", expected="W or W+")
        return latent.codes if latent.space == "w+" else latent.codes[:, None].expand(-1, self.num_layers, -1)

    def styles(self, latent: Latent | Tensor | Sequence[Tensor]) -> Latent:
        """The code in S: the output of every layer's affine map, without the factor that NVIDIA's toRGB applies."""
        latent = self.latent(latent)
        if latent.space == "s":
            return latent
        rows = self.w_plus(latent)
        parts = [self._module(layer).conv.modulation(rows[:, layer.w_index]) for layer in self.style_layers]
        return Latent("s", torch.cat(parts, 1))

    def split_styles(self, latent: Latent | Tensor) -> list[Float[Tensor, "batch width"]]:
        """The style of each layer, in the order of :attr:`style_layers`."""
        codes = self.styles(latent).codes
        return [codes[:, layer.span] for layer in self.style_layers]

    def _module(self, layer: StyleLayer) -> Any:
        return self.get_submodule(layer.name)

    def synthesize(
        self,
        latent: Latent | Tensor | Sequence[Tensor],
        noise: Noise | Sequence[Tensor] = "fixed",
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch 3 size size"]:
        """Images in [0, 1].

        Where a value is cut at 0 or 1 its gradient still passes if it leads back inside.

        Args:
            latent: codes in W, W+ or S, see :meth:`latent`.
            noise: ``"fixed"`` (the checkpoint's), ``"fresh"``, ``"none"``, or one ``[1 or batch, 1, h, w]`` a layer.
            generator: of fresh noise.

        Raises:
            DataError: if the latent or the noise does not fit.
        """
        return clamp_with_gradient((self.render(latent, noise, generator) + 1) / 2)

    def render(
        self,
        latent: Latent | Tensor | Sequence[Tensor],
        noise: Noise | Sequence[Tensor] = "fixed",
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch 3 size size"]:
        """As :meth:`synthesize`, as the network gives it: about [-1, 1], not cut."""
        styles = self.split_styles(self.latent(latent))
        maps = self._noises(noise, len(styles[0]), generator)
        x = self.input.input.to(self.dtype).expand(len(styles[0]), -1, -1, -1)
        x = self.conv1(x, styles[0], maps[0], self.clamp)
        image = self.to_rgb1(x, styles[1], self.clamp)
        for j in range(len(self.to_rgbs)):
            arguments = (j, x, image, *styles[3 * j + 2 : 3 * j + 5], *maps[2 * j + 1 : 2 * j + 3])
            if self.checkpointing and torch.is_grad_enabled():
                x, image = checkpoint(self._block, *arguments, use_reentrant=False)  # type: ignore[misc]
            else:
                x, image = self._block(*arguments)
        return image

    def _block(
        self, j: int, x: Tensor, image: Tensor, up: Tensor, same: Tensor, rgb: Tensor, *noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = self.convs[2 * j](x, up, noise[0], self.clamp)
        x = self.convs[2 * j + 1](x, same, noise[1], self.clamp)
        return x, self.to_rgbs[j](x, rgb, self.clamp) + _upsampled(image)

    def _noises(
        self, noise: Noise | Sequence[Tensor], batch: int, generator: torch.Generator | None
    ) -> Sequence[Tensor | None]:
        fixed = [getattr(self.noises, f"noise_{index}") for index in range(self.num_layers - 1)]
        if noise == "fixed":
            return fixed
        if noise == "none":
            return [None] * len(fixed)
        if noise == "fresh":
            device = self.device if generator is None else generator.device
            return [
                torch.randn(batch, *one.shape[1:], generator=generator, device=device).to(self.device) for one in fixed
            ]
        if isinstance(noise, str) or len(noise) != len(fixed):
            raise DataError(
                f"noise {noise!r}" if isinstance(noise, str) else f"{len(noise)} noise maps",
                expected=f"fixed, fresh, none, or {len(fixed)} maps",
            )
        for index, (given, own) in enumerate(zip(noise, fixed, strict=True)):
            if given.shape[-2:] != own.shape[-2:] or given.ndim != 4:
                raise DataError(
                    f"noise map {index} has the shape {tuple(given.shape)}",
                    expected=f"[batch, 1, {own.shape[-2]}, {own.shape[-1]}]",
                )
        return list(noise)
