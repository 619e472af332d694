"""The CPU back end: compiled loops that walk along outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo_sketch import numba_kernels
from clipzoo_sketch.scene import Scene

_kernels: Any = numba_kernels


def render(scene: Scene) -> Float[Tensor, "canvas 3 height width"]:
    """Draw a scene whose tensors are on the CPU."""
    paints = [paint for paint in (scene.fill_colours, scene.stroke_colours) if paint is not None]
    # The loops are compiled for float32 and float64 canvases.
    background = scene.background if scene.background.dtype == torch.float64 else scene.background.float()
    image = _Render.apply(
        scene.cubics.flatten(0, 1),
        scene.radii.flatten(),
        torch.stack(paints, 2).flatten(0, 1),
        background,
        scene.closed,
        int(scene.fill_colours is not None),
        scene.fill_rule == "evenodd",
        scene.antialias,
    )
    return image.to(scene.background.dtype)


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cubics: Tensor,
        radii: Tensor,
        colours: Tensor,
        background: Tensor,
        closed: bool,
        fills: int,
        even_odd: bool,
        antialias: bool,
    ) -> Tensor:
        image = np.array(background.detach().permute(0, 2, 3, 1).numpy(), order="C")
        arrays = _float64(cubics), _float64(radii), _float64(colours)
        kept = _kernels.forward(*arrays, image, closed, fills, even_odd, antialias, any(ctx.needs_input_grad))
        ctx.arrays, ctx.kept, ctx.rules = arrays, kept, (closed, fills, antialias)
        ctx.dtypes = cubics.dtype, radii.dtype, colours.dtype
        return torch.from_numpy(image).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        closed, fills, antialias = ctx.rules
        below = np.array(gradient.permute(0, 2, 3, 1).numpy(), order="C")
        geometry = antialias and (ctx.needs_input_grad[0] or ctx.needs_input_grad[1])
        found = _kernels.backward(*ctx.arrays, below, closed, fills, geometry, *ctx.kept)
        found = [torch.from_numpy(array).to(dtype) for array, dtype in zip(found, ctx.dtypes, strict=True)]
        return *found, torch.from_numpy(below).permute(0, 3, 1, 2), None, None, None, None


def _float64(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().double().numpy())
