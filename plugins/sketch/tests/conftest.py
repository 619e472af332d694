"""Fixtures of the sketch plugin: the tiny encoders, oracles, small photos, real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ORACLES = Path(__file__).parent / "oracle"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing that a test computes lands in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, np.ndarray]]:
    """Numbers that the published code gave for given inputs."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(ORACLES / f"{name}.npz") as stored:
            return {key: stored[key] for key in stored}

    return load


@pytest.fixture(scope="session")
def tiny():
    import clipzoo

    return clipzoo.load_clip("tiny")


@pytest.fixture(scope="session")
def tiny_rn():
    import clipzoo

    return clipzoo.load_clip("tiny-rn")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real photos."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "data" / "clipasso").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with data/clipasso in it")
    return Path(folder) / "data"
