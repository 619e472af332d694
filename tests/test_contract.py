"""The contract suite finds what it promises to find."""

import pytest
import torch  # noqa: F401  what the inner runs import must outlive them: torch starts once a process

import clipzoo.encoders  # noqa: F401
from clipzoo.errors import ConfigError
from clipzoo.testing import contract

SOURCE = """
from dataclasses import dataclass
from clipzoo import Paper, Plugin, Settings, option

@dataclass(frozen=True)
class OwnSettings(Settings):
    count: int = option(4, help="how many items")

PLUGIN = Plugin(
    name="{name}", summary="a plugin", settings=OwnSettings, run="{module}_run:run",
    paper=Paper(title="T", authors="A", year=2026, url="https://example.org"),
)
"""
GOOD = """
from clipzoo import Result
from clipzoo.errors import DataError

def run(settings, context):
    if settings.data:
        raise DataError(f"no data at {settings.data}")
    for place in range(settings.count):
        if str(place) not in context.items():
            context.record(str(place), value=place * 0.5)
    return Result({"total": sum(item["value"] for item in context.items().values())})
"""
BODY = "    for place"
SINS = {
    "test_it_prints_nothing": GOOD.replace(BODY, "    print('hello')\n" + BODY),
    "test_it_leaves_global_state_alone": GOOD.replace(BODY, "    import torch; torch.manual_seed(3)\n" + BODY),
    "test_the_same_seed_gives_the_same_result": GOOD.replace("place * 0.5", "__import__('time').time()"),
    "test_batch_equals_single": GOOD.replace("place * 0.5", "place / settings.batch_size"),
    "test_it_writes_under_its_run_folder_only": GOOD.replace(BODY, "    open('left.txt', 'w').close()\n" + BODY),
    "test_a_run_gives_numbers_and_a_report": GOOD.replace('{"total"', '{"bad": float("nan"), "total"'),
    "test_missing_data_is_a_clear_error": GOOD.replace("if settings.data", "if False"),
    "test_it_makes_no_connection": GOOD.replace(
        BODY,
        "    import socket\n    try: socket.create_connection(('127.0.0.1', 9), 0.1)\n    except OSError: pass\n"
        + BODY,
    ),
    "test_the_encoder_stays_frozen": GOOD.replace(BODY, "    context.clip.requires_grad_(True)\n" + BODY),
    "test_interrupted_and_resumed_equals_uninterrupted": GOOD.replace(
        "sum(item", "len(context.items()) - (settings.count - len([1 for _ in [0]])) + sum(item"
    )
    .replace("if str(place) not in context.items():", "if True:")
    .replace("value=place * 0.5", "value=place * 0.5 + (str(place) in context.items())"),
}
WRITTEN = """
from clipzoo.testing import contract
TestContract = contract("{name}")
"""


def judge(pytester: pytest.Pytester, install, name: str, run: str, *options: str) -> pytest.RunResult:
    install(name, SOURCE, run=run)
    pytester.makepyfile(test_it=WRITTEN.replace("{name}", name))
    pytester.makeini("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    return pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *options)


def test_a_good_plugin_passes(pytester, install) -> None:
    found = judge(pytester, install, "good", GOOD).parseoutcomes()
    assert found.get("failed", 0) == 0 and found.get("errors", 0) == 0 and found["passed"] >= 15


@pytest.mark.parametrize("rule", SINS)
def test_a_broken_rule_is_named(pytester, install, rule) -> None:
    result = judge(pytester, install, "bad", SINS[rule], "-k", rule)
    result.stdout.fnmatch_lines([f"FAILED *::{rule}*"])


def test_expected_failures_need_a_rule_and_a_reason() -> None:
    with pytest.raises(ConfigError, match="test_nonsense"):
        contract("zeroshot", expected_failures={"test_nonsense": "because"})
    with pytest.raises(ConfigError):
        contract("zeroshot", expected_failures={"test_batch_equals_single": " "})


def test_an_expected_failure_must_fail(pytester, install) -> None:
    install("good", SOURCE, run=GOOD)
    pytester.makepyfile(
        test_it="from clipzoo.testing import contract\n"
        'TestContract = contract("good", expected_failures={"test_it_prints_nothing": "it speaks"})\n'
    )
    pytester.makeini("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "prints")
    result.stdout.fnmatch_lines(["*test_it_prints_nothing*"])
    assert result.parseoutcomes()["failed"] == 1
