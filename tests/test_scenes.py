"""The toy world: labels that fit the pixels, captions that are true, and a truth matrix that says so."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from clipzoo.data.scenes import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT,
    MAX_OBJECTS,
    PLACES,
    RELATIONS,
    SHAPES,
    STYLES,
    Caption,
    Scene,
    holds,
    render_object,
    sample_scene,
    scene_dataset,
    truth_matrix,
)
from clipzoo.errors import ConfigError


@pytest.fixture(scope="module")
def world() -> list[Scene]:
    return scene_dataset(500, seed=11)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))


def same(one: Scene, other: Scene) -> bool:
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.segments, other.segments)
        and (one.objects, one.captions, one.background, one.style)
        == (other.objects, other.captions, other.background, other.style)
    )


def test_scene_depends_on_seed_and_index_alone():
    many, few = scene_dataset(6, seed=5), scene_dataset(3, seed=5)
    assert all(same(one, other) for one, other in zip(few, many[:3], strict=True))
    assert same(many[4], sample_scene(np.random.default_rng([5, 4])))
    assert not np.array_equal(many[0].image, scene_dataset(1, seed=6)[0].image)
    assert len({scene.image.tobytes() for scene in many}) == 6


def test_global_generator_is_neither_read_nor_moved():
    before = np.random.get_state()[1].copy()
    scene_dataset(3)
    assert np.array_equal(before, np.random.get_state()[1])


def test_layout_does_not_depend_on_the_size():
    for small, big in zip(scene_dataset(40, seed=2), scene_dataset(40, seed=2, size=224), strict=True):
        assert [(o.shape, o.colour, o.angle_deg) for o in small.objects] == [
            (o.shape, o.colour, o.angle_deg) for o in big.objects
        ]
        assert (small.background, small.style) == (big.background, big.style)
        assert np.abs(small.boxes / 64 - big.boxes / 224).max() < 1.5 / 64


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("style", STYLES)
def test_boxes_are_tight_and_masks_disjoint(style: str, size: int):
    for scene in scene_dataset(60, seed=7, size=size, style=style):
        masks = scene.masks
        assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
        assert masks.shape == (len(scene.objects), size, size) and masks.dtype == bool
        assert masks.sum(axis=0).max() == 1
        assert scene.boxes.dtype == np.float32
        for mask, (left, top, right, bottom) in zip(masks, scene.boxes, strict=True):
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min()) == (left, top)
            assert (columns.max() + 1, rows.max() + 1) == (right, bottom)
            assert min(left, top) > 0 and max(right, bottom) < size


def test_objects_hardly_overlap_and_keep_their_sizes(world: list[Scene]):
    for scene in world:
        boxes = scene.boxes
        for index, one in enumerate(boxes):
            assert all(iou(one, other) < 0.15 for other in boxes[index + 1 :])
        longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 64
        assert longer.min() > 0.15 and longer.max() < 0.97
        sizes = ["small" if side < 0.34 else "large" if side > 0.5 else None for side in longer]
        assert [thing.size for thing in scene.objects] == sizes


@pytest.mark.parametrize("style", ["colour", "textured"])
def test_masks_cover_pixels_of_the_named_colour(style: str):
    """The nearest palette colour of an object's typical pixel is its own."""
    palette = np.array(list(COLOURS.values()), dtype=float)
    for scene in scene_dataset(150, seed=3, style=style):
        for thing, mask in zip(scene.objects, scene.masks, strict=True):
            typical = np.median(scene.image[mask], axis=0)
            nearest = int(np.abs(palette - typical).sum(axis=1).argmin())
            assert list(COLOURS)[nearest] == thing.colour


def test_background_is_never_taken_for_an_object():
    for scene in scene_dataset(150, seed=4, style="textured"):
        field = scene.image[scene.segments == 0].astype(float)
        spread = np.percentile(field.max(axis=1) - field.min(axis=1), 90)
        assert spread < 90, scene.background


def test_drawings_are_black_strokes_on_white():
    for scene in scene_dataset(100, seed=9, style="drawing"):
        pixels = scene.image.astype(int)
        assert np.ptp(pixels, axis=2).max() == 0
        assert (scene.image[scene.segments == 0] > 100).all() and scene.background == "white"
        assert {thing.colour for thing in scene.objects} == {"black"}
        for mask in scene.masks:
            assert pixels[mask].min() < 140
    assert np.mean([scene.image[scene.segments > 0].mean() for scene in scene_dataset(50, style="drawing")]) > 90


