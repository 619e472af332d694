"""The loop alone, on a model of two numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from clipzoo_train.loop import Loop, LoopSettings, parameter_groups
from torch import nn

from clipzoo.errors import ConfigError, RunError, WeightsError


def make(steps: int = 12, epoch_steps: int = 4, backward=None, width: int = 2, **settings) -> Loop:
    model = nn.Sequential(nn.Linear(width, 3), nn.Dropout(0.3), nn.Linear(3, 1))
    source = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value.data = torch.randn(value.shape, generator=source)

    def plain(batch: torch.Tensor) -> torch.Tensor:
        loss = (model(batch) - 1).square().mean()
        loss.backward()
        return loss.detach()

    groups = parameter_groups(model.named_parameters(), lambda name: "all", {"all": 0.05}, 0.1)
    return Loop(
        model, groups, LoopSettings(steps, epoch_steps, **settings), backward or plain, identity={"width": width}
    )


def batches(epoch: int, first: int, steps: int = 4, width: int = 2):
    for step in range(first, steps):
        yield torch.from_numpy(np.random.default_rng([epoch, step]).normal(size=(5, width))).float()


@pytest.mark.parametrize("at", [4, 5, 11])
def test_a_killed_run_goes_on_to_the_bit(tmp_path, at, quiet_random):
    settings = {"ema": 0.9, "save_every": 1, "warmup_steps": 3, "schedule": "plateau", "plateau_patience": 0}

    def score(row):
        return -row["loss"]

    torch.manual_seed(5)
    whole = make(**settings)
    told = whole.run(batches, score)
    torch.manual_seed(5)
    killed = make(**settings)

    def kill(step):
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.run(batches, score, state=tmp_path / "state.pt", before_step=kill)
    torch.manual_seed(99)
    again = make(**settings)
    resumed = again.run(batches, score, state=tmp_path / "state.pt")
    for first, second in ((whole.trained, again.trained), (whole.result, again.result)):
        for name, value in first.state_dict().items():
            assert torch.equal(value, second.state_dict()[name]), name
    clock = {"steps_per_second"}
    strip = [[{k: v for k, v in row.items() if k not in clock} for row in p.rows] for p in (told, resumed)]
    assert strip[0] == strip[1] and told.best == resumed.best and told.rate == resumed.rate


def test_averaged_weights_follow_the_closed_form(quiet_random):
    loop = make(steps=6, epoch_steps=3, ema=0.8)
    weight = loop.trained[0].weight
    seen = []
    # The first update copies.
    loop.after_step = lambda batch: seen.append(weight.detach().clone())
    loop.run(lambda e, f: batches(e, f, 3), lambda row: None)
    expected = seen[0] * 0.8**5 + sum(0.2 * 0.8 ** (5 - k) * seen[k] for k in range(1, 6))
    torch.testing.assert_close(loop.result[0].weight.detach(), expected)


def test_averaged_statistics_follow_the_closed_form(quiet_random):
    """Those of batch normalisation are averaged as the weights are, and not only copied; masks stay as they are."""
    norm = nn.BatchNorm1d(2)
    norm.register_buffer("mask", torch.full((2,), -math.inf), persistent=False)

    def backward(batch: torch.Tensor) -> torch.Tensor:
        loss = norm(batch).square().mean()
        loss.backward()
        return loss.detach()

    groups = parameter_groups(norm.named_parameters(), lambda name: "all", {"all": 0.05}, 0.1)
    loop = Loop(norm, groups, LoopSettings(6, 3, ema=0.8), backward)
    seen = []
    loop.after_step = lambda batch: seen.append(norm.running_mean.clone())
    loop.run(lambda e, f: batches(e, f, 3), lambda row: None)
    expected = seen[0] * 0.8**5 + sum(0.2 * 0.8 ** (5 - k) * seen[k] for k in range(1, 6))
    torch.testing.assert_close(loop.result.running_mean, expected)
    assert not torch.allclose(loop.result.running_mean, seen[-1])
    assert int(loop.result.num_batches_tracked) == 6 and bool(torch.isinf(loop.result.mask).all())


def test_the_whole_cosine_begins_with_the_first_step():
    """As the bundled ResNet was trained: the warm-up cuts the beginning off."""
    loop = make(steps=100, epoch_steps=10, warmup_steps=10, schedule="whole-cosine", floor=1e-3)
    for step in (0, 5, 9, 10, 50, 99):
        expected = min((step + 1) / 10, 0.5 * (1 + math.cos(math.pi * step / 100)) + 1e-3)
        assert loop.factor(step) == pytest.approx(expected)


def test_the_rate_rises_and_falls():
    loop = make(steps=100, epoch_steps=10, warmup_steps=10)
    rates = [loop.factor(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90))) and rates[-1] < 1e-3
    assert make(steps=10, schedule="constant").factor(7) == 1


def test_plateau_lowers_the_rate_and_patience_stops(quiet_random):
    loop = make(steps=40, epoch_steps=4, schedule="plateau", plateau_patience=1, plateau_factor=0.5, patience=5)
    scores = iter([1.0, 2.0, 2.0, 1.0, 2.0, 1.5, 1.0, 9.0])
    progress = loop.run(batches, lambda row: next(scores))
    assert progress.stopped and len(progress.rows) == 7 and progress.best_epoch == 2
    assert progress.rate == 0.25  # after the fourth and the sixth epoch


def test_a_loss_that_is_no_number_stops_and_keeps_what_was_good(tmp_path, quiet_random):
    state = tmp_path / "state.pt"
    good = make(steps=8, save_every=1)

    def backward(batch):
        loss = (good.trained(batch) - 1).square().mean()
        loss.backward()
        return loss.detach() if good.progress.step < 6 else loss.detach() * float("nan")

    good.backward = backward
    with pytest.raises(RunError, match=r"step 7 is nan[\s\S]*row 2"):
        good.run(batches, lambda row: None, state=state, tell=lambda batch: "row 2")
    kept = torch.load(state, weights_only=True)
    assert kept["progress"]["step"] == 6
    assert all(bool(torch.isfinite(value).all()) for value in kept["trained"].values())


def test_a_state_of_another_model_is_named(tmp_path, quiet_random):
    state = tmp_path / "state.pt"
    make().run(batches, lambda row: None, state=state)
    with pytest.raises(WeightsError, match="width was 2 and is 3"):
        make(width=3).run(lambda e, f: batches(e, f, 4, 3), lambda row: None, state=state)
    other = make(width=3)
    other.identity = {"width": 2}
    with pytest.raises(WeightsError, match="another architecture"):
        other.load(state)
    state.write_bytes(b"no state")
    with pytest.raises(WeightsError, match="damaged"):
        make().run(batches, lambda row: None, state=state)


def test_nothing_to_train_is_an_error():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing wants a gradient"):
        Loop(model, [], LoopSettings(1, 1), lambda batch: batch)


def test_matrices_of_heads_alone_decay():
    model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    groups = parameter_groups(
        model.named_parameters(), lambda name: name.split(".")[0], {"body": 1.0, "head": 2.0}, 0.1, heads_only=True
    )
    assert sorted((g["lr"], g["weight_decay"], g["params"][0].ndim) for g in groups) == [
        (1.0, 0.0, 2),
        (2.0, 0.0, 1),
        (2.0, 0.1, 2),
    ]
