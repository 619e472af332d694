"""Point clouds as tensors: which way is up, where the middle is, how large."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError


def to_y_up(points: Float[Tensor, "*batch points 3"], up_axis: str) -> Float[Tensor, "*batch points 3"]:
    """Rotate clouds so that the axis ``up_axis`` (``"x"``, ``"y"`` or ``"z"``) becomes y.

    >>> to_y_up(torch.tensor([[1.0, 2.0, 3.0]]), "z").tolist()
    [[1.0, 3.0, -2.0]]
    """
    x, y, z = points.unbind(-1)
    if up_axis == "y":
        return points
    if up_axis == "z":
        return torch.stack([x, z, -y], -1)
    if up_axis == "x":
        return torch.stack([-y, x, z], -1)
    raise ConfigError(f'no axis called "{up_axis}"', expected="x, y or z")


def normalise_clouds(points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
    """Centre each cloud on the mean of its points and divide it by the largest norm.

    The published HDF5 clouds come like this; the projection of PointCLIP expects it.

    Raises:
        DataError: if the points of a cloud are all at one place, or not finite: it has no size.
    """
    if points.ndim != 3 or points.shape[-1] != 3 or points.shape[1] == 0:
        raise DataError(f"points has the shape {tuple(points.shape)}", expected="[batch, points, 3]")
    # Rounding leaves identical points a little off their mean, in proportion to where they were.
    least = 1e-6 * points.abs().amax((1, 2)).clamp(min=1e-6)
    points = points - points.mean(1, keepdim=True)
    radius = points.norm(dim=-1).amax(1)
    good = torch.isfinite(radius) & (radius > least)
    if not bool(good.all()):
        bad = (~good).nonzero().flatten().tolist()
        raise DataError(
            f"clouds {bad[:8]} of the batch have no size: all {points.shape[1]} points are identical, "
            "or some are not finite"
        )
    return points / radius[:, None, None]
