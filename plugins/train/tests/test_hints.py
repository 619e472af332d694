"""The vision transformer's states, the teacher's maps as targets, and the optimiser of the matrices."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from clipzoo_train.loop import Loop, LoopSettings, parameter_groups
from clipzoo_train.muon import MuonWithAdamW
from clipzoo_train.toy.blocks import embedding_and_states
from clipzoo_train.toy.hints import AFTER_BLOCK, Hints, teacher_view
from clipzoo_train.toy.stages import ARCHITECTURES
from torch import nn

import clipzoo
from clipzoo.encoders.layers import layer_features
from clipzoo.encoders.loading import build_model
from clipzoo.errors import ConfigError, WeightsError


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def teacher():
    return clipzoo.load_clip("tiny-rn", device="cpu").model.visual


@pytest.fixture
def student(quiet_random):
    return build_model(copy.deepcopy(ARCHITECTURES["tiny"])).visual.train()


def test_the_states_are_those_of_the_tower(student, pixels):
    """Embedding, every block and every gradient as open_clip has them."""
    embedding, states = embedding_and_states(student, pixels, torch.float32)
    torch.testing.assert_close(embedding, student(pixels), rtol=1e-4, atol=1e-5)
    expected = layer_features(student, pixels, [f"block{place}" for place in range(6)], "vit")
    assert len(states) == 6
    for state, wanted in zip(states, expected.values(), strict=True):
        torch.testing.assert_close(state, wanted, rtol=1e-4, atol=1e-5)
    weights = [value for value in student.parameters() if value.requires_grad]
    own = torch.autograd.grad(embedding.square().sum(), weights)
    theirs = torch.autograd.grad(student(pixels).square().sum(), weights)
    for left, right in zip(own, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_half_precision_is_near(student, pixels):
    exact, rounded = (embedding_and_states(student, pixels, dtype)[0] for dtype in (torch.float32, torch.bfloat16))
    near = torch.nn.functional.cosine_similarity(exact, rounded).detach()
    assert float(near.min()) > 0.999 and not torch.equal(exact, rounded)


def test_hints_against_numpy(teacher, pixels):
    """Cells of tokens, standardised maps and the mean squared error, written out in float64."""
    hints = Hints(teacher, 16, pixels)
    maps = teacher_view(teacher, pixels)[1]
    states = [torch.randn(6, 65, 16, generator=torch.Generator().manual_seed(place)) for place in range(6)]
    total = 0.0
    for name, grid in maps.items():
        wanted = grid.double().numpy()
        mean, deviation = wanted.mean((0, 2, 3)), wanted.std((0, 2, 3), ddof=1) + 1e-3
        cells = grid.shape[-1]
        head = hints.heads[name]
        weight, bias = (value.detach().bfloat16().double().numpy() for value in (head.weight, head.bias))
        tokens = states[AFTER_BLOCK[name] - 1][:, 1:].double().numpy().reshape(6, 8, 8, 16)
        for row in range(cells):
            for column in range(cells):
                each = 8 // cells
                window = tokens[:, row * each : (row + 1) * each, column * each : (column + 1) * each]
                guess = window.mean((1, 2)) @ weight.T + bias
                aim = (wanted[:, :, row, column] - mean) / deviation
                total += ((guess - aim) ** 2).mean() / cells**2
    assert float(hints(states, maps).detach()) == pytest.approx(total, rel=0.01)
    assert {name: tuple(grid.shape[1:]) for name, grid in maps.items()} == {
        "layer2": (128, 8, 8),
        "layer3": (256, 4, 4),
    }


def test_each_hint_reaches_its_block_and_no_later_one(student, teacher, pixels):
    hints = Hints(teacher, 128, pixels)
    maps = teacher_view(teacher, pixels)[1]
    for name, block in AFTER_BLOCK.items():
        student.zero_grad()
        hints(embedding_and_states(student, pixels)[1], {name: maps[name]}).backward()
        moved = [any(v.grad is not None for v in b.parameters()) for b in student.transformer.resblocks]
        assert moved == [place < block for place in range(6)]


def test_the_teacher_sees_as_ever(teacher, pixels):
    wanted, maps = teacher_view(teacher, pixels)
    with torch.no_grad():
        exact = torch.nn.functional.normalize(teacher(pixels), dim=1)
    assert float((wanted * exact).sum(1).min()) > 0.999 and not wanted.requires_grad
    assert set(maps) == set(AFTER_BLOCK)


def test_muon_makes_the_momentum_orthogonal():
    """The first step of a matrix is its gradient with all singular values made one, as large as AdamW's would be."""
    generator = torch.Generator().manual_seed(0)
    matrix, bias = nn.Parameter(torch.zeros(24, 16)), nn.Parameter(torch.zeros(16))
    gradient = torch.randn(24, 16, generator=generator)
    matrix.grad, bias.grad = gradient.clone(), torch.ones(16)
    both = MuonWithAdamW(
        [
            {"params": [matrix], "lr": 0.1, "weight_decay": 0.0, "muon": True},
            {"params": [bias], "lr": 0.01, "weight_decay": 0.0},
        ]
    )
    both.step()
    left, _, right = np.linalg.svd(gradient.double().numpy(), full_matrices=False)
    expected = -0.1 * 0.2 * 24**0.5 * left @ right
    # Five steps of Newton-Schulz bring singular values to between 0.7 and 1.2, not to one.
    moved = matrix.detach().double().numpy()
    assert (moved * expected).sum() / np.linalg.norm(moved) / np.linalg.norm(expected) > 0.97
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(expected), rel=0.2)
    torch.testing.assert_close(bias.detach(), torch.full((16,), -0.01))
    both.param_groups[0]["lr"] = 0.0
    before = matrix.detach().clone()
    both.step()
    assert torch.equal(matrix.detach(), before)


def test_both_optimisers_go_on_to_the_bit(tmp_path, quiet_random):
    """A loop that was saved and loaded moves as one that was not; a state of AdamW alone is refused."""

    def made(mixed: bool = True) -> Loop:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2))
        names = {"0.weight", "2.weight"} if mixed else set()
        rates = {"matrices": 0.02, "others": 0.01}
        groups = parameter_groups(
            net.named_parameters(), lambda name: "matrices" if name in names else "others", rates, 0.1
        )
        groups = [{**group, "muon": True} if mixed and group["lr"] == 0.02 else group for group in groups]

        def backward(batch: torch.Tensor) -> torch.Tensor:
            loss = net(batch).square().mean()
            loss.backward()
            return loss.detach()

        return Loop(net, groups, LoopSettings(steps=8, epoch_steps=4, warmup_steps=2), backward)

    def batches(epoch: int, first: int):
        for step in range(4 * epoch + first, 4 * epoch + 4):
            yield torch.randn(3, 6, generator=torch.Generator().manual_seed(step))

    whole, half = made(), made()
    whole.run(batches, lambda row: None)
    half.settings = LoopSettings(steps=4, epoch_steps=4, warmup_steps=2)
    half.factor = whole.factor
    half.run(batches, lambda row: None, state=tmp_path / "state.pt")
    again = made()
    again.run(batches, lambda row: None, state=tmp_path / "state.pt")
    for left, right in zip(whole.trained.parameters(), again.trained.parameters(), strict=True):
        assert torch.equal(left, right)
    with pytest.raises(WeightsError, match="another architecture"):
        made(mixed=False).load(tmp_path / "state.pt")


def test_a_torch_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match="or newer"):
        MuonWithAdamW([{"params": [nn.Parameter(torch.zeros(2, 2))], "lr": 0.1, "muon": True}])
