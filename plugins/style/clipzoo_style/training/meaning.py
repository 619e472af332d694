"""Measure what edits mean: ``python -m clipzoo_style.training.meaning``.

A small classifier learns the attributes of the procedural faces from the renderer, without CLIP. It says, for each
attribute and method, in how many of the faces that lack the attribute an edit raised it, and how much the edit changed
the others. The settings of the methods are those of :class:`Settings`, the same for every sentence. With ``--out`` each
cell of the table is written as it is done, and a call that finds some goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import clipzoo
from clipzoo.data.faces import FACE_ATTRIBUTES, FACE_NUMBERS, face_labels, faces_from_uniforms, render_faces
from clipzoo.errors import DataError
from clipzoo_style.adaptation import fingerprint
from clipzoo_style.checkpoints import load_stylegan2
from clipzoo_style.directions import ChannelDirections, Sweep
from clipzoo_style.encoding import Encoder, templates_for
from clipzoo_style.latent_optimisation import LatentOptimizer
from clipzoo_style.latents import Latent
from clipzoo_style.mapper import LatentMapper
from clipzoo_style.presets import TINY, TINY_BANK
from clipzoo_style.stylegan2 import StyleGAN2

EDITS: dict[str, tuple[str, str]] = {
    "a face with sunglasses": ("glasses", "sunglasses"),
    "a face with a hat": ("hat", "any"),
    "a face with a beard": ("beard", "beard"),
    "a face with long hair": ("hair length", "long"),
    "a face with blonde hair": ("hair colour", "blonde"),
    "a face with dark skin": ("skin", "dark"),
    "a face with an open mouth": ("mouth", "open"),
    "a face on a pink background": ("background", "pink"),
    "a face with purple hair": ("hair colour", "purple"),
    "a bald face": ("hair length", "bald"),
    "a face with pale skin": ("skin", "pale"),
    "a face with glasses": ("glasses", "any"),
    "a face without a hat": ("hat", "none"),
    "a face with a closed mouth": ("mouth", "closed"),
    "a face without a beard": ("beard", "none"),
    "a face on a white background": ("background", "white"),
}
"""Sentences, and the attribute and value that each asks for; any is all but "none".

Two for each attribute that `tiny-rn` knows (:mod:`clipzoo_style.training.knowledge`): the one that was there first, and
of the other values that which the encoder tells apart best.
"""

NEUTRAL = "a face"
_LACKS, _RISE = 0.5, 0.05
_WIDTHS = tuple(len(values) for values in FACE_ATTRIBUTES.values())


class AttributeClassifier(nn.Module):
    """Four convolutions and a head for all attributes; it has never seen a sentence.

    >>> [len(row) for row in AttributeClassifier()(torch.rand(2, 3, 64, 64))][:2]
    [2, 2]
    """

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in (16, 32, 64, 96):
            layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(before * 16, sum(_WIDTHS))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits of each attribute, for images of 64 px in [0, 1]."""
        small = images if images.shape[-1] == 64 else F.interpolate(images, (64, 64), mode="bilinear", antialias=True)
        return list(self.head(self.trunk(small - 0.5).flatten(1)).split(_WIDTHS, 1))


