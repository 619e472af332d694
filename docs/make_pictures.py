"""The pictures of the pages, made with the bundled encoders on procedural data.

uv run python docs/make_pictures.py [NAME ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import clipzoo
from clipzoo.images.sheets import captioned_sheet

FOLDER = Path(__file__).parent / "pictures"


def save(image: Image.Image, name: str, colours: int = 96) -> None:
    """A palette is enough, and a few dozen kilobytes."""
    small = image.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(FOLDER / f"{name}.png", optimize=True)


def shown(pixels: torch.Tensor) -> Image.Image:
    """Floats [3, H, W] in [0, 1] as an image."""
    return Image.fromarray((pixels.detach().permute(1, 2, 0).clamp(0, 1).numpy() * 255).round().astype(np.uint8))


def zeroshot() -> None:
    """Scenes that were never shown, and the sentence that fits each best among 128."""
    from clipzoo.data.pictograms import COLOURS, SHAPES
    from clipzoo.data.scenes import scene_dataset

    clip = clipzoo.load_clip("tiny-rn", device="cpu")
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    scenes = scene_dataset(12, seed=3, objects=1, combinations="held-out")
    pixels = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).float() / 255
    scores = (clip.logit_scale * clip.encode_image(pixels) @ clip.classifier(names).T).softmax(-1)
    best = scores.max(-1)
    cells = [
        (Image.fromarray(scene.image), f"{names[place]} {score:.0%}")
        for scene, score, place in zip(scenes, best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    save(captioned_sheet(cells, columns=6, cell_px=120), "zeroshot", 64)


def clipasso() -> None:
    """One drawing, and its most important strokes alone."""
    from clipzoo_sketch import CLIPasso
    from clipzoo_sketch.animation import picture, pictures

    painter = CLIPasso(clipzoo.load_clip("tiny-rn", device="cpu"), clipzoo.load_clip("tiny", device="cpu"), views=2)
    sketch = painter.sketch("toy:fish,blue", strokes=[16], restarts=1, steps=150, seed=1)
    ink = sketch.levels[-1].ink
    counts = [4, 8, 12, 16]
    cells = [(picture(sketch.target.pixels[0]), "photo")]
    cells += [
        (image, f"{count} strokes")
        for image, count in zip(pictures([ink.first(count) for count in counts], 280), counts, strict=True)
    ]
    save(captioned_sheet(cells, columns=5, cell_px=170), "clipasso", 32)


def clipdraw() -> None:
    """A drawing on its way."""
    from clipzoo_sketch import CLIPDraw
    from clipzoo_sketch.animation import pictures

    artist = CLIPDraw([clipzoo.load_clip("tiny", device="cpu"), clipzoo.load_clip("tiny-rn", device="cpu")], views=2)
    done = artist.draw("a red heart", paths=32, steps=120, size=128, trace_every=1)
    way = done.way()
    chosen = [way[round(place * (len(way) - 1) / 4)] for place in range(5)]
    images = pictures([ink for _, ink in chosen], 240)
    cells = [(image, f"step {step}") for image, (step, _) in zip(images, chosen, strict=True)]
    save(captioned_sheet(cells, columns=5, cell_px=170), "clipdraw", 96)


def styleclip() -> None:
    """Faces before and after sentences, by optimisation and by a mapper with the settings of the bundled generator."""
    from clipzoo_style import Latent, LatentMapper, LatentOptimizer, load_stylegan2
    from clipzoo_style.encoding import templates_for
    from clipzoo_style.presets import TINY

    generator, clip = load_stylegan2("tiny"), clipzoo.load_clip("tiny-rn", device="cpu")
    codes = generator.sample(4, seed=2)
    search, training = TINY["optimise"], TINY["mapper"]
    optimizer = LatentOptimizer(
        generator,
        clip,
        steps=search.steps,
        rate=search.rate,
        l2=search.l2,
        space=search.space,
        neutral="a face",
        templates=templates_for("auto", "tiny-rn"),
        jitter=search.jitter,
    )
    train = Latent("w+", generator.w_plus(generator.sample(1000, seed=11)).contiguous())
    start = Latent("w+", generator.w_plus(codes).contiguous())
    columns = [(generator.synthesize(codes), "before")]
    for sentence in ("a face with a hat", "a face with dark skin", "a face with an open mouth"):
        columns.append((generator.synthesize(optimizer.edit(codes, sentence).after), f"{sentence}, optimised"))
        mapper = LatentMapper.for_generator(generator)
        mapper.fit(
            generator,
            clip,
            sentence,
            train,
            steps=training.steps,
            batch_size=training.batch,
            rate=training.rate,
            optimiser=training.optimiser,
            decay=training.decay,
            l2=training.l2,
        )
        columns.append((generator.synthesize(mapper.apply(start)), f"{sentence}, mapper"))
    cells = [(shown(images[row]), title) for row in range(len(codes)) for images, title in columns]
    save(captioned_sheet(cells, columns=len(columns), cell_px=110), "styleclip", 128)


PICTURES: dict[str, Callable[[], None]] = {
    "zeroshot": zeroshot,
    "clipasso": clipasso,
    "clipdraw": clipdraw,
    "styleclip": styleclip,
}


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    for name in names or PICTURES:
        start = time.perf_counter()
        PICTURES[name]()
        print(f"{name}: {(FOLDER / f'{name}.png').stat().st_size / 1e3:.0f} kB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
