"""Both commands from a photo or a sentence to a report, as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clipzoo_sketch import Drawing
from clipzoo_sketch.animation import gif, mp4, picture, stroke_by_stroke
from clipzoo_sketch.curves import loss_curves
from clipzoo_sketch.ink import Ink
from clipzoo_sketch.plugin import CLIPASSO, CLIPDRAW
from clipzoo_sketch.run_clipasso import parse_layers
from PIL import Image

from clipzoo.config import compose, recipes
from clipzoo.errors import ClipzooError, ConfigError, DataError, MissingExtra
from clipzoo.runs import execute

SHORT = {"steps": 4, "restarts": 1, "views": 1, "frames": 2, "save_every": 2, "size": 96}


def start(plugin, out: Path, *, resume: Path | None = None, **settings):
    given = {"out": str(out), **SHORT, **settings}
    return execute(plugin, compose(plugin, given), resume=resume, progress=False)


def photo(folder: Path) -> Path:
    image = Image.new("RGB", (90, 60), "white")
    image.paste((160, 90, 30), (20, 15, 60, 45))
    path = folder / "dog <b>.png"
    image.save(path)
    return path


@pytest.fixture(scope="module")
def sketched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sketched")
    return start(CLIPASSO, folder, input=str(photo(folder)), strokes=[2, 3])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return start(
        CLIPDRAW, tmp_path_factory.mktemp("drawn"), model="tiny-rn", prompt="a red heart:2 | a drawing",
        negative="a square", paths=5, nouns=["heart", "fish", "zebra"], restarts=2,
    )  # fmt: skip


def test_a_photo_gives_drawings_pictures_films_and_a_report(sketched):
    made = {path.name for path in (sketched.folder / "artifacts").iterdir()}
    assert {
        "sketch-02.svg", "sketch-03.svg", "sketch.png", "sketch-02.png", "sketch-03.png", "way.png", "levels.png",
        "starts.png", "losses.png", "losses.csv", "way.gif", "strokes.gif",
    } <= made  # fmt: skip
    assert sketched.metrics["strokes"] == 3 and sketched.metrics["steps"] == 4
    assert -1 <= sketched.metrics["similarity"] <= 1
    report = (sketched.folder / "report.html").read_text()
    assert "sketch-03.svg" in report and "way.gif" in report and "dog <b>" not in report
    tables = {table.name: table.rows for table in sketched.tables}
    assert [row["strokes"] for row in tables["levels"]] == [1, 2, 3]
    assert sum(row["best"] == "yes" for row in tables["restarts"]) == 2


def test_the_svg_reads_back_to_the_picture_beside_it(sketched):
    drawing = Drawing.from_svg(sketched.folder / "artifacts" / "sketch-03.svg")
    assert len(drawing.strokes) == 3 and tuple(drawing.size) == (96, 96)
    assert drawing.metadata["method"] == "CLIPasso" and drawing.metadata["input"] == "dog <b>.png"
    stored = np.asarray(Image.open(sketched.folder / "artifacts" / "sketch-03.png").convert("RGB")) / 255
    rendered = drawing.pixels(448 / 96)[0].permute(1, 2, 0).numpy()
    assert np.abs(stored - rendered).max() < 0.02


def test_losses_are_written_for_every_step(sketched):
    with (sketched.folder / "artifacts" / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert all(float(row["plain: 3 strokes, seed 0"]) > 0 for row in rows)


def test_sentences_give_a_drawing_and_a_report(drawn):
    made = {path.name for path in (drawn.folder / "artifacts").iterdir()}
    assert {"drawing.svg", "drawing-animated.svg", "drawing.png", "way.png", "losses.png", "losses.csv"} <= made
    tables = {table.name: table.rows for table in drawn.tables}
    assert [(row["prompt"], row["weight"]) for row in tables["prompts"]] == [
        ("a red heart:2", 2.0), ("a drawing", 1.0), ("a square:-0.3", -0.3),
    ]  # fmt: skip
    assert len(tables["nouns"]) == 3 and len(tables["restarts"]) == 2
    drawing = Drawing.from_svg(drawn.folder / "artifacts" / "drawing.svg")
    assert drawing.metadata["prompts"][0] == "a red heart:2"
    assert len(drawing.strokes) == drawn.metrics["strokes"]


@pytest.mark.parametrize(
    ("plugin", "settings"),
    [(CLIPASSO, {"input": "toy:fish,blue", "strokes": [2]}), (CLIPDRAW, {"model": "tiny-rn", "paths": 3})],
)
def test_an_interrupted_run_goes_on_to_the_same_drawing(tmp_path, monkeypatch, plugin, settings):
    whole = start(plugin, tmp_path / "whole", **settings)
    import clipzoo.optim as optim

    real = optim._Run.save

    def save_and_stop(self, path, config):
        real(self, path, config)
        raise KeyboardInterrupt

    monkeypatch.setattr(optim._Run, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        start(plugin, tmp_path / "broken", **settings)
    monkeypatch.undo()
    folder = next((tmp_path / "broken" / plugin.name).iterdir())
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    resumed = start(plugin, tmp_path / "broken", resume=folder, **settings)
    assert resumed.folder == folder
    name = "sketch.svg" if plugin is CLIPASSO else "drawing.svg"
    one, other = (Drawing.from_svg(result.folder / "artifacts" / name) for result in (whole, resumed))
    assert one.strokes == other.strokes


@pytest.mark.parametrize(
    ("plugin", "settings", "error"),
    [
        (CLIPASSO, {"input": "nothing.jpg"}, DataError),
        (CLIPASSO, {"input": "toy:hart"}, ConfigError),
        (CLIPASSO, {"strokes": [0]}, ConfigError),
        (CLIPASSO, {"strokes": []}, ConfigError),
        (CLIPASSO, {"layers": ["layer2:much"]}, ConfigError),
        (CLIPASSO, {"layers": ["layer12"]}, ConfigError),
        (CLIPASSO, {"mask": "alpha"}, DataError),
        (CLIPDRAW, {"prompt": " "}, ConfigError),
        (CLIPDRAW, {"prompt": "a heart:0"}, ConfigError),
        (CLIPDRAW, {"image_prompt": "nothing.png"}, DataError),
    ],
)
def test_what_cannot_be_done_is_said_and_the_run_is_marked_failed(tmp_path, plugin, settings, error):
    with pytest.raises(error):
        start(plugin, tmp_path, **settings)
    folder = next((tmp_path / plugin.name).iterdir())
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"


def test_words_that_the_encoder_never_met_are_noted(drawn, tmp_path):
    result = start(CLIPDRAW, tmp_path, prompt="a zeppelin", paths=2, steps=1, video="none")
    assert any("zeppelin" in note for note in result.notes)
    assert not any("never met" in note and "heart" in note for note in drawn.notes)


@pytest.mark.parametrize("plugin", [CLIPASSO, CLIPDRAW])
def test_recipes_are_settings_that_exist(plugin):
    own = recipes(plugin)
    assert len(own) == 2 and "paper" in own
    for name in own:
        composed = compose(plugin, {"recipe": name})
        assert "openai" in composed.settings.model
    assert compose(plugin, plugin.demo).settings.model.startswith("tiny")


def test_weights_of_layers_are_parsed():
    assert parse_layers([]) is None
    assert parse_layers(["layer1", " layer3:2.5"]) == {"layer1": 1.0, "layer3": 2.5}


def test_a_film_has_a_frame_a_stroke_and_rests_at_the_end():
    ink = Ink(torch.rand(1, 3, 4, 2) * 30, torch.full((1, 3), 2.0), torch.tensor([[[0.0, 0, 0, 1]] * 3]), 32)
    frames = [picture(one.render(32)[0]) for one in stroke_by_stroke(ink)]
    assert len(frames) == 4 and frames[0].getextrema() == ((255, 255),) * 3
    import io

    with Image.open(io.BytesIO(gif(frames, 10))) as film:
        durations = []
        for place in range(film.n_frames):
            film.seek(place)
            durations.append(film.info["duration"])
    assert durations == [100, 100, 100, 2000]
    with pytest.raises(DataError):
        gif([])


def test_an_mp4_needs_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtra, match="imageio-ffmpeg"):
        mp4([Image.new("RGB", (8, 8))])


def test_an_mp4_has_its_frames_and_rests_at_the_end(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = [Image.new("RGB", (33, 21), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "film.mp4"
    path.write_bytes(mp4(frames, 10))
    reader = ffmpeg.read_frames(str(path))
    size = next(reader)["size"]
    shown = [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3) for frame in reader]
    # Odd sides are made even; the last frame stays for two seconds.
    assert size == (34, 22) and len(shown) == 3 + 20
    assert [int(frame[10, 16].argmax()) for frame in (shown[0], shown[1], shown[2], shown[-1])] == [0, 1, 2, 2]


def test_curves_show_gaps_and_refuse_nothing_at_all():
    values = np.array([3.0, np.nan, 1.0, 0.5])
    image = np.asarray(loss_curves({"a": values, "b": values[::-1]}))
    assert (image < 250).any() and image.shape == (360, 760, 3)
    with pytest.raises(ClipzooError):
        loss_curves({"a": np.array([np.nan])})


@pytest.mark.data
@pytest.mark.parametrize("name", ["camel", "horse"])
def test_a_photo_of_an_animal_can_be_sketched(real_data, tmp_path, name):
    result = start(
        CLIPASSO, tmp_path, input=str(real_data / "clipasso" / f"{name}.png"), strokes=[8], steps=20, size=224
    )
    rows = list(csv.reader((result.folder / "artifacts" / "losses.csv").open(newline="")))
    place = rows[0].index("plain: 8 strokes, seed 0")
    assert result.metrics["loss"] < 0.9 * float(rows[1][place])
