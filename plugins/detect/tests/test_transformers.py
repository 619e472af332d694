"""The wrappers around real models of transformers, tiny and with random weights, from files that the tests write."""

from __future__ import annotations

import json
import string

import pytest
import torch
from clipzoo_detect import detector
from PIL import Image

from clipzoo.errors import WeightsError

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")

NAMES = ["cat", "traffic_cone", "Red umbrella"]


@pytest.fixture(scope="module")
def picture():
    return torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def owl_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("owlv2")
    pieces = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    words = [*pieces, "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=16)
    images = transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    transformers.Owlv2Processor(images, tokenizer).save_pretrained(folder)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    config = transformers.Owlv2Config(
        text_config={**tower, **ends, "vocab_size": len(words)},
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    letters = [start + letter for start in ("", "##") for letter in string.ascii_lowercase]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *letters]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    text = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_indices=[2, 3, 4]
    )
    config = transformers.MMGroundingDinoConfig(
        backbone_config=swin,
        text_config=text,
        d_model=32,
        num_queries=12,
        **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in LAYERS.items()},
    )
    torch.manual_seed(1)
    transformers.MMGroundingDinoForObjectDetection(config).save_pretrained(folder)
    return folder


LAYERS = {"layers": 2, "ffn_dim": 32, "attention_heads": 2}


@torch.no_grad()
def test_owlv2_says_what_transformers_says(owl_folder, picture):
    method = detector("owlv2", weights=owl_folder, threshold=0.0, iou=1.0)
    found = method.detect([picture], NAMES)[0]
    model = transformers.Owlv2ForObjectDetection.from_pretrained(owl_folder)
    processor = transformers.Owlv2Processor.from_pretrained(owl_folder)
    pixels = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    sentences = ["a photo of a cat", "a photo of a traffic cone", "a photo of a red umbrella"]
    output = model(**processor(text=[sentences], images=pixels, return_tensors="pt", truncation=True))
    theirs = processor.post_process_grounded_object_detection(output, threshold=0.0, target_sizes=[(40, 60)])[0]
    assert len(found) == 3 * len(theirs["scores"])  # each box with each class: theirs names the best one alone
    edges = torch.tensor([60.0, 40.0, 60.0, 40.0])
    for score, label, box in zip(theirs["scores"], theirs["labels"], theirs["boxes"], strict=True):
        same = (found.labels == label) & ((found.scores - score).abs() < 1e-5)
        assert (found.boxes[same] - torch.minimum(box.clamp(min=0), edges)).abs().amax(1).min() < 1e-3


@torch.no_grad()
def test_grounding_dino_scores_classes_by_the_tokens_of_their_names(dino_folder, picture):
    method = detector("mm-grounding-dino", weights=dino_folder, threshold=0.0, iou=1.0)
    found = method.detect([picture], NAMES)[0]
    model = transformers.MMGroundingDinoForObjectDetection.from_pretrained(dino_folder)
    processor = transformers.AutoProcessor.from_pretrained(dino_folder)
    pixels = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    text = "cat. traffic cone. red umbrella."
    output = model(**processor(images=pixels, text=text, return_tensors="pt"))
    # One token a letter, after [CLS]; the full stops are tokens, spaces are none.
    letters = [range(1, 4), range(5, 16), range(17, 28)]
    scores = torch.stack([output.logits[0].sigmoid()[:, list(own)].mean(1) for own in letters], 1)
    assert found.scores[0] == pytest.approx(float(scores.max()), abs=1e-5)
    row, label = divmod(int(scores.argmax()), 3)
    assert found.labels[0] == label
    x, y, width, height = (output.pred_boxes[0, row] * torch.tensor([60.0, 40.0, 60.0, 40.0])).tolist()
    wanted = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    wanted = torch.minimum(wanted.clamp(min=0), torch.tensor([60.0, 40.0, 60.0, 40.0]))
    assert found.boxes[0].tolist() == pytest.approx(wanted.tolist(), abs=1e-3)


def test_a_vocabulary_in_parts_finds_what_it_finds_at_once(dino_folder, picture):
    options = {"weights": dino_folder, "threshold": 0.0}
    parts = detector("mm-grounding-dino", size=1, **options).detect([picture, picture], NAMES)
    assert len(parts) == 2
    assert torch.equal(parts[0].scores, parts[1].scores)
    assert set(parts[0].labels.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("name", ["owlv2", "mm-grounding-dino"])
def test_weights_that_are_not_there(tmp_path, name):
    with pytest.raises(WeightsError, match="cannot be loaded"):
        detector(name, weights=tmp_path / "none")
