"""Gradients of a batch in parts that fit into memory, with the negatives of the whole batch (Gao et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.errors import ConfigError
from clipzoo_train.objectives import Batch, Extra, Features, Objective

Encode = Callable[[Batch], tuple[Tensor, Tensor]]


def backward(
    objective: Objective,
    batch: Batch,
    encode: Encode,
    parts: int = 1,
    arithmetic: Callable[[], AbstractContextManager] = nullcontext,
) -> tuple[Float[Tensor, ""], Extra]:
    """Leave in every parameter the gradient of the objective on the whole batch.

    With several parts each is encoded twice: first without a graph, to get all features and the gradient of the loss
    with respect to them (GradCache); then with one, to carry that gradient on to the parameters. Dropout draws the
    same both times. The result is that of one part, but for layers that mix the rows of a batch: batch
    normalisation sees the statistics of its part.

    Args:
        objective: what is minimised.
        batch: of this process.
        encode: from a part of the batch to features of images and texts.
        parts: into how many it is cut.
        arithmetic: a context for the towers, for example autocast; losses are computed outside it.

    Returns:
        The loss of this process, detached, and what :meth:`Objective.prepare` gave.

    Raises:
        ConfigError: if there are more parts than pairs.
    """
    if parts > len(batch):
        raise ConfigError(
            f"{parts} parts of a batch of {len(batch)} pairs a process", expected="a pair a part at least"
        )
    model = objective.pair
    with arithmetic():
        extra = objective.prepare(batch)
    if parts == 1:
        with arithmetic():
            image, text = encode(batch)
        loss = objective(Features(_wide(image), _wide(text), model.logit_scale, model.logit_bias), batch, extra)
        loss.backward()
        return loss.detach(), extra
    pieces = _pieces(batch, parts)
    states, features = [], []
    with torch.no_grad(), _statistics_held(model):
        for piece in pieces:
            states.append(_random_state(batch.images.device))
            with arithmetic():
                features.append(encode(piece))
    image, text = (_wide(torch.cat([pair[side] for pair in features])).requires_grad_() for side in (0, 1))
    loss = objective(Features(image, text, model.logit_scale, model.logit_bias), batch, extra)
    loss.backward()
    assert image.grad is not None and text.grad is not None
    after = _random_state(batch.images.device)
    start = 0
    for piece, state in zip(pieces, states, strict=True):
        _set_random_state(state, batch.images.device)
        with arithmetic():
            own = encode(piece)
        rows = slice(start, start + len(piece))
        start += len(piece)
        # A frozen tower's features have no graph, and need none.
        reached = [
            (feature, whole.grad[rows].to(feature.dtype))
            for feature, whole in zip(own, (image, text), strict=True)
            if feature.requires_grad and whole.grad is not None
        ]
        torch.autograd.backward([feature for feature, _ in reached], [grad for _, grad in reached])
    _set_random_state(after, batch.images.device)
    return loss.detach(), extra


def _wide(features: Tensor) -> Tensor:
    """In single precision at least: features of autocast towers are half as wide."""
    return features if features.dtype == torch.float64 else features.float()


def _pieces(batch: Batch, parts: int) -> list[Batch]:
    edges = [round(len(batch) * part / parts) for part in range(parts + 1)]
    return [batch.part(slice(first, last)) for first, last in pairwise(edges)]


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def _statistics_held(model: nn.Module) -> Iterator[None]:
    """Batch normalisation normalises as in training, and does not count this pass in its running statistics."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked = layer.num_batches_tracked.clone()
        yield
    finally:
        for layer, (momentum, counted) in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked = counted
