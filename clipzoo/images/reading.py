"""Guarded reading of image files: whatever is in the file, the result is 8-bit RGB or a :class:`DataError`."""

from __future__ import annotations

import io
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipzoo.errors import DataError

MAX_PIXELS = 89_478_485
"""Largest image that is decoded unless told otherwise: Pillow's own limit, about 89 megapixels."""

MAX_FILE_BYTES = 128 << 20
"""Largest file that is read, bytes."""

# Pillow can also open what runs programs (EPS calls Ghostscript) or what nobody photographs; those stay closed.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "MPO", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "ICO")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAME_SIDES = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM")
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """An image that was read.

    Args:
        image: mode RGB, upright.
        width: of the upright image in the file, px (``image`` is smaller if its decoder shrank it).
        height: the same for the rows.
        notes: what had to be decided on the way, for records.
    """

    image: Image.Image
    width: int
    height: int
    notes: tuple[str, ...] = ()


def read_image(source: str | Path | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image file as an upright 8-bit RGB image.

    EXIF orientation is applied; transparency is laid on white; 16-bit grey is scaled to 8 bit (65535 becomes 255);
    CMYK, palettes and grey become RGB; of an animation the first frame is taken. Colour profiles are not applied.

    Args:
        source: a path, the content of a file, or an open binary file.
        max_pixels: refuse larger images by their header, before anything is decoded. Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``, twice over) stands above it.

    Raises:
        DataError: if the file is missing, no image, damaged, too large, or of a kind without a defined range.

    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2), 7).save(file, "PNG")
    >>> image = read_image(file.getvalue())
    >>> image.mode, image.size, image.getpixel((0, 0))
    ('RGB', (3, 2), (7, 7, 7))
    """
    return read_picture(source, max_pixels=max_pixels).image


def read_pixels(
    source: str | Path | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """Like :func:`read_image`, as an array.

    Raises:
        DataError: as :func:`read_image`.
    """
    return np.asarray(read_image(source, max_pixels=max_pixels))


def read_picture(source: str | Path | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Like :func:`read_image`, with what had to be decided on the way.

    Raises:
        DataError: as :func:`read_image`.
    """
    return decode(open_header(source, max_pixels=max_pixels))


@dataclass
class Header:
    """An image file of which only the header was read.

    Args:
        image: Pillow's image, without pixels yet.
        name: what to call it in errors.
        width: of the pixels in the file, px.
        height: the same for the rows.
    """

    image: Image.Image
    name: str
    width: int
    height: int

    def shrink(self, least_px: int) -> None:
        """Let the JPEG decoder shrink by 2, 4 or 8, as long as both sides keep ``least_px`` pixels.

        Much faster for large photos, and not the same pixels. Other formats are left as they are.
        """
        if self.image.format in ("JPEG", "MPO"):
            with suppress(Exception):  # what is wrong with it is found when it is decoded
                self.image.draft("RGB", (least_px, least_px))

    @property
    def decoding_bytes(self) -> int:
        """Memory that :func:`decode` takes at its peak: Pillow holds RGB as four bytes a pixel."""
        opaque = self.image.mode == "RGB" and "transparency" not in self.image.info
        turned = self.image.format in ("JPEG", "MPO") and _orientation(self.image) in _TURNS
        return self.image.width * self.image.height * (9 if not opaque else 8 if turned else 4)


def open_header(
    source: str | Path | bytes | BinaryIO, *, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> Header:
    """Read the header alone: size, mode and format, no pixels.

    Args:
        source: as for :func:`read_image`.
        name: what to call it in errors.
        max_pixels: as for :func:`read_image`.

    Raises:
        DataError: if it is no image that :func:`read_image` takes, or too large.
    """
    name = name or name_of(source)
    opened = _regular_file(source) if isinstance(source, str | Path) else source
    file: BinaryIO = io.BytesIO(opened) if isinstance(opened, bytes) else opened
    try:
        image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        raise _too_large(name, " ".join(str(error).split()), max_pixels) from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name} is no image, or its header is damaged", expected=", ".join(_FORMATS)) from error
    except Exception as error:  # a parser that meets nonsense may raise anything
        raise _damaged(name, error) from error
    if image.width * image.height > max_pixels:
        raise _too_large(name, f"its header says {image.width} x {image.height} px", max_pixels)
    return Header(image, name, *image.size)


def decode(header: Header) -> Picture:
    """Decode what :func:`open_header` opened.

    Raises:
        DataError: if the image is damaged, or of a kind without a defined range.
    """
    image, notes = header.image, []
    size = header.width, header.height
    try:
        image.load()
        if getattr(image, "is_animated", False):
            notes.append("first of several frames")
        if image.size != size and image.format in ("JPEG", "MPO"):
            notes.append(f"shrunk to {image.width} x {image.height} px by its decoder")
        turn = _TURNS.get(_orientation(image))
        upright = _eight_bit_rgb(image, header.name, notes)
        if turn is not None:
            upright = upright.transpose(turn)
            notes.append("turned upright")
    except DataError:
        raise
    except Exception as error:  # a decoder that meets nonsense may raise anything
        raise _damaged(header.name, error) from error
    if turn is not None and turn.name not in _SAME_SIDES:
        size = (size[1], size[0])
    return Picture(upright, *size, tuple(notes))


def decoder_version() -> str:
    """Pillow and its JPEG library with their versions: pixels of the same file may depend on them."""
    from PIL import features

    turbo = features.version_feature("libjpeg_turbo") if features.check_feature("libjpeg_turbo") else None
    jpeg = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"
    return f"Pillow {Image.__version__}, {jpeg}"


def name_of(source: str | Path | bytes | BinaryIO) -> str:
    """What an image is called in errors."""
    if isinstance(source, str | Path):
        return str(source)
    return str(getattr(source, "name", "the image"))


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _regular_file(source: str | Path) -> bytes:
    path = Path(source)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is no file", expected="an image file")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} has {status.st_size:,} bytes", expected=f"at most {MAX_FILE_BYTES:,}")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read: {reason}") from error
    if not content:
        raise DataError(f"{path} is empty", expected="an image file")
    return content


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # broken EXIF is no reason to refuse whole pixels
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _eight_bit_rgb(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    if image.mode == "F":
        raise DataError(
            f"{name} holds floating-point pixels, whose range is not known",
            expected="integers of 8 or 16 bits",
            hint="scale it and save it as PNG",
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        notes.append("16 bit scaled to 8")
        image = _from_sixteen_bit(image, name)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image if image.mode == "RGBA" else image.convert("RGBA"), notes)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_sixteen_bit(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image)
    if values.dtype.itemsize > 2:
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{name} holds 32-bit pixels, whose range is not known", expected="8 or 16 bits")
        values = values.astype(np.uint16)
    # round(values / 257) in 16-bit arithmetic: 65535 becomes 255, and no wide copy of a large image is made.
    values = np.minimum(values, 65535 - 128)
    values += 128
    values -= values >> 8
    values >>= 8
    return Image.fromarray(values.astype(np.uint8))


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    alpha = image.getchannel("A")
    lowest, _ = alpha.getextrema()
    if lowest == 255:
        return image.convert("RGB")
    notes.append("transparency on white")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return white


def _too_large(name: str, reason: str, max_pixels: int) -> DataError:
    return DataError(
        f"{name} is too large: {reason}",
        expected=f"at most {max_pixels:,} pixels",
        hint="shrink it, or raise max_pixels",
    )


def _damaged(name: str, error: Exception) -> DataError:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{name} cannot be decoded: {text}", expected="a whole image file")
