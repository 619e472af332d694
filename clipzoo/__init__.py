"""clipzoo: what people build on a frozen CLIP.

Names are loaded at their first use: ``import clipzoo`` brings in neither torch nor numpy nor hydra.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo import data, errors, heads, images, losses, metrics, prompts, store
    from clipzoo.api import run
    from clipzoo.encoders import FrozenCLIP, load_clip
    from clipzoo.plugin import (
        Artifact,
        Context,
        Paper,
        Plugin,
        PluginRef,
        Result,
        Settings,
        Table,
        option,
        plugins,
    )
    from clipzoo.runs import RunResult

_HOMES = {
    "FrozenCLIP": "clipzoo.encoders",
    "load_clip": "clipzoo.encoders",
    "run": "clipzoo.api",
    "RunResult": "clipzoo.runs",
    **dict.fromkeys(
        ("Artifact", "Context", "Paper", "Plugin", "PluginRef", "Result", "Settings", "Table", "option", "plugins"),
        "clipzoo.plugin",
    ),
}
_MODULES = ("data", "errors", "heads", "images", "losses", "metrics", "prompts", "store")

__all__ = [
    "Artifact",
    "Context",
    "FrozenCLIP",
    "Paper",
    "Plugin",
    "PluginRef",
    "Result",
    "RunResult",
    "Settings",
    "Table",
    "__version__",
    "data",
    "errors",
    "heads",
    "images",
    "load_clip",
    "losses",
    "metrics",
    "option",
    "plugins",
    "prompts",
    "run",
    "store",
]


def __getattr__(name: str) -> Any:
    """Import the module behind a public name."""
    if name == "__version__":
        from importlib.metadata import version

        return version("clipzoo")
    if name in _MODULES:
        return importlib.import_module(f"clipzoo.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*globals(), *__all__})
