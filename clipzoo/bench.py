"""``clipzoo bench``: run the scripts in ``benchmarks/`` and put what they measured into one table.

Every script runs in a process of its own, with its own time limit. The form of a row and of the literal ``BENCH`` is
told in ``benchmarks/README.md``.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from clipzoo.errors import DataError, RunError, UsageError, closest_matches

SKIPPED = 77
"""Exit code of a script that cannot run on this machine."""
QUICK_S = 120.0
"""What ``--quick`` may take altogether, seconds."""
_REST_S = 0.5
BEGIN, END = "<!-- clipzoo bench: begin -->", "<!-- clipzoo bench: end -->"


@dataclass(frozen=True)
class Script:
    """A benchmark, and what its literal ``BENCH`` says of it."""

    path: Path
    needs: tuple[str, ...] = ()
    on: str = "any"
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    timeout_s: float = 600.0
    quick_timeout_s: float = 60.0

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return self.path.stem


@dataclass(frozen=True)
class Row:
    """One job as it was measured, on one machine, on one day.

    Args:
        script: name of the benchmark.
        job: what was done.
        ours_s: seconds.
        peer: whom it was measured beside, or empty.
        peer_s: seconds of the peer.
        stored_peer: the peer was timed in another run.
        floor: what the floor is: operations, bytes, or a measured time.
        floor_s: seconds below which the job cannot come.
        device: ``cpu`` or ``cuda``.
        note: what a reader must know.
        machine: processor, or name of the accelerator.
        date: day of the measurement.
        versions: name of a package to its version.
        load: processes that were running or waiting just before the script started.
        cores: processors that the script might use.
    """

    script: str
    job: str
    ours_s: float
    peer: str = ""
    peer_s: float | None = None
    stored_peer: bool = False
    floor: str = ""
    floor_s: float | None = None
    device: str = "cpu"
    note: str = ""
    machine: str = ""
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    load: float = 0.0
    cores: int = 1

    @property
    def ratio(self) -> float | None:
        """How many times as long the peer takes."""
        return self.peer_s / self.ours_s if self.peer_s else None

    @property
    def distance(self) -> float | None:
        """How many times as long as the floor the job takes."""
        return self.ours_s / self.floor_s if self.floor_s else None

    @property
    def busy(self) -> bool:
        """Whether the machine did other things as well: then only ratios mean something."""
        return self.load > 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of one script: its rows, or why there are none."""

    script: str
    state: str
    """``"done"``, ``"skipped"``, ``"stopped"`` at its time limit, or ``"failed"``."""
    reason: str = ""
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0


def find_scripts(folder: Path) -> list[Script]:
    """The benchmarks in ``folder``, by name; nothing of them is run.

    Raises:
        DataError: if the folder holds none, or a literal ``BENCH`` cannot be read.
    """
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    if not paths:
        raise DataError(
            f"no benchmark in {folder}",
            expected="the folder benchmarks/ of a clone: the scripts are no part of the installed package",
            hint="clipzoo bench --folder CLONE/benchmarks",
        )
    return [_script(path) for path in paths]


def choose(scripts: Sequence[Script], names: Iterable[str]) -> list[Script]:
    """The scripts of these names, in this order; all where no name is given."""
    by_name = {script.name: script for script in scripts}
    names = [name.removesuffix(".py") for name in names]
    for name in names:
        if name not in by_name:
            raise UsageError(
                f'no benchmark called "{name}"', closest=closest_matches(name, by_name), expected=", ".join(by_name)
            )
    return [by_name[name] for name in names] or list(scripts)


def why_not(script: Script, cuda: bool) -> str:
    """Why a script cannot run on this machine; empty where it can."""
    absent = [name for name in script.needs if not _importable(name)]
    if absent:
        return f"needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed"
    return "needs a CUDA device" if script.on == "cuda" and not cuda else ""


