"""Wall times of a piece of work, and of several in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def once_s(work: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds of one call, to the end of what it left running on the device."""
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() - start


def median_s(work: Callable[[], Any], rounds: int, device: str = "cpu") -> float:
    """Median of some calls in seconds, after one that is not counted."""
    once_s(work, device)
    return statistics.median(once_s(work, device) for _ in range(rounds))


def best_s(work: Callable[[], Any], rounds: int, device: str = "cpu") -> float:
    """Shortest of some calls in seconds: what a machine can do, for floors."""
    return min(once_s(work, device) for _ in range(rounds + 1))


def in_turns(jobs: Mapping[str, Callable[[], Any]], rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of every call of several jobs that alternate, after one round that is not counted.

    A machine that slows down slows all of them: take the ratio within a round, then the median of the ratios.
    """
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, work in jobs.items():
            took = once_s(work, device)
            if turn:
                spent[name].append(took)
    return spent
