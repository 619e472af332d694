"""Published metrics through their protocols, against their definitions in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_depth import depth_metrics

from clipzoo.errors import ConfigError, DataError

NAMES = ("abs_diff", "a1", "a2", "a3", "abs_rel", "log10", "rmse")


def reference(p: np.ndarray, t: np.ndarray) -> list[float]:
    ratio = np.maximum(p / t, t / p)
    return [
        np.abs(p - t).mean(), (ratio < 1.25).mean(), (ratio < 1.25**2).mean(), (ratio < 1.25**3).mean(),
        (np.abs(p - t) / t).mean(), np.abs(np.log10(p) - np.log10(t)).mean(), np.sqrt(((p - t) ** 2).mean()),
    ]  # fmt: skip


def depths(height: int, width: int, seed: int = 0, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = random.uniform(0.5, 12, (count, 1, height, width))
    target[random.random(target.shape) < 0.2] = 0
    return target * np.exp(0.3 * random.standard_normal(target.shape)) + 0.1, target


def test_nyu_pastes_crops_and_clamps():
    predicted, target = depths(480, 640)
    inner = predicted[..., 56:472, 60:604]
    rows = []
    for p, t in zip(inner[:, 0], target[:, 0], strict=True):
        frame = np.zeros((480, 640))
        frame[56:472, 60:604] = p
        crop = np.zeros((480, 640), bool)
        crop[45:471, 46:601] = True
        valid = crop & (t > 1e-3) & (t < 10) & (frame > 1e-3)
        rows.append(reference(frame[valid].clip(1e-3, 10), t[valid].clip(1e-3, 10)))
    found = depth_metrics(torch.from_numpy(inner), torch.from_numpy(target))
    assert [found[name] for name in NAMES] == pytest.approx(np.mean(rows, 0).tolist(), abs=1e-9)
    assert found["images"] == 2


def test_kitti_takes_garg_crop_up_to_80_m():
    predicted, target = depths(375, 1242, count=1)
    target *= 7
    predicted *= 7
    crop = np.zeros((375, 1242), bool)
    crop[153:371, 44:1197] = True
    valid = crop & (target[0, 0] > 1e-3) & (target[0, 0] < 80)
    expected = reference(predicted[0, 0][valid].clip(1e-3, 80), target[0, 0][valid])
    found = depth_metrics(torch.from_numpy(predicted), torch.from_numpy(target), "kitti-garg")
    assert [found[name] for name in NAMES] == pytest.approx(expected, abs=1e-9)


def test_whole_frame():
    predicted, target = depths(20, 30, count=1)
    valid = (target > 1e-3) & (target < 10)
    found = depth_metrics(torch.from_numpy(predicted), torch.from_numpy(target), "whole")
    expected = reference(predicted[valid].clip(1e-3, 10), target[valid])
    assert [found[name] for name in NAMES] == pytest.approx(expected, abs=1e-9)


def test_wrong_protocol_or_size():
    with pytest.raises(ConfigError, match="nyu-eigen"):
        depth_metrics(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4), "nyu_eigen")
    with pytest.raises(DataError, match="416 x 544"):
        depth_metrics(torch.ones(1, 1, 400, 544), torch.ones(1, 1, 480, 640))
    with pytest.raises(DataError, match="480 x 640"):
        depth_metrics(torch.ones(1, 1, 416, 544), torch.ones(1, 1, 416, 544) + 1)
