"""The 2D toy world: an endless, deterministic source of labelled images, to train tiny encoders on.

A scene is one to four pictograms on a background, with tight boxes, visible masks, and captions whose claims
are known exactly: "is this caption true of that image?" has an answer for every pair (`truth_matrix`).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations as pairs_of
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipzoo.data.pictograms import (
    COLOURS,
    MITRE_LIMIT,
    PEN_LIMIT,
    SHAPES,
    Pen,
    Stamp,
    half_extents,
    stamp_drawing,
    stamp_fill,
)
from clipzoo.errors import ConfigError, closest_matches

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "DRAWING_TEMPLATES",
    "HELD_OUT",
    "NEUTRAL_TEMPLATES",
    "PHOTO_TEMPLATES",
    "PLACES",
    "RELATIONS",
    "SHAPES",
    "STYLES",
    "TEMPLATES",
    "Caption",
    "Fact",
    "Scene",
    "SceneObject",
    "holds",
    "render_object",
    "sample_scene",
    "scene_dataset",
    "truth_matrix",
]

T = TypeVar("T")

Fact = tuple
"""What a caption claims, a hashable tuple whose first item is the kind.

- ``("object", colour | None, shape | None, size | None)``: some object is like this (None: any).
- ``("count", n, shape | None)``: exactly n objects, of that shape.
- ``("relation", (colour | None, shape), relation, (colour | None, shape))``: a pair stands so (`holds`).
- ``("place", colour | None, shape | None, place)``: some such object is there; "left" includes "top left".
- ``("background", name)`` and ``("style", "photo" | "drawing")``.
"""

STYLES = ("colour", "textured", "drawing")
SIZES = ("small", "large")
PLACES = ("left", "right", "top", "bottom", "centre", "top left", "top right", "bottom left", "bottom right")
RELATIONS = ("left of", "right of", "above", "below")
MAX_OBJECTS = 4
MIN_SIDE_PX = 32
INK = "black"

HELD_OUT: tuple[tuple[str, str], ...] = tuple(
    (tuple(COLOURS)[(3 * index + index // len(COLOURS)) % len(COLOURS)], shape) for index, shape in enumerate(SHAPES)
)
"""(colour, shape) combinations that ``combinations="train"`` never shows: one a shape, two a colour."""

NEUTRAL_TEMPLATES = (
    "{}",
    "there is {}",
    "an image of {}",
    "a picture of {}",
    "{}.",
    "this is {}.",
    "an image of {}.",
)
PHOTO_TEMPLATES = (
    "a photo of {}.",
    "a photo of {}",
    "a photograph of {}.",
    "a good photo of {}.",
    "a colour photo of {}.",
)
DRAWING_TEMPLATES = (
    "a drawing of {}",
    "a sketch of {}",
    "a line drawing of {}",
    "a black drawing of {}",
    "a pencil sketch of {}.",
    "a black and white drawing of {}.",
)
TEMPLATES = {"neutral": NEUTRAL_TEMPLATES, "photo": PHOTO_TEMPLATES, "drawing": DRAWING_TEMPLATES}

PLAIN: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "grey": (150, 150, 150),
    "black": (14, 14, 14),
    "pale blue": (208, 224, 246),
    "pale green": (212, 238, 212),
    "pale pink": (248, 224, 230),
    "cream": (250, 243, 222),
}
TEXTURED = ("noisy", "gradient", "striped", "checked", "speckled")
BACKGROUNDS = (*PLAIN, *TEXTURED)

_SCALES = {1: (0.22, 0.80), 2: (0.22, 0.52), 3: (0.21, 0.42), 4: (0.20, 0.36)}
_COUNT_EDGES = (0.40, 0.70, 0.87)
_STYLE_EDGES = (0.40, 0.80)
_SMALL, _LARGE = 0.34, 0.50
_LEFT_EDGE, _RIGHT_EDGE = 0.40, 0.60
_RELATION_MARGIN = 0.15
_OVERLAP = 0.10
_SAME_SHAPE = 0.25
_CAPTIONS = (5, 8)
_PLACE_PHRASES = {
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "centre": ("in the centre", "in the middle"),
}
_RELATION_PHRASES = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "under"),
}
_NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene, as it is seen.

    Attributes:
        shape: one of `SHAPES`.
        colour: a key of `COLOURS`, or "black" in a line drawing.
        box: (left, top, right, bottom), px, tight around the visible pixels; right and bottom are exclusive.
        size: "small" (longer side under 0.34 of the image), "large" (over 0.50), or None.
        place: one of `PLACES`, from the centre of the box; the edges lie at 0.4 and 0.6 of the image side.
        angle_deg: clockwise rotation.
    """

    shape: str
    colour: str
    box: tuple[float, float, float, float]
    size: str | None
    place: str
    angle_deg: float


