"""Arrays from ``.npy`` files of others: what the header claims is held against the file before memory is taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from clipzoo.errors import DataError

MAX_BYTES = 4 << 30
"""Largest array that is read into memory unless told otherwise."""


def read_npy(path: str | Path, *, mapped: bool = False, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array in an ``.npy`` file; Python objects are never loaded.

    Args:
        path: the file.
        mapped: map it into memory, read-only, instead of reading it.
        max_bytes: refuse larger arrays, unless they are mapped.

    Raises:
        DataError: if the file is missing, no ``.npy``, cut off, too large, or holds objects.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.arange(3))
    >>> read_npy(path)
    array([0, 1, 2])
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            shape, fortran, kind, start = _header(file)
            claimed, there = math.prod(shape) * kind.itemsize, path.stat().st_size - start
            if kind.hasobject:
                raise DataError(
                    f"{path} cannot be read: it holds Python objects, which are never loaded", expected="numbers"
                )
            if claimed > there:
                raise DataError(f"{path} cannot be read: it claims {claimed:,} bytes {shape}, and {there:,} follow")
            if claimed > max_bytes and not mapped:
                raise DataError(f"{path} cannot be read: it holds {claimed:,} bytes", expected=f"at most {max_bytes:,}")
            order = "F" if fortran else "C"
            if mapped and claimed:
                return np.memmap(path, kind, "r", start, shape, order)
            return np.frombuffer(bytearray(file.read(claimed)), kind, math.prod(shape)).reshape(shape, order=order)
    except DataError:
        raise
    except Exception as error:  # the header is a Python literal: its parser may raise nearly anything
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{path} cannot be read: {text}", expected="a file of numpy.save") from error


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if min(shape, default=0) < 0 or len(shape) > 32:
        raise ValueError(f"the shape {shape}")
    return shape, fortran, kind, file.tell()
