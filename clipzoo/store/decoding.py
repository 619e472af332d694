"""From the bytes of an image file to the 8-bit square that an encoder takes, as its own preprocessing makes it."""

from __future__ import annotations

import ctypes
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipzoo.encoders.pixels import Preprocessing
from clipzoo.errors import ConfigError, closest_matches
from clipzoo.images.reading import MAX_PIXELS, decode, open_header

DECODERS = {
    "pil": "Pillow decodes and resizes on 8-bit values, as open_clip's own transform",
    "pil-draft": "the same, after the JPEG decoder shrank to at least twice the target: faster, other pixels",
}
"""Identifiers of the ways from a file to pixels; a store records which one made it."""

# A strip of 1 x 60000 px, enlarged whole before its middle is cut out, would take 12 GB. From this ratio of its sides
# on, only the middle is enlarged: the same up to rounding.
_LONG = 32

_MEMORY_BYTES = 500 << 20
_LARGE_BYTES = 32 << 20


@dataclass(frozen=True)
class Decoded:
    """The square of one image, with the size that it had and what had to be decided."""

    pixels: UInt8[np.ndarray, "size size 3"]
    width: int
    height: int
    note: str


class Decoder:
    """Decodes, resizes and crops on the CPU; may be called from several threads at once.

    Args:
        preprocessing: of the encoder.
        kind: one of :data:`DECODERS`.
        max_pixels: larger images are refused by their header.

    Raises:
        ConfigError: if ``kind`` is unknown.
    """

    def __init__(self, preprocessing: Preprocessing, kind: str = "pil", max_pixels: int = MAX_PIXELS) -> None:
        """Set the memory that all threads together may take for images that are being decoded."""
        if kind not in DECODERS:
            raise ConfigError(
                f'no decoder called "{kind}"', closest=closest_matches(kind, DECODERS), expected=", ".join(DECODERS)
            )
        self.preprocessing = preprocessing
        self.max_pixels = max_pixels
        self._shrink_px = 2 * preprocessing.size if kind == "pil-draft" else None
        self._memory = Budget(_MEMORY_BYTES)

    def __call__(self, content: bytes, name: str) -> Decoded:
        """Decode one file.

        Raises:
            DataError: as :func:`clipzoo.images.reading.read_image`.
        """
        header = open_header(io.BytesIO(content), name=name, max_pixels=self.max_pixels)
        if self._shrink_px:
            header.shrink(self._shrink_px)
        amount = header.decoding_bytes
        with self._memory.take(amount):
            picture = decode(header)
            pixels = np.asarray(fit_square(picture.image, self.preprocessing))
            decoded = Decoded(pixels, picture.width, picture.height, "; ".join(picture.notes))
            del header, picture  # their memory goes before the next image takes its place
            if amount > _LARGE_BYTES:
                _give_back_memory()
        return decoded


def _give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps tens of megabytes a thread after large images."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def fit_square(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize and crop an RGB image on 8-bit values, exactly as open_clip's transform of the same encoder does.

    The short side becomes ``size`` and the middle square is cut out (``fit="shortest"``), both sides become
    ``size`` (``"squash"``), or the long side does and a border fills the rest (``"longest"``).

    Args:
        image: mode RGB, of any size.
        preprocessing: of the encoder.

    >>> fit_square(Image.new("RGB", (640, 480)), Preprocessing(224)).size
    (224, 224)
    """
    size = preprocessing.size
    kernel = Image.Resampling.BILINEAR if preprocessing.interpolation == "bilinear" else Image.Resampling.BICUBIC
    width, height = image.size
    if preprocessing.fit == "squash":
        return _resized(image, (size, size), kernel)
    if preprocessing.fit == "longest":
        ratio = max(width / size, height / size)
        image = _resized(image, (max(1, round(width / ratio)), max(1, round(height / ratio))), kernel)
        level = round(preprocessing.fill * 255)
        square = Image.new("RGB", (size, size), (level, level, level))
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        return square
    short, long = min(width, height), max(width, height)
    if long > _LONG * short:
        return image.resize((size, size), kernel, box=_middle(width, height))
    # The long side is cut down, not rounded, as torchvision does it.
    image = _resized(image, (int(size * width / short), int(size * height / short)), kernel)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _middle(width: int, height: int) -> tuple[float, float, float, float]:
    left, top = max(0.0, (width - height) / 2), max(0.0, (height - width) / 2)
    return left, top, width - left, height - top


def _resized(image: Image.Image, size: tuple[int, int], kernel: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, kernel)


class Budget:
    """An amount (of bytes, say) that threads take from and give back; who finds too little left waits."""

    def __init__(self, total: int) -> None:
        """Nothing is taken yet."""
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Hold ``amount`` in the block; more than there is takes all of it, alone."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
