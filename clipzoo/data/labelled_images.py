"""Sets of images with class labels, in the layouts that people have on disk."""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from clipzoo.errors import DataError, closest_matches

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
_SPLITS = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}
_PATH_COLUMNS = ("path", "image_path", "filepath", "file_path", "image", "file", "filename", "file_name")
_LABEL_COLUMNS = ("label", "class", "class_name", "classname", "category", "name", "target")
_WNID = re.compile(r"n\d{8}")
_MAX_LIST_BYTES = 256 << 20


@dataclass(frozen=True)
class LabelledImage:
    """One image of a set.

    Attributes:
        key: its stable name.
        label: index of its class, or None.
        read: gives it as an RGB picture.
    """

    key: str
    label: int | None
    read: Callable[[], Image.Image] = field(repr=False)


@dataclass(frozen=True)
class ImageDataset:
    """Images with keys, and labels where there are some.

    Attributes:
        name: of the set.
        split: which part.
        classnames: in the order of the labels; empty when nothing is labelled.
        items: the images, not yet read.
        layout: how the files were understood, for records.
    """

    name: str
    split: str
    classnames: tuple[str, ...]
    items: tuple[LabelledImage, ...] = field(repr=False)
    layout: str

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    @property
    def keys(self) -> tuple[str, ...]:
        """One stable name an image."""
        return tuple(item.key for item in self.items)

    def with_classnames(self, names: Sequence[str]) -> ImageDataset:
        """The same images to be told apart among ``names``; the classes of the set must be among them.

        Where the files tell numbers alone, a name is that of the number of its place.

        Raises:
            DataError: if a class of the set is not among ``names``.
        """
        if self.classnames and all(own.isdigit() and int(own) < len(names) for own in self.classnames):
            items = tuple(
                item if item.label is None else replace(item, label=int(self.classnames[item.label]))
                for item in self.items
            )
            return replace(self, classnames=tuple(names), items=items)
        wanted = {_plain(name): place for place, name in enumerate(names)}
        for own in self.classnames:
            if _plain(own) not in wanted:
                raise DataError(
                    f'the class "{own}" of {self.name} is not among the names given',
                    closest=closest_matches(own, names),
                    expected=f"all of {', '.join(self.classnames[:12])}, and others if you like",
                )
        items = tuple(
            item if item.label is None else replace(item, label=wanted[_plain(self.classnames[item.label])])
            for item in self.items
        )
        return replace(self, classnames=tuple(names), items=items)

    def subset(self, indices: Sequence[int]) -> ImageDataset:
        """The images at ``indices``, in this order."""
        return replace(self, items=tuple(self.items[index] for index in indices))

    def selected(self, keys: Sequence[str]) -> ImageDataset:
        """The images called ``keys``, in this order.

        Raises:
            DataError: if one is not here.
        """
        place = {item.key: index for index, item in enumerate(self.items)}
        missing = [key for key in keys if key not in place]
        if missing:
            raise DataError(
                f'"{missing[0]}" is not in {self.name}, split {self.split} ({len(missing)} are missing)',
                closest=closest_matches(missing[0], list(place)[:10_000]),
            )
        return self.subset([place[key] for key in keys])


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def open_scenes(folder: None, *, split: str = "test", per_class: int = 20, **_: object) -> ImageDataset:
    """The toy world: one object a picture, of the 16 colours and shapes that the tiny encoders never saw together.

    Args:
        folder: none is needed.
        split: ``"train"``, ``"val"`` or ``"test"``; three seeds.
        per_class: pictures a class.

    Raises:
        DataError: if there is no such split.
    """
    from clipzoo.data.scenes import HELD_OUT, sample_scene

    seeds = {"train": 7001, "val": 7002, "test": 7003}
    if split not in seeds:
        raise DataError(f'scenes has no split "{split}"', expected=", ".join(seeds))
    names = tuple(f"{colour} {shape}" for colour, shape in HELD_OUT)

    def reader(index: int, label: int) -> Callable[[], Image.Image]:
        def read() -> Image.Image:
            import numpy as np
            from PIL import Image

            tries = 0
            while True:
                generator = np.random.default_rng([seeds[split], label, index, tries])
                scene = sample_scene(generator, size=128, objects=1, combinations="held-out")
                if (scene.objects[0].colour, scene.objects[0].shape) == HELD_OUT[label]:
                    return Image.fromarray(scene.image)
                tries += 1

        return read

    items = tuple(
        LabelledImage(f"{names[label].replace(' ', '-')}-{index:04d}", label, reader(index, label))
        for label in range(len(names))
        for index in range(per_class)
    )
    return ImageDataset("scenes", split, names, items, "drawn by a program")


