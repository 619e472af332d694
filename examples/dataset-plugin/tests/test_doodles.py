"""What a plugin may expect of a dataset: stable keys, splits that differ, errors that say what was expected."""

import numpy as np
import pytest
from clipzoo.data.registry import datasets, open_dataset
from clipzoo.errors import DataError
from PIL import Image


def test_its_names_are_known() -> None:
    assert {"doodles", "doodle-files"} <= datasets().keys()


def test_a_drawing_depends_on_its_key_alone() -> None:
    few, many = open_dataset("images", "doodles", per_class=1), open_dataset("images", "doodles", per_class=2)
    assert set(few.keys) < set(many.keys) and len(few.classnames) == 16
    key = few.keys[3]
    first, second = (data.items[data.keys.index(key)].read() for data in (few, many))
    assert np.array_equal(np.asarray(first), np.asarray(second))


def test_splits_differ() -> None:
    train, test = (open_dataset("images", "doodles", split=split, per_class=1) for split in ("train", "test"))
    assert not np.array_equal(np.asarray(train.items[0].read()), np.asarray(test.items[0].read()))
    with pytest.raises(DataError, match="did you mean: train"):
        open_dataset("images", "doodles", split="trian")


def test_files_are_read_through_the_index(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLIPZOO_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"index\.csv with the columns"):
        open_dataset("images", "doodle-files")
    folder = tmp_path / "doodle-files"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    (folder / "index.csv").write_text("file,label,split\na.png,a red square,test\n")
    data = open_dataset("images", "doodle-files")
    assert data.classnames == ("a red square",) and data.items[0].read().getpixel((4, 4)) == (255, 0, 0)
    (folder / "index.csv").write_text("file,label\na.png,x\n")
    with pytest.raises(DataError, match="expected: the columns"):
        open_dataset("images", "doodle-files")
