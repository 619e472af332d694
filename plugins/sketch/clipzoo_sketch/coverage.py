r"""How much of each pixel a polygon covers: exact areas, evaluated along the edges alone.

An edge covers, to its right, :math:`\int \mathrm{clip}(x + 1 - X(y), 0, 1)\,dy` of the pixels of a row. So it is cut
into the cells that it crosses; each piece adds to its own cell what lies right of it there, and its whole height to the
cells after it, which one running sum along the row spreads. By the divergence theorem the derivative of the area is
the integral of the normal velocity along the piece: the gradient too needs the edges alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipzoo_sketch.outline import Edges, ragged

_NOTHING = 1e-9


class Covered(NamedTuple):
    """The pixels that layers touch, ordered by layer."""

    area: Float[Tensor, " entry"]
    layer: Int[Tensor, " entry"]
    row: Int[Tensor, " entry"]
    column: Int[Tensor, " entry"]


class _Pieces(NamedTuple):
    """Edges cut at the lines between rows and between columns."""

    edge: Int[Tensor, " piece"]
    row: Int[Tensor, " piece"]
    column: Int[Tensor, " piece"]  # -1 left of the canvas, ``width`` right of it
    enter: Float[Tensor, " piece"]  # share of the edge that lies before the piece
    leave: Float[Tensor, " piece"]


class _Spans(NamedTuple):
    """For each row of each layer, the columns from the first to one after the last that an edge crosses."""

    offset: Int[Tensor, " row"]
    first: Int[Tensor, " row"]
    length: Int[Tensor, " row"]


def covered_area(
    edges: Edges, layers: int, even_odd: Bool[Tensor, " layer"], height: int, width: int, antialias: bool = True
) -> Covered:
    """The share of every touched pixel that lies inside the polygons of a layer, in [0, 1].

    Inside is what the edges wind around (``even_odd``: an odd number of times). The mean winding number of a pixel is
    exact, and so is the area unless three different winding numbers meet in the pixel, as where outlines cross.
    """
    pieces = _pieces(edges, height, width) if antialias else _crossings(edges, height, width)
    spans = _spans(pieces, edges.layer, layers, height, width)
    line, place = ragged(spans.length)
    column = spans.first[line] + place
    base = spans.offset - spans.first
    base = base[edges.layer[pieces.edge] * height + pieces.row]
    own, then = base + pieces.column.clamp(min=0), base + (pieces.column + 1).clamp(max=width)
    winding = _Winding.apply(edges.start, edges.end, pieces, own, then, len(line), width, antialias)
    layer = line // height
    area = _inside(winding, even_odd[layer])
    # A stroke of no width covers nothing and still has a gradient: its pixels stay.
    touched = torch.zeros_like(line, dtype=torch.bool).index_fill_(0, own, True)
    keep = ((area.detach() > _NOTHING) | touched) & (column < width)
    keep = keep.nonzero().squeeze(1)
    return Covered(area[keep], layer[keep], (line % height)[keep], column[keep])


def _inside(winding: Tensor, even_odd: Tensor) -> Tensor:
    """min(|w|, 1), or the distance of w to the nearest even number."""
    folded = (winding - 2 * (winding.detach() / 2).round()).abs()
    # Strokes wind negatively: at 0, where one has no width yet, the derivative is that of a growing one.
    size = torch.where(winding > _NOTHING, winding, -winding)
    return torch.where(even_odd, folded, size.clamp(max=1))


def _pieces(edges: Edges, height: int, width: int) -> _Pieces:
    (x, y), (dx, dy) = edges.start.detach().unbind(1), (edges.end - edges.start).detach().unbind(1)
    low, high = _between(y, y + dy)
    first = low.floor().clamp(0, height)
    # A level edge covers nothing, and moving it does: it has a piece too.
    rows = (torch.maximum(high.ceil(), first + 1).clamp(0, height) - first) * ((high >= 0) & (low < height))
    tiny = torch.finfo(dx.dtype).tiny
    dx, dy = torch.where(dx == 0, tiny, dx), torch.where(dy == 0, tiny, dy)
    edge, place = ragged(rows.long())
    row = first[edge] + place
    x, y, dx, dy = x[edge], y[edge], dx[edge], dy[edge]
    enter, leave = _between((row - y) / dy, (row + 1 - y) / dy)
    enter, leave = enter.clamp(0, 1), leave.clamp(0, 1)
    left, right = _between(x + enter * dx, x + leave * dx)
    first = left.floor().clamp(-1, width)
    columns = right.floor().clamp(-1, width) - first + 1
    part, place = ragged(columns.long())
    column = first[part] + place
    x, dx = x[part], dx[part]
    before, after = (column - x) / dx, (column + 1 - x) / dx
    rising = dx > 0
    # The first and the last column reach to infinity.
    before = torch.where(column < 0, torch.where(rising, -torch.inf, torch.inf), before)
    after = torch.where(column >= width, torch.where(rising, torch.inf, -torch.inf), after)
    begin, finish = _between(before, after)
    enter, leave = enter[part], leave[part]
    begin, finish = torch.maximum(begin, enter), torch.minimum(finish, leave)
    return _Pieces(edge[part], row[part].long(), column.long(), begin, torch.maximum(begin, finish))


def _crossings(edges: Edges, height: int, width: int) -> _Pieces:
    """Where edges cross the middle lines of rows; the column is the first whose centre lies to the right."""
    (x, y), (dx, dy) = edges.start.detach().unbind(1), (edges.end - edges.start).detach().unbind(1)
    low, high = _between(y, y + dy)
    first = (low - 0.5).ceil().clamp(0, height)
    rows = ((high - 0.5).ceil().clamp(0, height) - first).clamp(min=0)
    edge, place = ragged(rows.long())
    row = first[edge] + place
    share = (row + 0.5 - y[edge]) / dy[edge]
    column = (x[edge] + share * dx[edge] - 0.5).ceil().clamp(0, width)
    return _Pieces(edge, row.long(), column.long(), share, share)


def _spans(pieces: _Pieces, layer: Tensor, layers: int, height: int, width: int) -> _Spans:
    line = layer[pieces.edge] * height + pieces.row
    first = line.new_full((layers * height,), width + 1)
    first.scatter_reduce_(0, line, pieces.column.clamp(min=0), "amin")
    last = line.new_full((layers * height,), -1)
    last.scatter_reduce_(0, line, (pieces.column + 1).clamp(max=width), "amax")
    length = (last - first + 1).clamp(min=0)
    return _Spans(length.cumsum(0) - length, first, length)


class _Winding(torch.autograd.Function):
    """Mean winding number of every pixel of the spans."""

    @staticmethod
    def forward(
        ctx: Any,
        start: Tensor,
        end: Tensor,
        pieces: _Pieces,
        own: Tensor,
        then: Tensor,
        entries: int,
        width: int,
        antialias: bool,
    ) -> Tensor:
        move = (end - start)[pieces.edge]
        steps = start.new_zeros(entries)
        if antialias:
            rise = (pieces.leave - pieces.enter) * move[:, 1]
            middle = start[pieces.edge, 0] + 0.5 * (pieces.enter + pieces.leave) * move[:, 0] - pieces.column
            middle = torch.where(pieces.column < 0, 1.0, middle.clamp(0, 1))
            steps.index_add_(0, own, rise * (1 - middle)).index_add_(0, then, rise * middle)
        else:
            steps.index_add_(0, own, move[:, 1].sign())
        ctx.on_canvas = (pieces.column >= 0) & (pieces.column < width) & antialias
        ctx.save_for_backward(start, end, pieces.edge, own, pieces.enter, pieces.leave)
        # The polygons are closed, so that every row sums to zero and one running sum serves all rows.
        return steps.cumsum(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        start, end, edge, own, enter, leave = ctx.saved_tensors
        share = gradient[own] * (leave - enter) * ctx.on_canvas
        middle = 0.5 * (enter + leave)
        move = (end - start)[edge]
        outward = torch.stack([-move[:, 1], move[:, 0]], -1)
        to_end = torch.zeros_like(end).index_add_(0, edge, (share * middle)[:, None] * outward)
        to_start = torch.zeros_like(start).index_add_(0, edge, (share * (1 - middle))[:, None] * outward)
        return to_start, to_end, *(None,) * 6


def _between(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)
