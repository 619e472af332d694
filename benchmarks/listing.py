"""``clipzoo list`` and ``import clipzoo`` with 50 more plugins, nine of them hostile, beside an empty interpreter."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _rows import report
from _timing import in_turns

BENCH = {"full": [], "quick": ["--rounds", "5"], "timeout_s": 120, "quick_timeout_s": 60}

HOSTILE = {
    "missing": "import surely_not_installed",
    "misspelt": "def plugin(:",
    "exits": "raise SystemExit(3)",
    "raises": "raise ValueError",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "hangs": "while True: pass",
    "empty": "",
}
"""What their modules hold; two more claim one name."""


def install_fakes(site: Path, count: int) -> None:
    """Metadata and modules of ``count`` plugins in a folder for ``PYTHONPATH``."""
    names = [*HOSTILE, "twin", "twin", *(f"method-{number}" for number in range(count - len(HOSTILE) - 2))]
    for number, name in enumerate(names):
        module = f"fake_{number}"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        required = "Requires-Dist: surely-not-there>=2\n" if name == "missing" else "Requires-Dist: numpy>=1\n"
        told = f"Metadata-Version: 2.1\nName: fake-{number}\nVersion: 1.0\nSummary: a plugin\n{required}"
        (info / "METADATA").write_text(told)
        (info / "entry_points.txt").write_text(f"[clipzoo.plugins]\n{name} = {module}:PLUGIN\n")
        (site / f"{module}.py").write_text(HOSTILE.get(name, "PLUGIN = None"))


def main() -> None:
    """Time the three commands in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install_fakes(Path(folder), arguments.plugins)
        paths = [folder, str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

        def call(*words: str) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=True)

        listed = call("-m", "clipzoo", "list").stdout.decode()
        assert listed.count("clash") == 2 and "method-1 " in listed and "broken: needs surely-not-there" in listed
        times = in_turns(
            {
                "list": lambda: call("-m", "clipzoo", "list"),
                "import": lambda: call("-c", "import clipzoo"),
                "nothing": lambda: call("-c", "pass"),
            },
            arguments.rounds,
        )
    empty_s = statistics.median(times["nothing"])
    for name, job in (
        ("list", f"clipzoo list with {arguments.plugins} more plugins, {len(HOSTILE) + 2} hostile"),
        ("import", "python -c 'import clipzoo', interpreter included"),
    ):
        report(job, statistics.median(times[name]), floor="an empty interpreter", floor_s=empty_s)


if __name__ == "__main__":
    main()
