"""Toy clips: short videos whose captions can only be told apart by the order of their frames.

Every action has an opposite that is the same clip played backwards. What looks at frames one by one, or pools them
without regard to order, is at chance between the two; what knows the order is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from clipzoo.data.pictograms import COLOURS, SHAPES
from clipzoo.data.scenes import PLAIN, render_object
from clipzoo.errors import ConfigError, closest_matches

OPPOSITES: dict[str, str] = {
    "moving left": "moving right",
    "moving up": "moving down",
    "growing": "shrinking",
    "appearing": "vanishing",
    "turning": "turning back",
    "sitting down": "standing up",
}
"""Six actions and their opposites."""

ACTIONS: tuple[str, ...] = tuple(name for pair in OPPOSITES.items() for name in pair)
_OPPOSITE = {**OPPOSITES, **{after: before for before, after in OPPOSITES.items()}}
_PLAIN_SHAPES = tuple(SHAPES)
_BODY = "a person in {}"


@dataclass(frozen=True, eq=False)
class ToyClip:
    """A clip with all that is known of it.

    Args:
        frames: uint8 RGB.
        action: one of :data:`ACTIONS`.
        thing: what acts, for example ``"a red circle"``.
        caption: what happens.
        opposite: what happens when it is played backwards.
        other: the same action of another thing.
    """

    frames: UInt8[np.ndarray, "frames side side 3"]
    action: str
    thing: str
    caption: str
    opposite: str
    other: str

    def backwards(self) -> ToyClip:
        """The same frames in reverse order, with the opposite caption."""
        action = _OPPOSITE[self.action]
        other = _other_backwards(self)
        return ToyClip(self.frames[::-1].copy(), action, self.thing, self.opposite, self.caption, other)


def sample_clip(generator: np.random.Generator, frames: int = 8, size: int = 64, action: str | None = None) -> ToyClip:
    """Draw one clip.

    Args:
        generator: the only source of chance.
        frames: how many, at least 2.
        size: side of a frame, px, at least 32.
        action: one of :data:`ACTIONS`; by default drawn.

    Raises:
        ConfigError: if there is no such action, or too few frames.

    >>> clip = sample_clip(np.random.default_rng(0), action="growing")
    >>> clip.frames.shape, clip.opposite.endswith("shrinking")
    ((8, 64, 64, 3), True)
    """
    if frames < 2:
        raise ConfigError(f"a clip of {frames} frames", expected="at least 2: one shows no change")
    if action is None:
        action = ACTIONS[int(generator.integers(len(ACTIONS)))]
    if action not in ACTIONS:
        raise ConfigError(
            f'no action called "{action}"', closest=closest_matches(action, ACTIONS), expected=", ".join(ACTIONS)
        )
    # Both directions are drawn alike, so that nothing but the order tells them apart.
    forward = action in OPPOSITES
    clip = _forward_clip(generator, frames, size, action if forward else _OPPOSITE[action])
    return clip if forward else clip.backwards()


def clip_dataset(pairs: int, seed: int = 0, frames: int = 8, size: int = 64) -> list[ToyClip]:
    """Clips and the same clips backwards, one after the other; pair i depends on (seed, i) alone.

    Actions take turns, so that a dataset of 6 k pairs holds each of the twelve k times.

    Args:
        pairs: half as many as there will be clips.
        seed: of the dataset.
        frames: of each clip.
        size: side of a frame, px.

    >>> [clip.action for clip in clip_dataset(2)]
    ['moving left', 'moving right', 'moving up', 'moving down']
    """
    found = []
    names = list(OPPOSITES)
    for number in range(pairs):
        clip = sample_clip(np.random.default_rng([seed, number]), frames, size, names[number % len(names)])
        found += [clip, clip.backwards()]
    return found


def _forward_clip(generator: np.random.Generator, frames: int, size: int, action: str) -> ToyClip:
    progress = np.linspace(0, 1, frames)
    colours = generator.permutation(list(COLOURS))
    background = PLAIN[("white", "grey", "pale blue", "cream")[int(generator.integers(4))]]
    if action == "sitting down":
        place, tall = generator.uniform(0.42, 0.58), generator.uniform(0.75, 0.9)
        pictures = [_person(COLOURS[colours[0]], background, place, tall, float(at), size) for at in progress]
        thing, another = (_BODY.format(colour) for colour in colours[:2])
        return ToyClip(np.stack(pictures), action, thing, *_captions(action, thing, another, ("", "")))
    shapes = generator.permutation(list(_PLAIN_SHAPES))
    centre = generator.uniform(0.4, 0.6, 2)
    scale = generator.uniform(0.3, 0.42)
    start = int(generator.integers(1, frames))
    pictures = []
    for number, at in enumerate(progress):
        x, y, side, colour = centre[0], centre[1], scale, colours[0]
        if action == "moving left":
            x = 0.78 - 0.56 * at
        elif action == "moving up":
            y = 0.78 - 0.56 * at
        elif action == "growing":
            side = 0.18 + 0.62 * at
        elif action == "turning" and number >= start:
            colour = colours[1]
        visible = action != "appearing" or number >= start
        pictures.append(
            render_object(str(shapes[0]), str(colour), size, scale=side, background=background, centre=(x, y))
            if visible
            else np.broadcast_to(np.array(background, np.uint8), (size, size, 3))
        )
    names = [f"{_a(str(colour))} {shape}" for colour, shape in zip(colours[:2], shapes[:2], strict=True)]
    thing = f"a {shapes[0]}" if action == "turning" else names[0]
    another = f"a {shapes[1]}" if action == "turning" else names[1]
    return ToyClip(
        np.stack(pictures), action, thing, *_captions(action, thing, another, (str(colours[0]), str(colours[1])))
    )


def _captions(action: str, thing: str, another: str, colours: tuple[str, str]) -> tuple[str, str, str]:
    """What happens, what happens backwards, and what happens with another thing."""
    return (
        _told(thing, action, colours),
        _told(thing, _OPPOSITE[action], colours),
        _told(another, action, colours),
    )


def _told(thing: str, action: str, colours: tuple[str, str]) -> str:
    if action == "turning":
        return f"{thing} turning from {colours[0]} to {colours[1]}"
    if action == "turning back":
        return f"{thing} turning from {colours[1]} to {colours[0]}"
    return f"{thing} {action}"


def _other_backwards(clip: ToyClip) -> str:
    """The caption of the other thing, doing the opposite."""
    if clip.action.startswith("turning"):
        other, _, colours = clip.other.partition(" turning from ")
        before, _, after = colours.partition(" to ")
        return f"{other} turning from {after} to {before}"
    return clip.other.removesuffix(clip.action) + _OPPOSITE[clip.action]


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _person(
    colour: tuple[int, int, int], background: tuple[int, int, int], place: float, tall: float, down: float, size: int
) -> np.ndarray:
    """A figure beside a chair; ``down`` 0 stands, 1 sits."""
    big = 4 * size
    picture = Image.new("RGB", (big, big), background)
    draw = ImageDraw.Draw(picture)
    ink, wood = (60, 45, 40), (140, 100, 60)
    floor, seat = 0.93, 0.93 - 0.27 * tall
    thick = round(0.05 * big)

    def line(*points: tuple[float, float], fill: tuple[int, int, int], width: int = thick) -> None:
        draw.line([(x * big, y * big) for x, y in points], fill=fill, width=width, joint="curve")

    line((place - 0.22, floor - 0.5 * tall), (place - 0.22, floor), fill=wood, width=thick // 2)
    line((place - 0.22, seat), (place + 0.02, seat), (place + 0.02, floor), fill=wood, width=thick // 2)
    foot = place + 0.14
    hip_x, hip_y = foot - 0.22 * down, floor - tall * (0.45 - 0.14 * down)
    knee = (foot + 0.02 * down, floor - tall * 0.24)
    line((hip_x, hip_y), knee, (foot, floor), (foot + 0.07, floor), fill=ink)
    shoulder = hip_y - 0.30 * tall
    line((hip_x, hip_y), (hip_x, shoulder), fill=colour, width=round(2.2 * thick))
    hand = (hip_x + 0.04 + 0.12 * down, hip_y - 0.02)
    line((hip_x, shoulder + 0.04), hand, fill=colour, width=thick)
    radius = 0.085 * tall
    head = shoulder - 0.11 * tall
    draw.ellipse(
        [(hip_x - radius) * big, (head - radius) * big, (hip_x + radius) * big, (head + radius) * big],
        fill=(225, 180, 150),
    )
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
