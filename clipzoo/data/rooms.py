"""Toy rooms: textured boxes on a floor between walls, with exact depth, to test monocular depth on.

A room is a box seen from inside and one to five boxes in it; every ray meets planes only, so that its depth is exact
and no renderer is needed. Textures have sizes in metres that are the same in all rooms, a lamp sits at the camera, and
the camera hangs at eye height: the three cues that tell metric depth in one photo.

How an encoder is to learn them (so that depth from its words stays zero-shot): by :func:`room_windows`, windows of the
pictures at their native resolution, each with the word for its distance, never by depth maps. A window is true of all
sentences of its own word (:func:`distance_sentences`) and of no other word's, which fits a target spread over all true
sentences as :func:`clipzoo_train.toy.losses.soft_contrastive_loss` takes it. :func:`room_captions` gives windows of one
room with a sentence each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64, UInt8

from clipzoo.errors import ConfigError

DISTANCE_WORDS = ("giant", "extremely close", "close", "not in distance", "a little remote", "far", "unseen")
"""The words of DepthCLIP (Zhang et al. 2022, section 3.3), from near to far."""

DISTANCE_BINS_M = (1.0, 1.5, 2.0, 2.25, 2.5, 2.75, 3.0)
"""The depth that each word stands for there, m."""

DISTANCE_TEMPLATES = (
    "This object is {}",
    "this object is {}.",
    "the object is {}",
    "this thing is {}",
    "something {}",
    "a photo of an object that is {}.",
)
"""Sentences for a word; the first is DepthCLIP's."""

ROOM_COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.16, 0.14),
    "orange": (0.93, 0.52, 0.12),
    "yellow": (0.93, 0.82, 0.20),
    "green": (0.18, 0.58, 0.24),
    "blue": (0.16, 0.34, 0.78),
    "purple": (0.50, 0.24, 0.64),
}
TEXTURES = ("plain", "checks", "planks", "bricks", "speckles")
FURNITURE = ("box", "cabinet", "bench")

_WALL_COLOURS = ((0.86, 0.84, 0.78), (0.72, 0.80, 0.84), (0.80, 0.74, 0.70), (0.76, 0.82, 0.72), (0.66, 0.66, 0.70))
_FLOOR_COLOURS = ((0.62, 0.46, 0.30), (0.50, 0.50, 0.52), (0.70, 0.62, 0.50))
_LAMP_REACH_M = 1.6
_MIN_PX = 16
_NEAREST_M = 0.05


@dataclass(frozen=True)
class RoomObject:
    """A box in a room, as it is seen.

    Attributes:
        name: one of :data:`FURNITURE`.
        colour: a key of :data:`ROOM_COLOURS`.
        box: (left, top, right, bottom) around its visible pixels, px; right and bottom are exclusive.
        depth_m: median depth of its visible pixels.
    """

    name: str
    colour: str
    box: tuple[int, int, int, int]
    depth_m: float


