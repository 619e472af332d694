"""The command line: parsing and printing, no logic. Heavy modules are imported inside the commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from clipzoo.errors import ClipzooError, ConfigError, PluginError, UsageError, closest_matches

_ELSEWHERE = {
    "bench": "clipzoo.bench",
    "check": "clipzoo.author_commands",
    "embed": "clipzoo.embed_command",
    "new": "clipzoo.author_commands",
}
"""Commands with a file of their own, imported when they are asked for."""


class _Group(click.Group):
    """A group whose unknown commands name the closest one, and whose larger commands are imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *_ELSEWHERE})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in _ELSEWHERE and name not in self.commands:
            return getattr(importlib.import_module(_ELSEWHERE[name]), name)
        return super().get_command(ctx, name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        known = self.list_commands(ctx)
        if name and name not in known:
            raise UsageError(
                f'no command called "{name}"',
                closest=closest_matches(name, known),
                expected=", ".join(known),
                hint="clipzoo --help",
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clipzoo")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--offline", is_flag=True, help="Make no connection at all.")
def cli(debug: bool, offline: bool) -> None:
    """What people build on a frozen CLIP."""
    if offline:
        _go_offline()
    if debug:
        os.environ["CLIPZOO_DEBUG"] = "1"


class _Run(click.Command):
    """A command whose ``--help`` after the name of a plugin shows the options of that plugin."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and {"-h", "--help"} & set(args):
            click.echo(f"Usage: clipzoo run {args[0]} [--data DATA] [recipe=NAME] [KEY=VALUE ...]\n")
            ctx.invoke(info, plugin=args[0])
            ctx.exit()
        return super().parse_args(ctx, args)


_OPEN = {"ignore_unknown_options": True, "allow_extra_args": True}


@cli.command(cls=_Run, context_settings=_OPEN)
@click.argument("plugin")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the run in this folder.")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
@click.option("--offline", is_flag=True, help="Make no connection at all.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def run(plugin: str, resume: Path | None, quiet: bool, offline: bool, debug: bool, settings: tuple[str, ...]) -> None:
    """Run PLUGIN with SETTINGS, each as key=value or --key value.

    \b
    clipzoo run pointclip --data modelnet40 model=ViT-B-16/openai
    clipzoo run pointclip --data my_clouds/ names="chair, table"
    clipzoo run pointclip --help  # what its settings are
    """  # noqa: D301
    if debug:
        os.environ["CLIPZOO_DEBUG"] = "1"
    if offline:
        _go_offline()
    from clipzoo.plugin import find_plugin

    found = find_plugin(plugin).load()
    overrides = overrides_of(found, settings)
    from clipzoo.config import compose
    from clipzoo.runs import execute, load_config

    if resume is None:
        composed = compose(found, overrides)
    else:
        if overrides:
            raise UsageError(
                f"settings were given together with --resume: {', '.join(overrides)}",
                expected="the settings of the run that is resumed, and no others",
            )
        name, stored = load_config(resume)
        if name != plugin:
            raise UsageError(
                f"{resume} is a run of {name}, not of {plugin}", hint=f"clipzoo run {name} --resume {resume}"
            )
        composed = compose(found, stored)
    result = execute(found, composed, resume=resume, progress=not quiet)
    if not quiet:
        _print_result(result)


@cli.command()
@click.argument("plugin", required=False)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
def demo(plugin: str | None, out: Path) -> None:
    """Run the demo of every installed plugin, or of PLUGIN: offline, a minute each."""
    from clipzoo.config import compose
    from clipzoo.plugin import find_plugin, plugins
    from clipzoo.report import write_gallery
    from clipzoo.runs import execute

    references = [find_plugin(plugin)] if plugin else [ref for name, ref in plugins().items() if name == ref.name]
    if not references:
        raise UsageError("no plugin is installed", hint='pip install "clipzoo[all]"')
    unusable = {} if plugin else _unusable(reference.name for reference in references)
    folders, errors = [], []
    for reference in references:
        try:
            if reference.name in unusable:
                raise PluginError(unusable[reference.name], hint=f"pip uninstall {reference.distribution}")
            found = reference.load()
            click.secho(f"{found.name}: {found.summary}", bold=True)
            result = execute(found, compose(found, {**found.demo, "out": str(out)}), progress=True)
        except ClipzooError as error:
            errors.append(error)
            _print_error(error)
            continue
        _print_result(result)
        folders.append(result.folder)
    if folders:
        page = write_gallery(folders, out / "index.html")
        click.echo(f"gallery: {page}")
    if errors:
        raise SystemExit(errors[0].exit_code)


def _unusable(names: Iterable[str]) -> dict[str, str]:
    """Why plugins that are not clipzoo's own cannot be imported: one that crashes must not end the demos of others."""
    from clipzoo.catalogue import SUMMARIES
    from clipzoo.probing import probe

    foreign = [name for name in names if name not in SUMMARIES]
    probed = probe(foreign, runs=True) if foreign else {}
    told = {name: found.error for name, found in probed.items() if found.error}
    return {name: text if text.startswith("plugin ") else f'plugin "{name}": {text}' for name, text in told.items()}


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Import each plugin, in a process of its own, and say which cannot be.")
@click.option("--timeout", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Seconds for each check.")
def list_plugins(as_json: bool, check: bool, timeout: float) -> None:
    """List the plugins that are installed, and those that can be."""
    import json

    from clipzoo.catalogue import KNOWN
    from clipzoo.plugin import plugins

    rows, listed, probed = [], plugins(), {}
    if check:
        from clipzoo.probing import probe

        whole = [name for name, reference in listed.items() if name == reference.name and not reference.missing]
        probed = probe(whole, timeout_s=timeout)
    for name, reference in listed.items():
        state = f"broken: needs {', '.join(reference.missing)}" if reference.missing else "installed"
        if name != reference.name:
            state = "clash: two distributions offer this name"
        elif name in probed and probed[name].error:
            state = f"broken: {probed[name].error.partition(': ')[2] or probed[name].error}"
        rows.append(
            {
                "name": name,
                "version": reference.version,
                "distribution": reference.distribution,
                "state": state,
                "summary": " ".join(reference.summary.split()),
            }
        )
    absent = [name for name in KNOWN if name not in {row["name"] for row in rows}]
    if as_json:
        click.echo(json.dumps({"installed": rows, "available": absent}, indent=1))
        return
    _table(
        [(row["name"], row["version"], row["summary"] if row["state"] == "installed" else row["state"]) for row in rows]
    )
    if not rows:
        click.echo("no plugin is installed")
    for name in absent:
        click.echo(f'{name}  not installed: pip install "clipzoo[{KNOWN[name]}]"')


@cli.command()
@click.argument("plugin")
def info(plugin: str) -> None:
    """Show what PLUGIN implements, its options and its recipes."""
    from clipzoo.config import fields_of, recipes
    from clipzoo.plugin import find_plugin

    reference = find_plugin(plugin)
    found = reference.load()
    paper = found.paper
    click.secho(f"{found.name} {reference.version}  {found.summary}", bold=True)
    click.echo(f"\n{paper.title}\n{paper.authors}, {paper.year}. {paper.url}")
    click.echo(f"code: {paper.code_licence} · weights: {paper.weights_licence} · data: {paper.data_licence}")
    for title, numbers in (("published", paper.published), ("measured", paper.measured)):
        if numbers:
            click.secho(f"\n{title}", bold=True)
            _table([(name, str(value)) for name, value in numbers.items()])
    click.secho("\noptions", bold=True)
    rows = []
    for name, kind, default, metadata in fields_of(found):
        text = metadata.get("help", "")
        if metadata.get("choices"):
            kind = " | ".join(str(choice) for choice in metadata["choices"])
        rows.append((name, _value(default), kind, text))
    _table(rows)
    available = recipes(found)
    if available:
        click.secho("\nrecipes (recipe=NAME)", bold=True)
        _table(list(available.items()))


@cli.command(context_settings=_OPEN)
@click.argument("plugin")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def config(plugin: str, settings: tuple[str, ...]) -> None:
    """Print every setting of PLUGIN with its source, as a run with SETTINGS would see it."""
    from clipzoo.config import compose
    from clipzoo.plugin import find_plugin

    found = find_plugin(plugin).load()
    composed = compose(found, overrides_of(found, settings))
    _table([(key, _value(value), composed.sources[key]) for key, value in composed.plain.items()])


@cli.command()
def datasets() -> None:
    """List the datasets that have a name."""
    from clipzoo.data.registry import datasets as known

    _table([(name, reference.distribution) for name, reference in known().items()])


@cli.command()
@click.option("--timeout", default=120.0, show_default=True, type=click.FloatRange(0.1), help="Seconds a plugin.")
def doctor(timeout: float) -> None:
    """Check this installation: versions, devices, folders, plugins, datasets, optional back ends.

    Plugins are imported in a process of their own: one that crashes or hangs is named, and harms nothing.
    """
    from clipzoo.doctor import examine

    findings = examine(timeout)
    for finding in findings:
        mark = {"ok": "ok     ", "absent": "absent ", "broken": "BROKEN "}[finding.state]
        click.echo(f"{mark} {finding.name:<18} {finding.text}")
    if any(finding.state == "broken" for finding in findings):
        raise SystemExit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command ``clipzoo``: every error becomes a text and an exit code."""
    try:
        code = cli.main(args=arguments, prog_name="clipzoo", standalone_mode=False)
    except ClipzooError as error:
        _print_error(error)
        _maybe_traceback()
        code = error.exit_code
    except click.exceptions.NoSuchOption as error:
        _print_error(UsageError(error.format_message(), hint="clipzoo --help"))
        code = 2
    except click.ClickException as error:
        _print_error(UsageError(error.format_message(), hint="clipzoo --help"))
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        # The reader has gone; leave nothing that the interpreter would try to flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except SystemExit as stop:
        code = stop.code
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        click.echo(f"error: unexpected {type(error).__name__}: {text}\n  try: the same with --debug", err=True)
        _maybe_traceback()
        code = 1
    sys.exit(code if isinstance(code, int) else 0 if code is None else 1)


def _go_offline() -> None:
    os.environ["CLIPZOO_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"


def _maybe_traceback() -> None:
    if os.environ.get("CLIPZOO_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exc()


def _print_error(error: ClipzooError) -> None:
    click.echo(f"error: {error.message()}", err=True)


def overrides_of(plugin: Any, settings: Iterable[str]) -> list[str]:
    """What was typed after the name of a plugin, each as ``key=value``."""
    return _overrides(settings, _flags(plugin))


def _overrides(settings: Iterable[str], flags: frozenset[str] = frozenset()) -> list[str]:
    """``--key value``, ``--key=value`` and ``key=value`` as ``key=value``; a bare flag means true."""
    words, found = list(settings), []
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if "=" not in word:
                raise UsageError(f'"{word}" is no setting', expected="key=value, or --key value")
            found.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not equals:
            if name in flags and (not words or words[0].lower() not in ("true", "false")):
                value = "true"
            elif words:
                value = words.pop(0)
            else:
                raise ConfigError(f"--{name} has no value", expected=f"--{name} VALUE")
        found.append(f"{name}={value}")
    return found


def _flags(plugin: Any) -> frozenset[str]:
    import typing

    return frozenset(name for name, kind in typing.get_type_hints(plugin.settings).items() if kind is bool)


def _print_result(result: Any) -> None:
    for note in result.notes:
        click.echo(f"note: {note}")
    _table([(name, _number(value)) for name, value in result.metrics.items()])
    click.echo(f"report: {result.folder / 'report.html'}")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else repr(value) if value == "" else str(value)


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    """Aligned columns; the last one runs on."""
    if not rows:
        return
    widths = [min(48, max(len(row[column]) for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
