"""Monocular depth: the seven metrics of NYU Depth v2, a mean over images of means over pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError

DEPTH_METRICS = ("abs_diff", "a1", "a2", "a3", "abs_rel", "log10", "rmse")
"""Mean absolute error (m), shares within 1.25, 1.25^2, 1.25^3, relative error, error of log10, RMSE (m)."""

_CROPS = ("eigen", "garg", "none")


def crop_mask(height: int, width: int, crop: str = "eigen") -> Bool[Tensor, "height width"]:
    """The pixels that a published protocol evaluates.

    Args:
        height: of the ground truth, px.
        width: of the ground truth, px.
        crop: ``"eigen"`` (NYU Depth v2, 480 x 640: rows 45 to 470, columns 46 to 600), ``"garg"`` (KITTI, shares of
            the frame) or ``"none"``.

    Raises:
        ConfigError: if there is no such crop, or the Eigen crop is asked for another size.

    >>> int(crop_mask(480, 640).sum())
    236430
    """
    if crop not in _CROPS:
        raise ConfigError(f'no crop called "{crop}"', expected=", ".join(_CROPS))
    if crop == "eigen":
        if (height, width) != (480, 640):
            raise ConfigError(
                f"the Eigen crop of {height} x {width} pixels", expected="480 x 640 pixels", hint='crop="none"'
            )
        rows, columns = slice(45, 471), slice(46, 601)
    elif crop == "garg":
        rows = slice(int(0.40810811 * height), int(0.99189189 * height))
        columns = slice(int(0.03594771 * width), int(0.96405229 * width))
    else:
        rows, columns = slice(None), slice(None)
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


def paste_nyu(predicted: Float[Tensor, "*batch 416 544"]) -> Float[Tensor, "*batch 480 640"]:
    """Put predictions for the 416 x 544 px inside of an NYU frame back into it; outside they are 0, which is no depth.

    Raises:
        DataError: if the predictions have another size.
    """
    if predicted.shape[-2:] != (416, 544):
        raise DataError(f"predictions of {tuple(predicted.shape[-2:])} px", expected="416 x 544 px")
    return F.pad(predicted, (60, 640 - 604, 56, 480 - 472))


class DepthScore:
    """Depth metrics of a stream of images, in float64.

    A pixel counts if its true depth lies between ``minimum`` and ``maximum``, its predicted depth is above
    ``minimum``, and it is inside the crop and the mask. Both depths are then clamped to the two bounds.

    Args:
        minimum: m.
        maximum: m, the cap: 10 for NYU Depth v2, 80 for KITTI.
        crop: see :func:`crop_mask`.
        median_scaling: multiply each prediction by the ratio of the medians of true and predicted depth, for methods
            whose scale is unknown.

    >>> score = DepthScore(crop="none")
    >>> score.update(torch.full((1, 2, 2), 2.0), torch.full((1, 2, 2), 1.0))
    >>> round(score.compute()["abs_rel"], 6)
    1.0
    """

    def __init__(
        self, minimum: float = 1e-3, maximum: float = 10.0, crop: str = "eigen", median_scaling: bool = False
    ) -> None:
        """Start with no images."""
        if not 0 < minimum < maximum:
            raise ConfigError(f"depths between {minimum} and {maximum} m", expected="0 < minimum < maximum")
        if crop not in _CROPS:
            raise ConfigError(f'no crop called "{crop}"', expected=", ".join(_CROPS))
        self.minimum, self.maximum = minimum, maximum
        self.crop = crop
        self.median_scaling = median_scaling
        self._rows: list[Tensor] = []

    def update(
        self,
        predicted: Float[Tensor, "batch height width"],
        target: Float[Tensor, "batch height width"],
        mask: Bool[Tensor, "batch height width"] | None = None,
    ) -> None:
        """Add images.

        Args:
            predicted: depth, m; ``[batch, 1, height, width]`` is fine too.
            target: true depth, m; 0 or NaN where it is unknown.
            mask: further restriction.

        Raises:
            DataError: if shapes differ, or a prediction is not finite.
        """
        predicted, target = _images("predictions", predicted), _images("targets", target)
        if predicted.shape != target.shape:
            raise DataError(
                f"predictions of the shape {tuple(predicted.shape)} and targets of {tuple(target.shape)}",
                expected="the same",
                hint="paste_nyu for predictions of the inner 416 x 544 px; else resize them to the target",
            )
        if not bool(torch.isfinite(predicted).all()):
            raise DataError("a predicted depth is NaN or infinite")
        target = target.to(predicted.device)
        height, width = target.shape[-2:]
        valid = crop_mask(height, width, self.crop).to(target.device)
        valid = valid & (target > self.minimum) & (target < self.maximum)
        if mask is not None:
            valid = valid & _images("masks", mask).to(valid.device).bool()
        if self.median_scaling:
            known = valid & (predicted > 0)
            ratio = _median(target, known) / _median(predicted, known)
            predicted = predicted * ratio.nan_to_num(1.0)[:, None, None]
        self._rows.append(self._metrics(predicted, target, valid & (predicted > self.minimum)))

    def _metrics(self, predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        predicted = predicted.clamp(self.minimum, self.maximum)
        # Unknown depths may be NaN, which would survive the multiplication by a mask of zeros.
        target = torch.where(valid, target, 1.0).clamp(self.minimum, self.maximum)
        count = valid.flatten(1).sum(1).double()

        def mean(values: Tensor) -> Tensor:
            return torch.where(valid, values, 0.0).flatten(1).sum(1) / count

        difference = (target - predicted).abs()
        ratio = torch.maximum(target / predicted, predicted / target)
        return torch.stack(
            [
                mean(difference),
                *(mean((ratio < 1.25**power).double()) for power in (1, 2, 3)),
                mean(difference / target),
                mean((target.log10() - predicted.log10()).abs()),
                mean(difference**2).sqrt(),
            ],
            1,
        )

    def per_image(self) -> Float[np.ndarray, "images 7"]:
        """The metrics of each image in the order of :data:`DEPTH_METRICS`; NaN for one without a valid pixel."""
        if not self._rows:
            return np.zeros((0, len(DEPTH_METRICS)))
        return torch.cat([row.cpu() for row in self._rows]).numpy()

    def compute(self) -> dict[str, float]:
        """Means over the images that have a valid pixel, and ``images``, how many these are; NaN without any."""
        rows = self.per_image()
        rows = rows[~np.isnan(rows).any(1)]
        means = rows.mean(0) if len(rows) else np.full(len(DEPTH_METRICS), np.nan)
        return {**dict(zip(DEPTH_METRICS, means.tolist(), strict=True)), "images": float(len(rows))}


def depth_metrics(
    predicted: Float[Tensor, "batch height width"],
    target: Float[Tensor, "batch height width"],
    mask: Bool[Tensor, "batch height width"] | None = None,
    **protocol: float | str | bool,
) -> dict[str, float]:
    """The metrics of one batch; ``protocol`` as in :class:`DepthScore`."""
    score = DepthScore(**protocol)  # type: ignore[arg-type]
    score.update(predicted, target, mask)
    return score.compute()


def _images(name: str, depth: Tensor) -> Tensor:
    if depth.ndim == 4 and depth.shape[1] == 1:
        depth = depth[:, 0]
    if depth.ndim != 3 or not len(depth):
        raise DataError(f"{name} of the shape {tuple(depth.shape)}", expected="[batch, height, width]")
    return depth if depth.dtype == torch.bool else depth.double()


def _median(depth: Tensor, known: Tensor) -> Tensor:
    """Median of the known pixels of each image; the mean of the middle two where their number is even."""
    flat = torch.where(known, depth, float("nan")).flatten(1)
    return torch.nanquantile(flat, 0.5, dim=1)
