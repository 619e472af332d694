"""A broken plugin is one line in the list, and harms nothing else."""

import pytest

from clipzoo import plugins
from clipzoo.errors import MissingExtra, PluginError, UsageError
from clipzoo.plugin import find_plugin

BROKEN = {
    "raises": ("raise ValueError('no\\nluck')", "ValueError: no luck"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "lacks": ("import surely_not_installed", "surely_not_installed"),
    "wrong": ("PLUGIN = 7", "a int"),
    "empty": ("", "PLUGIN"),
}


@pytest.fixture
def zoo(install, good):
    for name, (source, _) in BROKEN.items():
        install(name, source)
    return good


def test_list_shows_each_in_one_line_and_exits_well(zoo, clipzoo_command) -> None:
    done = clipzoo_command("list")
    assert done.returncode == 0 and done.stderr == ""
    for name in (*BROKEN, zoo, "pointclip"):
        assert sum(line.split()[:1] == [name] for line in done.stdout.splitlines()) == 1


def test_check_says_what_is_wrong(zoo, clipzoo_command) -> None:
    done = clipzoo_command("list", "--check")
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    for name, (_, reason) in BROKEN.items():
        assert "broken: " in lines[name] and reason in lines[name], lines[name]
    assert "broken" not in lines[zoo]


def test_others_still_run(zoo, clipzoo_command) -> None:
    done = clipzoo_command("run", zoo, "seed=2")
    assert done.returncode == 0, done.stderr
    assert "total" in done.stdout


@pytest.mark.parametrize("name", BROKEN)
def test_loading_one_is_a_clear_error(zoo, name) -> None:
    with pytest.raises((PluginError, MissingExtra)) as caught:
        find_plugin(name).load()
    assert f"fake-{name}" in caught.value.message() and BROKEN[name][1] in caught.value.message()


def test_missing_requirement_shows_without_an_import(install, clipzoo_command) -> None:
    install("needy", "raise SystemExit('imported')", requires="surely-not-there>=2")
    line = next(line for line in clipzoo_command("list").stdout.splitlines() if line.startswith("needy"))
    assert "broken: needs surely-not-there" in line


def test_two_distributions_cannot_replace_each_other(install, good_source) -> None:
    source, run = good_source
    install("twin", source, run=run)
    install("twin", source, distribution="other-twin", run=run)
    assert {"twin (fake-twin)", "twin (other-twin)"} <= set(plugins())
    with pytest.raises(UsageError, match="two distributions"):
        find_plugin("twin")


def test_settings_must_inherit(install, good_source) -> None:
    install("odd", good_source[0].replace("class CountSettings(Settings)", "class CountSettings"))
    with pytest.raises(PluginError, match=r"clipzoo\.Settings"):
        find_plugin("odd").load()


def test_unknown_plugin_names_the_closest() -> None:
    with pytest.raises(UsageError, match="did you mean: pointclip"):
        find_plugin("pointclp")


def test_a_run_module_that_cannot_be_imported(install, good_source) -> None:
    install("later", good_source[0], run="import surely_not_installed")
    with pytest.raises(MissingExtra, match="surely_not_installed"):
        find_plugin("later").load().load_run()
