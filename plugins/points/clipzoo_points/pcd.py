"""The PCD format of the Point Cloud Library, version 0.7: ascii, binary and binary_compressed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from clipzoo.errors import DataError

_TYPES = {
    ("F", 4): "<f4",
    ("F", 8): "<f8",
    ("I", 1): "i1",
    ("I", 2): "<i2",
    ("I", 4): "<i4",
    ("I", 8): "<i8",
    ("U", 1): "u1",
    ("U", 2): "<u2",
    ("U", 4): "<u4",
    ("U", 8): "<u8",
}
_MAX_BYTES = 256 << 20


def read_pcd(path: Path) -> np.ndarray:
    """The x, y and z of every point, ``[N, 3]``.

    Raises:
        DataError: if the header is not one of a PCD file, or claims what the file does not have.
    """
    content = path.read_bytes()
    header, data, body = _header(path, content)
    names, counts = (
        header["FIELDS"],
        [int(word) for word in header.get("COUNT") or ["1"] * len(header["FIELDS"])],
    )
    kinds = [_TYPES.get((kind, int(size))) for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
    if None in kinds or not {"x", "y", "z"} <= set(names) or len(names) != len(kinds) or len(counts) != len(names):
        raise DataError(
            f"{path}: fields {names} of the types {kinds}",
            expected="x, y and z among them, as many types as fields",
        )
    if any(counts[names.index(axis)] != 1 for axis in "xyz"):
        raise DataError(f"{path}: fields {names} with the counts {counts}", expected="one value each for x, y and z")
    points = int(header["POINTS"][0]) if "POINTS" in header else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
    if data == "ascii":
        return _ascii(path, body, names, counts, points)
    # Names may be the same, as those of padding are: their place tells them apart.
    labels = [f"{name}.{place}" for place, name in enumerate(names)]
    row = np.dtype([(label, kind, (count,)) for label, kind, count in zip(labels, kinds, counts, strict=True)])
    need = points * row.itemsize
    if points < 0 or need > _MAX_BYTES:
        raise DataError(f"{path}: the header claims {points} points, {need} bytes", expected=f"at most {_MAX_BYTES}")
    wanted = [labels[names.index(axis)] for axis in "xyz"]
    if data == "binary":
        if len(body) < need:
            raise DataError(f"{path}: the header claims {points} points ({need} bytes), {len(body)} follow: truncated")
        table = np.frombuffer(body, row, count=points)
        return np.concatenate([table[name] for name in wanted], 1)
    packed, unpacked = struct.unpack_from("<II", body) if len(body) >= 8 else (0, 0)
    if unpacked != need or len(body) < 8 + packed:
        raise DataError(f"{path}: {unpacked} bytes are announced, and {points} points take {need}: broken or truncated")
    whole = _lzf(path, body[8 : 8 + packed], need)
    columns, place = {}, 0
    for label, kind, count in zip(labels, kinds, counts, strict=True):  # one field after another
        values = np.frombuffer(whole, kind, count=count * points, offset=place)
        columns[label] = values.reshape(points, count)
        place += values.nbytes
    return np.concatenate([columns[name] for name in wanted], 1)


def _header(path: Path, content: bytes) -> tuple[dict[str, list[str]], str, bytes]:
    header: dict[str, list[str]] = {}
    place = 0
    while place < min(len(content), 1 << 16):
        end = content.find(b"\n", place)
        if end < 0:
            break
        words = content[place:end].decode("ascii", "replace").split()
        place = end + 1
        if not words or words[0].startswith("#"):
            continue
        header[words[0].upper()] = words[1:]
        if words[0].upper() == "DATA":
            missing = {"FIELDS", "SIZE", "TYPE"} - header.keys()
            kind = words[1].lower() if len(words) > 1 else ""
            if missing or not ("POINTS" in header or {"WIDTH", "HEIGHT"} <= header.keys()):
                raise DataError(f"{path}: the header lacks {', '.join(sorted(missing)) or 'POINTS'}")
            if kind not in ("ascii", "binary", "binary_compressed"):
                raise DataError(f'{path}: data of the kind "{kind}"', expected="ascii, binary or binary_compressed")
            return header, kind, content[place:]
    raise DataError(f"{path}: no header of a PCD file", expected='lines such as "FIELDS x y z", and "DATA binary"')


def _ascii(path: Path, body: bytes, names: list[str], counts: list[int], points: int) -> np.ndarray:
    width = sum(counts)
    numbers = body.split()
    if len(numbers) != points * width:
        raise DataError(f"{path}: {len(numbers)} values follow, and {points} points of {width} values are announced")
    table = np.array(numbers, dtype=np.float64).reshape(points, width)
    starts = np.cumsum([0, *counts])
    return table[:, [starts[names.index(axis)] for axis in "xyz"]]


def _lzf(path: Path, packed: bytes, size: int) -> bytes:
    """Unpack LibLZF: runs of literals, and copies of up to 264 bytes from at most 8 kB back."""
    out = bytearray()
    place = 0
    try:
        while place < len(packed):
            control = packed[place]
            place += 1
            if control < 32:
                out += packed[place : place + control + 1]
                place += control + 1
            else:
                length = control >> 5
                if length == 7:
                    length += packed[place]
                    place += 1
                start = len(out) - ((control & 31) << 8) - packed[place] - 1
                place += 1
                if start < 0:
                    raise IndexError
                again = out[start : start + length + 2]
                if not again:
                    raise IndexError
                # A copy that reaches its own output repeats it.
                out += (again * -(-(length + 2) // len(again)))[: length + 2]
            if len(out) > size:
                raise IndexError
    except IndexError:
        raise DataError(f"{path}: the compressed data is broken") from None
    if len(out) != size:
        raise DataError(f"{path}: the compressed data gives {len(out)} of {size} bytes: truncated")
    return bytes(out)
