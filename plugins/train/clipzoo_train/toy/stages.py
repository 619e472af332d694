"""The stages in which the bundled encoders are made: a list of lessons and a loss each. Change them here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

_TEXT = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim": 128,
        "quick_gelu": False,
        "text_cfg": _TEXT,
        "vision_cfg": {"image_size": 64, "layers": 6, "width": 128, "head_width": 32, "patch_size": 8},
    },
    "tiny-rn": {
        "embed_dim": 128,
        "quick_gelu": False,
        "text_cfg": _TEXT,
        "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16, "head_width": 32},
    },
}


@dataclass(frozen=True)
class Stage:
    """Everything that decides the weights, besides the versions of the libraries."""

    kind: str = "captions"
    """``"captions"``: both towers learn what is true of what. ``"distil"``: the text tower is the teacher's, and the
    image tower, a vision transformer, learns the teacher's embeddings, its maps, its scores, and what is true."""
    teacher: str = ""
    """Encoder of a distil stage: one made before beside this one, or as it is bundled."""
    seed: int = 0
    steps: int = 1000
    learning_rate: float = 1.5e-3
    matrix_rate: float = 0.0
    """In a distil stage, the learning rate of Muon on the matrices inside the transformer; 0 leaves them to AdamW."""
    weight_decay: float = 0.05
    warmup_steps: int = 60
    average: float = 0.995
    depth_batch: int = 64
    """Images of each of the two projections in a batch."""
    scene_batch: int = 128
    scenes: int = 48_000
    single_share: float = 0.5
    """Share of the scenes that hold one object."""
    first_caption_share: float = 0.5
    """How often a scene is told by the caption that names everything in it, rather than by any of its captions."""
    grey_share: float = 0.2
    """Share of the scenes that lose their colours: only what is said of shapes is true of them. A shape that is
    seen without colour is known in colours it was never shown in."""
    room_batch: int = 0
    """Windows of toy rooms in a batch."""
    rooms: int = 0
    face_batch: int = 0
    """Cartoon faces in a batch."""
    faces: int = 0
    clip_pairs: int = 0
    """Toy clips, each with the same clip backwards, whose frames join the scenes; people have a lesson of their own."""
    people_batch: int = 0
    """Frames of people in a batch."""
    shapes_each: int = 600
    """Shapes of each category; the categories of ModelNet10 have twice as many, being told apart from more."""
    views_each: int = 4
    patch_dropout: float = 0.4
    unmasked_share: float = 0.15
    """The last part of training sees all patches (FLIP's unmasked tuning)."""
    pasted_share: float = 0.0
    """In a distil stage, images with a window of another image pasted in, beside the others, as a share of them."""
    hint: float = 0.0
    """In a distil stage, the weight of the teacher's maps."""
    image_size: int = 64

    def share(self, part: float) -> Stage:
        """A trial: a share of the steps and of the data, the batches as they are."""
        if part == 1:
            return self

        def some(count: int, least: int) -> int:
            return max(least, round(count * part)) if count else 0

        return replace(
            self,
            steps=some(self.steps, 2),
            warmup_steps=some(self.warmup_steps, 1),
            scenes=some(self.scenes, 64),
            rooms=some(self.rooms, 48),
            faces=some(self.faces, 48),
            clip_pairs=some(self.clip_pairs, 6),
            shapes_each=some(self.shapes_each, 1),
            views_each=max(1, round(self.views_each * part**0.25)),
        )


_WITH_ROOMS = Stage(
    steps=1800,
    seed=2,
    learning_rate=1e-3,
    depth_batch=64,
    scene_batch=88,
    scenes=30_000,
    single_share=0.6,
    first_caption_share=0.35,
    average=0.998,
    room_batch=48,
    rooms=8400,
)
_WITH_FACES = replace(
    _WITH_ROOMS, steps=1200, depth_batch=48, scene_batch=72, room_batch=40, face_batch=96, faces=20_000
)

# A vision transformer that starts from captions alone learns which colours go with which shapes.
_FROM_TEACHER = replace(
    _WITH_FACES,
    kind="distil",
    teacher="tiny-rn",
    seed=3,
    steps=2000,
    learning_rate=3e-3,
    matrix_rate=1.2e-2,
    warmup_steps=50,
    average=0.997,
    depth_batch=28,
    scene_batch=40,
    room_batch=10,
    rooms=5600,
    face_batch=20,
    faces=12_000,
    clip_pairs=300,
    people_batch=3,
    views_each=3,
    patch_dropout=0.0,
    pasted_share=0.15,
    hint=5.0,
)

STAGES: dict[str, tuple[Stage, ...]] = {
    "tiny-rn": (
        Stage(steps=2400, scenes=60_000, single_share=0.6, first_caption_share=0.35),
        replace(_WITH_ROOMS, steps=1000),
        replace(_WITH_FACES, depth_batch=56, scene_batch=80, face_batch=64),
        _WITH_FACES,
    ),
    "tiny": (
        _FROM_TEACHER,
        replace(
            _FROM_TEACHER,
            steps=1700,
            learning_rate=2e-3,
            matrix_rate=8e-3,
            depth_batch=34,
            scene_batch=32,
            room_batch=16,
            face_batch=16,
            people_batch=2,
            pasted_share=0.1,
        ),
    ),
}
"""Stages of each encoder, in order; each goes on from what the one before has written."""
