"""The stroke rasteriser forward and backward, beside pydiffvg where that is installed; the parts of a step of CLIPasso.

A step is timed with encoders of the paper's size and random weights: RN101 for the loss; ViT-B/32 says once, before the
first step, where strokes begin.

uv run python benchmarks/strokes.py [--backend auto] [--device cpu] [--rounds 15] [--threads 2]
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import torch
from _rows import report, seconds
from clipzoo_sketch import rasterize
from torch import Tensor

BENCH = {
    "needs": ["clipzoo_sketch"],
    "full": ["--rounds", "9"],
    "quick": ["--rounds", "3", "--few", "--no-step"],
    "cuda": ["--device", "cuda"],
    "timeout_s": 600,
    "quick_timeout_s": 60,
}

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
FEW = [
    load
    for load in LOADS
    if load.name in ("CLIPasso's start, 16 strokes", "long strokes, 16", "CLIPDraw, 256 paths, all gradients")
]


def timed(load: Load, backend: str, device: str, rounds: int) -> tuple[float, float]:
    """Median seconds forward and backward, after two rounds that are not counted."""
    given = load.tensors(device)
    size = (load.side_px, load.side_px)
    gradient = torch.rand(load.canvases, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    wait = waiter(device)
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
    return statistics.median(forward), statistics.median(backward)


def waiter(device: str) -> Callable[[], None]:
    """Waits for what is under way on a device."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


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


def step_parts(encoder: str, restarts: int, device: str, rounds: int) -> dict[str, float]:
    """Median seconds of the parts of one step of CLIPasso: 16 strokes at 224 px, five views a drawing.

    Args:
        encoder: of the loss; ``RN101/random`` has the size of the paper's.
        restarts: drawings in the batch.
        device: where.
        rounds: of which the median is taken, after one that is not counted.
    """
    from clipzoo_sketch.clipasso import CLIPasso, Lesson
    from clipzoo_sketch.ink import Ink
    from clipzoo_sketch.target import prepare_target

    from clipzoo import load_clip

    target = prepare_target("toy:fish,blue", SIDE_PX)
    painter = CLIPasso(load_clip(encoder, device=device), load_clip("ViT-B-32/random", device=device), tuning="paper")
    lesson = Lesson(painter, target, SIDE_PX, seed=0)
    given = Load("", 16, 0.05, canvases=restarts).tensors(device)
    ink = Ink(given["points"], given["widths"], given["colors"], SIDE_PX)
    wait = waiter(device)
    spent: dict[str, list[float]] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        wait()
        start = time.perf_counter()
        done = work()
        wait()
        spent.setdefault(name, []).append(time.perf_counter() - start)
        return done

    for turn in range(rounds + 1):
        part("once: where strokes begin", lambda: painter.starts(target)[0])
        drawn = part("rasteriser forward", lambda: lesson.render(ink))
        leaf = drawn.detach().requires_grad_()
        shown, photo, lines = part("views forward", lambda leaf=leaf, turn=turn: lesson.views(leaf, turn))
        wanted = part("encoder forward, photo", lambda photo=photo, lines=lines: lesson.wanted(photo, lines))
        seen = shown.detach().requires_grad_()
        loss = part("encoder forward, drawings", lambda seen=seen, wanted=wanted: lesson.compared(seen, wanted)["loss"])
        part("encoder backward", loss.sum().backward)
        part("views backward", lambda shown=shown, seen=seen: shown.backward(seen.grad))
        part("rasteriser backward", lambda drawn=drawn, leaf=leaf: drawn.backward(leaf.grad))
    return {name: statistics.median(times[1:]) for name, times in spent.items()}


def report_step(encoder: str, restarts: int, device: str, rounds: int) -> None:
    """The parts of a step, and the share of the rasteriser."""
    parts = step_parts(encoder, restarts, device, rounds)
    once = parts.pop("once: where strokes begin")
    whole = sum(parts.values())
    ours = parts["rasteriser forward"] + parts["rasteriser backward"]
    told = ", ".join(f"{name} {seconds(value)}" for name, value in parts.items())
    report(
        f"a step of CLIPasso, {restarts} x 16 strokes, {encoder}",
        whole,
        device=device,
        note=f"{told}; rasteriser {100 * ours / whole:.2g} % of the step; "
        f"once, under ViT-B/32: where strokes begin {seconds(once)}",
    )


@click.command(help=__doc__)
@click.option("--backend", default="auto", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=15, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--few", is_flag=True, help="Three loads alone.")
@click.option("--step/--no-step", default=True, help="The parts of a step of CLIPasso.")
@click.option("--encoder", default="RN101/random", show_default=True, help="Encoder of that step.")
@click.option("--restarts", default=1, show_default=True, help="Drawings in that step.")
def main(
    backend: str, device: str, rounds: int, threads: int, few: bool, step: bool, encoder: str, restarts: int
) -> None:
    """Report every load, then the step."""
    torch.set_num_threads(threads)
    peer = importlib.util.find_spec("pydiffvg") is not None
    for load in FEW if few else [*LOADS, *GROWTH]:
        forward, backward = timed(load, backend, device, rounds)
        beside = {}
        if peer:
            beside = {"peer": "diffvg", "peer_s": sum(timed(load, "diffvg", device, max(3, rounds // 5)))}
        report(
            f"{load.name}, {load.side_px} px",
            forward + backward,
            device=device,
            note=f"forward {seconds(forward)}, backward {seconds(backward)}, {covered_share(load):.2f} % covered",
            **beside,
        )
    if step:
        report_step(encoder, restarts, device, max(1, rounds // 3))


if __name__ == "__main__":
    main()
