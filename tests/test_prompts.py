import pytest
import torch

from clipzoo.errors import ConfigError, DataError
from clipzoo.prompts import class_prompts, merge_names, split_names, template_set


def test_imagenet_templates_come_from_open_clip() -> None:
    assert len(template_set("imagenet-80")) == 80
    assert len(template_set("imagenet-7")) == 7


def test_names_are_cleaned_and_kept_in_order() -> None:
    prompts = class_prompts(["night_stand", "tv_stand"], ["a {}.", lambda name: f"the {name}"])
    assert prompts == {
        "night stand": ("a night stand.", "the night stand"),
        "tv stand": ("a tv stand.", "the tv stand"),
    }


def test_sentences_of_ones_own_may_differ_in_number() -> None:
    own = {"cat": ["a cat", "a kitten"], "tv_stand": ["a stand"]}
    assert class_prompts(["tv stand", "cat"], own) == {"tv stand": ("a stand",), "cat": ("a cat", "a kitten")}


@pytest.mark.parametrize("names", [[], [""], ["a", "a"], ["tv_stand", "tv stand"], "cat"])
def test_bad_names_are_refused(names) -> None:
    with pytest.raises(DataError):
        class_prompts(names, "photo")


def test_bad_templates_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean: photo"):
        class_prompts(["cat"], "phto")
    with pytest.raises(ConfigError, match=r"has no \{\}"):
        class_prompts(["cat"], ["a cat"])
    with pytest.raises(DataError, match="no sentences for: dog"):
        class_prompts(["dog"], {"dogs": ["a dog"]})


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("imagenet-80", 80),
        ("imagenet-7", 7),
        ("cifar", 18),
        ("satellite", 3),
        ("textures", 8),
        ("aircraft", 2),
        ("food", 1),
    ],
)
def test_published_sets_have_their_size(name, count) -> None:
    templates = template_set(name)
    texts = [t.replace("{}", "cat") if isinstance(t, str) else t("cat") for t in templates]
    assert len(set(texts)) == count and all("cat" in text and "  " not in text for text in texts)


def test_classes_with_several_names() -> None:
    names, index = split_names(["person, man", ["tv", "television"], "dog"])
    assert names == ["person", "man", "tv", "television", "dog"] and index == [0, 0, 1, 1, 2]
    scores = torch.rand(2, 5, 3)
    best = merge_names(scores, index, dim=1)
    expected = torch.stack([scores[:, :2].amax(1), scores[:, 2:4].amax(1), scores[:, 4]], 1)
    torch.testing.assert_close(best, expected)
    mean = merge_names(scores, index, "mean", dim=1)
    torch.testing.assert_close(mean[:, 0], scores[:, :2].mean(1))
    for call in (lambda: split_names([]), lambda: split_names(["a", " , "]), lambda: merge_names(scores, index)):
        with pytest.raises(DataError):
            call()
    with pytest.raises(ConfigError):
        merge_names(scores, index, "median", dim=1)
