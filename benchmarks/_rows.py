"""One row of the speed report: a line for people, or a line of JSON under ``clipzoo bench``."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn


def report(
    job: str,
    ours_s: float,
    *,
    peer: str = "",
    peer_s: float | None = None,
    stored_peer: bool = False,
    floor: str = "",
    floor_s: float | None = None,
    flop: float | None = None,
    moved_bytes: float | None = None,
    dtype: str = "fp32",
    device: str = "cpu",
    note: str = "",
) -> None:
    """Print one row.

    Args:
        job: what was done, with its sizes.
        ours_s: seconds it took, the median of some rounds.
        peer: whom it was measured beside; empty where there is none.
        peer_s: seconds of the peer for the same work.
        stored_peer: the peer was timed in another run.
        floor: what ``floor_s`` is the time of.
        floor_s: a measured time below which the job cannot come.
        flop: operations that the job needs; a multiplication with its addition counts two.
        moved_bytes: bytes that it must at least read and write.
        dtype: in which the operations are done, ``fp32`` or ``bf16``.
        device: ``cpu`` or ``cuda``.
        note: what a reader must know.
    """
    row = {
        "job": job,
        "ours_s": ours_s,
        "peer": peer,
        "peer_s": peer_s,
        "stored_peer": stored_peer,
        "floor": floor,
        "floor_s": floor_s,
        "flop": flop,
        "moved_bytes": moved_bytes,
        "dtype": dtype,
        "device": device,
        "note": note,
    }
    print(json.dumps(row) if os.environ.get("CLIPZOO_BENCH") else readable(row), flush=True)


def readable(row: dict) -> str:
    """The line for people."""
    parts = [f"{row['job']}: {seconds(row['ours_s'])}"]
    if row["peer_s"]:
        parts.append(f"{row['peer']} {seconds(row['peer_s'])} ({row['peer_s'] / row['ours_s']:.2f} x)")
    if row["floor_s"]:
        parts.append(f"{row['floor']} {seconds(row['floor_s'])} ({row['ours_s'] / row['floor_s']:.2f} of it)")
    if row["flop"] or row["moved_bytes"]:
        parts.append(f"{(row['flop'] or 0) / 1e9:.3g} GFLOP, {(row['moved_bytes'] or 0) / 1e6:.3g} MB")
    return "; ".join([*parts, *filter(None, [row["note"]])])


def seconds(value: float) -> str:
    """A time with a unit that suits it.

    >>> seconds(0.00097), seconds(28.3)
    ('970 µs', '28.3 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale or unit == "µs":
            return f"{value / scale:.3g} {unit}"
    raise AssertionError


def skip(reason: str) -> NoReturn:
    """End a benchmark that cannot run here; the table says why."""
    print(reason, file=sys.stderr)
    raise SystemExit(77)
