"""Sketches with a frozen CLIP: a differentiable stroke rasteriser, CLIPasso and CLIPDraw."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo_sketch.clipasso import CLIPasso
    from clipzoo_sketch.clipdraw import CLIPDraw
    from clipzoo_sketch.drawing import Drawing, Stroke
    from clipzoo_sketch.rasterizer import rasterize

_HOMES = {
    "CLIPDraw": "clipzoo_sketch.clipdraw",
    "CLIPasso": "clipzoo_sketch.clipasso",
    "Drawing": "clipzoo_sketch.drawing",
    "Stroke": "clipzoo_sketch.drawing",
    # The file is not called rasterize.py: an imported submodule would take the name of the function.
    "rasterize": "clipzoo_sketch.rasterizer",
}

__all__ = ["CLIPDraw", "CLIPasso", "Drawing", "Stroke", "rasterize"]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
