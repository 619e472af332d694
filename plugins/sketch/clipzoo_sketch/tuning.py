"""What drawing and photo are compared by, and how strokes begin: as published, or as a small encoder needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.towers import tower_kind
from clipzoo.errors import ConfigError, closest_matches

Compare = Literal["photo", "lines"]
Begin = Literal["walk", "along"]
SMALL_PX = 128
"""Encoders that take less than this are small."""


@dataclass(frozen=True)
class Tuning:
    """One way to draw.

    Args:
        layers: weights of layers by name; empty for the published ones.
        semantic: weight of one minus the cosine of embeddings.
        compare: what the layers see: the ``"photo"`` as published, or a drawing of its contours (``"lines"``). The
            embedding always sees the photo.
        begin: a stroke begins as a short random ``"walk"`` as published, or ``"along"`` a contour.
    """

    layers: Mapping[str, float] = field(default_factory=dict)
    semantic: float = 0.1
    compare: Compare = "photo"
    begin: Begin = "walk"


PAPER = Tuning()
SMALL = {
    "resnet": Tuning({"stem": 1.0, "layer1": 1.0, "layer2": 1.0}, 1.0, "lines", "along"),
    "vit": Tuning({}, 1.0, "lines", "along"),
}
"""For small encoders by their tower. The layers of the paper, at one eighth and a sixteenth of 224 px, see 28 x 28 and
14 x 14 places; of 64 px they see 8 x 8 and 4 x 4, too few for a contour, and their features tell a filled shape from an
outline more than one shape from another."""

TUNINGS = ("auto", "paper", "small")


def tuning_for(clip: FrozenCLIP, name: str = "auto") -> Tuning:
    """The tuning of a name; ``"auto"`` is ``"small"`` for an encoder that takes less than 128 px.

    Raises:
        ConfigError: if there is none of that name.

    >>> import clipzoo
    >>> tuning_for(clipzoo.load_clip("tiny-rn")).compare, tuning_for(clipzoo.load_clip("tiny-rn"), "paper").compare
    ('lines', 'photo')
    """
    if name not in TUNINGS:
        raise ConfigError(
            f'no tuning called "{name}"', closest=closest_matches(str(name), TUNINGS), expected=", ".join(TUNINGS)
        )
    if name == "paper" or (name == "auto" and clip.image_size >= SMALL_PX):
        return PAPER
    kind = tower_kind(clip.model.visual, clip.name)  # type: ignore[arg-type]
    return SMALL.get(kind, SMALL["vit"])
