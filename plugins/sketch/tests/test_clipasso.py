"""CLIPasso: restarts and numbers of strokes in one batch, losses as published, levels that nest, a resume."""

from __future__ import annotations

import math

import clipzoo_sketch.clipasso as module
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_sketch import Drawing
from clipzoo_sketch.clipasso import CLIPasso, Lesson, cosine_rate, layer_weights, stroke_counts
from clipzoo_sketch.importance import importance_order
from clipzoo_sketch.ink import Ink
from clipzoo_sketch.target import prepare_target
from PIL import Image

from clipzoo.errors import ConfigError, DataError
from clipzoo.images.cutouts import Cutouts


@pytest.fixture(scope="module")
def painter(tiny, tiny_rn) -> CLIPasso:
    return CLIPasso(tiny_rn, tiny, views=1)


@pytest.fixture(scope="module")
def sketch(painter):
    return painter.sketch("toy:heart,red", strokes=[3, 6], restarts=2, steps=24, trace_every=8)


def ink_of(paths: int, seed: int = 0, size: int = 64) -> Ink:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(1, paths, 1, 2, generator=generator) * 44 + 10
    points = centre + torch.rand(1, paths, 4, 2, generator=generator) * 16 - 8
    colours = torch.tensor([0.0, 0, 0, 1]).expand(1, paths, 4)
    return Ink(points, torch.full((1, paths), 2.0), colours, size)


def test_a_drawing_comes_nearer_to_its_photo(sketch):
    plain = sketch.optimised.history["plain"]
    for level, rows in zip(sketch.levels, (slice(0, 2), slice(2, 4)), strict=True):
        assert level.loss < plain[0, rows].min().item() - 0.1
        assert level.loss == pytest.approx(min(told["loss"] for told in level.restarts))
        assert level.loss == pytest.approx(sketch.optimised.best_score[level.row].item(), abs=1e-4)
        assert len(level.restarts) == 2 and level.ink.paths == level.strokes
    assert sketch.levels[1].loss < sketch.levels[0].loss
    assert isinstance(sketch.drawing, Drawing) and len(sketch.drawing.strokes) == 6


def test_strokes_that_a_drawing_lacks_are_not_seen(sketch):
    template = sketch.template
    assert template.points.shape == (4, 6, 4, 2)
    assert template.colours[:2, 3:, 3].max() == 0 and template.colours[2:, :, 3].min() == 1
    alone = template.row(0, 3).render(64)
    torch.testing.assert_close(template.row(0).render(64), alone, atol=1e-6, rtol=0)


def test_a_number_of_strokes_in_the_batch_is_drawn_as_alone(painter):
    """For a few steps: rounding that differs with the size of the batch grows later on."""
    alone = painter.sketch("toy:heart,red", strokes=3, restarts=1, steps=3)
    batch = painter.sketch("toy:heart,red", strokes=[3, 6], restarts=2, steps=3)
    torch.testing.assert_close(
        alone.optimised.best["points"][0], batch.optimised.best["points"][0, :3], atol=0.05, rtol=0
    )


def test_the_same_seed_gives_the_same_sketch(painter):
    first, second = (painter.sketch("toy:key,blue", strokes=3, restarts=1, steps=4, seed=5) for _ in range(2))
    other = painter.sketch("toy:key,blue", strokes=3, restarts=1, steps=4, seed=6)
    assert torch.equal(first.levels[0].ink.points, second.levels[0].ink.points)
    assert not torch.equal(first.levels[0].ink.points, other.levels[0].ink.points)


def test_the_loss_is_that_of_the_paper(tiny, tiny_rn):
    """Mean squared differences of layer2 and layer3 and a tenth of one minus the cosine, in NumPy float64."""
    painter = CLIPasso(tiny_rn, tiny, views=2, tuning="paper")
    target = prepare_target("toy:fish,blue", 64)
    ink = Ink.stack([ink_of(5), ink_of(5, 1)])
    lesson = Lesson(painter, target, 64, seed=3)
    found = lesson.losses(ink, step=7)
    cutouts = Cutouts("clipasso", size=64, count=3)
    pictures = ink.render(64)
    draw = cutouts.draw(64, 64, seeds=3, step=7)
    ours, theirs = cutouts.apply(pictures, draw), cutouts.apply(target.pixels, draw)
    for row in range(2):
        values = []
        for view in range(3):
            a, b = (
                {k: v[0].double().numpy() for k, v in tiny_rn.layers(x, ["layer2", "layer3", "embedding"]).items()}
                for x in (ours[row, view][None], theirs[0, view][None])
            )
            e, f = a["embedding"], b["embedding"]
            cosine = (e * f).sum() / math.sqrt((e * e).sum() * (f * f).sum())
            values.append(
                ((a["layer2"] - b["layer2"]) ** 2).mean()
                + ((a["layer3"] - b["layer3"]) ** 2).mean()
                + 0.1 * (1 - cosine)
            )
        assert found["loss"][row].item() == pytest.approx(np.mean(values), rel=1e-4)
        assert found["plain"][row].item() == pytest.approx(values[0], rel=1e-4)
    # The first view is the drawing as it is.
    torch.testing.assert_close(ours[:, 0], pictures, atol=1e-5, rtol=0)


