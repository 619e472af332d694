"""Compiled loops of the CPU back end: one layer after another, with scratch space of a single canvas.

The method is that of ``outline.py``, ``coverage.py`` and ``compositing.py``, whose comments say why it is right; here
it runs without intermediate arrays. The backward pass builds each outline again, which costs less than keeping it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from clipzoo_sketch.outline import FLATNESS_PX, MAX_CHORDS, MAX_TURN, MIN_TURN, STILL_PX

_compiled = njit(cache=True, nogil=True, error_model="numpy")
# What Python never calls needs no door to it.
_inner = njit(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
_NOTHING = 1e-9
_HALF_TURN = math.pi


@_inner
def _chords(cubic: Any) -> int:
    """Chords of a segment, 0 if it has no length."""
    length, bend = 0.0, 0.0
    for k in range(3):
        length += math.hypot(cubic[k + 1, 0] - cubic[k, 0], cubic[k + 1, 1] - cubic[k, 1])
    if not length > 1e-9:
        return 0
    for k in range(2):
        x = cubic[k + 2, 0] - 2 * cubic[k + 1, 0] + cubic[k, 0]
        y = cubic[k + 2, 1] - 2 * cubic[k + 1, 1] + cubic[k, 1]
        bend = max(bend, math.hypot(x, y))
    return int(min(max(math.ceil(math.sqrt(6 * bend / (8 * FLATNESS_PX))), 1), MAX_CHORDS))


@_inner
def _frames(path: Any) -> tuple[Any, Any, Any]:
    """Points along a path: x, y, cos, sin, 1/speed (0 where there is none); their segments; parameters and chords."""
    segments = path.shape[0]
    total, longest = 0, 0
    for s in range(segments):
        n = _chords(path[s])
        longest = max(longest, n)
        total += n + 1 if n else 0
    if longest == 0:
        total = 2
    frame, owner, when = np.empty((total, 5)), np.empty(total, np.int64), np.empty((total, 2))
    f = 0
    for s in range(segments):
        n = _chords(path[s])
        if n == 0:
            if longest or s:
                continue
            n = 1
        c, begin = path[s], f
        for i in range(n + 1):
            t = i / n
            u = 1 - t
            bend = 6 / (12.0 * n * n)
            w0 = u * u * u - bend * u
            w1 = 3 * u * u * t - bend * (t - 2 * u)
            w2 = 3 * u * t * t - bend * (u - 2 * t)
            w3 = t * t * t - bend * t
            d0, d1, d2, d3 = -3 * u * u, 3 * u * (u - 2 * t), 3 * t * (2 * u - t), 3 * t * t
            frame[f, 0] = w0 * c[0, 0] + w1 * c[1, 0] + w2 * c[2, 0] + w3 * c[3, 0]
            frame[f, 1] = w0 * c[0, 1] + w1 * c[1, 1] + w2 * c[2, 1] + w3 * c[3, 1]
            frame[f, 2] = d0 * c[0, 0] + d1 * c[1, 0] + d2 * c[2, 0] + d3 * c[3, 0]
            frame[f, 3] = d0 * c[0, 1] + d1 * c[1, 1] + d2 * c[2, 1] + d3 * c[3, 1]
            owner[f], when[f, 0], when[f, 1] = s, t, n
            f += 1
        for i in range(begin, f):
            speed = math.hypot(frame[i, 2], frame[i, 3])
            if speed < STILL_PX * n:
                j = i if i < f - 1 else i - 1
                dx, dy = frame[j + 1, 0] - frame[j, 0], frame[j + 1, 1] - frame[j, 1]
                if abs(dx) + abs(dy) < 1e-12:
                    dx, dy = 1.0, 0.0
                size = math.hypot(dx, dy)
                frame[i, 2], frame[i, 3], frame[i, 4] = dx / size, dy / size, 0.0
            else:
                frame[i, 2] /= speed
                frame[i, 3] /= speed
                frame[i, 4] = 1 / speed
    return frame, owner, when


@_inner
def _turn(frame: Any, a: int, b: int) -> float:
    """Angle from one direction to another."""
    cross = frame[a, 2] * frame[b, 3] - frame[a, 3] * frame[b, 2]
    return math.atan2(cross, frame[a, 2] * frame[b, 2] + frame[a, 3] * frame[b, 3])


@_inner
def _is_loop(frame: Any, radius: float) -> bool:
    low_x, high_x, low_y, high_y = math.inf, -math.inf, math.inf, -math.inf
    for f in range(len(frame)):
        low_x, high_x = min(low_x, frame[f, 0]), max(high_x, frame[f, 0])
        low_y, high_y = min(low_y, frame[f, 1]), max(high_y, frame[f, 1])
    return max(high_x - low_x, high_y - low_y) > 2 * radius


@_inner
def _stroke_pairs(frame: Any, radius: float, closed: bool) -> tuple[Any, Any, Any]:
    """Which frames the outline joins, along which side, by what turn in how many edges."""
    count = len(frame)
    looped = closed and _is_loop(frame, radius)
    pairs = np.empty((2 * count, 3), np.int64)
    turns = np.empty(2 * count)
    first_edge = np.empty(2 * count + 1, np.int64)
    finest = min(max(math.sqrt(8 * FLATNESS_PX / max(radius, 1e-6)), MIN_TURN), MAX_TURN)
    barely = math.cos(finest)
    edges = 0
    for f in range(count):
        after = f + 1
        if f == count - 1:
            after = 0 if looped else f
        for side in range(2):
            row = 2 * f + side
            pairs[row, 2] = 1 - 2 * side
            if after == f:
                # An end: half a circle at the last frame, from the left to the right, and one at the first back.
                at = f if side == 0 else 0
                pairs[row, 0], pairs[row, 1], turns[row] = at, at, _HALF_TURN
            else:
                pairs[row, 0], pairs[row, 1] = (f, after) if side == 0 else (after, f)
                if frame[f, 2] * frame[after, 2] + frame[f, 3] * frame[after, 3] > barely:
                    turns[row] = 0.0  # one edge: its ends need no angle
                else:
                    turns[row] = _turn(frame, f, after) if side == 0 else -turns[row - 1]
            first_edge[row] = edges
            edges += max(math.ceil(abs(turns[row]) / finest - 1e-9), 1)
    first_edge[2 * count] = edges
    return pairs, turns, first_edge


@_inner
def _corner(
    frame: Any, pair: Any, turn: float, steps: int, place: int, radius: float
) -> tuple[float, float, float, float]:
    """A corner of the outline, and its direction from the path."""
    part = place / steps
    a, b = pair[0], pair[1]
    side = pair[2]
    at = b if part == 1.0 else a
    nx, ny = side * frame[at, 3], -side * frame[at, 2]
    if turn != 0.0 and (part != 1.0 or a == b):
        angle = part * turn
        cos, sin = math.cos(angle), math.sin(angle)
        nx, ny = cos * nx - sin * ny, sin * nx + cos * ny
        if a == b and 0 < place < steps:
            span = turn / steps
            swell = math.sqrt(span / math.sin(span))
            nx, ny = swell * nx, swell * ny
    x = frame[a, 0] + part * (frame[b, 0] - frame[a, 0]) + radius * nx
    y = frame[a, 1] + part * (frame[b, 1] - frame[a, 1]) + radius * ny
    return x, y, nx, ny


@_inner
def _edges(frame: Any, pairs: Any, turns: Any, first_edge: Any, radius: float) -> Any:
    """Ends of all edges, and the directions in which the radius moves them."""
    edges = np.empty((first_edge[-1], 8))
    for row in range(len(pairs)):
        steps = first_edge[row + 1] - first_edge[row]
        start = _corner(frame, pairs[row], turns[row], steps, 0, radius)
        for i in range(steps):
            e = first_edge[row] + i
            end = _corner(frame, pairs[row], turns[row], steps, i + 1, radius)
            edges[e, 0], edges[e, 1], edges[e, 4], edges[e, 5] = start
            edges[e, 2], edges[e, 3], edges[e, 6], edges[e, 7] = end
            start = end
    return edges


@_inner
def _fill_edges(frame: Any) -> Any:
    count = len(frame)
    edges = np.empty((count, 8))
    for f in range(count):
        after = f + 1 if f + 1 < count else 0
        edges[f, 0], edges[f, 1], edges[f, 2], edges[f, 3] = frame[f, 0], frame[f, 1], frame[after, 0], frame[after, 1]
    return edges


@_inner
def _cut(edge: Any, height: int, width: int, places: Any, shares: Any) -> int:
    """Cut an edge at the lines between pixels: row and column of each piece, and where on the edge it lies."""
    x, y, dx, dy = edge[0], edge[1], edge[2] - edge[0], edge[3] - edge[1]
    low, high = min(y, y + dy), max(y, y + dy)
    if high < 0 or low >= height:
        return 0
    first = int(max(math.floor(low), 0.0))
    last = int(min(max(math.ceil(high), first + 1.0), float(height)))
    pieces = 0
    for row in range(first, last):
        enter, leave = 0.0, 1.0
        if last - first > 1 or low < row or high > row + 1:
            enter, leave = (row - y) / dy, (row + 1 - y) / dy
            if enter > leave:
                enter, leave = leave, enter
            enter, leave = min(max(enter, 0.0), 1.0), min(max(leave, 0.0), 1.0)
        left, right = x + enter * dx, x + leave * dx
        if left > right:
            left, right = right, left
        begin = int(min(max(math.floor(left), -1.0), float(width)))
        finish = int(min(max(math.floor(right), -1.0), float(width)))
        for column in range(begin, finish + 1):
            from_, to = enter, leave
            if finish > begin:
                before = (column - x) / dx if column >= 0 else -math.copysign(math.inf, dx)
                after = (column + 1 - x) / dx if column < width else math.copysign(math.inf, dx)
                if before > after:
                    before, after = after, before
                from_ = max(before, enter)
                to = max(min(after, leave), from_)
            places[pieces, 0], places[pieces, 1] = row, column
            shares[pieces, 0], shares[pieces, 1] = from_, to
            pieces += 1
    return pieces


@_inner
def _outline(path: Any, radius: float, closed: bool, is_fill: bool) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    frame, owner, when = _frames(path)
    if is_fill:
        return (
            frame,
            owner,
            when,
            np.empty((0, 3), np.int64),
            np.empty(0),
            np.zeros(1, np.int64),
            _fill_edges(frame),
        )
    pairs, turns, first_edge = _stroke_pairs(frame, radius, closed)
    return frame, owner, when, pairs, turns, first_edge, _edges(frame, pairs, turns, first_edge, radius)


@_inner
def _visible(path: Any, margin: float, height: int, width: int) -> bool:
    low_x, high_x, low_y, high_y = math.inf, -math.inf, math.inf, -math.inf
    for s in range(path.shape[0]):
        for k in range(4):
            low_x, high_x = min(low_x, path[s, k, 0]), max(high_x, path[s, k, 0])
            low_y, high_y = min(low_y, path[s, k, 1]), max(high_y, path[s, k, 1])
    margin += 1
    return low_x < width + margin and high_x > -margin and low_y < height + margin and high_y > -margin


@_inner
def _inside(winding: float, even_odd: bool) -> tuple[float, int]:
    """Share that is inside, and its derivative by the winding number."""
    if even_odd:
        folded = winding - 2 * np.rint(winding / 2)
        return abs(folded), 1 if folded >= 0 else -1
    size = abs(winding)
    if size > 1:
        return 1.0, 0
    return size, 1 if winding > _NOTHING else -1


@_inner
def _accumulate(
    edges: Any, height: int, width: int, antialias: bool, steps: Any, touched: Any, spans: Any, places: Any, shares: Any
) -> tuple[int, int]:
    """Add what edges cover to ``steps``, and widen the spans of rows; the rows from the first to the last."""
    top, bottom = height, 0
    for e in range(len(edges)):
        x, y, dx, dy = edges[e, 0], edges[e, 1], edges[e, 2] - edges[e, 0], edges[e, 3] - edges[e, 1]
        if not antialias:
            low, high = min(y, y + dy), max(y, y + dy)
            first = int(min(max(math.ceil(low - 0.5), 0.0), float(height)))
            last = int(min(max(math.ceil(high - 0.5), 0.0), float(height)))
            for row in range(first, last):
                across = x + (row + 0.5 - y) / dy * dx
                column = int(min(max(math.ceil(across - 0.5), 0.0), float(width)))
                steps[row, column] += 1.0 if dy > 0 else -1.0
                spans[row, 0], spans[row, 1] = min(spans[row, 0], column), max(spans[row, 1], column)
                top, bottom = min(top, row), max(bottom, row + 1)
            continue
        pieces = _cut(edges[e], height, width, places, shares)
        for i in range(pieces):
            row, column = places[i, 0], places[i, 1]
            rise = (shares[i, 1] - shares[i, 0]) * dy
            middle = x + 0.5 * (shares[i, 0] + shares[i, 1]) * dx - column
            middle = 1.0 if column < 0 else min(max(middle, 0.0), 1.0)
            own, after = max(column, 0), min(column + 1, width)
            steps[row, own] += rise * (1 - middle)
            steps[row, after] += rise * middle
            touched[row, own] = True
            spans[row, 0], spans[row, 1] = min(spans[row, 0], own), max(spans[row, 1], after)
            top, bottom = min(top, row), max(bottom, row + 1)
    return top, bottom


@_compiled
def forward(
    paths: Any,
    radii: Any,
    colours: Any,
    image: Any,
    closed: bool,
    fills: int,
    even_odd: bool,
    antialias: bool,
    keep: bool,
) -> tuple[Any, Any, Any, Any, Any]:
    """Paint all layers onto ``image`` [canvas, height, width, 3].

    Args:
        paths: control points, float64 [canvas * path, segment, 4, 2].
        radii: float64 [canvas * path].
        colours: straight RGBA [canvas * path, layer of the path, 4]: the fill, then the stroke, or one of them.
        image: painted on.
        closed: the paths are.
        fills: layers of a path that are fills: 0 or 1.
        even_odd: the rule of fills.
        antialias: areas, not pixel centres.
        keep: for the backward pass.

    Returns:
        of each painted pixel in order: its place in the canvas, its area, the derivative of the area by the winding
        number, the colour below; and where the pixels of each layer begin.
    """
    canvases, height, width = image.shape[:3]
    count, kinds = colours.shape[:2]
    per_canvas = count // canvases
    capacity = 1024 if keep else 0
    place, slope = np.empty(capacity, np.int32), np.empty(capacity, np.int8)
    area, below = np.empty(capacity, image.dtype), np.empty((capacity, 3), image.dtype)
    begins = np.zeros(count * kinds + 1, np.int64)
    steps, touched = np.zeros((height, width + 1)), np.zeros((height, width + 1), np.bool_)
    spans = np.empty((height, 2), np.int64)
    spans[:, 0], spans[:, 1] = width + 1, -1
    places, shares = np.empty((height + 2 * width + 8, 2), np.int64), np.empty((height + 2 * width + 8, 2))
    entries = 0
    for p in range(count):
        canvas = image[p // per_canvas]
        for kind in range(kinds):
            layer = p * kinds + kind
            begins[layer + 1] = entries
            is_fill = kind < fills
            if not _visible(paths[p], 0.0 if is_fill else radii[p], height, width):
                continue
            outline = _outline(paths[p], radii[p], closed, is_fill)
            top, bottom = _accumulate(outline[6], height, width, antialias, steps, touched, spans, places, shares)
            if keep:
                needed = entries
                for row in range(top, bottom):
                    needed += max(spans[row, 1] - spans[row, 0] + 1, 0)
                if needed > capacity:
                    capacity = 2 * needed
                    place, slope = _grown(place, capacity), _grown(slope, capacity)
                    area, below = _grown(area, capacity), _grown_rows(below, capacity)
            red, green, blue, alpha = colours[p, kind]
            rule = even_odd and is_fill
            for row in range(top, bottom):
                winding = 0.0
                for column in range(spans[row, 0], spans[row, 1] + 1):
                    winding += steps[row, column]
                    seen = touched[row, column]
                    steps[row, column], touched[row, column] = 0.0, False
                    if column >= width:
                        continue
                    share, slant = _inside(winding, rule)
                    if not (share > _NOTHING or seen):
                        continue
                    pixel = canvas[row, column]
                    if keep:
                        place[entries], slope[entries], area[entries] = row * width + column, slant, share
                        below[entries, 0], below[entries, 1], below[entries, 2] = pixel[0], pixel[1], pixel[2]
                        entries += 1
                    opacity = alpha * share
                    pixel[0] += opacity * (red - pixel[0])
                    pixel[1] += opacity * (green - pixel[1])
                    pixel[2] += opacity * (blue - pixel[2])
                spans[row, 0], spans[row, 1] = width + 1, -1
            begins[layer + 1] = entries
    return place[:entries].copy(), slope[:entries].copy(), area[:entries].copy(), below[:entries].copy(), begins


@_inner
def _grown(array: Any, capacity: int) -> Any:
    larger = np.empty(capacity, array.dtype)
    larger[: len(array)] = array
    return larger


@_inner
def _grown_rows(array: Any, capacity: int) -> Any:
    larger = np.empty((capacity, array.shape[1]), array.dtype)
    larger[: len(array)] = array
    return larger


@_compiled
def backward(
    paths: Any,
    radii: Any,
    colours: Any,
    gradient: Any,
    closed: bool,
    fills: int,
    geometry: bool,
    place: Any,
    slope: Any,
    area: Any,
    below: Any,
    begins: Any,
) -> tuple[Any, Any, Any]:
    """Gradients of paths, radii and colours; ``gradient`` of the image becomes that of what lies below all layers."""
    canvases, height, width = gradient.shape[:3]
    count, kinds = colours.shape[:2]
    per_canvas = count // canvases
    to_paths, to_radii = np.zeros(paths.shape), np.zeros(radii.shape)
    to_colours = np.zeros(colours.shape)
    to_winding = np.zeros((height, width))
    places, shares = np.empty((height + 2 * width + 8, 2), np.int64), np.empty((height + 2 * width + 8, 2))
    for p in range(count - 1, -1, -1):
        canvas = gradient[p // per_canvas]
        for kind in range(kinds - 1, -1, -1):
            layer = p * kinds + kind
            begin, end = begins[layer], begins[layer + 1]
            if begin == end:
                continue
            red, green, blue, alpha = colours[p, kind]
            to_red, to_green, to_blue, to_alpha = 0.0, 0.0, 0.0, 0.0
            for i in range(begin, end):
                row, column = place[i] // width, place[i] % width
                pixel = canvas[row, column]
                share = area[i]
                opacity = alpha * share
                toward = (
                    pixel[0] * (red - below[i, 0]) + pixel[1] * (green - below[i, 1]) + pixel[2] * (blue - below[i, 2])
                )
                to_red += pixel[0] * opacity
                to_green += pixel[1] * opacity
                to_blue += pixel[2] * opacity
                to_alpha += toward * share
                to_winding[row, column] = toward * alpha * slope[i]
                pixel[0] *= 1 - opacity
                pixel[1] *= 1 - opacity
                pixel[2] *= 1 - opacity
            to_colours[p, kind, 0], to_colours[p, kind, 1] = to_red, to_green
            to_colours[p, kind, 2], to_colours[p, kind, 3] = to_blue, to_alpha
            if geometry:
                is_fill = kind < fills
                outline = _outline(paths[p], radii[p], closed, is_fill)
                ends = _edge_gradients(outline[6], to_winding, places, shares)
                to_radii[p] += _to_path(outline, ends, paths[p], radii[p], is_fill, to_paths[p])
            for i in range(begin, end):
                to_winding[place[i] // width, place[i] % width] = 0.0
    return to_paths, to_radii, to_colours


@_inner
def _edge_gradients(edges: Any, to_winding: Any, places: Any, shares: Any) -> Any:
    """Gradient of the ends of every edge: the integral of the normal velocity over its pieces."""
    height, width = to_winding.shape
    ends = np.zeros((len(edges), 4))
    for e in range(len(edges)):
        dx, dy = edges[e, 2] - edges[e, 0], edges[e, 3] - edges[e, 1]
        to_start, to_end = 0.0, 0.0
        for i in range(_cut(edges[e], height, width, places, shares)):
            column = places[i, 1]
            if 0 <= column < width:
                middle = 0.5 * (shares[i, 0] + shares[i, 1])
                part = to_winding[places[i, 0], column] * (shares[i, 1] - shares[i, 0])
                to_start += part * (1 - middle)
                to_end += part * middle
        ends[e, 0], ends[e, 1], ends[e, 2], ends[e, 3] = -dy * to_start, dx * to_start, -dy * to_end, dx * to_end
    return ends


@_inner
def _to_path(outline: Any, ends: Any, path: Any, radius: float, is_fill: bool, to_path: Any) -> float:
    """Carry gradients of edges on to the control points; returns that of the radius."""
    frame, owner, when, pairs, _, first_edge, edges = outline
    to_frame = np.zeros((len(frame), 3))  # x, y, angle
    to_radius = 0.0
    if is_fill:
        for f in range(len(frame)):
            after = f + 1 if f + 1 < len(frame) else 0
            to_frame[f, 0] += ends[f, 0]
            to_frame[f, 1] += ends[f, 1]
            to_frame[after, 0] += ends[f, 2]
            to_frame[after, 1] += ends[f, 3]
    for row in range(len(pairs)):
        a, b = pairs[row, 0], pairs[row, 1]
        steps = first_edge[row + 1] - first_edge[row]
        for i in range(steps):
            e = first_edge[row] + i
            for tip in range(2):
                part = (i + tip) / steps
                gx, gy = ends[e, 2 * tip], ends[e, 2 * tip + 1]
                nx, ny = edges[e, 4 + 2 * tip], edges[e, 5 + 2 * tip]
                spin = radius * (gy * nx - gx * ny)
                to_radius += gx * nx + gy * ny
                to_frame[a, 0] += (1 - part) * gx
                to_frame[a, 1] += (1 - part) * gy
                to_frame[a, 2] += (1 - part) * spin
                to_frame[b, 0] += part * gx
                to_frame[b, 1] += part * gy
                to_frame[b, 2] += part * spin
    for f in range(len(frame)):
        t, n = when[f, 0], when[f, 1]
        u = 1 - t
        bend = 6 / (12.0 * n * n)
        w = (
            u * u * u - bend * u,
            3 * u * u * t - bend * (t - 2 * u),
            3 * u * t * t - bend * (u - 2 * t),
            t * t * t - bend * t,
        )
        d = (-3 * u * u, 3 * u * (u - 2 * t), 3 * t * (2 * u - t), 3 * t * t)
        spin = to_frame[f, 2] * frame[f, 4]
        sx, sy = -frame[f, 3] * spin, frame[f, 2] * spin
        for k in range(4):
            to_path[owner[f], k, 0] += w[k] * to_frame[f, 0] + d[k] * sx
            to_path[owner[f], k, 1] += w[k] * to_frame[f, 1] + d[k] * sy
    return to_radius
