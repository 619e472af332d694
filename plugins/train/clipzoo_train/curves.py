"""Curves of a training run as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any


def draw_curves(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, Sequence[str]]) -> bytes:
    """An SVG with one panel a title, each with the columns that its list names and the rows have.

    Args:
        rows: one an epoch, with an ``epoch``.
        panels: title to names of columns.
    """
    wide, tall, gap = 320, 200, 56
    known = {title: [name for name in names if any(name in row for row in rows)] for title, names in panels.items()}
    known = {title: names for title, names in known.items() if names}
    out = io.StringIO()
    total = len(known) * (wide + gap) + gap
    out.write(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {tall + 96}" width="{total}" '
        f'height="{tall + 96}" font-family="system-ui, sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    for place, (title, names) in enumerate(known.items()):
        _panel(out, rows, title, names, gap + place * (wide + gap), wide, tall)
    out.write("</svg>")
    return out.getvalue().encode()


_COLOURS = ("#2563eb", "#d97706", "#059669", "#be185d", "#6d28d9", "#475569")


def _panel(
    out: io.StringIO,
    rows: Sequence[Mapping[str, Any]],
    title: str,
    names: Sequence[str],
    left: int,
    wide: int,
    tall: int,
) -> None:
    points = {name: [(row["epoch"], float(row[name])) for row in rows if row.get(name) is not None] for name in names}
    values = [value for series in points.values() for _, value in series]
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    first, last = rows[0]["epoch"], max(rows[-1]["epoch"], rows[0]["epoch"] + 1)
    top = 36

    def at(epoch: float, value: float) -> str:
        x = left + (epoch - first) / (last - first) * wide
        return f"{x:.1f},{top + (high - value) / (high - low) * tall:.1f}"

    out.write(f'<text x="{left}" y="20" font-weight="600" fill="#1d2430">{title}</text>')
    for share in (0, 0.5, 1):
        value, y = low + share * (high - low), top + (1 - share) * tall
        out.write(f'<line x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e7ec"/>')
        out.write(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#667085">{value:.3g}</text>')
    out.write(f'<text x="{left}" y="{top + tall + 18}" fill="#667085">epoch {first}</text>')
    out.write(
        f'<text x="{left + wide}" y="{top + tall + 18}" text-anchor="end" fill="#667085">{rows[-1]["epoch"]}</text>'
    )
    x = left
    for number, (name, series) in enumerate(points.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(at(*point) for point in series)
        if len(series) > 1:
            out.write(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        else:
            across, down = path.split(",")
            out.write(f'<circle cx="{across}" cy="{down}" r="3" fill="{colour}"/>')
        label = name.replace("_", " ")
        out.write(f'<text x="{x}" y="{top + tall + 40}" fill="{colour}">{label}</text>')
        x += 7 * len(label) + 16
