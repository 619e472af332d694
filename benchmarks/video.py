"""Twelve frames of a clip against decoding all of it, and retrieval against its encoder alone.

    python benchmarks/video.py CLIP [CLIP ...]
    python benchmarks/video.py FOLDER_OF_FRAMES --encode ViT-B-32 --limit 24

Times are medians of alternating repetitions in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from clipzoo.data.video_reading import is_video, open_video, sample_frames

FRAMES = 12


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def decode_all_with_pyav(path: Path) -> int:
    import av

    with av.open(str(path), metadata_errors="ignore") as container:
        return sum(frame.to_ndarray(format="rgb24").shape[0] > 0 for frame in container.decode(video=0))


def decode_all_with_opencv(path: Path) -> int:
    import cv2

    video, count = cv2.VideoCapture(str(path)), 0
    while True:
        there, frame = video.read()
        if not there:
            return count
        cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        count += 1


def compare_decoding(paths: list[Path], repeats: int) -> None:
    peers = {"PyAV, every frame": decode_all_with_pyav}
    try:
        import cv2  # noqa: F401

        peers["OpenCV, every frame"] = decode_all_with_opencv
    except ImportError:
        print("OpenCV is not installed: not compared")
    totals = dict.fromkeys(["12 frames", *peers], 0.0)
    for path in paths:
        with open_video(path) as video:
            backend = video.metadata.backend
        measured: dict[str, list[float]] = {name: [] for name in totals}
        for _ in range(repeats):
            measured["12 frames"].append(seconds(lambda path=path: sample_frames(path, FRAMES)))
            for name, peer in peers.items():
                measured[name].append(seconds(lambda peer=peer, path=path: peer(path)))
        medians = {name: statistics.median(values) for name, values in measured.items()}
        for name, value in medians.items():
            totals[name] += value
        ratios = ", ".join(f"{name} {medians[name] / medians['12 frames']:.1f} x" for name in peers)
        print(f"{path.name[:40]:40} {backend:10} {1000 * medians['12 frames']:7.1f} ms   {ratios}")
    for name in peers:
        print(f"all clips: {name} takes {totals[name] / totals['12 frames']:.2f} times as long as 12 frames")


def compare_encoding(folder: Path, architecture: str, limit: int, repeats: int) -> None:
    """The whole way from files to features against the encoder on the same frames in memory; random weights."""
    import open_clip
    from clipzoo_video.clip4clip import encode_fitted, fit_frames
    from clipzoo_video.datasets import VideoItem, find_videos
    from clipzoo_video.encoding import encode_items, read_item

    from clipzoo.encoders import FrozenCLIP

    torch.manual_seed(0)
    clip = FrozenCLIP(open_clip.create_model(architecture), open_clip.get_tokenizer(architecture), architecture)
    videos = list(find_videos(folder).items())[:limit]
    items = [VideoItem(key, path) for key, path in videos]
    pixels = torch.cat([fit_frames(clip, read_item(item, FRAMES, "uniform")) for item in items])
    encode_fitted(clip, pixels[:8])
    whole, alone = [], []
    for _ in range(repeats):
        alone.append(seconds(lambda: [encode_fitted(clip, part) for part in pixels.split(64)]))
        whole.append(seconds(lambda: encode_items(clip, items, FRAMES)))
    ratio = statistics.median(whole) / statistics.median(alone)
    print(
        f"{len(items)} videos, {len(pixels)} frames: {statistics.median(whole):.1f} s, encoder alone "
        f"{statistics.median(alone):.1f} s, ratio {ratio:.3f}"
    )


def compare_heads(videos: int = 1000, frames: int = 12, width: int = 512) -> None:
    """Retrieval with features at hand: as many sentences as videos."""
    from clipzoo_video.evaluation import paper_rows
    from clipzoo_video.temporal_heads import build_head

    text, shown = torch.randn(videos, width), torch.randn(videos, frames, width)
    mask = torch.ones(videos, frames)
    for name in ("meanP", "seqLSTM", "seqTransf"):
        head = build_head(name, width).eval()

        def work(head: torch.nn.Module = head, name: str = name) -> None:
            with torch.no_grad():
                rows = torch.cat([head(shown[part], mask[part]) for part in torch.arange(videos).split(250)])
                paper_rows(name, 100 * torch.nn.functional.normalize(text, dim=-1) @ rows.T, range(videos))

        print(f"{name}: {videos} x {videos} in {seconds(work):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--encode", metavar="ARCHITECTURE", help="measure the way from files to features")
    parser.add_argument("--heads", action="store_true", help="measure 1000 x 1000 retrieval from features")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if chosen.heads:
        compare_heads()
    if chosen.encode:
        compare_encoding(chosen.paths[0], chosen.encode, chosen.limit, chosen.repeats)
    elif chosen.paths:
        found = [child for path in chosen.paths for child in (sorted(path.iterdir()) if path.is_dir() else [path])]
        compare_decoding([path for path in found if path.is_file() and is_video(path)], chosen.repeats)


if __name__ == "__main__":
    main()
