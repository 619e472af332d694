"""Drawings as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from clipzoo_sketch.drawing import Drawing, Stroke, metadata_json
from clipzoo_sketch.geometry import path_degree

METADATA_ID = "clipzoo"
BACKGROUND_ID = "background"
_COMMANDS = {1: "L", 2: "Q", 3: "C"}


def write_svg(drawing: Drawing, animate_s: float = 0.0) -> str:
    """A drawing as SVG text.

    Numbers are written with the digits that float32 needs, so that reading gives the same. Without ``animate_s`` the
    file holds nothing that moves; with it, what a viewer without animation shows is the whole drawing.

    >>> from clipzoo_sketch import Stroke
    >>> text = write_svg(Drawing([Stroke([(1, 2), (3, 4)], width=2)], size=(8, 8), background=None))
    >>> print(text.splitlines()[1])
    <path d="M1 2L3 4" fill="none" stroke="#000000" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>
    """
    height, width = drawing.size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    ]
    if drawing.metadata:
        lines.append(f'<metadata id="{METADATA_ID}">{_text(metadata_json(drawing.metadata))}</metadata>')
    if drawing.background is not None:
        colour = _colour(drawing.background)
        lines.append(f'<rect id="{BACKGROUND_ID}" width="{width}" height="{height}" fill="{colour}"/>')
    each = animate_s / max(len(drawing.strokes), 1)
    for place, stroke in enumerate(drawing.strokes):
        motion = _motion(stroke, place * each, each) if animate_s > 0 else ""
        attributes = f"<path {path_attributes(stroke)}"
        lines.append(f'{attributes} pathLength="1">{motion}</path>' if motion else f"{attributes}/>")
    return "\n".join([*lines, "</svg>", ""])


def path_attributes(stroke: Stroke) -> str:
    """The attributes of the ``path`` element of a stroke."""
    parts = [f'd="{path_data(stroke)}"', f"fill={_paint(stroke.fill)}"]
    if stroke.fill is not None:
        parts += _opacity("fill", stroke.fill)
        if stroke.fill_rule == "evenodd":
            parts.append('fill-rule="evenodd"')
    parts.append(f"stroke={_paint(stroke.color)}")
    if stroke.color is not None:
        parts += _opacity("stroke", stroke.color)
    parts.append(f'stroke-width="{number(stroke.width)}" stroke-linecap="round" stroke-linejoin="round"')
    return " ".join(parts)


def path_data(stroke: Stroke) -> str:
    """The ``d`` attribute: M, then L, Q or C, then Z if the path is closed.

    >>> from clipzoo_sketch import Stroke
    >>> path_data(Stroke([(0, 0), (1, 0), (1, 1)], degree=1, closed=True))
    'M0 0L1 0L1 1Z'
    """
    points = [f"{number(x)} {number(y)}" for x, y in stroke.points]
    if len(points) == 1:
        return f"M{points[0]}L{points[0]}"
    degree = path_degree(len(points), stroke.closed) if stroke.degree is None else stroke.degree
    if stroke.closed and degree > 1 and len(points) % degree == 0:
        points.append(points[0])
    parts = [f"M{points[0]}"]
    for place in range(1, len(points), degree):
        parts.append(_COMMANDS[degree] + " ".join(points[place : place + degree]))
    return "".join(parts) + "Z" * stroke.closed


def number(value: float) -> str:
    """The shortest text that is this float32 number.

    >>> number(0.1), number(12.0)
    ('0.1', '12')
    """
    single = np.float32(value)
    if 1e-4 <= abs(single) < 1e7 or single == 0:
        return np.format_float_positional(single, trim="-")
    return np.format_float_scientific(single, trim="-")


def _paint(colour: Sequence[float] | None) -> str:
    return '"none"' if colour is None else f'"{_colour(colour)}"'


def _colour(rgb: Sequence[float]) -> str:
    """Hexadecimal where that is exact, else percentages with the digits that float32 needs."""
    bytes_ = [round(value * 255) for value in rgb[:3]]
    if all(np.float32(byte / 255) == np.float32(value) for byte, value in zip(bytes_, rgb, strict=False)):
        return "#" + "".join(f"{byte:02x}" for byte in bytes_)
    return f"rgb({', '.join(f'{100 * value:.9g}%' for value in rgb[:3])})"


def _opacity(name: str, colour: Sequence[float]) -> list[str]:
    return [] if colour[3] == 1 else [f'{name}-opacity="{number(colour[3])}"']


def _motion(stroke: Stroke, begin_s: float, lasts_s: float) -> str:
    """Hidden until its turn; then a line grows along its path, and a filled path appears.

    The dashes are there only while they move: a viewer that knows no ``pathLength`` shows the whole stroke.
    """
    hidden = f'<set attributeName="visibility" to="hidden" begin="0s" end="{begin_s:.4g}s"/>' if begin_s > 0 else ""
    if stroke.fill is not None:
        return hidden or '<set attributeName="visibility" to="visible" begin="0s"/>'
    return (
        hidden
        + f'<animate attributeName="stroke-dasharray" values="0 2;1 2" begin="{begin_s:.4g}s" dur="{lasts_s:.4g}s"/>'
    )


def _text(content: str) -> str:
    """Escaped, without the control characters that XML does not allow."""
    return escape(
        "".join(
            c
            for c in content
            if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe") or c > "\uffff"
        )
    )
