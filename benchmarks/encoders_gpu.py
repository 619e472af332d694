"""Images per second of CLIP image towers on one CUDA device, and of what feeds them.

Needs torch, torchvision, open_clip and Pillow (Python 3.11 or later); clipzoo, transformers and timm are measured too
where they are installed. Weights are random, images synthetic, nothing is downloaded.

python benchmarks/encoders_gpu.py [--part towers|feeding|all] [--models ViT-B-32,...] [--modes bf16,...] [--seconds 5]

Towers: synthetic floats on the device, 20 warm-up batches, then at least 5 s between CUDA events, for each batch size.
Feeding: ViT-B-32 end to end from a uint8 memory map, 256 px webdataset shards, a folder of 12-megapixel JPEGs with 4, 8
and 16 workers, and JPEGs that the device decodes.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _rows import report

try:
    import open_clip
    import torch
    import torchvision
    from PIL import Image
except ImportError as error:
    sys.exit(f"error: {error.name} is not installed\n  try: pip install open_clip_torch pillow")

BENCH = {
    "on": "cuda",
    "full": ["--part", "towers", "--models", "ViT-B-32,ViT-L-14", "--modes", "fp32,bf16", "--batches", "256,1024"],
    "quick": ["--part", "towers", "--models", "ViT-B-32", "--modes", "bf16", "--batches", "256", "--seconds", "1"],
    "timeout_s": 900,
}
MODELS = "ViT-B-32,ViT-B-16,ViT-L-14,ViT-L-14-336,ViT-H-14,ViT-B-16-SigLIP2,ViT-SO400M-14-SigLIP-384,PE-Core-L-14-336"
MODES = ("fp32", "amp-bf16", "bf16", "bf16-compile", "bf16-max-autotune")
BATCHES = "64,128,256,512,1024,2048,4096"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WARM_UP = 20


def describe_machine() -> None:
    query = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,power.draw,memory.total"
    try:
        told = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        told = "nvidia-smi is not there"
    print(f"device: {torch.cuda.get_device_name()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"nvidia-smi ({query}): {told}")
    print(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
        f"torchvision {torchvision.__version__}, open_clip {open_clip.__version__}, Pillow {Image.__version__}\n"
    )


def image_tower(name: str) -> tuple[torch.nn.Module, int]:
    """An open_clip image tower with random weights, and the side of its input."""
    torch.manual_seed(0)
    tower = open_clip.create_model(name, pretrained=None, pretrained_text=False).visual.eval().requires_grad_(False)
    size = tower.image_size
    return tower, size[0] if isinstance(size, tuple | list) else size


def flops_per_image(tower: torch.nn.Module, size: int) -> float:
    """Floating-point operations of one image (a multiplication with its addition counts two)."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(tower.parameters()).device
    # The fused attention of inference is one operator that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            tower(torch.zeros(1, 3, size, size, device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops())


