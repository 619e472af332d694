"""What the methods show to CLIP, and what they say to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.data.faces import FACE_TEMPLATES
from clipzoo.errors import ConfigError, DataError
from clipzoo.images.pixels import clamp_with_gradient, clip_pixels
from clipzoo.prompts import class_prompts
from clipzoo.prompts.sets import template_set

Compat = Literal["fixed", "upstream"]

_LEFT_OUT = "a photo of many {}."


class Encoder(Protocol):
    """What is asked of an encoder; :class:`clipzoo.FrozenCLIP` is one."""

    @property
    def image_size(self) -> int:
        """Side of the images that it takes, px."""
        ...

    def encode_image(self, pixels: Tensor, *, normalise: bool = True) -> Tensor:
        """Unit rows."""
        ...

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Unit rows."""
        ...


def styleclip_templates() -> tuple[str, ...]:
    """The 79 sentences of StyleCLIP and StyleGAN-NADA: CLIP's 80 for ImageNet without "a photo of many {}.".

    >>> len(styleclip_templates())
    79
    """
    written = [one if isinstance(one, str) else one("{}") for one in template_set("imagenet-80")]
    return tuple(one for one in written if one != _LEFT_OUT)


def templates_for(name: str, model: str) -> tuple[str, ...]:
    """The set called ``name``: ``styleclip``, ``faces``, ``name``, or ``auto``: what the encoder was trained with."""
    if name == "auto":
        name = "faces" if model.startswith("tiny") else "styleclip"
    sets = {"styleclip": styleclip_templates(), "faces": tuple(_with_article(one) for one in FACE_TEMPLATES)}
    if name not in (*sets, "name"):
        raise ConfigError(f'no templates called "{name}"', expected="auto, styleclip, faces, name")
    return sets.get(name, ("{}",))


def _with_article(template: str) -> str:
    return template.replace("{}", "a {}")


def bare(text: str) -> str:
    """A text without its article, since templates bring their own.

    >>> bare("A smiling face")
    'smiling face'
    """
    words = text.strip().split()
    if not words:
        raise DataError("an empty text", expected='words such as "a smiling face"')
    return " ".join(words[1:] if len(words) > 1 and words[0].lower() in ("a", "an", "the") else words)


def text_features(clip: Encoder, text: str, templates: Sequence[str]) -> Float[Tensor, "templates dim"]:
    """The text in every template, as unit rows."""
    if list(templates) == ["{}"]:
        return clip.encode_text([text])
    sentences = [one.replace("{}", bare(text)) for one in templates]
    return clip.encode_text(sentences).float()


def seen(clip: Encoder, rendered: Float[Tensor, "batch 3 height width"], compat: Compat) -> Float[Tensor, "batch dim"]:
    """Features of rendered images in [-1, 1].

    ``"fixed"`` cuts them to [0, 1] and preprocesses as CLIP was trained; ``"upstream"`` is StyleCLIP's: the exact area
    filter on the values as they are, without CLIP's mean and standard deviation.
    """
    if compat == "upstream":
        return clip.encode_image(clip_pixels(rendered, "styleclip", size=clip.image_size, check=False), normalise=False)
    # differs from the paper: its code leaves out CLIP's normalisation.
    return clip.encode_image(clamp_with_gradient((rendered.float() + 1) / 2))


def sentences_of(prompts: str | Sequence[str]) -> list[str]:
    """One prompt or several, as a list without blanks."""
    given = [prompts] if isinstance(prompts, str) else list(prompts)
    if not given or not all(isinstance(one, str) and one.strip() for one in given):
        raise DataError(f"prompts {given!r}", expected='one text or several, such as "a smiling face"')
    return given


@torch.no_grad()
def prompt_rows(clip: Encoder, prompts: str | Sequence[str]) -> Float[Tensor, "prompts dim"]:
    """Unit rows of the prompts, as they are written."""
    return clip.encode_text(sentences_of(prompts)).float()


def known_templates(templates: Sequence[str] | None) -> tuple[str, ...]:
    """The templates given, or StyleCLIP's; each has a place for the text."""
    chosen = styleclip_templates() if templates is None else tuple(templates)
    class_prompts(["face"], list(chosen))  # refuses what has no place for a name
    return chosen