@dataclass(frozen=True)
class Caption:
    """A sentence, and all that it claims about an image (every fact must hold)."""

    text: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image with everything that is known about it.

    Attributes:
        image: uint8 [side, side, 3], RGB.
        objects: from back to front.
        background: one of `BACKGROUNDS`.
        style: one of `STYLES`.
        segments: uint8 [side, side]; 0 is background, i + 1 a visible pixel of object i.
        captions: true sentences; the first names every combination of colour and shape.
    """

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    background: str
    style: str
    segments: NDArray[np.uint8]
    captions: tuple[Caption, ...]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The visible part of each object, bool [n, side, side]; masks are disjoint."""
        return self.segments == np.arange(1, len(self.objects) + 1, dtype=np.uint8)[:, None, None]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes as float32 [n, 4]: left, top, right, bottom in px."""
        return np.array([thing.box for thing in self.objects], dtype=np.float32).reshape(-1, 4)

    @cached_property
    def _code(self) -> list[tuple[float, ...]]:
        side = self.image.shape[0]
        return [
            (
                _COLOUR_CODE[o.colour],
                _SHAPE_CODE[o.shape],
                _SIZE_CODE[o.size],
                _PLACE_CODE[o.place],
                *_centre(o, side),
            )
            for o in self.objects
        ]


class _Dice:
    """Cheap scalar draws: numbers are taken from the generator in blocks."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._numbers: list[float] = []

    def number(self) -> float:
        if not self._numbers:
            self._numbers = self._generator.random(128).tolist()
        return self._numbers.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.number()

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.number() * len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        return [item for _, item in sorted(((self.number(), item) for item in items), key=lambda pair: pair[0])]


# Sampling


def sample_scene(
    generator: np.random.Generator,
    size: int = 64,
    objects: int | None = None,
    style: str | None = None,
    combinations: str = "train",
) -> Scene:
    """Draw one scene.

    Args:
        generator: the only source of chance. The layout does not depend on ``size``.
        size: image side, px, at least 32.
        objects: how many, 1 to 4; None draws it.
        style: "colour" (solid pictograms, plain background), "textured" (textured background), "drawing"
            (black lines on white), or None to draw it.
        combinations: "train" leaves `HELD_OUT` out, "held-out" shows only those, "all" shows both. Drawings
            have no colours: they follow none of it, and None never draws one for "held-out".

    Raises:
        ConfigError: an argument is unknown or out of its range.

    Example:
        >>> scene = sample_scene(np.random.default_rng(0), objects=2)
        >>> scene.image.shape, len(scene.objects), scene.boxes.shape
        ((64, 64, 3), 2, (2, 4))
    """
    if not isinstance(generator, np.random.Generator):
        raise ConfigError(f"generator={generator!r} is not a numpy Generator", hint="numpy.random.default_rng(seed)")
    _check_options(size, objects, style, combinations)
    dice = _Dice(generator)
    if style is None:
        share = dice.number() * (_STYLE_EDGES[1] if combinations == "held-out" else 1.0)
        style = STYLES[sum(share >= edge for edge in _STYLE_EDGES)]
    if objects is None:
        share = dice.number()
        objects = 1 + sum(share >= edge for edge in _COUNT_EDGES)
    names = _draw_names(dice, objects, style, combinations)
    pen = _draw_pen(dice) if style == "drawing" else None
    layout = _place(dice, [shape for _, shape in names], pen)
    background, canvas = _background(dice, generator, style, size)
    segments = Image.new("L", (size, size))
    _paint(dice, canvas, segments, names, layout, pen)
    owner = np.array(segments)
    seen = tuple(
        _describe(owner, label, name, angle)
        for label, (name, (_, _, angle)) in enumerate(zip(names, layout, strict=True), start=1)
    )
    captions = _write_captions(dice, seen, background, style, size)
    return Scene(np.array(canvas), seen, background, style, owner, captions)


def scene_dataset(
    count: int,
    seed: int = 0,
    size: int = 64,
    *,
    objects: int | None = None,
    style: str | None = None,
    combinations: str = "train",
) -> list[Scene]:
    """The first ``count`` scenes of a seed; scene i depends on (seed, i) and the options alone.

    Raises:
        ConfigError: as `sample_scene`, or ``count`` or ``seed`` is negative.

    Example:
        >>> [scene.style for scene in scene_dataset(2, style="drawing")]
        ['drawing', 'drawing']
    """
    for name, value in (("count", count), ("seed", seed)):
        if not _is_whole(value) or value < 0:
            raise ConfigError(f"{name}={value!r} is not possible", expected="a whole number, 0 or more")
    return [
        sample_scene(np.random.default_rng([seed, index]), size, objects, style, combinations) for index in range(count)
    ]


