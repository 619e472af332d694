"""The loss, the file format and the data of the tiny encoders."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipzoo.data.faces import face_dataset
from clipzoo.data.rooms import room_windows
from clipzoo.encoders.tiny_files import read_tiny, untrained_rows, write_tiny
from clipzoo.errors import WeightsError
from clipzoo.training.depth_images import DEPTH_TEMPLATES, augment_clouds, make_clouds, render_pool, to_pixels
from clipzoo.training.lessons import (
    DepthImages,
    Distances,
    FacesWithCaptions,
    Lesson,
    Scenes,
    depth_sentence,
    join_lessons,
)
from clipzoo.training.tiny import (
    ARCHITECTURES,
    RECIPES,
    Recipe,
    make_scenes,
    soft_contrastive_loss,
)


def rows(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(count)), dim=-1)


def test_one_caption_an_image_is_the_loss_of_clip() -> None:
    images, texts, scale = rows(6), rows(7)[:6], torch.tensor(10.0)
    logits = scale * images @ texts.T
    label = torch.arange(6)
    expected = (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2
    torch.testing.assert_close(soft_contrastive_loss(images, texts, scale, torch.eye(6, dtype=torch.bool)), expected)


def test_a_second_true_caption_is_no_mistake() -> None:
    """Two captions that are true of one image: the loss is lowest when both fit it equally."""
    image, scale = rows(1), torch.tensor(10.0)
    other = rows(2)[1:]
    truth = torch.tensor([[True, True, False]])
    truth = torch.cat([truth, ~truth])
    images = torch.cat([image, other])
    both = torch.cat([image, image, other])
    one = torch.cat([image, other, other])
    assert soft_contrastive_loss(images, both, scale, truth) < soft_contrastive_loss(images, one, scale, truth)


def test_a_pair_of_which_nothing_is_known_pushes_neither_way() -> None:
    images, texts = rows(3), rows(5)[:4]
    truth = torch.eye(3, 4, dtype=torch.bool)
    truth[2, 3] = True
    known = torch.ones_like(truth)
    known[0, 3] = False
    images.requires_grad_(True)
    scale = torch.tensor(5.0)
    moved = texts.clone()
    moved[3] = rows(9)[8]
    first = soft_contrastive_loss(images, texts, scale, truth, known)
    gradient = torch.autograd.grad(first, images)[0][0]
    second = soft_contrastive_loss(images, moved, scale, truth, known)
    torch.testing.assert_close(torch.autograd.grad(second, images)[0][0], gradient)


def lesson(images: int, sentences: list[str], truth: list[list[int]], elsewhere: tuple[str, ...] = ()) -> Lesson:
    return Lesson(torch.zeros(images, 3, 8, 8), sentences, torch.tensor(truth).bool(), frozenset(elsewhere))


def test_lessons_join_into_one_batch() -> None:
    first = lesson(2, ["a cup", "a car"], [[1, 0], [0, 1]])
    second = lesson(2, ["something red", "a cup", "a star"], [[1, 0, 0], [0, 0, 1]], ("something red",))
    pixels, told, truth, known = join_lessons([first, second])
    assert told == ["a cup", "a car", "something red", "a star"] and len(pixels) == 4
    assert truth.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert (~known).nonzero().tolist() == [[0, 2], [1, 2]]


def test_what_has_no_partner_sits_out() -> None:
    first = lesson(1, ["a cup"], [[1]])
    second = lesson(2, ["a cup", "a star", "a ring"], [[1, 0, 0], [0, 1, 0]])
    pixels, told, truth, _ = join_lessons([first, second])
    assert told == ["a cup", "a star"] and len(pixels) == 2 and truth.int().tolist() == [[1, 0], [0, 1]]


def test_every_subject_says_what_it_announced() -> None:
    clouds, labels = make_clouds({"cup": 2, "car": 2}, 0, 1)
    pool = render_pool(clouds, labels, 64, 1, torch.Generator().manual_seed(0))
    subjects = [
        DepthImages(pool, ["cup", "car"], 3),
        Scenes(make_scenes(Recipe(scenes=12)), 5, 0.4, 0.3),
        Distances(room_windows(14, seed=3), 6),
        FacesWithCaptions(face_dataset(10, seed=3), 4),
    ]
    draw = np.random.default_rng(0)
    lessons = [subject.lesson(draw) for subject in subjects]
    for subject, made in zip(subjects, lessons, strict=True):
        assert set(made.sentences) <= set(subject.sentences())
        assert made.truth.shape == (len(made.pixels), len(made.sentences)) and made.truth.any(1).all()
    pixels, told, truth, known = join_lessons(lessons)
    assert len(set(told)) == len(told) == truth.shape[1] and len(pixels) == truth.shape[0] <= 21
    assert truth.any(0).all() and truth.any(1).all() and (known | ~truth).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recipes_are_named(name) -> None:
    assert all(isinstance(stage, Recipe) and stage.steps > 0 for stage in RECIPES[name])


def test_file_round_trip(tmp_path) -> None:
    config = {"text_cfg": {"vocab_size": 20, "width": 4}}
    known = torch.tensor([3, 7])
    state = {"token_embedding.weight": torch.randn(20, 4), "other": torch.randn(3), "steps": torch.tensor(5)}
    write_tiny(tmp_path / "a.safetensors", state, known)
    back, tokens = read_tiny(tmp_path / "a.safetensors", config)
    assert tokens == {3, 7} and back["steps"] == 5
    torch.testing.assert_close(back["other"], state["other"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        back["token_embedding.weight"][known], state["token_embedding.weight"][known], atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(back["token_embedding.weight"][4], untrained_rows(20, 4)[4])


def test_untrained_tokens_differ_from_one_another() -> None:
    table = untrained_rows(49408, 16)
    assert len(np.unique(table.numpy().round(6), axis=0)) == 49408


@pytest.mark.parametrize("damage", [b"", b"xx", None])
def test_a_damaged_file_is_named(tmp_path, damage) -> None:
    path = tmp_path / "tiny.safetensors"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(WeightsError, match=r"tiny\.safetensors"):
        read_tiny(path, {"text_cfg": {"vocab_size": 20, "width": 4}})


def test_augmented_clouds_stay_normalised_and_upright() -> None:
    cloud = torch.randn(8, 64, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 0.1])
    out = augment_clouds(cloud, torch.Generator().manual_seed(1))
    assert out.shape == cloud.shape
    torch.testing.assert_close(out.norm(dim=-1).amax(1), torch.ones(8))
    assert (out.var(1).argmax(-1) == 1).all()  # what is tall stays tall
    torch.testing.assert_close(out, augment_clouds(cloud, torch.Generator().manual_seed(1)))


def test_the_pool_has_both_projections_in_their_ranges() -> None:
    clouds, labels = make_clouds({"chair": 3, "table": 3}, seed=0, workers=1)
    pool = render_pool(clouds, labels, 32, 2, torch.Generator().manual_seed(0))
    assert pool.v1.shape == pool.v2.shape == (12, 32, 32)
    assert pool.v1_labels.bincount().tolist() == [6, 6]
    assert to_pixels(pool.v2, "v2").max() <= 1 and to_pixels(pool.v2, "v2").shape == (12, 3, 32, 32)
    depth = pool.v1[pool.v1 > 0]
    assert 0.5 < depth.min() and depth.max() < 2.7


def test_no_held_out_combination_is_in_the_scenes() -> None:
    from clipzoo.data.scenes import HELD_OUT

    scenes = make_scenes(Recipe(scenes=60))
    assert sum(len(scene.objects) == 1 for scene in scenes) >= 30
    assert not {(o.colour, o.shape) for scene in scenes for o in scene.objects} & set(HELD_OUT)


def test_sentences_have_their_article() -> None:
    assert {depth_sentence(t, "airplane") for t in DEPTH_TEMPLATES} >= {"a depth map of an airplane.", "airplane"}


def test_every_face_is_told_by_every_attribute() -> None:
    faces = face_dataset(12, seed=3)
    made = FacesWithCaptions(faces, 8).lesson(np.random.default_rng(0))
    named = [column for column, text in enumerate(made.sentences) if text.endswith((" hat", " hat."))]
    assert len(named) >= 4
    # One value of the attribute hides no other: each face has exactly one expression.
    expressions = [c for c, t in enumerate(made.sentences) if "expression" in t or "smil" in t or "sad" in t]
    assert bool(made.truth[:, expressions].any(1).all())
