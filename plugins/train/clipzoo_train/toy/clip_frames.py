"""Single frames of toy clips, with what can be said of one frame: the thing in it, not what it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from clipzoo.data.scenes import COLOURS, NEUTRAL_TEMPLATES, PHOTO_TEMPLATES, PLAIN, Caption, Scene, SceneObject
from clipzoo.data.toy_clips import ToyClip
from clipzoo_train.toy.lessons import Lesson, pixels_of

_SHOWN = 12  # a pixel differs from the background by more than this in some channel
_LEAST_PX = 12


def frames_as_scenes(clips: Sequence[ToyClip]) -> list[Scene]:
    """Every frame of clips of things as a scene of one object; frames in which nothing is seen are left out.

    As scenes they share the sentences of the other scenes, and what is true of them is known exactly. People are in
    :class:`PeopleInClips`.

    Args:
        clips: of :func:`clipzoo.data.toy_clips.clip_dataset`.
    """
    found = []
    for clip in clips:
        if not clip.thing.startswith("a person"):
            for frame in clip.frames:
                scene = _scene(frame, clip)
                if scene is not None:
                    found.append(scene)
    return found


def _scene(frame: UInt8[np.ndarray, "side side 3"], clip: ToyClip) -> Scene | None:
    background = next((name for name, colour in PLAIN.items() if tuple(frame[0, 0]) == colour), None)
    seen = np.abs(frame.astype(int) - frame[0, 0].astype(int)).max(2) > _SHOWN
    if background is None or seen.sum() < _LEAST_PX:
        return None
    shape, colour = _named(clip, frame[seen].mean(0))
    thing = _object(seen, shape, colour)
    phrases = [_article(f"{colour} {shape}"), _article(shape)]
    facts = [("object", colour, shape, None), ("object", None, shape, None)]
    captions = tuple(
        Caption(template.format(phrase), (fact,))
        for phrase, fact in zip(phrases, facts, strict=True)
        for template in NEUTRAL_TEMPLATES
    )
    return Scene(frame, (thing,), background, "colour", seen.astype(np.uint8), captions)


def _named(clip: ToyClip, seen: np.ndarray) -> tuple[str, str]:
    """Shape and colour of the thing; one that changes its colour has, in a frame, the nearer of its two."""
    words = clip.thing.split(" ", 1)[1]
    if " turning from " in clip.caption:
        colours = clip.caption.partition(" turning from ")[2].split(" to ")
        return words, min(colours, key=lambda name: float(np.abs(np.array(COLOURS[name]) - seen).sum()))
    colour = max((name for name in COLOURS if words.startswith(f"{name} ")), key=len)
    return words.removeprefix(f"{colour} "), colour


def _object(seen: np.ndarray, shape: str, colour: str) -> SceneObject:
    side = seen.shape[0]
    columns, rows = (np.flatnonzero(seen.any(axis)) for axis in (0, 1))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    longer = max(right - left, bottom - top) / side
    x, y = (left + right) / (2 * side), (top + bottom) / (2 * side)
    across = "left" if x < 0.4 else "right" if x > 0.6 else ""
    down = "top" if y < 0.4 else "bottom" if y > 0.6 else ""
    size = "small" if longer < 0.34 else "large" if longer > 0.5 else None
    box = (float(left), float(top), float(right), float(bottom))
    return SceneObject(shape, colour, box, size, f"{down} {across}".strip() or "centre", 0.0)


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


@dataclass
class PeopleInClips:
    """Frames of people who sit down or stand up, told by the colour of their clothes.

    Attributes:
        frames: uint8 ``[frames, side, side, 3]``.
        colours: of the clothes, one a frame.
        count: of a lesson.
    """

    frames: UInt8[np.ndarray, "frames side side 3"]
    colours: Sequence[str]
    count: int

    @classmethod
    def of(cls, clips: Sequence[ToyClip], count: int) -> PeopleInClips | None:
        """The people of some clips, or None if there are none."""
        chosen = [clip for clip in clips if clip.thing.startswith("a person in ")]
        if not chosen:
            return None
        frames = np.concatenate([clip.frames for clip in chosen])
        colours = [clip.thing.removeprefix("a person in ") for clip in chosen for _ in clip.frames]
        return cls(frames, colours, count)

    def sentences(self) -> Iterable[str]:
        """Every colour, and none, in every template."""
        for phrase in ("a person", *(f"a person in {colour}" for colour in COLOURS)):
            yield from (template.format(phrase) for template in (*NEUTRAL_TEMPLATES, *PHOTO_TEMPLATES))

    def lesson(self, draw: np.random.Generator) -> Lesson:
        """One sentence a colour that is present, and one of people at all."""
        chosen = draw.integers(len(self.frames), size=self.count)
        colours = [self.colours[row] for row in chosen]
        templates = (*NEUTRAL_TEMPLATES, *PHOTO_TEMPLATES)
        present = list(dict.fromkeys(colours))
        phrases = ["a person", *(f"a person in {colour}" for colour in present)]
        sentences = [templates[draw.integers(len(templates))].format(phrase) for phrase in phrases]
        truth: Tensor = torch.tensor([[True, *(own == colour for colour in present)] for own in colours])
        # A cartoon face is a person too.
        return Lesson(pixels_of(self.frames[chosen]), sentences, truth, frozenset(sentences[:1]))
