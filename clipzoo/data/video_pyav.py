"""Frames of a video file through PyAV (FFmpeg): an index of packets first, then only what must be decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8

from clipzoo.data.video_reading import VideoMetadata
from clipzoo.errors import DataError

if TYPE_CHECKING:
    import av

_CLOSE_S = 1e-6  # times closer than this are the same
_LARGE_PX = 1280 * 720
_HELD_MB = 256
"""Frames that wait to be handed out while others are decoded; more of them are decoded one after the other."""
_NO_SEEKING = ("mpegts", "mpeg", "avi")
"""Containers where a seek lands near a time at best, or whose packets carry no presentation times."""


@dataclass(frozen=True)
class _Index:
    """Every packet of the video track: when its frame is shown, and where decoding may begin."""

    pts: np.ndarray
    """Ascending, in units of the track."""
    key_pts: np.ndarray
    key_dts: np.ndarray
    last_duration: int


class PyAVReader:
    """See :class:`clipzoo.data.VideoReader`.

    The packets are read once, without decoding. So it is known which frame is on show at any time, at any frame rate,
    and from which key frame it can be decoded: the last one that is *shown* no later (before an open group of pictures
    FFmpeg's own seek stops one too late).

    Args:
        path: the file.

    Raises:
        DataError: if it cannot be opened, has no video track, or no frame in it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its packets."""
        # Not at the top: this module can be looked at where PyAV is not installed.
        import av

        self.path = path
        self._av = av
        self._needed: frozenset[int] | None = None
        self._begun: Iterator[av.VideoFrame] | None = None
        # One for all frames: to set up a conversion takes longer than to convert a small picture.
        self._to_rgb = av.video.reformatter.VideoReformatter()
        try:
            self.container = self._av.open(str(path), metadata_errors="ignore")
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{path} cannot be opened as a video: {_reason(error)}") from error
        try:
            if not self.container.streams.video:
                raise DataError(f"{path} has no video track", expected="a video with pictures")
            self.stream = self.container.streams.video[0]
            if self.stream.codec_context is None:
                raise DataError(f"{path} has a video track of a kind that nothing here decodes")
            self._share_work()
            self.ordered = not any(name in self.container.format.name.split(",") for name in _NO_SEEKING)
            self.index = self._read_index()
            self.metadata = self._describe()
        except BaseException:
            self.container.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def _share_work(self) -> None:
        """Threads that decode whole frames, where a frame is worth the handing over; parts of frames otherwise."""
        context = self.stream.codec_context
        large = (context.width or 0) * (context.height or 0) >= _LARGE_PX
        self.stream.thread_type = "AUTO" if large else "SLICE"

    def _read_index(self) -> _Index:
        pts, key_pts, key_dts = [], [], []
        last = (-1, 0)
        try:
            for packet in self.container.demux(self.stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                shown = packet.pts if packet.pts is not None else packet.dts
                if shown is None:
                    continue
                pts.append(shown)
                if packet.is_keyframe:
                    key_pts.append(shown)
                    key_dts.append(packet.dts if packet.dts is not None else shown)
                last = max(last, (shown, packet.duration or 0))
        except self._av.FFmpegError:
            pass  # a torn file: what came before the tear is known, the rest is refused when asked for
        if not pts:
            raise DataError(f"{self.path} has a video track without a frame", expected="a video with pictures")
        if not key_pts:
            raise DataError(f"{self.path} has no key frame: nothing in it can be decoded")
        order = np.argsort(key_pts, kind="stable")
        return _Index(np.unique(pts), np.array(key_pts)[order], np.array(key_dts)[order], last[1])

    def _describe(self) -> VideoMetadata:
        first = self._first_frame()
        turn = _quarter_turns(first)
        width, height = (first.height, first.width) if turn % 2 else (first.width, first.height)
        times = self.times_s
        fps = float(self.stream.average_rate) if self.stream.average_rate else None
        gap = self._seconds(self.index.last_duration) if self.index.last_duration > 0 else 0.0
        if gap <= 0:
            gap = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps if fps else 0.04
        end = float(times[-1]) + gap
        if self.stream.duration is not None:
            promised = float(times[0]) + float(self.stream.duration * self.stream.time_base)
            # A header that promises much more than the packets hold: the file is cut off, and must not look whole.
            if promised - end > max(0.5, 2 * gap):
                end = promised
        return VideoMetadata(width, height, float(times[0]), end, len(times), fps, (-90 * turn) % 360, backend="pyav")

    @property
    def times_s(self) -> np.ndarray:
        """When each frame begins to be shown."""
        return self._seconds(self.index.pts)

    def _seconds(self, pts: np.ndarray | int) -> np.ndarray:
        base = self.stream.time_base
        return np.asarray(pts) * base.numerator / base.denominator

    def _first_frame(self) -> av.VideoFrame:
        frames = self._from_start()
        for frame in frames:
            self._begun = chain((frame,), frames)
            return frame
        raise DataError(f"{self.path} has frames, but none can be decoded")

    def frames(self, seconds: Sequence[float] | np.ndarray) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """See :meth:`clipzoo.data.VideoReader.frames`."""
        times = self.times_s
        rows = np.searchsorted(times, np.asarray(seconds) + _CLOSE_S, side="right") - 1
        rows = np.maximum(rows, 0)
        end = self.metadata.end_s
        held = np.append(np.diff(times), end - times[-1])
        typical = float(np.median(held))
        for second, row in zip(seconds, rows, strict=True):
            # After the last packet of a torn file there is a hole up to the promised end, not a frozen frame.
            if row == len(times) - 1 and second >= times[-1] + max(0.5, 3 * typical) and held[-1] > 1.5 * typical + 0.5:
                raise self._cut_off(second)
        if not self.ordered:
            yield from self._in_order(rows)
            return
        first, *others = self._shares(rows)
        if not others:
            yield from self._by_seeking(first)
            return
        with ThreadPoolExecutor(len(others)) as pool:
            rest = [pool.submit(self._apart, part) for part in others]
            yield from self._by_seeking(first)
            for part in rest:
                yield from part.result()

    def _shares(self, rows: np.ndarray) -> list[np.ndarray]:
        """Frames that can be decoded beside each other, because a key frame lies between: a share for each thread.

        Threads that share out single frames gain nothing where frames are small, and half of the time here.
        """
        threads = torch.get_num_threads()
        held_mb = len(rows) * 3 * self.metadata.width * self.metadata.height / 1e6
        keys = np.searchsorted(self.index.key_pts, self.index.pts[rows], side="right") - 1
        cuts = np.flatnonzero(np.diff(keys)) + 1
        if threads == 1 or len(cuts) == 0 or held_mb > _HELD_MB:
            return [rows]
        runs = np.split(rows, cuts)
        starts = np.searchsorted(self.index.pts, self.index.key_pts[np.maximum(keys[np.append(0, cuts)], 0)])
        work = np.array([run[-1] - start + 1 for run, start in zip(runs, starts, strict=True)])
        share = ((np.cumsum(work) - work / 2) * threads / work.sum()).astype(int)
        return [np.concatenate([r for r, s in zip(runs, share, strict=True) if s == n]) for n in np.unique(share)]

    def _apart(self, rows: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Frames from the same file, opened once more."""
        twin = copy(self)
        twin._to_rgb = self._av.video.reformatter.VideoReformatter()
        twin._begun = None
        try:
            twin.container = self._av.open(str(self.path), metadata_errors="ignore")
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be opened any more: {_reason(error)}") from error
        try:
            twin.stream = twin.container.streams.video[0]
            twin._share_work()
            return list(twin._by_seeking(rows))
        finally:
            twin.container.close()

    def _in_order(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        """Decode from the start and count: right for containers that cannot be trusted with anything else."""
        times = self.times_s
        self._needed = None
        frames = enumerate(self._from_start())
        number, picture, reached = -1, None, -1
        frame = None
        for row in rows:
            while number < row:
                following = next(frames, None)
                if following is None:
                    break
                number, frame = following
            if frame is None or number < min(row, len(times) - 3):
                raise self._cut_off(float(times[row]))
            # A container may hold an empty packet or two more than frames, at its end.
            if reached != number:
                picture, reached = self._upright(frame), number
            yield picture, float(times[number])  # type: ignore[misc]

    def _by_seeking(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        wanted = self.index.pts[rows]
        self._needed = frozenset(wanted.tolist())
        keys = np.searchsorted(self.index.key_pts, wanted, side="right") - 1
        frames: Iterator[av.VideoFrame] = iter(())
        frame, picture, shown, key_now = None, None, None, -2
        for pts, key in zip(wanted, keys, strict=True):
            if shown == pts:
                yield picture, float(self._seconds(int(pts)))  # type: ignore[misc]
                continue
            if frame is None or (key > key_now and self.index.key_pts[key] > frame.pts):
                frames, key_now = self._from_key(int(key)), int(key)
                frame = None
            frame = self._advance(frames, int(pts))
            if frame is None:
                frame = self._from_further_back(int(key), int(pts))
                if frame is None:
                    raise self._cut_off(float(self._seconds(int(pts))))
                frames = self._continued
            picture, shown = self._upright(frame), pts
            yield picture, float(self._seconds(int(pts)))

    def _advance(self, frames: Iterator[av.VideoFrame], pts: int) -> av.VideoFrame | None:
        for frame in frames:
            if frame.pts == pts:
                return frame
            if frame.pts is not None and frame.pts > pts:
                return None
        return None

    def _from_further_back(self, key: int, pts: int) -> av.VideoFrame | None:
        """The frame ``pts``, decoded from ever earlier key frames, at last from the first."""
        for earlier in dict.fromkeys((max(key, 0), max(key - 1, 0), 0)):
            self._continued = self._from_key(earlier)
            frame = self._advance(self._continued, pts)
            if frame is not None:
                return frame
        return None

    def _from_key(self, key: int) -> Iterator[av.VideoFrame]:
        """Frames from the key frame ``key`` on, or from an earlier one where the container cannot find it."""
        if key <= 0:
            return self._from_start()
        self._begun = None  # what was begun is not there any more after a seek
        target = int(self.index.key_pts[key])
        for offset in (target, int(self.index.key_dts[key])):
            try:
                self.container.seek(offset, stream=self.stream, backward=True)
                first = next(packet for packet in self.container.demux(self.stream) if packet.size)
            except (self._av.FFmpegError, StopIteration):
                continue
            if first.is_keyframe and first.pts is not None and first.pts <= target:
                self.container.seek(offset, stream=self.stream, backward=True)
                return self._decoded()
        return self._from_start()

    def _from_start(self) -> Iterator[av.VideoFrame]:
        """All frames; the first that asks goes on from the one frame that was decoded to describe the video."""
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        self._rewind()
        return self._decoded()

    def _rewind(self) -> None:
        try:
            start = min(int(self.index.key_dts[0]), int(self.index.pts[0])) if hasattr(self, "index") else 0
            self.container.seek(start, stream=self.stream, backward=True)
        except (self._av.FFmpegError, OSError):
            # No index to seek in: open it anew.
            self.container.close()
            self.container = self._av.open(str(self.path), metadata_errors="ignore")
            self.stream = self.container.streams.video[0]
            self._share_work()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Frames from here on; without those that are neither needed themselves nor for the decoding of others."""
        context = self.stream.codec_context
        try:
            for packet in self.container.demux(self.stream):
                needed = self._needed is None or packet.pts is None or packet.pts in self._needed
                context.skip_frame = "DEFAULT" if needed else "NONREF"
                yield from packet.decode()
        except self._av.FFmpegError:
            return

    def _upright(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        picture = self._to_rgb.reformat(frame, format="rgb24").to_ndarray()
        turns = _quarter_turns(frame)
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _cut_off(self, second: float) -> DataError:
        return DataError(
            f"the frame at {second:.3f} s of {self.path} cannot be decoded: the file is cut off or damaged",
            expected=f"a whole video of {self.metadata.duration_s:.3f} s",
        )


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Counter-clockwise quarter turns to the picture as it is meant to be seen."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split("; last error log: ")[-1][:200] or type(error).__name__
