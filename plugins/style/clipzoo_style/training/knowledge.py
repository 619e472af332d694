"""What an encoder knows of faces: ``python -m clipzoo_style.training.knowledge``.

An edit can be no better than the encoder's understanding of its sentence, so the sentences of
:mod:`clipzoo_style.training.meaning` are chosen by this, before anything is edited: how well each sentence, against "a
face", tells the rendered faces that it is true of from the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import clipzoo
from clipzoo.data.faces import (
    FACE_ATTRIBUTES,
    FACE_NUMBERS,
    face_labels,
    face_phrases,
    face_truth,
    faces_from_uniforms,
    render_faces,
)
from clipzoo.data.scenes import Caption
from clipzoo.losses import text_direction
from clipzoo_style.encoding import Encoder, templates_for, text_features

NEUTRAL = "a face"
KNOWN = 0.95
"""Right order from which on a sentence counts as known."""


@dataclass(frozen=True)
class Known:
    """How well an encoder knows a sentence.

    Args:
        sentence: such as "a face with a hat".
        attribute: of :data:`FACE_ATTRIBUTES`.
        value: of the attribute, or "any".
        order: how often a face that it is true of scores above one that it is not (the area under the curve).
        separation: difference of the two mean scores in standard deviations within the two groups.
        share: of the faces that it is true of.
    """

    sentence: str
    attribute: str
    value: str
    order: float
    separation: float
    share: float


def sentences() -> Iterator[tuple[str, str, str]]:
    """Every sentence that says one value of one attribute, with both.

    >>> list(sentences())[0]
    ('a face with black hair', 'hair colour', 'black')
    """
    for attribute, values in FACE_ATTRIBUTES.items():
        for value in (*values, "any"):
            for adjective, words in face_phrases(attribute, value):
                phrase = " ".join(part for part in (adjective, "face", words) if part)
                yield f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}", attribute, value


def right_order(scores: Float[Tensor, " faces"], truth: Bool[Tensor, " faces"]) -> float:
    """Share of the pairs of a true and a false face that are in the right order; ties are half.

    >>> right_order(torch.tensor([0.1, 0.5, 0.3]), torch.tensor([False, True, False]))
    1.0
    """
    apart = scores[truth][:, None] - scores[~truth]
    return float((apart > 0).float().mean() + (apart == 0).float().mean() / 2)


def separation(scores: Float[Tensor, " faces"], truth: Bool[Tensor, " faces"]) -> float:
    """Difference of the mean scores in units of the root of the mean variance of the two groups."""
    yes, no = scores[truth], scores[~truth]
    return float((yes.mean() - no.mean()) / ((yes.var() + no.var()) / 2).sqrt())


@torch.no_grad()
def knowledge(clip: Encoder, model: str, faces: int = 1000, seed: int = 29) -> list[Known]:
    """All sentences, in the order of :func:`sentences`, on rendered faces."""
    numbers = torch.rand(faces, len(FACE_NUMBERS), generator=torch.Generator().manual_seed(seed))
    features = torch.cat(
        [clip.encode_image(render_faces(faces_from_uniforms(part), 64)).float() for part in numbers.split(64)]
    )
    templates = templates_for("auto", model)
    source, found = text_features(clip, NEUTRAL, templates), []
    for sentence, attribute, value in sentences():
        target = text_features(clip, sentence, templates)
        scores = features @ text_direction(source, target, "prototype_diff")
        fact = Caption(sentence, (("face", attribute, value),))
        truth = torch.from_numpy(face_truth(face_labels(numbers).numpy(), [fact])[:, 0])
        told = right_order(scores, truth), separation(scores, truth), float(truth.float().mean())
        found.append(Known(sentence, attribute, value, *told))
    return found


@click.command()
@click.option("--model", default="tiny-rn", show_default=True)
@click.option("--faces", default=1000, show_default=True)
@click.option("--seed", default=29, show_default=True)
def main(model: str, faces: int, seed: int) -> None:
    """Print how well each sentence is known."""
    for one in knowledge(clipzoo.load_clip(model), model, faces, seed):
        mark = "known" if one.order >= KNOWN else ""
        click.echo(f"{one.sentence:38s} order {one.order:.3f}  separation {one.separation:5.2f}  {mark}")


if __name__ == "__main__":
    main()
