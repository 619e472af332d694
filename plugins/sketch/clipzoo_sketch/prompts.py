"""What to draw: weighted sentences and pictures, to come near to or to stay away from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ConfigError
from clipzoo_sketch.target import Photo, Target, prepare_target

NEGATIVE_WEIGHT = 0.3
"""Weight of a negative prompt, as published."""

PAPER_NEGATIVES = ("A badly drawn sketch.", "Many ugly, messy drawings.")
_PICTURE_PX = 224


@dataclass(frozen=True)
class Prompt:
    """A sentence or a picture, and how much it counts.

    Args:
        content: a sentence, or a picture already prepared.
        weight: negative to stay away from it.
    """

    content: str | Target
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if isinstance(self.content, str) and not self.content.strip():
            raise ConfigError("an empty prompt", expected="a sentence")
        if not abs(self.weight) < float("inf") or self.weight == 0:
            raise ConfigError(f"a prompt of the weight {self.weight}", expected="a number that is not zero")

    @property
    def told(self) -> str:
        """For records."""
        name = self.content if isinstance(self.content, str) else f"picture {self.content.name}"
        return name if self.weight == 1 else f"{name}:{self.weight:g}"

    def embed(self, clip: FrozenCLIP) -> Float[Tensor, "1 dim"]:
        """Its unit row."""
        if isinstance(self.content, str):
            return clip.encode_text([self.content])
        return clip.encode_image(self.content.pixels)


def image_prompt(picture: Photo, weight: float = 1.0) -> Prompt:
    """A picture to resemble."""
    return Prompt(prepare_target(picture, _PICTURE_PX), weight)


def parse_prompts(text: str, weight: float = 1.0) -> list[Prompt]:
    """Sentences between ``|``, each with an optional weight after its last colon.

    Args:
        text: for example ``"a red heart:2 | a drawing"``.
        weight: of those without one; a given weight is multiplied by its sign.

    >>> [(p.content, p.weight) for p in parse_prompts("a red heart:2 | a ratio of 3:4 things")]
    [('a red heart', 2.0), ('a ratio of 3:4 things', 1.0)]
    >>> parse_prompts("a square:0.5", -0.3)[0].weight
    -0.5
    """
    found = []
    for part in text.split("|"):
        if part.strip():
            name, given = split_weight(part)
            found.append(Prompt(name, weight if given is None else given * (1 if weight > 0 else -1)))
    return found


def split_weight(text: str) -> tuple[str, float | None]:
    """A text and the number after its last colon, if there is one.

    >>> split_weight("photo.jpg:0.5"), split_weight("http://somewhere/photo.jpg")
    (('photo.jpg', 0.5), ('http://somewhere/photo.jpg', None))
    """
    name, colon, number = text.rpartition(":")
    try:
        return (name.strip(), float(number)) if colon else (text.strip(), None)
    except ValueError:
        return text.strip(), None


def as_prompts(given: str | Prompt | Sequence[str | Prompt]) -> list[Prompt]:
    """Prompts of a text or of several; a text is parsed.

    Raises:
        ConfigError: if there is none.
    """
    parts = [given] if isinstance(given, str | Prompt) else list(given)
    found = [one for part in parts for one in ([part] if isinstance(part, Prompt) else parse_prompts(part))]
    if not found:
        raise ConfigError("no prompt was given", expected="a sentence", hint='prompt="a red heart"')
    return found


def prompt_loss(
    features: Float[Tensor, "drawings views dim"], rows: Float[Tensor, "prompts dim"], weights: Sequence[float]
) -> Float[Tensor, " drawings"]:
    r"""``-sum_p w_p mean_v cos(f_v, t_p)``, one number a drawing (CLIPDraw, Frans et al. 2022).

    The published code sums over views; under Adam that is the same but for its epsilon.

    Args:
        features: of the views of each drawing.
        rows: of the prompts.
        weights: of the prompts, negative to stay away.

    >>> prompt_loss(torch.tensor([[[2.0, 0.0]]]), torch.eye(2), [1.0, -0.3])
    tensor([-1.])
    """
    cosines = F.normalize(features, dim=-1) @ F.normalize(rows, dim=-1).T
    return -(cosines.mean(1) @ cosines.new_tensor(list(weights)))


def embed_prompts(clip: FrozenCLIP, prompts: Sequence[Prompt]) -> Float[Tensor, "prompts dim"]:
    """One unit row a prompt, without gradient."""
    with torch.no_grad():
        return torch.cat([prompt.embed(clip) for prompt in prompts])
