"""Images with captions, cleaned and counted: what is missing, empty or double is listed, never silently dropped."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipzoo.errors import DataError
from clipzoo.images.reading import decode, open_header
from clipzoo.store.sources import Item

Read = Callable[[int], Image.Image]


@dataclass(frozen=True, eq=False)
class CaptionedImage:
    """One image and all that is said of it.

    Args:
        key: its name in the data.
        captions: at least one.
        read: from the least side that is needed, px (0: all there is), to an upright RGB image.
        part: ``"train"``, ``"val"`` or ``"test"`` where the data says so, else empty.
    """

    key: str
    captions: tuple[str, ...]
    read: Read
    part: str = ""


@dataclass(frozen=True)
class CaptionData:
    """A dataset of images with captions.

    Args:
        name: for records.
        images: each once.
        problems: kind to the keys it befell: ``"image without caption"``, ``"caption without image"``,
            ``"empty caption"``, ``"caption given twice"``.
    """

    name: str
    images: tuple[CaptionedImage, ...]
    problems: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    @property
    def captions(self) -> list[str]:
        """All captions, image by image."""
        return [caption for image in self.images for caption in image.captions]

    def first(self, limit: int) -> CaptionData:
        """The first images; all of them with 0."""
        return self if not limit else replace(self, images=self.images[:limit])


def from_item(item: Item) -> Read:
    """A reader of an image that :mod:`clipzoo.store.sources` has found."""

    def read(least_px: int) -> Image.Image:
        header = open_header(io.BytesIO(item.read()), name=item.key)
        if least_px:
            header.shrink(least_px)
        return decode(header).image

    return read


def from_pixels(pixels: UInt8[np.ndarray, "height width 3"]) -> Read:
    """A reader of an image that is in memory."""
    return lambda least_px: Image.fromarray(pixels)


def gather(
    name: str,
    rows: Iterable[tuple[str, str | None, str]],
    find: Callable[[str], Read | None],
    unused: Sequence[str] = (),
) -> CaptionData:
    """Captions by image, with everything counted that cannot be used.

    Args:
        name: of the data.
        rows: (key of an image, caption, part) in the order of the file.
        find: from a key to a reader, or None if there is no such image.
        unused: keys of images that exist; those that no row names are told.

    Raises:
        DataError: if nothing usable is left.
    """
    told: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    problems: dict[str, list[str]] = {}
    for key, caption, part in rows:
        known = told.setdefault(key, [])
        parts.setdefault(key, part)
        text = " ".join((caption or "").split())
        if not text:
            problems.setdefault("empty caption", []).append(key)
        elif text in known:
            problems.setdefault("caption given twice", []).append(key)
        else:
            known.append(text)
    images = []
    for key, captions in told.items():
        read = find(key)
        if read is None:
            problems.setdefault("caption without image", []).append(key)
        elif captions:
            images.append(CaptionedImage(key, tuple(captions), read, parts[key]))
        else:
            problems.setdefault("image without caption", []).append(key)
    problems.setdefault("image without caption", []).extend(key for key in unused if key not in told)
    listed = {kind: tuple(dict.fromkeys(keys)) for kind, keys in problems.items() if keys}
    if not images:
        counts = ", ".join(f"{len(keys)} x {kind}" for kind, keys in listed.items()) or "no rows"
        missing = listed.get("caption without image", ())
        raise DataError(
            f"{name} holds no image with a caption ({counts})",
            expected="rows of an image and a caption, and the images beside them or in images=FOLDER",
            details=[f"not found: {', '.join(missing[:3])}"] if missing else [],
        )
    return CaptionData(name, tuple(images), listed)


def repeated_captions(data: CaptionData) -> int:
    """How many captions are said of more than one image; they are false negatives of a contrastive loss."""
    counts = Counter(caption for image in data.images for caption in image.captions)
    return sum(1 for count in counts.values() if count > 1)