def test_all_captions_are_true(world: list[Scene]):
    for scene in world:
        assert 5 <= len(scene.captions) <= 8
        assert len({caption.text for caption in scene.captions}) == len(scene.captions)
        for caption in scene.captions:
            assert caption.facts and holds(caption.facts, scene), caption


def test_same_text_always_makes_the_same_claim(world: list[Scene]):
    claims: dict[str, frozenset] = {}
    for scene in world:
        for caption in scene.captions:
            assert claims.setdefault(caption.text, frozenset(caption.facts)) == frozenset(caption.facts)


def test_facts_say_what_the_text_says(world: list[Scene]):
    """Every word of the vocabulary in a caption is in its facts, and the other way round."""
    for caption in (caption for scene in world for caption in scene.captions):
        text = re.sub(r"\b(\w+) background\b", "background", caption.text)
        said = set(re.findall(r"[a-z]+", text.replace("crosses", "cross")))
        said |= {word[:-1] for word in said if word.endswith("s") and word[:-1] in SHAPES}
        claimed = {item for fact in caption.facts for item in _flat(fact[1:])}
        assert said & set(SHAPES) == claimed & set(SHAPES), caption
        colours = set(COLOURS) - {fact[1] for fact in caption.facts if fact[0] == "background"}
        assert said & colours == claimed & colours, caption
        assert said & {"small", "large"} == claimed & {"small", "large"}, caption
        assert bool(said & {"photo", "photograph"}) == ("photo" in claimed), caption
        assert bool(said & {"drawing", "sketch"}) == ("drawing" in claimed), caption


def _flat(item: object) -> list[object]:
    return [leaf for part in item for leaf in _flat(part)] if isinstance(item, tuple) else [item]


def test_articles_and_plurals(world: list[Scene]):
    text = " | ".join(caption.text for scene in world for caption in scene.captions)
    assert not re.search(r"\ba [aeiou]", text) and not re.search(r"\ban [^aeiou]", text)
    assert not re.search(r"fishs|crosss|\b(two|three|four) \w+[^s .|]\b(?<!fish)", text)
    assert not re.search(r"\bis (two|three|four)\b", text)
    assert "  " not in text and ".." not in text
    assert re.search(r"\btwo fish\b", " ".join(c.text for s in scene_dataset(900, seed=1) for c in s.captions))


def test_captions_reach_every_level(world: list[Scene]):
    kinds = Counter(fact[0] for scene in world for caption in scene.captions for fact in caption.facts)
    assert all(kinds[kind] > 50 for kind in ("object", "count", "relation", "place", "background", "style"))
    facts = {fact for scene in world for caption in scene.captions for fact in caption.facts}
    assert {fact[2] for fact in facts if fact[0] == "relation"} == set(RELATIONS)
    assert {fact[3] for fact in facts if fact[0] == "place"} == set(PLACES)
    assert {fact[1] for fact in facts if fact[0] == "background"} == set(BACKGROUNDS)
    assert {fact[1] for fact in facts if fact[0] == "count" and fact[2] is None} == {1, 2, 3, 4}
    assert any(fact[0] == "object" and fact[1] and not fact[2] for fact in facts)
    assert any(fact[0] == "object" and fact[2] and not fact[1] for fact in facts)


def test_first_caption_names_every_combination(world: list[Scene]):
    for scene in world:
        for thing in scene.objects:
            colour = None if scene.style == "drawing" else thing.colour
            assert ("object", colour, thing.shape, None) in scene.captions[0].facts


def test_everything_is_drawn_and_about_evenly():
    scenes = scene_dataset(1500, seed=8, size=32)
    shapes = Counter(thing.shape for scene in scenes for thing in scene.objects)
    assert set(shapes) == set(SHAPES) and max(shapes.values()) < 1.6 * min(shapes.values())
    colours = Counter(o.colour for s in scenes if s.style != "drawing" for o in s.objects)
    assert set(colours) == set(COLOURS) and max(colours.values()) < 1.6 * min(colours.values())
    assert {len(scene.objects) for scene in scenes} == set(range(1, MAX_OBJECTS + 1))
    assert {scene.style for scene in scenes} == set(STYLES)


def test_held_out_is_even():
    assert len(set(HELD_OUT)) == len(HELD_OUT)
    assert set(Counter(shape for _, shape in HELD_OUT).values()) == {1}
    assert set(Counter(colour for colour, _ in HELD_OUT).values()) == {2}
    assert {shape for _, shape in HELD_OUT} == set(SHAPES) and {c for c, _ in HELD_OUT} == set(COLOURS)


