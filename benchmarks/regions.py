"""Detection without training: crops at once beside Pillow one by one, tier 0 beside its encoder, tier 1 beside tier 0.

uv run python benchmarks/regions.py [--device cuda] [--models ViT-B-32,RN50] [--proposals 300]

The encoders have random weights: speed does not depend on them. On two cores it takes three to four minutes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import click
import numpy as np
import torch
from _rows import report
from _timing import in_turns, median_s, once_s
from clipzoo_detect import GroupingProposer, Proposals, ViLD
from clipzoo_detect.crops import crop_batches, region_crops
from PIL import Image
from torch import Tensor

import clipzoo

BENCH = {
    "needs": ["clipzoo_detect"],
    "quick": ["--proposals", "24", "--models", "ViT-B-32"],
    "full": [],
    "cuda": ["--device", "cuda", "--repeats", "5"],
    "timeout_s": 600,
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


def measure_crops(picture: Image.Image, boxes: Tensor, size: int, rounds: int, device: str) -> None:
    """Crops on the device in turns with Pillow, with one thread and with all."""
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().to(device) / 255
    crops, _ = region_crops(boxes, (picture.height, picture.width))

    def cut() -> None:
        for _ in crop_batches(image, crops, size, "squash"):
            pass

    threads = torch.get_num_threads()
    for count in sorted({1, threads}) if device == "cpu" else [threads]:
        torch.set_num_threads(count)
        jobs = {"ours": cut, PEER: lambda: one_by_one(picture, crops, size, device)}
        times = in_turns(jobs, rounds, device)
        ours = statistics.median(times["ours"])
        with_threads = f", {count} thread{'s' if count > 1 else ''}" if device == "cpu" else ""
        report(
            f"{len(crops)} crops of {len(boxes)} boxes at {size} px{with_threads}",
            ours,
            peer=PEER,
            peer_s=ours * ratio(times, PEER, "ours"),
            flop=operations(crops, size),
            moved_bytes=4.0 * 3 * size * size * len(crops) + 4 * image.numel(),
            device=device,
        )


def measure_tiers(model: str, picture: Image.Image, boxes: Tensor, rounds: int, device: str, precision: str) -> None:
    """Tier 0 beside its encoder alone, tier 1 beside tier 0, with the same boxes."""
    clip = clipzoo.load_clip(f"{model}/random", device=device, precision=precision)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().to(device) / 255
    count = len(region_crops(boxes, (picture.height, picture.width))[0])
    # As many at once as suits the encoder best: on a CPU few, which stay in its cache.
    pixels = torch.rand(min(16 if device == "cpu" else 128, count), 3, clip.image_size, clip.image_size, device=device)
    names = ["cat", "traffic cone", "red umbrella"]
    encoder = f"encoding {count} images with {model}"

    @torch.no_grad()
    def encode(images: int = count) -> None:
        for first in range(0, images, len(pixels)):
            clip.encode_image(pixels[: images - first], resize="none")

    def detector(features: str, own: Tensor) -> Callable[[], Any]:
        fixed = Proposals(own, torch.full((len(own),), 0.5))
        method = ViLD(clip, features=features, proposer=lambda _: fixed, proposals=len(own))  # type: ignore[arg-type]
        return lambda: method.detect([image], names)

    # A few images and boxes of each kind first: full rounds that are not counted would take minutes.
    for warm in (lambda: encode(len(pixels)), detector("crops", boxes[:64]), detector("dense", boxes)):
        warm()
    jobs = {encoder: encode, "tier 0": detector("crops", boxes), "tier 1": detector("dense", boxes)}
    times = alternated(jobs, rounds, device)
    slow, fast = statistics.median(times["tier 0"]), statistics.median(times["tier 1"])
    job = f"{model}, an image with {len(boxes)} proposals"
    floor_s = slow / ratio(times, "tier 0", encoder)
    report(f"tier 0, {job}", slow, floor=encoder, floor_s=floor_s, device=device, dtype=precision)
    peer_s = fast * ratio(times, "tier 0", "tier 1")
    report(f"tier 1, {job}", fast, peer="tier 0", peer_s=peer_s, device=device, dtype=precision)


def alternated(jobs: Mapping[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of every call of jobs that are warm already, in turns."""
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, work in jobs.items():
            spent[name].append(once_s(work, device))
    return spent


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--models", default="ViT-B-32,RN50", show_default=True, help="open_clip architectures, random weights")
@click.option("--proposals", default=300, show_default=True)
@click.option("--height", default=480, show_default=True)
@click.option("--width", default=640, show_default=True)
@click.option("--repeats", default=1, show_default=True, help="rounds of the tiers")
@click.option("--precision", default="fp32", show_default=True)
def main(device: str, models: str, proposals: int, height: int, width: int, repeats: int, precision: str) -> None:
    """Measure crops in turns with Pillow, then both tiers in turns with their encoder alone."""
    picture, boxes = sample_image(height, width), sample_boxes(proposals, height, width)
    measure_crops(picture, boxes, 224, 9, device)
    for model in models.split(","):
        measure_tiers(model, picture, boxes, repeats, device, precision)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    propose = median_s(lambda: GroupingProposer()(pixels), 3)
    report(f"{proposals} proposals by grouping", propose, note="on the CPU; not in the rows above")


if __name__ == "__main__":
    main()
