"""The optimisation runner: restarts stay independent, the best is what was scored, a resume changes nothing."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, RunError, UsageError
from clipzoo.optim import EarlyStop, optimise


def started(restarts: int = 3, seed: int = 0) -> Tensor:
    made = torch.randn(restarts, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return made.requires_grad_()


def valley(x: Tensor) -> Tensor:
    """One loss a restart, with a curved valley so that Adam's state matters."""
    return (1 - x[:, 0]).square() + 5 * (x[:, 1] - x[:, 0].square()).square() + x[:, 2:].square().sum(1)


def numpy_adam(x: np.ndarray, rates: list[float], slope) -> np.ndarray:
    """Adam as published (Kingma and Ba 2015), written out in float64."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for step, rate in enumerate(rates, start=1):
        g = slope(x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return x


def test_one_batch_moves_every_restart_as_it_would_alone():
    together = started()
    done = optimise(lambda step: valley(together), {"x": together}, 0.05, 40, evaluate_every=5)
    for row in range(3):
        alone = started()[row : row + 1].detach().clone().requires_grad_()
        single = optimise(lambda step, x=alone: valley(x), {"x": alone}, 0.05, 40, evaluate_every=5)
        assert torch.equal(single.best["x"][0], done.best["x"][row])
        assert single.best_score[0] == done.best_score[row]
        assert torch.equal(single.history["loss"][:, 0], done.history["loss"][:, row])


def test_the_steps_are_those_of_adam_under_a_learning_rate_that_changes():
    x = started()
    rates = [0.1 / (1 + step) for step in range(12)]
    target = np.array([0.3, -1.0, 2.0, 0.0])
    goal = torch.from_numpy(target)
    begin = x.detach().numpy().copy()
    done = optimise(lambda step: (x - goal).square().sum(1), {"x": x}, lambda step: rates[step], 12)
    expected = numpy_adam(begin, rates, lambda now: 2 * (now - target))
    np.testing.assert_allclose(done.last["x"].numpy(), expected, rtol=0, atol=1e-12)


def test_two_parameters_have_rates_of_their_own():
    a, b = started(2), started(2, seed=1)
    before = a.detach().clone(), b.detach().clone()
    optimise(lambda step: valley(a) + valley(b), {"a": a, "b": b}, {"a": 0.1, "b": 0.0}, 3)
    assert not torch.equal(a, before[0]) and torch.equal(b, before[1])


@pytest.mark.parametrize("snapshot", ["same-step", "after-step"])
def test_the_best_is_the_one_that_was_scored_or_the_one_after_it(snapshot):
    x = torch.zeros(1, 1, requires_grad=True)
    seen: list[float] = []

    def objective(step: int) -> dict[str, Tensor]:
        seen.append(x.item())
        return {"loss": -x.sum(1), "plain": (x.detach() - 0.35).abs().sum(1)}

    sgd = lambda groups: torch.optim.SGD(groups)  # noqa: E731
    done = optimise(objective, {"x": x}, 0.1, 10, optimiser=sgd, score="plain", evaluate_every=1, snapshot=snapshot)
    place = int(np.abs(np.array(seen[:10]) - 0.35).argmin())
    assert done.best_step.item() == (place if snapshot == "same-step" else place + 1)
    wanted = seen[place] if snapshot == "same-step" else seen[place] + 0.1
    assert done.best["x"].item() == pytest.approx(wanted, abs=1e-6)
    assert done.best_score.item() == pytest.approx(abs(seen[place] - 0.35), abs=1e-6)


def test_the_state_after_the_last_step_may_be_the_best():
    x = torch.tensor([[1.0]], requires_grad=True)
    done = optimise(lambda step: x.square().sum(1), {"x": x}, 0.1, 3, evaluate_every=10)
    assert done.best_step.item() == 3
    assert done.best_score.item() == pytest.approx(x.item() ** 2)


def upstream_stop(scores: list[float]) -> int | None:
    """The published rule, plainly: two evaluations without an improvement between them, each close to the best."""
    best, close = float("inf"), 0
    for place, score in enumerate(scores):
        change = score - best
        if abs(change) <= 0.1:
            close += 1
            if close == 2:
                return place
        if change < -0.1:
            best, close = score, 0
    return None


@pytest.mark.parametrize("seed", range(12))
def test_two_close_evaluations_stop_a_restart_as_the_published_code_does(seed):
    scores = np.random.default_rng(seed).normal(0, 0.35, 40).tolist()
    x = torch.zeros(1, 1, requires_grad=True)

    def objective(step: int) -> dict[str, Tensor]:
        return {"loss": x.sum(1), "plain": torch.tensor([scores[min(step, 39)]], dtype=torch.float64)}

    stop = EarlyStop(patience=2, min_delta=0.1, close_only=True)
    done = optimise(objective, {"x": x}, 0.1, 40, score="plain", evaluate_every=1, early_stop=stop)
    expected = upstream_stop(scores)
    assert done.stopped.item() == (-1 if expected is None else expected)


def test_a_restart_that_rests_is_frozen_while_the_others_go_on():
    x = torch.tensor([[0.0], [5.0]], requires_grad=True)
    done = optimise(lambda step: x.abs().sum(1), {"x": x}, 0.01, 60, evaluate_every=1, early_stop=EarlyStop(5, 1e-3))
    assert 0 < done.stopped[0].item() < 20 and done.stopped[1].item() == -1
    assert x[1].item() == pytest.approx(4.4, abs=0.02)
    assert done.steps == 60


def test_it_ends_when_all_are_frozen():
    x = torch.ones(2, 1, requires_grad=True)
    done = optimise(lambda step: 0 * x.sum(1), {"x": x}, 0.01, 500, evaluate_every=2, early_stop=EarlyStop(3, 1e-3))
    assert done.steps < 20


def test_a_restart_without_a_finite_loss_does_not_spoil_the_others():
    x = started(2)

    def objective(step: int) -> Tensor:
        return valley(x) * torch.tensor([1.0, float("nan") if step >= 6 else 1.0], dtype=torch.float64)

    done = optimise(objective, {"x": x}, 0.05, 30, evaluate_every=1)
    alone = started(2)[:1].detach().clone().requires_grad_()
    single = optimise(lambda step: valley(alone), {"x": alone}, 0.05, 30, evaluate_every=1)
    assert done.stopped.tolist() == [-1, 6]
    assert torch.equal(done.best["x"][0], single.best["x"][0])
    assert torch.isfinite(done.best["x"]).all() and torch.isfinite(done.best_score).all()


def test_no_finite_loss_at_all_is_an_error():
    x = started(1)
    with pytest.raises(RunError, match="finite"):
        optimise(lambda step: valley(x) * float("nan"), {"x": x}, 0.1, 3)


def drawn(path: Path, steps: int, *, stop_at: int | None = None, resume: bool = False, restarts: int = 3):
    """An optimisation that draws from every generator, interrupted where asked."""
    if not resume:
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
    x, own = started(restarts), torch.Generator().manual_seed(3)

    def objective(step: int) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        noise = torch.randn(4) + torch.rand(4, generator=own) + np.random.rand() + random.random()
        return valley(x + 0.01 * noise)

    return optimise(
        objective,
        {"x": x},
        0.05,
        steps,
        evaluate_every=3,
        trace_every=4,
        early_stop=EarlyStop(patience=40),
        checkpoint=path,
        save_every=5,
        resume=resume,
        config={"steps": steps},
        generators={"own": own},
    )


@pytest.mark.parametrize("stop_at", [6, 10, 19])
def test_a_resumed_run_is_bit_for_bit_the_run_without_a_break(tmp_path, stop_at):
    whole = drawn(tmp_path / "whole", 23)
    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path / "broken", 23, stop_at=stop_at)
    torch.manual_seed(99)
    resumed = drawn(tmp_path / "broken", 23, resume=True)
    for name in ("best", "last", "history"):
        for key, value in getattr(whole, name).items():
            assert torch.equal(value, getattr(resumed, name)[key]), (name, key)
    assert torch.equal(whole.best_score, resumed.best_score) and torch.equal(whole.best_step, resumed.best_step)
    assert [step for step, _ in whole.trace] == [step for step, _ in resumed.trace] == [0, 4, 8, 12, 16, 20, 23]
    assert all(torch.equal(a[1]["x"], b[1]["x"]) for a, b in zip(whole.trace, resumed.trace, strict=True))


def test_a_finished_run_resumes_to_the_same_result(tmp_path):
    first = drawn(tmp_path / "state", 11)
    again = drawn(tmp_path / "state", 11, resume=True)
    assert torch.equal(first.best["x"], again.best["x"]) and again.steps == 11
    assert torch.equal(first.history["loss"], again.history["loss"])


def test_other_settings_are_refused_at_a_resume(tmp_path):
    drawn(tmp_path / "state", 5)
    with pytest.raises(ConfigError, match="steps was 5 and is 9"):
        drawn(tmp_path / "state", 9, resume=True)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    drawn(tmp_path / "state", 5)
    with pytest.raises(DataError, match="expected"):
        drawn(tmp_path / "state", 5, resume=True, restarts=2)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_a_damaged_checkpoint_is_an_error_of_ours(tmp_path, keep):
    path = tmp_path / "state"
    drawn(path, 5)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(DataError):
        drawn(path, 5, resume=True)


def test_there_must_be_something_to_resume_from(tmp_path):
    with pytest.raises(UsageError):
        drawn(tmp_path / "nothing", 5, resume=True)


@pytest.mark.parametrize("change", ["a number", "a rate", "a state"])
def test_a_checkpoint_in_which_one_thing_is_another_is_noticed(tmp_path, change):
    """Any of them would still be a state of an optimisation, or break its next step."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    path, x = tmp_path / "c.safetensors", started()
    optimise(lambda step: valley(x), {"x": x}, 0.05, 5, checkpoint=path)
    with safe_open(path, "pt") as file:
        told, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    if change == "a number":
        tensors["best/x"][0, 0] += 1e-9
    elif change == "a rate":
        told["optimisation"] = told["optimisation"].replace('"weight_decay": ', '"weight_dekay": ')
    else:
        told["optimisation"] = told["optimisation"].replace('"step": 5', '"step": -5')
    save_file(tensors, path, told)
    with pytest.raises(DataError, match="damaged"):
        optimise(lambda step: valley(x), {"x": x}, 0.05, 6, checkpoint=path, resume=True)


