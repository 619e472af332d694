"""The contract of a plugin, one readable test a rule.

In the tests of a plugin::

    from clipzoo.testing import contract

    TestContract = contract("my-method", data="tiny-data", steps=3)

The settings should make a run of a second or two: about ten are made. A rule that cannot hold is named with its
reason, and must then fail: ``contract("my-method", expected_failures={"test_batch_equals_single": "why"})``.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError
from clipzoo.plugin import Plugin, Settings, find_plugin
from clipzoo.testing.comparing import differences, recorded
from clipzoo.testing.hostile_files import write_nonsense, write_not_a_number, write_wrong_shape
from clipzoo.testing.watching import Observed, global_state, stir_generators, watch

if TYPE_CHECKING:
    from clipzoo.runs import RunResult

_HEAVY = ("torch", "numpy", "hydra", "omegaconf", "PIL", "open_clip", "timm", "kornia", "matplotlib", "scipy")
_BAD_DATA_OR_USE = (2, 4)
"""Exit codes of an error that tells the user what was wrong with what was given."""


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
        if rule not in RULES or not reason.strip():
            raise ConfigError(
                f"expected failure {rule!r}: {reason!r}", expected=f"a reason for one of {', '.join(RULES)}"
            )
        members[rule] = pytest.mark.xfail(reason=reason, strict=True)(_copy(getattr(PluginContract, rule)))
    return type("TestContract", (PluginContract,), members)


def _copy(rule: Any) -> Any:
    # A mark is kept on the function: without a copy it would count for every plugin.
    return types.FunctionType(rule.__code__, rule.__globals__, rule.__name__, rule.__defaults__, rule.__closure__)


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
        heavy = json.loads(done.stdout.splitlines()[-1])
        assert heavy == [], f"importing the description imports {', '.join(heavy)}: import them in the run's module"

    def test_its_metadata_is_complete(self) -> None:
        """Name, one line of summary, the paper, the licences of code, weights and data, numbers that are numbers."""
        plugin = self.plugin
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", plugin.name), f'"{plugin.name}": lower case and hyphens'
        assert 0 < len(plugin.summary) <= 140 and "\n" not in plugin.summary, "the summary is not one line"
        paper = plugin.paper
        for name in ("title", "authors", "url", "code_licence", "weights_licence", "data_licence"):
            assert getattr(paper, name).strip(), f"the paper card lacks {name}"
        assert 1950 <= paper.year <= 2100, f"the paper is of the year {paper.year}"
        assert paper.url.startswith("https://"), f"the paper's address is no https: {paper.url}"
        for title, numbers in (("published", paper.published), ("measured", paper.measured)):
            for name, value in numbers.items():
                told = value.strip() if isinstance(value, str) else math.isfinite(value)
                assert name.strip() and told, f"{title} number {name!r} is {value!r}"

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
        again = compose(self.plugin, composed.plain).settings
        assert again == composed.settings, f"{composed.settings} is read back as {again}"

    def test_recipes_and_demo_are_valid(self) -> None:
        """Each recipe, and the demo, composes."""
        from clipzoo.config import compose, recipes

        compose(self.plugin, dict(self.plugin.demo))
        for name in recipes(self.plugin):
            compose(self.plugin, {"recipe": name})

    # Runs

    @pytest.fixture
    def observed(self, tmp_path_factory: pytest.TempPathFactory) -> Observed:
        """One run of the class, watched; most rules are about it."""
        own = type(self)
        if "_observed" not in own.__dict__:
            own._observed = watch(self.run, tmp_path_factory.mktemp("observed"))
        return own._observed

    def test_a_run_gives_numbers_and_a_report(self, observed: Observed) -> None:
        """Finite metrics, a record, a page that opens from the disk."""
        result = observed.result
        assert result.metrics, "no metrics"
        for name, value in result.metrics.items():
            assert isinstance(value, int | float) and math.isfinite(value), f"the metric {name} is {value}"
        for name in ("config.yaml", "run.json", "metrics.json", "report.html"):
            assert (result.folder / name).stat().st_size, f"{name} is empty"
        for artifact in result.artifacts:
            path = result.folder / artifact.path
            assert path.is_file() and path.stat().st_size, f"{artifact.path} is missing, or empty"

    def test_the_same_seed_gives_the_same_result(self, observed: Observed, tmp_path: Path) -> None:
        """On one machine: the same numbers and the same items."""
        _assert_same(observed.result, self.run(tmp_path), tolerance=0)

    def test_batch_equals_single(self, tmp_path: Path) -> None:
        """The batch size decides how fast, not what."""
        _assert_same(self.run(tmp_path, batch_size=1), self.run(tmp_path, batch_size=7), tolerance=1e-3)

    def test_the_order_of_items_does_not_matter(
        self, observed: Observed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The dataset from its last item to its first gives each item, and the whole, the same numbers."""
        from clipzoo.runs import RunContext

        dataset, turned = RunContext.dataset, []

        def backwards(context: RunContext, *args: Any, **options: Any) -> Any:
            data = dataset(context, *args, **options)
            select = getattr(data, "subset", None) or getattr(data, "chosen", None)
            turned.append(select is not None)
            return data if select is None else select(range(len(data) - 1, -1, -1))

        with monkeypatch.context() as patch:
            patch.setattr(RunContext, "dataset", backwards)
            result = self.run(tmp_path)
        if not any(turned):
            pytest.skip("asks its context for no dataset that can be turned round (one with subset(indices))")
        _assert_same(observed.result, result, tolerance=1e-3)

    def test_interrupted_and_resumed_equals_uninterrupted(
        self, observed: Observed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half of the items are done when the run is stopped; ``--resume`` gives what it would have given."""
        from clipzoo.runs import RunContext

        whole = observed.result
        allowed = len(recorded(whole)) // 2
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
                assert not (folder / "metrics.json").exists(), "metrics.json means complete, and the run was stopped"
        again = clipzoo.run(self.plugin_name, resume=folder)
        _assert_same(whole, again, tolerance=1e-5)

    def test_the_encoder_stays_frozen(self, observed: Observed) -> None:
        """After the run its weights are what they were, and have no gradients."""
        import torch

        for clip, before in observed.encoders:
            moved = [name for name, value in clip.state_dict().items() if not torch.equal(value, before[name])]
            assert not moved, f"weights of the encoder have changed: {', '.join(moved[:3])}"
            trained = [name for name, value in clip.named_parameters() if value.requires_grad or value.grad is not None]
            assert not trained, f"weights of the encoder have gradients: {', '.join(trained[:3])}"
            assert not clip.training, "the encoder was left in training mode"

    def test_it_writes_under_its_run_folder_only(self, observed: Observed) -> None:
        """Nothing appears in the working folder, beside the run, or anywhere else but in caches."""
        assert observed.stray == [], f"left outside the run folder: {', '.join(map(str, observed.stray[:3]))}"

    def test_it_prints_nothing(self, observed: Observed) -> None:
        """It speaks through its context: notes, progress, tables."""
        assert observed.said == "", f"printed {observed.said[:120]!r}"

    def test_it_makes_no_connection(self, observed: Observed) -> None:
        """With a bundled encoder and generated data, nothing is asked of the network."""
        assert observed.connections == [], f"tried to reach {', '.join(observed.connections[:3])}"

    def test_it_leaves_global_state_alone(self, observed: Observed, tmp_path: Path) -> None:
        """Seeds, types, back ends, folder, logging and environment are the caller's."""
        assert not observed.changed, f"changed and not put back: {', '.join(observed.changed)}"
        # The rest after the first run, for what an import changes is not the plugin's doing.
        stir_generators()
        before = global_state()
        self.run(tmp_path)
        after = global_state()
        changed = [name for name in before if before[name] != after[name]]
        assert not changed, f"changed and not put back: {', '.join(changed)}"

    # What is given to it

    def test_missing_data_is_a_clear_error(self, tmp_path: Path) -> None:
        """A path that does not exist is named, as an error of the user's and not of the program."""
        self.refuses(tmp_path, "no-such-data", lambda folder: None)

    def test_an_empty_folder_is_a_clear_error(self, tmp_path: Path) -> None:
        """A folder without a single file is named."""
        self.refuses(tmp_path, "nothing-here", Path.mkdir)

    def test_nonsense_files_are_a_clear_error(self, tmp_path: Path) -> None:
        """Damaged files of every kind are named, or their folder is."""
        self.refuses(tmp_path, "nonsense", write_nonsense)

    def test_not_a_number_is_a_clear_error(self, tmp_path: Path) -> None:
        """Files of NaN are named, or their folder is: no metric is made of them."""
        self.refuses(tmp_path, "not-a-number", write_not_a_number)

    def test_a_wrong_shape_is_a_clear_error(self, tmp_path: Path) -> None:
        """Arrays that cannot be what they should be are named, or their folder is."""
        self.refuses(tmp_path, "wrong-shape", write_wrong_shape)

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
        """Settings of the small run: those of the demo that exist, and those given."""
        known = set(Settings.__dataclass_fields__) | set(self.plugin.settings.__dataclass_fields__)
        return {**{name: value for name, value in self.plugin.demo.items() if name in known}, **self.settings}

    def run(self, tmp_path: Path, *, without: tuple[str, ...] = (), **changes: Any) -> RunResult:
        """The small run, in ``tmp_path``; ``without`` names settings that stay at their defaults."""
        small = {name: value for name, value in self.chosen.items() if name not in without}
        return clipzoo.run(self.plugin_name, **{"out": str(tmp_path / "runs"), **small, **changes})

    def refuses(self, tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
        """The path ``name``, as ``write`` makes it, is refused by every setting that takes data from the user."""
        path = tmp_path / name
        write(path)
        for field in ("data", "input"):
            if field not in self.plugin.settings.__dataclass_fields__:
                continue
            try:
                result = self.run(tmp_path, without=("data", "input"), **{field: str(path)})
            except ClipzooError as error:
                clear = error.exit_code in _BAD_DATA_OR_USE and name in error.message()
                assert clear, f"{field}={name}: no DataError or UsageError that names it, but: {error.what}"
            else:
                pytest.fail(f"{field}={name} was taken, and gave {dict(result.metrics)}")


def _assert_same(first: RunResult, second: RunResult, tolerance: float) -> None:
    found = differences(first, second, tolerance)
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    assert not found, "; ".join(found[:3]) + more


RULES: dict[str, str] = {
    name: (rule.__doc__ or "").strip() for name, rule in vars(PluginContract).items() if name.startswith("test_")
}
"""Each rule and what it says."""
