import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipzoo
from clipzoo.data.labelled_images import open_scenes
from clipzoo.errors import ConfigError, DataError
from clipzoo.plugin import find_plugin


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with splits and classes, made of the toy world."""
    for split, count in (("train", 4), ("test", 2)):
        data = open_scenes(None, split=split, per_class=count)
        for item in data.items[: 5 * count]:
            path = tmp_path / "photos" / split / data.classnames[item.label].replace(" ", "_") / f"{item.key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            item.read().save(path)
    return tmp_path / "photos"


def run(tmp_path, **settings):
    return clipzoo.run("zeroshot", out=str(tmp_path / "runs"), model="tiny-rn", device="cpu", **settings)


def test_zero_shot_on_the_toy_world(tmp_path) -> None:
    result = run(tmp_path, per_class=3)
    assert result.metrics["top1"] > 0.8 and result.metrics["images"] == 48
    assert result.metrics["top1_low"] <= result.metrics["top1"] <= result.metrics["top1_high"]
    names = {table.name for table in result.tables}
    assert {"heads", "classes", "confusion", "predictions"} <= names
    assert (result.folder / "artifacts" / "successes.png").is_file()
    stored = json.loads((result.folder / "metrics.json").read_text())
    assert "sentences alone" in stored["protocol"]["heads"]


def test_every_head_on_a_folder(tmp_path, photos) -> None:
    result = run(tmp_path, data=str(photos), head="all", shots=2)
    table = next(table for table in result.tables if table.name == "heads")
    scores = {row["head"]: row["top-1"] for row in table.rows}
    assert len(scores) == 7 and min(scores.values()) > 0.5
    shots = json.loads((result.folder / "artifacts" / "shots.json").read_text())
    assert len(shots["train"]) == 10 and not set(shots["train"]) & set(shots["validation"])
    assert all(key.startswith("train/") for key in shots["train"])
    again = run(tmp_path, data=str(photos), head="tip-adapter", shots_file=str(result.folder / "artifacts/shots.json"))
    assert again.metrics["top1"] == scores["tip-adapter"]


def test_the_head_asked_for_is_the_headline(tmp_path, photos) -> None:
    result = run(tmp_path, data=str(photos), head="knn", shots=2)
    assert next(iter(result.metrics)) == "top1" and "top1_zero-shot" in result.metrics


def test_a_broken_image_is_one_failure(tmp_path, photos) -> None:
    broken = next((photos / "test").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    result = run(tmp_path, data=str(photos))
    assert result.metrics["images"] == 9
    lines = [json.loads(line) for line in (result.folder / "items.jsonl").read_text().splitlines()]
    assert sum("error" in line["fields"] for line in lines) == 1


def test_no_readable_image_is_an_error(tmp_path) -> None:
    (tmp_path / "p" / "cat").mkdir(parents=True)
    (tmp_path / "p" / "cat" / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match="no image"):
        run(tmp_path, data=str(tmp_path / "p"))


def test_images_without_classes(tmp_path, photos) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, path in enumerate(sorted((photos / "test").rglob("*.png"))):
        path.rename(flat / f"{index}.png")
    with pytest.raises(DataError, match="names="):
        run(tmp_path, data=str(flat))
    result = run(tmp_path, data=str(flat), names=["red circle", "blue star"])
    rows = list(csv.DictReader((result.folder / "tables" / "predictions.csv").open()))
    assert len(rows) == 10 and {row["predicted"] for row in rows} <= {"red circle", "blue star"}
    assert "top1" not in result.metrics


def test_heads_do_not_learn_from_what_they_are_tested_on(tmp_path, photos) -> None:
    with pytest.raises(DataError, match="one split"):
        run(tmp_path, data=str(photos / "test"), head="knn")


def test_a_resumed_run_does_not_encode_again(tmp_path, monkeypatch) -> None:
    from clipzoo.encoders import FrozenCLIP

    whole = run(tmp_path, per_class=2, batch_size=8)
    calls = {"left": 2}
    original = FrozenCLIP.encode_image

    def stops(self, *args, **kwargs):
        if calls["left"] == 0:
            raise RuntimeError("power cut")
        calls["left"] -= 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(FrozenCLIP, "encode_image", stops)
    with pytest.raises(clipzoo.errors.RunError):
        run(tmp_path, per_class=2, batch_size=8)
    folder = max((tmp_path / "runs" / "zeroshot").iterdir(), key=lambda path: path.stat().st_mtime)
    calls["left"] = 2
    resumed = clipzoo.run("zeroshot", resume=folder)
    assert calls["left"] == 0, "two of the four batches were there already"
    assert resumed.metrics["top1"] == whole.metrics["top1"]


def test_templates(tmp_path) -> None:
    assert run(tmp_path, per_class=1, templates=["a drawing of a {}."]).metrics["top1"] > 0.3
    with pytest.raises(ConfigError, match="imagenet-80"):
        run(tmp_path, per_class=1, templates=["imagenet-8O"])


def test_the_sheet_shows_the_pictures() -> None:
    from clipzoo.images.sheets import captioned_sheet

    red = Image.new("RGB", (40, 20), (255, 0, 0))
    sheet = np.array(captioned_sheet([(red, "one"), (red, "a much longer caption than fits")], columns=2))
    assert sheet.shape[2] == 3 and ((sheet == (255, 0, 0)).all(-1)).sum() == 2 * 150 * 75
    with pytest.raises(DataError):
        captioned_sheet([])


def test_the_catalogue_tells_what_the_plugins_tell() -> None:
    from clipzoo.catalogue import SUMMARIES

    for name in ("zeroshot", "pointclip"):
        reference = find_plugin(name)
        assert reference.summary == SUMMARIES[name] == reference.load().summary
