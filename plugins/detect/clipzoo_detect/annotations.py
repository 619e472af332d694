"""Images with boxes: what every reader gives and every evaluation takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from clipzoo.errors import DataError, closest_matches
from clipzoo.images.reading import read_image
from clipzoo_detect.prompts import prompt_name

MOST_LISTED = 5


@dataclass(frozen=True)
class Thing:
    """One annotated object.

    Args:
        box: left, top, right, bottom, px.
        label: place of its class in the names of the data.
        crowd: a region of many; neither trained on nor counted.
        segmentation: COCO polygons or run lengths, or a bool array; None without mask.
        area: px², by which COCO tells small things from large ones; None: that of the box.
    """

    box: tuple[float, float, float, float]
    label: int
    crowd: bool = False
    segmentation: Any = None
    area: float | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image, on disk or made by a program, and what is known about it.

    Args:
        key: how it is called in records; distinct within a dataset.
        number: its id in result files.
        path: of the file, or None.
        pixels: RGB uint8 ``[height, width, 3]`` where there is no file.
        size: height and width as annotated, px, or None where nothing is annotated.
        things: the annotated objects.
        absent: labels that were checked not to be there (LVIS), or None where every class was.
        incomplete: labels whose objects are not all annotated (LVIS).
    """

    key: str
    number: int
    path: Path | None = None
    pixels: np.ndarray | None = field(default=None, repr=False, compare=False)
    size: tuple[int, int] | None = None
    things: tuple[Thing, ...] = ()
    absent: tuple[int, ...] | None = None
    incomplete: tuple[int, ...] = ()

    def read(self) -> Image.Image:
        """The image, mode RGB, upright.

        Raises:
            DataError: if its file cannot be read.
        """
        if self.pixels is not None:
            return Image.fromarray(self.pixels)
        assert self.path is not None
        return read_image(self.path)

    @property
    def boxes(self) -> Float[np.ndarray, "things 4"]:
        """Boxes of the things that are no crowd, px."""
        return np.array([thing.box for thing in self.things if not thing.crowd], dtype=np.float32).reshape(-1, 4)

    @property
    def labels(self) -> list[int]:
        """Labels of the same."""
        return [thing.label for thing in self.things if not thing.crowd]


@dataclass(frozen=True)
class DetectionData:
    """A dataset for detection.

    Args:
        name: how it is called in records.
        classnames: of the classes; may be empty where nothing is annotated.
        category_ids: number of each class in result files.
        images: in order.
        annotated: whether boxes are known (an image without any is then one without things).
        synonyms: further names of a class, by name (LVIS).
        frequency: ``"r"``, ``"c"`` or ``"f"`` of each class (LVIS), or empty.
        notes: what had to be decided on reading.
        split: the part of the dataset.
    """

    name: str
    classnames: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[AnnotatedImage, ...]
    annotated: bool = True
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    frequency: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    split: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, places: Sequence[int]) -> DetectionData:
        """Some of the images, in this order."""
        return replace(self, images=tuple(self.images[place] for place in places))

    def with_classnames(self, names: Sequence[str]) -> DetectionData:
        """The data with other names to look for; where boxes are known, things of other classes are left out.

        Raises:
            DataError: if boxes are known and not one of the names is a class.
        """
        if not self.annotated:
            return replace(self, classnames=tuple(names), category_ids=tuple(range(1, len(names) + 1)))
        own = {prompt_name(name): label for label, name in enumerate(self.classnames)}
        places = [own.get(prompt_name(name)) for name in names]
        if not any(place is not None for place in places):
            raise DataError(
                f"{self.name} has no class called {', '.join(map(repr, names[:MOST_LISTED]))}",
                closest=closest_matches(names[0], self.classnames),
                expected=f"names among its {len(self.classnames)} classes",
            )
        new = {place: label for label, place in enumerate(places) if place is not None}
        free = max(self.category_ids) + 1
        ids = [self.category_ids[p] if p is not None else free + k for k, p in enumerate(places)]
        return replace(
            self,
            classnames=tuple(names),
            category_ids=tuple(ids),
            images=tuple(_relabelled(image, new) for image in self.images),
            frequency=tuple(self.frequency[p] if p is not None else "" for p in places) if self.frequency else (),
        )

    def without(self, labels: Sequence[int]) -> DetectionData:
        """The same images and names, with the things of these classes unannotated: how novel classes are hidden."""
        hidden = set(labels)
        images = (
            replace(image, things=tuple(thing for thing in image.things if thing.label not in hidden))
            for image in self.images
        )
        return replace(self, images=tuple(images))


def _relabelled(image: AnnotatedImage, new: dict[int, int]) -> AnnotatedImage:
    return replace(
        image,
        things=tuple(replace(t, label=new[t.label]) for t in image.things if t.label in new),
        absent=None if image.absent is None else tuple(new[k] for k in image.absent if k in new),
        incomplete=tuple(new[k] for k in image.incomplete if k in new),
    )
