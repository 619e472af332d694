"""Train the bundled encoders from nothing: ``python -m clipzoo.training.tiny tiny`` (or ``tiny-rn``).

One image tower and one text tower learn with the symmetric contrastive loss from two sources: 2D scenes with
captions, and depth images of procedural 3D shapes. Many captions of a batch are true of many of its images
("a circle", "a depth map of a chair"), so the target of an image is spread over every caption that is true of
it, and the other way round; with one true caption an image this is CLIP's loss.

A recipe may have stages: ``--stage 1`` goes on from the file that stage 0 has written.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipzoo.data.faces import FaceSet, face_dataset
from clipzoo.data.rooms import RoomWindows, room_windows
from clipzoo.data.scenes import Scene, scene_dataset
from clipzoo.data.shapes import CATEGORIES
from clipzoo.encoders.loading import build_model, build_tokenizer
from clipzoo.encoders.pixels import unit_rows
from clipzoo.encoders.tiny_files import read_tiny, untrained_rows, write_tiny
from clipzoo.errors import ConfigError, RunError
from clipzoo.training.depth_images import DepthPool, make_clouds, render_pool
from clipzoo.training.lessons import (
    MEAN,
    STD,
    DepthImages,
    Distances,
    FacesWithCaptions,
    Scenes,
    Subject,
    join_lessons,
)

_TEXT = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
ARCHITECTURES = {
    "tiny": {
        "embed_dim": 128,
        "quick_gelu": False,
        "text_cfg": _TEXT,
        "vision_cfg": {"image_size": 64, "layers": 6, "width": 128, "head_width": 32, "patch_size": 8},
    },
    "tiny-rn": {
        "embed_dim": 128,
        "quick_gelu": False,
        "text_cfg": _TEXT,
        "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16, "head_width": 32},
    },
}
MODELNET10 = (
    "bathtub",
    "bed",
    "chair",
    "desk",
    "dresser",
    "monitor",
    "night_stand",
    "sofa",
    "table",
    "toilet",
)
_PREPROCESS = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the versions of the libraries."""

    seed: int = 0
    steps: int = 1000
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_steps: int = 60
    average: float = 0.995
    depth_batch: int = 64
    """Images of each of the two projections in a batch."""
    scene_batch: int = 128
    scenes: int = 48_000
    single_share: float = 0.5
    """Share of the scenes that hold one object."""
    first_caption_share: float = 0.5
    """How often a scene is told by the caption that names everything in it, rather than by any of its captions."""
    grey_share: float = 0.2
    """Share of the scenes that lose their colours: only what is said of shapes is true of them. A shape that is
    seen without colour is known in colours it was never shown in."""
    room_batch: int = 0
    """Windows of toy rooms in a batch."""
    rooms: int = 0
    face_batch: int = 0
    """Cartoon faces in a batch."""
    faces: int = 0
    shapes_each: int = 600
    """Shapes of each category; the categories of ModelNet10 have twice as many, being told apart from more."""
    views_each: int = 4
    patch_dropout: float = 0.4
    unmasked_share: float = 0.15
    """The last part of training sees all patches (FLIP's unmasked tuning)."""
    image_size: int = 64


_WITH_ROOMS = Recipe(
    steps=1800,
    seed=2,
    learning_rate=1e-3,
    depth_batch=64,
    scene_batch=88,
    scenes=30_000,
    single_share=0.6,
    first_caption_share=0.35,
    average=0.998,
    room_batch=48,
    rooms=8400,
)

_WITH_FACES = replace(
    _WITH_ROOMS, steps=1200, depth_batch=48, scene_batch=72, room_batch=40, face_batch=96, faces=20_000
)

RECIPES: dict[str, tuple[Recipe, ...]] = {
    "tiny-rn": (
        Recipe(steps=2400, scenes=60_000, single_share=0.6, first_caption_share=0.35),
        replace(_WITH_ROOMS, steps=1000),
        replace(_WITH_FACES, depth_batch=56, scene_batch=80, face_batch=64),
        _WITH_FACES,
    ),
    "tiny": (
        Recipe(
            steps=1300, depth_batch=80, scene_batch=96, single_share=0.0, first_caption_share=0.0, patch_dropout=0.4
        ),
        Recipe(steps=1500, seed=1, depth_batch=80, scene_batch=96, learning_rate=1.2e-3, patch_dropout=0.5),
        _WITH_ROOMS,
    ),
}
"""Stages of each encoder, in order."""


