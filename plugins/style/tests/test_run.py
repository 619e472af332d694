"""Every method as a user runs it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from clipzoo_style import Latent, load_stylegan2, save_stylegan2
from clipzoo_style.films import gif
from clipzoo_style.presets import preset
from clipzoo_style.stylegan2 import StyleGAN2
from PIL import Image

import clipzoo
from clipzoo.errors import ClipzooError, ConfigError, DataError, MissingExtra, RunError, WeightsError


@pytest.fixture
def file(small, tmp_path):
    """A generator of 32 px in a file."""
    return save_stylegan2(small, tmp_path / "small.safetensors")


def start(file, tmp_path, **settings):
    chosen = {
        "generator": str(file),
        "samples": 2,
        "prompt": ["a red circle"],
        "neutral": "a circle",
        "templates": "name",
    }
    return clipzoo.run("styleclip", out=str(tmp_path / "runs"), **{**chosen, **settings})


def items(result) -> dict:
    lines = (result.folder / "items.jsonl").read_text().splitlines()
    return {entry["key"]: entry["fields"] for entry in map(json.loads, lines)}


def names(result) -> set[str]:
    return {artifact.path for artifact in result.artifacts}


def test_optimisation_raises_what_it_is_asked_to(file, tmp_path):
    result = start(file, tmp_path, method="optimise", steps=15, prompt=["a red circle", "a blue square"])
    assert result.metrics["clip_gain"] > 0.01 and result.metrics["edits"] == 4
    assert len(items(result)) == 4
    codes = safetensors.torch.load_file(result.folder / "artifacts" / "codes-01.safetensors")["w+"]
    assert codes.shape == (2, 8, 16)
    with Image.open(result.folder / "artifacts" / "sheet.png") as sheet:
        assert sheet.width > 450


def test_a_wide_search_is_chosen_for_the_bundled_generator_and_by_name(file, tmp_path):
    result = start(file, tmp_path, method="optimise", steps=6, search="wide")
    codes = safetensors.torch.load_file(result.folder / "artifacts" / "codes-00.safetensors")
    assert codes["s"].shape == (2, load_stylegan2(file).num_styles)
    for generator, steps, space in (("tiny", 80, "s"), (str(file), 300, "w+")):
        assert (preset("optimise", generator).steps, preset("optimise", generator).space) == (steps, space)


def test_directions_build_a_bank_and_take_it_again(file, tmp_path):
    settings = {"method": "directions", "alpha": [-3.0, 3.0], "bank_images": 2, "video": "gif"}
    result = start(file, tmp_path, **settings)
    assert {"artifacts/directions.safetensors", "artifacts/edits.gif"} <= names(result)
    bank = result.folder / "artifacts" / "directions.safetensors"
    with Image.open(result.folder / "artifacts" / "edits.gif") as film:
        # Both strengths, and the film begins with the faces as they are.
        assert film.n_frames > 20 and film.width == 2 * 32
        before = load_stylegan2(file).synthesize(codes_before(result))
        first = torch.from_numpy(np.array(film.convert("RGB"))).permute(2, 0, 1) / 255
        assert (first - torch.cat(list(before), 2)).abs().mean() < 0.03
    again = start(file, tmp_path, **settings, bank=str(bank))
    ours, theirs = items(result), items(again)
    assert ours.keys() == theirs.keys() and len(ours) == 4
    for key in ours:
        assert ours[key]["clip_after"] == pytest.approx(theirs[key]["clip_after"], abs=5e-3)
    with pytest.raises(DataError, match="width"):
        start(tmp_path / "small.safetensors", tmp_path, **settings, bank=str(_wide(bank, tmp_path)))


@pytest.mark.parametrize(("generator", "given", "images"), [("tiny", 0, 16), ("", 0, 100), ("tiny", 3, 3)])
def test_a_bank_is_of_as_many_images_as_suit_the_generator(file, tmp_path, monkeypatch, generator, given, images):
    def refuse(*args, sweep, **settings):
        raise DataError(f"a sweep of {sweep.images} images")

    monkeypatch.setattr("clipzoo_style.editing.build_banks", refuse)
    with pytest.raises(DataError, match=f"of {images} images"):
        start(generator or file, tmp_path, method="directions", bank_images=given)


def codes_before(result) -> Latent:
    (stored,) = safetensors.torch.load_file(result.folder / "artifacts" / "codes-before.safetensors").items()
    return Latent(*stored)


def test_banks_of_several_encoders_and_a_grid_of_strengths_and_thresholds(file, tmp_path):
    settings = {"method": "directions", "bank_images": 1, "alpha": [1.0, 4.0], "beta": [0.0, 0.01, 0.02]}
    result = start(file, tmp_path, **settings, model="tiny", bank_models=["tiny-rn"])
    assert len(items(result)) == 2 * 2 * 3
    assert {"artifacts/directions.safetensors", "artifacts/directions-1.safetensors"} <= names(result)
    # Both encoders have the same width, so it is the name that tells a mistake.
    other = result.folder / "artifacts" / "directions-1.safetensors"
    with pytest.raises(DataError, match="tiny-rn"):
        start(file, tmp_path, **settings, model="tiny", bank=str(other))
    assert len(items(start(file, tmp_path, **settings, model="tiny-rn", bank=str(other)))) == 12


def test_a_film_needs_its_extra_before_anything_is_computed(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtra, match="imageio-ffmpeg"):
        start(file, tmp_path, method="directions", video="mp4")
    with pytest.raises(DataError):
        gif([])


def _wide(bank, tmp_path):
    from clipzoo_style import ChannelDirections

    made = ChannelDirections.load(bank)
    wide = ChannelDirections(torch.randn(len(made.rows), 512), made.deviation, made.widths, made.to_rgb)
    return wide.save(tmp_path / "wide.safetensors")


def test_a_mapper_is_trained_and_applied_again(file, tmp_path):
    settings = {"method": "mapper", "steps": 4, "train_codes": 8, "rate": 5.0}
    result = start(file, tmp_path, **settings)
    path = result.folder / "artifacts" / "mapper-0.safetensors"
    again = start(file, tmp_path, method="mapper", mapper=str(path))
    assert items(again) == items(result)
    strong = start(file, tmp_path, method="mapper", mapper=str(path), strength=1.0)
    assert strong.metrics["pixel_change"] > result.metrics["pixel_change"]


def test_a_generator_is_adapted_and_its_difference_saved(file, tmp_path):
    result = start(file, tmp_path, method="nada", steps=3, prompt=["a drawing of a circle"])
    assert "artifacts/generator-delta-0.safetensors" in names(result)
    assert result.metrics["pixel_change"] > 0
    assert any("Variety" in note for note in result.notes)


def test_photos_and_codes_are_edited(file, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (40, 40), (80 * number, 90, 100)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    result = start(file, tmp_path, method="optimise", steps=2, input=str(folder), invert_steps=5)
    assert {key.partition(" ")[0] for key in items(result)} == {"0", "1", "broken"}
    assert any("Inverted" in note for note in result.notes)
    torch.save(torch.randn(3, 8, 16), tmp_path / "codes.pt")
    result = start(file, tmp_path, method="optimise", steps=2, data=str(tmp_path / "codes.pt"))
    assert len(items(result)) == 3


@pytest.mark.parametrize(
    ("method", "settings", "pictures"),
    [
        ("optimise", {"steps": 70}, 60),
        ("mapper", {"steps": 6, "train_codes": 8}, 4),
        ("directions", {"bank_images": 1, "alpha": [2.0]}, 20),
        ("nada", {"steps": 60}, 110),
    ],
)
def test_a_run_that_breaks_goes_on_as_if_it_had_not(file, tmp_path, monkeypatch, method, settings, pictures):
    whole = start(file, tmp_path, method=method, **settings)
    render, left, made = StyleGAN2.render, [pictures], [0]

    def breaking(self, *arguments):
        left[0] -= 1
        made[0] += 1
        if left[0] == 0:
            raise RuntimeError("the power went")
        return render(self, *arguments)

    monkeypatch.setattr(StyleGAN2, "render", breaking)
    with pytest.raises(RunError, match="the power went"):
        start(file, tmp_path / "broken", method=method, **settings)
    (folder,) = (tmp_path / "broken" / "runs" / "styleclip").iterdir()
    made[0] = 0
    again = clipzoo.run("styleclip", resume=folder)
    resumed, made[0] = made[0], 0
    assert items(again) == items(whole)
    start(file, tmp_path / "once more", method=method, **settings)
    if method != "mapper":  # which saves its state every 500 steps, so that these few are done again
        assert resumed < made[0]


def test_what_cannot_work_is_said_before_anything_is_made(file, tmp_path):
    torch.save(torch.randn(2, 18, 512), tmp_path / "large.pt")
    (tmp_path / "notes.txt").write_text("x")
    for wrong, error in (
        ({"prompt": [" "]}, ConfigError),
        ({"method": "directions", "alpha": []}, ConfigError),
        ({"generator": str(tmp_path / "absent.pt")}, WeightsError),
        ({"input": str(tmp_path / "large.pt")}, DataError),
        ({"input": str(tmp_path / "notes.txt")}, DataError),
        ({"identity": str(tmp_path / "large.pt")}, WeightsError),
        ({"method": "magic"}, ConfigError),
        ({"method": "directions", "beta": [0.1, 1.5]}, ConfigError),
    ):
        with pytest.raises(error):
            start(file, tmp_path, **wrong)
    with pytest.raises(ClipzooError, match="at most"):
        start(file, tmp_path, method="directions", bank_images=2, beta=[1.0])


def test_the_bundled_generator_is_a_small_stylegan2():
    generator = load_stylegan2("tiny", size=64)
    assert generator.size == 64 and generator.clamp is None and generator.label_dim == 0
    images = generator.synthesize(generator.sample(16, truncation=1.0))
    assert images.std(0).mean() > 0.05  # they differ from one another
    from clipzoo_style.checkpoints import TINY

    assert TINY.stat().st_size < 6_000_000
