"""PointCLIP from a folder of clouds to a report, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError, DataError

CLASSES = ("chair", "sofa", "table")


def start(folder: Path, out: Path, **settings):
    return clipzoo.run("pointclip", data=str(folder), out=str(out), points=256, model="tiny", **settings)


def items_of(result) -> dict[str, dict]:
    lines = (result.folder / "items.jsonl").read_text().splitlines()
    return {entry["key"]: entry["fields"] for entry in map(json.loads, lines)}


def stored(result) -> dict:
    return json.loads((result.folder / "metrics.json").read_text())


@pytest.mark.parametrize("mode", ["v1", "v2", "both"])
def test_a_folder_of_clouds_gives_a_report(cloud_folder, tmp_path, mode):
    result = start(cloud_folder, tmp_path, mode=mode, batch_size=4)
    items = items_of(result)
    assert set(items) == {f"{name}/test/{name}_{row}.npy" for name in CLASSES for row in (0, 1)}
    assert {key: item["true"] for key, item in items.items()} == {key: key.partition("/")[0] for key in items}
    assert all(item["predicted"] == CLASSES[item["ranked"][0]] for item in items.values())
    right = np.mean([item["predicted"] == item["true"] for item in items.values()])
    assert result.metrics["top1"] == pytest.approx(right)
    assert result.metrics["clouds"] == 6
    assert ("top1_v1" in result.metrics) == (mode == "both")
    tables = {table.name: table.rows for table in result.tables}
    assert {"classes", "confusion", "predictions"} <= set(tables)
    assert sum(int(row["clouds"]) for row in tables["classes"]) == 6
    assert (result.folder / "artifacts" / "views.png").read_bytes().startswith(b"\x89PNG")
    report = next(result.folder.glob("*.html")).read_text()
    assert "views.png" in report or "data:image/png" in report
    protocol = stored(result)["protocol"]
    assert protocol["selection"] == "none"
    assert "tiny" in protocol["encoder"]


def test_the_same_run_twice_gives_the_same(cloud_folder, tmp_path):
    assert items_of(start(cloud_folder, tmp_path, mode="v2")) == items_of(start(cloud_folder, tmp_path, mode="v2"))


def test_bad_files_are_reported_and_the_rest_is_done(cloud_folder, tmp_path):
    broken = cloud_folder / "sofa" / "test" / "sofa_0.npy"
    broken.write_bytes(broken.read_bytes()[:100])
    np.save(cloud_folder / "chair" / "test" / "chair_x.npy", np.ones((1, 3), np.float32))
    result = start(cloud_folder, tmp_path, mode="v1", batch_size=2)
    items = items_of(result)
    failed = {key for key, item in items.items() if "error" in item}
    assert failed == {"sofa/test/sofa_0.npy", "chair/test/chair_x.npy"}
    assert str(broken) in items["sofa/test/sofa_0.npy"]["error"]
    assert "chair_x.npy" in items["chair/test/chair_x.npy"]["error"]
    assert result.metrics["clouds"] == len(items) - 2 == 5


@pytest.mark.parametrize("content", [np.ones((1, 3)), np.full((5, 3), np.nan), np.full((40, 3), 0.7)])
def test_a_run_without_one_good_cloud_is_an_error(tmp_path, content):
    path = tmp_path / "cloud.npy"
    np.save(path, content.astype(np.float32))
    with pytest.raises(DataError, match=r"cloud\.npy"):
        start(path, tmp_path / "runs", names=["chair", "table"])


def test_a_run_goes_on_where_it_was_stopped(cloud_folder, tmp_path):
    whole = start(cloud_folder, tmp_path, mode="v2", batch_size=2)
    items, log = items_of(whole), whole.folder / "items.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:4]))
    (whole.folder / "metrics.json").unlink()
    # What is done is not read again: the run must be complete without the first file.
    (cloud_folder / next(iter(items))).write_bytes(b"")
    again = clipzoo.run("pointclip", resume=whole.folder)
    found = items_of(again)
    assert set(found) == set(items)
    assert {key: item["ranked"] for key, item in found.items()} == {key: item["ranked"] for key, item in items.items()}
    assert again.metrics["top1"] == pytest.approx(whole.metrics["top1"])


def test_a_file_that_failed_is_tried_again(cloud_folder, tmp_path):
    broken = cloud_folder / "sofa" / "test" / "sofa_0.npy"
    content = broken.read_bytes()
    broken.write_bytes(b"")
    first = start(cloud_folder, tmp_path, mode="v1")
    assert first.metrics["clouds"] == 5
    broken.write_bytes(content)
    (first.folder / "metrics.json").unlink()
    again = clipzoo.run("pointclip", resume=first.folder)
    assert again.metrics["clouds"] == 6
    assert "error" not in items_of(again)["sofa/test/sofa_0.npy"]


def test_names_may_be_more_than_the_classes(cloud_folder, tmp_path):
    result = start(cloud_folder, tmp_path, mode="v2", names=["lamp", "table", "sofa", "chair"])
    assert {item["true"] for item in items_of(result).values()} == set(CLASSES)
    assert {item["label"] for item in items_of(result).values()} == {1, 2, 3}


def test_names_must_hold_the_classes(cloud_folder, tmp_path):
    with pytest.raises(DataError, match='"table"'):
        start(cloud_folder, tmp_path, names=["chair", "sofa", "tables"])


def test_a_single_cloud_without_label(cloud_folder, tmp_path):
    path = cloud_folder / "chair" / "test" / "chair_0.npy"
    result = start(path, tmp_path, mode="both", names=list(CLASSES))
    item = items_of(result)["chair_0.npy"]
    assert item["label"] is None
    assert item["predicted"] in CLASSES
    assert "top1" not in result.metrics
    assert (result.folder / "artifacts" / "views.png").exists()


def test_a_cloud_without_names_says_what_to_do(cloud_folder, tmp_path):
    with pytest.raises(DataError, match="names="):
        start(cloud_folder / "chair" / "test" / "chair_0.npy", tmp_path)


def test_the_adapter_is_trained_on_the_training_split(cloud_folder, tmp_path):
    result = start(cloud_folder, tmp_path, mode="v1", adapter=True, epochs=3, shots=2)
    protocol = stored(result)["protocol"]
    assert "adapter trained on 6 clouds" in protocol["selection"]
    assert "the best on 6 other training clouds" in protocol["selection"]
    assert "point cloud of a big {}." in protocol["prompts"]
    assert len(items_of(result)) == 6
    with pytest.raises(ConfigError, match="mode=v1"):
        start(cloud_folder, tmp_path, mode="v2", adapter=True, epochs=1)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("held-out", "searched on 6 training clouds"),
        ("agreement", "without labels"),
        ("official-protocol", "labels of the evaluated split"),
    ],
)
def test_the_report_says_how_view_weights_were_chosen(cloud_folder, tmp_path, weights, told):
    result = start(cloud_folder, tmp_path, mode="v1", weights=weights, shots=2)
    assert told in stored(result)["protocol"]["selection"]
    assert len(stored(result)["protocol"]["view weights"].split(",")) == 6


def test_the_published_search_says_that_it_saw_the_labels(cloud_folder, tmp_path):
    result = start(cloud_folder, tmp_path, mode="v1", weights="official-protocol")
    assert any("very labels" in note for note in result.notes)


def test_agreement_needs_no_labels_and_survives_a_bad_file(cloud_folder, tmp_path):
    flat = cloud_folder / "chair" / "test"
    (flat / "bad.xyz").write_text("")
    result = start(flat, tmp_path, mode="v1", weights="agreement", names=list(CLASSES))
    items = items_of(result)
    assert "error" in items["bad.xyz"]
    assert sum("error" not in item for item in items.values()) == 2


def test_searching_with_labels_needs_labels(cloud_folder, tmp_path):
    with pytest.raises(DataError, match="no labels"):
        start(
            cloud_folder / "chair" / "test",
            tmp_path,
            mode="v1",
            weights="official-protocol",
            names=list(CLASSES),
        )


def test_a_training_split_with_other_classes_is_not_mixed_up(cloud_folder, tmp_path, monkeypatch):
    from clipzoo_points import evaluation

    shutil.rmtree(cloud_folder / "chair" / "train")
    shutil.copytree(cloud_folder / "table" / "train", cloud_folder / "armchair" / "train")
    seen = {}
    kept = evaluation.search_weights

    def spy(features, labels, text, scale):
        seen["labels"] = labels.tolist()
        return kept(features, labels, text, scale)

    monkeypatch.setattr(evaluation, "search_weights", spy)
    result = start(cloud_folder, tmp_path, mode="v1", weights="held-out", shots=2)
    assert sorted(seen["labels"]) == [1, 1, 2, 2]
    assert any("no clouds of: chair" in note for note in result.notes)


def test_a_bad_training_cloud_is_left_out(cloud_folder, tmp_path):
    for name in CLASSES:
        (cloud_folder / name / "train" / f"{name}_2.npy").write_bytes(b"no array")
    result = start(cloud_folder, tmp_path, mode="v1", weights="held-out", shots=2)
    assert any("left out" in note and "_2.npy" in note for note in result.notes)
    assert all("train" not in key for key in items_of(result))


def test_a_split_that_is_absent_is_named(cloud_folder, tmp_path):
    with pytest.raises(DataError, match='no split "val"'):
        start(cloud_folder, tmp_path, split="val")


def test_limit_spreads_over_the_classes(cloud_folder, tmp_path):
    result = start(cloud_folder, tmp_path, mode="v1", limit=3)
    assert sorted(item["true"] for item in items_of(result).values()) == sorted(CLASSES)


def test_the_toy_world_runs_by_name(tmp_path):
    result = start("shapes", tmp_path, mode="v1", per_class=1, limit=4)
    assert result.metrics["clouds"] == 4


def test_no_such_data(tmp_path):
    with pytest.raises(ClipzooError, match="modelnet10"):
        start("modelnet_10", tmp_path)


@pytest.mark.data
def test_real_shapes_are_recognised(real_data, tmp_path):
    """The bundled encoder, which never saw a real shape, names most of ModelNet10's test chairs, toilets and monitors."""
    import clipzoo

    result = clipzoo.run("pointclip", data=str(real_data / "modelnet10_pcd"), mode="v2", limit=100, out=str(tmp_path))
    assert result.metrics["clouds"] == 100
    assert result.metrics["top1"] >= 0.7