@dataclass
class World:
    """The training data, made once."""

    classes: tuple[str, ...]
    depth: DepthPool
    scenes: list[Scene]
    rooms: RoomWindows | None = None
    faces: FaceSet | None = None

    def subjects(self, recipe: Recipe) -> list[Subject]:
        """What a batch of the recipe is made of.

        Raises:
            ConfigError: if the recipe asks for what this world was made without.
        """
        if (recipe.room_batch and self.rooms is None) or (recipe.face_batch and self.faces is None):
            raise ConfigError("the recipe asks for rooms or faces, which this world lacks", hint="another --world")
        parts: list[Subject] = [
            DepthImages(self.depth, self.classes, recipe.depth_batch),
            Scenes(self.scenes, recipe.scene_batch, recipe.first_caption_share, recipe.grey_share),
        ]
        if self.rooms is not None and recipe.room_batch:
            parts.append(Distances(self.rooms, recipe.room_batch))
        if self.faces is not None and recipe.face_batch:
            parts.append(FacesWithCaptions(self.faces, recipe.face_batch))
        return parts


def make_world(recipe: Recipe, workers: int = 2) -> World:
    """Generate scenes and shapes and render the depth images; the same recipe gives the same world."""
    counts = {name: recipe.shapes_each * (2 if name in MODELNET10 else 1) for name in CATEGORIES}
    clouds, labels = make_clouds(counts, recipe.seed, workers)
    generator = torch.Generator().manual_seed(recipe.seed)
    depth = render_pool(clouds, labels, recipe.image_size, recipe.views_each, generator)
    # Seeds 0 and 1 are those of tests and demonstrations.
    rooms = room_windows(recipe.rooms, seed=100 + recipe.seed, side_px=recipe.image_size) if recipe.rooms else None
    faces = face_dataset(recipe.faces, seed=100 + recipe.seed, size=recipe.image_size) if recipe.faces else None
    return World(tuple(CATEGORIES), depth, make_scenes(recipe), rooms, faces)


def make_scenes(recipe: Recipe) -> list[Scene]:
    """The scenes of a recipe, those with one object first."""
    single = int(recipe.scenes * recipe.single_share)
    jobs = [(recipe.seed * 1000, single, 1), (recipe.seed * 1000 + 1, recipe.scenes - single, None)]
    with ProcessPoolExecutor(len(jobs)) as pool:
        parts = list(pool.map(_scenes_of, *zip(*jobs, strict=True)))
    return [scene for part in parts for scene in part]


def _scenes_of(seed: int, count: int, objects: int | None) -> list[Scene]:
    return scene_dataset(count, seed=seed, objects=objects, combinations="train")


