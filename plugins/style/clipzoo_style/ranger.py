"""Ranger: RAdam, Lookahead and gradient centralisation in one optimiser, as StyleCLIP trains its mappers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Ranger(torch.optim.Optimizer):
    r"""RAdam (Liu et al. 2020) on centralised gradients (Yong et al. 2020), with Lookahead (Zhang et al. 2019).

    With the moments m, v of the centralised gradient, :math:`\rho_\infty = 2/(1-\beta_2) - 1` and
    :math:`\rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)`: if :math:`\rho_t > 5` the step is
    :math:`r_t m / ((1 - \beta_1^t)(\sqrt v + \epsilon))`, else :math:`m / (1 - \beta_1^t)`. Every k steps the slow
    weights move by :math:`\alpha` towards the fast ones, and those jump to them.

    Args:
        params: parameters or groups.
        lr: learning rate.
        alpha: share that the slow weights move.
        k: steps between two such moves.
        threshold: of :math:`\rho_t`.
        betas: of the moments.
        eps: in the denominator.
        weight_decay: taken off the weights before the step.

    >>> x = torch.nn.Parameter(torch.ones(3))
    >>> optimiser = Ranger([x], lr=0.1)
    >>> x.square().sum().backward(); _ = optimiser.step(); bool((x < 1).all())
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        alpha: float = 0.5,
        k: int = 6,
        threshold: float = 5.0,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
    ) -> None:
        """Keep the settings as the defaults of every group."""
        defaults = {"lr": lr, "alpha": alpha, "k": k, "threshold": threshold, "betas": betas, "eps": eps}
        super().__init__(params, defaults | {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the closure, if there is one, is evaluated first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
            state["slow"] = parameter.detach().clone()
        gradient = parameter.grad
        assert gradient is not None
        if gradient.ndim > 1:
            gradient = gradient - gradient.mean(tuple(range(1, gradient.ndim)), keepdim=True)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        t = state["step"]
        state["first"].lerp_(gradient, 1 - beta1)
        state["second"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if group["weight_decay"]:
            parameter.mul_(1 - group["weight_decay"] * group["lr"])
        rectified = _rectification(t, beta2, group["threshold"])
        size = group["lr"] / (1 - beta1**t)
        if rectified is None:
            parameter.add_(state["first"], alpha=-size)
        else:
            parameter.addcdiv_(state["first"], state["second"].sqrt().add_(group["eps"]), value=-size * rectified)
        if t % group["k"] == 0:
            state["slow"].lerp_(parameter, group["alpha"])
            parameter.copy_(state["slow"])


def _rectification(t: int, beta2: float, threshold: float) -> float | None:
    """The factor on the adaptive step, with the second moment's bias in it; None where it is not to be trusted yet."""
    power = beta2**t
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * power / (1 - power)
    if length <= threshold:
        return None
    spread = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
    return math.sqrt((1 - power) * spread)
