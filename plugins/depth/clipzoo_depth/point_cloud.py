"""Depth and intrinsics as a coloured point cloud."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8

from clipzoo.errors import DataError

Intrinsics = tuple[float, float, float, float]
"""(fx, fy, cx, cy), px; the centre of the first pixel is (0, 0)."""

MAX_POINTS = 400_000


def intrinsics_of_view(height: int, width: int, fov_deg: float = 60.0) -> Intrinsics:
    """Intrinsics of a camera that looks through the middle of its image.

    Args:
        height: px.
        width: px.
        fov_deg: horizontal field of view.

    >>> intrinsics_of_view(3, 2, 90.0)
    (1.0, 1.0, 0.5, 1.0)
    """
    focal = round(width / 2 / math.tan(math.radians(fov_deg) / 2), 9)
    return focal, focal, (width - 1) / 2, (height - 1) / 2


def unproject(depth: Float[np.ndarray, "height width"], intrinsics: Intrinsics) -> Float[np.ndarray, "height width 3"]:
    """Points in the frame of the camera, m: x right, y down, z forward.

    ``x = (u - cx) z / fx``, ``y = (v - cy) z / fy`` for the pixel ``(u, v)`` of depth ``z``.
    """
    fx, fy, cx, cy = intrinsics
    v, u = np.indices(depth.shape, dtype=np.float32)
    return np.stack([(u - cx) * depth / fx, (v - cy) * depth / fy, depth], -1).astype(np.float32)


def point_cloud_ply(
    depth: Float[np.ndarray, "height width"],
    image: UInt8[np.ndarray, "height width 3"],
    intrinsics: Intrinsics,
    max_points: int = MAX_POINTS,
) -> bytes:
    """A binary PLY file of the pixels of known depth, with their colours.

    Args:
        depth: m; 0 where there is none.
        image: of the same size.
        intrinsics: of the image.
        max_points: larger images are thinned evenly.

    Raises:
        DataError: if sizes differ.
    """
    if depth.shape != image.shape[:2]:
        raise DataError(f"depth of {depth.shape} px and colours of {image.shape[:2]} px", expected="one size")
    step = max(1, math.ceil(math.sqrt(depth.size / max_points)))
    points = unproject(depth, intrinsics)[::step, ::step].reshape(-1, 3)
    colours = image[::step, ::step].reshape(-1, 3)
    known = points[:, 2] > 0
    vertices = np.empty(int(known.sum()), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    vertices["xyz"], vertices["rgb"] = points[known], colours[known]
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment metres; x right, y down, z forward",
            f"element vertex {len(vertices)}",
            *(f"property float {axis}" for axis in "xyz"),
            *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
            "end_header\n",
        ]
    )
    return header.encode() + vertices.tobytes()
