"""StyleCLIP's latent optimisation (Patashnik et al. 2021, section 4): the code itself is moved until CLIP agrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo.losses import global_loss
from clipzoo.optim import Moment, optimise
from clipzoo_style.encoding import Compat, Encoder, prompt_rows, seen
from clipzoo_style.identity import Identity
from clipzoo_style.latents import Latent
from clipzoo_style.stylegan2 import StyleGAN2


def ramped_rate(step: int, steps: int, rate: float = 0.1, ramp_up: float = 0.05, ramp_down: float = 0.25) -> float:
    r"""The learning rate of a step (StyleGAN2's projector): up over the first share, down by a cosine over the last.

    With t = step / steps: :math:`\eta (0.5 - 0.5 \cos(\pi \min(1, (1 - t) / d))) \min(1, t / u)`. The first is zero.

    >>> ramped_rate(0, 300), round(ramped_rate(100, 300), 3)
    (0.0, 0.1)
    """
    t = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / ramp_down))
    return rate * down * min(1.0, t / ramp_up)


@dataclass(frozen=True)
class Edited:
    """Codes before and after an edit.

    Args:
        before: one code an edit, so that rows line up with ``after``.
        after: the edited codes, images outermost, then prompts (or strengths).
        history: name to losses ``[steps, edits]``, where there was an optimisation.
        labels: what was done in each row.
    """

    before: Latent
    after: Latent
    labels: Sequence[str]
    history: Mapping[str, Tensor]


class LatentOptimizer:
    r"""Moves codes so that their images fit a text, and stay near where they began.

    Minimises :math:`D_{CLIP}(G(w), t) + \lambda_{L2} \|w - w_0\|^2 + \lambda_{ID} L_{ID}` (eq. 1); the second term is a
    sum over the code, and the noise of the generator is fixed.

    Args:
        generator: its weights stay as they are.
        clip: the encoder.
        steps: of Adam; the code's default is 300, its notebook's 40.
        rate: learning rate at its highest, see :func:`ramped_rate`.
        l2: weight of the distance from the start; 0.002 to 0.02 are usual. Without it, the edit is free.
        identity: a face recogniser that the person is to be kept for, if there is one.
        identity_weight: its weight (notebook: 0.005).
        space: ``"w+"`` (as published), ``"s"``, in which the styles of the colours stay as they are, or ``"w"``: one
            row for all layers, with fewer ways to please the encoder without showing what was asked for.
        compat: ``"upstream"`` shows CLIP what the published code shows it.
        batch_size: edits at once.

    >>> from clipzoo_style import load_stylegan2
    >>> import clipzoo
    >>> optimizer = LatentOptimizer(load_stylegan2("tiny"), clipzoo.load_clip("tiny"), steps=2)
    >>> optimizer.edit(optimizer.generator.sample(2), ["a smiling face", "an old face"]).after.codes.shape
    torch.Size([4, 10, 96])
    """

    def __init__(
        self,
        generator: StyleGAN2,
        clip: Encoder,
        *,
        steps: int = 300,
        rate: float = 0.1,
        l2: float = 0.008,
        identity: Identity | None = None,
        identity_weight: float = 0.005,
        space: str = "w+",
        compat: Compat = "fixed",
        batch_size: int = 16,
    ) -> None:
        """Keep the settings.

        Raises:
            ConfigError: if one is out of its range.
        """
        if space not in ("w", "w+", "s") or steps < 1 or rate <= 0 or l2 < 0 or batch_size < 1:
            raise ConfigError(
                f"space {space}, {steps} steps, rate {rate}, l2 {l2}, batch_size {batch_size}",
                expected="w, w+ or s, a step or more, a positive rate, no negative weight",
            )
        self.generator, self.clip, self.steps, self.rate, self.l2 = generator, clip, steps, rate, l2
        self.identity, self.identity_weight = identity, identity_weight
        self.space, self.compat, self.batch_size = space, compat, batch_size

    def edit(
        self,
        latent: Latent | Tensor,
        prompts: str | Sequence[str],
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_step: Callable[[Moment], None] | None = None,
    ) -> Edited:
        """Every code with every prompt.

        Args:
            latent: codes; W becomes W+, unless it is W that is searched.
            prompts: texts, each used as it is written.
            checkpoint: folder for the state of each batch, saved every 50 steps.
            resume: go on from there.
            on_step: called after each step.

        Raises:
            DataError: if a code or prompt does not fit.
        """
        latent = self._start(self.generator.latent(latent))
        texts = prompt_rows(self.clip, prompts)
        names = [prompts] if isinstance(prompts, str) else list(prompts)
        start = latent.repeated(len(names)).codes.detach()
        rows = texts.repeat(len(latent), 1)
        after, histories = [], []
        for place in range(0, len(start), self.batch_size):
            part = slice(place, place + self.batch_size)
            file = None if checkpoint is None else Path(checkpoint) / f"optimise-{place}.safetensors"
            codes, history = self._batch(start[part], rows[part], file, resume, on_step)
            after.append(codes)
            histories.append(history)
        joined = {name: torch.cat([history[name] for history in histories], 1) for name in histories[0]}
        return Edited(Latent(latent.space, start), Latent(latent.space, torch.cat(after)), names * len(latent), joined)

    def _start(self, latent: Latent) -> Latent:
        if self.space == "s":
            return self.generator.styles(latent)
        if self.space == "w" and latent.space == "w":
            return latent
        if self.space == "w":
            raise DataError(f"a latent in {latent.space.upper()} for an optimisation in W", hint='space="w+"')
        return Latent("w+", self.generator.w_plus(latent))

    def _batch(
        self,
        start: Tensor,
        texts: Tensor,
        file: Path | None,
        resume: bool,
        on_step: Callable[[Moment], None] | None,
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        code = start.clone().requires_grad_()
        moving = self._moving(start)
        with torch.no_grad():
            before = self.generator.render(Latent(self.space, start)) if self._keeps else None  # type: ignore[arg-type]
            person = None if before is None else self.identity.embed(before)  # type: ignore[union-attr]

        def objective(step: int) -> dict[str, Tensor]:
            now = torch.where(moving, code, start)
            image = self.generator.render(Latent(self.space, now))  # type: ignore[arg-type]
            agreement = global_loss(seen(self.clip, image, self.compat), texts, reduction="none")
            distance = (now - start).square().flatten(1).sum(1)
            losses = {"clip": agreement, "distance": distance, "loss": agreement + self.l2 * distance}
            if person is not None:
                losses["identity"] = 1 - (self.identity.embed(image) * person).sum(1)  # type: ignore[union-attr]
                losses["loss"] = losses["loss"] + self.identity_weight * losses["identity"]
            return losses

        found = optimise(
            objective,
            {"code": code},
            lambda step: ramped_rate(step, self.steps, self.rate),
            self.steps,
            evaluate_every=self.steps,
            checkpoint=file,
            save_every=0 if file is None else 50,
            resume=resume and file is not None and file.is_file(),
            config={"steps": self.steps, "rate": self.rate, "l2": self.l2, "space": self.space, "compat": self.compat},
            callbacks=() if on_step is None else (on_step,),
        )
        return torch.where(moving, found.last["code"], start), found.history

    @property
    def _keeps(self) -> bool:
        return self.identity is not None and self.identity_weight > 0

    def _moving(self, start: Tensor) -> Tensor:
        """Which numbers of a code may move: in S the styles of convolutions alone."""
        moving = torch.ones_like(start[:1], dtype=torch.bool)
        if self.space == "s":
            for layer in self.generator.style_layers:
                if layer.to_rgb:
                    moving[:, layer.span] = False
        return moving
