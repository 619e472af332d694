"""What every loss does to the features it is given: check, raise the precision, make unit, compare, reduce."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches

Reduction = Literal["mean", "sum", "none"]

_REDUCTIONS = ("mean", "sum", "none")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_tensor(name: str, value: Tensor, axes: str, minimum: int, maximum: int | None = None) -> None:
    """Refuse what a loss cannot take, before broadcasting turns it into a plausible number.

    Args:
        name: of the argument.
        value: the argument.
        axes: the shape that is expected, for the message.
        minimum: axes that it has at least.
        maximum: axes that it has at most.

    Raises:
        DataError: if ``value`` is no floating-point tensor, has too few or too many axes, or is empty.
    """
    if not isinstance(value, Tensor):
        raise DataError(f"{name} is a {type(value).__name__}", expected=f"a tensor {axes}", hint="torch.as_tensor(...)")
    if not value.is_floating_point():
        raise DataError(f"{name} has the type {value.dtype}", expected="a floating-point type", hint=f"{name}.float()")
    if value.ndim < minimum or (maximum is not None and value.ndim > maximum) or 0 in value.shape:
        raise DataError(f"{name} has the shape {tuple(value.shape)}", expected=f"{axes}, no axis of length zero")


def check_rows(**rows: Tensor) -> None:
    """Refuse what is not one ``[batch, dim]`` tensor beside others of the same shape.

    Raises:
        DataError: if one is no floating-point ``[batch, dim]`` with something in it, or the shapes differ.
    """
    for name, value in rows.items():
        check_tensor(name, value, "[batch, dim]", 2, 2)
    _check_equal_shapes(rows)


def check_pairs(**pairs: Tensor) -> None:
    """Refuse what is not one ``[..., dim]`` tensor beside others of the same shape.

    Raises:
        DataError: if one is no floating-point ``[..., dim]`` with something in it, or the shapes differ.
    """
    for name, value in pairs.items():
        check_tensor(name, value, "[..., dim]", 1)
    _check_equal_shapes(pairs)


def check_against(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse ``value`` unless it is one vector, or lines up axis by axis with ``other``.

    An axis of length one is stretched. Axes are never added: ``[batch, 1, dim]`` beside ``[batch, dim]`` would
    silently compare all with all.

    Raises:
        DataError: if it is neither.
    """
    check_tensor(name, value, "[dim] or [..., dim]", 1)
    same = value.ndim == other.ndim and all(
        a == b or 1 in (a, b) for a, b in zip(value.shape[:-1], other.shape[:-1], strict=True)
    )
    if value.shape[-1] != other.shape[-1] or not (value.ndim == 1 or same):
        raise DataError(
            f"{name} has the shape {tuple(value.shape)}, {other_name} {tuple(other.shape)}",
            expected=f"one vector [{other.shape[-1]}], or as many axes as {other_name} and the same lengths (or 1)",
        )


def check_ids(name: str, ids: Tensor, count: int) -> None:
    """Refuse what is not ``count`` integers.

    Raises:
        DataError: if it is not.
    """
    if not isinstance(ids, Tensor) or ids.dtype not in _INTEGERS or tuple(ids.shape) != (count,):
        given = f"{ids.dtype} {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise DataError(f"{name} is {given}", expected=f"a tensor of {count} integers, one a row")


def check_positive(name: str, value: float | Tensor, *, infinite: bool = False) -> None:
    """Refuse a number that is not positive; the value of a tensor is not looked at, its shape is.

    Raises:
        ConfigError: if it is not positive, or is infinite and may not be.
        DataError: if it is a tensor of more than one number.
    """
    if isinstance(value, Tensor):
        # Reading the value would make the host wait for the device at every step.
        if value.numel() != 1:
            raise DataError(f"{name} has the shape {tuple(value.shape)}", expected="one number")
    elif not value > 0 or (math.isinf(value) and not infinite):
        raise ConfigError(f"{name} is {value}", expected="a positive number")


def _check_equal_shapes(tensors: dict[str, Tensor]) -> None:
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(f"the shapes differ: {told}", expected="the same shape for each")


def exact(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All in float64 if one is, else all in float32: half precision loses small edits before they are compared."""
    kind = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    return tuple(tensor.to(kind) for tensor in tensors)


def unit(features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Rows of Euclidean norm one; a zero row stays zero."""
    return F.normalize(features, dim=-1)


def smooth_unit(difference: Float[Tensor, "*batch dim"], eps: float) -> Float[Tensor, "*batch dim"]:
    r""":math:`d / \sqrt{\|d\|^2 + \epsilon^2}`: smooth everywhere, zero at zero, all but unit far above ``eps``."""
    return difference / (difference.square().sum(-1, keepdim=True) + eps**2).sqrt()


def similarity(rows: Float[Tensor, "rows dim"], columns: Float[Tensor, "columns dim"]) -> Float[Tensor, "rows columns"]:
    """Dot products of all with all, in the precision of the rows even under autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.mT


def check_reduction(reduction: str) -> None:
    """Refuse a reduction that does not exist.

    Raises:
        ConfigError: if it is none of ``"mean"``, ``"sum"`` and ``"none"``.
    """
    if reduction not in _REDUCTIONS:
        raise ConfigError(
            f'no reduction called "{reduction}"',
            closest=closest_matches(str(reduction), _REDUCTIONS),
            expected=", ".join(_REDUCTIONS),
        )


def reduced(values: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of all values, or the values as they are.

    Raises:
        ConfigError: if ``reduction`` is unknown.
    """
    check_reduction(reduction)
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()
