"""Depth images through PyTorch3D's point rasteriser, where it is installed: discs of a radius, nearest one wins."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import MissingExtra
from clipzoo.images.projection import view_rotations


def rasterise_depth(
    points: Float[Tensor, "batch points 3"],
    views: str | Float[Tensor, "views 3 3"] = "zero-shot",
    size: int = 128,
    distance: float = 1.6,
    radius_px: float = 1.0,
) -> Float[Tensor, "batch views size size"]:
    """Depth of the nearest point whose disc covers a pixel, 0 where there is none.

    The views and the perspective are those of ``project_depth(mode="v1")``; that one averages the points of a
    pixel, this one hides those behind.

    Args:
        points: clouds, y up, in the unit sphere.
        views: a published set, or rotations.
        size: pixels a side.
        distance: of the camera.
        radius_px: of a disc.

    Raises:
        MissingExtra: if PyTorch3D is not installed; it is on no package index for current Python versions.
    """
    structures, rasterise = _pytorch3d()
    rotations = (view_rotations(views) if isinstance(views, str) else views).to(points)
    camera = torch.einsum("vij,bnj->bvni", rotations, points).flatten(0, 1)
    depth = camera[..., 2] + distance
    # PyTorch3D's normalised coordinates point left and up; the first camera axis of PointCLIP points down the image
    # and the second to the right.
    screen = torch.stack([-camera[..., 1] / depth, -camera[..., 0] / depth, depth], -1)
    _, nearest, _ = rasterise(
        structures.Pointclouds(points=screen), image_size=size, radius=2 * radius_px / size, points_per_pixel=1
    )
    images = nearest[..., 0]
    return torch.where(images > 0, images, 0).unflatten(0, (len(points), -1))


def _pytorch3d() -> tuple[Any, Any]:
    try:
        return (
            importlib.import_module("pytorch3d.structures"),
            importlib.import_module("pytorch3d.renderer.points.rasterize_points").rasterize_points,
        )
    except ImportError as error:
        raise MissingExtra(
            "the PyTorch3D renderer was asked for, and PyTorch3D is not installed",
            expected="a build of PyTorch3D for this Python and torch (it is on no package index)",
            hint="renderer=builtin",
        ) from error
