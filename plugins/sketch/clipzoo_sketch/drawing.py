"""A drawing as strokes with numbers: to and from SVG, to pixels."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, PngImagePlugin
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo_sketch.rasterizer import Backend, rasterize
from clipzoo_sketch.scene import FillRule

Colour = tuple[float, float, float, float]


@dataclass(frozen=True)
class Stroke:
    """One path and its paint, in numbers of float32 precision.

    Attributes:
        points: control points (x, y), pixels, as :func:`clipzoo_sketch.rasterize` takes them.
        width: full width, pixels.
        color: straight RGBA in [0, 1] of the line; None for none.
        fill: straight RGBA in [0, 1] of the inside; None for none.
        closed: the path ends where it begins.
        degree: of the segments, where the number of points does not tell.
        fill_rule: which points are inside a path that crosses itself.

    >>> Stroke([(0, 0), (10, 10)], width=3).points
    ((0.0, 0.0), (10.0, 10.0))
    """

    points: Sequence[Sequence[float]]
    width: float = 1.0
    color: Sequence[float] | None = (0.0, 0.0, 0.0, 1.0)
    fill: Sequence[float] | None = None
    closed: bool = False
    degree: int | None = None
    fill_rule: FillRule = "nonzero"

    def __post_init__(self) -> None:
        """Bring the numbers to plain tuples of what float32 can hold, so that files give them back unchanged."""
        with np.errstate(over="ignore"):
            points = np.asarray(self.points, dtype=np.float32)
            object.__setattr__(self, "width", float(np.float32(self.width)))
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ConfigError(f"points of shape {list(points.shape)}", expected="[point, 2], at least one point")
        if not np.isfinite(points).all() or not np.isfinite(self.width):
            raise DataError("a stroke with points or a width that are not finite")
        object.__setattr__(self, "points", tuple((float(x), float(y)) for x, y in points))
        for name in ("color", "fill"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _rgba(getattr(self, name)))


def _rgba(colour: Sequence[float]) -> Colour:
    values = tuple(float(value) for value in np.clip(np.asarray(colour, dtype=np.float32), 0, 1))
    if len(values) == 3:
        values = (*values, 1.0)
    if len(values) != 4 or not np.isfinite(values).all():
        raise ConfigError(f"colour {tuple(colour)!r}", expected="red, green, blue and opacity in [0, 1]")
    return values  # type: ignore[return-value]


@dataclass(frozen=True)
class Drawing:
    """Strokes in the order in which they are painted, on a canvas.

    Attributes:
        strokes: the first one lies lowest.
        size: height and width of the canvas, pixels.
        background: RGB in [0, 1]; None for a transparent SVG, whose pixels are on white.
        metadata: what belongs to the drawing: prompt, seed, settings; anything that JSON can hold.

    >>> drawing = Drawing([Stroke([(2, 2), (8, 8)])], size=(10, 10), metadata={"prompt": "a line"})
    >>> Drawing.from_svg(drawing.svg()) == drawing
    True
    """

    strokes: Sequence[Stroke]
    size: tuple[int, int] = (224, 224)
    background: Sequence[float] | None = (1.0, 1.0, 1.0)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Plain tuples."""
        object.__setattr__(self, "strokes", tuple(self.strokes))
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))
        if self.background is not None:
            object.__setattr__(self, "background", _rgba(self.background)[:3])
        object.__setattr__(self, "metadata", json.loads(metadata_json(self.metadata)))

    @classmethod
    def from_tensors(
        cls,
        points: Float[Tensor, "path point 2"],
        widths: Float[Tensor, " path"],
        colors: Float[Tensor, "path 4"] | None,
        size: tuple[int, int],
        *,
        background: Sequence[float] | None = (1.0, 1.0, 1.0),
        closed: bool = False,
        fill: Float[Tensor, "path 4"] | None = None,
        degree: int | None = None,
        fill_rule: FillRule = "nonzero",
        metadata: Mapping[str, Any] | None = None,
    ) -> Drawing:
        """One canvas of what :func:`clipzoo_sketch.rasterize` takes."""
        points, widths = points.detach().cpu(), widths.detach().cpu()
        lines, insides = (None if paint is None else paint.detach().cpu().tolist() for paint in (colors, fill))
        strokes = [
            Stroke(
                row.tolist(),
                float(widths[place]),
                lines and lines[place],
                insides and insides[place],
                closed,
                degree,
                fill_rule,
            )
            for place, row in enumerate(points)
        ]
        return cls(strokes, size, background, metadata or {})

    def tensors(self) -> tuple[Float[Tensor, "path point 2"], Float[Tensor, " path"], Float[Tensor, "path 4"]]:
        """Points, widths and colours, of a drawing whose strokes have equally many points.

        Raises:
            DataError: if they have not.
        """
        if len({len(stroke.points) for stroke in self.strokes}) > 1:
            raise DataError("strokes with different numbers of points do not make one tensor", hint="drawing.strokes")
        return (
            torch.tensor([stroke.points for stroke in self.strokes]).reshape(len(self.strokes), -1, 2),
            torch.tensor([stroke.width for stroke in self.strokes]),
            torch.tensor([stroke.color or (0.0,) * 4 for stroke in self.strokes]).reshape(-1, 4),
        )

    def pixels(
        self, scale: float = 1.0, backend: Backend = "auto", device: torch.device | str = "cpu"
    ) -> Float[Tensor, "1 3 height width"]:
        """The drawing as an image, ``scale`` times as large."""
        size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        base = torch.tensor(self.background or (1.0, 1.0, 1.0), device=device)
        image = base[None, :, None, None].expand(1, 3, *size)
        for kind, group in groupby(self.strokes, _kind):
            image = _paint(list(group), kind, image, scale, backend)
        return image.clone()

    def svg(self, animate_s: float = 0.0) -> str:
        """The drawing as SVG, which browsers and Inkscape open and :meth:`from_svg` reads back unchanged.

        Args:
            animate_s: seconds in which a browser draws stroke after stroke; 0: all are there at once.
        """
        from clipzoo_sketch.svg import write_svg

        return write_svg(self, animate_s)

    @classmethod
    def from_svg(cls, source: str | Path) -> Drawing:
        """Read a file, or text that begins with ``<``.

        Raises:
            DataError: if it is no SVG, not safe, too large, or holds what a drawing of strokes cannot.
        """
        from clipzoo_sketch.svg_reading import read_svg

        return read_svg(source)

    def save(self, path: str | Path, scale: float = 1.0, animate_s: float = 0.0) -> Path:
        """Write ``.svg``, or ``.png`` with the metadata in its text, whole or not at all.

        Raises:
            ConfigError: if the suffix is another.
        """
        from clipzoo.store.whole_files import write_whole

        path = Path(path)
        if path.suffix.lower() == ".svg":
            write_whole(path, self.svg(animate_s).encode())
        elif path.suffix.lower() == ".png":
            write_whole(path, self._png(scale))
        else:
            raise ConfigError(f"{path} ends in no known suffix", expected=".svg or .png")
        return path

    def _png(self, scale: float) -> bytes:
        pixels = (self.pixels(scale)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        text = PngImagePlugin.PngInfo()
        if self.metadata:
            text.add_itxt("clipzoo", metadata_json(self.metadata))
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG", pnginfo=text)
        return content.getvalue()


def metadata_json(metadata: Mapping[str, Any]) -> str:
    """JSON of anything: what JSON has no form for is written as its text."""
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True, default=str)


def _kind(stroke: Stroke) -> tuple[Any, ...]:
    """What strokes that are drawn in one call have in common."""
    return (
        len(stroke.points),
        stroke.color is None,
        stroke.fill is None,
        stroke.closed,
        stroke.degree,
        stroke.fill_rule,
    )


def _paint(strokes: Iterable[Stroke], kind: tuple[Any, ...], image: Tensor, scale: float, backend: Backend) -> Tensor:
    strokes = list(strokes)
    _, plain, hollow, closed, degree, rule = kind

    def column(name: str) -> Tensor:
        return torch.tensor([[getattr(stroke, name) for stroke in strokes]], device=image.device)

    return rasterize(
        column("points") * scale,
        column("width") * scale,
        None if plain else column("color"),
        (image.shape[2], image.shape[3]),
        background=image,
        closed=closed,
        fill=None if hollow else column("fill"),
        backend=backend,
        degree=degree,
        fill_rule=rule,
    )
