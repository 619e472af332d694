"""Images with depth, or without, in the layouts that people have on disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from clipzoo.data.rooms import sample_room
from clipzoo.errors import DataError
from clipzoo.images.reading import read_pixels
from clipzoo_depth.depth_files import DEPTH_SUFFIXES, read_depth
from clipzoo_depth.point_cloud import Intrinsics

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff", ".avif", ".gif")
_DEPTH_FOLDERS = {"depth", "depths", "groundtruth_depth", "depth_raw", "depth_gt", "sync_depth"}
_IMAGE_FOLDERS = {"rgb", "image", "images", "color", "colour", "colors", "photos", "img"}
_IMAGE_WORDS = {"rgb", "image", "img", "color", "colour"}
_ROOM_SEEDS = {"test": 0, "train": 1}


@dataclass(frozen=True, eq=False)
class View:
    """One image as it was read.

    Attributes:
        image: RGB.
        depth: m; 0 where it is unknown; None for a plain photo.
        intrinsics: (fx, fy, cx, cy) in px, or None where they are unknown.
    """

    image: UInt8[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"] | None = None
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True)
class DepthItem:
    """One image of a dataset: a stable name, how to read it, and the kind of scene where that is known."""

    key: str
    read: Callable[[], View] = field(repr=False)
    scene: str | None = None


@dataclass(frozen=True)
class DepthDataset:
    """Images with keys, and depth where there is some.

    Attributes:
        name: of the dataset.
        split: which part.
        items: in a fixed order.
        protocol: how its depth is measured, see :data:`clipzoo_depth.protocols.PROTOCOLS`.
        labelled: whether depth is known of any.
        photos: they come from a user, of any size.
        remark: what a reader of its numbers must know.
    """

    name: str
    split: str
    items: tuple[DepthItem, ...] = field(repr=False)
    protocol: str = "whole"
    labelled: bool = True
    photos: bool = False
    remark: str = ""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    def subset(self, indices: Sequence[int]) -> DepthDataset:
        """The images at ``indices``, in this order."""
        return replace(self, items=tuple(self.items[index] for index in indices))


def checked_view(
    image: UInt8[np.ndarray, "height width 3"],
    depth: Float[np.ndarray, "height width"] | None,
    name: str,
    intrinsics: Intrinsics | None = None,
) -> View:
    """An image with its depth.

    Raises:
        DataError: if they differ in size.
    """
    if depth is not None and depth.shape != image.shape[:2]:
        raise DataError(
            f"{name} has {image.shape[1]} x {image.shape[0]} px and its depth {depth.shape[1]} x {depth.shape[0]} px",
            expected="one size, pixel on pixel",
        )
    return View(image, depth, intrinsics)


def open_rooms(folder: Path | None = None, *, split: str = "test", rooms: int = 24, **_: Any) -> DepthDataset:
    """The toy world: room ``i`` of a split does not depend on how many there are.

    Raises:
        DataError: if there is no such split.
    """
    if split not in _ROOM_SEEDS:
        raise DataError(f'rooms have no split "{split}"', expected=" or ".join(_ROOM_SEEDS))
    items = tuple(DepthItem(f"room-{index:03d}", partial(_room, _ROOM_SEEDS[split], index)) for index in range(rooms))
    return DepthDataset("rooms", split, items, remark="procedural rooms with exact depth")


@lru_cache(maxsize=256)
def _room(seed: int, index: int) -> View:
    room = sample_room(np.random.default_rng([seed, index]))
    return View(room.image, room.depth, room.intrinsics)


def open_path(path: Path, *, split: str = "test", unit: str = "mm", **options: Any) -> DepthDataset:
    """Whatever lies at a path of the user's: a photo, photos, pairs, NYU's .mat, a folder of KITTI.

    Args:
        path: file or folder. Pairs are told by their names: ``X_rgb.jpg`` and ``X_depth.png``, ``rgb_X.jpg`` and
            ``sync_depth_X.png``, or ``rgb/X.jpg`` and ``depth/X.png``; a folder without depth files holds photos.
        split: folder inside of ``path`` with this name, if there is one.
        unit: of 16-bit depth files.
        **options: of the readers of NYU and KITTI.

    Raises:
        DataError: if nothing there can be read.
    """
    from clipzoo_depth.kitti import has_lidar, open_kitti
    from clipzoo_depth.nyu import has_mat, open_nyuv2

    path = Path(path)
    if path.suffix.lower() == ".mat" or (path.is_dir() and has_mat(path)):
        return open_nyuv2(path, split=split, **options)
    if path.is_dir() and has_lidar(path):
        return open_kitti(path, split=split, **options)
    if not path.is_dir():
        if path.suffix.lower() not in _IMAGE_SUFFIXES:
            raise DataError(f"{path} is no image", expected=f"a folder, or {', '.join(_IMAGE_SUFFIXES)}")
        item = DepthItem(path.name, partial(_photo, path))
        return DepthDataset(path.name, "all", (item,), labelled=False, photos=True)
    splits = [name for name in ("train", "test", "val", "validation") if (path / name).is_dir()]
    root = path
    if splits:
        if split not in splits:
            raise DataError(f'{path} has no split "{split}"', expected=" or ".join(splits))
        root = path / split
    items, labelled = _pairs(root, unit)
    if not items:
        raise DataError(f"{root} holds no images", expected=", ".join(_IMAGE_SUFFIXES))
    return DepthDataset(path.name, split if splits else "all", items, labelled=labelled, photos=True)


def _photo(path: Path) -> View:
    return View(read_pixels(path))


def _pair(image: Path, depth: Path, unit: str) -> View:
    return checked_view(read_pixels(image), read_depth(depth, unit), str(image))


def _lonely(text: str, expected: str) -> View:
    raise DataError(text, expected=expected)


def _pairs(root: Path, unit: str) -> tuple[tuple[DepthItem, ...], bool]:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not _hidden(path, root))
    depths: dict[tuple[Path, tuple[str, ...]], list[Path]] = {}
    images: list[tuple[Path, tuple[Path, tuple[str, ...]]]] = []
    for path in files:
        relative = path.relative_to(root)
        if _is_depth(relative):
            depths.setdefault(_identity(relative, depth=True), []).append(path)
        elif path.suffix.lower() in _IMAGE_SUFFIXES:
            images.append((path, _identity(relative, depth=False)))
    with_depth = {folder for folder, _ in depths}
    items, used = [], set()
    for path, identity in images:
        key = path.relative_to(root).as_posix()
        partners = depths.get(identity, [])
        used.add(identity)
        scene = path.parent.name if path.parent != root else None
        if len(partners) == 1:
            items.append(DepthItem(key, partial(_pair, path, partners[0], unit), scene))
        elif partners:
            names = ", ".join(partner.name for partner in partners)
            items.append(DepthItem(key, partial(_lonely, f"{path} has several depth maps: {names}", "one"), scene))
        elif identity[0] in with_depth:
            expected = f"a file such as {path.stem}_depth.png beside it"
            items.append(DepthItem(key, partial(_lonely, f"{path} has no depth map", expected), scene))
        else:
            items.append(DepthItem(key, partial(_photo, path), scene))
    for identity, partners in depths.items():
        if identity not in used:
            key = partners[0].relative_to(root).as_posix()
            items.append(DepthItem(key, partial(_lonely, f"{partners[0]} has no photo", "an image of the same name")))
    return tuple(items), bool(depths)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_depth(relative: Path) -> bool:
    if relative.suffix.lower() not in DEPTH_SUFFIXES:
        return False
    return "depth" in _words(relative) or any(part.lower() in _DEPTH_FOLDERS for part in relative.parts[:-1])


def _words(relative: Path) -> list[str]:
    return [word for word in re.split(r"[_\-. ]+", relative.stem.lower()) if word]


def _identity(relative: Path, depth: bool) -> tuple[Path, tuple[str, ...]]:
    """What a photo and its depth map have in common: folder and words of the name."""
    folder = Path(
        *(part for part in relative.parts[:-1] if part.lower() not in _DEPTH_FOLDERS | _IMAGE_FOLDERS),
    )
    words = _words(relative)
    if depth and "depth" in words:
        # "X_depth_mm" belongs to "X", "sync_depth_0001" to "rgb_0001".
        place = words.index("depth")
        words = [word for word in words[:place] if word != "sync"] + [w for w in words[place + 1 :] if w.isdigit()]
    return folder, tuple(word for word in words if word not in _IMAGE_WORDS)
