"""Speed of open-vocabulary detection without training: crops at once beside Pillow one by one, tier 1 beside tier 0.

uv run python benchmarks/regions.py [--device cuda] [--model ViT-B-32] [--proposals 300]

The encoder has random weights: speed does not depend on them.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import open_clip
import torch
from clipzoo_detect import GroupingProposer, ViLD, crop_regions
from clipzoo_detect.crops import region_crops
from clipzoo_detect.proposals import Proposals
from PIL import Image
from torch import Tensor

from clipzoo.encoders import FrozenCLIP


def sample_image(height: int, width: int) -> Image.Image:
    """Smooth random colours with some noise: as hard to resize as a photo."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + generator.integers(-12, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def sample_boxes(count: int, height: int, width: int) -> Tensor:
    """Random boxes, sides from a twentieth to the whole of the image."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.tensor([width, height])
    extent = whole * (0.05 + 0.6 * torch.rand(count, 2, generator=generator) ** 2)
    corner = (whole - extent) * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + extent], 1)


def one_by_one(image: Image.Image, boxes: Tensor, size: int, device: torch.device) -> Tensor:
    """What the published code does: cut and resize each crop with Pillow, stack, copy to the device."""
    crops = []
    for left, top, right, bottom in boxes.round().int().tolist():
        cut = image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.BICUBIC)
        crops.append(torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255)
    return torch.stack(crops).to(device)


def median_s(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Median wall time of one call in seconds, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


@click.command()
@click.option("--device", default="cpu")
@click.option("--model", default="ViT-B-32", help="architecture of open_clip, with random weights")
@click.option("--proposals", default=300)
@click.option("--height", default=480)
@click.option("--width", default=640)
@click.option("--repeats", default=3)
@click.option("--precision", default="fp32")
def main(device: str, model: str, proposals: int, height: int, width: int, repeats: int, precision: str) -> None:
    """Print times and ratios."""
    chosen = torch.device(device)
    torch.manual_seed(0)
    network = open_clip.create_model(model, pretrained=None).to(chosen)
    clip = FrozenCLIP(network, open_clip.get_tokenizer(model), model, precision=precision)
    picture = sample_image(height, width)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().to(chosen) / 255
    boxes = sample_boxes(proposals, height, width)
    crops, _ = region_crops(boxes, (height, width))
    size = clip.image_size

    def cut() -> None:
        for part in crops.to(chosen).split(128):
            crop_regions(image, part, size, "squash")

    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {device}, {model}")
    slow = median_s(lambda: one_by_one(picture, crops, size, chosen), repeats, chosen)
    fast = median_s(cut, repeats, chosen)
    print(f"{len(crops)} crops   Pillow {slow:.3f} s   at once {fast:.4f} s   {slow / fast:.1f}x faster")

    pixels = torch.rand(min(128, len(crops)), 3, size, size, device=chosen)

    @torch.no_grad()
    def encode() -> None:
        for first in range(0, len(crops), len(pixels)):
            clip.encode_image(pixels[: len(crops) - first], resize="none")

    fixed = Proposals(boxes, torch.rand(len(boxes)))
    names = ["cat", "traffic cone", "red umbrella"]
    tiers = {}
    for tier, features in enumerate(("crops", "dense")):
        method = ViLD(clip, features=features, proposer=lambda _: fixed, proposals=proposals)  # type: ignore[arg-type]
        method.vocabulary(names)
        tiers[tier] = median_s(lambda method=method: method.detect([image], names), repeats, chosen)
    floor = median_s(encode, repeats, chosen)
    print(
        f"tier 0    {tiers[0]:.3f} s an image   {tiers[0] / floor:.3f}x of encoding {len(crops)} images ({floor:.3f} s)"
    )
    print(f"tier 1    {tiers[1]:.4f} s an image   {tiers[0] / tiers[1]:.1f}x faster than tier 0")
    propose = median_s(lambda: GroupingProposer()(image), repeats, chosen)
    print(f"grouping  {propose:.3f} s an image, on the CPU (not in the figures above)")


if __name__ == "__main__":
    main()