def open_images(path: Path, *, split: str = "test", **_: object) -> ImageDataset:
    """Images of one's own: a folder a class, CSV, webdataset, or the layouts of CIFAR, ImageNet and Tiny-ImageNet.

    Args:
        path: a folder, a ``.csv`` with a column of paths and one of labels, or ``.tar`` shards (one file, or a folder
            that holds nothing else).
        split: of those that the files tell; where there is one only, it is taken.

    Raises:
        DataError: if nothing is found, the split is not there, or a list cannot be read.
    """
    if path.is_file():
        if path.suffix.lower() in (".csv", ".tsv"):
            return _from_table(path, split)
        if path.suffix.lower() == ".tar":
            return _from_shards(path.stem, [path], split)
        if path.suffix.lower() in SUFFIXES:
            return ImageDataset(path.name, "all", (), (LabelledImage(path.name, None, _reader(path)),), "one file")
        raise DataError(
            f"{path.name} is no set of images", expected="a folder, .csv, .tar, or an image", hint="--data FOLDER"
        )
    for known in (path, *(path / name for name in ("cifar-10-batches-bin", "cifar-100-binary"))):
        if (known / "batches.meta.txt").is_file() or (known / "fine_label_names.txt").is_file():
            return open_cifar(known, split=split)
    if (path / "wnids.txt").is_file() and (path / "words.txt").is_file():
        return _tiny_imagenet(path, split)
    shards = sorted(path.glob("*.tar"))
    if shards:
        return _from_shards(path.name, shards, split)
    return _from_folder(path, split)


def open_cifar(folder: Path, *, split: str = "test", **_: object) -> ImageDataset:
    """CIFAR-10 or CIFAR-100 in their binary form (Krizhevsky 2009).

    Args:
        folder: holds ``batches.meta.txt`` or ``fine_label_names.txt``, or a folder that does.
        split: ``"train"`` or ``"test"``.

    Raises:
        DataError: if files are missing or have the wrong length, or there is no such split.
    """
    for inner in ("cifar-10-batches-bin", "cifar-100-binary"):
        if (folder / inner).is_dir():
            folder = folder / inner
    hundred = (folder / "fine_label_names.txt").is_file()
    files = {
        "train": ["train.bin"] if hundred else [f"data_batch_{part}.bin" for part in range(1, 6)],
        "test": ["test.bin"] if hundred else ["test_batch.bin"],
    }
    if split not in files:
        raise DataError(f'CIFAR has no split "{split}"', expected="train or test")
    names_file = folder / ("fine_label_names.txt" if hundred else "batches.meta.txt")
    names = tuple(name for name in _text(names_file).split() if name)
    header = 2 if hundred else 1
    items: list[LabelledImage] = []
    for name in files[split]:
        items += _cifar_records(folder / name, header, len(names))
    return ImageDataset("cifar100" if hundred else "cifar10", split, names, tuple(items), "CIFAR, binary")


def _cifar_records(path: Path, header: int, classes: int) -> Iterator[LabelledImage]:
    import numpy as np
    from PIL import Image

    record = header + 3072
    try:
        size = path.stat().st_size
        rows = np.memmap(path, np.uint8, mode="r").reshape(-1, record) if size and size % record == 0 else None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", expected="the binary version of CIFAR") from error
    if rows is None:
        raise DataError(f"{path} has {size} bytes", expected=f"a multiple of {record}")
    labels = np.array(rows[:, header - 1])
    if int(labels.max()) >= classes:
        raise DataError(f"{path} has the label {labels.max()}", expected=f"0 to {classes - 1}")

    def reader(row: int) -> Callable[[], Image.Image]:
        return lambda: Image.fromarray(np.array(rows[row, header:]).reshape(3, 32, 32).transpose(1, 2, 0))

    for row, label in enumerate(labels.tolist()):
        yield LabelledImage(f"{path.stem}-{row:05d}", label, reader(row))


