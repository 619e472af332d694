"""Time and memory of a StyleGAN2 with random weights, and what its work asks of a machine.

uv run python benchmarks/stylegan.py [--size 1024] [--batch 1] [--dtype fp32|bf16] [--no-checkpointing] [--rounds 3]

Counts come first: operations and bytes of each layer, and what StyleCLIP's jobs come to on an H200. Then an image, an
edit in S and a gradient are timed, the median of some rounds, with the peak of memory of the whole process.
"""

from __future__ import annotations

import resource
import sys

import click
import torch
from _rows import report
from _timing import median_s
from clipzoo_style.stylegan2 import StyleGAN2, config_f_channels

BENCH = {
    "needs": ["clipzoo_style"],
    "full": [],
    "quick": ["--size", "256", "--rounds", "2"],
    "cuda": ["--device", "cuda", "--batch", "8"],
    "timeout_s": 600,
    "quick_timeout_s": 60,
}

H200 = {"fp32": 60e12, "bf16": 790e12, "bytes": 4.8e12}
"""Operations and bytes a second that such a device does; fp32 without tensor cores."""

VIT_B_32 = 8.8e9
"""Operations of CLIP's ViT-B/32 for an image."""

BACKWARD = 3.0
"""Operations of a pass with its gradients, in passes without; one more where activations are computed again."""


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


def h200_jobs(flop: float, moved: float, dtype: str) -> list[tuple[str, float]]:
    """What StyleCLIP's jobs of published length need at least on an H200, s, from one image's operations and bytes."""

    def seconds(images: float, passes: float) -> float:
        return images * max(passes * (flop + VIT_B_32) / H200[dtype], passes * moved / H200["bytes"])

    return [
        ("optimisation, 300 steps", seconds(300, BACKWARD)),
        ("mapper, 50 000 steps of 2", seconds(100_000, BACKWARD)),
        ("bank, 5376 channels x 100 images x 2", seconds(5376 * 200, 1)),
        ("an edit", max(flop / H200[dtype], moved / H200["bytes"])),
    ]


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
    flop, moved = 2 * sum(float(row["work"]) for row in rows), sum(float(row["bytes"]) for row in rows)
    numbers = sum(parameter.numel() for parameter in generator.parameters())
    click.echo(
        f"StyleGAN2 of {size} px, {numbers / 1e6:.1f} M weights, batch {batch}, {dtype}, torch {torch.__version__}"
    )
    for row in sorted(rows, key=lambda row: -float(row["work"]))[:4]:
        click.echo(f"  {row['layer']:10s} {row['side']:5d} px  {2 * float(row['work']) / 1e9:8.1f} GFLOP")
    click.echo("on an H200 at least, by operations and bytes:")
    for job, seconds in h200_jobs(flop / batch, moved / batch, dtype):
        click.echo(f"  {job:38s} {seconds:10.4f} s")
    code = torch.randn(batch, generator.num_layers, generator.style_dim, device=place)
    styles = generator.styles(code)

    def image() -> None:
        with torch.no_grad():
            generator.render(code)

    def edit() -> None:
        with torch.no_grad():
            generator.render(styles.moved(torch.ones_like(styles.codes), 0.1))

    def gradient() -> None:
        code.grad = None
        generator.render(code).square().mean().backward()

    name = f"StyleGAN2, {size} px, batch {batch}, {dtype}"
    told = {"dtype": dtype, "device": place.type}
    for job, work in (("an image", image), ("an edit in S", edit)):
        seconds = median_s(work, rounds, device)
        report(f"{name}: {job}", seconds, flop=flop, moved_bytes=moved, note=f"peak {peak_gb(place):.2f} GB", **told)
    generator.checkpointing = checkpointing
    code.requires_grad_()
    passes = BACKWARD + checkpointing
    report(
        f"{name}: gradient of the code{', checkpointing' if checkpointing else ''}",
        median_s(gradient, rounds, device),
        flop=passes * flop,
        moved_bytes=passes * moved,
        note=f"peak {peak_gb(place):.2f} GB",
        **told,
    )


if __name__ == "__main__":
    main()
