"""What several tests of the core need: plugins that are made on the spot, and folders of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # modules beside the tests can be imported by them


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the caches of the user, or the network."""
    monkeypatch.setenv("CLIPZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPZOO_OFFLINE", "1")
    monkeypatch.delenv("CLIPZOO_DATA", raising=False)
    monkeypatch.delenv("CLIPZOO_DEBUG", raising=False)


GOOD = """
from dataclasses import dataclass
from clipzoo import Paper, Plugin, Settings, option

@dataclass(frozen=True)
class CountSettings(Settings):
    count: int = option(5, help="how many items", minimum=1, maximum=100)
    word: str = option("x", help="what to say")
    loud: bool = option(False, help="say it loudly")
    parts: list[float] = option([], help="numbers")
    style: str = option("plain", help="how", choices=("plain", "fancy"))
    stop_at: int = option(-1, help="raise at this item, for tests")

PLUGIN = Plugin(
    name="{name}", summary="counts", settings=CountSettings, run="{module}_run:run",
    paper=Paper(title="Counting", authors="Nobody", year=2026, url="https://example.org"), demo=dict(count=2),
)
"""
GOOD_RUN = """
import os
from clipzoo import Result, Table

def run(settings, context):
    stop = settings.stop_at
    for place in range(settings.count):
        key = f"item-{place}"
        if key in context.items():
            continue
        if place == stop and not os.path.exists(context.folder / "go-on"):
            raise RuntimeError("half-way")
        context.record(key, value=place * settings.seed, word=settings.word)
    values = [item["value"] for item in context.items().values() if "error" not in item]
    return Result({"total": float(sum(values)), "count": len(values)}, [Table("items", [{"value": v} for v in values])])
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install a fake distribution: metadata and modules in a folder of its own on ``sys.path`` and ``PYTHONPATH``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))

    def make(name: str, source: str, *, distribution: str | None = None, requires: str = "", run: str = "") -> Path:
        distribution = distribution or f"fake-{name}"
        module = distribution.replace("-", "_")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", "Version: 1.0", f"Summary: the {name} plugin"]
        lines += [f"Requires-Dist: {requires}"] if requires else []
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[clipzoo.plugins]\n{name} = {module}:PLUGIN\n")
        (site / f"{module}.py").write_text(source.replace("{name}", name).replace("{module}", module))
        if run:
            (site / f"{module}_run.py").write_text(run)
        return site

    return make


@pytest.fixture
def good_source() -> tuple[str, str]:
    """The two modules of a plugin that works: its description and its run."""
    return GOOD, GOOD_RUN


@pytest.fixture
def good(install: Callable[..., Path]) -> str:
    """A plugin that works, and is light."""
    install("count", GOOD, run=GOOD_RUN)
    return "count"


@pytest.fixture
def clipzoo_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, in ``tmp_path``."""

    def call(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clipzoo", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            **options,  # type: ignore[call-overload]
        )

    return call


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real files that ``CLIPZOO_TEST_DATA`` names."""
    folder = Path(os.environ.get("CLIPZOO_TEST_DATA", "nowhere")).expanduser()
    if not folder.is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder of real files")
    return folder
