"""The documentation says what is so: examples run, commands exist, links lead somewhere, options are those of the code."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner
from documented import DOCS, OURS, ROOT, TEXTS, command_of, commands_in, shell_lines

from clipzoo import Settings, config
from clipzoo.cli import cli
from clipzoo.plugin import find_plugin

PAGES = [page for page in DOCS if "```python" in page.read_text(encoding="utf-8")]
DEFAULTS = config._defaults


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page in order, in one namespace; a block that starts with "# not run" is left out."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look their names up
    for number, block in enumerate(blocks):
        if not block.startswith("# not run"):
            exec(compile(block, f"{page.name}, block {number + 1}", "exec"), module.__dict__)


# Commands


COMMANDS = [
    pytest.param(words, id=f"{page.parent.name}/{page.stem}: {' '.join(words)[:60]}")
    for page in TEXTS
    for words in commands_in(page)
]


def test_commands_are_found() -> None:
    assert list(shell_lines("text\n\n    clipzoo list  # all\n\n```\nclipzoo doctor\n```\nuse `clipzoo demo` now")) == [
        "clipzoo list  # all",
        "clipzoo doctor",
        "clipzoo demo",
    ]
    assert command_of("clipzoo list  # all") == ["clipzoo", "list"]
    assert command_of("A=1 uv run python -m clipzoo run vild a=b") == ["clipzoo", "run", "vild", "a=b"]
    assert command_of("clipzoo run METHOD") is None and command_of("photos.store/") is None
    assert len(COMMANDS) > 60


@dataclasses.dataclass
class Stopped:
    """Runs that stopped where their work would begin."""

    expected: str = ""
    seen: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stopped:
    """Everything up to the work itself happens: names, types, ranges and recipes are checked."""
    from clipzoo import runs

    told = Stopped()

    def execute(plugin: Any, composed: Any, **_: Any) -> runs.RunResult:
        told.seen.append(plugin.name)
        return runs.RunResult({}, (), (), tmp_path)

    monkeypatch.setattr(runs, "execute", execute)
    monkeypatch.setattr(runs, "load_config", lambda folder: (told.expected, {}))
    # Hydra composes the same defaults a hundred times otherwise.
    monkeypatch.setattr(config, "_defaults", lambda plugin: copy.deepcopy(composed_defaults(plugin)))
    return told


COMPOSED: dict[str, Any] = {}


def composed_defaults(plugin: Any) -> Any:
    if plugin.name not in COMPOSED:
        COMPOSED[plugin.name] = DEFAULTS(plugin)
    return COMPOSED[plugin.name]


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_are_real(words: list[str], stopped: Stopped) -> None:
    """Run as far as the work itself: names, options, values, recipes and extras are those that there are."""
    kind = {"clipzoo": check_clipzoo, "pip": check_pip, "python": check_python, "pytest": check_pytest}[words[0]]
    kind(words[1:], stopped)


def check_clipzoo(words: list[str], stopped: Stopped) -> None:
    words = [word for word in words if word != "--offline"]
    name = next((word for word in words if not word.startswith("-")), "")
    cheap = name in ("", "run", "config", "info", "list", "datasets") and "--check" not in words
    command = cli.get_command(click.Context(cli), name) if name else cli
    assert command is not None, f"no command called {name}"
    if words == [name]:
        return  # the name of a command, in a sentence
    if cheap or "--help" in words:
        stopped.expected = words[1] if len(words) > 1 else ""
        done = CliRunner().invoke(cli, words)
        if done.exception is not None and done.exit_code != 0:
            raise done.exception
        assert name != "run" or stopped.seen == [words[1]]
        return
    given = command.make_context(name, words[1:]).params
    if given.get("plugin"):
        find_plugin(given["plugin"]).load()


def check_pip(words: list[str], stopped: Stopped) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, extras in re.findall(r"(clipzoo(?:-\w+)?)\[([\w,-]+)\]", " ".join(words)):
        project = told
        if name != "clipzoo":
            part = ROOT / "plugins" / name.removeprefix("clipzoo-") / "pyproject.toml"
            project = tomllib.loads(part.read_text(encoding="utf-8"))["project"]
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), f"{name}[{extras}]"


def check_python(words: list[str], stopped: Stopped) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None, words[1]
    elif not words[0].startswith("-") and "/" in words[0]:
        source = (ROOT / words[0]).read_text(encoding="utf-8")
        for flag in (word.partition("=")[0] for word in words[1:] if word.startswith("--") and word != "--help"):
            assert f'"{flag}"' in source or f"{flag}/" in source, f"{words[0]} has no option {flag}"


def check_pytest(words: list[str], stopped: Stopped) -> None:
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    if "-m" in words:
        assert words[words.index("-m") + 1] in [line.partition(":")[0] for line in markers["markers"]]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("clipzoo run pointclip nonsense=1", "nonsense"),
        ("clipzoo run pointclip mode=v9", "v9"),
        ("clipzoo run pointclip recipe=none-such", "none-such"),
        ("clipzoo rum pointclip", "rum"),
        ("clipzoo embed photos/ --out a --nonsense 1", "nonsense"),
        ('pip install "clipzoo[nonsense]"', "nonsense"),
        ("python -m clipzoo.nonsense", "nonsense"),
        ("python benchmarks/projection.py --nonsense", "nonsense"),
    ],
)
def test_commands_that_do_not_exist_are_noticed(line: str, error: str, stopped: Stopped) -> None:
    words = command_of(line)
    assert words is not None
    with pytest.raises(BaseException, match=error):
        test_commands_are_real(words, stopped)


# Links


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head.lower())).strip("-") for head in heads}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name}: {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8") + (ROOT / "docs" / "generated.py").read_text("utf-8")
    assert [page.name for page in DOCS if page.name not in told] == []


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert sum(sizes.values()) < 1_500_000
    assert [name for name, size in sizes.items() if size > 150_000] == []
    shown = " ".join(page.read_text(encoding="utf-8") for page in TEXTS)
    assert [name for name in sizes if name not in shown] == []


# What is generated


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """``docs/generated.py``, which mkdocs calls."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", OURS)
def test_the_page_of_a_method_has_all_its_options(name: str, generated: ModuleType) -> None:
    """Each row against the settings class itself: name, default, choices, range, help."""
    page = generated.page_of(name)
    assert page is not None, f"no page asks for the options of {name}"
    text = generated.fill((ROOT / "docs" / page).read_text(encoding="utf-8"))
    rows = {
        cells[1].strip("` "): cells[2:]
        for line in text.splitlines()
        if len(cells := re.split(r"(?<!\\)\|", line.strip())) == 6
    }
    plugin = find_plugin(name).load()
    shared = [field.name for field in dataclasses.fields(Settings)]
    for field in dataclasses.fields(plugin.settings):
        default, values, told, _ = rows[field.name]
        assert " ".join(field.metadata["help"].split()) == told.strip().replace("\\|", "|").replace("&lt;", "<")
        for choice in field.metadata["choices"]:
            assert f"`{choice}`" in values
        for edge in (field.metadata["minimum"], field.metadata["maximum"]):
            assert edge is None or field.metadata["choices"] or str(edge) in values
        if field.name not in shared and isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert default.strip() == f"`{field.default}`"
    assert all(f"({address})" in text for address in re.findall(r"https?://[^\s,;]+", plugin.paper.url))
    assert plugin.paper.code_licence in text
    assert all(str(number) in text.replace("\\|", "|") for number in plugin.paper.published.values())


