"""Captions as people have them: CSV and TSV, COCO's and Karpathy's JSON, JSON lines, folders, webdataset shards."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clipzoo.errors import DataError, closest_matches
from clipzoo.store.sources import IMAGE_SUFFIXES, Item, source_items
from clipzoo_train.captions import CaptionData, Read, from_item, gather

IMAGE_COLUMNS = ("image", "image_name", "filepath", "file_path", "path", "image_path", "filename", "file_name", "file")
CAPTION_COLUMNS = ("caption", "title", "text", "sentence", "comment", "raw")
PART_COLUMNS = ("split", "partition", "subset")
_FILES = ("captions.csv", "captions.txt", "captions.tsv", "results.csv", "captions.json", "captions.jsonl")
_FOLDERS = ("", "Images", "images", "flickr30k_images", "Flicker8k_Dataset", "train2017", "val2017", "train2014")
_PARTS = {"train": "train", "restval": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_MAX_BYTES = 2 << 30

Row = tuple[str, str | None, str]


def open_captions(path: Path, *, images: str = "", **_: object) -> CaptionData:
    """Images with captions from whatever a path names.

    Args:
        path: a table (``.csv``, ``.tsv``, ``.txt``) with a column of images and one of captions, one caption a row;
            ``.json`` in COCO's or Karpathy's layout, a list or lines of objects, or a mapping from image to captions;
            a ``.tar`` or a folder of them (webdataset: ``key.jpg`` with ``key.txt``); or a folder that holds a
            file called ``captions`` or ``results`` beside its images, or ``NAME.jpg`` with ``NAME.txt``.
        images: folder of the images; by default they are looked for beside the captions.

    Raises:
        DataError: naming what is wrong: columns, encoding, nothing found.
    """
    if path.is_dir():
        table = next((path / name for name in _FILES if (path / name).is_file()), None)
        if table is None:
            return _from_sources(path)
        path = table
    if path.suffix.lower() == ".tar":
        return _from_sources(path)
    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ".json", ".jsonl"):
        raise DataError(f"{path} is no file of captions", expected=".csv, .tsv, .txt, .json, .jsonl, .tar or a folder")
    text = _text(path)
    rows = _json_rows(text, path) if path.suffix.lower().startswith(".json") else list(_table_rows(text, path))
    folders = _image_folders(path.parent, images)
    unused = _unused(rows, folders) if len(rows) < 200_000 else []
    return gather(
        path.stem if path.stem not in ("captions", "results") else path.parent.name, rows, _finder(folders), unused
    )


def open_flickr(folder: Path, **options: Any) -> CaptionData:
    """Flickr8k or Flickr30k as they are distributed: a table of captions beside a folder of images."""
    return open_captions(folder, **options)


def open_coco(folder: Path, *, images: str = "", **_: object) -> CaptionData:
    """COCO's captions: ``annotations/captions_train2017.json`` trains, ``captions_val2017.json`` is measured.

    With ``dataset_coco.json`` (Karpathy's split) that is used instead.
    """
    karpathy = folder / "dataset_coco.json"
    if karpathy.is_file():
        return open_captions(karpathy, images=images or str(folder))
    rows: list[Row] = []
    for part, name in (("train", "train2017"), ("test", "val2017")):
        path = folder / "annotations" / f"captions_{name}.json"
        if path.is_file():
            rows += [(f"{name}/{key}", caption, part) for key, caption, _ in _json_rows(_text(path), path)]
    return gather("coco-captions", rows, _finder([Path(images or folder)]))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected="at most 2 GB", hint="shards (.tar)")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} is not in UTF-8: line {line} holds the byte 0x{content[error.start]:02x}",
            expected="UTF-8",
            hint=f"iconv -f LATIN1 -t UTF-8 {path.name} > utf8.csv, if it is in Latin-1",
        ) from error


def _table_rows(text: str, path: Path) -> Iterator[Row]:
    first = text.partition("\n")[0]
    if "\t" in first and re.match(r"\S+#\d\t", first):  # Flickr8k.token.txt: no header, IMAGE#NUMBER<tab>caption
        for line in text.splitlines():
            name, _, caption = line.partition("\t")
            if line.strip():
                yield name.partition("#")[0], caption, ""
        return
    delimiter = max(",\t|;", key=first.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
        image = _column(columns, IMAGE_COLUMNS, "images", path)
        caption = _column(columns, CAPTION_COLUMNS, "captions", path)
        part = next((columns[name] for name in PART_COLUMNS if name in columns), None)
        for row in reader:
            key = (row[image] or "").strip()
            if key:
                yield key, row[caption], _part(row[part] if part else "")
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}") from error


def _column(columns: dict[str, Any], wanted: Sequence[str], what: str, path: Path) -> Any:
    for name in wanted:
        if name in columns:
            return columns[name]
    raise DataError(
        f"{path} has the columns {', '.join(name for name in columns if name) or '(none)'}, and none of them is known "
        f"to hold {what}",
        expected=f"a first line that calls it {', '.join(wanted[:4])} ...",
        closest=closest_matches(next(iter(columns), ""), wanted),
    )


def _json_rows(text: str, path: Path) -> list[Row]:
    try:
        if path.suffix.lower() == ".jsonl":
            stored: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            stored = json.loads(text)
        rows = list(_rows_of(stored))
        wrong = [row for row in rows if not (isinstance(row[0], str) and isinstance(row[1], str | None))]
        if wrong:
            raise ValueError(f"{wrong[0][:2]} is no image with a caption")
        return rows
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(
            f"{path} is in no known layout of captions: {type(error).__name__}: {str(error)[:120]}",
            expected="COCO's (images, annotations), Karpathy's (images with sentences), a list of objects with image "
            "and caption, or a mapping from image to captions",
        ) from error


def _rows_of(stored: Any) -> Iterator[Row]:
    if isinstance(stored, dict) and "annotations" in stored:
        names = {image["id"]: image["file_name"] for image in stored["images"]}
        for note in stored["annotations"]:
            yield names.get(note["image_id"], str(note["image_id"])), note["caption"], ""
        told = {note["image_id"] for note in stored["annotations"]}
        yield from ((name, None, "") for number, name in names.items() if number not in told)
    elif isinstance(stored, dict) and "images" in stored:
        for image in stored["images"]:
            name = "/".join(part for part in (image.get("filepath", ""), image["filename"]) if part)
            for sentence in image["sentences"]:
                yield name, sentence["raw"], _part(image.get("split", ""))
    elif isinstance(stored, dict):
        for name, captions in stored.items():
            for caption in [captions] if isinstance(captions, str) else captions:
                yield name, caption, ""
    else:
        for entry in stored:
            key = next(entry[name] for name in IMAGE_COLUMNS if name in entry)
            caption = next(entry[name] for name in (*CAPTION_COLUMNS, "captions") if name in entry)
            part = next((entry[name] for name in PART_COLUMNS if name in entry), "")
            for text in [caption] if isinstance(caption, str) else caption:
                yield key, text, _part(part)


def _part(text: str | None) -> str:
    name = (text or "").strip().lower()
    return _PARTS.get(name, name)


def _image_folders(beside: Path, images: str) -> list[Path]:
    if images:
        folder = Path(images).expanduser()
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}", expected="images=FOLDER that holds the images")
        return [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    return [beside / name for name in _FOLDERS if (beside / name).is_dir()]


def _finder(folders: Sequence[Path]) -> Callable[[str], Read | None]:
    def find(key: str) -> Read | None:
        for folder in folders:
            path = folder / key
            if path.is_file():
                return from_item(Item(key, str(path), "", None, path))
        return None

    return find


def _unused(rows: Sequence[Row], folders: Sequence[Path]) -> list[str]:
    """Images beside those that are named, of which nothing is said."""
    named = {key for key, _, _ in rows}
    used = {folder / key for folder in folders for key in named}
    places = {path.parent for path in list(used)[:200] if path.is_file()}
    return [
        path.name
        for place in sorted(places)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and path not in used
    ]


def _from_sources(path: Path) -> CaptionData:
    """Shards, or a folder of images with a text file each."""
    items = list(source_items(path))
    if not items:
        raise DataError(
            f"{path} holds neither captions nor images", expected="captions.csv, .tar shards, or NAME.jpg and NAME.txt"
        )
    broken = [item for item in items if item.problem]
    if broken:
        raise DataError(str(broken[0].problem))
    found = {item.key: item for item in items}

    def caption(item: Item) -> str | None:
        if item.caption is not None or item.length is not None:
            return item.caption
        beside = item.file.with_suffix(".txt")
        return _text(beside) if beside.is_file() else None

    # A text file may hold several captions, one a line.
    rows = [(key, line, "") for key, item in found.items() for line in (caption(item) or "").splitlines() or [None]]
    return gather(path.stem, rows, lambda key: from_item(found[key]))
