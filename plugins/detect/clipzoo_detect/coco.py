"""COCO and LVIS: annotations in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipzoo.errors import DataError
from clipzoo_detect.annotations import MOST_LISTED, AnnotatedImage, DetectionData, Thing

MAX_JSON_BYTES = 4 << 30


def read_coco(annotations: Path, images: Path | None = None, *, missing: float = 0.0) -> DetectionData:
    """Images and boxes of a file in the format of COCO or of LVIS.

    Category ids may have gaps and any order: classes are numbered as they are listed. Boxes are clipped to their
    image; those without area there are left out and counted.

    Args:
        annotations: the JSON file.
        images: folder of the images; by default the one near the file (beside it, ``images/``, ``../<split>/``) that
            holds most of the first fifty.
        missing: share of the images that may be absent from the disk; they are left out, counted and listed.

    Raises:
        DataError: if the file is no such JSON, refers to what it does not define, or too many images are absent.
    """
    try:
        return _read(annotations, images, missing)
    except DataError:
        raise
    except Exception as error:  # JSON of any shape: what is not asked for by name may be anything
        text = " ".join(str(error).split())[:200]
        raise DataError(
            f"{annotations} is no COCO file: {type(error).__name__}: {text}",
            expected="annotations in the format of COCO",
        ) from error


def _read(annotations: Path, images: Path | None, missing: float) -> DetectionData:
    content = _load(annotations)
    categories = _rows(content, "categories", annotations, ("id", "name"))
    rows = _rows(content, "images", annotations, ("id", "width", "height"))
    labels = {int(row["id"]): place for place, row in enumerate(categories)}
    _distinct([row["id"] for row in categories], "category", annotations)
    _distinct([row["id"] for row in rows], "image", annotations)
    sizes = {int(row["id"]): (int(row["height"]), int(row["width"])) for row in rows}
    things, notes = _things(_rows(content, "annotations", annotations, ("image_id",)), sizes, labels, annotations)
    folder = images or _image_folder(annotations, [_file_of(row) for row in rows[:50]])
    found, absent = [], []
    for row in rows:
        name = _file_of(row)
        path = _located(folder, row, name)
        if path is None:
            absent.append(name)
            continue
        checked = row.get("neg_category_ids")
        found.append(
            AnnotatedImage(
                key=name,
                number=int(row["id"]),
                path=path,
                size=sizes[int(row["id"])],
                things=tuple(things.get(int(row["id"]), ())),
                absent=None if checked is None else tuple(labels[k] for k in checked if k in labels),
                incomplete=tuple(labels[k] for k in row.get("not_exhaustive_category_ids", ()) if k in labels),
            )
        )
    if absent:
        listed = ", ".join(absent[:MOST_LISTED]) + (", ..." if len(absent) > MOST_LISTED else "")
        text = f"{len(absent)} of the {len(rows)} images of {annotations.name} are not in {folder}: {listed}"
        if len(absent) > missing * len(rows) or not found:
            raise DataError(text, expected=f"at most {missing:.0%} absent", hint="images=FOLDER, or missing=1")
        notes.append(f"{text}.")
    return DetectionData(
        name=annotations.stem,
        classnames=tuple(_spoken(row["name"]) for row in categories),
        category_ids=tuple(int(row["id"]) for row in categories),
        images=tuple(found),
        synonyms={
            _spoken(row["name"]): tuple(_spoken(other) for other in row["synonyms"])
            for row in categories
            if row.get("synonyms")
        },
        frequency=tuple(row.get("frequency", "") for row in categories) if "frequency" in categories[0] else (),
        notes=tuple(notes),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"at most {MAX_JSON_BYTES:,}")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {error}"[:300], expected="annotations in the format of COCO"
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} is no annotation file: it holds a {type(content).__name__}",
            expected='a mapping with "images", "annotations" and "categories"; a list is a file of results',
        )
    return content


def _rows(content: Mapping[str, Any], key: str, path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f'{path} is no COCO file: it has no list called "{key}"',
            expected=f'"images", "annotations" and "categories"; found: {", ".join(list(content)[:8]) or "nothing"}',
        )
    if key == "categories" and not rows:
        raise DataError(f"{path} lists no categories", expected="at least one")
    for place, row in enumerate(rows):
        lacking = [name for name in needed if name not in row]
        if lacking:
            raise DataError(
                f"entry {place} of {key} in {path.name} has no {', '.join(lacking)}",
                expected=f"{', '.join(needed)} in each",
            )
        odd = [name for name in needed if name != "name" and not isinstance(row[name], int | float)]
        if odd:
            raise DataError(
                f"entry {place} of {key} in {path.name} has {odd[0]} {row[odd[0]]!r}"[:200], expected="a number"
            )
    return rows


def _distinct(ids: Sequence[Any], what: str, path: Path) -> None:
    if len(set(ids)) < len(ids):
        seen: set[Any] = set()
        twice = next(one for one in ids if one in seen or seen.add(one))
        raise DataError(f"the {what} id {twice} occurs twice in {path.name}", expected="each once")


def _things(
    rows: Sequence[Mapping[str, Any]], sizes: Mapping[int, tuple[int, int]], labels: Mapping[int, int], path: Path
) -> tuple[dict[int, list[Thing]], list[str]]:
    found: dict[int, list[Thing]] = {}
    outside = flat = 0
    for place, row in enumerate(rows):
        if "bbox" not in row or "category_id" not in row:
            raise DataError(
                f"annotation {place} of {path.name} has no box or no category: {sorted(row)[:8]}",
                expected="bbox [left, top, width, height] and category_id: a file of instances",
            )
        image, category = row["image_id"], row["category_id"]
        if image not in sizes or category not in labels:
            what = f"the image {image}" if image not in sizes else f"the category {category}"
            raise DataError(f"annotation {place} of {path.name} refers to {what}, which it does not define")
        box = _corners(row["bbox"], place, path)
        height, width = sizes[image]
        inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))
        if inside[2] <= inside[0] or inside[3] <= inside[1]:
            flat += 1
            continue
        outside += any(abs(a - b) > 1 for a, b in zip(box, inside, strict=True))
        thing = Thing(inside, labels[category], bool(row.get("iscrowd", 0)), row.get("segmentation"), row.get("area"))
        found.setdefault(image, []).append(thing)
    notes = []
    if flat:
        notes.append(f"{flat} boxes without area in their image were left out.")
    if outside:
        notes.append(f"{outside} boxes reach beyond their image and were clipped to it.")
    return found, notes


def _corners(box: Any, place: int, path: Path) -> tuple[float, float, float, float]:
    try:
        left, top, width, height = (float(value) for value in box)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"annotation {place} of {path.name} has the box {box!r}"[:200], expected="[left, top, width, height], px"
        ) from error
    if not all(math.isfinite(value) for value in (left, top, width, height)):
        raise DataError(f"annotation {place} of {path.name} has the box {box!r}", expected="finite numbers")
    return left, top, left + width, top + height


def _file_of(row: Mapping[str, Any]) -> str:
    """The name of the file; LVIS v1 has only the address of the image."""
    name = row.get("file_name") or str(row.get("coco_url", "")).rsplit("/", 1)[-1]
    if not name:
        raise DataError(f"the image {row.get('id')} has neither file_name nor coco_url")
    return str(name)


def _located(folder: Path, row: Mapping[str, Any], name: str) -> Path | None:
    """The file of an image; LVIS draws its val images from both folders of COCO."""
    subfolder = "/".join(str(row.get("coco_url", "")).rsplit("/", 2)[-2:])
    candidates = [folder / name, folder / Path(name).name]
    if "coco_url" in row:
        candidates += [folder / subfolder, folder.parent / subfolder]
    for path in candidates:
        # A name such as ../../key must not reach out of the dataset.
        if path.is_file() and path.resolve().is_relative_to(folder.resolve().parent):
            return path
    return None


def _image_folder(annotations: Path, names: Sequence[str]) -> Path:
    """The folder near the file that holds most of these images; some of them may be absent."""
    base = annotations.parent
    split = annotations.stem.rsplit("_", 1)[-1]
    near = [base, base / "images", base.parent / split, base.parent / "images", base.parent / "images" / split]
    near += [base.parent / "val2017", base.parent / "train2017", base.parent]
    return max(near, key=lambda folder: sum((folder / name).is_file() for name in names))


def _spoken(name: Any) -> str:
    return " ".join(str(name).replace("_", " ").split())
