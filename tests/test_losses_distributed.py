"""The same parameter gradient on one, two and four processes as on one that holds the whole batch."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipzoo.losses import (
    FeatureQueue,
    all_gather_features,
    contrastive_loss,
    label_kl_loss,
    nt_xent_loss,
    siglip_loss,
    soft_target_loss,
)

ORACLE = Path(__file__).parent / "oracle" / "losses_contrastive.npz"
PROCESSES, ROWS = 4, 8
WORLDS = (1, 2, 4)
LABELS = torch.tensor([0, 1, 2, 0, 3, 1, 0, 4])

Group = dist.ProcessGroup | None


Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Group], Tensor]


class Towers(nn.Module):
    """Two linear towers, a logit scale and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(12, 6), nn.Linear(10, 6)
        self.log_scale, self.bias = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-3.0))
        self.double()
        source = torch.Generator().manual_seed(0)
        for layer in (self.image, self.text):
            layer.weight.data.normal_(generator=source)
            layer.bias.data.normal_(generator=source)

    def forward(self, loss: Loss, pixels: Tensor, words: Tensor, labels: Tensor, group: Group) -> Tensor:
        return loss(self.image(pixels), self.text(words), self.log_scale.exp(), self.bias, labels, group)


def paired(gather: str) -> dict[str, Loss]:
    return {
        f"contrastive, {gather}": lambda i, t, s, b, y, g: contrastive_loss(i, t, s, gather=gather, group=g),
        f"nt-xent, {gather}": lambda i, t, s, b, y, g: nt_xent_loss(i, t, 1 / s, gather=gather, group=g),
        f"label kl, {gather}": lambda i, t, s, b, y, g: label_kl_loss(i, t, y, s, gather=gather, group=g),
        f"soft targets, {gather}": lambda i, t, s, b, y, g: soft_target_loss(i, t, gather=gather, group=g),
        f"soft targets with gradient, {gather}": lambda i, t, s, b, y, g: soft_target_loss(
            i, t, detach=False, gather=gather, group=g
        ),
    }


LOSSES: dict[str, Loss] = {
    **paired("local"),
    **paired("global"),
    "hard labels": lambda i, t, s, b, y, g: label_kl_loss(i, t, y, s, sharpness=math.inf, group=g),
    "soft targets, compat": lambda i, t, s, b, y, g: soft_target_loss(i, t, compat="shariatnia", group=g),
    "siglip": lambda i, t, s, b, y, g: siglip_loss(i, t, s, b, group=g),
    "siglip, chunked": lambda i, t, s, b, y, g: siglip_loss(i, t, s, b, chunk_size=3, group=g),
}
# Checkpointing takes seconds to import, in each process.
CASES = [(world, name) for world in WORLDS for name in LOSSES if world == 2 or "chunked" not in name]


def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return tuple(torch.randn(ROWS, width, generator=source, dtype=torch.float64) for width in (12, 10))


def parameter_gradients(towers: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in towers.named_parameters()}


def worker(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=40)
    )
    torch.set_num_threads(1)
    for world in WORLDS:
        # The last ones, so that the rank in the group is not the rank among all.
        group = dist.new_group(range(PROCESSES - world, PROCESSES))
        if rank >= PROCESSES - world:
            torch.save(run_world(group), folder / f"{world}-{dist.get_rank(group)}.pt")
    dist.barrier()
    dist.destroy_process_group()


def run_world(group: Group) -> dict[str, object]:
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    own = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    pixels, words = (part[own] for part in batch())
    found: dict[str, object] = {}
    for name, loss in LOSSES.items():
        if (world, name) not in CASES:
            continue
        towers = Towers()
        value = towers(loss, pixels, words, LABELS[own], group)
        value.backward()
        averaged = parameter_gradients(towers)
        for gradient in averaged.values():
            # What DistributedDataParallel does, whose import takes longer than all of this.
            dist.all_reduce(gradient, group=group)
            gradient /= world
        found[name] = (value.detach(), averaged)
    queue = FeatureQueue(5, 12)
    queue.enqueue(pixels, torch.arange(ROWS)[own], group=group)
    found["queue"] = (queue.features, queue.ids)
    found["gathered"] = all_gather_features(pixels, group)
    found["oracle"] = oracle_gradients(own, group)
    return found