def render_object(
    shape: str,
    colour: str = "black",
    size: int = 64,
    *,
    scale: float = 0.8,
    angle_deg: float = 0.0,
    background: tuple[int, int, int] = (255, 255, 255),
    style: str = "colour",
    centre: tuple[float, float] = (0.5, 0.5),
) -> NDArray[np.uint8]:
    """One clean pictogram, uint8 [size, size, 3].

    Args:
        shape: one of `SHAPES`.
        colour: a key of `COLOURS`, or "black"; without jitter.
        size: image side, px, at least 32.
        scale: longer side of the pictogram as a fraction of the image side, in (0, 1].
        angle_deg: clockwise rotation.
        background: RGB, 0..255.
        style: "colour" (filled) or "drawing" (outline in ``colour``).
        centre: (x, y) as fractions of the image side; what falls outside is cut off.

    Raises:
        ConfigError: an argument is unknown or out of its range.

    Example:
        >>> render_object("heart", "red", 96).shape
        (96, 96, 3)
    """
    _check_name("shape", shape, SHAPES)
    _check_name("colour", colour, (*COLOURS, INK))
    _check_name("style", style, ("colour", "drawing"))
    _check_size(size)
    if not 0.0 < scale <= 1.0:
        raise ConfigError(f"scale={scale!r} is not possible", expected="a number in (0, 1]")
    if len(background) != 3 or not all(0 <= channel <= 255 for channel in background):
        raise ConfigError(f"background={background!r} is not possible", expected="(r, g, b), each 0 to 255")
    canvas = Image.new("RGB", (size, size), tuple(background))
    if style == "drawing":
        stamp = stamp_drawing(shape, centre, scale, angle_deg, size, Pen())
        canvas.paste(COLOURS.get(colour, (0, 0, 0)), stamp.corner, stamp.ink)
    else:
        stamp = stamp_fill(shape, centre, scale, angle_deg, size)
        canvas.paste(COLOURS.get(colour, (0, 0, 0)), stamp.corner, stamp.silhouette)
    return np.array(canvas)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_name(what: str, name: object, names: Sequence[str]) -> None:
    if not isinstance(name, str) or name not in names:
        raise ConfigError(
            f"there is no {what} {name!r}",
            expected=f"one of {', '.join(names)}",
            closest=closest_matches(str(name), names),
        )


def _check_size(size: Any) -> None:
    if not _is_whole(size) or size < MIN_SIDE_PX:
        raise ConfigError(f"size={size!r} is not possible", expected=f"a whole number of pixels, {MIN_SIDE_PX} or more")


def _check_options(size: Any, objects: Any, style: Any, combinations: Any) -> None:
    _check_size(size)
    if objects is not None and (not _is_whole(objects) or not 1 <= objects <= MAX_OBJECTS):
        raise ConfigError(f"objects={objects!r} is not possible", expected=f"1 to {MAX_OBJECTS}, or None to draw it")
    if style is not None:
        _check_name("style", style, STYLES)
    _check_name("combinations", combinations, ("train", "held-out", "all"))
    if style == "drawing" and combinations == "held-out":
        raise ConfigError(
            'style="drawing" has no colours, so there is nothing for combinations="held-out" to choose',
            hint='style="colour", or combinations="all"',
        )


_EVERY = {shape: tuple(COLOURS) for shape in SHAPES}
_HIDDEN = {shape: tuple(c for c, s in HELD_OUT if s == shape) for shape in SHAPES}
_ALLOWED = {
    "all": _EVERY,
    "held-out": _HIDDEN,
    "train": {shape: tuple(c for c in COLOURS if c not in _HIDDEN[shape]) for shape in SHAPES},
}


def _draw_names(dice: _Dice, count: int, style: str, combinations: str) -> list[tuple[str, str]]:
    names = []
    for _ in range(count):
        again = names and dice.number() < _SAME_SHAPE
        shape = names[0][1] if again else dice.pick(SHAPES)
        names.append((INK if style == "drawing" else dice.pick(_ALLOWED[combinations][shape]), shape))
    return names


