"""Folders of files that no plugin can use: of every kind, with nothing, nonsense, NaN or a wrong shape in them."""

from __future__ import annotations

import io
from pathlib import Path

SUFFIXES = (
    *("jpg", "png", "webp", "gif", "tif", "bmp", "svg"),
    *("npy", "npz", "h5", "mat", "safetensors", "pt", "parquet"),
    *("off", "ply", "obj", "pcd", "xyz", "txt", "csv", "json", "yaml"),
    *("mp4", "avi", "webm", "tar", "zip"),
)
_STARTS = {
    "jpg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a",
    "npy": b"\x93NUMPY",
    "off": b"OFF\n",
}
_PLY = """ply
format ascii 1.0
element vertex 8
property float x
property float y
property float z
end_header
"""


def write_nonsense(folder: Path) -> None:
    """A file of each kind whose name and first bytes promise what is not there."""
    inside = _class_folder(folder)
    for suffix in SUFFIXES:
        (inside / f"{folder.name}.{suffix}").write_bytes(_STARTS.get(suffix, b"") + b"\x00\xfe nonsense \xff" * 4)


def write_not_a_number(folder: Path) -> None:
    """Arrays, tables, clouds and a floating-point image of NaN."""
    import numpy as np

    _write_arrays(folder, np.full((64, 3), np.nan, dtype=np.float32))
    inside = folder / "thing"
    (inside / f"{folder.name}.ply").write_text(_PLY + "nan nan nan\n" * 8)
    (inside / f"{folder.name}.off").write_text("OFF\n8 0 0\n" + "nan nan nan\n" * 8)
    (inside / f"{folder.name}.json").write_text("[NaN, NaN]")
    _write_float_image(inside / f"{folder.name}.tif")


def write_wrong_shape(folder: Path) -> None:
    """Arrays and tables with more axes, or fewer columns, than anything has."""
    import numpy as np

    _write_arrays(folder, np.ones((2, 2, 2, 2, 2), dtype=np.float32), table="1\n")


def _class_folder(folder: Path) -> Path:
    # A folder a class is what most readers understand: otherwise they refuse before they have read a file.
    inside = folder / "thing"
    inside.mkdir(parents=True)
    return inside


def _write_arrays(folder: Path, array: object, table: str = "") -> None:
    import numpy as np

    inside = _class_folder(folder)
    for suffix, save in (("npy", np.save), ("npz", np.savez)):
        buffer = io.BytesIO()
        save(buffer, array)
        (inside / f"{folder.name}.{suffix}").write_bytes(buffer.getvalue())
    for suffix, gap in (("txt", " "), ("xyz", " "), ("csv", ",")):
        (inside / f"{folder.name}.{suffix}").write_text(table or f"nan{gap}nan{gap}nan\n" * 64)


def _write_float_image(path: Path) -> None:
    import numpy as np
    from PIL import Image

    Image.fromarray(np.full((16, 16), np.nan, dtype=np.float32)).save(path)
