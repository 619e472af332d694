"""A run: its folder, what it may ask for, how it is closed and resumed."""

from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import io
import json
import os
import platform
import re
import resource
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from clipzoo.errors import ClipzooError, DataError, RunError, UsageError
from clipzoo.locks import held, is_held
from clipzoo.plugin import Artifact, Plugin, Result, Settings, Table

if TYPE_CHECKING:
    import torch

    from clipzoo.config import Composed
    from clipzoo.encoders import FrozenCLIP

FORMAT = 1
"""Version of the layout of a run folder."""

_PACKAGES = ("clipzoo", "torch", "open_clip_torch", "timm", "numpy")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED = (errno.EACCES, errno.EPERM, errno.EROFS)
_MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class RunResult:
    """What a run gave, and the folder that holds it."""

    metrics: Mapping[str, float]
    tables: Sequence[Table]
    artifacts: Sequence[Artifact]
    folder: Path
    notes: Sequence[str] = ()


def execute(plugin: Plugin, composed: Composed, *, resume: Path | None = None, progress: bool = True) -> RunResult:
    """Run a plugin in a folder of its own, or go on in the folder ``resume``.

    A run that was complete already is not done again: its stored result is returned.

    Raises:
        ClipzooError: whatever stopped the run; finished items and the reason are kept in the folder.
    """
    from clipzoo.report import write_report

    if resume is not None and (resume / "metrics.json").exists():
        result = stored_result(resume)
        with suppress(UsageError), _sole_run(resume):  # a folder that cannot be written is read all the same
            _remove_parts(resume)
        if not (resume / "report.html").exists():  # it was stopped between its last two files
            with _explaining(resume, plugin, lambda: 0):
                write_report(resume)
        return result
    folder = resume if resume is not None else _new_folder(Path(composed.settings.out), plugin, composed)
    with _sole_run(folder):
        _remove_parts(folder)
        with _explaining(folder, plugin, lambda: 0):
            context = RunContext(folder, composed.settings, progress=progress)
        record = _Record(folder, plugin, composed, resumed=resume is not None)
        with _explaining(folder, plugin, lambda: _finished(context)):
            try:
                record.write("running")
                result = plugin.load_run()(composed.settings, context)  # pyright: ignore[reportArgumentType]: cached is a property too
                _refuse_if_all_failed(context)
                stored = _complete(folder, result, context, record)
            except BaseException as error:
                with suppress(OSError):  # on a full disk the error itself is what must be told
                    record.write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", context, error)
                    write_report(folder)
                raise
            write_report(folder)
        return RunResult(dict(result.metrics), result.tables, context.artifacts, folder, stored["notes"])


def _refuse_if_all_failed(context: RunContext) -> None:
    items = context.items()
    failures = [item["error"] for item in items.values() if "error" in item]
    if failures and len(failures) == len(items):
        raise DataError(f"not one of {len(failures)} items could be processed; the first: {failures[0]}")


def _complete(folder: Path, result: Result, context: RunContext, record: _Record) -> dict[str, Any]:
    """Write what the run gave; ``metrics.json`` last, because its presence says that the rest is there."""
    _write_tables(folder, result.tables)
    record.write("complete", context)
    stored = {
        "format": FORMAT,
        "metrics": dict(result.metrics),
        "protocol": dict(result.protocol),
        "notes": [*result.notes, *context.notes],
        "tables": [{"name": t.name, "caption": t.caption, "kind": t.kind} for t in result.tables],
        "artifacts": [dataclasses.asdict(artifact) for artifact in context.artifacts],
    }
    _write_whole(folder / "metrics.json", _json(stored))
    return stored


def _finished(context: RunContext) -> int:
    return sum("error" not in item for item in context.items().values())


@dataclass(frozen=True)
class RunState:
    """A run folder as its files tell.

    Args:
        folder: where it is.
        plugin: what was run.
        status: ``"complete"``, ``"running"`` (a process holds it), ``"failed"`` or ``"interrupted"``; what has failed
            or was interrupted can be resumed.
        items: finished items.
    """

    folder: Path
    plugin: str
    status: str
    items: int


def list_runs(out: str | Path = "runs") -> list[RunState]:
    """The runs below ``out``, oldest first, whatever stopped them; folders that are no runs are passed over.

    Args:
        out: the folder that ``out=`` named.
    """
    found = []
    for path in sorted(Path(out).expanduser().glob("*/*/config.yaml"), key=lambda path: path.parent.name):
        folder = path.parent
        if folder.name.startswith("."):  # on its way, or of a run that was killed before it had a name
            continue
        with suppress(UsageError):
            plugin, _ = load_config(folder)
            items = _Items(folder / "items.jsonl", repair=False).content
            found.append(RunState(folder, plugin, _status(folder), len(items)))
    return found


