"""Prompts of ViLD and the names that go into them."""

from __future__ import annotations

import numpy as np
import pytest
from clipzoo_detect import text_prompts
from clipzoo_detect.prompts import TEMPLATES, class_names, known_templates

from clipzoo.errors import DataError


def test_sixty_three_prompts_with_articles():
    sentences = text_prompts("umbrella")
    assert len(TEMPLATES) == len(set(TEMPLATES)) == len(set(sentences)) == 63
    assert "There is an umbrella in the scene." in sentences
    assert "itap of my umbrella." in sentences
    assert "This is a photo of a large umbrella." in sentences
    # The published test is for a sentence that starts with the letters, whatever the word.
    assert "This is an embroidered umbrella." in sentences
    assert "This is the plastic umbrella." in sentences
    assert not any(sentence.startswith(("a", "the")) for sentence in sentences)


def test_names_are_written_as_published():
    assert "There is a traffic light or signal in the scene." in text_prompts("Traffic_Light/signal.")


def test_synonyms_give_their_own_sentences():
    assert len(text_prompts(["tv", "television"])) == 126
    assert len(text_prompts(["tv", "TV"])) == 63


@pytest.mark.parametrize(
    "names", [[], [""], ["cat", "  "], "cat", ["cat", "dog", "Cat"], ["traffic_cone", "traffic cone"]]
)
def test_names_that_cannot_be_looked_for(names):
    with pytest.raises(DataError):
        class_names(names)


def test_twenty_thousand_names_are_checked_at_once():
    assert len(class_names([f"thing {k}" for k in range(20_000)])) == 20_000


def test_a_small_encoder_gets_the_prompts_that_it_knows(tiny):
    known = known_templates(tiny)
    assert 5 <= len(known) < 63
    assert not tiny.unknown_words(" ".join(sentence.format("", article="a") for sentence in known))


@pytest.mark.data
def test_real_text_rows_give_the_stored_zero_shot_numbers(real_data):
    """Real CLIP rows of the LVIS names tell the ten classes of CIFAR apart as well as was stored: 91.8 %."""
    import torch
    from clipzoo_detect import region_logits

    folder = real_data / "weights" / "clip_vitb32_features"
    text = torch.from_numpy(np.load(folder / "lvis_clip_hand_craft.npy").astype(np.float32))
    images = torch.from_numpy(np.load(folder / "image_embeddings.npy"))
    labels = np.load(folder / "image_labels.npy")
    import json

    content = json.loads((folder / "lvis_v1_train_cat_norare_info.json").read_text())
    rows = content if isinstance(content, list) else content["categories"]
    place = {row["name"]: row["id"] - 1 for row in rows}
    wanted = ["airplane", "car_(automobile)", "bird", "cat", "deer", "dog", "frog", "horse", "passenger_ship", "truck"]
    found = region_logits(images, text[[place[name] for name in wanted]]).argmax(1).numpy()
    assert np.mean(found == labels) == pytest.approx(0.918, abs=0.0011)
