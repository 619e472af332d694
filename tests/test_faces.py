"""Procedural faces: what is said of them is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipzoo.data.faces import (
    FACE_ATTRIBUTES,
    FACE_NUMBERS,
    face_captions,
    face_dataset,
    face_labels,
    face_phrases,
    face_truth,
    faces_from_uniforms,
    render_faces,
)
from clipzoo.data.scenes import Caption
from clipzoo.errors import ConfigError, DataError

NAMES = list(FACE_ATTRIBUTES)


def numbers(**changed: float) -> torch.Tensor:
    """One young, neutral, bare-headed face with short hair, and the changes."""
    plain = dict.fromkeys(FACE_NUMBERS, 0.5) | {
        "hair length": 0.4,
        "glasses": 0.1,
        "hat": 0.1,
        "expression": 0.45,
        "mouth": 0.2,
        "age": 0.1,
        "beard": 0.1,
        "skin": 0.1,
    }
    plain |= {name.replace("_", " "): value for name, value in changed.items()}
    return torch.tensor([[plain[name] for name in FACE_NUMBERS]])


def label(values: torch.Tensor, attribute: str) -> str:
    return FACE_ATTRIBUTES[attribute][int(face_labels(values)[0, NAMES.index(attribute)])]


def drawn(values: torch.Tensor, size: int = 64) -> np.ndarray:
    return render_faces(faces_from_uniforms(values), size)[0].permute(1, 2, 0).numpy()


def test_a_seed_gives_the_same_faces_whatever_their_number():
    long, short = face_dataset(20, seed=3, size=32), face_dataset(7, seed=3, size=32)
    assert np.array_equal(long.images[:7], short.images)
    assert long.captions[:7] == short.captions and np.array_equal(long.labels[:7], short.labels)
    assert not np.array_equal(face_dataset(7, seed=4, size=32).images, short.images)
    assert short.images.dtype == np.uint8 and short.images.shape == (7, 32, 32, 3)


def test_every_value_occurs_and_has_its_share():
    labels = face_labels(torch.rand(4000, len(FACE_NUMBERS), generator=torch.Generator().manual_seed(0))).numpy()
    for column, (name, values) in enumerate(FACE_ATTRIBUTES.items()):
        shares = np.bincount(labels[:, column], minlength=len(values)) / len(labels)
        assert len(shares) == len(values) and shares.min() > 0.08, (name, shares)


def test_every_caption_is_true_of_its_face():
    made = face_dataset(40, seed=1, size=16)
    for row, captions in enumerate(made.captions):
        assert len({caption.text for caption in captions}) == 6
        assert face_truth(made.labels[row : row + 1], captions).all()


def test_truth_is_what_the_labels_say():
    made = face_dataset(60, seed=2, size=16)
    captions = [caption for told in made.captions for caption in told[:2]]
    truth = face_truth(made.labels, captions)
    for column, caption in enumerate(captions):
        for row in range(0, 60, 7):
            values = {name: FACE_ATTRIBUTES[name][k] for name, k in zip(NAMES, made.labels[row], strict=True)}
            expected = True
            for _, attribute, value in caption.facts:
                own = values[attribute]
                if attribute in ("hat", "hair length") and value == "any":
                    expected &= own not in ("none", "bald")
                elif (attribute, value) == ("glasses", "glasses"):
                    expected &= own != "none"
                else:
                    expected &= own == value
                if attribute == "hair colour":
                    expected &= values["hair length"] != "bald"
                if attribute == "eyes":
                    expected &= values["glasses"] != "sunglasses"
            assert truth[row, column] == expected, (caption, values)


def test_colours_that_are_named_are_seen():
    for place, name in enumerate(FACE_ATTRIBUTES["background"]):
        values = numbers(background=(place + 0.5) / 5)
        assert label(values, "background") == name
        corner = drawn(values)[2, 2]
        assert np.abs(corner - drawn(values)[2, -3]).max() < 1e-5
        if name != "white":
            strongest = {"blue": 2, "green": 1, "pink": 0, "yellow": 0}[name]
            assert corner[strongest] == corner.max() and corner.max() - corner.min() > 0.15
    top = drawn(numbers(hair_colour=0.4))[14, 32]
    assert label(numbers(hair_colour=0.4), "hair colour") == "blonde" and top[0] > 0.8 > 0.6 > top[2]


@pytest.mark.parametrize(
    ("change", "attribute", "value", "rows", "columns"),
    [
        ({"hair_length": 0.05}, "hair length", "bald", slice(3, 60), slice(8, 56)),
        ({"hair_length": 0.9}, "hair length", "long", slice(20, 64), slice(8, 56)),
        ({"glasses": 0.7}, "glasses", "glasses", slice(25, 39), slice(8, 56)),
        ({"glasses": 0.9}, "glasses", "sunglasses", slice(25, 39), slice(8, 56)),
        ({"hat": 0.9}, "hat", "blue", slice(2, 26), slice(6, 58)),
        ({"expression": 0.9}, "expression", "smiling", slice(38, 52), slice(20, 44)),
        ({"expression": 0.1}, "expression", "sad", slice(38, 52), slice(20, 44)),
        ({"mouth": 0.9}, "mouth", "open", slice(38, 54), slice(20, 44)),
        ({"age": 0.9}, "age", "old", slice(22, 50), slice(16, 48)),
        ({"beard": 0.9}, "beard", "beard", slice(32, 60), slice(12, 52)),
        ({"eyes": 0.1}, "eyes", "blue", slice(26, 38), slice(18, 46)),
    ],
)
def test_an_attribute_changes_its_part_of_the_face_alone(change, attribute, value, rows, columns):
    assert label(numbers(**change), attribute) == value != label(numbers(), attribute)
    difference = np.abs(drawn(numbers(**change)) - drawn(numbers())).max(-1)
    assert difference[rows, columns].max() > 0.2
    difference[rows, columns] = 0
    assert difference.max() < 0.02


def test_a_smile_bends_up_and_a_frown_down():
    def corners_minus_middle(u: float) -> float:
        image = drawn(numbers(expression=u), 128)
        red = (image[..., 0] > 0.6) & (image[..., 1] < 0.35)
        red[:70] = False
        rows = np.arange(128)[:, None] * red
        height = lambda columns: rows[:, columns].sum() / red[:, columns].sum()  # noqa: E731
        middle, ends = height(slice(62, 67)), (height(slice(52, 56)) + height(slice(72, 76))) / 2
        return ends - middle

    assert corners_minus_middle(0.9) < -1 and corners_minus_middle(0.05) > 1


def test_softness_blends_near_the_edges_and_nowhere_else():
    inside, near = numbers(glasses=0.3), numbers(glasses=0.55)
    assert faces_from_uniforms(inside, 0.08).glasses.item() == 0
    assert faces_from_uniforms(near, 0.08).glasses.item() == pytest.approx(0.5)
    assert faces_from_uniforms(near).glasses.item() == 1


def test_a_picture_is_the_same_at_another_size():
    values = torch.rand(3, len(FACE_NUMBERS), generator=torch.Generator().manual_seed(4))
    faces = faces_from_uniforms(values)
    large = torch.nn.functional.avg_pool2d(render_faces(faces, 256), 4)
    assert (large - render_faces(faces, 64)).abs().mean() < 0.01


def test_pictures_have_gradients():
    values = torch.full((1, len(FACE_NUMBERS)), 0.5, requires_grad=True)
    faces = faces_from_uniforms(values, 0.1)
    faces.curve.retain_grad()
    (render_faces(faces, 32) * torch.linspace(0, 1, 32)[:, None]).sum().backward()
    assert torch.isfinite(values.grad).all()
    assert faces.curve.grad.abs() > 0


def test_wrong_calls_are_refused():
    with pytest.raises(DataError):
        faces_from_uniforms(torch.rand(2, 3))
    with pytest.raises(ConfigError):
        render_faces(faces_from_uniforms(torch.rand(1, len(FACE_NUMBERS))), 8)
    with pytest.raises(ConfigError):
        face_dataset(-1)
    with pytest.raises(ConfigError, match="glasses"):
        face_phrases("glases", "none")
    for fact in (("face", "hat", "purple"), ("object", "red", "circle", None), ("face", "nose", "long")):
        with pytest.raises(ConfigError):
            face_truth(np.zeros((1, len(NAMES)), dtype=int), [Caption("x", (fact,))])
    told = face_captions(np.zeros(len(NAMES), dtype=int), np.random.default_rng(0), 3)
    assert len(told) == 3
