"""Parts of a batch, and processes that share one, have the gradient of the whole batch in one process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from clipzoo_train.accumulation import backward
from clipzoo_train.objectives import Batch, DistillationObjective, Extra, Features, make_objective
from clipzoo_train.pair import Pair, build_pair
from clipzoo_train.processes import average_gradients
from torch import Tensor

ROWS = 8
IMAGES = torch.tensor([0, 1, 2, 0, 3, 1, 4, 5])
LOSSES = ("clip", "siglip", "soft", "simpleclip", "multi-positive", "queue")


def nano_pair(loss: str, config: str, dropout: float = 0.0) -> Pair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        pair = build_pair(config, sigmoid=loss == "siglip").double()
    pair.cut_vocabulary(["a cat", "a dog sits", "a red ball"])
    if dropout:
        pair.model.visual.patch_dropout = torch.nn.Dropout(dropout)
    return pair.double().train()


def whole_batch(pair: Pair) -> Batch:
    source = torch.Generator().manual_seed(1)
    pixels = torch.rand(ROWS, 3, 16, 16, generator=source, dtype=torch.float64)
    words = ["a cat", "a dog sits", "a red ball", "a dog", "a ball sits", "red", "a red cat", "a red dog sits"]
    return Batch(pixels, pair.tokens(words), IMAGES, torch.arange(ROWS))


def encode(pair: Pair):
    return lambda part: (pair.image_features(part.pixels), pair.text_features(part.tokens))


def gradients(pair: Pair) -> dict[str, Tensor]:
    return {name: value.grad for name, value in pair.named_parameters() if value.grad is not None}


def objective_of(loss: str, pair: Pair):
    return make_objective(loss, pair, dim=16, temperature=1.0, queue_size=0, momentum=0.0).double()


def agree(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys() and len(first) > 10
    for name, value in first.items():
        error = float((value - second[name]).abs().max()) / max(1e-3, float(value.abs().max()))
        assert error <= 1e-10, f"{name}: {error}"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("parts", [3, 8])
def test_parts_equal_the_whole_batch(loss, parts, nano):
    found = []
    for count in (1, parts):
        pair = nano_pair(loss, nano)
        value, _ = backward(objective_of(loss, pair), whole_batch(pair), encode(pair), count)
        found.append((value, gradients(pair)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    agree(found[0][1], found[1][1])


def test_dropout_draws_the_same_in_both_passes(nano, quiet_random):
    """The gradient of the parts is that of the loss that was computed: checked by differences of the loss itself."""
    pair = nano_pair("clip", nano, dropout=0.3)
    objective, batch = objective_of("clip", pair), whole_batch(pair)
    weight = pair.model.visual.conv1.weight

    def value() -> Tensor:
        torch.manual_seed(7)
        pair.zero_grad(set_to_none=True)
        return backward(objective, batch, encode(pair), 4)[0]

    value()
    slope = float(weight.grad[0, 0, 0, 0])
    step = 1e-5
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0, 0, 0] += sign * step
        ends.append(float(value()))
        with torch.no_grad():
            weight[0, 0, 0, 0] -= sign * step
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_an_empty_queue_is_the_loss_of_the_batch(nano):
    pair = nano_pair("clip", nano)
    batch = whole_batch(pair)
    plain = Batch(batch.pixels, batch.tokens, torch.arange(ROWS), batch.captions)
    found = []
    for loss in ("clip", "queue"):
        pair.zero_grad(set_to_none=True)
        value, _ = backward(objective_of(loss, pair), plain, encode(pair))
        found.append((value, {name: grad.clone() for name, grad in gradients(pair).items()}))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    agree(found[0][1], found[1][1])


def test_a_queue_survives_its_state_and_leaves_out_its_own_images(nano):
    pair = nano_pair("queue", nano)
    objective = make_objective("queue", pair, dim=16, queue_size=12, momentum=0.9).double()
    batch = whole_batch(pair)
    before, extra = backward(objective, batch, encode(pair))
    objective.after_step(batch, extra)
    after, _ = backward(objective, batch, encode(pair))
    assert len(objective.text_queue) == ROWS and float(after) > float(before), "new negatives make it harder"
    other = make_objective("queue", pair, dim=16, queue_size=12, momentum=0.9).double()
    other.load_state_dict(objective.state_dict())
    again, _ = backward(other, batch, encode(pair))
    torch.testing.assert_close(again, after)
    alone = Batch(batch.pixels, batch.tokens, torch.zeros(ROWS, dtype=torch.long), batch.captions)
    objective.image_queue._ids[:], objective.text_queue._ids[:] = 0, 0
    same, _ = backward(objective, alone, encode(pair))
    # Only its own pair is left: nothing to tell apart.
    assert abs(float(same)) < 1e-9


def test_a_teacher_that_agrees_lowers_the_loss_less_than_one_that_does_not(nano):
    pair = nano_pair("clip", nano)
    batch = whole_batch(pair)
    words = ["a cat", "a dog sits", "a red ball", "a dog", "a ball sits", "red", "a red cat", "a red dog sits"]
    teacher = pair.frozen()
    objective = DistillationObjective(pair, teacher.float(), 1.0, words)
    extra = objective.prepare(batch)
    with torch.no_grad():
        image, text = encode(pair)(batch)
    features = Features(image, text, pair.logit_scale)
    with torch.no_grad():
        agreed = objective(features, batch, extra)
        turned = objective(features, batch, Extra(extra.image.flip(0), extra.text))
    assert float(agreed) < float(turned)


def worker(rank: int, world: int, folder: Path, config: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / f"store{world}"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=120))
    found = {}
    for loss in ("clip", "siglip", "soft", "multi-positive"):
        for parts in (1, 2):
            pair = nano_pair(loss, config)
            batch = whole_batch(pair)
            each = ROWS // world
            own = batch.part(slice(rank * each, (rank + 1) * each))
            backward(objective_of(loss, pair), own, encode(pair), parts)
            average_gradients(pair.parameters())
            found[f"{loss} {parts}"] = gradients(pair)
    if rank == 0:
        torch.save(found, folder / f"found{world}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_equal_one(world, nano, tmp_path):
    command = [sys.executable, __file__]
    jobs = [subprocess.Popen([*command, str(rank), str(world), str(tmp_path), nano]) for rank in range(world)]
    ended = time.monotonic() + 240
    for job in jobs:
        assert job.wait(max(1.0, ended - time.monotonic())) == 0
    found = torch.load(tmp_path / f"found{world}.pt", weights_only=True)
    assert len(found) == 8
    for name, grads in found.items():
        loss = name.split()[0]
        pair = nano_pair(loss, nano)
        backward(objective_of(loss, pair), whole_batch(pair), encode(pair))
        agree(gradients(pair), grads)


if __name__ == "__main__":
    worker(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), json.loads(json.dumps(sys.argv[4])))