def _status(folder: Path) -> str:
    if (folder / "metrics.json").exists():
        return "complete"
    if is_held(folder / ".lock"):
        return "running"
    try:
        told = json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return "interrupted"
    return "failed" if told == "failed" else "interrupted"


def load_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The plugin and the plain settings of the run in ``folder``.

    Raises:
        UsageError: if it is no run folder, or one of a later version.
    """
    stored = read_config(folder)
    return stored["plugin"], stored["settings"]


def read_config(folder: Path) -> dict[str, Any]:
    """The whole ``config.yaml`` of a run.

    Raises:
        UsageError: if it is missing, damaged, or of a later version.
    """
    path = folder / "config.yaml"
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"more than {_MAX_CONFIG_BYTES} bytes")
        stored = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
        plugin, settings, layout = stored["plugin"], stored["settings"], stored["format"]
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{folder} is no folder of a run: {type(error).__name__} at {path.name}",
            expected="a folder with config.yaml, as runs/<plugin>/<time>-<id>",
        ) from error
    if layout != FORMAT or not isinstance(settings, dict) or not isinstance(plugin, str):
        raise UsageError(f"{folder} was written by another version of clipzoo (format {layout})")
    if not all(isinstance(key, str) for key in settings):
        raise UsageError(f"{path} names settings that are no texts")
    return stored


class _PlainLoader(yaml.SafeLoader):
    """YAML without references: a few lines of them could stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a reference to another place")
        return super().compose_node(parent, index)


