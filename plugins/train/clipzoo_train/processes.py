"""Several processes with one batch: gradients averaged, weights equal, one process that writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipzoo.losses.gather import world_size

T = TypeVar("T")


def rank() -> int:
    """Number of this process; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this process writes."""
    return rank() == 0


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make every gradient the mean over processes, as DDP does, but once a step, after all parts are accumulated.

    The losses gather features with their gradient, so the mean of the processes' gradients is exactly that of one
    process with the whole batch.

    Args:
        parameters: the same on every process; one without a gradient on some processes counts as zero there, and one
            that has none on any process keeps none, so that the optimiser leaves it alone.
    """
    processes = world_size()
    if processes == 1:
        return
    kinds: dict[torch.dtype, list[nn.Parameter]] = {}
    for value in parameters:
        if value.requires_grad:
            kinds.setdefault(value.dtype, []).append(value)
    for values in kinds.values():
        grads = [torch.zeros_like(value) if value.grad is None else value.grad for value in values]
        used = grads[0].new_tensor([float(value.grad is not None) for value in values])
        flat = torch.cat([*(grad.reshape(-1) for grad in grads), used])
        dist.all_reduce(flat)
        parts = flat.split([*(grad.numel() for grad in grads), len(used)])
        for value, part, processes_using in zip(values, parts, parts[-1].tolist(), strict=False):
            value.grad = (part / processes).view_as(value) if processes_using else None


@torch.no_grad()
def share_weights(module: nn.Module) -> None:
    """Give every process the weights and buffers of the first."""
    if world_size() > 1:
        for value in (*module.parameters(), *module.buffers()):
            dist.broadcast(value, src=0)


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a number over processes."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def told_by_first(value: T) -> T:
    """What the first process has, on every process."""
    if world_size() == 1:
        return value
    held: list[T | None] = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]  # type: ignore[return-value]


def own_share(rows: Sequence[int]) -> list[int]:
    """This process's part of the rows of a batch; all parts have the same length."""
    each = len(rows) // world_size()
    return list(rows[rank() * each : (rank() + 1) * each])
