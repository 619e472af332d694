"""Strokes of several drawings as tensors: what the optimisations move, render and hand over as drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipzoo_sketch import Drawing, Stroke, rasterize

_FAR_AWAY = -10.0


@dataclass(frozen=True)
class Ink:
    """A batch of drawings, each of the same number of strokes.

    Args:
        points: control points, px of the canvas (x, y), ``[drawings, paths, 3 segments + 1, 2]``.
        widths: full widths, px, ``[drawings, paths]``.
        colours: red, green, blue and opacity in [0, 1], ``[drawings, paths, 4]``.
        size: side of the canvas, px.
        background: red, green and blue below the strokes.
    """

    points: Float[Tensor, "drawings paths points 2"]
    widths: Float[Tensor, "drawings paths"]
    colours: Float[Tensor, "drawings paths 4"]
    size: float
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __len__(self) -> int:
        """How many drawings."""
        return len(self.points)

    @property
    def paths(self) -> int:
        """Strokes of each."""
        return self.points.shape[1]

    def render(self, side: int, backend: str = "auto") -> Float[Tensor, "drawings 3 side side"]:
        """Pictures of ``side`` px; differentiable."""
        scale = side / self.size
        return rasterize(
            self.points * scale,
            self.widths * scale,
            self.colours,
            size=(side, side),
            background=self.background,
            backend=backend,  # type: ignore[arg-type]
        )

    def drawing(self, row: int = 0, metadata: Mapping[str, Any] | None = None) -> Drawing:
        """One of them as an SVG drawing; segments that are a single point are left out."""
        side = round(self.size)
        parts = (tensor[row].detach().cpu().tolist() for tensor in (self.points, self.widths, self.colours))
        strokes = [Stroke(_trimmed(points), width, colour) for points, width, colour in zip(*parts, strict=True)]
        return Drawing(strokes, size=(side, side), background=self.background, metadata=dict(metadata or {}))

    def moved(self, points: Tensor, colours: Tensor | None = None) -> Ink:
        """With other points, and other red, green and blue where given."""
        if points.ndim == 3:
            points = points[None]
        if colours is None:
            return replace(self, points=points)
        colours = colours[None] if colours.ndim == 2 else colours
        return replace(self, points=points, colours=torch.cat([colours, self.colours[..., 3:]], -1))

    def row(self, place: int, paths: int | None = None) -> Ink:
        """One drawing, its first ``paths`` strokes."""
        part = slice(place, place + 1), slice(paths)
        return replace(self, points=self.points[part], widths=self.widths[part], colours=self.colours[part])

    def first(self, paths: int) -> Ink:
        """The first ``paths`` strokes of each."""
        return self.ordered(list(range(min(paths, self.paths))))

    def ordered(self, order: Sequence[int]) -> Ink:
        """Strokes in another order, or some of them."""
        chosen = list(order)
        return replace(
            self, points=self.points[:, chosen], widths=self.widths[:, chosen], colours=self.colours[:, chosen]
        )

    def masked(self, keep: Bool[Tensor, "variants paths"]) -> Ink:
        """Variants of one drawing, in each of which only some strokes are left."""
        many = len(keep)
        away = torch.full_like(self.points, _FAR_AWAY * self.size)
        return replace(
            self,
            points=torch.where(keep[:, :, None, None], self.points, away),
            widths=self.widths.expand(many, -1),
            colours=self.colours * torch.cat([torch.ones_like(keep[..., None])] * 3 + [keep[..., None]], -1),
        )

    def padded(self, paths: int) -> Ink:
        """With transparent strokes off the canvas up to a number of strokes."""
        missing = paths - self.paths
        if missing == 0:
            return self
        points = self.points.new_full((len(self), missing, *self.points.shape[2:]), _FAR_AWAY * self.size)
        return replace(
            self,
            points=torch.cat([self.points, points], 1),
            widths=torch.cat([self.widths, self.widths.new_ones(len(self), missing)], 1),
            colours=torch.cat([self.colours, self.colours.new_zeros(len(self), missing, 4)], 1),
        )

    def split(self, count: int) -> list[Ink]:
        """Batches of at most ``count`` drawings."""
        parts = zip(self.points.split(count), self.widths.split(count), self.colours.split(count), strict=True)
        return [replace(self, points=p, widths=w, colours=c) for p, w, c in parts]

    def to(self, device: torch.device | str) -> Ink:
        """On another device."""
        return replace(
            self, points=self.points.to(device), widths=self.widths.to(device), colours=self.colours.to(device)
        )

    def cpu(self) -> Ink:
        """Detached, on the CPU."""
        return replace(
            self, points=self.points.detach(), widths=self.widths.detach(), colours=self.colours.detach()
        ).to("cpu")

    @staticmethod
    def stack(inks: Sequence[Ink]) -> Ink:
        """Drawings of the same number of strokes as one batch."""
        return replace(
            inks[0],
            points=torch.cat([ink.points for ink in inks]),
            widths=torch.cat([ink.widths for ink in inks]),
            colours=torch.cat([ink.colours for ink in inks]),
        )


def _trimmed(points: list[list[float]]) -> list[list[float]]:
    """Without segments at the end whose control points are all the same."""
    while len(points) > 4 and all(point == points[-4] for point in points[-3:]):
        points = points[:-3]
    return points
