"""Time of ``clipzoo embed`` beside its encoder alone and beside a plain open_clip + DataLoader loop, in the same run.

uv run python benchmarks/embed.py [FOLDER] [--model ViT-B-32] [--batch-size 64] [--workers 2] [--rounds 3]

Without a FOLDER of photos it makes JPEGs of its own: smooth structure with noise, as many bytes a pixel as photos have.
"""

from __future__ import annotations

import io
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import open_clip
import torch
from _rows import report
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset

import clipzoo
from clipzoo.store import embed, source_items
from clipzoo.store.decoding import Decoder

BENCH = {
    "quick": ["--limit", "64", "--rounds", "1", "--batch-size", "32"],
    "full": ["--limit", "256"],
    "quick_timeout_s": 60,
    "timeout_s": 900,
}


class PlainImages(Dataset):
    """One image a call, through open_clip's own transform."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        """Keep the paths and the transform."""
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[place]))


def make_photos(folder: Path, count: int) -> Path:
    """JPEGs of 640 x 480 px that are all different."""
    folder.mkdir()
    for seed in range(count):
        generator = np.random.default_rng(seed)
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), np.uint8))
        values = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.int16)
        noisy = (values + generator.integers(-12, 13, values.shape, np.int16)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=90)
        (folder / f"{seed:05d}.jpg").write_bytes(file.getvalue())
    return folder


class PeakMemory:
    """Largest resident size of this process inside the block, MB, sampled every 5 ms."""

    def __enter__(self) -> PeakMemory:
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.mb = max(self.mb, pages * 4096 / 1e6)
            if self._stop.wait(0.005):
                return


def encoder_only(clip: clipzoo.FrozenCLIP, batches: list[np.ndarray]) -> float:
    """Seconds in the encoder for squares that are decoded and are floats already."""
    spent = 0.0
    for batch in batches:
        pixels = torch.from_numpy(batch).to(clip.device).permute(0, 3, 1, 2).contiguous().float().div_(255)
        _wait(clip)
        start = time.perf_counter()
        with torch.inference_mode():
            clip.encode_image(pixels, resize="none")
        _wait(clip)
        spent += time.perf_counter() - start
    return spent


def ours(clip: clipzoo.FrozenCLIP, source: Path, batch_size: int, workers: int, limit: int) -> tuple[float, np.ndarray]:
    """Seconds from files to a store, and its features."""
    out = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    done = embed(clip, source, out / "store", batch_size=batch_size, workers=workers, limit=limit, progress=False)
    spent = time.perf_counter() - start
    features = done.store.features()
    shutil.rmtree(out)
    return spent, features


def plain(
    clip: clipzoo.FrozenCLIP, paths: list[Path], transform: Callable, batch_size: int, workers: int
) -> tuple[float, np.ndarray]:
    """Seconds of the loop that everybody writes, from files to one .npy, and its features."""
    out = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    loader = DataLoader(
        PlainImages(paths, transform), batch_size, num_workers=workers, pin_memory=clip.device.type == "cuda"
    )
    rows = []
    with torch.no_grad():
        for batch in loader:
            rows.append(normalize(clip.model.encode_image(batch.to(clip.device)), dim=-1).cpu())
    features = torch.cat(rows).numpy()
    np.save(out / "features.npy", features.astype(np.float16))
    spent = time.perf_counter() - start
    shutil.rmtree(out)
    return spent, features


def _wait(clip: clipzoo.FrozenCLIP) -> None:
    if clip.device.type == "cuda":
        torch.cuda.synchronize()


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--model", default="ViT-B-32", show_default=True, help="open_clip architecture; weights are random.")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Threads of ours, processes of the plain loop.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--limit", default=500, show_default=True, help="Only the first so many images.")
@click.option("--device", default="auto", show_default=True)
def main(folder: Path | None, model: str, batch_size: int, workers: int, rounds: int, limit: int, device: str) -> None:
    """Measure the way from files to a store, in turns with the encoder alone and with the plain loop."""
    with tempfile.TemporaryDirectory() as made:
        photos = folder or make_photos(Path(made) / "photos", limit)
        measure(photos, model, batch_size, workers, rounds, limit, device)


def measure(folder: Path, model: str, batch_size: int, workers: int, rounds: int, limit: int, device: str) -> None:
    clip = clipzoo.load_clip(f"{model}/random", device=device)
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**clip.model.visual.preprocess_cfg), is_train=False
    )
    items = list(source_items(folder))[:limit]
    paths = [item.file for item in items]
    decode = Decoder(clip.preprocessing)
    squares = np.stack([decode(item.read(), item.path).pixels for item in items])
    batches = [squares[start : start + batch_size] for start in range(0, len(squares), batch_size)]
    _ = clip.fingerprint, clip.embed_dim  # known before the first image, and not again for each store
    encoder_only(clip, batches[:1])

    times: dict[str, list[float]] = {"encoder only": [], "clipzoo embed": [], "plain open_clip + DataLoader": []}
    memory = dict.fromkeys(times, 0.0)
    for _ in range(rounds):
        with PeakMemory() as peak:
            times["encoder only"].append(encoder_only(clip, batches))
        memory["encoder only"] = max(memory["encoder only"], peak.mb)
        with PeakMemory() as peak:
            spent, mine = ours(clip, folder, batch_size, workers, limit)
        times["clipzoo embed"].append(spent)
        memory["clipzoo embed"] = max(memory["clipzoo embed"], peak.mb)
        with PeakMemory() as peak:
            spent, theirs = plain(clip, paths, transform, batch_size, workers)
        times["plain open_clip + DataLoader"].append(spent)
        memory["plain open_clip + DataLoader"] = max(memory["plain open_clip + DataLoader"], peak.mb)

    middle = {name: statistics.median(values) for name, values in times.items()}
    ratios = [mine_s / alone_s for alone_s, mine_s, _ in zip(*times.values(), strict=True)]
    above = memory["clipzoo embed"] - memory["encoder only"]
    cosine = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    print(f"rounds, over the encoder alone: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(f"memory above the encoder's: {above:.0f} MB; smallest cosine with the plain features: {cosine.min():.6f}")
    report(
        f"clipzoo embed, {len(items)} JPEGs, {model}, batch {batch_size}, {workers} workers",
        middle["clipzoo embed"],
        peer="open_clip and DataLoader",
        peer_s=middle["plain open_clip + DataLoader"],
        floor="the encoder alone",
        floor_s=middle["encoder only"],
        device=clip.device.type,
    )


if __name__ == "__main__":
    main()
