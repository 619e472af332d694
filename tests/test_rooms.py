"""Toy rooms: depth against geometry written out plane by plane, captions that are true, windows to learn from."""

import math

import numpy as np
import pytest

from clipzoo.data.rooms import (
    DISTANCE_BINS_M,
    DISTANCE_TEMPLATES,
    DISTANCE_WORDS,
    FURNITURE,
    ROOM_COLOURS,
    Slab,
    distance_sentences,
    distance_word,
    room_captions,
    room_dataset,
    room_windows,
    sample_room,
    trace,
)
from clipzoo.errors import ConfigError

COLOURS = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


def slab(centre, half, yaw_rad=0.0) -> Slab:
    return Slab(centre, half, yaw_rad, COLOURS, "plain", 0.1)


def hits(box: Slab, ray: np.ndarray) -> list[float]:
    """Where a ray from the origin meets the faces of a box, one plane after the other."""
    cos, sin = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    # The axes of the box in the room; it is turned about the upright one.
    axes = [np.array([cos, 0, -sin]), np.array([0.0, 1.0, 0.0]), np.array([sin, 0, cos])]
    centre, found = np.array(box.centre), []
    for axis in range(3):
        for side in (-1, 1):
            corner = centre + side * box.half[axis] * axes[axis]
            slope = float(ray @ axes[axis])
            if abs(slope) < 1e-12:
                continue
            way = float(corner @ axes[axis]) / slope
            point = way * ray - centre
            others = [k for k in range(3) if k != axis]
            if all(abs(float(point @ axes[k])) <= box.half[k] + 1e-9 for k in others):
                found.append(way)
    return found


def test_rays_meet_what_is_first() -> None:
    random = np.random.default_rng(0)
    shell = slab((0.2, 0.1, 1.5), (1.8, 1.3, 2.1))
    boxes = [slab((0.4, -0.5, 2.0), (0.3, 0.3, 0.4), 0.5), slab((-0.5, -0.3, 1.4), (0.2, 0.6, 0.2), -0.7)]
    rays = np.concatenate([random.uniform(-0.8, 0.8, (500, 2)), np.ones((500, 1))], 1)
    depth, owner, axis = trace(shell, boxes, rays)
    assert {-1, 0, 1} == set(owner.tolist())
    for ray, way, who in zip(rays, depth, owner, strict=True):
        ways = {-1: max(hits(shell, ray))}
        for index, box in enumerate(boxes):
            ahead = [found for found in hits(box, ray) if found > 0]
            if ahead:
                ways[index] = min(ahead)
        nearest = min(ways, key=ways.__getitem__)
        assert who == nearest and way == pytest.approx(ways[nearest], abs=1e-9)
    assert set(axis.tolist()) <= {0, 1, 2}


def test_depth_of_a_wall_is_its_distance_not_the_length_of_the_ray() -> None:
    depth, _, axis = trace(slab((0, 0, 1), (5, 5, 2)), [], np.array([[0.0, 0, 1], [1.0, 0.5, 1], [0.0, -3, 1]]))
    np.testing.assert_allclose(depth, [3, 3, 5 / 3])
    assert axis.tolist() == [2, 2, 1]


def test_a_room_is_drawn_from_its_seed_alone() -> None:
    first, second = room_dataset(2, seed=4, height=32, width=40), room_dataset(1, seed=4, height=32, width=40)
    np.testing.assert_array_equal(first[0].image, second[0].image)
    np.testing.assert_array_equal(first[0].depth, second[0].depth)
    assert first[0].captions == second[0].captions
    assert not np.array_equal(first[0].depth, first[1].depth)


@pytest.fixture(scope="module")
def rooms():
    return room_dataset(12, seed=9)


