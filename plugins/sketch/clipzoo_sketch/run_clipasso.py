"""The run behind ``clipzoo run clipasso``: from a photo to SVG, pictures, a film and numbers."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipzoo import Context, Result, Table
from clipzoo.errors import ConfigError, UsageError
from clipzoo_sketch.plugin import CLIPassoSettings

if TYPE_CHECKING:
    from clipzoo_sketch.clipasso import CLIPasso, Level, Sketch

_SHOWN_PX = 448
_FILM_PX = 224


def run(settings: CLIPassoSettings, context: Context) -> Result:
    """Draw the photo; an interrupted run goes on from its last saved step."""
    from clipzoo_sketch.target import prepare_target

    if settings.data is not None:
        raise UsageError(
            f"clipasso was given data={settings.data}",
            expected="a picture to draw, as input",
            hint=f"clipzoo run clipasso --input {settings.data}",
        )
    fit = settings.fit if settings.fit != "auto" else "squash" if settings.compat == "upstream" else "pad"
    # Before torch loads an encoder: a photo that cannot be read should say so at once.
    target = prepare_target(
        settings.input,
        settings.size,
        mask=settings.mask,
        fit=fit,  # type: ignore[arg-type]
        centre=settings.centre,
    )
    for note in target.notes:
        context.note(f"{Path(target.name).name}: {note}")
    painter, sketch, seconds = _draw(settings, context, target)
    described = _metadata(settings, target.name)
    for level in sketch.levels:
        _save_level(context, level, described, many=len(sketch.levels) > 1)
    _save_pictures(settings, context, sketch)
    return _told(settings, context, painter, sketch, seconds)


def _draw(settings: CLIPassoSettings, context: Context, target: Any) -> tuple[CLIPasso, Sketch, float]:
    from clipzoo import load_clip
    from clipzoo_sketch.clipasso import CLIPasso

    judge = context.clip
    if settings.saliency_model != settings.model:
        judge = load_clip(settings.saliency_model, device=context.device, precision=settings.precision)
    painter = CLIPasso(
        context.clip,
        judge,
        tuning=settings.tuning,
        layers=parse_layers(settings.layers),
        semantic=settings.semantic,
        distance=settings.distance,
        views=settings.views,
        compat=settings.compat,
        backend=settings.backend,
    )
    saved = context.folder / "optimisation.safetensors"
    bar = iter(context.progress(range(settings.steps), total=settings.steps, label="clipasso"))
    started = time.perf_counter()
    sketch = painter.sketch(
        target,
        settings.strokes,
        settings.restarts,
        steps=settings.steps,
        size=settings.size,
        segments=settings.segments,
        width=settings.width,
        colour=settings.colour,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        select=settings.select,
        early_stop=settings.early_stop,
        trace_every=max(1, settings.steps // settings.frames),
        callbacks=[lambda moment: next(bar, None)],
        checkpoint=saved,
        save_every=settings.save_every,
        resume=saved.exists(),
    )
    return painter, sketch, time.perf_counter() - started


def parse_layers(given: list[str]) -> dict[str, float] | None:
    """``["layer2", "layer3:0.5"]`` as weights by name.

    Raises:
        ConfigError: if a weight is no number.

    >>> parse_layers(["layer2", "layer3:0.5"])
    {'layer2': 1.0, 'layer3': 0.5}
    """
    weights = {}
    for word in given:
        name, _, weight = word.partition(":")
        try:
            weights[name.strip()] = float(weight or 1)
        except ValueError as error:
            raise ConfigError(f'the weight of the layer "{word}" is no number', expected="layer2:0.5") from error
    return weights or None


def _metadata(settings: CLIPassoSettings, name: str) -> dict[str, Any]:
    return {
        "method": "CLIPasso",
        "input": Path(name).name,
        "seed": settings.seed,
        "steps": settings.steps,
        "model": settings.model,
        "saliency_model": settings.saliency_model,
    }


def _save_level(context: Context, level: Level, described: dict[str, Any], *, many: bool) -> None:
    name = f"sketch-{level.strokes:02d}" if many else "sketch"
    drawing = level.ink.drawing(metadata={**described, "strokes": level.strokes, "loss": round(level.loss, 6)})
    context.save_bytes(f"{name}.svg", drawing.svg().encode(), f"{level.strokes} strokes (SVG)")
    if not many:
        context.save_bytes(
            f"{name}-animated.svg",
            drawing.svg(animate_s=6.0).encode(),
            "Stroke after stroke, the important first (SVG)",
        )


def _save_pictures(settings: CLIPassoSettings, context: Context, sketch: Sketch) -> None:
    from clipzoo.images.sheets import captioned_sheet
    from clipzoo_sketch.animation import film, picture, pictures, png, stroke_by_stroke
    from clipzoo_sketch.curves import loss_curves

    finest, backend = sketch.levels[-1], settings.backend
    shown = pictures([level.ink for level in sketch.levels], _SHOWN_PX, backend)
    cells = [(picture(sketch.target.pixels[0]), "photo")]
    cells += [
        (image, f"{level.strokes} strokes, cosine {level.similarity:.2f}")
        for image, level in zip(shown, sketch.levels, strict=True)
    ]
    context.save_bytes("sketch.png", png(captioned_sheet(cells, cell_px=210)), "Photo and drawings")
    for image, level in zip(shown, sketch.levels, strict=True):
        context.save_image(f"sketch-{level.strokes:02d}", image, f"{level.strokes} strokes")
    way = sketch.way(finest)
    frames = pictures([ink for _, ink in way], _FILM_PX, backend)
    spread = sorted({round(place * (len(way) - 1) / 11) for place in range(12)})
    cells = [(frames[place], f"step {way[place][0]}") for place in spread]
    context.save_bytes("way.png", png(captioned_sheet(cells, cell_px=130)), "The way of the best drawing")
    counts = _nested_counts(finest.strokes)
    nested = pictures([finest.ink.first(count) for count in counts], _FILM_PX, backend)
    cells = [
        (image, f"first {count}, loss {float(finest.nested_loss[count - 1]):.3f}")
        for image, count in zip(nested, counts, strict=True)
    ]
    caption = "Levels of abstraction in one drawing: its most important strokes first"
    context.save_bytes("levels.png", png(captioned_sheet(cells, cell_px=130)), caption)
    context.save_image("starts", _starts(sketch, finest), "Where strokes begin: edges that the encoder looks at")
    names = _row_names(sketch)
    plain = sketch.optimised.history["plain"].numpy()
    context.save_bytes(
        "losses.png",
        png(loss_curves({name: plain[:, row] for row, name in enumerate(names[:8])})),
        "Loss of the drawing as it is, a line a restart",
    )
    context.save_bytes("losses.csv", _losses(sketch, names), "all losses")
    for name, moving in (("way", frames), ("strokes", pictures(stroke_by_stroke(finest.ink), _FILM_PX, backend))):
        content = film(moving, settings.video)
        if content is not None:
            told = "The optimisation" if name == "way" else "Stroke by stroke"
            context.save_bytes(f"{name}.{settings.video}", content, told)


def _nested_counts(strokes: int) -> list[int]:
    """1, 2, 4, ... and all.

    >>> _nested_counts(12)
    [1, 2, 4, 8, 12]
    """
    return sorted({strokes} | {2**power for power in range(strokes.bit_length()) if 2**power <= strokes})


def _starts(sketch: Sketch, level: Level) -> Any:
    """Photo under the saliency, a dot where each stroke began."""
    import numpy as np
    from PIL import Image, ImageDraw

    pixels = sketch.target.pixels[0].permute(1, 2, 0).numpy()
    heat = np.stack([sketch.saliency.numpy() ** 0.5 * part for part in (0.9, 0.2, 0.2)], -1)
    mixed = Image.fromarray(((0.55 * pixels + 0.45 * heat).clip(0, 1) * 255).astype(np.uint8))
    mixed = mixed.resize((_SHOWN_PX, _SHOWN_PX), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(mixed)
    scale = _SHOWN_PX / sketch.template.size
    for x, y in (sketch.template.points[level.row, : level.strokes, 0] * scale).tolist():
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill="white", outline="black", width=2)
    return mixed


def _row_names(sketch: Sketch) -> list[str]:
    return [f"{level.strokes} strokes, seed {told['seed']}" for level in sketch.levels for told in level.restarts]


def _losses(sketch: Sketch, names: list[str]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    history = sketch.optimised.history
    writer.writerow(["step", *(f"{kind}: {name}" for kind in history for name in names)])
    values = [rows.tolist() for rows in history.values()]
    for step, parts in enumerate(zip(*values, strict=True)):
        writer.writerow([step, *(f"{value:.6g}" for part in parts for value in part)])
    return buffer.getvalue().encode()


def _told(settings: CLIPassoSettings, context: Context, painter: CLIPasso, sketch: Sketch, seconds: float) -> Result:
    finest = sketch.levels[-1]
    metrics: dict[str, float] = {"similarity": finest.similarity, "loss": finest.loss, "strokes": finest.strokes}
    if len(sketch.levels) > 1:
        metrics |= {f"similarity_{level.strokes}_strokes": level.similarity for level in sketch.levels}
    metrics["steps"] = sketch.optimised.steps
    metrics["seconds"] = seconds
    restarts = [
        {
            "strokes": level.strokes,
            **told,
            "best": "yes" if place == level.row % len(level.restarts) else "",
        }
        for level in sketch.levels
        for place, told in enumerate(level.restarts)
    ]
    nested = [{"strokes": count + 1, "loss": float(loss)} for count, loss in enumerate(finest.nested_loss)]
    tables = [
        Table("restarts", restarts, "Restarts"),
        Table("levels", nested, "Loss of the most important strokes alone"),
    ]
    protocol = {
        "encoders": f"loss: {context.clip.name} ({context.clip.fingerprint}); saliency: {settings.saliency_model}",
        "loss": f"{', '.join(f'{name} x {weight:g}' for name, weight in painter.weights.items())}; {settings.distance}",
        "layers compare": "drawing and photo"
        if painter.tuning.compare == "photo"
        else "drawing and contours of the photo, as a small encoder needs it; published: drawing and photo",
        "best": f"the restart with the best {settings.select} of the drawing as it is",
        "similarity": "cosine of the embeddings of drawing and photo, under the encoder of the loss",
        "compat": settings.compat,
    }
    return Result(metrics, tables, protocol)
