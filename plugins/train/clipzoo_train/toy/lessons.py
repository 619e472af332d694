"""What the tiny encoders are taught: each lesson gives images, sentences, and which is true of which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from clipzoo.data.faces import (
    FACE_ATTRIBUTES,
    FACE_NOUNS,
    FACE_TEMPLATES,
    FaceSet,
    face_phrases,
    face_truth,
)
from clipzoo.data.rooms import DISTANCE_WORDS, RoomWindows, distance_sentences
from clipzoo.data.scenes import COLOURS, INK, NEUTRAL_TEMPLATES, PLAIN, SHAPES, Caption, Scene, truth_matrix
from clipzoo.encoders.pixels import normalise_pixels
from clipzoo.prompts import clean_name
from clipzoo_train.toy.depth_images import DEPTH_TEMPLATES, DepthPool, to_pixels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass
class Lesson:
    """A part of a batch.

    Attributes:
        pixels: normalised, ``[images, 3, side, side]``.
        sentences: all different.
        truth: which sentence is true of which image.
        elsewhere: sentences of which nothing is known on the images of another lesson: "something red" may be true of
            a face under a red hat, and "this object is close" of anything.
    """

    pixels: Float[Tensor, "images 3 side side"]
    sentences: list[str]
    truth: Bool[Tensor, "images sentences"]
    elsewhere: frozenset[str] = frozenset()


class Subject(Protocol):
    """A source of lessons."""

    def sentences(self) -> Iterable[str]:
        """Everything it may say."""
        ...

    def lesson(self, draw: np.random.Generator) -> Lesson:
        """The next part of a batch."""
        ...


def join_lessons(lessons: Sequence[Lesson]) -> tuple[Tensor, list[str], Tensor, Tensor]:
    """One batch of several lessons.

    A sentence that an earlier lesson has is dropped from a later one, and images and sentences that are left without
    a partner sit the batch out.

    Returns:
        Pixels ``[I, 3, S, S]``, sentences, and two masks ``[I, T]``: what is true, and of what the truth is known.
    """
    rows = sum(len(lesson.pixels) for lesson in lessons)
    sentences: list[str] = []
    columns, known = [], []
    start = 0
    for lesson in lessons:
        said = set(sentences)
        kept = [place for place, text in enumerate(lesson.sentences) if text not in said]
        end = start + len(lesson.pixels)
        truth = torch.zeros(rows, len(kept), dtype=torch.bool)
        truth[start:end] = lesson.truth[:, kept]
        certain = torch.ones_like(truth)
        vague = torch.tensor([lesson.sentences[place] in lesson.elsewhere for place in kept], dtype=torch.bool)
        certain[:start, vague] = False
        certain[end:, vague] = False
        columns.append(truth)
        known.append(certain)
        sentences += [lesson.sentences[place] for place in kept]
        start = end
    truth, certain = torch.cat(columns, 1), torch.cat(known, 1)
    images = truth.any(1)
    texts = truth[images].any(0)
    told = [sentence for sentence, kept in zip(sentences, texts.tolist(), strict=True) if kept]
    pixels = torch.cat([lesson.pixels for lesson in lessons])[images]
    return pixels, told, truth[images][:, texts], certain[images][:, texts]


@dataclass
class DepthImages:
    """Depth images of both projections, named by their class.

    Attributes:
        pool: the images.
        classes: names of its labels.
        count: images of each projection in a lesson.
    """

    pool: DepthPool
    classes: Sequence[str]
    count: int

    def __post_init__(self) -> None:
        """Write out all sentences."""
        # "a" before a vowel too: the published prompts write "a airplane".
        self.said = [
            [list(dict.fromkeys((t.replace("{}", name), depth_sentence(t, name)))) for t in DEPTH_TEMPLATES]
            for name in map(clean_name, self.classes)
        ]

    def sentences(self) -> Iterable[str]:
        """Every template with every name."""
        return (text for of_class in self.said for variants in of_class for text in variants)

    def lesson(self, draw: np.random.Generator) -> Lesson:
        """Two sentences of each class that is present."""
        v1 = torch.from_numpy(draw.integers(len(self.pool.v1), size=self.count))
        v2 = torch.from_numpy(draw.integers(len(self.pool.v2), size=self.count))
        labels = torch.cat([self.pool.v1_labels[v1], self.pool.v2_labels[v2]])
        sentences, owner = [], []
        for label in labels.unique().tolist():
            for kind in draw.choice(len(DEPTH_TEMPLATES), size=2, replace=False):
                variants = self.said[label][kind]
                sentences.append(variants[draw.integers(len(variants))])
                owner.append(label)
        pixels = torch.cat([to_pixels(self.pool.v1[v1], "v1"), to_pixels(self.pool.v2[v2], "v2")])
        return Lesson(pixels, sentences, labels[:, None] == torch.tensor(owner)[None])


@dataclass
class Scenes:
    """Pictograms with captions, and every shape and colour by its own name.

    Attributes:
        scenes: those drawn from.
        count: of a lesson.
        first_caption_share: how often a scene is told by the caption that names everything in it.
        grey_share: share of the scenes that lose their colours.
    """

    scenes: Sequence[Scene]
    count: int
    first_caption_share: float
    grey_share: float

    def __post_init__(self) -> None:
        """Write out the sentences about single attributes."""
        self.attributes = attribute_captions()

    def sentences(self) -> Iterable[str]:
        """All captions of all scenes, and those of single attributes."""
        yield from (caption.text for scene in self.scenes for caption in scene.captions)
        yield from (caption.text for group in self.attributes for caption in group)

    def lesson(self, draw: np.random.Generator) -> Lesson:
        """A caption a scene, and one a shape and a colour."""
        scenes = [self.scenes[index] for index in draw.integers(len(self.scenes), size=self.count)]
        bleached = draw.random(len(scenes)) < self.grey_share
        scenes = [(without_colour(s) or s) if grey else s for s, grey in zip(scenes, bleached, strict=True)]
        picked: dict[str, Caption] = {}
        for group in self.attributes:
            caption = group[draw.integers(len(group))]
            picked.setdefault(caption.text, caption)
        for scene in scenes:
            if scene.objects[0].colour == INK and scene.style != "drawing":
                continue
            told = 0 if draw.random() < self.first_caption_share else draw.integers(len(scene.captions))
            picked.setdefault(scene.captions[told].text, scene.captions[told])
        captions = list(picked.values())
        vague = frozenset(c.text for c in captions if all(f[0] == "object" and f[2] is None for f in c.facts))
        truth = torch.from_numpy(truth_matrix(scenes, captions))
        return Lesson(pixels_of(np.stack([s.image for s in scenes])), list(picked), truth, vague)


@dataclass
class Distances:
    """Windows of rooms, in DepthCLIP's words for how far what they show is.

    Attributes:
        windows: those drawn from.
        count: of a lesson.
    """

    windows: RoomWindows
    count: int

    def sentences(self) -> Iterable[str]:
        """Every word in every template."""
        return (text for word in range(len(DISTANCE_WORDS)) for text in distance_sentences(word))

    def lesson(self, draw: np.random.Generator) -> Lesson:
        """Two sentences a word."""
        chosen = draw.integers(len(self.windows.images), size=self.count)
        words = torch.from_numpy(self.windows.words[chosen])
        sentences, owner = [], []
        for word in range(len(DISTANCE_WORDS)):
            variants = distance_sentences(word)
            for kind in draw.choice(len(variants), size=2, replace=False):
                sentences.append(variants[kind])
                owner.append(word)
        truth = words[:, None] == torch.tensor(owner)[None]
        return Lesson(pixels_of(self.windows.images[chosen]), sentences, truth, frozenset(sentences))


@dataclass
class FacesWithCaptions:
    """Cartoon faces with captions, and every value of every attribute by its own name.

    Attributes:
        faces: those drawn from.
        count: of a lesson.
    """

    faces: FaceSet
    count: int

    def __post_init__(self) -> None:
        """Write out the sentences about single attributes."""
        self.attributes = face_attribute_captions()

    def sentences(self) -> Iterable[str]:
        """All captions of all faces, and those of single attributes."""
        yield from (caption.text for told in self.faces.captions for caption in told)
        yield from (caption.text for group in self.attributes for caption in group)

    def lesson(self, draw: np.random.Generator) -> Lesson:
        """One caption for every second face, drawn from its own, and one for every value of every attribute.

        Faces differ in eleven ways at once: without the second kind, a sentence about one of them meets so few
        that differ from it in nothing else that a thousand steps teach the hats and little more.
        """
        chosen = draw.integers(len(self.faces), size=self.count)
        picked: dict[str, Caption] = {}
        for group in self.attributes:
            caption = group[draw.integers(len(group))]
            picked.setdefault(caption.text, caption)
        for index in chosen[::2]:
            told = self.faces.captions[index]
            caption = told[draw.integers(len(told))]
            picked.setdefault(caption.text, caption)
        truth = torch.from_numpy(face_truth(self.faces.labels[chosen], list(picked.values())))
        return Lesson(pixels_of(self.faces.images[chosen]), list(picked), truth)


def without_colour(scene: Scene) -> Scene | None:
    """The scene as a grey picture, or None where grey on grey could not be seen."""
    if scene.style == "drawing" or scene.background == "grey":
        return None
    grey = np.round(scene.image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    tinted = scene.background in PLAIN and scene.background not in ("white", "black")
    return replace(
        scene,
        image=np.repeat(grey[..., None], 3, axis=2),
        objects=tuple(replace(thing, colour=INK) for thing in scene.objects),
        background="white" if tinted else scene.background,
    )


def attribute_captions() -> list[list[Caption]]:
    """For each shape and each colour alone, every sentence that names it and nothing else."""
    names: list[tuple[tuple[str, ...], tuple]] = [
        ((_article(shape),), ("object", None, shape, None)) for shape in SHAPES
    ]
    for colour in COLOURS:
        phrases = (f"something {colour}", _article(f"{colour} thing"), _article(f"{colour} object"))
        names.append((phrases, ("object", colour, None, None)))
    return [
        [Caption(template.format(phrase), (fact,)) for template in NEUTRAL_TEMPLATES for phrase in phrases]
        for phrases, fact in names
    ]


def face_attribute_captions() -> list[list[Caption]]:
    """For each value of each attribute of a face, every sentence that names it and nothing else."""
    groups = []
    for attribute, values in FACE_ATTRIBUTES.items():
        for value in (*values, "any"):
            phrases = [
                _article(" ".join(filter(None, (before, noun, after))))
                for before, after in face_phrases(attribute, value)
                for noun in FACE_NOUNS
            ]
            fact = ("face", attribute, value)
            if phrases:
                groups.append([Caption(t.format(phrase), (fact,)) for t in FACE_TEMPLATES for phrase in phrases])
    return groups


def depth_sentence(template: str, name: str) -> str:
    """A template with its class name, "a" or "an" as the name needs.

    >>> depth_sentence("a depth map of a {}.", "airplane")
    'a depth map of an airplane.'
    """
    return template.replace("a {}", "an {}" if name[0] in "aeiou" else "a {}").replace("{}", name)


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def pixels_of(images: UInt8[np.ndarray, "images side side 3"]) -> Float[Tensor, "images 3 side side"]:
    """Bytes as an encoder takes them."""
    return normalise_pixels(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, MEAN, STD)
