"""The published sets of templates, by the name of the dataset they were written for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from clipzoo.errors import ConfigError, closest_matches

Template = str | Callable[[str], str]

_CIFAR = tuple(
    f"a {kind}photo of {article} {size}{{}}."
    for article in ("a", "the")
    for kind, size in (
        ("", ""),
        ("blurry ", ""),
        ("black and white ", ""),
        ("low contrast ", ""),
        ("high contrast ", ""),
        ("bad ", ""),
        ("good ", ""),
        ("", "small "),
        ("", "big "),
    )
)
_TEXTURES = tuple(
    f"a photo of {article}{{}} {noun}." for noun in ("texture", "pattern", "thing", "object") for article in ("a ", "")
)

_SETS: dict[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": ("a photo of a {}.",),
    # CLIP's prompts for single datasets (Radford et al. 2021, section 3.1.4 and its released lists).
    "cifar": _CIFAR,
    "food": ("a photo of {}, a type of food.",),
    "pets": ("a photo of a {}, a type of pet.",),
    "flowers": ("a photo of a {}, a type of flower.",),
    "aircraft": ("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    "scenes": ("a photo of a {}.", "a photo of the {}."),
    "textures": _TEXTURES,
    "satellite": (
        "a centered satellite photo of {}.",
        "a centered satellite photo of a {}.",
        "a centered satellite photo of the {}.",
    ),
    "actions": ("a photo of a person {}.", "a video of a person {}.", "a photo of a person during {}."),
    # PointCLIP, Zhang et al. 2022.
    "pointclip-zero-shot": ("point cloud depth map of a {}.",),
    "pointclip-few-shot": ("point cloud of a big {}.",),
}
TEMPLATE_SETS = (*_SETS, "imagenet-7", "imagenet-80")
"""Names that :func:`template_set` knows."""


@lru_cache
def template_set(name: str) -> tuple[Template, ...]:
    """The templates called ``name``.

    ``imagenet-80`` and ``imagenet-7`` (a subset found by forward selection, better than all 80 for small models) are
    those that open_clip ships.

    Raises:
        ConfigError: if no set is called so.

    >>> template_set("photo")
    ('a photo of a {}.',)
    """
    if name in ("imagenet-80", "imagenet-7"):
        import open_clip  # heavy; and the lists are its to keep

        return tuple(
            open_clip.OPENAI_IMAGENET_TEMPLATES if name == "imagenet-80" else open_clip.SIMPLE_IMAGENET_TEMPLATES
        )
    if name in _SETS:
        return _SETS[name]
    raise ConfigError(
        f'no templates called "{name}"',
        closest=closest_matches(name, TEMPLATE_SETS),
        expected=f"{', '.join(TEMPLATE_SETS)}, or a list of sentences with {{}} for the class name",
    )
