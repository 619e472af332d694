"""Toy scenes with boxes and masks; some combinations of colour and shape are novel."""

from __future__ import annotations

import numpy as np

from clipzoo.data.scenes import COLOURS, HELD_OUT, SHAPES, Scene, sample_scene
from clipzoo_detect.annotations import AnnotatedImage, DetectionData, Thing

NAMES: tuple[str, ...] = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
NOVEL: tuple[str, ...] = tuple(f"{colour} {shape}" for colour, shape in HELD_OUT)

_SEEDS = {"train": 11, "val": 12, "test": 13}


def toy_scenes(count: int, split: str = "test", seed: int = 0, side_px: int = 160) -> DetectionData:
    """The first ``count`` scenes of a split: one to four coloured shapes with boxes and masks.

    Half of the scenes show base combinations alone, half novel ones alone (of ``train`` one in eight): as in LVIS,
    novel things are in the training images too, and :meth:`DetectionData.without` hides their annotations.

    Args:
        count: scenes.
        split: ``"train"``, ``"val"`` or ``"test"``.
        seed: of all of them.
        side_px: of an image.

    >>> data = toy_scenes(2)
    >>> len(data), len(data.classnames), data.images[0].size
    (2, 128, (160, 160))
    """
    every = 8 if split == "train" else 2
    # What is stored of one world's scenes, such as embeddings, is not taken for those of another.
    name = f"{split}-{seed}" if seed else split
    images = []
    for place in range(count):
        generator = np.random.default_rng([_SEEDS.get(split, 14), seed, place])
        combinations = "held-out" if place % every == every - 1 else "train"
        scene = sample_scene(
            generator, side_px, style=("colour", "textured")[int(generator.integers(2))], combinations=combinations
        )
        images.append(_annotated(scene, f"{name}-{place:05d}", place + 1))
    return DetectionData("toy-detection", NAMES, tuple(range(1, len(NAMES) + 1)), tuple(images), split=split)


def _annotated(scene: Scene, key: str, number: int) -> AnnotatedImage:
    masks = scene.masks
    things = tuple(
        Thing(
            (float(thing.box[0]), float(thing.box[1]), float(thing.box[2]), float(thing.box[3])),
            NAMES.index(f"{thing.colour} {thing.shape}"),
            segmentation=masks[place],
            area=float(masks[place].sum()),
        )
        for place, thing in enumerate(scene.objects)
    )
    return AnnotatedImage(key, number, pixels=scene.image, size=scene.image.shape[:2], things=things)
