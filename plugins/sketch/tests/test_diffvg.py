"""diffvg is on no package index: a stand-in with its conventions takes its place, and draws with our reference."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from clipzoo_sketch import diffvg_backend, rasterize, torch_backend
from clipzoo_sketch.geometry import elevate, to_cubics
from clipzoo_sketch.scene import Scene

from clipzoo.errors import ConfigError, MissingExtra


@dataclass
class Path:
    num_control_points: torch.Tensor
    points: torch.Tensor
    stroke_width: torch.Tensor
    is_closed: bool


@dataclass
class ShapeGroup:
    shape_ids: torch.Tensor
    fill_color: torch.Tensor | None
    stroke_color: torch.Tensor | None
    use_even_odd_rule: bool


class RenderFunction:
    """[height, width, 4] from shapes and groups; widths are radii, a closed path does not repeat its first point."""

    @staticmethod
    def serialize_scene(width, height, shapes, groups):
        return [shapes, groups]

    @staticmethod
    def apply(width, height, samples_x, samples_y, seed, background, shapes, groups):
        assert (samples_x, samples_y) == (2, 2)
        image = background[..., :3].permute(2, 0, 1)[None]
        for group in groups:
            assert (group.fill_color is None) != (group.stroke_color is None)
            shape = shapes[group.shape_ids.item()]
            points = torch.cat([shape.points, shape.points[:1]]) if shape.is_closed else shape.points
            assert len(points) == shape.num_control_points.sum() + len(shape.num_control_points) + 1
            cubics, place = [], 0
            for inner in shape.num_control_points.tolist():
                cubics.append(elevate(points[place : place + inner + 2]))
                place += inner + 1
            paints = [
                None if colour is None else colour.view(1, 1, 4) for colour in (group.stroke_color, group.fill_color)
            ]
            rule = "evenodd" if group.use_even_odd_rule else "nonzero"
            image = torch_backend.render(
                Scene(
                    torch.stack(cubics)[None, None],
                    shape.stroke_width.view(1, 1),
                    *paints,
                    image,
                    shape.is_closed,
                    rule,
                )
            )
        return torch.cat([image[0].permute(1, 2, 0), torch.ones(height, width, 1)], -1)


@pytest.fixture
def replaced(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "pydiffvg", SimpleNamespace(Path=Path, ShapeGroup=ShapeGroup, RenderFunction=RenderFunction)
    )


@pytest.mark.parametrize(
    ("points", "options"),
    [
        (2, {}),
        (3, {}),
        (4, {}),
        (7, {}),
        (5, {"degree": 1}),
        (6, {"closed": True}),
        (4, {"closed": True, "fill": True}),
    ],
)
def test_scenes_arrive_as_they_are(replaced, points: int, options: dict) -> None:
    """Radii, control points by degree, order of paints, closing: image and gradients of the reference come back."""
    generator = torch.Generator().manual_seed(points)
    results = []
    start = torch.rand(2, 3, points, 2, generator=generator) * 30
    colours = torch.rand(2, 3, 4, generator=generator)
    for render in (torch_backend.render, diffvg_backend.render):
        given = start.clone().requires_grad_()
        image = render(scene_of(given, colours, **options))
        (image * torch.arange(24.0)).sum().backward()
        results.append((image, given.grad))
    assert (results[0][0] - results[1][0]).abs().max() < 1e-5
    assert (results[0][1] - results[1][1]).norm() <= 1e-3 * results[0][1].norm()


def scene_of(points, colours, closed=False, fill=False, degree=None) -> Scene:
    return Scene(
        to_cubics(points, closed, degree),
        torch.full(points.shape[:2], 1.5),
        colours,
        colours.flip(-2) if fill else None,
        torch.full((2, 3, 28, 24), 0.8),
        closed,
    )


def test_a_straight_cubic_is_given_as_a_line(replaced, monkeypatch) -> None:
    """diffvg draws only the ends of a cubic whose third difference is zero."""
    seen = []
    monkeypatch.setattr(
        RenderFunction,
        "serialize_scene",
        staticmethod(lambda w, h, shapes, groups: seen.extend(shapes) or [shapes, groups]),
    )
    line = torch.tensor([[2.0, 2.0], [6.0, 6.0], [10.0, 10.0], [14.0, 14.0]])
    image = rasterize(
        line[None, None], torch.full((1, 1), 3.0), torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]), (16, 16), backend="diffvg"
    )
    assert seen[0].num_control_points.tolist() == [0]
    assert image[0, 0].diagonal()[3:13].max() < 1e-6


def test_without_antialiasing_it_refuses(replaced) -> None:
    with pytest.raises(ConfigError, match="antialias"):
        rasterize(
            torch.rand(1, 1, 4, 2), torch.ones(1, 1), torch.ones(1, 1, 4), (8, 8), antialias=False, backend="diffvg"
        )


def test_without_diffvg_the_error_says_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydiffvg", None)
    with pytest.raises(MissingExtra, match="diffvg"):
        rasterize(torch.rand(1, 1, 4, 2), torch.ones(1, 1), torch.ones(1, 1, 4), (8, 8), backend="diffvg")
