"""Depth images of point clouds: the projections of PointCLIP and PointCLIP V2, batched over clouds and views."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches

Mode = Literal["v1", "v2"]

_HALF = math.pi / 2

# PointCLIP: angles about x and y; the third is always pi/2.
_ZERO_SHOT = [(0, 0), (_HALF, 0), (2 * _HALF, 0), (3 * _HALF, 0), (0, -_HALF), (0, _HALF)]
_FEW_SHOT = [
    *_ZERO_SHOT[:4],
    *[(a * math.pi / 4, b * math.pi / 4) for a in (5, 7) for b in (-1, 1)],
    *_ZERO_SHOT[4:],
]
# PointCLIP V2: a main rotation, then a tilt of the camera.
_V2_MAIN = [
    *[(k * math.pi / 4, 0) for k in (1, 3, 5, 7)],
    *[(k * _HALF, 0) for k in range(4)],
    (0, -_HALF),
    (0, _HALF),
]
_V2_TILT = [math.pi / 9] * 8 + [math.pi / 15] * 2

VIEW_SETS = ("zero-shot", "few-shot", "v2")
VIEW_NAMES = {
    "zero-shot": ("front", "right", "back", "left", "top", "bottom"),
    "few-shot": (
        "front",
        "right",
        "back",
        "left",
        "back-left-top",
        "back-left-bottom",
        "front-left-top",
        "front-left-bottom",
        "top",
        "bottom",
    ),
    "v2": (
        "front-right",
        "back-right",
        "back-left",
        "front-left",
        "front",
        "right",
        "back",
        "left",
        "top",
        "bottom",
    ),
}
"""What each view of a set is called in figures."""

_V2_GRID = 110  # cells a side that a point can fall into; the published grid has one empty cell around them
_V2_DEPTH = 8
_V2_OBJECT_RATIO = 0.8
_V2_DEPTH_BIAS = 0.2
_V2_WINDOW = 7
_V2_SIGMA = 3.0


def euler_rotations(angles: Float[Tensor, "views 3"]) -> Float[Tensor, "views 3 3"]:
    """Rotation matrices ``Rx(a) Ry(b) Rz(c)`` of Euler angles in radians, right-handed.

    >>> euler_rotations(torch.zeros(1, 3))[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    (ca, cb, cc), (sa, sb, sc) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    one, nil = torch.ones_like(ca), torch.zeros_like(ca)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, -1).reshape(-1, 3, 3)

    about_x = matrix(one, nil, nil, nil, ca, -sa, nil, sa, ca)
    about_y = matrix(cb, nil, sb, nil, one, nil, -sb, nil, cb)
    about_z = matrix(cc, -sc, nil, sc, cc, nil, nil, nil, one)
    return about_x @ about_y @ about_z


@lru_cache(maxsize=8)
def view_rotations(views: str) -> Float[Tensor, "views 3 3"]:
    """Rotations of a published set of views: ``"zero-shot"`` (6), ``"few-shot"`` (10) or ``"v2"`` (10).

    Raises:
        ConfigError: if ``views`` names no such set.
    """
    if views == "v2":
        main = euler_rotations(torch.tensor([(a, b, _HALF) for a, b in _V2_MAIN]))
        tilt = euler_rotations(torch.tensor([(0.0, angle, 0.0) for angle in _V2_TILT]))
        return tilt @ main
    if views in ("zero-shot", "few-shot"):
        pairs = _ZERO_SHOT if views == "zero-shot" else _FEW_SHOT
        return euler_rotations(torch.tensor([(a, b, _HALF) for a, b in pairs]))
    raise ConfigError(
        f'no set of views called "{views}"',
        closest=closest_matches(views, VIEW_SETS),
        expected=f"{', '.join(VIEW_SETS)}, or a tensor of rotations [views, 3, 3]",
    )


