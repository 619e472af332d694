"""``clipzoo.run``: the command line as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo.runs import RunResult


def run(plugin: str, /, *, resume: str | Path | None = None, progress: bool = False, **overrides: Any) -> RunResult:
    """Run a plugin, as ``clipzoo run`` does.

    Args:
        plugin: its name.
        resume: folder of a run to go on with; its settings are used, and no others may be given.
        progress: show a progress bar.
        **overrides: settings of the plugin, and ``recipe``.

    Returns:
        Metrics, tables and artifacts, and the run folder that holds them.

    Raises:
        UsageError: if there is no such plugin, or settings are given together with ``resume``.
        ConfigError: if a setting does not exist or is out of its range.
        MissingExtra: if the plugin or something it needs is not installed.
        DataError: if the data cannot be read.
        RunError: if the run stops half-way; what it had finished is kept.
    """
    from clipzoo.config import compose
    from clipzoo.errors import UsageError
    from clipzoo.plugin import find_plugin
    from clipzoo.runs import execute, load_config

    found = find_plugin(plugin).load()
    if resume is None:
        return execute(found, compose(found, overrides), progress=progress)
    if overrides:
        raise UsageError(
            f"settings were given together with resume: {', '.join(overrides)}",
            expected="the settings of the run that is resumed, and no others",
        )
    name, settings = load_config(Path(resume))
    if name != plugin:
        raise UsageError(f"{resume} is a run of {name}, not of {plugin}", hint=f"clipzoo run {name} --resume {resume}")
    return execute(found, compose(found, settings), resume=Path(resume), progress=progress)
