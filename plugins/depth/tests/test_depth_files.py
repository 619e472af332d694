"""Depth in files: units, what is refused, and that what is written can be read by others."""

from __future__ import annotations

import io

import numpy as np
import pytest
from clipzoo_depth import point_cloud_ply, read_depth, unproject
from clipzoo_depth.depth_files import UNITS, depth_npy, depth_png
from clipzoo_depth.point_cloud import intrinsics_of_view
from PIL import Image

from clipzoo.errors import ConfigError, DataError


def ramp(height: int = 64, width: int = 96) -> np.ndarray:
    """Depth from 1 to 4 m, left to right."""
    return np.tile(np.linspace(1, 4, width, dtype=np.float32), (height, 1))


@pytest.mark.parametrize("unit", UNITS)
def test_units(tmp_path, unit, write_depth):
    depth = ramp() * (10 if unit == "m" else 1)
    write_depth(tmp_path / "depth.png", depth, UNITS[unit])
    found = read_depth(tmp_path / "depth.png", unit)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, depth, atol=0.51 / UNITS[unit])


def test_unknown_depth_is_zero(tmp_path, write_depth):
    depth = ramp()
    depth[:4] = 0
    write_depth(tmp_path / "depth.png", depth)
    assert (read_depth(tmp_path / "depth.png")[:4] == 0).all()
    depth[:4], depth[4:6], depth[6:8] = np.nan, -1, np.inf
    np.save(tmp_path / "depth.npy", depth)
    found = read_depth(tmp_path / "depth.npy")
    assert (found[:8] == 0).all()
    np.testing.assert_array_equal(found[8:], depth[8:])


def test_what_is_written_is_read(tmp_path):
    depth = ramp()
    (tmp_path / "a.png").write_bytes(depth_png(depth))
    (tmp_path / "a.npy").write_bytes(depth_npy(depth))
    np.testing.assert_allclose(read_depth(tmp_path / "a.png"), depth, atol=0.0005001)
    np.testing.assert_array_equal(read_depth(tmp_path / "a.npy"), depth)
    assert Image.open(io.BytesIO(depth_png(np.full((2, 2), 99.0)))).getpixel((0, 0)) == 65535


@pytest.mark.parametrize("given", ["m", "cm"])
def test_a_wrong_unit_is_told_by_its_median(tmp_path, given, write_depth):
    write_depth(tmp_path / "depth.png", ramp() * (1 if given == "m" else 6))
    with pytest.raises(DataError, match=r"median depth .* m(.|\n)*unit=mm"):
        read_depth(tmp_path / "depth.png", given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Image.fromarray(np.full((4, 4), 90, np.uint8)).save(path), "8-bit grey"),
        (lambda path: Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(path), "8-bit colours"),
        (lambda path: Image.fromarray(np.zeros((4, 4), np.uint16)).save(path), "no pixel of known depth"),
        (lambda path: path.write_bytes(b"no picture"), "is no image"),
        (lambda path: path.write_bytes(b""), "empty"),
        (
            lambda path: path.write_bytes(depth_png(np.random.default_rng(0).random((64, 96)) + 1)[:2000]),
            "cannot be decoded",
        ),
    ],
)
def test_bad_depth_images(tmp_path, make, message):
    path = tmp_path / "depth.png"
    make(path)
    with pytest.raises(DataError, match=message):
        read_depth(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 3, 4)), "shape"),
        (np.full((3, 3), np.nan), "no pixel of known depth"),
        (np.array([["a"]]), "no array of numbers"),
        (np.full((3, 3), 4000.0), "median depth"),
    ],
)
def test_bad_arrays(tmp_path, array, message):
    np.save(tmp_path / "depth.npy", array)
    with pytest.raises(DataError, match=message):
        read_depth(tmp_path / "depth.npy")


def test_pickles_stay_closed(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_depth(tmp_path / "depth.npy")


def test_unknown_unit(tmp_path):
    with pytest.raises(ConfigError, match="mm, cm"):
        read_depth(tmp_path / "depth.png", "inch")


def test_unprojection_of_a_plane():
    """A plane z = 2 m seen with 90 degrees: its left end lies at x = -2 m (1 - 1 / width)."""
    points = unproject(np.full((5, 4), 2.0, np.float32), intrinsics_of_view(5, 4, 90.0))
    np.testing.assert_allclose(points[2, 0], [-1.5, 0, 2], atol=1e-6)
    np.testing.assert_allclose(points[4, 3], [1.5, 2, 2], atol=1e-6)
    # Back to pixels.
    fx, fy, cx, cy = intrinsics_of_view(5, 4, 90.0)
    v, u = np.indices((5, 4))
    np.testing.assert_allclose(points[..., 0] / points[..., 2] * fx + cx, u, atol=1e-6)
    np.testing.assert_allclose(points[..., 1] / points[..., 2] * fy + cy, v, atol=1e-6)


def test_ply_is_what_its_header_says():
    depth = ramp(8, 12)
    depth[0, :5] = 0
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    content = point_cloud_ply(depth, image, intrinsics_of_view(8, 12))
    header, _, body = content.partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"] and "element vertex 91" in lines
    vertices = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert len(vertices) == 91
    np.testing.assert_array_equal(vertices["rgb"], image[depth > 0])
    np.testing.assert_array_equal(vertices["xyz"][:, 2], depth[depth > 0])


def test_large_clouds_are_thinned_evenly():
    content = point_cloud_ply(ramp(100, 100), np.zeros((100, 100, 3), np.uint8), (90, 90, 50, 50), max_points=2500)
    assert b"element vertex 2500\n" in content
    with pytest.raises(DataError, match="one size"):
        point_cloud_ply(ramp(4, 4), np.zeros((4, 5, 3), np.uint8), (1, 1, 0, 0))
