"""The author's path: a plugin from the template, the guide followed word by word, the example of a dataset."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch  # noqa: F401  what the inner runs import must outlive them: torch starts once a process

import clipzoo.encoders
from clipzoo.cli import main
from clipzoo.errors import ConfigError, UsageError
from clipzoo.scaffold import MAX_NAME, Names, check_name, new_plugin, template_folder
from clipzoo.testing.contract import RULES

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "your-method-in-an-hour.md"
INI = "[pytest]\nmarkers =\n    gpu: needs a GPU\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Install a project as pip would, without building it: its metadata and its folder on the path."""
    site = tmp_path / "site"
    before = set(sys.modules)

    def install(project: Path) -> None:
        told = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = site / f"{told['name'].replace('-', '_')}-{told['version']}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\nSummary: {told['description']}\n"
        )
        groups = told["entry-points"].items()
        lines = [line for group, names in groups for line in (f"[{group}]", *(f"{n} = {v}" for n, v in names.items()))]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for place in (site, project):
            monkeypatch.syspath_prepend(str(place))
        paths = [str(project), str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    yield install
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("clipzoo_my_method", "clipzoo_clip_iqa", "clipzoo_doodles"):
            del sys.modules[name]


def ruff(*arguments: str | Path) -> None:
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("needs ruff")
    done = subprocess.run([sys.executable, "-m", "ruff", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


# A new plugin


def test_new_writes_a_plugin_with_its_own_names(capsys, tmp_path) -> None:
    code, out, err = call(capsys, "new", "paper-clip", "--out", str(tmp_path / "mine"))
    assert code == 0, err
    project = tomllib.loads((tmp_path / "mine" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "clipzoo-paper-clip"
    assert project["entry-points"]["clipzoo.plugins"] == {"paper-clip": "clipzoo_paper_clip.plugin:PAPER_CLIP"}
    written = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    assert (tmp_path / "mine" / "clipzoo_paper_clip" / "paper_clip.py") in written
    for path in written:
        assert not re.search("my.?method", path.as_posix() + path.read_text(), re.IGNORECASE), path
        assert str(path) in out
    assert "clipzoo check paper-clip" in out


@pytest.mark.parametrize("name", ["a", "zz-9-q", "abcdefghij-klmnopqrs-tuvwxyz12"])
def test_what_is_written_is_clean_whatever_its_name(tmp_path, name) -> None:
    assert len(name) <= MAX_NAME
    folder = new_plugin(name, tmp_path / "mine")
    ruff("check", "--no-cache", folder)
    ruff("format", "--check", "--no-cache", folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("My Method", "clipzoo new my-method"),
        ("MyMethod2", "clipzoo new my-method2"),
        ("my_method", "clipzoo new my-method"),
        ("my--method", "clipzoo new my-method"),
        ("3d", "clipzoo new d"),
        ("-", "clipzoo new my-method"),
        ("../evil", "clipzoo new evil"),
        ("a" * 31, f"clipzoo new {'a' * 30}"),
        ("naïve", "lower case"),
        ("class", "clipzoo new my-class"),
        ("run", "clipzoo new my-run"),
        ("pointclip", "already the name"),
        ("points", "already the name"),
        ("zeroshot", "already the name"),
    ],
)
def test_a_bad_name_is_refused_with_a_better_one(name, text) -> None:
    with pytest.raises(ConfigError) as caught:
        check_name(name)
    assert text in caught.value.message()
    better = re.search(r"clipzoo new (\S+)", caught.value.hint or "")
    assert better and check_name(better.group(1))


def test_nothing_is_overwritten(tmp_path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    (tmp_path / "file").write_text("")
    for taken in ("full", "link", "file", "full/thesis.tex"):
        with pytest.raises(UsageError, match="nothing is overwritten"):
            new_plugin("mine", tmp_path / taken)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "link"]


def test_an_empty_folder_may_be_filled(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (new_plugin("mine", Path()) / "pyproject.toml").is_file()


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match="No space left"):
        new_plugin("mine", tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_the_template_asks_for_this_clipzoo() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    major, minor, _ = version.split(".")
    for example in ("plugin-template", "dataset-plugin"):
        told = tomllib.loads((ROOT / "examples" / example / "pyproject.toml").read_text())["project"]["dependencies"]
        assert f"clipzoo>={major}.{minor},<{major}.{int(minor) + 1}" in told
    assert Names("my-method").package in {path.name for path in template_folder().iterdir()}


def test_the_examples_are_clean() -> None:
    for example in ("plugin-template", "dataset-plugin"):
        ruff("check", "--no-cache", ROOT / "examples" / example)
        ruff("format", "--check", "--no-cache", ROOT / "examples" / example)


def test_what_is_written_keeps_the_contract(pytester, installed, tmp_path) -> None:
    project = new_plugin("my-method", tmp_path / "mine")
    installed(project)
    pytester.makeini(INI)
    test = project / "tests" / "test_contract.py"
    found = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), test)
    counts = found.parseoutcomes()
    assert counts.keys() <= {"passed", "skipped"} and counts["passed"] >= len(RULES) - 1, found.outlines


# The guide


def blocks(language: str = "python") -> dict[str, str]:
    """The files of the guide, title to content."""
    found = re.findall(rf'^```{language} title="(.*?)"\n(.*?)^```', GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    return dict(found)


def with_functions(text: str, block: str) -> str:
    """The functions of ``block`` in the place of those of the same name."""
    for new in ast.parse(block).body:
        if isinstance(new, ast.FunctionDef):
            old = next(node for node in ast.parse(text).body if getattr(node, "name", "") == new.name)
            lines = text.splitlines(keepends=True)
            lines[_first(old) - 1 : old.end_lineno] = block.splitlines(keepends=True)[_first(new) - 1 : new.end_lineno]
            text = "".join(lines)
    return text


def _first(node: ast.AST) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])  # type: ignore[attr-defined]


def followed(folder: Path) -> Path:
    """The package that somebody has who follows the guide."""
    project = new_plugin("clip-iqa", folder)
    for title, block in {**blocks(), **blocks("yaml")}.items():
        if title == "clipzoo_clip_iqa/run.py":
            block = with_functions((project / title).read_text(), block)
        if not title.startswith("a mistake"):
            assert (project / title).is_file(), f"the guide replaces {title}, which is not written"
            (project / title).write_text(block)
    return project


def test_the_guide_ends_in_a_clean_package_that_does_what_it_says(pytester, installed, tmp_path) -> None:
    project = followed(tmp_path / "guide")
    ruff("check", "--no-cache", project)
    ruff("format", "--check", "--no-cache", project)
    installed(project)
    pytester.makeini(INI)
    found = pytester.runpytest_inprocess(
        *("-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), project / "tests"),
        *("-k", "metadata or recipes or numbers or equals_single or blue or sentences"),
    )
    assert found.parseoutcomes() == {"passed": 6, "deselected": len(RULES) - 4}, found.outlines


def test_the_mistake_of_the_guide_is_found_by_check(installed, tmp_path, capsys) -> None:
    project = followed(tmp_path / "guide")
    method = project / "clipzoo_clip_iqa" / "clip_iqa.py"
    mistake = blocks()["a mistake in clipzoo_clip_iqa/clip_iqa.py"]
    method.write_text(with_functions(method.read_text(), mistake))
    installed(project)
    code, out, _ = call(capsys, "check", "clip-iqa", "per_class=1", "--rule", "batch equals single")
    assert code == 1
    shown = re.search(r"^\$ clipzoo check.*--rule.*?\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    assert shown
    for line in shown[1].splitlines():
        assert line.removesuffix("...").rstrip() in out
    assert re.search(r"item \S+: scores\[0\] is 0\.5 and ", out), out


# The example of a dataset


def test_the_dataset_example_keeps_what_it_promises(pytester, installed) -> None:
    project = ROOT / "examples" / "dataset-plugin"
    installed(project)
    pytester.makeini("[pytest]\n")
    found = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "--rootdir", str(project), project / "tests")
    assert found.parseoutcomes() == {"passed": 4}, found.outlines


def test_a_method_of_clipzoo_runs_on_the_dataset_example(installed, tmp_path) -> None:
    installed(ROOT / "examples" / "dataset-plugin")
    settings = {"per_class": 1, "head": "zero-shot", "compare_templates": False, "templates": ["a drawing of a {}"]}
    result = clipzoo.run("zeroshot", data="doodles", model="tiny-rn", out=str(tmp_path / "runs"), **settings)
    assert result.metrics["images"] == 16 and result.metrics["top1"] > 0.8


# The whole of it


@pytest.mark.slow
def test_a_new_plugin_builds_installs_runs_and_is_checked_in_an_empty_environment(tmp_path) -> None:
    """From the wheel of clipzoo alone: new, the linters, build, install, run, check, its own tests."""
    dist, place = tmp_path / "dist", tmp_path / "work"
    place.mkdir()
    environment = {**os.environ, "CLIPZOO_OFFLINE": "1", "CLIPZOO_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)

    def do(*command: str | Path, cwd: Path = place) -> str:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    do(sys.executable, "-m", "build", "--wheel", "--outdir", dist, ROOT)
    python = tmp_path / "venv" / "bin" / "python"
    if uv := shutil.which("uv"):
        do(uv, "venv", "--python", sys.executable, tmp_path / "venv")
        install = [uv, "pip", "install", "--python", python, "--find-links", dist]
    else:
        venv.create(tmp_path / "venv", with_pip=True)
        install = [python, "-m", "pip", "install", "--find-links", dist]
    do(*install, "clipzoo[testing]", "pyright", "ruff")
    command = python.parent / "clipzoo"
    do(command, "new", "my-idea")
    project = place / "clipzoo-my-idea"
    do(sys.executable, "-m", "build", "--outdir", dist, project)  # an sdist, and the wheel from it
    do(*install, "clipzoo-my-idea")
    do(python, "-m", "ruff", "check", cwd=project)
    do(python, "-m", "ruff", "format", "--check", cwd=project)
    do(python, "-m", "pyright", "--pythonpath", python, cwd=project)
    assert "my-idea" in {row["name"] for row in json.loads(do(command, "list", "--json"))["installed"]}
    assert "report.html" in do(command, "run", "my-idea", "per_class=1")
    assert f"{len(RULES) - 1} kept, 0 broken" in do(command, "check", "my-idea", "per_class=1")
    assert "passed" in do(python, "-m", "pytest", "-q", cwd=project)
