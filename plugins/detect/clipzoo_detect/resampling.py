"""Pillow's bicubic resampling of many boxes of one image: weights, and the loop over crops, compiled for the CPU.

The filter is Pillow's: a cubic with a = -1/2 (Keys 1981, eq. 15), stretched by the factor by which a box shrinks, taps
beyond the edge of the box left out, weights of sum one. It is separable: a box needs weights for its rows and for its
columns alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_LANES = 16
_compiled: Any = njit(nogil=True, fastmath=True, cache=True, error_model="numpy")


@_compiled
def axis_weights(low: float, high: float, size: int, first: Any, weights: Any) -> int:
    """Taps of one axis of a box.

    Args:
        low: edge of the box, px.
        high: the other.
        size: pixels of the crop along this axis.
        first: int [size], receives the first pixel of the image that each pixel of the crop reads.
        weights: float32 [taps, size], receives the weights from there on.

    Returns:
        How many taps are in use at most.
    """
    scale = (high - low) / size
    stretch = max(scale, 1.0)
    most = 0
    for place in range(size):
        centre = low + (place + 0.5) * scale
        begin = int(np.floor(max(centre - 2 * stretch + 0.5, np.floor(low))))
        end = int(np.floor(min(centre + 2 * stretch + 0.5, np.ceil(high))))
        total = 0.0
        for tap in range(weights.shape[0]):
            weight = 0.0
            if begin + tap < end:
                distance = abs((begin + tap - centre + 0.5) / stretch)
                if distance < 1:
                    weight = (1.5 * distance - 2.5) * distance * distance + 1
                elif distance < 2:
                    weight = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
            weights[tap, place] = weight
            total += weight
        for tap in range(weights.shape[0]):
            weights[tap, place] /= total
        first[place] = begin
        most = max(most, end - begin)
    return most


@_compiled
def weights_of_all(edges: Any, first: Any, weights: Any) -> None:
    """:func:`axis_weights` of all boxes: edges [boxes, 2], first [boxes, size], weights [boxes, taps, size]."""
    for place in range(len(edges)):
        axis_weights(edges[place, 0], edges[place, 1], first.shape[1], first[place], weights[place])


@_compiled
def most_taps(box: Any, size: int) -> int:
    """Bound on the taps of a box along either axis, never below the four of an enlargement."""
    return int(np.ceil(4 * max(1.0, (box[2] - box[0]) / size, (box[3] - box[1]) / size))) + 1


@_compiled
def resample(turned: Any, boxes: Any, out: Any, begin: int, end: int) -> None:
    """Cut out and resize the boxes from ``begin`` to before ``end``.

    Args:
        turned: float32 [channels, width, height]: the image with columns as rows.
        boxes: float64 [boxes, 4], px; what lies outside the image shows its edge.
        out: float32 [boxes, channels, size, size], receives the crops, clipped to [0, 1].
        begin: first box.
        end: box to stop before.
    """
    channels, _, height = turned.shape
    size = out.shape[-1]
    padded = (size + _LANES - 1) // _LANES * _LANES
    for place in range(begin, end):
        box = boxes[place]
        taps = most_taps(box, size)
        across, down = np.zeros((taps, padded), np.float32), np.zeros((taps, size), np.float32)
        left, upper = np.zeros(padded, np.int64), np.zeros(size, np.int64)
        taps_across = axis_weights(box[0], box[2], size, left, across)
        taps_down = axis_weights(box[1], box[3], size, upper, down)
        top = max(0, min(upper[0], height - 1))
        rows = max(top + 1, min(upper[size - 1] + taps_down, height)) - top
        wide = np.empty((rows, padded), np.float32)
        block = np.empty((_LANES, rows), np.float32)
        for channel in range(channels):
            _mix_columns(turned[channel], left, across, taps_across, top, block, wide)
            _mix_rows(wide, upper - top, down, taps_down, out[place, channel])


# The compiler makes vectors of a loop only where no place can be negative, which NumPy counts from the end, and tables
# cannot overlap: hence unsigned places, and functions of their own, several times as fast as the same loops inline.


@_compiled
def _mix_columns(lines: Any, first: Any, weights: Any, taps: int, top: int, block: Any, out: Any) -> None:
    """Weighted sums of columns of an image.

    Columns are mixed as lines of the turned image, so that neighbours in memory share a weight and the processor mixes
    many at once; then small blocks are turned back.

    Args:
        lines: the turned image [width, height]; lines beyond the ends are the outermost.
        first: the first line that each column of ``out`` reads.
        weights: [taps, columns].
        taps: how many are in use.
        top: first row of the image that is wanted.
        block: [lanes, rows], to work in.
        out: receives [rows, columns].
    """
    last, begin = len(lines) - 1, np.uintp(top)
    rows, lanes = np.uintp(block.shape[1]), np.uintp(_LANES)
    for corner in range(0, len(first), _LANES):
        for lane in range(lanes):
            column = corner + np.intp(lane)
            at = first[column]
            a, b = np.uintp(max(0, min(at, last))), np.uintp(max(0, min(at + 1, last)))
            c, d = np.uintp(max(0, min(at + 2, last))), np.uintp(max(0, min(at + 3, last)))
            wa, wb, wc, wd = weights[0, column], weights[1, column], weights[2, column], weights[3, column]
            for row in range(rows):
                at_row = begin + row
                mixed = wa * lines[a, at_row] + wb * lines[b, at_row] + wc * lines[c, at_row] + wd * lines[d, at_row]
                block[lane, row] = mixed
            for tap in range(4, taps):
                e, we = np.uintp(max(0, min(at + tap, last))), weights[tap, column]
                for row in range(rows):
                    block[lane, row] += we * lines[e, begin + row]
        start = np.uintp(corner)
        for row in range(rows):
            for lane in range(lanes):
                out[row, start + lane] = block[lane, row]


@_compiled
def _mix_rows(lines: Any, first: Any, weights: Any, taps: int, out: Any) -> None:
    """Weighted sums of rows, clipped to [0, 1]; arguments as of :func:`_mix_columns`."""
    last, width = len(lines) - 1, out.shape[1]
    none, full = np.float32(0), np.float32(1)
    for row in range(len(out)):
        at = first[row]
        a, b = max(0, min(at, last)), max(0, min(at + 1, last))
        c, d = max(0, min(at + 2, last)), max(0, min(at + 3, last))
        wa, wb, wc, wd = weights[0, row], weights[1, row], weights[2, row], weights[3, row]
        if taps <= 4:
            for place in range(width):
                mixed = wa * lines[a, place] + wb * lines[b, place] + wc * lines[c, place] + wd * lines[d, place]
                out[row, place] = min(max(mixed, none), full)
            continue
        for place in range(width):
            out[row, place] = wa * lines[a, place] + wb * lines[b, place] + wc * lines[c, place] + wd * lines[d, place]
        for tap in range(4, taps):
            e, we = max(0, min(at + tap, last)), weights[tap, row]
            for place in range(width):
                out[row, place] += we * lines[e, place]
        for place in range(width):
            out[row, place] = min(max(out[row, place], none), full)
