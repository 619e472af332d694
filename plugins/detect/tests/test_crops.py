"""Crops of boxes: against Pillow, which cuts them one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_detect.crops import crop_regions, fitted_boxes, region_crops
from PIL import Image

from clipzoo.data.scenes import sample_scene
from clipzoo.errors import ConfigError


@pytest.fixture(scope="module")
def scene():
    image = Image.fromarray(sample_scene(np.random.default_rng(3), 300, objects=3, style="textured").image)
    return image, torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("box", [(0, 0, 300, 300), (10, 20, 250, 260), (100, 30, 160, 90), (40, 40, 70, 60)])
def test_crops_look_as_pillow_cuts_them(scene, box):
    image, pixels = scene
    crop = crop_regions(pixels, torch.tensor([box], dtype=torch.float32), 64, "squash")[0]
    cut = np.asarray(image.crop(box).resize((64, 64), Image.Resampling.BILINEAR))
    plain = torch.from_numpy(cut.copy()).permute(2, 0, 1).float() / 255
    assert (crop - plain).abs().mean() < 0.02


def test_many_boxes_at_once_as_one_by_one(scene):
    _, pixels = scene
    corners = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * 200
    boxes = torch.cat([corners, corners + 5 + 90 * torch.rand(30, 2, generator=torch.Generator().manual_seed(1))], 1)
    together = crop_regions(pixels, boxes, 48)
    alone = torch.cat([crop_regions(pixels, box[None], 48) for box in boxes])
    assert (together - alone).abs().max() < 1e-5


def test_a_constant_image_gives_constant_crops_at_every_level():
    image = torch.full((3, 401, 277), 0.3)
    boxes = torch.tensor([[0.0, 0, 277, 401], [-40, -30, 500, 600], [270, 390, 277, 401], [5, 5, 6, 6]])
    for fit in ("centre", "square", "squash"):
        assert (crop_regions(image, boxes, 32, fit) - 0.3).abs().max() < 1e-5


def test_a_fine_pattern_does_not_alias():
    board = (torch.arange(512)[:, None] + torch.arange(512)) % 2
    crop = crop_regions(board.float().expand(3, 512, 512), torch.tensor([[0.0, 0, 512, 512]]), 32)
    assert (crop - 0.5).abs().max() < 0.02


def test_gradients_reach_the_image():
    image = torch.rand(3, 40, 40, requires_grad=True)
    crop_regions(image, torch.tensor([[5.0, 5, 20, 20]]), 16).sum().backward()
    assert image.grad[:, 8:18, 8:18].min() > 0
    assert image.grad[:, 30:, 30:].abs().max() == 0


def test_squares_stay_in_the_image():
    boxes = torch.tensor([[0.0, 10, 90, 20], [80, 0, 100, 60]])
    squares = fitted_boxes(boxes, "square", (60, 100))
    assert squares[0].tolist() == [0.0, -15.0, 90.0, 75.0]  # wider than the image is high: centred
    assert squares[1].tolist() == [40.0, 0.0, 100.0, 60.0]


def test_equal_crops_are_encoded_once():
    boxes = torch.tensor([[0.0, 0, 50, 40], [0, 0, 49.5, 39.2], [5, 5, 15, 15]])
    crops, rows = region_crops(boxes, (40, 50))
    assert len(crops) == 3
    assert rows[0, 0] == rows[0, 1] == rows[1, 0] == rows[1, 1]
    assert rows[0, 2] != rows[1, 2]


def test_an_unknown_fit():
    with pytest.raises(ConfigError, match="square"):
        crop_regions(torch.rand(3, 9, 9), torch.tensor([[0.0, 0, 5, 5]]), 8, "sqare")
