"""Time and memory of a StyleGAN2 with random weights, and what its work asks of a machine.

uv run python benchmarks/stylegan.py [--size 1024] [--batch 1] [--dtype fp32|bf16] [--no-checkpointing] [--rounds 3]

Counts come first: multiplications and bytes of each layer, and the time that a device of a given speed needs at least.
Then images and gradients are timed, the median of some rounds, with the peak of memory of the whole process.
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable

import click
import torch
from clipzoo_style.stylegan2 import StyleGAN2, config_f_channels

DEVICES = {
    "H200": {"fp32": 60e12, "bf16": 790e12, "bytes": 4.8e12},
    "2 cores": {"fp32": 0.2e12, "bf16": 0.3e12, "bytes": 3e10},
}
"""Floating-point operations and bytes a second: what such a device does in practice, not what is printed on it."""


def layer_counts(generator: StyleGAN2, batch: int, bytes_a_number: int) -> list[dict[str, float | str]]:
    """Multiply-adds and bytes (weights once, activations in and out) of every layer's forward pass."""
    rows: list[dict[str, float | str]] = []
    for layer in generator.style_layers:
        weight = generator.get_submodule(layer.name).conv.weight
        out, into, side = weight.shape[1], weight.shape[2], weight.shape[3]
        up = layer.name.startswith("convs.") and int(layer.name.split(".")[1]) % 2 == 0
        # A transposed convolution reads each input pixel once; the filter after it has sixteen taps a channel.
        pixels = layer.resolution**2
        work = batch * (out * into * side**2 * (pixels // 4 if up else pixels) + (16 * out * pixels if up else 0))
        moved = weight.numel() + batch * (into * (pixels // 4 if up else pixels) + out * pixels * (3 if up else 1))
        rows.append({"layer": layer.name, "side": layer.resolution, "work": work, "bytes": moved * bytes_a_number})
    return rows


def timed(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Median of some rounds, seconds."""
    seconds = []
    for _ in range(rounds):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_gb(device: torch.device) -> float:
    """Most memory that was in use at once."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


@click.command()
@click.option("--size", default=1024, show_default=True)
@click.option("--batch", default=1, show_default=True)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--checkpointing/--no-checkpointing", default=True, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(size: int, batch: int, dtype: str, checkpointing: bool, device: str, rounds: int) -> None:
    """Count, then measure."""
    place = torch.device(device)
    torch.manual_seed(0)
    generator = StyleGAN2(size, channels=config_f_channels(size)).to(place).eval().requires_grad_(False)
    generator.dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    rows = layer_counts(generator, batch, 2 if dtype == "bf16" else 4)
    work, moved = 2 * sum(float(row["work"]) for row in rows), sum(float(row["bytes"]) for row in rows)
    numbers = sum(parameter.numel() for parameter in generator.parameters())
    click.echo(f"StyleGAN2 {size} px, {numbers / 1e6:.1f} M weights, batch {batch}, {dtype}, torch {torch.__version__}")
    click.echo(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, device {place}")
    click.echo(
        f"forward: {work / 1e9:.0f} GFLOP, {moved / 1e9:.2f} GB; with gradients of the code about three times that"
    )
    for name, speed in DEVICES.items():
        floor = max(work / speed[dtype], moved / speed["bytes"])
        click.echo(f"  floor on {name}: image {floor * 1e3:.2f} ms, gradient step {3 * floor * 1e3:.2f} ms")
    for row in sorted(rows, key=lambda row: -float(row["work"]))[:4]:
        click.echo(f"  {row['layer']:10s} {row['side']:5d} px  {2 * float(row['work']) / 1e9:8.1f} GFLOP")
    code = torch.randn(batch, generator.num_layers, generator.style_dim, device=place)
    with torch.no_grad():
        styles = generator.styles(code)
        image_s = timed(lambda: generator.render(code), rounds, place)
        edit_s = timed(lambda: generator.render(styles.moved(torch.ones_like(styles.codes), 0.1)), rounds, place)
    click.echo(f"image {image_s:.3f} s, edit in S {edit_s:.3f} s, peak {peak_gb(place):.2f} GB")
    generator.checkpointing = checkpointing
    code.requires_grad_()

    def step() -> None:
        code.grad = None
        generator.render(code).square().mean().backward()

    gradient_s = timed(step, rounds, place)
    click.echo(
        f"gradient step {gradient_s:.3f} s ({gradient_s / image_s:.1f} images), "
        f"checkpointing {'on' if checkpointing else 'off'}, peak {peak_gb(place):.2f} GB"
    )
    here = DEVICES["H200" if place.type == "cuda" else "2 cores"]
    floor = max(work / here[dtype], moved / here["bytes"])
    click.echo(f"image is {image_s / floor:.1f} times the floor")


if __name__ == "__main__":
    main()
