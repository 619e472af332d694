"""The published ways to measure depth, by name."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches
from clipzoo.metrics.depth import DepthScore, paste_nyu


@dataclass(frozen=True)
class Protocol:
    """What counts, and in which frame.

    Attributes:
        name: as people type it.
        minimum_m: nearest true depth that counts.
        maximum_m: farthest; both depths are clamped to the two.
        crop: of :func:`clipzoo.metrics.depth.crop_mask`.
        frame: (height, width) that ground truth must have, px, or None.
        inside: (left, top, right, bottom) of the frame that the encoder sees, px, or None for all of it.
        told: one sentence for records.
    """

    name: str
    minimum_m: float
    maximum_m: float
    crop: str
    frame: tuple[int, int] | None
    inside: tuple[int, int, int, int] | None
    told: str

    def score(self) -> DepthScore:
        """An empty score of this protocol."""
        return DepthScore(self.minimum_m, self.maximum_m, self.crop)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "nyu-eigen",
            1e-3,
            10.0,
            "eigen",
            (480, 640),
            (60, 56, 604, 472),
            "inner 544 x 416 px predicted and pasted back; Eigen crop, 1 mm to 10 m, mean over images",
        ),
        Protocol("kitti-garg", 1e-3, 80.0, "garg", None, None, "Garg crop, 1 mm to 80 m, mean over images"),
        Protocol("whole", 1e-3, 10.0, "none", None, None, "all pixels, 1 mm to 10 m, mean over images"),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        ConfigError: if there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigError(
            f'no protocol called "{name}"', closest=closest_matches(name, PROTOCOLS), expected=", ".join(PROTOCOLS)
        )
    return PROTOCOLS[name]


def depth_metrics(
    pred: Float[Tensor, "batch 1 height width"],
    target: Float[Tensor, "batch 1 frame_height frame_width"],
    protocol: str = "nyu-eigen",
) -> dict[str, float]:
    """The seven metrics of :mod:`clipzoo.metrics.depth` in a published protocol, in float64.

    Args:
        pred: depth, m; ``[batch, height, width]`` is fine too. For ``nyu-eigen`` either the whole frame of 480 x 640
            px or the inner 416 x 544 px, which are pasted into it.
        target: true depth, m; 0 or NaN where it is unknown.
        protocol: ``"nyu-eigen"``, ``"kitti-garg"`` or ``"whole"``.

    Returns:
        ``abs_diff``, ``a1``, ``a2``, ``a3``, ``abs_rel``, ``log10``, ``rmse`` and ``images``, how many count.

    Raises:
        ConfigError: if there is no such protocol.
        DataError: if shapes do not fit each other or the protocol, or a prediction is not finite.

    >>> import torch
    >>> depth_metrics(torch.full((1, 1, 416, 544), 2.0), torch.full((1, 1, 480, 640), 2.0))["a1"]
    1.0
    """
    chosen = find_protocol(protocol)
    if chosen.frame is not None and tuple(target.shape[-2:]) != chosen.frame:
        raise DataError(
            f"true depth of {tuple(target.shape[-2:])} px",
            expected=f"{chosen.frame[0]} x {chosen.frame[1]} px in the protocol {chosen.name}",
            hint='protocol="whole"',
        )
    score = chosen.score()
    score.update(pasted(pred, chosen), target)
    return score.compute()


def pasted(pred: Float[Tensor, "*batch height width"], protocol: Protocol) -> Float[Tensor, "*batch h w"]:
    """Predictions in the frame of the ground truth; pixels that were not predicted are 0."""
    if protocol.inside is None or tuple(pred.shape[-2:]) == protocol.frame:
        return pred
    return paste_nyu(pred)
