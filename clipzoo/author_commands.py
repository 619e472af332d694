"""The commands of authors, ``clipzoo new`` and ``clipzoo check``: parsing and printing, no logic."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipzoo.errors import UsageError

if TYPE_CHECKING:
    from clipzoo.testing.checking import Finding


@click.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new files.  [default: clipzoo-NAME]")
def new(name: str, out: Path | None) -> None:
    """Write a plugin called NAME: a distribution that runs, tests and builds as it is.

    \b
    clipzoo new my-method
    """  # noqa: D301
    from clipzoo.scaffold import Names, new_plugin

    folder = new_plugin(name, out)
    names = Names(name)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            click.echo(f"wrote {path}")
    click.echo(
        f"\nnext:\n"
        f"  pip install -e {folder}    (uv pip install -e {folder})\n"
        f"  clipzoo run {name}\n"
        f"  clipzoo check {name}\n"
        f"then: the method in {names.package}/{names.module}.py, settings and paper in {names.package}/plugin.py"
    )


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("plugin")
@click.option("--rule", "rules", multiple=True, help="Only rules with this in their name; may be repeated.")
@click.option("--timeout", default=300.0, show_default=True, type=click.FloatRange(1), help="Seconds a rule may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def check(plugin: str, rules: tuple[str, ...], timeout: float, as_json: bool, settings: tuple[str, ...]) -> None:
    """Say which rules of the contract the installed PLUGIN keeps and breaks, and why.

    SETTINGS make the run small (about ten are made), each as key=value or --key value; what is not given comes from
    the plugin's demo. Exits with 1 if a rule is broken.

    \b
    clipzoo check my-method per_class=1
    """  # noqa: D301
    from clipzoo.plugin import find_plugin
    from clipzoo.testing.checking import check as findings_of

    if Path(plugin).is_dir() and (Path(plugin) / "pyproject.toml").exists():
        raise UsageError(
            f"{plugin} is a folder",
            expected="the name of an installed plugin",
            hint=f"pip install -e {plugin}, then clipzoo check NAME",
        )
    reference = find_plugin(plugin)
    _refuse_broken(plugin, timeout)
    given = _plain_settings(plugin, settings)
    started = time.monotonic()
    found = []
    if not as_json:
        click.secho(f"{plugin} {reference.version} ({reference.distribution})", bold=True)
    for finding in findings_of(plugin, given, rules=rules, timeout_s=timeout):
        found.append(finding)
        if not as_json:
            _print_finding(finding)
    counts = {outcome: sum(finding.outcome == outcome for finding in found) for outcome in ("keeps", "breaks", "skips")}
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    else:
        click.echo(
            f"{counts['keeps']} kept, {counts['breaks']} broken, {counts['skips']} not decided here"
            f"  ({time.monotonic() - started:.0f} s)"
        )
    if counts["breaks"]:
        raise SystemExit(1)


def _refuse_broken(plugin: str, timeout_s: float) -> None:
    from clipzoo.errors import PluginError
    from clipzoo.probing import probe

    probed = probe([plugin], timeout_s=timeout_s)[plugin]
    if probed.error:
        raise PluginError(f'plugin "{plugin}" cannot be checked: {probed.error}', hint=probed.hint or None)


def _plain_settings(plugin: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """What was given, checked and typed by the plugin's own settings."""
    from clipzoo.cli import overrides_of
    from clipzoo.config import compose
    from clipzoo.plugin import find_plugin

    found = find_plugin(plugin).load()
    composed = compose(found, overrides_of(found, settings))
    return {name: composed.plain[name] for name, source in composed.sources.items() if source != "default"}


def _print_finding(finding: Finding) -> None:
    words = {"keeps": ("keeps ", "green"), "breaks": ("BREAKS", "red"), "skips": ("?     ", "yellow")}
    word, colour = words[finding.outcome]
    name = finding.rule.removeprefix("test_").replace("_", " ")
    click.echo(f"{click.style(word, fg=colour)}  {name}")
    if finding.outcome == "breaks":
        lines = [f"rule: {finding.text}", *finding.why.splitlines()]
        click.echo("".join(f"          {line}\n" for line in lines), nl=False)
    elif finding.outcome == "skips":
        click.echo(f"          {finding.why}")
