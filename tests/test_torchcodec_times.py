"""What torchcodec tells is checked: times that are wrong or absent are an error, never another frame.

A stand-in takes the place of the library, so that it can be made to say anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipzoo.data.video_torchcodec import TorchcodecReader
from clipzoo.errors import DataError

RATE = 10.0


class Told:
    """A tensor, as far as the reader looks at it."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=np.float64)

    def numpy(self) -> np.ndarray:
        return self.values

    def __add__(self, other: Told) -> Told:
        return Told(self.values + other.values)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., TorchcodecReader]:
    """A reader of twenty frames at ten a second, the first at 0.5 s; ``shift_s`` moves what is said of the frames."""

    def make(name: str = "a.mp4", *, shift_s: float = 0.0, fails: str = "", **metadata: Any) -> TorchcodecReader:
        told = {
            "begin_stream_seconds": 0.5,
            "end_stream_seconds": 2.5,
            "num_frames": 20,
            "duration_seconds_from_header": 2.0,
            "width": 8,
            "height": 6,
            "average_fps": RATE,
            "rotation": 0,
        }

        class VideoDecoder:
            def __init__(self, path: str, **_: Any) -> None:
                if fails == "open":
                    raise RuntimeError("moov atom\nnot found")
                self.metadata = SimpleNamespace(**{**told, **metadata})

            def get_frames_played_at(self, seconds: list[float]) -> Any:
                if fails == "decode":
                    raise RuntimeError("error -1094995529")
                index = np.floor((np.asarray(seconds) - 0.5) * RATE)
                pictures = [SimpleNamespace(numpy=lambda k=k: np.full((6, 8, 3), k, np.uint8)) for k in index]
                begin = 0.5 + index / RATE + shift_s
                return SimpleNamespace(
                    data=pictures, pts_seconds=Told(begin), duration_seconds=Told(np.full(len(index), 1 / RATE))
                )

        package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
        decoders.VideoDecoder = VideoDecoder  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchcodec", package)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
        return TorchcodecReader(tmp_path / name)

    return make


def test_each_time_gives_the_frame_on_show(opened: Callable[..., TorchcodecReader]) -> None:
    reader = opened()
    found = [(int(picture[0, 0, 0]), start_s) for picture, start_s in reader.frames([0.5, 0.61, 2.4999, 2.5])]
    assert [place for place, _ in found] == [0, 1, 19, 19]
    assert [start_s for _, start_s in found] == pytest.approx([0.5, 0.6, 2.4, 2.4])
    assert reader.metadata.backend == "torchcodec" and reader.metadata.start_s == 0.5
    reader.close()
    assert not hasattr(reader, "decoder")


def test_many_times_are_asked_for_in_parts(opened: Callable[..., TorchcodecReader]) -> None:
    seconds = np.repeat(0.55 + np.arange(20) / RATE, 2)
    assert [int(picture[0, 0, 0]) for picture, _ in opened().frames(seconds)] == [k // 2 for k in range(40)]


@pytest.mark.parametrize("shift_s", [0.2, -0.2])
def test_a_frame_of_another_time_is_an_error(opened: Callable[..., TorchcodecReader], shift_s: float) -> None:
    with pytest.raises(DataError, match="another time"):
        list(opened(shift_s=shift_s).frames([1.0]))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"num_frames": 0}, "without a frame"),
        ({"begin_stream_seconds": None}, "without a frame"),
        ({"end_stream_seconds": 0.5}, "without a frame"),
        ({"duration_seconds_from_header": 9.0}, "is cut off: 2.000 s of 9.000 s"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(
    opened: Callable[..., TorchcodecReader], metadata: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        opened(**metadata)


@pytest.mark.parametrize("name", ["a.avi", "a.ts", "a.M2TS", "a.mpg"])
def test_containers_with_wrong_times_are_left_to_others(opened: Callable[..., TorchcodecReader], name: str) -> None:
    with pytest.raises(DataError, match="wrong times"):
        opened(name)


def test_errors_of_the_library_become_ours_on_one_line(opened: Callable[..., TorchcodecReader]) -> None:
    with pytest.raises(DataError, match="cannot be opened as a video: moov atom not found"):
        opened(fails="open")
    with pytest.raises(DataError, match=r"frames at 1\.000 to 1\.000 s .* cannot be decoded: error -1094995529"):
        list(opened(fails="decode").frames([1.0]))


def test_a_turned_video_says_how_to_turn_it(opened: Callable[..., TorchcodecReader]) -> None:
    assert [opened(rotation=turn).metadata.rotation_deg for turn in (None, 0, 90, -90)] == [0, 0, 270, 90]
