"""``clipzoo bench``: what is run, what is read, and what is left of an earlier call."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from clipzoo import bench
from clipzoo.errors import DataError, UsageError

ROOT = Path(__file__).parents[1]
ROW = {"job": "strokes", "ours_s": 0.002, "peer": "other", "peer_s": 0.5, "flop": 4e6, "moved_bytes": 1e6}
MACHINE = {
    "machine": {"cpu": "a processor, 2 cores"},
    "speeds": {"cpu": {"fp32": 4e9, "bytes": 2e9}},
    "versions": {"clipzoo": "1.2", "torch": "9.9"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Benchmarks of every kind: with rows, without, skipped, failing, endless, absent needs."""
    home = tmp_path / "benchmarks"
    home.mkdir()
    (home / "_machine.py").write_text(f"import json\nprint('noise')\nprint(json.dumps({MACHINE!r}))\n")
    (home / "good.py").write_text(
        'BENCH = {"quick": ["--few"], "full": ["--many"]}\n'
        "import json, os, sys\n"
        'assert os.environ["CLIPZOO_BENCH"] and os.environ["CLIPZOO_OFFLINE"]\n'
        f"print('talk'); print(json.dumps({ROW!r})); print(json.dumps({{'job': sys.argv[1], 'ours_s': 1.0}}))\n"
    )
    (home / "silent.py").write_text("print('nothing to read')\n")
    (home / "cannot.py").write_text("import sys\nprint('no data here', file=sys.stderr); sys.exit(77)\n")
    (home / "broken.py").write_text("raise ValueError('no such thing')\n")
    (home / "absent.py").write_text('BENCH = {"needs": ["no_such_module"]}\nraise SystemExit(1)\n')
    (home / "device.py").write_text('BENCH = {"on": "cuda"}\nraise SystemExit(1)\n')
    return home


def call(*words: object) -> tuple[str, BaseException | None]:
    done = CliRunner().invoke(bench.bench, [str(word) for word in words])
    return done.output, done.exception


def test_one_table_of_everything_that_ran(folder: Path, tmp_path: Path) -> None:
    output, error = call("--folder", folder, "--out", tmp_path / "out")
    assert "failed: broken" in str(error)
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    strokes, words = told["rows"]
    assert strokes["ratio"] == pytest.approx(250)
    assert (strokes["floor"], strokes["floor_s"]) == ("operations", pytest.approx(1e-3))
    assert strokes["distance"] == pytest.approx(2)
    assert words["job"] == "--many" and words["ratio"] is None and words["distance"] is None
    assert strokes["versions"] == MACHINE["versions"] and strokes["machine"] == "a processor, 2 cores"
    reasons = {one["script"]: (one["state"], one["reason"]) for one in told["not_measured"]}
    assert reasons["silent"] == ("done", "printed no row")
    assert reasons["cannot"] == ("skipped", "no data here")
    assert reasons["broken"] == ("failed", "exit code 1: ValueError: no such thing")
    assert reasons["absent"] == ("skipped", "needs no_such_module, which is not installed")
    assert reasons["device"] == ("skipped", "needs a CUDA device")
    table = (tmp_path / "out" / "results.md").read_text()
    assert "| good: strokes" in table and "2 ms | other, 500 ms | 250 | 2 (operations)" in table
    assert "no data here" in output


def test_quick_takes_the_quick_arguments(folder: Path, tmp_path: Path) -> None:
    _, error = call("good", "--quick", "--folder", folder, "--out", tmp_path)
    assert error is None
    assert [row["job"] for row in json.loads((tmp_path / "results.json").read_text())["rows"]] == ["strokes", "--few"]


def test_a_script_without_end_is_stopped_with_its_children(folder: Path, tmp_path: Path) -> None:
    (folder / "endless.py").write_text(
        "import json, subprocess, sys, time\n"
        f"print(json.dumps({ROW!r}), flush=True)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(json.dumps({'job': str(child.pid), 'ours_s': 1}), flush=True)\n"
        "time.sleep(600)\n"
    )
    script = bench.choose(bench.find_scripts(folder), ["endless"])[0]
    for limit_s in (2, 15, 60):  # on a busy machine two seconds may not be enough to start
        outcome = bench.run_script(script, MACHINE, quick=False, limit_s=limit_s)
        assert outcome.state == "stopped"
        if len(outcome.rows) == 2:
            break
    assert outcome.rows[0].job == "strokes"
    child = int(outcome.rows[1].job)
    for _ in range(50):
        if not _alive(child):
            break
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_rows_stay_until_they_are_measured_again(folder: Path, tmp_path: Path) -> None:
    call("good", "--folder", folder, "--out", tmp_path)
    (folder / "good.py").write_text(f"import json\nprint(json.dumps({ROW | {'ours_s': 0.004}!r}))\n")
    call("good", "--folder", folder, "--out", tmp_path)
    rows = bench.load_rows(tmp_path / "results.json")
    assert [(row.job, row.ours_s) for row in rows] == [("strokes", 0.004), ("--many", 1.0)]


def test_the_table_goes_between_the_marks_of_a_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Speed\n\n{bench.BEGIN}\nold\n{bench.END}\n\nprose\n")
    _, error = call("good", "--folder", folder, "--out", tmp_path, "--page", page)
    assert error is None
    text = page.read_text()
    assert text.startswith("# Speed\n") and text.endswith("\n\nprose\n")
    assert "old" not in text and "good: strokes" in text


