"""Contours of a photo, strokes that begin along them, and the tuning for small encoders that uses both."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_sketch.clipasso import CLIPasso, Lesson
from clipzoo_sketch.contours import (
    contour_angles,
    contour_length,
    contour_strength,
    line_drawing,
    nearby_ink,
    trace_contours,
)
from clipzoo_sketch.saliency_points import draw_spread_starts, draw_starts, walk_points
from clipzoo_sketch.target import prepare_target
from clipzoo_sketch.tuning import PAPER, Tuning, tuning_for

from clipzoo.errors import ConfigError

SIDE, RADIUS = 224, 70.0


def disc(inside: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A disc on white, smooth at its edge."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    cover = np.clip(RADIUS + 0.5 - np.hypot(rows - SIDE / 2, columns - SIDE / 2), 0, 1)
    return np.stack([1 - cover * (1 - value) for value in inside])


def radii(points: np.ndarray) -> np.ndarray:
    return np.hypot(points[..., 0] - SIDE / 2, points[..., 1] - SIDE / 2)


def curve(points: np.ndarray) -> np.ndarray:
    """A cubic at twenty places, by its Bernstein polynomials."""
    t = np.linspace(0, 1, 20)[:, None]
    a, b, c, d = points
    return (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d


def test_a_disc_becomes_a_ring():
    strength = contour_strength(disc())
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = np.abs(np.hypot(rows - SIDE / 2, columns - SIDE / 2) - RADIUS)
    assert strength[away < 0.6].min() > 0.9 and strength[away > 8].max() < 0.01
    np.testing.assert_allclose(line_drawing(disc()), np.repeat(1 - strength[None], 3, 0))


def test_an_edge_between_colours_of_one_brightness_counts():
    photo = np.zeros((3, 32, 32))
    photo[0, :, :16], photo[2, :, 16:] = 0.5, 0.5
    assert contour_strength(photo)[16, 15] > 0.9


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_an_even_photo_has_none(value: float):
    assert contour_strength(np.full((3, 16, 16), value)).max() == 0
    assert line_drawing(np.full((3, 16, 16), value)).min() == 1


def test_contours_run_across_the_slope():
    angles = contour_angles(disc())
    for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        x, y = SIDE / 2 + RADIUS * np.cos(turn), SIDE / 2 + RADIUS * np.sin(turn)
        # The tangent of a circle, up to its sign.
        apart = angles[round(y), round(x)] - (turn + np.pi / 2)
        assert abs(np.sin(apart)) < 0.1


def on_the_edge() -> np.ndarray:
    """Even probabilities over the contour of the disc."""
    strong = (contour_strength(disc()) > 0.5).astype(float)
    return strong / strong.sum()


@pytest.mark.parametrize("segments", [1, 2])
def test_strokes_follow_the_contour_through_their_start(segments: int):
    starts, points = trace_contours(disc(), on_the_edge(), 6, 0, segments=segments)
    assert points.shape == (6, 3 * segments + 1, 2)
    for stroke, (row, column) in zip(points, starts, strict=True):
        drawn = drawn_places(stroke)
        assert np.abs(radii(drawn) - RADIUS).max() < 4
        assert np.hypot(*(drawn - (column, row)).T).min() < 3
        # A sixth of the circle.
        assert np.hypot(*np.diff(drawn, axis=0).T).sum() == pytest.approx(2 * np.pi * RADIUS / 6, rel=0.15)


def drawn_places(stroke: np.ndarray) -> np.ndarray:
    return np.concatenate([curve(stroke[first : first + 4]) for first in range(0, len(stroke) - 1, 3)])


def test_strokes_share_the_contour():
    """Eight strokes leave less of a circle without ink than eight drawn without regard to one another would."""

    def covered(seeds) -> float:
        shares = []
        for seed in seeds:
            _, points = trace_contours(disc(), on_the_edge(), 8, seed)
            drawn = np.concatenate([drawn_places(stroke) for stroke in points]) - SIDE / 2
            angles = np.arctan2(*drawn.T)
            shares.append(len(np.unique((angles * 72 / (2 * np.pi)).astype(int))) / 72)
        return float(np.mean(shares))

    # Independent arcs of an eighth of a circle leave (1 - 1/8)^8 = 34 % of it.
    assert covered(range(10)) > 0.8


def test_strokes_end_where_the_contour_ends():
    """A bar in the middle, 56 px long: a stroke may go around its end, and not on beyond it."""
    photo = np.ones((3, SIDE, SIDE))
    photo[:, 102:122, 84:140] = 0
    even = np.full((SIDE, SIDE), 1 / SIDE**2) * (contour_strength(photo) > 0.5)
    _, points = trace_contours(photo, even, 2, 0)
    drawn = np.concatenate([drawn_places(stroke) for stroke in points])
    assert drawn[:, 0].min() > 76 and drawn[:, 0].max() < 148
    assert drawn[:, 1].min() > 94 and drawn[:, 1].max() < 130


def test_the_length_of_a_circle_is_that_of_its_edge():
    assert contour_length(disc()) == pytest.approx(2 * np.pi * RADIUS, rel=0.1)


def test_more_strokes_than_places_begin_again():
    even = np.zeros((SIDE, SIDE))
    even[SIDE // 2, round(SIDE / 2 + RADIUS)] = 1
    starts, points = trace_contours(disc(), even, 5, 0)
    assert len(starts) == 5 and np.isfinite(points).all()


def test_strokes_stay_on_the_canvas():
    photo = np.ones((3, 40, 40))
    photo[:, :, :2] = 0
    even = np.full((40, 40), 1 / 1600)
    points = trace_contours(photo, even, 30, 0).points
    assert np.isfinite(points).all() and points.min() > -4 and points.max() < 43


def test_the_ink_of_an_edge_is_that_of_the_object():
    photo = torch.ones(1, 3, 8, 8)
    photo[..., :4] = torch.tensor([0.8, 0.1, 0.1])[None, :, None, None]
    photo[..., 4] = 0.5 * photo[..., 3] + 0.5
    ink = nearby_ink(photo)
    torch.testing.assert_close(ink[0, :, 3, :5], photo[0, :, 3, 3][:, None].expand(-1, 5))
    assert ink[..., 6:].min() == 1


def test_small_encoders_are_tuned_and_others_as_published(tiny, tiny_rn):
    assert tuning_for(tiny_rn).compare == tuning_for(tiny).compare == "lines"
    assert tuning_for(tiny_rn, "paper") == PAPER == Tuning({}, 0.1, "photo", "walk")
    assert CLIPasso(tiny_rn, compat="upstream").tuning == PAPER
    assert CLIPasso(tiny_rn, compat="upstream").weights == {"layer2": 1.0, "layer3": 1.0, "embedding": 0.1}
    assert CLIPasso(tiny_rn, layers={"layer1": 2.0}, semantic=0.3).weights == {"layer1": 2.0, "embedding": 0.3}
    assert tuning_for(SimpleNamespace(image_size=128)) is tuning_for(SimpleNamespace(image_size=224)) is PAPER
    with pytest.raises(ConfigError, match="tuning"):
        tuning_for(tiny_rn, "papr")


@pytest.mark.parametrize(("compat", "choose"), [("fixed", draw_spread_starts), ("upstream", draw_starts)])
def test_the_tuning_of_the_paper_begins_with_short_walks_from_edges(tiny, tiny_rn, compat, choose):
    painter = CLIPasso(tiny_rn, tiny, tuning="paper", views=0, compat=compat)
    done = painter.sketch("toy:key,blue", 5, 1, steps=1, seed=3)
    starts = choose(done.probabilities.numpy(), 5, 3)
    wanted = walk_points(starts, (224, 224), 3)
    np.testing.assert_allclose(done.template.points[0], wanted, rtol=1e-6)
    edges = painter._flat(done.target)
    assert not edges[tuple(starts.T)].any()


def test_strokes_begin_on_contours_under_the_tuning_for_small_encoders(tiny, tiny_rn):
    done = CLIPasso(tiny_rn, tiny, views=0).sketch("toy:key,blue", 6, 2, steps=1)
    strength = contour_strength(done.target.pixels[0].numpy())
    for row in done.template.points.numpy():
        x, y = np.concatenate([drawn_places(stroke) for stroke in row]).round().astype(int).clip(0, 223).T
        assert strength[y, x].mean() > 5 * strength.mean()
    assert not np.array_equal(*done.template.points.numpy())


def test_layers_see_the_lines_and_the_embedding_the_photo(tiny_rn):
    painter = CLIPasso(tiny_rn, views=1, tuning=Tuning({"layer1": 1.0}, 1.0, "lines", "along"))
    target = prepare_target("toy:heart,red", 224)
    wanted = Lesson(painter, target, 224, seed=0).photo_layers
    lines = torch.from_numpy(line_drawing(target.pixels[0].numpy()))[None].float()
    lines = F.interpolate(lines, (64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(wanted["layer1"], tiny_rn.layers(lines, ["layer1"])["layer1"])
    coloured = Lesson(painter, target, 224, seed=0, colour=True).lines
    red, white = coloured.amin(1), coloured.amax(1)
    assert red.min() < 0.2 and white.min() > 0.6 and torch.equal(lines, Lesson(painter, target, 224, seed=0).lines)
    photo = F.interpolate(target.pixels, (64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(wanted["embedding"], tiny_rn.layers(photo, ["embedding"])["embedding"])


@pytest.mark.parametrize("tuning", ["small", "paper"])
def test_the_border_around_a_photo_is_no_contour(tiny, tiny_rn, tuning: str):
    """A dark photo twice as wide as high, a disc in its middle, gets white above and below: nothing begins there."""
    photo = np.full((120, 240, 3), 90, np.uint8)
    rows, columns = np.mgrid[:120, :240]
    photo[np.hypot(rows - 60, columns - 120) < 30] = 220
    painter = CLIPasso(tiny_rn, tiny, tuning=tuning)
    target = prepare_target(photo, SIDE)
    assert target.inside is not None and target.inside.float().mean() == pytest.approx(0.5, abs=0.01)
    _, probabilities = painter.starts(target)
    where = np.argwhere(probabilities.numpy() > 0)
    assert len(where) and 60 < where[:, 0].min() and where[:, 0].max() < 163
    if tuning == "small":  # edges of the paper take flat dark areas along
        assert np.hypot(*(where - SIDE / 2).T).max() < 40
    ink = line_drawing(target.pixels[0].numpy(), target.inside.numpy())
    assert ink[0, 52:60].min() == 1.0 and ink.min() == 0.0
    assert prepare_target(photo, SIDE, mask=np.ones((120, 240))).inside is None
    assert prepare_target(photo, SIDE, fit="squash").inside is None