def arranged(tower: torch.nn.Module, mode: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The tower in one of :data:`MODES`; takes fp32 pixels of bytes scaled to the encoder's range."""
    torch.set_float32_matmul_precision("high")  # TF32
    torch.backends.cudnn.allow_tf32 = True
    if mode == "fp32":
        return tower
    if mode == "amp-bf16":

        def mixed(pixels: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cuda", torch.bfloat16):
                return tower(pixels)

        return mixed
    tower.bfloat16()
    work = tower
    if mode == "bf16-compile":
        work = torch.compile(tower)
    elif mode == "bf16-max-autotune":
        work = torch.compile(tower, mode="max-autotune")
    return lambda pixels: work(pixels.bfloat16())


def rate(work: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, seconds: float) -> tuple[float, float]:
    """Images per second, and the seconds of the first call."""
    with torch.inference_mode():
        start = time.perf_counter()
        work(pixels)
        torch.cuda.synchronize()
        first = time.perf_counter() - start
        for _ in range(WARM_UP):
            work(pixels)
        torch.cuda.synchronize()
        count, spent = 0, 0.0
        repeats = 4
        while spent < seconds:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(repeats):
                work(pixels)
            end.record()
            end.synchronize()
            took = begin.elapsed_time(end) / 1e3
            count, spent = count + repeats, spent + took
            repeats = max(1, min(1000, round(repeats * 0.5 / max(took, 1e-4))))
    return count * len(pixels) / spent, first


def measure_towers(models: list[str], modes: list[str], batches: list[int], seconds: float) -> None:
    print("| model | GFLOP | mode | batch | images/s | TFLOP/s | peak GiB | first call s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in models:
        try:
            tower, size = image_tower(name)
        except Exception as error:
            print(f"| {name} | cannot be built: {' '.join(str(error).split())[:120]} | | | | | | |", flush=True)
            continue
        flops = flops_per_image(tower.cuda(), size)
        for mode in modes:
            torch.compiler.reset()
            work = arranged(tower.float(), mode)
            for batch in batches:
                line = f"| {name} | {flops / 1e9:.1f} | {mode} | {batch} |"
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                try:
                    found, first = rate(work, torch.rand(batch, 3, size, size, device="cuda") * 4 - 2, seconds)
                except torch.cuda.OutOfMemoryError:
                    print(f"{line} out of memory | | | |", flush=True)
                    break
                except Exception as error:
                    print(f"{line} {type(error).__name__}: {' '.join(str(error).split())[:100]} | | | |", flush=True)
                    break
                peak = torch.cuda.max_memory_allocated() / 2**30
                print(f"{line} {found:,.0f} | {found * flops / 1e12:.0f} | {peak:.1f} | {first:.1f} |", flush=True)
                if os.environ.get("CLIPZOO_BENCH"):
                    report(
                        f"{batch} images through {name}, {mode}",
                        batch / found,
                        flop=batch * flops,
                        dtype="bf16" if "bf16" in mode else "fp32",
                        device="cuda",
                        note="" if "bf16" in mode else "fp32 uses TF32",
                    )
        del tower
    print()


def measure_peers(batches: list[int], seconds: float) -> None:
    """The same B/32 and L/14 of other libraries, eager bf16."""
    print("| peer | model | batch | images/s |\n|---|---|---|---|")
    for peer, name, build in _peers():
        try:
            work = build().cuda().bfloat16().eval()
        except Exception as error:
            print(f"| {peer} | {name} | {type(error).__name__}: {' '.join(str(error).split())[:100]} | |")
            continue
        for batch in batches:
            try:
                found, _ = rate(work, torch.rand(batch, 3, 224, 224, device="cuda").bfloat16(), seconds)
            except torch.cuda.OutOfMemoryError:
                break
            print(f"| {peer} | {name} | {batch} | {found:,.0f} |", flush=True)
        del work
    print()


def _peers() -> Iterator[tuple[str, str, Callable[[], torch.nn.Module]]]:
    try:
        import transformers
    except ImportError:
        print("| transformers | not installed | | |")
    else:
        for name, width, layers, heads, patch, out in (("B/32", 768, 12, 12, 32, 512), ("L/14", 1024, 24, 16, 14, 768)):
            config = transformers.CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                patch_size=patch,
                projection_dim=out,
            )
            version = f"transformers {transformers.__version__}"
            yield version, name, lambda config=config: transformers.CLIPVisionModelWithProjection(config)
    try:
        import timm
    except ImportError:
        print("| timm | not installed | | |")
    else:
        for name, architecture in (("B/32", "vit_base_patch32_clip_224"), ("L/14", "vit_large_patch14_clip_224")):
            yield f"timm {timm.__version__}", name, lambda name=architecture: timm.create_model(name, num_classes=512)


class Tower:
    """ViT-B-32 in bf16 that takes bytes: two page-locked buffers, a stream for copies, nobody waits in the loop."""

    def __init__(self, batch: int) -> None:
        """Build and warm up."""
        tower, self.size = image_tower("ViT-B-32")
        self.batch = batch
        self.work = arranged(tower.cuda(), "bf16")
        self.copies = torch.cuda.Stream()
        self.mean, self.std = (torch.tensor(part, device="cuda").view(3, 1, 1) for part in (MEAN, STD))
        self.encode(torch.zeros(batch, self.size, self.size, 3, dtype=torch.uint8, device="cuda"))
        torch.cuda.synchronize()

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features in fp16 of bytes [batch, size, size, 3] on the device."""
        floats = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
        return torch.nn.functional.normalize(self.work((floats - self.mean) / self.std).float(), dim=-1).half()

    def consume(self, batches: Iterator[torch.Tensor]) -> int:
        """Encode batches of bytes in ordinary memory; features come back to it. Returns the number of images."""
        count, waiting = 0, deque()
        buffers = [torch.empty(self.batch, self.size, self.size, 3, dtype=torch.uint8, pin_memory=True) for _ in "ab"]
        for pixels in batches:
            buffers.reverse()
            buffers[0][: len(pixels)].copy_(pixels)
            with torch.cuda.stream(self.copies):
                moved = buffers[0][: len(pixels)].to("cuda", non_blocking=True)
            torch.cuda.current_stream().wait_stream(self.copies)
            moved.record_stream(torch.cuda.current_stream())
            rows = self.encode(moved)
            host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True).copy_(rows, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
            waiting.append((done, host))
            if len(waiting) > 1:
                waiting.popleft()[0].synchronize()
            count += len(pixels)
        torch.cuda.synchronize()
        return count


class Files(torch.utils.data.Dataset):
    """JPEG files as bytes [size, size, 3], resized and cropped by Pillow."""

    def __init__(self, paths: list[Path], size: int) -> None:
        """Keep the paths."""
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        return square(Image.open(self.paths[place]), self.size)


class Shards(torch.utils.data.IterableDataset):
    """Webdataset shards, read in a row, one subset a worker."""

    def __init__(self, paths: list[Path], size: int) -> None:
        """Keep the paths."""
        self.paths, self.size = paths, size

    def __iter__(self) -> Iterator[torch.Tensor]:
        told = torch.utils.data.get_worker_info()
        for path in self.paths[told.id if told else 0 :: told.num_workers if told else 1]:
            with tarfile.open(path, "r|") as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is not None:
                        yield square(Image.open(io.BytesIO(file.read())), self.size)


def square(image: Image.Image, size: int) -> torch.Tensor:
    image = image.convert("RGB")
    short = min(image.size)
    image = image.resize(tuple(int(size * side / short) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + size, top + size))))


def synthetic_jpeg(seed: int, width: int, height: int) -> bytes:
    """Smooth structure with noise: about the bytes a pixel that photos have."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (height // 48 + 2, width // 48 + 2, 3), np.uint8))
    values = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = values + generator.integers(-12, 13, values.shape, np.int16)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure_feeding(folder: Path, batch: int, images: int, large: int, workers: list[int]) -> None:
    print("| what feeds ViT-B-32 (bf16) | workers | images/s |\n|---|---|---|")
    tower = Tower(batch)

    def report(what: str, workers: int | str, batches: Callable[[], Iterator[torch.Tensor]]) -> None:
        try:
            start = time.perf_counter()
            count = tower.consume(batches())
            print(f"| {what} | {workers} | {count / (time.perf_counter() - start):,.0f} |", flush=True)
        except Exception as error:
            print(f"| {what} | {workers} | {type(error).__name__}: {' '.join(str(error).split())[:100]} |", flush=True)

    size = tower.size
    mapped = np.lib.format.open_memmap(folder / "squares.npy", "w+", np.uint8, (images, size, size, 3))
    mapped[:] = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    report(
        "uint8 memory map", "-", lambda: (torch.from_numpy(mapped[at : at + batch]) for at in range(0, images, batch))
    )

    small = [synthetic_jpeg(seed, 341, 256) for seed in range(64)]
    shards = []
    for number in range(max(workers)):
        shards.append(folder / f"{number:03d}.tar")
        with tarfile.open(shards[-1], "w") as archive:
            for place in range(images // max(workers)):
                member = tarfile.TarInfo(f"{place:06d}.jpg")
                member.size = len(small[place % 64])
                archive.addfile(member, io.BytesIO(small[place % 64]))
    for count in workers:
        loader = torch.utils.data.DataLoader(Shards(shards, size), batch, num_workers=count)
        report("256 px webdataset, processes", count, lambda loader=loader: iter(loader))

    photos = folder / "photos"
    photos.mkdir()
    kinds = [synthetic_jpeg(seed, 4032, 3024) for seed in range(8)]
    paths = []
    for place in range(large):
        paths.append(photos / f"{place:05d}.jpg")
        # A few bytes behind the end make each file one of its own, so that nobody saves work by recognising it.
        paths[-1].write_bytes(kinds[place % 8] + place.to_bytes(4, "big"))
    for count in workers:
        loader = torch.utils.data.DataLoader(Files(paths, size), batch, num_workers=count)
        report("12-megapixel JPEG folder, processes", count, lambda loader=loader: iter(loader))
    measure_nvjpeg(tower, [path.read_bytes() for path in paths[: min(large, 256)]])
    measure_clipzoo(folder, shards[0].parent, photos, batch, workers)
    print()


def measure_nvjpeg(tower: Tower, files: list[bytes], together: int = 32) -> None:
    """Decoded, resized and cropped on the device. Its antialiased bicubic is not bit for bit Pillow's."""
    data = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]

    def run() -> None:
        for at in range(0, len(data), together):
            squares = []
            decoded = torchvision.io.decode_jpeg(data[at : at + together], device="cuda")
            for image in decoded:
                scale = tower.size / min(image.shape[1:])
                target = [max(tower.size, int(side * scale)) for side in image.shape[1:]]
                small = torch.nn.functional.interpolate(image[None].float(), target, mode="bicubic", antialias=True)
                squares.append(torchvision.transforms.functional.center_crop(small, [tower.size, tower.size]))
            pixels = torch.cat(squares).clamp(0, 255).round().to(torch.uint8)
            tower.encode(pixels.permute(0, 2, 3, 1)).cpu()
        torch.cuda.synchronize()

    try:
        run()
        start = time.perf_counter()
        run()
        print(
            f"| 12-megapixel JPEG, device decodes | - | {len(data) / (time.perf_counter() - start):,.0f} |", flush=True
        )
    except Exception as error:
        print(f"| 12-megapixel JPEG, device decodes | - | {type(error).__name__}: {str(error)[:100]} |", flush=True)


def measure_clipzoo(folder: Path, shards: Path, photos: Path, batch: int, workers: list[int]) -> None:
    """``clipzoo embed`` on the same files, where clipzoo is installed."""
    try:
        import clipzoo
        from clipzoo.store import embed
    except ImportError as error:
        print(f"| clipzoo embed | - | {error.name} is not installed |")
        return
    clip = clipzoo.load_clip("ViT-B-32/random", device="cuda", precision="bf16")
    _ = clip.fingerprint, clip.embed_dim
    one = next(shards.glob("*.tar"))
    sources = [("256 px webdataset (one shard)", one, "pil"), ("12-megapixel JPEG folder", photos, "pil")]
    sources.append(("12-megapixel JPEG folder, pil-draft", photos, "pil-draft"))
    for what, source, decoder in sources:
        for count in workers:
            out = folder / "store"
            done = embed(clip, source, out, batch_size=batch, workers=count, decoder=decoder, progress=False)
            print(f"| {what}, clipzoo embed | {count} threads | {len(done.store) / done.seconds:,.0f} |", flush=True)
            shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("towers", "peers", "feeding", "all"), default="all")
    parser.add_argument("--models", default=MODELS, help="open_clip architectures, with commas")
    parser.add_argument("--modes", default=",".join(MODES), help=f"of {', '.join(MODES)}")
    parser.add_argument("--batches", default=BATCHES)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured for each line")
    parser.add_argument("--images", type=int, default=32768, help="small images for feeding")
    parser.add_argument("--large", type=int, default=512, help="12-megapixel images for feeding")
    parser.add_argument("--workers", default="4,8,16")
    given = parser.parse_args()
    modes = given.modes.split(",")
    if unknown := [mode for mode in modes if mode not in MODES]:
        sys.exit(f"error: no mode called {unknown[0]}\n  expected: {', '.join(MODES)}")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        sys.exit(
            f"error: torch {torch.__version__} ({built}) finds no CUDA device\n"
            "  expected: a machine with one, as these figures are of a GPU\n"
            "  try: benchmarks/embed.py, which measures on the CPU too"
        )
    describe_machine()
    batches = [int(part) for part in given.batches.split(",")]
    if given.part in ("towers", "all"):
        measure_towers(given.models.split(","), modes, batches, given.seconds)
    if given.part in ("peers", "all"):
        measure_peers([batch for batch in batches if batch in (256, 1024)] or batches[:1], given.seconds)
    if given.part in ("feeding", "all"):
        folder = Path(tempfile.mkdtemp())
        try:
            measure_feeding(folder, 256, given.images, given.large, [int(part) for part in given.workers.split(",")])
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
