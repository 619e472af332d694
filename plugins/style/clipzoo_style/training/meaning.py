"""Measure what edits mean: ``python -m clipzoo_style.training.meaning``.

A small classifier learns the attributes of the procedural faces from the renderer, without CLIP. It says, for each
attribute and method, in how many faces the edit raised the attribute, and how much it changed the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import clipzoo
from clipzoo.data.faces import FACE_ATTRIBUTES, FACE_NUMBERS, face_labels, faces_from_uniforms, render_faces
from clipzoo_style.checkpoints import load_stylegan2
from clipzoo_style.directions import ChannelDirections, Sweep
from clipzoo_style.encoding import Encoder, templates_for
from clipzoo_style.latent_optimisation import LatentOptimizer
from clipzoo_style.latents import Latent
from clipzoo_style.mapper import LatentMapper
from clipzoo_style.stylegan2 import StyleGAN2

EDITS: dict[str, tuple[str, str]] = {
    "a smiling face": ("expression", "smiling"),
    "a sad face": ("expression", "sad"),
    "a face with glasses": ("glasses", "glasses"),
    "a face with sunglasses": ("glasses", "sunglasses"),
    "a face with a red hat": ("hat", "red"),
    "a bearded face": ("beard", "beard"),
    "a face with long hair": ("hair length", "long"),
    "a face with blonde hair": ("hair colour", "blonde"),
    "an old face": ("age", "old"),
    "a face with dark skin": ("skin", "dark"),
}
"""Sentences, and the attribute and value that each asks for."""

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


def train_classifier(steps: int = 1500, batch: int = 64, seed: int = 0, blur: float = 0.5) -> AttributeClassifier:
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


@torch.no_grad()
def judged(
    classifier: AttributeClassifier, before: Tensor, after: Tensor, attribute: str, value: str
) -> dict[str, float]:
    """What an edit did.

    Returns:
        ``raised``: share of faces whose probability of the value rose (those that had it for certain are left out);
        ``gain``: mean rise; ``others``: mean change of the other attributes, as total variation of their probabilities.
    """
    names = list(FACE_ATTRIBUTES)
    old, new = ([row.softmax(1) for row in classifier(images)] for images in (before, after))
    place = names.index(attribute)
    column = FACE_ATTRIBUTES[attribute].index(value)
    was, now = old[place][:, column], new[place][:, column]
    open_ = was < 0.9
    others = [(new[k] - old[k]).abs().sum(1).mean() / 2 for k in range(len(names)) if k != place]
    if not bool(open_.any()):
        return {"raised": 1.0, "gain": 0.0, "others": float(torch.stack(others).mean())}
    return {
        "raised": float((now > was)[open_].float().mean()),
        "gain": float((now - was)[open_].mean()),
        "others": float(torch.stack(others).mean()),
    }


def methods(
    generator: StyleGAN2,
    clip: Encoder,
    codes: Latent,
    model: str,
    steps: int,
    mapper_steps: int,
    alpha: float,
    images: int,
) -> dict[str, Callable[[str], Latent]]:
    """The three methods, each from a sentence to edited codes."""
    bank = ChannelDirections.build(generator, clip, sweep=Sweep(images=images, statistics=2000))
    optimizer = LatentOptimizer(generator, clip, steps=steps)
    chosen = templates_for("auto", model)

    def mapped(prompt: str) -> Latent:
        mapper = LatentMapper.for_generator(generator)
        train = generator.sample(1000, seed=11, truncation=1.0)
        rows = Latent("w+", generator.w_plus(train).contiguous())
        mapper.fit(generator, clip, prompt, rows, steps=mapper_steps, batch_size=8, rate=0.5, l2=0.8)
        return mapper.apply(Latent("w+", generator.w_plus(codes).contiguous()))

    return {
        "directions": lambda prompt: (
            bank.edit(generator, clip, codes, "a face", prompt, alpha=alpha, templates=chosen).after
        ),
        "optimise": lambda prompt: optimizer.edit(codes, prompt).after,
        "mapper": mapped,
    }


@click.command()
@click.option("--model", default="tiny", show_default=True)
@click.option("--generator", "file", default="tiny", show_default=True)
@click.option("--faces", default=64, show_default=True)
@click.option("--steps", default=60, show_default=True, help="Of the optimisation.")
@click.option("--mapper-steps", default=300, show_default=True)
@click.option("--classifier-steps", default=1500, show_default=True)
@click.option("--alpha", default=6.0, show_default=True)
@click.option("--bank-images", default=24, show_default=True)
@click.option("--edits", default=len(EDITS), show_default=True, help="How many of the sentences.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Write the table as JSON.")
def main(
    model: str,
    file: str,
    faces: int,
    steps: int,
    mapper_steps: int,
    classifier_steps: int,
    alpha: float,
    bank_images: int,
    edits: int,
    out: Path | None,
) -> None:
    """Print a row for each sentence and method."""
    generator, clip = load_stylegan2(file), clipzoo.load_clip(model)
    classifier = train_classifier(classifier_steps)
    found = accuracy(classifier)
    click.echo("classifier: " + ", ".join(f"{name} {share:.2f}" for name, share in found.items()))
    codes = generator.sample(faces, seed=5, truncation=0.9)
    with torch.no_grad():
        before = generator.synthesize(codes)
    rows = []
    for method, edit in methods(generator, clip, codes, model, steps, mapper_steps, alpha, bank_images).items():
        for prompt, (attribute, value) in list(EDITS.items())[:edits]:
            edited = edit(prompt)
            with torch.no_grad():
                after = generator.synthesize(edited)
            row = {"method": method, "prompt": prompt, **judged(classifier, before, after, attribute, value)}
            rows.append(row)
            numbers = f"raised {row['raised']:.2f}  gain {row['gain']:+.2f}  others {row['others']:.2f}"
            click.echo(f"{method:10s} {prompt:26s} {numbers}")
    if out is not None:
        out.write_text(json.dumps({"classifier": found, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
