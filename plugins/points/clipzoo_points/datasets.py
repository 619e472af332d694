"""Labelled sets of point clouds in the layouts that people have on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipzoo.data.shapes import CATEGORIES, shape_dataset
from clipzoo.errors import ClipzooError, DataError, closest_matches
from clipzoo_points.files import SUFFIXES, read_cloud
from clipzoo_points.hdf5 import read_arrays

if TYPE_CHECKING:
    from torch import Tensor

_SPLITS = ("train", "test", "val", "validation")
_MAX_LIST_BYTES = 16 << 20
SCANOBJECTNN_CLASSES = (
    "bag",
    "bin",
    "box",
    "cabinet",
    "chair",
    "desk",
    "display",
    "door",
    "shelf",
    "table",
    "bed",
    "pillow",
    "sink",
    "sofa",
    "toilet",
)


@dataclass(frozen=True)
class _Item:
    key: str
    label: int | None
    read: Callable[[], np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """Clouds that are ready for :class:`clipzoo_points.PointCLIP`: y up, centred, in the unit sphere."""

    keys: tuple[str, ...]
    points: Tensor
    """``[B, points, 3]`` float32."""
    labels: tuple[int | None, ...]


@dataclass(frozen=True)
class PointDataset:
    """Clouds with keys, and labels where there are some.

    Args:
        name: of the dataset.
        split: which part.
        classnames: in the order of the labels; empty when nothing is labelled.
        up_axis: of the files: ``"x"``, ``"y"`` or ``"z"``.
        up_axis_reason: why it is believed to be that one.
        remark: what a reader of its numbers must know, for example that files are missing.
        ordered: of a cloud with more points than are used, the first are taken, as published protocols do;
            otherwise a random part, as the points of a user's file may be in the order of a scanner.
    """

    name: str
    split: str
    classnames: tuple[str, ...]
    items: tuple[_Item, ...] = field(repr=False)
    up_axis: str
    up_axis_reason: str
    remark: str = ""
    ordered: bool = True

    def __len__(self) -> int:
        """Number of clouds."""
        return len(self.items)

    @property
    def keys(self) -> tuple[str, ...]:
        """One stable name a cloud."""
        return tuple(item.key for item in self.items)

    def label(self, index: int) -> int | None:
        """Index of the class in :attr:`classnames`, or None."""
        return self.items[index].label

    def cloud(self, index: int) -> np.ndarray:
        """The cloud as the file has it, ``[N, 3]`` float32."""
        return self.items[index].read()

    def with_classnames(self, names: Sequence[str]) -> PointDataset:
        """The same clouds to be told apart among ``names``; labelled classes must be among them.

        Raises:
            DataError: if a class of the dataset is not among ``names``.
        """
        wanted = {_plain(name): place for place, name in enumerate(names)}
        for own in self.classnames:
            if _plain(own) not in wanted:
                raise DataError(
                    f'the class "{own}" of {self.name} is not among the names given',
                    closest=closest_matches(own, names),
                    expected=f"all of {', '.join(self.classnames)}, and others if you like",
                )
        items = tuple(
            _Item(i.key, None if i.label is None else wanted[_plain(self.classnames[i.label])], i.read)
            for i in self.items
        )
        return replace(self, classnames=tuple(names), items=items)

    def among(self, names: Sequence[str]) -> PointDataset:
        """The clouds of the classes ``names`` alone, labelled by their place there, without the others."""
        wanted = {_plain(name): place for place, name in enumerate(names)}
        items = tuple(
            replace(item, label=wanted[_plain(self.classnames[item.label])])
            for item in self.items
            if item.label is not None and _plain(self.classnames[item.label]) in wanted
        )
        return replace(self, classnames=tuple(names), items=items)

    def subset(self, indices: Sequence[int]) -> PointDataset:
        """The clouds at ``indices``, in this order."""
        return replace(self, items=tuple(self.items[index] for index in indices))

    def any_readable(self, on_error: Callable[[str, Exception], None]) -> bool:
        """Whether one cloud can be read; those tried before it are given to ``on_error``."""
        for item in self.items:
            try:
                item.read()
            except ClipzooError as error:
                on_error(item.key, error)
            else:
                return True
        return False

    def batches(
        self,
        batch_size: int,
        points: int = 1024,
        skip: Collection[str] = (),
        on_error: Callable[[str, Exception], None] | None = None,
        up_axis: str = "auto",
    ) -> Iterator[Batch]:
        """Clouds in order, each turned, centred and scaled as a whole, then with exactly ``points`` points.

        A cloud with more gives its first ones (:attr:`ordered`) or a random part, one with fewer repeats
        some; which ones depends on its key alone.

        Args:
            batch_size: clouds a batch; the last one may be smaller.
            points: of each cloud.
            skip: keys that are left out, for example because they are done.
            on_error: called with the key and the error of a cloud that cannot be read; without it, the error
                is raised.
            up_axis: of the files, or ``"auto"`` for what the dataset believes.
        """
        axis = self.up_axis if up_axis == "auto" else up_axis
        waiting: list[tuple[_Item, Tensor]] = []
        for item in self.items:
            if item.key in skip:
                continue
            try:
                waiting.append((item, _ready(item, points, axis, self.ordered)))
            except ClipzooError as error:
                named = (
                    error
                    if item.key in error.what or not isinstance(error, DataError)
                    else DataError(f"{item.key}: {error.what}", expected=error.expected)
                )
                if on_error is None:
                    raise named from error
                on_error(item.key, named)
            if len(waiting) == batch_size:
                yield _batch(waiting)
                waiting = []
        if waiting:
            yield _batch(waiting)


def _ready(item: _Item, points: int, up_axis: str, ordered: bool) -> Tensor:
    # Bad files are found without torch, which takes seconds to import.
    import torch

    from clipzoo_points.clouds import normalise_clouds, to_y_up

    cloud = item.read()
    if (cloud == cloud[0]).all():
        raise DataError(
            f"{item.key}: "
            + ("one point is no shape" if len(cloud) == 1 else f"all {len(cloud)} points are identical"),
            expected="points at two places at the least",
        )
    whole = normalise_clouds(to_y_up(torch.from_numpy(cloud), up_axis)[None])[0]
    return torch.from_numpy(fit_count(whole.numpy(), points, item.key, ordered))


def _batch(waiting: list[tuple[_Item, Tensor]]) -> Batch:
    import torch

    return Batch(
        tuple(item.key for item, _ in waiting),
        torch.stack([cloud for _, cloud in waiting]),
        tuple(item.label for item, _ in waiting),
    )


def fit_count(cloud: np.ndarray, points: int, key: str, ordered: bool = True) -> np.ndarray:
    """Exactly ``points`` rows: the first or random ones, or all and some again, the same for one ``key``."""
    if len(cloud) == points or (ordered and len(cloud) > points):
        return np.ascontiguousarray(cloud[:points], dtype=np.float32)
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    if len(cloud) > points:
        return cloud[generator.permutation(len(cloud))[:points]].astype(np.float32)
    again = generator.integers(len(cloud), size=points - len(cloud))
    return np.concatenate([cloud, cloud[again]]).astype(np.float32)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def open_shapes(root: None, split: str = "test", per_class: int = 20, points: int = 1024, **_: object) -> PointDataset:
    """The toy world's shapes; splits share none, and the tiny encoders were trained on none of them."""
    # The tiny encoders are trained on seed 0.
    seeds = {"train": 101, "val": 102, "test": 103}
    if split not in seeds:
        raise DataError(
            f'the toy world has no split "{split}"',
            closest=closest_matches(split, seeds),
            expected=", ".join(seeds),
        )
    items = []
    for label, name in enumerate(CATEGORIES):
        for place in range(per_class):
            items.append(
                _Item(f"{name}/{split}/{place:04d}", label, _toy(name, seeds[split], place, per_class, points))
            )
    return PointDataset("shapes", split, CATEGORIES, tuple(items), "y", "the toy world is made y up")


