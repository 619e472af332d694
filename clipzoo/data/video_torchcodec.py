"""Frames of a video file through torchcodec, in its exact mode; what it tells is checked frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clipzoo.data.video_reading import VideoMetadata
from clipzoo.errors import DataError

_CLOSE_S = 1e-6
_AT_ONCE = 16


def try_libraries() -> None:
    """Load the libraries of FFmpeg.

    Raises:
        RuntimeError: if torchcodec finds none.
    """
    from torchcodec._internally_replaced_utils import load_core_libraries

    load_core_libraries()


class TorchcodecReader:
    """See :class:`clipzoo.data.VideoReader`.

    Args:
        path: the file.

    Raises:
        DataError: if torchcodec cannot open it, finds no frame, or its times make no sense (some MPEG-TS, AVI): PyAV
            reads those.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and scan its packets."""
        # Not at the top: this module can be looked at where torchcodec is not installed.
        from torchcodec.decoders import VideoDecoder

        self.path = path
        if path.suffix.lower() in (".avi", ".ts", ".mpg", ".mpeg", ".m2ts"):
            # Packets without presentation times, or times that are reported wrong.
            raise DataError(f"{path.name} is of a kind that torchcodec gives wrong times for")
        try:
            self.decoder = VideoDecoder(str(path), seek_mode="exact", dimension_order="NHWC")
            told = self.decoder.metadata
            start, end = told.begin_stream_seconds, told.end_stream_seconds
            frames, header_s = told.num_frames, told.duration_seconds_from_header
        except Exception as error:  # any parser error of a foreign library
            raise DataError(f"{path} cannot be opened as a video: {' '.join(str(error).split())[:200]}") from error
        if not frames or start is None or end is None or end <= start:
            raise DataError(f"{path} has a video track without a frame", expected="a video with pictures")
        if header_s and start + header_s - end > max(0.5, 2 * (end - start) / frames):
            raise DataError(f"{path} is cut off: {end - start:.3f} s of {header_s:.3f} s are there")
        self.metadata = VideoMetadata(
            int(told.width or 0),
            int(told.height or 0),
            float(start),
            float(end),
            int(frames),
            float(told.average_fps) if told.average_fps else None,
            round(-(getattr(told, "rotation", None) or 0)) % 360,
            backend="torchcodec",
        )

    def frames(self, seconds: Sequence[float] | np.ndarray) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """See :meth:`clipzoo.data.VideoReader.frames`."""
        wanted = np.asarray(seconds, dtype=np.float64)
        last = np.nextafter(self.metadata.end_s, -np.inf)
        for first in range(0, len(wanted), _AT_ONCE):
            part = np.clip(wanted[first : first + _AT_ONCE] + _CLOSE_S, self.metadata.start_s, last)
            try:
                batch = self.decoder.get_frames_played_at(part.tolist())
            except Exception as error:  # any decoder error of a foreign library
                text = " ".join(str(error).split())[:200]
                raise DataError(
                    f"the frames at {part[0]:.3f} to {part[-1]:.3f} s of {self.path} cannot be decoded: {text}"
                ) from error
            begins, ends = batch.pts_seconds.numpy(), (batch.pts_seconds + batch.duration_seconds).numpy()
            wrong = (begins > part + _CLOSE_S) | ((part >= ends + _CLOSE_S) & (part < last))
            if wrong.any():
                raise DataError(f"torchcodec gave a frame of another time than {part[wrong][0]:.6f} s of {self.path}")
            for picture, begin in zip(batch.data, begins, strict=True):
                yield picture.numpy(), float(begin)

    def close(self) -> None:
        """Let go of the decoder."""
        del self.decoder
