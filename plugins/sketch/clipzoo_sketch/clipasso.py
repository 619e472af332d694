"""CLIPasso: a photo as a few Bezier strokes (Vinker et al. 2022).

Strokes start on edges that the encoder looks at; a step renders them, shows drawing and photo to the encoder through
the same random views, and moves the control points so that layers and embeddings agree. All restarts and all numbers
of strokes are one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.layers import layer_names
from clipzoo.encoders.pixels import normalise_pixels
from clipzoo.encoders.towers import tower_kind
from clipzoo.errors import ConfigError, WeightsError, closest_matches
from clipzoo.images.cutouts import Cutouts
from clipzoo.losses import layer_loss
from clipzoo.optim import EarlyStop, Moment, Optimised, optimise
from clipzoo_sketch import Drawing
from clipzoo_sketch.contours import SCALE, away_from_border, contour_strength, line_drawing, nearby_ink, trace_contours
from clipzoo_sketch.importance import importance_order
from clipzoo_sketch.ink import Ink
from clipzoo_sketch.plugin import Fit
from clipzoo_sketch.saliency_points import draw_spread_starts, draw_starts, start_probabilities, walk_points, xdog
from clipzoo_sketch.target import Mask, Photo, Target, prepare_target
from clipzoo_sketch.tuning import Tuning, tuning_for

PAPER_SIDE = 224
"""Side of the canvas, px, that published widths refer to."""

PAPER_WIDTH = 3.0
COLOUR_RATE = 0.01
RESTART_SEEDS = 1000
_LEAST_ENCODER_WIDTH = 1.5
_CONTOUR = 0.5
_ENCODED_AT_ONCE = 64
_MOST_STROKES = 1024

UPSTREAM_STOP = EarlyStop(patience=2, min_delta=1e-5, close_only=True)
FIXED_STOP = EarlyStop(patience=25, min_delta=1e-4, smoothing=0.5)


@dataclass(frozen=True)
class Level:
    """The best drawing with one number of strokes, the most important stroke first.

    Args:
        ink: its strokes; ``ink.first(k)`` keeps the k most important ones.
        loss: of the drawing as it is, without random views.
        similarity: cosine of the embeddings of drawing and photo, under the encoder of the loss.
        nested_loss: of its first 1, 2, ... strokes.
        row: which drawing of the batch it was.
        restarts: one entry a restart: seed, loss, similarity, step of the best.
    """

    ink: Ink
    loss: float
    similarity: float
    nested_loss: Float[Tensor, " strokes"]
    row: int
    restarts: Sequence[Mapping[str, float]]

    @property
    def strokes(self) -> int:
        """How many strokes it has."""
        return self.ink.paths


@dataclass(frozen=True)
class Sketch:
    """What :meth:`CLIPasso.sketch` gives.

    Args:
        levels: one a number of strokes, ascending.
        target: the picture that was drawn.
        saliency: where the encoder looks, in [0, 1].
        probabilities: of a stroke to begin at a pixel.
        optimised: losses and the way of all drawings of the batch.
        template: strokes as they began, all drawings of the batch.
    """

    levels: tuple[Level, ...]
    target: Target
    saliency: Float[Tensor, "side side"]
    probabilities: Float[Tensor, "side side"]
    optimised: Optimised
    template: Ink

    @property
    def drawing(self) -> Drawing:
        """The drawing with the most strokes."""
        return self.levels[-1].ink.drawing()

    def way(self, level: Level) -> list[tuple[int, Ink]]:
        """The drawing of a level on its way: steps done, and its strokes."""
        rows = self.template.row(level.row, level.strokes)
        found = []
        for step, kept in self.optimised.trace:
            colours = kept["colours"][level.row, : level.strokes] if "colours" in kept else None
            found.append((step, rows.moved(kept["points"][level.row, : level.strokes], colours)))
        return found


class CLIPasso:
    """Draws photos with a frozen CLIP.

    Args:
        clip_loss: encoder that compares drawing and photo; RN101 as published.
        clip_saliency: encoder that says where strokes begin; ViT-B/32 as published, default ``clip_loss``.
        tuning: ``"paper"``: as published; ``"small"``: for encoders of small images, see
            :mod:`clipzoo_sketch.tuning`; ``"auto"``: by the encoder; or one of your own.
        layers: weights of layers by name; default those of the tuning: as published ``layer2`` and ``layer3`` of a
            ResNet, the blocks at one half and three quarters of the depth of a ViT, each 1.
        semantic: weight of one minus the cosine of embeddings; default that of the tuning.
        distance: of layers: ``"l2"``, ``"l1"`` or ``"cos"``.
        views: random views a step, beside the drawing as it is.
        compat: ``"upstream"`` as the released code: best snapshot one step late, views resampled twice, two close
            evaluations stop a restart, photos squashed, edges of normalised pixels, starts drawn independently, and
            the tuning of the paper under ``"auto"``.
        backend: of :func:`clipzoo_sketch.rasterize`.

    Raises:
        ConfigError: if a setting does not exist, or the encoder has no such layer.

    >>> import clipzoo
    >>> painter = CLIPasso(clipzoo.load_clip("tiny-rn"), clipzoo.load_clip("tiny"))
    >>> painter.sketch("toy:heart,red", strokes=4, restarts=1, steps=2).levels[0].strokes
    4
    """

    def __init__(
        self,
        clip_loss: FrozenCLIP,
        clip_saliency: FrozenCLIP | None = None,
        *,
        tuning: str | Tuning = "auto",
        layers: Mapping[str, float] | None = None,
        semantic: float | None = None,
        distance: str = "l2",
        views: int = 4,
        compat: str = "fixed",
        backend: str = "auto",
    ) -> None:
        """Check the settings against the encoder."""
        if compat not in ("fixed", "upstream"):
            raise ConfigError(f'no compat called "{compat}"', expected="fixed, upstream")
        if views < 0 or (semantic or 0) < 0:
            raise ConfigError(f"views {views} and semantic {semantic}", expected="no negative numbers")
        self.clip = clip_loss
        self.clip_saliency = clip_saliency or clip_loss
        if not isinstance(tuning, Tuning):
            tuning = tuning_for(clip_loss, "paper" if compat == "upstream" and tuning == "auto" else tuning)
        self.tuning = tuning if semantic is None else replace(tuning, semantic=semantic)
        chosen = layers if layers is not None else self.tuning.layers or None
        self.weights = layer_weights(clip_loss, chosen, self.tuning.semantic)
        self.distance, self.compat, self.backend = distance, compat, backend
        self.cutouts = Cutouts(
            "clipasso", size=clip_loss.image_size, count=1 + views, compose_warps=compat != "upstream"
        )

    def sketch(
        self,
        image: Photo,
        strokes: int | Sequence[int] = 16,
        restarts: int = 3,
        *,
        steps: int = 2000,
        size: int = PAPER_SIDE,
        segments: int = 1,
        width: float = 0.0,
        colour: bool = False,
        mask: Mask = "auto",
        fit: Fit | None = None,
        centre: bool = False,
        learning_rate: float = 1.0,
        decay: float | None = None,
        seed: int = 0,
        select: str = "loss",
        early_stop: bool = True,
        evaluate_every: int = 10,
        trace_every: int = 0,
        callbacks: Sequence[Callable[[Moment], None]] = (),
        checkpoint: str | Path | None = None,
        save_every: int = 0,
        resume: bool = False,
    ) -> Sketch:
        """Draw a photo.

        Args:
            image: a path, image, array, tensor or ``"toy:SHAPE,COLOUR"``, see
                :func:`~clipzoo_sketch.target.prepare_target`; also a :class:`~clipzoo_sketch.target.Target`.
            strokes: how many; several numbers give a drawing each, in the same batch.
            restarts: drawings from other starts (seeds ``seed``, ``seed + 1000``, ...), of which the best is kept.
            steps: of the optimisation.
            size: side of the canvas, px; the unit of the SVG.
            segments: cubic segments a stroke.
            width: of strokes, px of the canvas; 0 is 3 px at 224, and at least 1.5 pixels of the encoder's image.
            colour: optimise colours too, starting with the photo's; else strokes are black.
            mask: what is the object, see :func:`~clipzoo_sketch.target.prepare_target`.
            fit: of photos that are not square; default ``"pad"``, under upstream ``"squash"``.
            centre: bring the masked object to the middle.
            learning_rate: of points, pixels of the encoder's image a step (of 224 px as published).
            decay: share of the learning rate that is left at the end, falling along a half cosine; default 0.1, under
                upstream 1 (constant, as published).
            seed: of starts and views.
            select: the best restart has the least ``"loss"``, or the most ``"similarity"``.
            early_stop: freeze restarts that came to rest.
            evaluate_every: steps between looks at the loss of the drawing as it is.
            trace_every: steps between drawings that are kept for :meth:`Sketch.way`; 0: none.
            callbacks: called after each step, see :func:`clipzoo.optim.optimise`.
            checkpoint: file for the state of the optimisation.
            save_every: steps between saves; 0: at the end alone.
            resume: go on from ``checkpoint``.

        Raises:
            ConfigError: if a number is not possible.
            DataError: if the photo cannot be read, or shows nothing to draw.
        """
        counts = stroke_counts(strokes)
        _check(restarts, size, segments, width, learning_rate, select)
        target = image if isinstance(image, Target) else self._target(image, size, mask, fit, centre)
        width = width or self.default_width(size)
        saliency, probabilities = self.starts(target)
        seeds = [seed + RESTART_SEEDS * restart for restart in range(restarts)]
        template = self._begin(probabilities, target, counts, seeds, size, segments, width, colour)
        template = template.to(self.clip.device)
        lesson = Lesson(self, target, size, seed, colour=colour)
        parameters = {"points": template.points.clone().requires_grad_()}
        rate = learning_rate * size / self.clip.image_size
        decay = (1.0 if self.compat == "upstream" else 0.1) if decay is None else decay
        rates: dict[str, Any] = {"points": cosine_rate(rate, steps, decay)}
        if colour:
            parameters["colours"] = template.colours[..., :3].clone().requires_grad_()
            rates["colours"] = cosine_rate(COLOUR_RATE, steps, decay)

        def objective(step: int) -> dict[str, Tensor]:
            return lesson.losses(template.moved(parameters["points"], parameters.get("colours")), step)

        def project(step: int) -> None:
            if colour:
                parameters["colours"].clamp_(0, 1)

        upstream = self.compat == "upstream"
        done = optimise(
            objective,
            parameters,
            rates,
            steps,
            score="plain",
            evaluate_every=evaluate_every,
            snapshot="after-step" if upstream else "same-step",
            early_stop=(UPSTREAM_STOP if upstream else FIXED_STOP) if early_stop else None,
            project=project,
            callbacks=callbacks,
            trace_every=trace_every,
            checkpoint=checkpoint,
            save_every=save_every,
            resume=resume,
            config=self._config(target, locals()),
        )
        best = template.moved(done.best["points"], done.best.get("colours"))
        levels = tuple(
            self._level(lesson, best, done, count, place * restarts, seeds, select)
            for place, count in enumerate(counts)
        )
        return Sketch(levels, target, saliency, probabilities, done, template.cpu())

    def default_width(self, size: int) -> float:
        """Width of strokes where none is given, px: the published one, but visible to the encoder."""
        paper = PAPER_WIDTH * size / PAPER_SIDE
        return paper if self.compat == "upstream" else max(paper, _LEAST_ENCODER_WIDTH * size / self.clip.image_size)

    def starts(self, target: Target) -> tuple[Float[Tensor, "side side"], Float[Tensor, "side side"]]:
        """Saliency in [0, 1], and the probability of a stroke to begin at each pixel.

        Raises:
            DataError: if the picture has no salient edge.
            WeightsError: if the encoder gives no finite saliency.
        """
        judge = self.clip_saliency
        shown = resized(target.pixels, judge.image_size)
        saliency = judge.saliency(shown)[0].cpu()
        if not torch.isfinite(saliency).all():
            raise WeightsError(f"{judge.name} gives a saliency that is not finite", hint="other weights, or fp32")
        if target.side != judge.image_size:
            side = (target.side, target.side)
            saliency = F.interpolate(saliency[None, None], side, mode="bicubic", align_corners=False)[0, 0].clamp(0, 1)
        return saliency, torch.from_numpy(start_probabilities(saliency.numpy(), self._flat(target)))

    def _flat(self, target: Target) -> Any:
        """Where no stroke begins: 1, else 0."""
        if self.tuning.begin == "along":
            strength = contour_strength(_shown(target)[0].numpy(), _inside(target))
            wide = F.interpolate(torch.from_numpy(strength)[None, None], (target.side, target.side), mode="bilinear")
            return (wide[0, 0] < _CONTOUR).numpy().astype("uint8")
        pixels = target.pixels
        if self.compat == "upstream":
            # Normalised pixels have negative ones, whose flat areas pass for edges.
            pixels = normalise_pixels(pixels, self.clip_saliency.mean, self.clip_saliency.std)
        flat = xdog(pixels[0].numpy())
        if target.inside is not None and self.compat != "upstream":
            flat[~away_from_border(target.inside.numpy(), SCALE * target.side)] = 1
        return flat

    def _begin(
        self,
        probabilities: Tensor,
        target: Target,
        counts: Sequence[int],
        seeds: Sequence[int],
        size: int,
        segments: int,
        width: float,
        colour: bool,
    ) -> Ink:
        """One row a number of strokes and seed; strokes that a row lacks are transparent and off the canvas."""
        rows = []
        for count in counts:
            for seed in seeds:
                starts, points = self._first_points(probabilities, target, count, seed, segments)
                colours = torch.zeros(count, 4)
                colours[:, 3] = 1
                if colour:
                    colours[:, :3] = self._first_colours(target, starts)
                widths = torch.full((1, count), width)
                rows.append(Ink(torch.from_numpy(points * size).float()[None], widths, colours[None], size))
        return Ink.stack([row.padded(max(counts)) for row in rows])

    def _first_points(
        self, probabilities: Tensor, target: Target, strokes: int, seed: int, segments: int
    ) -> tuple[Any, Any]:
        """Starts (row, column) in pixels of the target, and control points (x, y) in shares of the canvas."""
        side = target.side
        if self.tuning.begin == "walk":
            choose = draw_starts if self.compat == "upstream" else draw_spread_starts
            starts = choose(probabilities.numpy(), strokes, seed)
            return starts, walk_points(starts, (side, side), seed, segments=segments) / side
        shown = _shown(target)
        height, width = shown.shape[-2:]
        least = F.adaptive_avg_pool2d(probabilities[None], (height, width))[0]
        starts, points = trace_contours(
            shown[0].numpy(), least.numpy(), strokes, seed, segments=segments, inside=_inside(target)
        )
        return starts * side // shown.shape[-1], points / shown.shape[-1]

    def _first_colours(self, target: Target, starts: Any) -> Tensor:
        """Of the photo where strokes begin; on a contour that of the object, not the mixture of its edge."""
        rows, columns = starts.T
        if self.tuning.compare == "photo":
            return target.pixels[0, :, rows, columns].T
        side = self.clip.image_size
        ink = nearby_ink(resized(target.pixels, side))
        return ink[0, :, rows * side // target.side, columns * side // target.side].T

    def _target(self, image: Photo, size: int, mask: Mask, fit: Fit | None, centre: bool) -> Target:
        chosen = fit or ("squash" if self.compat == "upstream" else "pad")
        return prepare_target(image, size, mask=mask, fit=chosen, centre=centre)

    def _config(self, target: Target, given: Mapping[str, Any]) -> dict[str, Any]:
        """What must be the same at a resume."""
        names = ("counts", "restarts", "steps", "size", "segments", "width", "colour", "rate", "decay", "seed")
        own = {"weights": dict(self.weights), "distance": self.distance, "compat": self.compat}
        own |= {"compare": self.tuning.compare, "begin": self.tuning.begin}
        own |= {"encoder": self.clip.fingerprint, "views": self.cutouts.views, "photo": target.name}
        return own | {name: given[name] for name in (*names, "early_stop", "evaluate_every", "trace_every")}

    @torch.no_grad()
    def _level(
        self,
        lesson: Lesson,
        best: Ink,
        done: Optimised,
        count: int,
        first: int,
        seeds: Sequence[int],
        select: str,
    ) -> Level:
        rows = [best.row(first + place, count) for place in range(len(seeds))]
        losses, similarities = lesson.plain(Ink.stack(rows))
        scores = losses.nan_to_num(float("inf")) if select == "loss" else -similarities.nan_to_num(-1)
        chosen = int(scores.argmin())
        order, nested = importance_order(lambda inks: lesson.plain(inks)[0], rows[chosen])
        steps = done.best_step[first : first + len(seeds)].tolist()
        told = [
            {"seed": seed, "loss": loss, "similarity": similarity, "best_step": step}
            for seed, loss, similarity, step in zip(seeds, losses.tolist(), similarities.tolist(), steps, strict=True)
        ]
        return Level(
            rows[chosen].ordered(order).cpu(),
            float(losses[chosen]),
            float(similarities[chosen]),
            nested.cpu(),
            first + chosen,
            told,
        )


class Lesson:
    """What the encoder says of drawings of one photo.

    Args:
        painter: with the encoder and its weights.
        target: the photo.
        size: side of the canvas, px.
        seed: of the views, which all drawings of a step share.
        colour: contours that are compared have the photo's colours; else they are black.
    """

    def __init__(self, painter: CLIPasso, target: Target, size: int, seed: int, *, colour: bool = False) -> None:
        """Fit the photo to the encoder."""
        self.painter, self.size, self.seed = painter, size, seed
        self.photo = resized(target.pixels, painter.clip.image_size).to(painter.clip.device)
        self.lines = None
        if painter.tuning.compare == "lines":
            lines = torch.from_numpy(line_drawing(_shown(target)[0].numpy(), _inside(target)))[None].to(self.photo)
            self.lines = resized(lines, painter.clip.image_size)
            if colour:
                self.lines = 1 - (1 - self.lines) * (1 - nearby_ink(self.photo))
        self.photo_layers = self.wanted(self.photo, self.lines)

    def render(self, inks: Ink) -> Float[Tensor, "drawings 3 side side"]:
        """Drawings as the encoder sees them."""
        side = self.painter.clip.image_size
        return inks.render(side, self.painter.backend)

    def losses(self, inks: Ink, step: int) -> dict[str, Tensor]:
        """``loss``: mean over the drawing as it is and its random views; ``plain``: of the drawing as it is."""
        return self.judged(self.render(inks), step)

    def judged(self, pictures: Float[Tensor, "drawings 3 side side"], step: int) -> dict[str, Tensor]:
        """:meth:`losses` of pictures."""
        shown, photo, lines = self.views(pictures, step)
        return self.compared(shown, self.wanted(photo, lines))

    def views(
        self, pictures: Float[Tensor, "drawings 3 side side"], step: int
    ) -> tuple[Float[Tensor, "drawings views 3 side side"], Float[Tensor, "views 3 side side"], Tensor | None]:
        """Pictures, photo and its lines, each as it is and as it looks in the random views of a step."""
        cutouts = self.painter.cutouts
        draw = cutouts.draw(*pictures.shape[-2:], seeds=self.seed, step=step)
        shown = cutouts.apply(pictures, draw)
        lines = None if self.lines is None else cutouts.apply(self.lines, draw)[0]
        return shown, cutouts.apply(self.photo, draw)[0], lines

    def compared(
        self, shown: Float[Tensor, "drawings views 3 side side"], wanted: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """:meth:`losses` of views, where the layers of the photo's are known."""
        found = self._layers(shown.flatten(0, 1))
        each = self._compare(found, wanted, len(shown)).unflatten(0, shown.shape[:2])
        return {"loss": each.mean(1), "plain": each[:, 0]}

    @torch.no_grad()
    def plain(self, inks: Ink) -> tuple[Float[Tensor, " drawings"], Float[Tensor, " drawings"]]:
        """Loss and cosine of embeddings of drawings as they are."""
        losses, cosines = [], []
        for part in inks.split(_ENCODED_AT_ONCE):
            found = self._layers(self.render(part))
            losses.append(self._compare(found, self.photo_layers, len(part)))
            cosines.append(F.cosine_similarity(found["embedding"], self.photo_layers["embedding"]))
        return torch.cat(losses), torch.cat(cosines)

    @torch.no_grad()
    def wanted(self, photo: Tensor, lines: Tensor | None) -> dict[str, Tensor]:
        """What the layers should be: the photo's, or those of its lines where given; the embedding is the photo's."""
        found = self._layers(photo)
        return found if lines is None else {**self._layers(lines), "embedding": found["embedding"]}

    def _layers(self, pictures: Tensor) -> dict[str, Tensor]:
        return self.painter.clip.layers(pictures, [*dict.fromkeys([*self.painter.weights, "embedding"])])

    def _compare(self, found: dict[str, Tensor], wanted: dict[str, Tensor], drawings: int) -> Tensor:
        repeated = {name: value.expand(drawings, *value.shape).flatten(0, 1) for name, value in wanted.items()}
        return layer_loss(
            found,
            repeated,
            self.painter.weights,
            distance=self.painter.distance,  # type: ignore[arg-type]
            reduction="none",
        )


