"""A stage of an encoder, trained with the same loop as everything else, and the two files that it becomes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.loading import build_model, build_tokenizer
from clipzoo.encoders.pixels import unit_rows
from clipzoo.encoders.tiny_files import read_tiny, untrained_rows, write_tiny
from clipzoo.errors import ConfigError
from clipzoo_train.loop import Loop, LoopSettings, parameter_groups
from clipzoo_train.pair import MAX_LOG_SCALE
from clipzoo_train.token_dropping import install_token_dropping
from clipzoo_train.toy.blocks import embedding_and_states
from clipzoo_train.toy.hints import Hints, teacher_view
from clipzoo_train.toy.lessons import MEAN, STD, Lesson, Subject, join_lessons
from clipzoo_train.toy.losses import paste_windows, soft_contrastive_loss, teacher_loss
from clipzoo_train.toy.sentences import SentenceTable
from clipzoo_train.toy.stages import ARCHITECTURES, Stage
from clipzoo_train.toy.world import World

EPOCH_STEPS = 100
"""Steps between two rows of the report; nothing else depends on it."""
PREPROCESS = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}


@dataclass(frozen=True)
class Lecture:
    """The batch of a step.

    Args:
        pixels: normalised ``[images, 3, side, side]``.
        sentences: all different.
        truth: ``[images, sentences]``.
        certain: of what the truth is known, ``[images, sentences]``.
        draw: source of whatever else the step leaves to chance.
    """

    pixels: Tensor
    sentences: list[str]
    truth: Tensor
    certain: Tensor
    draw: np.random.Generator


class _InTurn:
    """Lectures drawn from one stream, each after the one before; those before the first one asked for are drawn too.

    Args:
        subjects: what is taught.
        seed: of the stream.
    """

    def __init__(self, subjects: Sequence[Subject], seed: int) -> None:
        self.subjects = subjects
        self.draw = np.random.default_rng(seed)
        self.drawn = 0

    def __call__(self, step: int) -> Lecture:
        while self.drawn < step:
            self._next()
        return Lecture(*join_lessons(self._next()), self.draw)

    def _next(self) -> list[Lesson]:
        self.drawn += 1
        return [subject.lesson(self.draw) for subject in self.subjects]


class _ByNumber:
    """Lectures of which each has a stream of its own: what a step leaves to chance does not move the next.

    Args:
        subjects: what is taught.
        seed: of all streams.
    """

    def __init__(self, subjects: Sequence[Subject], seed: int) -> None:
        self.subjects = subjects
        self.seed = seed

    def __call__(self, step: int) -> Lecture:
        return self._of([self.seed, 1, step])

    def beside(self) -> Lecture:
        """One that is no step's."""
        return self._of([self.seed, 2])

    def _of(self, key: list[int]) -> Lecture:
        draw = np.random.default_rng(key)
        return Lecture(*join_lessons([subject.lesson(draw) for subject in self.subjects]), draw)


@dataclass
class Trained:
    """What a stage gives.

    Args:
        model: averaged weights, in eval mode, with a token table of the stage's tokens alone.
        table: the whole token table.
        known: ids of tokens that were trained in this stage.
        rows: one every :data:`EPOCH_STEPS` steps.
    """

    model: Any
    table: Tensor
    known: Tensor
    rows: list[dict[str, Any]]


class _Tower(nn.Module):
    """The model, and the heads of hints where there are any, as one module for the loop."""

    def __init__(self, model: Any, hints: Hints | None = None) -> None:
        super().__init__()
        self.model = model
        self.hints = hints


def train_stage(
    name: str,
    stage: Stage,
    world: World,
    *,
    start: Path | None = None,
    folder: Path | None = None,
    state: Path | None = None,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    keep: Callable[[Trained], None] = lambda trained: None,
) -> Trained:
    """Train one stage of the encoder ``name``; a stage that was stopped goes on from its state, to the bit.

    Args:
        name: architecture.
        stage: what is learned, and how.
        world: what it is learned from.
        start: weights of the stage before.
        folder: where a teacher is looked for; what is not there is taken as bundled.
        state: file that a killed run goes on from.
        report: receives a row every :data:`EPOCH_STEPS` steps.
        keep: receives the averaged weights every :data:`EPOCH_STEPS` steps, so that a run that is cut off leaves some.

    Raises:
        ConfigError: if the stage is of no known kind.
    """
    if stage.kind not in ("captions", "distil") or (stage.kind == "distil") != bool(stage.teacher):
        raise ConfigError(
            f'a stage of the kind "{stage.kind}" with the teacher "{stage.teacher}"',
            expected='"captions" without a teacher, or "distil" with one',
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.seed)
        return _train(name, stage, world, start, folder, state, report, keep)


