"""What the pages show that nobody types: options, paper cards, recipes, help texts, the reference of modules.

mkdocs calls the functions that begin with ``on_``. A page asks with a comment, ``<!-- clipzoo:options pointclip -->``;
the line below it is for readers of the file itself, and is replaced with the comment.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
ASK = re.compile(r"^<!-- clipzoo:(\w+)(?: ([\w-]+))? -->\n(?:.+\n)?", re.MULTILINE)
ROLE = re.compile(r":(math|class|func|meth|mod|data|attr|exc):<code>(.*?)</code>", re.DOTALL)
SHARED_TITLE = "Settings that every method has"


def options(name: str) -> str:
    """The settings of a plugin, its own first, those that all share folded away."""
    import dataclasses

    from clipzoo import Settings
    from clipzoo.config import fields_of

    shared = {field.name for field in dataclasses.fields(Settings)}
    rows = [(row, _option_row(*row)) for row in fields_of(_plugin(name))]
    head = ["| setting | default | values | |", "|---|---|---|---|"]
    own = [text for row, text in rows if row[0] not in shared]
    common = [text for row, text in rows if row[0] in shared]
    folded = [f'??? note "{SHARED_TITLE}"', "", *(f"    {line}" for line in [*head, *common])]
    return "\n".join([*head, *own, "", *folded, ""])


def _option_row(name: str, kind: str, default: Any, metadata: Any) -> str:
    return f"| `{name}` | {_default(default)} | {_values(kind, metadata)} | {_cell(metadata.get('help', ''))} |"


def _default(value: Any) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{_cell(text)}`"


def _values(kind: str, metadata: Any) -> str:
    if metadata.get("choices"):
        return ", ".join(f"`{choice}`" for choice in metadata["choices"])
    low, high = metadata.get("minimum"), metadata.get("maximum")
    span = f" from {low}" * (low is not None) + f" to {high}" * (high is not None)
    return _cell(kind) + (f",{span}" if span else "")


def card(name: str) -> str:
    """The paper card of a plugin: where it comes from, its terms, published and measured numbers."""
    plugin = _plugin(name)
    paper = plugin.paper
    lines = [
        "| | |",
        "|---|---|",
        f"| paper | {_cell(paper.title)}, {_cell(paper.authors)}, {paper.year}: {_addresses(paper.url)} |",
        f"| licence of the code | {_cell(paper.code_licence)} |",
        f"| of the weights | {_cell(paper.weights_licence)} |",
        f"| of the data | {_cell(paper.data_licence)} |",
    ]
    if plugin.extra:
        lines.insert(2, f'| install | `pip install "clipzoo[{plugin.extra}]"` |')
    for title, numbers in (("published", paper.published), ("measured here", paper.measured)):
        if numbers:
            lines += ["", f"| {title} | |", "|---|---|"]
            lines += [f"| {_cell(what)} | {_cell(str(value))} |" for what, value in numbers.items()]
    return "\n".join([*lines, ""])


def _addresses(text: str) -> str:
    return ", ".join(
        f"[{address.partition('://')[2]}]({address})" for address in re.findall(r"https?://[^\s,;]+", text)
    )


def recipes(name: str) -> str:
    """The recipes of a plugin."""
    from clipzoo.config import recipes as known

    rows = [f"| `recipe={recipe}` | {_cell(text)} |" for recipe, text in known(_plugin(name)).items()]
    return "\n".join(["| recipe | |", "|---|---|", *rows, ""]) if rows else "This method has no recipe.\n"


def methods(_: str = "") -> str:
    """A table of all plugins that are installed, each with its page."""
    lines = ["| method | what it does | extra |", "|---|---|---|"]
    for name, reference in _plugins().items():
        plugin = reference.load()
        page = page_of(name)
        shown = f"[`{name}`]({page})" if page else f"`{name}`"
        lines.append(f"| {shown} | {_cell(plugin.summary)} | {f'`{plugin.extra}`' if plugin.extra else 'none'} |")
    return "\n".join([*lines, ""])


def help_pages(_: str = "") -> str:
    """The help text of every command, as the terminal shows it."""
    return "\n".join(
        f"## {path}\n\n```text\n{command.get_help(_context(command, path))}\n```\n" for path, command in commands()
    )


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of the command line with its full name."""
    from clipzoo.cli import cli

    def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                if below is not None:
                    yield from walk(below, f"{path} {name}")

    yield from walk(cli, "clipzoo")


def _context(command: click.Command, path: str) -> click.Context:
    return click.Context(command, info_name=path, terminal_width=100, max_content_width=100)


