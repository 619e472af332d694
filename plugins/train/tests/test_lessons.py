"""The loss and the data of the tiny encoders, and that a stage is the one that made the bundled file."""

from __future__ import annotations

from dataclasses import replace

import clipzoo_train.toy.curriculum as curriculum
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_train.toy.depth_images import DEPTH_TEMPLATES, augment_clouds, make_clouds, render_pool, to_pixels
from clipzoo_train.toy.lessons import (
    DepthImages,
    Distances,
    FacesWithCaptions,
    Lesson,
    Scenes,
    depth_sentence,
    join_lessons,
)
from clipzoo_train.toy.losses import soft_contrastive_loss
from clipzoo_train.toy.stages import STAGES, Stage
from clipzoo_train.toy.world import _make_scenes, make_world

from clipzoo.data.faces import face_dataset
from clipzoo.data.rooms import room_windows
from clipzoo.data.scenes import HELD_OUT


def rows(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(count)), dim=-1)


def test_a_second_true_caption_is_no_mistake():
    """Two captions that are true of one image: the loss is lowest when both fit it equally."""
    image, scale = rows(1), torch.tensor(10.0)
    other = rows(2)[1:]
    truth = torch.tensor([[True, True, False]])
    truth = torch.cat([truth, ~truth])
    images = torch.cat([image, other])
    both = torch.cat([image, image, other])
    one = torch.cat([image, other, other])
    assert soft_contrastive_loss(images, both, scale, truth) < soft_contrastive_loss(images, one, scale, truth)


def test_a_pair_of_which_nothing_is_known_pushes_neither_way():
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


def test_lessons_join_into_one_batch():
    first = lesson(2, ["a cup", "a car"], [[1, 0], [0, 1]])
    second = lesson(2, ["something red", "a cup", "a star"], [[1, 0, 0], [0, 0, 1]], ("something red",))
    pixels, told, truth, known = join_lessons([first, second])
    assert told == ["a cup", "a car", "something red", "a star"] and len(pixels) == 4
    assert truth.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert (~known).nonzero().tolist() == [[0, 2], [1, 2]]


def test_what_has_no_partner_sits_out():
    first = lesson(1, ["a cup"], [[1]])
    second = lesson(2, ["a cup", "a star", "a ring"], [[1, 0, 0], [0, 1, 0]])
    pixels, told, truth, _ = join_lessons([first, second])
    assert told == ["a cup", "a star"] and len(pixels) == 2 and truth.int().tolist() == [[1, 0], [0, 1]]


def test_every_subject_says_what_it_announced():
    clouds, labels = make_clouds({"cup": 2, "car": 2}, 0, 1)
    pool = render_pool(clouds, labels, 64, 1, torch.Generator().manual_seed(0))
    subjects = [
        DepthImages(pool, ["cup", "car"], 3),
        Scenes(_make_scenes(Stage(scenes=12), 1), 5, 0.4, 0.3),
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


def test_augmented_clouds_stay_normalised_and_upright():
    cloud = torch.randn(8, 64, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 0.1])
    out = augment_clouds(cloud, torch.Generator().manual_seed(1))
    assert out.shape == cloud.shape
    torch.testing.assert_close(out.norm(dim=-1).amax(1), torch.ones(8))
    assert (out.var(1).argmax(-1) == 1).all()  # what is tall stays tall
    torch.testing.assert_close(out, augment_clouds(cloud, torch.Generator().manual_seed(1)))


def test_the_pool_has_both_projections_in_their_ranges():
    clouds, labels = make_clouds({"chair": 3, "table": 3}, seed=0, workers=1)
    pool = render_pool(clouds, labels, 32, 2, torch.Generator().manual_seed(0))
    assert pool.v1.shape == pool.v2.shape == (12, 32, 32)
    assert pool.v1_labels.bincount().tolist() == [6, 6]
    assert to_pixels(pool.v2, "v2").max() <= 1 and to_pixels(pool.v2, "v2").shape == (12, 3, 32, 32)
    depth = pool.v1[pool.v1 > 0]
    assert 0.5 < depth.min() and depth.max() < 2.7


def test_no_held_out_combination_is_in_the_scenes():
    scenes = _make_scenes(Stage(scenes=60), 1)
    assert sum(len(scene.objects) == 1 for scene in scenes) >= 30
    assert not {(o.colour, o.shape) for scene in scenes for o in scene.objects} & set(HELD_OUT)


def test_sentences_have_their_article():
    assert {depth_sentence(t, "airplane") for t in DEPTH_TEMPLATES} >= {"a depth map of an airplane.", "airplane"}


def test_every_face_is_told_by_every_attribute():
    faces = face_dataset(12, seed=3)
    made = FacesWithCaptions(faces, 8).lesson(np.random.default_rng(0))
    named = [column for column, text in enumerate(made.sentences) if text.endswith((" hat", " hat."))]
    assert len(named) >= 4
    # One value of the attribute hides no other: each face has exactly one expression.
    expressions = [c for c, t in enumerate(made.sentences) if "expression" in t or "smil" in t or "sad" in t]
    assert bool(made.truth[:, expressions].any(1).all())


def test_a_stage_of_the_bundled_resnet_has_the_losses_of_its_script(monkeypatch):
    """Five steps, small: the losses that the script gave which made the bundled ``tiny-rn``.

    They are equal to the last bit where they were made; another machine rounds bfloat16 products in another order.
    """
    losses = []
    loss = curriculum.soft_contrastive_loss

    def noted(*given: torch.Tensor) -> torch.Tensor:
        losses.append(float(loss(*given).detach()))
        return loss(*given)

    monkeypatch.setattr(curriculum, "soft_contrastive_loss", noted)
    small = {"scenes": 40, "rooms": 49, "faces": 30, "shapes_each": 1, "views_each": 1}
    batches = {"depth_batch": 6, "scene_batch": 10, "room_batch": 6, "face_batch": 8}
    stage = replace(STAGES["tiny-rn"][2], steps=5, warmup_steps=2, **small, **batches)
    curriculum.train_stage("tiny-rn", stage, make_world(stage, 1))
    script = [3.986382484436035, 3.799713134765625, 4.283931732177734, 3.376944065093994, 3.3901867866516113]
    assert losses == pytest.approx(script, rel=0.02)


@pytest.mark.parametrize("name", STAGES)
def test_a_bundled_encoder_names_its_stages(name):
    """What is stored beside its weights is what the command runs."""
    import json
    from dataclasses import asdict
    from importlib import resources

    stored = json.loads((resources.files("clipzoo") / "assets" / f"{name}.json").read_text())["recipe"]
    assert stored == [asdict(stage) for stage in STAGES[name]]


def test_the_golden_numbers_are_the_stored_ones():
    """The command that writes ``tests/golden`` gives what is there, for the encoder that is bundled."""
    import json
    from pathlib import Path

    from clipzoo_train.toy.golden import golden_numbers

    import clipzoo

    stored = json.loads((Path(__file__).parents[3] / "tests" / "golden" / "tiny-rn.json").read_text())
    numbers = golden_numbers(clipzoo.load_clip("tiny-rn", device="cpu"))
    assert set(numbers) == set(stored) and numbers["sentence"] == stored["sentence"]
    assert numbers["fingerprint"] == stored["fingerprint"]
    assert numbers["image"] == pytest.approx(stored["image"], abs=2e-4)