def test_held_out_combinations_never_train():
    def shown(combinations: str) -> set[tuple[str, str]]:
        scenes = scene_dataset(700, seed=1, size=32, style="colour", combinations=combinations)
        return {(thing.colour, thing.shape) for scene in scenes for thing in scene.objects}

    train, hidden, both = shown("train"), shown("held-out"), shown("all")
    assert not train & set(HELD_OUT) and len(train) == len(SHAPES) * len(COLOURS) - len(HELD_OUT)
    assert hidden == set(HELD_OUT)
    assert both & set(HELD_OUT) and both & train
    mixed = scene_dataset(200, combinations="held-out", size=32)
    assert {scene.style for scene in mixed} == {"colour", "textured"}


def test_held_out_is_never_named_in_training_captions(world: list[Scene]):
    named = {
        (fact[1], fact[2]) for s in world for c in s.captions for fact in c.facts if fact[0] in ("object", "place")
    }
    assert named and not named & set(HELD_OUT)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_number_of_objects_is_obeyed(count: int):
    assert {len(scene.objects) for scene in scene_dataset(30, size=32, objects=count)} == {count}


def test_holds_on_a_scene_made_by_hand(world: list[Scene]):
    scene = next(s for s in world if len(s.objects) == 2 and s.style == "colour" and s.objects[0].place == "left")
    first, second = scene.objects
    other = next(shape for shape in SHAPES if shape not in (first.shape, second.shape))
    absent = next(colour for colour in COLOURS if colour not in (first.colour, second.colour))
    assert holds([("object", first.colour, first.shape, first.size)], scene)
    assert holds([("place", None, first.shape, "left"), ("count", 2, None), ("count", 0, other)], scene)
    assert holds([], scene)
    assert not holds([("object", absent, None, None)], scene)
    assert not holds([("object", None, other, None)], scene)
    assert not holds([("count", 1, None)], scene) and not holds([("count", 3, None)], scene)
    assert not holds([("object", first.colour, first.shape, None), ("style", "drawing")], scene)
    assert not holds([("background", "striped")], scene)


def test_corner_is_also_on_its_side(world: list[Scene]):
    scene = next(s for s in world if len(s.objects) == 1 and s.objects[0].place == "top left")
    shape = scene.objects[0].shape
    true = {place for place in PLACES if holds([("place", None, shape, place)], scene)}
    assert true == {"top left", "top", "left"}


def test_relations_have_a_mirror_and_exclude_each_other(world: list[Scene]):
    mirror = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    seen = Counter()
    for scene in world:
        if len(scene.objects) != 2 or scene.objects[0].shape == scene.objects[1].shape:
            continue
        one, two = ((None, thing.shape) for thing in scene.objects)
        true = [name for name in RELATIONS if holds([("relation", one, name, two)], scene)]
        assert len(true) <= 1
        x, y = (scene.boxes[1].reshape(2, 2).mean(axis=0) - scene.boxes[0].reshape(2, 2).mean(axis=0)).tolist()
        if true:
            assert {"left of": x, "right of": -x, "above": y, "below": -y}[true[0]] >= 0.15 * 64
            assert holds([("relation", two, mirror[true[0]], one)], scene)
        else:
            assert max(abs(x), abs(y)) < 0.15 * 64 or abs(x) == abs(y)
        seen.update(true)
    assert set(seen) == set(RELATIONS)


def test_truth_matrix_is_holds_for_all_pairs(world: list[Scene]):
    scenes = world[:120]
    captions = [caption for scene in world[100:160] for caption in scene.captions]
    truth = truth_matrix(scenes, captions)
    assert truth.dtype == bool and truth.shape == (len(scenes), len(captions))
    expected = [[holds(caption.facts, scene) for caption in captions] for scene in scenes]
    assert np.array_equal(truth, expected)
    # Captions shared by several scenes are the point of it: neither empty nor only the diagonal.
    assert 0.02 < truth.mean() < 0.6


def test_truth_matrix_is_true_on_its_own_captions(world: list[Scene]):
    captions = [scene.captions[index % 5] for index, scene in enumerate(world)]
    assert truth_matrix(world, captions).diagonal().all()


def test_truth_matrix_of_nothing(world: list[Scene]):
    assert truth_matrix([], world[0].captions).shape == (0, len(world[0].captions))
    assert truth_matrix(world[:3], []).shape == (3, 0)
    assert truth_matrix(world[:3], [Caption("an image", ())]).all()


