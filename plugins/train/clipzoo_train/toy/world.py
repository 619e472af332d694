"""The training data of a stage, made once from its seed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from clipzoo.data.faces import FaceSet, face_dataset
from clipzoo.data.rooms import RoomWindows, room_windows
from clipzoo.data.scenes import Scene, scene_dataset
from clipzoo.data.shapes import CATEGORIES
from clipzoo.data.toy_clips import ToyClip, clip_dataset
from clipzoo.errors import ConfigError
from clipzoo_train.toy.clip_frames import PeopleInClips, frames_as_scenes
from clipzoo_train.toy.depth_images import DepthPool, make_clouds, render_pool
from clipzoo_train.toy.lessons import DepthImages, Distances, FacesWithCaptions, Scenes, Subject
from clipzoo_train.toy.stages import Stage

MODELNET10 = (
    "bathtub",
    "bed",
    "chair",
    "desk",
    "dresser",
    "monitor",
    "night_stand",
    "sofa",
    "table",
    "toilet",
)


@dataclass
class World:
    """The training data of a stage."""

    classes: tuple[str, ...]
    depth: DepthPool
    scenes: list[Scene]
    rooms: RoomWindows | None = None
    faces: FaceSet | None = None
    clips: Sequence[ToyClip] = ()

    def subjects(self, stage: Stage) -> list[Subject]:
        """What a batch of the stage is made of.

        Raises:
            ConfigError: if the stage asks for what this world was made without.
        """
        wanted = {
            "rooms": bool(stage.room_batch) and self.rooms is None,
            "faces": bool(stage.face_batch) and self.faces is None,
            "clips": bool(stage.people_batch) and not self.clips,
        }
        lacking = [name for name, lacks in wanted.items() if lacks]
        if lacking:
            raise ConfigError(f"the stage asks for {' and '.join(lacking)}, which this world lacks")
        # Frames are spread among the scenes: a tenth of what is drawn at most.
        scenes = [*self.scenes, *frames_as_scenes(self.clips)[: max(1, len(self.scenes) // 9)]]
        parts: list[Subject] = [
            DepthImages(self.depth, self.classes, stage.depth_batch),
            Scenes(scenes, stage.scene_batch, stage.first_caption_share, stage.grey_share),
        ]
        if self.rooms is not None and stage.room_batch:
            parts.append(Distances(self.rooms, stage.room_batch))
        if self.faces is not None and stage.face_batch:
            parts.append(FacesWithCaptions(self.faces, stage.face_batch))
        people = PeopleInClips.of(self.clips, stage.people_batch) if stage.people_batch else None
        return parts if people is None else [*parts, people]


def make_world(stage: Stage, workers: int = 2) -> World:
    """Generate everything and render the depth images; the same stage gives the same world.

    Args:
        stage: how much of what.
        workers: processes that generate.
    """
    counts = {name: stage.shapes_each * (2 if name in MODELNET10 else 1) for name in CATEGORIES}
    clouds, labels = make_clouds(counts, stage.seed, workers)
    generator = torch.Generator().manual_seed(stage.seed)
    depth = render_pool(clouds, labels, stage.image_size, stage.views_each, generator)
    # Seeds 0 and 1 are those of tests and demonstrations.
    seed = 100 + stage.seed
    rooms = room_windows(stage.rooms, seed=seed, side_px=stage.image_size) if stage.rooms else None
    faces = face_dataset(stage.faces, seed=seed, size=stage.image_size) if stage.faces else None
    clips = clip_dataset(stage.clip_pairs, seed=seed, size=stage.image_size) if stage.clip_pairs else []
    return World(tuple(CATEGORIES), depth, _make_scenes(stage, workers), rooms, faces, clips)


def _make_scenes(stage: Stage, workers: int) -> list[Scene]:
    """Those with one object first."""
    single = int(stage.scenes * stage.single_share)
    jobs = [(stage.seed * 1000, single, 1), (stage.seed * 1000 + 1, stage.scenes - single, None)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_scenes_of, *zip(*jobs, strict=True)))
    return [scene for part in parts for scene in part]


def _scenes_of(seed: int, count: int, objects: int | None) -> list[Scene]:
    return scene_dataset(count, seed=seed, objects=objects, combinations="train")
