"""NYU Depth v2: the labelled .mat file with its splits, or the frames extracted from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clipzoo.errors import DataError
from clipzoo.images.reading import read_pixels
from clipzoo_depth.datasets import DepthDataset, DepthItem, View, checked_view
from clipzoo_depth.depth_files import plausible, read_depth
from clipzoo_depth.mat_files import read_mat
from clipzoo_depth.point_cloud import Intrinsics

NYU_INTRINSICS: Intrinsics = (518.857901, 519.469611, 325.582449, 253.736166)
"""Of the colour camera, px, from the toolbox of the dataset; labelled depth lies on the colour image."""

LABELLED = "nyu_depth_v2_labeled.mat"
SPLITS = "splits.mat"
_MOST_M = 1e6  # far beyond what is plausible, and still a number in thousandths
_MAPS = {"raw": "rawDepths", "filled": "depths"}


def has_mat(folder: Path) -> bool:
    """Whether the labelled .mat file lies there."""
    return (folder / LABELLED).is_file()


def open_nyuv2(path: Path, *, split: str = "test", depth_map: str = "raw", **_: Any) -> DepthDataset:
    """The 654 frames of the test split, or the 795 of the training split.

    Args:
        path: folder with ``nyu_depth_v2_labeled.mat`` and ``splits.mat``, or that file, or folder with
            ``<split>/<scene>/rgb_*.jpg`` and ``sync_depth_*.png`` (also inside of ``official_splits``).
        split: ``"test"``, ``"train"``, or of the .mat file ``"all"``.
        depth_map: ``"raw"`` (as published, with holes) or ``"filled"``; of the .mat file only.

    Raises:
        DataError: if the files are missing or not what they should be.
    """
    path = Path(path)
    file = path if path.suffix.lower() == ".mat" else path / LABELLED
    if file.is_file():
        return _open_mat(file, split, depth_map)
    return _open_extracted(path, split)


def _open_mat(file: Path, split: str, depth_map: str) -> DepthDataset:
    try:
        with h5py.File(file, "r") as opened:
            stored: Any = opened
            count = stored["images"].shape[0]
            scenes = [_text(stored, reference) for reference in np.asarray(stored["sceneTypes"]).flatten()]
            shapes = stored["images"].shape[1:], stored[_MAPS[depth_map]].shape
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(
            f"{file} is not the labelled NYU Depth v2: {type(error).__name__}: {error}",
            expected="a MATLAB 7.3 file with images, rawDepths, depths and sceneTypes",
        ) from error
    if shapes[0] != (3, *shapes[1][1:]) or shapes[1][:1] != (count,) or len(scenes) != count:
        raise DataError(f"{file} holds images of {shapes[0]} and depth of {shapes[1]}: they do not belong together")
    numbers = range(count) if split == "all" else _numbers(file.with_name(SPLITS), split, count)
    items = tuple(
        DepthItem(f"{scenes[number]}/{number:05d}", partial(_frame, file, number, depth_map), scenes[number])
        for number in numbers
    )
    remark = "" if depth_map == "raw" else "filled depth, not the raw depth of the published protocol"
    return DepthDataset("nyuv2", split, items, "nyu-eigen", remark=remark)


def _text(stored: h5py.File, reference: h5py.Reference) -> str:
    return "".join(chr(int(code)) for code in np.asarray(stored[reference]).flatten())


def _numbers(file: Path, split: str, count: int) -> list[int]:
    """Frames of a split, from 0; ``splits.mat`` counts from 1."""
    if split not in ("test", "train"):
        raise DataError(f'nyuv2 has no split "{split}"', expected="test, train or all")
    if not file.is_file():
        raise DataError(f"{file} is missing", expected="the splits that belong to the labelled file", hint="split=all")
    stored = read_mat(file)
    if f"{split}Ndxs" not in stored:
        raise DataError(f"{file} cannot be read: it holds {', '.join(stored) or 'nothing'}", expected=f"{split}Ndxs")
    numbers = stored[f"{split}Ndxs"].flatten()
    if not np.isfinite(numbers).all():
        raise DataError(f"{file} names frames by numbers that are not finite")
    found = sorted(int(number) - 1 for number in numbers)
    if not found or found[0] < 0 or found[-1] >= count:
        raise DataError(f"{file} names frames that are not among the {count} of the labelled file")
    return found


def _frame(file: Path, number: int, depth_map: str) -> View:
    try:
        with h5py.File(file, "r") as opened:
            stored: Any = opened
            # MATLAB stores columns first: [3, width, height] and [width, height].
            image = np.asarray(stored["images"][number]).transpose(2, 1, 0).astype(np.uint8)
            depth = np.asarray(stored[_MAPS[depth_map]][number]).T
    except (OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(f"{file} cannot be read at frame {number}: {error}") from error
    # The published files hold whole millimetres, cut off.
    metres = np.nan_to_num(depth.astype(np.float64)).clip(0, _MOST_M)
    depth = np.floor(metres * 1000).astype(np.float32) / 1000
    return checked_view(np.ascontiguousarray(image), plausible(depth, f"{file}, {number}"), str(file), NYU_INTRINSICS)


def _open_extracted(path: Path, split: str) -> DepthDataset:
    places = [path / "official_splits" / split, path / split, path / "nyu_depth_v2" / "official_splits" / split]
    # Some have a folder with another of the same name inside.
    root = next((place for place in places if place.is_dir()), path)
    photos = sorted([*root.glob("*/rgb_*.jpg"), *root.glob("*/rgb_*.png")])
    if not photos:
        raise DataError(
            f"{path} holds neither {LABELLED} nor extracted frames of the split {split}",
            expected=f"{LABELLED} with {SPLITS}, or {split}/<scene>/rgb_*.jpg with sync_depth_*.png",
        )
    items = tuple(
        DepthItem(photo.relative_to(root).as_posix(), partial(_extracted, photo), photo.parent.name) for photo in photos
    )
    return DepthDataset("nyuv2", split, items, "nyu-eigen")


def _extracted(photo: Path) -> View:
    depth = photo.with_name(f"sync_depth_{photo.stem.removeprefix('rgb_')}.png")
    if not depth.is_file():
        raise DataError(f"{photo} has no depth map", expected=str(depth))
    return checked_view(read_pixels(photo), read_depth(depth), str(photo), NYU_INTRINSICS)
