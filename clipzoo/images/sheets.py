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