def project_depth(
    points: Float[Tensor, "batch points 3"],
    mode: Mode = "v2",
    views: str | Float[Tensor, "views 3 3"] | None = None,
    size: int | None = None,
    distance: float | None = None,
) -> Float[Tensor, "batch views size size"]:
    r"""Project each cloud onto depth images, one a view.

    ``"v1"`` (PointCLIP, Zhang et al. 2022, section 3.1): perspective division after moving the cloud
    ``distance`` away; a pixel holds the harmonic mean :math:`n / \sum_i 1/z_i` of the depths of its points,
    and 0 where there is none. Differentiable in the depths.

    ``"v2"`` (PointCLIP V2, Zhu et al. 2023, section 3.2): each view is fitted to its bounding box, quantised
    into slabs of depth, densified by a 7x7 maximum within each slab, smoothed by a 3x3 Gaussian and squeezed
    by the maximum over slabs; near is dark on a white background. Piecewise smooth, so differentiable in the
    depth of the points that win their cell.

    Args:
        points: coordinates, y up; v1 expects clouds centred in the unit sphere, v2 fits any scale.
        mode: which projection.
        views: name of a published set (default ``"zero-shot"`` for v1, ``"v2"`` for v2), or rotations
            that take a point to camera axes: the first points down the image, the second to the right.
        size: pixels a side; default as published: v1 128 (224 with ``"few-shot"``), v2 110. A v2 image of
            another size is resized bilinearly with aligned corners.
        distance: v1 only, camera distance; default 1.6 (1.4 with ``"few-shot"``).

    Returns:
        v1: raw depth, 0 for background. v2: values in [0, 1], 1 for background.

    Raises:
        DataError: if ``points`` is not ``[batch, points, 3]`` with at least one point, or is not finite.
        ConfigError: if ``mode``, ``views``, ``size`` or ``distance`` is none that exists.

    >>> project_depth(torch.rand(2, 64, 3), mode="v1").shape
    torch.Size([2, 6, 128, 128])
    """
    _check(points, mode, size, distance)
    if views is None:
        views = "zero-shot" if mode == "v1" else "v2"
    rotations = view_rotations(views) if isinstance(views, str) else views
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3):
        raise ConfigError(f"views has the shape {tuple(rotations.shape)}", expected="rotations [views, 3, 3] or a name")
    rotations = rotations.to(points)
    batch, count = points.shape[:2]
    # [batch, views, 3, points]: x, y and z of one view lie together.
    camera = (rotations.reshape(-1, 3) @ points.transpose(1, 2)).reshape(batch, len(rotations), 3, count)
    if mode == "v1":
        few_shot = isinstance(views, str) and views == "few-shot"
        return _perspective_depth(camera, size or (224 if few_shot else 128), distance or (1.4 if few_shot else 1.6))
    images = _realistic_depth(camera)
    if size is not None and size != _V2_GRID:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=True)
    return images


def _check(points: Tensor, mode: str, size: int | None, distance: float | None) -> None:
    if mode not in ("v1", "v2"):
        raise ConfigError(f'no projection called "{mode}"', expected='"v1" or "v2"')
    if points.ndim != 3 or points.shape[-1] != 3 or points.shape[1] == 0:
        raise DataError(
            f"points has the shape {tuple(points.shape)}", expected="[batch, points, 3] with at least one point"
        )
    if not points.is_floating_point():
        raise DataError(f"points has the type {points.dtype}", expected="a floating-point type")
    if not bool(torch.isfinite(points.detach()).all()):
        bad = (~torch.isfinite(points)).flatten(1).any(1).nonzero().flatten().tolist()
        raise DataError(f"clouds {bad[:8]} of the batch have coordinates that are NaN or infinite")
    if size is not None and size < 2:
        raise ConfigError(f"size is {size}", expected="at least 2 pixels")
    if distance is not None and distance <= 0:
        raise ConfigError(f"distance is {distance}", expected="a positive number")


def _perspective_depth(camera: Tensor, size: int, distance: float) -> Tensor:
    x, y = camera[:, :, 0], camera[:, :, 1]
    z = camera[:, :, 2] + distance
    inverse = 1 / (z + 1e-12)
    # Rounding half down, as published; x runs down the image and y to the right.
    row = ((x / z + 1) * (size / 2) - 0.5).ceil()
    column = ((y / z + 1) * (size / 2) - 0.5).ceil()
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size) & (z >= 0)
    batch, views = camera.shape[:2]
    image = torch.arange(batch * views, device=camera.device).reshape(batch, views, 1)
    cells = batch * views * size * size
    cell = torch.where(inside, (image * size + row.long()) * size + column.long(), cells).flatten()
    # Sorting brings the points of a pixel together: sums run over points, not over the mostly empty images.
    cell, order = (cell.int() if cells < 2**31 else cell).sort(stable=True)
    # What is outside shares one cell; its sum must not be zero, or the gradient of all of it is NaN.
    inverse = torch.where(inside, inverse, 1).flatten()[order]
    first = torch.ones_like(cell, dtype=torch.bool)
    first[1:] = cell[1:] != cell[:-1]
    pixel = first.cumsum(0) - 1
    total = torch.zeros_like(inverse).index_add(0, pixel, inverse)
    count = torch.zeros_like(total).index_add_(0, pixel, torch.ones_like(inverse))
    depth = (count / total)[pixel]
    # The cell past the end takes what is outside, and the second and later points of a pixel.
    target = torch.where(first, cell, cells).long()
    return _zeros(cells + 1, camera).scatter_(0, target, depth)[:-1].reshape(batch, views, size, size)


