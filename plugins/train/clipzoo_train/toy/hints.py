"""What a teacher sees in every place of an image, as a target for the tokens of a student (Romero et al. 2015).

A transformer that starts from nothing and is told one embedding an image learns shapes late. A residual network with
a stride of eight at its second stage has one vector for each of the student's patches, and that is 64 targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.encoders.layers import layer_features
from clipzoo.encoders.pixels import unit_rows

AFTER_BLOCK: Mapping[str, int] = {"layer2": 2, "layer3": 4}
"""Stage of the teacher, and the number of the student's blocks after which it is predicted."""


class Hints(nn.Module):
    r"""Linear heads from tokens to the teacher's maps; thrown away after training.

    :math:`\sum_l \mathrm{mean}\,(W_l\,\bar t_l + b_l - (f_l - \mu_l) / \sigma_l)^2`, where :math:`f_l` is a map of
    the teacher, standardised channel by channel, and :math:`\bar t_l` the mean of the tokens in its cells.

    Args:
        visual: the teacher's image tower, open_clip's ``ModifiedResNet``; not kept.
        width: of the student.
        pixels: normalised images that the means and deviations of the channels are taken from.
    """

    def __init__(self, visual: Any, width: int, pixels: Float[Tensor, "images 3 side side"]) -> None:
        """Measure the channels."""
        super().__init__()
        self.heads = nn.ModuleDict()
        for name, maps in teacher_view(visual, pixels)[1].items():
            self.heads[name] = nn.Linear(width, maps.shape[1])
            self.register_buffer(f"{name}_mean", maps.mean((0, 2, 3)))
            self.register_buffer(f"{name}_deviation", maps.std((0, 2, 3)) + 1e-3)

    def forward(
        self, states: Sequence[Float[Tensor, "images tokens width"]], maps: Mapping[str, Tensor]
    ) -> Float[Tensor, ""]:
        """The sum over maps of the mean squared error, each 1 for a student that knows nothing of the image.

        Args:
            states: of the student after each block, class token first.
            maps: of :func:`teacher_view` on the same images.
        """
        total = states[0].new_zeros(())
        for name, wanted in maps.items():
            mean, deviation = (getattr(self, f"{name}_{what}") for what in ("mean", "deviation"))
            target = ((wanted - mean[:, None, None]) / deviation[:, None, None]).permute(0, 2, 3, 1)
            tokens = _cells(states[AFTER_BLOCK[name] - 1][:, 1:], wanted.shape[-1]).bfloat16()
            head = self.heads[name]
            total = total + F.mse_loss(F.linear(tokens, head.weight.bfloat16(), head.bias.bfloat16()).float(), target)
        return total


def _cells(tokens: Float[Tensor, "images patches width"], cells: int) -> Float[Tensor, "images cells cells width"]:
    """Means of the tokens in a grid of cells."""
    count, patches, width = tokens.shape
    each = round(patches**0.5) // cells
    return tokens.reshape(count, cells, each, cells, each, width).mean((2, 4))


@torch.no_grad()
def teacher_view(
    visual: Any, pixels: Float[Tensor, "images 3 side side"]
) -> tuple[Float[Tensor, "images dim"], dict[str, Float[Tensor, "images channels rows columns"]]]:
    """The teacher's embeddings as unit rows, and its maps by the name of their stage.

    Args:
        visual: its image tower; fastest with channels last.
        pixels: normalised.
    """
    with torch.autocast("cpu", torch.bfloat16):
        found = layer_features(
            visual, pixels.contiguous(memory_format=torch.channels_last), [*AFTER_BLOCK, "embedding"], "resnet"
        )
    return unit_rows(found["embedding"].float()), {name: found[name].float() for name in AFTER_BLOCK}
