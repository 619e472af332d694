"""Labelled sets of clouds: the layouts that people have on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from clipzoo_points.datasets import (
    SCANOBJECTNN_CLASSES,
    fit_count,
    open_modelnet10,
    open_modelnet40,
    open_path,
    open_scanobjectnn,
    open_shapes,
)

from clipzoo.data.shapes import CATEGORIES
from clipzoo.errors import ConfigError, DataError

CLOUD = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)


def put(root: Path, *names: str) -> Path:
    """Clouds under ``root``; each is moved by its place in the list, so that they differ."""
    for place, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, CLOUD + place)
        elif path.suffix == ".off":
            path.write_text(f"OFF\n3 1 0\n0 0 {place}\n1 0 0\n0 1 0\n3 0 1 2\n")
        else:
            np.savetxt(path, CLOUD + place, delimiter="," if path.suffix == ".txt" else " ")
    return root


def labels_of(dataset) -> dict[str, str | None]:
    return {
        key: None if (label := dataset.label(place)) is None else dataset.classnames[label]
        for place, key in enumerate(dataset.keys)
    }


def write_hdf5(path: Path, labels, points: int = 40, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).normal(size=(len(labels), points, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, np.asarray(labels)
    return data


def test_class_folders(tmp_path):
    found = open_path(put(tmp_path, "table/b.npy", "chair/a.npy", "chair/c.xyz", ".hidden/x.npy", "empty/readme.txt"))
    assert found.classnames == ("chair", "table")
    assert labels_of(found) == {"chair/a.npy": "chair", "chair/c.xyz": "chair", "table/b.npy": "table"}
    assert np.allclose(found.cloud(0), CLOUD + 1)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("layout", ["{kind}/{split}", "{split}/{kind}"])
def test_classes_and_splits(tmp_path, layout, split):
    names = [
        f"{layout.format(kind=kind, split=part)}/{kind}_{row}.npy"
        for kind in ("chair", "table")
        for part in ("train", "test")
        for row in (1, 2)
    ]
    found = open_path(put(tmp_path, *names), split=split)
    assert found.split == split
    assert set(found.keys) == {name for name in names if f"{split}/" in name}
    assert all(kind in key for key, kind in labels_of(found).items())
    with pytest.raises(DataError, match='no split "val"') as caught:
        open_path(tmp_path, split="val")
    assert caught.value.expected == "test, train"


def test_flat_folders_have_no_labels(tmp_path):
    found = open_path(put(tmp_path, "b.npy", "a.xyz"))
    assert found.classnames == ()
    assert labels_of(found) == {"a.xyz": None, "b.npy": None}


def test_a_split_of_flat_files(tmp_path):
    assert open_path(put(tmp_path, "test/a.npy", "train/b.npy")).keys == ("a.npy",)


def test_a_single_file(tmp_path):
    found = open_path(put(tmp_path, "a.npy") / "a.npy")
    assert labels_of(found) == {"a.npy": None}
    data = write_hdf5(tmp_path / "many.h5", [3, 1])
    found = open_path(tmp_path / "many.h5")
    assert labels_of(found) == {"many.h5#0": None, "many.h5#1": None}
    assert np.array_equal(found.cloud(1), data[1])


def test_modelnet10_is_z_up(tmp_path):
    put(tmp_path / "ModelNet10", "chair/test/chair_0001.off", "night_stand/test/night_stand_0001.off")
    found = open_modelnet10(tmp_path)
    assert found.name == "modelnet10"
    assert found.classnames == ("chair", "night_stand")
    assert found.up_axis == "z"


@pytest.fixture
def modelnet40(tmp_path) -> Path:
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("airplane\nchair\ntable\n")
    (folder / "test_files.txt").write_text(
        "data/modelnet40_ply_hdf5_2048/ply_data_test0.h5\nD:\\elsewhere\\ply_data_test1.h5\n"
    )
    write_hdf5(folder / "ply_data_test0.h5", [[2], [0]], seed=1)
    write_hdf5(folder / "ply_data_test1.h5", [[1]], seed=2)
    return tmp_path


def test_modelnet40_lists_name_paths_of_other_machines(modelnet40):
    found = open_modelnet40(modelnet40)
    expected = {
        "ply_data_test0.h5#0": "table",
        "ply_data_test0.h5#1": "airplane",
        "ply_data_test1.h5#0": "chair",
    }
    assert labels_of(found) == expected
    assert found.up_axis == "y"
    assert labels_of(open_path(modelnet40 / "modelnet40_ply_hdf5_2048")) == expected


def test_modelnet40_with_something_missing(modelnet40):
    folder = modelnet40 / "modelnet40_ply_hdf5_2048"
    with pytest.raises(DataError, match=r"train_files\.txt is missing") as caught:
        open_modelnet40(modelnet40, split="train")
    assert caught.value.expected == "test"
    (folder / "ply_data_test1.h5").unlink()
    with pytest.raises(DataError, match=r"ply_data_test1\.h5 is missing"):
        open_modelnet40(modelnet40)
    write_hdf5(folder / "ply_data_test1.h5", [[7]])
    with pytest.raises(DataError, match="labels from 7 to 7"):
        open_modelnet40(modelnet40)


def test_text_lists_with_missing_shapes(tmp_path):
    put(tmp_path, "night_stand/night_stand_0201.txt", "chair/chair_0001.txt")
    (tmp_path / "modelnet40_shape_names.txt").write_text("airplane\nchair\nnight_stand\n")
    (tmp_path / "modelnet40_test.txt").write_text("airplane_0627\nchair_0001\nnight_stand_0201\n")
    found = open_path(tmp_path)
    assert labels_of(found) == {"chair/chair_0001": "chair", "night_stand/night_stand_0201": "night_stand"}
    assert found.remark == "1 of 3 listed shapes are not on disk"
    with pytest.raises(DataError, match='no split "train"'):
        open_path(tmp_path, split="train")
    (tmp_path / "modelnet40_test.txt").write_text("spaceship_0001\n")
    with pytest.raises(DataError, match="'spaceship'"):
        open_path(tmp_path)
    (tmp_path / "modelnet40_test.txt").write_text("airplane_0627\n")
    with pytest.raises(DataError, match="none of the 1 shapes"):
        open_path(tmp_path)


SCANS = {
    "OBJ_ONLY": "main_split_nobg/{}_objectdataset.h5",
    "OBJ_BG": "main_split/{}_objectdataset.h5",
    "PB_T50_RS": "main_split/{}_objectdataset_augmentedrot_scale75.h5",
}


@pytest.mark.parametrize("inner", ["h5_files", "."])
def test_scanobjectnn(tmp_path, inner):
    for place, name in enumerate(SCANS.values()):
        write_hdf5(tmp_path / inner / name.format("test"), [place, 14])
        write_hdf5(tmp_path / inner / name.format("training"), [5])
    for place, variant in enumerate(SCANS):
        found = open_scanobjectnn(tmp_path, variant=variant)
        assert list(labels_of(found).values()) == [SCANOBJECTNN_CLASSES[place], "toilet"]
        assert list(labels_of(open_scanobjectnn(tmp_path, "train", variant)).values()) == ["desk"]
    with pytest.raises(DataError, match="OBJ_ONLYS") as caught:
        open_scanobjectnn(tmp_path, variant="OBJ_ONLYS")
    assert caught.value.closest == ("OBJ_ONLY",)
    with pytest.raises(DataError, match=r"val_objectdataset\.h5 is missing"):
        open_scanobjectnn(tmp_path, "val")


def test_class_names_may_be_given(tmp_path):
    found = open_path(put(tmp_path, "night_stand/a.npy", "chair/b.npy"))
    named = found.with_classnames(["lamp", "Night stand", "chair"])
    assert labels_of(named) == {"chair/b.npy": "chair", "night_stand/a.npy": "Night stand"}
    with pytest.raises(DataError, match='"night_stand"') as caught:
        found.with_classnames(["nightstand", "chair"])
    assert caught.value.closest == ("nightstand",)


def test_only_the_classes_that_are_asked_for(tmp_path):
    found = open_path(put(tmp_path, "a_class/a.npy", "chair/b.npy", "night_stand/c.npy")).among(
        ["night stand", "lamp", "chair"]
    )
    assert labels_of(found) == {"chair/b.npy": "chair", "night_stand/c.npy": "night stand"}


def test_clouds_get_the_number_of_points_that_is_asked_for():
    assert np.array_equal(fit_count(CLOUD, 7, "key"), CLOUD[:7])
    more = fit_count(CLOUD, 100, "key")
    assert np.array_equal(more[:30], CLOUD)
    assert {tuple(point) for point in more} == {tuple(point) for point in CLOUD}
    assert np.array_equal(more, fit_count(CLOUD, 100, "key"))
    assert not np.array_equal(more, fit_count(CLOUD, 100, "other"))


def test_a_bad_file_in_the_middle_is_reported_and_the_others_come(tmp_path):
    put(tmp_path, "a.npy", "b.npy", "c.npy", "d.npy", "e.npy")
    (tmp_path / "c.npy").write_bytes(b"")
    np.save(tmp_path / "d.npy", np.ones((9, 3)))
    found, errors = open_path(tmp_path), {}
    batches = list(found.batches(2, 16, on_error=errors.__setitem__))
    assert [batch.keys for batch in batches] == [("a.npy", "b.npy"), ("e.npy",)]
    assert set(errors) == {"c.npy", "d.npy"}
    assert all(name in errors[name].what for name in errors)
    assert batches[0].points.shape == (2, 16, 3)
    assert batches[0].labels == (None, None)
    with pytest.raises(DataError, match=r"c\.npy"):
        list(found.batches(2, 16))


def test_batches_are_centred_in_the_unit_sphere_and_skip_what_is_done(tmp_path):
    found = open_path(put(tmp_path, "a.npy", "b.npy", "c.npy"))
    (batch,) = found.batches(8, 30, skip={"b.npy"})
    assert batch.keys == ("a.npy", "c.npy")
    assert float(batch.points.mean(1).abs().max()) < 1e-5
    assert batch.points.norm(dim=-1).amax(1).tolist() == pytest.approx([1, 1])


def test_the_up_axis_is_that_of_the_files_or_the_users(tmp_path):
    np.savetxt(tmp_path / "tall.xyz", CLOUD * [1, 1, 40])
    found = open_path(tmp_path)
    heights = {
        axis: next(found.batches(1, 30, up_axis=axis)).points[0].abs().mean(0).argmax().item()
        for axis in ("auto", "y", "z")
    }
    assert found.up_axis == "y"
    assert heights == {"auto": 2, "y": 2, "z": 1}
    with pytest.raises(ConfigError, match='"up"'):
        next(found.batches(1, 30, up_axis="up"))


def test_toy_splits_share_no_shape_with_each_other_or_with_the_training_of_the_encoders():
    from clipzoo.data.shapes import shape_dataset

    seen = {tuple(cloud.flatten().tolist()) for cloud in shape_dataset(2, ["chair"], seed=0, points=32)[0]}
    for split in ("train", "val", "test"):
        dataset = open_shapes(None, split, per_class=2, points=32)
        assert dataset.classnames == CATEGORIES
        assert len(dataset) == 2 * len(CATEGORIES)
        place = dataset.keys.index(f"chair/{split}/0000")
        for shape in (tuple(dataset.cloud(place + row).flatten().tolist()) for row in (0, 1)):
            assert shape not in seen
            seen.add(shape)
    with pytest.raises(DataError, match='"tests"') as caught:
        open_shapes(None, "tests")
    assert "test" in caught.value.closest


@pytest.mark.data
def test_real_modelnet10(real_data):
    found = open_path(real_data / "modelnet10_pcd")
    counts = Counter(labels_of(found).values())
    assert counts == {
        "bathtub": 50,
        "bed": 100,
        "chair": 100,
        "desk": 86,
        "dresser": 86,
        "monitor": 100,
        "night_stand": 86,
        "sofa": 100,
        "table": 100,
        "toilet": 100,
    }
    assert found.up_axis == "z"
    batches = list(found.subset(range(0, 908, 30)).batches(16))
    assert all(bool(torch.isfinite(batch.points).all()) for batch in batches)
    assert all(batch.points.shape[1:] == (1024, 3) for batch in batches)


@pytest.mark.data
@pytest.mark.parametrize("split", ["train", "test"])
def test_real_modelnet40_text_files(real_data, split):
    folder = real_data / "modelnet40_txt"
    found = open_path(folder, split=split)
    listed = (folder / f"modelnet40_{split}.txt").read_text().split()
    assert {key.partition("/")[2] for key in found.keys} <= set(listed)
    assert len(found) + sum(not (folder / s.rpartition("_")[0] / f"{s}.txt").exists() for s in listed) == len(listed)
    assert found.up_axis == "y"
    assert np.linalg.norm(found.cloud(0), axis=1).max() <= 1.01
    assert found.cloud(0).shape == (1024, 3)


@pytest.mark.data
def test_real_modelnet_meshes(real_data):
    found = open_path(real_data / "modelnet_off")
    assert len(found) >= 5
    assert found.up_axis == "z"
    (batch,) = found.batches(64)
    assert batch.points.shape == (len(found), 1024, 3)
