"""Draws that every generator of shapes makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Generator = np.random.Generator


def uniform(rng: Generator, low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * rng.random()


def integer(rng: Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both possible."""
    return low + int(rng.random() * (high - low + 1))


def chance(rng: Generator, probability: float) -> bool:
    """True as often as ``probability`` says."""
    return rng.random() < probability


def pick(rng: Generator, weighted: Sequence[tuple]) -> Any:
    """One of (item, weight) pairs; `Generator.choice` takes twenty times as long for so few."""
    left = rng.random() * sum(weight for _, weight in weighted)
    for item, weight in weighted:
        left -= weight
        if left < 0:
            return item
    return weighted[-1][0]
