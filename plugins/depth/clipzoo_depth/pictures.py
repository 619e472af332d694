"""Pictures of depth: colours with a scale in metres, errors, which bin won where, and sheets of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, UInt8
from kornia.color import ColorMap
from PIL import Image, ImageDraw, ImageFont

from clipzoo.errors import DataError

_UNKNOWN = (205, 205, 205)
_INK, _SOFT = (40, 40, 40), (110, 110, 110)


@dataclass(frozen=True, eq=False)
class Shown:
    """One row of a sheet.

    Attributes:
        name: what it is called.
        image: RGB.
        predicted: m.
        winners: index of the bin with the highest score, of the size of the image.
        target: m; 0 where it is unknown; or None.
        told: one line below the name.
    """

    name: str
    image: UInt8[np.ndarray, "height width 3"]
    predicted: Float[np.ndarray, "height width"]
    winners: Int[np.ndarray, "height width"]
    target: Float[np.ndarray, "height width"] | None = None
    told: str = ""


def colour_depth(
    depth: Float[np.ndarray, "height width"], near_m: float, far_m: float, colours: str = "turbo"
) -> UInt8[np.ndarray, "height width 3"]:
    """Depth as colours: red is near and blue far; grey where it is unknown.

    Args:
        depth: m; 0 or NaN where it is unknown.
        near_m: depth of the first colour.
        far_m: depth of the last colour.
        colours: a colour map of kornia, taken backwards.
    """
    if not far_m > near_m:
        raise DataError(f"colours from {near_m} to {far_m} m", expected="near below far")
    known = np.isfinite(depth) & (depth > 0)
    place = (np.where(known, depth, near_m) - near_m) / (far_m - near_m)
    picture = _palette(colours)[::-1][(place.clip(0, 1) * 255).round().astype(int)]
    return np.where(known[..., None], picture, np.array(_UNKNOWN, np.uint8))


def colour_error(
    predicted: Float[np.ndarray, "height width"], target: Float[np.ndarray, "height width"], far_m: float
) -> UInt8[np.ndarray, "height width 3"]:
    """Absolute error as colours, dark is none; grey where the truth is unknown."""
    known = np.isfinite(target) & (target > 0)
    place = np.abs(np.where(known, predicted - target, 0.0)) / far_m
    picture = _palette("inferno")[(place.clip(0, 1) * 255).round().astype(int)]
    return np.where(known[..., None], picture, np.array(_UNKNOWN, np.uint8))


def colour_bins(winners: Int[np.ndarray, "height width"], count: int) -> UInt8[np.ndarray, "height width 3"]:
    """One colour a bin, from red (near) to blue (far)."""
    return bin_colours(count)[winners]


def bin_colours(count: int) -> UInt8[np.ndarray, "count 3"]:
    """The colours of :func:`colour_bins`."""
    return _palette("turbo")[::-1][np.linspace(20, 235, count).round().astype(int)]


def depth_range(depths: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bounds for colours that suit all depth maps: 1st and 99th percentile, rounded outwards; in m."""
    known = np.concatenate([depth[np.isfinite(depth) & (depth > 0)].ravel()[::7] for depth in depths])
    if not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, [1, 99])
    step = _nice_step(float(high))
    return math.floor(low / step) * step, max(math.ceil(high / step), math.floor(low / step) + 1) * step


