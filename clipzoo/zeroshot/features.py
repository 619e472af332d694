"""Features of labelled images, batch by batch, kept in the run folder so that a resumed run does not encode again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipzoo.data.labelled_images import ImageDataset, LabelledImage
from clipzoo.errors import ClipzooError, DataError

if TYPE_CHECKING:
    from PIL import Image

    from clipzoo.plugin import Context

_READERS = 4


@dataclass(frozen=True)
class Encoded:
    """Features of the images that could be read.

    Attributes:
        keys: name of each image.
        features: unit rows ``[items, dim]`` on the CPU.
        labels: class of each, -1 where it is not known.
    """

    keys: tuple[str, ...]
    features: Tensor
    labels: Tensor

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return bool((self.labels >= 0).all())

    def chosen(self, keys: tuple[str, ...]) -> Encoded:
        """The rows called ``keys``; those that are missing are left out."""
        place = {key: row for row, key in enumerate(self.keys)}
        rows = [place[key] for key in keys if key in place]
        return Encoded(tuple(self.keys[row] for row in rows), self.features[rows], self.labels[rows])


@torch.no_grad()
def encode(context: Context, data: ImageDataset, batch_size: int, record_failures: bool = True) -> Encoded:
    """Encode every image of ``data`` that can be read.

    Args:
        context: of the run; names the encoder.
        data: labelled images.
        batch_size: images that pass the encoder at once.
        record_failures: note an unreadable image as a failed item (of the classified split), or as a sentence.

    Raises:
        DataError: if no image can be read.
    """
    folder = context.folder / "features"
    folder.mkdir(exist_ok=True)
    starts = range(0, len(data), batch_size)
    rows: list[Tensor] = []
    state: list[Tensor] = []
    for start in context.progress(starts, total=len(starts), label=f"encode {data.split}"):
        part = data.items[start : start + batch_size]
        path = folder / f"{data.split}-{start:08d}.safetensors"
        features, read = _stored(path, part, context) or _computed(path, part, context)
        for item, failed in zip(part, (read == 0).tolist(), strict=True):
            if failed:
                _tell(context, item, record_failures)
        rows.append(features)
        state.append(read)
    readable = torch.cat(state).bool()
    if not bool(readable.any()):
        raise DataError(f"no image of {data.name}, split {data.split}, can be read")
    labels = torch.tensor([-1 if item.label is None else item.label for item in data.items])
    kept = readable.nonzero().flatten().tolist()
    return Encoded(tuple(data.items[row].key for row in kept), torch.cat(rows)[kept], labels[kept])


def _tell(context: Context, item: LabelledImage, record: bool) -> None:
    try:
        item.read()
    except ClipzooError as error:
        if record:
            context.failed(item.key, error)
        else:
            context.note(f"A training image is left out: {error.what}")


def _stored(path: Path, part: tuple[LabelledImage, ...], context: Context) -> tuple[Tensor, Tensor] | None:
    try:
        found = load_file(path)
        features, read = found["features"], found["read"]
    except (OSError, SafetensorError, KeyError):
        return None
    return (
        (features, read) if features.shape == (len(part), context.clip.embed_dim) and len(read) == len(part) else None
    )


def _computed(path: Path, part: tuple[LabelledImage, ...], context: Context) -> tuple[Tensor, Tensor]:
    clip = context.clip
    features = torch.zeros(len(part), clip.embed_dim)
    read = torch.zeros(len(part), dtype=torch.uint8)
    places, pixels = [], []
    with ThreadPoolExecutor(_READERS) as pool:
        for place, picture in enumerate(_pictures(pool, part, clip)):
            if picture is not None:
                places.append(place)
                pixels.append(picture)
    if places:
        batch = torch.stack(pixels).to(clip.device, non_blocking=True).float() / 255
        features[places] = clip.encode_image(batch, resize="none").cpu()
        read[places] = 1
    part_path = path.with_suffix(".part")
    save_file({"features": features, "read": read}, part_path)
    part_path.replace(path)
    return features, read


def _pictures(pool: ThreadPoolExecutor, part: tuple[LabelledImage, ...], clip: Any) -> Iterator[Tensor | None]:
    from clipzoo.store.decoding import fit_square

    def load(item: LabelledImage) -> Tensor | None:
        try:
            square: Image.Image = fit_square(item.read(), clip.preprocessing)
        except ClipzooError:
            return None
        return torch.from_numpy(np.array(square)).permute(2, 0, 1)

    return pool.map(load, part)
