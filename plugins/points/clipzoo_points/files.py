"""Point clouds and meshes from files, every claim of a header held against the file before it is believed."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clipzoo.errors import DataError, closest_matches
from clipzoo_points.pcd import read_pcd

_COMMENTS = ("#", "//")
_OFF = re.compile(r"(ST)?C?N?OFF")  # texture, colour and normal come behind x, y and z
MAX_BYTES = 256 << 20
"""Largest file, and largest array in one, that is read: a cloud of ten million points is far smaller."""


def read_cloud(path: str | Path, points: int | None = 1024, seed: int = 0) -> np.ndarray:
    """Read one cloud, ``[N, 3]`` float32, in the units and axes of the file.

    Args:
        path: ``.off .ply .obj`` (with faces: points are drawn on the surface, evenly by area; without: the
            vertices), ``.pcd``, ``.npy .npz``, or text ``.xyz .txt .pts .csv`` that begins with x, y, z.
        points: how many to draw on a mesh, default 1024; files of points give all they have.
        seed: of the drawing, together with the name of the file.

    A cloud further than 10^4 times its size from the origin is moved there: float32 would round its shape.

    Raises:
        DataError: if the file is missing, broken, holds no point, or holds a coordinate that is not finite.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f'{path}: files of the type "{path.suffix}" are not read',
            closest=closest_matches(path.suffix, SUFFIXES),
            expected=", ".join(SUFFIXES),
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if size == 0:
        refuse(path, "the file is empty")
    if size > MAX_BYTES:
        refuse(path, f"the file has {size / 1e6:.0f} MB", f"at most {MAX_BYTES / 1e6:.0f} MB for one cloud")
    try:
        read = reader(path)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: the file claims more than fits into memory") from error
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        raise DataError(
            f"{path}: the file is broken or not what its name says ({type(error).__name__}: {text})"
        ) from error
    vertices, faces = read if isinstance(read, tuple) else (read, None)
    cloud = _checked(path, vertices)
    if faces is None or len(faces) == 0:
        return cloud
    generator = np.random.default_rng([seed, zlib.crc32(path.name.encode())])
    return _on_surface(path, cloud, faces, 1024 if points is None else points, generator)


def refuse(path: Path, reason: str, expected: str | None = None) -> NoReturn:
    """Raise the error of a bad file."""
    raise DataError(f"{path}: {reason}", expected=expected)


def _checked(path: Path, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points)
    # More columns than this are points, in an array that is turned.
    if points.ndim != 2 or not 3 <= points.shape[1] <= 64:
        refuse(path, f"an array of the shape {points.shape}", "[points, 3 or more columns]")
    if len(points) == 0:
        refuse(path, "the cloud has no points", "at least one")
    if points.dtype.kind not in "fiu":
        refuse(path, f"values of the type {points.dtype}", "numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and is reported below
        cloud = _near_origin(points[:, :3]).astype(np.float32)
    bad = ~np.isfinite(cloud).all(1)
    if bad.any():
        refuse(
            path,
            f"{int(bad.sum())} of {len(cloud)} points are NaN or infinite (first: point {int(bad.argmax())})",
        )
    return cloud


def _near_origin(points: np.ndarray) -> np.ndarray:
    """Coordinates of a survey, say, are millions of metres with millimetres that matter."""
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return points
    size, middle = float((high - low).max()), (low + high) / 2
    return points - middle if 0 < 1e4 * size < np.abs(middle).max() else points


def _on_surface(path: Path, vertices: np.ndarray, faces: np.ndarray, count: int, generator: Any) -> np.ndarray:
    if faces.min() < 0 or faces.max() >= len(vertices):
        refuse(path, f"a face names vertex {int(faces.max())}", f"0 to {len(vertices) - 1}")
    corners = vertices[faces].astype(np.float64)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(one, two), axis=1)
    if not area.sum() > 0:
        refuse(path, "the faces have no area", "at least one triangle with an area")
    chosen = generator.choice(len(faces), size=count, p=area / area.sum())
    u, v = generator.random((2, count))
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u)[:, None], np.where(outside, 1 - v, v)[:, None]
    return (corners[chosen, 0] + u * one[chosen] + v * two[chosen]).astype(np.float32)


