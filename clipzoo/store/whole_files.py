"""Files that are there whole or not at all, and a folder that one process writes."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clipzoo.errors import UsageError

_CHUNK = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write; it takes its name when the block ends well, and leaves nothing otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` whole or not at all."""
    with whole_file(path) as file:
        file.write(content)


def write_array(path: Path, array: np.ndarray) -> str:
    """Write an array as ``.npy`` whole or not at all.

    Returns:
        SHA-256 of the file, hexadecimal.
    """
    with whole_file(path) as file:
        np.save(file, array, allow_pickle=False)
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remove_parts(folder: Path) -> None:
    """Remove what a killed writer left half-written."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against a second writer; the lock dies with its process.

    Raises:
        UsageError: if another process is writing, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / ".lock").open("ab")
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be written: {error.strerror}", hint="another --out") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another process is writing {folder}", expected="one writer a store", hint="wait for it to end"
            ) from error
        yield  # the file stays: to delete it would let two writers lock two files of one name
