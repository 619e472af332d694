"""Time until the command line answers, beside an interpreter that does nothing and one that imports torch.

uv run python benchmarks/startup.py [--rounds 9]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

import click
from _rows import report
from _timing import in_turns

BENCH = {"quick": ["--rounds", "3"], "quick_timeout_s": 40}
COMMANDS = {
    "an empty interpreter": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import clipzoo": ["-c", "import clipzoo"],
    "clipzoo list": ["-m", "clipzoo", "list"],
    "clipzoo info zeroshot": ["-m", "clipzoo", "info", "zeroshot"],
}


def run(words: list[str]) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, timeout=120)


@click.command()
@click.option("--rounds", default=9, show_default=True)
def main(rounds: int) -> None:
    """Measure whole processes in turns."""
    jobs = {name: lambda words=words: run(words) for name, words in COMMANDS.items()}
    spent = {name: statistics.median(times) for name, times in in_turns(jobs, rounds).items()}
    for name in ("import clipzoo", "clipzoo list", "clipzoo info zeroshot"):
        report(
            f"{name}, whole process",
            spent[name],
            peer="import torch",
            peer_s=spent["import torch"],
            floor="an empty interpreter",
            floor_s=spent["an empty interpreter"],
        )


if __name__ == "__main__":
    main()
