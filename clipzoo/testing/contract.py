"""The contract of a plugin, one readable test a rule.

In the tests of a plugin::

    from clipzoo.testing import contract

    TestContract = contract("my-method", data="tiny-data", steps=3)

The settings should make a run of a second or two: it is run seven times. A rule that cannot hold is named with its
reason, and must then fail: ``contract("my-method", expected_failures={"test_batch_equals_single": "why"})``.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import socket
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError
from clipzoo.plugin import Plugin, Settings, find_plugin

if TYPE_CHECKING:
    from clipzoo.encoders import FrozenCLIP
    from clipzoo.runs import RunResult

_HEAVY = ("torch", "numpy", "hydra", "omegaconf", "PIL", "open_clip", "timm", "kornia", "matplotlib", "scipy")
_TIME = re.compile(r"(^|_)(s|ms|seconds|per_second)(_|$)")
"""Names of what is measured with a clock, and differs from run to run."""


def contract(
    plugin: str, /, *, expected_failures: Mapping[str, str] | None = None, **settings: Any
) -> type[PluginContract]:
    """The contract suite of an installed plugin, as a class for pytest to collect.

    Args:
        plugin: its name.
        expected_failures: rule to the reason why the plugin cannot keep it; such a rule must fail.
        **settings: of a small run; what is not given comes from the plugin's ``demo``.

    Raises:
        ConfigError: if an expected failure names no rule or gives no reason.

    >>> sorted(name for name in dir(contract("zeroshot")) if name.startswith("test_"))[0]
    'test_a_run_gives_numbers_and_a_report'
    """
    failures = dict(expected_failures or {})
    members: dict[str, Any] = {"plugin_name": plugin, "settings": settings}
    for rule, reason in failures.items():
        if not hasattr(PluginContract, rule) or not reason.strip():
            rules = ", ".join(name for name in dir(PluginContract) if name.startswith("test_"))
            raise ConfigError(f"expected failure {rule!r}: {reason!r}", expected=f"a reason for one of {rules}")
        members[rule] = pytest.mark.xfail(reason=reason, strict=True)(_copy(getattr(PluginContract, rule)))
    return type("TestContract", (PluginContract,), members)


def _copy(rule: Any) -> Any:
    # A mark is kept on the function: without a copy it would count for every plugin.
    return types.FunctionType(rule.__code__, rule.__globals__, rule.__name__, rule.__defaults__, rule.__closure__)


@dataclass
class Observed:
    """A run and what was seen of it.

    Attributes:
        result: what it returned.
        encoders: those that it loaded, each with a copy of its weights as loaded.
        connections: addresses that it tried to reach.
        stray: files it made outside its run folder.
        said: what it printed.
    """

    result: RunResult
    encoders: list[tuple[FrozenCLIP, dict[str, Any]]]
    connections: list[str]
    stray: list[Path]
    said: str


class PluginContract:
    """What every plugin keeps; :func:`contract` makes one for a plugin."""

    plugin_name: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}
    _observed: ClassVar[Observed]

    # Description

    def test_its_description_imports_nothing_heavy(self) -> None:
        """``clipzoo list`` and ``clipzoo info`` stay fast: settings, paper and recipes need no torch."""
        code = (
            "import sys, json, clipzoo\n"
            f"clipzoo.plugins()[{self.plugin_name!r}].load().settings()\n"
            f"print(json.dumps([name for name in {_HEAVY!r} if name in sys.modules]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == []

    def test_its_metadata_is_complete(self) -> None:
        """Name, one line of summary, the paper, and the licences of code, weights and data."""
        plugin = self.plugin
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", plugin.name), f'"{plugin.name}": lower case and hyphens'
        assert 0 < len(plugin.summary) <= 140 and "\n" not in plugin.summary, "one line of summary"
        paper = plugin.paper
        for name in ("title", "authors", "url", "code_licence", "weights_licence", "data_licence"):
            assert getattr(paper, name).strip(), f"the paper card lacks {name}"
        assert 1950 <= paper.year <= 2100 and paper.url.startswith("https://")

    def test_every_setting_has_a_default_and_help(self) -> None:
        """``clipzoo info`` explains each, and a run needs nothing but data."""
        plugin = self.plugin
        plugin.settings()
        for field in plugin.settings.__dataclass_fields__.values():
            text = field.metadata.get("help", "")
            assert text.strip(), f"{field.name} has no help: write it as option(default, help=...)"

    def test_settings_survive_the_run_folder(self) -> None:
        """What ``config.yaml`` holds is read back as the same settings."""
        from clipzoo.config import compose

        composed = compose(self.plugin, self.chosen)
        assert compose(self.plugin, composed.plain).settings == composed.settings

    def test_recipes_and_demo_are_valid(self) -> None:
        """Each recipe, and the demo, composes."""
        from clipzoo.config import compose, recipes

        compose(self.plugin, dict(self.plugin.demo))
        for name in recipes(self.plugin):
            compose(self.plugin, {"recipe": name})

    def test_an_unknown_setting_is_refused(self) -> None:
        """A slip of the keyboard is no silent default."""
        from clipzoo.config import compose

        with pytest.raises(ConfigError, match="modle"):
            compose(self.plugin, {"modle": "tiny"})

    # Runs

    @pytest.fixture
    def observed(self, tmp_path_factory: pytest.TempPathFactory) -> Observed:
        """One run of the class, watched; most rules are about it."""
        own = type(self)
        if "_observed" not in own.__dict__:
            own._observed = self.watch(tmp_path_factory.mktemp("observed"))
        return own._observed

    def test_a_run_gives_numbers_and_a_report(self, observed: Observed) -> None:
        """Finite metrics, a record, a page that opens from the disk."""
        result = observed.result
        assert result.metrics, "no metrics"
        for name, value in result.metrics.items():
            assert isinstance(value, int | float) and math.isfinite(value), f"{name} is {value}"
        for name in ("config.yaml", "run.json", "metrics.json", "report.html"):
            assert (result.folder / name).stat().st_size
        for artifact in result.artifacts:
            assert (result.folder / artifact.path).stat().st_size, f"{artifact.path} is missing"

    def test_the_same_seed_gives_the_same_result(self, observed: Observed, tmp_path: Path) -> None:
        """On one machine: the same numbers and the same items."""
        self.compare(observed.result, self.run(tmp_path), tolerance=0)

    def test_batch_equals_single(self, tmp_path: Path) -> None:
        """The batch size decides how fast, not what."""
        self.compare(self.run(tmp_path, batch_size=1), self.run(tmp_path, batch_size=7), tolerance=1e-3)

    def test_interrupted_and_resumed_equals_uninterrupted(
        self, observed: Observed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half of the items are done when the run is stopped; ``--resume`` gives what it would have given."""
        from clipzoo.runs import RunContext

        whole = observed.result
        allowed = sum(1 for _ in self.items(whole)) // 2
        done = 0
        record = RunContext.record

        def interrupting(context: RunContext, key: str, **fields: Any) -> None:
            nonlocal done
            if done == allowed:
                raise KeyboardInterrupt
            done += 1
            record(context, key, **fields)

        out = tmp_path / "interrupted"
        with monkeypatch.context() as patch:
            patch.setattr(RunContext, "record", interrupting)
            try:
                folder = self.run(tmp_path, out=str(out)).folder
            except KeyboardInterrupt:
                folder = next(out.rglob("run.json")).parent
                assert not (folder / "metrics.json").exists(), "metrics.json means complete"
        again = clipzoo.run(self.plugin_name, resume=folder)
        self.compare(whole, again, tolerance=1e-5)

    def test_the_encoder_stays_frozen(self, observed: Observed) -> None:
        """After the run its weights are what they were, and have no gradients."""
        import torch

        for clip, before in observed.encoders:
            assert all(torch.equal(value, before[name]) for name, value in clip.state_dict().items())
            assert not any(parameter.requires_grad for parameter in clip.parameters())
            assert all(parameter.grad is None for parameter in clip.parameters())
            assert not clip.training

    def test_it_writes_under_its_run_folder_only(self, observed: Observed) -> None:
        """Nothing appears in the working folder, nor beside the run."""
        assert observed.stray == []

    def test_it_prints_nothing(self, observed: Observed) -> None:
        """It speaks through its context: notes, progress, tables."""
        assert observed.said == ""

    def test_it_makes_no_connection(self, observed: Observed) -> None:
        """With a bundled encoder and generated data, nothing is asked of the network."""
        assert observed.connections == []

    def test_it_leaves_global_state_alone(self, observed: Observed, tmp_path: Path) -> None:
        """Seeds, types, folder, threads and environment are the caller's."""
        # After the first run, for what an import changes is not the plugin's doing; and from a state of the generators
        # in which a plugin that seeds them does not leave them.
        _draw()
        before = _global_state()
        self.run(tmp_path)
        after = _global_state()
        assert {name for name in before if before[name] != after[name]} == set()

    def test_missing_data_is_a_clear_error(self, tmp_path: Path) -> None:
        """A path that does not exist is named, and exits as bad data or bad use, with no traceback."""
        missing = tmp_path / "no-such-data"
        for field in ("data", "input"):
            if field in self.plugin.settings.__dataclass_fields__:
                with pytest.raises(ClipzooError, match="no-such-data"):
                    self.run(tmp_path, without=("data", "input"), **{field: str(missing)})

    def test_an_empty_folder_is_a_clear_error(self, tmp_path: Path) -> None:
        """A folder without a single usable file is named."""
        empty = tmp_path / "nothing-here"
        empty.mkdir()
        for field in ("data", "input"):
            if field in self.plugin.settings.__dataclass_fields__:
                with pytest.raises(ClipzooError, match="nothing-here"):
                    self.run(tmp_path, without=("data", "input"), **{field: str(empty)})

    @pytest.mark.gpu
    def test_cpu_and_cuda_agree(self, tmp_path: Path) -> None:
        """The same metrics on both, but for rounding."""
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        slow, fast = self.run(tmp_path, device="cpu"), self.run(tmp_path, device="cuda")
        assert slow.metrics.keys() == fast.metrics.keys()
        for name, value in slow.metrics.items():
            assert fast.metrics[name] == pytest.approx(value, rel=0.02, abs=0.02), name

    # What the rules are written with

    @property
    def plugin(self) -> Plugin:
        """The plugin, loaded."""
        return find_plugin(self.plugin_name).load()

    @property
    def chosen(self) -> dict[str, Any]:
        """Settings of the small run."""
        return {**self.plugin.demo, **self.settings}

    def run(self, tmp_path: Path, *, without: tuple[str, ...] = (), **changes: Any) -> RunResult:
        """The small run, in ``tmp_path``; ``without`` names settings that stay at their defaults."""
        small = {name: value for name, value in self.chosen.items() if name not in without}
        settings = {"out": str(tmp_path / "runs"), **small, **changes}
        known = set(Settings.__dataclass_fields__) | set(self.plugin.settings.__dataclass_fields__)
        return clipzoo.run(self.plugin_name, **{name: value for name, value in settings.items() if name in known})

    def watch(self, folder: Path) -> Observed:
        """The small run in an empty working folder, without a network, with its encoders and its words noted."""
        import clipzoo.encoders

        encoders: list[tuple[FrozenCLIP, dict[str, Any]]] = []
        connections: list[str] = []
        load = clipzoo.encoders.load_clip

        def watched(*args: Any, **kwargs: Any) -> FrozenCLIP:
            clip = load(*args, **kwargs)
            encoders.append((clip, {name: value.clone() for name, value in clip.state_dict().items()}))
            return clip

        def refuse(own: socket.socket, address: Any) -> None:
            if own.family != getattr(socket, "AF_UNIX", None):
                connections.append(str(address))
            raise OSError("no network in this test")

        work = folder / "work"
        work.mkdir()
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clipzoo.encoders, "load_clip", watched)
            patch.setattr(socket.socket, "connect", refuse)
            patch.chdir(work)
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                result = self.run(folder)
        made = [path for path in folder.rglob("*") if path.is_file()]
        stray = [path for path in made if not path.is_relative_to(result.folder)]
        return Observed(result, encoders, connections, stray, said.getvalue())

    @staticmethod
    def items(result: RunResult) -> Iterator[tuple[str, dict[str, Any]]]:
        """Recorded items, key and fields."""
        path = result.folder / "items.jsonl"
        if path.exists():
            found = {(entry := json.loads(line))["key"]: entry["fields"] for line in path.read_text().splitlines()}
            yield from found.items()

    def compare(self, first: RunResult, second: RunResult, tolerance: float) -> None:
        """Metrics, items and artifacts of two runs are the same; numbers within ``tolerance``."""
        assert first.metrics.keys() == second.metrics.keys()
        for name, value in first.metrics.items():
            if not _TIME.search(name):
                _same(name, value, second.metrics[name], tolerance)
        ours, theirs = dict(self.items(first)), dict(self.items(second))
        assert ours.keys() == theirs.keys()
        for key, fields in ours.items():
            assert fields.keys() == theirs[key].keys(), key
            for name, value in fields.items():
                if not _TIME.search(name):
                    _same(f"{key}: {name}", value, theirs[key][name], tolerance)
        assert {a.path for a in first.artifacts} == {a.path for a in second.artifacts}


