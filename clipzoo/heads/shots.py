"""Few-shot splits that anyone can draw again: nested, seeded, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipzoo.errors import ConfigError, DataError

_FORMAT = 1


@dataclass(frozen=True)
class Shots:
    """Which items train and which choose hyper-parameters; no item does both.

    Attributes:
        train: keys of the training items, ``shots`` a class.
        validation: keys of the held-out items, ``min(shots, 4)`` a class as CoOp's protocol has it.
        shots: items a class.
        seed: of the draw.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    shots: int
    seed: int


def draw_shots(keys: Sequence[str], labels: Sequence[int], shots: int, seed: int = 0) -> Shots:
    """Draw ``shots`` training items a class, and ``min(shots, 4)`` others to choose on.

    The draw depends on the keys, the labels and the seed alone, not on the order of the items; 2 shots hold 1 shot, 4
    hold 2, and so on, as long as the class is large enough. Validation items come from the other end of the shuffled
    class, so that they stay the same for all numbers of shots above 4. A class with too few items gives what it has,
    at least one for training; one with a single item gives none for validation.

    Raises:
        ConfigError: if ``shots`` is not at least 1.
        DataError: if there are not as many labels as keys, or a key is repeated.

    >>> drawn = draw_shots(["a", "b", "c", "d"], [0, 0, 1, 1], shots=1)
    >>> len(drawn.train), len(drawn.validation)
    (2, 2)
    """
    if shots < 1:
        raise ConfigError(f"shots is {shots}", expected="at least 1")
    if len(keys) != len(labels):
        raise DataError(f"{len(keys)} keys and {len(labels)} labels", expected="as many of each")
    if len(set(keys)) < len(keys):
        raise DataError("a key is repeated", expected="one item a key")
    members: dict[int, list[str]] = {}
    for key, label in zip(keys, labels, strict=True):
        members.setdefault(int(label), []).append(key)
    train: list[str] = []
    held: list[str] = []
    for label in sorted(members):
        own = sorted(members[label])
        order = np.random.default_rng([seed, label]).permutation(len(own))
        own = [own[place] for place in order]
        keep = min(shots, 4, len(own) // 2)
        train += own[: min(shots, len(own) - keep)]
        held += own[len(own) - keep :]
    return Shots(tuple(train), tuple(held), shots, seed)


def write_shots(path: str | Path, shots: Shots) -> None:
    """Write a split as JSON, whole or not at all."""
    path = Path(path)
    content = {"format": _FORMAT, "shots": shots.shots, "seed": shots.seed}
    text = json.dumps({**content, "train": shots.train, "validation": shots.validation}, indent=1)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


def read_shots(path: str | Path) -> Shots:
    """Read a split back.

    Raises:
        DataError: if the file is no split, or an item is in both parts.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        found = Shots(tuple(stored["train"]), tuple(stored["validation"]), stored["shots"], stored["seed"])
        both = set(found.train) & set(found.validation)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is no few-shot split: {type(error).__name__}: {error}") from error
    if both:
        raise DataError(f"{path}: {sorted(both)[0]} is in both parts", expected="training and validation apart")
    return found
