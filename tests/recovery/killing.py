"""Kills runs at random moments and resumes them: a program of its own, so that each run is a fork and starts at once.

Prints one line of JSON a kill: what was killed and when, what the folder was like then, and whether the resumed run gave
what the uninterrupted one gave.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "pointclip": ("clipzoo_points", {"data": "shapes", "per_class": 1, "limit": 12, "batch_size": 2, "model": "tiny-rn"}),
    "clipdraw": (
        "clipzoo_sketch",
        {"steps": 16, "paths": 4, "segments": 1, "size": 32, "views": 1, "save_every": 3, "backend": "torch", "frames": 4,
         "model": "tiny-rn"},
    ),
    "zeroshot": ("clipzoo", {"data": "scenes", "per_class": 1, "head": "knn", "shots": 1, "model": "tiny-rn", "batch_size": 2}),
    "styleclip": ("clipzoo_style", {"method": "optimise", "samples": 2, "steps": 4, "model": "tiny-rn"}),
    "depthclip": ("clipzoo_depth", {"data": "rooms", "rooms": 4, "batch_size": 1, "files": 2, "short_side": 64}),
    "vild": ("clipzoo_detect", {"data": "toy-detection", "scenes": 3, "proposals": 8, "pictures": 1}),
    "clip4clip": ("clipzoo_video", {"data": "clips", "pairs": 6, "train_pairs": 8, "train": "head", "heads": ["seqTransf"], "layers": 1,
                                   "frames": 4, "epochs": 3, "model": "tiny-rn"}),
}  # fmt: skip
"""Plugin to its package and to small settings."""

_TIMES = re.compile(r"second|_s$")
"""Metrics that are durations: they alone may differ."""


def main() -> None:
    """Kill as often as the command line says, the plugins in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plugins", nargs="+", default=list(RUNS), choices=list(RUNS))
    chosen = parser.parse_args()
    moments = random.Random(chosen.seed)
    whole: dict[str, Path] = {}
    lasts: dict[str, float] = {}
    for number in range(chosen.kills):
        plugin = chosen.plugins[number % len(chosen.plugins)]
        if plugin not in whole:
            _load_ahead(RUNS[plugin][0])
            start = time.monotonic()
            child = _fork(plugin, chosen.out / "whole" / plugin)
            if _wait(child) != 0:
                sys.exit(f"{plugin} does not run at all")
            whole[plugin] = _folder_in(chosen.out / "whole" / plugin, plugin)
            lasts[plugin] = time.monotonic() - start
        told = _one(plugin, chosen.out / f"kill-{number:03d}", whole[plugin], lasts, moments, twice=number % 3 == 2)
        print(json.dumps({"kill": number, "plugin": plugin, **told}), flush=True)


def _one(
    plugin: str, out: Path, whole: Path, lasts: dict[str, float], moments: random.Random, twice: bool
) -> dict[str, Any]:
    """Kill one run, look at what it left, and resume it; ``twice``: kill the resumed one too."""
    while True:
        share = moments.random()
        took, killed = _killed_after(_fork(plugin, out), share * lasts[plugin])
        folder = _folder_in(out, plugin)
        if killed and folder is not None:
            break
        # It had ended, or not begun: another moment, by a better guess of how long it lasts.
        lasts[plugin] = max(0.2, 1.25 * lasts[plugin] if killed else took)
        shutil.rmtree(out, ignore_errors=True)
    told: dict[str, Any] = {"share": round(share, 3), "status": _state(folder), "faults": _faults(folder)}
    if twice:
        _, told["killed_again"] = _killed_after(_fork(plugin, out, folder), moments.random() * lasts[plugin])
        told["faults"] += _faults(folder)
    told["exit"] = _wait(_fork(plugin, out, folder))
    told["faults"] += _faults(folder, complete=True)
    told["differs"] = _differences(folder, whole)
    told["recovered"] = told["exit"] == 0 and not told["faults"] and not told["differs"]
    return told


def _load_ahead(package: str) -> None:
    """Import what a run needs, so that the moments of the kills fall into its work and not into imports."""
    import clipzoo.encoders
    import clipzoo.report
    import clipzoo.runs  # noqa: F401

    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if package != "clipzoo" and "kernels" not in module.name:
            with suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("open_clip", "kornia", "clipzoo.zeroshot.run", "clipzoo.optim"):
        importlib.import_module(name)


def _fork(plugin: str, out: Path, resume: Path | None = None) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        import clipzoo

        if resume is None:
            clipzoo.run(plugin, out=str(out), **RUNS[plugin][1])
        else:
            clipzoo.run(plugin, resume=resume)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _killed_after(child: int, seconds: float) -> tuple[float, bool]:
    """Kill a process after so long: how long it ran, and whether it was still running."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if os.waitpid(child, os.WNOHANG)[0]:
            return time.monotonic() - start, False
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return time.monotonic() - start, os.WIFSIGNALED(status)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _folder_in(out: Path, plugin: str) -> Any:
    return next((path for path in sorted((out / plugin).glob("*")) if not path.name.startswith(".")), None)


def _state(folder: Path) -> str:
    from clipzoo.runs import list_runs

    return next((run.status for run in list_runs(folder.parents[1]) if run.folder == folder), "not listed")


def _faults(folder: Path, complete: bool = False) -> list[str]:
    """What cannot be read in a folder, and what should not be there."""
    found = []
    if _state(folder) != ("complete" if complete or (folder / "metrics.json").exists() else "interrupted"):
        found.append(f"listed as {_state(folder)}")
    for name in ("run.json", "metrics.json"):
        try:
            if complete or (folder / name).exists():
                json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found.append(f"{name}: {error}")
    items = folder / "items.jsonl"
    lines = items.read_bytes().split(b"\n") if items.exists() else []
    for line in lines[:-1] + ([b"torn: " + lines[-1]] if complete and lines and lines[-1] else []):
        try:
            json.loads(line)
        except ValueError as error:
            found.append(f"items.jsonl: {error}: {line[:40]!r}")
    if complete:
        found += [f"left over: {path.relative_to(folder)}" for path in folder.rglob("*") if path.name.startswith(".")]
        found += [] if (folder / "report.html").exists() else ["no report"]
    return found


def _differences(folder: Path, whole: Path) -> list[str]:
    """What a resumed run gave otherwise than the uninterrupted one."""
    found = []
    ours, theirs = (_result(one) for one in (folder, whole))
    found += [key for key in theirs if ours.get(key) != theirs[key]]
    for kind in ("artifacts", "tables"):
        names = {path.name for one in (folder, whole) for path in (one / kind).glob("*")}
        for name in sorted(names):
            one, other = folder / kind / name, whole / kind / name
            if not (one.exists() and other.exists()):
                found.append(f"{kind}/{name} is in one alone")
            elif _content(one) != _content(other):
                found.append(f"{kind}/{name}")
    return found


def _content(path: Path) -> Any:
    """The bytes of a file; the header of safetensors as what it says, whose order is not determined."""
    content = path.read_bytes()
    if path.suffix != ".safetensors":
        return content
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _result(folder: Path) -> dict[str, Any]:
    try:
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    items = folder / "items.jsonl"
    last = {}
    for line in items.read_text(encoding="utf-8").splitlines() if items.exists() else []:
        with suppress(ValueError):
            entry = json.loads(line)
            last[entry["key"]] = entry["fields"]
    metrics = {name: value for name, value in stored["metrics"].items() if not _TIMES.search(name)}
    return {**stored, "metrics": metrics, "items": last}


if __name__ == "__main__":
    main()
