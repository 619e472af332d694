"""What an encoder knows of the things in toy clips, on clips that it was not trained on."""

from __future__ import annotations

import numpy as np
import torch

from clipzoo.data.toy_clips import clip_dataset
from clipzoo.encoders import FrozenCLIP


@torch.no_grad()
def clip_accuracy(clip: FrozenCLIP, pairs: int = 60, seed: int = 9002) -> dict[str, float]:
    """How often the middle frame of a toy clip is nearer to what acts in it than to the thing its other caption names.

    Half is chance. Clips whose thing is told by its shape alone (it changes colour) are asked for the shape.
    """
    clips = clip_dataset(pairs, seed=seed)[::2]
    frames = torch.from_numpy(np.stack([one.frames[len(one.frames) * 3 // 4] for one in clips]))
    images = clip.encode_image(frames.permute(0, 3, 1, 2).float() / 255)
    own = clip.encode_text([f"a photo of {one.thing}" for one in clips])
    other = clip.encode_text([f"a photo of {_other_thing(one.other, one.action)}" for one in clips])
    return {"content": float(((images * own).sum(1) > (images * other).sum(1)).float().mean())}


def _other_thing(told: str, action: str) -> str:
    return told.partition(" turning from ")[0] if action.startswith("turning") else told.removesuffix(f" {action}")
