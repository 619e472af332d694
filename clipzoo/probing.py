"""Whether installed plugins and datasets can be imported, found out where a crash or an endless loop harms nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipzoo.isolation import Isolated

if TYPE_CHECKING:
    from clipzoo.isolation import Report


@dataclass(frozen=True)
class Probed:
    """What came of importing one plugin or dataset.

    Attributes:
        error: why it cannot be used; empty where it can.
        hint: one thing to try, or empty.
    """

    error: str
    hint: str = ""


def probe(
    names: Iterable[str], *, what: str = "plugins", runs: bool = False, timeout_s: float = 60.0
) -> dict[str, Probed]:
    """Import each in a process of its own, which they share as long as nothing goes wrong.

    Args:
        names: as :func:`clipzoo.plugin.plugins` or :func:`clipzoo.data.registry.datasets` lists them.
        what: ``"plugins"`` or ``"datasets"``.
        runs: import the module behind ``run`` (or ``open``) too, with torch.
        timeout_s: what one import may take, s.
    """
    waiting, found = list(names), {}
    while waiting:
        process = Isolated("clipzoo.probing:import_all", [what, waiting, runs], silence_s=timeout_s)
        before = len(waiting)
        for report in process.reports():
            name = report.get("name")
            if not waiting or name != waiting[0] or not {"error", "hint"} <= report.keys():
                continue
            if report["error"] and len(waiting) < before:
                break  # the fault may be one that was imported before: once more, first in a new process
            found[waiting.pop(0)] = Probed(str(report["error"]), str(report["hint"]))
        else:
            if waiting:
                found[waiting.pop(0)] = Probed(f"importing it {process.ending or 'ends the process with exit code 0'}")
    return found


def import_all(report: Report, what: str, names: list[str], runs: bool) -> None:
    """In the process: import each, and say how it went."""
    from clipzoo.errors import ClipzooError

    for name in names:
        report({"begin": name})
        error, hint = "", ""
        try:
            _import(what, name, runs)
        except ClipzooError as problem:
            error, hint = problem.what, problem.hint or ""
        except BaseException as problem:
            error = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}".rstrip(": ")
        report({"name": name, "error": error, "hint": hint})


def _import(what: str, name: str, runs: bool) -> None:
    if what == "datasets":
        from clipzoo.data.registry import datasets

        spec = datasets()[name].load()
        if runs:
            spec.load_open()
        return
    from clipzoo.plugin import plugins

    plugin = plugins()[name].load()
    if runs:
        plugin.load_run()