def _train(
    name: str,
    stage: Stage,
    world: World,
    start: Path | None,
    folder: Path | None,
    state: Path | None,
    report: Callable[[dict[str, Any]], None],
    keep: Callable[[Trained], None],
) -> Trained:
    config = copy.deepcopy(ARCHITECTURES[name])
    model: Any = build_model(config)
    with torch.no_grad():
        model.token_embedding.weight.copy_(untrained_rows(49408, config["text_cfg"]["width"]))
    if start is not None:
        model.load_state_dict(read_tiny(start, config)[0])
    taken = _take_over(model, stage.teacher, folder) if stage.teacher else None
    subjects = world.subjects(stage)
    every = sorted({text for subject in subjects for text in subject.sentences()})
    table = SentenceTable(model, build_tokenizer(config), every)

    told: _InTurn | _ByNumber = _InTurn(subjects, stage.seed)
    dropping = None
    known = table.known
    if taken is None:
        if stage.patch_dropout and hasattr(model.visual, "patch_dropout"):
            dropping = install_token_dropping(model.visual, stage.patch_dropout)
        held = _Tower(model)
        objective = _captions(model, table)
    else:
        teacher, known = taken
        told = numbered = _ByNumber(subjects, stage.seed)
        model.requires_grad_(False).visual.requires_grad_(True)
        teacher.token_embedding = model.token_embedding
        hints = Hints(teacher.visual, config["vision_cfg"]["width"], numbered.beside().pixels)
        held = _Tower(model, hints)
        objective = _distillation(model, teacher, hints, table, stage)

    def backward(batch: Lecture) -> Tensor:
        loss = objective(batch)
        loss.backward()
        return loss.detach()

    def lectures(epoch: int, first: int) -> Iterator[Lecture]:
        for step in range(epoch * EPOCH_STEPS + first, (epoch + 1) * EPOCH_STEPS):
            yield told(step)

    @torch.no_grad()
    def after_step(batch: Lecture) -> None:
        model.logit_scale.clamp_(0, MAX_LOG_SCALE)

    def before_step(step: int) -> None:
        if dropping is not None:
            masked = step < (1 - stage.unmasked_share) * stage.steps
            dropping.share = stage.patch_dropout if masked else 0.0

    def trained(rows: list[dict[str, Any]]) -> Trained:
        result: Any = loop.result
        averaged = result.model.eval()
        return Trained(averaged, table.vocabulary.full_table(averaged.token_embedding.weight), known, rows)

    def after_epoch(row: dict[str, Any]) -> None:
        row["scale"] = float(model.logit_scale.detach().exp())
        report(row)
        keep(trained([]))

    loop = Loop(
        held,
        _groups(held, stage),
        LoopSettings(
            steps=stage.steps,
            epoch_steps=EPOCH_STEPS,
            warmup_steps=stage.warmup_steps,
            schedule="whole-cosine" if taken is None else "cosine",
            floor=1e-3,
            ema=stage.average,
            save_every=EPOCH_STEPS,
        ),
        backward,
        eps=1e-8,
        after_step=after_step,
        identity={"encoder": name, **asdict(stage)},
    )
    progress = loop.run(
        lectures,
        after_epoch,
        state=state,
        before_step=before_step,
        tell=lambda batch: "; ".join(batch.sentences[:6]),
    )
    return trained(progress.rows)


