"""Videos as frames at given times: one protocol, several back ends, and errors instead of made-up frames."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clipzoo.data.video_sampling import sample_seconds
from clipzoo.errors import ConfigError, DataError, MissingExtra, closest_matches

VIDEO_SUFFIXES = (
    ".mp4",
    ".webm",
    ".mkv",
    ".avi",
    ".mov",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".flv",
    ".wmv",
    ".3gp",
    ".ogv",
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
BACKENDS = ("torchcodec", "pyav", "images", "gif")
_HOMES = {
    "torchcodec": ("clipzoo.data.video_torchcodec", "TorchcodecReader"),
    "pyav": ("clipzoo.data.video_pyav", "PyAVReader"),
    "images": ("clipzoo.data.video_images", "ImageFolderReader"),
    "gif": ("clipzoo.data.video_images", "GIFReader"),
}


@dataclass(frozen=True)
class VideoMetadata:
    """What is known of a video before it is decoded.

    Args:
        width: of a frame as it is displayed, after rotation, px.
        height: the same.
        start_s: presentation time of the first frame; often, not always, zero.
        end_s: when the last frame ends. Where a header promises more than the file holds, what it promises.
        frame_count: frames, if the file tells.
        average_fps: frames a second as the file says, if it does. A header can lie: use times.
        rotation_deg: clockwise turn that has been applied to the coded picture.
        backend: which reader this is from.
    """

    width: int
    height: int
    start_s: float
    end_s: float
    frame_count: int | None = None
    average_fps: float | None = None
    rotation_deg: int = 0
    backend: str = ""

    @property
    def duration_s(self) -> float:
        """From the start of the first frame to the end of the last."""
        return self.end_s - self.start_s


class VideoReader(Protocol):
    """An open video. Frame k is on show for ``pts_s[k] <= t < pts_s[k + 1]``, the last one until ``end_s``."""

    metadata: VideoMetadata

    def frames(self, seconds: Sequence[float] | np.ndarray) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """The frame on show at each time and its presentation time; one frame at a time is in memory.

        Args:
            seconds: presentation times, ascending.

        Raises:
            DataError: if a time lies outside the video, or what is on show then cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class OpenVideo:
    """A :class:`VideoReader` to use in ``with``; times that do not ascend are sorted for the reader.

    Args:
        reader: an open reader.
        name: of the file, for errors.
    """

    def __init__(self, reader: VideoReader, name: str) -> None:
        """Take over ``reader``."""
        self.reader = reader
        self.name = name

    @property
    def metadata(self) -> VideoMetadata:
        """See :class:`VideoMetadata`."""
        return self.reader.metadata

    def frames(self, seconds: Sequence[float] | np.ndarray) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """Frames at ascending times, one at a time: see :meth:`VideoReader.frames`."""
        wanted = np.asarray(seconds, dtype=np.float64).reshape(-1)
        if not len(wanted):
            return
        _check_times(wanted, self.metadata, self.name)
        yield from self.reader.frames(wanted)

    def frames_at(
        self, seconds: Sequence[float] | np.ndarray
    ) -> tuple[UInt8[Tensor, "frames 3 height width"], Float[np.ndarray, " frames"]]:
        """The frames on show at ``seconds``, in the order asked for, and their presentation times.

        Raises:
            DataError: as :meth:`VideoReader.frames`.
        """
        wanted = np.asarray(seconds, dtype=np.float64).reshape(-1)
        if not len(wanted):
            raise DataError(f"no times were asked for of {self.name}", expected="at least one")
        order = np.argsort(wanted, kind="stable")
        pictures: list[Any] = [None] * len(wanted)
        times = np.zeros(len(wanted))
        for place, (picture, pts_s) in zip(order, self.frames(wanted[order]), strict=True):
            pictures[place], times[place] = picture, pts_s
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), times

    def close(self) -> None:
        """Close the file."""
        self.reader.close()

    def __enter__(self) -> OpenVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_video(path: str | Path, backend: str = "auto") -> OpenVideo:
    """Open a video file, an animated GIF, or a folder of frames.

    torchcodec reads files where it is installed and works (it needs the shared libraries of FFmpeg), PyAV where it is
    not; a file that torchcodec refuses is given to PyAV, whose word is final.

    Args:
        path: a file, or a folder of images whose names in natural order are the order of time, one a second.
        backend: ``"auto"``, or one of :data:`BACKENDS`.

    Raises:
        DataError: if there is no such file, it holds no video, or nothing in it can be decoded.
        MissingExtra: if no back end for it is installed.
        ConfigError: if there is no such back end.
    """
    path = Path(path).expanduser()
    if backend not in ("auto", *BACKENDS):
        raise ConfigError(
            f'no back end called "{backend}"', closest=closest_matches(backend, BACKENDS), expected=", ".join(BACKENDS)
        )
    _check_file(path)
    if backend == "auto":
        if path.is_dir():
            backend = "images"
        elif path.suffix.lower() == ".gif":
            backend = "gif"
    if backend != "auto":
        return OpenVideo(_reader(backend, path), str(path))
    if torchcodec_works():
        try:
            return OpenVideo(_reader("torchcodec", path), str(path))
        except DataError:
            pass
    return OpenVideo(_reader("pyav", path), str(path))


