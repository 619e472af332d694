"""Crops of boxes: against Pillow, which cuts them one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_detect.crops import crop_batches, crop_regions, fitted_boxes, region_crops
from PIL import Image

from clipzoo.data.scenes import sample_scene
from clipzoo.errors import ConfigError


@pytest.fixture(scope="module")
def scene():
    image = Image.fromarray(sample_scene(np.random.default_rng(3), 300, objects=3, style="textured").image)
    return image, torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


BOXES = [(0, 0, 300, 300), (10, 20, 250, 260), (100, 30, 160, 190), (40, 40, 70, 60), (299, 0, 300, 300), (5, 5, 6, 6)]


def test_crops_are_the_bytes_of_pillow_up_to_rounding(scene):
    image, pixels = scene
    crops = crop_regions(pixels, torch.tensor(BOXES).float(), 67, "squash")
    cut = [np.asarray(image.crop(box).resize((67, 67), Image.Resampling.BICUBIC)) for box in BOXES]
    plain = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255
    assert (crops - plain).abs().max() < 3 / 255  # Pillow rounds twice, and cuts overshoots off in between
    assert (crops - plain).abs().mean() < 1 / 500


@pytest.mark.parametrize("size", [7, 64, 224])
def test_crops_are_the_numbers_of_pillow_without_bytes(scene, size):
    _, pixels = scene
    crops = crop_regions(pixels, torch.tensor(BOXES).float(), size, "squash")
    for crop, box in zip(crops, BOXES, strict=True):
        for channel in range(3):
            plane = Image.fromarray(pixels[channel].numpy(), mode="F").crop(box)
            wanted = np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
            assert np.abs(crop[channel].numpy() - wanted).max() < 2e-5


def test_the_product_of_matrices_and_the_loop_agree(scene):
    _, pixels = scene
    boxes = torch.tensor([*BOXES, (-40, -30, 350, 500), (10.3, 20.6, 33.2, 34.1), (290, 290, 320, 330)]).float()
    for fit in ("square", "centre", "squash"):
        by_loop = crop_regions(pixels, boxes, 50, fit)
        by_product = crop_regions(pixels.clone().requires_grad_(), boxes, 50, fit)
        assert by_product.requires_grad
        assert (by_loop - by_product).abs().max() < 1e-5


def test_batches_hold_what_one_call_gives_and_threads_change_nothing(scene):
    _, pixels = scene
    generator = torch.Generator().manual_seed(2)
    corners = torch.rand(41, 2, generator=generator) * 250
    boxes = torch.cat([corners, corners + 50 * torch.rand(41, 2, generator=generator)], 1)
    whole = crop_regions(pixels, boxes, 32)
    batches = torch.cat([batch.clone() for batch in crop_batches(pixels, boxes, 32, batch_size=9)])
    assert torch.equal(batches, whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(crop_regions(pixels, boxes, 32), whole)
    finally:
        torch.set_num_threads(threads)
    assert crop_regions(pixels, boxes[:0], 32).shape == (0, 3, 32, 32)
    assert list(crop_batches(pixels, boxes[:0], 32)) == []


def test_many_boxes_at_once_as_one_by_one(scene):
    _, pixels = scene
    corners = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * 200
    boxes = torch.cat([corners, corners + 5 + 90 * torch.rand(30, 2, generator=torch.Generator().manual_seed(1))], 1)
    together = crop_regions(pixels, boxes, 48)
    alone = torch.cat([crop_regions(pixels, box[None], 48) for box in boxes])
    assert (together - alone).abs().max() < 1e-5


def test_a_constant_image_gives_constant_crops():
    image = torch.full((3, 401, 277), 0.3)
    boxes = torch.tensor([[0.0, 0, 277, 401], [-40, -30, 500, 600], [270, 390, 277, 401], [5, 5, 6, 6]])
    for fit in ("centre", "square", "squash"):
        assert (crop_regions(image, boxes, 32, fit) - 0.3).abs().max() < 1e-5


def test_a_fine_pattern_does_not_alias():
    board = (torch.arange(512)[:, None] + torch.arange(512)) % 2
    crop = crop_regions(board.float().expand(3, 512, 512), torch.tensor([[0.0, 0, 512, 512]]), 32)
    assert (crop - 0.5).abs().max() < 0.02


def test_gradients_reach_the_image():
    # Grey enough that bicubic weights overshoot nowhere: where a value is clamped, no gradient passes.
    image = (0.4 + 0.2 * torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))).requires_grad_()
    crop_regions(image, torch.tensor([[5.0, 5, 20, 20]]), 16).sum().backward()
    assert image.grad[:, 5:20, 5:20].min() > 0
    assert image.grad[:, 20:, 20:].abs().max() == 0


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
