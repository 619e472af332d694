"""DepthCLIP with flip averaging beside two passes of its encoder, in the same run, in turns.

uv run python benchmarks/depth.py [--device cuda] [--batch 8]
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from typing import Any

import click
import torch
from _rows import report
from _timing import in_turns
from clipzoo_depth import DepthCLIP
from torch import Tensor, nn
from torch.nn.functional import interpolate

import clipzoo
from clipzoo.encoders.pixels import normalise_pixels

BENCH = {
    "needs": ["clipzoo_depth"],
    "quick": ["--repeats", "2", "--height", "224", "--width", "288"],
    "full": ["--repeats", "5"],
    "cuda": ["--device", "cuda", "--batch", "8"],
    "quick_timeout_s": 40,
}
FLOOR = "two encoder passes"


def pooling_of(visual: Any, rows: int, columns: int) -> Any:
    """The encoder's own pooling, with positions for a grid of another size."""
    pool = copy.deepcopy(visual.attnpool)
    position = pool.positional_embedding
    side = round((len(position) - 1) ** 0.5)
    square = position[1:].T.reshape(1, -1, side, side)
    resized = interpolate(square, size=(rows, columns), mode="bilinear", align_corners=True)
    pool.positional_embedding = nn.Parameter(torch.cat([position[:1], resized[0].flatten(1).T]), requires_grad=False)
    return pool


def two_passes(visual: Any, pool: Any, pixels: Tensor) -> Tensor:
    """The embeddings of the image and of its mirror image, as open_clip computes them at this size; nothing else."""
    rows = []
    for way in (pixels, pixels.flip(-1)):
        way = normalise_pixels(way, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        rows.append(pool(visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(way)))))))
    return torch.cat(rows)


@click.command()
@click.option("--model", default="RN50", show_default=True, help="open_clip architecture, with random weights")
@click.option("--batch", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--repeats", default=7, show_default=True)
@click.option("--height", default=416, show_default=True)
@click.option("--width", default=544, show_default=True)
def main(model: str, batch: int, device: str, repeats: int, height: int, width: int) -> None:
    """Measure the method in turns with two passes of its encoder alone, below which it cannot come."""
    clip = clipzoo.load_clip(f"{model}/random", device=device)
    visual = clip.model.visual
    pool = pooling_of(visual, height // 32, width // 32)
    method = DepthCLIP(clip)
    pixels = torch.rand(batch, 3, height, width, device=device)
    jobs: dict[str, Callable[[], Tensor]] = {
        FLOOR: lambda: two_passes(visual, pool, pixels),
        "attnpool": lambda: method.predict(pixels),
    }
    if clip.embed_dim == 1024:  # the released projection takes every second channel of layer4
        released = DepthCLIP(clip, projection="even_channels")
        jobs["even_channels"] = lambda: released.predict(pixels)
    with torch.inference_mode():
        spent = in_turns(jobs, repeats, device)
    floor_s = statistics.median(spent.pop(FLOOR))
    for projection, times in spent.items():
        report(
            f"DepthCLIP {projection}, {model}, {batch} x {height} x {width} px, flip included",
            statistics.median(times),
            floor=FLOOR,
            floor_s=floor_s,
            device=device,
            note="even_channels leaves out the attention pooling that the two passes have"
            if projection == "even_channels"
            else "",
        )


if __name__ == "__main__":
    main()
