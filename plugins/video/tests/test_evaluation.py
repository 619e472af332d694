"""The table of the paper, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_video.evaluation import dual_softmax, order_accuracy, paper_rows, retrieval_table


def test_several_sentences_a_video_by_hand():
    """Three videos with two, one and two sentences; ranks worked out on paper."""
    scores = torch.tensor(
        [
            [0.9, 0.1, 0.2],  # of video 0: rank 1
            [0.3, 0.8, 0.4],  # of video 0: rank 3
            [0.5, 0.6, 0.7],  # of video 1: rank 2
            [0.1, 0.2, 0.6],  # of video 2: rank 1
            [0.2, 0.1, 0.3],  # of video 2: rank 1
        ]
    )
    table = retrieval_table(scores, [0, 0, 1, 2, 2])
    assert table["text to video"] == {"R@1": 60.0, "R@5": 100.0, "R@10": 100.0, "MdR": 1.0, "MnR": 1.6}
    # Groups by their best sentence: video 0 sees .9 .5 .2, video 1 sees .8 .6 .2, video 2 sees .4 .7 .6.
    assert table["video to text"]["R@1"] == pytest.approx(100 / 3, abs=0.01)
    assert table["video to text"]["MnR"] == pytest.approx((1 + 2 + 2) / 3, abs=0.01)
    # By any caption: video 1's sentence is second, behind one of video 0; video 2's best is second, behind video 1's.
    any_caption = retrieval_table(scores, [0, 0, 1, 2, 2], any_caption=True)["video to text"]
    assert any_caption["MnR"] == pytest.approx((1 + 2 + 2) / 3, abs=0.01)


def test_equal_scores_are_worth_what_guessing_is():
    table = retrieval_table(torch.zeros(4, 4), range(4))
    assert table["text to video"]["R@1"] == 25.0
    assert table["text to video"]["MnR"] == 2.5


def test_dual_softmax_against_numpy():
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = scores.numpy()
    over = np.exp(plain) / np.exp(plain).sum(0, keepdims=True)
    assert np.allclose(dual_softmax(scores, 0).numpy(), plain * over, atol=1e-12)


def test_rows_say_which_scores_they_come_from():
    rows = paper_rows("meanP", torch.eye(3), [0, 1, 2])
    assert [(row["direction"], row["scores"]) for row in rows] == [
        ("text to video", "plain"),
        ("video to text", "plain"),
        ("text to video", "dual softmax*"),
        ("video to text", "dual softmax*"),
    ]
    assert "video to text, any caption" in {row["direction"] for row in paper_rows("x", torch.rand(4, 3), [0, 0, 1, 2])}


def test_the_order_that_is_not_known_is_a_coin():
    assert order_accuracy(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 2.0, 5.0, 1.0])) == 0.625
