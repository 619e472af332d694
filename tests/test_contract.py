"""The contract suite finds what it promises to find: each rule is broken by a plugin that breaks it alone."""

import numpy as np
import pytest
import torch  # what the inner runs import must outlive them: torch starts once a process

import clipzoo.encoders  # noqa: F401
from clipzoo.errors import ConfigError
from clipzoo.testing import contract
from clipzoo.testing.contract import RULES

SOURCE = """
from dataclasses import dataclass
from clipzoo import Paper, Plugin, Settings, option

@dataclass(frozen=True)
class OwnSettings(Settings):
    word: str = option("x", help="a word")

PLUGIN = Plugin(
    name="{name}", summary="a plugin", settings=OwnSettings, run="{module}_run:run",
    paper=Paper(title="T", authors="A", year=2026, url="https://example.org"), demo={"word": "y"},
)
"""
GOOD = """
from pathlib import Path
import numpy as np
from clipzoo import Result
from clipzoo.errors import DataError

def run(settings, context):
    resumed = bool(context.items())
    values = read(settings.data) if settings.data else drawn(context)
    for key, value in values:
        if key not in context.items():
            context.record(key, value=value * 0.5)
    return Result({"total": sum(item["value"] for item in context.items().values())})

def drawn(context):
    data = context.dataset("images", "scenes", per_class=1)
    return [(key, float(len(key))) for place, key in enumerate(data.keys)]

def read(data):
    path, values = Path(data), []
    if not path.exists():
        raise DataError(f"no data at {path}")
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise DataError(f"{path} holds no .npy")
    for file in files:
        try:
            array = np.load(file, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{file} cannot be read: {error}") from error
        if array.ndim != 2:
            raise DataError(f"{file} has the shape {array.shape}")
        if not np.isfinite(array).all():
            raise DataError(f"{file} is not finite")
        values.append((file.stem, float(array.mean())))
    return values
"""
FIRST = "    resumed = bool(context.items())\n"


def sin(*changes: tuple[str, str], first: str = "", source: tuple[str, str] = ("", "")) -> tuple[str, str]:
    """The good plugin's two files with parts exchanged, or with a line before all others of its run."""
    run = GOOD.replace(FIRST, FIRST + f"    {first}\n") if first else GOOD
    for old, new in changes:
        assert old in run
        run = run.replace(old, new)
    assert source[0] in SOURCE
    return (SOURCE.replace(*source) if source[0] else SOURCE), run


POST_INIT = """help="a word")

    def __post_init__(self):
        object.__setattr__(self, "word", self.word + "!")
"""
SINS = [
    ("its_description_imports_nothing_heavy", sin(source=("from dataclasses", "import numpy\nfrom dataclasses"))),
    ("its_metadata_is_complete", sin(source=('summary="a plugin"', 'summary="two\\nlines"'))),
    ("its_metadata_is_complete", sin(source=("https://", "http://"))),
    ("its_metadata_is_complete", sin(source=('org")', 'org", measured={"top-1": float("nan")})'))),
    ("every_setting_has_a_default_and_help", sin(source=('help="a word"', 'help=" "'))),
    ("settings_survive_the_run_folder", sin(source=('help="a word")\n', POST_INIT))),
    ("recipes_and_demo_are_valid", sin(source=('{"word"', '{"wrod"'))),
    ("a_run_gives_numbers_and_a_report", sin(('{"total"', '{"bad": float("nan"), "total"'))),
    ("a_run_gives_numbers_and_a_report", sin(("Result({", "Result({}) if not settings.data else Result({"))),
    ("the_same_seed_gives_the_same_result", sin(("value * 0.5", "value + __import__('time').time() % 1 * 1e-6"))),
    ("batch_equals_single", sin(("value * 0.5", "value / min(settings.batch_size, 2)"))),
    ("the_order_of_items_does_not_matter", sin(("float(len(key))", "float(place)"))),
    ("interrupted_and_resumed_equals_uninterrupted", sin(('{"total": ', '{"total": resumed + '))),
    ("the_encoder_stays_frozen", sin(first="context.clip.requires_grad_(True)")),
    ("it_writes_under_its_run_folder_only", sin(first="open('left.txt', 'w').close()")),
    (
        "it_writes_under_its_run_folder_only",
        sin(first="__import__('tempfile').mkstemp(dir=Path(settings.out).parents[1])"),
    ),
    ("it_prints_nothing", sin(first="print('hello')")),
    ("it_makes_no_connection", sin(first="import socket; socket.socket().connect_ex(('127.0.0.1', 9))")),
    (
        "it_makes_no_connection",
        sin(
            (
                "resumed = bool",
                "try: __import__('socket').getaddrinfo('localhost', 9)\n    except OSError: pass\n    resumed = bool",
            )
        ),
    ),
    ("it_leaves_global_state_alone", sin(first="import torch; torch.manual_seed(3)")),
    ("it_leaves_global_state_alone", sin(first="np.seterr(divide='ignore')")),
    ("missing_data_is_a_clear_error", sin(('DataError(f"no data at', 'OSError(f"no data at'))),
    ("an_empty_folder_is_a_clear_error", sin(('raise DataError(f"{path} holds no .npy")', "return []"))),
    ("nonsense_files_are_a_clear_error", sin(("except (ValueError, OSError, EOFError)", "except ZeroDivisionError"))),
    ("not_a_number_is_a_clear_error", sin(("not np.isfinite(array).all()", "False"))),
    ("a_wrong_shape_is_a_clear_error", sin(("array.ndim != 2", "False"))),
]
NOT_HERE = {"test_cpu_and_cuda_agree"}  # breaking it needs a GPU
WRITTEN = """
from clipzoo.testing import contract
TestContract = contract("{name}")
"""