def _from_folder(path: Path, split: str) -> ImageDataset:
    children = {child.name.lower(): child for child in sorted(path.iterdir()) if child.is_dir()}
    told = {name: children[alias] for name, aliases in _SPLITS.items() for alias in aliases if alias in children}
    root, chosen = path, "all"
    if told:
        if split not in told:
            # ImageNet has no public test labels: everybody measures on val.
            if split == "test" and "val" in told:
                split = "val"
            else:
                raise DataError(f'{path} has no split "{split}"', expected=", ".join(told))
        root, chosen = told[split], split
    classes = [child for child in sorted(root.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    labels = [child.name for child in classes]
    items: list[LabelledImage] = []
    for label, child in enumerate(classes):
        items += [LabelledImage(_key(file, path), label, _reader(file)) for file in _images_in(child)]
    if items:
        names, layout = _class_names(labels, path)
        return ImageDataset(path.name, chosen, names, tuple(items), layout)
    loose = tuple(LabelledImage(_key(file, path), None, _reader(file)) for file in _images_in(root))
    if not loose:
        raise DataError(
            f"{path} holds no images", expected=f"one folder a class with files {', '.join(SUFFIXES[:4])} ..."
        )
    return ImageDataset(path.name, chosen, (), loose, "a folder without classes")


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _key(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _reader(file: Path) -> Callable[[], Image.Image]:
    def read() -> Image.Image:
        from clipzoo.images.reading import read_image

        return read_image(file)

    return read


def _class_names(labels: Sequence[str], folder: Path) -> tuple[tuple[str, ...], str]:
    """Folder names as class names; WordNet ids become words."""
    if not all(_WNID.fullmatch(label) for label in labels):
        return tuple(labels), "one folder a class"
    known = dict(_imagenet_words())
    for extra in ("words.txt", "LOC_synset_mapping.txt"):
        if (folder / extra).is_file():
            for line in _text(folder / extra).splitlines():
                wnid, _, words = line.partition("\t" if "\t" in line else " ")
                known.setdefault(wnid, words.split(",")[0].strip())
    missing = [label for label in labels if label not in known]
    if missing:
        raise DataError(
            f"no words are known for {len(missing)} of the classes, for example {missing[0]}",
            expected=f"a file words.txt in {folder} with lines of an id, a tab and words",
            hint="names=... for names of your own",
        )
    return tuple(_distinct([known[label] for label in labels], labels)), "ImageNet: one folder a WordNet id"


@cache
def _imagenet_words() -> dict[str, str]:
    """WordNet id to words, of the thousand classes of ImageNet."""
    from open_clip import IMAGENET_CLASSNAMES
    from timm.data.imagenet_info import ImageNetInfo

    return dict(zip(ImageNetInfo("imagenet-1k").label_names(), IMAGENET_CLASSNAMES, strict=True))


def _distinct(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Names that two ids share get their id appended."""
    return [f"{name} {own}" if list(names).count(name) > 1 else name for name, own in zip(names, ids, strict=True)]


def _tiny_imagenet(path: Path, split: str) -> ImageDataset:
    wnids = _text(path / "wnids.txt").split()
    names, _ = _class_names(wnids, path)
    number = {wnid: label for label, wnid in enumerate(wnids)}
    split = "val" if split == "test" else split  # the test images have no labels
    items: list[LabelledImage] = []
    if split == "val":
        for line in _text(path / "val" / "val_annotations.txt").splitlines():
            name, tab, rest = line.partition("\t")
            wnid = rest.partition("\t")[0]
            if not tab or wnid not in number:
                raise DataError(f"{path}/val/val_annotations.txt names {wnid}", expected="an id of wnids.txt")
            items.append(LabelledImage(f"val/{name}", number[wnid], _reader(path / "val" / "images" / name)))
    elif split == "train":
        for wnid in wnids:
            folder = path / "train" / wnid
            items += [LabelledImage(_key(f, path), number[wnid], _reader(f)) for f in _images_in(folder)]
    else:
        raise DataError(f'Tiny-ImageNet has no split "{split}"', expected="train or val")
    if not items:
        raise DataError(f"{path} holds no images of the split {split}")
    return ImageDataset(path.name, split, names, tuple(items), "Tiny-ImageNet")


def _from_table(path: Path, split: str) -> ImageDataset:
    with path.open(newline="", encoding="utf-8-sig") as file:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"at most {_MAX_LIST_BYTES:,}")
        try:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            rows = list(reader)
            columns = [column for column in reader.fieldnames or () if column]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path} is no table: {error}") from error
    where = _column(columns, _PATH_COLUMNS)
    if where is None:
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}",
            expected=f"one with paths ({', '.join(_PATH_COLUMNS[:4])} ...) and one with labels",
        )
    named, part = _column(columns, _LABEL_COLUMNS), _column(columns, ("split", "partition", "subset"))
    parts = {row[part] for row in rows if row[part]} if part else set()
    if part and split not in parts:
        raise DataError(f'{path} has no split "{split}"', expected=", ".join(sorted(parts)))
    rows = [row for row in rows if row[where] and (not part or row[part] == split)]
    if not rows:
        raise DataError(f"{path} names no images")
    roots = [path.parent, path.parent / "images"]
    root = next((r for r in roots if (r / rows[0][where]).is_file()), path.parent)
    names = sorted({row[named] for row in rows if row[named]}) if named else []
    number = {name: label for label, name in enumerate(names)}
    items = tuple(
        LabelledImage(row[where], number.get(row[named]) if named else None, _reader(root / row[where])) for row in rows
    )
    if len({item.key for item in items}) < len(items):
        raise DataError(f"{path} names an image twice", expected="each path once")
    return ImageDataset(path.stem, split if part else "all", tuple(names), items, f"table: {where}, {named}")


def _column(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    plain = {column.strip().lower(): column for column in columns}
    return next((plain[name] for name in wanted if name in plain), None)


def _from_shards(name: str, shards: Sequence[Path], split: str) -> ImageDataset:
    """Webdataset: ``key.jpg`` with ``key.cls`` (a number), ``key.txt`` (a name) or ``key.json`` (a field label)."""
    found: dict[str, tuple[Path, int, int]] = {}
    told: dict[str, str] = {}
    own = [shard for shard in shards if split in shard.stem.lower()]
    for shard in own or shards:
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    stem, _, suffix = member.name.partition(".")
                    key = f"{shard.stem}/{stem}"
                    if not member.isfile():
                        continue
                    if f".{suffix.lower()}" in SUFFIXES:
                        found[key] = (shard, member.offset_data, member.size)
                    elif suffix in ("cls", "txt", "json") and member.size < 1 << 16:
                        content = archive.extractfile(member)
                        told[key] = _told(content.read() if content else b"", suffix, f"{shard.name}:{member.name}")
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"{shard} is no tar file, or is cut off: {error}") from error
    if not found:
        raise DataError(f"{name} holds no images", expected="key.jpg with key.cls, key.txt or key.json")
    values = {told[key] for key in found if key in told}
    names = sorted(values, key=lambda value: (not value.isdigit(), int(value) if value.isdigit() else 0, value))
    number = {value: label for label, value in enumerate(names)}
    items = tuple(
        LabelledImage(key, number.get(told.get(key, "")), _part_reader(key, *place))
        for key, place in sorted(found.items())
    )
    return ImageDataset(name, split if own else "all", tuple(names), items, "webdataset")


def _told(content: bytes, suffix: str, where: str) -> str:
    try:
        text = content.decode("utf-8").strip()
        if suffix != "json":
            return text
        stored = json.loads(text)
        return str(next(stored[name] for name in _LABEL_COLUMNS if name in stored))
    except (UnicodeDecodeError, ValueError, StopIteration, TypeError) as error:
        raise DataError(f"{where} holds no label: {type(error).__name__}") from error


def _part_reader(key: str, shard: Path, offset: int, size: int) -> Callable[[], Image.Image]:
    def read() -> Image.Image:
        from clipzoo.images.reading import read_image

        with shard.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        try:
            return read_image(content)
        except DataError as error:
            raise DataError(f"{key}: {error.what}", expected=error.expected) from error

    return read


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
