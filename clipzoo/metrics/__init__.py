"""Metrics: pure functions on predictions and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipzoo.metrics.ranking import retrieval

__all__ = ["retrieval"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from clipzoo.metrics import ranking

        return getattr(ranking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
