"""Depth images of the toy world's 3D shapes, as PointCLIP and PointCLIP V2 would see them."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipzoo.data.shapes import shape_dataset
from clipzoo.images.projection import euler_rotations, project_depth, view_rotations

DEPTH_TEMPLATES = (
    "point cloud depth map of a {}.",
    "point cloud of a big {}.",
    "a depth map of a {}.",
    "a point cloud of a {}.",
    "a depth image of a {}.",
    "a 3D model of a {}.",
    "a grey depth map of a {}.",
    "a rendering of a {}.",
    "this is a depth map of a {}.",
    "a {}.",
    "{}",
)
"""Phrasings of captions: those that PointCLIP's prompts use, and some that a person would."""


@dataclass(frozen=True)
class DepthPool:
    """Rendered images ready for training: ``v1`` raw depth, ``v2`` in [0, 1], with the class of each."""

    v1: Tensor
    v1_labels: Tensor
    v2: Tensor
    v2_labels: Tensor


def make_clouds(counts: dict[str, int], seed: int, workers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Clouds ``[n, 1024, 3]`` and the index of their class in ``counts``, generated in parallel."""
    names = list(counts)
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_clouds_of, names, counts.values(), [seed] * len(names)))
    labels = np.repeat(np.arange(len(names)), [len(part) for part in parts])
    return np.concatenate(parts), labels


def _clouds_of(name: str, count: int, seed: int) -> np.ndarray:
    return shape_dataset(count, [name], seed=seed)[0].astype(np.float32)


def render_pool(
    clouds: np.ndarray,
    labels: np.ndarray,
    size: int,
    views_each: int,
    generator: torch.Generator,
) -> DepthPool:
    """Render each cloud ``views_each`` times by either projection, augmented, from random views.

    Args:
        clouds: ``[n, points, 3]``, y up.
        labels: ``[n]``.
        size: side of the images in pixels.
        views_each: images a cloud and projection.
        generator: source of every random choice.
    """
    all_points, classes = torch.from_numpy(clouds), torch.from_numpy(labels)
    images: dict[str, list[Tensor]] = {"v1": [], "v2": []}
    order: dict[str, list[Tensor]] = {"v1": [], "v2": []}
    v1_views = torch.cat([view_rotations("zero-shot"), view_rotations("few-shot")[4:8]])
    for mode, views in (("v1", v1_views), ("v2", view_rotations("v2"))):
        for _ in range(views_each):
            for part in torch.arange(len(all_points)).split(512):
                points = augment_clouds(all_points[part], generator)
                view = views[torch.randint(len(views), (len(part),), generator=generator)]
                images[mode].append(render(points @ view.transpose(1, 2), mode, size)[:, 0])
                order[mode].append(classes[part])
    return DepthPool(
        torch.cat(images["v1"]).half(),
        torch.cat(order["v1"]),
        (torch.cat(images["v2"]) * 255).round().byte(),
        torch.cat(order["v2"]),
    )


def render(camera_points: Tensor, mode: str, size: int) -> Tensor:
    """One image a cloud whose axes are already those of the camera: ``[n, 1, size, size]``."""
    return project_depth(camera_points, "v1" if mode == "v1" else "v2", torch.eye(3)[None], size=size)


def augment_clouds(points: Tensor, generator: torch.Generator) -> Tensor:
    """Quarter turns about the vertical with a little play, stretch, noise, missing points; normalised again.

    Clouds in the wild are centred on the mean of their points and scaled by the largest norm; the same is
    done here after each change, because it decides where an object lies in the image.
    """
    count = len(points)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    yaw = torch.randint(4, (count,), generator=generator) * (math.pi / 2)
    free = uniform(count) < 0.25
    play = math.radians(3)
    yaw = yaw + torch.where(free, uniform(count, low=-math.pi, high=math.pi), uniform(count, low=-play, high=play))
    tilt = uniform(count, 2, low=-play, high=play)
    turn = euler_rotations(torch.stack([tilt[:, 0], yaw, tilt[:, 1]], -1))
    stretch = uniform(count, 1, 3, low=0.85, high=1.18)
    mirror = torch.where(uniform(count, 1, 1) < 0.5, -1.0, 1.0)
    points = points * stretch
    points = torch.cat([points[..., :1] * mirror, points[..., 1:]], -1)
    points = points @ turn.transpose(1, 2)
    noise = uniform(count, 1, 1, high=0.012) * (uniform(count, 1, 1) < 0.5)
    points = points + torch.randn(points.shape, generator=generator) * noise
    # Missing points are put where the first one of the cloud is: the number stays the same for all.
    keep = uniform(count, points.shape[1]) > uniform(count, 1, high=0.5) * (uniform(count, 1) < 0.3)
    points = torch.where(keep[..., None], points, points[:, :1])
    weight = keep.float()[..., None]
    centre = (points * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
    points = points - centre
    return points / points.norm(dim=-1, keepdim=True).amax(1, keepdim=True)


def to_pixels(images: Tensor, mode: str) -> Tensor:
    """Stored images ``[n, s, s]`` as an encoder takes them: ``[n, 3, s, s]`` float, not normalised."""
    pixels = images.float() / 255 if mode == "v2" else images.float()
    return pixels[:, None].expand(-1, 3, -1, -1)


def resize_depth(images: Tensor, size: int) -> Tensor:
    """Bilinear with aligned corners, as both papers bring their images to the encoder's size."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=True)
