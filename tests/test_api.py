"""``clipzoo.run`` from Python: what it refuses, and that the command line gives the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import clipzoo
from clipzoo.errors import ConfigError, UsageError


def test_the_same_as_on_the_command_line(good: str, tmp_path: Path, clipzoo_command: Callable) -> None:
    ours = clipzoo.run(good, seed=3, count=4, out=str(tmp_path / "python"))
    done = clipzoo_command("run", good, "seed=3", "--count", "4", f"out={tmp_path / 'shell'}", "--quiet")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "shell" / good).iterdir()
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == dict(ours.metrics)


def test_settings_together_with_resume_are_refused(good: str, tmp_path: Path) -> None:
    first = clipzoo.run(good, out=str(tmp_path))
    with pytest.raises(UsageError, match="count"):
        clipzoo.run(good, resume=first.folder, count=3)


def test_a_run_of_another_plugin_is_not_resumed(good: str, tmp_path: Path) -> None:
    first = clipzoo.run(good, out=str(tmp_path))
    with pytest.raises(UsageError, match=f"is a run of {good}, not of zeroshot"):
        clipzoo.run("zeroshot", resume=first.folder)


def test_names_that_do_not_exist_give_the_closest(good: str) -> None:
    with pytest.raises(UsageError) as unknown:
        clipzoo.run("zeroshott")
    assert "zeroshot" in unknown.value.closest
    with pytest.raises(ConfigError) as setting:
        clipzoo.run(good, coumt=3)
    assert "count" in setting.value.closest
