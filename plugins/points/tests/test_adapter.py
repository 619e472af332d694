"""The inter-view adapter: the published numbers, and its training."""

from __future__ import annotations

import pytest
import torch
from clipzoo_points import AdapterRecipe, InterViewAdapter, train_adapter
from clipzoo_points.adapter import augment_shots, smoothed_cross_entropy
from torch.nn.functional import normalize

from clipzoo.errors import ConfigError, DataError

# Where the published modules are here.
PLACES = {
    "fusion_ratio": "fusion_ratio",
    "global_f__0__bn": "view_norm",
    "global_f__3": "fuse",
    "global_f__4": "fuse_norm",
    "view_f__0": "expand.0",
    "view_f__2": "expand.2",
}


@pytest.fixture
def published(oracle):
    stored = oracle("adapter")
    adapter = InterViewAdapter(int(stored["views"]), int(stored["channels"]), float(stored["ratio"]))
    weights = {}
    for key, value in stored.items():
        if key.startswith("w__"):
            name = key.removeprefix("w__")
            place = next(place for place in PLACES if name.startswith(place))
            weights[PLACES[place] + name.removeprefix(place).replace("__", ".")] = value
    adapter.load_state_dict(weights)
    return adapter.eval(), stored


def test_it_equals_the_published_code(published):
    adapter, stored = published
    features = stored["feat"].reshape(4, 10, 16)
    with torch.no_grad():
        assert float((adapter(features).flatten(1) - stored["out"]).abs().max()) <= 1e-5
        logits = adapter.logits(features, stored["text"], 100.0)
    assert float((logits - stored["logits"]).abs().max()) <= 1e-5


def test_the_loss_equals_the_published_one(published):
    _, stored = published
    loss = smoothed_cross_entropy(stored["logits"], stored["labels"])
    assert float(loss) == pytest.approx(float(stored["smooth_loss"]), abs=1e-5)


def problem(seed: int, per_class: int = 12):
    """Three classes whose features lie by another class's text: zero-shot fails, an adapter learns them."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.eye(3, 16)
    labels = torch.arange(3).repeat_interleave(per_class)
    features = text[(labels + 1) % 3][:, None] + 0.05 * torch.randn(len(labels), 4, 16, generator=generator)
    return normalize(features, dim=-1), labels, text


RECIPE = AdapterRecipe(epochs=40, batch_size=12, learning_rate=0.05)


def fit(seed: int = 0, **options):
    features, labels, text = problem(1)
    held_features, held_labels, _ = problem(2)
    return train_adapter(
        lambda epoch: features,
        labels,
        text,
        20.0,
        validation=(held_features, held_labels),
        recipe=RECIPE,
        generator=torch.Generator().manual_seed(seed),
        **options,
    )


def test_training_learns_what_zero_shot_cannot_tell():
    features, labels, text = problem(2)
    zero_shot = (features.sum(1) @ text.T).argmax(1)
    assert float((zero_shot == labels).float().mean()) == 0
    found = fit()
    assert found.validation_accuracy >= 0.95
    assert 0 < found.epoch < RECIPE.epochs
    assert not found.adapter.training
    again = found.adapter.logits(features, text, 20.0).argmax(1)
    assert float((again == labels).float().mean()) == pytest.approx(found.validation_accuracy)


def test_training_is_deterministic():
    one, two, other = fit(0).adapter.state_dict(), fit(0).adapter.state_dict(), fit(1).adapter.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["fuse.weight"], other["fuse.weight"])


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    fit()
    assert torch.equal(torch.get_rng_state(), before)


def test_features_are_asked_for_once_an_epoch():
    features, labels, text = problem(1)
    asked = []
    train_adapter(
        lambda epoch: asked.append(epoch) or features,
        labels,
        text,
        20.0,
        validation=(features, labels),
        recipe=AdapterRecipe(epochs=3),
    )
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("shape", [(4, 16), (4, 3, 16), (4, 10, 8)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(DataError, match=r"\[batch, 10, 16\]"):
        InterViewAdapter(10, 16).eval()(torch.zeros(shape))


def test_one_cloud_is_too_few_to_train_on():
    features, labels, text = problem(1)
    with pytest.raises(DataError, match="at least two"):
        train_adapter(lambda epoch: features[:1], labels[:1], text, 20.0, validation=(features, labels))


def test_one_class_is_too_few_for_the_loss():
    with pytest.raises(ConfigError, match="two classes"):
        smoothed_cross_entropy(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))


def test_augmentation_scales_shifts_and_shuffles():
    points = torch.rand(3, 50, 3, generator=torch.Generator().manual_seed(0))
    one = augment_shots(points, torch.Generator().manual_seed(4))
    assert torch.equal(one, augment_shots(points, torch.Generator().manual_seed(4)))
    before, after = points.sort(1).values, one.sort(1).values
    scale = (after[:, -1] - after[:, 0]) / (before[:, -1] - before[:, 0])
    shift = after[:, 0] - before[:, 0] * scale
    assert float(scale.min()) >= 2 / 3 - 1e-5
    assert float(scale.max()) <= 3 / 2 + 1e-5
    assert float(shift.abs().max()) <= 0.2 + 1e-5
    assert torch.allclose(after, before * scale[:, None] + shift[:, None], atol=1e-5)
    assert not torch.allclose(one, points * scale[:, None] + shift[:, None], atol=1e-3)
