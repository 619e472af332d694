"""Training on several processes: ``torchrun --nproc-per-node 4 -m clipzoo_train data=captions.csv train_batch=256``.

The first process makes the run as ``clipzoo run train`` does; the others compute with it and write nothing.
``resume=FOLDER`` goes on with a run.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from clipzoo.config import Composed, compose
from clipzoo.errors import ClipzooError
from clipzoo.plugin import Artifact
from clipzoo_train.plugin import TRAIN
from clipzoo_train.processes import told_by_first
from clipzoo_train.run import run


def main(arguments: Sequence[str]) -> int:
    """Join the processes, train, and return the exit code."""
    given = [word.removeprefix("--") for word in arguments]
    resume = next((word.partition("=")[2] for word in given if word.startswith("resume=")), "")
    given = [word for word in given if not word.startswith("resume=")]
    try:
        composed = _composed(given, resume)
        device = _device(composed)
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        try:
            if composed.settings.train_batch % dist.get_world_size():  # type: ignore[attr-defined]
                from clipzoo.errors import ConfigError

                raise ConfigError(
                    f"train_batch={composed.settings.train_batch} on {dist.get_world_size()} processes",  # type: ignore[attr-defined]
                    expected="a multiple of their number",
                )
            if dist.get_rank():
                _follow(composed, device)
            else:
                _lead(composed, resume)
        finally:
            dist.destroy_process_group()
    except ClipzooError as error:
        sys.stderr.write(f"error: {error.message()}\n")
        return error.exit_code
    return 0


def _composed(given: Sequence[str], resume: str) -> Composed:
    if resume:
        from clipzoo.runs import load_config

        return compose(TRAIN, load_config(Path(resume))[1])
    return compose(TRAIN, list(given))


def _device(composed: Composed) -> str:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if composed.settings.device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(local)
        return f"cuda:{local}"
    return "cpu"


def _lead(composed: Composed, resume: str) -> None:
    from clipzoo.runs import execute

    told = execute(TRAIN, composed, resume=Path(resume) if resume else None, progress=False)
    for note in told.notes:
        sys.stdout.write(f"note: {note}\n")
    for name, value in told.metrics.items():
        sys.stdout.write(f"{name}  {value:.4g}\n")
    sys.stdout.write(f"report: {told.folder / 'report.html'}\n")


def _follow(composed: Composed, device: str) -> None:
    run(composed.settings, Follower(composed.settings, device))  # type: ignore[arg-type]


class Follower:
    """A :class:`clipzoo.Context` that computes and keeps nothing.

    Args:
        settings: of the run.
        device: of this process.
    """

    def __init__(self, settings: Any, device: str) -> None:
        """Keep the settings; the folder is the first process's, told at its first use."""
        self._settings = settings
        self.device = torch.device(device)
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The run folder of the first process, for its saved state."""
        if self._folder is None:
            self._folder = Path(told_by_first(""))
        return self._folder

    def dataset(self, kind: str, name: str | None = None, **options: Any) -> Any:
        """As in a run."""
        from clipzoo.data.registry import open_dataset

        return open_dataset(kind, self._settings.data if name is None else name, **options)

    def progress(self, items: Iterable[Any], *, total: int | None = None, label: str = "") -> Iterator[Any]:
        """The items."""
        yield from items

    def items(self) -> Mapping[str, Mapping[str, Any]]:
        """Nothing."""
        return {}

    def record(self, key: str, **fields: Any) -> None:
        """The first process records."""

    def failed(self, key: str, error: Exception) -> None:
        """The first process notes it."""

    def note(self, text: str) -> None:
        """The first process says it."""

    def save_bytes(self, name: str, content: bytes, caption: str = "") -> Artifact:
        """The first process writes."""
        return Artifact(name, caption)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
