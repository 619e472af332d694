"""Point clouds with a frozen CLIP: PointCLIP and PointCLIP V2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo.images.projection import project_depth, view_rotations
    from clipzoo_points.adapter import AdapterRecipe, InterViewAdapter, train_adapter
    from clipzoo_points.clouds import normalise_clouds, to_y_up
    from clipzoo_points.files import read_cloud
    from clipzoo_points.pointclip import PointCLIP
    from clipzoo_points.view_weights import agreement_weights, search_weights

_HOMES = {
    "project_depth": "clipzoo.images.projection",
    "view_rotations": "clipzoo.images.projection",
    "AdapterRecipe": "clipzoo_points.adapter",
    "InterViewAdapter": "clipzoo_points.adapter",
    "train_adapter": "clipzoo_points.adapter",
    "normalise_clouds": "clipzoo_points.clouds",
    "to_y_up": "clipzoo_points.clouds",
    "read_cloud": "clipzoo_points.files",
    "PointCLIP": "clipzoo_points.pointclip",
    "agreement_weights": "clipzoo_points.view_weights",
    "search_weights": "clipzoo_points.view_weights",
}

__all__ = [
    "AdapterRecipe",
    "InterViewAdapter",
    "PointCLIP",
    "agreement_weights",
    "normalise_clouds",
    "project_depth",
    "read_cloud",
    "search_weights",
    "to_y_up",
    "train_adapter",
    "view_rotations",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
