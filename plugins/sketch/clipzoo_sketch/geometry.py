"""Bezier curves: every path as cubic segments, and the weights of their control points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError


def elevate(segments: Float[Tensor, "*batch order 2"]) -> Float[Tensor, "*batch 4 2"]:
    """The cubic that draws the same curve as a line (2 points), a quadratic (3) or a cubic (4).

    >>> elevate(torch.tensor([[0.0, 0.0], [3.0, 3.0]]))[:, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    points = segments.unbind(-2)
    if len(points) == 4:
        return segments
    if len(points) == 3:
        a, b, c = points
        return torch.stack([a, (a + 2 * b) / 3, (2 * b + c) / 3, c], -2)
    a, b = points
    return torch.stack([a, (2 * a + b) / 3, (a + 2 * b) / 3, b], -2)


def path_degree(points: int, closed: bool) -> int:
    """Degree of the segments that so many control points a path stand for: 2 line, 3 quadratic, 3n + 1 cubics.

    A closed path of 3n points, n at least 2, is n cubics the last of which ends at the first point.

    Raises:
        ConfigError: if no rule tells.
    """
    if points in (2, 3):
        return points - 1
    if points % 3 == 1 and points > 1:
        return 3
    if closed and points % 3 == 0 and points:
        return 3
    raise ConfigError(
        f"{points} control points a path do not tell the degree of its segments",
        expected="2 (line), 3 (quadratic), 3n + 1 (cubics), or 3n of a closed path",
        hint="pass degree=1, 2 or 3",
    )


def to_cubics(
    points: Float[Tensor, "*batch point 2"], closed: bool, degree: int | None = None
) -> Float[Tensor, "*batch segment 4 2"]:
    """Control points of paths as cubic segments; a closed path ends at its first point.

    ``degree * n + 1`` points are n segments, and a straight line back to the start if the path is closed;
    ``degree * n`` points of a closed path are n segments, the last of which ends at the first point. One point is a
    segment without length.

    Raises:
        ConfigError: if the number of points fits no number of segments of the degree.

    >>> to_cubics(torch.zeros(5, 10, 2), closed=False).shape
    torch.Size([5, 3, 4, 2])
    """
    count = points.shape[-2]
    if count == 1:
        return points.unsqueeze(-3).expand(*points.shape[:-2], 1, 4, 2)
    degree = path_degree(count, closed) if degree is None else degree
    if degree not in (1, 2, 3):
        raise ConfigError(f"degree={degree}", expected="1 (lines), 2 (quadratics) or 3 (cubics)")
    if closed and count % degree == 0 and count > 1 and degree > 1:
        return elevate(torch.cat([points, points[..., :1, :]], -2).unfold(-2, degree + 1, degree).transpose(-1, -2))
    if count % degree != 1 % degree or count < degree + 1:
        raise ConfigError(
            f"{count} control points a path are no whole number of segments of degree {degree}",
            expected=f"{degree}n + 1 points" + (f", or {degree}n of a closed path" if closed and degree > 1 else ""),
        )
    cubics = elevate(points.unfold(-2, degree + 1, degree).transpose(-1, -2))
    if not closed:
        return cubics
    return torch.cat([cubics, elevate(points[..., [count - 1, 0], :]).unsqueeze(-3)], -3)


def bernstein(t: Float[Tensor, " *batch"]) -> Float[Tensor, "*batch 4"]:
    """Weights of the four control points in B(t)."""
    u = 1 - t
    return torch.stack([u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t], -1)


def bernstein_slope(t: Float[Tensor, " *batch"]) -> Float[Tensor, "*batch 4"]:
    """Weights of the four control points in B'(t)."""
    u = 1 - t
    return 3 * torch.stack([-u * u, u * (u - 2 * t), t * (2 * u - t), t * t], -1)


def bernstein_bend(t: Float[Tensor, " *batch"]) -> Float[Tensor, "*batch 4"]:
    """Weights of the four control points in B''(t)."""
    u = 1 - t
    return 6 * torch.stack([u, t - 2 * u, u - 2 * t, t], -1)
