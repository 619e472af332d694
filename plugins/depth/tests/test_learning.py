"""Learning from a few images: the loss, what is kept, and that it finds what is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_depth import DepthCLIP, LearningRecipe, depth_metrics, gather_shots, learn_depth, scale_invariant_loss
from clipzoo_depth.learning import Shots, sampled

import clipzoo
from clipzoo.errors import ConfigError, DataError


def test_loss_is_its_definition():
    random = np.random.default_rng(0)
    target = random.uniform(0.5, 5, (3, 6, 8))
    target[random.random(target.shape) < 0.3] = 0
    predicted = random.uniform(0.5, 5, target.shape)
    rows = []
    for p, t in zip(predicted, target, strict=True):
        gap = np.log(p[t > 0]) - np.log(t[t > 0])
        rows.append((gap**2).mean() - 0.5 * gap.mean() ** 2)
    found = scale_invariant_loss(torch.from_numpy(predicted), torch.from_numpy(target))
    assert float(found) == pytest.approx(np.mean(rows), abs=1e-12)


def test_scale_costs_nothing_at_balance_one():
    target = torch.rand(2, 4, 5, dtype=torch.float64) + 0.5
    predicted = torch.rand(2, 4, 5, dtype=torch.float64) + 0.5
    once, thrice = (scale_invariant_loss(factor * predicted, target, 1.0) for factor in (1, 3))
    assert float(once) == pytest.approx(float(thrice), abs=1e-12)
    assert float(scale_invariant_loss(3 * target, target, 1.0)) == pytest.approx(0, abs=1e-12)
    assert float(scale_invariant_loss(3 * target, target, 0.5)) == pytest.approx(0.5 * np.log(3) ** 2)


def test_gradient_of_the_loss():
    target = torch.rand(2, 3, 4, dtype=torch.float64) + 0.5
    target[0, 0] = 0
    predicted = (torch.rand(2, 3, 4, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: scale_invariant_loss(p, target), predicted)


def test_images_without_depth_do_not_count():
    target = torch.rand(2, 3, 4) + 0.5
    target[1] = 0
    predicted = torch.rand(2, 3, 4) + 0.5
    torch.testing.assert_close(scale_invariant_loss(predicted, target), scale_invariant_loss(predicted[:1], target[:1]))
    with pytest.raises(DataError, match="no depth is known"):
        scale_invariant_loss(predicted, target * 0)


def test_samples_are_pixels_of_the_map():
    depth = torch.arange(35.0).reshape(1, 5, 7)
    torch.testing.assert_close(sampled(depth, 3, 3)[0], depth[0][::2][:, ::3])
    torch.testing.assert_close(sampled(depth, 9, 9), depth)


def worded(tiny_rn, depths: list[float]) -> tuple[DepthCLIP, list[Shots]]:
    """Places that look exactly like one of three words, which stand for ``depths``."""
    method = DepthCLIP(tiny_rn, [1.0, 2.0, 3.0], ["close", "far", "unseen"], temperature=1.0)
    which = torch.randint(3, (6, 4, 5), generator=torch.Generator().manual_seed(0))
    return method, [Shots(method.text[which], torch.tensor(depths)[which])]


def test_depths_of_bins_are_found(tiny_rn):
    method, shots = worded(tiny_rn, [0.6, 2.8, 5.5])
    recipe = LearningRecipe(steps=400, pull=0.0, learning_rate=0.1)
    learned = learn_depth(method, shots, ["bins"], recipe)
    assert learned.losses[-1] < 0.02 < learned.losses[0]
    np.testing.assert_allclose(learned.method.bins.tolist(), [0.6, 2.8, 5.5], rtol=0.2)
    # The method that it started from is as it was, and rows were not to be learned.
    assert method.bins.tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(learned.method.text, method.text)


@pytest.mark.parametrize("learn", [["bins"], ["prompts"], ["bins", "prompts"], ["context"]])
def test_only_what_was_asked_for_is_learned(tiny_rn, learn):
    method, shots = worded(tiny_rn, [0.9, 1.4, 3.5])
    found = learn_depth(method, shots, learn, LearningRecipe(steps=3)).method
    assert torch.equal(found.bins, method.bins) == ("bins" not in learn)
    assert torch.equal(found.text, method.text) == (learn == ["bins"])
    assert bool((found.bins.diff() > 0).all())
    torch.testing.assert_close(found.text.norm(dim=-1), torch.ones(3), rtol=0, atol=1e-5)
    assert found.predict(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_learning_gives_the_same_twice(tiny_rn):
    method, shots = worded(tiny_rn, [0.9, 1.4, 3.5])
    first, second = (learn_depth(method, shots, ["bins", "prompts"], LearningRecipe(steps=5)) for _ in range(2))
    assert first.losses == second.losses and torch.equal(first.method.bins, second.method.bins)


def test_shots_hold_images_and_their_mirror_images(tiny_rn):
    method = DepthCLIP(tiny_rn)
    images = [torch.rand(3, 64, 96), torch.rand(3, 64, 96), torch.rand(3, 32, 64)]
    depths = [torch.rand(64, 96) + 1, torch.rand(64, 96) + 1, torch.full((32, 64), float("nan"))]
    shots = gather_shots(method, images, depths)
    assert [part.features.shape[:3] for part in shots] == [(4, 2, 3), (2, 1, 2)]
    torch.testing.assert_close(shots[0].features[:1], method.features(images[0][None]), rtol=0, atol=1e-5)
    torch.testing.assert_close(shots[0].depth[1], shots[0].depth[0].flip(-1))
    assert (shots[1].depth == 0).all()


def test_bad_requests(tiny_rn):
    method, shots = worded(tiny_rn, [1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="bins, prompts, context"):
        learn_depth(method, shots, ["bin"])
    with pytest.raises(ConfigError, match="nothing"):
        learn_depth(method, shots, [])
    with pytest.raises(ConfigError, match="cannot both"):
        learn_depth(method, shots, ["prompts", "context"])
    with pytest.raises(DataError, match="no pixel of known depth"):
        learn_depth(method, [Shots(shots[0].features, shots[0].depth * 0)])
    with pytest.raises(DataError, match="pairs"):
        gather_shots(method, [torch.rand(3, 64, 64)], [])
    with pytest.raises(DataError, match="with depth of"):
        gather_shots(method, [torch.rand(3, 64, 64)], [torch.rand(32, 64)])


def best_constant(depth: torch.Tensor) -> float:
    """The best delta1 of one depth for all pixels, chosen on the very images it is measured on."""
    return max(
        float((torch.maximum(depth / value, value / depth) < 1.25).float().mean()) for value in np.linspace(1, 4.5, 71)
    )


def test_eight_rooms_beat_the_best_constant(tiny_rn, room_pairs):
    """On rooms that were not learned from; even_channels has features of the rooms whatever the words mean."""
    images, depths = room_pairs("train", 8)
    method = DepthCLIP(tiny_rn, projection="even_channels", preprocessing="encoder")
    shots = gather_shots(method, list(images), list(depths))
    learned = learn_depth(method, shots, ["bins", "prompts"], LearningRecipe(steps=200)).method
    images, depths = room_pairs("test", 16)
    found = depth_metrics(learned.predict(images), depths, "whole")
    assert found["a1"] > best_constant(depths) + 0.05
    flat = depth_metrics(torch.full_like(depths, float(depths.median())), depths, "whole")
    assert found["abs_rel"] < flat["abs_rel"] and found["rmse"] < flat["rmse"]


def test_words_alone_beat_the_best_constant(room_pairs):
    """Zero-shot, with the bundled encoder that met the words of distance in training."""
    images, depths = room_pairs("test", 24)
    method = DepthCLIP(clipzoo.load_clip("tiny", device="cpu"), preprocessing="encoder")
    found = depth_metrics(method.predict(images), depths, "whole")
    assert found["a1"] > best_constant(depths) + 0.05