def _zeros(count: int, like: Tensor) -> Tensor:
    """Zeros of the type and device of ``like``.

    NumPy asks Linux for huge pages and leaves clearing to the kernel: ten times faster than filling fresh memory.
    """
    if like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.zeros(count, dtype=np.float32 if like.dtype == torch.float32 else np.float64))
    return torch.zeros(count, dtype=like.dtype, device=like.device)


def _realistic_depth(camera: Tensor) -> Tensor:
    low, high = camera.amin(-1, keepdim=True), camera.amax(-1, keepdim=True)
    extent = (high - low).amax(2, keepdim=True)
    # A cloud without extent has no direction to fit: it stays one point in the middle.
    unit = (camera - (low + high) / 2) / torch.where(extent > 0, extent, 1) * 2
    x, y = unit[:, :, 0] * _V2_OBJECT_RATIO, unit[:, :, 1] * _V2_OBJECT_RATIO
    # The published grid has 112 cells, of which the outermost are never used.
    row = ((x + 1) / 2 * (_V2_GRID + 2)).ceil().clamp(1, _V2_GRID) - 1
    column = ((y + 1) / 2 * (_V2_GRID + 2)).ceil().clamp(1, _V2_GRID) - 1
    slabs = _V2_DEPTH - 2
    level = ((unit[:, :, 2] + 1) / 2 + _V2_DEPTH_BIAS) / (1 + _V2_DEPTH_BIAS) * slabs
    slab = level.ceil().clamp(0, _V2_DEPTH - 1).long()
    value = level.clamp(1, slabs)

    batch, views, _ = level.shape
    images = batch * views
    margin = _V2_WINDOW // 2
    side = _V2_GRID + 2 * margin
    cell = ((row.long() + margin) * side + column.long() + margin).flatten(0, 1)
    slab, value = slab.flatten(0, 1), value.flatten(0, 1)
    squeezed = torch.zeros(images, _V2_GRID, _V2_GRID, dtype=camera.dtype, device=camera.device)
    for depth in range(_V2_DEPTH):  # over slabs of the published grid: clouds and views are batched
        here = slab == depth
        if camera.device.type == "cpu" and not bool(here.any()):
            continue
        grid = torch.zeros(images, side * side, dtype=value.dtype, device=value.device)
        grid = grid.scatter_reduce(1, cell, torch.where(here, value, 0), "amax")
        dense = _window_maximum(_window_maximum(grid.reshape(-1, side, side), 1), 2)
        squeezed = torch.maximum(squeezed, _smooth(_smooth(dense, 1), 2))
    image = squeezed / squeezed.amax((-2, -1), keepdim=True)
    return (1 - image).reshape(batch, views, _V2_GRID, _V2_GRID)


def _window_maximum(x: Tensor, axis: int) -> Tensor:
    """Maximum over windows of seven along ``axis``: doubling widths 2, 4 and then 7 takes three passes."""
    for shift in (1, 2, 3):
        length = x.shape[axis] - shift
        x = torch.maximum(x.narrow(axis, 0, length), x.narrow(axis, shift, length))
    return x


def _smooth(x: Tensor, axis: int) -> Tensor:
    """One axis of the 3x3 Gaussian with zeros outside, up to a factor that the normalisation by the maximum cancels."""
    rest = x.shape[axis] - 1
    smooth = x * math.exp(1 / (2 * _V2_SIGMA**2))
    smooth.narrow(axis, 1, rest).add_(x.narrow(axis, 0, rest))
    smooth.narrow(axis, 0, rest).add_(x.narrow(axis, 1, rest))
    return smooth
