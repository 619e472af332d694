"""Images with depth in the layouts that people have on disk, made small."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from clipzoo_depth.datasets import open_path, open_rooms
from clipzoo_depth.kitti import open_kitti, project_lidar, read_calibration
from clipzoo_depth.mat_files import read_mat
from clipzoo_depth.nyu import NYU_INTRINSICS, open_nyuv2
from scipy.io import savemat

from clipzoo.errors import DataError


def ramp(height: int = 64, width: int = 96) -> np.ndarray:
    """Depth from 1 to 4 m, left to right."""
    return np.tile(np.linspace(1, 4, width, dtype=np.float32), (height, 1))


def errors_of(data) -> dict[str, str]:
    found = {}
    for item in data.items:
        try:
            item.read()
        except DataError as error:
            found[item.key] = str(error)
    return found


# NYU Depth v2 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nyu(tmp_path) -> Path:
    """A labelled file of five frames of 480 x 640 px as MATLAB 7.3 writes it, with splits as MATLAB 5 does."""
    folder = tmp_path / "nyu"
    folder.mkdir()
    random = np.random.default_rng(0)
    scenes = ["bathroom", "kitchen", "classroom", "bathroom", "office"]
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["images"] = random.integers(0, 256, (5, 3, 640, 480), dtype=np.uint8)
        raw = random.uniform(0.7, 9.9, (5, 640, 480)).astype(np.float32)
        file["depths"] = raw
        raw[:, :10] = 0
        file["rawDepths"] = raw
        references = np.empty((1, 5), h5py.ref_dtype)
        for place, scene in enumerate(scenes):
            file[f"#refs#/{place}"] = np.array([[ord(letter)] for letter in scene], np.uint16)
            references[0, place] = file[f"#refs#/{place}"].ref
        file.create_dataset("sceneTypes", data=references, dtype=h5py.ref_dtype)
    savemat(folder / "splits.mat", {"testNdxs": np.array([[1], [4], [3]]), "trainNdxs": np.array([[2], [5]])})
    return folder


def test_labelled_file(nyu):
    data = open_nyuv2(nyu)
    assert (data.name, data.split, data.protocol) == ("nyuv2", "test", "nyu-eigen")
    assert [item.key for item in data.items] == ["bathroom/00000", "classroom/00002", "bathroom/00003"]
    assert [item.scene for item in data.items] == ["bathroom", "classroom", "bathroom"]
    view = data.items[1].read()
    with h5py.File(nyu / "nyu_depth_v2_labeled.mat") as file:
        np.testing.assert_array_equal(view.image, file["images"][2].transpose(2, 1, 0))
        raw, filled = file["rawDepths"][2].T, file["depths"][2].T
    assert view.image.shape == (480, 640, 3) and view.depth.shape == (480, 640)
    assert view.intrinsics == NYU_INTRINSICS
    # Whole millimetres, cut off, as in the published files.
    np.testing.assert_allclose(view.depth, np.floor(raw.astype(np.float64) * 1000) / 1000, atol=1e-6)
    assert (view.depth[:, :10] == 0).all()
    again = open_nyuv2(nyu, depth_map="filled").items[1].read().depth
    np.testing.assert_allclose(again, np.floor(filled.astype(np.float64) * 1000) / 1000, atol=1e-6)
    assert [item.key for item in open_nyuv2(nyu, split="train").items] == ["kitchen/00001", "office/00004"]
    assert len(open_nyuv2(nyu, split="all")) == 5
    assert len(open_path(nyu)) == len(open_path(nyu / "nyu_depth_v2_labeled.mat")) == 3


@pytest.mark.parametrize("value", [1e308, 1e39, np.inf])
def test_a_depth_beyond_all_numbers_is_refused_or_far(nyu, value):
    with h5py.File(nyu / "nyu_depth_v2_labeled.mat", "r+") as file:
        depths = file["rawDepths"][:].astype(np.float64)
        depths[2, 30, 30], depths[0] = value, value
        del file["rawDepths"]
        file["rawDepths"] = depths
    items = {item.key: item for item in open_nyuv2(nyu).items}
    far, near = (next(item for key, item in items.items() if key.endswith(part)) for part in ("00000", "00002"))
    with pytest.raises(DataError):
        far.read()
    assert near.read().depth[30, 30] > 1e5


def test_depth_that_is_no_stack_of_frames(nyu):
    with h5py.File(nyu / "nyu_depth_v2_labeled.mat", "r+") as file:
        del file["rawDepths"]
        file["rawDepths"] = 1.0
    with pytest.raises(DataError, match="do not belong together"):
        open_nyuv2(nyu)


def test_labelled_file_without_splits(nyu):
    (nyu / "splits.mat").unlink()
    with pytest.raises(DataError, match=r"splits\.mat is missing(.|\n)*split=all"):
        open_nyuv2(nyu)
    (nyu / "splits.mat").write_bytes(b"no matrix")
    with pytest.raises(DataError, match=r"splits\.mat cannot be read"):
        open_nyuv2(nyu)
    savemat(nyu / "splits.mat", {"testNdxs": np.array([[6]])})
    with pytest.raises(DataError, match="not among the 5"):
        open_nyuv2(nyu)
    with pytest.raises(DataError, match="test, train or all"):
        open_nyuv2(nyu, split="val")


def test_a_file_that_is_not_the_labelled_one(tmp_path):
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match="not the labelled NYU"):
        open_nyuv2(tmp_path)
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 3, 4, 5), np.uint8)
    with pytest.raises(DataError, match="sceneTypes"):
        open_nyuv2(tmp_path)


def test_extracted_frames(tmp_path, write_photo, write_depth):
    for scene, number in (("bathroom", 45), ("office", 7)):
        folder = tmp_path / "official_splits" / "test" / scene
        write_photo(folder / f"rgb_{number:05d}.jpg", 480, 640)
        write_depth(folder / f"sync_depth_{number:05d}.png", ramp(480, 640))
    data = open_nyuv2(tmp_path)
    assert [item.key for item in data.items] == ["bathroom/rgb_00045.jpg", "office/rgb_00007.jpg"]
    assert [item.scene for item in data.items] == ["bathroom", "office"]
    np.testing.assert_allclose(data.items[0].read().depth, ramp(480, 640), atol=0.0006)
    (folder / "sync_depth_00007.png").unlink()
    assert set(errors_of(open_nyuv2(tmp_path))) == {"office/rgb_00007.jpg"}
    with pytest.raises(DataError, match="split train"):
        open_nyuv2(tmp_path / "official_splits" / "test" / "bathroom", split="train")


# KITTI ----------------------------------------------------------------------------------------------------------------

CAMERA = np.array([[50.0, 0, 48, 4], [0, 50, 32, 0.2], [0, 0, 1, 0.003]])
TURN = np.array([[0.0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, -0.3], [0, 0, 0, 1]])


def scan(seed: int = 0) -> np.ndarray:
    """Points in front of and behind the lidar: x forward, y left, z up."""
    random = np.random.default_rng(seed)
    points = random.uniform([-20, -10, -3, 0], [40, 10, 3, 1], (3000, 4)).astype(np.float32)
    return points


def by_hand(points: np.ndarray) -> np.ndarray:
    depth = np.zeros((64, 96))
    for point in points[:, :3].astype(np.float64):
        x, y, z = CAMERA @ TURN @ np.append(point, 1)
        if z <= 1e-3:
            continue
        column, row = round(x / z), round(y / z)
        if 0 <= row < 64 and 0 <= column < 96 and (depth[row, column] == 0 or z < depth[row, column]):
            depth[row, column] = z
    return depth


def test_lidar_on_the_image():
    found = project_lidar(scan()[:, :3].astype(np.float64), CAMERA @ TURN, 64, 96)
    assert (found > 0).sum() > 300
    np.testing.assert_allclose(found, by_hand(scan()), rtol=1e-6)


def as_json(path: Path) -> None:
    path.write_text(json.dumps({"cam2img": [*CAMERA.tolist(), [0, 0, 0, 1]], "lidar2cam": TURN.tolist()}))


def as_text(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"P2": CAMERA, "R0_rect": np.eye(3), "Tr_velo_to_cam": TURN[:3]}
    path.write_text("\n".join(f"{name}: {' '.join(map(str, value.ravel()))}" for name, value in rows.items()) + "\n")


def test_both_forms_of_calibration(tmp_path):
    as_json(tmp_path / "calib.json")
    as_text(tmp_path / "000001.txt")
    for name in ("calib.json", "000001.txt"):
        camera, to_camera = read_calibration(tmp_path / name)
        np.testing.assert_allclose(camera, CAMERA)
        np.testing.assert_allclose(to_camera, TURN)
    (tmp_path / "bad.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(DataError, match="3 x 4 numbers"):
        read_calibration(tmp_path / "bad.txt")
    (tmp_path / "bad.txt").write_text("P0: 1 2 3\n")
    with pytest.raises(DataError, match="P2, R0_rect"):
        read_calibration(tmp_path / "bad.txt")


@pytest.mark.parametrize("layout", ["flat", "detection"])
def test_frames_with_lidar(tmp_path, layout, write_photo):
    if layout == "flat":
        write_photo(tmp_path / "000008.png")
        scan().tofile(tmp_path / "000008.bin")
        as_json(tmp_path / "calib.json")
    else:
        write_photo(tmp_path / "training" / "image_2" / "000008.png")
        (tmp_path / "training" / "velodyne").mkdir()
        scan().tofile(tmp_path / "training" / "velodyne" / "000008.bin")
        as_text(tmp_path / "training" / "calib" / "000008.txt")
    data = open_path(tmp_path)
    assert data.protocol == "kitti-garg" and [item.key for item in data.items] == ["000008"]
    view = data.items[0].read()
    np.testing.assert_allclose(view.depth, by_hand(scan()), rtol=1e-6)
    assert view.intrinsics == (50.0, 50.0, 48.0, 32.0)


def test_frames_with_annotated_depth(tmp_path, write_photo, write_depth):
    drive = "2011_09_26_drive_0002_sync"
    write_depth(tmp_path / "val" / drive / "proj_depth/groundtruth/image_02/0000000005.png", ramp(), 256)
    write_photo(tmp_path / "2011_09_26" / drive / "image_02/data/0000000005.png")
    data = open_kitti(tmp_path)
    np.testing.assert_allclose(data.items[0].read().depth, ramp(), atol=0.002)
    assert data.items[0].key == f"{drive}/0000000005"


def test_depth_selection(tmp_path, write_photo, write_depth):
    name = "2011_09_26_drive_0002_sync_{}_0000000005_image_02"
    write_photo(tmp_path / "image" / f"{name.format('image')}.png")
    write_depth(tmp_path / "groundtruth_depth" / f"{name.format('groundtruth_depth')}.png", ramp(), 256)
    (tmp_path / "intrinsics").mkdir()
    (tmp_path / "intrinsics" / f"{name.format('image')}.txt").write_text("70.0 0.0 47.0 0.0 71.0 31.0 0.0 0.0 1.0")
    view = open_path(tmp_path).items[0].read()
    assert view.intrinsics == (70.0, 71.0, 47.0, 31.0)
    np.testing.assert_allclose(view.depth, ramp(), atol=0.002)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe7 0", "cannot be read"), (b"7 0 3 0 7 2 0 nan 1", "numbers"), (b"7 x", "no number")],
)
def test_bad_intrinsics_are_those_of_their_frame(tmp_path, write_photo, write_depth, content, said):
    write_photo(tmp_path / "image" / "a_image_0.png")
    write_depth(tmp_path / "groundtruth_depth" / "a_groundtruth_depth_0.png", ramp(), 256)
    (tmp_path / "intrinsics").mkdir()
    (tmp_path / "intrinsics" / "a_image_0.txt").write_bytes(content)
    assert said in errors_of(open_path(tmp_path))["a_image_0.png"]


def test_broken_frames_of_kitti(tmp_path, write_photo):
    write_photo(tmp_path / "a.png")
    (tmp_path / "a.bin").write_bytes(b"x" * 30)
    as_json(tmp_path / "calib.json")
    assert "16 a point" in errors_of(open_path(tmp_path))["a"]
    behind = scan()
    behind[:, 0] = -5
    behind.tofile(tmp_path / "a.bin")
    assert "no pixel of known depth" in errors_of(open_path(tmp_path))["a"]
    (tmp_path / "a.png").unlink()
    assert "has no image" in errors_of(open_path(tmp_path))["a"]
    with pytest.raises(DataError, match="no frames of KITTI"):
        open_kitti(tmp_path / "nothing")


# Files of your own ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo", "depth"),
    [
        ("a_rgb.jpg", "a_depth.png"),
        ("a.jpg", "a_depth_mm.png"),
        ("a.png", "a-depth.png"),
        ("rgb_00012.jpg", "sync_depth_00012.png"),
        ("frame-000001.color.jpg", "frame-000001.depth.png"),
        ("rgb/7.jpg", "depth/7.png"),
        ("images/7.png", "depths/7.png"),
        ("kitchen/rgb/7.jpg", "kitchen/depth/7.png"),
    ],
)
def test_pairs_are_told_by_their_names(tmp_path, photo, depth, write_photo, write_depth):
    root = tmp_path / "mine"
    write_photo(root / photo)
    write_depth(root / depth, ramp())
    data = open_path(root)
    assert data.labelled and [item.key for item in data.items] == [photo]
    np.testing.assert_allclose(data.items[0].read().depth, ramp(), atol=0.0006)


def test_photos_without_depth(tmp_path, write_photo):
    image = write_photo(tmp_path / "photos" / "a.png")
    write_photo(tmp_path / "photos" / "more" / "b.jpg")
    data = open_path(tmp_path / "photos")
    assert not data.labelled and [item.key for item in data.items] == ["a.png", "more/b.jpg"]
    view = data.items[0].read()
    assert view.depth is None
    np.testing.assert_array_equal(view.image, image)
    assert [item.key for item in open_path(tmp_path / "photos" / "a.png").items] == ["a.png"]


def test_what_does_not_fit_is_named(pair_folder, write_depth):
    (pair_folder / "00_depth.png").unlink()
    (pair_folder / "01_rgb.png").unlink()
    write_depth(pair_folder / "02_depth.png", ramp(32, 48))
    found = errors_of(open_path(pair_folder))
    assert set(found) == {"00_rgb.png", "01_depth.png", "02_rgb.png"}
    assert "has no depth map" in found["00_rgb.png"]
    assert "has no photo" in found["01_depth.png"]
    assert "96 x 64 px and its depth 48 x 32 px" in found["02_rgb.png"]


def test_two_depth_maps_of_a_photo(pair_folder, write_depth):
    write_depth(pair_folder / "00_depth_mm.png", ramp())
    assert "several depth maps" in errors_of(open_path(pair_folder))["00_rgb.png"]


def test_splits_of_your_own(tmp_path, write_photo, write_depth):
    for split in ("train", "test"):
        write_photo(tmp_path / split / "a.jpg")
        write_depth(tmp_path / split / "a_depth.png", ramp())
    assert open_path(tmp_path, split="train").split == "train"
    with pytest.raises(DataError, match='no split "val"'):
        open_path(tmp_path, split="val")


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        open_path(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match="is no image"):
        open_path(tmp_path / "a.txt")


def test_rooms_do_not_depend_on_their_number():
    few, many = open_rooms(rooms=1), open_rooms(rooms=2)
    np.testing.assert_array_equal(few.items[0].read().image, many.items[0].read().image)
    assert few.items[0].read().depth.shape == few.items[0].read().image.shape[:2]
    train = open_rooms(rooms=1, split="train").items[0].read()
    assert not np.array_equal(train.depth, few.items[0].read().depth)
    with pytest.raises(DataError, match='no split "val"'):
        open_rooms(split="val")


@pytest.mark.parametrize("packed", [False, True])
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path, packed):
    from scipy.io import loadmat

    content = {
        "a": np.random.default_rng(0).normal(size=(3, 4)),
        "b": np.arange(5, dtype=np.int16),
        "one": 7.0,
        "none": np.zeros((0, 3)),
    }
    others = {"text": "splits", "struct": {"x": 1}, "complex": np.array([1 + 2j])}
    savemat(tmp_path / "x.mat", content | others, do_compression=packed)
    found, expected = read_mat(tmp_path / "x.mat"), loadmat(tmp_path / "x.mat")
    assert found.keys() == content.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])
