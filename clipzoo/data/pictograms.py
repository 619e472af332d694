"""Sixteen pictograms as polygons, and the two ways to draw them: filled, or as a line drawing.

Geometry lives in the unit frame of a pictogram: x to the right, y down, the longer side from -1 to 1. It is
drawn at ``SUPERSAMPLING`` times the resolution and box-filtered, for smooth edges at every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

Points = NDArray[np.float64]

SUPERSAMPLING = 4
DENSE_STEP = 0.16
MITRE_LIMIT = 2.6
PEN_LIMIT = 0.09

COLOURS: MappingProxyType[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (216, 28, 36),
        "green": (34, 158, 58),
        "blue": (30, 84, 222),
        "yellow": (248, 212, 14),
        "orange": (250, 128, 14),
        "purple": (126, 46, 176),
        "pink": (252, 128, 190),
        "brown": (118, 70, 32),
    }
)


@dataclass(frozen=True, eq=False)
class Pictogram:
    """The polygons of one shape in its unit frame.

    Attributes:
        fills: closed polygons whose union is the shape.
        cuts: closed polygons that are then taken out of it (the hole of a ring, the door of a house).
        details: open lines that only a line drawing shows (the veins of a leaf, the fin of a fish).
    """

    fills: tuple[Points, ...]
    cuts: tuple[Points, ...] = ()
    details: tuple[Points, ...] = ()


@dataclass(frozen=True)
class Pen:
    """How a line drawing is made.

    Attributes:
        width: stroke width as a fraction of the image side; 1/64 is one pixel at 64 px. Small pictograms
            are drawn with thinner strokes, at most `PEN_LIMIT` of their own side.
        wobble: amplitude of the hand's deviation, as a fraction of half the pictogram's longer side.
        phases: one phase in radians for each time the outline is gone over; two or more look sketchy.
        hatch_deg: direction of the hatching inside the shape, or None for none.
    """

    width: float = 1.5 / 64
    wobble: float = 0.0
    phases: tuple[float, ...] = (0.0,)
    hatch_deg: float | None = None


@dataclass(frozen=True, eq=False)
class Stamp:
    """A pictogram rendered on its own patch of the image.

    Attributes:
        corner: (left, top) of the patch in the image, px.
        silhouette: "L" image, 0..255: how much of each pixel the shape covers.
        ink: the same for the strokes of a line drawing, None when the shape is filled.
    """

    corner: tuple[int, int]
    silhouette: Image.Image
    ink: Image.Image | None = None


def _ellipse(x: float, y: float, rx: float, ry: float, count: int = 56) -> Points:
    angles = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def _arc(x: float, y: float, rx: float, ry: float, start_deg: float, stop_deg: float, count: int = 28) -> Points:
    angles = np.radians(np.linspace(start_deg, stop_deg, count))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=float)


def _polygon(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


def _circle() -> Pictogram:
    return Pictogram((_ellipse(0, 0, 1, 1),))


def _square() -> Pictogram:
    return Pictogram((_rectangle(-1, -1, 1, 1),))


def _triangle() -> Pictogram:
    return Pictogram((_polygon((0, -1), (1.12, 0.92), (-1.12, 0.92)),))


def _star() -> Pictogram:
    angles = np.radians(-90 + 36 * np.arange(10))
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.43)
    return Pictogram((np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1),))


def _heart() -> Pictogram:
    t = np.linspace(0.0, 2 * np.pi, 56, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return Pictogram((np.stack([16 * np.sin(t) ** 3, -y], axis=1),))


def _cross() -> Pictogram:
    a = 0.33
    corners = (
        (-a, -1),
        (a, -1),
        (a, -a),
        (1, -a),
        (1, a),
        (a, a),
        (a, 1),
        (-a, 1),
        (-a, a),
        (-1, a),
        (-1, -a),
        (-a, -a),
    )
    return Pictogram((_polygon(*corners),))


def _ring() -> Pictogram:
    return Pictogram((_ellipse(0, 0, 1, 1),), cuts=(_ellipse(0, 0, 0.56, 0.56),))


def _diamond() -> Pictogram:
    return Pictogram((_polygon((0, -1), (0.66, 0), (0, 1), (-0.66, 0)),))


def _arrow() -> Pictogram:
    head, shaft = 0.72, 0.25
    return Pictogram(
        (_polygon((-1, -shaft), (0.1, -shaft), (0.1, -head), (1, 0), (0.1, head), (0.1, shaft), (-1, shaft)),)
    )


def _moon() -> Pictogram:
    outer = _arc(0, 0, 1, 1, 50, 310, 44)
    inner = _arc(0.55, 0, 0.768, 0.768, 274, 86, 32)
    return Pictogram((np.concatenate([outer, inner]),))


def _house() -> Pictogram:
    walls = _polygon((-0.74, -0.1), (0.74, -0.1), (0.74, 1), (-0.74, 1))
    roof = _polygon((0, -1), (1.05, -0.05), (-1.05, -0.05))
    chimney = _rectangle(0.42, -0.95, 0.7, -0.3)
    return Pictogram(
        (walls, roof, chimney),
        cuts=(_rectangle(-0.5, 0.3, -0.05, 1.0), _rectangle(0.18, 0.25, 0.54, 0.6)),
        details=(_polygon((-0.95, -0.05), (0.95, -0.05)),),
    )


def _tree() -> Pictogram:
    return Pictogram(
        (
            _polygon((0, -1), (0.48, -0.35), (-0.48, -0.35)),
            _polygon((0, -0.68), (0.62, 0.12), (-0.62, 0.12)),
            _polygon((0, -0.25), (0.78, 0.66), (-0.78, 0.66)),
            _rectangle(-0.17, 0.6, 0.17, 1.05),
        )
    )


def _fish() -> Pictogram:
    upper = _arc(-0.2, 0.62, 0.98, 1.14, 215, 325, 24)
    lower = _arc(-0.2, -0.62, 0.98, 1.14, 35, 145, 24)
    tail = _polygon((0.35, 0.0), (1.0, -0.56), (0.84, 0.0), (1.0, 0.56))
    fin = _polygon((-0.35, -0.42), (0.05, -0.78), (0.3, -0.3))
    return Pictogram(
        (np.concatenate([upper, lower]), tail, fin),
        cuts=(_ellipse(-0.62, -0.1, 0.1, 0.1, 20),),
        details=(_arc(-0.72, 0, 0.4, 0.62, -42, 42, 10),),
    )


def _flower() -> Pictogram:
    angles = np.radians(-90 + 60 * np.arange(6))
    petals = tuple(_ellipse(0.58 * math.cos(angle), 0.58 * math.sin(angle), 0.36, 0.36, 30) for angle in angles)
    return Pictogram((_ellipse(0, 0, 0.5, 0.5), *petals), cuts=(_ellipse(0, 0, 0.25, 0.25, 28),))


def _cup() -> Pictogram:
    body = np.concatenate(
        [
            _polygon((-1, -0.8), (0.5, -0.8)),
            _arc(0.2, 0.5, 0.3, 0.3, 0, 90, 8),
            _arc(-0.7, 0.5, 0.3, 0.3, 90, 180, 8),
        ]
    )
    return Pictogram(
        (body, _ellipse(0.52, -0.15, 0.5, 0.5, 40)),
        cuts=(_arc(0.52, -0.15, 0.27, 0.27, -86, 86, 18),),
        details=(_polygon((-0.98, -0.55), (0.48, -0.55)),),
    )


def _key() -> Pictogram:
    return Pictogram(
        (
            _ellipse(-0.55, 0, 0.45, 0.45, 40),
            _rectangle(-0.2, -0.12, 1.0, 0.12),
            _rectangle(0.42, 0.0, 0.62, 0.46),
            _rectangle(0.8, 0.0, 1.0, 0.52),
        ),
        cuts=(_ellipse(-0.55, 0, 0.21, 0.21, 28),),
    )


_BUILDERS: dict[str, Callable[[], Pictogram]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "diamond": _diamond,
    "arrow": _arrow,
    "moon": _moon,
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "flower": _flower,
    "cup": _cup,
    "key": _key,
}
SHAPES: tuple[str, ...] = tuple(_BUILDERS)


@cache
def pictogram(shape: str) -> Pictogram:
    """The polygons of ``shape``, one of `SHAPES`, centred, the longer side from -1 to 1.

    >>> len(pictogram("house").cuts)
    2
    """
    raw = _BUILDERS[shape]()
    outline = np.concatenate(raw.fills)
    low, high = outline.min(axis=0), outline.max(axis=0)
    centre, half = (low + high) / 2, (high - low).max() / 2

    def fit(polygons: Sequence[Points]) -> tuple[Points, ...]:
        return tuple((polygon - centre) / half for polygon in polygons)

    return Pictogram(fit(raw.fills), fit(raw.cuts), fit(raw.details))


def _dense(polygon: Points, closed: bool) -> Points:
    following = np.roll(polygon, -1, axis=0) if closed else polygon[1:]
    pieces = []
    for start, stop in zip(polygon, following, strict=False):
        count = max(1, math.ceil(math.dist(start, stop) / DENSE_STEP))
        pieces.append(start + np.linspace(0.0, 1.0, count, endpoint=False)[:, None] * (stop - start))
    if not closed:
        pieces.append(polygon[-1:])
    return np.concatenate(pieces)


@dataclass(frozen=True, eq=False)
class _Layout:
    """All points of a pictogram in one array, so that one matrix product moves them all."""

    points: Points
    fills: tuple[slice, ...]
    cuts: tuple[slice, ...]
    details: tuple[slice, ...]
    before: NDArray[np.intp]
    after: NDArray[np.intp]
    winding: Points


@cache
def _layout(shape: str, dense: bool) -> _Layout:
    drawn = pictogram(shape)
    first, second = len(drawn.fills), len(drawn.fills) + len(drawn.cuts)
    arrays = [
        _dense(polygon, index < second) if dense else polygon
        for index, polygon in enumerate((*drawn.fills, *drawn.cuts, *drawn.details))
    ]
    ends = np.cumsum([len(array) for array in arrays]).tolist()
    slices = [slice(end - len(array), end) for end, array in zip(ends, arrays, strict=True)]
    order = np.arange(ends[-1])
    return _Layout(
        np.concatenate(arrays),
        tuple(slices[:first]),
        tuple(slices[first:second]),
        tuple(slices[second:]),
        before=np.concatenate([np.roll(order[part], 1) for part in slices]),
        after=np.concatenate([np.roll(order[part], -1) for part in slices]),
        winding=np.concatenate([np.full((len(array), 1), _winding(array)) for array in arrays]),
    )


def _winding(polygon: Points) -> float:
    x, y = polygon.T
    return math.copysign(1.0, float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()))


def half_extents(shape: str, angle_deg: float) -> tuple[float, float]:
    """Half width and half height of the rotated pictogram about its centre, in units of half its longer side.

    >>> half_extents("square", 0.0)
    (1.0, 1.0)
    """
    points = _layout(shape, False).points @ _rotation(angle_deg)
    width, height = np.abs(points).max(axis=0).tolist()
    return width, height


def _rotation(angle_deg: float) -> Points:
    """The matrix that turns row vectors clockwise on the screen."""
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cosine, sine], [-sine, cosine]])


def _patch(points: Points, margin_px: float, side: int) -> tuple[int, int, int, int]:
    """The whole pixels around ``points`` (px) within the image: left, top, width, height."""
    low, high = points.min(axis=0) - margin_px, points.max(axis=0) + margin_px
    left, top = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
    return (
        left,
        top,
        max(1, min(side, math.ceil(high[0])) - left),
        max(1, min(side, math.ceil(high[1])) - top),
    )


def _flat(points: Points, polygons: Sequence[slice]) -> list[list[float]]:
    return [points[polygon].ravel().tolist() for polygon in polygons]


def stamp_fill(shape: str, centre: tuple[float, float], scale: float, angle_deg: float, side: int) -> Stamp:
    """Render a filled pictogram.

    Args:
        shape: one of `SHAPES`.
        centre: (x, y) as fractions of the image side.
        scale: the longer side of the unrotated pictogram, as a fraction of the image side.
        angle_deg: clockwise on the screen.
        side: the image side, px.
    """
    layout = _layout(shape, False)
    points = layout.points @ (_rotation(angle_deg) * (scale * side / 2)) + np.multiply(centre, side)
    left, top, width, height = _patch(points, 0.5, side)
    points = np.rint((points - (left, top)) * SUPERSAMPLING - 0.5)
    canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for polygon in _flat(points, layout.fills):
        draw.polygon(polygon, fill=255)
    for polygon in _flat(points, layout.cuts):
        draw.polygon(polygon, fill=0)
    return Stamp((left, top), canvas.reduce(SUPERSAMPLING))


def _wobbled(points: Points, amplitude: float, phase: float) -> Points:
    """Move points along a smooth field, so that lines which meet still meet."""
    if amplitude == 0.0:
        return points
    x, y = points[:, 0], points[:, 1]
    along_x = np.sin(3.1 * y + phase) + 0.6 * np.sin(7.3 * y - 2.2 * x + 2.3 * phase)
    along_y = np.sin(2.7 * x + 1.7 * phase) + 0.6 * np.sin(6.7 * x + 2.9 * y + phase)
    return points + amplitude * np.stack([along_x, along_y], axis=1)


def _mitres(layout: _Layout, points: Points) -> Points:
    """Per point, the step that moves both of its edges outwards by one unit."""
    edges = points[layout.after] - points
    edges = edges / (np.sqrt((edges * edges).sum(axis=1, keepdims=True)) + 1e-9)
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) * layout.winding
    both = normals + normals[layout.before]
    steps = both * (2.0 / ((both * both).sum(axis=1, keepdims=True) + 1e-6))
    lengths = np.sqrt((steps * steps).sum(axis=1, keepdims=True))
    return steps * np.minimum(1.0, MITRE_LIMIT / lengths)


def _outline(layout: _Layout, points: Points, extent: tuple[int, int], width: float) -> tuple[Image.Image, Image.Image]:
    """Silhouette and strokes of one go over the outline; ``points`` and ``width`` in supersampled pixels."""
    steps = _mitres(layout, points) * width
    inside, outside = np.rint(points), np.rint(points + steps)
    hole, rim = np.rint(points - steps / 2), np.rint(points + steps / 2)
    silhouette = Image.new("L", extent)
    draw = ImageDraw.Draw(silhouette)
    for polygon in (*_flat(outside, layout.fills), *_flat(inside, layout.fills)):
        draw.polygon(polygon, fill=255)
    # The grown union with the union wiped from it is its outline: no edges where polygons overlap.
    strokes = silhouette.copy()
    pen = ImageDraw.Draw(strokes)
    for polygon in _flat(inside, layout.fills):
        pen.polygon(polygon, fill=0)
    for edge, opening in zip(_flat(rim, layout.cuts), _flat(hole, layout.cuts), strict=True):
        pen.polygon(edge, fill=255)
        pen.polygon(opening, fill=0)
        draw.polygon(opening, fill=0)
    for polyline in _flat(inside, layout.details):
        pen.line(polyline, fill=255, width=max(1, round(width)), joint="curve")
    return silhouette, strokes


def _hatching(extent: tuple[int, int], angle_deg: float, spacing: float, width: int) -> Image.Image:
    lines = Image.new("L", extent)
    draw = ImageDraw.Draw(lines)
    reach = math.hypot(*extent) / 2
    along = (math.cos(math.radians(angle_deg)) * reach, math.sin(math.radians(angle_deg)) * reach)
    across = (-along[1] / reach, along[0] / reach)
    for step in range(-int(reach / spacing), int(reach / spacing) + 1):
        x, y = extent[0] / 2 + across[0] * step * spacing, extent[1] / 2 + across[1] * step * spacing
        draw.line((x - along[0], y - along[1], x + along[0], y + along[1]), fill=190, width=width)
    return lines


def stamp_drawing(
    shape: str, centre: tuple[float, float], scale: float, angle_deg: float, side: int, pen: Pen
) -> Stamp:
    """Render a pictogram as a line drawing; arguments as for `stamp_fill`, and how the ``pen`` moves.

    The strokes lie outside the filled shape; the silhouette includes them.
    """
    layout = _layout(shape, True)
    turn = _rotation(angle_deg) * (scale * side / 2)
    goes = [_wobbled(layout.points, pen.wobble, phase) @ turn + np.multiply(centre, side) for phase in pen.phases]
    stroke = min(pen.width, PEN_LIMIT * scale) * side
    left, top, width, height = _patch(np.concatenate(goes), MITRE_LIMIT * stroke + 1.0, side)
    extent = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    line_width = stroke * SUPERSAMPLING
    drawn = [_outline(layout, (go - (left, top)) * SUPERSAMPLING - 0.5, extent, line_width) for go in goes]
    silhouette = reduce(ImageChops.lighter, (shape_once for shape_once, _ in drawn))
    strokes = reduce(ImageChops.lighter, (strokes_once for _, strokes_once in drawn))
    if pen.hatch_deg is not None:
        spacing = SUPERSAMPLING * side * max(0.09 * scale, 3.2 * stroke / side)
        hatching = _hatching(extent, pen.hatch_deg, spacing, max(1, round(0.6 * line_width)))
        strokes = ImageChops.lighter(strokes, ImageChops.darker(hatching, silhouette))
    return Stamp((left, top), silhouette.reduce(SUPERSAMPLING), strokes.reduce(SUPERSAMPLING))
