"""A new plugin from the template: names derived from one, files written whole or not at all."""

from __future__ import annotations

import keyword
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from clipzoo.catalogue import EXTRAS, KNOWN
from clipzoo.errors import ConfigError, UsageError
from clipzoo.plugin import plugins

MAX_NAME = 30
"""Longest name, in letters: with it every line of the template still fits."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEMPLATE_NAME = "my-method"
# Files of the template: the method's own file would replace them.
_TAKEN_FILES = ("plugin", "run", "recipe", "tests")
_LEFT_OUT = ("__pycache__", "runs", "dist", "build", ".venv", ".pytest_cache", ".ruff_cache")


@dataclass(frozen=True)
class Names:
    """What one name becomes in a distribution.

    Attributes:
        plugin: what people type after ``clipzoo run``, and the name of the entry point.

    >>> names = Names("my-method")
    >>> names.distribution, names.package, names.module, names.prefix, names.constant
    ('clipzoo-my-method', 'clipzoo_my_method', 'my_method', 'MyMethod', 'MY_METHOD')
    """

    plugin: str

    @property
    def distribution(self) -> str:
        """What people type after ``pip install``."""
        return f"clipzoo-{self.plugin}"

    @property
    def package(self) -> str:
        """What people import."""
        return f"clipzoo_{self.module}"

    @property
    def module(self) -> str:
        """The file that holds the method."""
        return self.plugin.replace("-", "_")

    @property
    def prefix(self) -> str:
        """Of class names."""
        return "".join(part[:1].upper() + part[1:] for part in self.plugin.split("-"))

    @property
    def constant(self) -> str:
        """The variable that holds the plugin."""
        return self.module.upper()


def new_plugin(name: str, folder: Path | None = None) -> Path:
    """Write a distribution with a plugin called ``name`` that works, and keeps the contract, as it is written.

    Args:
        name: lower case, digits and hyphens, at most 30 letters.
        folder: receives the files, and must not exist or be empty; by default ``clipzoo-NAME``.

    Returns:
        The folder.

    Raises:
        ConfigError: if the name is of another form, or already that of a plugin.
        UsageError: if the folder holds something, or cannot be written.
    """
    names = Names(check_name(name))
    folder = Path(names.distribution) if folder is None else folder.expanduser()
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise UsageError(
            f"{folder} exists already, and nothing is overwritten",
            expected="a folder that does not exist, or is empty",
            hint=f"clipzoo new {name} --out OTHER_FOLDER",
        )
    try:
        parent = folder.resolve().parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".clipzoo-new-", dir=parent) as beside:
            written = Path(beside) / "new"
            _write(names, written)
            if not folder.exists():
                written.replace(folder)  # whole or not at all
            else:  # an empty folder may be somebody's working folder: it stays the same one
                for entry in written.iterdir():
                    entry.replace(folder / entry.name)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}", hint="--out FOLDER") from error
    return folder


def check_name(name: str) -> str:
    """The name as it is, if a new plugin may be called so.

    Raises:
        ConfigError: if it is of another form, or already that of a plugin.
    """
    form = f"lower case, digits and single hyphens, a letter first, at most {MAX_NAME} letters"
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        near = _nearest_name(name)
        raise ConfigError(
            f'"{name}" is no name for a plugin',
            expected=form,
            hint=f"clipzoo new {near}" if near else "clipzoo new my-method",
        )
    module = Names(name).module
    if keyword.iskeyword(module) or module in _TAKEN_FILES:
        raise ConfigError(
            f'"{name}" is no name for a plugin: {module}.py would be a word of Python, or another file of the plugin',
            expected="a name that says what the method does",
            hint=f"clipzoo new my-{name}",
        )
    taken = {**dict.fromkeys(KNOWN, "clipzoo"), **dict.fromkeys(EXTRAS, "clipzoo"), "clipzoo": "clipzoo"}
    for reference in plugins().values():
        taken[reference.name] = reference.distribution
    if name in taken:
        raise ConfigError(
            f'"{name}" is already the name of a plugin or an extra of {taken[name]}',
            expected="a name of its own: clipzoo refuses to run either of two plugins with one name",
            hint=f"clipzoo new {_nearest_name(f'my-{name}')}",
        )
    return name


def template_folder() -> Path:
    """Where the template is: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package.parent / "examples" / "plugin-template", package / "assets" / "plugin-template"):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError(
        "the template of plugins is not in this installation of clipzoo", hint="pip install --force-reinstall clipzoo"
    )


def _nearest_name(name: str) -> str:
    """The given words as a name: ``"My Method 2"`` becomes ``"my-method-2"``; empty where nothing is left."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())
    near = "-".join(words).lstrip("0123456789-")[:MAX_NAME].strip("-")
    return near if _NAME.fullmatch(near) else ""


def _write(names: Names, folder: Path) -> None:
    template = Names(_TEMPLATE_NAME)
    replaced = {
        template.plugin: names.plugin,
        template.module: names.module,
        template.prefix: names.prefix,
        template.constant: names.constant,
    }
    for source in _files(template_folder()):
        relative = source.relative_to(template_folder())
        target = folder / _replaced(relative.as_posix(), replaced)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_replaced(source.read_text(encoding="utf-8"), replaced), encoding="utf-8")


def _files(template: Path) -> list[Path]:
    """The files of the template, without what running it may have left there."""
    return sorted(
        path
        for path in template.rglob("*")
        if path.is_file()
        and not any(part in _LEFT_OUT or part.endswith(".egg-info") for part in path.relative_to(template).parts)
    )


def _replaced(text: str, replaced: dict[str, str]) -> str:
    pattern = "|".join(re.escape(word) for word in replaced)
    return re.sub(pattern, lambda match: replaced[match.group()], text)
