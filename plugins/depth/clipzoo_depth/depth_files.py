"""Depth maps in files: guarded reading of 16-bit PNG and npy, and writing."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from clipzoo.data.array_files import read_npy
from clipzoo.errors import ConfigError, DataError
from clipzoo.images.reading import MAX_FILE_BYTES, MAX_PIXELS, open_header

UNITS: dict[str, float] = {"mm": 1000, "cm": 100, "m": 1, "m/256": 256, "m/1000": 1000, "m/5000": 5000}
"""Units of depth files, and how many of each make a metre. KITTI has m/256, TUM m/5000, NYU and most others mm."""

DEPTH_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".pgm")
_IMPLAUSIBLE_M = 100.0
_LARGEST_MM = 65535


def read_depth(path: str | Path, unit: str = "mm") -> Float[np.ndarray, "height width"]:
    """A depth map from a 16-bit image or an npy file.

    Args:
        path: one channel; 0 (in npy also NaN and below 0) where depth is unknown.
        unit: of the integers, a key of :data:`UNITS`; an npy file of floats is in m.

    Returns:
        float32 in m; 0 where it is unknown.

    Raises:
        DataError: if it is no depth map: 8 bit, colour, damaged, all unknown, or implausibly far.
        ConfigError: if the unit is unknown.
    """
    path = Path(path)
    if unit not in UNITS:
        raise ConfigError(f'no unit called "{unit}"', expected=", ".join(UNITS))
    stored = _read_npy(path) if path.suffix.lower() == ".npy" else _read_image(path)
    factor = 1.0 if stored.dtype.kind == "f" else UNITS[unit]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is unknown
        metres = stored.astype(np.float32) / factor
    depth = np.nan_to_num(metres, nan=0.0, posinf=0.0, neginf=0.0).clip(0)
    return plausible(depth, str(path), unit)


def plausible(depth: Float[np.ndarray, "height width"], name: str, unit: str | None = None) -> np.ndarray:
    """``depth`` itself.

    Raises:
        DataError: if no pixel of it is known, or their median lies above 100 m, which no camera of depth sees.
    """
    known = depth[depth > 0]
    if not len(known):
        raise DataError(f"{name} has no pixel of known depth", expected="some above 0")
    middle = float(np.median(known))
    if middle > _IMPLAUSIBLE_M:
        raise DataError(
            f"the median depth of {name} is {middle:,.0f} m",
            expected=f"at most {_IMPLAUSIBLE_M:g} m: the unit is probably another" + (f" than {unit}" if unit else ""),
            hint=f"unit={_likely(middle * UNITS[unit])}" if unit else None,
        )
    return depth


def _likely(value: float) -> str:
    """The unit that a median of ``value`` was probably written in."""
    return "mm" if value / UNITS["mm"] <= 20 else "m/5000"


def _read_image(path: Path) -> np.ndarray:
    header = open_header(path)
    mode = header.image.mode
    if mode != "I" and not mode.startswith("I;16"):
        what = "8-bit" if mode in ("L", "P", "1", "RGB", "RGBA", "LA") else mode
        kind = "grey" if mode in ("L", "1", "LA") else "colours"
        raise DataError(
            f"{path} is a picture of depth ({what} {kind}), whose scale is unknown",
            expected="a 16-bit grey PNG, or an npy file in m",
        )
    try:
        header.image.load()
        values = np.asarray(header.image)
    except Exception as error:  # a decoder that meets nonsense may raise anything
        raise DataError(f"{path} cannot be decoded: {error}", expected="a whole 16-bit PNG") from error
    return values.astype(np.int32)


def _read_npy(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > MAX_FILE_BYTES * 4:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"at most {MAX_FILE_BYTES * 4:,}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", expected="an npy file of numbers") from error
    stored = read_npy(path)
    if stored.dtype.kind not in "fiu":
        raise DataError(f"{path} holds no array of numbers")
    stored = stored.squeeze()
    if stored.ndim != 2 or stored.size > MAX_PIXELS:
        raise DataError(f"{path} holds an array of the shape {stored.shape}", expected="[height, width]")
    return stored


def depth_png(depth: Float[np.ndarray, "height width"]) -> bytes:
    r"""A 16-bit PNG in mm; beyond 65.535 m it holds 65535.

    >>> depth_png(np.ones((2, 2), np.float32))[:4]
    b'\x89PNG'
    """
    millimetres = np.rint(depth * 1000.0).clip(0, _LARGEST_MM).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(millimetres).save(buffer, format="PNG")
    return buffer.getvalue()


def depth_npy(depth: Float[np.ndarray, "height width"]) -> bytes:
    """An npy file, float32 in m."""
    buffer = io.BytesIO()
    np.save(buffer, depth.astype(np.float32))
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
