"""The grounding helpers against stored output of the published code, and their own properties."""

from __future__ import annotations

import ast

import numpy as np
import pytest
import torch
from clipzoo_detect.detections import Detections
from clipzoo_detect.grounding import aggregate, build_prompt, chunk, merge_detections, positive_map, token_focal_loss

from clipzoo.errors import ConfigError, DataError


@pytest.fixture
def stored(oracle):
    return oracle("glip_pieces")


@pytest.mark.parametrize("how", ["mean", "max", "power"])
def test_aggregation_agrees_with_the_oracle(stored, how):
    tokens = torch.from_numpy(stored["token_probs"])
    positive = torch.zeros(3, tokens.shape[-1], dtype=torch.bool)
    for number, places in ast.literal_eval(str(stored["positive_map"][0])).items():
        positive[number - 1, places] = True
    expected = torch.from_numpy(stored[f"agg_{how.upper()}"])
    assert (aggregate(tokens, positive, how) - expected).abs().max() < 1e-5


def test_focal_loss_agrees_with_the_oracle(stored):
    logits, targets = (torch.from_numpy(stored[f"focal_{name}"]) for name in ("logits", "targets"))
    mask = torch.from_numpy(stored["focal_mask"]).bool()
    found = token_focal_loss(logits, targets, mask)
    expected = torch.from_numpy(stored["focal_loss"])
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5


class Words:
    """A tokenizer whose tokens are words and full stops, after one start token."""

    def __call__(self, text: str) -> Words:
        self.place, token, inside = {}, 0, False
        for at, letter in enumerate(text):
            if letter == " ":
                inside = False
                continue
            if letter == "." or not inside:
                token += 1
            inside = letter != "."
            self.place[at] = token
        return self

    def char_to_token(self, at: int) -> int | None:
        return self.place.get(at)


def test_positive_map_marks_the_tokens_of_each_name():
    text, spans = build_prompt(["cat", "traffic cone", "dog"])
    assert text == "cat. traffic cone. dog."
    found = positive_map(Words(), text, spans, tokens=12)
    assert [row.nonzero().flatten().tolist() for row in found] == [[1], [3, 4], [6]]


def test_a_name_beyond_the_tokens_is_refused():
    text, spans = build_prompt([f"thing{k}" for k in range(20)])
    with pytest.raises(DataError, match=r"chunk\(names, 10\)"):
        positive_map(Words(), text, spans, tokens=16)


def test_parts_of_a_vocabulary_merge_to_the_whole():
    names = [str(k) for k in range(7)]
    chunks = chunk(names, 3)
    assert [list(part) for part in chunks] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    parts = [
        Detections(boxes, torch.tensor([0.9, 0.2]), torch.tensor([2, 0])),
        Detections(boxes, torch.tensor([0.5, 0.4]), torch.tensor([0, 0])),
        Detections(boxes[:1], torch.tensor([0.7]), torch.tensor([0])),
    ]
    merged = merge_detections(parts, chunks)
    assert merged.labels.tolist() == [2, 6, 3, 3, 0]
    assert merged.scores.tolist() == pytest.approx([0.9, 0.7, 0.5, 0.4, 0.2])


@pytest.mark.parametrize("names", [[], ["cat", ""], "cat"])
def test_prompts_need_names(names):
    with pytest.raises(DataError):
        build_prompt(names)


def test_unknown_aggregation():
    with pytest.raises(ConfigError, match="median"):
        aggregate(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), "median")
    with pytest.raises(ConfigError):
        chunk(["cat"], 0)


def test_power_is_the_geometric_mean():
    tokens = torch.tensor([[0.2, 0.8, 0.5]], dtype=torch.float64)
    positive = torch.tensor([[True, True, False], [False, False, True]])
    assert aggregate(tokens, positive, "power")[0].tolist() == pytest.approx([np.sqrt(0.16), 0.5])