@pytest.fixture(autouse=True)
def own_state():
    """What a bad plugin leaves behind is put right."""
    seed, errors = torch.get_rng_state(), np.geterr()
    yield
    torch.set_rng_state(seed)
    np.seterr(**errors)


def judge(pytester: pytest.Pytester, install, name: str, files: tuple[str, str], *options: str) -> pytest.RunResult:
    install(name, files[0], run=files[1])
    pytester.makepyfile(test_it=WRITTEN.replace("{name}", name))
    pytester.makeini("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    return pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *options)


def test_a_good_plugin_passes(pytester, install) -> None:
    found = judge(pytester, install, "good", (SOURCE, GOOD)).parseoutcomes()
    assert found.get("failed", 0) == 0 and found.get("errors", 0) == 0
    assert found["passed"] + found.get("skipped", 0) == len(RULES) and found.get("skipped", 0) <= 1


def test_every_rule_is_broken_below() -> None:
    assert {f"test_{rule}" for rule, _ in SINS} == RULES.keys() - NOT_HERE


IDS = [f"{number}-{rule}" for number, (rule, _) in enumerate(SINS)]


@pytest.mark.parametrize(("rule", "files"), SINS, ids=IDS)
def test_a_broken_rule_is_named(pytester, install, rule, files) -> None:
    result = judge(pytester, install, "bad", files, "-k", rule)
    assert result.parseoutcomes()["failed"] == 1, result.outlines
    result.stdout.fnmatch_lines([f"FAILED *::test_{rule}*"])


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "files"), SINS, ids=IDS)
def test_and_no_other_rule_is(pytester, install, rule, files) -> None:
    result = judge(pytester, install, "bad", files)
    assert result.parseoutcomes()["failed"] == 1, result.outlines
    result.stdout.fnmatch_lines([f"FAILED *::test_{rule}*"])


def test_expected_failures_need_a_rule_and_a_reason() -> None:
    with pytest.raises(ConfigError, match="test_nonsense"):
        contract("zeroshot", expected_failures={"test_nonsense": "because"})
    with pytest.raises(ConfigError):
        contract("zeroshot", expected_failures={"test_batch_equals_single": " "})


@pytest.mark.parametrize(("speaks", "outcome"), [(True, "xfailed"), (False, "failed")])
def test_an_expected_failure_must_fail(pytester, install, speaks, outcome) -> None:
    source, run = sin(first="print('hello')") if speaks else (SOURCE, GOOD)
    install("good", source, run=run)
    pytester.makepyfile(
        test_it="from clipzoo.testing import contract\n"
        'TestContract = contract("good", expected_failures={"test_it_prints_nothing": "it speaks"})\n'
    )
    pytester.makeini("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "prints")
    assert result.parseoutcomes()[outcome] == 1
