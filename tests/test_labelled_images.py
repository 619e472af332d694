import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipzoo.data.labelled_images import open_cifar, open_images, open_scenes
from clipzoo.data.registry import open_dataset
from clipzoo.errors import DataError


def picture(value: int = 0, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(("blue_cup", "a dog")):
            for index in range(3):
                write(tmp_path / "photos" / split / name / f"{index}.png", picture(40 * label + index))
    return tmp_path / "photos"


def test_folder_with_splits(folder) -> None:
    data = open_images(folder, split="train")
    assert data.classnames == ("a dog", "blue_cup") and len(data) == 6 and data.split == "train"
    assert data.keys[0] == "train/a dog/0.png"
    assert [item.label for item in data.items] == [0, 0, 0, 1, 1, 1]
    assert np.array(data.items[0].read())[0, 0, 0] == 40
    with pytest.raises(DataError, match='no split "val"'):
        open_images(folder, split="val")


def test_folder_without_splits(folder) -> None:
    data = open_images(folder / "train", split="test")
    assert data.split == "all" and len(data) == 6


def test_val_stands_for_test_where_there_is_no_test(folder) -> None:
    (folder / "test").rename(folder / "validation")
    assert open_images(folder, split="test").split == "val"


def test_loose_images(folder) -> None:
    data = open_images(folder / "train" / "a dog")
    assert data.classnames == () and [item.label for item in data.items] == [None] * 3
    named = data.with_classnames(["dog", "cup"])
    assert named.classnames == ("dog", "cup")
    assert len(open_images(folder / "train" / "a dog" / "0.png")) == 1


def test_class_names_that_are_not_there(folder) -> None:
    data = open_images(folder, split="test")
    assert [item.label for item in data.with_classnames(["x", "Blue cup", "A dog"]).items] == [2, 2, 2, 1, 1, 1]
    with pytest.raises(DataError, match="did you mean: a dig"):
        data.with_classnames(["blue cup", "a dig"])


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_table(folder, suffix) -> None:
    comma = "," if suffix == "csv" else "\t"
    rows = [comma.join(("image_path", "split", "label"))]
    rows += [
        comma.join((f"{s}/{n}/{i}.png", s, n))
        for s in ("train", "test")
        for n in ("a dog", "blue_cup")
        for i in range(2)
    ]
    data = open_images(write(folder / f"list.{suffix}", "\n".join(rows)), split="test")
    assert len(data) == 4 and data.classnames == ("a dog", "blue_cup")
    assert data.items[0].read().size == (8, 8)
    with pytest.raises(DataError, match="no split"):
        open_images(folder / f"list.{suffix}", split="x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "columns"),
        ("path,label\n", "no images"),
        ("path,label\na.png,x\na.png,y\n", "twice"),
        ("\xff", "table"),
    ],
)
def test_broken_tables(tmp_path, text, reason) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=reason):
        open_images(path)


def shard(path: Path, labels: list[str], form: str, start: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for index, label in enumerate(labels, start=start):
            told = json.dumps({"label": label}) if form == "json" else label
            for suffix, content in (("png", picture(index)), (form, told.encode())):
                info = tarfile.TarInfo(f"{index:04d}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", ["cls", "txt", "json"])
def test_webdataset(tmp_path, form) -> None:
    labels = ["10", "2", "10"] if form == "cls" else ["dog", "cup", "dog"]
    data = open_images(shard(tmp_path / "a.tar", labels, form))
    assert [data.classnames[item.label] for item in data.items] == labels
    assert [np.array(item.read())[0, 0, 0] for item in data.items] == [0, 1, 2]
    if form == "cls":
        assert data.classnames == ("2", "10")
        named = data.with_classnames([f"name {k}" for k in range(11)])
        assert [named.classnames[item.label] for item in named.items] == ["name 10", "name 2", "name 10"]


def test_folder_of_shards(tmp_path) -> None:
    for part in range(2):
        shard(tmp_path / "w" / f"train-{part}.tar", ["dog"], "txt", part)
        shard(tmp_path / "w" / f"val-{part}.tar", ["cup", "dog"], "txt", part)
    assert len(open_images(tmp_path / "w", split="train")) == 2
    assert len(open_images(tmp_path / "w", split="val")) == 4
    assert open_images(tmp_path / "w", split="other").split == "all"


def test_shard_that_is_cut_off(tmp_path) -> None:
    path = shard(tmp_path / "a.tar", ["dog"] * 4, "txt")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError):
        open_images(path)[0]  # type: ignore[index]


