"""Frozen CLIP encoders over open_clip."""

from clipzoo.encoders.frozen import FrozenCLIP
from clipzoo.encoders.loading import load_clip

__all__ = ["FrozenCLIP", "load_clip"]
