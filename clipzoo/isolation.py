"""Work in a process of its own, told line by line: what crashes or hangs there is seen, and harms nothing here."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_STARTING_S = 60.0  # what a busy machine may take to start the interpreter, beside the silence that is allowed
_LAST_WORDS_S = 0.3  # a process that has ended may have left lines in the pipe
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from importlib import import_module; "
    "from clipzoo.isolation import reporter; "
    "getattr(import_module(sys.argv[3]), sys.argv[4])(reporter(int(sys.argv[2])), *json.loads(sys.argv[5]))"
)

Report = Callable[[Mapping[str, Any]], None]


class Isolated:
    """A function in a process of its own, and the reports that it makes.

    Args:
        target: ``"package.module:function"``, called with a function that takes a report (a dict of plain values), and
            with ``arguments``.
        arguments: plain values.
        silence_s: how long the process may be silent before it counts as hanging, s; a minute more until its first
            report.
        folder: its working folder.
        environment: variables, beside those of this process.

    Attributes:
        ending: once the reports are over: why the process did not end well, or an empty text.
    """

    def __init__(
        self,
        target: str,
        arguments: Sequence[Any],
        *,
        silence_s: float,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process."""
        self.ending = ""
        self._silence_s = silence_s
        self._pipe, writing = os.pipe()
        module, _, function = target.partition(":")
        paths = [str(Path(path).absolute()) for path in sys.path]
        values = [json.dumps(paths), str(writing), module, function, json.dumps(list(arguments))]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *values],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        os.close(writing)

    def reports(self) -> Iterator[dict[str, Any]]:
        """Each report as it comes; at the end nothing of the process is left."""
        try:
            yield from self._lines()
        finally:
            self._end()

    def _lines(self) -> Iterator[dict[str, Any]]:
        rest, since = b"", time.monotonic() + _STARTING_S
        while True:
            ended = self._process.poll() is not None
            ready, _, _ = select.select([self._pipe], [], [], _LAST_WORDS_S)
            if ready:
                content = os.read(self._pipe, 1 << 16)
                *lines, rest = (rest + content).split(b"\n")
                for line in lines:
                    with suppress(ValueError):  # a plugin may have written into a pipe that is not its own
                        yield json.loads(line)
                if lines:
                    since = time.monotonic()
                if content:
                    continue
                with suppress(subprocess.TimeoutExpired):  # the pipe is closed: it ends, or hangs on its way out
                    self._process.wait(max(0.0, since + self._silence_s - time.monotonic()))
                ended = True
            if ended or time.monotonic() - since > self._silence_s:
                self.ending = _ending(self._process.poll(), self._silence_s)
                return

    def _end(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._pipe)


def reporter(descriptor: int) -> Report:
    """In the process: the function that sends a report."""
    os.set_inheritable(descriptor, False)

    def report(content: Mapping[str, Any]) -> None:
        os.write(descriptor, json.dumps(content).encode() + b"\n")

    return report


def _ending(code: int | None, silence_s: float) -> str:
    if code is None:
        return f"does not come back within {silence_s:g} s"
    if code < 0:
        return f"crashes the interpreter ({signal.Signals(-code).name})"
    return f"ends the process with exit code {code}" if code else ""
