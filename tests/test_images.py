import numpy as np
import pytest

from clipzoo.errors import DataError
from clipzoo.images.sheets import contact_sheet


def test_contact_sheet_shows_every_image_where_it_belongs() -> None:
    images = np.zeros((2, 3, 8, 8), np.float32)
    images[1, 2] = 1
    sheet = np.asarray(contact_sheet(images, ["a", "b"], ["x", "y", "z"], cell_px=16))
    cells = [[sheet[-(2 - r) * 22 + 4, -(3 - c) * 22 + 4] for c in range(3)] for r in range(2)]
    assert cells[1][2] == 255 and cells[0] == [0, 0, 0] and cells[1][:2] == [0, 0]


def test_contact_sheet_needs_a_name_for_each() -> None:
    with pytest.raises(DataError, match="row"):
        contact_sheet(np.zeros((2, 3, 8, 8)), ["a"], ["x", "y", "z"])
