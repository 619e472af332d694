"""DepthCLIP from files to a report, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError, DataError

METRICS = {"delta1", "delta2", "delta3", "abs_rel", "log10", "rmse_m", "abs_diff_m", "delta1_constant", "images"}


def start(out: Path, **settings):
    return clipzoo.run("depthclip", out=str(out), **{"files": 1, "steps": 5, **settings})


def items_of(result) -> dict[str, dict]:
    lines = (result.folder / "items.jsonl").read_text().splitlines()
    return {entry["key"]: entry["fields"] for entry in map(json.loads, lines)}


def stored(result) -> dict:
    return json.loads((result.folder / "metrics.json").read_text())


def table(result, name: str) -> list[dict]:
    return next(list(part.rows) for part in result.tables if part.name == name)


def test_rooms_give_a_report(tmp_path):
    result = start(tmp_path, rooms=3, batch_size=2, compare=True)
    assert METRICS <= set(result.metrics) and result.metrics["images"] == 3
    items = items_of(result)
    main = "zero-shot, attnpool"
    assert set(items["room-000"]["metrics"]) == {main, "zero-shot, even_channels"}
    for name, key in (("delta1", "a1"), ("rmse_m", "rmse"), ("log10", "log10")):
        mean = np.mean([item["metrics"][main][key] for item in items.values()])
        assert result.metrics[name] == pytest.approx(mean)
    rows = {row["method"]: row for row in table(result, "methods")}
    assert len(rows) == 3 and rows[main]["delta1"] == pytest.approx(result.metrics["delta1"], abs=1e-4)
    assert any(name.startswith("best constant") for name in rows)
    assert list(rows[main]) == ["method", "delta1", "delta2", "delta3", "AbsRel", "log10", "RMSE (m)"]
    assert sum(row["share of the pixels shown"] for row in table(result, "bins")) == pytest.approx(1, abs=1e-3)
    assert "sheet.png" in (result.folder / "report.html").read_text()
    protocol = stored(result)["protocol"]
    assert "whole" in protocol["metrics"] and protocol["selection"] == "nothing was learned"
    assert protocol["size for the encoder"].startswith("128 x 160")


def test_files_of_an_image_agree(tmp_path):
    result = start(tmp_path, rooms=2)
    folder = result.folder / "depth"
    assert {path.name for path in folder.iterdir()} == {
        f"room-000.{suffix}" for suffix in ("depth.png", "depth.npy", "colour.png", "bins.png", "ply")
    }
    depth = np.load(folder / "room-000.depth.npy")
    assert depth.shape == (128, 160) and 1 <= depth.min() <= depth.max() <= 3
    millimetres = np.asarray(Image.open(folder / "room-000.depth.png"))
    assert millimetres.dtype == np.uint16
    np.testing.assert_allclose(millimetres / 1000, depth, atol=0.00051)
    header = (folder / "room-000.ply").read_bytes().split(b"end_header\n")[0].decode()
    assert f"element vertex {128 * 160}" in header


def test_the_best_constant_is_the_best(tmp_path):
    from clipzoo_depth.datasets import open_rooms

    result = start(tmp_path, rooms=2, files=0)
    depths = np.stack([item.read().depth for item in open_rooms(rooms=2).items])
    shares = [(np.maximum(depths / c, c / depths) < 1.25).mean() for c in np.geomspace(0.5, 6, 400)]
    assert result.metrics["delta1_constant"] == pytest.approx(max(shares), abs=0.01)


def test_learning_is_told(tmp_path):
    result = start(tmp_path, rooms=2, learn=["bins", "prompts"], shots=2, files=0)
    rows = [row["method"] for row in table(result, "methods")]
    assert rows[:3] == ["learned bins and prompts, attnpool", "learned bins, attnpool", "zero-shot, attnpool"]
    assert "2 images of the training split" in stored(result)["protocol"]["selection"]
    assert result.metrics["delta1_zero_shot"] == pytest.approx(float(table(result, "methods")[2]["delta1"]), abs=1e-4)
    depths = [float(row["learned bins, attnpool (m)"]) for row in table(result, "bins")]
    assert depths == sorted(depths) and depths != [
        float(row["zero-shot, attnpool (m)"]) for row in table(result, "bins")
    ]


def test_a_photo_needs_no_depth(tmp_path, write_photo, monkeypatch):
    write_photo(tmp_path / "photo.jpg", 100, 150)
    monkeypatch.chdir(tmp_path)
    result = start(tmp_path, input="photo.jpg")
    assert set(items_of(result)) == {"photo.jpg"}
    assert "delta1" not in result.metrics and 1 <= result.metrics["median_depth_m"] <= 3
    depth = np.load(result.folder / "depth" / "photo.jpg.depth.npy")
    assert depth.shape == (100, 150)
    assert "60 degrees" in stored(result)["protocol"]["intrinsics"]
    assert [artifact.path for artifact in result.artifacts] == ["artifacts/sheet.png"]


def test_large_photos_are_made_smaller_for_the_encoder_alone(tmp_path, write_photo):
    write_photo(tmp_path / "photo.png", 500, 620)
    result = start(tmp_path, input=str(tmp_path / "photo.png"))
    assert stored(result)["protocol"]["size for the encoder"].startswith("416 x 512 px")
    assert np.load(result.folder / "depth" / "photo.png.depth.npy").shape == (500, 620)


def test_a_folder_of_pairs_of_many_sizes(tmp_path, pair_folder, write_photo, write_depth):
    write_photo(pair_folder / "large_rgb.png", 70, 90)
    write_depth(pair_folder / "large_depth.png", np.full((70, 90), 2.0))
    result = start(tmp_path, data=str(pair_folder))
    assert result.metrics["images"] == 4 and len(items_of(result)) == 4
    assert "delta1_constant" in result.metrics


def test_bad_files_are_reported_and_the_rest_is_done(tmp_path, pair_folder, write_photo, write_depth):
    Image.fromarray(np.full((64, 96), 90, np.uint8)).save(pair_folder / "00_depth.png")
    write_photo(pair_folder / "alone_rgb.png")
    write_photo(pair_folder / "slim_rgb.png", 20, 96)
    write_depth(pair_folder / "slim_depth.png", np.full((20, 96), 2.0))
    write_photo(pair_folder / "dark_rgb.png")
    write_depth(pair_folder / "dark_depth.png", np.zeros((64, 96)))
    write_photo(pair_folder / "far_rgb.png")
    write_depth(pair_folder / "far_depth.png", np.full((64, 96), 30.0))
    result = start(tmp_path, data=str(pair_folder), batch_size=3)
    found = {key: item["error"] for key, item in items_of(result).items() if "error" in item}
    assert set(found) == {"00_rgb.png", "alone_rgb.png", "slim_rgb.png", "dark_rgb.png", "far_rgb.png"}
    assert "8-bit" in found["00_rgb.png"] and "no depth map" in found["alone_rgb.png"]
    assert "smaller than one cell" in found["slim_rgb.png"] and "no pixel" in found["dark_rgb.png"]
    assert "protocol" in found["far_rgb.png"]
    assert result.metrics["images"] == 2


def test_a_wrong_unit_stops_the_run_with_its_reason(tmp_path, pair_folder):
    with pytest.raises(DataError, match=r"median depth(.|\n)*unit"):
        start(tmp_path, data=str(pair_folder), unit="m")


def test_a_run_goes_on_where_it_was_stopped(tmp_path, pair_folder):
    whole = start(tmp_path, data=str(pair_folder), batch_size=1, files=0)
    log, items = whole.folder / "items.jsonl", items_of(whole)
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    (whole.folder / "metrics.json").unlink()
    again = clipzoo.run("depthclip", resume=whole.folder)
    assert items_of(again) == items
    for name in ("delta1", "rmse_m", "delta1_constant"):
        assert again.metrics[name] == pytest.approx(whole.metrics[name])


def test_published_protocol_on_frames_of_another_size(tmp_path, pair_folder):
    result = start(tmp_path, data=str(pair_folder), protocol="nyu-eigen", limit=1)
    protocol = stored(result)["protocol"]
    assert "480 x 640" in protocol["frame"] and protocol["size for the encoder"].startswith("416 x 544")
    assert np.load(next((result.folder / "depth").glob("*.npy"))).shape == (416, 544)


def test_numbers_and_words_of_your_own(tmp_path):
    result = start(tmp_path, rooms=1, bins=["1.5", "4"], prompts=["close", "far"], temperature=1.0, files=0)
    assert [row["word"] for row in table(result, "bins")] == ["close", "far"]
    assert "1.5, 4 m" in stored(result)["protocol"]["bins"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"bins": ["1", "2"]}, ConfigError, "7 prompts"),
        ({"bins": ["1", "near"]}, ConfigError, "depths in m"),
        ({"bins": ["3", "2", "1"]}, ConfigError, "does not ascend"),
        ({"template": "an object"}, ConfigError, "with {}"),
        ({"model": "tiny", "compare": True}, ConfigError, "no ResNet"),
        ({"split": "val"}, DataError, "test or train"),
        ({"split": "train", "learn": ["bins"]}, ConfigError, "split=train"),
        ({"data": "romms"}, ClipzooError, "rooms"),
        ({"learn": ["bin"]}, ConfigError, "bins"),
    ],
)
def test_bad_settings(tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        start(tmp_path, rooms=1, **settings)


def test_recipes_can_be_composed():
    from clipzoo_depth.plugin import DEPTHCLIP

    from clipzoo.config import compose, recipes

    for name in recipes(DEPTHCLIP):
        compose(DEPTHCLIP, [f"recipe={name}"])
    released = compose(DEPTHCLIP, ["recipe=depthclip-released"]).settings
    assert released.projection == "even_channels" and released.protocol == "nyu-eigen"


def test_the_description_is_light():
    import subprocess
    import sys

    code = "import sys, clipzoo_depth.plugin; assert not {'torch', 'numpy', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.data
def test_real_frames_run_through(real_data, tmp_path):
    """Real pairs of many sizes in the published protocol; a file without a scale is refused. The numbers mean nothing."""
    result = start(tmp_path, data=str(real_data), protocol="nyu-eigen", files=0)
    items = items_of(result)
    assert sum("metrics" in item for item in items.values()) >= 5
    assert "8-bit" in items["nyu_labeled_parkie_rgb.jpg"]["error"]


@pytest.mark.data
def test_real_lidar(real_data, tmp_path):
    from clipzoo_depth.datasets import open_path

    view = open_path(real_data / "kitti_000008").items[0].read()
    known = view.depth[view.depth > 0]
    assert len(known) == pytest.approx(17_000, rel=0.05) and 2.5 < known.min() and known.max() < 80
    result = start(tmp_path, data=str(real_data / "kitti_000008"), files=0)
    assert result.metrics["images"] == 1
