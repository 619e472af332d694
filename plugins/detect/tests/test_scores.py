"""The arithmetic of ViLD against stored numbers and against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_detect import (
    base_cross_entropy,
    decode_boxes,
    distillation_loss,
    expand_boxes,
    region_logits,
    vild_ensemble,
)
from clipzoo_detect.boxes import best_detections, check_boxes, clip_boxes

from clipzoo.errors import ConfigError, DataError


@pytest.fixture
def stored(oracle):
    return {key: torch.from_numpy(np.asarray(value)) for key, value in oracle("vild_arithmetic").items()}


def test_branches_and_ensemble_agree_with_the_oracle(stored):
    text = region_logits(stored["region_text"], stored["text"], stored["background"]).softmax(-1)[:, 1:]
    image = region_logits(stored["region_image"], stored["text"]).softmax(-1)
    assert (text - stored["p_text"]).abs().max() < 1e-9
    assert (image - stored["p_image"]).abs().max() < 1e-9
    both = vild_ensemble(text, image, stored["base_mask"].bool())
    assert (both - stored["p_ensemble"]).abs().max() < 1e-9


@pytest.mark.parametrize(("novel", "key"), [("-inf", "ce_neg_inf_masked"), ("zero", "ce_official_zero_masked")])
def test_both_treatments_of_novel_logits_agree_with_the_oracle(stored, novel, key):
    logits = region_logits(stored["region_text"], stored["text"], stored["background"])
    loss = base_cross_entropy(logits, stored["labels"], stored["base_mask"].bool(), novel)
    assert (loss - stored[key]).abs().max() < 1e-9


def test_zeroed_logits_add_one_each_to_the_partition_sum():
    logits = torch.tensor([[0.5, 1.0, 9.0, -1.0]], dtype=torch.float64)
    mask = torch.tensor([True, False, True])
    kept = np.exp([0.5, 1.0, -1.0]).sum()
    label = torch.tensor([1])
    assert base_cross_entropy(logits, label, mask).item() == pytest.approx(np.log(kept) - 1.0, abs=1e-12)
    assert base_cross_entropy(logits, label, mask, "zero").item() == pytest.approx(np.log(kept + 1) - 1.0, abs=1e-12)


def test_distillation_agrees_with_the_oracle(stored):
    loss = distillation_loss(stored["region_image"], stored["distill_target"], weight=1.0)
    assert abs(loss - stored["l1_sum_over_dim_mean_over_rois"]) < 1e-9


def test_padded_proposals_do_not_count():
    generator = torch.Generator().manual_seed(0)
    regions, targets = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    valid = torch.tensor([True, True, False, True, False])
    assert distillation_loss(regions, targets, valid).item() == pytest.approx(
        distillation_loss(regions[valid], targets[valid]).item(), abs=1e-12
    )
    assert distillation_loss(regions, targets, torch.zeros(5, dtype=torch.bool)) == 0


def test_distillation_has_right_gradients():
    generator = torch.Generator().manual_seed(1)
    regions, targets = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: distillation_loss(x, targets), regions.requires_grad_())


def test_swapping_base_and_novel_swaps_the_branches():
    p, q = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.tensor([True, False, True, False])
    assert torch.allclose(vild_ensemble(p, q, mask), vild_ensemble(q, p, ~mask))
    with pytest.raises(DataError, match="mask"):
        vild_ensemble(p, q, mask[:3])


def test_unknown_treatment_of_novel_logits():
    with pytest.raises(ConfigError, match="nan"):
        base_cross_entropy(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long), torch.ones(2, dtype=torch.bool), "nan")


def test_boxes_grow_as_published(stored):
    assert (expand_boxes(stored["boxes"], 1.5) - stored["boxes_1p5"]).abs().max() < 1e-9
    grown = expand_boxes(stored["boxes"], 1.5, (100, 35))
    assert torch.equal(grown, clip_boxes(stored["boxes_1p5"], (100, 35)))
    assert grown[:, 2].max() <= 35


def test_decoding_against_plain_formulas():
    generator = torch.Generator().manual_seed(3)
    anchors = torch.rand(9, 4, generator=generator, dtype=torch.float64) * 50
    anchors[:, 2:] += anchors[:, :2] + 1
    deltas = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    for found, (x1, y1, x2, y2), (dx, dy, dw, dh) in zip(
        decode_boxes(deltas, anchors).tolist(), anchors.tolist(), deltas.tolist(), strict=True
    ):
        w, h = x2 - x1, y2 - y1
        x, y = (x1 + x2) / 2 + w * dx / 10, (y1 + y2) / 2 + h * dy / 10
        w, h = w * np.exp(dw / 5), h * np.exp(dh / 5)
        assert found == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-9)


def test_one_box_serves_every_class_as_one_box_a_class_would():
    from torchvision.ops import batched_nms

    generator = torch.Generator().manual_seed(4)
    corners = torch.rand(40, 2, generator=generator) * 30
    boxes = torch.cat([corners, corners + 5 + torch.rand(40, 2, generator=generator) * 20], 1)
    scores = torch.rand(40, 5, generator=generator)
    rows, classes = best_detections(boxes, scores, limit=200)
    copied = boxes.repeat_interleave(5, 0)
    kept = batched_nms(copied, scores.flatten(), torch.arange(5).repeat(40), 0.5)
    assert [(int(r), int(c)) for r, c in zip(rows, classes, strict=True)] == [(int(k) // 5, int(k) % 5) for k in kept]


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        (torch.zeros(3, 5), r"\[N, 4\]"),
        (torch.tensor([[0.0, 0, float("nan"), 1]]), "NaN"),
        (torch.tensor([[5.0, 0, 1, 1]]), "edge"),
    ],
)
def test_boxes_that_are_none(boxes, said):
    with pytest.raises(DataError, match=said):
        check_boxes(boxes)
