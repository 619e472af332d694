"""Contact sheets: many small images on one, with names for rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clipzoo.errors import DataError


def contact_sheet(
    images: Float[Tensor, "rows columns side side"] | np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    cell_px: int = 88,
) -> Image.Image:
    """Grey images in [0, 1] in a grid on white.

    Args:
        images: one a row and column.
        row_names: printed at the left.
        column_names: printed at the top.
        cell_px: side of a cell; images are resized to it.

    Raises:
        DataError: if there are not as many names as rows and columns.
    """
    array = np.asarray(images, dtype=np.float32)
    if array.ndim != 4 or array.shape[:2] != (len(row_names), len(column_names)):
        raise DataError(
            f"images of the shape {array.shape} with {len(row_names)} row and {len(column_names)} column names",
            expected="[rows, columns, side, side] and a name for each",
        )
    font = ImageFont.load_default(13)
    left = 14 + max(int(font.getlength(name)) for name in row_names)
    top = 26 if max(font.getlength(name) for name in column_names) < cell_px * 1.05 else 44
    gap = 6
    sheet = Image.new(
        "L", (left + (cell_px + gap) * len(column_names) + gap, top + (cell_px + gap) * len(row_names) + gap), 255
    )
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(column_names):
        text = name if top == 26 else "\n".join(name.split(" ", 1))
        draw.multiline_text(
            (left + column * (cell_px + gap) + cell_px / 2, top - 6), text, 90, font, "md", align="center"
        )
    for row, name in enumerate(row_names):
        y = top + row * (cell_px + gap)
        draw.text((left - 8, y + cell_px / 2), name, 40, font, "rm")
        for column in range(len(column_names)):
            cell = Image.fromarray((array[row, column].clip(0, 1) * 255).round().astype(np.uint8))
            x = left + column * (cell_px + gap)
            sheet.paste(cell.resize((cell_px, cell_px), Image.Resampling.BICUBIC), (x, y))
            draw.rectangle((x - 1, y - 1, x + cell_px, y + cell_px), outline=225)
    return sheet


def captioned_sheet(cells: Sequence[tuple[Image.Image, str]], columns: int = 6, cell_px: int = 150) -> Image.Image:
    """Pictures in a grid on white, each with a line or two below it.

    Args:
        cells: picture and caption; a picture keeps its proportions.
        columns: in a row.
        cell_px: side of the square that a picture is fitted into.

    Raises:
        DataError: if there is no picture.
    """
    if not cells:
        raise DataError("a sheet of no pictures")
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    gap, below = 10, 36
    font = ImageFont.load_default(12)
    sheet = Image.new("RGB", (gap + columns * (cell_px + gap), gap + rows * (cell_px + below + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (picture, caption) in enumerate(cells):
        x = gap + place % columns * (cell_px + gap)
        y = gap + place // columns * (cell_px + below + gap)
        factor = cell_px / max(picture.size)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        kernel = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
        fitted = picture.convert("RGB").resize(size, kernel)
        sheet.paste(fitted, (x + (cell_px - size[0]) // 2, y + (cell_px - size[1]) // 2))
        draw.rectangle((x - 1, y - 1, x + cell_px, y + cell_px), outline=(225, 225, 225))
        text = "\n".join(_wrapped(caption, font, cell_px)[:2])
        draw.multiline_text((x + cell_px / 2, y + cell_px + 4), text, (60, 60, 60), font, "ma", align="center")
    return sheet


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
