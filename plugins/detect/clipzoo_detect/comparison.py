"""The paper's table on the toy world: ``python -m clipzoo_detect.comparison`` trains and measures every variant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clipzoo.errors import ClipzooError, ConfigError, RunError

ROWS = {
    "crops": "CLIP on crops, not trained",
    "text": "ViLD-text",
    "image": "ViLD-image",
    "vild": "ViLD",
    "ensemble": "ViLD-ensemble",
    "closed": "closed set, supervised",
}
"""Rows of the table, by variant."""


@dataclass(frozen=True)
class Stage:
    """A finished run.

    Attributes:
        folder: of the run.
        metrics: as it stored them.
        wall_s: from start to end.
        processor_s: time of its process on all cores.
    """

    folder: Path
    metrics: dict[str, float]
    wall_s: float
    processor_s: float


@dataclass(frozen=True)
class Comparison:
    """The runs behind the table; those that are finished in the folder are not made again.

    Args:
        out: folder of the runs.
        seed: of weights, order, training scenes and test scenes.
        scenes: of the test.
        start_steps: of the supervised training on base classes that all variants begin with, as those of the paper
            begin with a network that was trained with labels.
        settings: of every run, such as ``steps=50``, instead of those of the recipe.
    """

    out: Path
    seed: int = 0
    scenes: int = 300
    start_steps: int = 2500
    settings: tuple[str, ...] = ()

    def keep(self) -> None:
        """Write down what is compared, or see that the folder is that of the same comparison.

        Raises:
            ConfigError: if its runs have other settings.
        """
        own = {"seed": self.seed, "scenes": self.scenes, "start_steps": self.start_steps, "settings": [*self.settings]}
        path = self.out / "plan.json"
        if not path.exists():
            self.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(own), encoding="utf-8")
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored != own:
            other = ", ".join(f"{key}={stored.get(key)}" for key in own if stored.get(key) != own[key])
            raise ConfigError(f"the runs in {self.out} were made with {other}", hint="--out FOLDER, another one")

    def run(self, name: str, *words: str) -> Stage:
        """One ``clipzoo run vild recipe=toy``, in a process with one thread, into ``out/name``.

        Raises:
            RunError: if it fails.
        """
        folder, told = self.out / name, self.out / name / "stage.json"
        if told.exists():
            stored = json.loads(told.read_text(encoding="utf-8"))
            return Stage(**{**stored, "folder": Path(stored["folder"])})
        begun = sorted(folder.glob("vild/*/config.yaml"))
        command = [sys.executable, "-m", "clipzoo", "run", "vild"]
        if begun:
            command += ["--resume", str(begun[0].parent)]
        else:
            given = dict(word.split("=", 1) for word in (*self.settings, *words))
            given |= {"seed": str(self.seed), "out": str(folder)}
            command += ["recipe=toy", *(f"{key}={value}" for key, value in given.items())]
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with (folder / "log.txt").open("ab") as log:
            # One thread each: as many runs as cores are at work, and sums have the same order on every machine.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            last = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-300:]
            raise RunError(f"{name} ended with code {process.returncode}: {last}", hint=f"see {folder / 'log.txt'}")
        (done,) = folder.glob("vild/*/metrics.json")
        metrics = json.loads(done.read_text(encoding="utf-8"))["metrics"]
        wall, processor = round(time.perf_counter() - started, 1), round(used.ru_utime + used.ru_stime, 1)
        stored = {"folder": str(done.parent), "metrics": metrics, "wall_s": wall, "processor_s": processor}
        part = folder / ".stage.json.part"
        part.write_text(json.dumps(stored), encoding="utf-8")
        part.replace(told)
        return Stage(done.parent, metrics, wall, processor)

    def start(self) -> Stage:
        """Train a closed set on the base classes."""
        return self.run("start", "stage=train", "variant=closed", f"steps={self.start_steps}")

    def precompute(self, start: Stage) -> Stage:
        """Embed the proposals of a detector that knows base classes alone, as the paper does (section 3.3)."""
        words = ["stage=precompute", f"weights={_weights(start)}", f"embeddings={self.out / 'embeddings'}"]
        return self.run("precompute", *words)

    def train(self, variant: str, start: Stage) -> Stage:
        """Train a variant on the base classes, from the common start."""
        words = ["stage=train", f"variant={variant}", f"pretrained={_weights(start)}"]
        return self.run(f"train-{variant}", *words, f"embeddings={self.out / 'embeddings'}")

    def measure(self, variant: str, trained: Stage) -> Stage:
        """Find all classes in the test scenes."""
        return self.run(f"test-{variant}", "tier=2", f"weights={_weights(trained)}", f"scenes={self.scenes}")

    def measure_crops(self) -> Stage:
        """Tier 0 on the test scenes."""
        return self.run("test-crops", "tier=0", f"scenes={self.scenes}")


def compare(plan: Comparison, variants: Sequence[str], processes: int) -> tuple[dict[str, Stage], dict[str, Stage]]:
    """Train and measure these variants.

    Args:
        plan: what and where.
        variants: keys of :data:`ROWS`.
        processes: runs at the same time.

    Returns:
        What was computed before, the start and the embeddings among it, and what was measured, by name.
    """
    trained: dict[str, Stage] = {}
    measured: dict[str, Stage] = {}

    def begin() -> None:
        trained["start"] = plan.start()

    def embed(*before: Future) -> None:
        _done(before)
        trained["precompute"] = plan.precompute(trained["start"])

    def learn(variant: str, *before: Future) -> None:
        _done(before)
        if variant != "crops":
            trained[variant] = plan.train(variant, trained["start"])
            measured[variant] = plan.measure(variant, trained[variant])
        else:
            measured[variant] = plan.measure_crops()

    needs = {"image", "vild", "ensemble"}
    with ThreadPoolExecutor(processes) as pool:
        # A run that needs another one comes behind it: no two wait for each other, however few places there are.
        work = [started := pool.submit(begin)]
        if "crops" in variants:
            work.append(pool.submit(learn, "crops"))
        work.append(embedded := pool.submit(embed, started))
        for variant in sorted(set(variants) - {"crops"}, key=lambda name: (name in needs, list(ROWS).index(name))):
            work.append(pool.submit(learn, variant, embedded if variant in needs else started))
        _done(work)
    return trained, measured


def _done(work: Sequence[Future]) -> None:
    for one in work:
        one.result()


def table(measured: dict[str, Stage], trained: dict[str, Stage]) -> str:
    """Rows in the order of the paper, as markdown."""
    lines = ["| | novel AP50 | base AP50 | all AP50 | AP | training, s of one core |", "|---|---|---|---|---|---|"]
    for name, title in ROWS.items():
        if name in measured:
            values = [f"{100 * measured[name].metrics[key]:.1f}" for key in ("novel_AP50", "base_AP50", "AP50", "AP")]
            time_s = f"{trained[name].processor_s:.0f}" if name in trained else ""
            lines.append(f"| {title} | {' | '.join(values)} | {time_s} |")
    return "\n".join(lines)


def _weights(trained: Stage) -> Path:
    return trained.folder / "vild.safetensors"


def _words(_context: Any, _option: Any, given: tuple[str, ...]) -> tuple[str, ...]:
    if any("=" not in word for word in given):
        raise click.BadParameter("settings are written name=value")
    return given


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/vild-comparison"), show_default=True)
@click.option("--seed", default=0, show_default=True, help="of weights, order and scenes")
@click.option("--scenes", default=300, show_default=True, help="of the test")
@click.option("--start-steps", default=2500, show_default=True, help="of the training that all variants begin with")
@click.option("--processes", default=os.cpu_count() or 1, show_default="cores", help="runs at the same time")
@click.option("--variants", default=",".join(ROWS), show_default=True)
@click.argument("settings", nargs=-1, callback=_words)
def main(
    out: Path, seed: int, scenes: int, start_steps: int, processes: int, variants: str, settings: tuple[str, ...]
) -> None:
    """Make the table of the paper on the toy world; SETTINGS such as steps=50 replace those of the recipe."""
    wanted = [name for name in variants.split(",") if name]
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(ROWS)}", param_hint="--variants")
    started = time.perf_counter()
    plan = Comparison(out.resolve(), seed, scenes, start_steps, settings)
    try:
        plan.keep()
        trained, measured = compare(plan, wanted, processes)
    except ClipzooError as error:
        raise click.ClickException(str(error)) from error
    took = time.perf_counter() - started
    text = table(measured, trained)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    click.echo(text)
    total = sum(stage.processor_s for stage in trained.values())
    click.echo(
        f"\nseed {seed}, {scenes} test scenes; of one core {trained['start'].processor_s:.0f} s for the start, "
        f"{trained['precompute'].processor_s:.0f} s for the embeddings, {total:.0f} s with all training; "
        f"this call took {took:.0f} s, {processes} runs at a time."
    )


if __name__ == "__main__":
    main()
