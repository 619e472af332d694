"""Negatives from earlier batches: a queue of keys, and InfoNCE against it."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.errors import ConfigError, DataError
from clipzoo.losses.features import (
    Reduction,
    check_ids,
    check_positive,
    check_rows,
    check_tensor,
    exact,
    reduced,
    similarity,
    unit,
)
from clipzoo.losses.gather import all_gather_features

_UNKNOWN = -1


def queue_loss(
    query: Float[Tensor, "batch dim"],
    key: Float[Tensor, "batch dim"],
    queue: Float[Tensor, "size dim"],
    temperature: float | Float[Tensor, ""] = 0.07,
    *,
    ids: Int[Tensor, " batch"] | None = None,
    queue_ids: Int[Tensor, " size"] | None = None,
    in_batch: bool = True,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""InfoNCE of queries against their keys, with a queue of earlier keys as negatives (MoCo, He et al. 2020, eq. 1).

    :math:`-\log \frac{\exp(q_i k_i / \tau)}{\exp(q_i k_i / \tau) + \sum_j \exp(q_i n_j / \tau)}`, where the negatives
    ``n`` are the queue and, with ``in_batch``, the other keys of the batch; an empty queue then gives the in-batch
    loss. MoCo itself uses the queue alone (``in_batch=False``).

    For CLIP keep two queues of keys from averaged towers, and add both directions: images against the queue of texts,
    texts against the queue of images. Captions of one image are no negatives of it: pass ``ids`` and ``queue_ids``.

    Score first, enqueue afterwards: keys of this batch in the queue would be their own negatives.

    Args:
        query: features; any length, normalised here.
        key: of the positives, row by row.
        queue: of earlier keys, :attr:`FeatureQueue.features`; may be empty.
        temperature: cosines are divided by it.
        ids: of the images behind the rows. Negatives with the query's id are left out; negative ids are unknown.
        queue_ids: of the queue, :attr:`FeatureQueue.ids`.
        in_batch: take the other keys of this process's batch as negatives too.
        reduction: over queries.

    Raises:
        DataError: if shapes do not agree, features are not floating-point, or only one kind of ids is given.
        ConfigError: if there is no negative at all, or a setting is none that exists.

    >>> queue_loss(torch.eye(4)[:2], torch.eye(4)[:2], torch.eye(4)[2:], 0.01)
    tensor(0.)
    """
    check_rows(query=query, key=key)
    check_positive("temperature", temperature)
    _check_queue(query, queue, ids, queue_ids)
    if not in_batch and len(queue) == 0:
        raise ConfigError(
            "the queue is empty and in_batch is false, so there are no negatives and nothing to learn",
            hint="in_batch=True, at least until the queue has filled",
        )
    query, key, queue = (unit(part) for part in exact(query, key, queue))
    if in_batch:
        logits, labels = similarity(query, key), torch.arange(len(query), device=query.device)
    else:
        logits, labels = (
            (query * key).sum(1, keepdim=True),
            torch.zeros(len(query), dtype=torch.long, device=query.device),
        )
    # Divided before masking: minus infinity would give a learned temperature the gradient NaN.
    logits = torch.cat((logits, similarity(query, queue)), 1) / temperature
    if ids is not None and queue_ids is not None:
        candidates = torch.cat((ids if in_batch else ids.new_full((1,), _UNKNOWN), queue_ids))
        same = (ids[:, None] == candidates) & (ids[:, None] >= 0)
        positive = F.one_hot(labels, logits.shape[1]).bool()
        logits = logits.masked_fill(same & ~positive, -torch.inf)
    return reduced(F.cross_entropy(logits, labels, reduction="none"), reduction)