def _same(name: str, first: Any, second: Any, tolerance: float) -> None:
    """Equal, numbers within a tolerance; what is nested is compared part by part."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        assert first.keys() == second.keys(), name
        for key in first:
            _same(f"{name}.{key}", first[key], second[key], tolerance)
    elif isinstance(first, list) and isinstance(second, list):
        assert len(first) == len(second), name
        for place, (one, two) in enumerate(zip(first, second, strict=True)):
            _same(f"{name}[{place}]", one, two, tolerance)
    elif isinstance(first, float) or isinstance(second, float):
        assert second == pytest.approx(first, rel=tolerance, abs=tolerance), name
    else:
        assert first == second, name


def _draw() -> None:
    import random

    import numpy as np
    import torch

    torch.rand(1)
    np.random.rand()
    random.random()


def _global_state() -> dict[str, Any]:
    import logging
    import random

    import numpy as np
    import torch

    return {
        "torch seed": torch.get_rng_state().tolist(),
        "numpy seed": repr(np.random.get_state()),
        "python seed": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "matmul precision": torch.get_float32_matmul_precision(),
        "working folder": Path.cwd(),
        "environment": dict(os.environ),
        "log level": logging.getLogger().level,
        "log handlers": list(map(repr, logging.getLogger().handlers)),
    }
