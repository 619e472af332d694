"""Arrays of numbers from MATLAB files of version 5, each claim of the file held against it.

SciPy reads these files too, and crashes with the interpreter on damaged ones.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipzoo.errors import DataError

_MAX_BYTES = 64 << 20
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """The real arrays of numbers in a file, by name; structures, cells, texts and objects are passed over.

    Args:
        path: a MAT-file of version 5 (``save -v6`` or ``-v7``).

    Raises:
        DataError: if it is missing, of another kind, damaged, or larger than 64 MB.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES >> 20} MB")
        content = path.read_bytes()
        if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
            raise ValueError("its header is not one of MATLAB 5")
        order = "<" if content[126:128] == b"IM" else ">"
        found = {}
        for kind, body in _elements(content[128:], order):
            if kind == _COMPRESSED:
                unpacker = zlib.decompressobj()
                body = unpacker.decompress(body, _MAX_BYTES)
                kind, body = next(_elements(body, order), (0, b""))
            named = _array(body, order) if kind == _MATRIX else None
            if named is not None:
                found[named[0]] = named[1]
        return found
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {' '.join(str(error).split())[:200]}", expected="a MAT-file of version 5"
        ) from error


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each element; short ones hold their bytes in their tag."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        short = kind >> 16 > 0
        if short:
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            start = place + 8
            place = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(content) or (short and size > 4):
            raise ValueError(f"an element claims {size:,} bytes, and {len(content) - start:,} follow")
        yield kind, content[start : start + size]


def _array(body: bytes, order: str) -> tuple[str, np.ndarray] | None:
    parts = list(_elements(body, order))
    if len(parts) < 4 or len(parts[0][1]) < 4:
        return None
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    shape = np.frombuffer(parts[1][1], f"{order}i4") if parts[1][0] == 5 and len(parts[1][1]) % 4 == 0 else []
    kind, raw = parts[3]
    if flags & 0xFF not in _NUMERIC_CLASSES or flags & 0x800 or kind not in _NUMBERS or not len(shape):
        return None
    values = np.frombuffer(raw, f"{order}{_NUMBERS[kind]}")
    sides = [int(side) for side in shape]
    if min(sides) < 0 or math.prod(sides) != len(values):
        raise ValueError(f"an array {tuple(sides)} of {len(values)} numbers")
    return parts[2][1].decode("ascii", "replace"), values.reshape(sides, order="F")
