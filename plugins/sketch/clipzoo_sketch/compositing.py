"""Layers over one another, where each layer is only the pixels that it covers."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def composite(
    canvas: Float[Tensor, "pixel 3"],
    area: Float[Tensor, " entry"],
    colours: Float[Tensor, "layer 4"],
    pixel: Int[Tensor, " entry"],
    layer: Int[Tensor, " entry"],
) -> Float[Tensor, "pixel 3"]:
    """Paint entries over a canvas, later layers over earlier ones: C <- C + a (c - C) with a = opacity x covered area.

    Args:
        canvas: colours below all layers.
        area: how much of the pixel the entry covers; entries are ordered by layer.
        colours: straight RGBA of each layer.
        pixel: where the entry is.
        layer: what it belongs to.
    """
    return _Composite.apply(canvas, area, colours, pixel, layer)


def depth_order(pixel: Int[Tensor, " entry"]) -> list[Int[Tensor, " entry"]]:
    """Entries that are the first on their pixel, those that are the second, and so on."""
    if not len(pixel):
        return []
    place = torch.arange(len(pixel), device=pixel.device)
    by_pixel = pixel.sort(stable=True)
    begins = torch.ones_like(by_pixel.values, dtype=torch.bool)
    begins[1:] = by_pixel.values[1:] != by_pixel.values[:-1]
    depth = place - torch.where(begins, place, 0).cummax(0).values
    by_depth = depth.sort(stable=True)
    return list(by_pixel.indices[by_depth.indices].split(by_depth.values.bincount().tolist()))


class _Composite(torch.autograd.Function):
    """One step for each depth: no pixel occurs twice in a step."""

    @staticmethod
    def forward(ctx: Any, canvas: Tensor, area: Tensor, colours: Tensor, pixel: Tensor, layer: Tensor) -> Tensor:
        image = canvas.clone()
        paint = colours[layer]
        opacity = (paint[:, 3] * area)[:, None]
        below = torch.empty_like(paint[:, :3])
        order = depth_order(pixel)
        for entries in order:
            where = pixel[entries]
            below[entries] = seen = image[where]
            image[where] = torch.lerp(seen, paint[entries, :3], opacity[entries])
        ctx.order = order
        ctx.save_for_backward(area, colours, pixel, layer, below)
        return image

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        area, colours, pixel, layer, below = ctx.saved_tensors
        gradient = gradient.clone()
        paint = colours[layer]
        through = 1 - (paint[:, 3] * area)[:, None]
        arriving = torch.empty_like(below)
        for entries in reversed(ctx.order):
            where = pixel[entries]
            arriving[entries] = seen = gradient[where]
            gradient[where] = seen * through[entries]
        to_opacity = (arriving * (paint[:, :3] - below)).sum(1)
        to_paint = torch.cat([arriving * (1 - through), (to_opacity * area)[:, None]], 1)
        to_colours = torch.zeros_like(colours).index_add_(0, layer, to_paint)
        return gradient, to_opacity * paint[:, 3], to_colours, None, None
