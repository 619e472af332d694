"""``clipzoo run train recipe=tiny``: a bundled encoder, all stages, with its model card."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from clipzoo import Context, Result, Table
from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.tiny_files import read_tiny
from clipzoo_train.curves import draw_curves
from clipzoo_train.plugin import TrainSettings
from clipzoo_train.toy.curriculum import load_written, train_stage, write_encoder
from clipzoo_train.toy.evaluate import clip_accuracy, face_accuracy, room_accuracy, scene_accuracy, shape_accuracy
from clipzoo_train.toy.stages import ARCHITECTURES, STAGES, Stage
from clipzoo_train.toy.world import World, make_world

GOLDEN = ("a red circle", "a depth map of a chair.", "a face with glasses", "this object is close")


def make_encoder(settings: TrainSettings, context: Context) -> Result:
    """Run the stages of ``settings.curriculum``, or what is left of them; measure; write files and card."""
    name = settings.curriculum
    stages = [stage.share(settings.curriculum_share) for stage in STAGES[name]]
    folder = Path(context.folder) / "encoder"
    rows: list[dict[str, Any]] = []
    world: tuple[Stage, World] | None = None
    for number, stage in enumerate(stages):
        done = folder / f"stage-{number}"
        if not (done / "rows.json").exists():
            if world is None or _data(world[0]) != _data(stage):
                world = None  # Freed before the next one is made: two at once are 17 GB.
                world = stage, make_world(stage, settings.workers)
            _run_stage(name, stages, number, world[1], context, done, folder)
        rows += json.loads((done / "rows.json").read_text(encoding="utf-8"))
    for row in rows:
        _record(context, row)
    last = folder / f"stage-{len(stages) - 1}"
    for file in (f"{name}.safetensors", f"{name}.json"):
        (folder / file).write_bytes((last / file).read_bytes())
    return _measured(name, stages, rows, folder, settings, context)


def _data(stage: Stage) -> tuple[Any, ...]:
    """What decides the world of a stage; one that has the same is used again."""
    return (
        stage.seed,
        stage.scenes,
        stage.single_share,
        stage.rooms,
        stage.faces,
        stage.clip_pairs,
        stage.shapes_each,
        stage.views_each,
    )


def _run_stage(
    name: str, stages: list[Stage], number: int, world: World, context: Context, done: Path, folder: Path
) -> None:
    started = time.perf_counter()
    before = folder / f"stage-{number - 1}" / f"{name}.safetensors" if number else None
    partial = folder / "partial"
    trained = train_stage(
        name,
        stages[number],
        world,
        start=before,
        folder=folder,
        state=done / "state.pt",
        report=lambda row: _record(context, {"stage": number, **row}),
        keep=lambda sofar: write_encoder(name, sofar, stages[: number + 1], partial, sofar.known) and None,
    )
    known = trained.known
    if before is not None:
        known = torch.cat([known, torch.tensor(sorted(read_tiny(before, ARCHITECTURES[name])[1]))]).unique()
    write_encoder(name, trained, stages[: number + 1], done, known)
    told = [{"stage": number, **row} for row in trained.rows]
    context.note(f"stage {number}: {stages[number].steps} steps in {time.perf_counter() - started:.0f} s")
    part = done / ".rows.part"
    part.write_text(json.dumps(told), encoding="utf-8")
    part.replace(done / "rows.json")
    (done / "state.pt").unlink(missing_ok=True)


def _record(context: Context, row: dict[str, Any]) -> None:
    key = f"stage {row['stage']} step {row['step']}"
    if key not in context.items():
        context.record(key, **row)


def _measured(
    name: str, stages: list[Stage], rows: list[dict[str, Any]], folder: Path, settings: TrainSettings, context: Context
) -> Result:
    path = folder / f"{name}.safetensors"
    clip = load_written(name, path)
    share = settings.curriculum_share

    def some(count: int) -> int:
        return max(48, int(count * share))

    scenes = scene_accuracy(clip, max(32, int(1000 * min(1, 4 * share))))
    shapes = shape_accuracy(clip, max(1, int(20 * share)))
    clips = clip_accuracy(clip, max(12, int(60 * share)))
    metrics = {f"scenes_{key}": value for key, value in scenes.items()}
    metrics |= {f"shapes_{key}": value for key, value in shapes.items()}
    metrics |= {f"clips_{key}": value for key, value in clips.items()}
    metrics |= {f"faces_{key.replace(' ', '_')}": value for key, value in face_accuracy(clip, some(512)).items()}
    metrics |= {f"rooms_{key}": value for key, value in room_accuracy(clip, some(350)).items()}
    metrics["megabytes"] = round(path.stat().st_size / 1e6, 3)
    card = {
        "encoder": name,
        "data": "generated: scenes, drawings, depth images, rooms, faces, frames of clips; no photograph",
        "steps": sum(stage.steps for stage in stages),
        "accuracy": metrics,
        "fingerprint": clip.fingerprint,
        "golden": _golden(clip),
        "stages": [asdict(stage) for stage in stages],
    }
    context.save_bytes("model_card.json", json.dumps(card, indent=1).encode(), "Model card")
    numbered = [{**row, "epoch": place + 1} for place, row in enumerate(rows)]
    panels = {"loss": ["loss"], "scale": ["scale"]}
    context.save_bytes("curves.svg", draw_curves(numbered, panels), "Curves, a point every hundred steps")
    context.note(f"{path} and {name}.json go into clipzoo/assets")
    if share < 1:
        context.note(f"a trial with {share:g} of the steps and the data: the numbers say that it runs, no more")
    protocol = {
        "scenes": "zero-shot on colours and shapes that were never together in training, and among all 128",
        "shapes": "40 categories of new toy shapes, mean over views, either projection and both",
        "clips": "the thing of a clip against another, one frame; chance is a half",
        "faces": "one attribute among its values",
        "rooms": "DepthCLIP's word for the distance of a window among seven; the right one, or the next to it",
    }
    return Result(metrics, [Table("stages", rows, "Stages, a row every hundred steps")], protocol)


@torch.no_grad()
def _golden(clip: FrozenCLIP) -> dict[str, Any]:
    """Embeddings of four sentences and of one pattern, first eight numbers each: to see whether weights are these."""
    text = clip.encode_text(list(GOLDEN))
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64).clone()
    image = clip.encode_image(ramp)
    digest = hashlib.sha256((text * 1e4).round().to(torch.int32).numpy().tobytes()).hexdigest()[:16]
    numbers = {sentence: [round(float(v), 4) for v in row[:8]] for sentence, row in zip(GOLDEN, text, strict=True)}
    return {"text": numbers, "ramp": [round(float(v), 4) for v in image[0, :8]], "digest": digest}