def read_frames(
    path: str | Path, seconds: Sequence[float] | np.ndarray, *, backend: str = "auto"
) -> tuple[UInt8[Tensor, "frames 3 height width"], Float[np.ndarray, " frames"]]:
    """The frames of a video that are on show at ``seconds``, upright, RGB.

    Args:
        path: see :func:`open_video`.
        seconds: presentation times, in any order; the first frame is at ``open_video(path).metadata.start_s``.
        backend: see :func:`open_video`.

    Returns:
        The frames, in the order asked for, and when each of them began to be shown, s.

    Raises:
        DataError: as :func:`open_video`, or if a time lies outside the video, or its frame cannot be decoded.
        MissingExtra: as :func:`open_video`.
    """
    with open_video(path, backend) as video:
        return video.frames_at(seconds)


def sample_frames(
    path: str | Path, n: int, strategy: str = "uniform", *, backend: str = "auto"
) -> tuple[UInt8[Tensor, "frames 3 height width"], Float[np.ndarray, " frames"]]:
    """At most ``n`` frames of a video, spread as :func:`clipzoo.data.video_sampling.sample_seconds` says.

    Raises:
        DataError: as :func:`read_frames`.
    """
    with open_video(path, backend) as video:
        return video.frames_at(sampled_times(video.metadata, n, strategy))


def sampled_times(
    metadata: VideoMetadata, n: int, strategy: str = "uniform", generator: np.random.Generator | None = None
) -> Float[np.ndarray, " frames"]:
    """Presentation times for :meth:`OpenVideo.frames_at`: those of ``sample_seconds``, from the start of the video."""
    times = sample_seconds(metadata.duration_s, n, strategy, fps=metadata.average_fps, generator=generator)
    # The end is open, and a rate that is a little off must not ask for what comes after it.
    return np.minimum(metadata.start_s + times, np.nextafter(metadata.end_s, -np.inf))


def is_video(path: Path) -> bool:
    """Whether a path looks like a video: by its ending, or a folder that holds images and nothing else to enter."""
    if path.is_dir():
        return any(child.suffix.lower() in IMAGE_SUFFIXES for child in path.iterdir())
    return path.suffix.lower() in (*VIDEO_SUFFIXES, ".gif")


_TORCHCODEC: list[bool] = []


def torchcodec_works() -> bool:
    """Whether torchcodec is installed and finds the libraries of FFmpeg; tried once a process."""
    if not _TORCHCODEC:
        try:
            from clipzoo.data.video_torchcodec import try_libraries

            try_libraries()
            _TORCHCODEC.append(True)
        except (ImportError, RuntimeError, OSError):
            _TORCHCODEC.append(False)
    return _TORCHCODEC[0]


def _reader(backend: str, path: Path) -> VideoReader:
    module, name = _HOMES[backend]
    try:
        return getattr(importlib.import_module(module), name)(path)
    except ImportError as error:
        raise MissingExtra(
            f"reading {path.name} needs the module {error.name or backend}, which is not installed",
            hint='pip install "clipzoo[video]"',
        ) from error


def _check_file(path: Path) -> None:
    if not path.exists():
        near = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}", closest=closest_matches(path.name, near))
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path} is no file", expected="a video, or a folder of frames")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path} is empty", expected="a video")


def _check_times(seconds: np.ndarray, metadata: VideoMetadata, name: str) -> None:
    if not np.isfinite(seconds).all():
        raise DataError(f"times of {name} are not finite", expected="seconds")
    outside = seconds[(seconds < metadata.start_s - 1e-6) | (seconds >= metadata.end_s)]
    if len(outside):
        raise DataError(
            f"{outside[0]:g} s lies outside {name}", expected=f"{metadata.start_s:g} s to before {metadata.end_s:g} s"
        )
    if (np.diff(seconds) < 0).any():
        raise DataError(f"the times asked for of {name} do not ascend", hint="frames_at takes any order")
