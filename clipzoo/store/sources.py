"""Where images come from: folders, lists of paths, webdataset shards; always in the same order."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipzoo.errors import DataError, closest_matches
from clipzoo.images.reading import MAX_FILE_BYTES

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .gif .tif .tiff .bmp .ppm .pgm .pbm .jp2 .avif .mpo .ico".split()
)
"""Suffixes that a folder or a tar is searched for, in lower case."""

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".parquet")

_PATH_COLUMNS = ("path", "image_path", "filepath", "file_path", "image", "img", "file", "filename", "file_name")
_CAPTION_COLUMNS = ("caption", "title", "text", "sentence", "label", "name")


@dataclass(frozen=True, slots=True)
class Item:
    """One image that a source names, not yet read.

    Args:
        key: its name inside the source.
        path: where it is, for records.
        stamp: changes when its content does (size and time of change of its file).
        caption: text that came with it.
        file: the file to read.
        offset: of its first byte in ``file``.
        length: bytes; None means the whole file.
        problem: why it cannot be read, if that is known already.
    """

    key: str
    path: str
    stamp: str
    caption: str | None
    file: Path
    offset: int = 0
    length: int | None = None
    problem: str | None = None

    @property
    def size(self) -> int:
        """Bytes that :meth:`read` will take; 0 if that is not known."""
        if self.length is not None or self.problem:
            return self.length or 0
        try:
            return self.file.stat().st_size
        except (OSError, ValueError):
            return 0

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DataError: if it is missing, empty, no regular file, too large, or cut off.
        """
        if self.problem:
            raise DataError(self.problem)
        try:
            with os.fdopen(_open_regular(self.file), "rb") as file:
                length = os.fstat(file.fileno()).st_size if self.length is None else self.length
                if length > MAX_FILE_BYTES:
                    raise DataError(f"{self.path} has {length:,} bytes", expected=f"at most {MAX_FILE_BYTES:,}")
                file.seek(self.offset)
                content = file.read(length)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{self.path} cannot be read: {reason}") from error
        if not content:
            raise DataError(f"{self.path} is empty", expected="an image file")
        if len(content) < length:
            raise DataError(f"{self.path} is cut off: {len(content):,} of {length:,} bytes")
        return content


def source_items(source: str | Path | Sequence[str | Path]) -> Iterator[Item]:
    """The images of a source, one after another, without holding all of them.

    Args:
        source: a folder (searched with its subfolders, in the order of names, for images and ``.tar`` shards;
            hidden files are left out), a ``.tar``, a list of paths (``.txt``: one a line; ``.csv``, ``.tsv`` and
            ``.parquet``: a column such as ``path``, and one such as ``caption`` if there is one; relative paths
            start at the list), one image, or a Python sequence of image paths.

    Raises:
        DataError: if there is no such source, or a list has no column of paths.
    """
    if not isinstance(source, str | Path):
        return (_file_item(str(path), Path(path)) for path in source)
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if path.is_dir():
        return _folder_items(path, path)
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no {path}",
            closest=closest_matches(path.name, beside),
            expected="a folder, a .tar, a list of paths (.txt, .csv, .tsv, .parquet), or an image",
        )
    if suffix == ".tar":
        return _tar_items(path, path.name)
    if suffix in LIST_SUFFIXES:
        return _list_items(path)
    if suffix in IMAGE_SUFFIXES:
        return iter([_file_item(path.name, path)])
    raise DataError(
        f"{path} is no source of images",
        expected=f"a folder, a .tar (not compressed), a list of paths ({', '.join(LIST_SUFFIXES)}), or an image",
    )


def describe(source: str | Path | Sequence[str | Path]) -> str:
    """The source in one line, for records; the same source gives the same line."""
    if not isinstance(source, str | Path):
        return f"a list of {len(source)} paths"
    return plain_text(str(Path(source).expanduser().resolve()))