def test_a_page_without_marks_is_found_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("prose")
    _, error = call("good", "--folder", folder, "--out", tmp_path / "out", "--page", page)
    assert isinstance(error, DataError) and page.read_text() == "prose" and not (tmp_path / "out").exists()


def test_an_unknown_name_gives_the_closest(folder: Path) -> None:
    _, error = call("god", "--folder", folder)
    assert isinstance(error, UsageError) and error.closest == ("good",)


def test_a_folder_without_benchmarks_is_an_error(tmp_path: Path) -> None:
    _, error = call("--folder", tmp_path)
    assert isinstance(error, DataError) and "no benchmark in" in str(error)


@pytest.mark.parametrize("literal", ['{"quik": []}', "dict(quick=[])", "7", "{"])
def test_a_literal_that_cannot_be_used_is_an_error(tmp_path: Path, literal: str) -> None:
    (tmp_path / "one.py").write_text(f"BENCH = {literal}\n")
    with pytest.raises(DataError, match="BENCH"):
        bench.find_scripts(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        "{}",
        '{"job": "x"}',
        '{"job": "x", "ours_s": -1}',
        '{"job": "x", "ours_s": NaN}',
        '{"job": 3, "ours_s": 1}',
    ],
)
def test_lines_that_are_no_rows_are_passed_over(line: str) -> None:
    assert list(bench.read_rows(line, "one", MACHINE, 0.0)) == []


def test_a_measured_floor_goes_before_the_counted_one() -> None:
    line = json.dumps({**ROW, "floor": "the encoder alone", "floor_s": 0.001, "device": "cuda:1"})
    (row,) = bench.read_rows(line, "one", MACHINE, 0.0)
    assert row.floor == "the encoder alone" and row.distance == 2 and row.device == "cuda"


def test_bytes_are_the_floor_where_they_take_longer() -> None:
    assert bench.count_floor({"flop": 4e9, "moved_bytes": 8e9}, {"fp32": 4e9, "bytes": 2e9}) == ("bytes", 4.0)
    assert bench.count_floor({"flop": 4e9, "dtype": "bf16"}, {"fp32": 4e9}) == ("", None)


def test_remarks_say_what_to_trust() -> None:
    row = bench.Row("one", "a|b", 1.0, peer="diffvg", peer_s=2.0, stored_peer=True, load=3.0)
    table = bench.as_markdown([row])
    assert "one: a\\|b [1] [2]" in table
    assert "1. diffvg was timed in another run." in table and "2. Other work ran on the machine" in table


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(DataError, match="holds no rows"):
        bench.load_rows(tmp_path / "results.json")


def test_nothing_runs_when_the_time_of_quick_is_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK_S", 0.0)
    (outcome,) = bench.measure(bench.choose(bench.find_scripts(folder), ["good"]), MACHINE, quick=True)
    assert outcome.state == "skipped" and "no time was left" in outcome.reason


def test_the_benchmarks_of_the_clone_can_be_found() -> None:
    scripts = bench.find_scripts(ROOT / "benchmarks")
    assert {"embed", "encode", "projection", "startup"} <= {script.name for script in scripts}
    for script in scripts:
        tree = ast.parse(script.path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{script.name} does not say what it measures"


@pytest.mark.slow
def test_quick_gives_a_row_of_every_benchmark_that_runs_here(tmp_path: Path) -> None:
    _, error = call("--quick", "--folder", ROOT / "benchmarks", "--device", "cpu", "--out", tmp_path)
    assert error is None
    told = json.loads((tmp_path / "results.json").read_text())
    assert {"startup", "encode"} <= {row["script"] for row in told["rows"]}
    assert all(row["floor_s"] for row in told["rows"] if row["script"] in ("startup", "encode"))


def test_a_row_reads_the_same_for_people_and_for_the_table(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    report = runpy.run_path(str(ROOT / "benchmarks" / "_rows.py"))["report"]
    words = {key: value for key, value in ROW.items() if key not in ("job", "ours_s")}
    report("strokes", 0.002, **words)
    assert capsys.readouterr().out == "strokes: 2 ms; other 500 ms (250.00 x); 0.004 GFLOP, 1 MB\n"
    monkeypatch.setenv("CLIPZOO_BENCH", "1")
    report("strokes", 0.002, **words)
    (row,) = bench.read_rows(capsys.readouterr().out, "one", MACHINE, 0.0)
    assert (row.job, row.ours_s, row.peer_s) == ("strokes", 0.002, 0.5)


def test_turns_alternate_and_leave_the_first_round_out() -> None:
    timing = runpy.run_path(str(ROOT / "benchmarks" / "_timing.py"))
    called: list[str] = []
    spent = timing["in_turns"]({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2)
    assert called == ["a", "b"] * 3 and [len(times) for times in spent.values()] == [2, 2]


def test_importing_the_command_stays_light() -> None:
    code = "import clipzoo.bench, sys; print([m for m in ('torch', 'numpy', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell how busy its cores are")
def test_what_others_do_is_measured_now_and_not_remembered() -> None:
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        assert bench._load() > 0.5
    finally:
        other.kill()
        other.wait()
