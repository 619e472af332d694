"""Training: what a step costs, what feeding it costs, and which of the two is the limit.

    python benchmarks/train.py                               # a 64 px tower on the processor
    python benchmarks/train.py --device cuda --model ViT-B-32 --batch 1024 --precision bf16 --workers 16
    torchrun --nproc-per-node 8 benchmarks/train.py --device cuda --model ViT-B-32 --batch 8192 --precision bf16

Images are generated, written as JPEG into shards, and read back: decoding, cropping, the step. Three rates, in pairs a
second: the towers on a batch that is there already, the feeding alone, and both as in a run. The published training of
OpenCLIP's ViT-B/32 ran at 787 pairs a second on an A100.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from _rows import report
from clipzoo_train.accumulation import backward
from clipzoo_train.augmentation import PRESETS
from clipzoo_train.caption_files import open_captions
from clipzoo_train.feeding import Feeder
from clipzoo_train.loop import Loop, LoopSettings, parameter_groups
from clipzoo_train.objectives import Batch, Objective
from clipzoo_train.pair import Pair, build_pair
from clipzoo_train.pixel_bank import PixelBank
from clipzoo_train.processes import is_first, share_weights
from clipzoo_train.token_dropping import install_token_dropping
from PIL import Image

from clipzoo.losses.gather import world_size

PUBLISHED = 787
BENCH = {
    "needs": ["clipzoo_train"],
    "full": [],
    "quick": ["--rounds", "4", "--images", "192"],
    "cuda": ["--device", "cuda", "--model", "ViT-B-32", "--batch", "1024", "--precision", "bf16", "--workers", "16"],
    "timeout_s": 600,
    "quick_timeout_s": 120,
}


def write_shard(path: Path, count: int, side: int) -> None:
    """Photographs of nothing: smooth noise at the size of Flickr's, as JPEG, with a caption each."""
    dice = np.random.default_rng(0)
    with tarfile.open(path, "w") as shard:
        for number in range(count):
            small = Image.fromarray(dice.integers(0, 256, (24, 32, 3), np.uint8))
            content = io.BytesIO()
            small.resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(content, "JPEG", quality=88)
            words = " ".join(dice.choice(["a", "dog", "child", "red", "runs", "on", "grass", "two", "water"], 9))
            for suffix, data in ((".jpg", content.getvalue()), (".txt", f"{number} {words}".encode())):
                member = tarfile.TarInfo(f"{number:06d}{suffix}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def feeder_of(pair: Pair, folder: Path, args: argparse.Namespace, kept: bool) -> Feeder:
    images = open_captions(folder).images
    size = pair.preprocessing.size
    preset = PRESETS["openclip"]
    bank = PixelBank(images, round(size * preset.margin), None, 1 << 40 if kept else 0, args.workers)
    if kept:
        bank.check()
    sentences = [image.captions[0] for image in images]
    numbers = {caption: row for row, caption in enumerate(sentences)}
    return Feeder(
        images,
        bank,
        pair.tokens(sentences),
        numbers,
        batch_size=args.batch,
        size=size,
        preset=preset,
        device=args.device,
        workers=args.workers,
    )


def endless(feeder: Feeder) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from feeder.batches(epoch, 0)
        epoch += 1


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(work: Iterator[Batch], step, rounds: int, device: str) -> float:
    """Seconds a batch, the median, after two that are not counted."""
    spent = []
    for batch in islice(work, rounds + 2):
        started = time.perf_counter()
        step(batch)
        wait(device)
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[2:])


def total(work: Iterator[Batch], step, rounds: int, device: str) -> float:
    """Seconds a batch over all of them, feeding included."""
    for batch in islice(work, 2):
        step(batch)
    wait(device)
    started = time.perf_counter()
    for batch in islice(work, rounds):
        step(batch)
    wait(device)
    return (time.perf_counter() - started) / rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="small-rn")
    parser.add_argument("--batch", type=int, default=64, help="pairs a step, over all processes")
    parser.add_argument("--images", type=int, default=0, help="different images; default: three batches")
    parser.add_argument("--side", type=int, default=256, help="short side of the JPEGs, px")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--drop", type=float, default=0.0, help="share of the patches that is dropped (FLIP)")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if args.device.startswith("cuda"):
            args.device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(args.device)
        torch.distributed.init_process_group("nccl" if args.device.startswith("cuda") else "gloo")
    args.images = args.images or 3 * args.batch
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "0.tar", args.images, args.side)
        measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> None:
    pair = build_pair(args.model)
    if args.drop:
        install_token_dropping(pair.model.visual, args.drop)
    feeders = {kept: feeder_of(pair, folder, args, kept) for kept in (True, False)}
    pair.to(args.device)
    share_weights(pair)
    if args.compile:
        pair.model.visual.compile()
    objective = Objective(pair)
    kind = torch.device(args.device).type

    def arithmetic() -> torch.autocast:
        return torch.autocast(kind, torch.bfloat16, enabled=args.precision == "bf16")

    def gradients(batch: Batch) -> torch.Tensor:
        encode = lambda part: (pair.image_features(part.pixels), pair.text_features(part.tokens))  # noqa: E731
        return backward(objective, batch, encode, 1, arithmetic)[0]

    groups = parameter_groups(pair.named_parameters(), lambda name: "all", {"all": 1e-4}, 0.1)
    loop = Loop(pair, groups, LoopSettings(10**6, 10**6, schedule="constant"), gradients)
    pair.train()

    def step(batch: Batch) -> None:
        loop._step(batch, lambda batch: "")

    ready = next(endless(feeders[True]))
    towers = rate(iter([ready] * (args.rounds + 2)), step, args.rounds, args.device)
    memory = torch.cuda.max_memory_allocated() / 1e9 if kind == "cuda" else 0.0
    told = f"{args.model} {args.precision}, batches of {args.batch}"
    for kept, how in ((True, "decoded images kept"), (False, "JPEGs decoded every time")):
        feeding = total(endless(feeders[kept]), lambda batch: None, args.rounds, args.device)
        both = total(endless(feeders[kept]), step, args.rounds, args.device)
        if not is_first():
            continue
        limit = "feeding" if feeding > towers else "the towers"
        pairs = args.batch / both
        note = (
            f"{pairs:.0f} pairs/s ({pairs / world_size():.0f} a process); towers alone {args.batch / towers:.0f}, "
            f"feeding alone {args.batch / feeding:.0f}; the limit is {limit}"
        )
        if args.model == "ViT-B-32" and kind == "cuda":
            note += f"; {pairs / world_size() / PUBLISHED:.2f} x the published {PUBLISHED} of an A100; {memory:.1f} GB"
        report(
            f"train {told}, {how}",
            both,
            floor="the towers alone",
            floor_s=towers,
            dtype=args.precision,
            device=kind,
            note=note,
        )


if __name__ == "__main__":
    main()
