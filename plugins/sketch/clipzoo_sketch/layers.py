"""The layers of a scene, as every back end that works on outlines wants them: edges, paints and rules."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipzoo_sketch.outline import Edges, fill_edges, stroke_edges
from clipzoo_sketch.scene import Scene


class Layers(NamedTuple):
    """What is painted, the lowest first; each canvas has equally many, the fill of a path before its stroke."""

    edges: Edges
    colours: Float[Tensor, "layer 4"]
    even_odd: Bool[Tensor, " layer"]


def scene_layers(scene: Scene, dtype: torch.dtype) -> Layers:
    """Outlines of a scene, differentiable in its points and radii, computed in a float type."""
    cubics, radii = scene.cubics.flatten(0, 1).to(dtype), scene.radii.flatten().to(dtype)
    paints = [paint for paint in (scene.fill_colours, scene.stroke_colours) if paint is not None]
    layers = torch.arange(len(radii), device=cubics.device) * len(paints)
    parts, even_odd = [], []
    if scene.fill_colours is not None:
        parts.append(fill_edges(cubics, layers))
        even_odd.append(scene.fill_rule == "evenodd")
    if scene.stroke_colours is not None:
        parts.append(stroke_edges(cubics, radii, layers + len(parts), scene.closed))
        even_odd.append(False)
    edges = Edges(*(torch.cat(column) for column in zip(*parts, strict=True)))
    rules = torch.tensor(even_odd, device=cubics.device).repeat(len(radii))
    return Layers(edges, torch.stack(paints, 2).flatten(0, 2), rules)
