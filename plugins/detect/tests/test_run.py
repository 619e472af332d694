"""ViLD from an image to a report, as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clipzoo_detect.toy import toy_scenes
from PIL import Image

import clipzoo
from clipzoo.errors import ConfigError, DataError

# 63 sentences of each of 80 names take a large text tower minutes on a CPU.
PLAIN = {"templates": ["a photo of a {}."]}


@pytest.fixture
def street(tmp_path):
    folder = tmp_path / "street"
    folder.mkdir()
    for place, image in enumerate(toy_scenes(2).images):
        Image.fromarray(image.pixels).save(folder / f"{place}.png")
    return folder


def start(tmp_path, **settings):
    return clipzoo.run("vild", out=str(tmp_path / "runs"), **{"proposals": 12, "model": "tiny-rn", **settings})


def items_of(result):
    lines = (result.folder / "items.jsonl").read_text().splitlines()
    return {entry["key"]: entry["fields"] for entry in map(json.loads, lines)}


def test_an_image_and_names_give_boxes_and_a_picture(street, tmp_path):
    result = start(tmp_path, input=str(street / "0.png"), names=["red circle", "green house"])
    named = json.loads((result.folder / "artifacts" / "detections.json").read_text())
    assert set(named) == {"0.png"}
    assert set(named["0.png"][0]) == {"name", "score", "box"}
    assert (result.folder / "artifacts" / "boxes-0.png").read_bytes().startswith(b"\x89PNG")
    assert result.metrics["images"] == 1
    assert json.loads((result.folder / "artifacts" / "results.json").read_text())[0]["image_id"] == 1


def test_a_run_goes_on_and_a_bad_image_is_noted(street, tmp_path):
    (street / "9.png").write_bytes(b"no image")
    result = start(tmp_path, input=str(street), names=["red circle"], tier=1, dense_px=96)
    items = items_of(result)
    assert "error" in items["9.png"]
    assert result.metrics["images"] == 2
    log = result.folder / "items.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    (result.folder / "metrics.json").unlink()
    (street / "0.png").unlink()
    Image.new("RGB", (8, 8)).save(street / "0.png")  # done already: not looked at again
    again = clipzoo.run("vild", resume=result.folder)
    assert items_of(again)["0.png"] == items["0.png"]
    assert items_of(again)["1.png"]["found"] == items["1.png"]["found"]


def test_toy_scenes_are_measured_by_base_and_novel(tmp_path):
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    result = start(tmp_path, data="toy-detection", scenes=4, proposals=40)
    assert result.metrics["AP50"] > 0.3  # chance is near zero among 128 classes
    assert {"novel_AP50", "base_AP50", "AP", "recall_50"} <= set(result.metrics)
    rows = {table.name: table.rows for table in result.tables}["classes"]
    assert {row["kind"] for row in rows} == {"base", "novel"}
    assert (result.folder / "artifacts" / "precision-recall.png").exists()
    assert "tiny-rn" in (result.folder / "report.html").read_text()


def test_own_boxes(street, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"0.png": [[10, 10, 60, 60], [500, 500, 600, 600]], "1.png": []}))
    result = start(tmp_path, input=str(street), names=["red circle"], boxes=str(boxes))
    assert {key: len(item["found"]) for key, item in items_of(result).items()} == {"0.png": 1, "1.png": 0}
    assert any("no area" in note for note in result.notes)
    boxes.write_text(json.dumps({"0.png": [[1, 2, 3]]}))
    with pytest.raises(DataError, match="left, top"):
        start(tmp_path, input=str(street), names=["red circle"], boxes=str(boxes))


def test_names_from_a_file(street, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("red circle\n\ngreen house\n")
    result = start(tmp_path, input=str(street / "0.png"), names_file=str(names))
    assert {row["class"] for row in result.tables[0].rows} == {"red circle", "green house"}
    names.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"names\.txt"):
        start(tmp_path, input=str(street / "0.png"), names_file=str(names))


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"names": []}, DataError, "names="),
        ({"names": ["cat", "Cat"]}, DataError, "twice"),
        ({"names": ["cat"], "data": "coco"}, ConfigError, "both"),
        ({"names": ["cat"], "names_file": "x"}, ConfigError, "both"),
        ({"names": ["cat"], "stage": "train"}, DataError, "no boxes"),
        ({"names": ["cat"], "stage": "precompute"}, ConfigError, "embeddings=FOLDER"),
    ],
)
def test_what_cannot_be_run(street, tmp_path, settings, error, said):
    with pytest.raises(error, match=said):
        start(tmp_path, input=str(street), **settings)


def test_an_input_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="neither a file nor a folder"):
        start(tmp_path, input=str(tmp_path / "none.jpg"), names=["cat"])


def test_words_that_the_encoder_never_met_are_told(street, tmp_path):
    result = start(tmp_path, input=str(street / "0.png"), names=["traffic cone"])
    assert any("never met" in note for note in result.notes)


def test_the_plugin_is_described_without_torch():
    import subprocess
    import sys

    code = "import clipzoo_detect.plugin, clipzoo_detect.dataset_specs, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.data
def test_real_photos_run_from_end_to_end(real_data, tmp_path):
    result = start(tmp_path, data=str(real_data / "data" / "coco"), limit=2, proposals=20)
    assert result.metrics["images"] == 2
    assert 0 <= result.metrics["AP"] <= 1
    assert np.isfinite(result.metrics["recall_50"])


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("model", ["ViT-B-32/random", "RN50/random"])
def test_a_hundred_photos_with_an_encoder_of_full_size(real_data, tmp_path, model):
    """One pass of the encoder an image; what is stored is read by both tools, which agree."""
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    from clipzoo_detect import average_precision
    from clipzoo_detect.datasets import open_path
    from clipzoo_detect.detecting import _restored

    folder = real_data / "data" / "coco"
    result = start(tmp_path, data=str(folder), model=model, tier=1, proposals=300, backend="pycocotools", **PLAIN)
    assert result.metrics["images"] == 100
    assert result.metrics["detections_an_image"] == 100
    data = open_path(folder)
    found = {key: _restored(item["found"]) for key, item in items_of(result).items()}
    other = average_precision(data, found, limit=100, backend="faster-coco-eval").summary
    assert result.metrics["AP"] == pytest.approx(other["AP"], abs=1e-6)
    assert result.metrics["AP50"] == pytest.approx(other["AP50"], abs=1e-6)
    truth = coco.COCO(str(folder / "annotations" / "instances_val2017.json"))
    rows = truth.loadRes(str(result.folder / "artifacts" / "results.json")).getAnnIds()
    assert len(rows) == 100 * 100
    print(f"{model}: {result.metrics['seconds_an_image']} s an image, {result.metrics}")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("model", ["ViT-B-32/random", "RN50/random"])
def test_a_photo_in_six_hundred_crops_with_an_encoder_of_full_size(real_data, tmp_path, model):
    folder = str(real_data / "data" / "coco")
    result = start(tmp_path, data=folder, model=model, tier=0, proposals=300, limit=1, **PLAIN)
    assert result.metrics["images"] == 1
    assert len(next(iter(items_of(result).values()))["found"]) == 100
    print(f"{model}: {result.metrics['seconds_an_image']} s an image")
