"""The run behind ``clipzoo run depthclip``: first the files, then the heavy part."""

from __future__ import annotations

from clipzoo import Context, Result
from clipzoo.errors import ClipzooError, DataError
from clipzoo_depth.datasets import DepthDataset
from clipzoo_depth.plugin import DepthCLIPSettings


def run(settings: DepthCLIPSettings, context: Context) -> Result:
    """Open the data, and load torch and the encoder only when there is something to see."""
    data = open_images(settings, context, settings.split)
    done = {key for key, item in context.items().items() if "error" not in item}
    if not done and not _any_readable(data, context):
        return Result()
    from clipzoo_depth.evaluation import evaluate

    return evaluate(settings, context, data)


def open_images(
    settings: DepthCLIPSettings, context: Context, split: str, rooms: int | None = None, limit: int | None = None
) -> DepthDataset:
    """The images of a run; ``input`` goes before ``data``."""
    name = settings.data
    if settings.input is not None:
        # A path, even where a dataset has the same name.
        name = settings.input if "/" in settings.input else f"./{settings.input}"
    data: DepthDataset = context.dataset(
        "depth", name, split=split, rooms=rooms or settings.rooms, unit=settings.unit, depth_map=settings.depth_map
    )
    if not len(data):
        raise DataError(f"{data.name}, split {split}, has no images")
    limit = settings.limit if limit is None else limit
    if limit and limit < len(data):
        step = len(data) / limit  # spread over the whole, so that a short look sees every scene
        data = data.subset([int(place * step) for place in range(limit)])
    return data


def _any_readable(data: DepthDataset, context: Context) -> bool:
    for item in data.items:
        try:
            item.read()
        except ClipzooError as error:
            context.failed(item.key, error)
        else:
            return True
    return False
