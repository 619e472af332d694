"""Which images train, which choose the epoch, which are measured: always by image, never by caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from clipzoo.errors import DataError
from clipzoo_train.captions import CaptionData, CaptionedImage


@dataclass(frozen=True)
class Split:
    """The parts of a dataset.

    Args:
        train: images that are trained on.
        val: images by which the best epoch is chosen; may be empty.
        test: images that are measured at the end; may be empty.
        how: one sentence for the record.
    """

    train: tuple[CaptionedImage, ...]
    val: tuple[CaptionedImage, ...]
    test: tuple[CaptionedImage, ...]
    how: str


def split_images(data: CaptionData, how: str, val_share: float, test_share: float, seed: int) -> Split:
    """Divide a dataset by image.

    Args:
        data: with at least two images.
        how: ``"auto"`` takes the parts that the data names and else a random split, ``"random"`` always the latter,
            ``"simpleclip"`` that of the published code, ``"none"`` trains on all and holds nothing out.
        val_share: of a random split.
        test_share: of a random split.
        seed: of a random split.

    Raises:
        DataError: if a part that is needed would be empty.
    """
    images = data.images
    named = {image.part for image in images}
    if how == "none":
        return Split(images, (), (), "none: the training images themselves are measured")
    if how == "auto" and {"train", "test"} <= named | ({"test"} if "val" in named else set()):
        parts = {part: tuple(image for image in images if image.part == part) for part in ("train", "val", "test")}
        test = parts["test"] or parts["val"]
        val = parts["val"] if parts["test"] else ()
        return Split(parts["train"], val, test, "as the data says")
    if how == "simpleclip":
        held = set(simpleclip_validation(len(images)).tolist())
        train = tuple(image for place, image in enumerate(images) if place not in held)
        val = tuple(image for place, image in enumerate(images) if place in held)
        return Split(
            train,
            val,
            val,
            "SimpleCLIP's: a fifth of the images (numpy seed 42), which chooses the epoch and is measured",
        )
    order = np.random.default_rng([seed, 7]).permutation(len(images))
    counts = [round(share * len(images)) for share in (val_share, test_share)]
    if sum(counts) > len(images) - 2:
        raise DataError(
            f"{len(images)} images, of which {counts[0]} would choose the epoch and {counts[1]} be measured",
            expected="two left to train on",
            hint="split=none to train on all, or smaller val_share and test_share",
        )
    val, test, train = np.split(order, np.cumsum(counts))
    return Split(
        *(_taken(images, part) for part in (train, val, test)),
        f"random by image, seed {seed}: {len(train)} train, {len(val)} validation, {len(test)} test",
    )


def _taken(images: Sequence[CaptionedImage], rows: np.ndarray) -> tuple[CaptionedImage, ...]:
    return tuple(images[row] for row in sorted(rows.tolist()))


def simpleclip_validation(images: int) -> Int[np.ndarray, " held_out"]:
    """Places of the images that SimpleCLIP's code (Shariatnia 2021) holds out: a fifth, drawn with numpy's seed 42.

    Args:
        images: how many there are.

    >>> simpleclip_validation(10)
    array([8, 1])
    """
    return np.random.RandomState(42).choice(np.arange(images), size=int(0.2 * images), replace=False)
