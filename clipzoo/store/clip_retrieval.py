"""The folder layout of clip-retrieval: what many collections already have, in and out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipzoo.data.array_files import read_npy
from clipzoo.errors import DataError, UsageError
from clipzoo.store.shards import COLUMNS, ShardPath, read_table, write_shard
from clipzoo.store.store import EmbeddingStore, StoreInfo
from clipzoo.store.whole_files import remove_parts, sole_writer, whole_file, write_array

_NUMBER = re.compile(r"_(\d+)\.npy$")
_CHECK_ROWS = 65536


def is_clip_retrieval(folder: str | Path) -> bool:
    """Whether ``folder`` holds ``img_emb/img_emb_<n>.npy``."""
    return any((Path(folder) / "img_emb").glob("img_emb_*.npy"))


def import_clip_retrieval(folder: str | Path, out: str | Path, *, encoder: str = "unknown") -> EmbeddingStore:
    """Copy a folder that clip-retrieval wrote into a store.

    ``img_emb/img_emb_<n>.npy`` become the shards, in the order of the numbers; ``text_emb`` and every column of
    ``metadata/metadata_<n>.parquet`` come along (``image_path`` as ``key`` and ``path``). That layout does not record
    weights or preprocessing, so the store does not know them either.

    Args:
        folder: holds ``img_emb``, and ``text_emb`` and ``metadata`` if there are any.
        out: folder of the store, new or empty.
        encoder: name of the encoder that made the features, if you know it.

    Raises:
        DataError: if the folder has another layout, files do not belong together, or features are not finite.
        UsageError: if ``out`` holds something.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    partitions = list(_partitions(folder))
    if out.exists() and any(entry.name != ".lock" for entry in out.iterdir()):
        raise UsageError(f"{out} is not empty", expected="a new folder for the store")
    with sole_writer(out):
        rows, dims, texts = [], set(), set()
        for index, (image_path, text_path, table_path) in enumerate(partitions):
            image = _rows(image_path)
            text = None if text_path is None else _rows(text_path)
            table = _table(table_path, len(image), sum(rows))
            if text is not None and text.shape != image.shape:
                raise DataError(
                    f"{text_path} has the shape {text.shape}", expected=f"{image.shape}, that of {image_path.name}"
                )
            dims.add(image.shape[1])
            texts.add(text is not None)
            if len(dims) > 1 or len(texts) > 1:
                raise DataError(f"the partitions of {folder} differ in width, or only some have text_emb")
            write_shard(ShardPath(out / "shards", index), image, table, {"failures": [], "repeats": 0}, text)
            rows.append(len(image))
        info = StoreInfo(
            dim=dims.pop(),
            encoder=encoder,
            fingerprint=None,
            preprocess_id=None,
            precision="unknown",
            decoder="unknown",
            decoder_version="unknown",
            source=f"clip-retrieval folder {folder.resolve()}",
            shard_size=max(rows),
            count=sum(rows),
            rows=tuple(rows),
            has_text=texts.pop(),
            complete=True,
        )
        info.write(out)
    return EmbeddingStore.open(out)


def export_clip_retrieval(store: EmbeddingStore, folder: str | Path) -> Path:
    """Write a store in the layout of clip-retrieval, one partition a shard.

    Args:
        store: any store.
        folder: new or empty; receives ``img_emb``, ``metadata`` and, where there is text, ``text_emb``.

    Returns:
        ``folder``.

    Raises:
        UsageError: if ``folder`` holds something.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", expected="a new folder")
    start = 0
    for index, rows in enumerate(store.info.rows):
        stop = start + rows
        write_array(folder / "img_emb" / f"img_emb_{index}.npy", store.stored(start, stop))
        if store.info.has_text:
            write_array(folder / "text_emb" / f"text_emb_{index}.npy", store.stored(start, stop, of="text"))
        table = read_table(ShardPath(store.folder / "shards", index))
        names = ["image_path" if name == "path" else name for name in table.column_names]
        with whole_file(folder / "metadata" / f"metadata_{index}.parquet") as file:
            pq.write_table(table.rename_columns(names), file)
        start = stop
    remove_parts(folder)
    return folder


def _partitions(folder: Path) -> Iterator[tuple[Path, Path | None, Path | None]]:
    found = {}
    for path in (folder / "img_emb").glob("img_emb_*.npy"):
        if match := _NUMBER.search(path.name):
            found[match.group(1)] = path
    if not found:
        raise DataError(
            f"{folder} holds no img_emb/img_emb_<n>.npy", expected="a folder that clip-retrieval inference wrote"
        )
    for number in sorted(found, key=int):
        text = folder / "text_emb" / f"text_emb_{number}.npy"
        table = folder / "metadata" / f"metadata_{number}.parquet"
        yield found[number], text if text.exists() else None, table if table.exists() else None


def _rows(path: Path) -> np.ndarray:
    rows = read_npy(path, mapped=True)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating) or 0 in rows.shape:
        raise DataError(f"{path} holds {rows.dtype} of the shape {rows.shape}", expected="floating-point [rows, dim]")
    for start in range(0, len(rows), _CHECK_ROWS):
        part = rows[start : start + _CHECK_ROWS]
        if not np.isfinite(part).all():
            raise DataError(f"{path} holds numbers that are not finite, between rows {start} and {start + len(part)}")
    return rows if rows.dtype == np.float16 else rows.astype(np.float16)


def _table(path: Path | None, rows: int, first: int) -> pa.Table:
    """The columns of a sidecar, then whatever else the file has."""
    try:
        given = pa.table({}) if path is None else pq.read_table(path).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no Parquet file, or is damaged: {' '.join(str(error).split())[:200]}") from error
    if path is not None and given.num_rows != rows:
        raise DataError(f"{path} has {given.num_rows} rows", expected=f"{rows}, one for each of the features")
    columns = {name: given.column(name) for name in given.column_names}
    where = columns.pop("image_path", None)
    known = {"key": where, "path": where} if where is not None else {"key": _numbers(first, rows)}
    try:
        arranged = {}
        for column in COLUMNS:
            values = columns.pop(column.name, None)
            if values is None:
                values = known.get(column.name)
            arranged[column.name] = pa.nulls(rows, column.type) if values is None else values.cast(column.type)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: a column has an unexpected type: {' '.join(str(error).split())[:200]}") from error
    return pa.table({**arranged, **columns})


def _numbers(first: int, rows: int) -> pa.Array:
    return pa.array([str(first + row) for row in range(rows)], pa.string())
