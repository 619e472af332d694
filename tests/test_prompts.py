import pytest

from clipzoo.errors import ConfigError, DataError
from clipzoo.prompts import class_prompts, template_set


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
