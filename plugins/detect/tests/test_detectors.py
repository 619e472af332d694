"""The wrappers, around models that answer what a test wants."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from clipzoo_detect import GroundingDetector, OWLv2Detector, ViLD, detector

from clipzoo.errors import ConfigError


class Tokens:
    """Every character is a token."""

    def __call__(self, text):
        return SimpleNamespace(char_to_token=lambda at: None if text[at] == " " else at)


class Processor:
    tokenizer = Tokens()

    def __call__(self, **inputs):
        return {"text": inputs["text"], "size": inputs["images"].size}


class Model(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer, self.asked = answer, []

    def forward(self, **inputs):
        self.asked.append(inputs)
        return self.answer(inputs)


def test_owlv2_boxes_are_relative_to_the_padded_square():
    boxes = torch.tensor([[[0.25, 0.125, 0.5, 0.25], [0.26, 0.125, 0.5, 0.25], [0.9, 0.9, 0.1, 0.1]]])
    logits = torch.tensor([[[3.0, -9], [2.0, -9], [-9, -9]]])
    model = Model(lambda inputs: SimpleNamespace(pred_boxes=boxes, logits=logits))
    found = OWLv2Detector(model, Processor()).detect([torch.rand(3, 50, 100)], ["cat", "traffic_cone"])[0]
    assert model.asked[0]["text"] == [["a photo of a cat", "a photo of a traffic cone"]]
    assert model.asked[0]["size"] == (100, 50)
    assert found.boxes.tolist() == [[0.0, 0.0, 50.0, 25.0]]  # the second overlaps the first, the third scores nothing
    assert found.labels.tolist() == [0]
    assert found.scores[0] == pytest.approx(torch.tensor(3.0).sigmoid().item())


def test_grounding_scores_classes_by_their_own_tokens_over_several_prompts():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.2, 0.2]]])

    def answer(inputs):
        logits = torch.full((1, 2, 256), -9.0)
        at = inputs["text"].find("dog")
        if at >= 0:
            logits[0, 0, at : at + 3] = 4.0
        return SimpleNamespace(pred_boxes=boxes, logits=logits)

    model = Model(answer)
    method = GroundingDetector(model, Processor(), size=2)
    found = method.detect([torch.rand(3, 50, 100)], ["cat", "bird", "Dog"])[0]
    assert [inputs["text"] for inputs in model.asked] == ["cat. bird.", "dog."]
    assert found.labels.tolist() == [2]
    assert found.boxes[0].tolist() == pytest.approx([40.0, 15.0, 60.0, 35.0])


def test_detectors_by_name(tiny, tmp_path):
    assert isinstance(detector("vild0", clip=tiny, proposals=7), ViLD)
    for name, said in (("owl-v2", "owlv2"), ("vild0", "encoder"), ("vild", "encoder")):
        with pytest.raises(ConfigError, match=said):
            detector(name)
    with pytest.raises(ConfigError, match="weights"):
        detector("vild", clip=tiny)
