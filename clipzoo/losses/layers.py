"""Distances between activations inside the image tower: structure, where embeddings only hold meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, closest_matches
from clipzoo.losses.features import Reduction, check_pairs, check_tensor, exact, reduced

LayerDistance = Literal["l2", "l1", "cos"]

CLIPASSO_WEIGHTS: Mapping[str, float] = {"layer2": 1.0, "layer3": 1.0, "embedding": 0.1}
"""Weights of CLIPasso for a ResNet encoder."""

_DISTANCES = ("l2", "l1", "cos")


def layer_loss(
    layers: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    weights: Mapping[str, float] = CLIPASSO_WEIGHTS,
    *,
    distance: LayerDistance = "l2",
    reduction: Reduction = "mean",
) -> Float[Tensor, ""] | Float[Tensor, " batch"]:
    r"""Weighted distances of activations, plus one minus the cosine of embeddings (CLIPasso, Vinker et al. 2022).

    :math:`\sum_l w_l\, D(F_l(x), F_l(y)) + w_\mathrm{fc} (1 - \cos(f(x), f(y)))`, where ``D`` is the mean over
    channels and positions of the squared (``"l2"``) or absolute (``"l1"``) difference, or the mean over positions of
    one minus the cosine over channels (``"cos"``). The entry ``"embedding"`` is the second term, whatever ``distance``.

    Args:
        layers: activations by name, as of :meth:`clipzoo.FrozenCLIP.layers`: maps ``[batch, channels, rows, columns]``,
            tokens ``[batch, tokens, width]``, or the embedding ``[batch, dim]``.
        target: of the images to resemble, computed without gradient.
        weights: by name; a layer that is not named, or has the weight 0, is not looked at.
        distance: of all but the embedding.
        reduction: over images.

    Returns:
        A number, or with ``"none"`` one an image (restarts and augmentations stay apart).

    Raises:
        ConfigError: if ``distance``, ``reduction`` or a name does not exist, or no weight is left.
        DataError: if the activations of a layer differ in shape, or are not floating-point.

    >>> import torch
    >>> x, y = {"layer2": torch.ones(2, 8, 4, 4)}, {"layer2": torch.zeros(2, 8, 4, 4)}
    >>> layer_loss(x, y, {"layer2": 0.5}, reduction="none")
    tensor([0.5000, 0.5000])
    """
    if distance not in _DISTANCES:
        raise ConfigError(
            f'no distance called "{distance}"',
            closest=closest_matches(str(distance), _DISTANCES),
            expected=", ".join(_DISTANCES),
        )
    used = {name: weight for name, weight in weights.items() if weight}
    if not used:
        raise ConfigError("no layer has a weight", expected="at least one weight that is not zero")
    total: Tensor | None = None
    for name, weight in used.items():
        ours, theirs = (_activation(side, name, role) for side, role in ((layers, "layers"), (target, "target")))
        check_pairs(**{f"layers[{name!r}]": ours, f"target[{name!r}]": theirs})
        ours, theirs = exact(ours, theirs)
        term = weight * _distance(ours, theirs, "cos" if name == "embedding" else distance)
        total = term if total is None else total + term
    assert total is not None
    return reduced(total, reduction)


def _activation(side: Mapping[str, Tensor], name: str, role: str) -> Tensor:
    if name not in side:
        raise ConfigError(
            f'{role} has no layer called "{name}", which has a weight',
            closest=closest_matches(name, side),
            expected=", ".join(side) or "activations by name",
        )
    check_tensor(f"{role}[{name!r}]", side[name], "[batch, ...]", 2)
    return side[name]


def _distance(ours: Tensor, theirs: Tensor, distance: str) -> Tensor:
    if distance == "cos":
        # differs from the paper: the code takes axis 1 of tokens too, which is no axis of channels.
        channels = 1 if ours.ndim == 4 else -1
        apart = 1 - F.cosine_similarity(ours, theirs, dim=channels)
    else:
        apart = (ours - theirs).square() if distance == "l2" else (ours - theirs).abs()
    return apart.flatten(1).mean(1) if apart.ndim > 1 else apart
