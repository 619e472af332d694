"""Fixtures of the trainer: oracles, a nano architecture, small folders of pictures with captions, real data."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ORACLES = Path(__file__).parent / "oracle"
NANO = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


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
def nano(tmp_path_factory) -> str:
    """The smallest architecture that is still one, as a configuration file."""
    path = tmp_path_factory.mktemp("nano") / "nano.json"
    path.write_text(json.dumps(NANO))
    return str(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Sixteen pictures with two captions each, in captions.csv."""
    from PIL import Image

    from clipzoo.data.scenes import scene_dataset

    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number, scene in enumerate(scene_dataset(16, seed=5, objects=1, style="colour")):
        Image.fromarray(scene.image).save(folder / f"{number:02d}.png")
        rows += [(f"{number:02d}.png", caption.text) for caption in scene.captions[:2]]
    write_table(folder / "captions.csv", rows)
    return folder


def write_table(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("image", "caption")) -> Path:
    """A CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="session")
def table() -> Callable[..., Path]:
    """See :func:`write_table`."""
    return write_table


@pytest.fixture
def short(nano, pictures, tmp_path) -> dict[str, Any]:
    """Settings of a run of a second."""
    return {
        "model": nano,
        "data": str(pictures),
        "epochs": 2,
        "train_batch": 4,
        "device": "cpu",
        "augment": "none",
        "out": str(tmp_path / "runs"),
    }


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real files."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with data/ of real files in it")
    return Path(folder) / "data"


@pytest.fixture
def quiet_random():
    """A test that seeds the global generator leaves it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