def test_a_checkpoint_is_written_whole_and_leaves_no_parts(tmp_path):
    drawn(tmp_path / "state", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_callbacks_see_every_step_and_project_keeps_the_range():
    x = started()
    seen = []

    def project(step: int) -> None:
        x.clamp_(-0.1, 0.1)

    optimise(lambda step: -x.sum(1), {"x": x}, 0.5, 4, project=project, callbacks=[lambda moment: seen.append(moment)])
    assert [moment.step for moment in seen] == [0, 1, 2, 3]
    assert seen[0].losses["loss"].shape == (3,) and bool(seen[0].active.all())
    assert x.detach().abs().max().item() == pytest.approx(0.1)


def test_a_loss_without_an_axis_is_one_restart():
    x = torch.tensor([2.0, -1.0], requires_grad=True)
    done = optimise(lambda step: x.square().sum(), {"x": x}, 0.1, 200)
    assert done.best_score.shape == (1,) and done.best_score.item() < 1e-3


@pytest.mark.parametrize(
    "given",
    [
        {"steps": 0},
        {"evaluate_every": 0},
        {"snapshot": "later"},
        {"score": "other"},
        {"learning_rates": {"y": 0.1}},
        {"parameters": {}},
        {"parameters": {"x": torch.zeros(3, 4)}},
    ],
)
def test_what_cannot_be_is_refused(given):
    x = started()
    settings = {"parameters": {"x": x}, "learning_rates": 0.1, "steps": 2} | given
    with pytest.raises(ConfigError):
        optimise(lambda step: valley(x), **settings)


def test_losses_and_parameters_must_agree_on_the_restarts():
    x, y = started(3), started(2)
    with pytest.raises(ConfigError, match="y of another length"):
        optimise(lambda step: valley(x), {"x": x, "y": y}, 0.1, 2)


@pytest.mark.parametrize("given", [{"patience": 0}, {"min_delta": -1}, {"smoothing": 1.0}])
def test_an_early_stop_that_never_or_always_stops_is_refused(given):
    with pytest.raises(ConfigError):
        EarlyStop(**given)
