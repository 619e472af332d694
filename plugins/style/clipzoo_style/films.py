"""Films of an edit that grows: GIF through Pillow, MP4 through ffmpeg where imageio-ffmpeg is installed."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from clipzoo.errors import DataError, MissingExtra

FRAMES_PER_SECOND = 20


def shares(frames: int) -> list[float]:
    """How far an edit is in each frame: from 0 to 1 and back, slow at both ends.

    >>> [round(share, 2) for share in shares(4)]
    [0.0, 0.5, 1.0, 0.5]
    """
    return [0.5 - 0.5 * math.cos(2 * math.pi * frame / frames) for frame in range(frames)]


def gif(frames: Sequence[Image.Image], per_second: float = FRAMES_PER_SECOND) -> bytes:
    """An endless GIF.

    Raises:
        DataError: if there is no frame.
    """
    if not frames:
        raise DataError("a film of no frames")
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=list(frames[1:]), duration=round(1000 / per_second), loop=0
    )
    return buffer.getvalue()


def mp4(frames: Sequence[Image.Image], per_second: float = FRAMES_PER_SECOND) -> bytes:
    """An H.264 film.

    Raises:
        DataError: if there is no frame.
        MissingExtra: if imageio-ffmpeg is not installed.
    """
    if not frames:
        raise DataError("a film of no frames")
    write_frames = _writer()
    # H.264 with the usual chroma needs even sides.
    width, height = (side + side % 2 for side in frames[0].size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = write_frames(str(path), (width, height), fps=per_second, macro_block_size=1)
        writer.send(None)
        for frame in frames:
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(frame)
            writer.send(canvas.tobytes())
        writer.close()
        return path.read_bytes()


def check_writable(kind: str) -> None:
    """Say that an extra is missing before anything is computed.

    Raises:
        MissingExtra: if ``kind`` is ``"mp4"`` and imageio-ffmpeg is not installed.
    """
    if kind == "mp4":
        _writer()


def _writer() -> Any:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise MissingExtra(
            "video=mp4, and imageio-ffmpeg is not installed", hint='pip install "clipzoo-style[video]", or video=gif'
        ) from error
    return write_frames
