"""A run: its folder, what it may ask for, how it is closed and resumed."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import platform
import re
import resource
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from clipzoo.errors import ClipzooError, DataError, RunError, UsageError
from clipzoo.plugin import Artifact, Plugin, Settings, Table

if TYPE_CHECKING:
    import torch

    from clipzoo.config import Composed
    from clipzoo.encoders import FrozenCLIP

FORMAT = 1
"""Version of the layout of a run folder."""

_PACKAGES = ("clipzoo", "torch", "open_clip_torch", "timm", "numpy")


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
        return stored_result(resume)
    folder = resume if resume is not None else _new_folder(Path(composed.settings.out), plugin.name)
    with _Lock(folder):
        if resume is None:
            _write_config(folder, plugin, composed)
        context = RunContext(folder, composed.settings, progress=progress)
        record = _Record(folder, plugin, composed, resumed=resume is not None)
        record.write("running")
        try:
            work = plugin.load_run()
            result = work(composed.settings, context)  # pyright: ignore[reportArgumentType]: cached is a property too
            failures = [key for key, item in context.items().items() if "error" in item]
            if failures and len(failures) == len(context.items()):
                reason = context.items()[failures[0]]["error"]
                raise DataError(f"not one of {len(failures)} items could be processed; the first: {reason}")
        except BaseException as error:
            record.write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", context, error)
            write_report(folder)
            kept = sum("error" not in item for item in context.items().values())
            raise _explained(error, folder, plugin, done=kept) from error
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
        write_report(folder)
        return RunResult(dict(result.metrics), result.tables, context.artifacts, folder, stored["notes"])


def load_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The plugin and the plain settings of the run in ``folder``.

    Raises:
        UsageError: if it is no run folder, or one of a later version.
    """
    path = folder / "config.yaml"
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
        plugin, settings, layout = stored["plugin"], stored["settings"], stored["format"]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is no folder of a run: {type(error).__name__} at {path.name}",
            expected="a folder with config.yaml, as runs/<plugin>/<time>-<id>",
        ) from error
    if layout != FORMAT or not isinstance(settings, dict) or not isinstance(plugin, str):
        raise UsageError(f"{folder} was written by another version of clipzoo (format {layout})")
    return plugin, settings


def stored_result(folder: Path) -> RunResult:
    """The result of a complete run, read back from its folder."""
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    tables = []
    for entry in stored["tables"]:
        with (folder / "tables" / f"{entry['name']}.csv").open(newline="", encoding="utf-8") as file:
            tables.append(Table(entry["name"], list(csv.DictReader(file)), entry["caption"], entry["kind"]))
    artifacts = [Artifact(**entry) for entry in stored["artifacts"]]
    return RunResult(stored["metrics"], tables, artifacts, folder, stored["notes"])


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
        return load_clip(chosen.model, device=self.device, precision=chosen.precision, compile=chosen.compile)

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
        safe = re.sub(r"[^A-Za-z0-9._ -]", "_", name).strip(". ")
        if not safe:
            raise UsageError(f"{name!r} is no name for a file")
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

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, dict[str, Any]] = {}
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                    key, fields = entry["key"], entry["fields"]
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                if "error" not in fields:  # what failed is tried again
                    self.content[key] = fields
            if whole < path.stat().st_size:
                with path.open("r+b") as file:
                    file.truncate(whole)

    def append(self, key: str, fields: dict[str, Any]) -> None:
        line = _json({"key": key, "fields": fields}, indent=None) + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
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


def _explained(error: BaseException, folder: Path, plugin: Plugin, done: int) -> BaseException:
    """The error with a line that says how to go on; nothing else of it changes."""
    if not isinstance(error, ClipzooError):
        if isinstance(error, Exception):
            text = " ".join(str(error).split())[:300]
            wrapped = RunError(f"the run stopped: {type(error).__name__}: {text}", hint=_go_on(plugin, folder))
            return wrapped
        if isinstance(error, KeyboardInterrupt):
            print(f"interrupted; go on with: {_go_on(plugin, folder)}", file=sys.stderr)
        return error
    if done:
        return type(error)(
            error.what,
            expected=error.expected,
            closest=error.closest,
            hint=error.hint,
            details=[*error.details, f"{done} finished items are kept; go on with: {_go_on(plugin, folder)}"],
        )
    return error


def _go_on(plugin: Plugin, folder: Path) -> str:
    return f"clipzoo run {plugin.name} --resume {folder}"


def _new_folder(out: Path, plugin: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = out.expanduser() / plugin / f"{stamp}-{secrets.token_hex(3)}"
    try:
        (folder / "artifacts").mkdir(parents=True)
    except OSError as error:
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
    _write_whole(folder / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _write_tables(folder: Path, tables: Sequence[Table]) -> None:
    for table in tables:
        buffer = io.StringIO()
        if table.rows:
            writer = csv.DictWriter(buffer, fieldnames=list(table.rows[0]))
            writer.writeheader()
            writer.writerows(table.rows)
        _write_whole(folder / "tables" / f"{table.name}.csv", buffer.getvalue().encode())


class _Lock:
    """One process a run folder; the lock of a process that is gone is taken over."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"

    def __enter__(self) -> None:
        for _ in range(2):
            try:
                with self.path.open("x") as file:
                    file.write(str(os.getpid()))
                return
            except FileExistsError:
                if self._holder_lives():
                    raise UsageError(
                        f"{self.path.parent} is in use by process {self.path.read_text()}",
                        expected="one process a run",
                        hint=f"wait for it, or delete {self.path}",
                    ) from None
                self.path.unlink(missing_ok=True)

    def _holder_lives(self) -> bool:
        try:
            os.kill(int(self.path.read_text()), 0)
        except (ValueError, ProcessLookupError, FileNotFoundError):
            return False
        except PermissionError:
            return True
        return True

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


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
    return json.dumps(content, indent=indent, ensure_ascii=False).encode()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