def stored_result(folder: Path) -> RunResult:
    """The result of a complete run, read back from its folder.

    Raises:
        DataError: if a file of it is missing or damaged.
    """
    try:
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        tables = []
        for entry in stored["tables"]:
            with (folder / "tables" / f"{_file_name(entry['name'])}.csv").open(newline="", encoding="utf-8") as file:
                tables.append(Table(entry["name"], list(csv.DictReader(file)), entry["caption"], entry["kind"]))
        artifacts = [Artifact(**entry) for entry in stored["artifacts"]]
        return RunResult(dict(stored["metrics"]), tables, artifacts, folder, list(stored["notes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(
            f"the result of the run in {folder} cannot be read: {type(error).__name__}: {text}",
            hint=f"delete {folder / 'metrics.json'}, and resume the run: what it had finished is kept",
        ) from error


class RunContext:
    """The :class:`clipzoo.Context` of a run on disk."""

    def __init__(self, folder: Path, settings: Settings, *, progress: bool) -> None:
        """Read the items that an earlier try has recorded."""
        self.folder = folder
        self.notes: list[str] = []
        self.artifacts: list[Artifact] = []
        self._settings = settings
        self._progress = progress
        self._items = _Items(folder / "items.jsonl")

    @cached_property
    def device(self) -> torch.device:
        """The device named by ``settings.device``."""
        from clipzoo.encoders.loading import choose_device

        return choose_device(self._settings.device)

    @cached_property
    def clip(self) -> FrozenCLIP:
        """The encoder named by ``settings.model``, loaded at the first use."""
        from clipzoo.encoders import load_clip

        chosen = self._settings
        clip = load_clip(chosen.model, device=self.device, precision=chosen.precision, compile=chosen.compile)
        clip.memory.tell = self.note
        return clip

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder, if it was used."""
        return self.clip.fingerprint if "clip" in self.__dict__ else None

    def dataset(self, kind: str, name: str | None = None, **options: Any) -> Any:
        """The dataset ``name`` (default ``settings.data``) of this ``kind``."""
        from clipzoo.data.registry import open_dataset

        chosen = self._settings.data if name is None else name
        if chosen is None:
            raise UsageError(
                "no data was named", expected=f"a dataset of {kind}, or a path", hint="--data NAME_OR_PATH"
            )
        return open_dataset(kind, chosen, **options)

    def generator(self, *names: object) -> torch.Generator:
        """A CPU generator that depends on the seed of the run and on ``names`` alone."""
        import torch

        text = json.dumps([self._settings.seed, *map(str, names)])
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(number)

    def progress(self, items: Iterable[Any], *, total: int | None = None, label: str = "") -> Iterator[Any]:
        """``items``, with a progress bar where there is a terminal."""
        from tqdm import tqdm

        silent = not (self._progress and sys.stderr.isatty())
        yield from tqdm(items, total=total, desc=label, disable=silent, leave=False)

    def items(self) -> Mapping[str, Mapping[str, Any]]:
        """The items already recorded, key to fields."""
        return self._items.content

    def record(self, key: str, **fields: Any) -> None:
        """Append one finished item to ``items.jsonl``; the same key later replaces it."""
        self._items.append(key, fields)

    def failed(self, key: str, error: Exception) -> None:
        """Note an item that could not be read or processed; the run goes on."""
        text = error.message() if isinstance(error, ClipzooError) else f"{type(error).__name__}: {error}"
        self._items.append(key, {"error": text})

    def save_image(self, name: str, image: Any, caption: str = "") -> Artifact:
        """Write ``artifacts/<name>.png`` from floats [3,H,W] or [H,W] in [0,1], or a PIL image."""
        buffer = io.BytesIO()
        _as_picture(image).save(buffer, format="PNG")
        return self.save_bytes(f"{name}.png", buffer.getvalue(), caption)

    def save_bytes(self, name: str, content: bytes, caption: str = "") -> Artifact:
        """Write ``artifacts/<name>`` as it is."""
        safe = _file_name(name)
        _write_whole(self.folder / "artifacts" / safe, content)
        artifact = Artifact(f"artifacts/{safe}", caption)
        self.artifacts = [known for known in self.artifacts if known.path != artifact.path] + [artifact]
        return artifact

    def note(self, text: str) -> None:
        """A sentence for the terminal and for the report."""
        if text not in self.notes:
            self.notes.append(text)


def _as_picture(image: Any) -> Any:
    import numpy as np
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image, dtype=np.float32)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise UsageError(f"an image has the shape {array.shape}", expected="[3, H, W] or [H, W] in [0, 1]")
    return Image.fromarray((np.nan_to_num(array).clip(0, 1) * 255).round().astype(np.uint8))


class _Items:
    """``items.jsonl``: one line an item, flushed; a last line that a kill tore is cut off."""

    def __init__(self, path: Path, *, repair: bool = True) -> None:
        self.path = path
        self.content: dict[str, dict[str, Any]] = {}
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                    key, fields = str(entry["key"]), dict(entry["fields"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                if "error" not in fields:  # what failed is tried again
                    self.content[key] = fields
            if repair and whole < path.stat().st_size:
                with path.open("r+b") as file:
                    file.truncate(whole)

    def append(self, key: str, fields: dict[str, Any]) -> None:
        line = _json({"key": key, "fields": fields}, indent=None) + b"\n"
        with self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[file.write(rest) :]
            except BaseException:  # on a full disk half a line would hide all that come after it
                file.truncate(before)
                raise
        self.content[key] = json.loads(line)["fields"]


@dataclass
class _Record:
    """``run.json``: what was run, where, with what, and how it ended."""

    folder: Path
    plugin: Plugin
    composed: Composed
    resumed: bool
    started: float = field(default_factory=time.time)

    def write(self, status: str, context: RunContext | None = None, error: BaseException | None = None) -> None:
        content = {
            "format": FORMAT,
            "plugin": self.plugin.name,
            "status": status,
            "resumed": self.resumed,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "duration_s": round(time.time() - self.started, 3),
            "seed": self.composed.settings.seed,
            "command": _command(self.plugin, self.composed),
            "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
            "host": {"system": platform.platform(), "processors": os.cpu_count()},
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "model": self.composed.settings.model,
            "paper": {k: v for k, v in dataclasses.asdict(self.plugin.paper).items() if isinstance(v, str | int)},
        }
        if context is not None:
            content["fingerprint"] = context.fingerprint
            content["device"] = str(context.__dict__.get("device", ""))
        if error is not None:
            content["error"] = (
                error.message() if isinstance(error, ClipzooError) else f"{type(error).__name__}: {error}"
            )
        _write_whole(self.folder / "run.json", _json(content))


def _command(plugin: Plugin, composed: Composed) -> str:
    import shlex

    given = [
        f"{key}={_word(composed.plain[key])}" for key, source in composed.sources.items() if source == "command line"
    ]
    recipe = [f"recipe={composed.recipe}"] if composed.recipe else []
    return shlex.join(["clipzoo", "run", plugin.name, *recipe, *given])


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


@contextmanager
def _explaining(folder: Path, plugin: Plugin, done: Callable[[], int]) -> Iterator[None]:
    """Whatever stops the block is told as an error of clipzoo, with what is kept and how to go on."""
    try:
        yield
    except BaseException as error:
        told = _explained(error, folder, plugin, done())
        if told is error:
            raise
        raise told from error


def _explained(error: BaseException, folder: Path, plugin: Plugin, done: int) -> BaseException:
    """The error with a line that says how to go on; nothing else of it changes."""
    kept = [f"{done} finished items are kept"] if done else []
    if isinstance(error, ClipzooError):
        if not done:
            return error
        return type(error)(
            error.what,
            expected=error.expected,
            closest=error.closest,
            hint=error.hint,
            details=[*error.details, f"{kept[0]}; go on with: {_go_on(plugin, folder)}"],
        )
    if isinstance(error, KeyboardInterrupt):
        print(f"interrupted; go on with: {_go_on(plugin, folder)}", file=sys.stderr)
    if not isinstance(error, Exception):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return RunError(
            f"the disk is full: {error.filename or folder} could not be written",
            expected="free space; nothing that was finished is lost",
            details=kept,
            hint=f"free some, then {_go_on(plugin, folder)}",
        )
    if isinstance(error, OSError) and error.errno in _LOCKED and str(error.filename or "").startswith(str(folder)):
        return RunError(
            f"{error.filename} cannot be written: {error.strerror}",
            details=kept,
            hint=f"make it writable, then {_go_on(plugin, folder)}",
        )
    text = " ".join(str(error).split())[:300]
    return RunError(f"the run stopped: {type(error).__name__}: {text}", details=kept, hint=_go_on(plugin, folder))


def _go_on(plugin: Plugin, folder: Path) -> str:
    return f"clipzoo run {plugin.name} --resume {folder}"


def _new_folder(out: Path, plugin: Plugin, composed: Composed) -> Path:
    """A run folder that has its settings from the first moment on: it takes its name when they are written."""
    name = f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    folder = out.expanduser() / plugin.name / name
    begun = folder.with_name(f".new-{name}")
    try:
        (begun / "artifacts").mkdir(parents=True)
        _write_config(begun, plugin, composed)
        begun.rename(folder)
    except OSError as error:
        shutil.rmtree(begun, ignore_errors=True)
        raise UsageError(f"the folder {folder} cannot be made: {error.strerror}", hint="out=FOLDER") from error
    return folder


def _write_config(folder: Path, plugin: Plugin, composed: Composed) -> None:
    content = {
        "format": FORMAT,
        "clipzoo": _version("clipzoo"),
        "plugin": plugin.name,
        "recipe": composed.recipe,
        "settings": composed.plain,
        "sources": dict(composed.sources),
    }
    _write_whole(folder / "config.yaml", _plain_yaml(content))


class _PlainDumper(yaml.SafeDumper):
    """Two settings with one value are written twice: :func:`load_config` takes no references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plain_yaml(content: Any) -> bytes:
    try:
        return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True).encode()
    except UnicodeEncodeError:  # a path whose bytes are no UTF-8
        return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=False).encode()


