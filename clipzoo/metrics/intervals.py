"""How sure a mean is: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipzoo.errors import ConfigError, DataError

_FEW = 256  # distinct values up to which counting them is faster than drawing items


class Interval(NamedTuple):
    """A mean with its interval.

    Args:
        low: lower end.
        mean: of the values.
        high: upper end.
    """

    low: float
    mean: float
    high: float


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean (Efron 1979), of an accuracy for instance.

    Args:
        values: one an item: 1 and 0 for right and wrong, or any score.
        level: probability that the interval is meant to hold, between 0 and 1.
        resamples: how many samples with replacement are drawn.
        seed: of the draws.

    Raises:
        ConfigError: if ``level`` or ``resamples`` is out of range.
        DataError: if there are no values or one is not finite.

    >>> low, mean, high = bootstrap_interval([1] * 80 + [0] * 20)
    >>> mean, 0.70 < low < 0.75, 0.85 < high < 0.90
    (0.8, True, True)
    """
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(f"level {level} and {resamples} resamples", expected="0 < level < 1, at least one resample")
    items = np.asarray(values, dtype=np.float64).ravel()
    if not len(items):
        raise DataError("no values", expected="at least one")
    if not np.isfinite(items).all():
        raise DataError(f"{int((~np.isfinite(items)).sum())} of {len(items)} values are NaN or infinite")
    random = np.random.default_rng(seed)
    distinct, counts = np.unique(items, return_counts=True)
    if len(distinct) <= _FEW:
        # How often each value is drawn is multinomial: the same distribution without drawing every item.
        means = random.multinomial(len(items), counts / len(items), size=resamples) @ distinct / len(items)
    else:
        means = np.array([items[random.integers(len(items), size=len(items))].mean() for _ in range(resamples)])
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(items.mean()), float(high))
