"""The GPU back end: outlines in torch, then kernels over the tiles that a layer touches."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from triton.runtime.jit import JITFunction

from clipzoo.errors import ConfigError
from clipzoo_sketch import triton_kernels
from clipzoo_sketch.layers import scene_layers
from clipzoo_sketch.outline import Edges
from clipzoo_sketch.scene import Scene
from clipzoo_sketch.tiles import TILE_PX, Bins, bin_layers

_PIXELS = TILE_PX * TILE_PX
_kernels: Any = triton_kernels


def render(scene: Scene) -> Float[Tensor, "canvas 3 height width"]:
    """Draw a scene, in float32.

    Raises:
        ConfigError: if its tensors are on the CPU and Triton's interpreter is not on.
    """
    if scene.cubics.device.type == "cpu" and isinstance(_kernels.winding_kernel, JITFunction):
        raise ConfigError('backend="triton" with tensors on the CPU', expected="a GPU", hint="backend=auto")
    edges, colours, even_odd = scene_layers(scene, torch.float32)
    order = edges.layer.argsort(stable=True)
    edges = Edges(*(column[order] for column in edges))
    bins = bin_layers(edges, len(even_odd), len(scene.radii), scene.height, scene.width)
    winding = _Winding.apply(edges.start, edges.end, edges.layer, bins, scene)
    image = _Composite.apply(scene.background.float(), winding, colours.float(), even_odd, bins)
    return image.to(scene.background.dtype)


def _columns(width: int) -> int:
    return -(-width // TILE_PX)


def _tiles(height: int, width: int) -> int:
    return _columns(width) * -(-height // TILE_PX)


class _Winding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, end: Tensor, layer: Tensor, bins: Bins, scene: Scene) -> Tensor:
        edges = torch.cat([start, end - start], 1).contiguous()
        begins = torch.searchsorted(layer, torch.arange(len(bins.layer_begins), device=layer.device))
        winding = edges.new_empty(len(bins.layer), _PIXELS)
        grid = _columns(scene.width), _tiles(scene.height, scene.width)
        if len(winding):
            _kernels.winding_kernel[(len(winding),)](
                edges, begins, bins.layer, bins.tile, winding, *grid, ANTIALIAS=scene.antialias, TILE=TILE_PX
            )
        ctx.save_for_backward(edges, layer)
        ctx.bins, ctx.grid, ctx.antialias = bins, grid, scene.antialias
        return winding

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        edges, layer = ctx.saved_tensors
        found = torch.zeros_like(edges)
        if len(edges) and ctx.antialias:
            _kernels.edge_kernel[(len(edges),)](
                edges,
                layer,
                ctx.bins.layer_begins,
                ctx.bins.tile,
                gradient.contiguous(),
                found,
                *ctx.grid,
                TILE=TILE_PX,
            )
        return found[:, :2], found[:, 2:], None, None, None


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, background: Tensor, winding: Tensor, colours: Tensor, even_odd: Tensor, bins: Bins) -> Tensor:
        image = background.clone(memory_format=torch.contiguous_format)
        keep = any(ctx.needs_input_grad)
        below = image.new_empty(len(winding) if keep else 0, 3, _PIXELS)
        colours = colours.contiguous()
        size = *image.shape[2:], _columns(image.shape[3]), _tiles(*image.shape[2:])
        listed = bins.layer, bins.by_tile, bins.tile_begins, colours, even_odd.int(), below
        _kernels.composite_kernel[(len(bins.tile_begins) - 1,)](image, winding, *listed, *size, KEEP=keep, TILE=TILE_PX)
        ctx.save_for_backward(winding, *listed)
        ctx.size = size
        return image

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        winding, *listed = ctx.saved_tensors
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        to_winding = torch.empty_like(winding)
        by_pair = winding.new_empty(len(winding), 4)
        _kernels.uncomposite_kernel[(len(listed[2]) - 1,)](
            gradient, winding, *listed, to_winding, by_pair, *ctx.size, TILE=TILE_PX
        )
        to_colours = torch.zeros_like(listed[3]).index_add_(0, listed[0], by_pair)
        return gradient, to_winding, to_colours, None, None
