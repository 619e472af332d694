"""Draw the faces of the README: ``python -m clipzoo_style.training.sheet``.

The first faces of a seed, and each of them after some sentences by global directions; a strength for each sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

import clipzoo
from clipzoo.images.sheets import captioned_sheet
from clipzoo_style.checkpoints import load_stylegan2
from clipzoo_style.directions import ChannelDirections, Sweep
from clipzoo_style.encoding import Encoder, templates_for
from clipzoo_style.latents import Latent
from clipzoo_style.presets import TINY_BANK
from clipzoo_style.stylegan2 import StyleGAN2

STRENGTHS: Mapping[str, float] = {
    "a face with sunglasses": 3.0,
    "a face with a red hat": 4.0,
    "a face with a beard": 3.0,
    "a face with long hair": 3.5,
    "a face with dark skin": 2.0,
    "a face with an open mouth": 2.5,
    "a face on a pink background": 4.5,
}
"""Sentences of the sheet, and the alpha of each."""

NEUTRAL = "a face"


def sheet(
    generator: StyleGAN2,
    clip: Encoder,
    bank: ChannelDirections,
    codes: Latent,
    strengths: Mapping[str, float],
    *,
    model: str = "tiny-rn",
    beta: float = 0.25,
    cell_px: int = 100,
) -> Image.Image:
    """A row for each code: its image, and one after each sentence."""
    templates = templates_for("auto", model)
    columns = [("before", generator.synthesize(codes))]
    for sentence, alpha in strengths.items():
        found = bank.edit(generator, clip, codes, NEUTRAL, sentence, alpha=alpha, beta=beta, templates=templates)
        columns.append((sentence, generator.synthesize(found.after)))
    cells = [(_picture(images[row]), title) for row in range(len(codes)) for title, images in columns]
    return captioned_sheet(cells, columns=len(columns), cell_px=cell_px)


def _picture(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels.permute(1, 2, 0).clamp(0, 1).numpy() * 255).round().astype(np.uint8))


@click.command()
@click.option("--model", default="tiny-rn", show_default=True)
@click.option("--faces", default=5, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the faces.")
@click.option("--bank-images", default=TINY_BANK, show_default=True, help="That each channel is tried on.")
@click.option("--beta", default=0.25, show_default=True)
@click.option("--bank", type=click.Path(path_type=Path), default=None, help="File that the bank is kept in.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("edits.png"), show_default=True)
def main(model: str, faces: int, seed: int, bank_images: int, beta: float, bank: Path | None, out: Path) -> None:
    """Write the sheet."""
    generator, clip = load_stylegan2("tiny"), clipzoo.load_clip(model)
    sweep = Sweep(images=bank_images, statistics=2000)
    generator.dtype = torch.bfloat16
    made = ChannelDirections.build(generator, clip, sweep=sweep, checkpoint=bank)
    generator.dtype = torch.float32
    drawn = sheet(generator, clip, made, generator.sample(faces, seed=seed), STRENGTHS, model=model, beta=beta)
    # A palette is enough, and a few dozen kilobytes.
    drawn.quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main()