def layer_weights(clip: FrozenCLIP, layers: Mapping[str, float] | None, semantic: float) -> dict[str, float]:
    """Weights of the loss by layer, the embedding among them.

    Args:
        clip: the encoder.
        layers: weights by name; None for the published ones of a ResNet, or two blocks of a ViT.
        semantic: weight of the embedding.

    Raises:
        ConfigError: if the encoder has no such layer, or no weight is left.

    >>> import clipzoo
    >>> layer_weights(clipzoo.load_clip("tiny-rn"), None, 0.1)
    {'layer2': 1.0, 'layer3': 1.0, 'embedding': 0.1}
    """
    kind = tower_kind(clip.model.visual, clip.name)  # type: ignore[arg-type]
    known = layer_names(clip.model.visual, kind)
    if layers is None:
        blocks = len(known) - 1
        chosen = ("layer2", "layer3") if kind == "resnet" else tuple(known[blocks * n // 4 - 1] for n in (2, 3))
        layers = dict.fromkeys(chosen, 1.0)
    for name in layers:
        if name not in known:
            raise ConfigError(
                f'{clip.name} has no layer called "{name}"',
                closest=closest_matches(name, known),
                expected=", ".join(known),
            )
    weights = {**layers, "embedding": semantic or layers.get("embedding", 0.0)}
    if not any(weights.values()) or min(weights.values()) < 0:
        raise ConfigError(f"weights of layers {weights}", expected="no negative one, and one that is not zero")
    return weights


def stroke_counts(strokes: int | Sequence[int]) -> list[int]:
    """Distinct numbers of strokes, ascending.

    Raises:
        ConfigError: if there is none, or one is below 1 or above 1024.

    >>> stroke_counts([16, 4, 16])
    [4, 16]
    """
    counts = sorted({int(count) for count in ([strokes] if isinstance(strokes, int) else strokes)})
    if not counts or counts[0] < 1 or counts[-1] > _MOST_STROKES:
        raise ConfigError(f"strokes={strokes}", expected=f"numbers from 1 to {_MOST_STROKES}", hint="strokes=16")
    return counts


def cosine_rate(rate: float, steps: int, left: float) -> Callable[[int], float]:
    """A learning rate that falls along half a cosine to a share of itself; constant where the share is 1.

    >>> falling = cosine_rate(1.0, 101, 0.1)
    >>> [round(falling(step), 3) for step in (0, 50, 100)]
    [1.0, 0.55, 0.1]
    """
    import math

    if not 0 <= left <= 1:
        raise ConfigError(f"decay is {left}", expected="a share from 0 to 1")
    return lambda step: rate * (left + (1 - left) * (1 + math.cos(math.pi * step / max(1, steps - 1))) / 2)


def resized(pixels: Float[Tensor, "batch 3 height width"], side: int) -> Float[Tensor, "batch 3 side side"]:
    """Pixels in [0, 1] at another size, bicubic with a low-pass."""
    if tuple(pixels.shape[-2:]) == (side, side):
        return pixels
    return F.interpolate(pixels, (side, side), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def _shown(target: Target) -> Float[Tensor, "1 3 side side"]:
    """The photo at the size at which contours are looked for: they should not depend on that of the canvas."""
    return resized(target.pixels, PAPER_SIDE)


def _inside(target: Target) -> Any:
    """Where the photo is not a border, at the size of :func:`_shown`; None if there is none."""
    if target.inside is None:
        return None
    return resized(target.inside[None, None].float(), PAPER_SIDE)[0, 0].numpy() > 0.5


def _check(restarts: int, size: int, segments: int, width: float, rate: float, select: str) -> None:
    if restarts < 1 or segments < 1 or size < 16 or not 0 <= width < float("inf") or not 0 < rate < float("inf"):
        raise ConfigError(
            f"restarts {restarts}, segments {segments}, size {size}, width {width}, learning_rate {rate}",
            expected="at least one restart and segment, 16 px, no negative width, a positive rate",
        )
    if select not in ("loss", "similarity"):
        raise ConfigError(f'no select called "{select}"', expected="loss, similarity")