def train_classifier(steps: int = 1200, batch: int = 64, seed: int = 0, blur: float = 0.5) -> AttributeClassifier:
    """A classifier trained on rendered faces, some of them blurred as a generator's are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = AttributeClassifier().train()
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(classifier.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        numbers = torch.rand(batch, len(FACE_NUMBERS), generator=draw)
        with torch.no_grad():
            images = render_faces(faces_from_uniforms(numbers), 64)
            soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
            share = blur * torch.rand(batch, 1, 1, 1, generator=draw) * 2
            images = torch.lerp(images, soft, share.clamp(0, 1)) + 0.02 * torch.randn(images.shape, generator=draw)
        logits = classifier(images)
        labels = face_labels(numbers)
        loss = torch.stack([F.cross_entropy(row, labels[:, k]) for k, row in enumerate(logits)]).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(classifier: AttributeClassifier, count: int = 512, seed: int = 99) -> dict[str, float]:
    """Share of rendered faces whose value is found, by attribute."""
    numbers = torch.rand(count, len(FACE_NUMBERS), generator=torch.Generator().manual_seed(seed))
    logits = classifier(render_faces(faces_from_uniforms(numbers), 64))
    labels = face_labels(numbers)
    return {
        name: float((row.argmax(1) == labels[:, k]).float().mean())
        for k, (name, row) in enumerate(zip(FACE_ATTRIBUTES, logits, strict=True))
    }


def lacking(classifier: AttributeClassifier, generator: StyleGAN2, count: int, seed: int = 41) -> dict[str, Latent]:
    """For each sentence of :data:`EDITS` the first ``count`` samples to which the classifier denies the value."""
    codes = generator.sample(max(8 * count, 64), seed=seed)
    with torch.no_grad():
        told = torch.cat([told_values(classifier, generator.synthesize(codes[part])) for part in _parts(len(codes))])
    found = {}
    for prompt, (attribute, value) in EDITS.items():
        rows = (_asked(told, attribute, value) < _LACKS).nonzero().flatten()[:count]
        found[prompt] = codes[rows]
    return found


def told_values(classifier: AttributeClassifier, images: Tensor) -> Tensor:
    """Probabilities of all values of all attributes side by side."""
    return torch.cat([row.softmax(1) for row in classifier(images)], 1)


def _asked(told: Tensor, attribute: str, value: str) -> Tensor:
    """Probability of a value, from those of all."""
    start = sum(_WIDTHS[: list(FACE_ATTRIBUTES).index(attribute)])
    values = FACE_ATTRIBUTES[attribute]
    return 1 - told[:, start + values.index("none")] if value == "any" else told[:, start + values.index(value)]


@torch.no_grad()
def judged(
    classifier: AttributeClassifier, before: Tensor, after: Tensor, attribute: str, value: str
) -> dict[str, float]:
    """What an edit did.

    Returns:
        ``raised``: share of faces whose probability of the value rose by a twentieth or more; ``gain``: mean rise;
        ``others``: mean change of the other attributes, as total variation of their probabilities; ``faces``: how many.
    """
    old, new = (told_values(classifier, images) for images in (before, after))
    rise = _asked(new, attribute, value) - _asked(old, attribute, value)
    moved = torch.stack([part.abs().sum(1) / 2 for part in (new - old).split(_WIDTHS, 1)], 1)
    others = [k for k, name in enumerate(FACE_ATTRIBUTES) if name != attribute]
    return {
        "raised": float((rise >= _RISE).float().mean()),
        "gain": float(rise.mean()),
        "others": float(moved[:, others].mean()),
        "faces": len(before),
    }


@dataclass(frozen=True)
class Settings:
    """Of the three methods, one set for all sentences."""

    alpha: float = 5.0
    beta: float = 0.25
    bank_images: int = TINY_BANK
    steps: int = TINY["optimise"].steps
    rate: float = TINY["optimise"].rate
    l2: float = TINY["optimise"].l2
    jitter: float = TINY["optimise"].jitter
    mapper_steps: int = TINY["mapper"].steps
    mapper_batch: int = TINY["mapper"].batch
    mapper_rate: float = TINY["mapper"].rate
    mapper_l2: float = TINY["mapper"].l2


class Methods:
    """The three methods, each from codes and a sentence to edited codes."""

    def __init__(
        self, generator: StyleGAN2, clip: Encoder, model: str, settings: Settings, bank: ChannelDirections | None = None
    ) -> None:
        """Keep what they need; the directions need a bank."""
        self.generator, self.clip, self.settings, self.bank = generator, clip, settings, bank
        self.templates = templates_for("auto", model)

    def directions(self, codes: Latent, prompt: str) -> Latent:
        """A step in S along the channels that tell of the text."""
        assert self.bank is not None
        found = self.bank.edit(
            self.generator,
            self.clip,
            codes,
            NEUTRAL,
            prompt,
            alpha=self.settings.alpha,
            beta=self.settings.beta,
            templates=self.templates,
        )
        return found.after

    def optimise(self, codes: Latent, prompt: str) -> Latent:
        """Gradient descent on each code."""
        chosen = self.settings
        optimizer = LatentOptimizer(
            self.generator,
            self.clip,
            steps=chosen.steps,
            rate=chosen.rate,
            l2=chosen.l2,
            space=TINY["optimise"].space,
            neutral=NEUTRAL,
            templates=self.templates,
            jitter=chosen.jitter,
            batch_size=64,
        )
        return optimizer.edit(codes, prompt).after

    def mapper(self, codes: Latent, prompt: str) -> Latent:
        """A network trained on other codes."""
        chosen = self.settings
        mapper = LatentMapper.for_generator(self.generator)
        train = self.generator.sample(1000, seed=11)
        mapper.fit(
            self.generator,
            self.clip,
            prompt,
            Latent("w+", self.generator.w_plus(train).contiguous()),
            steps=chosen.mapper_steps,
            batch_size=chosen.mapper_batch,
            rate=chosen.mapper_rate,
            optimiser=TINY["mapper"].optimiser,
            decay=TINY["mapper"].decay,
            l2=chosen.mapper_l2,
        )
        return mapper.apply(Latent("w+", self.generator.w_plus(codes).contiguous()))


METHODS = ("directions", "optimise", "mapper")


def table(
    classifier: AttributeClassifier,
    methods: Methods,
    faces: int,
    chosen: Sequence[str],
    prompts: Sequence[str],
    seed: int = 41,
    done: Collection[tuple[str, str]] = (),
) -> Iterator[dict[str, float | str]]:
    """A row for each method and sentence, as they are done; pairs of them in ``done`` are left out."""
    generator = methods.generator
    starts = lacking(classifier, generator, faces, seed)
    for prompt in prompts:
        attribute, value = EDITS[prompt]
        codes = starts[prompt]
        before = _pictures(generator, codes)
        for method in chosen:
            if (method, prompt) in done:
                continue
            after = _pictures(generator, getattr(methods, method)(codes, prompt))
            yield {"method": method, "prompt": prompt, **judged(classifier, before, after, attribute, value)}


def reached(row: Mapping[str, float | str]) -> bool:
    """Whether an edit raised its attribute in four of five faces, and the others changed less than half as much.

    >>> reached({"raised": 0.9, "gain": 0.8, "others": 0.3}), reached({"raised": 0.9, "gain": 0.8, "others": 0.5})
    (True, False)
    """
    return float(row["raised"]) >= 0.8 and float(row["others"]) < float(row["gain"]) / 2


def reached_by_all(rows: Sequence[Mapping[str, float | str]]) -> tuple[list[str], list[str]]:
    """Sentences for which every row of theirs is :func:`reached`, and the attributes that these ask for."""
    prompts = dict.fromkeys(str(row["prompt"]) for row in rows)
    good = [prompt for prompt in prompts if all(reached(row) for row in rows if row["prompt"] == prompt)]
    return good, list(dict.fromkeys(EDITS[prompt][0] for prompt in good))


def summary(rows: Sequence[Mapping[str, float | str]]) -> dict[str, dict[str, float]]:
    """For each method: attributes raised in 80 % of faces and at least twice as much as others; means."""
    told = {}
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        own = [row for row in rows if row["method"] == method]
        good = [row for row in own if reached(row)]
        mean = {key: sum(float(row[key]) for row in own) / len(own) for key in ("raised", "gain", "others")}
        told[method] = {"reached": len(good), **mean, "others / gain": mean["others"] / max(mean["gain"], 1e-9)}
    return told


@torch.no_grad()
def _pictures(generator: StyleGAN2, codes: Latent) -> Tensor:
    return torch.cat([generator.synthesize(codes[part]) for part in _parts(len(codes))])


def _parts(count: int, size: int = 32) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def stored_classifier(file: Path | None, steps: int) -> AttributeClassifier:
    """The classifier from a file, or trained and written to it."""
    if file is not None and file.is_file():
        classifier = AttributeClassifier()
        classifier.load_state_dict(safetensors.torch.load_file(file))
        return classifier.eval().requires_grad_(False)
    classifier = train_classifier(steps)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(dict(classifier.state_dict()), file)
    return classifier


def stored_bank(file: Path | None, generator: StyleGAN2, clip: Encoder, images: int) -> ChannelDirections:
    """The bank from a file that an earlier call, finished or not, left."""
    sweep = Sweep(images=images, statistics=2000)
    return ChannelDirections.build(generator, clip, sweep=sweep, checkpoint=file)


def earlier_rows(out: Path | None, told: Mapping[str, object]) -> list[dict[str, float | str]]:
    """Rows that an earlier call left in its file.

    Args:
        out: the file; none if it does not exist.
        told: what the rows were made with; another classifier that was trained alike may differ in accuracy.

    Raises:
        DataError: if they were made with something else.
    """
    if out is None or not out.is_file():
        return []
    try:
        stored = json.loads(out.read_text(encoding="utf-8"))
        differ = [key for key in told if key != "classifier" and stored.get(key) != told[key]]
        rows = list(stored["rows"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{out} is no table of edits: {error}", hint="another file for --out") from error
    if differ:
        raise DataError(f"{out} is of another {', '.join(differ)}", hint="another file for --out")
    return rows


@click.command()
@click.option("--model", default="tiny-rn", show_default=True)
@click.option("--generator", "file", default="tiny", show_default=True)
@click.option("--faces", default=64, show_default=True)
@click.option("--seed", default=41, show_default=True, help="Of the faces; settings were chosen with others.")
@click.option("--methods", "chosen", default=",".join(METHODS), show_default=True)
@click.option("--prompts", default="", help="Sentences of the table, with ; between them; all if empty.")
@click.option("--classifier-steps", default=1200, show_default=True)
@click.option("--set", "changed", multiple=True, help="A setting of a method, such as alpha=6.")
@click.option("--cache", type=click.Path(path_type=Path), default=None, help="Folder for classifier and banks.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Write the table as JSON.")
def main(
    model: str,
    file: str,
    faces: int,
    seed: int,
    chosen: str,
    prompts: str,
    classifier_steps: int,
    changed: tuple[str, ...],
    cache: Path | None,
    out: Path | None,
) -> None:
    """Print a row for each sentence and method, and what it comes to."""
    settings = Settings()
    for key, _, value in (one.partition("=") for one in changed):
        settings = replace(settings, **{key: type(getattr(settings, key))(float(value))})
    generator, clip = load_stylegan2(file), clipzoo.load_clip(model)
    generator.dtype = torch.bfloat16
    classifier = stored_classifier(cache and cache / "classifier.safetensors", classifier_steps)
    found = accuracy(classifier)
    click.echo("classifier: " + ", ".join(f"{name} {share:.2f}" for name, share in found.items()))
    methods = chosen.split(",")
    bank = None
    if "directions" in methods:
        mark = f"{model}-{clip.fingerprint[:8]}-{fingerprint(generator)[:8]}-{settings.bank_images}"
        bank = stored_bank(cache and cache / f"bank-{mark}.safetensors", generator, clip, settings.bank_images)
    sentences = [one.strip() for one in prompts.split(";")] if prompts else list(EDITS)
    told = {
        "model": model,
        "generator": file,
        "faces": faces,
        "seed": seed,
        "settings": asdict(settings),
        "classifier": found,
    }
    rows = earlier_rows(out, told)
    everything = Methods(generator, clip, model, settings, bank)
    done = {(str(row["method"]), str(row["prompt"])) for row in rows}
    for row in table(classifier, everything, faces, methods, sentences, seed, done):
        rows.append(row)
        numbers = f"raised {row['raised']:.2f}  gain {row['gain']:+.2f}  others {row['others']:.2f}"
        click.echo(f"{row['method']:10s} {row['prompt']:30s} {numbers}")
        if out is not None:
            part = out.with_name(f".{out.name}.part")
            text = json.dumps(told | {"summary": summary(rows), "rows": rows}, indent=1)
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(out)
    for method, row in summary(rows).items():
        click.echo(f"{method:10s} " + "  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    good, attributes = reached_by_all(rows)
    click.echo(f"by all methods: {len(good)} sentences of {len(attributes)} attributes ({', '.join(attributes)})")


if __name__ == "__main__":
    main()
