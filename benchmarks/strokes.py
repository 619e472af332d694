"""Time of the stroke rasteriser, forward and backward, beside pydiffvg in the same run where that is installed.

uv run python benchmarks/strokes.py [--backend auto] [--device cpu] [--rounds 15] [--threads 2]
"""

from __future__ import annotations

import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import click
import torch
from clipzoo_sketch import rasterize
from torch import Tensor

SIDE_PX = 224


@dataclass(frozen=True)
class Load:
    """Strokes that start anywhere and wander ``step`` of the canvas from control point to control point."""

    name: str
    paths: int
    step: float
    segments: int = 1
    canvases: int = 1
    painted: bool = False  # RGBA and widths optimised too, as in CLIPDraw
    filled: bool = False
    side_px: int = SIDE_PX

    def tensors(self, device: str) -> dict[str, Tensor]:
        """What the rasteriser takes."""
        generator = torch.Generator().manual_seed(0)
        steps = (torch.rand(self.canvases, self.paths, 3 * self.segments, 2, generator=generator) - 0.5) * self.step
        start = torch.rand(self.canvases, self.paths, 1, 2, generator=generator)
        colours = torch.rand(self.canvases, self.paths, 4, generator=generator)
        black = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand_as(colours)
        made = {
            "points": torch.cat([start, steps], 2).cumsum(2) * self.side_px,
            "widths": torch.full((self.canvases, self.paths), 2.0 if self.painted else 3.0),
            "colors": colours if self.painted else black.clone(),
        }
        if self.filled:
            made["fill"] = colours.flip(-2).clone()
        return {
            name: tensor.to(device).requires_grad_(self.painted or name == "points") for name, tensor in made.items()
        }


LOADS = [
    *(Load(f"CLIPasso's start, {n} strokes", n, 0.05) for n in (1, 4, 16, 32, 64, 256)),
    *(Load(f"long strokes, {n}", n, 0.5) for n in (1, 4, 16, 32, 64, 256)),
    Load("CLIPasso's start, 3 restarts x 16", 16, 0.05, canvases=3),
    *(Load(f"CLIPDraw, {n} paths, all gradients", n, 0.1, 2, painted=True) for n in (16, 64, 256)),
    Load("filled blobs, 64, all gradients", 64, 0.3, painted=True, filled=True),
]
GROWTH = [Load(f"16 long strokes, canvas {side}", 16, 0.5, side_px=side) for side in (64, 128, 256, 512, 1024, 2048)]


def timed(load: Load, backend: str, device: str, rounds: int) -> tuple[float, float]:
    """Median milliseconds forward and backward, after two rounds that are not counted."""
    given = load.tensors(device)
    size = (load.side_px, load.side_px)
    gradient = torch.rand(load.canvases, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    wait: Callable[[], None] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    spent: list[tuple[float, float]] = []
    for _ in range(rounds + 2):
        wait()
        start = time.perf_counter()
        image = rasterize(**given, size=size, closed=load.filled, backend=backend)
        wait()
        middle = time.perf_counter()
        image.backward(gradient)
        wait()
        spent.append((middle - start, time.perf_counter() - middle))
    forward, backward = zip(*spent[2:], strict=True)
    return 1000 * statistics.median(forward), 1000 * statistics.median(backward)


def covered_share(load: Load) -> float:
    """Share of the canvas, in per cent, that is covered, counted once for each stroke."""
    given = load.tensors("cpu")
    canvases, paths = given["widths"].shape
    alone = {name: tensor.detach().flatten(0, 1)[:, None] for name, tensor in given.items() if name != "fill"}
    alone["colors"] = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(canvases * paths, 1, 4)
    covered = 0.0
    for part in range(0, canvases * paths, 16):
        few = {name: tensor[part : part + 16] for name, tensor in alone.items()}
        covered += (1 - rasterize(**few, size=(load.side_px, load.side_px))[:, 0]).sum().item()
    return 100 * covered / (canvases * load.side_px**2)


@click.command(help=__doc__)
@click.option("--backend", default="auto", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(backend: str, device: str, rounds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    peer = importlib.util.find_spec("pydiffvg") is not None
    machine = platform.processor() or platform.machine()
    print(f"{machine}, torch {torch.__version__}, {device}, {backend}, {threads} threads")
    heads = "".join(f"{head:>11}" for head in ("covered", "forward", "backward", "total", *("diffvg", "ratio") * peer))
    print(f"{'milliseconds, median of ' + str(rounds):44s}{heads}")
    for load in [*LOADS, *GROWTH]:
        forward, backward = timed(load, backend, device, rounds)
        line = f"{load.name:44s}{covered_share(load):10.2f}%{forward:11.2f}{backward:11.2f}{forward + backward:11.2f}"
        if peer:
            theirs = sum(timed(load, "diffvg", device, max(3, rounds // 5)))
            line += f"{theirs:11.1f}{theirs / (forward + backward):11.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