def test_render_object_is_clean_and_distinct():
    pictures = {shape: render_object(shape, "blue") for shape in SHAPES}
    for shape, picture in pictures.items():
        assert (picture[0, 0] == 255).all()
        share = (np.abs(picture.astype(int) - COLOURS["blue"]).sum(axis=2) < 6).mean()
        assert 0.08 < share < 0.7, shape
    for one in SHAPES:
        for other in SHAPES:
            difference = np.abs(pictures[one].astype(int) - pictures[other]).mean()
            assert (difference == 0) if one == other else (difference > 8), (one, other)


def test_render_object_follows_its_arguments():
    small, big = (render_object("square", "black", 100, scale=scale) for scale in (0.3, 0.6))
    assert (big == 0).all(axis=2).sum() == pytest.approx(4 * (small == 0).all(axis=2).sum(), rel=0.1)
    right = render_object("arrow", "red", angle_deg=0)
    assert np.abs(np.rot90(right, -1).astype(int) - render_object("arrow", "red", angle_deg=90)).mean() < 4
    lines = render_object("ring", "black", style="drawing")
    assert lines.mean() > render_object("ring", "black").mean()
    assert (render_object("key", "pink", 48, background=(1, 2, 3))[0, 0] == (1, 2, 3)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_large_render_is_the_small_one_enlarged(shape: str):
    big = render_object(shape, "purple", 256).reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(big - render_object(shape, "purple", 64)).mean() < 3


@pytest.mark.parametrize(
    ("options", "closest"),
    [
        ({"style": "drawings"}, "drawing"),
        ({"style": "color"}, "colour"),
        ({"combinations": "heldout"}, "held-out"),
        ({"combinations": None}, None),
        ({"objects": 0}, None),
        ({"objects": 5}, None),
        ({"objects": True}, None),
        ({"objects": 1.5}, None),
        ({"size": 8}, None),
        ({"size": "64"}, None),
        ({"style": "drawing", "combinations": "held-out"}, None),
    ],
)
def test_wrong_options(options: dict, closest: str | None):
    with pytest.raises(ConfigError) as caught:
        sample_scene(np.random.default_rng(0), **options)
    assert caught.value.expected or caught.value.hint
    assert closest is None or closest in caught.value.closest
    with pytest.raises(ConfigError):
        scene_dataset(1, **options)


def test_wrong_generator_count_and_seed():
    with pytest.raises(ConfigError, match="default_rng"):
        sample_scene(0)
    with pytest.raises(ConfigError, match="count=-1"):
        scene_dataset(-1)
    with pytest.raises(ConfigError, match="seed=-3"):
        scene_dataset(1, seed=-3)
    assert scene_dataset(0) == []


@pytest.mark.parametrize(
    ("arguments", "options", "closest"),
    [
        (("circel", "red"), {}, "circle"),
        (("circle", "rde"), {}, "red"),
        (("circle", "red"), {"style": "drawn"}, "drawing"),
        (("circle", "red"), {"scale": 0.0}, None),
        (("circle", "red", 3), {}, None),
        (("circle", "red"), {"background": (0, 0, 256)}, None),
    ],
)
def test_wrong_render(arguments: tuple, options: dict, closest: str | None):
    with pytest.raises(ConfigError) as caught:
        render_object(*arguments, **options)
    assert closest is None or closest in caught.value.closest


@pytest.mark.parametrize(
    ("fact", "closest"),
    [
        (("object", "read", None, None), "red"),
        (("object", None, "hart", None), "heart"),
        (("object", None, None, "larg"), "large"),
        (("place", None, "key", "lefft"), "left"),
        (("relation", (None, "key"), "left off", (None, "cup")), "left of"),
        (("relation", (None, "kee"), "above", (None, "cup")), "key"),
        (("background", "stripes"), "striped"),
        (("style", "photos"), "photo"),
        (("objects", None, None, None), "object"),
        (("object", "red"), None),
        (("count", -1, None), None),
        (("place", None, "key", None), None),
        (("relation", "key", "above", "cup"), None),
        (["style", "photo"], None),
        ((), None),
    ],
)
def test_wrong_facts(world: list[Scene], fact: tuple, closest: str | None):
    for ask in (lambda: holds([fact], world[0]), lambda: truth_matrix(world[:2], [Caption("", (fact,))])):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert closest is None or closest in caught.value.closest
