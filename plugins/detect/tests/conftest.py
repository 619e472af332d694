"""Fixtures of the detect plugin: the tiny encoder, oracles, small annotation files, real data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ORACLES = Path(__file__).parent / "oracle"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing that a test computes lands in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict]:
    """Numbers that the published formulas or code gave for given inputs."""

    def load(name: str) -> dict:
        with np.load(ORACLES / f"{name}.npz") as stored:
            return {key: stored[key] for key in stored}

    return load


@pytest.fixture(scope="session")
def tiny():
    import clipzoo

    return clipzoo.load_clip("tiny-rn")


@pytest.fixture
def coco_file(tmp_path) -> Callable[..., Path]:
    """A small file of COCO with its images; ids have gaps and no order."""

    def write(**changes) -> Path:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for name in ("a.png", "b.png"):
            Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(folder / name)
        content = {
            "images": [
                {"id": 70, "file_name": "a.png", "width": 60, "height": 40},
                {"id": 3, "file_name": "b.png", "width": 60, "height": 40},
            ],
            "categories": [{"id": 90, "name": "dog"}, {"id": 7, "name": "traffic_cone"}],
            "annotations": [
                {"id": 0, "image_id": 70, "category_id": 7, "bbox": [5, 6, 10, 20], "area": 200, "iscrowd": 0},
                {"id": 1, "image_id": 3, "category_id": 90, "bbox": [0, 0, 30, 30], "area": 900, "iscrowd": 0},
                {"id": 2, "image_id": 3, "category_id": 90, "bbox": [30, 0, 20, 20], "area": 400, "iscrowd": 1},
            ],
        }
        content.update(changes)
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def square_scene() -> torch.Tensor:
    """A red square at 30, 20, 70, 60 on white, [3, 96, 96]."""
    image = torch.ones(3, 96, 96)
    image[:, 20:60, 30:70] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    return image


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder that contains data/ and weights/ of real files."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with data/ of real files in it")
    return Path(folder)
