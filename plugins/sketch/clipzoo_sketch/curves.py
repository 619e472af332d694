"""Loss curves as a picture, drawn with Pillow: no plotting library for a few lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from clipzoo.errors import DataError

_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_SIZE = (760, 360)
_FRAME = (64, 14, 14, 34)


def loss_curves(
    curves: Mapping[str, Float[np.ndarray, " steps"]], *, size: tuple[int, int] = _SIZE, x_name: str = "step"
) -> Image.Image:
    """Curves over steps on common axes.

    Args:
        curves: name to values; values that are not finite leave a gap.
        size: of the picture, px.
        x_name: below the axis.

    Raises:
        DataError: if there is not one finite value.

    >>> loss_curves({"a": np.array([3.0, 2.0, 1.5])}).size
    (760, 360)
    """
    finite = np.concatenate([values[np.isfinite(values)] for values in curves.values()] or [np.empty(0)])
    if not len(finite):
        raise DataError("curves without one finite value")
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin
    longest = max(len(values) for values in curves.values())
    twice = Image.new("RGB", (2 * size[0], 2 * size[1]), "white")
    draw = ImageDraw.Draw(twice)
    box = [2 * side for side in (_FRAME[0], _FRAME[1], size[0] - _FRAME[2], size[1] - _FRAME[3])]

    def place(step: float, value: float) -> tuple[float, float]:
        x = box[0] + step / max(1, longest - 1) * (box[2] - box[0])
        return x, box[3] - (value - low) / (high - low) * (box[3] - box[1])

    font = ImageFont.load_default(24)
    for tick in np.linspace(low + margin, high - margin, 5):
        _, y = place(0, tick)
        draw.line([(box[0], y), (box[2], y)], fill="#e4e7ec", width=2)
        draw.text((box[0] - 12, y), f"{tick:.3g}", "#667085", font, "rm")
    for tick in np.linspace(0, longest - 1, min(5, longest)):
        draw.text((place(tick, low)[0], box[3] + 12), f"{tick:.0f}", "#667085", font, "ma")
    draw.text((box[2], box[3] + 36), x_name, "#667085", font, "ra")
    for number, (name, values) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [place(step, float(value)) for step, value in enumerate(values) if np.isfinite(value)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=3, joint="curve")
        draw.text((box[2] - 12, box[1] + 8 + 30 * number), name, colour, font, "ra")
    return twice.resize(size, Image.Resampling.LANCZOS)
