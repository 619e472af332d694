"""Depth from words with a frozen CLIP: DepthCLIP."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo_depth.bins import BINS, PROMPTS, SCENE_BINS
    from clipzoo_depth.depth_files import read_depth
    from clipzoo_depth.depthclip import DepthCLIP, depth_from_logits, even_channels
    from clipzoo_depth.learning import LearningRecipe, gather_shots, learn_depth, scale_invariant_loss
    from clipzoo_depth.point_cloud import point_cloud_ply, unproject
    from clipzoo_depth.protocols import PROTOCOLS, depth_metrics

_HOMES = {
    "BINS": "bins",
    "PROMPTS": "bins",
    "SCENE_BINS": "bins",
    "read_depth": "depth_files",
    "DepthCLIP": "depthclip",
    "depth_from_logits": "depthclip",
    "even_channels": "depthclip",
    "LearningRecipe": "learning",
    "gather_shots": "learning",
    "learn_depth": "learning",
    "scale_invariant_loss": "learning",
    "point_cloud_ply": "point_cloud",
    "unproject": "point_cloud",
    "PROTOCOLS": "protocols",
    "depth_metrics": "protocols",
}

__all__ = [
    "BINS",
    "PROMPTS",
    "PROTOCOLS",
    "SCENE_BINS",
    "DepthCLIP",
    "LearningRecipe",
    "depth_from_logits",
    "depth_metrics",
    "even_channels",
    "gather_shots",
    "learn_depth",
    "point_cloud_ply",
    "read_depth",
    "scale_invariant_loss",
    "unproject",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"clipzoo_depth.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
