import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipzoo.errors import ConfigError, DataError
from clipzoo.heads import (
    LAMBDAS,
    CLIPAdapter,
    TipAdapter,
    draw_shots,
    fit_linear_probe,
    fit_probe_path,
    knn_probabilities,
    read_shots,
    search_tip,
    train_clip_adapter,
    train_tip_adapter,
    write_shots,
)


def blobs(per_class: int, classes: int = 4, dim: int = 16, spread: float = 0.6, seed: int = 0):
    """Unit rows around one unit centre a class, and those centres."""
    generator = torch.Generator().manual_seed(99)
    centres = F.normalize(torch.randn(classes, dim, generator=generator), dim=-1)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    noise = torch.randn(len(labels), dim, generator=generator) * spread
    return F.normalize(centres[labels] + noise, dim=-1), labels, centres


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_probe_is_a_minimum(strength) -> None:
    """The gradient of the objective, written out in NumPy, is zero at the answer."""
    features, labels, _ = blobs(20)
    probe = fit_linear_probe(features, labels, 4, strength)
    x, w, b = features.double().numpy(), probe.weight.numpy(), probe.bias.numpy()
    scores = x @ w.T + b
    scores = np.exp(scores - scores.max(1, keepdims=True))
    error = scores / scores.sum(1, keepdims=True) - np.eye(4)[labels]
    assert np.abs(error.T @ x + strength * w).max() < 1e-4
    assert np.abs(error.sum(0)).max() < 1e-4


def test_probe_is_that_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is the peer of this test")
    features, labels, _ = blobs(20)
    ours = fit_linear_probe(features, labels, 4, 1 / 0.316)
    theirs = linear.LogisticRegression(C=0.316, max_iter=1000, tol=1e-8).fit(features.numpy(), labels.numpy())
    np.testing.assert_allclose(
        ours.logits(features).softmax(-1).numpy(), theirs.predict_proba(features.numpy()), atol=1e-3
    )


def test_probe_with_a_prior_goes_from_the_prior_to_a_plain_probe() -> None:
    features, labels, centres = blobs(20)
    strong = fit_linear_probe(features, labels, 4, 1e8, prior=100 * centres)
    torch.testing.assert_close(strong.weight, 100 * centres.double(), atol=1e-4, rtol=0)
    plain = fit_linear_probe(features, labels, 4, 1.0)
    same = fit_linear_probe(features, labels, 4, 1.0, prior=torch.zeros(4, 16))
    torch.testing.assert_close(plain.weight, same.weight)


def test_probe_path_halves_the_interval_and_starts_warm() -> None:
    features, labels, _ = blobs(10, spread=1.2)
    held = blobs(10, spread=1.2, seed=1)[:2]
    path = fit_probe_path(features, labels, held, 4)
    assert len(LAMBDAS) == 96 and LAMBDAS[0] == pytest.approx(1e-6) and LAMBDAS[-1] == pytest.approx(1e6)
    assert 6 <= len(path.tried) <= 16
    assert path.tried[path.probe.strength] == max(path.tried.values())
    full = {s: fit_linear_probe(features, labels, 4, s) for s in LAMBDAS[::8]}
    best = max(float((p.logits(held[0]).argmax(1) == held[1]).double().mean()) for p in full.values())
    assert path.tried[path.probe.strength] >= best - 0.051


def test_knn_against_a_loop() -> None:
    features, labels, _ = blobs(6)
    queries = blobs(2, seed=5)[0]
    found = knn_probabilities(queries, features, labels, 4, neighbours=5, temperature=0.1, chunk=3)
    for query, row in zip(queries.numpy(), found.numpy(), strict=True):
        cosines = features.numpy() @ query
        votes = np.zeros(4)
        for index in np.argsort(-cosines)[:5]:
            votes[labels[index]] += np.exp(cosines[index] / 0.1)
        np.testing.assert_allclose(row, votes / votes.sum(), atol=1e-5)


def test_tip_against_the_formula() -> None:
    features, labels, centres = blobs(3)
    queries = blobs(2, seed=5)[0]
    tip = TipAdapter.build(centres, features, labels, alpha=1.17, beta=1.0)
    f, keys, values = (part.double().numpy() for part in (queries, features, F.one_hot(labels).float()))
    expected = 100 * f @ centres.double().numpy().T + 1.17 * np.exp(-1.0 * (1 - f @ keys.T)) @ values
    np.testing.assert_allclose(tip.logits(queries).numpy(), expected, atol=1e-4)


