"""The run behind ``clipzoo run my-method``: images in, one record each, then the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clipzoo import Context, Result, Table
from clipzoo.data.labelled_images import ImageDataset, LabelledImage
from clipzoo.errors import DataError

from clipzoo_my_method.plugin import MyMethodSettings

if TYPE_CHECKING:
    from PIL import Image


def run(settings: MyMethodSettings, context: Context) -> Result:
    """Score what is not recorded yet, and compute everything that is reported from the records."""
    data: ImageDataset = context.dataset("images", per_class=settings.per_class)
    if settings.limit:
        data = data.subset(range(min(settings.limit, len(data))))
    remaining = [item for item in data.items if item.key not in context.items()]
    starts = range(0, len(remaining), settings.batch_size)
    for start in context.progress(starts, total=len(starts), label="images"):
        _score(settings, context, remaining[start : start + settings.batch_size])
    return _result(settings, context, data)


def _score(settings: MyMethodSettings, context: Context, batch: Sequence[LabelledImage]) -> None:
    """Record one batch; an image that cannot be read is noted, and the run goes on."""
    import numpy as np
    import torch
    from clipzoo.store.decoding import fit_square

    from clipzoo_my_method.my_method import similarity

    clip, keys, squares = context.clip, [], []
    for item, picture in _readable(context, batch):
        keys.append(item.key)
        squares.append(np.asarray(fit_square(picture, clip.preprocessing)))
    if keys:
        pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(context.device).float() / 255
        for key, score in zip(keys, similarity(clip, pixels, settings.sentence).tolist(), strict=True):
            context.record(key, score=score)


def _readable(context: Context, batch: Sequence[LabelledImage]) -> Iterator[tuple[LabelledImage, Image.Image]]:
    for item in batch:
        try:
            yield item, item.read()
        except DataError as error:
            context.failed(item.key, error)


def _result(settings: MyMethodSettings, context: Context, data: ImageDataset) -> Result:
    done = context.items()
    scores: dict[str, float] = {key: done[key]["score"] for key in data.keys if "score" in done[key]}
    ranked = sorted(scores, key=lambda key: (-scores[key], key))
    if not ranked:
        return Result()
    _sheet(context, data.selected(ranked[: settings.show]), scores)
    rows = [{"image": key, "score": round(scores[key], 4)} for key in ranked]
    return Result(
        {"images": len(ranked), "best": scores[ranked[0]], "median": scores[ranked[len(ranked) // 2]]},
        [Table("ranking", rows, f"Images by their similarity to: {settings.sentence}")],
        protocol={
            "encoder": f"{context.clip.name} ({context.clip.fingerprint})",
            "data": f"{data.name}, split {data.split}, {len(data)} images",
            "sentence": settings.sentence,
        },
    )


def _sheet(context: Context, best: ImageDataset, scores: dict[str, float]) -> None:
    from clipzoo.images.sheets import captioned_sheet

    cells = [(item.read(), f"{scores[item.key]:.3f}") for item in best.items]
    context.save_image("best", captioned_sheet(cells), "The best first")
