"""Videos and sentences with a frozen CLIP: CLIP4Clip."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo.data.video_reading import open_video, read_frames, sample_frames
    from clipzoo.data.video_sampling import sample_seconds
    from clipzoo_video.clip4clip import CLIP4Clip, EncodedVideos, retrieval_loss
    from clipzoo_video.datasets import find_videos
    from clipzoo_video.encoding import FrameCache, encode_items
    from clipzoo_video.end_to_end import train_end_to_end
    from clipzoo_video.evaluation import dual_softmax, retrieval_table
    from clipzoo_video.published import load_clip4clip, save_head
    from clipzoo_video.search import Moment, VideoIndex
    from clipzoo_video.training import Pairs, TrainingRecipe, train_head

_HOMES = {
    "open_video": "clipzoo.data.video_reading",
    "read_frames": "clipzoo.data.video_reading",
    "sample_frames": "clipzoo.data.video_reading",
    "sample_seconds": "clipzoo.data.video_sampling",
    "CLIP4Clip": "clipzoo_video.clip4clip",
    "EncodedVideos": "clipzoo_video.clip4clip",
    "retrieval_loss": "clipzoo_video.clip4clip",
    "find_videos": "clipzoo_video.datasets",
    "FrameCache": "clipzoo_video.encoding",
    "encode_items": "clipzoo_video.encoding",
    "train_end_to_end": "clipzoo_video.end_to_end",
    "dual_softmax": "clipzoo_video.evaluation",
    "retrieval_table": "clipzoo_video.evaluation",
    "load_clip4clip": "clipzoo_video.published",
    "save_head": "clipzoo_video.published",
    "Moment": "clipzoo_video.search",
    "VideoIndex": "clipzoo_video.search",
    "Pairs": "clipzoo_video.training",
    "TrainingRecipe": "clipzoo_video.training",
    "train_head": "clipzoo_video.training",
}

__all__ = [
    "CLIP4Clip",
    "EncodedVideos",
    "FrameCache",
    "Moment",
    "Pairs",
    "TrainingRecipe",
    "VideoIndex",
    "dual_softmax",
    "encode_items",
    "find_videos",
    "load_clip4clip",
    "open_video",
    "read_frames",
    "retrieval_loss",
    "retrieval_table",
    "sample_frames",
    "sample_seconds",
    "save_head",
    "train_end_to_end",
    "train_head",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
