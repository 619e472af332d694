"""A full disk and folders that cannot be written: a clear error, and nothing that was done is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import clipzoo
from clipzoo import runs
from clipzoo.errors import RunError, UsageError
from clipzoo.runs import list_runs, load_config


def the_run(folder: Path, name: str) -> Path:
    return next((folder / name).iterdir())


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch):
    """The disk has room for so many writes more; ``None`` makes room again."""
    left: list[int | None] = [None]

    def limited_write(self, content):
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                self._real.write(bytes(content)[: len(content) // 2])  # half of it still fits
                raise OSError(errno.ENOSPC, "No space left on device")
        return self._real.write(content)

    class Limited:
        def __init__(self, real) -> None:
            self._real = real

        write = limited_write

        def __getattr__(self, name):
            return getattr(self._real, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._real.close()

    opened = Path.open

    def limited(path, mode="r", *arguments, **options):
        file = opened(path, mode, *arguments, **options)
        return Limited(file) if mode in ("wb", "ab") else file

    monkeypatch.setattr(Path, "open", limited)

    def set_left(count: int | None) -> None:
        left[0] = count

    return set_left


@pytest.mark.parametrize("room", (2, 3, 5, 7))
def test_a_full_disk_at_any_moment(good, tmp_path, full_after, room) -> None:
    whole = clipzoo.run(good, seed=3, out=tmp_path / "whole")
    full_after(room)
    with pytest.raises((RunError, UsageError), match=r"disk is full|No space left"):
        clipzoo.run(good, seed=3, out=tmp_path / "full")
    full_after(None)
    folder = the_run(tmp_path / "full", good)
    before = list_runs(tmp_path / "full")[0]
    assert load_config(folder)[1]["seed"] == 3 and before.status in ("interrupted", "failed")
    lines = (folder / "items.jsonl").read_text().splitlines() if (folder / "items.jsonl").exists() else []
    assert all(json.loads(line) for line in lines) and len(lines) == before.items
    resumed = clipzoo.run(good, resume=folder)
    assert resumed.metrics == whole.metrics
    kept = (folder / "items.jsonl").read_text().splitlines()
    assert kept[: len(lines)] == lines and not list(folder.rglob(".*"))


def test_the_error_says_what_is_kept_and_how_to_go_on(good, tmp_path, full_after) -> None:
    full_after(4)
    with pytest.raises(RunError) as caught:
        clipzoo.run(good, seed=3, out=tmp_path)
    text = caught.value.message()
    assert "the disk is full" in text and "finished items are kept" in text
    assert f"clipzoo run {good} --resume {the_run(tmp_path, good)}" in text


def test_a_real_limit_of_the_kernel(good, tmp_path) -> None:
    code = (
        "import resource, sys, clipzoo\n"
        "from clipzoo.errors import ClipzooError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        f"try: clipzoo.run('{good}', seed=3, count=100, word='x' * 20, out={str(tmp_path)!r})\n"
        "except ClipzooError as error: print(error.message()); sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr[-2000:]
    assert "the disk is full" in done.stdout and "finished items are kept" in done.stdout
    folder = the_run(tmp_path, good)
    assert 0 < list_runs(tmp_path)[0].items < 100
    assert clipzoo.run(good, resume=folder).metrics["count"] == 100


def test_a_folder_that_cannot_be_made(good, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be made"):
        clipzoo.run(good, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_folder_that_has_become_read_only(good, tmp_path, monkeypatch) -> None:
    with pytest.raises(RunError):
        clipzoo.run(good, seed=3, stop_at=2, out=tmp_path)
    folder = the_run(tmp_path, good)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    opened = Path.open

    def refused(path, mode="r", *arguments, **options):
        if path.is_relative_to(folder) and set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UsageError, match="cannot be written: Read-only"):
        clipzoo.run(good, resume=folder)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_disk_that_becomes_read_only_on_the_way(good, tmp_path, monkeypatch) -> None:
    append = runs._Items.append
    places = iter(range(100))

    def refused(self, key, fields):
        if next(places) == 3:
            raise OSError(errno.EROFS, "Read-only file system", str(self.path))
        append(self, key, fields)

    monkeypatch.setattr(runs._Items, "append", refused)
    with pytest.raises(RunError, match=r"items.jsonl cannot be written: Read-only") as caught:
        clipzoo.run(good, seed=3, out=tmp_path)
    assert "3 finished items are kept" in caught.value.message()
    assert clipzoo.run(good, resume=the_run(tmp_path, good)).metrics == {"total": 30.0, "count": 5}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permissions_of_the_file_system(good, tmp_path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot be made"):
        clipzoo.run(good, out=tmp_path / "closed")


def test_a_report_that_was_not_written_is_made_up_for(good, tmp_path) -> None:
    first = clipzoo.run(good, out=tmp_path)
    (first.folder / "report.html").unlink()
    (first.folder / ".lock").write_text("1")  # left by a process that was killed at its very end
    again = clipzoo.run(good, resume=first.folder)
    assert again.metrics == first.metrics and (first.folder / "report.html").exists()
    assert not list(first.folder.glob(".*"))


def test_a_damaged_result_is_told(good, tmp_path) -> None:
    from clipzoo.errors import DataError

    first = clipzoo.run(good, out=tmp_path)
    (first.folder / "metrics.json").write_text('{"metrics": ')
    with pytest.raises(DataError, match="cannot be read") as caught:
        clipzoo.run(good, resume=first.folder)
    assert "delete" in caught.value.message()
