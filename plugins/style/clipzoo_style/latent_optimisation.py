"""StyleCLIP's latent optimisation (Patashnik et al. 2021, section 4): the code itself is moved until CLIP agrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo.losses import directional_loss, global_loss, text_direction
from clipzoo.optim import Moment, optimise
from clipzoo_style.encoding import Compat, Encoder, known_templates, prompt_rows, seen, sentences_of, text_features
from clipzoo_style.identity import Identity
from clipzoo_style.latents import Latent
from clipzoo_style.stylegan2 import StyleGAN2

_JITTER_SAMPLES, _JITTER_SEED = 512, 0
_NEAR = 0.3
"""Changes of an embedding shorter than this count less: with less, the first step would outweigh all others in Adam."""


def ramped_rate(step: int, steps: int, rate: float = 0.1, ramp_up: float = 0.05, ramp_down: float = 0.25) -> float:
    r"""The learning rate of a step (StyleGAN2's projector): up over the first share, down by a cosine over the last.

    With t = step / steps: :math:`\eta (0.5 - 0.5 \cos(\pi \min(1, (1 - t) / d))) \min(1, t / u)`. The first is zero.

    >>> ramped_rate(0, 300), round(ramped_rate(100, 300), 3)
    (0.0, 0.1)
    """
    t = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / ramp_down))
    return rate * down * min(1.0, t / ramp_up)


def jitter_size(step: int, steps: int, size: float, until: float = 1.2) -> float:
    r"""How large the noise on a code is: :math:`s \max(0, 1 - t / u)`, with t = step / steps.

    StyleGAN2's projector does likewise, with a square. Here some is left at the end.

    >>> jitter_size(0, 100, 1.0), round(jitter_size(100, 100, 1.0), 3)
    (1.0, 0.167)
    """
    return size * max(0.0, 1 - step / steps / until)


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
        space: ``"w+"`` (as published), ``"s"``, in which the styles of the colours stay as they are, or ``"w"``: the
            same movement for all layers, with fewer ways to please the encoder without showing what was asked for.
        neutral: what the codes show now. With it, the loss is the directional one (StyleGAN-NADA), from the image of
            the unmoved code to that of the moved one, under the same jitter. Not in the published code.
        templates: sentences around neutral text and prompts, for the directional loss; the 79 if None.
        jitter: size of the noise that is added to a code while it is moved, in differences of samples (of truncation
            0.7) from their mean; it falls by :func:`jitter_size`. It helps over plateaus, such as that of a
            hat that is not there at all, and what only just pleases the encoder does not survive it. With jitter,
            codes move in units of the samples' standard deviations, and rate and l2 are in these. Not in the
            published code.
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
        neutral: str = "",
        templates: Sequence[str] | None = None,
        jitter: float = 0.0,
        compat: Compat = "fixed",
        batch_size: int = 16,
    ) -> None:
        """Keep the settings.

        Raises:
            ConfigError: if one is out of its range.
        """
        if space not in ("w", "w+", "s") or steps < 1 or rate <= 0 or min(l2, jitter) < 0 or batch_size < 1:
            raise ConfigError(
                f"space {space}, {steps} steps, rate {rate}, l2 {l2}, jitter {jitter}, batch_size {batch_size}",
                expected="w, w+ or s, a step or more, a positive rate, no negative weight or jitter",
            )
        self.generator, self.clip, self.steps, self.rate, self.l2 = generator, clip, steps, rate, l2
        self.identity, self.identity_weight = identity, identity_weight
        self.neutral, self.templates = neutral, templates
        self.space, self.jitter, self.compat, self.batch_size = space, jitter, compat, batch_size

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
            latent: codes; W becomes W+, unless it is W that is searched. Codes in W+ stay there, and move by a row.
            prompts: texts, each used as it is written.
            checkpoint: folder for the state of each batch, saved every 50 steps.
            resume: go on from there.
            on_step: called after each step.

        Raises:
            DataError: if a code or prompt does not fit.
        """
        latent = self._start(self.generator.latent(latent))
        texts = self._texts(prompts)
        names = [prompts] if isinstance(prompts, str) else list(prompts)
        start = latent.repeated(len(names)).codes.detach()
        rows = texts.repeat(len(latent), 1)
        after, histories = [], []
        for place in range(0, len(start), self.batch_size):
            part = slice(place, place + self.batch_size)
            file = None if checkpoint is None else Path(checkpoint) / f"optimise-{place}.safetensors"
            codes, history = self._batch(Latent(latent.space, start[part]), rows[part], file, resume, on_step)
            after.append(codes)
            histories.append(history)
        joined = {name: torch.cat([history[name] for history in histories], 1) for name in histories[0]}
        return Edited(Latent(latent.space, start), Latent(latent.space, torch.cat(after)), names * len(latent), joined)

    def _start(self, latent: Latent) -> Latent:
        if self.space == "s":
            return self.generator.styles(latent)
        if self.space == "w" and latent.space == "s":
            raise DataError("a latent in S for an optimisation in W", hint='space="s"')
        if self.space == "w" and latent.space == "w":
            return latent
        return Latent("w+", self.generator.w_plus(latent))

    def _texts(self, prompts: str | Sequence[str]) -> Tensor:
        """A row for each prompt: its embedding, or its direction from the neutral text."""
        if not self.neutral:
            return prompt_rows(self.clip, prompts)
        chosen = known_templates(self.templates)
        with torch.no_grad():
            source = text_features(self.clip, self.neutral, chosen)
            targets = [text_features(self.clip, one, chosen) for one in sentences_of(prompts)]
            return torch.stack([text_direction(source, one, "prototype_diff") for one in targets])

    def _batch(
        self,
        start: Latent,
        texts: Tensor,
        file: Path | None,
        resume: bool,
        on_step: Callable[[Moment], None] | None,
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        by_row = self.space == "w" and start.space == "w+"
        code = (start.codes[:, :1] if by_row else start.codes).clone()
        moving = self._moving(code)
        noise, draw = self._noise(start), torch.Generator().manual_seed(_JITTER_SEED)
        unit = noise.std(0).clamp_min(1e-8) if self.jitter else torch.ones_like(code[:1])
        code = (code / unit).requires_grad_() if self.jitter else code.requires_grad_()
        first = code.detach().clone()
        with torch.no_grad():
            before = self.generator.render(start) if self._keeps else None
            person = None if before is None else self.identity.embed(before)  # type: ignore[union-attr]

        def moved(code: Tensor) -> Tensor:
            if by_row or self.jitter:
                return start.codes + torch.where(moving, unit * (code - first), 0.0)
            return torch.where(moving, code, start.codes)

        def shaken(codes: Tensor, step: int, row: int) -> Latent:
            size = jitter_size(step, self.steps, self.jitter)
            return Latent(start.space, codes + size * torch.where(moving, noise[row], 0.0) if size else codes)

        def objective(step: int) -> dict[str, Tensor]:
            # One draw for all edits, so that each moves as it would alone.
            row = int(torch.randint(len(noise), (), generator=draw)) if self.jitter else 0
            image = self.generator.render(shaken(moved(code), step, row))
            now = seen(self.clip, image, self.compat)
            if self.neutral:
                with torch.no_grad():
                    old = seen(self.clip, self.generator.render(shaken(start.codes, step, row)), self.compat)
                agreement = directional_loss(old, now, texts, eps=_NEAR, reduction="none")
            else:
                agreement = global_loss(now, texts, reduction="none")
            distance = torch.where(moving, code - first, 0.0).square().flatten(1).sum(1)
            losses = {"clip": agreement, "distance": distance, "loss": agreement + self.l2 * distance}
            if person is not None:
                losses["identity"] = 1 - (self.identity.embed(image) * person).sum(1)  # type: ignore[union-attr]
                losses["loss"] = losses["loss"] + self.identity_weight * losses["identity"]
            return losses

        config = {"steps": self.steps, "rate": self.rate, "l2": self.l2, "space": self.space, "compat": self.compat}
        found = optimise(
            objective,
            {"code": code},
            lambda step: ramped_rate(step, self.steps, self.rate),
            self.steps,
            evaluate_every=self.steps,
            checkpoint=file,
            save_every=0 if file is None else 50,
            resume=resume and file is not None and file.is_file(),
            config=config | {"jitter": self.jitter, "neutral": self.neutral},
            generators={"jitter": draw},
            callbacks=() if on_step is None else (on_step,),
        )
        return moved(found.last["code"]), found.history

    def _noise(self, like: Latent) -> Tensor:
        """Differences of samples from their mean, in the space of a code."""
        if not self.jitter:
            return like.codes[:0]
        rows = self.generator.sample(_JITTER_SAMPLES, seed=_JITTER_SEED)
        if like.space == "s":
            rows = self.generator.styles(rows)
        noise = rows.codes - rows.codes.mean(0)
        return noise[:, None] if like.space == "w+" else noise

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
