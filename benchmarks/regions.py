"""Detection without training: crops at once beside Pillow one by one, tier 0 beside its encoder, tier 1 beside tier 0.

uv run python benchmarks/regions.py [--device cuda] [--model ViT-B-32] [--proposals 300]

The encoder has random weights: speed does not depend on them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from _rows import report
from _timing import in_turns, median_s
from clipzoo_detect import GroupingProposer, Proposals, ViLD
from clipzoo_detect.crops import crop_batches, region_crops
from PIL import Image
from torch import Tensor

import clipzoo

BENCH = {
    "needs": ["clipzoo_detect"],
    "quick": ["--proposals", "30", "--repeats", "1"],
    "full": [],
    "cuda": ["--device", "cuda"],
    "timeout_s": 1800,
    "quick_timeout_s": 60,
}
PEER = "Pillow one by one"


def sample_image(height: int, width: int) -> Image.Image:
    """Smooth random colours with some noise: as hard to resize as a photo."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + generator.integers(-12, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def sample_boxes(count: int, height: int, width: int) -> Tensor:
    """Random boxes, sides from a twentieth to two thirds of the image."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.tensor([width, height])
    extent = whole * (0.05 + 0.6 * torch.rand(count, 2, generator=generator) ** 2)
    corner = (whole - extent) * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + extent], 1)


def one_by_one(image: Image.Image, boxes: Tensor, size: int, device: str) -> Tensor:
    """What the published code does: cut and resize each crop with Pillow, stack, copy to the device."""
    crops = []
    for left, top, right, bottom in boxes.round().int().tolist():
        cut = image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.BICUBIC)
        crops.append(torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255)
    return torch.stack(crops).to(device)


def operations(boxes: Tensor, size: int) -> float:
    """Multiplications and additions of a separable resize of each box, columns first."""
    extent = boxes[:, 2:] - boxes[:, :2]
    taps = 4 * (extent / size).clamp(min=1)
    return float((2 * 3 * size * (extent[:, 1] * taps[:, 0] + size * taps[:, 1])).sum())


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--model", default="ViT-B-32", show_default=True, help="open_clip architecture, with random weights")
@click.option("--proposals", default=300, show_default=True)
@click.option("--height", default=480, show_default=True)
@click.option("--width", default=640, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--precision", default="fp32", show_default=True)
def main(device: str, model: str, proposals: int, height: int, width: int, repeats: int, precision: str) -> None:
    """Measure crops in turns with Pillow, then both tiers in turns with their encoder alone."""
    clip = clipzoo.load_clip(f"{model}/random", device=device, precision=precision)
    picture = sample_image(height, width)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().to(device) / 255
    boxes = sample_boxes(proposals, height, width)
    crops, _ = region_crops(boxes, (height, width))
    size, count = clip.image_size, len(crops)

    def cut() -> None:
        for _ in crop_batches(image, crops, size, "squash"):
            pass

    times = in_turns({"ours": cut, PEER: lambda: one_by_one(picture, crops, size, device)}, 5 * repeats, device)
    ours = statistics.median(times["ours"])
    report(
        f"{count} crops of {proposals} boxes at {size} px",
        ours,
        peer=PEER,
        peer_s=ours * ratio(times, PEER, "ours"),
        flop=operations(crops, size),
        moved_bytes=4.0 * crops.new_tensor(3 * size * size * count).item() + 4 * image.numel(),
        device=device,
        note=f"{torch.get_num_threads()} threads",
    )

    pixels = torch.rand(min(128, count), 3, size, size, device=device)
    encoder = f"encoding {count} images with {model}"

    @torch.no_grad()
    def encode() -> None:
        for first in range(0, count, len(pixels)):
            clip.encode_image(pixels[: count - first], resize="none")

    fixed = Proposals(boxes, torch.rand(len(boxes)))
    names = ["cat", "traffic cone", "red umbrella"]
    jobs: dict[str, Callable[[], Any]] = {encoder: encode}
    for tier, features in enumerate(("crops", "dense")):
        method = ViLD(clip, features=features, proposer=lambda _: fixed, proposals=proposals)  # type: ignore[arg-type]
        method.vocabulary(names)
        jobs[f"tier {tier}"] = lambda method=method: method.detect([image], names)
    times = in_turns(jobs, repeats, device)
    slow, fast = statistics.median(times["tier 0"]), statistics.median(times["tier 1"])
    job = f"{model}, an image with {proposals} proposals"
    floor_s = slow / ratio(times, "tier 0", encoder)
    report(f"tier 0, {job}", slow, floor=encoder, floor_s=floor_s, device=device, dtype=precision)
    peer_s = fast * ratio(times, "tier 0", "tier 1")
    report(f"tier 1, {job}", fast, peer="tier 0", peer_s=peer_s, device=device, dtype=precision)
    propose = median_s(lambda: GroupingProposer()(image), repeats)
    report(f"{proposals} proposals by grouping", propose, note="on the CPU; not in the rows above")


if __name__ == "__main__":
    main()