def _read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """OFF, also with the counts right behind the magic word, as many ModelNet files have them."""
    text = path.read_text(encoding="ascii", errors="replace")
    magic = _OFF.match(text)
    if magic is None:
        refuse(path, f"the file begins with {text[:8]!r}", '"OFF"')
    body = text[magic.end() :]
    # Comments run to the end of their line.
    body = re.sub(r"#[^\n]*", "", body) if "#" in body else body
    head = body.split(None, 3)
    if len(head) < 3:
        refuse(path, "the counts are missing", "vertices, faces and edges after OFF")
    vertices, faces = int(head[0]), int(head[1])
    _claims(path, vertices, "vertices", 6, len(text))
    _claims(path, faces, "faces", 4, len(text))
    rest = head[3] if len(head) > 3 else ""
    numbers = rest.split()
    if len(numbers) != 3 * vertices + 4 * faces:
        lines = [line for line in rest.splitlines() if line.strip()]
        # Colours and normals make lines longer, and numbers alone do not tell them from coordinates.
        if len(lines) >= vertices + faces and all(len(line.split()) >= 3 for line in lines[:vertices]):
            return _off_lines(path, lines, vertices, faces)
    if len(numbers) < 3 * vertices:
        refuse(
            path,
            f"{len(numbers) // 3} of {vertices} vertices are there: the file is truncated or a count wrong",
        )
    points = np.array(numbers[: 3 * vertices], dtype=np.float64).reshape(-1, 3)
    return points, _polygons(path, numbers[3 * vertices :], faces)


