"""Prompts: named sets of templates, and the sentences of each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from clipzoo.errors import ConfigError, DataError, closest_matches

Templates = str | Sequence[str | Callable[[str], str]] | Mapping[str, Sequence[str]]

# Found by forward selection on ImageNet (the CLIP notebooks): better than all 80 for small models.
_IMAGENET_7 = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
_SETS: dict[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    "imagenet-7": _IMAGENET_7,
    "pointclip-zero-shot": ("point cloud depth map of a {}.",),
    "pointclip-few-shot": ("point cloud of a big {}.",),
}
TEMPLATE_SETS = (*_SETS, "imagenet-80")
"""Names that :func:`template_set` knows."""


@lru_cache
def template_set(name: str) -> tuple[str | Callable[[str], str], ...]:
    """The templates called ``name``.

    Raises:
        ConfigError: if no set is called so.

    >>> template_set("photo")
    ('a photo of a {}.',)
    """
    if name == "imagenet-80":
        from open_clip import OPENAI_IMAGENET_TEMPLATES  # heavy; and the list is its to keep

        return tuple(OPENAI_IMAGENET_TEMPLATES)
    if name in _SETS:
        return _SETS[name]
    raise ConfigError(
        f'no templates called "{name}"',
        closest=closest_matches(name, TEMPLATE_SETS),
        expected=f"{', '.join(TEMPLATE_SETS)}, or a list of sentences with {{}} for the class name",
    )


def clean_name(name: str) -> str:
    """A class name as it stands in a sentence.

    >>> clean_name("night_stand ")
    'night stand'
    """
    return " ".join(name.replace("_", " ").split())


def class_prompts(classnames: Sequence[str], templates: Templates) -> dict[str, tuple[str, ...]]:
    """The sentences of each class, in the order of ``classnames``.

    Args:
        classnames: distinct, not empty; underscores are read as spaces.
        templates: name of a set, templates with ``{}`` (or functions of the name), or class to sentences.

    Raises:
        DataError: if a name is empty or repeated, there is none, or a class has no sentence.
        ConfigError: if a template has no place for the name.

    >>> class_prompts(["night_stand"], ["a {}."])
    {'night stand': ('a night stand.',)}
    """
    if isinstance(classnames, str):
        raise DataError(f"one string was given as class names: {classnames!r}", expected="a list of names")
    names = [clean_name(name) for name in classnames]
    if not names or not all(names):
        raise DataError("a class name is empty" if names else "no class names were given")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"class names are repeated: {', '.join(repeated)}", expected="each name once")
    if isinstance(templates, Mapping):
        own = {clean_name(name): tuple(sentences) for name, sentences in templates.items()}
        missing = [name for name in names if not own.get(name)]
        if missing:
            raise DataError(
                f"no sentences for: {', '.join(missing[:5])}",
                closest=closest_matches(missing[0], own),
                expected="at least one sentence for each class",
            )
        return {name: own[name] for name in names}
    chosen = template_set(templates) if isinstance(templates, str) else tuple(templates)
    if not chosen:
        raise ConfigError("the list of templates is empty")
    for template in chosen:
        if isinstance(template, str) and "{}" not in template:
            raise ConfigError(f'the template "{template}" has no {{}}', expected='for example "a photo of a {}."')
    return {name: tuple(t.replace("{}", name) if isinstance(t, str) else t(name) for t in chosen) for name in names}
