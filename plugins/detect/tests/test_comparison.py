"""The table of all variants: its order, its figures, and what an interrupted call leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from clipzoo_detect import comparison
from clipzoo_detect.comparison import Comparison, Stage, compare, main, table

from clipzoo.errors import ConfigError

FIGURES = {"novel_AP50": 0.5, "base_AP50": 0.81234, "AP50": 0.7, "AP": 0.4}


class Recorded(Comparison):
    """Runs that take no time, and the order in which they were made."""

    def run(self, name: str, *words: str) -> Stage:
        self.out.mkdir(exist_ok=True)
        with (self.out / "order.txt").open("a") as file:
            file.write(json.dumps([name, *words]) + "\n")
        return Stage(self.out / name, FIGURES, 1.0, 2.0)


def order_of(folder: Path) -> dict[str, list[str]]:
    return {name: words for name, *words in map(json.loads, (folder / "order.txt").read_text().splitlines())}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_variant_begins_with_the_same_weights_and_comes_after_what_it_needs(tmp_path, processes):
    trained, measured = compare(Recorded(tmp_path / "x", start_steps=7), tuple(comparison.ROWS), processes)
    made = order_of(tmp_path / "x")
    names = list(made)
    assert set(measured) == set(comparison.ROWS)
    assert set(trained) == set(comparison.ROWS) - {"crops"} | {"start", "precompute"}
    assert "steps=7" in made["start"]
    weights = f"{tmp_path / 'x' / 'start' / 'vild.safetensors'}"
    assert f"weights={weights}" in made["precompute"]
    for variant in ("closed", "text", "image", "vild", "ensemble"):
        assert f"pretrained={weights}" in made[f"train-{variant}"]
        assert names.index("start") < names.index(f"train-{variant}") < names.index(f"test-{variant}")
    for variant in ("image", "vild", "ensemble"):
        assert names.index("precompute") < names.index(f"train-{variant}")


def test_the_table_has_the_order_of_the_paper():
    stage = Stage(Path("x"), FIGURES, 1.0, 2.0)
    text = table({"closed": stage, "vild": stage, "crops": stage}, {"vild": stage, "closed": stage}).splitlines()
    assert [line.split("|")[1].strip() for line in text[2:]] == [
        "CLIP on crops, not trained",
        "ViLD",
        "closed set, supervised",
    ]
    assert text[3] == "| ViLD | 50.0 | 81.2 | 70.0 | 40.0 | 2 |"


def test_runs_of_another_seed_are_not_taken_for_these(tmp_path):
    Comparison(tmp_path, seed=1, settings=("steps=5",)).keep()
    Comparison(tmp_path, seed=1, settings=("steps=5",)).keep()
    with pytest.raises(ConfigError, match="seed=1"):
        Comparison(tmp_path, seed=2, settings=("steps=5",)).keep()


@pytest.mark.parametrize("words", [["--variants", "text,vlid"], ["steps"]])
def test_what_is_no_variant_and_no_setting(words, tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "out"), *words])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_of_it_with_two_steps_and_again_from_what_is_there(tmp_path):
    words = ["--out", str(tmp_path), "--scenes", "4", "--start-steps", "2", "--processes", "2"]
    words += ["--variants", "text,ensemble,closed", "steps=2", "scenes=8"]
    first = CliRunner().invoke(main, words, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    assert "| ViLD-ensemble |" in (tmp_path / "table.md").read_text()
    (tmp_path / "test-closed" / "stage.json").unlink()
    (finished,) = tmp_path.glob("test-closed/vild/*/metrics.json")
    finished.unlink()  # stopped before its end
    before = (tmp_path / "train-text" / "stage.json").stat().st_mtime_ns
    again = CliRunner().invoke(main, words, catch_exceptions=False)
    assert again.exit_code == 0
    assert again.output.split("training")[0] == first.output.split("training")[0]
    assert (tmp_path / "train-text" / "stage.json").stat().st_mtime_ns == before
