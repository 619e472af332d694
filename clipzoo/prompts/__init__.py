"""Prompts: named sets of templates, and the sentences of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clipzoo.errors import ConfigError, DataError, closest_matches
from clipzoo.prompts.names import merge_names, split_names
from clipzoo.prompts.sets import TEMPLATE_SETS, Template, template_set

Templates = str | Sequence[Template] | Mapping[str, Sequence[str]]

__all__ = [
    "TEMPLATE_SETS",
    "Template",
    "Templates",
    "class_prompts",
    "clean_name",
    "merge_names",
    "split_names",
    "template_set",
]


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