def _toy(name: str, seed: int, place: int, per_class: int, points: int) -> Callable[[], np.ndarray]:
    return lambda: _toy_class(name, seed, per_class, points)[place]


@lru_cache(maxsize=2)
def _toy_class(name: str, seed: int, per_class: int, points: int) -> np.ndarray:
    return shape_dataset(per_class, [name], seed=seed, points=points)[0]


def open_modelnet40(root: Path, split: str = "test", **_: object) -> PointDataset:
    """ModelNet40 in the layout ``modelnet40_ply_hdf5_2048``."""
    inner = root / "modelnet40_ply_hdf5_2048"
    return _hdf5_lists(inner if inner.is_dir() else root, "modelnet40", split)


def open_modelnet10(root: Path, split: str = "test", points: int = 1024, **_: object) -> PointDataset:
    """ModelNet10 as its authors publish it: OFF meshes, z up."""
    inner = root / "ModelNet10"
    return _folders(inner if inner.is_dir() else root, "modelnet10", split, points)


def open_scanobjectnn(root: Path, split: str = "test", variant: str = "OBJ_ONLY", **_: object) -> PointDataset:
    """ScanObjectNN: ``OBJ_ONLY``, ``OBJ_BG`` or ``PB_T50_RS``, from the official HDF5 files."""
    part = "training" if split == "train" else split
    files = {
        "OBJ_ONLY": f"main_split_nobg/{part}_objectdataset.h5",
        "OBJ_BG": f"main_split/{part}_objectdataset.h5",
        "PB_T50_RS": f"main_split/{part}_objectdataset_augmentedrot_scale75.h5",
    }
    if variant not in files:
        raise DataError(
            f'ScanObjectNN has no variant "{variant}"',
            closest=closest_matches(variant, files),
            expected=", ".join(files),
        )
    inner = root / "h5_files"
    path = (inner if inner.is_dir() else root) / files[variant]
    if not path.exists():
        raise DataError(
            f"{path} is missing",
            expected="split train or test, in the official HDF5 files " + ", ".join(files.values()),
        )
    items = _hdf5_items(path, SCANOBJECTNN_CLASSES)
    return PointDataset(
        f"scanobjectnn {variant}", split, SCANOBJECTNN_CLASSES, tuple(items), "y", "ScanObjectNN is y up"
    )