def noisy_text(centres: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return F.normalize(centres + 0.5 * torch.randn(centres.shape, generator=generator), dim=-1)


def accuracy(scores, labels) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def test_heads_improve_on_bad_sentences() -> None:
    train, labels, centres = blobs(8, classes=8, spread=0.5)
    held = blobs(8, classes=8, spread=0.5, seed=1)[:2]
    test, truth, _ = blobs(50, classes=8, spread=0.5, seed=2)
    text = noisy_text(centres)
    base = accuracy(test @ text.T, truth)
    tip = search_tip(TipAdapter.build(text, train, labels, scale=5.0), *held)
    tuned = train_tip_adapter(tip, train, labels, held, generator=torch.Generator().manual_seed(0))
    adapter = train_clip_adapter(
        text, train, labels, held, scale=20.0, epochs=40, learning_rate=0.05, generator=torch.Generator().manual_seed(0)
    )
    assert accuracy(tip.logits(test), truth) > base + 0.02
    assert accuracy(tuned.logits(test), truth) >= accuracy(tip.logits(test), truth) - 0.01
    assert accuracy(adapter.logits(test, text, 20.0), truth) > base
    assert accuracy(fit_probe_path(train, labels, held, 8, prior=5 * text).probe.logits(test), truth) > base


def test_training_is_repeatable_and_keeps_what_was_best() -> None:
    train, labels, centres = blobs(4)
    held = blobs(4, seed=1)[:2]
    tip = TipAdapter.build(centres, train, labels)
    runs = [
        train_tip_adapter(tip, train, labels, held, epochs=3, generator=torch.Generator().manual_seed(7)).keys
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert not any(key.requires_grad for key in runs)


def test_adapter_that_does_nothing() -> None:
    features = blobs(2)[0]
    torch.testing.assert_close(CLIPAdapter(16, ratio=0.0)(features), features)
    with pytest.raises(ConfigError):
        CLIPAdapter(16, ratio=1.5)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.ones(3, 4), torch.tensor([0, 1])),
        (torch.ones(2, 4), torch.tensor([0, 5])),
        (torch.ones(2, 4), torch.tensor([0, -1])),
        (torch.ones(0, 4), torch.tensor([], dtype=torch.long)),
        (torch.full((2, 4), float("nan")), torch.tensor([0, 1])),
    ],
)
def test_rows_and_labels_must_belong_together(features, labels) -> None:
    for call in (
        lambda: fit_linear_probe(features, labels, 2),
        lambda: knn_probabilities(torch.ones(1, 4), features, labels, 2),
        lambda: TipAdapter.build(torch.ones(2, 4), features, labels),
    ):
        with pytest.raises(DataError):
            call()


def test_options_out_of_range() -> None:
    features, labels, _ = blobs(2)
    with pytest.raises(ConfigError):
        fit_linear_probe(features, labels, 4, 0.0)
    with pytest.raises(ConfigError):
        knn_probabilities(features, features, labels, 4, neighbours=0)
    with pytest.raises(DataError):
        fit_linear_probe(features, labels, 4, prior=torch.zeros(3, 16))


def test_shots_are_nested_and_do_not_depend_on_the_order() -> None:
    keys = [f"img{k}" for k in range(100)]
    labels = [k % 5 for k in range(100)]
    drawn = {shots: draw_shots(keys, labels, shots, seed=3) for shots in (1, 2, 4, 8, 16)}
    for few, many in ((1, 2), (2, 4), (4, 8), (8, 16)):
        assert set(drawn[few].train) < set(drawn[many].train)
    for shots, split in drawn.items():
        assert len(split.train) == 5 * shots and not set(split.train) & set(split.validation)
        assert len(split.validation) == 5 * min(shots, 4)
    assert set(drawn[4].validation) == set(drawn[16].validation)
    order = np.random.default_rng(0).permutation(100)
    again = draw_shots([keys[k] for k in order], [labels[k] for k in order], 4, seed=3)
    assert again == drawn[4] and draw_shots(keys, labels, 4, seed=4) != drawn[4]


def test_small_classes_share_what_they_have() -> None:
    drawn = draw_shots(["a", "b", "c", "d"], [0, 1, 1, 1], shots=16)
    assert "a" in drawn.train and len(drawn.train) == 3 and len(drawn.validation) == 1


def test_shots_in_a_file(tmp_path) -> None:
    drawn = draw_shots(["a", "b", "c", "d"], [0, 0, 1, 1], shots=1)
    write_shots(tmp_path / "s.json", drawn)
    assert read_shots(tmp_path / "s.json") == drawn
    (tmp_path / "s.json").write_text('{"train": ["a"], "validation": ["a"], "shots": 1, "seed": 0}')
    with pytest.raises(DataError, match="both parts"):
        read_shots(tmp_path / "s.json")
    (tmp_path / "s.json").write_text("[")
    with pytest.raises(DataError):
        read_shots(tmp_path / "s.json")
    with pytest.raises(DataError):
        draw_shots(["a", "a"], [0, 1], 1)


@pytest.mark.data
def test_real_features(test_data) -> None:
    """500 CIFAR-10 images through OpenAI's ViT-B/32, against real text rows."""
    folder = test_data / "weights" / "clip_vitb32_features"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name}")
    features = torch.from_numpy(np.load(folder / "image_embeddings.npy")).float()
    labels = torch.from_numpy(np.load(folder / "image_labels.npy")).long()
    lvis = torch.from_numpy(np.load(folder / "lvis_clip_hand_craft.npy")).float()
    text = F.normalize(lvis[[2, 206, 98, 224, 358, 377, 474, 568, 768, 1122]], dim=-1)
    assert accuracy(features @ text.T, labels) == pytest.approx(0.918, abs=1e-3)
    coco = torch.from_numpy(np.load(folder / "coco_clip_hand_craft.npy")).float()
    shared = {0: 4, 1: 2, 2: 14, 3: 15, 5: 16, 7: 17, 8: 8, 9: 7}  # CIFAR-10 label: COCO row
    known = [place for place, label in enumerate(labels.tolist()) if label in shared]
    truth = torch.tensor([list(shared).index(label) for label in labels[known].tolist()])
    scores = features[known] @ F.normalize(coco[list(shared.values())], dim=-1).T
    assert accuracy(scores, truth) == pytest.approx(0.948, abs=1e-3)
    keys = [f"{row:04d}" for row in range(500)]
    gains = []
    for seed in range(3):
        drawn = draw_shots(keys, labels.tolist(), 16, seed)
        train, held = ([int(key) for key in part] for part in (drawn.train, drawn.validation))
        test = sorted(set(range(500)) - {*train, *held})
        tip = search_tip(TipAdapter.build(text, features[train], labels[train]), features[held], labels[held])
        gains.append(
            accuracy(tip.logits(features[test]), labels[test]) - accuracy(features[test] @ text.T, labels[test])
        )
    assert np.mean(gains) > -0.005
