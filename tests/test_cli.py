import json
import subprocess
import sys

import pytest

from clipzoo.cli import _overrides, main
from clipzoo.errors import ClipzooError


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "x"], ["data=x"]),
        (["--data=x=y"], ["data=x=y"]),
        (["--batch-size", "8"], ["batch_size=8"]),
        (["a=1", "--loud", "b=2"], ["a=1", "loud=true", "b=2"]),
        (["--loud"], ["loud=true"]),
        (["--loud", "false"], ["loud=false"]),
        (["--view-weights", "1,2"], ["view_weights=1,2"]),
    ],
)
def test_options_are_settings(words, expected) -> None:
    assert _overrides(words, frozenset({"loud"})) == expected


@pytest.mark.parametrize("words", [["x"], ["--data"]])
def test_what_is_no_setting_is_refused(words) -> None:
    with pytest.raises(ClipzooError):
        _overrides(words)


def test_run_prints_metrics_and_the_report(good, capsys, tmp_path) -> None:
    code, out, err = call(capsys, "run", good, "--seed", "2", "--out", str(tmp_path))
    assert code == 0, err
    assert out.splitlines()[0].split() == ["total", "20"] and "report.html" in out


def test_resume_with_settings_is_refused(good, capsys, tmp_path) -> None:
    code, _, err = call(capsys, "run", good, "--resume", str(tmp_path), "seed=3")
    assert code == 2 and "no others" in err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["rnu"], 2, "did you mean: run"),
        (["run", "pointclp"], 2, "did you mean: pointclip"),
        (["run"], 2, "PLUGIN"),
        (["run", "pointclip", "mode=v9"], 2, "v1 or v2 or both"),
        (["run", "pointclip", "--data", "modelnet4"], 4, "modelnet40"),
        (["run", "pointclip", "--data", "modelnet40"], 4, "shape_names"),
        (["info", "nothing"], 2, "clipzoo list"),
        (["list", "--nonsense"], 2, "--nonsense"),
        (["run", "pointclip", "--data", "scanobjectnn"], 4, "hkust"),
    ],
)
def test_errors_have_a_code_and_help(capsys, tmp_path, monkeypatch, arguments, code, text) -> None:
    monkeypatch.chdir(tmp_path)
    got, _, err = call(capsys, *arguments)
    assert got == code and err.startswith("error: ") and text in err, err
    assert "Traceback" not in err


def test_traceback_only_with_debug(good, clipzoo_command) -> None:
    quiet = clipzoo_command("run", good, "stop_at=1")
    assert quiet.returncode == 1 and "half-way" in quiet.stderr and "Traceback" not in quiet.stderr
    assert "Traceback" in clipzoo_command("run", good, "stop_at=1", "--debug").stderr


def test_interrupt_exits_with_130(good, monkeypatch, capsys) -> None:
    monkeypatch.setattr("clipzoo.plugin.find_plugin", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert call(capsys, "run", good)[0] == 130


def test_config_shows_sources(capsys) -> None:
    code, out, _ = call(capsys, "config", "pointclip", "--mode", "v1", "recipe=pointclip-16-shot")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0 and "command line" in rows["mode"] and "recipe pointclip-16-shot" in rows["adapter"]


def test_help_of_a_method_shows_its_settings(good, capsys) -> None:
    code, out, _ = call(capsys, "run", good, "--help")
    assert code == 0 and out.startswith(f"Usage: clipzoo run {good} ") and "how many items" in out
    assert "Counting" not in call(capsys, "run", "--help")[1]
    assert call(capsys, "run", "nothing", "-h")[0] != 0


def test_examples_in_help_keep_their_lines(capsys) -> None:
    out = call(capsys, "run", "--help")[1]
    assert "\n  clipzoo run pointclip --data modelnet40 model=ViT-B-16/openai\n" in out and "\\b" not in out


def test_info_and_list_and_doctor(capsys) -> None:
    assert "PointCLIP" in call(capsys, "info", "pointclip")[1]
    listed = json.loads(call(capsys, "list", "--json")[1])
    assert "pointclip" in {row["name"] for row in listed["installed"]}
    code, out, _ = call(capsys, "doctor")
    assert code == 0 and "torch" in out and "pointclip" in out


def test_demo_ends_in_a_gallery(good, capsys, tmp_path) -> None:
    code, out, _ = call(capsys, "demo", good, "--out", str(tmp_path))
    assert code == 0 and out.splitlines()[-1] == f"gallery: {tmp_path / 'index.html'}"
    assert "report.html" in (tmp_path / "index.html").read_text()


def test_a_closed_pipe_is_quiet(clipzoo_command, tmp_path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m clipzoo info pointclip | head -1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
