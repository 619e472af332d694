"""What every back end draws: paths of cubic segments, their widths and paints, on a canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

FillRule = Literal["nonzero", "evenodd"]


@dataclass(frozen=True)
class Scene:
    """A batch of canvases, each with the same number of paths of the same number of cubic segments.

    Attributes:
        cubics: control points in pixels, x to the right and y down; pixel (x, y) covers [x, x+1) x [y, y+1).
        radii: half the width of each stroke, pixels; a stroke is the set of points nearer than this to its path.
        stroke_colours: straight RGBA of each stroke; None if no path is stroked.
        fill_colours: straight RGBA of each filled inside, painted below the stroke of the same path; or None.
        background: RGB below everything, of every pixel.
        closed: the last segment of every path ends where the first begins.
        fill_rule: which points are inside a path that winds around them more than once.
        antialias: coverage of a pixel is the area of it that is covered; else 1 if its centre is, and 0 if not.
    """

    cubics: Float[Tensor, "canvas path segment 4 2"]
    radii: Float[Tensor, "canvas path"]
    stroke_colours: Float[Tensor, "canvas path 4"] | None
    fill_colours: Float[Tensor, "canvas path 4"] | None
    background: Float[Tensor, "canvas 3 height width"]
    closed: bool
    fill_rule: FillRule = "nonzero"
    antialias: bool = True

    @property
    def height(self) -> int:
        """Of the canvas, pixels."""
        return self.background.shape[-2]

    @property
    def width(self) -> int:
        """Of the canvas, pixels."""
        return self.background.shape[-1]
