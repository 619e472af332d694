"""Small CLIPs trained from images and captions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo_train.accumulation import backward
    from clipzoo_train.captions import CaptionData, CaptionedImage
    from clipzoo_train.checkpoints import load_trained, save_pair
    from clipzoo_train.distillation import distillation_loss
    from clipzoo_train.loop import Loop, LoopSettings, parameter_groups
    from clipzoo_train.objectives import Batch, Objective, make_objective
    from clipzoo_train.pair import Pair, build_pair
    from clipzoo_train.processes import average_gradients
    from clipzoo_train.projection import ResidualHead
    from clipzoo_train.token_dropping import TokenDropping, kept_tokens

_HOMES = {
    "Batch": "clipzoo_train.objectives",
    "CaptionData": "clipzoo_train.captions",
    "CaptionedImage": "clipzoo_train.captions",
    "Loop": "clipzoo_train.loop",
    "LoopSettings": "clipzoo_train.loop",
    "Objective": "clipzoo_train.objectives",
    "Pair": "clipzoo_train.pair",
    "ResidualHead": "clipzoo_train.projection",
    "TokenDropping": "clipzoo_train.token_dropping",
    "average_gradients": "clipzoo_train.processes",
    "backward": "clipzoo_train.accumulation",
    "build_pair": "clipzoo_train.pair",
    "distillation_loss": "clipzoo_train.distillation",
    "kept_tokens": "clipzoo_train.token_dropping",
    "load_trained": "clipzoo_train.checkpoints",
    "make_objective": "clipzoo_train.objectives",
    "parameter_groups": "clipzoo_train.loop",
    "save_pair": "clipzoo_train.checkpoints",
}

__all__ = [
    "Batch",
    "CaptionData",
    "CaptionedImage",
    "Loop",
    "LoopSettings",
    "Objective",
    "Pair",
    "ResidualHead",
    "TokenDropping",
    "average_gradients",
    "backward",
    "build_pair",
    "distillation_loss",
    "kept_tokens",
    "load_trained",
    "make_objective",
    "parameter_groups",
    "save_pair",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: importing the package alone, as plugin listing does, stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