def page_of(name: str) -> str | None:
    """The page that asks for the options of a plugin."""
    ask = f"<!-- clipzoo:options {name} -->"
    pages = (page for page in sorted((ROOT / "docs").glob("*.md")) if ask in page.read_text(encoding="utf-8"))
    return next((page.name for page in pages), None)


BLOCKS: dict[str, Callable[[str], str]] = {
    "options": options,
    "card": card,
    "recipes": recipes,
    "methods": methods,
    "help": help_pages,
}


def fill(markdown: str) -> str:
    """A page with everything that it asks for.

    Raises:
        KeyError: if it asks for something that nobody makes.
    """
    from clipzoo.catalogue import KNOWN
    from clipzoo.errors import UsageError

    def answer(match: re.Match[str]) -> str:
        make, name = BLOCKS[match[1]], match[2] or ""
        try:
            return make(name)
        except UsageError:
            return (
                f'Not installed here: `pip install "clipzoo[{KNOWN.get(name, name)}]"`, then `clipzoo info {name}`.\n'
            )

    return ASK.sub(answer, markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs: the text of a page before it becomes HTML."""
    return fill(markdown)


def on_page_content(content: str, **_: Any) -> str:
    """mkdocs: docstrings are reStructuredText in two places, roles and formulas."""
    return ROLE.sub(_shown_role, content)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """mkdocs: the theme would fetch a script, so that the search works on pages opened from the disk; ours is here."""
    from mkdocs.utils import get_relative_url

    return output.replace("https://unpkg.com/iframe-worker/shim", get_relative_url("assets/worker.js", page.url))


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """mkdocs: the same for the page of addresses that do not exist."""
    return output_content.replace("https://unpkg.com/iframe-worker/shim", "/assets/worker.js")


def _shown_role(match: re.Match[str]) -> str:
    if match[1] != "math":
        return f"<code>{match[2].lstrip('~')}</code>"
    from latex2mathml.converter import convert

    return convert(html.unescape(match[2]))


def modules() -> dict[str, list[str]]:
    """The public modules of the core and of the plugins beside it, by distribution package."""
    packages = [ROOT / "clipzoo", *sorted((ROOT / "plugins").glob("*/clipzoo_*"))]
    return {package.name: list(_modules_of(package)) for package in packages if (package / "__init__.py").is_file()}


def _modules_of(package: Path) -> Iterator[str]:
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        public = not any(part.startswith("_") or part in ("tests", "assets", "recipe") for part in parts)
        if public and all(part.isidentifier() for part in parts):
            yield ".".join(parts)


def _wants_reference() -> bool:
    return os.environ.get("CLIPZOO_DOCS_REFERENCE", "1") != "0"


def on_config(config: Any, **_: Any) -> Any:
    """mkdocs: the reference enters the navigation."""
    if _wants_reference():
        packages = {package: [{name: f"reference/{name}.md"} for name in names] for package, names in modules().items()}
        config["nav"].append({"Reference": [{"All modules": "reference/index.md"}, packages]})
    return config


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """mkdocs: one page a module."""
    from mkdocs.structure.files import File

    if not _wants_reference():
        return files
    lines = ["# Modules", ""]
    for package, names in modules().items():
        lines += [f"## {package}", "", "| module | |", "|---|---|"]
        for name in names:
            lines.append(f"| [`{name}`]({name}.md) | {_cell(_first_sentence(name))} |")
            text = f"# {name}\n\n::: {name}\n    options:\n      show_root_heading: false\n"
            files.append(File.generated(config, f"reference/{name}.md", content=text))
        lines.append("")
    files.append(File.generated(config, "reference/index.md", content="\n".join(lines)))
    return files


def _first_sentence(module: str) -> str:
    import ast

    package = (
        ROOT
        if module.partition(".")[0] == "clipzoo"
        else next((ROOT / "plugins").glob(f"*/{module.split('.')[0]}")).parent
    )
    path = package.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    told = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
    return " ".join(told.split()).replace("``", "`")


def _plugins() -> dict[str, Any]:
    """The plugins of clipzoo itself; a page does not depend on what else is installed."""
    from clipzoo.plugin import plugins

    ours = {name: ref for name, ref in plugins().items() if ref.distribution.partition("-")[0] == "clipzoo"}
    return dict(sorted(ours.items()))


def _plugin(name: str) -> Any:
    from clipzoo.plugin import find_plugin

    return find_plugin(name).load()


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
