"""Training with several processes: ``torchrun --nproc-per-node N -m clipzoo_detect recipe=lvis``."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Join the processes that torchrun has started, and train; the first one keeps the run folder.

    Args:
        arguments: settings of ``vild``, or ``--resume RUN``; default those of the command line.
    """
    import torch
    import torch.distributed as distributed

    from clipzoo.cli import main as clipzoo_main

    words = list(sys.argv[1:] if arguments is None else arguments)
    resumed = _resumed(words)
    if resumed is not None and (resumed / "metrics.json").exists():
        words, rank, world = ["run", "vild", *words], int(os.environ.get("RANK", "0")), 1
    else:
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        words = ["run", "vild", *words] if resumed is not None else ["run", "vild", *words, "stage=train"]
    if world > 1:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        distributed.init_process_group()
    try:
        if rank == 0:
            clipzoo_main(words)
        elif world > 1:
            _assist(words, resumed)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _resumed(words: Sequence[str]) -> Path | None:
    for place, word in enumerate(words):
        if word.startswith("--resume="):
            return Path(word.partition("=")[2]).expanduser()
        if word == "--resume" and place + 1 < len(words):
            return Path(words[place + 1]).expanduser()
    return None


def _assist(words: list[str], resumed: Path | None) -> None:
    """The work of all processes but the first, in a folder that nobody keeps."""
    from clipzoo.cli import main as clipzoo_main

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(None):
        if resumed is None:
            clipzoo_main([*words, f"out={scratch}"])
            return
        import clipzoo
        from clipzoo.runs import load_config

        _, settings = load_config(resumed)
        clipzoo.run("vild", **{**settings, "out": scratch})


if __name__ == "__main__":
    main()
