"""Pictures of detections: boxes with names, masks, precision-recall curves."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clipzoo_detect.detections import Detections

_GOLDEN = (math.sqrt(5) - 1) / 2


def class_colour(place: int) -> tuple[int, int, int]:
    """A colour for class ``place``: neighbours differ much in hue, and white letters can be read on it."""
    hue = (0.02 + place * _GOLDEN) % 1
    value = 0.80 if place % 2 else 0.66
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(
    image: Image.Image,
    found: Detections,
    names: Sequence[str],
    *,
    longer_px: int = 960,
    score: bool = True,
    most: int = 60,
) -> Image.Image:
    """The image with a labelled box around each detection, the best on top.

    Args:
        image: RGB.
        found: detections in its pixels.
        names: of the classes.
        longer_px: the longer side of the picture at most; small images are enlarged to a third of it.
        score: print the score beside the name.
        most: detections drawn.
    """
    side = max(image.size)
    factor = min(longer_px / side, max(1.0, longer_px / 3 / side))
    canvas = image.convert("RGB").resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))),
        Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC,
    )
    shown = found[:most]
    if shown.masks is not None:
        canvas = _with_masks(canvas, shown)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(11, round(max(canvas.size) / 58)))
    width = max(2, round(max(canvas.size) / 320))
    entries = list(zip(shown.boxes.tolist(), shown.scores.tolist(), shown.labels.tolist(), strict=True))
    for box, _, label in reversed(entries):
        draw.rectangle(_scaled(box, factor), outline=class_colour(label), width=width)
    taken: list[tuple[float, float, float, float]] = []
    for box, value, label in entries:
        text = f"{names[label]} {value:.2f}" if score else str(names[label])
        _label(draw, font, text, _scaled(box, factor), class_colour(label), canvas.size, taken)
    return canvas


def _scaled(box: Sequence[float], factor: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge * factor for edge in box)
    return left, top, max(right - 1, left + 1), max(bottom - 1, top + 1)


def _label(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """A name above its box, below its top edge or under it, at the first place that is free; else not at all."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, tall = right - left + 8, bottom - top + 6
    x = min(max(0.0, box[0]), max(0.0, size[0] - wide))
    for y in (box[1] - tall, box[1] + 1, box[3] + 1, box[3] - tall):
        place = (x, y, x + wide, y + tall)
        if y < 0 or y + tall > size[1] or any(_overlap(place, other) for other in taken):
            continue
        taken.append(place)
        draw.rectangle(place, fill=colour)
        draw.text((x + 4 - left, y + 3 - top), text, fill="white", font=font)
        return


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _with_masks(canvas: Image.Image, found: Detections) -> Image.Image:
    pixels = np.asarray(canvas, dtype=np.float32)
    assert found.masks is not None
    for mask, label in reversed(list(zip(found.masks, found.labels.tolist(), strict=True))):
        grey = Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255).resize(canvas.size)
        share = np.asarray(grey, dtype=np.float32)[..., None] / 255 * 0.45
        pixels = pixels * (1 - share) + share * np.array(class_colour(label), dtype=np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8))


def precision_recall_picture(
    curves: Mapping[str, tuple[Tensor | np.ndarray, Tensor | np.ndarray]], side_px: int = 460
) -> Image.Image:
    """Precision over recall, one line a name.

    Args:
        curves: name to (recall, precision), each in [0, 1].
        side_px: of the square that the curves are drawn in.
    """
    scale = 2  # drawn twice as large and shrunk: Pillow's lines are not antialiased
    left, top, right, below = 56, 20, 190, 46
    canvas = Image.new("RGB", ((left + side_px + right) * scale, (top + side_px + below) * scale), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13 * scale)

    def at(x: float, y: float) -> tuple[float, float]:
        return (left + x * side_px) * scale, (top + (1 - y) * side_px) * scale

    for tick in range(6):
        value = tick / 5
        draw.line((at(value, 0), at(value, 1)), fill=(235, 235, 235), width=scale)
        draw.line((at(0, value), at(1, value)), fill=(235, 235, 235), width=scale)
        x, y = at(value, 0)
        draw.text((x, y + 6 * scale), f"{value:.1f}", (90, 90, 90), font, "mt")
        x, y = at(0, value)
        draw.text((x - 8 * scale, y), f"{value:.1f}", (90, 90, 90), font, "rm")
    x, y = at(0.5, 0)
    draw.text((x, y + 26 * scale), "recall", (60, 60, 60), font, "mt")
    draw.text((10 * scale, 4 * scale), "precision", (60, 60, 60), font, "lt")
    for place, (name, (recall, precision)) in enumerate(curves.items()):
        points = [at(float(r), float(p)) for r, p in zip(recall, precision, strict=True)]
        if len(points) > 1:
            draw.line(points, fill=class_colour(place), width=3 * scale, joint="curve")
        y = (top + 10 + place * 20) * scale
        x = (left + side_px + 14) * scale
        draw.line((x, y, x + 18 * scale, y), fill=class_colour(place), width=3 * scale)
        draw.text((x + 24 * scale, y), name[:22], (60, 60, 60), font, "lm")
    return canvas.resize((canvas.width // scale, canvas.height // scale), Image.Resampling.LANCZOS)