def _polygons(path: Path, numbers: list[str], count: int) -> np.ndarray:
    """Triangles of ``count`` polygons, each written as its number of corners and their indices."""
    if count and len(numbers) == 4 * count and all(number == "3" for number in numbers[::4]):
        return np.array(numbers, dtype=np.int64).reshape(-1, 4)[:, 1:]
    triangles, place = [], 0
    for face in range(count):
        corners = int(numbers[place]) if place < len(numbers) else -1
        if corners < 0 or place + corners >= len(numbers) + (0 if corners else 1):
            refuse(path, f"{face} of {count} faces are there: the file is truncated or its count is wrong")
        index = [int(number) for number in numbers[place + 1 : place + 1 + corners]]
        triangles.extend(_fan(index))
        place += 1 + corners
    if place < len(numbers):
        refuse(path, f"{len(numbers) - place} numbers follow the last face: a count is wrong")
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _off_lines(path: Path, lines: list[str], vertices: int, faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a file with one of them a line, whatever follows in the line."""
    if len(lines) > vertices + faces:
        refuse(path, f"{len(lines)} lines follow the counts, which announce {vertices + faces}: a count is wrong")
    points = np.array([line.split(None, 3)[:3] for line in lines[:vertices]], dtype=np.float64).reshape(-1, 3)
    triangles: list[tuple[int, int, int]] = []
    for line in lines[vertices:]:
        words = line.split()
        corners = int(words[0])
        if not 0 < corners < len(words):
            refuse(
                path,
                f"a face is written as {line.strip()[:60]!r}",
                "its number of corners, and as many vertices",
            )
        triangles.extend(_fan([int(word) for word in words[1 : 1 + corners]]))
    return points, np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _fan(corners: list[int]) -> list[tuple[int, int, int]]:
    return [(corners[0], a, b) for a, b in pairwise(corners[1:])]


def _claims(path: Path, count: int, what: str, bytes_each: int, size: int) -> None:
    if count < 0:
        refuse(path, f"the header claims {count} {what}")
    if count * bytes_each > size + bytes_each:
        refuse(
            path,
            f"the header claims {count} {what}, and the file has {size} bytes",
            f"at least {count * bytes_each}",
        )


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open("rb") as file:
        head = file.read(64 << 10)
    end = head.find(b"end_header")
    if not head.startswith(b"ply") or end < 0:
        refuse(path, "no header of a PLY file", '"ply" ... "end_header"')
    vertices = 0
    for line in head[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdigit():
                refuse(path, f'the header has the line "{line[:60]}"', "element NAME COUNT")
            _claims(path, int(words[2]), words[1], 1, path.stat().st_size)
            vertices = int(words[2]) if words[1] == "vertex" else vertices
    return _through_trimesh(path, path.read_bytes(), "ply", vertices)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    content = path.read_bytes()
    vertices = len(re.findall(rb"^v[ \t]", content, re.MULTILINE))
    if vertices == 0:
        refuse(path, 'no line begins with "v"', "vertices of an OBJ file")
    # Materials and textures are other files, and are no business of a point cloud.
    content = re.sub(rb"^(mtllib|usemtl)[^\n]*$", b"", content, flags=re.MULTILINE)
    # trimesh takes spaces alone for separators.
    return _through_trimesh(path, content.replace(b"\t", b" "), "obj", None)


def _through_trimesh(
    path: Path, content: bytes, kind: str, vertices: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    import trimesh

    loaded = trimesh.load(io.BytesIO(content), file_type=kind, process=False)
    if isinstance(loaded, trimesh.Scene):
        loaded = loaded.to_geometry()
    points = np.asarray(getattr(loaded, "vertices", ()))
    if vertices is not None and len(points) != vertices:
        refuse(
            path,
            f"{len(points)} of {vertices} vertices are there: the file is truncated or its count is wrong",
        )
    faces = np.asarray(loaded.faces) if isinstance(loaded, trimesh.Trimesh) else None
    return points, faces


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        _check_npy(path, file, path.stat().st_size)
        file.seek(0)
        return np.load(file, allow_pickle=False)


def _read_npz(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist()]
        preferred = [name for name in ("points.npy", "xyz.npy", "pc.npy", "arr_0.npy") if name in names]
        if not preferred and len(names) != 1:
            refuse(path, f"arrays called {', '.join(names[:6])}", 'one called "points"')
        name = preferred[0] if preferred else names[0]
        size = archive.getinfo(name).file_size
        if size > MAX_BYTES:
            refuse(path, f"{name} would have {size / 1e6:.0f} MB", f"at most {MAX_BYTES / 1e6:.0f} MB")
        with archive.open(name) as file:
            _check_npy(path, file, size)
        with archive.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _check_npy(path: Path, file: Any, size: int) -> None:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    if kind.hasobject:
        refuse(path, "the array holds Python objects, which are never loaded", "numbers")
    claimed = int(np.prod([int(part) for part in shape], dtype=object)) * kind.itemsize
    if claimed > size:
        refuse(path, f"the header claims {shape} values, {claimed} bytes, and the file has {size}")


def _read_text(path: Path) -> np.ndarray:
    claimed, skip, first = None, 0, ""
    # Spreadsheets on Windows begin their files with a byte order mark.
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file):
            if not line.strip() or line.lstrip().startswith(_COMMENTS):
                continue
            first = line
            if claimed is not None or not line.strip().isdigit():
                break
            claimed, skip = int(line), number + 1
    if not first:
        refuse(path, "the file has no lines with numbers")
    delimiter = "," if "," in first else ";" if ";" in first else None
    columns = len(first.split(delimiter))
    if columns < 3:
        refuse(
            path,
            f"a line has {columns} columns: {first.strip()[:60]!r}",
            "x, y and z, separated by spaces or commas",
        )
    table = np.loadtxt(
        path,
        delimiter=delimiter,
        usecols=(0, 1, 2),
        skiprows=skip,
        ndmin=2,
        dtype=np.float64,
        comments=_COMMENTS,
        encoding="utf-8-sig",
    )
    if claimed is not None and len(table) != claimed:
        refuse(path, f"{len(table)} of {claimed} points are there: the file is truncated or its count is wrong")
    return table


_READERS: dict[str, Callable[[Path], Any]] = {
    ".off": _read_off,
    ".ply": _read_ply,
    ".obj": _read_obj,
    ".pcd": read_pcd,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".xyz": _read_text,
    ".txt": _read_text,
    ".pts": _read_text,
    ".csv": _read_text,
}
SUFFIXES = tuple(_READERS)
"""File types that :func:`read_cloud` knows."""
