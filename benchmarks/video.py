"""Twelve frames of a clip beside decoding all of it, the way from frames to features beside its encoder, and the heads.

uv run python benchmarks/video.py [CLIP ...] [--frames-in FOLDER] [--heads]

Without clips a short one is made. Jobs that are compared take turns in one process.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from _rows import report
from _timing import in_turns, median_s
from clipzoo_video.clip4clip import encode_fitted, fit_frames
from clipzoo_video.datasets import VideoItem, find_videos
from clipzoo_video.encoding import encode_items, read_item
from clipzoo_video.evaluation import paper_rows, similarity_in_blocks
from clipzoo_video.temporal_heads import build_head

import clipzoo
from clipzoo.data.video_reading import is_video, open_video, sample_frames

BENCH = {
    "needs": ["clipzoo_video", "av"],
    "quick": ["--repeats", "2", "--heads"],
    "full": ["--repeats", "5", "--heads", "--encode", "ViT-B-32"],
    "quick_timeout_s": 60,
}
FRAMES = 12
OURS = "12 frames"


def decode_all_with_pyav(path: Path) -> None:
    """Every frame as an RGB array, one at a time."""
    import av

    with av.open(str(path), metadata_errors="ignore") as container:
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")


def decode_all_with_opencv(path: Path) -> None:
    """The same with OpenCV."""
    import cv2

    video = cv2.VideoCapture(str(path))
    there, frame = video.read()
    while there:
        cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        there, frame = video.read()


def decoders_of_everything() -> dict[str, Callable[[Path], None]]:
    """Whom sparse sampling is measured beside, as far as they are installed."""
    peers = {"PyAV, every frame": decode_all_with_pyav}
    try:
        import cv2  # noqa: F401

        peers["OpenCV, every frame"] = decode_all_with_opencv
    except ImportError:
        print("OpenCV is not installed: not compared")
    return peers


def compare_decoding(paths: Sequence[Path], repeats: int) -> None:
    """Twelve frames spread over each clip, exact to the frame, beside all of its frames."""
    peers = decoders_of_everything()
    totals = dict.fromkeys((OURS, *peers), 0.0)
    for path in paths:
        jobs: dict[str, Callable[[], object]] = {OURS: partial(sample_frames, path, FRAMES)}
        jobs |= {name: partial(peer, path) for name, peer in peers.items()}
        medians = {name: statistics.median(times) for name, times in in_turns(jobs, repeats).items()}
        with open_video(path) as video:
            told = f"{video.metadata.frame_count} frames, {video.metadata.backend}"
        ratios = ", ".join(f"{name} {medians[name] / medians[OURS]:.1f} x" for name in peers)
        print(f"  {path.name[:40]:40} {told:24} {1000 * medians[OURS]:7.1f} ms; {ratios}")
        for name, value in medians.items():
            totals[name] += value
    for name in peers:
        report(
            f"{FRAMES} frames of each of {len(paths)} clips", totals[OURS], peer=name, peer_s=totals[name], note="sums"
        )


def compare_encoding(folder: Path, architecture: str, limit: int, repeats: int) -> None:
    """From files to features beside the encoder alone on the same frames in memory; random weights."""
    clip = clipzoo.load_clip(f"{architecture}/random", device="cpu")
    found = list(find_videos(folder).items())
    chosen = (found[:: max(1, len(found) // limit)] * limit)[:limit]
    items = [VideoItem(key, path) for key, path in chosen]
    pixels = torch.cat([fit_frames(clip, read_item(item, FRAMES, "uniform")) for item in items])
    spent = in_turns(
        {
            "alone": lambda: [encode_fitted(clip, part) for part in pixels.split(64)],
            "whole": lambda: encode_items(clip, items, FRAMES),
        },
        repeats,
    )
    report(
        f"{len(items)} videos, {len(pixels)} frames, from files to features of {architecture}",
        statistics.median(spent["whole"]),
        floor="the encoder alone",
        floor_s=statistics.median(spent["alone"]),
    )


class _Scores:
    """Unit rows of sentences and videos, and a head's scores: what ``similarity_in_blocks`` asks of a model."""

    def __init__(self, name: str, width: int) -> None:
        self.head = build_head(name, width).eval()

    def similarity(self, text: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return 100 * torch.nn.functional.normalize(text, dim=-1) @ rows.T


@torch.no_grad()
def evaluate(model: _Scores, text: torch.Tensor, shown: torch.Tensor) -> None:
    """Rows of videos, all scores, and the table in both directions, plain and with the dual softmax."""
    mask = torch.ones(shown.shape[:2])
    rows = torch.cat([model.head(*part) for part in zip(shown.split(250), mask.split(250), strict=True)])
    paper_rows("", similarity_in_blocks(model, text, rows), range(len(text)))


def measure_heads(repeats: int, videos: int = 1000, width: int = 512) -> None:
    """Retrieval with features at hand, as many sentences as videos."""
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(videos, width, generator=generator)
    shown = torch.randn(videos, FRAMES, width, generator=generator)
    block = 24 * width**2 * FRAMES * videos  # of the linear maps of a transformer block
    work = {"meanP": 0, "seqLSTM": 16 * width**2 * FRAMES * videos, "seqTransf": 4 * block}
    for name, flop in work.items():
        report(
            f"{name}, {videos} x {videos} with features at hand, {FRAMES} frames",
            median_s(partial(evaluate, _Scores(name, width), text, shown), repeats),
            flop=flop + 2 * width * videos**2,
            moved_bytes=4 * (shown.numel() + text.numel() + videos**2),
        )


def generated_clip(folder: Path, frames: int = 250, key_frames_apart: int = 25) -> Path:
    """Ten seconds of a moving pattern."""
    import av

    path = folder / "generated.mp4"
    y, x = np.mgrid[:240, :320]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.gop_size = key_frames_apart
        for number in range(frames):
            picture = np.stack([x + 3 * number, y - 2 * number, x * y // 64 + number], -1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--encode", metavar="ARCHITECTURE", help="measure the way from files to features, of random weights")
@click.option("--frames-in", type=click.Path(exists=True, path_type=Path), help="folders of frames to encode")
@click.option("--heads", is_flag=True, help="measure 1000 x 1000 retrieval from features")
@click.option("--limit", default=24, show_default=True, help="videos to encode")
@click.option("--repeats", default=3, show_default=True)
def main(
    paths: tuple[Path, ...], encode: str | None, frames_in: Path | None, heads: bool, limit: int, repeats: int
) -> None:
    """Measure what is asked for, by default decoding."""
    with tempfile.TemporaryDirectory() as made:
        found = [child for path in paths for child in (sorted(path.iterdir()) if path.is_dir() else [path])]
        clips = [path for path in found if path.is_file() and is_video(path)] or [generated_clip(Path(made))]
        compare_decoding(clips, repeats)
        if encode:
            folder = frames_in or Path(made)
            compare_encoding(folder, encode, limit, repeats)
    if heads:
        measure_heads(repeats)


if __name__ == "__main__":
    main()
