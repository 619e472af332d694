"""Files as people really have them: colours, marks of other programs, several lists, empty classes."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from clipzoo_points import normalise_clouds, read_cloud
from clipzoo_points.datasets import fit_count, open_modelnet40, open_path

from clipzoo.errors import DataError

CORNERS = ((0, 0, 0), (3, 0, 0), (0, 3, 0), (0, 0, 5))
POINTS = "0 0 0\n3 0 0\n0 3 0\n0 0 5\n"
CLOUD = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def coloured(points: str, colour: str) -> str:
    return "".join(f"{line} {colour}\n" for line in points.splitlines())


OFF = {
    "face_colours": f"OFF\n4 2 0\n{POINTS}3 0 1 2 255 0 0\n3 0 1 3 0 0 0\n",
    "some_face_colours": f"OFF\n4 2 0\n{POINTS}3 0 1 2 0.5 0.5 0.5\n3 0 1 3\n",
    "vertex_colours": f"OFF\n4 2 0\n{coloured(POINTS, '0 0 0 255')}3 0 1 2\n3 0 1 3\n",
    "coff": f"COFF\n4 2 0\n{coloured(POINTS, '9 9 9 255')}3 0 1 2\n3 0 1 3\n",
    "noff": f"NOFF\n4 2 0\n\n{coloured(POINTS, '0 0 1')}\n3 0 1 2\n3 0 1 3\n",
    "windows": f"OFF\n4 2 0\n{POINTS}3 0 1 2\n3 0 1 3\n".replace("\n", "\r\n"),
    "one_line": f"OFF 4 2 0 {POINTS}3 0 1 2 3 0 1 3".replace("\n", " "),
}


@pytest.mark.parametrize("name", OFF)
def test_off_files_with_more_in_a_line_than_a_shape_needs(tmp_path, name):
    cloud = read_cloud(write(tmp_path / f"{name}.off", OFF[name]), points=400)
    # Two faces: one at z = 0, one at y = 0; areas 4.5 and 7.5.
    assert ((cloud[:, 2] == 0) | (cloud[:, 1] == 0)).all()
    assert float((cloud[:, 1] == 0).mean()) == pytest.approx(7.5 / 12, abs=0.08)
    assert (cloud.min(0) >= 0).all()
    assert (cloud.max(0) <= [3, 3, 5]).all()


WRONG_OFF = {
    "too_few_vertices": (f"OFF\n3 1 0\n{POINTS}3 0 1 2\n", "5 lines follow the counts, which announce 4"),
    "too_few_faces": (
        f"OFF\n4 1 0\n{POINTS}3 0 1 2\n3 0 1 3\n",
        "6 lines follow the counts, which announce 5",
    ),
    "one_line": (f"OFF 4 1 0 {POINTS}3 0 1 2 3 0 1 3".replace("\n", " "), "4 numbers follow the last face"),
    "no_corners": (f"OFF\n4 2 0\n{POINTS}3 0 1 2\n0 1 2\n", "a face is written as '0 1 2'"),
    "short_face": (f"OFF\n4 2 0\n{POINTS}3 0 1 2\n3 0 1\n", "a face is written as '3 0 1'"),
    "binary": (b"OFF BINARY\n\0\0\0\4 \0\0\0\2 \0", "BINARY"),
}


@pytest.mark.parametrize("name", WRONG_OFF)
def test_off_files_with_wrong_counts_are_refused(tmp_path, name):
    content, reason = WRONG_OFF[name]
    path = write(tmp_path / f"{name}.off", content)
    with pytest.raises(DataError, match=reason) as caught:
        read_cloud(path)
    assert str(path) in caught.value.what


TEXT = {
    "windows.csv": "\ufeff" + POINTS.replace(" ", ",").replace("\n", "\r\n"),
    "hash.txt": f"# x, y, z\n{POINTS}",
    "slashes.txt": f"//X Y Z\n{POINTS}",
    "late.xyz": f"\n\n\n\n{POINTS}\n\n",
    "counted_later.pts": f"# a scan\n\n4\n{coloured(POINTS, '-100 1 2 3')}",
    "trailing.txt": POINTS.replace(" ", ",").replace("\n", ",\n"),
    "tabs.obj": "".join(f"v\t{line}\n" for line in POINTS.replace(" ", "\t").splitlines()),
}


@pytest.mark.parametrize("name", TEXT)
def test_text_of_other_programs(tmp_path, name):
    assert np.array_equal(read_cloud(write(tmp_path / name, TEXT[name])), np.array(CORNERS, np.float32))


def test_a_cloud_far_from_its_origin_keeps_its_shape(tmp_path):
    survey = np.array(CORNERS) * 0.01 + [500_000.12, 4_649_776.5, 30]
    cloud = read_cloud(write(tmp_path / "survey.xyz", "".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in survey)))
    assert np.allclose(cloud - cloud[0], np.array(CORNERS) * 0.01, atol=1e-6)
    near = read_cloud(write(tmp_path / "near.xyz", POINTS.replace("0 3 0", "0 3 9000")))
    assert near[0].tolist() == [0, 0, 0]


def test_an_array_that_is_turned_is_not_three_points(tmp_path):
    np.save(tmp_path / "turned.npy", np.zeros((3, 100), np.float32))
    with pytest.raises(DataError, match=r"turned\.npy: an array of the shape \(3, 100\)"):
        read_cloud(tmp_path / "turned.npy")


def test_pcd_coordinates_have_one_value(tmp_path):
    head = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 2 1 1\nPOINTS 1\nDATA binary\n"
    with pytest.raises(DataError, match=r"two_x\.pcd: .*\[2, 1, 1\]"):
        read_cloud(write(tmp_path / "two_x.pcd", head + "0" * 16))


def modelnet40(root: Path, listed: str = "data/of somebody else/ply_data_test0.h5\n") -> Path:
    root.mkdir(exist_ok=True)
    with h5py.File(root / "ply_data_test0.h5", "w") as file:
        file["data"], file["label"] = CLOUD[None].repeat(3, 0), np.array([[1], [0], [1]])
    write(root / "shape_names.txt", "chair\nnight stand\n")
    write(root / "test_files.txt", listed)
    return root


def test_names_in_lists_may_have_spaces(tmp_path):
    found = open_modelnet40(modelnet40(tmp_path))
    assert found.classnames == ("chair", "night stand")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("test_files.txt", "\n\n", "names nothing"),
        ("test_files.txt", b"\xff\xfe\0", "is no text"),
        ("shape_names.txt", "", "names nothing"),
        ("shape_names.txt", None, "is missing"),
        ("test_files.txt", b"a" * (17 << 20), "17825792 bytes"),
    ],
)
def test_broken_lists_are_named(tmp_path, name, content, reason):
    path = modelnet40(tmp_path) / name
    path.unlink() if content is None else write(path, content)
    for opener in (open_modelnet40, open_path):
        with pytest.raises(DataError, match=reason) as caught:
            opener(tmp_path)
        assert str(path) in caught.value.what


def test_a_file_that_is_listed_twice_is_read_once(tmp_path):
    found = open_modelnet40(modelnet40(tmp_path, "ply_data_test0.h5\nply_data_test0.h5\n"))
    assert len(set(found.keys)) == len(found) == 3


def test_the_lists_of_modelnet40_win_over_those_of_modelnet10_beside_them(tmp_path):
    for kind in ("chair", "cup"):
        write(tmp_path / kind / f"{kind}_0001.txt", POINTS.replace(" ", ","))
    for size, kinds in ((10, ("chair",)), (40, ("chair", "cup"))):
        write(tmp_path / f"modelnet{size}_shape_names.txt", "".join(f"{kind}\n" for kind in kinds))
        write(tmp_path / f"modelnet{size}_test.txt", "".join(f"{kind}_0001\n" for kind in kinds))
    assert open_path(tmp_path).keys == ("chair/chair_0001", "cup/cup_0001")


def test_scanobjectnn_is_recognised_by_its_folders(tmp_path):
    for place, name in enumerate(("main_split_nobg/test_objectdataset.h5", "main_split/test_objectdataset.h5")):
        path = tmp_path / "h5_files" / name
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file["data"], file["label"] = CLOUD[None], np.array([place])
    for root in (tmp_path, tmp_path / "h5_files"):
        assert open_path(root).label(0) == 0
        assert open_path(root, variant="OBJ_BG").label(0) == 1


@pytest.mark.parametrize("layout", ["{kind}/test", "test/{kind}"])
def test_a_class_without_files_is_remarked(tmp_path, layout):
    write(tmp_path / layout.format(kind="chair") / "a.xyz", POINTS)
    write(tmp_path / layout.format(kind="table") / "notes.md", "none")
    found = open_path(tmp_path)
    assert found.classnames == ("chair",)
    assert found.remark == "no readable file in: table"


def test_an_operating_system_that_refuses_is_told(tmp_path):
    with pytest.raises(DataError, match="File name too long"):
        open_path(tmp_path / ("a" * 300))


def test_a_scan_gives_a_part_of_all_of_it_and_a_published_set_its_first_points(tmp_path):
    line = np.linspace(0, 1, 5000)[:, None] * np.ones((1, 3))
    np.save(tmp_path / "scan.npy", line)
    (batch,) = open_path(tmp_path / "scan.npy").batches(1, 100)
    assert batch.points[0].amax() > 0.5
    assert batch.points[0].amin() < -0.5
    assert torch.equal(batch.points, next(open_path(tmp_path / "scan.npy").batches(1, 100)).points)
    with h5py.File(modelnet40(tmp_path / "h5") / "ply_data_test0.h5", "w") as file:
        file["data"], file["label"] = line[None].astype(np.float32), np.array([0])
    (batch,) = open_modelnet40(tmp_path / "h5").batches(1, 100)
    assert batch.points[0].amax() < -0.5


def test_a_published_cloud_that_is_normalised_comes_as_it_is(tmp_path):
    """The published protocol does not centre again what it has cut."""
    whole = normalise_clouds(torch.from_numpy(CLOUD[None])).numpy()
    with h5py.File(modelnet40(tmp_path) / "ply_data_test0.h5", "w") as file:
        file["data"], file["label"] = whole, np.array([0])
    (batch,) = open_modelnet40(tmp_path).batches(1, 7)
    assert np.allclose(batch.points.numpy(), whole[:, :7], atol=1e-6)


def test_random_points_are_different_ones_in_no_new_place():
    some = fit_count(CLOUD, 12, "key", ordered=False)
    assert len({tuple(point) for point in some}) == 12
    assert {tuple(point) for point in some} < {tuple(point) for point in CLOUD}
    assert not np.array_equal(some, CLOUD[:12])
    assert np.array_equal(fit_count(CLOUD, 30, "key", ordered=False), CLOUD)


def test_three_points_are_enough_and_one_place_is_not(tmp_path):
    write(tmp_path / "one.xyz", "1 2 3\n")
    write(tmp_path / "same.xyz", "1e6 2e6 3\n" * 5)
    write(tmp_path / "three.xyz", "0 0 0\n1 0 0\n0 1 0\n")
    errors: dict[str, Exception] = {}
    (batch,) = open_path(tmp_path).batches(4, 64, on_error=errors.__setitem__)
    assert batch.keys == ("three.xyz",)
    assert len({tuple(point) for point in batch.points[0].tolist()}) == 3
    assert float(batch.points[0].norm(dim=-1).amax()) == pytest.approx(1)
    assert "one.xyz: one point" in str(errors["one.xyz"])
    assert "same.xyz: all 5 points are identical" in str(errors["same.xyz"])


def test_a_compressed_pcd_with_padding_and_normals(tmp_path):
    head = "FIELDS _ normal x y z _\nSIZE 1 4 4 4 8 1\nTYPE U F F F F U\nCOUNT 3 3 1 1 1 2\nPOINTS 4\n"
    head += "DATA binary_compressed\n"
    x, y, z = np.array(CORNERS).T
    columns = b"\0" * 12 + np.full(12, 9, "<f4").tobytes()
    columns += x.astype("<f4").tobytes() + y.astype("<f4").tobytes() + z.astype("<f8").tobytes() + b"\0" * 8
    packed = b"".join(b"\x0b" + columns[place : place + 12] for place in range(0, len(columns), 12))
    sizes = struct.pack("<II", len(packed), len(columns))
    cloud = read_cloud(write(tmp_path / "scan.pcd", head.encode() + sizes + packed))
    assert np.array_equal(cloud, np.array(CORNERS, np.float32))