def _write_tables(folder: Path, tables: Sequence[Table]) -> None:
    for table in tables:
        buffer = io.StringIO()
        if table.rows:
            writer = csv.DictWriter(buffer, fieldnames=list(table.rows[0]))
            writer.writeheader()
            writer.writerows(table.rows)
        content = buffer.getvalue().encode("utf-8", "backslashreplace")
        _write_whole(folder / "tables" / f"{_file_name(table.name)}.csv", content)


def _file_name(name: str) -> str:
    """``name`` without what could lead out of its folder."""
    safe = re.sub(r"[^A-Za-z0-9._ -]", "_", name).strip(". ")
    if not safe:
        raise UsageError(f"{name!r} is no name for a file")
    return safe


@contextmanager
def _sole_run(folder: Path) -> Iterator[None]:
    """One process a run folder; the lock ends with its process, also with one that is killed.

    Raises:
        UsageError: if another process holds the folder, or it cannot be written.
    """
    lock = held(folder / ".lock")
    try:
        lock.__enter__()
    except BlockingIOError as error:
        raise UsageError(
            f"{folder} is in use by process {error.strerror}",
            expected="one process a run",
            hint="wait for it to end",
        ) from error
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be written: {error.strerror}") from error
    with ExitStack() as stack:
        stack.push(lock)
        yield


def _remove_parts(folder: Path) -> None:
    """What a killed process had half written."""
    for pattern in (".*.part", "artifacts/.*.part", "tables/.*.part"):
        for part in folder.glob(pattern):
            with suppress(OSError):
                part.unlink()


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _json(content: Any, indent: int | None = 1) -> bytes:
    def plain(value: Any) -> Any:
        if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
            return value.item()
        if hasattr(value, "tolist"):
            return value.tolist()
        return str(value)

    def finite(value: Any) -> Any:
        if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
            return None  # JSON has no NaN; a reader must not choke on one
        if isinstance(value, Mapping):
            return {str(key): finite(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [finite(part) for part in value]
        return value

    content = finite(json.loads(json.dumps(content, default=plain)))
    try:
        return json.dumps(content, indent=indent, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # the name of a file whose bytes are no UTF-8
        return json.dumps(content, indent=indent, ensure_ascii=True).encode()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
