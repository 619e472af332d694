"""Speed of the depth projections, beside the published algorithms written plainly, in the same run.

uv run python benchmarks/projection.py [--device cuda] [--clouds 32]
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import click
import torch
import torch.nn.functional as F
from _rows import report
from _timing import in_turns
from torch import Tensor

from clipzoo.images.projection import project_depth, view_rotations

BENCH = {"quick": ["--clouds", "8", "--repeats", "3"], "cuda": ["--device", "cuda"], "quick_timeout_s": 40}
VIEWS, POINTS = 10, 1024


def plain_v1(points: Tensor, size: int, distance: float) -> Tensor:
    """PointCLIP, one image at a time: two full-size sums, then a division everywhere."""
    images = []
    for cloud in points:
        for rotation in view_rotations("few-shot").to(points):
            x, y, z = (cloud @ rotation.T).unbind(-1)
            z = z + distance
            row, column = ((x / z + 1) * size / 2 - 0.5).ceil().long(), ((y / z + 1) * size / 2 - 0.5).ceil().long()
            keep = (row >= 0) & (row < size) & (column >= 0) & (column < size)
            cell = (row * size + column)[keep]
            weights = torch.zeros(size * size, device=points.device).index_add_(0, cell, 1 / z[keep])
            count = torch.zeros(size * size, device=points.device).index_add_(0, cell, torch.ones_like(z[keep]))
            images.append((count / (weights + 1e-12)).reshape(size, size))
    return torch.stack(images).reshape(len(points), -1, size, size)


def plain_v2(points: Tensor) -> Tensor:
    """PointCLIP V2: the whole voxel grid, a 3D pooling, a 3D convolution."""
    rotations = view_rotations("v2").to(points)
    camera = torch.einsum("vij,bnj->bvni", rotations, points).flatten(0, 1)
    low, high = camera.amin(1, keepdim=True), camera.amax(1, keepdim=True)
    camera = (camera - (low + high) / 2) / (high - low).amax(-1, keepdim=True) * 2
    x, y, z = camera[..., 0] * 0.8, camera[..., 1] * 0.8, camera[..., 2]
    row, column = (((part + 1) / 2 * 112).ceil().clamp(1, 110).long() for part in (x, y))
    level = ((z + 1) / 2 + 0.2) / 1.2 * 6
    grid = torch.zeros(len(camera), 8 * 112 * 112, device=points.device)
    grid.scatter_reduce_(1, (level.ceil().long() * 112 + row) * 112 + column, level.clamp(1, 6), "amax")
    dense = F.max_pool3d(grid.reshape(-1, 1, 8, 112, 112), (1, 7, 7), 1, (0, 2, 2))
    bell = torch.tensor([math.exp(-1 / 18), 1.0, math.exp(-1 / 18)], device=points.device)
    kernel = bell[:, None] * bell[None] / bell.sum() ** 2
    smooth = F.conv3d(dense, kernel[None, None, None], padding=(0, 1, 1))[:, 0].amax(1)
    return (1 - smooth / smooth.amax((1, 2), keepdim=True)).reshape(len(points), -1, 110, 110)


def least_work(clouds: int, size: int, operations_a_pixel: int) -> tuple[int, int]:
    """Operations and bytes: every point is turned and placed once a view, every pixel is written once."""
    placed, pixels = clouds * VIEWS * POINTS, clouds * VIEWS * size**2
    return placed * 28 + pixels * operations_a_pixel, 4 * (3 * clouds * POINTS + pixels)


@click.command()
@click.option("--clouds", default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--repeats", default=7, show_default=True)
def main(clouds: int, device: str, repeats: int) -> None:
    """Measure CLOUDS x 1024 points x 10 views beside the plain algorithm, in turns."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(clouds, POINTS, 3, generator=generator)
    points = (points / points.norm(dim=-1).amax(1)[:, None, None]).to(device)
    jobs: dict[str, tuple[int, int, Callable[[], Tensor], Callable[[], Tensor]]] = {
        "V1, 224 px": (
            224,
            2,
            lambda: project_depth(points, "v1", "few-shot", size=224),
            lambda: plain_v1(points, 224, 1.4),
        ),
        # At least twelve comparisons and a separable filter of three taps a pixel.
        "V2, 110 px": (110, 24, lambda: project_depth(points, "v2"), lambda: plain_v2(points)),
    }
    for name, (size, operations, ours, plain) in jobs.items():
        worst = float((ours() - plain()).abs().max())
        spent = in_turns({"ours": ours, "plain": plain}, repeats, device)
        flop, moved = least_work(clouds, size, operations)
        report(
            f"depth maps {name}, {clouds} clouds x {POINTS} points x {VIEWS} views",
            statistics.median(spent["ours"]),
            peer="the published algorithm, plainly",
            peer_s=statistics.median(spent["plain"]),
            flop=flop,
            moved_bytes=moved,
            device=device,
            note="" if worst < 1e-5 else f"results differ by {worst:.1e}",
        )


if __name__ == "__main__":
    main()
