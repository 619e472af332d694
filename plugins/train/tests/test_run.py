"""``clipzoo run train`` from a table of captions to towers that others load."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from clipzoo_train.checkpoints import load_trained

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError, DataError, RunError, WeightsError


def tables_of(result) -> dict[str, list]:
    return {table.name: list(table.rows) for table in result.tables}


def test_from_a_table_to_towers(short):
    result = clipzoo.run("train", **short)
    assert (result.metrics["train_images"], result.metrics["gallery_images"]) == (12, 2)
    assert 0 <= result.metrics["test_t2i_R@1"] <= 1 and result.metrics["gallery_captions"] == 4
    epochs = tables_of(result)["epochs"]
    assert [row["epoch"] for row in epochs] == [1, 2] and epochs[0]["chance"] == pytest.approx(1.386, abs=1e-3)
    assert "loss of guessing" in tables_of(result)["loss"][0]["read against"]
    clip = clipzoo.load_clip(str(result.folder / "checkpoint"), device="cpu")
    assert clip.encode_text(["a red star"]).shape == (1, 16)
    assert b"<polyline" in (result.folder / "artifacts" / "curves.svg").read_bytes()
    assert "read it against" in (result.folder / "report.html").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "siglip"},
        {"loss": "simpleclip", "head": "mlp", "mask": "pixels", "schedule": "plateau", "rows": "captions"},
        {"loss": "soft", "freeze": "text", "head": "mlp"},
        {"loss": "multi-positive", "rows": "captions", "accumulate": 2, "ema": 0.9},
        {"loss": "queue", "queue_size": 8, "precision": "bf16"},
        {"loss": "distil", "teacher": "tiny", "augment": "strong"},
        {"freeze": "image", "mask": "none", "prompt": "This image shows {}"},
        {"mask": "tokens", "unmasked_share": 0.5, "checkpointing": True, "zeroshot": ""},
        {"split": "simpleclip", "patience": 1},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_way_runs(short, settings):
    result = clipzoo.run("train", **{**short, **settings})
    assert 0 < result.metrics["train_loss"] < 100
    assert (result.folder / "checkpoint" / "open_clip_model.safetensors").stat().st_size > 10**6
    if "head" in settings:
        clip = load_trained(result.folder / "checkpoint", device="cpu")
        assert clip.encode_text(["a red star"]).shape == (1, 16)


def test_a_few_pictures_are_learned_by_heart(short):
    settings = {**short, "model": "small-rn", "limit": 8, "epochs": 60, "train_batch": 8, "lr": 2e-3, "split": "none"}
    result = clipzoo.run("train", **settings, loss="multi-positive", rows="images", weight_decay=0.0)
    assert result.metrics["train_t2i_R@1"] > 0.9 and result.metrics["train_loss_minus_chance"] < -1
    assert any("memory" in note for note in result.notes)


def test_a_run_that_was_killed_goes_on(short, monkeypatch):
    from clipzoo_train.loop import Loop

    whole = clipzoo.run("train", **short, save_every=1)
    step = Loop._step

    def kill(loop, batch, tell):
        if loop.progress.step == 4:
            raise KeyboardInterrupt
        step(loop, batch, tell)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "_step", kill)
        clipzoo.run("train", **{**short, "out": short["out"] + "-killed"}, save_every=1)
    folder = next((whole.folder.parents[2] / "runs-killed" / "train").glob("[!.]*"))
    again = clipzoo.run("train", resume=folder)
    state = [
        load_trained(path / "checkpoint", device="cpu").model.state_dict() for path in (whole.folder, again.folder)
    ]
    assert all(torch.equal(value, state[1][name]) for name, value in state[0].items())
    for name, value in whole.metrics.items():
        if "per_second" not in name:
            assert again.metrics[name] == value, name


def test_a_checkpoint_of_another_architecture_is_refused(short):
    result = clipzoo.run("train", **short)
    state = torch.load(result.folder / "training" / "state.pt", weights_only=True)
    state["trained"] = {name: value[..., :1] if value.ndim else value for name, value in state["trained"].items()}
    torch.save(state, result.folder / "training" / "state.pt")
    (result.folder / "metrics.json").unlink()
    with pytest.raises(WeightsError, match="another architecture"):
        clipzoo.run("train", resume=result.folder)


def test_a_loss_that_is_no_number_names_the_batch(short, monkeypatch):
    from clipzoo_train.objectives import Objective

    monkeypatch.setattr(
        Objective, "forward", lambda self, made, *rest: (made.image.sum() + made.text.sum()) * torch.nan
    )
    with pytest.raises(RunError, match=r"the loss of step 1 is nan[\s\S]*\.png"):
        clipzoo.run("train", **short)


def test_a_batch_larger_than_the_data_is_told(short):
    result = clipzoo.run("train", **{**short, "train_batch": 500, "epochs": 1})
    assert any("gives 12 rows a batch" in note for note in result.notes)


def test_what_is_left_out_is_in_the_report(short, pictures, table, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(pictures, folder)
    (folder / "torn.png").write_bytes(b"no picture")
    with (folder / "captions.csv").open(newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)][1:]
    table(folder / "captions.csv", [*rows, ("gone.png", "a cat"), ("torn.png", "a dog"), ("00.png", "")])
    with pytest.raises(DataError, match="1 of 17 images cannot be read"):
        clipzoo.run("train", **{**short, "data": str(folder)})
    result = clipzoo.run("train", **{**short, "data": str(folder), "epochs": 1}, max_failed=0.5)
    left = {row["what"]: row["first"] for row in tables_of(result)["left_out"]}
    assert left == {"empty caption": "00.png", "caption without image": "gone.png"}
    told = [json.loads(line) for line in (result.folder / "items.jsonl").read_text().splitlines()]
    assert any(entry["key"] == "torn.png" and "error" in entry["fields"] for entry in told)


def test_one_image_teaches_nothing(short, pictures, table, tmp_path):
    shutil.copy(pictures / "00.png", tmp_path)
    table(tmp_path / "captions.csv", [("00.png", "a cat"), ("00.png", "a dog")])
    with pytest.raises(DataError, match="one image with captions"):
        clipzoo.run("train", **{**short, "data": str(tmp_path)})


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"precision": "fp16"}, ConfigError, "fp16"),
        ({"loss": "distil"}, ConfigError, "without a teacher"),
        ({"teacher": "tiny"}, ConfigError, "with loss=clip"),
        ({"prompt": "an image"}, ConfigError, "one {}"),
        ({"freeze": "image", "mask": "pixels"}, ConfigError, "frozen"),
        ({"accumulate": 9}, ConfigError, "parts of a batch"),
        ({"test_share": 0.0}, DataError, "held out"),
        ({"zeroshot": "scenez"}, ClipzooError, "scenes"),
        ({"model": "small-rn", "mask": "tokens"}, ConfigError, "vision transformer"),
    ],
)
def test_wrong_settings_are_told(short, settings, error, said):
    with pytest.raises(error, match=said):
        clipzoo.run("train", **{**short, **settings})


def test_several_processes_must_join(short, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"torchrun[\s\S]*clipzoo_train"):
        clipzoo.run("train", **short)


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(short, tmp_path):
    """As torchrun starts them; the weights agree with those of one process up to the order of sums."""
    fixed = {**short, "epochs": 1, "augment": "none", "clip_norm": 0.0}
    whole = clipzoo.run("train", **fixed)
    out = tmp_path / "two"
    words = [f"{key}={value}" for key, value in {**fixed, "out": str(out)}.items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*launch, "clipzoo_train", *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    folder = next((out / "train").glob("[!.]*"))
    first, second = (
        load_trained(path / "checkpoint", device="cpu").model.state_dict() for path in (whole.folder, folder)
    )
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4)


@pytest.mark.data
@pytest.mark.slow
def test_photos_are_learned_by_heart(real_data, tmp_path):
    result = clipzoo.run(
        "train", recipe="flickr-memorise", data=str(real_data / "flickr8k"), device="cpu", out=str(tmp_path)
    )
    assert result.metrics["train_t2i_R@1"] > 0.9 and result.metrics["train_i2t_R@1"] > 0.9


@pytest.mark.slow
def test_a_quick_experiment_of_the_blog_learns(tmp_path):
    """At SimpleCLIP's own temperature the loss falls below that of guessing and retrieval stays at guessing."""
    found = clipzoo.run("train", recipe="blog-baseline-quick", device="cpu", out=str(tmp_path)).metrics
    assert found["test_i2t_R@10"] > 0.25 and found["test_loss_minus_chance"] < -1  # guessing: 0.025 and 0
