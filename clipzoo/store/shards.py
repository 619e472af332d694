"""One shard of a store: fp16 rows in ``.npy``, and a Parquet sidecar that says what they are and proves them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float16

from clipzoo.data.array_files import read_npy
from clipzoo.errors import DataError
from clipzoo.store.whole_files import sha256_of, whole_file, write_array

COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("caption", pa.string()),
        ("note", pa.string()),
    ]
)
"""What a sidecar says of each row; an imported store may have further columns behind."""

_METADATA = b"clipzoo"
_AGAIN = "clipzoo embed with the same settings makes it again"


@dataclass(frozen=True)
class ShardPath:
    """The files of shard ``index`` in ``folder``."""

    folder: Path
    index: int

    @property
    def image(self) -> Path:
        """Image features."""
        return self.folder / f"{self.index:06d}.npy"

    @property
    def text(self) -> Path:
        """Features of the captions, of stores that have them."""
        return self.folder / f"{self.index:06d}.text.npy"

    @property
    def sidecar(self) -> Path:
        """What the rows are. Written last: its presence means that the shard is whole."""
        return self.folder / f"{self.index:06d}.parquet"

    @classmethod
    def all(cls, folder: Path) -> list[ShardPath]:
        """The shards that have a sidecar, in order."""
        names = sorted(path.stem for path in folder.glob("*.parquet") if path.stem.isdigit())
        return [cls(folder, int(name)) for name in names]


def write_shard(
    path: ShardPath,
    image: Float16[np.ndarray, "rows dim"],
    table: pa.Table,
    about: Mapping[str, Any],
    text: Float16[np.ndarray, "rows dim"] | None = None,
) -> None:
    """Write a shard: features, then the sidecar with their checksums.

    Args:
        path: where.
        image: fp16 rows.
        table: as many rows, with the columns of :data:`COLUMNS` at least.
        about: facts to keep with the shard (JSON).
        text: fp16 rows of the captions.
    """
    facts = dict(about, rows=len(image), sha256=write_array(path.image, image))
    if text is not None:
        facts["text_sha256"] = write_array(path.text, text)
    content = json.dumps(facts, sort_keys=True, ensure_ascii=True).encode()
    with whole_file(path.sidecar) as file:
        pq.write_table(
            table.replace_schema_metadata({_METADATA: content}), file, compression="zstd", write_page_checksum=True
        )


def read_facts(path: ShardPath) -> dict[str, Any]:
    """What :func:`write_shard` was told, with ``rows``, ``sha256`` and ``text_sha256`` of the features.

    Raises:
        DataError: if the sidecar is missing or damaged.
    """
    try:
        facts = json.loads((pq.read_schema(path.sidecar).metadata or {})[_METADATA])
        return {**facts, "rows": int(facts["rows"]), "sha256": str(facts["sha256"])}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path.sidecar, error) from error


def read_table(path: ShardPath, columns: list[str] | None = None) -> pa.Table:
    """Columns of a sidecar, checksums verified.

    Raises:
        DataError: if it is missing or damaged, or has no such column.
    """
    try:
        with pq.ParquetFile(path.sidecar, page_checksum_verification=True) as file:
            missing = [name for name in columns or [] if name not in file.schema_arrow.names]
            if missing:
                raise DataError(
                    f"{path.sidecar} has no column {missing[0]}", expected=", ".join(file.schema_arrow.names)
                )
            return file.read(columns, use_threads=False).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path.sidecar, error) from error


def read_features(path: Path) -> Float16[np.ndarray, "rows dim"]:
    """Features of a shard, mapped into memory and read-only.

    Raises:
        DataError: if the file is missing, cut off, or holds no fp16 rows.
    """
    if not path.exists():
        raise _damaged(path, FileNotFoundError())
    try:
        rows = read_npy(path, mapped=True)
    except DataError as error:
        raise DataError(error.what, hint=_AGAIN) from error
    if rows.ndim != 2 or rows.dtype != np.float16:
        raise DataError(f"{path} holds {rows.dtype} of the shape {rows.shape}", expected="float16 [rows, dim]")
    return rows


def npy_bytes(rows: int, dim: int) -> int:
    """Size of an ``.npy`` file of fp16 rows, bytes."""
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
    np.lib.format.write_array_header_1_0(header, {**description, "shape": (rows, dim)})
    return len(header.getvalue()) + rows * dim * 2


def check_shard(path: ShardPath, dim: int) -> dict[str, Any]:
    """Read a shard whole and compare it with its checksums.

    Returns:
        Its facts, see :func:`read_facts`.

    Raises:
        DataError: if anything is missing, damaged, or does not belong together.
    """
    facts = read_facts(path)
    files = [(path.image, facts["sha256"])]
    if "text_sha256" in facts:
        files.append((path.text, facts["text_sha256"]))
    for file, digest in files:
        rows = read_features(file)
        if rows.shape != (facts["rows"], dim):
            raise DataError(f"{file} has the shape {rows.shape}", expected=f"({facts['rows']}, {dim})")
        if sha256_of(file) != digest:
            raise DataError(f"{file} is damaged: its checksum is not the one in its sidecar")
    if len(read_table(path)) != facts["rows"]:
        raise DataError(f"{path.sidecar} has not as many rows as {path.image.name}")
    return facts


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is missing", hint=_AGAIN)
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path} is damaged: {text}", hint=_AGAIN)