def test_rooms_hold_together(rooms) -> None:
    for room in rooms:
        assert room.image.shape == (128, 160, 3) and room.image.dtype == np.uint8
        assert room.depth.dtype == np.float32 and 0.05 < room.depth.min() <= room.depth.max() < 10
        assert set(np.unique(room.segments)) <= set(range(len(room.objects) + 1))
        for place, thing in enumerate(room.objects):
            rows, columns = np.nonzero(room.segments == place + 1)
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.depth_m == pytest.approx(float(np.median(room.depth[rows, columns])), abs=1e-5)
            assert thing.name in FURNITURE and thing.colour in ROOM_COLOURS
        depths = [thing.depth_m for thing in room.objects]
        assert depths == sorted(depths)


def test_walls_are_flat(rooms) -> None:
    """1 / depth is linear in the pixels of a plane: its second difference along a row is 0 except at edges."""
    for room in rooms:
        bend = np.abs(np.diff(1 / room.depth.astype(np.float64), 2, axis=1))
        assert (bend < 1e-5).mean() > 0.9


def test_captions_are_true(rooms) -> None:
    for room in rooms:
        named = {f"{thing.colour} {thing.name}": thing for thing in room.objects}
        for caption in room.captions:
            if caption.startswith("this "):
                name = next(name for name in named if caption.startswith(f"this {name} is "))
                word = caption.removeprefix(f"this {name} is ")
                assert DISTANCE_WORDS[int(distance_word(named[name].depth_m))] == word
            elif " is closer than the " in caption:
                near, far = caption.removeprefix("the ").split(" is closer than the ")
                assert named[near].depth_m < named[far].depth_m
            elif caption.startswith("a room with "):
                assert caption.split(" ", 4)[4] in named
            else:
                assert caption in ("a room", "a photo of a room.")


def test_words_stand_for_their_depths() -> None:
    assert distance_word(np.array(DISTANCE_BINS_M)).tolist() == list(range(7))
    assert distance_word(np.array([0.01, 100.0])).tolist() == [0, 6]
    borders = np.sqrt(np.array(DISTANCE_BINS_M[1:]) * np.array(DISTANCE_BINS_M[:-1]))
    assert distance_word(borders * 1.0001).tolist() == [1, 2, 3, 4, 5, 6]
    assert distance_word(borders / 1.0001).tolist() == [0, 1, 2, 3, 4, 5]


def test_windows_of_a_room_are_what_they_say(rooms) -> None:
    found = [(room, caption) for room in rooms for caption in room_captions(room, np.random.default_rng(0))]
    assert len(found) > 20
    for room, caption in found:
        left, top, right, bottom = caption.box
        assert 0 <= left and right <= 160 and 0 <= top and bottom <= 128
        assert right - left == bottom - top == 64
        depth = room.depth[top:bottom, left:right]
        assert caption.depth_m == pytest.approx(float(np.median(depth)), abs=1e-5)
        assert caption.word == int(distance_word(np.median(depth)))
        assert caption.text in distance_sentences(caption.word)
        assert (np.maximum(depth / caption.depth_m, caption.depth_m / depth) < 1.25).mean() >= 0.6


def test_training_windows_are_balanced_and_repeatable() -> None:
    found = room_windows(24, seed=5, side_px=48)
    assert found.images.shape == (24, 48, 48, 3) and found.images.dtype == np.uint8
    counts = np.bincount(found.words, minlength=7)
    assert counts.tolist() == [4, 4, 4, 3, 3, 3, 3]
    np.testing.assert_array_equal(distance_word(found.depths_m), found.words)
    again = room_windows(24, seed=5, side_px=48)
    np.testing.assert_array_equal(again.images, found.images)
    np.testing.assert_array_equal(again.words, found.words)
    assert not np.array_equal(np.sort(found.words), found.words)


def test_sentences_name_one_word_each() -> None:
    every = [sentence for word in range(7) for sentence in distance_sentences(word)]
    assert len(set(every)) == 7 * len(DISTANCE_TEMPLATES)
    assert distance_sentences(1)[0] == "This object is extremely close"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_room(np.random.default_rng(0), 15, 40), "at least 16 x 16"),
        (lambda: room_windows(0), "at least one"),
        (lambda: room_windows(7, side_px=129), "smaller window"),
    ],
)
def test_bad_requests(call, message) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