def open_path(root: Path, split: str = "test", points: int = 1024, **options: Any) -> PointDataset:
    """Clouds of the user's own: a file, or a folder of files, classes, classes and splits, or HDF5 lists.

    A folder of ScanObjectNN, and lists of ModelNet's, are recognised by their files.

    Raises:
        DataError: if nothing there can be read, or it has other splits than ``split``.
    """
    try:
        return _open_path(root, split, points, **options)
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}") from error


def _open_path(root: Path, split: str, points: int, variant: str = "OBJ_ONLY", **_: object) -> PointDataset:
    if root.is_file():
        suffix = root.suffix.lower()
        if suffix in (".h5", ".hdf5"):
            return PointDataset(root.stem, split, (), tuple(_hdf5_items(root, None)), *_up((".h5",)))
        item = _file_item(root, root.name, None, points)
        return PointDataset(root.stem, split, (), (item,), *_up((suffix,)), ordered=False)
    if any((root / name).is_dir() for name in ("h5_files", "main_split", "main_split_nobg")):
        return open_scanobjectnn(root, split, variant)
    if any((root / f"{part}_files.txt").is_file() for part in _SPLITS):
        return _hdf5_lists(root, root.name, split)
    listed = sorted(root.glob("*shape_names.txt"))
    if listed:
        # The archive of the resampled files has lists of ModelNet10 beside those of ModelNet40.
        return _text_lists(root, max(listed, key=lambda path: len(_lines(path))), split, points)
    return _folders(root, root.name, split, points)


def _lines(path: Path) -> list[str]:
    """What a list names, one name a line."""
    if not path.is_file():
        raise DataError(f"{path} is missing")
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes", expected="a list of names")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text: {error.reason} at byte {error.start}", expected="a list of names"
        ) from error
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise DataError(f"{path} names nothing", expected="one name a line")
    return names


def _up(suffixes: Sequence[str]) -> tuple[str, str]:
    kinds = set(suffixes)
    if kinds & {".off", ".pcd"}:
        return "z", "OFF and PCD files of ModelNet keep the original axes, z up; set up_axis if yours differ"
    return "y", "files of this type are taken as y up; set up_axis if yours differ"


def _file_item(path: Path, key: str, label: int | None, points: int) -> _Item:
    return _Item(key, label, lambda: read_cloud(path, points))


def _hdf5_lists(root: Path, name: str, split: str) -> PointDataset:
    listing = root / f"{split}_files.txt"
    if not listing.is_file():
        there = sorted(path.name.removesuffix("_files.txt") for path in root.glob("*_files.txt"))
        raise DataError(
            f'{root} has no split "{split}": {listing.name} is missing',
            expected=", ".join(there) or "train_files.txt and test_files.txt",
        )
    classnames = tuple(_lines(root / "shape_names.txt"))
    items: list[_Item] = []
    for line in _lines(listing):
        # The lists name paths relative to a working directory of somebody else's.
        path = root / Path(line.replace("\\", "/")).name
        if not path.is_file():
            raise DataError(f"{path} is missing, which {listing.name} names")
        items.extend(_hdf5_items(path, classnames))
    return PointDataset(name, split, classnames, tuple(items), "y", "the HDF5 files of ModelNet40 are y up")


@lru_cache(maxsize=8)  # the training split of ModelNet40 has five files
def _hdf5_content(path: Path) -> dict[str, np.ndarray]:
    content = read_arrays(path, ("data", "label"))
    data, label = content["data"], content["label"].reshape(-1)
    if data.ndim != 3 or data.shape[2] < 3 or len(label) != len(data) or data.shape[1] == 0:
        raise DataError(
            f"{path}: data of the shape {data.shape} and {len(label)} labels",
            expected="[clouds, points, 3] and as many labels",
        )
    return {"data": data[..., :3], "label": label}


def _hdf5_items(path: Path, classnames: Sequence[str] | None) -> list[_Item]:
    labels = _hdf5_content(path)["label"].astype(int)
    if classnames is not None and len(labels) and (labels.min() < 0 or labels.max() >= len(classnames)):
        raise DataError(f"{path}: labels from {labels.min()} to {labels.max()}", expected=f"0 to {len(classnames) - 1}")
    return [
        _Item(f"{path.name}#{row}", None if classnames is None else int(label), _hdf5_reader(path, row))
        for row, label in enumerate(labels)
    ]


