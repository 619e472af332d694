"""The bundled encoders' stages, small."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_train.toy.clip_frames import PeopleInClips, frames_as_scenes
from clipzoo_train.toy.curriculum import load_written, train_stage, write_encoder
from clipzoo_train.toy.depth_images import make_clouds, render_pool
from clipzoo_train.toy.lessons import Scenes, join_lessons
from clipzoo_train.toy.losses import paste_windows, soft_contrastive_loss, teacher_loss
from clipzoo_train.toy.stages import ARCHITECTURES, STAGES, Stage
from clipzoo_train.toy.world import World, _make_scenes

import clipzoo
from clipzoo.data.scenes import holds
from clipzoo.data.toy_clips import clip_dataset
from clipzoo.encoders.tiny_files import read_tiny
from clipzoo.errors import ConfigError

SMALL = Stage(
    steps=6, warmup_steps=2, scenes=24, scene_batch=12, depth_batch=4, average=0.5, people_batch=3, clip_pairs=6
)


@pytest.fixture(scope="module")
def world() -> World:
    clouds, labels = make_clouds({"chair": 2, "sofa": 2}, 0, 1)
    depth = render_pool(clouds, labels, 64, 1, torch.Generator().manual_seed(0))
    return World(("chair", "sofa"), depth, _make_scenes(SMALL, 1), clips=clip_dataset(6, seed=3))


def test_a_stage_makes_a_file_that_loads(world, tmp_path):
    rows = []
    trained = train_stage("tiny-rn", SMALL, world, report=rows.append)
    assert rows[-1]["step"] == 6 and np.isfinite(rows[-1]["loss"])
    path = write_encoder("tiny-rn", trained, [SMALL], tmp_path, trained.known)
    clip = load_written("tiny-rn", path)
    told = json.loads((tmp_path / "tiny-rn.json").read_text())
    assert told["recipe"][0]["steps"] == 6 and told["model_cfg"] == ARCHITECTURES["tiny-rn"]
    text = clip.encode_text(["a red circle"])
    assert text.shape == (1, 128) and len(clip.known_tokens) == len(trained.known)
    after = train_stage("tiny-rn", replace(SMALL, seed=1), world, start=path)
    assert not torch.equal(after.table, trained.table)


def test_a_stage_that_was_killed_goes_on_to_the_bit(world, tmp_path, monkeypatch):
    import clipzoo_train.toy.curriculum as curriculum
    from clipzoo_train.loop import Loop

    monkeypatch.setattr(curriculum, "EPOCH_STEPS", 2)
    stage = replace(SMALL, kind="distil", teacher="tiny-rn", pasted_share=0.25, hint=1.0, matrix_rate=1e-2)
    whole = train_stage("tiny", stage, world)
    step = Loop._step

    def kill(loop, batch, tell):
        if loop.progress.step == 5:
            raise KeyboardInterrupt
        step(loop, batch, tell)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "_step", kill)
        train_stage("tiny", stage, world, state=tmp_path / "state.pt")
    again = train_stage("tiny", stage, world, state=tmp_path / "state.pt")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_the_distilled_tower_speaks_the_language_of_its_teacher(world):
    """Text tower and scale are the teacher's to the bit, and the image embeddings come nearer to the teacher's."""
    stage = replace(SMALL, kind="distil", teacher="tiny-rn", steps=12, people_batch=0)
    trained = train_stage("tiny", stage, world)
    teacher = clipzoo.load_clip("tiny-rn", device="cpu")
    stored = teacher.model.state_dict()
    own = trained.model.state_dict()
    for name, value in stored.items():
        if not name.startswith("visual.") and name != "token_embedding.weight":
            torch.testing.assert_close(own[name], value, rtol=0, atol=1e-6)
    pixels = Scenes(world.scenes, 16, 0.5, 0.0).lesson(np.random.default_rng(3)).pixels
    untaught = train_stage("tiny", replace(stage, steps=1), world)
    with torch.no_grad():
        aim = F.normalize(teacher.model.encode_image(pixels), dim=-1)
        near, far = (
            float((F.normalize(one.model.encode_image(pixels), dim=-1) * aim).sum(1).mean())
            for one in (trained, untaught)
        )
    assert near > far + 0.01


def test_frames_are_scenes_of_which_all_is_true(world):
    scenes = frames_as_scenes(clip_dataset(12, seed=9))
    assert len(scenes) > 100 and {scene.style for scene in scenes} == {"colour"}
    for scene in scenes[::7]:
        thing = scene.objects[0]
        assert all(holds(caption.facts, scene) for caption in scene.captions)
        left, top, right, bottom = (int(edge) for edge in thing.box)
        assert (
            scene.masks[0][top:bottom, left:right].any()
            and scene.masks[0].sum() == scene.masks[0][top:bottom, left:right].sum()
        )
    turning = [clip for clip in clip_dataset(12, seed=9) if clip.action == "turning"][:1]
    assert len({scene.objects[0].colour for scene in frames_as_scenes(turning)}) == 2


def test_people_are_told_by_their_clothes():
    people = PeopleInClips.of(clip_dataset(12, seed=2), 8)
    assert people is not None and PeopleInClips.of(clip_dataset(1, seed=2), 8) is None
    lesson = people.lesson(np.random.default_rng(0))
    assert set(lesson.sentences) <= set(people.sentences()) and bool(lesson.truth[:, 0].all())
    assert bool((lesson.truth[:, 1:].sum(1) == 1).all()) and lesson.sentences[0] in lesson.elsewhere


def test_the_subjects_of_the_world_join(world):
    draw = np.random.default_rng(0)
    subjects = world.subjects(SMALL)
    assert len(subjects) == 3
    pixels, told, truth, known = join_lessons([subject.lesson(draw) for subject in subjects])
    assert len(set(told)) == len(told) == truth.shape[1] and len(pixels) == truth.shape[0]
    assert bool(truth.any(0).all()) and bool(truth.any(1).all()) and bool((known | ~truth).all())
    every = {text for subject in subjects for text in subject.sentences()}
    assert set(told) <= every
    with pytest.raises(ConfigError, match="rooms"):
        world.subjects(replace(SMALL, room_batch=3))


def test_one_caption_an_image_is_the_loss_of_clip():
    source = torch.Generator().manual_seed(0)
    images, texts = (F.normalize(torch.randn(6, 8, generator=source), dim=-1) for _ in range(2))
    scale = torch.tensor(10.0)
    logits, label = scale * images @ texts.T, torch.arange(6)
    expected = (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2
    torch.testing.assert_close(soft_contrastive_loss(images, texts, scale, torch.eye(6, dtype=torch.bool)), expected)
    assert float(teacher_loss(images, images, texts, scale)) == pytest.approx(0, abs=1e-5)
    assert float(teacher_loss(images, images.flip(0), texts, scale)) > 1


def test_a_pasted_window_comes_from_another_image():
    pixels = torch.arange(8.0)[:, None, None, None].expand(8, 3, 16, 16)
    mixed = paste_windows(pixels, 0.5, np.random.default_rng(0))
    assert len(mixed) == 12 and bool((mixed[:8] == pixels).all())
    for image in mixed[8:]:
        values, counts = image[0].unique(return_counts=True)
        assert len(values) <= 2 and int(counts.min()) >= 16


def test_a_stage_of_no_kind_is_refused(world):
    with pytest.raises(ConfigError, match="of the kind"):
        train_stage("tiny", replace(SMALL, kind="distil"), world)


@pytest.mark.parametrize("name", STAGES)
def test_trials_keep_the_batches(name):
    for stage in STAGES[name]:
        trial = stage.share(0.001)
        assert trial.steps < 5 and trial.depth_batch == stage.depth_batch and stage.share(1) is stage
        assert bool(trial.rooms) == bool(stage.rooms) and bool(trial.faces) == bool(stage.faces)


def test_one_world_is_held_at_a_time(monkeypatch, tmp_path):
    """Two at once took 17 GB."""
    import weakref

    import clipzoo_train.toy.run as run

    made: list[weakref.ref] = []

    def make(stage, workers):
        assert not any(earlier() for earlier in made)
        world = World((), None, [])
        made.append(weakref.ref(world))
        return world

    def pretend(name, stages, number, world, context, done, folder):
        done.mkdir(parents=True)
        for file, text in (("rows.json", "[]"), ("tiny-rn.json", ""), ("tiny-rn.safetensors", "")):
            (done / file).write_text(text)

    class Settings:
        curriculum, curriculum_share, workers = "tiny-rn", 1.0, 1

    class Context:
        folder = tmp_path

    monkeypatch.setattr(run, "make_world", make)
    monkeypatch.setattr(run, "_run_stage", pretend)
    monkeypatch.setattr(run, "_measured", lambda *given: None)
    run.make_encoder(Settings(), Context())
    assert len(made) == 3  # the last two stages share one


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-rn", "tiny"])
def test_the_command_makes_the_two_files(name, tmp_path):
    result = clipzoo.run("train", recipe=name, curriculum_share=0.001, device="cpu", out=str(tmp_path))
    folder = result.folder / "encoder"
    state, known = read_tiny(folder / f"{name}.safetensors", ARCHITECTURES[name])
    assert known and "visual.conv1.weight" in state and (folder / f"{name}.json").exists()
    card = json.loads((result.folder / "artifacts" / "model_card.json").read_text())
    assert set(card["golden"]) == {"text", "ramp", "digest"} and card["accuracy"]["megabytes"] < 8
