"""PyTorch3D is on no package index, so its rasteriser is replaced by one that is held against its stored output."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clipzoo_points.pytorch3d_backend import rasterise_depth

from clipzoo.data.shapes import sample_shape
from clipzoo.errors import MissingExtra
from clipzoo.images.projection import project_depth

ORACLE = Path(__file__).parent / "oracle" / "pytorch3d_points.npz"
STORED_RADIUS = 0.02


def rasterize_points(clouds, image_size, radius, points_per_pixel):
    """The nearest point within ``radius`` of each pixel centre; x points left, y up; -1 where there is none."""
    assert points_per_pixel == 1
    images = torch.full((len(clouds), image_size, image_size), -1.0)
    centre = 1 - (2 * torch.arange(image_size) + 1) / image_size
    for image, cloud in zip(images, clouds, strict=True):
        x, y, z = cloud.unbind(-1)
        near = ((centre[None, :, None] - x) ** 2 + (centre[:, None, None] - y) ** 2) <= radius**2
        depth = torch.where(near & (z > 0), z, torch.inf).amin(-1)
        image[:] = torch.where(depth.isfinite(), depth, -1)
    return None, images[..., None], None


@pytest.fixture
def replaced(monkeypatch):
    structures = SimpleNamespace(Pointclouds=lambda points: points)
    monkeypatch.setitem(sys.modules, "pytorch3d", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", structures)
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.points", SimpleNamespace())
    module = SimpleNamespace(rasterize_points=rasterize_points)
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.points.rasterize_points", module)


def test_the_replacement_does_what_pytorch3d_did() -> None:
    stored = np.load(ORACLE)
    _, depth, _ = rasterize_points(torch.from_numpy(stored["ndc"]), 224, STORED_RADIUS, 1)
    expected = torch.from_numpy(stored["zbuf"].astype(np.float32))
    same = (depth[..., 0] - expected).abs() < 2e-3
    assert same.float().mean() > 0.999  # discs that end exactly at a pixel centre may differ


def test_views_are_those_of_the_builtin_projection(replaced) -> None:
    """Both renderers put the object at the same place, the same way round, at the same depth."""
    points = torch.from_numpy(sample_shape("chair", np.random.default_rng(0)))[None]
    theirs = rasterise_depth(points, "zero-shot", size=64, distance=1.6, radius_px=1.3)
    ours = project_depth(points, "v1", "zero-shot", size=64)
    assert theirs.shape == ours.shape
    hit = ours > 0
    assert (theirs[hit] > 0).float().mean() > 0.97  # the published raster lies half a pixel off
    both = hit & (theirs > 0)
    assert (theirs[both] <= ours[both] + 0.02).float().mean() > 0.9  # nearest, not average
    flipped = theirs.flip(-1)
    assert (flipped[hit] > 0).float().mean() < 0.9


def test_without_pytorch3d_the_error_says_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(MissingExtra, match="not installed"):
        rasterise_depth(torch.rand(1, 8, 3))
