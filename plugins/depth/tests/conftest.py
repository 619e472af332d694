"""Fixtures of the depth plugin: the tiny encoders, oracles, rooms, small folders of images, real data."""

from __future__ import annotations

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
def oracle() -> Callable[[str], dict[str, torch.Tensor]]:
    """Numbers that the published code gave for given inputs."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(ORACLES / f"{name}.npz") as stored:
            return {key: torch.from_numpy(stored[key]) for key in stored}

    return load


@pytest.fixture(scope="session")
def tiny_rn():
    import clipzoo

    return clipzoo.load_clip("tiny-rn")


@pytest.fixture(scope="session")
def tiny():
    import clipzoo

    return clipzoo.load_clip("tiny")


@pytest.fixture(scope="session")
def room_pairs() -> Callable[[str, int], tuple[torch.Tensor, torch.Tensor]]:
    """Images [N, 3, H, W] in [0, 1] and depth [N, H, W] in m of the toy world."""
    from clipzoo_depth.datasets import open_rooms

    def make(split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        views = [item.read() for item in open_rooms(split=split, rooms=count).items]
        images = torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2).float() / 255
        return images, torch.from_numpy(np.stack([view.depth for view in views]))

    return make


@pytest.fixture(scope="session")
def write_photo() -> Callable[..., np.ndarray]:
    """Write random colours, and give them."""

    def write(path: Path, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(image).save(path)
        return image

    return write


@pytest.fixture(scope="session")
def write_depth() -> Callable[..., None]:
    """Write a 16-bit PNG."""

    def write(path: Path, depth: np.ndarray, per_metre: float = 1000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(depth * per_metre).astype(np.uint16)).save(path)

    return write


@pytest.fixture
def pair_folder(tmp_path, write_photo, write_depth) -> Path:
    """Three photos with depth in mm."""
    root = tmp_path / "pairs"
    for index in range(3):
        write_photo(root / f"{index:02d}_rgb.png", seed=index)
        write_depth(root / f"{index:02d}_depth.png", np.tile(np.linspace(1, 4, 96), (64, 1)))
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images with depth."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "data" / "rgbd").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with data/rgbd of real files in it")
    return Path(folder) / "data" / "rgbd"
