"""From a photo to the square that is drawn, and to the points where strokes begin."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from clipzoo_sketch.saliency_points import (
    difference_of_gaussians,
    draw_spread_starts,
    draw_starts,
    gaussian_blur,
    otsu_threshold,
    start_probabilities,
    walk_points,
    xdog,
)
from clipzoo_sketch.target import prepare_target
from PIL import Image

from clipzoo.encoders.pixels import CLIP_MEAN, CLIP_STD
from clipzoo.errors import ConfigError, DataError, MissingExtra


def photo(width: int = 60, height: int = 40) -> Image.Image:
    """A grey photo with a red object in it."""
    image = Image.new("RGB", (width, height), (120, 120, 120))
    image.paste((200, 10, 10), (10, 10, 25, 30))
    return image


def with_alpha() -> Image.Image:
    image = photo().convert("RGBA")
    alpha = Image.new("L", image.size, 0)
    alpha.paste(255, (10, 10, 25, 30))
    image.putalpha(alpha)
    return image


def test_padding_keeps_the_proportions():
    target = prepare_target(photo(), 60, mask="none")
    pixels = target.pixels[0]
    assert pixels.shape == (3, 60, 60) and target.side == 60
    assert pixels[:, :10].min() == 1 and pixels[:, -10:].min() == 1
    assert torch.equal(pixels[:, 10:50], torch.from_numpy(np.array(photo())).permute(2, 0, 1) / 255)


def test_squashing_is_the_published_bicubic_resize():
    squashed = prepare_target(photo(), 30, mask="none", fit="squash").pixels[0]
    expected = np.array(photo().resize((30, 30), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(squashed.permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_cropping_keeps_the_middle():
    cropped = prepare_target(photo(), 40, mask="none", fit="crop").pixels[0]
    expected = torch.from_numpy(np.array(photo().crop((10, 0, 50, 40)))).permute(2, 0, 1) / 255
    assert torch.equal(cropped, expected)


def test_transparency_becomes_the_mask_and_the_rest_white(tmp_path):
    path = tmp_path / "object.png"
    with_alpha().save(path)
    for given in (path, with_alpha(), np.array(with_alpha())):
        target = prepare_target(given, 60)
        assert target.mask is not None and int(target.mask.sum()) == 15 * 20
        assert torch.equal(target.pixels[0].amin(0) < 1, target.mask)
        assert "alpha" in " ".join(target.notes)


def test_a_file_an_array_and_a_function_give_the_same_mask(tmp_path):
    solid = np.zeros((40, 60), np.uint8)
    solid[10:30, 10:25] = 255
    path = tmp_path / "mask.png"
    Image.fromarray(solid).save(path)
    targets = [
        prepare_target(photo(), 60, mask=mask)
        for mask in (path, str(path), solid, solid > 0, torch.from_numpy(solid), lambda image: solid / 255)
    ]
    for target in targets:
        assert torch.equal(target.pixels, targets[0].pixels)
        assert target.pixels[0, :, 0, 0].tolist() == [1, 1, 1]
        assert int(target.mask.sum()) == 300


def test_centring_brings_the_object_to_the_middle():
    target = prepare_target(with_alpha(), 40, centre=True)
    rows, columns = np.flatnonzero(target.mask.any(1)), np.flatnonzero(target.mask.any(0))
    assert rows[0] == 10 and rows[-1] == 29
    assert abs((columns[0] + columns[-1]) / 2 - 19.5) <= 0.5


def test_rembg_is_asked_only_when_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    prepare_target(photo(), 32)
    with pytest.raises(MissingExtra, match="rembg"):
        prepare_target(photo(), 32, mask="rembg")
    stand_in = types.ModuleType("rembg")
    stand_in.remove = lambda image, only_mask: Image.new("L", image.size, 255)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rembg", stand_in)
    assert prepare_target(photo(), 32, mask="rembg", fit="squash").mask.all()


def test_toy_objects_have_names():
    target = prepare_target("toy:heart,red", 64)
    assert target.pixels[0, :, 40, 32].tolist() == pytest.approx([216 / 255, 28 / 255, 36 / 255], abs=0.01)
    with pytest.raises(ConfigError, match="shape"):
        prepare_target("toy:hart", 64)


def test_a_small_photo_is_enlarged_and_said_so():
    target = prepare_target(Image.new("RGB", (5, 4), "red"), 64)
    assert target.pixels.shape == (1, 3, 64, 64) and "enlarged from 5 x 4" in target.notes[0]


@pytest.mark.parametrize(
    ("given", "settings", "error"),
    [
        ("nothing.jpg", {}, DataError),
        (photo(), {"fit": "stretch"}, ConfigError),
        (photo(), {"mask": "remgb"}, ConfigError),
        (photo(), {"mask": "alpha"}, DataError),
        (photo(), {"mask": np.zeros((40, 60), bool)}, DataError),
        (photo(), {"mask": np.ones((4, 6), bool)}, DataError),
        (photo(), {"centre": True}, ConfigError),
        (photo(), {"side": 0}, ConfigError),
        (np.zeros((4, 4)), {}, DataError),
        (np.zeros((4, 4, 3), np.int64), {}, DataError),
        (np.full((4, 4, 3), 7.0), {}, DataError),
        (np.full((4, 4, 3), np.nan), {}, DataError),
        (torch.zeros(2, 3, 4, 4), {}, DataError),
        (42, {}, DataError),
    ],
)
def test_what_cannot_be_drawn_is_refused(given, settings, error):
    with pytest.raises(error):
        prepare_target(given, **({"side": 32} | settings))


def test_a_text_file_is_no_photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_text("not a photo")
    with pytest.raises(DataError, match="no image"):
        prepare_target(path, 32)


def test_starts_are_those_of_the_published_code(oracle):
    stored = oracle("clipasso_init")
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (CLIP_MEAN, CLIP_STD))
    pixels = (stored["image_u8"].astype(np.float32) / 255 - mean) / std
    np.testing.assert_allclose(difference_of_gaussians(pixels)[100], stored["dog_row100"], atol=1e-6)
    flat = xdog(pixels)
    np.testing.assert_array_equal(np.packbits(flat), stored["xdog"])
    probabilities = start_probabilities(stored["saliency"], flat)
    np.testing.assert_allclose(probabilities, stored["prob"], atol=1e-9)
    starts = draw_starts(probabilities, 16, 0)
    np.testing.assert_array_equal(starts, stored["inds_16"])
    np.testing.assert_array_equal(draw_starts(probabilities, 4, 0), stored["inds_4"])
    np.testing.assert_allclose(walk_points(starts, (224, 224), 0), stored["init_points_16"], atol=1e-4)
    without = start_probabilities(stored["saliency"])
    np.testing.assert_allclose(without[100], stored["prob_noxdog_row100"], atol=1e-9)
    np.testing.assert_array_equal(draw_starts(without, 8, 0), stored["inds_8_noxdog"])


def test_the_blur_is_a_sum_over_mirrored_neighbours():
    image = np.random.default_rng(0).random((7, 9))
    sigma, reach = 2.0, 8
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(image, reach, mode="symmetric")
    once = np.stack([np.convolve(row, weights / weights.sum(), "valid") for row in padded])
    twice = np.stack([np.convolve(column, weights / weights.sum(), "valid") for column in once.T]).T
    np.testing.assert_allclose(gaussian_blur(image, sigma), twice, atol=1e-12)


def test_otsu_parts_with_the_largest_variance_between():
    values = np.concatenate([np.random.default_rng(0).normal(m, 0.1, 400) for m in (0, 2)])
    cuts = np.linspace(values.min(), values.max(), 400)[1:-1]
    between = [
        (values < cut).mean()
        * (values >= cut).mean()
        * (values[values < cut].mean() - values[values >= cut].mean()) ** 2
        for cut in cuts
    ]
    best = cuts[np.flatnonzero(np.array(between) >= max(between) * (1 - 1e-6))]
    assert best.min() - 0.02 <= otsu_threshold(values) <= best.max() + 0.02


def test_an_image_without_an_edge_gives_nothing_to_draw():
    flat = xdog(np.ones((3, 32, 32)))
    assert flat.min() == 1
    with pytest.raises(DataError, match="nothing to draw"):
        start_probabilities(np.ones((32, 32)), flat)
    with pytest.raises(ConfigError):
        start_probabilities(np.ones((32, 32)), temperature=0)


def test_more_strokes_than_edge_pixels_begin_at_the_same_places():
    probabilities = np.zeros((8, 8))
    probabilities[2, 3] = probabilities[5, 6] = 0.5
    starts = draw_starts(probabilities, 9, 0)
    assert starts.shape == (9, 2)
    assert {tuple(start) for start in starts.tolist()} == {(2, 3), (5, 6)}


def test_spread_starts_lie_apart_and_still_follow_the_probabilities():
    probabilities = np.zeros((64, 64))
    probabilities[8:56, 8:56] = np.linspace(0.02, 1, 48)[None] ** 2
    probabilities /= probabilities.sum()

    def nearest(starts: np.ndarray) -> float:
        apart = np.linalg.norm(starts[:, None] - starts[None], axis=-1) + 1e9 * np.eye(len(starts))
        return float(apart.min(1).mean())

    spread = [draw_spread_starts(probabilities, 16, seed) for seed in range(20)]
    plain = [draw_starts(probabilities, 16, seed) for seed in range(20)]
    assert np.mean([nearest(one) for one in spread]) > 1.25 * np.mean([nearest(one) for one in plain])
    assert all(probabilities[tuple(one.T)].min() > 0 and one.shape == (16, 2) for one in spread)
    # The right side is likelier; 31.5 is the middle.
    assert np.mean([one[:, 1] for one in spread]) > 34.5
    np.testing.assert_array_equal(spread[3], draw_spread_starts(probabilities, 16, 3))
    few = np.zeros((8, 8))
    few[2, 3] = few[5, 6] = 0.5
    assert {tuple(start) for start in draw_spread_starts(few, 9, 0).tolist()} == {(2, 3), (5, 6)}


def test_a_stroke_of_three_segments_has_ten_points_in_small_steps():
    points = walk_points(np.array([[10, 20], [30, 5]]), (64, 64), 0, segments=3)
    assert points.shape == (2, 10, 2)
    np.testing.assert_allclose(points[:, 0], [[20, 10], [5, 30]])
    assert np.abs(np.diff(points, axis=1)).max() <= 0.025 * 64
