"""Films of drawings: GIF through Pillow, MP4 through ffmpeg where imageio-ffmpeg is installed."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from clipzoo.errors import DataError, MissingExtra
from clipzoo_sketch.ink import Ink

FRAMES_PER_SECOND = 12
_HOLD_S = 2.0


def picture(pixels: Float[Tensor, "3 height width"]) -> Image.Image:
    """Floats in [0, 1] as an 8-bit image.

    >>> picture(torch.ones(3, 2, 4)).size
    (4, 2)
    """
    array = pixels.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy()
    return Image.fromarray((array * 255).round().astype(np.uint8))


@torch.no_grad()
def pictures(inks: Sequence[Ink], side: int, backend: str = "auto") -> list[Image.Image]:
    """One picture of ``side`` px a drawing; of each Ink its first one."""
    return [picture(ink.row(0).render(side, backend)[0]) for ink in inks]


def png(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def stroke_by_stroke(ink: Ink) -> list[Ink]:
    """An empty canvas, then one stroke more in each."""
    everything = torch.arange(ink.paths)
    return [ink.masked((everything < count)[None]) for count in range(ink.paths + 1)]


def gif(frames: Sequence[Image.Image], per_second: float = FRAMES_PER_SECOND) -> bytes:
    """An endless GIF that rests on its last frame for two seconds.

    Raises:
        DataError: if there is no frame.
    """
    if not frames:
        raise DataError("a film of no frames")
    palette = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for frame in frames]
    durations = [round(1000 / per_second)] * (len(palette) - 1) + [round(1000 * _HOLD_S)]
    buffer = io.BytesIO()
    palette[0].save(buffer, "GIF", save_all=True, append_images=palette[1:], duration=durations, loop=0, disposal=1)
    return buffer.getvalue()


def mp4(frames: Sequence[Image.Image], per_second: float = FRAMES_PER_SECOND) -> bytes:
    """An H.264 film.

    Raises:
        DataError: if there is no frame.
        MissingExtra: if imageio-ffmpeg is not installed.
    """
    if not frames:
        raise DataError("a film of no frames")
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise MissingExtra(
            "video=mp4, and imageio-ffmpeg is not installed", hint='pip install "clipzoo-sketch[video]", or video=gif'
        ) from error
    # H.264 with the usual chroma needs even sides.
    width, height = (side + side % 2 for side in frames[0].size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = write_frames(str(path), (width, height), fps=per_second, macro_block_size=1)
        writer.send(None)
        for frame in [*frames, *[frames[-1]] * round(_HOLD_S * per_second)]:
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(frame)
            writer.send(canvas.tobytes())
        writer.close()
        return path.read_bytes()


def film(frames: Sequence[Image.Image], kind: str) -> bytes | None:
    """The frames as ``"gif"`` or ``"mp4"``; None of ``"none"``."""
    return {"gif": gif, "mp4": mp4, "none": lambda frames: None}[kind](frames)
