"""Fixtures of the style plugin: oracles, small generators, stand-in encoders, real weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_style.checkpoints import from_rosinality, untrained
from clipzoo_style.stylegan2 import StyleGAN2
from torch import Tensor

ORACLES = Path(__file__).parent / "oracle"
SMALL = {"style_dim": 16, "mapping_layers": 2, "channels": {4: 12, 8: 10, 16: 8, 32: 6}}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing that a test computes lands in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, Tensor]]:
    """Numbers that the published code gave for given inputs."""

    def load(name: str) -> dict[str, Tensor]:
        with np.load(ORACLES / f"{name}.npz") as stored:
            return {key: torch.from_numpy(stored[key]) for key in stored if stored[key].dtype.kind in "fi"}

    return load


def _close(ours: Tensor, theirs: Tensor, relative: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    error = (ours.double() - theirs.double()).abs().max() / theirs.double().abs().max().clamp_min(1e-12)
    assert error < relative, f"relative error {error:.2e}"


def _weights(stored: dict[str, Tensor], prefix: str = "sd/") -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}


@pytest.fixture(scope="session")
def close():
    """As far apart as rounding allows, measured by the largest number."""
    return _close


@pytest.fixture(scope="session")
def weights():
    """The state dict in an oracle."""
    return _weights


@pytest.fixture(scope="session")
def small_shape() -> dict:
    """Of a generator that tests can afford."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def official(oracle) -> StyleGAN2:
    """The generator whose images are stored."""
    stored = oracle("stylegan2")
    return from_rosinality(_weights(stored), stored["latent_avg"]).eval().requires_grad_(False)


@pytest.fixture
def small() -> StyleGAN2:
    """A random generator of 32 px."""
    return untrained(32, seed=1, **SMALL).set_mean(256).eval().requires_grad_(False)


class LinearEncoder:
    """An encoder that can be written down: a linear map of an 8 x 8 average, and texts with a fixed row each."""

    image_size = 224
    embed_dim = 16
    name = "linear"
    fingerprint = "linear"

    def __init__(self, matrix: Tensor, texts: dict[str, Tensor] | None = None) -> None:
        self.matrix, self.texts = matrix, texts or {}

    def encode_image(self, pixels: Tensor, *, normalise: bool = True) -> Tensor:
        return F.normalize(F.adaptive_avg_pool2d(pixels, 8).flatten(1) @ self.matrix.T, dim=1)

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        rows = []
        for sentence in sentences:
            known = [row for name, row in self.texts.items() if name in sentence]
            seed = sum(map(ord, sentence))
            rows.append(known[0] if known else torch.randn(16, generator=torch.Generator().manual_seed(seed)))
        return F.normalize(torch.stack(rows), dim=1)


@pytest.fixture
def linear() -> LinearEncoder:
    return LinearEncoder(torch.randn(16, 192, generator=torch.Generator().manual_seed(3)))


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """Folder of weights that others have published."""
    folder = os.environ.get("CLIPZOO_TEST_DATA")
    if not folder or not (Path(folder) / "weights").is_dir():
        pytest.skip("CLIPZOO_TEST_DATA names no folder with weights/ in it")
    return Path(folder) / "weights"
