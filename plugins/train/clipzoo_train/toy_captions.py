"""The toy world as images with captions: pictograms, and frames of clips, drawn anew from a seed."""

from __future__ import annotations

import numpy as np

from clipzoo.data.scenes import Scene, scene_dataset
from clipzoo.errors import ConfigError
from clipzoo_train.captions import CaptionData, CaptionedImage, from_pixels


def open_toy(folder: None, *, count: int = 2000, seed: int = 0, **_: object) -> CaptionData:
    """Scenes of the toy world, each with its five to eight captions.

    Args:
        folder: none, they are generated.
        count: how many images.
        seed: of the drawing.

    Raises:
        ConfigError: if ``count`` is not positive.
    """
    if count < 1:
        raise ConfigError(f"{count} toy images", expected="at least one")
    scenes = scene_dataset(count, seed=seed, combinations="train")
    return CaptionData("toy-captions", tuple(_image(number, scene) for number, scene in enumerate(scenes)), {})


def _image(number: int, scene: Scene) -> CaptionedImage:
    captions = tuple(caption.text for caption in scene.captions)
    return CaptionedImage(f"scene {number:05d}", captions, from_pixels(np.ascontiguousarray(scene.image)))
