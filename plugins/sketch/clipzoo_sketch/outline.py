"""Outlines: a thick curve, or a filled one, as the edges of closed polygons whose corners are functions of the curve.

The outline of a stroke goes along one side of the curve at the distance of the radius, half a circle around its end,
back along the other side and half a circle around its start. Around a point it winds once for every connected piece of
the curve that is nearer to the point than the radius: at least once inside the stroke and never outside, however
sharply the curve bends. So the stroke is what its outline winds around, and no union need be computed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipzoo_sketch.geometry import bernstein, bernstein_bend, bernstein_slope

FLATNESS_PX = 0.01
"""Largest distance of a curve, or of an arc, to the chord that stands for it."""
MAX_CHORDS = 256
"""Most chords of one segment."""
MIN_TURN, MAX_TURN = math.pi / 256, math.pi / 4
"""Bounds of the angle that one chord of an arc spans."""
STILL_PX = 1e-3
"""A curve that moves less than this in a step has no direction of its own there."""


class Edges(NamedTuple):
    """Directed edges of closed polygons, in any order."""

    start: Float[Tensor, "edge 2"]
    end: Float[Tensor, "edge 2"]
    layer: Int[Tensor, " edge"]


class Frames(NamedTuple):
    """Points along every path, in order, with the direction of the curve there."""

    point: Float[Tensor, "frame 2"]
    angle: Float[Tensor, " frame"]
    path: Int[Tensor, " frame"]
    first: Int[Tensor, " path"]
    last: Int[Tensor, " path"]


def chord_counts(cubics: Float[Tensor, "path segment 4 2"]) -> Int[Tensor, "path segment"]:
    """Chords that stay within the flatness of each segment; 0 of a segment without length in a path that has one.

    The distance of a curve to n chords of equal parameter is at most max|B''| / (8 n^2).
    """
    cubics = cubics.detach()
    bend = 6 * cubics.diff(n=2, dim=-2).norm(dim=-1).amax(-1)
    counts = (bend / (8 * FLATNESS_PX)).sqrt().ceil().clamp(1, MAX_CHORDS).long()
    moves = cubics.diff(dim=-2).norm(dim=-1).sum(-1) > 1e-9
    moves[:, 0] |= ~moves.any(-1)
    return counts * moves


def frames(cubics: Float[Tensor, "path segment 4 2"]) -> Frames:
    """Points at equal parameters of each segment, both ends of it included."""
    counts = chord_counts(cubics)
    per_segment = ((counts + 1) * (counts > 0)).flatten()
    segment, place = ragged(per_segment)
    chords = counts.flatten()[segment].to(cubics)
    t = place / chords
    control = cubics.flatten(0, 1)[segment]
    # A chord lies inside the bend: with its corners moved out by h^2 B'' / 12 it is level with the curve on average.
    weights = bernstein(t) - bernstein_bend(t) / (12 * chords * chords)[:, None]
    point = (weights[..., None] * control).sum(1)
    slope = (bernstein_slope(t)[..., None] * control).sum(1)
    angle = _angles(slope, point, chords, place)
    per_path = per_segment.view(counts.shape).sum(1)
    last = per_path.cumsum(0) - 1
    return Frames(point, angle, segment // cubics.shape[1], last - per_path + 1, last)


def _angles(slope: Tensor, point: Tensor, chords: Tensor, place: Tensor) -> Float[Tensor, " frame"]:
    still = slope.detach().norm(dim=-1) < STILL_PX * chords
    step = point.detach().diff(dim=0, append=point.detach()[-1:])
    chord = torch.where((place < chords)[:, None], step, step.roll(1, 0))
    nowhere = chord.abs().sum(-1, keepdim=True) < 1e-12
    chord = torch.where(nowhere, chord.new_tensor([1.0, 0.0]), chord)
    direction = torch.where(still[:, None], chord, slope)
    return torch.atan2(direction[:, 1], direction[:, 0])


def stroke_edges(
    cubics: Float[Tensor, "path segment 4 2"],
    radii: Float[Tensor, " path"],
    layers: Int[Tensor, " path"],
    closed: bool,
) -> Edges:
    """Edges of the outline of each stroke, which winds around every point nearer to the path than its radius."""
    along = frames(cubics)
    here = torch.arange(len(along.path), device=cubics.device)
    inner = torch.ones_like(here, dtype=torch.bool)
    inner[along.last] = False
    here = here[inner]
    there = here + 1
    open_ended = ~_loops(along, radii, len(radii)) if closed else torch.ones_like(radii, dtype=torch.bool)
    looped = ~open_ended
    here = torch.cat([here, along.last[looped]])
    there = torch.cat([there, along.first[looped]])
    turn = along.angle[there] - along.angle[here]
    turn = turn - 2 * math.pi * (turn.detach() / (2 * math.pi)).round()
    ends, starts = along.last[open_ended], along.first[open_ended]
    half, quarter = turn.new_full((len(ends),), math.pi), math.pi / 2
    # Forth on one side, back on the other, around the ends, around the starts.
    leaving = along.angle[here] - quarter, along.angle[there] + quarter
    around = along.angle[ends] - quarter, along.angle[starts] + quarter
    return _arcs(
        along,
        radii,
        layers,
        torch.cat([here, there, ends, starts]),
        torch.cat([there, here, ends, starts]),
        torch.cat([*leaving, *around]),
        torch.cat([turn, -turn, half, half]),
    )


def _loops(along: Frames, radii: Tensor, paths: int) -> Bool[Tensor, " path"]:
    """Which closed paths are drawn as two loops: those too large for any one point to be near all of them.

    A point that is nearer than the radius to the whole of a closed path would count as outside: there the path is
    drawn as an open one that returns to its start.
    """
    index = along.path[:, None].expand(-1, 2)
    point = along.point.detach()
    high = point.new_full((paths, 2), -math.inf).scatter_reduce(0, index, point, "amax")
    low = point.new_full((paths, 2), math.inf).scatter_reduce(0, index, point, "amin")
    return (high - low).amax(-1) > 2 * radii.detach()


def _arcs(
    along: Frames, radii: Tensor, layers: Tensor, here: Tensor, there: Tensor, angle: Tensor, turn: Tensor
) -> Edges:
    """From each frame to another, at the radius in a direction that turns: as many chords as the turn needs."""
    radius = radii[along.path[here]]
    finest = (8 * FLATNESS_PX / radius.detach().clamp(min=1e-6)).sqrt().clamp(MIN_TURN, MAX_TURN)
    steps = (turn.detach().abs() / finest - 1e-9).ceil().clamp(min=1).long()
    pair, place = ragged(steps)
    start, move = along.point[here][pair], (along.point[there] - along.point[here])[pair]
    first, turn, radius = angle[pair], turn[pair], radius[pair]
    share = steps.to(radius)[pair]
    span = turn.detach() / share
    # The corners of an end lie a little outside, so that polygon and half disc have the same area.
    swell = torch.where((here == there)[pair], (span / span.sin()).sqrt(), 1.0)

    def corner(part: Tensor) -> Tensor:
        direction = first + part * turn
        reach = radius * torch.where((part > 0) & (part < 1), swell, 1.0)
        return start + part[:, None] * move + reach[:, None] * torch.stack([direction.cos(), direction.sin()], -1)

    return Edges(corner(place / share), corner((place + 1) / share), layers[along.path[here]][pair])


def fill_edges(cubics: Float[Tensor, "path segment 4 2"], layers: Int[Tensor, " path"]) -> Edges:
    """Edges of the polygon that stands for each closed path."""
    along = frames(cubics)
    there = torch.arange(1, len(along.path) + 1, device=cubics.device)
    there[along.last] = along.first
    return Edges(along.point, along.point[there], layers[along.path])


def ragged(counts: Int[Tensor, " row"]) -> tuple[Int[Tensor, " item"], Int[Tensor, " item"]]:
    """For each item of rows of such lengths: its row, and its place in it."""
    row = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    begin = counts.cumsum(0) - counts
    return row, torch.arange(len(row), device=counts.device) - begin[row]
