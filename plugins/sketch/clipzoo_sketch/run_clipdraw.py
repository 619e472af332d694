"""The run behind ``clipzoo run clipdraw``: from sentences to SVG, pictures, a film and numbers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from clipzoo import Context, Result, Table
from clipzoo.errors import UsageError
from clipzoo_sketch.plugin import CLIPDrawSettings

if TYPE_CHECKING:
    from clipzoo.encoders import FrozenCLIP
    from clipzoo_sketch.clipdraw import Drawn
    from clipzoo_sketch.prompts import Prompt

_SHOWN_PX = 448
_FILM_PX = 224


def run(settings: CLIPDrawSettings, context: Context) -> Result:
    """Draw the prompts; an interrupted run goes on from its last saved step."""
    from clipzoo_sketch.prompts import image_prompt, parse_prompts, split_weight

    if settings.data is not None:
        raise UsageError(
            f"clipdraw was given data={settings.data}",
            expected="a sentence to draw, as prompt",
            hint=f'clipzoo run clipdraw prompt="a red heart" image_prompt={settings.data}',
        )
    wanted: list[Prompt] = parse_prompts(settings.prompt)
    if settings.image_prompt:
        name, weight = split_weight(settings.image_prompt)
        wanted.append(image_prompt(name, 1.0 if weight is None else weight))
    drawn, clips, seconds = _draw(settings, context, wanted)
    described = {
        "method": "CLIPDraw",
        "prompts": [prompt.told for prompt in drawn.prompts],
        "seed": drawn.restarts[drawn.row]["seed"],
        "steps": settings.steps,
        "models": [clip.name for clip in clips],
    }
    drawing = drawn.ink.drawing(metadata=described)
    context.save_bytes("drawing.svg", drawing.svg().encode(), "; ".join(p.told for p in drawn.prompts))
    context.save_bytes("drawing-animated.svg", drawing.svg(animate_s=8.0).encode(), "Stroke after stroke (SVG)")
    _save_pictures(settings, context, drawn)
    return _told(settings, drawn, clips, seconds)


def _draw(settings: CLIPDrawSettings, context: Context, wanted: list[Prompt]) -> tuple[Drawn, list[FrozenCLIP], float]:
    from clipzoo import load_clip
    from clipzoo_sketch.clipdraw import CLIPDraw

    clips = [context.clip]
    clips += [load_clip(name, device=context.device, precision=settings.precision) for name in settings.models]
    unknown = {word for p in wanted if isinstance(p.content, str) for word in context.clip.unknown_words(p.content)}
    if unknown:
        context.note(
            f"{context.clip.name} has never met: {', '.join(sorted(unknown))}. "
            "Name a real encoder, for example model=ViT-B-32/openai."
        )
    saved = context.folder / "optimisation.safetensors"
    bar = iter(context.progress(range(settings.steps), total=settings.steps, label="clipdraw"))
    started = time.perf_counter()
    drawn = CLIPDraw(clips, views=settings.views, compat=settings.compat, backend=settings.backend).draw(
        wanted,
        negatives=settings.negative,
        paths=settings.paths,
        segments=settings.segments,
        restarts=settings.restarts,
        steps=settings.steps,
        size=settings.size,
        max_width=settings.max_width,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        trace_every=max(1, settings.steps // settings.frames),
        callbacks=[lambda moment: next(bar, None)],
        checkpoint=saved,
        save_every=settings.save_every,
        resume=saved.exists(),
    )
    return drawn, clips, time.perf_counter() - started


def _save_pictures(settings: CLIPDrawSettings, context: Context, drawn: Drawn) -> None:
    from clipzoo.images.sheets import captioned_sheet
    from clipzoo_sketch.animation import film, pictures, png
    from clipzoo_sketch.curves import loss_curves

    backend = settings.backend
    context.save_image("drawing", pictures([drawn.ink], _SHOWN_PX, backend)[0], "The drawing")
    way = drawn.way()
    frames = pictures([ink for _, ink in way], _FILM_PX, backend)
    spread = sorted({round(place * (len(way) - 1) / 11) for place in range(12)})
    cells = [(frames[place], f"step {way[place][0]}") for place in spread]
    context.save_bytes("way.png", png(captioned_sheet(cells, cell_px=150)), "The way of the drawing")
    history = drawn.optimised.history["loss"].numpy()
    curves = {f"seed {told['seed']}": history[:, row] for row, told in enumerate(drawn.restarts[:8])}
    context.save_bytes("losses.png", png(loss_curves(curves)), "Loss over random views, a line a restart")
    names = [f"seed {told['seed']}" for told in drawn.restarts]
    lines = [",".join(["step", *names])]
    lines += [",".join([str(step), *(f"{value:.6g}" for value in row)]) for step, row in enumerate(history.tolist())]
    context.save_bytes("losses.csv", "\n".join([*lines, ""]).encode(), "all losses")
    for name, moving in (("way", frames), ("strokes", _built_up(drawn, backend))):
        content = film(moving, settings.video)
        if content is not None:
            told = "The optimisation" if name == "way" else "Stroke by stroke"
            context.save_bytes(f"{name}.{settings.video}", content, told)


def _built_up(drawn: Drawn, backend: str) -> list[Any]:
    """At most 64 frames, however many strokes there are."""
    from clipzoo_sketch.animation import pictures, stroke_by_stroke

    steps = stroke_by_stroke(drawn.ink)
    spread = sorted({round(place * (len(steps) - 1) / 63) for place in range(64)})
    return pictures([steps[place] for place in spread], _FILM_PX, backend)


def _told(settings: CLIPDrawSettings, drawn: Drawn, clips: list[FrozenCLIP], seconds: float) -> Result:
    cosines = drawn.similarities.tolist()
    metrics: dict[str, float] = {
        "similarity": cosines[0],
        "strokes": drawn.ink.paths,
        "steps": drawn.optimised.steps,
        "seconds": seconds,
    }
    prompts = [
        {"prompt": prompt.told, "weight": prompt.weight, "cosine": cosine}
        for prompt, cosine in zip(drawn.prompts, cosines, strict=True)
    ]
    restarts = [{**told, "best": "yes" if row == drawn.row else ""} for row, told in enumerate(drawn.restarts)]
    tables = [Table("prompts", prompts, "Prompts"), Table("restarts", restarts, "Restarts")]
    if settings.nouns:
        tables.append(Table("nouns", _nouns(settings, drawn, clips[0]), "What the encoder sees in it"))
    protocol = {
        "encoders": "; ".join(f"{clip.name} ({clip.fingerprint})" for clip in clips),
        "loss": "minus the weighted cosines of prompts and random views, mean over views and encoders",
        "similarity": "cosine of the first prompt and the drawing as it is, mean over encoders",
        "compat": settings.compat,
    }
    return Result(metrics, tables, protocol)


def _nouns(settings: CLIPDrawSettings, drawn: Drawn, clip: FrozenCLIP) -> list[dict[str, Any]]:
    """The five nouns nearest to the drawing, as the paper probes what a drawing shows."""
    rows = clip.encode_text(settings.nouns)
    shown = clip.encode_image(drawn.ink.render(clip.image_size, settings.backend).to(clip.device))
    cosines = (rows @ shown[0]).cpu()
    best = cosines.argsort(descending=True)[:5].tolist()
    return [{"noun": settings.nouns[place], "cosine": float(cosines[place])} for place in best]
