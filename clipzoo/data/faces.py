"""Procedural cartoon faces with attributes and captions: the part of the toy world that generators are edited in.

A face is drawn from signed distances, so it is differentiable, has soft edges at any size, and changes continuously
with its parameters: hair that grows, a mouth that bends, glasses that fade in. What can be said of it is an attribute
with a few values (:data:`FACE_ATTRIBUTES`); captions claim some of them, as facts ``("face", attribute, value)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipzoo.data.scenes import Caption
from clipzoo.errors import ConfigError, DataError, closest_matches

__all__ = [
    "FACE_ATTRIBUTES",
    "FACE_NOUNS",
    "FACE_NUMBERS",
    "FACE_TEMPLATES",
    "FaceSet",
    "Faces",
    "face_captions",
    "face_dataset",
    "face_labels",
    "face_phrases",
    "face_truth",
    "faces_from_uniforms",
    "render_faces",
]

_HAIR = {
    "black": (0.10, 0.09, 0.11),
    "brown": (0.42, 0.25, 0.12),
    "blonde": (0.95, 0.83, 0.42),
    "red": (0.80, 0.27, 0.10),
    "grey": (0.68, 0.69, 0.71),
    "purple": (0.53, 0.22, 0.70),
}
_SKIN = {"pale": (0.99, 0.87, 0.78), "tan": (0.86, 0.66, 0.49), "dark": (0.48, 0.31, 0.22)}
_EYES = {"blue": (0.18, 0.45, 0.88), "green": (0.18, 0.62, 0.28), "brown": (0.40, 0.21, 0.08)}
_HATS = {"red": (0.85, 0.13, 0.15), "blue": (0.13, 0.27, 0.75), "green": (0.10, 0.52, 0.25)}
_BACKGROUNDS = {
    "white": (0.98, 0.98, 0.98),
    "blue": (0.62, 0.79, 0.97),
    "green": (0.66, 0.88, 0.62),
    "yellow": (0.99, 0.93, 0.58),
    "pink": (0.98, 0.74, 0.83),
}
_SHIRTS = ((0.80, 0.30, 0.30), (0.28, 0.42, 0.72), (0.35, 0.60, 0.42), (0.92, 0.75, 0.30), (0.35, 0.35, 0.40))

FACE_ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hair colour": tuple(_HAIR),
        "hair length": ("bald", "short", "long"),
        "skin": tuple(_SKIN),
        "eyes": tuple(_EYES),
        "glasses": ("none", "glasses", "sunglasses"),
        "hat": ("none", *_HATS),
        "expression": ("smiling", "neutral", "sad"),
        "mouth": ("closed", "open"),
        "age": ("young", "old"),
        "beard": ("none", "beard"),
        "background": tuple(_BACKGROUNDS),
    }
)
"""What can be said of a face, and its values in the order of :func:`face_labels`."""

FACE_NUMBERS = (
    *FACE_ATTRIBUTES,
    "hat colour",
    "head width",
    "head height",
    "eye distance",
    "brows",
    "shirt",
    "shift",
)
"""What the columns of :func:`faces_from_uniforms` decide."""

# Shares of the values, as edges on [0, 1].
_BALD, _LONG = 0.16, 0.55
_GLASSES, _DARK_GLASSES = 0.55, 0.80
_HAT = 0.66
_SAD, _SMILE = 0.33, 0.60
_OPEN, _OLD, _BEARD = 0.68, 0.62, 0.68

FACE_TEMPLATES = (
    "{}",
    "{}.",
    "a photo of {}.",
    "a photo of {}",
    "a picture of {}.",
    "an image of {}",
    "a portrait of {}.",
    "a cartoon of {}.",
    "a drawing of {}.",
    "a rendering of {}.",
    "a good photo of {}.",
    "a close-up photo of {}.",
    "there is {}",
)
"""Sentences around a phrase such as "a face with glasses"."""

_HIDDEN = {"hair colour": ("hair length", "bald"), "eyes": ("glasses", "sunglasses")}

FACE_NOUNS = ("face", "person", "cartoon face", "human face")
"""What a face is called."""

_NOUNS = ("face", *FACE_NOUNS)


@dataclass(frozen=True)
class Faces:
    """A batch of faces, all numbers continuous; fields are ``[batch]``, colours ``[batch, 3]`` in [0, 1].

    Args:
        hair: opacity of the hair, 0 is bald.
        hair_length: 0 is short, 1 falls to the shoulders.
        hair_colour: of hair, brows and beard.
        skin: colour.
        iris: colour of the eyes.
        glasses: opacity of the frame.
        tint: opacity of the lenses of sunglasses.
        hat: opacity.
        hat_colour: colour.
        curve: of the mouth, -1 sad to 1 smiling.
        gape: how far the mouth is open, 0 to 1.
        age: opacity of wrinkles.
        beard: opacity.
        background: colour.
        shirt: colour.
        head_width: half the head's width, in half image sides.
        head_height: half its height.
        eye_distance: from the middle to each eye.
        brow: how far the brows are lifted.
        shift: of the head to the right.
    """

    hair: Float[Tensor, " batch"]
    hair_length: Float[Tensor, " batch"]
    hair_colour: Float[Tensor, "batch 3"]
    skin: Float[Tensor, "batch 3"]
    iris: Float[Tensor, "batch 3"]
    glasses: Float[Tensor, " batch"]
    tint: Float[Tensor, " batch"]
    hat: Float[Tensor, " batch"]
    hat_colour: Float[Tensor, "batch 3"]
    curve: Float[Tensor, " batch"]
    gape: Float[Tensor, " batch"]
    age: Float[Tensor, " batch"]
    beard: Float[Tensor, " batch"]
    background: Float[Tensor, "batch 3"]
    shirt: Float[Tensor, "batch 3"]
    head_width: Float[Tensor, " batch"]
    head_height: Float[Tensor, " batch"]
    eye_distance: Float[Tensor, " batch"]
    brow: Float[Tensor, " batch"]
    shift: Float[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.hair)

    def __getitem__(self, rows: slice | Tensor) -> Faces:
        return Faces(*(getattr(self, field.name)[rows] for field in fields(self)))


def faces_from_uniforms(numbers: Float[Tensor, "batch numbers"], softness: float = 0.0) -> Faces:
    """Faces whose every attribute is decided by one uniform number, see :data:`FACE_NUMBERS`.

    Args:
        numbers: in [0, 1], one column a number.
        softness: width of the band around each edge between values in which one turns into the other; 0 jumps.

    Raises:
        DataError: if the shape is wrong.

    >>> faces = faces_from_uniforms(torch.full((1, len(FACE_NUMBERS)), 0.5))
    >>> len(faces), faces.glasses.item()
    (1, 0.0)
    """
    column = _columns(numbers)

    def beyond(name: str, edge: float) -> Tensor:
        return _step(column[name] - edge, softness)

    def between(name: str, low: float, high: float) -> Tensor:
        return low + (high - low) * column[name]

    def colour(name: str, palette: Sequence[tuple[float, float, float]]) -> Tensor:
        return _blend(column[name], palette, softness)

    length, mouth = column["hair length"], column["mouth"]
    return Faces(
        hair=beyond("hair length", _BALD),
        # Short and long hair differ by a visible step; both vary.
        hair_length=0.22 * ((length - _BALD) / (1 - _BALD)).clamp(0, 1) + 0.78 * beyond("hair length", _LONG),
        hair_colour=colour("hair colour", tuple(_HAIR.values())),
        skin=colour("skin", tuple(_SKIN.values())),
        iris=colour("eyes", tuple(_EYES.values())),
        glasses=beyond("glasses", _GLASSES),
        tint=beyond("glasses", _DARK_GLASSES),
        hat=beyond("hat", _HAT),
        hat_colour=colour("hat colour", tuple(_HATS.values())),
        curve=_curve(column["expression"], softness),
        gape=beyond("mouth", _OPEN) * (0.6 + 0.4 * ((mouth - _OPEN) / (1 - _OPEN)).clamp(0, 1)),
        age=beyond("age", _OLD),
        beard=beyond("beard", _BEARD),
        background=colour("background", tuple(_BACKGROUNDS.values())),
        shirt=colour("shirt", _SHIRTS),
        head_width=between("head width", 0.44, 0.54),
        head_height=between("head height", 0.54, 0.64),
        eye_distance=between("eye distance", 0.18, 0.24),
        brow=between("brows", 0.0, 0.06),
        shift=between("shift", -0.08, 0.08),
    )


def face_labels(numbers: Float[Tensor, "batch numbers"]) -> Int[Tensor, "batch attributes"]:
    """The value of each attribute of :data:`FACE_ATTRIBUTES`, as its index there.

    >>> face_labels(torch.zeros(1, len(FACE_NUMBERS)))[0].tolist()
    [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]
    """
    column = _columns(numbers)

    def value(name: str) -> Tensor:
        u, count = column[name], len(FACE_ATTRIBUTES[name])
        if name == "hair length":
            return (u >= _BALD).long() + (u >= _LONG)
        if name == "glasses":
            return (u >= _GLASSES).long() + (u >= _DARK_GLASSES)
        if name == "hat":
            return (u >= _HAT).long() * (1 + _place(column["hat colour"], count - 1))
        if name == "expression":
            return 2 - (u >= _SAD).long() - (u >= _SMILE).long()
        if name in ("mouth", "age", "beard"):
            return (u >= {"mouth": _OPEN, "age": _OLD, "beard": _BEARD}[name]).long()
        return _place(u, count)

    return torch.stack([value(name) for name in FACE_ATTRIBUTES], 1)


def render_faces(faces: Faces, size: int = 64) -> Float[Tensor, "batch 3 size size"]:
    """Draw faces; differentiable with respect to every parameter.

    Args:
        faces: what to draw.
        size: side of the images, px.

    Returns:
        RGB in [0, 1].

    Raises:
        ConfigError: if the size is below 16 px.

    >>> render_faces(faces_from_uniforms(torch.rand(2, len(FACE_NUMBERS))), 32).shape
    torch.Size([2, 3, 32, 32])
    """
    if size < 16:
        raise ConfigError(f"a face of {size} px", expected="16 or more")
    return _Canvas(faces, size).painted()


class _Canvas:
    """Layers of colour with soft edges, on a square from -1 to 1 whose y points down."""

    def __init__(self, faces: Faces, size: int) -> None:
        like = faces.hair
        axis = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (2 / size) - 1
        self.faces = faces
        self.size = size
        self.y = axis[None, :, None]
        self.x = axis[None, None, :] - _flat(faces.shift)
        self.wide, self.tall = _flat(faces.head_width), _flat(faces.head_height)
        self.image = faces.background[:, :, None, None].expand(-1, -1, size, size)

    def painted(self) -> Tensor:
        faces, x, y = self.faces, self.x, self.y
        dark_skin = faces.skin * 0.72
        self.paint(self.ellipse(0, 1.16, 0.74, 0.42), faces.shirt)
        self.paint(self.back_hair(), faces.hair_colour * 0.82, faces.hair)
        self.paint(torch.maximum(x.abs() - 0.17, (y - 0.75).abs() - 0.25), dark_skin)
        for side in (-1, 1):
            self.paint(self.ellipse(side * self.wide, 0.08, 0.08, 0.13), faces.skin * 0.92)
        head = self.ellipse(0, 0.04, self.wide, self.tall)
        self.paint(head, faces.skin)
        beard = torch.maximum(self.ellipse(0, 0.04, self.wide, self.tall + 0.06), 0.26 + 0.9 * x.square() * -1.0 - y)
        self.paint(beard, faces.hair_colour * 0.92, faces.beard)
        self.wrinkles(dark_skin)
        self.eyes()
        self.paint(self.ellipse(0, 0.17, 0.055, 0.075), dark_skin, 0.8)
        self.mouth()
        self.paint(self.front_hair(), faces.hair_colour, faces.hair)
        self.spectacles()
        self.headgear()
        return self.image.clamp(0, 1)

    def paint(
        self, distance: Tensor, colour: Tensor | tuple[float, float, float], opacity: Tensor | float = 1.0
    ) -> None:
        """Cover where the distance is negative; the edge is one pixel wide."""
        alpha = (0.5 - distance * (self.size / 2)).clamp(0, 1)[:, None]
        if isinstance(opacity, Tensor):
            opacity = opacity[:, None, None, None]
        if not isinstance(colour, Tensor):
            colour = self.faces.skin.new_tensor(colour)[None]
        alpha = alpha * opacity
        self.image = self.image * (1 - alpha) + colour[:, :, None, None] * alpha

    def ellipse(self, x: Tensor | float, y: Tensor | float, wide: Tensor | float, tall: Tensor | float) -> Tensor:
        """Distance to an ellipse, to first order."""
        u, v = (self.x - x) / wide, (self.y - y) / tall
        reach = (u.square() + v.square() + 1e-9).sqrt()
        slope = ((u / wide).square() + (v / tall).square() + 1e-9).sqrt()
        return reach * (reach - 1) / slope

    def stroke(self, distance: Tensor, width: float) -> Tensor:
        """Distance to a line of a width along the zero of another."""
        return distance.abs() - width / 2

    def back_hair(self) -> Tensor:
        end = 0.10 + 0.72 * _flat(self.faces.hair_length)
        half = (end + 0.2) / 2
        inner = 0.18
        across = self.x.abs() - (self.wide + 0.10 - inner)
        down = (self.y - (end - half)).abs() - (half - inner).clamp_min(0.01)
        outside = (across.clamp_min(0).square() + down.clamp_min(0).square() + 1e-9).sqrt()
        box = outside + torch.maximum(across, down).clamp_max(0) - inner
        return torch.minimum(box, self.ellipse(0, -0.02, self.wide + 0.09, self.tall + 0.10))

    def front_hair(self) -> Tensor:
        cap = self.ellipse(0, 0.0, self.wide + 0.07, self.tall + 0.08)
        parting = -0.24 + 0.55 * (self.x + 0.12).square()
        return torch.maximum(cap, self.y - parting)

    def wrinkles(self, colour: Tensor) -> None:
        age, x, y = self.faces.age, self.x, self.y
        for height in (-0.20, -0.11):
            line = self.stroke(y - height + 0.12 * x.square(), 0.032)
            self.paint(torch.maximum(line, x.abs() - 0.24), colour, age)
        across = x.abs()
        fold = self.stroke(across - 0.20 - 0.28 * (y - 0.22), 0.035)
        self.paint(torch.maximum(fold, (y - 0.30).abs() - 0.11), colour, age)
        bag = self.stroke(y - 0.125 + 1.6 * (across - _flat(self.faces.eye_distance)).square(), 0.03)
        self.paint(torch.maximum(bag, (across - _flat(self.faces.eye_distance)).abs() - 0.10), colour, age)

    def eyes(self) -> None:
        faces, apart = self.faces, _flat(self.faces.eye_distance)
        brow_y = -0.155 - _flat(faces.brow)
        for side in (-1, 1):
            self.paint(self.ellipse(side * apart, 0.0, 0.115, 0.085), (0.99, 0.99, 0.99))
            self.paint(self.ellipse(side * apart, 0.0, 0.070, 0.072), faces.iris)
            self.paint(self.ellipse(side * apart, 0.0, 0.032, 0.034), (0.04, 0.04, 0.05))
            bow = self.y - brow_y - 1.3 * (self.x - side * apart).square()
            brow = torch.maximum(self.stroke(bow, 0.05), (self.x - side * apart).abs() - 0.12)
            self.paint(brow, faces.hair_colour * 0.7)

    def mouth(self) -> None:
        faces = self.faces
        curve, gape = _flat(faces.curve), _flat(faces.gape)
        bend = self.y - 0.40 - curve * (0.055 - 2.6 * self.x.square())
        half = 0.035 + 0.085 * gape
        reach = self.x.abs() - (0.20 - 0.03 * gape)
        lips = torch.maximum(bend.abs() - half * (1 - (self.x / 0.24).square()).clamp_min(0.1), reach)
        self.paint(lips, (0.70, 0.20, 0.22))
        inner = torch.maximum(bend.abs() - (half - 0.03) * (1 - (self.x / 0.22).square()).clamp_min(0.05), reach + 0.03)
        self.paint(inner, (0.22, 0.03, 0.05), faces.gape.clamp(0, 1))

    def spectacles(self) -> None:
        faces, apart = self.faces, _flat(self.faces.eye_distance)
        frame = (0.08, 0.08, 0.10)
        for side in (-1, 1):
            lens = self.ellipse(side * apart, 0.0, 0.165, 0.145)
            self.paint(lens, (0.10, 0.10, 0.12), faces.tint)
            self.paint(self.stroke(lens, 0.045), frame, faces.glasses)
        bridge = torch.maximum(self.stroke(self.y + 0.02, 0.045), self.x.abs() - (apart - 0.16).clamp_min(0.02))
        self.paint(bridge, frame, faces.glasses)
        arm = torch.maximum(
            self.stroke(self.y + 0.02, 0.04), (self.x.abs() - (apart + self.wide + 0.16) / 2).abs() - 0.05
        )
        self.paint(arm, frame, faces.glasses)

    def headgear(self) -> None:
        faces = self.faces
        top = -0.28
        crown = torch.maximum(self.ellipse(0, top, self.wide + 0.08, self.tall - 0.10), self.y - top)
        self.paint(crown, faces.hat_colour, faces.hat)
        self.paint(self.ellipse(0, top, self.wide + 0.24, 0.075), faces.hat_colour * 0.75, faces.hat)


@dataclass(frozen=True)
class FaceSet:
    """Faces with all that is known about them.

    Args:
        images: uint8 ``[count, side, side, 3]``.
        labels: value of each attribute of :data:`FACE_ATTRIBUTES`, as its index.
        captions: true sentences of each face.
    """

    images: np.ndarray
    labels: np.ndarray
    captions: tuple[tuple[Caption, ...], ...]

    def __len__(self) -> int:
        return len(self.images)


def face_dataset(count: int, *, seed: int = 0, size: int = 64, captions: int = 6) -> FaceSet:
    """The first ``count`` faces of a seed, with captions.

    >>> made = face_dataset(3, size=32)
    >>> made.images.shape, bool(face_truth(made.labels, [made.captions[0][0]])[0, 0])
    ((3, 32, 32, 3), True)
    """
    if count < 0 or captions < 1:
        raise ConfigError(
            f"{count} faces with {captions} captions each", expected="no negative count, a caption or more"
        )
    dice = np.random.default_rng([seed, 20])
    numbers = torch.from_numpy(dice.random((count, len(FACE_NUMBERS)), dtype=np.float32))
    parts = [(render_faces(faces_from_uniforms(part), size) * 255).round().byte() for part in numbers.split(64)]
    images = torch.cat(parts) if parts else torch.zeros(0, 3, size, size, dtype=torch.uint8)
    labels = face_labels(numbers).numpy()
    told = tuple(
        face_captions(row, np.random.default_rng([seed, 21, index]), captions) for index, row in enumerate(labels)
    )
    return FaceSet(images.permute(0, 2, 3, 1).numpy(), labels, told)


def face_captions(
    labels: Int[np.ndarray, " attributes"], generator: np.random.Generator, count: int = 6
) -> tuple[Caption, ...]:
    """True sentences about a face: one claims several attributes, the others one or two each."""
    values = {name: FACE_ATTRIBUTES[name][int(label)] for name, label in zip(FACE_ATTRIBUTES, labels, strict=True)}
    unseen = {hidden for hidden, (by, how) in _HIDDEN.items() if values[by] == how}
    told = [name for name in values if name not in unseen and face_phrases(name, values[name])]
    made: dict[str, Caption] = {}
    first = True
    while len(made) < count:
        many = 3 if first else int(generator.integers(1, 3))
        names = [told[place] for place in generator.permutation(len(told))[: min(many, len(told))]]
        caption = _caption({name: values[name] for name in names}, generator)
        made.setdefault(caption.text, caption)
        first = False
    return tuple(made.values())


def face_truth(
    labels: Int[np.ndarray, "faces attributes"], captions: Sequence[Caption]
) -> Bool[np.ndarray, "faces captions"]:
    """Which caption is true of which face: every one of its facts holds.

    Raises:
        ConfigError: if a fact names an attribute or a value that does not exist.
    """
    truth = np.ones((len(labels), len(captions)), dtype=bool)
    names = list(FACE_ATTRIBUTES)
    for column, caption in enumerate(captions):
        for fact in caption.facts:
            attribute, value = _checked(fact)
            own = labels[:, names.index(attribute)]
            # "a hat" is true of a hat of any colour, "glasses" of sunglasses too.
            wanted = [k for k, known in enumerate(FACE_ATTRIBUTES[attribute]) if _covers(attribute, value, known)]
            truth[:, column] &= np.isin(own, wanted)
            if attribute == "hair colour":
                truth[:, column] &= labels[:, names.index("hair length")] != FACE_ATTRIBUTES["hair length"].index(
                    "bald"
                )
            if attribute == "eyes":
                truth[:, column] &= labels[:, names.index("glasses")] != FACE_ATTRIBUTES["glasses"].index("sunglasses")
    return truth


def face_phrases(attribute: str, value: str) -> tuple[tuple[str, str], ...]:
    """How a value is said: (adjective before the noun, words after it), one of them empty.

    >>> face_phrases("glasses", "sunglasses")
    (('', 'with sunglasses'), ('', 'wearing sunglasses'))
    """
    if attribute not in FACE_ATTRIBUTES:
        raise ConfigError(f'no attribute "{attribute}"', closest=closest_matches(attribute, FACE_ATTRIBUTES))
    return _PHRASES.get(attribute, {}).get(value, ())


_PHRASES: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "hair colour": {name: (("", f"with {name} hair"), ("", f"whose hair is {name}")) for name in _HAIR},
    "hair length": {
        "bald": (("bald", ""), ("", "without hair"), ("", "with no hair")),
        "short": (("", "with short hair"),),
        "long": (("", "with long hair"),),
        "any": (("", "with hair"),),
    },
    "skin": {name: (("", f"with {name} skin"),) for name in _SKIN},
    "eyes": {name: (("", f"with {name} eyes"),) for name in _EYES},
    "glasses": {
        "none": (("", "without glasses"),),
        "glasses": (("", "with glasses"), ("", "wearing glasses")),
        "sunglasses": (("", "with sunglasses"), ("", "wearing sunglasses")),
    },
    "hat": {
        "none": (("", "without a hat"),),
        "any": (("", "with a hat"), ("", "wearing a hat")),
        **{name: (("", f"with a {name} hat"), ("", f"wearing a {name} hat")) for name in _HATS},
    },
    "expression": {
        "smiling": (("smiling", ""), ("happy", ""), ("", "with a smile")),
        "neutral": (("", "with a neutral expression"),),
        "sad": (("sad", ""), ("unhappy", ""), ("", "with a sad expression")),
    },
    "mouth": {
        "open": (("surprised", ""), ("", "with an open mouth")),
        "closed": (("", "with a closed mouth"),),
    },
    "age": {"young": (("young", ""),), "old": (("old", ""), ("elderly", ""), ("", "with wrinkles"))},
    "beard": {"none": (("", "without a beard"),), "beard": (("bearded", ""), ("", "with a beard"))},
    "background": {
        name: (("", f"on a {name} background"), ("", f"in front of a {name} background")) for name in _BACKGROUNDS
    },
}


def _covers(attribute: str, value: str, known: str) -> bool:
    if value == "any":
        return known not in ("none", "bald")
    return known == value or (attribute, value, known) == ("glasses", "glasses", "sunglasses")


def _checked(fact: tuple) -> tuple[str, str]:
    if len(fact) != 3 or fact[0] != "face" or fact[1] not in FACE_ATTRIBUTES:
        raise ConfigError(
            f"{fact!r} is no fact about a face", expected=f'("face", {" | ".join(FACE_ATTRIBUTES)}, value)'
        )
    values = (*FACE_ATTRIBUTES[fact[1]], "any") if fact[1] in ("hat", "hair length") else FACE_ATTRIBUTES[fact[1]]
    if fact[2] not in values:
        raise ConfigError(f"{fact!r} is no fact about a face", expected=f"one of {', '.join(values)}")
    return fact[1], fact[2]


def _caption(values: Mapping[str, str], generator: np.random.Generator) -> Caption:
    before, after, facts = [], [], []
    noun = _NOUNS[generator.integers(len(_NOUNS))]
    for attribute, value in values.items():
        # Half of the hats are told without their colour.
        if (attribute == "hat" and value != "none" and generator.random() < 0.5) or (
            attribute == "hair length" and value != "bald" and generator.random() < 0.25
        ):
            value = "any"
        phrases = face_phrases(attribute, value)
        adjective, words = phrases[generator.integers(len(phrases))]
        (before if adjective else after).append(adjective or words)
        facts.append(("face", attribute, value))
    phrase = " ".join([*before, noun])
    phrase = f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
    if after:
        phrase += " " + " and ".join(after)
    return Caption(FACE_TEMPLATES[generator.integers(len(FACE_TEMPLATES))].format(phrase), tuple(facts))


def _columns(numbers: Tensor) -> dict[str, Tensor]:
    if numbers.ndim != 2 or numbers.shape[1] != len(FACE_NUMBERS) or not numbers.is_floating_point():
        raise DataError(
            f"numbers of the shape {tuple(numbers.shape)}, {numbers.dtype}",
            expected=f"floats [batch, {len(FACE_NUMBERS)}]",
        )
    return dict(zip(FACE_NUMBERS, numbers.unbind(1), strict=True))


def _flat(numbers: Tensor) -> Tensor:
    return numbers[:, None, None]


def _step(distance: Tensor, softness: float) -> Tensor:
    if softness <= 0:
        return (distance >= 0).to(distance.dtype)
    x = (distance / softness + 0.5).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _place(u: Tensor, count: int) -> Tensor:
    return (u * count).long().clamp(0, count - 1)


def _blend(u: Tensor, palette: Sequence[tuple[float, float, float]], softness: float) -> Tensor:
    colours = u.new_tensor(palette)
    mixed = colours[0].expand(len(u), 3)
    for place in range(1, len(palette)):
        mixed = mixed + _step(u - place / len(palette), softness)[:, None] * (colours[place] - colours[place - 1])
    return mixed


def _curve(u: Tensor, softness: float) -> Tensor:
    """Sad, neutral and smiling, each with some spread."""
    sad, smile = 1 - _step(u - _SAD, softness), _step(u - _SMILE, softness)
    return smile * (0.7 + 0.3 * u) - sad * (1 - 0.6 * u)