def cifar(folder: Path, hundred: bool) -> Path:
    header = 2 if hundred else 1
    rows = np.zeros((5, header + 3072), np.uint8)
    rows[:, header - 1] = [0, 1, 1, 0, 1]
    rows[:, header:] = np.arange(5)[:, None] * 10
    inner = folder / ("cifar-100-binary" if hundred else "cifar-10-batches-bin")
    names = "fine_label_names.txt" if hundred else "batches.meta.txt"
    write(inner / names, "apple\nbear\n\n")
    for name in (
        ("train.bin", "test.bin") if hundred else ("test_batch.bin", *(f"data_batch_{k}.bin" for k in range(1, 6)))
    ):
        write(inner / name, rows.tobytes())
    return inner


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar(tmp_path, hundred) -> None:
    inner = cifar(tmp_path, hundred)
    data = open_cifar(tmp_path, split="test")
    assert data.classnames == ("apple", "bear") and [item.label for item in data.items] == [0, 1, 1, 0, 1]
    assert np.array(data.items[3].read()).tolist() == np.full((32, 32, 3), 30).tolist()
    assert len(open_images(tmp_path, split="train")) == (5 if hundred else 25)
    part = next(inner.glob("test*"))
    part.write_bytes(part.read_bytes()[:-7])
    with pytest.raises(DataError, match="multiple of"):
        open_cifar(tmp_path, split="test")
    with pytest.raises(DataError, match="no split"):
        open_cifar(tmp_path, split="val")


def test_imagenet_folders_get_words(tmp_path) -> None:
    for wnid in ("n01440764", "n01443537"):
        write(tmp_path / "val" / wnid / "x.JPEG", picture())
    data = open_images(tmp_path)
    assert data.classnames == ("tench", "goldfish") and data.split == "val"
    write(tmp_path / "val" / "n99999999" / "x.png", picture())
    with pytest.raises(DataError, match=r"words\.txt"):
        open_images(tmp_path)
    write(tmp_path / "words.txt", "n99999999\tmade-up thing, other\n")
    assert open_images(tmp_path).classnames[-1] == "made-up thing"


def test_tiny_imagenet(tmp_path) -> None:
    write(tmp_path / "wnids.txt", "n01443537\nn01440764\n")
    write(tmp_path / "words.txt", "n01440764\ttench\n")
    write(tmp_path / "train" / "n01440764" / "images" / "a.JPEG", picture())
    write(tmp_path / "val" / "images" / "v0.JPEG", picture())
    write(tmp_path / "val" / "val_annotations.txt", "v0.JPEG\tn01440764\t0\t0\t1\t1\n")
    data = open_images(tmp_path)
    assert data.classnames == ("goldfish", "tench") and [item.label for item in data.items] == [1]
    assert len(open_images(tmp_path, split="train")) == 1


def test_scenes() -> None:
    data = open_scenes(None, per_class=2)
    assert len(data) == 32 and len(set(data.keys)) == 32
    first = np.array(data.items[0].read())
    assert np.array_equal(first, np.array(open_scenes(None, per_class=1).items[0].read()))
    assert not np.array_equal(first, np.array(open_scenes(None, split="train", per_class=1).items[0].read()))
    with pytest.raises(DataError):
        open_scenes(None, split="all")


def test_by_name_and_by_path(folder) -> None:
    assert len(open_dataset("images", "scenes", split="test", per_class=1)) == 16
    assert len(open_dataset("images", str(folder), split="test")) == 6


@pytest.mark.parametrize(
    "make", [lambda p: p.mkdir(), lambda p: write(p, "text"), lambda p: write(p / "a" / "note.txt", "x")]
)
def test_nothing_to_see(tmp_path, make) -> None:
    make(tmp_path / "empty")
    with pytest.raises(DataError):
        open_images(tmp_path / "empty")


def test_selected(folder) -> None:
    data = open_images(folder, split="test")
    assert data.selected(["test/blue_cup/1.png"]).items[0].label == 1
    with pytest.raises(DataError, match="did you mean"):
        data.selected(["test/blue_cup/9.png"])
