"""CLIP4Clip from a folder of videos to a report, as a user runs it."""

from __future__ import annotations

import json
import shutil

import pytest

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError, DataError

TINY = {"model": "tiny", "device": "cpu"}


def items_of(result) -> dict[str, dict]:
    lines = (result.folder / "items.jsonl").read_text().splitlines()
    return {entry["key"]: entry["fields"] for entry in map(json.loads, lines)}


def stored(result) -> dict:
    return json.loads((result.folder / "metrics.json").read_text())


def tables_of(result) -> dict[str, list]:
    return {table.name: list(table.rows) for table in result.tables}


@pytest.fixture
def captioned(video_folder, tmp_path):
    folder = tmp_path / "captioned"
    shutil.copytree(video_folder, folder)
    (folder / "captions.csv").write_text(
        "video,caption\nfirst,a red star\nsecond,a green tree\nframes,a blue fish\nsecond,there is a green tree\n"
    )
    return folder


def test_search_answers_with_moments_and_pictures(video_folder, tmp_path):
    started = {"input": str(video_folder), "index": str(tmp_path / "index"), "out": str(tmp_path), **TINY}
    result = clipzoo.run("clip4clip", query="a red star", **started)
    best = tables_of(result)["moments"][0]
    assert best["video"] == "first"
    assert (best["start_s"], best["end_s"]) == pytest.approx((3, 5), abs=0.5)
    assert 3 <= best["best_s"] < 5
    assert result.metrics["indexed_now"] == 3
    assert (result.folder / "artifacts" / "moments.png").read_bytes().startswith(b"\x89PNG")
    again = clipzoo.run("clip4clip", query="a green tree", **started)
    assert again.metrics["indexed_now"] == again.metrics["frames_encoded"] == 0
    assert tables_of(again)["moments"][0]["video"] == "second"
    assert "Moments that fit" in next(again.folder.glob("*.html")).read_text()


def test_an_image_may_ask(video_folder, tmp_path):
    result = clipzoo.run(
        "clip4clip",
        input=str(video_folder),
        query_image=str(video_folder / "frames" / "2.png"),
        out=str(tmp_path),
        **TINY,
    )
    assert tables_of(result)["moments"][0]["video"] == "frames"


def test_one_video_and_no_query(video_folder, tmp_path):
    result = clipzoo.run("clip4clip", input=str(video_folder / "first.mp4"), out=str(tmp_path), **TINY)
    assert (result.metrics["videos"], result.metrics["frames_encoded"]) == (1, 16)
    assert any("query" in note for note in result.notes)


