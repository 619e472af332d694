"""The numbers that the bundled encoders are pinned by: ``python -m clipzoo_train.toy.golden tiny``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.encoders import FrozenCLIP, load_clip

SENTENCE = "a photo of a red circle."


def golden_pixels() -> Float[Tensor, "1 3 64 64"]:
    """A fixed wave a channel: no random generator that another version could change."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    return torch.stack([0.5 + 0.5 * torch.sin(6 * x + k) * torch.cos(5 * y - k) for k in range(3)])[None]


@torch.no_grad()
def golden_numbers(clip: FrozenCLIP) -> dict[str, Any]:
    """Embeddings of the wave and of one sentence to five digits, and the fingerprint of the weights."""
    rows = {"image": clip.encode_image(golden_pixels())[0], "text": clip.encode_text([SENTENCE])[0]}
    digits = {name: [round(float(value), 5) for value in row] for name, row in rows.items()}
    return {"fingerprint": clip.fingerprint, "sentence": SENTENCE, **digits}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("tests/golden"), show_default=True)
def main(names: tuple[str, ...], out: Path) -> None:
    """Write the numbers of the bundled encoders NAMES, as the tests compare them."""
    for name in names:
        numbers = golden_numbers(load_clip(name, device="cpu"))
        (out / f"{name}.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
        click.echo(f"{out / name}.json: {numbers['fingerprint']}")


if __name__ == "__main__":
    main()
