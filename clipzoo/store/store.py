"""EmbeddingStore: image features on disk with what they were made from, opened read-only."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Float32

from clipzoo.errors import DataError, UsageError
from clipzoo.store.shards import ShardPath, check_shard, npy_bytes, read_facts, read_features, read_table
from clipzoo.store.whole_files import write_whole

FORMAT = 1
"""Version of the layout of a store."""

Modality = Literal["image", "text"]

_OPEN_FILES = 64
_AGAIN = "clipzoo embed with the same settings makes it again"


_MAX_DIM, _MAX_ROWS = 1 << 20, 1 << 48


@dataclass(frozen=True)
class StoreInfo:
    """The content of ``store.json``.

    Args:
        dim: width of the features.
        encoder: name of the encoder, as :func:`clipzoo.load_clip` takes it.
        fingerprint: of its weights; None if it is not known (imported stores).
        preprocess_id: of its preprocessing; None if it is not known.
        precision: arithmetic of the encoder.
        decoder: how files became pixels, one of :data:`clipzoo.store.decoding.DECODERS`.
        decoder_version: libraries that did it.
        source: what was embedded.
        shard_size: images of the source a shard, those that failed included.
        count: rows.
        failures: images that could not be read (``failures.jsonl``).
        repeats: rows whose image had been embedded before, byte for byte.
        rows: rows of each shard.
        has_text: whether there are features of the captions too.
        complete: whether the whole source was embedded.
        versions: libraries of the process that began the store.
    """

    dim: int
    encoder: str
    fingerprint: str | None
    preprocess_id: str | None
    precision: str
    decoder: str
    decoder_version: str
    source: str
    shard_size: int
    count: int = 0
    failures: int = 0
    repeats: int = 0
    rows: tuple[int, ...] = ()
    has_text: bool = False
    complete: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> StoreInfo:
        """Read ``store.json``.

        Raises:
            DataError: if it is missing, damaged, or of a later version.
        """
        path = folder / "store.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise DataError(f"{folder} was written by another version of clipzoo (format {content['format']})")
            known = {name.name for name in fields(cls)}
            info = cls(**{name: value for name, value in content.items() if name in known})
            rows = tuple(int(count) for count in info.rows)
            if min((info.dim, info.count, *rows)) < 0 or (info.complete and sum(rows) != info.count):
                raise ValueError("its numbers contradict each other")
            if info.dim > _MAX_DIM or info.count > _MAX_ROWS or max(rows, default=0) > _MAX_ROWS:
                raise ValueError(f"rows are {info.dim} wide, and there are {info.count}")
        except FileNotFoundError as error:
            raise DataError(
                f"{folder} is no embedding store: it has no store.json",
                expected="a folder that clipzoo embed made",
                hint=f"clipzoo embed SOURCE --out {folder}",
            ) from error
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DataError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error
        return StoreInfo(**{**vars(info), "rows": rows})

    def write(self, folder: Path) -> None:
        """Write ``store.json``, whole or not at all."""
        content = {"format": FORMAT, **asdict(self)}
        write_whole(folder / "store.json", json.dumps(content, indent=1, ensure_ascii=True).encode() + b"\n")


class EmbeddingStore:
    """Features of images on disk, as :func:`clipzoo.store.embed` made them.

    A folder: ``store.json`` (:class:`StoreInfo`), ``shards/<n>.npy`` (fp16 unit rows), ``shards/<n>.parquet`` (key,
    path, width, height, sha256, caption, note of each row) and ``failures.jsonl``. Features are mapped into memory
    and read as they are asked for; a store larger than memory can be walked with :meth:`chunks`.

    Args:
        folder: the store.
        info: what ``store.json`` says.
    """

    def __init__(self, folder: Path, info: StoreInfo) -> None:
        """Use :meth:`open`."""
        self.folder = folder
        self.info = info
        self._starts = [0, *accumulate(info.rows)]
        self._mapped: OrderedDict[tuple[int, Modality], np.ndarray] = OrderedDict()

    @classmethod
    def open(cls, folder: str | Path, *, incomplete: bool = False) -> EmbeddingStore:
        """Open a store to read it.

        Args:
            folder: the store.
            incomplete: also open one that is still being written, or whose writing was interrupted: the shards that
                are there.

        Raises:
            DataError: if it is no store, is not complete, or a file of it is missing or cut off.
        """
        folder = Path(folder).expanduser()
        info = StoreInfo.read(folder)
        if not info.complete:
            if not incomplete:
                raise DataError(
                    f"{folder} is not complete", hint="the clipzoo embed that began it, again; or open it incomplete"
                )
            rows = tuple(facts["rows"] for facts in _whole_shards(folder / "shards"))
            info = StoreInfo(**{**vars(info), "rows": rows, "count": sum(rows)})
        store = cls(folder, info)
        for index, rows_here in enumerate(info.rows):
            store._check_size(index, rows_here)
        return store

    def __len__(self) -> int:
        """Rows."""
        return self.info.count

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.info.dim

    def features(
        self, start: int = 0, stop: int | None = None, *, of: Modality = "image"
    ) -> Float32[np.ndarray, "rows dim"]:
        """Rows ``start`` to ``stop`` (exclusive) in fp32; their norms are one up to the rounding to fp16.

        Args:
            start: first row, from 0.
            stop: row after the last; None means to the end.
            of: ``"image"``, or ``"text"`` where :attr:`StoreInfo.has_text`.

        Raises:
            UsageError: if there are no such rows, or no features of text.
            DataError: if a file is damaged.
        """
        return self.stored(start, stop, of=of).astype(np.float32)

    def stored(
        self, start: int = 0, stop: int | None = None, *, of: Modality = "image"
    ) -> Float16[np.ndarray, "rows dim"]:
        """Like :meth:`features`, in fp16 as stored; inside one shard nothing is copied."""
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise UsageError(f"rows {start} to {stop}", expected=f"0 <= start <= stop <= {len(self)}")
        if of == "text" and not self.info.has_text:
            raise UsageError(f"{self.folder} holds no features of text")
        parts = []
        shard = bisect_right(self._starts, start) - 1
        while start < stop:
            low, high = self._starts[shard], min(self._starts[shard + 1], stop)
            if high > start:
                parts.append(self._shard(shard, of)[start - low : high - low])
                start = high
            shard += 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float16)

    def chunks(
        self, rows: int = 65536, *, of: Modality = "image"
    ) -> Iterator[tuple[int, Float32[np.ndarray, "rows dim"]]]:
        """All features in order, at most ``rows`` at a time, each with the number of its first row."""
        for start in range(0, len(self), rows):
            yield start, self.features(start, min(start + rows, len(self)), of=of)

    @cached_property
    def keys(self) -> list[str]:
        """The key of each row."""
        return self.table(["key"]).column("key").to_pylist()

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """What is known of each row, in order.

        Args:
            columns: names of columns, all by default.

        Raises:
            DataError: if there is no such column, or a sidecar is damaged.
        """
        parts = [read_table(self._path(index), columns) for index in range(len(self.info.rows))]
        return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})

    def failures(self) -> list[dict[str, Any]]:
        """The images that could not be read: key, path and reason."""
        path = self.folder / "failures.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def verify(self) -> list[str]:
        """Read every file whole and compare checksums.

        Returns:
            What is wrong, a line a shard; nothing if all is well.
        """
        found = []
        for index in range(len(self.info.rows)):
            try:
                check_shard(self._path(index), self.dim)
            except DataError as error:
                found.append(error.what)
        return found

    def _path(self, index: int) -> ShardPath:
        return ShardPath(self.folder / "shards", index)

    def _check_size(self, index: int, rows: int) -> None:
        path = self._path(index)
        for file in [path.sidecar, path.image, *([path.text] if self.info.has_text else [])]:
            if not file.exists():
                raise DataError(f"{file} is missing", hint=_AGAIN)
            size, expected = file.stat().st_size, npy_bytes(rows, self.dim)
            if file != path.sidecar and size != expected:
                raise DataError(f"{file} is damaged: it has {size:,} bytes", expected=f"{expected:,}", hint=_AGAIN)

    def _shard(self, index: int, of: Modality) -> np.ndarray:
        key = (index, of)
        if key not in self._mapped:
            path = self._path(index)
            rows = read_features(path.image if of == "image" else path.text)
            if rows.shape != (self.info.rows[index], self.dim):
                raise DataError(
                    f"shard {index} of {self.folder} has the shape {rows.shape}",
                    expected=f"({self.info.rows[index]}, {self.dim})",
                )
            self._mapped[key] = rows
            if len(self._mapped) > _OPEN_FILES:
                self._mapped.popitem(last=False)
        return self._mapped[key]


def _whole_shards(folder: Path) -> list[dict[str, Any]]:
    found = []
    for place, path in enumerate(ShardPath.all(folder)):
        if path.index != place:
            break
        try:
            found.append(read_facts(path))
        except DataError:
            break
    return found