def test_no_gradient_and_no_activation_of_the_photo_is_kept(painter):
    lesson = Lesson(painter, prepare_target("toy:fish,blue", 64), 64, seed=0)
    ink = ink_of(4)
    moving = ink.points.clone().requires_grad_()
    lesson.losses(ink.moved(moving), 0)["loss"].sum().backward()
    assert torch.isfinite(moving.grad).all() and moving.grad.abs().max() > 0
    assert all(weight.grad is None for weight in painter.clip.model.parameters())
    assert not any(value.requires_grad for value in lesson.photo_layers.values())


def test_the_order_of_strokes_is_that_of_backward_elimination():
    weights = torch.tensor([0.3, 2.0, 0.1, 1.0])
    ink = ink_of(4)

    def score(inks: Ink) -> torch.Tensor:
        return -(inks.colours[..., 3] * weights).sum(1)

    order, scores = importance_order(score, ink)
    assert order == [1, 3, 0, 2]
    assert scores.tolist() == pytest.approx([-2.0, -3.0, -3.3, -3.4])


def test_each_level_of_a_drawing_is_the_next_one_less_a_stroke(painter, sketch):
    level = sketch.levels[-1]
    lesson = Lesson(painter, sketch.target, 224, seed=0)
    for count in range(1, level.strokes + 1):
        loss = lesson.plain(level.ink.first(count))[0].item()
        assert loss == pytest.approx(level.nested_loss[count - 1].item(), abs=1e-4)
    tried = [
        lesson.plain(level.ink.ordered([k for k in range(level.strokes) if k != left]))[0].item()
        for left in range(level.strokes)
    ]
    assert level.nested_loss[-2].item() == pytest.approx(min(tried), abs=1e-4)


def test_the_way_begins_with_the_start_and_ends_with_the_last_drawing(sketch):
    level = sketch.levels[-1]
    way = sketch.way(level)
    assert [step for step, _ in way] == [0, 8, 16, 24]
    torch.testing.assert_close(way[0][1].points, sketch.template.row(level.row).points)
    torch.testing.assert_close(way[-1][1].points[0], sketch.optimised.last["points"][level.row])


def test_colour_and_segments(painter):
    done = painter.sketch("toy:heart,red", strokes=4, restarts=1, steps=12, segments=2, colour=True)
    ink = done.levels[0].ink
    assert ink.points.shape == (1, 4, 7, 2)
    red, green, _, opacity = ink.colours[0].unbind(-1)
    assert bool((red > green + 0.2).all()) and opacity.min() == 1
    assert ink.colours.min() >= 0 and ink.colours.max() <= 1
    assert not torch.equal(done.optimised.last["colours"], done.template.colours[..., :3])


def test_a_resumed_sketch_is_the_one_without_a_break(painter, tmp_path):
    def draw(path, stop_at=None, resume=False):
        def stop(moment):
            if moment.step == stop_at:
                raise KeyboardInterrupt

        return painter.sketch(
            "toy:cup,green", strokes=3, restarts=1, steps=9, trace_every=4, callbacks=[stop], checkpoint=path,
            save_every=2, resume=resume,
        )  # fmt: skip

    whole = draw(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "broken", stop_at=5)
    resumed = draw(tmp_path / "broken", resume=True)
    assert torch.equal(whole.levels[0].ink.points, resumed.levels[0].ink.points)
    assert torch.equal(whole.optimised.history["loss"], resumed.optimised.history["loss"])
    with pytest.raises(ConfigError, match="counts was"):
        painter.sketch("toy:cup,green", strokes=4, restarts=1, steps=9, checkpoint=tmp_path / "broken", resume=True)