def _place(dice: _Dice, shapes: Sequence[str], pen: Pen | None) -> list[tuple[tuple[float, float], float, float]]:
    """(centre, scale, angle_deg) of each object, inside the image and nearly free of overlap."""
    low, high = _SCALES[len(shapes)]
    shrink = 1.0
    while True:
        placed: list[tuple[tuple[float, float], float, float]] = []
        taken: list[tuple[float, float, float, float]] = []
        for shape in shapes:
            angle = dice.between(-15.0, 15.0)
            wide, tall = half_extents(shape, angle)
            scale = low + (high - low) * shrink * dice.number()
            # Mitred tips and the wobble reach beyond the filled shape.
            margin = 0.02
            if pen is not None:
                margin += MITRE_LIMIT * min(pen.width, PEN_LIMIT * scale) + 0.8 * pen.wobble * scale
            scale = min(scale, (0.99 - 2 * margin) / max(wide, tall))
            half_x, half_y = wide * scale / 2 + margin, tall * scale / 2 + margin
            for _ in range(12):
                x, y = dice.between(half_x, 1 - half_x), dice.between(half_y, 1 - half_y)
                box = (x - half_x, y - half_y, x + half_x, y + half_y)
                if all(_covered(box, other) < _OVERLAP for other in taken):
                    placed.append(((x, y), scale, angle))
                    taken.append(box)
                    break
            else:
                break
        if len(placed) == len(shapes):
            return placed
        shrink *= 0.9


def _covered(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over the smaller area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / min(areas)


# Painting


def _jittered(dice: _Dice, colour: str) -> tuple[int, int, int]:
    hue, saturation, value = _HSV[colour]
    hue = (hue + dice.between(-0.012, 0.012)) % 1.0
    saturation = min(1.0, saturation * dice.between(0.92, 1.04))
    value = min(1.0, value * dice.between(0.92, 1.06))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


_HSV = {name: colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb)) for name, rgb in COLOURS.items()}


def _paint(
    dice: _Dice,
    canvas: Image.Image,
    segments: Image.Image,
    names: Sequence[tuple[str, str]],
    layout: Sequence[tuple[tuple[float, float], float, float]],
    pen: Pen | None,
) -> None:
    side = canvas.width
    for index, ((colour, shape), (centre, scale, angle)) in enumerate(zip(names, layout, strict=True)):
        if pen is None:
            stamp = stamp_fill(shape, centre, scale, angle, side)
            canvas.paste(_jittered(dice, colour), stamp.corner, stamp.silhouette)
        else:
            stamp = stamp_drawing(shape, centre, scale, angle, side, pen)
            grey = int(dice.between(0, 60))
            canvas.paste((255, 255, 255), stamp.corner, stamp.silhouette)
            canvas.paste((grey, grey, grey), stamp.corner, stamp.ink)
        segments.paste(index + 1, stamp.corner, _visible(stamp))


_THRESHOLD = [0] * 128 + [255] * 128


def _visible(stamp: Stamp) -> Image.Image:
    return stamp.silhouette.point(_THRESHOLD)


def _draw_pen(dice: _Dice) -> Pen:
    phases = tuple(dice.between(0.0, 2 * math.pi) for _ in range(2 if dice.number() < 0.25 else 1))
    hatch_deg = dice.between(25.0, 65.0) * dice.pick((-1, 1)) if dice.number() < 0.25 else None
    return Pen(dice.between(0.9, 2.4) / 64, dice.between(0.0, 0.03), phases, hatch_deg)


def _background(dice: _Dice, generator: np.random.Generator, style: str, side: int) -> tuple[str, Image.Image]:
    if style == "drawing":
        return "white", Image.new("RGB", (side, side), PLAIN["white"])
    if style == "colour":
        name = dice.pick(tuple(PLAIN))
        shift = 0 if name == "white" else round(dice.between(-5, 5))
        return name, Image.new("RGB", (side, side), tuple(min(255, max(0, c + shift)) for c in PLAIN[name]))
    name = dice.pick(TEXTURED)
    hue, saturation, value = dice.number(), dice.between(0.02, 0.14), dice.between(0.84, 0.98)
    light = colorsys.hsv_to_rgb(hue, saturation, value)
    darker = value * dice.between(0.76, 0.84)
    dark = colorsys.hsv_to_rgb((hue + dice.between(-0.1, 0.1)) % 1.0, saturation, darker)
    mix = _TEXTURES[name](dice, generator, side)
    ends = [Image.new("RGB", (side, side), tuple(round(c * 255) for c in colour)) for colour in (light, dark)]
    return name, Image.composite(ends[1], ends[0], mix)