def soft_contrastive_loss(
    images: Tensor, texts: Tensor, scale: Tensor, truth: Tensor, known: Tensor | None = None
) -> Tensor:
    """Symmetric cross-entropy whose targets are spread evenly over all true pairs.

    Args:
        images: unit rows ``[I, D]``.
        texts: unit rows ``[T, D]``.
        scale: factor on the cosines.
        truth: ``[I, T]`` bool; every row and every column has a true entry.
        known: ``[I, T]`` bool; pairs of which nothing is known push neither way. Default: all are known.
    """
    logits = scale * images @ texts.T
    if known is not None:
        logits = logits.masked_fill(~known, -1e4)
    target = truth.float()
    of_images = -(target / target.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    of_texts = -(target / target.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (of_images + of_texts) / 2


class CompactText(nn.Module):
    """The text tower's vocabulary cut down to the tokens in use while it is trained."""

    def __init__(self, model: Any, tokenizer: Any, sentences: Sequence[str]) -> None:
        """Replace the token embedding of ``model`` by one of the tokens of ``sentences``."""
        super().__init__()
        tokens = tokenizer(list(sentences))
        self.known = tokens.unique()
        # Ids keep their order: the tower finds the end of a sentence as its largest id.
        self.position = {sentence: row for row, sentence in enumerate(sentences)}
        self.tokens = torch.searchsorted(self.known, tokens)
        rows = model.token_embedding.weight.detach()[self.known]
        model.token_embedding = nn.Embedding.from_pretrained(rows.clone(), freeze=False)

    @staticmethod
    def encode(model: Any, tokens: Tensor) -> Tensor:
        """The text tower on as many positions as the longest sentence fills: attention is causal."""
        end = tokens.argmax(1)
        length = int(end.max()) + 1
        hidden = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
        hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
        return hidden[torch.arange(len(tokens)), end] @ model.text_projection

    def lookup(self, sentences: Sequence[str]) -> Tensor:
        """Compact ids of sentences that were given at construction."""
        return self.tokens[[self.position[sentence] for sentence in sentences]]


def train(
    name: str,
    recipe: Recipe,
    world: World,
    start: Path | None = None,
    log_every: int = 50,
    keep: Callable[[Any, Tensor], Path] | None = None,
    keep_every: int = 200,
) -> tuple[Any, Tensor]:
    """Train the towers of ``name``, from the file ``start`` on if there is one.

    Args:
        name: Architecture.
        recipe: The stage.
        world: What it learns from.
        start: Weights of the stage before.
        log_every: Steps between two lines of the log.
        keep: Called with the averaged model and its tokens on the way, so that a run that is cut off leaves something.
        keep_every: Steps between two such calls.

    Returns:
        The averaged model, and the ids of the tokens it knows.
    """
    torch.manual_seed(recipe.seed)
    draw = np.random.default_rng(recipe.seed)
    config = json.loads(json.dumps(ARCHITECTURES[name]))
    if name == "tiny":
        config["vision_cfg"]["patch_dropout"] = recipe.patch_dropout
    model: Any = build_model(config).train()  # open_clip does not say what its towers are
    with torch.no_grad():
        model.token_embedding.weight.copy_(untrained_rows(49408, config["text_cfg"]["width"]))
    subjects = world.subjects(recipe)
    every = sorted({text for subject in subjects for text in subject.sentences()})
    if start is not None:
        model.load_state_dict(read_tiny(start, config)[0])
    text = CompactText(model, build_tokenizer(config), every)
    optimiser = _optimiser(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / recipe.warmup_steps, 0.5 * (1 + math.cos(math.pi * step / recipe.steps)) + 1e-3),
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average), use_buffers=True
    )
    started = time.perf_counter()
    for step in range(recipe.steps):
        if name == "tiny" and step >= (1 - recipe.unmasked_share) * recipe.steps:
            model.visual.patch_dropout.prob = 0.0
        pixels, sentences, truth, certain = join_lessons([subject.lesson(draw) for subject in subjects])
        # The fused attention's backward pass is several times slower on a CPU at this size.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            images = unit_rows(model.encode_image(pixels))
            texts = unit_rows(text.encode(model, text.lookup(sentences)))
        loss = soft_contrastive_loss(images, texts, model.logit_scale.exp(), truth, certain)
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss of step {step} is {loss.item()}",
                expected="a finite one",
                hint="a smaller learning rate; the last copy of the weights is in the folder partial",
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(model)
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % log_every == 0 or step + 1 == recipe.steps:
            spent = time.perf_counter() - started
            click.echo(
                f"step {step:5d}  loss {loss.item():.3f}  scale {model.logit_scale.exp().item():.1f}  {spent:.0f} s"
            )
        if keep is not None and (step + 1) % keep_every == 0:
            keep(averaged.module, text.known)
    return averaged.module.eval(), text.known


def _optimiser(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )


def save(name: str, model: Any, known: Tensor, stages: Sequence[Recipe], folder: Path) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.json`` (the open_clip config and the recipe)."""
    folder.mkdir(parents=True, exist_ok=True)
    state = dict(model.state_dict())
    table = untrained_rows(49408, state["token_embedding.weight"].shape[1])
    table[known] = state["token_embedding.weight"]
    state["token_embedding.weight"] = table
    path = folder / f"{name}.safetensors"
    write_tiny(path, state, known)
    content = {
        "model_cfg": ARCHITECTURES[name],
        "preprocess_cfg": _PREPROCESS,
        "recipe": [asdict(stage) for stage in stages],
    }
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


@click.command()
@click.argument("name", type=click.Choice(tuple(ARCHITECTURES)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("clipzoo/assets"), show_default=True)
@click.option("--stage", type=int, default=None, help="This stage alone, going on from the file in OUT.")
@click.option("--world", "world_file", type=click.Path(path_type=Path), default=None, help="Keep the data here.")
def main(name: str, out: Path, stage: int | None, world_file: Path | None) -> None:
    """Train one of the bundled encoders and write it to OUT."""
    started = time.perf_counter()
    stages = RECIPES[name]
    for number in range(len(stages)) if stage is None else [stage]:
        recipe = stages[number]
        if world_file is not None and world_file.exists():
            world = torch.load(world_file, weights_only=False)  # made by this very command
        else:
            world = make_world(recipe)
            if world_file is not None:
                torch.save(world, world_file)
        click.echo(f"stage {number}: {len(world.depth.v2)} depth images a projection, {len(world.scenes)} scenes")
        start = out / f"{name}.safetensors" if number else None
        write = partial(save, name, stages=stages[: number + 1])
        model, known = train(name, recipe, world, start, keep=partial(write, folder=out / "partial"))
        path = write(model, known, folder=out)
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
