"""Text classifiers on disk, keyed by the content of everything that determines them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipzoo.paths import cache_dir


def key(fingerprint: str, precision: str, prompts: Mapping[str, Sequence[str]]) -> str:
    """A digest of the weights, the arithmetic and every sentence, in order."""
    content = json.dumps([fingerprint, precision, [list(sentences) for sentences in prompts.values()]])
    return hashlib.sha256(content.encode()).hexdigest()


def read(key: str, classes: int) -> Tensor | None:
    """The stored classifier, or None; a damaged file counts as absent and is made again."""
    path = _path(key)
    try:
        rows = load_file(path)["classifier"]
    except (OSError, SafetensorError, KeyError):
        return None
    return rows if len(rows) == classes else None


def write(key: str, rows: Tensor) -> None:
    """Store a classifier whole or not at all; a cache that cannot be written is no error."""
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        save_file({"classifier": rows.contiguous()}, name)
        Path(name).replace(path)
    except OSError:
        return


def _path(key: str) -> Path:
    return cache_dir() / "classifiers" / f"{key}.safetensors"
