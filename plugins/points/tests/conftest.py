"""Fixtures of the points plugin: the tiny encoder, oracles, small folders of clouds, real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

ORACLES = Path(__file__).parent / "oracle"
CLASSES = ("chair", "sofa", "table")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing that a test computes lands in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, torch.Tensor]]:
    """Numbers that the published code gave for given inputs."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(ORACLES / f"{name}.npz") as stored:
            return {key: torch.from_numpy(stored[key]) for key in stored}

    return load


@pytest.fixture(scope="session")
def tiny():
    import clipzoo

    return clipzoo.load_clip("tiny")


@pytest.fixture
def clouds() -> torch.Tensor:
    """Four clouds in the unit sphere, [4, 256, 3]."""
    points = torch.randn(4, 256, 3, generator=torch.Generator().manual_seed(5))
    points = points - points.mean(1, keepdim=True)
    return points / points.norm(dim=-1).amax(1)[:, None, None]


@pytest.fixture(scope="session")
def shape_clouds() -> dict[str, np.ndarray]:
    """Six clouds of each of three classes, [6, 256, 3]."""
    from clipzoo.data.shapes import shape_dataset

    points, _ = shape_dataset(6, CLASSES, seed=77, points=256)
    return {name: points[6 * k : 6 * k + 6] for k, name in enumerate(CLASSES)}


@pytest.fixture
def cloud_folder(tmp_path, shape_clouds) -> Path:
    """CLASS/SPLIT/FILES: two test and four training clouds a class."""
    root = tmp_path / "clouds"
    for name, points in shape_clouds.items():
        for row, cloud in enumerate(points):
            folder = root / name / ("test" if row < 2 else "train")
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{name}_{row}.npy", cloud)
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real ModelNet files."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "data").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with data/ of real files in it")
    return Path(folder) / "data"