def oracle_gradients(own: slice, group: Group) -> dict[str, tuple[Tensor, ...]]:
    with np.load(ORACLE) as stored:
        image, text = (torch.from_numpy(stored[f"gather/{side}"])[own] for side in ("image", "text"))
    found = {}
    for name, (log_scale, bias) in {
        "clip_global_grad": (math.log(1 / 0.07), 0.0),
        "clip_local_grad": (math.log(1 / 0.07), 0.0),
        "siglip_gather": (math.log(10), -10.0),
    }.items():
        inputs = [value.clone().requires_grad_() for value in (image, text, torch.tensor(log_scale, dtype=image.dtype))]
        scale = inputs[2].exp()
        if name == "siglip_gather":
            value = siglip_loss(inputs[0], inputs[1], scale, bias, group=group, normalise=False)
        else:
            gather = name.split("_")[1]
            value = contrastive_loss(inputs[0], inputs[1], scale, gather=gather, group=group, normalise=False)
        found[name] = (value.detach(), *torch.autograd.grad(value, inputs))
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict]:
    folder = tmp_path_factory.mktemp("processes")
    running = []
    for rank in range(PROCESSES):
        with (folder / f"errors-{rank}").open("w") as errors:
            running.append(subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], stderr=errors))
    try:
        deadline = time.monotonic() + 100
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            if any(process.poll() for process in running):
                break  # the others would wait for the one that failed
            time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
    told = "\n".join((folder / f"errors-{rank}").read_text() for rank in range(PROCESSES))
    assert [process.wait() for process in running] == [0] * PROCESSES, told
    return {(w, r): torch.load(folder / f"{w}-{r}.pt") for w in WORLDS for r in range(w)}


@pytest.mark.parametrize(("world", "name"), CASES)
def test_processes_agree_with_one(results: dict, world: int, name: str) -> None:
    towers = Towers()
    expected = towers(LOSSES[name], *batch(), LABELS, None)
    expected.backward()
    values = torch.stack([results[world, rank][name][0] for rank in range(world)])
    exact = dict(rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(values.mean(), expected.detach(), **exact)
    if "global" in name or "compat" in name:
        torch.testing.assert_close(values, expected.detach().expand(world), **exact)
    for rank in range(world):
        for parameter, gradient in parameter_gradients(towers).items():
            torch.testing.assert_close(results[world, rank][name][1][parameter], gradient, **exact)
            assert gradient.abs().max() > 1e-12 or parameter in ("bias", "log_scale")


@pytest.mark.parametrize("world", WORLDS)
def test_features_and_queue_of_all_processes(results: dict, world: int) -> None:
    pixels, _ = batch()
    alone = FeatureQueue(5, 12)
    alone.enqueue(pixels, torch.arange(ROWS))
    for rank in range(world):
        assert torch.equal(results[world, rank]["gathered"], pixels)
        features, ids = results[world, rank]["queue"]
        assert torch.equal(features, alone.features) and torch.equal(ids, alone.ids)


@pytest.mark.parametrize("name", ["clip_global_grad", "clip_local_grad", "siglip_gather"])
@pytest.mark.parametrize("world", [2, 4])
def test_gradients_before_averaging_are_those_of_open_clip(results: dict, world: int, name: str) -> None:
    with np.load(ORACLE) as stored:
        for rank in range(world):
            found = results[world, rank]["oracle"][name]
            keys = ("loss", "grad_image", "grad_text", "grad_scale")
            for value, key in zip(found, keys, strict=True):
                expected = torch.from_numpy(np.asarray(stored[f"gather/W{world}/{name}/{key}_per_rank"][rank]))
                torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
