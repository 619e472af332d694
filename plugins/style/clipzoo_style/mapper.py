"""StyleCLIP's latent mapper (Patashnik et al. 2021, section 5): a small network for one text, one pass an image."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.errors import ConfigError, DataError, WeightsError
from clipzoo.losses import global_loss
from clipzoo.optim import Moment, optimise
from clipzoo_style.checkpoints import _torch_content
from clipzoo_style.encoding import Compat, Encoder, prompt_rows, seen
from clipzoo_style.identity import Identity, identity_loss
from clipzoo_style.latents import Latent
from clipzoo_style.ranger import Ranger
from clipzoo_style.stylegan2 import EqualLinear, PixelNorm, StyleGAN2

GROUPS = {"course": (0, 4), "medium": (4, 8), "fine": (8, None)}
"""Rows of W+ that each part moves; the published checkpoints spell the first one so."""

Parts = Literal["course", "medium", "fine"]


def _block(width: int, axis: int) -> nn.Sequential:
    """Four activated layers after a normalisation."""
    return nn.Sequential(PixelNorm(axis), *(EqualLinear(width, width, rate=0.01, activated=True) for _ in range(4)))


class _Part(nn.Module):
    def __init__(self, width: int, axis: int) -> None:
        super().__init__()
        self.mapping = _block(width, axis)

    def forward(self, x: Tensor) -> Tensor:
        return self.mapping(x)


class LatentMapper(nn.Module):
    r"""A network M of a text: :math:`w' = w + s M(w)`, with M the concatenation of a part for each group of layers.

    Args:
        style_dim: width of w.
        parts: groups that are moved; the others stay. Leaving ``"fine"`` out keeps the colours.
        single: one part for all layers in their place.
        widths: of the styles of every layer (:attr:`StyleGAN2.style_layers`), for a mapper in S.
        to_rgb: which of those belong to colours and stay.
        compat: ``"upstream"`` normalises over the layers of a group in place of the features, as the published code
            does by accident and its checkpoints need.
        strength: s; the published value is 0.1.

    >>> mapper = LatentMapper(16)
    >>> mapper.apply(torch.randn(2, 10, 16)).codes.shape, sum(p.numel() for p in LatentMapper(512).parameters())
    (torch.Size([2, 10, 16]), 3151872)
    """

    def __init__(
        self,
        style_dim: int = 512,
        *,
        parts: Sequence[str] = tuple(GROUPS),
        single: bool = False,
        widths: Sequence[int] | None = None,
        to_rgb: Sequence[bool] = (),
        compat: Compat = "fixed",
        strength: float = 0.1,
    ) -> None:
        """Random weights."""
        super().__init__()
        unknown = [part for part in parts if part not in GROUPS]
        if unknown or not parts:
            raise ConfigError(f"parts {list(parts)}", expected=f"one or more of {', '.join(GROUPS)}")
        self.style_dim, self.compat, self.strength, self.single = style_dim, compat, strength, single
        self.parts = tuple(part for part in GROUPS if part in parts)
        self.widths = None if widths is None else tuple(widths)
        axis = 1 if compat == "upstream" else -1
        if self.widths is not None:
            for index, (width, colours) in enumerate(zip(self.widths, to_rgb, strict=True)):
                if not colours:
                    # In S the published code normalises over channels: there is one layer at a time.
                    self.add_module(f"mapper_{index}", _Part(width, -1))
        elif single:
            self.mapping = _block(style_dim, axis)
        else:
            for part in self.parts:
                self.add_module(f"{part}_mapping", _Part(style_dim, axis))

    @classmethod
    def for_generator(cls, generator: StyleGAN2, space: str = "w+", *, seed: int = 0, **settings: Any) -> LatentMapper:
        """A mapper that fits a generator, in W+ or in S, with random weights of a seed."""
        if space == "s":
            layers = generator.style_layers
            settings |= {"widths": [one.channels for one in layers], "to_rgb": [one.to_rgb for one in layers]}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(generator.style_dim, **settings).to(generator.device)

    def forward(self, codes: Tensor) -> Tensor:
        """The movement M of codes in W+ ``[batch, layers, style_dim]``, or in S ``[batch, channels]``."""
        if self.widths is not None:
            moves = []
            for index, rows in enumerate(codes.split(self.widths, 1)):
                part = getattr(self, f"mapper_{index}", None)
                moves.append(torch.zeros_like(rows) if part is None else part(rows))
            return torch.cat(moves, 1)
        if self.single:
            return self.mapping(codes)
        moves = []
        for name, (start, end) in GROUPS.items():
            rows = codes[:, start:end]
            part = getattr(self, f"{name}_mapping", None)
            moves.append(part(rows) if part is not None and rows.shape[1] else torch.zeros_like(rows))
        return torch.cat(moves, 1)

    def apply(self, latent: Latent | Tensor, strength: float | None = None) -> Latent:  # type: ignore[override]
        """The moved codes.

        Args:
            latent: in W+ (or S, for a mapper of S); a bare tensor may be one code ``[layers, style_dim]``.
            strength: in place of the mapper's own.

        Raises:
            DataError: if the codes do not fit.
        """
        if isinstance(latent, Tensor):
            if self.widths is None and latent.ndim == 2:
                latent = latent[None]
            latent = Latent("w+" if self.widths is None else "s", latent)
        wanted = "w+" if self.widths is None else "s"
        width = self.style_dim if self.widths is None else sum(self.widths)
        if latent.space != wanted or latent.codes.shape[-1] != width:
            raise DataError(
                f"a latent in {latent.space} of the shape {tuple(latent.codes.shape)} for a mapper in {wanted}",
                expected=f"[batch, layers, {width}]" if wanted == "w+" else f"[batch, {width}]",
            )
        return latent.moved(self(latent.codes), self.strength if strength is None else strength)

    def fit(
        self,
        generator: StyleGAN2,
        clip: Encoder,
        prompt: str,
        latent: Latent,
        *,
        steps: int = 50_000,
        batch_size: int = 2,
        rate: float = 0.5,
        optimiser: Literal["ranger", "adam"] = "ranger",
        decay: float = 0.0,
        clip_weight: float = 1.0,
        l2: float = 0.8,
        identity: Identity | None = None,
        identity_weight: float = 0.1,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        save_every: int = 2000,
        resume: bool = False,
        on_step: Callable[[Moment], None] | None = None,
    ) -> Mapping[str, Tensor]:
        """Train for a text on many codes, and return the history of the losses.

        Args:
            generator: its weights stay.
            clip: the encoder.
            prompt: the text.
            latent: training codes, such as inversions or samples.
            steps: of the optimiser.
            batch_size: codes a step.
            rate: learning rate (0.5 is for Ranger and the published loss).
            optimiser: Ranger, or Adam.
            decay: share of the steps over which the rate falls to zero at the end; 0 (published): it stays.
            clip_weight: of the agreement.
            l2: of the mean squared movement of the code.
            identity: a face recogniser, if the person is to stay.
            identity_weight: its weight.
            seed: of the order of the codes.
            checkpoint: file with the whole state.
            save_every: steps between saves of it.
            resume: go on from it.
            on_step: called after each step.
        """
        if len(latent) < 1 or batch_size < 1:
            raise DataError(f"{len(latent)} training codes, {batch_size} a step", expected="one or more")
        if not 0 <= decay <= 1:
            raise ConfigError(f"decay is {decay}", expected="a share of the steps, 0 to 1")
        text = prompt_rows(clip, prompt)
        draw = torch.Generator().manual_seed(seed)
        codes = latent.codes.detach()

        def objective(step: int) -> dict[str, Tensor]:
            rows = torch.randint(len(codes), (batch_size,), generator=draw)
            old = Latent(latent.space, codes[rows.to(codes.device)])
            new = self.apply(old)
            image = generator.render(new)
            agreement = global_loss(seen(clip, image, self.compat), text.expand(batch_size, -1))
            losses = {"clip": agreement, "distance": F.mse_loss(new.codes, old.codes)}
            if identity is not None and identity_weight:
                with torch.no_grad():
                    original = generator.render(old)
                losses["identity"] = identity_loss(identity, image, original)
            losses["loss"] = mapper_loss(
                agreement,
                old.codes,
                new.codes,
                losses.get("identity", 0.0),
                clip_weight=clip_weight,
                l2=l2,
                identity_weight=identity_weight,
            )
            return losses

        made = {"ranger": Ranger, "adam": torch.optim.Adam}[optimiser]
        parameters = {name: one.requires_grad_() for name, one in self.named_parameters()}
        found = optimise(
            objective,
            parameters,
            falling_rate(rate, steps, decay) if decay else rate,
            steps,
            optimiser=made,
            evaluate_every=steps,
            checkpoint=checkpoint,
            save_every=save_every if checkpoint is not None else 0,
            resume=resume,
            generators={"order": draw},
            config={
                "prompt": prompt,
                "rate": rate,
                "batch_size": batch_size,
                "l2": l2,
                "optimiser": optimiser,
                "decay": decay,
            },
            callbacks=() if on_step is None else (on_step,),
        )
        self.requires_grad_(False)
        return found.history

    def save(self, path: str | Path) -> Path:
        """Write ``.safetensors``, or ``.pt`` in the layout of the published checkpoints."""
        path = Path(path)
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.state_dict().items()}
        told = {
            "compat": self.compat,
            "strength": self.strength,
            "single": self.single,
            "widths": self.widths,
        }
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(state, path, metadata={"mapper": json.dumps(told)})
        elif path.suffix == ".pt":
            opts = {f"no_{'coarse' if part == 'course' else part}_mapper": part not in self.parts for part in GROUPS}
            opts |= {
                "mapper_type": "SingleMapper" if self.single else "LevelsMapper",
                "work_in_stylespace": self.widths is not None,
            }
            torch.save({"state_dict": {f"mapper.{key}": value for key, value in state.items()}, "opts": opts}, path)
        else:
            raise ConfigError(f"{path.name} for a mapper", expected=".safetensors or .pt")
        return path

    @classmethod
    def load(cls, path: str | Path) -> LatentMapper:
        """A mapper from ``.safetensors``, or from a checkpoint of StyleCLIP.

        Which parts there are is read off its keys, not off the options of the command that trained it.

        Raises:
            WeightsError: if it is no mapper.
        """
        path = Path(path)
        told: dict[str, Any] = {"compat": "upstream"}
        try:
            if path.suffix == ".safetensors":
                with safetensors.safe_open(str(path), framework="pt") as file:
                    told = json.loads((file.metadata() or {})["mapper"])
                    state = {key: file.get_tensor(key) for key in file.keys()}
            else:
                content = _torch_content(path)
                state = {
                    key.removeprefix("mapper."): value
                    for key, value in content["state_dict"].items()
                    if key.startswith("mapper.")
                }
        except (OSError, KeyError, TypeError, AttributeError, ValueError, safetensors.SafetensorError) as error:
            raise WeightsError(
                f"{path} is no latent mapper: {error}", expected="StyleCLIP's .pt, or .safetensors"
            ) from error
        mapper = cls._shaped(state, told, path)
        try:
            mapper.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{path} does not fit a latent mapper: {' '.join(str(error).split())[:200]}") from error
        return mapper.eval().requires_grad_(False)

    @classmethod
    def _shaped(cls, state: Mapping[str, Tensor], told: Mapping[str, Any], path: Path) -> LatentMapper:
        settings = {"compat": told.get("compat", "fixed"), "strength": told.get("strength", 0.1)}
        parts = [part for part in GROUPS if f"{part}_mapping.mapping.1.weight" in state]
        if parts:
            return cls(state[f"{parts[0]}_mapping.mapping.1.weight"].shape[0], parts=parts, **settings)
        if "mapping.1.weight" in state:
            return cls(state["mapping.1.weight"].shape[0], single=True, **settings)
        found = {
            int(m[1]): value.shape[0]
            for key, value in state.items()
            if (m := re.fullmatch(r"mapper_(\d+)\.mapping\.1\.weight", key))
        }
        if not found:
            raise WeightsError(f"{path} holds no part of a latent mapper", expected="course_mapping, mapper_0, ...")
        widths = told.get("widths") or _s_widths(found)
        colours = [index not in found for index in range(len(widths))]
        return cls(widths=widths, to_rgb=colours, **settings)


def falling_rate(rate: float, steps: int, decay: float) -> Callable[[int], float]:
    """A rate that stays, and falls evenly to zero over the last share ``decay`` of the steps.

    >>> [round(falling_rate(2.0, 10, 0.5)(step), 3) for step in (0, 5, 9)]
    [2.0, 2.0, 0.4]
    """
    return lambda step: rate * min(1.0, (1 - step / steps) / decay)


def _s_widths(found: Mapping[int, int]) -> list[int]:
    """Widths of all styles from those of the convolutions: colours are as wide as the convolution before them."""
    widths: list[int] = []
    # The last layer is one of colours, and as wide as the last convolution, which keeps its width.
    for index in range(max(found) + 2):
        after = found.get(index + 1)
        widths.append(found.get(index) or (after if after is not None else widths[-1]))
    return widths


def mapper_loss(
    agreement: Float[Tensor, ""],
    before: Tensor,
    after: Tensor,
    identity: Float[Tensor, ""] | float = 0.0,
    *,
    clip_weight: float = 1.0,
    l2: float = 0.8,
    identity_weight: float = 0.1,
) -> Float[Tensor, ""]:
    r"""A mapper's loss (eq. 3): :math:`\lambda_c L_{CLIP} + \lambda_{L2} \mathrm{mean}(M^2) + \lambda_{ID} L_{ID}`."""
    return clip_weight * agreement + l2 * F.mse_loss(after, before) + identity_weight * identity
