"""A run folder tells the whole story, and a run that stopped goes on as if it had not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import clipzoo
from clipzoo.config import compose
from clipzoo.errors import DataError, RunError, UsageError
from clipzoo.plugin import Settings, find_plugin
from clipzoo.runs import RunContext, execute, list_runs, load_config


def items(folder):
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def test_folder_of_a_complete_run(good, tmp_path) -> None:
    result = clipzoo.run(good, seed=3, out=tmp_path)
    assert result.metrics == {"total": 30.0, "count": 5}
    assert {p.name for p in result.folder.iterdir()} >= {
        "config.yaml",
        "run.json",
        "items.jsonl",
        "metrics.json",
        "report.html",
    }
    record = json.loads((result.folder / "run.json").read_text())
    assert record["status"] == "complete" and record["seed"] == 3 and record["versions"]["torch"]
    assert (result.folder / "tables" / "items.csv").read_text().split() == ["value", "0", "3", "6", "9", "12"]
    assert not list(result.folder.glob("**/.*"))
    assert load_config(result.folder)[1]["seed"] == 3


def test_resume_equals_uninterrupted(good, tmp_path) -> None:
    whole = clipzoo.run(good, seed=3, out=tmp_path)
    with pytest.raises(RunError, match="half-way") as caught:
        clipzoo.run(good, seed=3, stop_at=2, out=tmp_path / "broken")
    folder = next((tmp_path / "broken" / good).iterdir())
    assert f"--resume {folder}" in caught.value.message()
    assert len(items(folder)) == 2 and not (folder / "metrics.json").exists()
    assert "half-way" in (folder / "report.html").read_text()
    (folder / "go-on").touch()
    resumed = clipzoo.run(good, resume=folder)
    assert resumed.metrics == whole.metrics
    assert items(folder) == items(whole.folder)


def test_killed_run_goes_on(good, tmp_path) -> None:
    code = (
        "import clipzoo, os, signal\n"
        "from clipzoo.runs import RunContext\n"
        "record = RunContext.record\n"
        "def dying(self, key, **fields):\n"
        "    record(self, key, **fields)\n"
        "    if key == 'item-2': os.kill(os.getpid(), signal.SIGKILL)\n"
        "RunContext.record = dying\n"
        f"clipzoo.run('{good}', seed=2, out={str(tmp_path)!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    folder = next((tmp_path / good).iterdir())
    with (folder / "items.jsonl").open("a") as file:
        file.write('{"key": "item-3", "fie')
    result = clipzoo.run(good, resume=folder)
    assert result.metrics == {"total": 20.0, "count": 5}
    assert [item["key"] for item in items(folder)] == [f"item-{k}" for k in range(5)]


def test_complete_run_is_not_run_again(good, tmp_path) -> None:
    first = clipzoo.run(good, seed=1, out=tmp_path)
    before = (first.folder / "run.json").stat().st_mtime_ns
    again = clipzoo.run(good, resume=first.folder)
    assert again.metrics == first.metrics
    assert (first.folder / "run.json").stat().st_mtime_ns == before


def test_two_processes_cannot_share_a_folder(good, tmp_path) -> None:
    with pytest.raises(RunError):
        clipzoo.run(good, stop_at=1, out=tmp_path)
    folder = next((tmp_path / good).iterdir())
    hold = (
        "import sys, time; from pathlib import Path; from clipzoo.runs import _sole_run\n"
        "with _sole_run(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        assert list_runs(tmp_path)[0].status == "running"
        with pytest.raises(UsageError, match=f"in use by process {other.pid}"):
            clipzoo.run(good, resume=folder)
    finally:
        other.kill()
        other.wait()
    assert list_runs(tmp_path)[0].status == "failed"
    (folder / "go-on").touch()
    assert clipzoo.run(good, resume=folder).metrics["count"] == 5  # the lock of the dead process is taken over
    assert [(run.plugin, run.status, run.items) for run in list_runs(tmp_path)] == [("count", "complete", 5)]


def context(tmp_path, **settings) -> RunContext:
    return RunContext(tmp_path, Settings(**settings), progress=False)


def test_failed_items_are_tried_again(tmp_path) -> None:
    first = context(tmp_path)
    first.record("a", value=1)
    first.failed("b", DataError("broken"))
    assert context(tmp_path).items() == {"a": {"value": 1}}


def test_a_run_without_one_good_item_fails(install, good_source, tmp_path) -> None:
    body = "context.failed('a', ValueError('bad')); return Result()"
    run = f"from clipzoo import Result\ndef run(settings, context):\n    {body}\n"
    install("hopeless", good_source[0], run=run)
    with pytest.raises(DataError, match="not one of 1"):
        clipzoo.run("hopeless", out=tmp_path)


def test_values_of_every_kind_are_written(tmp_path) -> None:
    here = context(tmp_path)
    here.record("a", tensor=torch.tensor([1.0, 2.0]), scalar=np.float32(3), nan=float("nan"), none=None, text="ü\n")
    assert context(tmp_path).items()["a"] == {
        "tensor": [1.0, 2.0],
        "scalar": 3.0,
        "nan": None,
        "none": None,
        "text": "ü\n",
    }


def test_generators_depend_on_seed_and_names_alone(tmp_path) -> None:
    one, same, other = (context(tmp_path, seed=s) for s in (1, 1, 2))
    draw = lambda c, *names: torch.rand(3, generator=c.generator(*names)).tolist()  # noqa: E731
    assert draw(one, "a") == draw(same, "a") != draw(other, "a")
    assert draw(one, "a") != draw(one, "b") and draw(one, "a", 1) == draw(one, "a", 1)


@pytest.mark.parametrize("image", [torch.rand(3, 4, 5), np.zeros((4, 5)), torch.full((1, 4, 5), float("nan"))])
def test_images_of_every_kind_are_saved(tmp_path, image) -> None:
    from PIL import Image

    artifact = context(tmp_path).save_image("picture", image)
    assert Image.open(tmp_path / artifact.path).size == (5, 4)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a/b", "..", "a\0b"])
def test_no_name_leads_outside(tmp_path, name) -> None:
    here = context(tmp_path / "run")
    try:
        artifact = here.save_bytes(name, b"x")
    except UsageError:
        return
    assert (tmp_path / "run" / artifact.path).resolve().is_relative_to(tmp_path / "run" / "artifacts")


def test_a_run_changes_nothing_global(good, tmp_path) -> None:
    state = torch.get_rng_state(), torch.get_default_dtype(), Path.cwd(), np.random.get_state()[1].tolist()
    clipzoo.run(good, out=tmp_path)
    after = torch.get_rng_state(), torch.get_default_dtype(), Path.cwd(), np.random.get_state()[1].tolist()
    assert torch.equal(state[0], after[0]) and state[1:] == after[1:]


def test_what_is_no_run_folder_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="no folder of a run"):
        load_config(tmp_path)
    (tmp_path / "config.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(UsageError):
        load_config(tmp_path)


def test_interrupt_is_recorded(good, tmp_path, monkeypatch) -> None:
    plugin = find_plugin(good).load()
    monkeypatch.setattr(RunContext, "record", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        execute(plugin, compose(plugin, {"out": str(tmp_path)}))
    folder = next((tmp_path / good).iterdir())
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert time.time() - (folder / "run.json").stat().st_mtime < 60
