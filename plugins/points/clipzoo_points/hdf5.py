"""Arrays from HDF5 files of others: nothing outside is followed, all is measured before it is read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from clipzoo.errors import DataError

MAX_BYTES = 4 << 30
_MAX_RATIO = 100  # coordinates hardly shrink; a larger claim is a bomb or a hole
_MIN_BYTES = 64 << 20  # smaller ones do no harm, and labels shrink well


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The datasets called ``names`` of an HDF5 file.

    Raises:
        DataError: if the file is no HDF5 file or truncated, a dataset is absent, is a link, lies outside the
            file, or claims far more than the file holds.
    """
    try:
        with h5py.File(path, "r") as file:
            return {name: _read(path, file, name) for name in names}
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        text = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: the file is broken or no HDF5 file ({text})") from error


def _read(path: Path, file: h5py.File, name: str) -> np.ndarray:
    # Asking the file whether it has the name would follow a link of that name.
    present = list(file.keys())
    if name not in present:
        raise DataError(f'{path}: no dataset called "{name}"', expected=f"one among {', '.join(present[:8])}")
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise DataError(
            f'{path}: "{name}" is a link ({type(link).__name__}); links are not followed',
            expected="a dataset",
        )
    entry = file[name]
    if not isinstance(entry, h5py.Dataset):
        raise DataError(f'{path}: "{name}" is a {type(entry).__name__}', expected="a dataset")
    if entry.external or entry.is_virtual:
        raise DataError(f'{path}: the data of "{name}" lies in other files, which are not opened')
    if entry.dtype.kind not in "fiu":
        raise DataError(f'{path}: "{name}" holds {entry.dtype}', expected="numbers")
    claimed, stored = entry.size * entry.dtype.itemsize, path.stat().st_size
    if claimed > MAX_BYTES or claimed > max(_MIN_BYTES, _MAX_RATIO * stored):
        raise DataError(
            f'{path}: "{name}" claims {claimed} bytes of the shape {entry.shape}, and the file has {stored}'
        )
    return entry[()]