def test_videos_that_cannot_be_read_are_told(video_folder, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(video_folder, folder)
    (folder / "broken.mp4").write_bytes(b"no video")
    result = clipzoo.run("clip4clip", input=str(folder), query="a red star", out=str(tmp_path), **TINY)
    assert result.metrics["failed"] == 1
    assert any("broken" in note for note in result.notes)
    assert "error" in items_of(result)["broken"]
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(folder / "broken.mp4", only)
    with pytest.raises(DataError, match="no video could be read"):
        clipzoo.run("clip4clip", input=str(only), query="a red star", out=str(tmp_path), **TINY)


def test_retrieval_on_a_folder_with_captions(captioned, tmp_path):
    result = clipzoo.run("clip4clip", data=str(captioned), frames=4, out=str(tmp_path), **TINY)
    rows = tables_of(result)["retrieval"]
    assert {row["direction"] for row in rows} == {"text to video", "video to text", "video to text, any caption"}
    assert {row["scores"] for row in rows} == {"plain", "dual softmax*"}
    assert result.metrics["videos"] == 3
    assert result.metrics["sentences"] == 4
    assert len(items_of(result)) == 4
    assert (result.folder / "artifacts" / "found.png").exists()
    protocol = stored(result)["protocol"]
    assert "meanP: not trained" in protocol["heads"]
    again = clipzoo.run("clip4clip", data=str(captioned), frames=4, out=str(tmp_path), **TINY)
    assert items_of(again) == items_of(result)


def test_a_share_of_broken_videos_is_allowed_and_no_more(captioned, tmp_path):
    (captioned / "second.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"1 of 3 videos .* cannot be read \(33%\)"):
        clipzoo.run("clip4clip", data=str(captioned), out=str(tmp_path), **TINY)
    result = clipzoo.run("clip4clip", data=str(captioned), max_failed=0.5, out=str(tmp_path), **TINY)
    assert (result.metrics["videos"], result.metrics["failed"], result.metrics["sentences"]) == (2, 1, 2)
    assert any("second" in note for note in result.notes)
    (captioned / "second.mp4").unlink()
    with pytest.raises(DataError, match="have no file"):
        clipzoo.run("clip4clip", data=str(captioned), out=str(tmp_path), **TINY)


def test_training_on_toy_clips_and_the_trained_head_again(tmp_path):
    toy = {"pairs": 6, "train_pairs": 12, "frames": 3, "layers": 1, "out": str(tmp_path), **TINY}
    result = clipzoo.run("clip4clip", heads=["meanP", "seqTransf"], train="text", epochs=2, train_batch=8, **toy)
    meaning = {row["head"]: row for row in tables_of(result)["meaning"]}
    assert meaning["meanP"]["order"] == 50.0, "mean pooling does not know order, trained or not"
    assert meaning["meanP"]["content"] > 75
    assert set(tables_of(result)["actions"][0]) == {"action", "clips", "meanP", "seqTransf"}
    assert "best epoch on the validation part" in stored(result)["protocol"]["heads"]
    weights = result.folder / "artifacts" / "seqTransf.safetensors"
    again = clipzoo.run("clip4clip", weights=str(weights), **toy)
    for name in ("order_seqTransf", "t2v_R@1_seqTransf"):
        assert again.metrics[name] == pytest.approx(result.metrics[name])


def test_training_never_sees_the_split_that_is_measured(captioned, tmp_path):
    with pytest.raises(DataError, match="is measured"):
        clipzoo.run(
            "clip4clip",
            data=str(captioned),
            heads=["seqLSTM"],
            train="head",
            train_split="test",
            out=str(tmp_path),
            **TINY,
        )


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"heads": ["meanp"]}, ConfigError, "did you mean: meanP"),
        ({"heads": []}, ConfigError, "no head"),
        ({"query": "a dog"}, ConfigError, "nothing to search in"),
        ({"weights": "x", "train": "head"}, ConfigError, "one of them"),
        ({"input": "nowhere"}, DataError, "there is no nowhere"),
        ({"data": "msrvt"}, ClipzooError, "msrvtt"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, error, told):
    with pytest.raises(error, match=told):
        clipzoo.run("clip4clip", out=str(tmp_path), **settings)


def test_a_query_that_does_not_fit_is_refused_before_the_index_is_made(video_folder, tmp_path):
    with pytest.raises(DataError, match="context"):
        clipzoo.run(
            "clip4clip",
            input=str(video_folder),
            query="red " * 50,
            index=str(tmp_path / "index"),
            out=str(tmp_path),
            **TINY,
        )
    assert not (tmp_path / "index").exists()


@pytest.mark.data
def test_real_clips_are_searched(real_data, tmp_path):
    result = clipzoo.run("clip4clip", input=str(real_data / "action_clips"), per_second=0.5, out=str(tmp_path), **TINY)
    assert result.metrics["videos"] == 9
    assert result.metrics["failed"] == 0


@pytest.mark.slow
def test_the_argument_of_the_paper_on_toy_clips(tmp_path):
    """Mean pooling is at chance on order and good on content; a head that sees the order has it right."""
    result = clipzoo.run("clip4clip", recipe="toy-world", heads=["meanP", "seqTransf"], out=str(tmp_path), device="cpu")
    meaning = {row["head"]: row for row in tables_of(result)["meaning"]}
    assert meaning["meanP"]["order"] == 50.0
    assert min(row["content"] for row in meaning.values()) >= 85
    assert meaning["seqTransf"]["order"] >= 90
