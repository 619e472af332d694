"""DepthCLIP with flip averaging beside two passes of its encoder, in the same run, in turns.

uv run python benchmarks/depth.py [--device cuda] [--batch 8]
"""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import torch
from clipzoo_depth import DepthCLIP
from torch import Tensor, nn
from torch.nn.functional import interpolate

import clipzoo
from clipzoo.encoders.pixels import normalise_pixels


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


def milliseconds(work: Callable[[], Tensor], device: str, clock: Callable[[], float]) -> float:
    """Time of one call."""
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) * 1e3


@click.command()
@click.option("--model", default="RN50", show_default=True, help="open_clip architecture, with random weights")
@click.option("--batch", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--repeats", default=7, show_default=True)
@click.option("--clock", type=click.Choice(["wall", "cpu"]), default="wall", help="cpu: on a machine that does more")
@click.option("--height", default=416, show_default=True)
@click.option("--width", default=544, show_default=True)
def main(model: str, batch: int, device: str, repeats: int, clock: str, height: int, width: int) -> None:
    """Print milliseconds a call, and the ratio to two passes of the encoder alone."""
    read = time.perf_counter if clock == "wall" else time.process_time
    clip = clipzoo.load_clip(f"{model}/random", device=device)
    visual = clip.model.visual
    pool = pooling_of(visual, height // 32, width // 32)
    method = DepthCLIP(clip)
    released = DepthCLIP(clip, projection="even_channels") if clip.embed_dim == 1024 else None
    pixels = torch.rand(batch, 3, height, width, device=device)
    jobs: dict[str, Callable[[], Tensor]] = {
        "two encoder passes": lambda: two_passes(visual, pool, pixels),
        "DepthCLIP, attnpool": lambda: method.predict(pixels),
    }
    if released is not None:
        jobs["DepthCLIP, even_channels"] = lambda: released.predict(pixels)
    times: dict[str, list[float]] = {name: [] for name in jobs}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, work in jobs.items():
                spent = milliseconds(work, device, read)
                if turn:
                    times[name].append(spent)
    place = (
        torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"{model}, {batch} x {height} x {width} px, flip included, {clock} time, on {place}, torch {torch.__version__}"
    )
    base = times["two encoder passes"]
    for name, spent in times.items():
        ratio = statistics.median(one / other for one, other in zip(spent, base, strict=True))
        print(f"{name:<26} {statistics.median(spent):9.1f} ms   {ratio:5.2f} x")


if __name__ == "__main__":
    main()
