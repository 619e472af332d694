"""SVG as drawings: paths and basic shapes with plain paints, of files that nobody vouches for."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.parsers import expat

from PIL import ImageColor

from clipzoo.errors import DataError
from clipzoo_sketch.drawing import Drawing, Stroke
from clipzoo_sketch.rasterizer import MAX_SIDE
from clipzoo_sketch.svg import BACKGROUND_ID, METADATA_ID
from clipzoo_sketch.svg_paths import Chain, Point, read_path

MAX_BYTES = 64 << 20
MAX_PATHS = 100_000
MAX_POINTS = 2_000_000
MAX_DEPTH = 64
_SHAPES = ("path", "line", "polyline", "polygon", "rect", "circle", "ellipse")
_GROUPS = ("svg", "g", "a")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TRANSFORM = re.compile(r"\s*,?\s*(matrix|translate|scale|rotate|skewX|skewY)\s*\(([^()]*)\)")
_PX = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Style:
    """What elements inherit, and the transform to pixels."""

    matrix: Matrix = _IDENTITY
    fill: str = "black"
    stroke: str = "none"
    width: str = "1"
    fill_opacity: float = 1.0
    stroke_opacity: float = 1.0
    opacity: float = 1.0
    rule: str = "nonzero"
    colour: str = "black"
    shown: bool = True


def read_svg(source: str | Path) -> Drawing:
    """A drawing from a file, or from text that begins with ``<``.

    Read are paths, lines, polygons, rectangles, circles and ellipses, groups, transforms, and paints in the plain forms
    of colours; gradients, patterns, text, images, style sheets and references are not, scripts never run. A stroke that
    a transform stretches keeps the mean of its width.

    Raises:
        DataError: if it is no SVG, defines entities, is too large, or paints with what is not read.
    """
    text = str(source).lstrip() if isinstance(source, str) else ""
    if text.startswith("<"):
        name, content = "SVG text", text.encode()
    else:
        name, content = str(source), _read_file(Path(source))
    if len(content) > MAX_BYTES:
        raise DataError(f"{name} has {len(content):,} bytes", expected=f"at most {MAX_BYTES:,}")
    reader = _Reader(name)
    try:
        reader.parse(content)
    except (expat.ExpatError, RecursionError, UnicodeError, ArithmeticError, ValueError) as error:
        raise DataError(f"{name} is no SVG: {error}", expected="well-formed XML") from error
    return reader.drawing()


def _read_file(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"at most {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", expected="an SVG file") from error


class _Reader:
    """A streaming parser: what is not read costs no memory, and bounds hold before anything is kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.styles: list[_Style | None] = []
        self.size: tuple[int, int] | None = None
        self.strokes: list[Stroke] = []
        self.points = 0
        self.background: tuple[float, ...] | None = None
        self.metadata: list[str] | None = None
        self.in_metadata = False

    def parse(self, content: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self.open
        parser.EndElementHandler = self.close
        parser.CharacterDataHandler = self.text
        parser.EntityDeclHandler = self.refuse_entity
        parser.ExternalEntityRefHandler = self.refuse_entity
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.Parse(content, True)

    def refuse_entity(self, *_: Any) -> int:
        raise self.error("defines or refers to entities, which can read files and fill the memory")

    def error(self, what: str, **more: Any) -> DataError:
        return DataError(f"{self.name} {what}", **more)

    def open(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(" ")[2]
        if len(self.styles) >= MAX_DEPTH:
            raise self.error(f"nests elements more than {MAX_DEPTH} deep")
        if not self.styles:
            if tag != "svg":
                raise self.error(f"is no SVG: its first element is <{tag[:40]}>", expected="<svg>")
            self.styles.append(self._canvas(attributes))
            return
        above = self.styles[-1]
        if tag == "metadata" and attributes.get("id") == METADATA_ID and len(self.styles) == 1:
            self.metadata, self.in_metadata = [], True
        if above is None or tag not in (*_GROUPS, *_SHAPES):
            self.styles.append(None)
            return
        if tag == "svg":
            raise self.error("holds an <svg> in its <svg>", expected="groups <g>")
        style = self._inherit(above, attributes)
        if tag in _SHAPES and style.shown:
            self._shape(tag, attributes, style)
        self.styles.append(style if tag in _GROUPS else None)

    def close(self, _: str) -> None:
        self.styles.pop()
        self.in_metadata = False

    def text(self, content: str) -> None:
        if self.in_metadata and self.metadata is not None:
            self.metadata.append(content)

    def drawing(self) -> Drawing:
        assert self.size is not None  # the parser refuses a document without a root
        try:
            metadata = json.loads("".join(self.metadata or ["{}"]))
        except (ValueError, RecursionError) as error:
            raise self.error(f"has metadata that is no JSON: {error}") from error
        if not isinstance(metadata, dict):
            raise self.error("has metadata that is no JSON object")
        return Drawing(self.strokes, self.size, self.background, metadata)

    def _canvas(self, attributes: dict[str, str]) -> _Style:
        box = [float(value) for value in _NUMBER.findall(attributes.get("viewBox", ""))]
        if "viewBox" in attributes and (len(box) != 4 or not box[2] > 0 or not box[3] > 0):
            raise self.error(
                f'has viewBox="{attributes["viewBox"][:60]}"', expected="four numbers, the last two positive"
            )
        sides = []
        for name, default in (("width", box[2] if box else 300.0), ("height", box[3] if box else 150.0)):
            text = attributes.get(name, "").strip()
            side = default if not text or text.endswith("%") else self._length(text)
            if not 0 < side <= MAX_SIDE:
                raise self.error(f'has {name}="{text[:40]}"', expected=f"more than 0, at most {MAX_SIDE} px")
            sides.append(side)
        width, height = sides
        self.size = (max(1, round(height)), max(1, round(width)))
        style = _Style()
        if box:
            scale = min(width / box[2], height / box[3])
            x = (width - scale * box[2]) / 2 - scale * box[0]
            y = (height - scale * box[3]) / 2 - scale * box[1]
            style = _Style(matrix=(scale, 0.0, 0.0, scale, x, y))
        return self._inherit(style, {key: value for key, value in attributes.items() if key != "transform"})

    def _length(self, text: str | None, default: float = 0.0) -> float:
        if text is None:
            return default
        match = re.fullmatch(rf"\s*({_NUMBER.pattern})\s*([a-z]*)\s*", text)
        if match is None or match[2] not in _PX or not math.isfinite(float(match[1])):
            raise self.error(f'has a length "{text[:40]}"', expected="a number, with px, pt, pc, mm, cm, in or nothing")
        return float(match[1]) * _PX[match[2]]

    def _share(self, text: str) -> float:
        match = re.fullmatch(rf"\s*({_NUMBER.pattern})\s*(%?)\s*", text)
        if match is None:
            raise self.error(f'has an opacity "{text[:40]}"', expected="a number from 0 to 1")
        return min(max(float(match[1]) / (100 if match[2] else 1), 0.0), 1.0)

    def _inherit(self, above: _Style, attributes: dict[str, str]) -> _Style:
        given = dict(attributes)
        for part in attributes.get("style", "").split(";"):
            name, _, value = part.partition(":")
            given[name.strip()] = value.replace("!important", "").strip()
        given = {name: value for name, value in given.items() if value.strip() != "inherit"}
        shown = above.shown and given.get("display") != "none" and given.get("visibility") not in ("hidden", "collapse")
        return replace(
            above,
            matrix=_product(above.matrix, self._transform(given.get("transform", ""))),
            fill=given.get("fill", above.fill),
            stroke=given.get("stroke", above.stroke),
            width=given.get("stroke-width", above.width),
            fill_opacity=self._share(given["fill-opacity"]) if "fill-opacity" in given else above.fill_opacity,
            stroke_opacity=self._share(given["stroke-opacity"]) if "stroke-opacity" in given else above.stroke_opacity,
            opacity=above.opacity * (self._share(given["opacity"]) if "opacity" in given else 1.0),
            rule=given.get("fill-rule", above.rule),
            colour=given.get("color", above.colour),
            shown=shown,
        )

    def _transform(self, text: str) -> Matrix:
        matrix, place = _IDENTITY, 0
        while match := _TRANSFORM.match(text, place):
            numbers = [float(value) for value in _NUMBER.findall(match[2])]
            step = _step(match[1], numbers)
            if step is None or not all(math.isfinite(value) for value in step):
                raise self.error(f'has transform="{text[:60]}"')
            matrix, place = _product(matrix, step), match.end()
        if text[place:].strip():
            raise self.error(f'has transform="{text[:60]}"', expected="matrix, translate, scale, rotate, skewX, skewY")
        return matrix

    def _paint(self, text: str, style: _Style, opacity: float) -> tuple[float, ...] | None:
        text = text.strip()
        if text.lower() == "currentcolor":
            text = style.colour.strip()
        if text.lower() in ("none", "transparent"):
            return None
        if match := re.fullmatch(r"rgba?\(([^()]*)\)", text, re.IGNORECASE):
            parts = re.findall(rf"({_NUMBER.pattern})\s*(%?)", match[1])
            values = [float(value) / (100 if percent else 255) for value, percent in parts[:3]]
            if len(parts) == 4:
                opacity *= float(parts[3][0]) / (100 if parts[3][1] else 1)
            if len(values) == 3:
                return (*values, opacity * style.opacity)
        try:
            red, green, blue, *alpha = ImageColor.getrgb(text)
        except ValueError as error:
            raise self.error(
                f'paints with "{text[:60]}"',
                expected="a colour: a name, #rrggbb or rgb(...); gradients and patterns are not read",
            ) from error
        return red / 255, green / 255, blue / 255, opacity * style.opacity * (alpha[0] / 255 if alpha else 1)

    def _shape(self, tag: str, attributes: dict[str, str], style: _Style) -> None:
        if tag == "rect" and attributes.get("id") == BACKGROUND_ID and not self.strokes and len(self.styles) == 1:
            colour = self._paint(style.fill, style, style.fill_opacity)
            if colour is not None:
                self.background = colour[:3]
            return
        chains = [chain for chain in self._chains(tag, attributes) if chain.segments or chain.closed]
        stroke = self._paint(style.stroke, style, style.stroke_opacity)
        fill = self._paint(style.fill, style, style.fill_opacity)
        if stroke is None and fill is None:
            return
        if fill is not None and len(chains) > 1:
            raise self.error(
                "fills a path of several parts", expected="one part a filled path", hint='"Break Apart" in Inkscape'
            )
        a, b, c, d, _, _ = style.matrix
        width = self._length(style.width) * math.sqrt(abs(a * d - b * c))
        for chain in chains:
            points, degree = chain.points()
            self.points += len(points)
            if self.points > MAX_POINTS or len(self.strokes) >= MAX_PATHS:
                raise self.error("holds too much", expected=f"at most {MAX_PATHS:,} paths and {MAX_POINTS:,} points")
            self.strokes.append(
                Stroke(
                    [_apply(style.matrix, point) for point in points],
                    width,
                    stroke,
                    fill,
                    chain.closed,
                    _implied(degree, len(points), chain.closed),
                    "evenodd" if style.rule.strip() == "evenodd" else "nonzero",
                )
            )

    def _chains(self, tag: str, attributes: dict[str, str]) -> list[Chain]:
        if tag == "path":
            if len(attributes.get("d", "")) > 100 * MAX_POINTS:
                raise self.error("holds too long a path")
            return read_path(attributes.get("d", ""))
        if tag in ("polyline", "polygon"):
            numbers = [float(value) for value in _NUMBER.findall(attributes.get("points", ""))]
            corners = list(zip(numbers[::2], numbers[1::2], strict=False))
            if not corners:
                return []
            return [Chain(corners[0], [[corner] for corner in corners[1:]], tag == "polygon")]
        names = {
            "line": ("x1", "y1", "x2", "y2"),
            "rect": ("x", "y", "width", "height", "rx", "ry"),
            "circle": ("cx", "cy", "r", "r"),
            "ellipse": ("cx", "cy", "rx", "ry"),
        }[tag]
        numbers = [self._length(attributes.get(name)) for name in names]
        if tag == "line":
            return [Chain((numbers[0], numbers[1]), [[(numbers[2], numbers[3])]])]
        if tag == "rect":
            return _rectangle(numbers, attributes)
        x, y, rx, ry = numbers
        return (
            read_path(f"M{x - rx} {y}a{rx} {ry} 0 0 1 {2 * rx} 0a{rx} {ry} 0 0 1 {-2 * rx} 0z") if rx > 0 < ry else []
        )


def _rectangle(numbers: list[float], attributes: dict[str, str]) -> list[Chain]:
    x, y, width, height, rx, ry = numbers
    if not (width > 0 and height > 0):
        return []
    rx = min(rx if "rx" in attributes else ry, width / 2)
    ry = min(ry if "ry" in attributes else rx, height / 2)
    if rx <= 0 or ry <= 0:
        return [Chain((x, y), [[(x + width, y)], [(x + width, y + height)], [(x, y + height)]], True)]
    across, down, corner = width - 2 * rx, height - 2 * ry, f"a{rx} {ry} 0 0 1"
    return read_path(
        f"M{x + rx} {y}h{across}{corner} {rx} {ry}v{down}{corner} {-rx} {ry}h{-across}{corner} {-rx} {-ry}v{-down}"
        f"{corner} {rx} {-ry}z"
    )


def _implied(degree: int, points: int, closed: bool) -> int | None:
    """None where the number of points tells the degree."""
    from clipzoo.errors import ConfigError
    from clipzoo_sketch.geometry import path_degree

    try:
        return None if path_degree(points, closed) == degree else degree
    except ConfigError:
        return degree


def _step(name: str, numbers: list[float]) -> Matrix | None:
    """One function of a transform attribute; None if its numbers are not as many as it takes."""
    counts = {"matrix": (6,), "translate": (1, 2), "scale": (1, 2), "rotate": (1, 3), "skewX": (1,), "skewY": (1,)}
    if len(numbers) not in counts[name] or not all(math.isfinite(number) for number in numbers):
        return None
    if name == "matrix":
        a, b, c, d, e, f = numbers
        return a, b, c, d, e, f
    if name == "translate":
        return 1.0, 0.0, 0.0, 1.0, numbers[0], numbers[1] if len(numbers) == 2 else 0.0
    if name == "scale":
        return numbers[0], 0.0, 0.0, numbers[-1], 0.0, 0.0
    angle = math.radians(numbers[0])
    if name == "skewX":
        return 1.0, 0.0, math.tan(angle), 1.0, 0.0, 0.0
    if name == "skewY":
        return 1.0, math.tan(angle), 0.0, 1.0, 0.0, 0.0
    turn: Matrix = (math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle), 0.0, 0.0)
    if len(numbers) == 1:
        return turn
    x, y = numbers[1:]
    return _product(_product((1.0, 0.0, 0.0, 1.0, x, y), turn), (1.0, 0.0, 0.0, 1.0, -x, -y))


def _product(first: Matrix, second: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return a * p + c * q, b * p + d * q, a * r + c * s, b * r + d * s, a * t + c * u + e, b * t + d * u + f


def _apply(matrix: Matrix, point: Point) -> Point:
    a, b, c, d, e, f = matrix
    x, y = point
    return a * x + c * y + e, b * x + d * y + f
