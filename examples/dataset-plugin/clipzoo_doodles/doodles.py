"""Opening the datasets: keys, labels, and a function that reads each image when it is wanted."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clipzoo.data.labelled_images import ImageDataset, LabelledImage
from clipzoo.errors import DataError, closest_matches

if TYPE_CHECKING:
    from PIL import Image

_SEEDS = {"train": 1, "val": 2, "test": 3}
_COLUMNS = {"file", "label", "split"}


def open_doodles(folder: None, *, split: str = "test", per_class: int = 20, **_: object) -> ImageDataset:
    """Line drawings made by a program; the same call gives the same pixels everywhere.

    Args:
        folder: none is needed.
        split: ``"train"``, ``"val"`` or ``"test"``; three seeds.
        per_class: drawings of each thing.

    Raises:
        DataError: if there is no such split.
    """
    from clipzoo.data.scenes import SHAPES

    if split not in _SEEDS:
        raise DataError(
            f'doodles has no split "{split}"', closest=closest_matches(split, _SEEDS), expected=", ".join(_SEEDS)
        )
    names = tuple(SHAPES)
    items = tuple(
        LabelledImage(f"{name}-{number:04d}", label, _drawer(name, _SEEDS[split], number))
        for label, name in enumerate(names)
        for number in range(per_class)
    )
    return ImageDataset("doodles", split, names, items, "drawn by a program")


def _drawer(name: str, seed: int, number: int) -> Callable[[], Image.Image]:
    def draw() -> Image.Image:
        import numpy as np
        from clipzoo.data.scenes import render_object
        from PIL import Image

        random = np.random.default_rng([seed, zlib.crc32(name.encode()), number])  # of its key, not of its place
        scale, angle_deg = random.uniform(0.5, 0.8), random.uniform(-10, 10)
        return Image.fromarray(render_object(name, size=128, scale=scale, angle_deg=angle_deg, style="drawing"))

    return draw


def open_doodle_files(folder: Path, *, split: str = "test", **_: object) -> ImageDataset:
    """The files that ``index.csv`` names; each is read, guarded, when it is wanted.

    Args:
        folder: holds ``index.csv``; clipzoo has made sure that it is there.
        split: as the column of that name says.

    Raises:
        DataError: if the index cannot be understood, or has no such split.
    """
    rows = [row for row in _rows(folder / "index.csv") if row["split"] == split]
    if not rows:
        raise DataError(f'{folder / "index.csv"} has no row of the split "{split}"')
    names = tuple(sorted({row["label"] for row in rows}))
    items = tuple(LabelledImage(row["file"], names.index(row["label"]), _reader(folder / row["file"])) for row in rows)
    return ImageDataset("doodle-files", split, names, items, "index.csv")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not rows or not _COLUMNS <= rows[0].keys() or any(None in row.values() for row in rows):
        raise DataError(f"{path} is no index of doodles", expected=f"the columns {', '.join(sorted(_COLUMNS))}")
    return rows


def _reader(path: Path) -> Callable[[], Image.Image]:
    def read() -> Image.Image:
        from clipzoo.images.reading import read_image

        return read_image(path)

    return read
