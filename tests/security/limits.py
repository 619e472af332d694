"""Limits that every reader keeps, whatever is in the file."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_SECONDS = 2.0
MAX_BYTES = 500e6


@contextmanager
def within_limits(what: str) -> Iterator[None]:
    """The block takes at most two seconds of the processor, and no more than 500 MB beyond the peak so far."""
    before, start = peak_bytes(), time.process_time()
    yield
    took, more = time.process_time() - start, peak_bytes() - before
    assert took <= MAX_SECONDS, f"{what}: {took:.1f} s"
    assert more <= MAX_BYTES, f"{what}: {more / 1e6:.0f} MB"


def peak_bytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