def _as_mask(mix: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray((np.clip(mix, 0.0, 1.0) * 255).astype(np.uint8))


def _wave(side: int, periods: float, angle_deg: float, phase: float) -> NDArray[np.floating]:
    """A square wave of -1..1 across the image, its edges one pixel wide."""
    at = (np.arange(side, dtype=np.float32) + 0.5) * (2 * math.pi * periods / side)
    turn = math.radians(angle_deg)
    wave = np.sin(at[None, :] * math.cos(turn) + (at[:, None] * math.sin(turn) + phase))
    return np.clip(wave * (side / (2 * math.pi * periods)), -1.0, 1.0)


def _noisy(dice: _Dice, generator: np.random.Generator, side: int) -> Image.Image:
    grains = int(dice.between(24, 49))
    noise = 0.5 + 0.36 * generator.standard_normal((grains, grains), dtype=np.float32)
    return _as_mask(noise).resize((side, side), Image.Resampling.BILINEAR)


def _gradient(dice: _Dice, generator: np.random.Generator, side: int) -> Image.Image:
    at = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    turn = dice.between(0.0, 2 * math.pi)
    # The ends reach past the tints of the other textures: a gradient needs more contrast to be seen.
    return _as_mask(0.5 + 0.75 * (at[None, :] * math.cos(turn) + at[:, None] * math.sin(turn)))


def _striped(dice: _Dice, generator: np.random.Generator, side: int) -> Image.Image:
    return _as_mask(0.5 + 0.5 * _wave(side, dice.between(4, 8), dice.between(0, 180), dice.between(0, 6)))


def _checked(dice: _Dice, generator: np.random.Generator, side: int) -> Image.Image:
    periods, angle = dice.between(2.5, 4.5), dice.pick((0.0, 0.0, 45.0))
    one, other = (_wave(side, periods, angle + turn, dice.between(0, 6)) for turn in (0.0, 90.0))
    return _as_mask(0.5 + 0.5 * one * other)


def _speckled(dice: _Dice, generator: np.random.Generator, side: int) -> Image.Image:
    fine = 2 * side
    dots = Image.new("L", (fine, fine))
    draw = ImageDraw.Draw(dots)
    count = int(dice.between(35, 70))
    for x, y, radius in (generator.random((count, 3)) * (fine, fine, 1.0)).tolist():
        reach = fine * (0.011 + 0.011 * radius)
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
    return dots.reduce(2)


_TEXTURES: dict[str, Callable[[_Dice, np.random.Generator, int], Image.Image]] = {
    "noisy": _noisy,
    "gradient": _gradient,
    "striped": _striped,
    "checked": _checked,
    "speckled": _speckled,
}


def _describe(owner: NDArray[np.uint8], label: int, name: tuple[str, str], angle_deg: float) -> SceneObject:
    side = owner.shape[0]
    seen = owner == label
    columns, rows = seen.any(axis=0), seen.any(axis=1)
    left, right = int(columns.argmax()), side - int(columns[::-1].argmax())
    top, bottom = int(rows.argmax()), side - int(rows[::-1].argmax())
    longer = max(right - left, bottom - top) / side
    size = "small" if longer < _SMALL else "large" if longer > _LARGE else None
    x, y = (left + right) / (2 * side), (top + bottom) / (2 * side)
    column = "left" if x < _LEFT_EDGE else "right" if x > _RIGHT_EDGE else ""
    row = "top" if y < _LEFT_EDGE else "bottom" if y > _RIGHT_EDGE else ""
    place = f"{row} {column}".strip() or "centre"
    return SceneObject(name[1], name[0], (float(left), float(top), float(right), float(bottom)), size, place, angle_deg)


# Captions


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _plural(shape: str) -> str:
    return shape if shape == "fish" else f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _joined(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


@dataclass(frozen=True)
class _View:
    """What the caption writers look at."""

    dice: _Dice
    objects: tuple[SceneObject, ...]
    background: str
    style: str
    side: int

    def colour(self, thing: SceneObject) -> str | None:
        return None if self.style == "drawing" else thing.colour

    def noun(self, thing: SceneObject, size: str | None = None) -> str:
        return _article(" ".join(word for word in (size, self.colour(thing), thing.shape) if word))

    def fact(self, thing: SceneObject, size: str | None = None) -> Fact:
        return ("object", self.colour(thing), thing.shape, size)

    def framed(self, phrase: str, facts: tuple[Fact, ...]) -> Caption:
        """The phrase in a template; half of them also claim the style."""
        if self.dice.number() < 0.5:
            return Caption(self.dice.pick(NEUTRAL_TEMPLATES).format(phrase), facts)
        kind = "drawing" if self.style == "drawing" else "photo"
        return Caption(self.dice.pick(TEMPLATES[kind]).format(phrase), (*facts, ("style", kind)))


def _write_captions(
    dice: _Dice, objects: tuple[SceneObject, ...], background: str, style: str, side: int
) -> tuple[Caption, ...]:
    view = _View(dice, objects, background, style, side)
    wanted = _CAPTIONS[0] + int(dice.number() * (_CAPTIONS[1] - _CAPTIONS[0] + 1))
    captions = {caption.text: caption for caption in (_say_all(view), _say_one(view))}
    while len(captions) < wanted:
        for writer in dice.shuffled(_WRITERS):
            caption = writer(view)
            if caption is not None and len(captions) < wanted:
                captions.setdefault(caption.text, caption)
    return tuple(captions.values())


def _distinct(view: _View) -> list[SceneObject]:
    return list({(thing.colour, thing.shape): thing for thing in view.objects}.values())


def _say_all(view: _View) -> Caption:
    things = view.dice.shuffled(_distinct(view))
    return view.framed(_joined([view.noun(thing) for thing in things]), tuple(view.fact(thing) for thing in things))


def _say_one(view: _View) -> Caption:
    thing = view.dice.pick(view.objects)
    return view.framed(view.noun(thing), (view.fact(thing),))


def _say_colour(view: _View) -> Caption | None:
    if view.style == "drawing":
        return None
    colour = view.dice.pick(view.objects).colour
    phrase = view.dice.pick((f"something {colour}", _article(f"{colour} thing"), _article(f"{colour} object")))
    return view.framed(phrase, (("object", colour, None, None),))


def _say_shape(view: _View) -> Caption:
    shape = view.dice.pick(view.objects).shape
    return view.framed(_article(shape), (("object", None, shape, None),))


def _say_place(view: _View) -> Caption:
    thing = view.dice.pick(view.objects)
    words = thing.place.split()
    if len(words) == 2 and view.dice.number() < 0.5:
        place, phrase = thing.place, f"in the {thing.place} corner"
    else:
        place = view.dice.pick(words)
        phrase = view.dice.pick(_PLACE_PHRASES[place])
    fact = ("place", view.colour(thing), thing.shape, place)
    return Caption(f"{view.noun(thing)} {phrase}", (fact,))


def _say_size(view: _View) -> Caption | None:
    thing = view.dice.pick(view.objects)
    if thing.size is None:
        return None
    return view.framed(view.noun(thing, thing.size), (view.fact(thing, thing.size),))


def _say_background(view: _View) -> Caption:
    thing = view.dice.pick(view.objects)
    size = thing.size if view.dice.number() < 0.5 else None
    facts = (view.fact(thing, size), ("background", view.background))
    return Caption(f"{view.noun(thing, size)} on {_article(view.background)} background", facts)


def _say_some(view: _View) -> Caption | None:
    things = view.dice.shuffled(_distinct(view))[:2]
    if len(things) < 2:
        return None
    return view.framed(_joined([view.noun(thing) for thing in things]), tuple(view.fact(thing) for thing in things))


def _say_count(view: _View) -> Caption:
    count = len(view.objects)
    shape = view.dice.pick(view.objects).shape
    same = sum(thing.shape == shape for thing in view.objects)
    if same > 1 and view.dice.number() < 0.75:
        return _several(view, f"{_NUMBERS[same]} {_plural(shape)}", ("count", same, shape))
    if count == 1:
        return view.framed(view.dice.pick(("one object", "a single object")), (("count", 1, None),))
    return _several(view, f"{_NUMBERS[count]} objects", ("count", count, None))


def _several(view: _View, phrase: str, fact: Fact) -> Caption:
    caption = view.framed(phrase, (fact,))
    text = caption.text.replace("there is ", "there are ").replace("this is ", "these are ")
    return Caption(text, caption.facts)


def _say_relation(view: _View) -> Caption | None:
    for one, other in view.dice.shuffled(pairs_of(view.dice.shuffled(view.objects), 2)):
        relation = _relation(_centre(one, view.side), _centre(other, view.side))
        nouns = (view.noun(one), view.noun(other))
        if relation is None or nouns[0] == nouns[1]:
            continue
        phrase = view.dice.pick(_RELATION_PHRASES[relation])
        ends = [(view.colour(thing), thing.shape) for thing in (one, other)]
        return Caption(f"{nouns[0]} {phrase} {nouns[1]}", (("relation", ends[0], relation, ends[1]),))
    return None


_WRITERS: tuple[Callable[[_View], Caption | None], ...] = (
    _say_one,
    _say_one,
    _say_colour,
    _say_shape,
    _say_shape,
    _say_place,
    _say_size,
    _say_background,
    _say_some,
    _say_count,
    _say_relation,
    _say_relation,
)


# Truth


def _centre(thing: SceneObject, side: int) -> tuple[float, float]:
    """Centre of the box as fractions of the image side."""
    left, top, right, bottom = thing.box
    return (left + right) / (2 * side), (top + bottom) / (2 * side)


def _relation(one: tuple[float, float], other: tuple[float, float]) -> str | None:
    """How ``one`` stands to ``other``, along the axis that parts them more."""
    x, y = other[0] - one[0], other[1] - one[1]
    if max(abs(x), abs(y)) < _RELATION_MARGIN or abs(x) == abs(y):
        return None
    if abs(x) > abs(y):
        return "left of" if x > 0 else "right of"
    return "above" if y > 0 else "below"


def holds(facts: Iterable[Fact], scene: Scene) -> bool:
    """Whether all ``facts`` are true of the scene; see `Fact`.

    "A left of B" needs box centres apart by at least 0.15 of the image side, and more in x than in y; "above"
    the same the other way round. Objects are existential ("a red circle": at least one); counts are exact.

    Raises:
        ConfigError: a fact is of no known kind, or names an unknown shape, colour, size, place or background.

    Example:
        >>> scene = scene_dataset(1)[0]
        >>> all(holds(caption.facts, scene) for caption in scene.captions)
        True
    """
    return all(_holds(_checked_fact(fact), scene) for fact in facts)


def _holds(fact: Fact, scene: Scene) -> bool:
    kind, *claim = fact
    if kind == "object":
        colour, shape, size = claim
        return any(_matches(o, colour, shape) and size in (None, o.size) for o in scene.objects)
    if kind == "count":
        count, shape = claim
        return sum(_matches(o, None, shape) for o in scene.objects) == count
    if kind == "place":
        colour, shape, place = claim
        words = set(place.split())
        return any(_matches(o, colour, shape) and words <= set(o.place.split()) for o in scene.objects)
    if kind == "relation":
        one, relation, other = claim
        side = scene.image.shape[0]
        return any(
            _matches(a, *one) and _matches(b, *other) and _relation(_centre(a, side), _centre(b, side)) == relation
            for a in scene.objects
            for b in scene.objects
        )
    if kind == "background":
        return scene.background == claim[0]
    return (scene.style == "drawing") == (claim[0] == "drawing")


def _matches(thing: SceneObject, colour: str | None, shape: str | None) -> bool:
    return colour in (None, thing.colour) and shape in (None, thing.shape)


_VOCABULARY: dict[str, tuple[str, ...]] = {
    "colour": (*COLOURS, INK),
    "shape": SHAPES,
    "size": SIZES,
    "place": PLACES,
    "relation": RELATIONS,
    "background": BACKGROUNDS,
    "style": ("photo", "drawing"),
}


_FIELDS: dict[str, tuple[str, ...]] = {
    "object": ("colour", "shape", "size"),
    "count": ("number", "shape"),
    "relation": ("end", "relation", "end"),
    "place": ("colour", "shape", "place"),
    "background": ("background",),
    "style": ("style",),
}
_MAY_BE_ANY = ("colour", "shape", "size")
_known_facts: set[Fact] = set()


def _checked_fact(fact: Fact) -> Fact:
    # Tuples alone are looked up: lists would not be hashable.
    if not isinstance(fact, tuple) or fact not in _known_facts:
        _check_fact(fact)
        _known_facts.add(fact)
    return fact


def _check_fact(fact: Fact) -> None:
    if not isinstance(fact, tuple) or not fact:
        raise ConfigError(f"{fact!r} is not a fact", expected='a tuple such as ("style", "photo")')
    kind, *claim = fact
    _check_name("kind of fact", kind, tuple(_FIELDS))
    fields = _FIELDS[kind]
    if len(claim) != len(fields):
        raise ConfigError(f"the fact {fact!r} has {len(claim)} fields", expected=f'("{kind}", {", ".join(fields)})')
    for field, value in zip(fields, claim, strict=True):
        if field == "end":
            if not isinstance(value, tuple) or len(value) != 2:
                raise ConfigError(f"{value!r} is not an end of a relation", expected="(colour or None, shape)")
            _check_fact(("object", *value, None))
        elif field == "number":
            if not _is_whole(value) or value < 0:
                raise ConfigError(f"the fact {fact!r} counts {value!r}", expected="a whole number, 0 or more")
        elif value is not None or field not in _MAY_BE_ANY:
            _check_name(field, value, _VOCABULARY[field])


_COLOUR_CODE = {name: index for index, name in enumerate((*COLOURS, INK))}
_SHAPE_CODE = {name: index for index, name in enumerate(SHAPES)}
_SIZE_CODE = {None: 0, "small": 1, "large": 2}
_PLACE_BIT = {"left": 1, "right": 2, "top": 4, "bottom": 8, "centre": 16}
_PLACE_CODE = {place: sum(_PLACE_BIT[word] for word in place.split()) for place in PLACES}
_RELATION_CODE = {name: index + 1 for index, name in enumerate(RELATIONS)}


class _Encoded:
    """Scenes as integer arrays: one row a scene, one column an object; absent objects match nothing."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        most = max((len(scene.objects) for scene in scenes), default=0)
        absent = [(-1.0, -1.0, -1.0, 0.0, 0.5, 0.5)]
        rows = [scene._code + absent * (most - len(scene.objects)) for scene in scenes]
        code = np.array(rows, dtype=np.float64).reshape(len(scenes), most, 6)
        self.colour, self.shape, self.size, self.place = np.moveaxis(code[..., :4].astype(np.int64), -1, 0)
        self.present = self.shape >= 0
        self.background = np.array([BACKGROUNDS.index(scene.background) for scene in scenes], dtype=np.int64)
        self.drawing = np.array([scene.style == "drawing" for scene in scenes], dtype=bool)
        self.relation = self._relations(code[..., 4], code[..., 5])
        self._found: dict[tuple[str | None, str | None], NDArray[np.bool_]] = {}

    @staticmethod
    def _relations(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        right, down = x[:, None, :] - x[:, :, None], y[:, None, :] - y[:, :, None]
        wide, tall = np.abs(right), np.abs(down)
        sideways = np.where(right > 0, _RELATION_CODE["left of"], _RELATION_CODE["right of"])
        upright = np.where(down > 0, _RELATION_CODE["above"], _RELATION_CODE["below"])
        apart = (np.maximum(wide, tall) >= _RELATION_MARGIN) & (wide != tall)
        return np.where(apart, np.where(wide > tall, sideways, upright), 0)

    def find(self, colour: str | None, shape: str | None) -> NDArray[np.bool_]:
        """Which objects are like this, bool [scenes, objects]."""
        key = (colour, shape)
        if key not in self._found:
            found = self.present
            if colour is not None:
                found = found & (self.colour == _COLOUR_CODE[colour])
            if shape is not None:
                found = found & (self.shape == _SHAPE_CODE[shape])
            self._found[key] = found
        return self._found[key]

    def truth(self, fact: Fact) -> NDArray[np.bool_]:
        """Where the fact holds, bool [scenes]."""
        kind, *claim = fact
        if kind == "object":
            found = self.find(claim[0], claim[1])
            return np.logical_or.reduce(
                found if claim[2] is None else found & (self.size == _SIZE_CODE[claim[2]]), axis=1
            )
        if kind == "count":
            return np.equal(self.find(None, claim[1]).sum(axis=1), claim[0])
        if kind == "place":
            bits = _PLACE_CODE[claim[2]]
            return (self.find(claim[0], claim[1]) & (self.place & bits == bits)).any(axis=1)
        if kind == "relation":
            one, other = self.find(*claim[0]), self.find(*claim[2])
            stands = self.relation == _RELATION_CODE[claim[1]]
            return (one[:, :, None] & stands & other[:, None, :]).any(axis=(1, 2))
        if kind == "background":
            return self.background == BACKGROUNDS.index(claim[0])
        return self.drawing == (claim[0] == "drawing")


def truth_matrix(scenes: Sequence[Scene], captions: Sequence[Caption]) -> NDArray[np.bool_]:
    """Which caption is true of which scene, bool [len(scenes), len(captions)]: `holds` for all pairs at once.

    Raises:
        ConfigError: as `holds`.

    Example:
        >>> scenes = scene_dataset(3)
        >>> truth_matrix(scenes, [scene.captions[0] for scene in scenes]).diagonal().all()
        np.True_
    """
    encoded = _Encoded(scenes)
    column: dict[Fact, int] = {}
    claims = [[column.setdefault(_checked_fact(fact), len(column)) for fact in caption.facts] for caption in captions]
    # The last column is always true: captions with fewer facts are filled up with it.
    table = np.ones((len(scenes), len(column) + 1), dtype=bool)
    for fact, index in column.items():
        table[:, index] = encoded.truth(fact)
    longest = max(map(len, claims), default=0)
    picked = np.array([claim + [len(column)] * (longest - len(claim)) for claim in claims], dtype=np.int64)
    return np.logical_and.reduce(table[:, picked.reshape(len(captions), longest)], axis=2)
