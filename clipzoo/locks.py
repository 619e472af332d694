"""A lock on a file that ends with its process, also with one that is killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock ``path`` while the block runs; afterwards the file is gone.

    Args:
        path: the file, in a folder that exists.
        wait: for another holder to end; otherwise one is an error.

    Raises:
        BlockingIOError: if another process holds it; ``strerror`` is the number of that process.
        OSError: if the file cannot be written.
    """
    while True:
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                file.seek(0)
                raise BlockingIOError(error.errno, file.read().decode("ascii", "replace") or "?") from error
            if not _is_same(file, path):  # its last holder took the file away in between
                continue
            with suppress(OSError):  # who holds it is for messages alone
                file.truncate(0)
                file.write(str(os.getpid()).encode())
                file.flush()
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def is_held(path: Path) -> bool:
    """Whether a process holds the lock ``path``."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _is_same(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
