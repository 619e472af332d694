"""From a collection of images to an :class:`EmbeddingStore`: decoded in threads, encoded in batches, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ConfigError, DataError, RunError, UsageError
from clipzoo.images.reading import MAX_PIXELS, decoder_version
from clipzoo.store.decoding import Budget, Decoded, Decoder
from clipzoo.store.feeding import Feeder
from clipzoo.store.shards import COLUMNS, ShardPath, check_shard, read_features, read_table, write_shard
from clipzoo.store.sources import Item, count_items, describe, source_items
from clipzoo.store.store import EmbeddingStore, StoreInfo
from clipzoo.store.whole_files import remove_parts, sole_writer, whole_file

SHARD_SIZE = 4096
"""Images a shard unless told otherwise: what a kill can cost."""

REMEMBERED = 1_000_000
"""Among so many latest distinct images a repeated one is recognised (about 250 MB)."""

_AHEAD_BYTES = 128 << 20
_FILE_BYTES = 128 << 20
_VERSIONS = ("clipzoo", "torch", "open_clip_torch", "pillow", "numpy", "pyarrow")

Location = tuple[int, int]  # shard, row in it


@dataclass(frozen=True)
class Extraction:
    """What a call of :func:`embed` did.

    Args:
        store: the result.
        encoded: images that passed the encoder in this call.
        kept: rows of shards that were there already and proved whole.
        redone: reasons why shards that were there were made again.
        seconds: duration of this call, s.
    """

    store: EmbeddingStore
    encoded: int
    kept: int
    redone: tuple[str, ...]
    seconds: float


def embed(
    clip: FrozenCLIP,
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    shard_size: int = SHARD_SIZE,
    limit: int | None = None,
    decoder: str = "pil",
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> Extraction:
    """Embed a collection of images, or go on where an earlier call was stopped.

    The store is filled shard by shard; each is written whole or not at all. The same call after a kill keeps the
    shards that prove whole (checksums of the features, names and times of change of the images), makes the others
    again, and ends with the same bytes as a call that was never stopped. An image that occurs again, byte for byte,
    is encoded once. One that cannot be read is left out and reported in ``failures.jsonl``.

    Images are decoded in threads (Pillow lets the interpreter go while it decodes and resizes; a thread needs no
    start-up and no second copy of anything). Besides the encoder this takes less than 1 GB.

    Args:
        clip: the encoder.
        source: a folder, webdataset shards, a list of paths: see :func:`clipzoo.store.source_items`.
        out: folder of the store.
        batch_size: images that pass the encoder at once; by default 256 on a GPU and 64 on the CPU.
        workers: threads that decode; by default one a processor, at most 16.
        shard_size: images a shard.
        limit: only the first so many images.
        decoder: ``"pil"``, pixel for pixel open_clip's own transform; ``"pil-draft"`` lets the JPEG decoder shrink
            large photos first, which is several times faster and changes pixels slightly.
        max_pixels: larger images are refused by their header.
        progress: show a bar where there is a terminal.

    Raises:
        DataError: if the source is missing or holds no readable image.
        ConfigError: if a setting is out of range, or the store was begun with other settings.
        UsageError: if ``out`` holds something else, cannot be written, or another process is writing it.
        RunError: if the encoder gives numbers that are not finite, or the disk is full.

    >>> import tempfile, clipzoo
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (80, 60), "red").save(folder / "red.png")
    >>> done = embed(clipzoo.load_clip("tiny", device="cpu"), folder, folder / "store", progress=False)
    >>> done.store.keys, done.store.features().shape
    (['red.png'], (1, 128))
    """
    start = time.perf_counter()
    batch_size = batch_size or (256 if clip.device.type == "cuda" else 64)
    workers = workers or min(
        16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    for name, value in (("batch_size", batch_size), ("workers", workers), ("shard_size", shard_size)):
        if value < 1:
            raise ConfigError(f"{name} is {value}", expected="at least 1")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}", expected="at least 1, or none")
    decode = Decoder(clip.preprocessing, decoder, max_pixels)
    items = source_items(source)
    out = Path(out).expanduser()
    info = StoreInfo(
        dim=clip.embed_dim,
        encoder=clip.name,
        fingerprint=clip.fingerprint,
        preprocess_id=clip.preprocess_id,
        precision=clip.precision,
        decoder=decoder,
        decoder_version=decoder_version(),
        source=describe(source),
        shard_size=shard_size,
        versions={name: version(name) for name in _VERSIONS},
    )
    _check_folder(out)
    with sole_writer(out):
        info = _begin(out, info)
        total = count_items(source) if progress and sys.stderr.isatty() else None
        total = min(total, limit) if total is not None and limit is not None else total
        planned = _plan(items if limit is None else islice(items, limit), info, max_pixels, out / "shards")
        work = _Extraction(clip, info, out, decode, batch_size, workers)
        try:
            with _bar(total, progress) as bar:
                work.run(planned, bar)
            work.finish()
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(f"{out} cannot be written: {reason}", hint="the same call goes on from here") from error
    done = EmbeddingStore.open(out)
    return Extraction(done, work.encoded, work.kept, tuple(work.redone), time.perf_counter() - start)


@dataclass(frozen=True)
class _Plan:
    """A shard of the source: its images, and what a shard on disk must say to be taken as it is."""

    path: ShardPath
    count: int
    items: list[Item]  # none if the shard on disk is taken
    identity: str
    facts: dict[str, Any] | None  # of the shard on disk, if it proved whole and belongs here
    damage: str | None


@dataclass
class _Filling:
    """A shard on its way: rows appear when they are decoded, features when they are encoded."""

    plan: _Plan
    features: np.ndarray
    rows: list[dict[str, Any]] = field(default_factory=list)
    repeats: list[tuple[int, Location]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    waiting: int = 0
    closed: bool = False


@dataclass(frozen=True)
class _Read:
    """What a worker found in one image: pixels, or the place of the same bytes, or the reason why not."""

    sha256: str = ""
    decoded: Decoded | None = None
    known: Location | None = None
    problem: str | None = None


class _Seen:
    """Where the content of an image was first embedded; forgets the oldest."""

    def __init__(self) -> None:
        self._places: OrderedDict[bytes, Location] = OrderedDict()

    def find(self, sha256: str) -> Location | None:
        return self._places.get(bytes.fromhex(sha256[:32]))

    def add(self, sha256: str, place: Location) -> None:
        self._places.setdefault(bytes.fromhex(sha256[:32]), place)
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)


class _Extraction:
    """The machinery of one call: threads that decode -> batches -> encoder -> a thread that writes."""

    def __init__(
        self, clip: FrozenCLIP, info: StoreInfo, out: Path, decode: Decoder, batch_size: int, workers: int
    ) -> None:
        self.info = info
        self.out = out
        self.encoded = self.kept = 0
        self.redone: list[str] = []
        self._failures: list[dict[str, str]] = []
        self._rows: list[int] = []
        self._repeats = 0
        self._open = False
        self._decode = decode
        self._files = Budget(_FILE_BYTES)
        self._seen = _Seen()
        self._feeder = Feeder(clip, batch_size, self._receive)
        self._filling: deque[_Filling] = deque()
        self._writes: deque[Future[None]] = deque()
        square_bytes = 3 * clip.image_size**2
        self._ahead = max(workers + 1, min(2 * batch_size, _AHEAD_BYTES // square_bytes))
        self._readers = ThreadPoolExecutor(workers, "clipzoo-decode")
        self._writer = ThreadPoolExecutor(1, "clipzoo-write")

    def run(self, plans: Iterable[_Plan], bar: Any) -> None:
        """Bring every planned shard onto the disk."""
        try:
            for plan, item, future in self._looking_ahead(plans):
                if item is None or future is None:
                    self._keep(plan)
                    bar.update(plan.count)
                    continue
                self._put(plan, item, future.result())
                bar.update(1)
            self._close()
            self._feeder.drain()
            while self._writes:
                self._writes.popleft().result()
        finally:
            self._readers.shutdown(cancel_futures=True)
            self._writer.shutdown()
            self._write_failures()

    def finish(self) -> None:
        """Close the store.

        Raises:
            DataError: if there is no row in it.
        """
        if not sum(self._rows):
            if not self._failures:
                raise DataError(f"{self.info.source} holds no images")
            raise DataError(
                f"not one of {len(self._failures)} images could be read; the first: {self._failures[0]['reason']}",
                details=[f"all reasons: {self.out / 'failures.jsonl'}"],
            )
        for path in ShardPath.all(self.out / "shards")[len(self._rows) :]:  # of a source that was longer once
            self._reopen()
            path.sidecar.unlink()
            path.image.unlink(missing_ok=True)
        replace(
            self.info,
            rows=tuple(self._rows),
            count=sum(self._rows),
            repeats=self._repeats,
            failures=len(self._failures),
            complete=True,
        ).write(self.out)

    def _looking_ahead(self, plans: Iterable[_Plan]) -> Iterator[tuple[_Plan, Item | None, Future[_Read] | None]]:
        """Every image in order, its decoding begun well before it is asked for."""
        begun: deque[tuple[_Plan, Item | None, Future[_Read] | None]] = deque()
        for plan in plans:
            if plan.facts is not None:
                begun.append((plan, None, None))
                if len(begun) > self._ahead:
                    yield begun.popleft()
                continue
            self._reopen()
            if plan.damage:
                self.redone.append(plan.damage)
            for item in plan.items:
                begun.append((plan, item, self._readers.submit(self._read, item)))
                if len(begun) > self._ahead:
                    yield begun.popleft()
        yield from begun

    def _reopen(self) -> None:
        """While anything is made or removed, the store on disk does not call itself complete."""
        if not self._open:
            self.info.write(self.out)
            self._open = True

    def _read(self, item: Item) -> _Read:
        """In a worker."""
        try:
            with self._files.take(item.size):
                content = item.read()
                sha256 = hashlib.sha256(content).hexdigest()
                known = self._seen.find(sha256)
                return _Read(sha256, known=known) if known else _Read(sha256, self._decode(content, item.path))
        except DataError as error:
            return _Read(problem=error.what)
        except MemoryError:
            return _Read(problem=f"{item.path} takes more memory than there is")

    def _keep(self, plan: _Plan) -> None:
        """Take over a shard that is on disk."""
        assert plan.facts is not None
        self._close()
        table = read_table(plan.path, ["sha256"])
        for row, sha256 in enumerate(table.column("sha256").to_pylist()):
            if self._seen.find(sha256) is None:
                self._seen.add(sha256, (plan.path.index, row))
        self.kept += plan.facts["rows"]
        self._account(plan.facts["rows"], plan.facts["repeats"], plan.facts["failures"])

    def _put(self, plan: _Plan, item: Item, read: _Read) -> None:
        if not self._filling or self._filling[-1].plan is not plan:
            self._close()
            self._filling.append(_Filling(plan, np.zeros((plan.count, self.info.dim), np.float16)))
        filling = self._filling[-1]
        if read.problem is not None:
            filling.failures.append({"key": item.key, "path": item.path, "reason": read.problem})
            return
        row = len(filling.rows)
        place = self._seen.find(read.sha256) or read.known
        if place is None:
            assert read.decoded is not None
            self._seen.add(read.sha256, (plan.path.index, row))
            filling.waiting += 1
            self._feeder.add((filling, row), read.decoded.pixels)
        else:
            filling.repeats.append((row, place))
        found = read.decoded
        filling.rows.append(
            {
                "key": item.key,
                "path": item.path,
                "width": found.width if found else None,
                "height": found.height if found else None,
                "sha256": read.sha256,
                "caption": item.caption,
                "note": found.note if found else None,
            }
        )

    def _close(self) -> None:
        """The last image of the current shard has come: a batch does not reach into the next one.

        So the batches of a shard, and with them its last bits, do not depend on what was done before.
        """
        if self._filling and not self._filling[-1].closed:
            self._filling[-1].closed = True
            self._feeder.send()
        self._write_finished()

    def _receive(self, tags: list[tuple[_Filling, int]], features: np.ndarray) -> None:
        self.encoded += len(tags)
        for (filling, row), values in zip(tags, features, strict=True):
            filling.features[row] = values
            filling.waiting -= 1
        self._write_finished()

    def _write_finished(self) -> None:
        # In order, because a repeated image may refer to any shard before its own.
        while self._filling and self._filling[0].closed and not self._filling[0].waiting:
            filling = self._filling.popleft()
            self._account(len(filling.rows), len(filling.repeats), filling.failures)
            self._writes.append(self._writer.submit(self._write, filling))
            while len(self._writes) > 2:
                self._writes.popleft().result()

    def _account(self, rows: int, repeats: int, failures: list[dict[str, str]]) -> None:
        self._rows.append(rows)
        self._repeats += repeats
        self._failures += failures

    def _write(self, filling: _Filling) -> None:
        """In the thread that writes."""
        plan, features = filling.plan, filling.features[: len(filling.rows)]
        tables: dict[int, list[dict[str, Any]]] = {}
        for row, (shard, first) in filling.repeats:
            if shard == plan.path.index:
                features[row], told = features[first], filling.rows[first]
            else:
                path = ShardPath(plan.path.folder, shard)
                features[row] = read_features(path.image)[first]
                if shard not in tables:
                    tables[shard] = read_table(path, ["width", "height", "note"]).to_pylist()
                told = tables[shard][first]
            filling.rows[row].update({name: told[name] for name in ("width", "height", "note")})
        about = {"identity": plan.identity, "failures": filling.failures, "repeats": len(filling.repeats)}
        write_shard(plan.path, features, pa.Table.from_pylist(filling.rows, COLUMNS), about)

    def _write_failures(self) -> None:
        path = self.out / "failures.jsonl"
        if not self._failures:
            path.unlink(missing_ok=True)
            return
        with whole_file(path) as file:
            for failure in self._failures:
                file.write(json.dumps(failure, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def _plan(items: Iterator[Item], info: StoreInfo, max_pixels: int, folder: Path) -> Iterator[_Plan]:
    """The source in shards, each compared with what is on disk."""
    index = 0
    while part := list(islice(items, info.shard_size)):
        path = ShardPath(folder, index)
        identity = _identity(part, info, max_pixels)
        facts = damage = None
        if path.sidecar.exists():
            try:
                facts = check_shard(path, info.dim)
                if facts.get("identity") != identity:
                    facts, damage = None, f"shard {index}: its images are others now"
            except DataError as error:
                damage = error.what
        yield _Plan(path, len(part), [] if facts else part, identity, facts, damage)
        index += 1


def _identity(items: list[Item], info: StoreInfo, max_pixels: int) -> str:
    """A digest of everything that determines a shard, apart from the content of its files."""
    made_with = [info.fingerprint, info.preprocess_id, info.precision, info.decoder, info.decoder_version, max_pixels]
    named = [[item.key, item.path, item.stamp, item.caption] for item in items]
    return hashlib.sha256(json.dumps([made_with, named]).encode()).hexdigest()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder", expected="a folder for the store")
    known = {"store.json", "shards", "failures.jsonl", ".lock"}
    if out.exists() and (others := [entry.name for entry in out.iterdir() if entry.name not in known]):
        if not (out / "store.json").exists() and not (out / "shards").exists():
            raise UsageError(
                f"{out} holds other things ({others[0]})", expected="a new folder, or a store to go on with"
            )


def _begin(out: Path, info: StoreInfo) -> StoreInfo:
    """Start the store, or go on with one that was made with the same settings."""
    remove_parts(out)
    remove_parts(out / "shards")
    try:
        stored = StoreInfo.read(out)
    except DataError:
        stored = None  # absent or damaged: every shard has to prove itself anyway
    if stored is None:
        return info
    names = ("source", "fingerprint", "preprocess_id", "precision", "decoder", "decoder_version", "shard_size")
    changed = [name for name in names if getattr(stored, name) != getattr(info, name)]
    if changed:
        raise ConfigError(
            f"{out} was begun with another {' and '.join(changed)}",
            details=[f"{name}: {getattr(stored, name)} there, {getattr(info, name)} here" for name in changed],
            hint="another --out, or the settings of that store",
        )
    return replace(info, versions=stored.versions)


def _bar(total: int | None, progress: bool) -> Any:
    from tqdm import tqdm

    shown = progress and sys.stderr.isatty()
    return tqdm(total=total, unit=" images", desc="embed", disable=not shown, smoothing=0.1)