def test_a_page_that_asks_for_nonsense_is_an_error(generated: ModuleType) -> None:
    with pytest.raises(KeyError):
        generated.fill("<!-- clipzoo:nonsense -->\n")


def test_the_help_of_every_command_is_there(generated: ModuleType) -> None:
    text = generated.fill((ROOT / "docs" / "commands.md").read_text(encoding="utf-8"))
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert f"## clipzoo {name}\n" in text
        command = cli.get_command(context, name)
        assert command is not None
        for param in command.params:
            assert not param.name or param.param_type_name != "option" or param.opts[-1] in text


def test_the_methods_are_on_the_first_page(generated: ModuleType) -> None:
    text = generated.fill((ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert [name for name in OURS if f"[`{name}`]" not in text] == []


def test_roles_and_formulas_of_docstrings_become_html(generated: ModuleType) -> None:
    pytest.importorskip("latex2mathml", reason="the group docs is not installed")
    shown = generated.on_page_content("see :class:<code>~clipzoo.Paper</code>, :math:<code>a &lt; b^2</code>")
    assert shown.startswith("see <code>clipzoo.Paper</code>, <math") and "&#x0003C;" in shown and ":math:" not in shown


# The site


class Assets(HTMLParser):
    """Addresses that a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        fetched = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}.get(tag)
        if fetched and told.get(fetched):
            self.found.append(str(told[fetched]))
        if tag == "link" and told.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(str(told.get("href")))


def build(folder: Path, **environment: str) -> None:
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(module, reason="the group docs is not installed: uv sync --group docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr and not done.stdout.strip(), done.stderr


def assert_local(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(DOCS)
    for page in pages:
        seen = Assets()
        seen.feed(page.read_text(encoding="utf-8"))
        for address in seen.found:
            assert not re.match(r"(https?:)?//", address), f"{page.name} fetches {address}"
            local = address.partition("?")[0].partition("#")[0]
            assert (
                not local
                or local.startswith("data:")
                or (site / local[1:] if local.startswith("/") else page.parent / local).exists()
            ), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    build(tmp_path / "site", CLIPZOO_DOCS_REFERENCE="0")
    assert_local(tmp_path / "site")


@pytest.mark.slow
def test_the_whole_site_with_its_reference(tmp_path: Path, generated: ModuleType) -> None:
    build(tmp_path / "site")
    assert_local(tmp_path / "site")
    for names in generated.modules().values():
        for name in names:
            assert (tmp_path / "site" / "reference" / f"{name}.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_notebooks_run_and_draw(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert [picture.suffix for picture in tmp_path.iterdir() if picture.suffix == ".png"] == [".png"]
