"""GPU kernels: winding numbers of tiles under layers, compositing of tiles, and the derivatives of both.

Pixels of a tile are the lanes of a program. Nothing is added atomically, so that results are the same at every run.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _cut(x, y, dx, dy, px, py):
    """Shares of an edge: within the row and the column of each pixel (from, to), and within its row left of it."""
    dx = tl.where(dx == 0.0, 1e-30, dx)
    dy = tl.where(dy == 0.0, 1e-30, dy)
    top, bottom = (py - y) / dy, (py + 1.0 - y) / dy
    enter = tl.minimum(tl.maximum(tl.minimum(top, bottom), 0.0), 1.0)
    leave = tl.minimum(tl.maximum(tl.maximum(top, bottom), 0.0), 1.0)
    near, far = (px - x) / dx, (px + 1.0 - x) / dx
    begin = tl.maximum(tl.minimum(near, far), enter)
    finish = tl.maximum(tl.minimum(tl.maximum(near, far), leave), begin)
    left = tl.where(dx > 0.0, tl.minimum(near, leave) - enter, leave - tl.maximum(near, enter))
    return begin, finish, tl.maximum(left, 0.0)


@triton.jit
def _tile_corner(tile, columns, tiles, TILE: tl.constexpr):
    place = tile % tiles
    return (place % columns) * TILE, (place // columns) * TILE


@triton.jit
def winding_kernel(
    edges, edge_begins, pair_layer, pair_tile, winding, columns, tiles, ANTIALIAS: tl.constexpr, TILE: tl.constexpr
):
    """Winding number of a layer, mean over each pixel of a tile or at its centre; one program a pair."""
    pair = tl.program_id(0).to(tl.int64)
    left, top = _tile_corner(tl.load(pair_tile + pair), columns, tiles, TILE)
    lane = tl.arange(0, TILE * TILE)
    px = (left + lane % TILE).to(tl.float32)
    py = (top + lane // TILE).to(tl.float32)
    layer = tl.load(pair_layer + pair)
    total = tl.zeros([TILE * TILE], tl.float32)
    for edge in range(tl.load(edge_begins + layer), tl.load(edge_begins + layer + 1)):
        x, y = tl.load(edges + 4 * edge), tl.load(edges + 4 * edge + 1)
        dx, dy = tl.load(edges + 4 * edge + 2), tl.load(edges + 4 * edge + 3)
        low, high = tl.minimum(y, y + dy), tl.maximum(y, y + dy)
        if (high > top) & (low < top + TILE) & (tl.minimum(x, x + dx) < left + TILE):
            if ANTIALIAS:
                begin, finish, before = _cut(x, y, dx, dy, px, py)
                middle = x + 0.5 * (begin + finish) * dx - px
                middle = tl.minimum(tl.maximum(middle, 0.0), 1.0)
                total += dy * (before + (finish - begin) * (1.0 - middle))
            else:
                across = x + (py + 0.5 - y) / tl.where(dy == 0.0, 1e-30, dy) * dx
                crosses = (low <= py + 0.5) & (py + 0.5 < high) & (across <= px + 0.5)
                total += tl.where(crosses, tl.where(dy > 0.0, 1.0, -1.0), 0.0)
    tl.store(winding + pair * TILE * TILE + lane, total)


@triton.jit
def edge_kernel(edges, edge_layer, layer_begins, pair_tile, to_winding, to_edges, columns, tiles, TILE: tl.constexpr):
    """Gradient of the ends of an edge: the integral of the normal velocity over pixels; one program an edge."""
    edge = tl.program_id(0)
    x, y = tl.load(edges + 4 * edge), tl.load(edges + 4 * edge + 1)
    dx, dy = tl.load(edges + 4 * edge + 2), tl.load(edges + 4 * edge + 3)
    layer = tl.load(edge_layer + edge)
    lane = tl.arange(0, TILE * TILE)
    to_start = tl.zeros([TILE * TILE], tl.float32)
    to_end = tl.zeros([TILE * TILE], tl.float32)
    for pair in range(tl.load(layer_begins + layer), tl.load(layer_begins + layer + 1)):
        left, top = _tile_corner(tl.load(pair_tile + pair), columns, tiles, TILE)
        across = (tl.maximum(x, x + dx) >= left) & (tl.minimum(x, x + dx) < left + TILE)
        if across & (tl.maximum(y, y + dy) >= top) & (tl.minimum(y, y + dy) < top + TILE):
            px = (left + lane % TILE).to(tl.float32)
            py = (top + lane // TILE).to(tl.float32)
            begin, finish, _ = _cut(x, y, dx, dy, px, py)
            part = tl.load(to_winding + pair * TILE * TILE + lane) * (finish - begin)
            middle = 0.5 * (begin + finish)
            to_start += part * (1.0 - middle)
            to_end += part * middle
    start, end = tl.sum(to_start), tl.sum(to_end)
    tl.store(to_edges + 4 * edge, -dy * start)
    tl.store(to_edges + 4 * edge + 1, dx * start)
    tl.store(to_edges + 4 * edge + 2, -dy * end)
    tl.store(to_edges + 4 * edge + 3, dx * end)


@triton.jit
def _inside(winding, even_odd):
    """Share that is inside, and its derivative by the winding number."""
    size = tl.abs(winding)
    sign = tl.where(winding > 1e-5, 1.0, -1.0)
    wraps = 2.0 * tl.floor(winding * 0.5 + 0.5)
    folded = winding - wraps
    share = tl.where(even_odd != 0, tl.abs(folded), tl.minimum(size, 1.0))
    slope = tl.where(even_odd != 0, tl.where(folded >= 0.0, 1.0, -1.0), tl.where(size > 1.0, 0.0, sign))
    return share, slope


@triton.jit
def composite_kernel(
    image, winding, pair_layer, by_tile, tile_begins, colours, even_odd, below,
    height, width, columns, tiles, KEEP: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Paint the layers of a tile onto the image; one program a tile."""
    tile = tl.program_id(0)
    left, top = _tile_corner(tile, columns, tiles, TILE)
    lane = tl.arange(0, TILE * TILE)
    px, py = left + lane % TILE, top + lane // TILE
    here = (px < width) & (py < height)
    plane = height * width
    place = image + (tile // tiles).to(tl.int64) * 3 * plane + py * width + px
    red = tl.load(place, mask=here, other=0.0)
    green = tl.load(place + plane, mask=here, other=0.0)
    blue = tl.load(place + 2 * plane, mask=here, other=0.0)
    for item in range(tl.load(tile_begins + tile), tl.load(tile_begins + tile + 1)):
        pair = tl.load(by_tile + item)
        layer = tl.load(pair_layer + pair)
        share, _ = _inside(tl.load(winding + pair * TILE * TILE + lane), tl.load(even_odd + layer))
        if KEEP:
            tl.store(below + (3 * pair) * TILE * TILE + lane, red)
            tl.store(below + (3 * pair + 1) * TILE * TILE + lane, green)
            tl.store(below + (3 * pair + 2) * TILE * TILE + lane, blue)
        opacity = share * tl.load(colours + 4 * layer + 3)
        red += opacity * (tl.load(colours + 4 * layer) - red)
        green += opacity * (tl.load(colours + 4 * layer + 1) - green)
        blue += opacity * (tl.load(colours + 4 * layer + 2) - blue)
    tl.store(place, red, mask=here)
    tl.store(place + plane, green, mask=here)
    tl.store(place + 2 * plane, blue, mask=here)


@triton.jit
def uncomposite_kernel(
    gradient, winding, pair_layer, by_tile, tile_begins, colours, even_odd, below, to_winding, to_colours,
    height, width, columns, tiles, TILE: tl.constexpr,
):  # fmt: skip
    """Gradients of winding numbers, and of colours by pair, from the top layer of a tile down; one program a tile."""
    tile = tl.program_id(0)
    left, top = _tile_corner(tile, columns, tiles, TILE)
    lane = tl.arange(0, TILE * TILE)
    px, py = left + lane % TILE, top + lane // TILE
    here = (px < width) & (py < height)
    plane = height * width
    place = gradient + (tile // tiles).to(tl.int64) * 3 * plane + py * width + px
    red = tl.load(place, mask=here, other=0.0)
    green = tl.load(place + plane, mask=here, other=0.0)
    blue = tl.load(place + 2 * plane, mask=here, other=0.0)
    begin = tl.load(tile_begins + tile)
    end = tl.load(tile_begins + tile + 1)
    for item in range(0, end - begin):
        pair = tl.load(by_tile + end - 1 - item)
        layer = tl.load(pair_layer + pair)
        share, slope = _inside(tl.load(winding + pair * TILE * TILE + lane), tl.load(even_odd + layer))
        alpha = tl.load(colours + 4 * layer + 3)
        opacity = share * alpha
        toward = red * (tl.load(colours + 4 * layer) - tl.load(below + (3 * pair) * TILE * TILE + lane))
        toward += green * (tl.load(colours + 4 * layer + 1) - tl.load(below + (3 * pair + 1) * TILE * TILE + lane))
        toward += blue * (tl.load(colours + 4 * layer + 2) - tl.load(below + (3 * pair + 2) * TILE * TILE + lane))
        tl.store(to_winding + pair * TILE * TILE + lane, toward * alpha * slope)
        tl.store(to_colours + 4 * pair, tl.sum(red * opacity))
        tl.store(to_colours + 4 * pair + 1, tl.sum(green * opacity))
        tl.store(to_colours + 4 * pair + 2, tl.sum(blue * opacity))
        tl.store(to_colours + 4 * pair + 3, tl.sum(toward * share))
        red *= 1.0 - opacity
        green *= 1.0 - opacity
        blue *= 1.0 - opacity
    tl.store(place, red, mask=here)
    tl.store(place + plane, green, mask=here)
    tl.store(place + 2 * plane, blue, mask=here)
