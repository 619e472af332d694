"""Where clipzoo keeps what it downloads and computes, and whether it may use the network."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder of results that can be made again: ``CLIPZOO_CACHE``, or ``clipzoo`` in the user's cache folder."""
    own = os.environ.get("CLIPZOO_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clipzoo"


def data_dir() -> Path:
    """Folder of datasets, one subfolder each: ``CLIPZOO_DATA``, or ``data`` in the cache folder."""
    own = os.environ.get("CLIPZOO_DATA")
    return Path(own).expanduser() if own else cache_dir() / "data"


def offline() -> bool:
    """Whether ``CLIPZOO_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in ("CLIPZOO_OFFLINE", "HF_HUB_OFFLINE")
    )