def _check_queue(query: Tensor, queue: Tensor, ids: Tensor | None, queue_ids: Tensor | None) -> None:
    if not isinstance(queue, Tensor) or queue.ndim != 2 or queue.shape[1] != query.shape[1]:
        given = tuple(queue.shape) if isinstance(queue, Tensor) else type(queue).__name__
        raise DataError(f"queue is {given}, query {tuple(query.shape)}", expected=f"[size, {query.shape[1]}]")
    if len(queue):
        check_tensor("queue", queue, "[size, dim]", 2, 2)
    if (ids is None) != (queue_ids is None):
        raise DataError("only one of ids and queue_ids was given", expected="both, or neither")
    if ids is not None and queue_ids is not None:
        check_ids("ids", ids, len(query))
        check_ids("queue_ids", queue_ids, len(queue))


class FeatureQueue(nn.Module):
    """The last ``size`` keys, of all processes, as unit fp32 rows with the ids they came with.

    It starts empty, and what has not been filled is not given out. Its whole state is in the ``state_dict``. Batches
    need not divide its size: the oldest rows are overwritten, from the start again at the end.

    Args:
        size: rows that it keeps; with 0 it stays empty.
        dim: width of the rows.

    Raises:
        ConfigError: if ``size`` is negative or ``dim`` not positive.

    >>> queue = FeatureQueue(size=3, dim=2)
    >>> queue.enqueue(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), ids=torch.tensor([7, 8]))
    >>> queue.features, queue.ids
    (tensor([[1., 0.],
            [0., 1.]]), tensor([7, 8]))
    """

    _features: Tensor
    _ids: Tensor

    def __init__(self, size: int, dim: int) -> None:
        """Start empty."""
        super().__init__()
        if size < 0 or dim < 1:
            raise ConfigError(f"size is {size} and dim is {dim}", expected="size at least 0, dim at least 1")
        self.size = size
        self.register_buffer("_features", torch.zeros(size, dim))
        self.register_buffer("_ids", torch.full((size,), _UNKNOWN))
        # Plain integers: reading them from a device at every step would make the host wait.
        self._next, self._filled = 0, 0

    @property
    def features(self) -> Float[Tensor, "filled dim"]:
        """The rows kept, as a copy: enqueueing before the backward pass does not disturb a loss computed from it."""
        return self._features[: self._filled].clone()

    @property
    def ids(self) -> Int[Tensor, " filled"]:
        """Id of each row, -1 where none was given; a copy."""
        return self._ids[: self._filled].clone()

    def __len__(self) -> int:
        """How many rows it holds now."""
        return self._filled

    @torch.no_grad()
    def enqueue(
        self,
        features: Float[Tensor, "batch dim"],
        ids: Int[Tensor, " batch"] | None = None,
        *,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """Add the keys of all processes, in the order of their ranks, over the oldest ones; after scoring.

        Args:
            features: keys of this process; any length, normalised here; as many on every process.
            ids: non-negative numbers of the images behind them; on all processes or on none.
            group: the processes; by default all.

        Raises:
            DataError: if the keys are not floating-point ``[batch, dim]`` of this queue's width, or ``ids`` is not
                one integer a row.
        """
        check_tensor("features", features, "[batch, dim]", 2, 2)
        if features.shape[1] != self._features.shape[1]:
            raise DataError(
                f"features has the shape {tuple(features.shape)}", expected=f"[batch, {self._features.shape[1]}]"
            )
        if ids is None:
            ids = torch.full((len(features),), _UNKNOWN, device=features.device)
        check_ids("ids", ids, len(features))
        (features,) = exact(features)
        rows = all_gather_features(unit(features), group).to(self._features)
        numbers = all_gather_features(ids.long(), group).to(self._ids.device)
        count = len(rows)
        if self.size == 0:
            return
        kept = min(count, self.size)
        places = torch.arange(self._next + count - kept, self._next + count, device=rows.device) % self.size
        self._features[places] = rows[count - kept :]
        self._ids[places] = numbers[count - kept :]
        self._next = (self._next + count) % self.size
        self._filled = min(self._filled + count, self.size)

    def get_extra_state(self) -> Tensor:
        """Where the next row goes, and how many rows are filled."""
        return torch.tensor([self._next, self._filled])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up where a saved queue stopped."""
        self._next, self._filled = (int(value) for value in state)
