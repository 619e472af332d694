import pytest
from hydra.core.global_hydra import GlobalHydra

from clipzoo.config import compose, fields_of
from clipzoo.errors import ConfigError
from clipzoo.plugin import find_plugin


@pytest.fixture
def count(good):
    return find_plugin(good).load()


def test_defaults_recipe_and_command_line_come_in_this_order() -> None:
    pointclip = find_plugin("pointclip").load()
    composed = compose(pointclip, ["recipe=pointclip-16-shot", "shots=4"])
    assert (composed.settings.mode, composed.settings.shots, composed.settings.seed) == ("v1", 4, 0)
    assert composed.sources["mode"] == "recipe pointclip-16-shot"
    assert composed.sources["shots"] == "command line" and composed.sources["seed"] == "default"


@pytest.mark.parametrize(
    "text", ["a=b", "a,b", "a b", "[1]", "{x}", "C:\\data\\new", "${oc.env:HOME}", "\\${x}", "ü", "'", '"', "null", "1"]
)
def test_texts_are_taken_as_they_are(count, text) -> None:
    assert compose(count, [f"word={text}"]).settings.word == text
    assert compose(count, {"word": text}).settings.word == text


def test_values_of_other_types(count) -> None:
    settings = compose(count, ["count=7", "loud=true", "parts=1,2.5", "style=fancy", "data=null"]).settings
    assert (settings.count, settings.loud, settings.parts, settings.style, settings.data) == (
        7,
        True,
        [1.0, 2.5],
        "fancy",
        None,
    )
    assert compose(count, ["parts=[]"]).settings.parts == []
    assert (
        compose(count, {"count": 7, "loud": True, "parts": [1, 2.5], "style": "fancy", "data": None}).settings
        == settings
    )


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("cuont=3", "did you mean: count"),
        ("count=many", "a whole number"),
        ("count=1.5", "a whole number"),
        ("count=0", "1 to 100"),
        ("count=101", "1 to 100"),
        ("loud=perhaps", "true or false"),
        ("parts=a,b", "a list of numbers"),
        ("style=fancier", "did you mean: fancy"),
        ("recipe=none", 'no recipe "none"'),
        ("count", "is no setting"),
        ("count=1,2", "expected"),
        ("parts=[nan]", "finite"),
        ("parts=[{_target_: os.system}]", "_target_"),
        ("=3", "is no setting"),
        ("count=", "a whole number"),
        ("++count=3", "is no setting"),
        ("~count", "is no setting"),
    ],
)
def test_bad_settings_say_what_was_expected(count, override, text) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(count, [override])
    assert text in caught.value.message()


def test_hydra_is_left_as_it_was(count) -> None:
    assert not GlobalHydra.instance().is_initialized()
    compose(count, ["count=3"])
    with pytest.raises(ConfigError):
        compose(count, ["count=x"])
    assert not GlobalHydra.instance().is_initialized()


def test_every_option_has_help() -> None:
    for name, kind, _, metadata in fields_of(find_plugin("pointclip").load()):
        assert metadata["help"] and kind, name


def test_settings_go_round(count) -> None:
    composed = compose(count, ["word=a=${b}", "parts=1,2"])
    assert compose(count, composed.plain).settings == composed.settings
