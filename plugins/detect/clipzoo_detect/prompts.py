"""The 63 prompts of ViLD, with articles and synonyms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clipzoo.errors import DataError

if TYPE_CHECKING:
    from clipzoo.encoders import FrozenCLIP

_PAIRS = (
    "a {adjective} photo of {article} {{}}.",
    "a {adjective} photo of the {{}}.",
)


def _photos(*adjectives: str) -> tuple[str, ...]:
    return tuple(pair.replace("{adjective}", word).replace("{{}}", "{}") for word in adjectives for pair in _PAIRS)


def _things(*adjectives: str) -> tuple[str, ...]:
    return tuple(f"a photo of {article} {word} {{}}." for word in adjectives for article in ("a", "the"))


def _made(*adjectives: str) -> tuple[str, ...]:
    return tuple(f"{article} {word} {{}}." for word in adjectives for article in ("a", "the"))


TEMPLATES: tuple[str, ...] = (
    "There is {article} {} in the scene.",
    "There is the {} in the scene.",
    "a photo of {article} {} in the scene.",
    "a photo of the {} in the scene.",
    "a photo of one {} in the scene.",
    "itap of {article} {}.",
    "itap of my {}.",
    "itap of the {}.",
    "a photo of {article} {}.",
    "a photo of my {}.",
    "a photo of the {}.",
    "a photo of one {}.",
    "a photo of many {}.",
    *_photos("good", "bad"),
    *_things("nice", "cool", "weird", "small", "large", "clean", "dirty"),
    *_photos("bright", "dark"),
    *_things("hard to see"),
    *_photos("low resolution", "cropped", "close-up", "jpeg corrupted", "blurry", "pixelated", "black and white"),
    *_made("plastic", "toy", "plushie", "cartoon"),
    "an embroidered {}.",
    "the embroidered {}.",
    "a painting of the {}.",
    "a painting of a {}.",
)
"""Published with ViLD (Gu et al. 2022), ``{article}`` for a or an."""


def prompt_name(name: str) -> str:
    """A class name as the prompts of ViLD write it: lower case, ``_`` a space, ``/`` the word or.

    >>> prompt_name("Traffic_Light/signal.")
    'traffic light or signal'
    """
    return " ".join(name.replace("_", " ").replace("/", " or ").lower().rstrip(".").split())


def text_prompts(name: str | Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """The sentences of a class; their normalised embeddings are averaged.

    Args:
        name: of the class, or the class's name and its synonyms (LVIS).
        templates: with ``{}`` for the name and, if wanted, ``{article}`` for a or an.

    Returns:
        A sentence a template and synonym. Those that begin with ``a`` or ``the`` are prefixed with ``This is``.

    Raises:
        DataError: if a name is empty.

    >>> len(text_prompts("apple")), text_prompts("apple")[0]
    (63, 'There is an apple in the scene.')
    >>> text_prompts(["tv", "television"])[65]
    'This is a photo of a television in the scene.'
    """
    names = [prompt_name(one) for one in ([name] if isinstance(name, str) else name)]
    if not names or not all(names):
        raise DataError(f"a class has no name: {name!r}")
    sentences = []
    for word in dict.fromkeys(names):
        article = "an" if word[0] in "aeiou" else "a"
        for template in templates:
            sentence = template.replace("{article}", article).replace("{}", word)
            sentences.append(f"This is {sentence}" if sentence.startswith(("a", "the")) else sentence)
    return sentences


def known_templates(clip: FrozenCLIP) -> tuple[str, ...]:
    """The published templates; of an encoder that knows few words, those of which it knows every word."""
    if clip.known_tokens is None:
        return TEMPLATES
    return tuple(t for t in TEMPLATES if not clip.unknown_words(t.format("", article="a"))) or ("{}",)


def class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names, checked.

    Raises:
        DataError: if there are none, one is empty, or two are alike.

    >>> class_names(["cat", " traffic  cone "])
    ('cat', 'traffic cone')
    """
    if isinstance(names, str):
        raise DataError(f"names is one text: {names!r}", expected="a list of class names", hint=f"[{names!r}]")
    found = tuple(" ".join(str(name).split()) for name in names)
    if not found:
        raise DataError("no names were given", expected="at least one class name", hint='names="cat, dog"')
    empty = [place for place, name in enumerate(found) if not name]
    if empty:
        raise DataError(f"name {empty[0] + 1} of {len(found)} is empty", expected="text in each")
    seen: dict[str, str] = {}
    for name in found:
        plain = prompt_name(name)
        if plain in seen:
            raise DataError(
                f'the name "{name}" is given twice' + (f', also as "{seen[plain]}"' if seen[plain] != name else ""),
                expected="each class once",
            )
        seen[plain] = name
    return found


def class_sentences(
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, list[str]]:
    """The sentences of every class, as :meth:`clipzoo.encoders.FrozenCLIP.classifier` takes them.

    Args:
        names: distinct.
        templates: as for :func:`text_prompts`.
        synonyms: further names of a class (LVIS).
    """
    return {name: text_prompts([name, *(synonyms or {}).get(name, ())], templates) for name in names}
