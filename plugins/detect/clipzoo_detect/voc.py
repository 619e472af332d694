"""Pascal VOC: one XML file an image."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from clipzoo.errors import DataError
from clipzoo_detect.annotations import MOST_LISTED, AnnotatedImage, DetectionData, Thing

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty of Pascal VOC, in its order."""

_MAX_XML_BYTES = 16 << 20
_SPOKEN = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


def read_voc(folder: Path, split: str | None = None, *, missing: float = 0.0) -> DetectionData:
    """Images and boxes of a folder in the layout of Pascal VOC.

    Objects marked difficult count as crowds: neither trained on nor evaluated.

    Args:
        folder: with ``Annotations/*.xml`` and ``JPEGImages/``; or the XML files themselves beside their images.
        split: list of names in ``ImageSets/Main/<split>.txt``; by default every XML file.
        missing: share of the images that may be absent from the disk.

    Raises:
        DataError: if there is no XML file, one cannot be read, or too many images are absent.
    """
    annotations = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = sorted(annotations.glob("*.xml"))
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    if split and listed.is_file():
        wanted = _listed(listed)
        files = [file for file in files if file.stem in wanted]
    if not files:
        raise DataError(f"{folder} has no annotations", expected="Annotations/*.xml of Pascal VOC")
    parsed = [(file, _parse(file)) for file in files]
    named = {name for _, (_, _, things) in parsed for name, _, _ in things}
    classes = [name for name in CLASSES if name in named] if named <= set(CLASSES) else sorted(named)
    classes = list(CLASSES) if named and named <= set(CLASSES) and (folder / "JPEGImages").is_dir() else classes
    label = {name: place for place, name in enumerate(classes)}
    images, absent, flat = [], [], 0
    for number, (file, (name, size, things)) in enumerate(parsed, start=1):
        path = _image(folder, file, name)
        if path is None:
            absent.append(name)
            continue
        kept = []
        for thing, box, difficult in things:
            inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(size[1])), min(box[3], float(size[0])))
            if inside[2] <= inside[0] or inside[3] <= inside[1]:
                flat += 1
                continue
            kept.append(Thing(inside, label[thing], difficult))
        images.append(AnnotatedImage(path.name, number, path, size=size, things=tuple(kept)))
    notes = [f"{flat} boxes without area in their image were left out."] if flat else []
    if absent:
        text = f"{len(absent)} of {len(files)} images are absent: {', '.join(absent[:MOST_LISTED])}"
        if len(absent) > missing * len(files) or not images:
            raise DataError(text, expected=f"at most {missing:.0%} absent", hint="missing=1")
        notes.append(f"{text}.")
    return DetectionData(
        name=folder.name,
        classnames=tuple(_SPOKEN.get(name, name) for name in classes),
        category_ids=tuple(range(1, len(classes) + 1)),
        images=tuple(images),
        notes=tuple(notes),
        split=split or "",
    )


_Parsed = tuple[str, tuple[int, int], list[tuple[str, tuple[float, float, float, float], bool]]]


def _listed(path: Path) -> set[str]:
    """The first word of each line."""
    try:
        if path.stat().st_size > _MAX_XML_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"at most {_MAX_XML_BYTES:,}")
        return {line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="one name of an image a line") from error


def _parse(file: Path) -> _Parsed:
    try:
        content = file.read_bytes()
        if len(content) > _MAX_XML_BYTES:
            raise DataError(f"{file} has {len(content):,} bytes", expected=f"at most {_MAX_XML_BYTES:,}")
        if b"<!ENTITY" in content or b"<!DOCTYPE" in content:
            raise DataError(f"{file} declares entities", expected="plain XML, as Pascal VOC writes it")
        root = ElementTree.fromstring(content)
        size = root.find("size")
        assert size is not None
        height, width = int(float(_text(size, "height"))), int(float(_text(size, "width")))
        things = []
        for entry in root.iter("object"):
            box = entry.find("bndbox")
            assert box is not None
            left, top, right, bottom = (float(_text(box, side)) for side in ("xmin", "ymin", "xmax", "ymax"))
            # Pixels count from one, and the last one belongs to the box.
            corners = (left - 1, top - 1, right, bottom)
            things.append((_text(entry, "name").strip(), corners, (entry.findtext("difficult") or "0").strip() == "1"))
        return (root.findtext("filename") or f"{file.stem}.jpg").strip(), (height, width), things
    except (OSError, ElementTree.ParseError, AssertionError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{file} is no annotation of Pascal VOC: {error or 'an element is missing'}",
            expected="size, and an object with name and bndbox for each thing",
        ) from error


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise ValueError(f"no {name} in {element.tag}")
    return text


def _image(folder: Path, file: Path, name: str) -> Path | None:
    names = [Path(name).name, f"{file.stem}.jpg", f"{file.stem}.png", f"{file.stem}.jpeg"]
    for base in (folder / "JPEGImages", folder, file.parent, folder / "images"):
        for candidate in names:
            if (base / candidate).is_file():
                return base / candidate
    return None
