"""The reference back end: any device, any float type, and only the pixels that an outline touches or encloses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo_sketch.compositing import composite
from clipzoo_sketch.coverage import covered_area
from clipzoo_sketch.layers import scene_layers
from clipzoo_sketch.scene import Scene


def render(scene: Scene) -> Float[Tensor, "canvas 3 height width"]:
    """Draw a scene."""
    canvases, height, width = len(scene.radii), scene.height, scene.width
    # Running sums need the digits; Apple's GPUs have no float64.
    edges, colours, even_odd = scene_layers(
        scene, torch.float32 if scene.cubics.device.type == "mps" else torch.float64
    )
    covered = covered_area(edges, len(even_odd), even_odd, height, width, scene.antialias)
    canvas_of = covered.layer // (len(even_odd) // canvases)
    pixel = (canvas_of * height + covered.row) * width + covered.column
    # Half precision would lose thin layers one after another.
    work = torch.promote_types(scene.background.dtype, torch.float32)
    below = scene.background.permute(0, 2, 3, 1).reshape(-1, 3).to(work)
    image = composite(below, covered.area.to(work), colours.to(work), pixel, covered.layer)
    return image.view(canvases, height, width, 3).permute(0, 3, 1, 2).to(scene.background.dtype)
