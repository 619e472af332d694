"""How sure a mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipzoo.errors import ConfigError, DataError

_CHUNK = 4_000_000


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.floating],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979).

    Args:
        values: one number an item, for example 1 where an answer is right and 0 where it is wrong.
        level: share of resampled means that lie between the two ends.
        resamples: how many; 2000 give ends that are good to about a twentieth of the interval.
        seed: of the resampling.

    Returns:
        Lower and upper end.

    Raises:
        DataError: if there are no values, or one is not finite.
        ConfigError: if ``level`` is outside 0 .. 1 or there are no resamples.

    >>> bootstrap_interval([1.0, 1.0, 1.0])
    (1.0, 1.0)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise DataError(f"values of the shape {array.shape}", expected="one finite number an item, at least one")
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(f"level={level}, resamples={resamples}", expected="a level in 0 .. 1 and a resample")
    generator = np.random.default_rng(seed)
    found, count = np.unique(array, return_counts=True)
    if len(found) * 8 < len(array):
        # Right or wrong: a resample is a multinomial draw of the values, however many items there are.
        draws = generator.multinomial(len(array), count / len(array), resamples)
        means = draws @ found / len(array)
    else:
        step = max(1, _CHUNK // len(array))
        parts = [min(step, resamples - start) for start in range(0, resamples, step)]
        means = np.concatenate([array[generator.integers(len(array), size=(n, len(array)))].mean(1) for n in parts])
    edge = (1 - level) / 2
    low, high = np.quantile(means, [edge, 1 - edge])
    return float(low), float(high)
