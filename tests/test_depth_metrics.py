from pathlib import Path

import numpy as np
import pytest
import torch

from clipzoo.errors import ConfigError, DataError
from clipzoo.metrics.depth import DEPTH_METRICS, DepthScore, crop_mask, depth_metrics, paste_nyu

ORACLE = Path(__file__).parent / "oracle" / "depth_metrics_nyu.npz"


def reference(predicted: np.ndarray, target: np.ndarray, maximum: float = 10.0) -> list[float]:
    """One image, written out from the definitions."""
    valid = (target > 1e-3) & (target < maximum) & (predicted > 1e-3)
    p, t = np.clip(predicted[valid], 1e-3, maximum), np.clip(target[valid], 1e-3, maximum)
    ratio = np.maximum(t / p, p / t)
    return [
        np.mean(np.abs(t - p)),
        np.mean(ratio < 1.25), np.mean(ratio < 1.25**2), np.mean(ratio < 1.25**3),
        np.mean(np.abs(t - p) / t), np.mean(np.abs(np.log10(t) - np.log10(p))), np.sqrt(np.mean((t - p) ** 2)),
    ]  # fmt: skip


def random_depths(seed: int, count: int = 3, height: int = 20, width: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    target = random.uniform(0.5, 12, (count, height, width))
    target[random.random(target.shape) < 0.1] = 0
    predicted = target * np.exp(0.3 * random.standard_normal(target.shape)) + 0.2
    predicted[random.random(target.shape) < 0.05] = 0
    return torch.from_numpy(predicted), torch.from_numpy(target)


def test_nyu_metrics_as_published() -> None:
    with np.load(ORACLE) as stored:
        predicted, target = (torch.from_numpy(stored[key]).float() for key in ("pred", "gt"))
        expected = dict(zip(stored["names"].tolist(), stored["metrics"].tolist(), strict=True))
    found = depth_metrics(paste_nyu(predicted), target)
    assert found.pop("images") == 2
    assert found == pytest.approx(expected, rel=0, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_their_definitions(seed: int) -> None:
    predicted, target = random_depths(seed)
    score = DepthScore(crop="none")
    score.update(predicted, target)
    expected = [reference(p, t) for p, t in zip(predicted.numpy(), target.numpy(), strict=True)]
    np.testing.assert_allclose(score.per_image(), expected, rtol=0, atol=1e-12)
    found = score.compute()
    assert [found[name] for name in DEPTH_METRICS] == pytest.approx(np.mean(expected, 0).tolist())


def test_images_count_alike_whatever_their_number_of_pixels() -> None:
    predicted, target = random_depths(0)
    target[0, 5:] = 0
    whole, stream = DepthScore(crop="none"), DepthScore(crop="none")
    whole.update(predicted, target)
    for one, other in zip(predicted, target, strict=True):
        stream.update(one[None], other[None])
    assert stream.compute() == pytest.approx(whole.compute())
    np.testing.assert_allclose(whole.per_image()[0], reference(predicted[0].numpy(), target[0].numpy()), atol=1e-12)


def test_a_perfect_prediction() -> None:
    _, target = random_depths(1)
    found = depth_metrics(target, target, crop="none")
    assert [found[name] for name in DEPTH_METRICS] == [0, 1, 1, 1, 0, 0, 0]


def test_both_depths_are_capped() -> None:
    target = torch.full((1, 4, 4), 8.0)
    assert depth_metrics(torch.full((1, 4, 4), 50.0), target, crop="none")["abs_diff"] == pytest.approx(2)
    far = depth_metrics(torch.full((1, 4, 4), 50.0), target, crop="none", maximum=80.0)
    assert far["abs_diff"] == pytest.approx(42)
    # At or beyond the cap the truth does not count.
    assert depth_metrics(target, torch.full((1, 4, 4), 10.0), crop="none")["images"] == 0


def test_median_scaling_undoes_an_unknown_scale() -> None:
    predicted, target = random_depths(2)
    predicted = torch.where(predicted > 0, predicted, 0.01)
    plain = DepthScore(crop="none", median_scaling=True)
    scaled = DepthScore(crop="none", median_scaling=True)
    plain.update(predicted, target)
    scaled.update(predicted * torch.tensor([2.0, 0.5, 7.0])[:, None, None], target)
    np.testing.assert_allclose(plain.per_image(), scaled.per_image(), atol=1e-9)
    valid = (target[0] > 1e-3) & (target[0] < 10)
    ratio = np.median(target[0][valid].numpy()) / np.median(predicted[0][valid].numpy())
    np.testing.assert_allclose(
        plain.per_image()[0], reference(predicted[0].numpy() * ratio, target[0].numpy()), atol=1e-12
    )


def test_masks_restrict_and_nan_is_unknown() -> None:
    predicted, target = random_depths(3)
    mask = torch.zeros(target.shape, dtype=torch.bool)
    mask[:, :10] = True
    inside = depth_metrics(predicted[:, :10], target[:, :10], crop="none")
    assert depth_metrics(predicted, target, mask, crop="none") == pytest.approx(inside)
    unknown = torch.where(mask, target, float("nan"))
    assert depth_metrics(predicted, unknown, crop="none") == pytest.approx(inside)


def test_an_image_without_valid_pixels_is_left_out() -> None:
    predicted, target = random_depths(4)
    target[1] = 0
    score = DepthScore(crop="none")
    score.update(predicted, target)
    found = score.compute()
    assert found["images"] == 2 and np.isnan(score.per_image()[1]).all()
    expected = np.mean([reference(predicted[i].numpy(), target[i].numpy()) for i in (0, 2)], 0)
    assert [found[name] for name in DEPTH_METRICS] == pytest.approx(expected.tolist())
    assert np.isnan(DepthScore().compute()["rmse"])


def test_crops() -> None:
    eigen = crop_mask(480, 640)
    rows, columns = eigen.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (45, 470, 46, 600)
    garg = crop_mask(375, 1242, "garg")
    rows, columns = garg.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (153, 370, 44, 1196)
    assert crop_mask(4, 5, "none").all()


def test_paste() -> None:
    frame = paste_nyu(torch.ones(2, 416, 544))
    assert frame.shape == (2, 480, 640) and frame[0, 56:472, 60:604].all() and frame.sum() == 2 * 416 * 544


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: depth_metrics(torch.ones(1, 480, 640), torch.ones(1, 416, 544)), DataError, "paste_nyu"),
        (lambda: depth_metrics(torch.ones(1, 100, 100), torch.ones(1, 100, 100)), ConfigError, "480 x 640"),
        (lambda: depth_metrics(torch.full((1, 4, 4), np.nan), torch.ones(1, 4, 4), crop="none"), DataError, "NaN"),
        (lambda: depth_metrics(torch.ones(4, 4), torch.ones(4, 4), crop="none"), DataError, "batch"),
        (lambda: DepthScore(crop="egien"), ConfigError, "eigen"),
        (lambda: DepthScore(maximum=0.0), ConfigError, "minimum < maximum"),
        (lambda: paste_nyu(torch.ones(1, 480, 640)), DataError, "416 x 544"),
    ],
)
def test_bad_input_is_refused(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