def count_items(source: str | Path | Sequence[str | Path]) -> int | None:
    """How many images :func:`source_items` will give, where that is quick to know; else None."""
    if not isinstance(source, str | Path):
        return len(source)
    path = Path(source).expanduser()
    if path.is_dir():
        total = 0
        for _, folders, names in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            suffixes = [Path(name).suffix.lower() for name in names if not name.startswith(".")]
            if ".tar" in suffixes:
                return None
            total += sum(suffix in IMAGE_SUFFIXES for suffix in suffixes)
        return total
    if path.suffix.lower() in LIST_SUFFIXES and path.suffix.lower() != ".parquet":
        return None if path.stat().st_size > 1 << 30 else sum(1 for _ in _list_items(path, stamp=False))
    if path.suffix.lower() == ".parquet":
        return sum(1 for _ in _rows(path))
    return 1 if path.suffix.lower() in IMAGE_SUFFIXES else None


def plain_text(text: str) -> str:
    """``text`` as valid Unicode: bytes of a file name that are no UTF-8 are written as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _open_regular(path: Path) -> int:
    # Without O_NONBLOCK a named pipe would be waited for, for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError("it is no regular file")
    return handle


def _file_item(key: str, path: Path, caption: str | None = None, *, stamp: bool = True) -> Item:
    mark = ""
    if stamp:
        try:
            status = path.stat()
            mark = f"{status.st_size}:{status.st_mtime_ns}"
        except (OSError, ValueError):
            mark = "missing"
    return Item(plain_text(key), plain_text(str(path)), mark, caption, path)


def _folder_items(folder: Path, root: Path) -> Iterator[Item]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        path = plain_text(str(folder))
        yield Item(path, path, "", None, folder, problem=f"{path} cannot be listed: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _folder_items(path, root)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield _file_item(path.relative_to(root).as_posix(), path)
        elif path.suffix.lower() == ".tar":
            yield from _tar_items(path, path.relative_to(root).as_posix())


def _tar_items(path: Path, key: str) -> Iterator[Item]:
    from clipzoo.store.tar_shards import tar_items

    return tar_items(path, plain_text(key))


def _list_items(path: Path, *, stamp: bool = True) -> Iterator[Item]:
    for text, caption in _rows(path):
        name = "" if text is None else str(text).strip()
        if not name:
            continue
        if "://" in name:
            where = plain_text(name)
            yield Item(where, where, "", caption, path, problem=f"{where} is an address, and nothing is downloaded")
            continue
        yield _file_item(name, path.parent / Path(name).expanduser(), caption, stamp=stamp)


def _rows(path: Path) -> Iterator[tuple[str | None, str | None]]:
    read = {".txt": _text_rows, ".parquet": _parquet_rows}.get(path.suffix.lower(), _csv_rows)
    try:
        yield from read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _text_rows(path: Path) -> Iterator[tuple[str, None]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            yield line, None


def _csv_rows(path: Path) -> Iterator[tuple[str | None, str | None]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if delimiter == "," and "\t" in (first := file.readline()) and "," not in first:
            delimiter = "\t"  # the captions files of CLIP training are called .csv and hold tabs
        file.seek(0)
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            where, what = _columns(reader.fieldnames or [], path)
            for row in reader:
                caption = row[what] if what else None
                yield row[where], None if caption is None else plain_text(caption)
        except csv.Error as error:
            raise DataError(f"{path} is no table: {error} (line {reader.line_num})") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str | None, str | None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            where, what = _columns(file.schema_arrow.names, path)
            wanted = [where] if what is None else [where, what]
            for batch in file.iter_batches(8192, columns=wanted):
                rows = batch.to_pydict()
                yield from zip(rows[where], map(_text, rows[what]) if what else [None] * len(batch), strict=True)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no Parquet file, or is damaged: {' '.join(str(error).split())[:200]}") from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _columns(names: Iterable[str], path: Path) -> tuple[str, str | None]:
    lower: dict[str, str] = {}
    for name in names:
        lower.setdefault(name.strip().lower(), name)
    where = next((lower[name] for name in _PATH_COLUMNS if name in lower), None)
    if where is None:
        raise DataError(
            f"{path} has the columns {', '.join(lower) or '(none)'}", expected=f"one of {', '.join(_PATH_COLUMNS)}"
        )
    what = next((lower[name] for name in _CAPTION_COLUMNS if name in lower and lower[name] != where), None)
    return where, what
