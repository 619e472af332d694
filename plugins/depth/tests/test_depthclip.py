"""The method against the published numbers, and what must hold whatever the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_depth import BINS, PROMPTS, SCENE_BINS, DepthCLIP, depth_from_logits, even_channels
from clipzoo_depth.depthclip import IMAGENET_MEAN, IMAGENET_STD, enlarge

from clipzoo.errors import ConfigError, DataError


def pixels(batch: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_scores_of_the_released_code(oracle):
    stored = oracle("released")
    places = even_channels(stored["layer4"].float(), 1024)
    found = 100 / 0.1 * (places @ stored["text"].T).movedim(-1, 1)
    torch.testing.assert_close(found, stored["logits"], rtol=0, atol=1e-4)
    depth = depth_from_logits(found, stored["bins"])
    torch.testing.assert_close(depth[:, None], stored["depth_crop"], rtol=0, atol=1e-4)


def test_enlarged_depth_of_the_released_code(oracle):
    stored = oracle("released")
    found = enlarge(stored["depth"], (416, 544))
    torch.testing.assert_close(found[:, :, ::23, ::29], stored["enlarged"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("temperature", "key"), [(0.1, "fixed_depth_T0p1"), (1.0, "fixed_depth_T1")])
def test_depth_from_fixed_scores(oracle, temperature, key):
    stored = oracle("released")
    found = depth_from_logits(stored["fixed_logits"] / temperature, stored["bins"])
    torch.testing.assert_close(found, stored[key], rtol=0, atol=1e-6)


def test_the_paper_is_the_default(tiny_rn):
    method = DepthCLIP(tiny_rn)
    assert method.projection == "attnpool" and method.temperature == 0.1 and method.flip
    assert method.bins.tolist() == [1.0, 1.5, 2.0, 2.25, 2.5, 2.75, 3.0]
    assert method.words == ("giant", "extremely close", "close", "not in distance", "a little remote", "far", "unseen")
    expected = tiny_rn.encode_text([f"This object is {word}" for word in method.words])
    torch.testing.assert_close(method.text, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("projection", ["attnpool", "even_channels"])
def test_prediction_is_its_formula(tiny_rn, projection):
    """Encoder, cosines, softmax, expectation, mirror mean and enlargement, written out in NumPy."""
    method = DepthCLIP(tiny_rn, projection=projection)
    images = pixels()
    coarse = []
    for way in (images, images.flip(-1)):
        mean, std = (torch.tensor(part)[:, None, None] for part in (IMAGENET_MEAN, IMAGENET_STD))
        normal = (way - mean) / std
        if projection == "attnpool":
            rows = tiny_rn.dense(normal, "attnpool", normalise=False).numpy().astype(np.float64)
        else:
            maps = tiny_rn.layers(normal, ["layer4"], normalise=False)["layer4"].numpy().astype(np.float64)
            rows = (maps / np.linalg.norm(maps, axis=1, keepdims=True)).transpose(0, 2, 3, 1)[
                ..., :: maps.shape[1] // 128
            ]
        scores = rows @ method.text.numpy().astype(np.float64).T * 100 / 0.1
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        coarse.append(weights @ np.array(BINS["paper"]))
    expected = (coarse[0] + coarse[1][..., ::-1]) / 2
    np.testing.assert_allclose(method.coarse(images)[:, 0], expected, rtol=0, atol=1e-4)
    found = method.predict(images)
    assert found.shape == (2, 1, 64, 96)
    # Corner places lie on corner pixels.
    np.testing.assert_allclose(
        found[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]], expected[:, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-4
    )


def test_a_mirrored_image_has_mirrored_depth(tiny_rn):
    method = DepthCLIP(tiny_rn)
    images = pixels()
    torch.testing.assert_close(method.predict(images.flip(-1)), method.predict(images).flip(-1), rtol=0, atol=1e-4)


def test_images_do_not_depend_on_their_batch(tiny_rn):
    method = DepthCLIP(tiny_rn, temperature=5.0)
    images = pixels(3)
    alone = torch.cat([method.predict(image[None]) for image in images])
    torch.testing.assert_close(method.predict(images), alone, rtol=0, atol=1e-5)


def test_depth_lies_between_the_bins(tiny_rn):
    found = DepthCLIP(tiny_rn, bins="far").predict(pixels())
    assert 2.0 <= found.min() <= found.max() <= 4.0


@pytest.mark.parametrize(("height", "width"), [(32, 32), (50, 81), (97, 130), (64, 33)])
def test_any_size(tiny_rn, height, width):
    found = DepthCLIP(tiny_rn).predict(pixels(1, height, width))
    assert found.shape == (1, 1, height, width) and bool(torch.isfinite(found).all())


@pytest.mark.parametrize("projection", [None, "maskclip", "naclip"])
def test_a_vit_has_its_dense_modes(tiny, projection):
    method = DepthCLIP(tiny, projection=projection)
    assert method.projection == (projection or "sclip")
    assert method.windows
    assert method.logits(pixels(1)).shape == (1, 7, 8, 12)
    assert method.predict(pixels(1, 60, 100)).shape == (1, 1, 60, 100)


def test_a_vit_sees_windows_unless_told_otherwise(tiny, tiny_rn):
    image = pixels(1, 64, 96)
    by_default, whole = DepthCLIP(tiny).features(image), DepthCLIP(tiny, windows=False).features(image)
    assert not torch.allclose(by_default, whole, atol=1e-3)
    square = pixels(1, 64, 64)
    assert torch.allclose(DepthCLIP(tiny).features(square), DepthCLIP(tiny, windows=False).features(square), atol=1e-5)
    assert not DepthCLIP(tiny_rn).windows, "the paper shows a ResNet the whole image"
    with pytest.raises(ConfigError, match="windows"):
        DepthCLIP(tiny_rn, projection="even_channels", windows=True)


def test_a_low_temperature_takes_the_best_bin(tiny_rn):
    method = DepthCLIP(tiny_rn, temperature=1e-4, flip=False)
    scores = method.logits(pixels())
    torch.testing.assert_close(method.coarse(pixels())[:, 0], method.bins[scores.argmax(1)], rtol=0, atol=1e-3)


def test_a_high_temperature_takes_the_mean(tiny_rn):
    found = DepthCLIP(tiny_rn, temperature=1e6).predict(pixels())
    torch.testing.assert_close(found, torch.full_like(found, float(np.mean(BINS["paper"]))), rtol=0, atol=1e-3)


def test_order_of_bins_and_prompts_belongs_together(tiny_rn):
    """Scores follow their words: with the words turned round they are turned round."""
    words = PROMPTS["paper"]
    straight = DepthCLIP(tiny_rn, prompts=words).logits(pixels())
    turned = DepthCLIP(tiny_rn, prompts=words[::-1]).logits(pixels())
    torch.testing.assert_close(turned, straight.flip(1), rtol=0, atol=1e-2)


def test_bins_of_a_scene(tiny_rn):
    method = DepthCLIP(tiny_rn, scene_bins=SCENE_BINS)
    images = pixels(3)
    found = method.predict(images, scenes=["bathroom", None, "kitchen"])
    torch.testing.assert_close(found[1:], DepthCLIP(tiny_rn).predict(images)[1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:1], DepthCLIP(tiny_rn, bins="near").predict(images)[:1], rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="2 scenes for 3 images"):
        method.predict(images, scenes=["bathroom", "office"])


def test_gradients_reach_the_pixels(tiny_rn):
    images = pixels(1).requires_grad_()
    DepthCLIP(tiny_rn, temperature=10.0).predict(images).mean().backward()
    assert float(images.grad.abs().sum()) > 0


def test_every_published_set_is_valid(tiny_rn):
    for bins in BINS:
        for prompts in PROMPTS:
            assert len(DepthCLIP(tiny_rn, bins, prompts).bins) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": [1.0]}, "at least two"),
        ({"bins": [1, 3, 2, 4, 5, 6, 7]}, "does not ascend"),
        ({"bins": [1, 2, 2, 4, 5, 6, 7]}, "does not ascend"),
        ({"bins": [0, 2, 3, 4, 5, 6, 7]}, "no depth"),
        ({"bins": [1, 2, 3, 4, 5, 6, float("nan")]}, "no depth"),
        ({"bins": [1, 2, 3]}, "7 prompts .* and 3 bins"),
        ({"prompts": ["near", "far"]}, "2 prompts .* and 7 bins"),
        ({"bins": "papr"}, "paper"),
        ({"prompts": "setps"}, "steps"),
        ({"projection": "atnpool"}, "attnpool"),
        ({"projection": "naclip"}, "attnpool"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"preprocessing": "clip"}, "imagenet or encoder"),
        ({"scene_bins": {"bathroom": [1, 2]}}, "bathroom has 2 bins"),
    ],
)
def test_bad_settings_are_refused(tiny_rn, options, message):
    with pytest.raises(ConfigError, match=message):
        DepthCLIP(tiny_rn, **options)


def test_even_channels_need_a_resnet_of_a_fitting_width(tiny):
    with pytest.raises(ConfigError, match="no ResNet"):
        DepthCLIP(tiny, projection="even_channels")
    with pytest.raises(ConfigError, match="2048 channels for sentences of 640"):
        even_channels(torch.rand(1, 2048, 2, 2), 640)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(1, 3, 31, 96), "smaller than one cell"),
        (torch.rand(1, 3, 96, 20), "smaller than one cell"),
        (torch.rand(3, 64, 96), "shape"),
        (torch.rand(1, 3, 64, 96) * 255, "0..255"),
        (torch.full((1, 3, 64, 96), float("nan")), "NaN"),
        (torch.zeros(1, 3, 64, 96, dtype=torch.uint8), "floating point"),
    ],
)
def test_bad_images_are_refused(tiny_rn, images, message):
    with pytest.raises(DataError, match=message):
        DepthCLIP(tiny_rn).predict(images)
