"""Fixtures of the video plugin: the tiny encoder, oracles, small generated videos, real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

ORACLES = Path(__file__).parent / "oracle"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing that a test computes lands in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, np.ndarray]]:
    """Numbers that the published code gave for given inputs.

    What went in (weights, features, pixels) was drawn on a coarse grid, so that half precision holds it exactly.
    """

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(ORACLES / f"{name}.npz") as stored:
            return {
                key: stored[key].astype(np.float32, copy=False) if stored[key].dtype == np.float16 else stored[key]
                for key in stored
            }

    return load


@pytest.fixture(scope="session")
def tiny():
    import clipzoo

    return clipzoo.load_clip("tiny", device="cpu")


def card(shape: str | None, colour: str = "red", size: int = 64) -> np.ndarray:
    """A picture of one thing, or of nothing."""
    if shape is None:
        return np.full((size, size, 3), 240, np.uint8)
    from clipzoo.data.scenes import render_object

    return render_object(shape, colour, size)


def write_video(path: Path, times_s: list[float], pictures: list[np.ndarray], rate: Fraction = Fraction(25)) -> Path:
    """A video whose frames are shown from the times given."""
    import av

    base = Fraction(1, 60000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 400_000
        stream.codec_context.time_base = base
        for time_s, picture in zip(times_s, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time_s / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cards_video(path: Path, cards: list[tuple[float, np.ndarray]], rate: Fraction, uneven: bool = False) -> Path:
    """Cards one after the other, each for so many seconds, at a frame rate; ``uneven`` varies the gaps between frames."""
    edges = np.cumsum([length for length, _ in cards])
    times, at, step = [], 0.0, 0
    while at < edges[-1] - 1e-9:
        times.append(at)
        step += 1
        at = at + (0.02, 0.09, 0.3, 0.05)[step % 4] if uneven else float(step / rate)
    pictures = [cards[int(np.searchsorted(edges, time + 1e-9, side="right"))][1] for time in times]
    return write_video(path, times, pictures, rate)


@pytest.fixture(scope="session")
def draw_card():
    """See :func:`card`."""
    return card


@pytest.fixture(scope="session")
def write_cards():
    """See :func:`cards_video`."""
    return cards_video


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory) -> Path:
    """Two videos with cards at known times, and a folder of frames."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("videos")
    blank, star, tree = card(None), card("star", "red"), card("tree", "green")
    cards_video(folder / "first.mp4", [(3, blank), (2, star), (3, blank)], Fraction(10))
    cards_video(folder / "second.mp4", [(2, blank), (2, tree), (3, blank)], Fraction(10))
    (folder / "frames").mkdir()
    for number, picture in enumerate([blank, blank, card("fish", "blue"), blank]):
        Image.fromarray(picture).save(folder / "frames" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real files."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with data/ of real files in it")
    return Path(folder) / "data"


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames [3, 5, 128] and a mask with one, three and five frames."""
    frames = torch.randn(3, 5, 128, generator=torch.Generator().manual_seed(0))
    return frames, torch.arange(5) < torch.tensor([1, 3, 5])[:, None]
