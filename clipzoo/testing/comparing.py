"""Whether two runs gave the same: metrics, items and artifacts, but not what was measured with a clock."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo.runs import RunResult

_TIME = re.compile(r"(^|_)(s|ms|seconds|per_second)(_|$)")
"""Names of what is measured with a clock, and differs from run to run."""


def recorded(result: RunResult) -> dict[str, dict[str, Any]]:
    """The items of a run, key to fields."""
    path = result.folder / "items.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {(entry := json.loads(line))["key"]: entry["fields"] for line in lines}


def differences(first: RunResult, second: RunResult, tolerance: float) -> list[str]:
    """One sentence for each thing that is not the same; numbers may differ by ``tolerance``, relative or absolute."""
    found = list(_of_maps("metric ", _timeless(first.metrics), _timeless(second.metrics), tolerance))
    ours, theirs = recorded(first), recorded(second)
    found += _of_maps(
        "item ",
        {key: _timeless(fields) for key, fields in ours.items()},
        {key: _timeless(fields) for key, fields in theirs.items()},
        tolerance,
    )
    for path in sorted({a.path for a in first.artifacts} ^ {a.path for a in second.artifacts}):
        found.append(f"{path} was made by one of the two alone")
    return found


def _timeless(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not _TIME.search(name)}


def _of_maps(name: str, first: Mapping[str, Any], second: Mapping[str, Any], tolerance: float) -> Iterator[str]:
    for key in sorted(map(str, first.keys() ^ second.keys())):
        yield f"{name}{key} is in one of the two alone"
    for key in sorted(first.keys() & second.keys()):
        yield from _of_values(f"{name}{key}", first[key], second[key], tolerance)


def _of_values(name: str, first: Any, second: Any, tolerance: float) -> Iterator[str]:
    """Nested values part by part."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        yield from _of_maps(f"{name}: ", first, second, tolerance)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for place, (one, two) in enumerate(zip(first, second, strict=True)):
            yield from _of_values(f"{name}[{place}]", one, two, tolerance)
    elif not _same(first, second, tolerance):
        yield f"{name} is {_short(first)} and {_short(second)}"


def _same(first: Any, second: Any, tolerance: float) -> bool:
    if not (isinstance(first, float) or isinstance(second, float)):
        return first == second
    if not (isinstance(first, int | float) and isinstance(second, int | float)):
        return False
    both_nan = math.isnan(first) and math.isnan(second)
    return both_nan or math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
