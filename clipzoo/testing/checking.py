"""The contract suite on an installed plugin, in a process of its own: a plugin that crashes or hangs breaks a rule."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipzoo.errors import ClipzooError, MissingExtra, PluginError, UsageError
from clipzoo.isolation import Isolated

if TYPE_CHECKING:
    from clipzoo.isolation import Report

_SUITE = "from clipzoo.testing import contract\n\nTestContract = contract({plugin!r}, **{settings!r})\n"
_INI = "[pytest]\nmarkers =\n    gpu: needs a CUDA device\n"


@dataclass(frozen=True)
class Finding:
    """What came of one rule.

    Attributes:
        rule: its name, as :func:`clipzoo.testing.contract` takes it for an expected failure.
        outcome: ``"keeps"``, ``"breaks"``, or ``"skips"`` where this machine cannot tell.
        text: what the rule says.
        why: what was seen where it is broken, or what is missing where it is skipped.
    """

    rule: str
    outcome: str
    text: str
    why: str = ""


def check(
    plugin: str, settings: Mapping[str, Any], *, rules: Sequence[str] = (), timeout_s: float = 300.0
) -> Iterator[Finding]:
    """Run the contract suite on an installed plugin, and give each rule as soon as it is decided.

    Args:
        plugin: its name.
        settings: of the small run, beside the plugin's ``demo``; plain values.
        rules: parts of the names of those that are wanted; none means all.
        timeout_s: what one rule may take, s.

    Raises:
        MissingExtra: if pytest is not installed.
        PluginError: if the plugin cannot be imported.
        UsageError: if no rule is called so.
    """
    if importlib.util.find_spec("pytest") is None:
        raise MissingExtra(
            "the contract suite needs pytest, which is not installed", hint='pip install "clipzoo[testing]"'
        )
    from clipzoo.testing.contract import RULES

    waiting = [name for name in RULES if not rules or any(part.replace(" ", "_") in name for part in rules)]
    if not waiting:
        raise UsageError(f"no rule is called {', '.join(rules)}", expected=f"a part of {', '.join(RULES)}")
    while waiting:
        with tempfile.TemporaryDirectory(prefix="clipzoo-check-") as folder:
            process = Isolated(
                "clipzoo.testing.checking:run_suite",
                [folder, plugin, dict(settings), waiting],
                silence_s=timeout_s,
                folder=Path(folder),
                environment={"PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            )
            under_way = ""
            for report in process.reports():
                if "unusable" in report:
                    raise PluginError(report["unusable"], hint=report["hint"] or None)
                if "begin" in report:
                    under_way = report["begin"]
                elif report.get("rule") in waiting:
                    rule = report["rule"]
                    waiting.remove(rule)
                    yield Finding(rule, report["outcome"], RULES[rule], report["why"])
        if waiting and not under_way:
            raise PluginError(f'importing the run of plugin "{plugin}" {process.ending or "ends the process"}')
        if waiting:  # a plugin that ends the process breaks this rule; the others may still hold
            rule = under_way if under_way in waiting else waiting[0]
            waiting.remove(rule)
            yield Finding(rule, "breaks", RULES[rule], f"it {process.ending or 'ends the process with exit code 0'}")


def run_suite(report: Report, folder: str, plugin: str, settings: dict[str, Any], rules: list[str]) -> None:
    """In the process: pytest on the suite of one plugin, ``rules`` alone."""
    import pytest

    from clipzoo.plugin import find_plugin

    try:
        find_plugin(plugin).load().load_run()
    except ClipzooError as error:
        report({"unusable": error.what, "hint": error.hint or ""})
        return
    place = Path(folder)
    (place / "pytest.ini").write_text(_INI, encoding="utf-8")
    (place / "test_contract.py").write_text(_SUITE.format(plugin=plugin, settings=settings), encoding="utf-8")
    tests = [f"test_contract.py::TestContract::{rule}" for rule in rules]
    pytest.main(
        ["-q", "-p", "no:cacheprovider", "--basetemp", str(place / "runs"), "--rootdir", folder, *tests],
        plugins=[_Listener(report)],
    )


class _Listener:
    """A pytest plugin that reports each rule."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._report({"begin": _rule(nodeid)})

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """The first phase that does not pass decides, and else the call itself."""
        import pytest

        if call.excinfo is None:
            if call.when == "call":
                self._report({"rule": _rule(item.nodeid), "outcome": "keeps", "why": ""})
            return
        skipped = call.excinfo.errisinstance(pytest.skip.Exception)
        if call.when != "teardown":
            why = _why(call.excinfo.value)
            self._report({"rule": _rule(item.nodeid), "outcome": "skips" if skipped else "breaks", "why": why})


def _rule(nodeid: str) -> str:
    return nodeid.rpartition("::")[2]


def _why(error: BaseException) -> str:
    """What an author needs: the message of the rule, or the error of the run and where in the plugin it came from."""
    import pytest

    if isinstance(error, AssertionError | pytest.fail.Exception | pytest.skip.Exception):
        return str(error).split("\nassert ")[0].strip() or "the rule does not hold"
    if isinstance(error, ClipzooError):
        return error.message()
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