def test_upstream_keeps_its_quirks(tiny, tiny_rn, monkeypatch):
    seen = {}

    def spy(*args, **kwargs):
        seen.update(kwargs)
        return real(*args, **kwargs)

    real = module.optimise
    monkeypatch.setattr(module, "optimise", spy)
    wide = Image.new("RGB", (96, 48), "white")
    wide.paste((0, 0, 0), (30, 10, 60, 40))
    painter = CLIPasso(tiny_rn, tiny, views=1, compat="upstream")
    done = painter.sketch(wide, strokes=2, restarts=1, steps=2, mask="none")
    assert seen["snapshot"] == "after-step"
    assert (seen["early_stop"].patience, seen["early_stop"].close_only) == (2, True)
    assert not painter.cutouts.compose_warps
    assert painter.default_width(224) == 3
    # Squashed: the object fills half of the width's columns, as in the photo.
    assert (done.target.pixels[0, 0].amin(0) < 0.5).sum().item() == pytest.approx(70, abs=3)
    fixed = CLIPasso(tiny_rn, tiny, views=1)
    padded = fixed.sketch(wide, strokes=2, restarts=1, steps=2, mask="none")
    assert padded.target.pixels[0, 0, :50].min() == 1
    assert seen["snapshot"] == "same-step" and fixed.cutouts.compose_warps


def test_default_layers_follow_the_tower(tiny, tiny_rn):
    assert layer_weights(tiny_rn, None, 0.1) == {"layer2": 1.0, "layer3": 1.0, "embedding": 0.1}
    assert layer_weights(tiny, None, 0.5) == {"block2": 1.0, "block3": 1.0, "embedding": 0.5}
    assert layer_weights(tiny_rn, {"layer1": 2.0}, 0.0) == {"layer1": 2.0, "embedding": 0.0}
    with pytest.raises(ConfigError, match="layer2"):
        layer_weights(tiny_rn, {"layr2": 1.0}, 0.1)
    with pytest.raises(ConfigError):
        layer_weights(tiny_rn, {}, 0.0)


def test_a_vit_can_draw_too(tiny):
    done = CLIPasso(tiny, views=1).sketch("toy:star,black", strokes=3, restarts=1, steps=3)
    assert math.isfinite(done.levels[0].loss)


def test_rates_fall_along_a_cosine():
    assert [cosine_rate(2.0, 50, 1.0)(step) for step in (0, 20, 49)] == [2.0, 2.0, 2.0]
    falling = [cosine_rate(2.0, 50, 0.1)(step) for step in range(50)]
    assert falling[0] == 2.0 and falling[-1] == pytest.approx(0.2) and falling == sorted(falling, reverse=True)
    with pytest.raises(ConfigError):
        cosine_rate(1.0, 5, 2.0)


@pytest.mark.parametrize("strokes", [0, -1, [], [4, 0], 5000])
def test_numbers_of_strokes_that_cannot_be(strokes):
    with pytest.raises(ConfigError, match="strokes"):
        stroke_counts(strokes)


@pytest.mark.parametrize(
    "given",
    [{"restarts": 0}, {"segments": 0}, {"size": 4}, {"width": -1.0}, {"learning_rate": 0.0}, {"select": "best"}],
)
def test_settings_that_cannot_be(painter, given):
    with pytest.raises(ConfigError):
        painter.sketch("toy:fish,blue", strokes=2, steps=1, **given)


def test_a_painter_that_cannot_be(tiny_rn):
    for given in ({"compat": "old"}, {"views": -1}, {"semantic": -0.1}, {"layers": {"layer9": 1.0}}):
        with pytest.raises(ConfigError):
            CLIPasso(tiny_rn, **given)


@pytest.mark.parametrize("colour", ["white", "black", (90, 140, 30)])
def test_a_blank_photo_has_nothing_to_draw(painter, colour):
    with pytest.raises(DataError, match="nothing to draw"):
        painter.sketch(Image.new("RGB", (70, 70), colour), strokes=2, steps=1)


def test_a_photo_smaller_than_the_encoder_can_be_drawn(painter):
    small = Image.new("RGB", (20, 14), "white")
    small.paste((0, 0, 0), (5, 4, 12, 10))
    done = painter.sketch(small, strokes=2, restarts=1, steps=2, size=96)
    assert done.levels[0].ink.size == 96 and "enlarged" in done.target.notes[0]


def test_the_canvas_is_a_unit_only(painter):
    """Twice the canvas gives the same picture in numbers twice as large."""
    target = prepare_target("toy:heart,red", 64)
    ink = ink_of(4)
    twice = Ink(ink.points * 2, ink.widths * 2, ink.colours, 128)
    torch.testing.assert_close(ink.render(64), twice.render(64), atol=1e-5, rtol=0)
    losses = [Lesson(painter, target, size, 0).plain(one)[0] for size, one in ((64, ink), (128, twice))]
    torch.testing.assert_close(*losses, atol=1e-4, rtol=1e-4)
    assert F.mse_loss(ink.render(64), target.pixels) > 0.01
