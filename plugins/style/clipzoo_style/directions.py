"""StyleCLIP's global directions (Patashnik et al. 2021, section 6): what each channel of S does to CLIP."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from clipzoo.data.array_files import read_npy
from clipzoo.errors import ConfigError, DataError, WeightsError
from clipzoo.losses import text_direction
from clipzoo_style.encoding import Compat, Encoder, known_templates, seen, text_features
from clipzoo_style.latent_optimisation import Edited
from clipzoo_style.latents import Latent
from clipzoo_style.pickles import read_array_pickle
from clipzoo_style.stylegan2 import StyleGAN2, StyleLayer

_FORMAT = 1
_AUTO = tuple(round(0.30 - 0.01 * step, 2) for step in range(21))
_SAVE_EVERY = 16


@dataclass(frozen=True)
class Sweep:
    """How a bank is made.

    Args:
        images: that each channel is tried on.
        spread: standard deviations to either side.
        statistics: codes that mean and deviation of each channel are taken of.
        truncation: of all of them.
        cutoff: layers that it acts on.
        most_px: channels of layers up to this resolution are tried.
        seed: of the codes.
        compat: ``"upstream"`` leaves every channel at its mean once it has been tried, as the published code does.
    """

    images: int = 100
    spread: float = 5.0
    statistics: int = 10_000
    truncation: float = 0.7
    cutoff: int = 8
    most_px: int = 128
    seed: int = 5
    compat: Compat = "fixed"

    def __post_init__(self) -> None:
        """Refuse numbers that make no bank."""
        if (
            min(self.images, self.cutoff) < 1
            or self.statistics < 2
            or self.spread <= 0
            or self.compat not in ("fixed", "upstream")
        ):
            raise ConfigError(f"a sweep {self}", expected="one image or more, a positive spread, two codes or more")


class ChannelDirections:
    r"""The bank: for each channel c of S the direction :math:`\Delta i_c` in CLIP space that it moves images along.

    An edit from a neutral text to a target has the relevance :math:`r_c = \langle \Delta i_c, \Delta t \rangle`;
    channels with :math:`|r_c| < \beta` are left alone, the others move by
    :math:`\alpha\, r_c / \max|r| \cdot \sigma_c` (eq. 4).

    Args:
        rows: unit rows ``[channels, dim]``, of the convolutions' channels in order, from the first one on.
        deviation: of every number of S.
        widths: of the styles of all layers.
        to_rgb: which layers are colours; they are not moved.
        model: name of the encoder.
    """

    def __init__(
        self,
        rows: Float[Tensor, "channels dim"],
        deviation: Float[Tensor, " numbers"],
        widths: Sequence[int],
        to_rgb: Sequence[bool],
        model: str = "",
    ) -> None:
        """Check that it fits together.

        Raises:
            DataError: if the bank ends within a layer, or lengths differ.
        """
        self.rows, self.deviation, self.model = rows.float(), deviation.float(), model
        self.widths, self.to_rgb = tuple(int(width) for width in widths), tuple(bool(one) for one in to_rgb)
        ends = np.cumsum([width for width, colours in zip(self.widths, self.to_rgb, strict=True) if not colours])
        if rows.ndim != 2 or len(rows) not in {int(end) for end in ends} or deviation.shape != (sum(self.widths),):
            raise DataError(
                f"a bank of {tuple(rows.shape)} with deviations {tuple(deviation.shape)}",
                expected=f"rows to the end of a layer: {', '.join(map(str, ends))}; {sum(self.widths)} deviations",
            )
        if not bool(torch.isfinite(self.rows).all() and torch.isfinite(self.deviation).all()):
            raise DataError("the bank holds NaN or infinite numbers")

    @property
    def places(self) -> Tensor:
        """Where each row's channel lies in the flat S."""
        return _places(self.widths, self.to_rgb)[: len(self.rows)]

    @classmethod
    def build(
        cls,
        generator: StyleGAN2,
        clip: Encoder,
        *,
        sweep: Sweep | None = None,
        batch_size: int = 64,
        checkpoint: str | Path | None = None,
        progress: Callable[[Iterable[int], int], Iterator[int]] | None = None,
    ) -> ChannelDirections:
        """Try every channel of a generator; the slow part, once for a generator and an encoder.

        Args:
            generator: its images are what is looked at.
            clip: the encoder.
            sweep: how; the published numbers if None.
            batch_size: images at once.
            checkpoint: file that the bank grows in; an interrupted call goes on from it.
            progress: wraps the channels, given them and their number.

        Raises:
            DataError: if the checkpoint is of another sweep.
        """
        return build_banks(
            generator, {"": clip}, sweep=sweep, batch_size=batch_size, checkpoint=checkpoint, progress=progress
        )[""]

    def relevance(self, direction: Float[Tensor, " dim"]) -> Float[Tensor, " channels"]:
        r""":math:`r_c = \langle \Delta i_c, \Delta t \rangle` of every channel.

        Raises:
            DataError: if the direction is of another encoder.
        """
        if direction.shape != self.rows.shape[1:]:
            raise DataError(
                f"a text direction of width {tuple(direction.shape)} for a bank of width {self.rows.shape[1]}",
                expected=f"the encoder that the bank was made with{': ' + self.model if self.model else ''}",
            )
        return self.rows @ direction.to(self.rows)

    def movement(
        self,
        direction: Float[Tensor, " dim"],
        beta: float | Literal["auto"] = "auto",
        *,
        keep: Sequence[Float[Tensor, " dim"]] = (),
    ) -> tuple[Float[Tensor, " numbers"], float, int]:
        r"""The step in S for a text direction.

        Args:
            direction: of the text.
            beta: threshold on :math:`|r_c|`; ``"auto"`` takes the largest of 0.30, 0.29, ..., 0.10 that keeps more
                than 20 channels, and lowers it further where none does.
            keep: directions that are not to change: a channel that tells more of one of them is left alone.

        Returns:
            The step, the beta, and the number of channels that move.

        Raises:
            ConfigError: if no channel is left; the largest beta that leaves one is named.
        """
        relevance = self.relevance(direction)
        allowed = torch.ones_like(relevance, dtype=torch.bool)
        for other in keep:
            allowed &= relevance.abs() >= self.relevance(other).abs()
        most = float(relevance.abs().where(allowed, torch.zeros_like(relevance)).max())
        chosen = self._threshold(relevance, allowed) if beta == "auto" else float(beta)
        kept = allowed & (relevance.abs() >= chosen)
        if not bool(kept.any()):
            rounded = math.floor(most * 10_000) / 10_000
            raise ConfigError(
                f"beta {chosen:g} leaves no channel to move",
                expected=f"at most {rounded:g} for these texts",
                hint=f"beta={rounded:g}, or beta=auto",
            )
        scaled = torch.where(kept, relevance, torch.zeros_like(relevance)) / relevance[kept].abs().max()
        step = torch.zeros_like(self.deviation)
        step[self.places] = scaled * self.deviation[self.places]
        return step, chosen, int(kept.sum())

    @staticmethod
    def _threshold(relevance: Tensor, allowed: Tensor, enough: int = 20) -> float:
        strong = relevance.abs()[allowed].sort(descending=True).values
        for beta in _AUTO:
            if int((strong >= beta).sum()) > enough:
                return beta
        # A small encoder's channels agree less with texts than CLIP's: then the best twenty-one are taken.
        return float(strong[min(enough, len(strong) - 1)]) if len(strong) else 0.0

    def text_direction(
        self, clip: Encoder, neutral: str, target: str, templates: Sequence[str] | None = None
    ) -> Float[Tensor, " dim"]:
        r""":math:`\Delta t`: the target's prototype minus the neutral text's, over templates (the 79 if None)."""
        chosen = known_templates(templates)
        with torch.no_grad():
            return text_direction(
                text_features(clip, neutral, chosen), text_features(clip, target, chosen), "prototype_diff"
            )

    def edit(
        self,
        generator: StyleGAN2,
        clip: Encoder,
        latent: Latent | Tensor,
        neutral: str,
        target: str,
        *,
        alpha: float | Sequence[float] = 3.0,
        beta: float | Literal["auto"] | Sequence[float] = "auto",
        keep: Sequence[tuple[str, str]] = (),
        templates: Sequence[str] | None = None,
    ) -> Edited:
        """Every code with every threshold, at every strength: rows are codes, then thresholds, then strengths.

        Args:
            generator: that the bank was made with.
            clip: that the bank was made with.
            latent: codes in any space.
            neutral: what the images show, such as "a face".
            target: what they are to show, such as "a smiling face".
            alpha: strengths; negative ones move the other way. -10 to 10 are usual.
            beta: one threshold or several, see :meth:`movement`.
            keep: pairs (neutral, target) of what is not to change.
            templates: sentences around the texts.

        Raises:
            DataError: if the generator is another.
            ConfigError: if beta leaves no channel.
        """
        self._check(generator)
        strengths = [float(alpha)] if isinstance(alpha, int | float) else [float(one) for one in alpha]
        thresholds = [beta] if isinstance(beta, int | float | str) else list(beta)
        if not strengths or not thresholds:
            raise ConfigError("no strength or no threshold", expected="alpha and beta, one number or several")
        others = [self.text_direction(clip, *pair, templates) for pair in keep]
        direction = self.text_direction(clip, neutral, target, templates)
        steps, labels = [], []
        for threshold in thresholds:
            step, chosen, count = self.movement(direction, threshold, keep=others)
            steps += [strength * step for strength in strengths]
            labels += [f"alpha {strength:g}, beta {chosen:.3g}, {count} channels" for strength in strengths]
        start = generator.styles(latent)
        before = start.repeated(len(steps))
        moved = before.moved(torch.stack(steps).to(before.codes).repeat(len(start), 1))
        return Edited(before, moved, labels * len(start), {})

    def _check(self, generator: StyleGAN2) -> None:
        own = tuple(layer.channels for layer in generator.style_layers)
        if own != self.widths:
            raise DataError(
                f"the bank is of a generator with {sum(self.widths)} styles, this one has {generator.num_styles}",
                expected="the generator that the bank was made with",
            )

    def save(self, path: str | Path) -> Path:
        """Write the bank as safetensors, in half the bytes of fp32."""
        path = Path(path)
        told = {"format": _FORMAT, "widths": self.widths, "to_rgb": self.to_rgb, "model": self.model}
        content = {"rows": self.rows.half().cpu().contiguous(), "deviation": self.deviation.cpu().contiguous()}
        _write(path, safetensors.torch.save(content, metadata={"bank": json.dumps(told)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> ChannelDirections:
        """A bank that :meth:`save` wrote, or a folder of StyleCLIP's with ``fs3.npy``, ``S`` and ``S_mean_std``.

        Raises:
            WeightsError: if it is neither.
        """
        path = Path(path)
        if path.is_dir():
            return cls._published(path)
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                told = json.loads((file.metadata() or {})["bank"])
                bank = cls(
                    file.get_tensor("rows"), file.get_tensor("deviation"), told["widths"], told["to_rgb"], told["model"]
                )
        except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise WeightsError(
                f"{path} is no bank of directions: {error}",
                expected="a file of ChannelDirections.save, or StyleCLIP's folder",
            ) from error
        return bank

    @classmethod
    def _published(cls, folder: Path) -> ChannelDirections:
        try:
            rows = torch.from_numpy(read_npy(folder / "fs3.npy")).float()
        except (DataError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{folder} holds no readable fs3.npy: {error}", expected="fs3.npy, S, S_mean_std"
            ) from error
        stored, names = read_array_pickle(folder / "S_mean_std"), read_array_pickle(folder / "S")
        try:
            spread = [torch.from_numpy(np.asarray(one)).float().flatten() for one in stored[1]]
            colours = ["RGB" in name for name in names[0]]
        except (TypeError, IndexError, ValueError) as error:
            raise WeightsError(
                f"S or S_mean_std of {folder} hold something else", expected="lists of arrays"
            ) from error
        return cls(rows, torch.cat(spread), [len(one) for one in spread], colours, folder.name)


def bank_rows(features: Float[Tensor, "channels images 2 dim"]) -> Float[Tensor, "channels dim"]:
    r"""Rows of the bank from features of each image with the channel lowered and raised.

    :math:`\Delta i_c = n(\mathrm{mean}\, n(n(f_+) - n(f_-)))`.
    """
    unit = normalize(features.float(), dim=-1)
    return normalize(normalize(unit[:, :, 1] - unit[:, :, 0], dim=-1).mean(1), dim=-1)


def build_banks(
    generator: StyleGAN2,
    clips: Mapping[str, Encoder],
    *,
    sweep: Sweep | None = None,
    batch_size: int = 64,
    checkpoint: str | Path | None = None,
    progress: Callable[[Iterable[int], int], Iterator[int]] | None = None,
) -> dict[str, ChannelDirections]:
    """Banks of several encoders from one sweep: every image is rendered once.

    Raises:
        DataError: if the checkpoint is of another sweep, generator or encoder.
    """
    sweep = sweep or Sweep()
    codes, mean, deviation = sweep_codes(generator, sweep)
    swept = [layer for layer in generator.style_layers if not layer.to_rgb and layer.resolution <= sweep.most_px]
    file = None if checkpoint is None else Path(checkpoint)
    mark = _mark(generator, clips, sweep)
    done = {name: rows for name, rows in _started(file, mark).items()} if file is not None else {}
    rows: dict[str, list[Tensor]] = {name: list(done.get(name, torch.empty(0))) for name in clips}
    channels = [place for layer in swept for place in range(layer.start, layer.start + layer.channels)]
    first = min(map(len, rows.values()))
    steps: Iterable[int] = range(first, len(channels))
    for index in steps if progress is None else progress(steps, len(channels) - first):
        looks = _tried(codes, channels, index, mean, deviation, sweep)
        features = _features(generator, clips, looks, batch_size, sweep.compat)
        for name, found in features.items():
            rows[name].append(bank_rows(found.reshape(1, len(codes), 2, -1))[0].cpu())
        if file is not None and ((index + 1) % _SAVE_EVERY == 0 or index + 1 == len(channels)):
            _write(file, safetensors.torch.save({n: torch.stack(r) for n, r in rows.items()}, {"sweep": mark}))
    widths = [layer.channels for layer in generator.style_layers]
    colours = [layer.to_rgb for layer in generator.style_layers]
    return {
        name: ChannelDirections(torch.stack(found), deviation.cpu(), widths, colours, getattr(clips[name], "name", ""))
        for name, found in rows.items()
    }


@torch.no_grad()
def sweep_codes(generator: StyleGAN2, sweep: Sweep) -> tuple[Tensor, Tensor, Tensor]:
    """Codes that channels are tried on, and mean and deviation of every number of S."""
    draw = torch.Generator().manual_seed(sweep.seed)
    parts = []
    for _ in range(math.ceil(sweep.statistics / 1000)):
        codes = generator.sample(1000, seed=draw, truncation=sweep.truncation, cutoff=sweep.cutoff)
        parts.append(generator.styles(codes).codes)
    every = torch.cat(parts)[: max(sweep.statistics, sweep.images)]
    return every[: sweep.images], every.mean(0), every.std(0, correction=0)


def _tried(
    codes: Tensor, channels: Sequence[int], index: int, mean: Tensor, deviation: Tensor, sweep: Sweep
) -> Float[Tensor, "looks numbers"]:
    """Every code twice: the channel below its mean, and above."""
    base = codes
    if sweep.compat == "upstream" and index:
        base = codes.clone()
        base[:, list(channels[:index])] = mean[list(channels[:index])]
    looks = base[:, None].repeat(1, 2, 1)
    place = channels[index]
    for side, sign in enumerate((-1, 1)):
        looks[:, side, place] = mean[place] + sign * sweep.spread * deviation[place]
    return looks.flatten(0, 1)


@torch.no_grad()
def _features(
    generator: StyleGAN2, clips: Mapping[str, Encoder], looks: Tensor, batch_size: int, compat: Compat
) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {name: [] for name in clips}
    for part in looks.split(batch_size):
        image = generator.render(Latent("s", part))
        for name, clip in clips.items():
            # The bank is made of ordinary images in every version of the code: bytes, resized and normalised.
            found[name].append(seen(clip, image, "fixed"))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _places(widths: Sequence[int], to_rgb: Sequence[bool]) -> Tensor:
    starts = np.cumsum([0, *widths])
    spans = [range(s, s + w) for s, w, colours in zip(starts, widths, to_rgb, strict=False) if not colours]
    return torch.tensor([int(place) for span in spans for place in span])


def _mark(generator: StyleGAN2, clips: Mapping[str, Encoder], sweep: Sweep) -> str:
    digest = hashlib.sha256(repr(sweep).encode())
    for key, value in sorted(generator.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    for name, clip in clips.items():
        digest.update(f"{name}:{getattr(clip, 'fingerprint', '')}".encode())
    return digest.hexdigest()[:16]


def _started(file: Path, mark: str) -> dict[str, Tensor]:
    if not file.is_file():
        return {}
    try:
        with safetensors.safe_open(str(file), framework="pt") as stored:
            told = (stored.metadata() or {}).get("sweep")
            found = {key: stored.get_tensor(key) for key in stored.keys()}
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(
            f"{file} is no unfinished bank, or damaged: {error}", hint="remove it to start again"
        ) from error
    if told != mark:
        raise DataError(
            f"{file} belongs to another sweep, generator or encoder",
            hint="another checkpoint file, or the same settings",
        )
    return found


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def layer_of(layers: Sequence[StyleLayer], place: int) -> StyleLayer:
    """The layer that a number of the flat S belongs to."""
    return next(layer for layer in layers if layer.start <= place < layer.span.stop)


def strongest_channels(
    bank: ChannelDirections, generator: StyleGAN2, direction: Tensor, count: int = 10
) -> list[dict[str, Any]]:
    """The channels that tell most of a text direction, for a table."""
    relevance = bank.relevance(direction)
    rows = []
    for index in relevance.abs().argsort(descending=True)[:count].tolist():
        place = int(bank.places[index])
        layer = layer_of(generator.style_layers, place)
        rows.append(
            {"layer": layer.name, "channel": place - layer.start, "relevance": round(float(relevance[index]), 4)}
        )
    return rows
