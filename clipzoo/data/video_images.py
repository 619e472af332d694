"""Videos that are images: a folder of frames, and animated GIF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipzoo.data.video_reading import IMAGE_SUFFIXES, VideoMetadata
from clipzoo.errors import DataError
from clipzoo.images.reading import MAX_PIXELS, open_header, read_pixels

_CLOSE_S = 1e-6
_MAX_GIF_PIXELS = 40 * MAX_PIXELS
_MAX_GIF_FRAME = 1 << 24  # 4096 x 4096: Pillow holds several copies of a frame, four bytes a pixel
_SHORTEST_GIF_S = 0.011
"""Browsers show frames that claim a hundredth of a second or less for a tenth."""


class ImageFolderReader:
    """A folder of frames in the natural order of their names (``2.jpg`` before ``10.jpg``), one a second.

    Args:
        path: the folder.
        fps: frames a second, where it is known.

    Raises:
        DataError: if there is no image in it.
    """

    def __init__(self, path: Path, fps: float = 1.0) -> None:
        """List the frames, and read the header of the first."""
        self.path, self.fps = path, fps
        self.files = sorted(
            (
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            ),
            key=lambda file: _natural(file.name),
        )
        if not self.files:
            raise DataError(f"there is no frame in {path}", expected=f"images ({', '.join(IMAGE_SUFFIXES)})")
        first = open_header(self.files[0])
        count = len(self.files)
        self.metadata = VideoMetadata(first.width, first.height, 0.0, count / fps, count, fps, backend="images")

    def frames(self, seconds: Sequence[float] | np.ndarray) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """See :meth:`clipzoo.data.VideoReader.frames`.

        Raises:
            DataError: if an image is damaged, or of another size than the first.
        """
        size = None
        for second in seconds:
            row = min(max(int((second + _CLOSE_S) * self.fps), 0), len(self.files) - 1)
            picture = read_pixels(self.files[row])
            if size not in (None, picture.shape):
                raise DataError(
                    f"{self.files[row]} has another size than the frames before it: {picture.shape}, {size}"
                )
            size = picture.shape
            yield picture, row / self.fps

    def close(self) -> None:
        """Nothing is open."""


class GIFReader:
    """An animated GIF; frames keep their own durations.

    Args:
        path: the file.

    Raises:
        DataError: if it is no GIF, damaged, or holds more pixels than fit in memory.
    """

    def __init__(self, path: Path) -> None:
        """Read all frames' durations."""
        self.path = path
        header = open_header(path, max_pixels=_MAX_GIF_FRAME)
        self.image: Image.Image = header.image
        try:
            count = getattr(self.image, "n_frames", 1)
        except Exception as error:  # a decoder that meets nonsense may raise anything
            raise DataError(f"{path} is a damaged GIF: {' '.join(str(error).split())[:200]}") from error
        if count * header.width * header.height > _MAX_GIF_PIXELS:
            raise DataError(
                f"{path} has {count} frames of {header.width} x {header.height} px", expected="a smaller GIF"
            )
        lengths = []
        for row in range(count):
            self._show(row)
            told = float(self.image.info.get("duration", 0) or 0) / 1000
            lengths.append(told if told >= _SHORTEST_GIF_S else 0.1)
        self.times_s = np.concatenate([[0.0], np.cumsum(lengths)])
        fps = count / self.times_s[-1]
        self.metadata = VideoMetadata(
            header.width, header.height, 0.0, float(self.times_s[-1]), count, float(fps), backend="gif"
        )

    def frames(self, seconds: Sequence[float] | np.ndarray) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """See :meth:`clipzoo.data.VideoReader.frames`."""
        for second in seconds:
            row = int(np.searchsorted(self.times_s[:-1], second + _CLOSE_S, side="right")) - 1
            self._show(max(row, 0))
            white = Image.new("RGBA", self.image.size, "white")
            white.alpha_composite(self.image.convert("RGBA"))
            yield np.asarray(white.convert("RGB")), float(self.times_s[max(row, 0)])

    def close(self) -> None:
        """Close the file."""
        self.image.close()

    def _show(self, row: int) -> None:
        try:
            self.image.seek(row)
            if self.image.width * self.image.height > _MAX_GIF_FRAME:  # a frame may reach beyond the first
                raise ValueError(f"it is {self.image.width} x {self.image.height} px")
            self.image.load()
        except Exception as error:  # a decoder that meets nonsense may raise anything
            raise DataError(
                f"frame {row} of {self.path} cannot be decoded: {' '.join(str(error).split())[:200]}"
            ) from error


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Numbers in a name compare as numbers."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
