"""A broken plugin is one line in the list, and harms nothing else."""

import pytest

import clipzoo.doctor
from clipzoo import plugins
from clipzoo.doctor import examine
from clipzoo.errors import MissingExtra, PluginError, UsageError
from clipzoo.isolation import Isolated
from clipzoo.plugin import find_plugin
from clipzoo.probing import probe

BROKEN = {
    "raises": ("raise ValueError('no\\nluck')", "ValueError: no luck"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "lacks": ("import surely_not_installed", "surely_not_installed"),
    "wrong": ("PLUGIN = 7", "a int"),
    "empty": ("", "PLUGIN"),
    "misspelt": ("def plugin(:", "SyntaxError"),
}
DEADLY = {
    "crashes": ("import ctypes; ctypes.string_at(0)", "importing it crashes the interpreter (SIGSEGV)"),
    "vanishes": ("import os; os._exit(0)", "importing it ends the process with exit code 0"),
    "leaves": ("import os; os._exit(7)", "importing it ends the process with exit code 7"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
}
"""What would take this process with it."""
HANGS = "while True: pass"


@pytest.fixture
def zoo(install, good):
    for name, (source, _) in {**BROKEN, **DEADLY}.items():
        install(name, source)
    install("hangs", HANGS)
    install("twin", "PLUGIN = 1")
    install("twin", "PLUGIN = 1", distribution="other-twin")
    return good


def test_list_shows_each_in_one_line_and_exits_well(zoo, clipzoo_command) -> None:
    done = clipzoo_command("list")
    assert done.returncode == 0 and done.stderr == ""
    for name in (*BROKEN, *DEADLY, "hangs", zoo, "pointclip"):
        assert sum(line.split()[:1] == [name] for line in done.stdout.splitlines()) == 1
    assert done.stdout.count("clash: two distributions") == 2


def test_help_and_other_runs_are_unharmed(zoo, clipzoo_command) -> None:
    assert clipzoo_command("--help").returncode == 0
    done = clipzoo_command("run", zoo, "seed=2")
    assert done.returncode == 0, done.stderr
    assert "total" in done.stdout


def test_check_says_what_is_wrong(install, good, clipzoo_command) -> None:
    expected = {**BROKEN, **DEADLY}
    for name, (source, _) in expected.items():
        install(name, source)
    done = clipzoo_command("list", "--check", "--timeout", "60")
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    for name, (_, reason) in expected.items():
        assert "broken: " in lines[name] and reason in lines[name], lines[name]
    assert "broken" not in lines[good]


def test_what_hangs_is_given_up(install, good) -> None:
    install("hangs", HANGS)
    found = probe(["hangs"], timeout_s=3)
    assert found["hangs"].error == "importing it does not come back within 3 s"


@pytest.fixture
def only_fakes(monkeypatch) -> None:
    """The doctor sees the plugins of this test, and not those that are installed beside it: they take long."""
    listed = {name: ref for name, ref in plugins().items() if ref.distribution.startswith(("fake-", "other-"))}
    monkeypatch.setattr(clipzoo.doctor, "plugins", lambda: listed)
    monkeypatch.setattr(clipzoo.doctor, "_datasets", lambda timeout_s: [])


def test_the_doctor_names_each(install, good, request) -> None:
    expected = {**BROKEN, **DEADLY}
    for name, (source, _) in expected.items():
        install(name, source)
    install("twin", "PLUGIN = 1")
    install("twin", "PLUGIN = 1", distribution="other-twin")
    request.getfixturevalue("only_fakes")
    found = {finding.name: finding for finding in examine(timeout_s=60)}
    for name, (_, reason) in expected.items():
        assert found[name].state == "broken" and reason in found[name].text and f"fake-{name}" in found[name].text
    assert found[good].state == "ok"
    assert "pip uninstall one of fake-twin, other-twin" in found["twin (fake-twin)"].text


def test_the_doctor_imports_what_a_run_would(install, good_source, request) -> None:
    install("later", good_source[0], run="import ctypes; ctypes.string_at(0)")
    request.getfixturevalue("only_fakes")
    found = {finding.name: finding for finding in examine(timeout_s=60)}
    assert "crashes the interpreter" in found["later"].text
    assert probe(["later"], timeout_s=60)["later"].error == ""


def test_the_doctor_names_broken_datasets(install) -> None:
    site = install("unused", "")
    for distribution in ("fake-data", "other-data"):
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[clipzoo.datasets]\nmarbles = fake_data:SPEC\n")
    (site / "fake_data.py").write_text("import ctypes; ctypes.string_at(0)")
    found = [finding for finding in clipzoo.doctor._datasets(60) if finding.name == "marbles (dataset)"]
    assert any("crashes the interpreter (SIGSEGV)" in finding.text for finding in found)
    assert any("fake-data, other-data" in finding.text for finding in found)


def test_a_crash_does_not_end_the_demos_of_others(install, good, tmp_path, capsys, monkeypatch) -> None:
    from clipzoo.cli import main

    install("crashes", DEADLY["crashes"][0])
    listed = {name: ref for name, ref in plugins().items() if ref.distribution.startswith("fake-")}
    monkeypatch.setattr("clipzoo.plugin.plugins", lambda: listed)
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path / "runs")])
    told = capsys.readouterr()
    assert stop.value.code == 1 and 'plugin "crashes": importing it crashes the interpreter' in told.err
    assert "total" in told.out and "gallery: " in told.out


def test_one_that_is_harmed_by_another_is_not_blamed(install, good_source) -> None:
    """They share a process as long as nothing goes wrong; what fails is tried again, first in one of its own."""
    install("harms", good_source[0] + "\nimport sys; sys.modules['colorsys'] = None", run=good_source[1])
    install("victim", good_source[0] + "\nimport colorsys", run=good_source[1])
    found = probe(["harms", "victim"], timeout_s=60)
    assert [found[name].error for name in ("harms", "victim")] == ["", ""]


def test_nothing_of_an_isolated_process_is_left(tmp_path) -> None:
    process = Isolated("os:abort", [], silence_s=60)
    assert list(process.reports()) == []
    assert process.ending.startswith("ends the process") or process.ending.startswith("crashes")
    assert process._process.returncode is not None


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
