"""CLIPDraw: a sentence as coloured Bezier strokes (Frans et al. 2022).

Strokes start anywhere, in any colour; a step renders them, shows random views of the drawing to one encoder or more,
and moves points, widths and colours so that the views agree with the prompts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ConfigError
from clipzoo.images.cutouts import Cutouts
from clipzoo.optim import Moment, Optimised, optimise
from clipzoo_sketch import Drawing
from clipzoo_sketch.ink import Ink
from clipzoo_sketch.prompts import Prompt, as_prompts, embed_prompts, prompt_loss

PAPER_SIDE = 224
PAPER_WIDTH = 2.0
"""Full width at the start, px at a canvas of 224; also the least."""

WIDTH_RATE = 0.2
COLOUR_RATE = 0.01
RESTART_SEEDS = 1000
_STEP_SIZE = 0.1
_INVISIBLE = 0.02
_MOST_PATHS = 4096


@dataclass(frozen=True)
class Drawn:
    """What :meth:`CLIPDraw.draw` gives.

    Args:
        ink: strokes of the best drawing that can be seen.
        similarities: cosine of the drawing as it is with each prompt, mean over the encoders.
        prompts: in the same order.
        row: which restart it is.
        restarts: one entry a restart: seed, loss.
        optimised: losses and the way of all restarts.
        canvas: strokes as they began.
    """

    ink: Ink
    similarities: Float[Tensor, " prompts"]
    prompts: Sequence[Prompt]
    row: int
    restarts: Sequence[Mapping[str, float]]
    optimised: Optimised
    canvas: Canvas

    @property
    def drawing(self) -> Drawing:
        """The best drawing."""
        return self.ink.drawing()

    def way(self) -> list[tuple[int, Ink]]:
        """The best drawing on its way: steps done, and its strokes."""
        return [(step, self.canvas.ink(kept).row(self.row)) for step, kept in self.optimised.trace]


@dataclass(frozen=True)
class Canvas:
    """Strokes of 1 to ``segments`` cubic segments as parameters of one shape.

    Args:
        start: ``points [drawings, paths, 3 segments + 1, 2]``, ``widths`` and ``colours`` at the start.
        used: segments of each stroke; control points beyond them follow its last one.
        size: side, px.
        background: red, green and blue.
    """

    start: Mapping[str, Tensor]
    used: Int[Tensor, "drawings paths"]
    size: int
    background: tuple[float, float, float]

    def ink(self, parameters: Mapping[str, Tensor]) -> Ink:
        """The strokes of parameters."""
        points = parameters["points"]
        place = torch.arange(points.shape[2], device=points.device)
        place = torch.minimum(place, 3 * self.used.to(points.device)[..., None])
        points = points.gather(2, place[..., None].expand(-1, -1, -1, 2))
        return Ink(points, parameters["widths"], parameters["colours"], self.size, self.background)


class CLIPDraw:
    """Draws sentences with a frozen CLIP, or with several whose losses are averaged.

    Args:
        clip: encoder, or encoders; ViT-B/32 as published.
        views: random views a step.
        compat: ``"upstream"`` as the released code: pixels without the encoder's mean and standard deviation, views
            resampled twice.
        backend: of :func:`clipzoo_sketch.rasterize`.

    Raises:
        ConfigError: if there is no encoder, or a setting does not exist.

    >>> import clipzoo
    >>> done = CLIPDraw(clipzoo.load_clip("tiny")).draw("a red heart", paths=8, steps=2)
    >>> done.ink.paths <= 8
    True
    """

    def __init__(
        self, clip: FrozenCLIP | Sequence[FrozenCLIP], *, views: int = 4, compat: str = "fixed", backend: str = "auto"
    ) -> None:
        """Make the views of each encoder."""
        self.clips = [clip] if isinstance(clip, FrozenCLIP) else list(clip)
        if not self.clips:
            raise ConfigError("no encoder was given", expected="at least one")
        if compat not in ("fixed", "upstream"):
            raise ConfigError(f'no compat called "{compat}"', expected="fixed, upstream")
        self.compat, self.backend = compat, backend
        self.cutouts = [
            Cutouts("clipdraw", size=one.image_size, count=views, compose_warps=compat != "upstream")
            for one in self.clips
        ]

    @property
    def side(self) -> int:
        """Side of the picture that is rendered: the largest that an encoder takes, px."""
        return max(clip.image_size for clip in self.clips)

    def draw(
        self,
        prompts: str | Prompt | Sequence[str | Prompt],
        *,
        negatives: str | Prompt | Sequence[str | Prompt] = (),
        paths: int = 256,
        segments: int = 3,
        restarts: int = 1,
        steps: int = 1000,
        size: int = PAPER_SIDE,
        max_width: float = 100.0,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        learning_rate: float = 1.0,
        seed: int = 0,
        trace_every: int = 0,
        callbacks: Sequence[Callable[[Moment], None]] = (),
        checkpoint: str | Path | None = None,
        save_every: int = 0,
        resume: bool = False,
    ) -> Drawn:
        """Draw what the prompts say.

        Args:
            prompts: sentences as ``"a red heart:2 | a drawing"``, or :class:`~clipzoo_sketch.prompts.Prompt`.
            negatives: what to stay away from, weight 0.3 unless given.
            paths: strokes.
            segments: most cubic segments of a stroke; each has one to so many.
            restarts: drawings from other starts (seeds ``seed``, ``seed + 1000``, ...), of which the best is kept.
            steps: of the optimisation.
            size: side of the canvas, px; the unit of the SVG.
            max_width: widest stroke, px at a canvas of 224.
            background: red, green and blue below the strokes.
            learning_rate: of points, pixels of the largest encoder's image a step (of 224 px as published); falls to
                0.4 of it at half of the steps and to 0.1 at three quarters.
            seed: of starts and views; the same seed gives the same drawing.
            trace_every: steps between drawings that are kept for :meth:`Drawn.way`; 0: none.
            callbacks: called after each step, see :func:`clipzoo.optim.optimise`.
            checkpoint: file for the state of the optimisation.
            save_every: steps between saves; 0: at the end alone.
            resume: go on from ``checkpoint``.

        Raises:
            ConfigError: if a number is not possible, or there is no prompt.
        """
        _check(paths, segments, restarts, size, max_width, learning_rate)
        given = [*as_prompts(prompts), *_negative(negatives)]
        rows = [embed_prompts(clip, given) for clip in self.clips]
        weights = [prompt.weight for prompt in given]
        seeds = [seed + RESTART_SEEDS * restart for restart in range(restarts)]
        canvas = self._canvas(paths, segments, seeds, size, background)
        device = self.clips[0].device
        parameters = {name: value.to(device, copy=True).requires_grad_() for name, value in canvas.start.items()}
        unit = size / PAPER_SIDE
        rate = learning_rate * size / self.side
        rates = {"points": _dropping(rate, steps), "widths": _constant(WIDTH_RATE * size / self.side)}
        rates["colours"] = _constant(COLOUR_RATE)
        least = PAPER_WIDTH * unit

        def objective(step: int) -> Tensor:
            pictures = canvas.ink(parameters).render(self.side, self.backend)
            return self.loss(pictures, rows, weights, step=step, seed=seed)

        def project(step: int) -> None:
            parameters["widths"].clamp_(least, max(least, max_width * unit))
            parameters["colours"].clamp_(0, 1)

        config = {"prompts": [prompt.told for prompt in given], "paths": paths, "segments": segments, "seeds": seeds}
        config |= {"steps": steps, "size": size, "max_width": max_width, "rate": rate, "background": list(background)}
        config |= {"encoders": [clip.fingerprint for clip in self.clips], "compat": self.compat}
        done = optimise(
            objective,
            parameters,
            rates,
            steps,
            evaluate_every=10,
            project=project,
            callbacks=callbacks,
            trace_every=trace_every,
            checkpoint=checkpoint,
            save_every=save_every,
            resume=resume,
            config=config | {"views": self.cutouts[0].views, "trace_every": trace_every},
        )
        return self._drawn(canvas, done, given, rows, seeds)

    def loss(
        self,
        pictures: Float[Tensor, "drawings 3 height width"],
        rows: Sequence[Float[Tensor, "prompts dim"]],
        weights: Sequence[float],
        *,
        step: int,
        seed: int,
    ) -> Float[Tensor, " drawings"]:
        """Mean over the encoders of :func:`~clipzoo_sketch.prompts.prompt_loss` on the views of a step.

        Args:
            pictures: in [0, 1].
            rows: of the prompts, under each encoder.
            weights: of the prompts.
            step: of the optimisation, on which the views depend.
            seed: of the views, which all drawings and encoders share.
        """
        total = pictures.new_zeros(len(pictures))
        for clip, cutouts, texts in zip(self.clips, self.cutouts, rows, strict=True):
            views = cutouts(pictures, seeds=seed, step=step)
            features = clip.encode_image(views.flatten(0, 1), normalise=self.compat != "upstream")
            total = total + prompt_loss(features.unflatten(0, views.shape[:2]), texts, weights).to(total)
        return total / len(self.clips)

    def _canvas(
        self, paths: int, segments: int, seeds: Sequence[int], size: int, background: tuple[float, float, float]
    ) -> Canvas:
        begun = [random_strokes(paths, segments, seed) for seed in seeds]
        points, used, colours = (torch.stack(parts) for parts in zip(*begun, strict=True))
        width = PAPER_WIDTH * size / PAPER_SIDE
        if self.compat != "upstream":
            # Thinner than a pixel of the encoder, a stroke has hardly a gradient.
            width = max(width, size / self.side)
        start = {"points": points * size, "widths": torch.full((len(seeds), paths), width), "colours": colours}
        return Canvas(start, used, size, background)

    @torch.no_grad()
    def _drawn(
        self,
        canvas: Canvas,
        done: Optimised,
        prompts: Sequence[Prompt],
        rows: Sequence[Tensor],
        seeds: Sequence[int],
    ) -> Drawn:
        inks = canvas.ink(done.last)
        pictures = inks.render(self.side, self.backend)
        cosines = torch.stack(
            [
                clip.encode_image(pictures, normalise=self.compat != "upstream") @ texts.T
                for clip, texts in zip(self.clips, rows, strict=True)
            ]
        ).mean(0)
        losses = -(cosines @ cosines.new_tensor([prompt.weight for prompt in prompts]))
        row = int(losses.argmin())
        told = [{"seed": seed, "loss": loss} for seed, loss in zip(seeds, losses.tolist(), strict=True)]
        best = visible(inks.row(row)).cpu()
        return Drawn(best, cosines[row].cpu(), tuple(prompts), row, told, done, canvas)


def random_strokes(
    paths: int, segments: int, seed: int
) -> tuple[Float[Tensor, "paths points 2"], Int[Tensor, " paths"], Float[Tensor, "paths 4"]]:
    """Strokes as the published code starts them: points in shares of the canvas, segments of each, colours.

    Python's generator with ``seed``; each stroke has one to ``segments`` cubic segments, starts anywhere, and each next
    control point lies within 0.05 of the one before, to either side.
    """
    generator = random.Random(seed)
    points = torch.zeros(paths, 3 * segments + 1, 2, dtype=torch.float64)
    used, colours = torch.zeros(paths, dtype=torch.long), torch.zeros(paths, 4)
    for path in range(paths):
        used[path] = generator.randint(1, segments)
        x, y = generator.random(), generator.random()
        for place in range(points.shape[1]):
            if 0 < place <= 3 * int(used[path]):
                x += _STEP_SIZE * (generator.random() - 0.5)
                y += _STEP_SIZE * (generator.random() - 0.5)
            points[path, place] = torch.tensor([x, y], dtype=torch.float64)
        colours[path] = torch.tensor([generator.random() for _ in range(4)])
    return points.float(), used, colours


def visible(ink: Ink) -> Ink:
    """One drawing without strokes that are transparent or off the canvas.

    >>> one = Ink(torch.zeros(1, 2, 4, 2), torch.ones(1, 2), torch.tensor([[[1.0, 0, 0, 1], [1.0, 0, 0, 0]]]), 32)
    >>> visible(one).paths
    1
    """
    reach = ink.widths[0] / 2
    low, high = ink.points[0].amin(1), ink.points[0].amax(1)
    inside = ((high + reach[:, None] > 0) & (low - reach[:, None] < ink.size)).all(-1)
    keep = inside & (ink.colours[0, :, 3] > _INVISIBLE)
    return ink.ordered(keep.nonzero().flatten().tolist())


def _negative(given: str | Prompt | Sequence[str | Prompt]) -> list[Prompt]:
    from clipzoo_sketch.prompts import NEGATIVE_WEIGHT, parse_prompts

    parts = [given] if isinstance(given, str | Prompt) else list(given)
    found = [
        one for part in parts for one in ([part] if isinstance(part, Prompt) else parse_prompts(part, -NEGATIVE_WEIGHT))
    ]
    return [replace(prompt, weight=-abs(prompt.weight)) for prompt in found]


def _dropping(rate: float, steps: int) -> Callable[[int], float]:
    return lambda step: rate * (0.1 if step >= 0.75 * steps else 0.4 if step >= 0.5 * steps else 1.0)


def _constant(rate: float) -> Callable[[int], float]:
    return lambda step: rate


def _check(paths: int, segments: int, restarts: int, size: int, max_width: float, rate: float) -> None:
    if not 1 <= paths <= _MOST_PATHS:
        raise ConfigError(f"paths={paths}", expected=f"a number from 1 to {_MOST_PATHS}", hint="paths=256")
    if segments < 1 or restarts < 1 or size < 16 or not max_width > 0 or not 0 < rate < float("inf"):
        raise ConfigError(
            f"segments {segments}, restarts {restarts}, size {size}, max_width {max_width}, learning_rate {rate}",
            expected="at least one segment and restart, 16 px, positive widths and rates",
        )
