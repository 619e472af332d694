"""Reading clouds and meshes: every format gives back what was written."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from clipzoo_points import read_cloud
from clipzoo_points.files import SUFFIXES

from clipzoo.errors import DataError

POINTS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
PCD = "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {n}\nHEIGHT 1\n"
PCD += "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA {data}\n"
# A unit cube with its lower corner at the origin.
CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
SQUARES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = [(a, b, c) for s in SQUARES for a, b, c in ((s[0], s[1], s[2]), (s[0], s[2], s[3]))]


def rows(points, separator: str = " ") -> str:
    return "".join(separator.join(f"{value:.9g}" for value in point) + "\n" for point in points)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def faces(polygons) -> str:
    return "".join(f"{len(polygon)} {' '.join(map(str, polygon))}\n" for polygon in polygons)


def assert_on_cube(cloud: np.ndarray, count: int) -> None:
    """On the surface, and on all six sides alike."""
    assert cloud.shape == (count, 3)
    assert cloud.dtype == np.float32
    on_side = np.concatenate([np.isclose(cloud, 0, atol=1e-6), np.isclose(cloud, 1, atol=1e-6)], 1)
    assert on_side.any(1).all()
    assert (cloud >= -1e-6).all()
    assert (cloud <= 1 + 1e-6).all()
    share = on_side.mean(0)
    assert (np.abs(share - 1 / 6) < 0.05).all()


def lzf_literals(content: bytes) -> bytes:
    """LibLZF that never refers back: runs of at most 32 literals."""
    parts = [content[place : place + 32] for place in range(0, len(content), 32)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def compressed_pcd(points: np.ndarray, packed: bytes | None = None) -> bytes:
    columns = np.ascontiguousarray(points.T, dtype="<f4").tobytes()
    packed = lzf_literals(columns) if packed is None else packed
    return (
        PCD.format(n=len(points), data="binary_compressed").encode()
        + struct.pack("<II", len(packed), len(columns))
        + packed
    )


def binary_ply(points, kind: str = "little") -> bytes:
    head = f"ply\nformat binary_{kind}_endian 1.0\ncomment made by hand\nelement vertex {len(points)}\n"
    head += "property float x\nproperty float y\nproperty float z\nproperty uchar red\nend_header\n"
    table = np.zeros(len(points), [(axis, "<f4" if kind == "little" else ">f4") for axis in "xyz"] + [("red", "u1")])
    for place, axis in enumerate("xyz"):
        table[axis] = np.asarray(points)[:, place]
    return head.encode() + table.tobytes()


def ascii_ply(points, polygons=()) -> str:
    head = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    head += "property float x\nproperty float y\nproperty float z\n"
    if polygons:
        head += f"element face {len(polygons)}\nproperty list uchar int vertex_indices\n"
    return head + "end_header\n" + rows(points) + faces(polygons)


CLOUDS = {
    "spaces.xyz": rows(POINTS),
    "tabs.txt": rows(POINTS, "\t"),
    "commas.txt": rows(np.concatenate([POINTS, POINTS * 0 + 0.5], 1), ","),
    "commas.csv": rows(POINTS, ", "),
    "semicolons.csv": rows(POINTS, ";"),
    "counted.pts": f"{len(POINTS)}\n{rows(POINTS)}",
    "plain.pts": rows(POINTS),
    "points.off": f"OFF\n{len(POINTS)} 0 0\n{rows(POINTS)}",
    "ascii.ply": ascii_ply(POINTS),
    "little.ply": binary_ply(POINTS),
    "big.ply": binary_ply(POINTS, "big"),
    "points.obj": "# a cloud\n" + "".join(f"v {row}\n" for row in rows(POINTS).splitlines()),
    "ascii.pcd": PCD.format(n=len(POINTS), data="ascii") + rows(POINTS),
    "binary.pcd": PCD.format(n=len(POINTS), data="binary").encode() + POINTS.tobytes(),
    "compressed.pcd": compressed_pcd(POINTS),
    "SHOUTED.XYZ": rows(POINTS),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_come_back_as_they_were(tmp_path, name):
    cloud = read_cloud(write(tmp_path / name, CLOUDS[name]))
    assert cloud.dtype == np.float32
    assert np.allclose(cloud, POINTS, atol=1e-6)


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2"])
def test_npy(tmp_path, kind):
    np.save(tmp_path / "cloud.npy", POINTS.astype(kind))
    assert np.allclose(read_cloud(tmp_path / "cloud.npy"), POINTS, atol=2e-3 if kind == "<f2" else 1e-7)


def test_npy_of_more_columns_in_fortran_order(tmp_path):
    np.save(tmp_path / "cloud.npy", np.asfortranarray(np.concatenate([POINTS, POINTS], 1)))
    assert np.array_equal(read_cloud(tmp_path / "cloud.npy"), POINTS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("arrays", [{"points": POINTS, "colour": POINTS * 0}, {"whatever": POINTS}])
def test_npz(tmp_path, save, arrays):
    save(tmp_path / "cloud.npz", **arrays)
    assert np.array_equal(read_cloud(tmp_path / "cloud.npz"), POINTS)


def test_npz_with_several_arrays_asks_which(tmp_path):
    np.savez(tmp_path / "cloud.npz", first=POINTS, second=POINTS)
    with pytest.raises(DataError, match=r"first\.npy, second\.npy"):
        read_cloud(tmp_path / "cloud.npz")


MESHES = {
    "triangles.off": f"OFF\n8 12 0\n{rows(CORNERS)}{faces(TRIANGLES)}",
    "counts_on_the_first_line.off": f"OFF8 6 0\n{rows(CORNERS)}{faces(SQUARES)}",
    "comments.off": f"OFF # a cube\n8 6 0\n# corners\n{rows(CORNERS)}{faces(SQUARES)}",
    "mixed.off": f"OFF\n8 7 0\n{rows(CORNERS)}{faces([*TRIANGLES[:2], *SQUARES[1:]])}",
    "ascii.ply": ascii_ply(CORNERS, TRIANGLES),
    "squares.ply": ascii_ply(CORNERS, SQUARES),
    "plain.obj": "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    + "".join(f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in TRIANGLES),
    "slashes.obj": "mtllib cube.mtl\no cube\n"
    + "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    + "vt 0 0\nvn 0 0 1\nusemtl red\n"
    + "".join(f"f {a + 1}/1/1 {b + 1}/1/1 {c + 1}/1/1\n" for a, b, c in TRIANGLES),
    "normals.obj": "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    + "vn 0 0 1\n"
    + "".join(f"f {' '.join(f'{corner + 1}//1' for corner in square)}\n" for square in SQUARES),
}


@pytest.mark.parametrize("name", MESHES)
def test_meshes_are_sampled_evenly_on_their_surface(tmp_path, name):
    assert_on_cube(read_cloud(write(tmp_path / name, MESHES[name]), points=3000), 3000)


def test_a_modelnet_header_of_three_numbers_behind_off(tmp_path):
    points = np.random.default_rng(1).normal(size=(490, 3))
    triangles = [(k, k + 1, k + 2) for k in range(488)] + [(0, 5, 9)] * 30
    path = write(tmp_path / "night_stand_0001.off", f"OFF490 518 0\n{rows(points)}{faces(triangles)}")
    cloud = read_cloud(path, points=64)
    assert cloud.shape == (64, 3)
    assert np.isfinite(cloud).all()


def test_sampling_depends_on_name_and_seed_alone(tmp_path):
    one, other = (write(tmp_path / name, MESHES["triangles.off"]) for name in ("one.off", "other.off"))
    assert np.array_equal(read_cloud(one), read_cloud(one))
    assert not np.array_equal(read_cloud(one), read_cloud(other))
    assert not np.array_equal(read_cloud(one), read_cloud(one, seed=1))


def test_large_faces_get_more_points(tmp_path):
    path = write(tmp_path / "two.off", "OFF\n6 2 0\n0 0 0\n3 0 0\n0 3 0\n0 0 9\n1 0 9\n0 1 9\n3 0 1 2\n3 3 4 5\n")
    assert float((read_cloud(path, points=5000)[:, 2] == 0).mean()) == pytest.approx(0.9, abs=0.02)


def test_compressed_pcd_with_copies(tmp_path):
    points = np.zeros((50, 3), np.float32)
    # One literal zero, then copies of what is there: 9 + 264 + 264 + 62 more.
    copies = [264, 264, 71]
    packed = b"\x00\x00" + b"".join(
        bytes([0xE0, count - 9, 0]) if count > 8 else bytes([(count - 2) << 5, 0]) for count in copies
    )
    cloud = read_cloud(write(tmp_path / "zeros.pcd", compressed_pcd(points, packed)))
    assert np.array_equal(cloud, points)


def test_compressed_pcd_with_overlapping_copies(tmp_path):
    points = np.tile(np.array([[1.5, 1.5, 1.5]], np.float32), (30, 1))
    packed = b"\x03" + points.tobytes()[:4] + bytes([0xE0, 256 - 1, 3]) + bytes([0xE0, 360 - 4 - 264 - 9, 3])
    assert np.array_equal(read_cloud(write(tmp_path / "same.pcd", compressed_pcd(points, packed))), points)


def test_pcd_with_other_fields_and_counts(tmp_path):
    head = (
        "VERSION 0.7\nFIELDS rgb z normal y x\nSIZE 4 8 4 4 2\nTYPE U F F F I\nCOUNT 1 1 3 1 1\n"
        "WIDTH 2\nHEIGHT 2\nDATA binary\n"
    )
    table = np.zeros(4, [("rgb", "<u4"), ("z", "<f8"), ("normal", "<f4", 3), ("y", "<f4"), ("x", "<i2")])
    table["x"], table["y"], table["z"] = [1, 2, 3, 4], [0.5, 0.25, 0, 1], [9, 8, 7, 6]
    cloud = read_cloud(write(tmp_path / "odd.pcd", head.encode() + table.tobytes()))
    assert cloud.tolist() == [[1, 0.5, 9], [2, 0.25, 8], [3, 0, 7], [4, 1, 6]]


def test_ascii_pcd_with_other_fields(tmp_path):
    head = "FIELDS normal z x y\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 2 1 1 1\nPOINTS 2\nDATA ascii\n"
    cloud = read_cloud(write(tmp_path / "odd.pcd", head + "0 0 3 1 2\n0 0 6 4 5\n"))
    assert cloud.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_three_points_are_a_cloud(tmp_path):
    assert read_cloud(write(tmp_path / "three.xyz", "0 0 0\n1 0 0\n0 1 0\n")).shape == (3, 3)


def test_unknown_types_are_named_with_the_closest(tmp_path):
    with pytest.raises(DataError, match=r'"\.pyl"') as caught:
        read_cloud(write(tmp_path / "cloud.pyl", "x"))
    assert ".ply" in caught.value.closest


def test_every_type_is_tested():
    tested = {Path(name).suffix.lower() for name in (*CLOUDS, *MESHES)} | {".npy", ".npz"}
    assert tested == set(SUFFIXES)
