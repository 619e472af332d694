"""Edit generated images with sentences: StyleGAN2, StyleCLIP's three methods, StyleGAN-NADA."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo_style.adaptation import DomainAdapter
    from clipzoo_style.alignment import align_face
    from clipzoo_style.checkpoints import load_stylegan2, save_stylegan2
    from clipzoo_style.directions import ChannelDirections, Sweep, build_banks
    from clipzoo_style.e4e import E4E, load_e4e
    from clipzoo_style.identity import IRSE50, MobileFaceNet, identity_loss, load_identity
    from clipzoo_style.inversion import invert
    from clipzoo_style.latent_optimisation import Edited, LatentOptimizer
    from clipzoo_style.latents import Latent
    from clipzoo_style.mapper import LatentMapper
    from clipzoo_style.pickles import read_nvlabs_pickle
    from clipzoo_style.ranger import Ranger
    from clipzoo_style.stylegan2 import StyleGAN2

_HOMES = {
    "ChannelDirections": "directions",
    "DomainAdapter": "adaptation",
    "E4E": "e4e",
    "Edited": "latent_optimisation",
    "IRSE50": "identity",
    "Latent": "latents",
    "LatentMapper": "mapper",
    "LatentOptimizer": "latent_optimisation",
    "MobileFaceNet": "identity",
    "Ranger": "ranger",
    "StyleGAN2": "stylegan2",
    "Sweep": "directions",
    "align_face": "alignment",
    "build_banks": "directions",
    "identity_loss": "identity",
    "invert": "inversion",
    "load_e4e": "e4e",
    "load_identity": "identity",
    "load_stylegan2": "checkpoints",
    "read_nvlabs_pickle": "pickles",
    "save_stylegan2": "checkpoints",
}

__all__ = [
    "E4E",
    "IRSE50",
    "ChannelDirections",
    "DomainAdapter",
    "Edited",
    "Latent",
    "LatentMapper",
    "LatentOptimizer",
    "MobileFaceNet",
    "Ranger",
    "StyleGAN2",
    "Sweep",
    "align_face",
    "build_banks",
    "identity_loss",
    "invert",
    "load_e4e",
    "load_identity",
    "load_stylegan2",
    "read_nvlabs_pickle",
    "save_stylegan2",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"clipzoo_style.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
