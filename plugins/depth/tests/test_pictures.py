"""Colours mean metres."""

from __future__ import annotations

import numpy as np
import pytest
from clipzoo_depth.pictures import (
    Shown,
    bin_colours,
    bins_picture,
    colour_bins,
    colour_depth,
    colour_error,
    depth_picture,
    depth_range,
    depth_sheet,
)

from clipzoo.errors import DataError


def ramp(height: int = 64, width: int = 96) -> np.ndarray:
    """Depth from 1 to 4 m, left to right."""
    return np.tile(np.linspace(1, 4, width, dtype=np.float32), (height, 1))


def test_near_is_red_and_far_is_blue():
    found = colour_depth(np.array([[1.3, 3.7, 0.0, np.nan]]), 1.0, 4.0)[0].astype(int)
    assert found[0, 0] > 2 * found[0, 2] and found[1, 2] > found[1, 0]
    assert (found[2] == 205).all() and (found[3] == 205).all()


def test_colours_follow_depth_alone():
    depth = ramp()
    found = colour_depth(depth, 1.0, 4.0)
    np.testing.assert_array_equal(found[0], found[-1])
    assert len(np.unique(found[0], axis=0)) > 80
    np.testing.assert_array_equal(colour_depth(depth + 10, 1.0, 4.0), colour_depth(depth * 0 + 4, 1.0, 4.0))


def test_no_error_is_dark():
    depth = ramp()
    assert colour_error(depth, depth, 2.0).max() <= 4
    assert colour_error(depth + 5, depth, 2.0).min() >= 150
    assert (colour_error(depth, depth * 0, 2.0) == 205).all()


def test_bins_have_colours_of_their_own():
    assert len(np.unique(bin_colours(7), axis=0)) == 7
    winners = np.array([[0, 6], [3, 3]])
    np.testing.assert_array_equal(colour_bins(winners, 7)[0, 1], bin_colours(7)[6])


def test_range_is_round_and_holds_the_depths():
    near, far = depth_range([ramp(), np.zeros((4, 4))])
    assert near <= 1.05 and far >= 3.95 and far <= 5
    assert depth_range([np.zeros((4, 4))]) == (0.0, 1.0)
    with pytest.raises(DataError, match="near below far"):
        colour_depth(ramp(), 2.0, 2.0)


def test_flat_depth_has_a_range():
    near, far = depth_range([np.full((30, 30), 2.0)])
    assert near <= 2.0 <= far and far > near
    assert depth_picture(np.full((30, 30), 2.0), near, far).size[0] >= 220


@pytest.mark.parametrize("truth", [True, False])
def test_sheet(truth):
    depth = ramp()
    rows = [
        Shown(
            "a", np.zeros((64, 96, 3), np.uint8), depth, np.zeros((64, 96), int), depth if truth else None, "delta1 1"
        )
        for _ in range(2)
    ]
    sheet = depth_sheet(rows, ["near 1 m", "far 4 m"])
    assert sheet.width == 8 + (5 if truth else 3) * 198
    assert np.asarray(sheet).std() > 20
    assert bins_picture(np.zeros((64, 96), int), ["near", "far"]).height > 64
    with pytest.raises(DataError, match="no images"):
        depth_sheet([], ["near", "far"])
