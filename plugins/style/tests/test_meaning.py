"""How edits are judged: by a classifier that never saw a sentence, on sentences that the encoder knows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from clipzoo_style import ChannelDirections, Latent
from clipzoo_style.training import meaning
from clipzoo_style.training.knowledge import KNOWN, knowledge, right_order, sentences, separation
from clipzoo_style.training.meaning import EDITS, earlier_rows, judged, reached, reached_by_all, summary
from clipzoo_style.training.sheet import sheet
from torch import nn

import clipzoo
from clipzoo.data.faces import FACE_ATTRIBUTES
from clipzoo.errors import DataError


class Told(nn.Module):
    """Stands for a classifier: what it says is written in the pixels."""

    def forward(self, images):
        values = images.flatten(1)[:, : sum(meaning._WIDTHS)]
        return list(values.split(meaning._WIDTHS, 1))


def written(**values: dict[str, float]) -> torch.Tensor:
    """One image whose classifier gives these probabilities, and is even elsewhere."""
    rows = []
    for name, known in FACE_ATTRIBUTES.items():
        given = values.get(name.replace(" ", "_"), dict.fromkeys(known, 1 / len(known)))
        rows += [given.get(value, 1e-9) for value in known]
    image = torch.zeros(1, 3 * 4 * 4)
    image[0, : len(rows)] = torch.tensor(rows).log()
    return image.reshape(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("attribute", "value", "before", "after", "gain"),
    [
        ("hat", "any", {"none": 0.9, "red": 0.1}, {"none": 0.2, "blue": 0.5, "green": 0.3}, 0.7),
        ("hat", "none", {"none": 0.1, "red": 0.9}, {"none": 0.8, "red": 0.2}, 0.7),
        ("hat", "blue", {"none": 0.1, "red": 0.9}, {"none": 0.1, "blue": 0.3, "red": 0.6}, 0.3),
    ],
)
def test_a_gain_is_of_the_value_asked_for_and_others_leave_its_attribute_out(attribute, value, before, after, gain):
    old = written(**{attribute: before}, beard={"none": 1.0})
    new = written(**{attribute: after}, beard={"none": 0.6, "beard": 0.4})
    row = judged(Told(), old, new, attribute, value)
    assert row["gain"] == pytest.approx(gain, abs=1e-5) and row["raised"] == 1.0
    assert row["others"] == pytest.approx(0.4 / 10, abs=1e-5)  # the beard alone, of ten others
    back = judged(Told(), new, old, attribute, value)
    assert back["gain"] == pytest.approx(-gain, abs=1e-5) and back["raised"] == 0.0


def test_what_is_reached_by_all_methods_is_counted_by_sentence_and_by_attribute():
    good, weak = {"raised": 0.9, "gain": 0.8, "others": 0.2}, {"raised": 0.9, "gain": 0.8, "others": 0.41}
    rows = [
        {"method": method, "prompt": prompt, **(weak if (method, prompt) in bad else good)}
        for bad in [{("mapper", "a face with a hat")}]
        for prompt in ("a face with a hat", "a face without a hat", "a face with a beard")
        for method in ("directions", "mapper")
    ]
    assert reached_by_all(rows) == (["a face without a hat", "a face with a beard"], ["hat", "beard"])
    assert not reached({"raised": 0.79, "gain": 0.8, "others": 0.0})
    told = summary(rows)
    assert told["directions"]["reached"] == 3 and told["mapper"]["reached"] == 2
    assert told["mapper"]["others / gain"] == pytest.approx((0.2 + 0.2 + 0.41) / 3 / 0.8)


def test_a_table_that_was_cut_off_goes_on_with_the_same_settings_only(tmp_path):
    out, told = tmp_path / "table.json", {"seed": 1, "settings": {"alpha": 2.0}, "classifier": {"hat": 1.0}}
    assert earlier_rows(None, told) == earlier_rows(out, told) == []
    row = {"method": "mapper", "prompt": "a bald face", "raised": 1.0}
    out.write_text(json.dumps(told | {"rows": [row]}))
    assert earlier_rows(out, told | {"classifier": {"hat": 0.9}}) == [row]
    with pytest.raises(DataError, match="another settings"):
        earlier_rows(out, told | {"settings": {"alpha": 3.0}})
    out.write_text("[]")
    with pytest.raises(DataError, match="no table"):
        earlier_rows(out, told)


def test_the_command_writes_each_cell_and_leaves_out_what_is_there(tmp_path, monkeypatch):
    calls = []

    def edit(self, codes, prompt):
        calls.append(prompt)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return codes

    monkeypatch.setattr(meaning.Methods, "optimise", edit)
    monkeypatch.setattr(meaning, "train_classifier", lambda steps: meaning.AttributeClassifier().eval())
    monkeypatch.setattr(meaning, "accuracy", lambda classifier: {})
    monkeypatch.setattr(meaning, "_LACKS", 2.0)
    out = tmp_path / "table.json"
    asked = ["--faces", "2", "--methods", "optimise", "--prompts", "a bald face;a face with a hat", "--out", str(out)]
    CliRunner().invoke(meaning.main, asked)
    assert [row["prompt"] for row in json.loads(out.read_text())["rows"]] == ["a bald face"]
    result = CliRunner().invoke(meaning.main, asked)
    assert calls == ["a bald face", "a face with a hat", "a face with a hat"]
    rows = json.loads(out.read_text())["rows"]
    assert [row["prompt"] for row in rows] == ["a bald face", "a face with a hat"] and rows[0]["faces"] == 2
    assert "by all methods: 0 sentences" in result.output


def test_the_order_and_the_separation_are_those_of_all_pairs():
    scores = torch.tensor([0.1, 0.4, 0.4, 0.9, -0.3])
    truth = torch.tensor([False, True, False, True, False])
    yes, no = [0.4, 0.9], [0.1, 0.4, -0.3]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]
    assert right_order(scores, truth) == pytest.approx(np.mean(pairs))
    spread = np.sqrt((np.var(yes, ddof=1) + np.var(no, ddof=1)) / 2)
    assert separation(scores, truth) == pytest.approx((np.mean(yes) - np.mean(no)) / spread, rel=1e-5)


def test_the_sentences_of_the_table_are_those_that_the_encoder_knows_best():
    found = knowledge(clipzoo.load_clip("tiny-rn"), "tiny-rn", faces=300, seed=31)
    known = {one.sentence: one for one in found}
    assert set(known) == {sentence for sentence, _, _ in sentences()}
    assert set(EDITS) <= set(known)
    for sentence, pair in EDITS.items():
        one = known[sentence]
        assert one.order >= KNOWN
        assert pair == (one.attribute, one.value) or pair == ("glasses", "any")
    # Two of each attribute that is known, and none of those that are not.
    unknown = {name for name in FACE_ATTRIBUTES if all(one.order < KNOWN for one in found if one.attribute == name)}
    assert unknown == {"eyes", "expression", "age"}
    told = [attribute for attribute, _ in EDITS.values()]
    assert {name: told.count(name) for name in FACE_ATTRIBUTES} == {
        name: 0 if name in unknown else 2 for name in FACE_ATTRIBUTES
    }


def test_a_sheet_has_a_row_for_each_face_and_a_column_for_each_sentence(small, linear):
    rows = torch.nn.functional.normalize(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    layers = small.style_layers
    places = [layer for layer in layers if not layer.to_rgb]
    bank = ChannelDirections(
        rows[: places[0].channels],
        torch.ones(small.num_styles),
        [layer.channels for layer in layers],
        [layer.to_rgb for layer in layers],
    )
    codes = small.sample(2, seed=1)
    assert isinstance(codes, Latent)
    still = sheet(small, linear, bank, codes, {"a red face": 0.0}, beta=0.0, cell_px=32)
    moved = sheet(small, linear, bank, codes, {"a red face": 5.0}, beta=0.0, cell_px=32)
    assert still.size == moved.size == (10 + 2 * 42, 10 + 2 * 78)
    left, right = (np.asarray(still)[10:42, start : start + 32] for start in (10, 52))
    assert np.array_equal(left, right)
    assert not np.array_equal(np.asarray(moved)[10:42, 10:42], np.asarray(moved)[10:42, 52:84])
