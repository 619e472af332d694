"""Steps, rates and weights where a user gives none: the published ones, and what suits the bundled generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preset:
    """Of one method.

    Args:
        steps: of the optimisation or training.
        rate: learning rate.
        l2: weight of the distance from the start.
        space: that is moved in.
        batch: codes or images a training step.
        jitter: see :class:`LatentOptimizer`.
        directional: whether the loss compares directions, from the neutral text to the prompt.
        optimiser: of a mapper.
        decay: share of a mapper's training over which its rate falls to zero.
    """

    steps: int
    rate: float
    l2: float = 0.0
    space: str = "w+"
    batch: int = 2
    jitter: float = 0.0
    directional: bool = False
    optimiser: Literal["ranger", "adam"] = "ranger"
    decay: float = 0.0


PUBLISHED = {
    "optimise": Preset(steps=300, rate=0.1, l2=0.008),
    "mapper": Preset(steps=50_000, rate=0.5, l2=0.8),
    "nada": Preset(steps=300, rate=0.0016),
}

TINY = PUBLISHED | {
    # Under the published loss a small encoder is pleased by changes that do not show what was asked for, and a hat
    # that is not there at all gives no gradient.
    "optimise": Preset(steps=80, rate=0.4, l2=0.002, space="s", jitter=2.0, directional=True),
    "mapper": Preset(steps=60, rate=20.0, l2=0.1, batch=8, optimiser="adam", decay=0.5),
}


PUBLISHED_BANK, TINY_BANK = 100, 16
"""Images that each channel is tried on."""


def bank_images(generator: str) -> int:
    """How many images a bank is made of: as published, or what takes two minutes with the bundled generator.

    >>> bank_images("ffhq.pkl"), bank_images("tiny")
    (100, 16)
    """
    return TINY_BANK if generator == "tiny" else PUBLISHED_BANK


def preset(method: str, generator: str) -> Preset:
    """What a method takes for a generator.

    >>> preset("optimise", "ffhq.pkl").steps, preset("optimise", "tiny").steps
    (300, 80)
    """
    return (TINY if generator == "tiny" else PUBLISHED)[method]
