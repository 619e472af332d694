"""Datasets for detection, opened by name or by path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipzoo.errors import DataError
from clipzoo_detect.annotations import AnnotatedImage, DetectionData
from clipzoo_detect.coco import read_coco
from clipzoo_detect.toy import toy_scenes
from clipzoo_detect.voc import read_voc

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm", ".jp2")


def open_coco(folder: Path, *, split: str = "val", missing: float = 0.0, **_: Any) -> DetectionData:
    """``annotations/instances_<split>2017.json`` and ``<split>2017/`` in a folder."""
    year = split if split[-4:].isdigit() else f"{split}2017"
    annotations = folder / "annotations" / f"instances_{year}.json"
    if not annotations.is_file():
        known = sorted(path.stem.partition("_")[2] for path in annotations.parent.glob("instances_*.json"))
        raise DataError(f'{folder} has no split "{split}"', expected=", ".join(known) or "annotations/instances_*.json")
    data = read_coco(annotations, folder / year if (folder / year).is_dir() else None, missing=missing)
    return replace(data, name="coco", split=split)


def open_lvis(folder: Path, *, split: str = "val", missing: float = 0.0, **_: Any) -> DetectionData:
    """``lvis_v1_<split>.json`` in a folder, with the images of COCO 2017 in it or beside it."""
    annotations = folder / f"lvis_v1_{split}.json"
    if not annotations.is_file():
        raise DataError(f'{folder} has no split "{split}"', expected=f"{annotations.name}")
    for images in (folder / "val2017", folder, folder.parent / "coco" / "val2017"):
        if images.is_dir() and any(images.glob("*.jpg")):
            return replace(read_coco(annotations, images, missing=missing), name="lvis", split=split)
    return replace(read_coco(annotations, missing=missing), name="lvis", split=split)


def open_voc(folder: Path, *, split: str = "val", missing: float = 0.0, **_: Any) -> DetectionData:
    """``VOCdevkit/VOC2007`` or another year in a folder."""
    years = sorted(folder.glob("VOCdevkit/VOC*")) or sorted(folder.glob("VOC2*")) or [folder]
    return replace(read_voc(years[0], split, missing=missing), name="voc", split=split)


def open_toy(_folder: None, *, split: str = "test", scenes: int = 40, seed: int = 0, **_: Any) -> DetectionData:
    """Scenes of the toy world."""
    return toy_scenes(scenes, "test" if split == "val" else split, seed)


def open_path(path: Path, *, split: str = "val", missing: float = 0.0, images: str = "", **_: Any) -> DetectionData:
    """A user's own files: annotations of COCO, LVIS or Pascal VOC, or images alone.

    Raises:
        DataError: if there is nothing of the kind.
    """
    folder = Path(images).expanduser() if images else None
    if path.is_file():
        if path.suffix.lower() == ".json":
            return read_coco(path, folder, missing=missing)
        return image_files([path])
    if (path / "annotations").is_dir() and list((path / "annotations").glob("instances_*.json")):
        return open_coco(path, split=split, missing=missing)
    if (path / "Annotations").is_dir() or list(path.glob("*.xml")):
        return replace(read_voc(path, split, missing=missing), split=split)
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise DataError(
            f"{path} holds neither images nor annotations",
            expected=f"files such as {', '.join(IMAGE_SUFFIXES[:4])}; annotations/instances_*.json; Annotations/*.xml",
        )
    return image_files(files, path)


def image_files(files: Sequence[Path], root: Path | None = None) -> DetectionData:
    """Images of which nothing is known."""
    images = []
    for number, file in enumerate(files, start=1):
        if not file.exists():
            raise DataError(f"{file} does not exist", expected="an image, or a folder of images")
        key = file.relative_to(root).as_posix() if root is not None else file.name
        images.append(AnnotatedImage(key, number, file))
    name = (root or files[0]).name
    return DetectionData(name, (), (), tuple(images), annotated=False)
