"""The linear probe: softmax regression on frozen features, and the choice of its regularisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo.heads.checks import check_labelled, held_out_score

LAMBDAS = tuple(10 ** (-6 + 12 * step / 95) for step in range(96))
"""The 96 strengths of the CLIP paper (appendix A.3), evenly spaced in the logarithm from 1e-6 to 1e6."""


@dataclass(frozen=True)
class LinearProbe:
    """Weights of a softmax regression.

    Attributes:
        weight: ``[classes, dim]``, float64.
        bias: ``[classes]``, float64.
        strength: the factor lambda on ``|weight|^2 / 2`` it was fitted with.
        iterations: L-BFGS iterations that took.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    iterations: int

    def logits(self, features: Float[Tensor, "items dim"]) -> Float[Tensor, "items classes"]:
        """Scores of each class, float64."""
        return features.to(self.weight) @ self.weight.T + self.bias


@dataclass(frozen=True)
class ProbePath:
    """The probe that was chosen, and the validation accuracy of every strength that was tried."""

    probe: LinearProbe
    tried: dict[float, float]


def fit_linear_probe(
    features: Float[Tensor, "items dim"],
    labels: Int[Tensor, " items"],
    classes: int,
    strength: float = 1.0,
    *,
    prior: Float[Tensor, "classes dim"] | None = None,
    start: LinearProbe | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-7,
) -> LinearProbe:
    r"""Fit a softmax regression with L-BFGS in double precision.

    Minimises :math:`\sum_i \mathrm{CE}(W f_i + b, y_i) + \lambda |W - W_0|^2 / 2`. Without a prior
    :math:`W_0 = 0`, and this is scikit-learn's ``LogisticRegression`` with ``C`` = 1 / ``strength``. With the
    sentences as the prior, a strong lambda is zero-shot and a weak one a plain probe (Silva-Rodriguez et al., CVPR
    2024, section 4). The bias is not penalised. Deterministic.

    Args:
        features: rows, normalised or not; on any device.
        labels: class of each row.
        classes: how many there are, those without a row included.
        strength: lambda, above 0.
        prior: weights that the penalty pulls to, for example ``scale * text``.
        start: where to begin; a probe of a near strength saves most of the iterations.
        max_iterations: of L-BFGS.
        tolerance: largest gradient component at which it stops, relative to the number of items.

    Raises:
        DataError: if features and labels do not belong together.
        ConfigError: if ``strength`` is not above 0.

    >>> probe = fit_linear_probe(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), 2)
    >>> probe.logits(torch.tensor([[2.0], [-2.0]])).argmax(1).tolist()
    [0, 1]
    """
    check_labelled(features, labels, classes)
    if not strength > 0:
        raise ConfigError(f"strength is {strength}", expected="a number above 0")
    rows = features.detach().double()
    labels = labels.to(rows.device)
    origin = torch.zeros(classes, rows.shape[1], dtype=torch.float64, device=rows.device)
    if prior is not None:
        if prior.shape != origin.shape:
            raise DataError(f"prior has the shape {tuple(prior.shape)}", expected=str(tuple(origin.shape)))
        origin = prior.detach().to(origin)
    weight = origin.clone()
    bias = torch.zeros(classes, dtype=torch.float64, device=rows.device)
    if start is not None:
        weight.copy_(start.weight)
        bias.copy_(start.bias)
    weight.requires_grad_(True)
    bias.requires_grad_(True)
    count = len(rows)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        lr=1,
        max_iter=max_iterations,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        # Divided by the number of items, so that one tolerance fits every size.
        penalty = strength / (2 * count) * (weight - origin).square().sum()
        loss = F.cross_entropy(rows @ weight.T + bias, labels) + penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    done = int(optimiser.state[weight]["n_iter"])
    return LinearProbe(weight.detach(), bias.detach(), strength, done)


def fit_probe_path(
    features: Float[Tensor, "items dim"],
    labels: Int[Tensor, " items"],
    validation: tuple[Float[Tensor, "held dim"], Int[Tensor, " held"]],
    classes: int,
    *,
    strengths: Sequence[float] = LAMBDAS,
    prior: Float[Tensor, "classes dim"] | None = None,
    refit: bool = True,
) -> ProbePath:
    """Choose lambda on validation data as the CLIP paper does, and refit on all of it.

    Every sixteenth strength is tried first; then the interval around the best is halved until it is one step wide
    (appendix A.3). Each fit starts from the nearest one already made. Accuracy decides; among equals, which few
    shots make common, the lower cross-entropy, then the stronger regularisation.

    Args:
        features: training rows.
        labels: class of each.
        validation: held-out rows and labels; the test split has no place here.
        classes: how many there are.
        strengths: increasing.
        prior: weights that the penalty pulls to, see :func:`fit_linear_probe`.
        refit: fit the chosen strength on training and validation rows together.

    Raises:
        DataError: if features and labels do not belong together.
        ConfigError: if there is no strength.
    """
    if not strengths:
        raise ConfigError("no strengths were given")
    held, held_labels = validation
    check_labelled(held, held_labels, classes, "validation features")
    if prior is not None:
        prior = prior.to(features.device)
    held_labels = held_labels.to(held.device)
    probes: dict[int, LinearProbe] = {}
    scores: dict[int, tuple[float, float]] = {}

    def attempt(index: int) -> None:
        if index in probes:
            return
        near = min(probes, key=lambda known: abs(known - index), default=None)
        start = None if near is None else probes[near]
        probes[index] = fit_linear_probe(features, labels, classes, strengths[index], prior=prior, start=start)
        scores[index] = held_out_score(probes[index].logits(held), held_labels)

    step = 16
    # From strong to weak: strong regularisation converges at once, and is a good start for its neighbour.
    for index in range(len(strengths) - 1, -1, -step):
        attempt(index)
    while step > 1:
        step //= 2
        best = max(scores, key=lambda index: (scores[index], index))
        for index in (best + step, best - step):
            if 0 <= index < len(strengths):
                attempt(index)
    best = max(scores, key=lambda index: (scores[index], index))
    probe = probes[best]
    if refit:
        both = torch.cat([features, held.to(features)]), torch.cat([labels.to(held_labels), held_labels])
        probe = fit_linear_probe(*both, classes, strengths[best], prior=prior, start=probe)
    return ProbePath(probe, {strengths[index]: score[0] for index, score in sorted(scores.items())})
