"""The commands that the texts of the project tell their readers to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from clipzoo.plugin import plugins

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [
    *DOCS,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "examples/README.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
OURS = sorted(name for name, found in plugins().items() if found.distribution.partition("-")[0] == "clipzoo")


def shell_lines(text: str) -> Iterator[str]:
    """Lines of shell: in fences for a shell or without a language, in indented blocks, and inline code."""
    language, paragraph = None, True
    for line in text.splitlines():
        fence = re.match(r"```(\w*)", line)
        if fence:
            language = None if language is not None else fence[1] or "bash"
        elif language is not None:
            if language in ("bash", "sh", "console"):
                yield line.strip()
        elif line.startswith("    ") and paragraph:
            yield line.strip()
        else:
            yield from re.findall(r"(?<!`)`((?:clipzoo|pip install|uv run|python|torchrun) [^`]+)`(?!`)", line)
            paragraph = not line.strip()


def command_of(line: str) -> list[str] | None:
    """The words of a command that concerns clipzoo; None for anything else."""
    if "..." in line or re.search(r"\b(METHOD|COMMAND|PLUGIN|CLONE|key=value)\b", line):
        return None  # a form, not a command
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    while words and (words[0] in ("$", "uv", "run") or re.fullmatch(r"[A-Z_]+=.*", words[0])):
        words = words[1:]
    if words[:1] == ["torchrun"] and "-m" in words:
        words = ["python", *words[words.index("-m") :]]
    if words[:3] == ["python", "-m", "clipzoo"]:
        words = words[2:]
    return words if words and words[0] in ("clipzoo", "python", "pip", "pytest") else None


GUIDES = ("plugins.md", "your-method-in-an-hour.md")
"""Pages whose reader makes a plugin: its name need not be installed."""


def commands_in(page: Path) -> list[list[str]]:
    """Every command of a page once."""
    found = [words for line in shell_lines(page.read_text(encoding="utf-8")) if (words := command_of(line))]
    if page.name in GUIDES:
        found = [words for words in found if not (words[0] == "clipzoo" and len(words) > 2 and words[2] not in OURS)]
    return [list(words) for words in dict.fromkeys(map(tuple, found))]