def _hdf5_reader(path: Path, row: int) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        cloud = _hdf5_content(path)["data"][row].astype(np.float32)
        if not np.isfinite(cloud).all():
            raise DataError(f"{path.name}#{row}: the cloud has coordinates that are NaN or infinite")
        return cloud

    return read


def _text_lists(root: Path, names: Path, split: str, points: int) -> PointDataset:
    """The layout of ``modelnet40_normal_resampled``: class folders, and lists of the shapes of each split."""
    prefix = names.name.removesuffix("shape_names.txt")
    listing = root / f"{prefix}{split}.txt"
    if not listing.is_file():
        there = [path.stem.removeprefix(prefix) for path in root.glob(f"{prefix}*.txt") if path != names]
        raise DataError(f'{root} has no split "{split}": {listing.name} is missing', expected=", ".join(sorted(there)))
    known, shapes = _lines(names), _lines(listing)
    unknown = sorted({shape.rpartition("_")[0] for shape in shapes} - set(known))
    if unknown:
        raise DataError(f"{listing} names shapes of the class {unknown[0]!r}, which {names.name} does not have")
    files = {shape: root / shape.rpartition("_")[0] / f"{shape}.txt" for shape in shapes}
    there = {shape: path for shape, path in files.items() if path.is_file()}
    if not there:
        raise DataError(
            f"none of the {len(shapes)} shapes that {listing} names is on disk",
            expected=str(files[shapes[0]]),
        )
    classes = sorted({shape.rpartition("_")[0] for shape in there})
    items = []
    for shape, path in there.items():
        kind = shape.rpartition("_")[0]
        items.append(_file_item(path, f"{kind}/{shape}", classes.index(kind), points))
    remark = (
        f"{len(shapes) - len(there)} of {len(shapes)} listed shapes are not on disk" if len(there) < len(shapes) else ""
    )
    reason = "the resampled text files of ModelNet40 are y up"
    return PointDataset(root.name, split, tuple(classes), tuple(items), "y", reason, remark)


def _folders(root: Path, name: str, split: str, points: int) -> PointDataset:
    if not root.is_dir():
        raise DataError(f"{root} is no folder")
    children = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    splits = {child.name for child in children if child.name in _SPLITS}
    if splits:  # split/class
        _has_split(root, split, splits)
        classes = {
            path.name: path
            for path in sorted((root / split).iterdir())
            if path.is_dir() and not path.name.startswith(".")
        }
        if not classes:
            return _flat(root / split, name, split, points)
    else:
        inner = {
            grand.name for child in children for grand in child.iterdir() if grand.is_dir() and grand.name in _SPLITS
        }
        if inner:  # class/split
            _has_split(root, split, inner)
            classes = {child.name: child / split for child in children if _any_split(child)}
        else:
            classes = {child.name: child for child in children if any(_clouds(child))}
    if not classes:
        return _flat(root, name, split, points)
    found = {kind: files for kind, folder in classes.items() if (files := list(_clouds(folder)))}
    if not found:
        _nothing(root)
    empty = sorted(classes.keys() - found.keys())
    remark = f"no readable file in: {', '.join(empty)}" if empty else ""
    items, suffixes = [], []
    for label, files in enumerate(found.values()):
        for path in files:
            items.append(_file_item(path, path.relative_to(root).as_posix(), label, points))
            suffixes.append(path.suffix.lower())
    return PointDataset(name, split, tuple(found), tuple(items), *_up(suffixes), remark, ordered=False)


def _flat(root: Path, name: str, split: str, points: int) -> PointDataset:
    files = list(_clouds(root))
    if not files:
        _nothing(root)
    items = tuple(_file_item(path, path.name, None, points) for path in files)
    return PointDataset(name, split, (), items, *_up([path.suffix.lower() for path in files]), ordered=False)


def _any_split(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _SPLITS)


def _clouds(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.lower().startswith((".", "readme")):
            yield path


def _has_split(root: Path, split: str, there: Collection[str]) -> None:
    if split not in there:
        raise DataError(
            f'{root} has no split "{split}"',
            closest=closest_matches(split, there),
            expected=", ".join(sorted(there)),
            hint=f"split={sorted(there)[0]}",
        )


def _nothing(root: Path) -> None:
    raise DataError(
        f"{root} holds no point clouds",
        expected=f"files of the types {', '.join(SUFFIXES)}",
        details=[
            "layouts: FILES, CLASS/FILES, CLASS/SPLIT/FILES, SPLIT/CLASS/FILES, one .h5 file, or HDF5 files "
            "with shape_names.txt and test_files.txt"
        ],
    )