def _groups(held: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """One rate for all, or another for the matrices inside the transformer, which then go to Muon."""
    named = dict(held.named_parameters())
    chosen = {name for name, value in named.items() if stage.matrix_rate and ".resblocks." in name and value.ndim == 2}
    groups = parameter_groups(
        named.items(),
        lambda name: "matrices" if name in chosen else "others",
        {"matrices": stage.matrix_rate, "others": stage.learning_rate},
        stage.weight_decay,
    )
    matrices = {id(named[name]) for name in chosen}
    return [{**group, "muon": True} if id(group["params"][0]) in matrices else group for group in groups]


def _captions(model: Any, table: SentenceTable) -> Callable[[Lecture], Tensor]:
    """Both towers learn what is true of what."""

    def loss(batch: Lecture) -> Tensor:
        # The fused attention's backward pass is several times slower on a CPU at this size.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            images = unit_rows(model.encode_image(batch.pixels))
            texts = unit_rows(table.encode(model, table.lookup(batch.sentences)))
        return soft_contrastive_loss(images, texts, model.logit_scale.exp(), batch.truth, batch.certain)

    return loss


def _distillation(
    model: Any, teacher: Any, hints: Hints, table: SentenceTable, stage: Stage
) -> Callable[[Lecture], Tensor]:
    """The image tower learns the teacher's embeddings and maps, its scores of the sentences, and what is true of what.

    Images alone teach a small transformer the combinations it is shown; a teacher whose embedding of a red circle is
    near to that of red things and of circles teaches it to combine.
    """
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rows = torch.cat([unit_rows(table.encode(teacher, part).float()) for part in table.tokens.split(1024)])
    scale = teacher.logit_scale.detach().exp()

    def loss(batch: Lecture) -> Tensor:
        texts = rows[[table.position[sentence] for sentence in batch.sentences]]
        seen = paste_windows(batch.pixels, stage.pasted_share, batch.draw)
        wanted, maps = teacher_view(teacher.visual, seen)
        embedding, states = embedding_and_states(model.visual, seen)
        images = unit_rows(embedding)
        own = soft_contrastive_loss(images[: len(batch.pixels)], texts, scale, batch.truth, batch.certain)
        return teacher_loss(images, wanted, texts, scale) + 0.3 * own + stage.hint * hints(states, maps)

    return loss


def _take_over(model: Any, name: str, folder: Path | None) -> tuple[Any, Tensor]:
    """The teacher ``name``, and the tokens it knows; ``model`` gets its text tower and its scale."""
    config = copy.deepcopy(ARCHITECTURES[name])
    state, known = _weights(name, folder, config)
    teacher: Any = build_model(config).eval().requires_grad_(False)
    teacher.load_state_dict(state)
    teacher.visual.to(memory_format=torch.channels_last)
    model.load_state_dict({key: value for key, value in state.items() if not key.startswith("visual.")}, strict=False)
    return teacher, torch.tensor(sorted(known))


def _weights(name: str, folder: Path | None, config: dict[str, Any]) -> tuple[dict[str, Tensor], frozenset[int]]:
    if folder is not None and (folder / f"{name}.safetensors").exists():
        return read_tiny(folder / f"{name}.safetensors", config)
    with resources.as_file(resources.files("clipzoo") / "assets" / f"{name}.safetensors") as path:
        return read_tiny(path, config)


def write_encoder(name: str, trained: Trained, stages: Sequence[Stage], folder: Path, known: Tensor) -> Path:
    """Write ``NAME.safetensors`` and ``NAME.json`` (open_clip's configuration and the stages), as they are bundled.

    Args:
        name: architecture.
        trained: the last stage.
        stages: all that were run.
        folder: to write to.
        known: ids of tokens that any stage has trained, sorted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {**trained.model.state_dict(), "token_embedding.weight": trained.table}
    path = folder / f"{name}.safetensors"
    write_tiny(path, state, known)
    content = {
        "model_cfg": ARCHITECTURES[name],
        "preprocess_cfg": PREPROCESS,
        "recipe": [asdict(stage) for stage in stages],
    }
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def load_written(name: str, path: Path) -> FrozenCLIP:
    """The encoder in a file of :func:`write_encoder`, loaded as the bundled ones are."""
    config = copy.deepcopy(ARCHITECTURES[name])
    state, known = read_tiny(path, config)
    model: Any = build_model(config)
    model.load_state_dict(state)
    model.visual.image_mean, model.visual.image_std = MEAN, STD
    return FrozenCLIP(model, build_tokenizer(config), name, known_tokens=known)
