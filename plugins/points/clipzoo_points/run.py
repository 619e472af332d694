"""The run behind ``clipzoo run pointclip``: first the files, then the heavy part."""

from __future__ import annotations

from clipzoo import Context, Result
from clipzoo.errors import DataError
from clipzoo_points.datasets import PointDataset
from clipzoo_points.plugin import PointCLIPSettings


def run(settings: PointCLIPSettings, context: Context) -> Result:
    """Open the data, and load torch and the encoder only when there is something to classify."""
    data = open_clouds(settings, context, settings.split)
    done = {key for key, item in context.items().items() if "error" not in item}
    if not done and not data.any_readable(context.failed):
        return Result()
    from clipzoo_points.evaluation import evaluate

    return evaluate(settings, context, data)


def open_clouds(settings: PointCLIPSettings, context: Context, split: str) -> PointDataset:
    """The dataset of a run, with the class names and the number of clouds that its settings ask for."""
    data: PointDataset = context.dataset(
        "points", split=split, per_class=settings.per_class, points=settings.points, variant=settings.variant
    )
    if settings.names:
        data = data.with_classnames(settings.names)
    if not data.classnames:
        raise DataError(
            f"{data.name} has no classes: its files lie in no class folders",
            expected="names to tell apart",
            hint='names="chair, table, lamp"',
        )
    if settings.limit and settings.limit < len(data):
        # Spread over the whole, so that a short look sees every class.
        step = len(data) / settings.limit
        data = data.subset([int(place * step) for place in range(settings.limit)])
    return data
