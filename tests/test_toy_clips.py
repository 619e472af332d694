"""Toy clips: true captions, and opposites that only order tells apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from clipzoo.data.scenes import COLOURS, PLAIN
from clipzoo.data.toy_clips import ACTIONS, OPPOSITES, clip_dataset, sample_clip
from clipzoo.errors import ConfigError


def clip_of(action: str, seed: int = 0, **options):
    return sample_clip(np.random.default_rng(seed), action=action, **options)


def object_pixels(frame: np.ndarray, clip) -> np.ndarray:
    """Where the frame differs from its background, whose colour is one of a few."""
    corner = frame[0, 0].astype(int)
    return np.abs(frame.astype(int) - corner).sum(-1) > 60


def centre(frame: np.ndarray, clip) -> tuple[float, float]:
    rows, columns = np.nonzero(object_pixels(frame, clip))
    return columns.mean() / frame.shape[1], rows.mean() / frame.shape[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("action", "axis", "sign"),
    [("moving left", 0, -1), ("moving right", 0, 1), ("moving up", 1, -1), ("moving down", 1, 1)],
)
def test_things_move_where_the_caption_says(action, axis, sign, seed):
    clip = clip_of(action, seed)
    places = np.array([centre(frame, clip) for frame in clip.frames])
    steps = np.diff(places[:, axis]) * sign
    assert (steps > 0.02).all()
    assert np.abs(np.diff(places[:, 1 - axis])).max() < 0.05


@pytest.mark.parametrize(("action", "sign"), [("growing", 1), ("shrinking", -1)])
def test_things_grow_and_shrink(action, sign):
    clip = clip_of(action)
    areas = np.array([object_pixels(frame, clip).sum() for frame in clip.frames])
    assert (np.diff(areas) * sign > 0).all()


@pytest.mark.parametrize(("action", "first", "last"), [("appearing", False, True), ("vanishing", True, False)])
def test_things_appear_and_vanish(action, first, last):
    for seed in range(5):
        clip = clip_of(action, seed)
        seen = [bool(object_pixels(frame, clip).any()) for frame in clip.frames]
        assert (seen[0], seen[-1]) == (first, last)
        assert sum(before != after for before, after in pairwise(seen)) == 1


@pytest.mark.parametrize("action", ["turning", "turning back"])
def test_colours_turn_as_told(action):
    for seed in range(5):
        clip = clip_of(action, seed)
        before, _, after = clip.caption.partition(" turning from ")[2].partition(" to ")
        for frame, name in ((clip.frames[0], before), (clip.frames[-1], after)):
            colour = np.median(frame[object_pixels(frame, clip)], axis=0)
            assert np.abs(colour - COLOURS[name]).max() <= 12, (clip.caption, name)


def test_a_person_sits_lower_than_it_stands():
    clip = clip_of("sitting down", size=96)
    heads = [np.nonzero(object_pixels(frame, clip).any(1))[0][0] for frame in clip.frames]
    assert heads[-1] > heads[0] + 8
    assert clip.caption.startswith("a person in ")
    assert clip.opposite.endswith("standing up")


def test_the_opposite_is_the_clip_backwards():
    assert set(ACTIONS) == {*OPPOSITES, *OPPOSITES.values()}
    for there, back in zip(clip_dataset(12)[::2], clip_dataset(12)[1::2], strict=True):
        assert np.array_equal(there.frames, back.frames[::-1])
        assert (there.caption, there.opposite) == (back.opposite, back.caption)
        assert there.caption != there.opposite
        assert len({there.caption, there.opposite, there.other}) == 3
        again = back.backwards()
        assert (again.caption, again.opposite, again.other, again.action) == (
            there.caption,
            there.opposite,
            there.other,
            there.action,
        )


def test_the_other_thing_does_the_same():
    for clip in clip_dataset(12):
        if not clip.action.startswith("turning"):
            assert clip.other.endswith(clip.action)
        assert not clip.other.startswith(clip.thing)


def test_backgrounds_are_plain():
    for clip in clip_dataset(6):
        assert tuple(clip.frames[0, 0, 0].tolist()) in PLAIN.values()


def test_a_clip_depends_on_its_seed_and_place_alone():
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(clip_dataset(4), clip_dataset(6), strict=False))
    assert not np.array_equal(clip_dataset(1, seed=1)[0].frames, clip_dataset(1, seed=2)[0].frames)


def test_all_actions_are_drawn_alike():
    drawn = [sample_clip(np.random.default_rng(seed), frames=2, size=32).action for seed in range(240)]
    assert min(drawn.count(action) for action in ACTIONS) >= 8


def test_what_cannot_be_drawn():
    with pytest.raises(ConfigError, match="did you mean: growing"):
        clip_of("groving")
    with pytest.raises(ConfigError, match="at least 2"):
        clip_of("growing", frames=1)