def examine_machine(folder: Path, device: str) -> dict[str, Any]:
    """Names, versions and speeds of this machine: what ``_machine.py`` beside the benchmarks measures.

    A folder without that file gives the versions alone, and then there are no floors by count.
    """
    probe = folder / "_machine.py"
    nothing = {"machine": {"cpu": "unknown"}, "speeds": {}, "versions": {}}
    if not probe.is_file():
        return nothing
    done = subprocess.run([sys.executable, probe, device], capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RunError(f"this machine cannot be measured: {_last_line(done.stderr)}", hint=f"python {probe}")
    return {**nothing, **json.loads(lines[-1])}


def run_script(script: Script, machine: Mapping[str, Any], *, quick: bool, limit_s: float) -> Outcome:
    """Run one benchmark and read its rows; those that it printed before its time was up count."""
    cuda = "cuda" in machine["machine"]
    reason = why_not(script, cuda)
    if reason:
        return Outcome(script.name, "skipped", reason)
    words = [*(script.quick if quick else script.full), *(script.cuda if cuda else ())]
    load, start = _load(), time.monotonic()
    code, output, errors = _finish([sys.executable, str(script.path), *words], limit_s)
    spent = time.monotonic() - start
    rows = tuple(read_rows(output, script.name, machine, load))
    if code is None:
        return Outcome(script.name, "stopped", f"not finished after {limit_s:.0f} s", rows, spent)
    if code == SKIPPED:
        return Outcome(script.name, "skipped", _last_line(errors), rows, spent)
    if code:
        return Outcome(script.name, "failed", f"exit code {code}: {_last_line(errors)}", rows, spent)
    return Outcome(script.name, "done", "" if rows else "printed no row", rows, spent)


def read_rows(output: str, script: str, machine: Mapping[str, Any], load: float) -> Iterable[Row]:
    """The rows in what a script printed: lines that are JSON objects with ``job`` and ``ours_s``."""
    for line in output.splitlines():
        told = _object(line)
        if told is None or not isinstance(told.get("job"), str) or not _is_time(told.get("ours_s")):
            continue
        device = str(told.get("device") or "cpu").partition(":")[0]
        floor, floor_s = str(told.get("floor") or ""), told.get("floor_s")
        if not _is_time(floor_s):
            floor, floor_s = count_floor(told, machine["speeds"].get(device, {}))
        yield Row(
            script=script,
            job=told["job"],
            ours_s=float(told["ours_s"]),
            peer=str(told.get("peer") or ""),
            peer_s=float(told["peer_s"]) if _is_time(told.get("peer_s")) else None,
            stored_peer=bool(told.get("stored_peer")),
            floor=floor,
            floor_s=floor_s,
            device=device,
            note=str(told.get("note") or ""),
            machine=machine["machine"].get(device, device),
            date=datetime.date.today().isoformat(),
            versions=machine["versions"],
            load=round(load, 2),
            cores=os.cpu_count() or 1,
        )


def count_floor(told: Mapping[str, Any], speeds: Mapping[str, float]) -> tuple[str, float | None]:
    """The larger of the times that the operations and the bytes of a job need at least.

    >>> count_floor({"flop": 6e9, "moved_bytes": 1e9}, {"fp32": 2e9, "bytes": 1e9})
    ('operations', 3.0)
    """
    found = {}
    for name, key, speed in (("operations", "flop", told.get("dtype") or "fp32"), ("bytes", "moved_bytes", "bytes")):
        if _is_time(told.get(key)) and speeds.get(str(speed)):
            found[name] = float(told[key]) / speeds[str(speed)]
    if not found:
        return "", None
    name = max(found, key=lambda one: found[one])
    return name, found[name]


def merge(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The rows of both; where script, job, device and machine are the same, the new one."""
    kept = {(row.script, row.job, row.device, row.machine): row for row in [*old, *new]}
    return sorted(kept.values(), key=lambda row: (row.script, row.device))


def load_rows(path: Path) -> list[Row]:
    """The rows of a ``results.json``; none where there is no such file.

    Raises:
        DataError: if the file is something else.
    """
    if not path.exists():
        return []
    try:
        names = {row.name for row in dataclasses.fields(Row)}
        return [
            Row(**{key: value for key, value in row.items() if key in names})
            for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no rows of clipzoo bench: {error}", hint=f"remove {path}") from error


def as_json(rows: Sequence[Row], outcomes: Sequence[Outcome] = ()) -> str:
    """The rows, and what was skipped, as JSON."""
    plain = [{**dataclasses.asdict(row), "ratio": row.ratio, "distance": row.distance} for row in rows]
    skipped = [{"script": one.script, "state": one.state, "reason": one.reason} for one in outcomes if one.reason]
    return json.dumps({"rows": plain, "not_measured": skipped}, indent=1, ensure_ascii=False) + "\n"


def as_markdown(rows: Sequence[Row], outcomes: Sequence[Outcome] = ()) -> str:
    """The table, its remarks, and what was not measured."""
    lines = [
        "| job | ours | peer | ratio | to the floor | machine | date | versions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes: dict[str, int] = {}
    for row in rows:
        marks = [notes.setdefault(note, len(notes) + 1) for note in _remarks(row)]
        cells = (
            _cell(f"{row.script}: {row.job}") + "".join(f" [{mark}]" for mark in marks),
            duration(row.ours_s),
            f"{_cell(row.peer)}, {duration(row.peer_s)}" if row.peer_s else "",
            f"{row.ratio:.3g}" if row.ratio else "",
            f"{row.distance:.3g} ({_cell(row.floor)})" if row.distance else "",
            _cell(row.machine),
            row.date,
            _cell(_versions(row.versions)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if notes:
        lines += ["", *(f"{number}. {note}" for note, number in notes.items())]
    left = [f"- `{one.script}`: {one.state}, {one.reason}" for one in outcomes if one.reason]
    if left:
        lines += ["", "Not measured in this call:", "", *left]
    return "\n".join(lines) + "\n"


def put_into_page(page: str, table: str) -> str:
    """A Markdown page with ``table`` between its two marks.

    Raises:
        DataError: if the page has not both marks, in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError("the page has no place for the table", expected=f"the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def duration(seconds: float) -> str:
    """A time with the unit that suits it.

    >>> duration(0.00097), duration(28.3), duration(250)
    ('970 µs', '28.3 s', '250 s')
    """
    unit, scale = next(((unit, scale) for unit, scale in (("s", 1.0), ("ms", 1e-3)) if seconds >= scale), ("µs", 1e-6))
    value = seconds / scale
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def measure(
    scripts: Sequence[Script],
    machine: Mapping[str, Any],
    *,
    quick: bool = False,
    timeout_s: float | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> list[Outcome]:
    """Run the scripts one after the other; under ``quick`` all of them within :data:`QUICK_S`, if no limit is given.

    Args:
        scripts: what to run.
        machine: what :func:`examine_machine` found.
        quick: take the scripts' quick arguments and limits.
        timeout_s: limit of each script, in place of its own.
        say: receives one line a script.
    """
    outcomes, end = [], time.monotonic() + QUICK_S if quick and timeout_s is None else math.inf
    for script in scripts:
        limit = timeout_s or (script.quick_timeout_s if quick else script.timeout_s)
        left = end - time.monotonic()
        if left < 1:
            outcome = Outcome(script.name, "skipped", "no time was left; without --quick it runs")
        else:
            outcome = run_script(script, machine, quick=quick, limit_s=min(limit, left))
        rows = "1 row" if len(outcome.rows) == 1 else f"{len(outcome.rows)} rows"
        say(f"{script.name:<14} {outcome.state:<8} {outcome.reason or rows + f' in {outcome.seconds:.0f} s'}")
        outcomes.append(outcome)
    return outcomes


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Two minutes: fewer rounds, smaller work.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the scripts are.  [default: benchmarks/]")
@click.option("--device", type=click.Choice(("auto", "cpu")), default="auto", show_default=True)
@click.option("--timeout", type=click.FloatRange(1), help="Seconds for each script.  [default: what it asks for]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench"), show_default=True)
@click.option("--page", type=click.Path(path_type=Path), help="Markdown page that has a place for the table.")
def bench(
    names: tuple[str, ...],
    quick: bool,
    folder: Path | None,
    device: str,
    timeout: float | None,
    out: Path,
    page: Path | None,
) -> None:
    """Measure speed: run the benchmarks, all or those of these NAMES, and write one table.

    Rows of an earlier call into the same folder stay until their job is measured again.

    \b
    clipzoo bench --quick
    clipzoo bench strokes embed --out bench
    """  # noqa: D301
    folder = folder or _own_folder()
    scripts = choose(find_scripts(folder), names)
    text = page.read_text(encoding="utf-8") if page is not None and page.is_file() else None
    if page is not None:
        put_into_page(text or "", "")  # a page without a place is found before anything is measured
    old = load_rows(out / "results.json")
    machine = examine_machine(folder, device)
    for name in machine["machine"].values():
        click.echo(name)
    outcomes = measure(scripts, machine, quick=quick, timeout_s=timeout, say=click.echo)
    rows = merge(old, [row for outcome in outcomes for row in outcome.rows])
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "results.json", as_json(rows, outcomes))
    _write(out / "results.md", as_markdown(rows, outcomes))
    if page is not None and text is not None:
        _write(page, put_into_page(text, as_markdown(rows)))
    click.echo(f"table: {out / 'results.md'}")
    failed = [outcome.script for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise RunError(f"failed: {', '.join(failed)}", hint=f"python {folder / failed[0]}.py")


def _own_folder() -> Path:
    """``benchmarks/`` of the working folder, or of the clone that this package lies in."""
    here = Path("benchmarks")
    return here if here.is_dir() else Path(__file__).parents[1] / "benchmarks"


def _script(path: Path) -> Script:
    told = _bench_literal(path)
    known = {entry.name: entry for entry in dataclasses.fields(Script) if entry.name != "path"}
    values: dict[str, Any] = {}
    for key, value in told.items():
        if key not in known:
            raise DataError(f"{path}: BENCH has no key {key!r}", closest=closest_matches(str(key), known))
        values[key] = tuple(map(str, value)) if isinstance(value, list | tuple) else value
    return Script(path, **values)


def _bench_literal(path: Path) -> dict[str, Any]:
    """The value of ``BENCH`` in a script, read without running it; empty where there is none."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else ()
            if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "BENCH" for one in targets):
                found = ast.literal_eval(node.value)
                if not isinstance(found, dict):
                    raise DataError(f"{path}: BENCH is no dict", expected="the keys of benchmarks/README.md")
                return found
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{path}: BENCH cannot be read: {error}", expected="a dict of plain values") from error
    return {}


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _finish(command: list[str], limit_s: float) -> tuple[int | None, str, str]:
    """Exit code (None: it was stopped), output and errors; nothing that it started is left running."""
    environment = {**os.environ, "CLIPZOO_BENCH": "1", "CLIPZOO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=limit_s)
            return process.returncode, output, errors
        except subprocess.TimeoutExpired:
            _kill(process)
            output, errors = process.communicate()
            return None, output, errors
        except BaseException:
            _kill(process)
            raise


def _kill(process: subprocess.Popen[str]) -> None:
    """End a script and the workers that it started."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    else:
        process.kill()


def _object(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _load() -> float:
    """Cores that others keep busy while this process rests; the last minute's mean where the system does not tell."""
    try:
        before, start = _busy_s(), time.monotonic()
        time.sleep(_REST_S)
        return (_busy_s() - before) / (time.monotonic() - start)
    except (OSError, ValueError, IndexError):
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _busy_s() -> float:
    """Seconds that all cores together have worked since the machine started (Linux)."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _last_line(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def _remarks(row: Row) -> list[str]:
    found = [row.note] if row.note else []
    if row.stored_peer and row.peer_s:
        found.append(f"{row.peer} was timed in another run.")
    if row.busy:
        found.append(
            f"Other work ran on the machine (load {row.load:.1f} on {row.cores} cores): trust the ratios only."
        )
    return found


def _versions(told: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {told[name]}" for name in ("clipzoo", "torch") if name in told)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