@dataclass(frozen=True, eq=False)
class Room:
    """A picture of a room and all that is known of it.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        depth: float32 [height, width], m along the optical axis, of the centre of each pixel.
        segments: uint8 [height, width]: 0 is the room itself, ``i + 1`` is ``objects[i]``.
        intrinsics: (fx, fy, cx, cy), px; the centre of the first pixel is (0, 0).
        objects: those of which something is visible, from near to far.
        captions: true sentences about the whole picture.
    """

    image: UInt8[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"]
    segments: UInt8[np.ndarray, "height width"]
    intrinsics: tuple[float, float, float, float]
    objects: tuple[RoomObject, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class RoomCaption:
    """A sentence in DepthCLIP's phrasing, and the window of the picture that it is true of.

    Attributes:
        box: (left, top, right, bottom) of the window, px.
        word: index into :data:`DISTANCE_WORDS`.
        depth_m: median depth of the window.
        text: the sentence.
    """

    box: tuple[int, int, int, int]
    word: int
    depth_m: float
    text: str


@dataclass(frozen=True, eq=False)
class RoomWindows:
    """Training pairs for an encoder: windows of rooms, and how far what they show is.

    Attributes:
        images: uint8 [count, side, side, 3], RGB.
        words: int64 [count], index into :data:`DISTANCE_WORDS`; :func:`distance_sentences` says them.
        depths_m: float32 [count], median depth of each window; for checks, not for training.
    """

    images: UInt8[np.ndarray, "count side side 3"]
    words: Int64[np.ndarray, " count"]
    depths_m: Float[np.ndarray, " count"]


@dataclass(frozen=True)
class Slab:
    """A box in space: where it stands and what covers it.

    Attributes:
        centre: (x right, y up, z forward), m.
        half: half of its three sides, m.
        yaw_rad: turn about the upright axis.
        colours: two, for its texture.
        texture: one of :data:`TEXTURES`.
        pitch_m: size of the texture.
    """

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw_rad: float
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    texture: str
    pitch_m: float


def distance_word(depth_m: Float[np.ndarray, "*shape"] | float) -> np.ndarray:
    """Index of the word whose depth is nearest, as a ratio.

    >>> [DISTANCE_WORDS[index] for index in distance_word(np.array([0.6, 2.1, 9.0]))]
    ['giant', 'close', 'unseen']
    """
    bins = np.log(DISTANCE_BINS_M)
    return np.searchsorted((bins[1:] + bins[:-1]) / 2, np.log(depth_m))


def sample_room(generator: np.random.Generator, height: int = 128, width: int = 160) -> Room:
    """Draw one room.

    Args:
        generator: the only source of chance.
        height: of the picture, px, at least 16.
        width: the same.

    Raises:
        ConfigError: if the picture would be smaller.

    >>> room = sample_room(np.random.default_rng(0))
    >>> room.image.shape, room.depth.shape, room.depth.dtype
    ((128, 160, 3), (128, 160), dtype('float32'))
    """
    if min(height, width) < _MIN_PX:
        raise ConfigError(f"a room of {height} x {width} px", expected=f"at least {_MIN_PX} x {_MIN_PX}")
    focal = width * generator.uniform(0.78, 0.86)
    intrinsics = (focal, focal, (width - 1) / 2, (height - 1) / 2)
    rotation = _camera(generator.uniform(-0.30, 0.30), generator.uniform(0.15, 0.50))
    eye_m = generator.uniform(1.15, 1.35)
    shell = _draw_shell(generator, eye_m)
    names, colours, slabs = _draw_furniture(generator, shell, eye_m)
    depth, owner, _ = trace(shell, slabs, _rays(intrinsics, rotation, height, width))
    fine = _rays(intrinsics, rotation, height, width, split=2)
    exposure = generator.uniform(0.85, 1.15)
    colour = _shaded(shell, slabs, fine) * exposure
    image = colour.reshape(height, 2, width, 2, 3).mean((1, 3)) + generator.normal(0, 0.01, (height, width, 3))
    depth, owner = depth.reshape(height, width), owner.reshape(height, width)
    objects, segments = _visible(names, colours, depth, owner)
    return Room(
        (image.clip(0, 1) * 255).round().astype(np.uint8),
        depth.astype(np.float32),
        segments,
        intrinsics,
        objects,
        _captions(objects),
    )


def room_dataset(count: int, seed: int = 0, height: int = 128, width: int = 160) -> list[Room]:
    """Rooms of a seed; room ``i`` does not depend on ``count``.

    >>> len(room_dataset(2, height=32, width=32))
    2
    """
    return [sample_room(np.random.default_rng([seed, index]), height, width) for index in range(count)]


def room_captions(
    room: Room, generator: np.random.Generator, windows: int = 8, side_px: int = 64, spread: float = 1.25
) -> tuple[RoomCaption, ...]:
    """Windows of a room in which one distance prevails, each with a sentence that says how far it is.

    Args:
        room: the room.
        generator: draws windows and sentences.
        windows: how many are tried; those without a prevailing distance give no caption.
        side_px: of a window, at most that of the picture.
        spread: a window counts if six tenths of it lie within this factor of its median.

    Raises:
        ConfigError: if the window is larger than the picture.

    >>> draw = np.random.default_rng(0)
    >>> found = room_captions(sample_room(draw), draw)
    >>> DISTANCE_WORDS[found[0].word] in found[0].text
    True
    """
    height, width = room.depth.shape
    if not 1 <= side_px <= min(height, width):
        raise ConfigError(f"windows of {side_px} px in a picture of {height} x {width}", expected="a smaller window")
    found = []
    for _ in range(windows):
        top, left = (int(generator.integers(side - side_px + 1)) for side in (height, width))
        depth = room.depth[top : top + side_px, left : left + side_px]
        middle = float(np.median(depth))
        if (np.maximum(depth / middle, middle / depth) < spread).mean() < 0.6:
            continue
        word = int(distance_word(middle))
        template = DISTANCE_TEMPLATES[generator.integers(len(DISTANCE_TEMPLATES))]
        box = (left, top, left + side_px, top + side_px)
        found.append(RoomCaption(box, word, middle, template.format(DISTANCE_WORDS[word])))
    return tuple(found)


def room_windows(count: int, seed: int = 0, side_px: int = 64, tries: int = 24) -> RoomWindows:
    """Windows of the rooms of a seed, as many of each word as of any other: the middle words are rare otherwise.

    Args:
        count: windows; those of each word differ in number by one at most.
        seed: of the rooms; the tests and demonstrations use 0 and 1.
        side_px: of a window; a bundled encoder takes 64 px as they are, so that textures keep their scale.
        tries: windows that are looked at in each room.

    Raises:
        ConfigError: if nothing is asked for, or the window is larger than the picture.

    >>> found = room_windows(7, seed=2)
    >>> found.images.shape, sorted(found.words.tolist())
    ((7, 64, 64, 3), [0, 1, 2, 3, 4, 5, 6])
    """
    if count < 1:
        raise ConfigError(f"{count} windows", expected="at least one")
    words = len(DISTANCE_WORDS)
    missing = [count // words + (word < count % words) for word in range(words)]
    images, found = [], []
    index = 0
    while any(missing):
        generator = np.random.default_rng([seed, index])
        room = sample_room(generator)
        index += 1
        for caption in room_captions(room, generator, tries, side_px):
            if missing[caption.word]:
                missing[caption.word] -= 1
                left, top, right, bottom = caption.box
                images.append(room.image[top:bottom, left:right])
                found.append((caption.word, caption.depth_m))
    order = np.random.default_rng([seed, count]).permutation(count)
    kinds, depths = np.array([word for word, _ in found]), np.array([depth for _, depth in found], np.float32)
    return RoomWindows(np.stack(images)[order], kinds[order].astype(np.int64), depths[order])


def distance_sentences(word: int) -> tuple[str, ...]:
    """All sentences that are true of windows of a word.

    >>> distance_sentences(0)[0]
    'This object is giant'
    """
    return tuple(template.format(DISTANCE_WORDS[word]) for template in DISTANCE_TEMPLATES)


def trace(
    shell: Slab, slabs: Sequence[Slab], rays: Float[np.ndarray, "rays 3"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What rays from the origin meet first: the inside of ``shell`` or the outside of a slab.

    Args:
        shell: the room; the origin is inside.
        slabs: boxes in it.
        rays: directions whose component along the optical axis is 1, so that the way along a ray is a depth.

    Returns:
        Depth [rays], m; index of the slab, -1 for the shell; the axis of the box (0, 1, 2) whose face was met.
    """
    _, depth, _, axis = _crossing(shell, rays)
    owner = np.full(len(rays), -1)
    for index, slab in enumerate(slabs):
        enter, leave, front, _ = _crossing(slab, rays)
        nearer = (enter <= leave) & (enter > _NEAREST_M) & (enter < depth)
        depth[nearer], axis[nearer], owner[nearer] = enter[nearer], front[nearer], index
    return depth, owner, axis


def _camera(yaw_rad: float, pitch_rad: float) -> Float[np.ndarray, "3 3"]:
    """Columns: the camera's right, down and forward in the room; ``pitch_rad`` looks down."""
    forward = np.array(
        [math.sin(yaw_rad) * math.cos(pitch_rad), -math.sin(pitch_rad), math.cos(yaw_rad) * math.cos(pitch_rad)]
    )
    right = np.array([math.cos(yaw_rad), 0.0, -math.sin(yaw_rad)])
    # x right, y up, z forward is a left-handed frame: its cross product has the other sign.
    return np.stack([right, np.cross(right, forward), forward], axis=1)


def _rays(
    intrinsics: tuple[float, float, float, float],
    rotation: Float[np.ndarray, "3 3"],
    height: int,
    width: int,
    split: int = 1,
) -> Float[np.ndarray, "rays 3"]:
    fx, fy, cx, cy = intrinsics
    v = (np.arange(height * split) + 0.5) / split - 0.5
    u = (np.arange(width * split) + 0.5) / split - 0.5
    down, right = np.meshgrid((v - cy) / fy, (u - cx) / fx, indexing="ij")
    return np.stack([right, down, np.ones_like(right)], -1).reshape(-1, 3) @ rotation.T


def _turned(vectors: np.ndarray, yaw_rad: float) -> np.ndarray:
    """Vectors in the frame of a box that is turned about the upright axis."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.stack([cos * x - sin * z, y, sin * x + cos * z], -1)


def _crossing(slab: Slab, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the lines through the origin enter and leave a box, and the axes of the two faces (Kay & Kajiya 1986)."""
    start = _turned(-np.array(slab.centre), slab.yaw_rad)
    direction = _turned(rays, slab.yaw_rad)
    # A ray along a face never crosses it: a tiny slope keeps the arithmetic finite and the answer the same.
    direction = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    first, second = (-np.array(slab.half) - start) / direction, (np.array(slab.half) - start) / direction
    near, far = np.minimum(first, second), np.maximum(first, second)
    return near.max(1), far.min(1), near.argmax(1), far.argmin(1)


def _draw_shell(generator: np.random.Generator, eye_m: float) -> Slab:
    """The room as a box around the camera, whose eye is the origin."""
    wide, tall = generator.uniform(2.6, 4.6), generator.uniform(2.3, 2.9)
    ahead, behind = generator.uniform(2.0, 4.4), 0.4
    aside = generator.uniform(-0.25, 0.25) * wide
    wall = _WALL_COLOURS[generator.integers(len(_WALL_COLOURS))]
    colours = (wall, tuple(0.82 * part for part in wall))
    return Slab(
        (aside, tall / 2 - eye_m, (ahead - behind) / 2),
        (wide / 2, tall / 2, (ahead + behind) / 2),
        0.0,
        colours,  # type: ignore[arg-type]
        TEXTURES[generator.integers(len(TEXTURES))],
        0.25,
    )


def _draw_furniture(
    generator: np.random.Generator, shell: Slab, eye_m: float
) -> tuple[list[str], list[str], list[Slab]]:
    names, colours, slabs = [], [], []
    sizes = {"box": (0.30, 0.30, 0.30), "cabinet": (0.35, 0.75, 0.25), "bench": (0.60, 0.22, 0.25)}
    palette = generator.permutation(list(ROOM_COLOURS)).tolist()
    taken: list[tuple[float, float, float]] = []
    for place in range(int(generator.integers(2, 6))):
        name = FURNITURE[generator.integers(len(FURNITURE))]
        half = np.array(sizes[name]) * generator.uniform(0.7, 1.3, 3)
        reach = float(np.hypot(half[0], half[2]))
        far = shell.centre[2] + shell.half[2] - reach
        # Evenly in the logarithm, so that near and far things are as frequent.
        z = float(np.exp(generator.uniform(math.log(0.55 + reach), math.log(max(far, 0.6 + reach)))))
        x = generator.uniform(-0.55, 0.55) * z
        x = float(np.clip(x, shell.centre[0] - shell.half[0] + reach, shell.centre[0] + shell.half[0] - reach))
        if any(math.hypot(x - other[0], z - other[1]) < reach + other[2] for other in taken):
            continue
        taken.append((x, z, reach))
        rgb = ROOM_COLOURS[palette[place]]
        darker = tuple(0.6 * part for part in rgb)
        slabs.append(
            Slab(
                (x, float(half[1]) - eye_m, z),
                tuple(half.tolist()),
                float(generator.uniform(-0.8, 0.8)),
                (rgb, darker),  # type: ignore[arg-type]
                TEXTURES[generator.integers(len(TEXTURES))],
                0.10,
            )
        )
        names.append(name)
        colours.append(palette[place])
    return names, colours, slabs


def _shaded(shell: Slab, slabs: Sequence[Slab], rays: np.ndarray) -> np.ndarray:
    """Colour of rays: texture times a lamp at the camera, which fades with the square of the way."""
    depth, owner, axis = trace(shell, slabs, rays)
    points = rays * depth[:, None]
    colour = np.zeros((len(rays), 3))
    for index, slab in enumerate([shell, *slabs]):
        mine = owner == index - 1
        local = _turned(points[mine] - np.array(slab.centre), slab.yaw_rad)
        direction = _turned(rays[mine], slab.yaw_rad)
        face = axis[mine]
        across = np.take_along_axis(local, np.array([[2, 1], [0, 2], [0, 1]])[face], 1)
        paint = _texture(slab.texture, across / slab.pitch_m)
        mix = paint[:, None] * np.array(slab.colours[1]) + (1 - paint[:, None]) * np.array(slab.colours[0])
        if index == 0:
            mix = _floor_and_ceiling(shell, mix, local, face)
        length = np.linalg.norm(direction, axis=1)
        slant = np.abs(np.take_along_axis(direction, face[:, None], 1)[:, 0]) / length
        lamp = 1 / (1 + (depth[mine] * length / np.linalg.norm(rays[mine], axis=1) / _LAMP_REACH_M) ** 2)
        colour[mine] = mix * (0.25 + 1.05 * lamp * (0.45 + 0.55 * slant))[:, None]
    return colour


def _floor_and_ceiling(shell: Slab, mix: np.ndarray, local: np.ndarray, face: np.ndarray) -> np.ndarray:
    """The floor has planks of its own, the ceiling is white."""
    floor = (face == 1) & (local[:, 1] < 0)
    ceiling = (face == 1) & (local[:, 1] > 0)
    # The floor goes with the walls, so that it needs no draw of its own.
    tone = np.array(_FLOOR_COLOURS[_WALL_COLOURS.index(shell.colours[0]) % len(_FLOOR_COLOURS)])
    planks = _texture("planks", local[:, [0, 2]] / 0.15)
    mix = np.where(floor[:, None], tone * (1 - 0.35 * planks[:, None]), mix)
    return np.where(ceiling[:, None], 0.95, mix)


def _texture(name: str, across: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, " points"]:
    """Share of the second colour at points of a face, measured in sizes of the texture."""
    u, v = across[:, 0], across[:, 1]
    if name == "checks":
        return (np.floor(u) + np.floor(v)) % 2
    if name == "planks":
        return (np.floor(u) % 2) * 0.7 + 0.3 * ((u % 1) < 0.12)
    if name == "bricks":
        shifted = u / 2 + 0.5 * (np.floor(v) % 2)
        return (((v % 1) < 0.18) | ((shifted % 1) < 0.09)).astype(np.float64)
    if name == "speckles":
        cell = np.floor(u * 3) * 127.1 + np.floor(v * 3) * 311.7
        return (np.sin(cell) * 43758.5453 % 1 > 0.6).astype(np.float64)
    return np.zeros(len(across))


def _visible(
    names: list[str], colours: list[str], depth: np.ndarray, owner: np.ndarray
) -> tuple[tuple[RoomObject, ...], np.ndarray]:
    found = []
    for index, name in enumerate(names):
        rows, columns = np.nonzero(owner == index)
        if len(rows):
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            middle = float(np.median(depth[rows, columns]))
            found.append((index, RoomObject(name, colours[index], box, middle)))
    found.sort(key=lambda pair: pair[1].depth_m)
    segments = np.zeros(depth.shape, np.uint8)
    for place, (index, _) in enumerate(found):
        segments[owner == index] = place + 1
    return tuple(thing for _, thing in found), segments


def _captions(objects: Sequence[RoomObject]) -> tuple[str, ...]:
    told = ["a room", "a photo of a room."]
    for thing in objects:
        name = f"{thing.colour} {thing.name}"
        word = DISTANCE_WORDS[int(distance_word(thing.depth_m))]
        told += [f"a room with {'an' if name[0] in 'aeiou' else 'a'} {name}", f"this {name} is {word}"]
    for near, far in pairwise(objects):
        if far.depth_m > 1.1 * near.depth_m:
            told.append(f"the {near.colour} {near.name} is closer than the {far.colour} {far.name}")
    return tuple(told)
