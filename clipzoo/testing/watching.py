"""What is seen of a run: encoders it loaded, addresses it asked for, files it made, words it said, state it changed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from clipzoo.encoders import FrozenCLIP
    from clipzoo.runs import RunResult


@dataclass
class Observed:
    """A run and what was seen of it.

    Attributes:
        result: what it returned.
        encoders: those that it loaded, each with a copy of its weights as loaded.
        connections: addresses that it tried to reach.
        stray: files it left outside its run folder and outside the caches.
        said: what it printed.
        changed: what of the process it changed, among what no import changes by itself.
    """

    result: RunResult
    encoders: list[tuple[FrozenCLIP, dict[str, Any]]]
    connections: list[str]
    stray: list[Path]
    said: str
    changed: list[str]


def watch(run: Callable[[Path], RunResult], folder: Path) -> Observed:
    """Call ``run(folder)`` in an empty working folder, without a network, and note what it does."""
    import clipzoo.encoders

    encoders: list[tuple[FrozenCLIP, dict[str, Any]]] = []
    load = clipzoo.encoders.load_clip

    def watched(*args: Any, **kwargs: Any) -> FrozenCLIP:
        clip = load(*args, **kwargs)
        encoders.append((clip, {name: value.clone() for name, value in clip.state_dict().items()}))
        return clip

    work = folder / "work"
    work.mkdir()
    said = io.StringIO()
    before = global_state()
    with pytest.MonkeyPatch.context() as patch, _no_network(patch) as connections, _writes() as written:
        patch.setattr(clipzoo.encoders, "load_clip", watched)
        patch.chdir(work)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            result = run(folder)
        after = global_state()
    made = {path for path in folder.rglob("*") if path.is_file()} | {path for path in written if path.exists()}
    stray = sorted(path for path in made if not path.is_relative_to(result.folder.resolve()) and not _is_cache(path))
    changed = [name for name in before if name not in _CHANGED_BY_IMPORTS and before[name] != after[name]]
    return Observed(result, encoders, connections, stray, said.getvalue(), changed)


@contextlib.contextmanager
def _no_network(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every address that is asked for is noted, and refused; names are not looked up either."""
    asked: list[str] = []

    def refuse(address: Any) -> NoReturn:
        asked.append(str(address))
        raise OSError("no network in this test")

    def connect(own: socket.socket, address: Any) -> NoReturn:
        if own.family == getattr(socket, "AF_UNIX", None):
            raise OSError("no sockets in this test")
        refuse(address)

    def connect_ex(own: socket.socket, address: Any) -> int:
        try:
            connect(own, address)
        except OSError:
            return errno.ENETUNREACH

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        patch.setattr(socket, name, lambda *parts, **_: refuse(parts))
    patch.setattr(socket.socket, "connect", connect)
    patch.setattr(socket.socket, "connect_ex", connect_ex)
    patch.setattr(socket.socket, "sendto", lambda own, *parts: connect(own, parts[-1]))
    yield asked


_written: list[Path] | None = None  # where files opened for writing are noted, while somebody watches
_hooked = False


@contextlib.contextmanager
def _writes() -> Iterator[list[Path]]:
    """Paths that Python code opens for writing or renames to, wherever they are."""
    global _written, _hooked
    if not _hooked:  # an audit hook cannot be taken away again
        sys.addaudithook(_note_write)
        _hooked = True
    _written = []
    try:
        yield _written
    finally:
        _written = None


def _note_write(event: str, arguments: tuple[Any, ...]) -> None:
    if _written is None or event not in ("open", "os.rename"):
        return
    path = arguments[0] if event == "open" else arguments[1]
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    if isinstance(path, str | bytes | os.PathLike):
        _written.append(Path(os.path.abspath(os.fsdecode(path))))  # noqa: PTH100  resolve() would open files itself


def _is_cache(path: Path) -> bool:
    """Whether a file can be made again: compiled modules, the caches of clipzoo and of libraries; or is no file."""
    from clipzoo.paths import cache_dir

    own = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    places = (cache_dir(), own, Path("/dev"), Path("/proc"))
    return "__pycache__" in path.parts or any(path.is_relative_to(place.resolve()) for place in places)


_CHANGED_BY_IMPORTS = (
    *("torch seed", "numpy seed", "python seed", "working folder"),  # the first three are looked at in a second run
    *("environment", "log level", "log handlers", "warnings", "module path", "recursion limit"),
)


def stir_generators() -> None:
    """Draw once from each generator: then a plugin that seeds one does not leave it as it found it."""
    import random

    import numpy as np
    import torch

    torch.rand(1)
    np.random.rand()
    random.random()


def global_state() -> dict[str, Any]:
    """What a run must leave as it is, by the name that an author knows."""
    import logging
    import random
    import signal
    import warnings

    import numpy as np
    import torch

    backends = torch.backends
    return {
        "torch seed": torch.get_rng_state().tolist(),
        "numpy seed": repr(np.random.get_state()),
        "python seed": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic),
        "tf32": (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32),
        "matmul precision": torch.get_float32_matmul_precision(),
        "numpy errors": np.geterr(),
        "working folder": Path.cwd(),
        "environment": dict(os.environ),
        "log level": logging.getLogger().level,
        "log handlers": list(map(repr, logging.getLogger().handlers)),
        "logging disabled": logging.root.manager.disable,
        "warnings": list(map(repr, warnings.filters)),
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "recursion limit": sys.getrecursionlimit(),
        "module path": list(sys.path),
    }