def depth_picture(depth: Float[np.ndarray, "height width"], near_m: float, far_m: float) -> Image.Image:
    """Depth in colours with a scale in metres below."""
    picture = _readable(Image.fromarray(colour_depth(depth, near_m, far_m)))
    width = max(picture.width, 220)
    page = Image.new("RGB", (width, picture.height + 44), "white")
    page.paste(picture, ((width - picture.width) // 2, 0))
    draw_scale(page, (14, picture.height + 8), width - 28, near_m, far_m, _palette("turbo")[::-1])
    return page


def bins_picture(winners: Int[np.ndarray, "height width"], labels: Sequence[str]) -> Image.Image:
    """Which bin won where, with the words below."""
    picture = _readable(Image.fromarray(colour_bins(winners, len(labels))))
    width = max(picture.width, 320)
    legend = _legend(labels, width)
    page = Image.new("RGB", (width, picture.height + legend.height), "white")
    page.paste(picture, ((width - picture.width) // 2, 0))
    page.paste(legend, (0, picture.height))
    return page


def depth_sheet(rows: Sequence[Shown], labels: Sequence[str], cell_px: int = 190) -> Image.Image:
    """Image, truth, prediction, error and winning bins side by side, with their scales.

    Args:
        rows: at least one.
        labels: of the bins, near to far.
        cell_px: width of a picture.

    Raises:
        DataError: if there are no rows.
    """
    if not rows:
        raise DataError("a sheet of no images")
    truth = any(row.target is not None for row in rows)
    columns = ["photo", "true depth", "depth", "error", "bin"] if truth else ["photo", "depth", "bin"]
    near, far = depth_range([row.predicted for row in rows] + [row.target for row in rows if row.target is not None])
    worst = _worst_error(rows)
    gap, top, below = 8, 26, 24
    tall = [round(cell_px * row.image.shape[0] / row.image.shape[1]) for row in rows]
    tall = [min(height, 2 * cell_px) for height in tall]
    width = gap + len(columns) * (cell_px + gap)
    legend = _legend(labels, width - 2 * gap)
    scales = 52
    page = Image.new("RGB", (width, top + sum(tall) + len(rows) * below + scales + legend.height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, name in enumerate(columns):
        draw.text((gap + column * (cell_px + gap) + cell_px / 2, top / 2), name, _SOFT, font, "mm")
    y = top
    for row, height in zip(rows, tall, strict=True):
        for column, name in enumerate(columns):
            cell = _cell(row, name, near, far, worst, len(labels))
            if cell is not None:
                kernel = Image.Resampling.LANCZOS if name == "photo" else Image.Resampling.NEAREST
                page.paste(cell.resize((cell_px, height), kernel), (gap + column * (cell_px + gap), y))
        text = f"{row.name}   {row.told}"
        draw.text((gap, y + height + 3), _cut(text, font, width - 2 * gap), _INK, font)
        y += height + below
    place = columns.index("depth")
    draw_scale(
        page, (gap + place * (cell_px + gap) + 8, y + 4), cell_px - 16, near, far, _palette("turbo")[::-1], "depth"
    )
    if truth:
        place = columns.index("error")
        draw_scale(
            page, (gap + place * (cell_px + gap) + 8, y + 4), cell_px - 16, 0.0, worst, _palette("inferno"), "error"
        )
    page.paste(legend, (gap, y + scales))
    return page


def draw_scale(
    page: Image.Image,
    corner: tuple[int, int],
    width: int,
    near_m: float,
    far_m: float,
    palette: UInt8[np.ndarray, "256 3"],
    name: str = "",
) -> None:
    """A bar of colours with marks in metres."""
    x, y = corner
    bar = Image.fromarray(np.repeat(palette[None], 10, axis=0)).resize((width, 10))
    page.paste(bar, (x, y))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    step = _nice_step(far_m - near_m)
    mark = math.ceil(near_m / step - 1e-6) * step
    while mark <= far_m + 1e-6:
        across = x + (mark - near_m) / (far_m - near_m) * width
        draw.line((across, y + 10, across, y + 13), _SOFT)
        draw.text((across, y + 14), f"{mark:g}", _SOFT, font, "ma")
        mark += step
    draw.text((x + width / 2, y + 26), f"{name} in m" if name else "m", _SOFT, font, "ma")


def _cell(row: Shown, name: str, near: float, far: float, worst: float, bins: int) -> Image.Image | None:
    if name == "photo":
        return Image.fromarray(row.image)
    if name == "depth":
        return Image.fromarray(colour_depth(row.predicted, near, far))
    if name == "bin":
        return Image.fromarray(colour_bins(row.winners, bins))
    if row.target is None:
        return None
    if name == "true depth":
        return Image.fromarray(_spread(colour_depth(row.target, near, far), row.target))
    return Image.fromarray(_spread(colour_error(row.predicted, row.target, worst), row.target))


def _spread(picture: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Sparse depth with larger dots: single pixels vanish when a wide picture is made small."""
    known = target > 0
    if known.mean() > 0.2:
        return picture
    grown, done = picture.copy(), known.copy()
    for down in (-2, -1, 0, 1, 2):
        for across in (-2, -1, 0, 1, 2):
            moved, there = (np.roll(part, (down, across), (0, 1)) for part in (picture, known))
            new = there & ~done
            grown[new], done[new] = moved[new], True
    return grown


def _worst_error(rows: Sequence[Shown]) -> float:
    errors = [np.abs(row.predicted - row.target)[row.target > 0][::7] for row in rows if row.target is not None]
    errors = [part for part in errors if len(part)]
    if not errors:
        return 1.0
    high = max(float(np.percentile(np.concatenate(errors), 98)), 1e-3)
    step = _nice_step(high)
    return math.ceil(high / step) * step


def _readable(picture: Image.Image) -> Image.Image:
    """Small pictures enlarged by a whole factor, so that their pixels stay what they are."""
    factor = max(1, round(480 / picture.width))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _legend(labels: Sequence[str], width: int) -> Image.Image:
    font = ImageFont.load_default(12)
    colours = bin_colours(len(labels))
    places, x, y = [], 0, 6
    for label in labels:
        wide = 24 + int(font.getlength(label))
        if x and x + wide > width:
            x, y = 0, y + 20
        places.append((x, y))
        x += wide + 6
    page = Image.new("RGB", (width, y + 26), "white")
    draw = ImageDraw.Draw(page)
    for (x, y), label, colour in zip(places, labels, colours, strict=True):
        draw.rectangle((x + 2, y + 2, x + 14, y + 14), tuple(colour.tolist()))
        draw.text((x + 19, y + 1), label, _INK, font)
    return page


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while text and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text


def _nice_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that fits a span four to ten times."""
    raw = max(span, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


@lru_cache
def _palette(name: str) -> UInt8[np.ndarray, "256 3"]:
    if name == "inferno":
        # kornia has "plasma" but nothing that is black at zero: black through red to pale yellow.
        stops = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], float)
        across = np.linspace(0, len(stops) - 1, 256)
        channels = [np.interp(across, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
        return np.stack(channels, 1).round().astype(np.uint8)
    colours = ColorMap(name, num_colors=256).colors.T.numpy()
    return (colours * 255).round().astype(np.uint8)
