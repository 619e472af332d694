"""``kill -9`` at random moments: the folder can be read, and ``--resume`` gives what an uninterrupted run gave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("killing.py")


def killed(folder: Path, kills: int, *plugins: str, seed: int = 0) -> list[dict[str, Any]]:
    """What :mod:`killing` tells of each kill."""
    environment = {**os.environ, "CLIPZOO_CACHE": str(folder / "cache"), "CLIPZOO_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            sys.executable,
            str(PROGRAM),
            str(folder / "runs"),
            f"--kills={kills}",
            f"--seed={seed}",
            "--plugins",
            *plugins,
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_handful_of_kills(tmp_path: Path) -> None:
    told = killed(tmp_path, 6, "pointclip", "clipdraw")
    assert len(told) == 6 and all(kill["recovered"] for kill in told), told


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    told = killed(tmp_path, 50, "pointclip", "clipdraw", "zeroshot", "styleclip", "depthclip", "vild", "clip4clip")
    assert len({kill["plugin"] for kill in told}) >= 4
    assert sum(kill["recovered"] for kill in told) == 50, [kill for kill in told if not kill["recovered"]]
