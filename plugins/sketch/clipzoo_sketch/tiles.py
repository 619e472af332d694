"""Which tiles of the canvas each layer touches or encloses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from clipzoo_sketch.outline import Edges, ragged

TILE_PX = 16
"""Side of a tile."""


class Bins(NamedTuple):
    """Pairs of a layer and a tile, those of a layer together; and the pairs of each tile, its lowest layer first."""

    layer: Int[Tensor, " pair"]
    tile: Int[Tensor, " pair"]
    layer_begins: Int[Tensor, " layers_and_one"]
    by_tile: Int[Tensor, " pair"]
    tile_begins: Int[Tensor, " tiles_and_one"]


def bin_layers(edges: Edges, layers: int, canvases: int, height: int, width: int) -> Bins:
    """Find, in each row of tiles, the tiles from the first to the last that an edge of the layer crosses."""
    rows, columns = -(-height // TILE_PX), -(-width // TILE_PX)
    (x, y), (dx, dy) = (
        (edges.start.detach() / TILE_PX).unbind(1),
        ((edges.end - edges.start).detach() / TILE_PX).unbind(1),
    )
    dy = torch.where(dy == 0, 1e-30, dy)
    first = torch.minimum(y, y + dy).floor().clamp(0, rows)
    last = torch.maximum(y, y + dy).floor().clamp(-1, rows - 1)
    edge, place = ragged((last - first + 1).clamp(min=0).long())
    row = first[edge] + place
    enter, leave = ((row + side - y[edge]) / dy[edge] for side in (0, 1))
    ends = torch.stack([x[edge] + share.clamp(0, 1) * dx[edge] for share in (enter, leave)])
    line = edges.layer[edge] * rows + row.long()
    left = line.new_full((layers * rows,), columns)
    # Rounding must not lose a tile of which an edge touches the border.
    left.scatter_reduce_(0, line, (ends.amin(0) - 1e-3).floor().clamp(0, columns).long(), "amin")
    right = line.new_full((layers * rows,), -1)
    right.scatter_reduce_(0, line, (ends.amax(0) + 1e-3).floor().clamp(-1, columns - 1).long(), "amax")
    line, place = ragged((right - left + 1).clamp(min=0))
    layer = line // rows
    tile = (layer // (layers // canvases) * rows + line % rows) * columns + left[line] + place
    by_tile = tile.sort(stable=True)
    return Bins(
        layer,
        tile,
        _begins(layer, layers),
        by_tile.indices,
        _begins(by_tile.values, canvases * rows * columns),
    )


def _begins(sorted_keys: Int[Tensor, " item"], keys: int) -> Int[Tensor, " keys_and_one"]:
    return torch.searchsorted(sorted_keys, torch.arange(keys + 1, device=sorted_keys.device))
