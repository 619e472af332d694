"""The published distance words and the depths that they stand for. Light: no torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from clipzoo.errors import ConfigError, closest_matches

TEMPLATE = "This object is {}"
"""The published sentence; its object is "object" for every place of an image."""

PROMPTS: dict[str, tuple[str, ...]] = {
    "paper": ("giant", "extremely close", "close", "not in distance", "a little remote", "far", "unseen"),
    "degrees": ("extremely close", "close", "middle", "a little far", "far", "quite far", "unseen"),
    "steps": ("extremely close", "very close", "close", "a little close", "a little far", "far", "unseen"),
    "remote": ("giant", "close", "a little close", "not in distance", "a bit remote", "far", "unseen"),
}
"""The sets of words that the paper compares (Zhang et al. 2022, table 4), from near to far."""

BINS: dict[str, tuple[float, ...]] = {
    "paper": (1.00, 1.50, 2.00, 2.25, 2.50, 2.75, 3.00),
    "wide": (1.00, 2.00, 2.25, 2.50, 2.75, 3.00, 4.00),
    "even": (1.00, 1.50, 2.00, 2.50, 3.00, 3.50, 4.00),
    "near": (1.00, 1.25, 1.50, 1.75, 2.00, 2.25, 2.50),
    "far": (2.00, 2.50, 3.00, 3.25, 3.50, 3.75, 4.00),
}
"""The sets of depths that the paper compares, m."""

SCENE_BINS: dict[str, tuple[float, ...]] = {"bathroom": BINS["near"], "classroom": BINS["far"]}
"""Depths for single kinds of scene that the paper tries, m."""

_LARGEST_M = 1000.0


def check_bins(bins: str | Sequence[float], name: str = "bins") -> tuple[float, ...]:
    """Depths of the bins, by the name of a published set or as numbers.

    Args:
        bins: a key of :data:`BINS`, or at least two depths in m, ascending.
        name: what to call them in errors.

    Raises:
        ConfigError: if there is no such set, or the depths are fewer than two, not ascending or no depths.

    >>> check_bins("wide")[-1], check_bins([1, 2])
    (4.0, (1.0, 2.0))
    """
    if isinstance(bins, str):
        if bins not in BINS:
            raise ConfigError(
                f'no {name} called "{bins}"', closest=closest_matches(bins, BINS), expected=", ".join(BINS)
            )
        return BINS[bins]
    depths = tuple(float(depth) for depth in bins)
    if len(depths) < 2:
        raise ConfigError(f"{name} has {len(depths)} depths", expected="at least two")
    if not all(math.isfinite(depth) and 0 < depth <= _LARGEST_M for depth in depths):
        raise ConfigError(f"{name}={_listed(depths)} holds what is no depth", expected=f"0 to {_LARGEST_M:g} m")
    if any(far <= near for near, far in pairwise(depths)):
        raise ConfigError(
            f"{name}={_listed(depths)} does not ascend",
            expected="depths from near to far, as the words",
            hint=f"{name}={_listed(sorted(set(depths)))}",
        )
    return depths


def check_prompts(prompts: str | Sequence[str], bins: Sequence[float]) -> tuple[str, ...]:
    """Words of the bins, by the name of a published set or as they are.

    Args:
        prompts: a key of :data:`PROMPTS`, or one word or phrase a bin, from near to far.
        bins: the depths that they stand for.

    Raises:
        ConfigError: if there is no such set, or not one word a bin.
    """
    if isinstance(prompts, str):
        if prompts not in PROMPTS:
            raise ConfigError(
                f'no prompts called "{prompts}"', closest=closest_matches(prompts, PROMPTS), expected=", ".join(PROMPTS)
            )
        prompts = PROMPTS[prompts]
    words = tuple(prompts)
    if len(words) != len(bins):
        raise ConfigError(
            f"{len(words)} prompts ({', '.join(words)}) and {len(bins)} bins ({_listed(bins)})",
            expected="one prompt a bin, from near to far",
        )
    return words


def check_scene_bins(scene_bins: Mapping[str, str | Sequence[float]], count: int) -> dict[str, tuple[float, ...]]:
    """Depths for single kinds of scene.

    Args:
        scene_bins: scene to a key of :data:`BINS`, or to depths in m.
        count: how many depths each must have.

    Raises:
        ConfigError: if a set is no set of ``count`` ascending depths.
    """
    checked = {scene: check_bins(bins, f"bins of {scene}") for scene, bins in scene_bins.items()}
    for scene, bins in checked.items():
        if len(bins) != count:
            raise ConfigError(f"the scene {scene} has {len(bins)} bins", expected=f"{count}, one a prompt")
    return checked


def _listed(depths: Sequence[float]) -> str:
    return ",".join(f"{depth:g}" for depth in depths)
