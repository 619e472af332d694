"""Scenes through diffvg (Li et al. 2020), where pydiffvg is installed: for comparison with published runs.

Its images are sampled; its gradients by points and widths of curved strokes are known to be biased by 7 to 37 %.
Nothing in clipzoo needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, MissingExtra
from clipzoo_sketch.scene import Scene

SAMPLES = 2
"""Samples a pixel and axis, as CLIPasso and CLIPDraw have it."""
SEED = 0
_BEND_PX = 1e-3


def render(scene: Scene) -> Float[Tensor, "canvas 3 height width"]:
    """Draw a scene, one canvas after another, as diffvg does.

    Raises:
        MissingExtra: if pydiffvg is not installed; it is on no package index.
        ConfigError: if the scene is to be drawn without anti-aliasing.
    """
    diffvg = _pydiffvg()
    if not scene.antialias:
        raise ConfigError('antialias=False with backend="diffvg"', expected="antialias=True", hint="backend=auto")
    return torch.stack([_canvas(diffvg, scene, row) for row in range(len(scene.radii))])


def _canvas(diffvg: Any, scene: Scene, row: int) -> Float[Tensor, "3 height width"]:
    shapes, groups = [], []
    for path, cubics in enumerate(scene.cubics[row]):
        # Two groups: in one of both paints diffvg lays the fill over the stroke, the reverse of SVG.
        for paint, name in ((scene.fill_colours, "fill_color"), (scene.stroke_colours, "stroke_color")):
            if paint is not None:
                colours = {"fill_color": None, "stroke_color": None, name: paint[row, path].float()}
                even_odd = scene.fill_rule == "evenodd"
                place = torch.tensor([len(shapes)])
                shapes.append(_path(diffvg, cubics, scene.radii[row, path], scene.closed or name == "fill_color"))
                groups.append(diffvg.ShapeGroup(shape_ids=place, use_even_odd_rule=even_odd, **colours))
    below = scene.background[row].permute(1, 2, 0).float()
    below = torch.cat([below, torch.ones_like(below[..., :1])], -1).contiguous()
    arguments = diffvg.RenderFunction.serialize_scene(scene.width, scene.height, shapes, groups)
    image = diffvg.RenderFunction.apply(scene.width, scene.height, SAMPLES, SAMPLES, SEED, below, *arguments)
    return image[..., :3].permute(2, 0, 1).to(scene.background)


def _path(diffvg: Any, cubics: Float[Tensor, "segment 4 2"], radius: Tensor, closed: bool) -> Any:
    """A path of diffvg, whose stroke width is a radius."""
    inner, points = [], [cubics[0, 0]]
    for a, b, c, d in cubics:
        middle = _inner_points(a, b, c, d)
        inner.append(len(middle))
        points += [*middle, d]
    if closed:
        returns = (points[-1] - points[0]).detach().abs().max() < 1e-6
        if returns:
            points.pop()
        else:
            inner.append(0)
    return diffvg.Path(
        num_control_points=torch.tensor(inner, dtype=torch.int32),
        points=torch.stack(points).float().contiguous(),
        stroke_width=radius.float(),
        is_closed=closed,
    )


def _inner_points(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> list[Tensor]:
    """Control points between the ends, of less degree where a cubic has no cubic part: diffvg draws that wrongly."""
    if (d - 3 * c + 3 * b - a).detach().abs().max() > _BEND_PX:
        return [b, c]
    if (a - b - c + d).detach().abs().max() > _BEND_PX:
        return [(3 * (b + c) - a - d) / 4]
    return []


def _pydiffvg() -> Any:
    try:
        return importlib.import_module("pydiffvg")
    except ImportError as error:
        raise MissingExtra(
            "the diffvg back end was asked for, and pydiffvg is not installed",
            expected="a build of diffvg for this Python (it is on no package index)",
            hint="backend=auto",
        ) from error
