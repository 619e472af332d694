"""What is minimised: from the features of a batch to one number, the same code for one process and many."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ConfigError, closest_matches
from clipzoo.losses import contrastive_loss, label_kl_loss, siglip_loss, soft_target_loss
from clipzoo.losses.queue import FeatureQueue, queue_loss
from clipzoo_train.distillation import distillation_loss
from clipzoo_train.pair import Pair
from clipzoo_train.plugin import LOSSES


@dataclass(frozen=True)
class Batch:
    """Pairs of a step, of this process.

    Args:
        pixels: in [0, 1]; or kept features of a frozen image tower ``[batch, width]``.
        tokens: ids of one caption each; or kept features of a frozen text tower.
        images: row of each image in the dataset.
        captions: number of each caption text, equal texts alike.
    """

    pixels: Tensor
    tokens: Tensor
    images: Int[Tensor, " batch"]
    captions: Int[Tensor, " batch"]

    def __len__(self) -> int:
        """How many pairs."""
        return len(self.images)

    def part(self, rows: slice) -> Batch:
        """Some of the pairs."""
        return Batch(self.pixels[rows], self.tokens[rows], self.images[rows], self.captions[rows])


@dataclass(frozen=True)
class Extra:
    """What an objective needs besides the features, computed before them without gradients."""

    image: Tensor | None = None
    text: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """What the towers make of a batch.

    Args:
        image: of images, not normalised.
        text: of their captions, row by row.
        scale: factor on cosines.
        bias: added to logits, or None.
    """

    image: Float[Tensor, "batch dim"]
    text: Float[Tensor, "batch dim"]
    scale: Tensor
    bias: Tensor | None = None


class Objective(nn.Module):
    """CLIP's loss, and the base of the others.

    Args:
        pair: whose scale and bias are used.
    """

    def __init__(self, pair: Pair) -> None:
        """Hold the pair without making it a submodule."""
        super().__init__()
        self._pair = [pair]

    @property
    def pair(self) -> Pair:
        """The towers that are trained."""
        return self._pair[0]

    def prepare(self, batch: Batch) -> Extra:
        """Keys, or a teacher's features: nothing here."""
        return Extra()

    def forward(self, features: Features, batch: Batch, extra: Extra) -> Float[Tensor, ""]:
        """The loss of this process; its mean over processes is that of the whole batch."""
        return contrastive_loss(features.image, features.text, features.scale, logit_bias=features.bias)

    def after_step(self, batch: Batch, extra: Extra) -> None:
        """What follows a step of the optimiser: nothing here."""

    def chance(self, batch_size: int) -> float:
        """The loss of a model that gives all pairs the same score."""
        return math.log(batch_size)


class SigmoidObjective(Objective):
    """SigLIP's loss."""

    def forward(self, features: Features, batch: Batch, extra: Extra) -> Float[Tensor, ""]:
        """See the base."""
        if features.bias is None:
            raise ConfigError("the sigmoid loss needs a bias", expected="a pair built with sigmoid=True")
        return siglip_loss(features.image, features.text, features.scale, features.bias)

    def chance(self, batch_size: int) -> float:
        """All pairs at probability one half."""
        return batch_size * math.log(2)


class MultiPositiveObjective(Objective):
    """Captions of one image, and images of one caption, are all right answers."""

    def forward(self, features: Features, batch: Batch, extra: Extra) -> Float[Tensor, ""]:
        """See the base."""
        return label_kl_loss(features.image, features.text, batch.images, features.scale, sharpness=math.inf)


class SoftTargetObjective(Objective):
    """SimpleCLIP's loss, repaired or as published.

    Args:
        pair: as in the base.
        temperature: of logits (and targets).
        published: the released code with its defects.
    """

    def __init__(self, pair: Pair, temperature: float, published: bool) -> None:
        """Keep the settings."""
        super().__init__(pair)
        self.temperature = temperature
        self.published = published

    def forward(self, features: Features, batch: Batch, extra: Extra) -> Float[Tensor, ""]:
        """See the base."""
        compat = "shariatnia" if self.published else None
        return soft_target_loss(features.image, features.text, temperature=self.temperature, compat=compat)


class QueueObjective(Objective):
    """Earlier keys as further negatives, one queue a side (MoCo, He et al. 2020, for two towers).

    Args:
        pair: as in the base.
        size: rows of each queue.
        momentum: of the averaged towers that make the keys. With 0 keys are the features themselves, with their
            gradient; then an empty queue gives exactly CLIP's loss.
        dim: width of the features.
    """

    def __init__(self, pair: Pair, size: int, momentum: float, dim: int) -> None:
        """Start with empty queues and key towers equal to the pair."""
        super().__init__(pair)
        self.momentum = momentum
        self.image_queue, self.text_queue = FeatureQueue(size, dim), FeatureQueue(size, dim)
        self.keys = copy.deepcopy(pair).requires_grad_(False) if momentum else None

    def prepare(self, batch: Batch) -> Extra:
        """Keys of this batch."""
        if self.keys is None:
            return Extra()
        with torch.no_grad():
            return Extra(self.keys.image_features(batch.pixels), self.keys.text_features(batch.tokens))

    def forward(self, features: Features, batch: Batch, extra: Extra) -> Float[Tensor, ""]:
        """See the base."""
        image, text, scale = features.image, features.text, features.scale
        image_keys = image if extra.image is None else extra.image
        text_keys = text if extra.text is None else extra.text
        ids = batch.images
        if extra.image is None:
            self._fresh = image.detach(), text.detach()
        else:
            self._fresh = image_keys, text_keys
        to_texts = queue_loss(
            image, text_keys, self.text_queue.features, 1 / scale, ids=ids, queue_ids=self.text_queue.ids
        )
        to_images = queue_loss(
            text, image_keys, self.image_queue.features, 1 / scale, ids=ids, queue_ids=self.image_queue.ids
        )
        return (to_texts + to_images) / 2

    @torch.no_grad()
    def after_step(self, batch: Batch, extra: Extra) -> None:
        """Enqueue the keys that were scored, and move the key towers."""
        for queue, keys in zip((self.image_queue, self.text_queue), self._fresh, strict=True):
            queue.enqueue(keys, batch.images)
        if self.keys is not None:
            for key, value in zip(self.keys.parameters(), self.pair.parameters(), strict=True):
                key.lerp_(value, 1 - self.momentum)
            for key, value in zip(self.keys.buffers(), self.pair.buffers(), strict=True):
                key.copy_(value)

    def chance(self, batch_size: int) -> float:
        """Of a full queue."""
        return math.log(batch_size + self.text_queue.size)


class DistillationObjective(Objective):
    """CLIP's loss and a frozen teacher's.

    Args:
        pair: as in the base.
        teacher: any encoder; it sees the student's pixels, resized as it needs.
        weight: of its part.
        sentences: all captions, encoded once.
    """

    def __init__(self, pair: Pair, teacher: FrozenCLIP, weight: float, sentences: list[str]) -> None:
        """Encode the captions."""
        super().__init__(pair)
        self._teacher = [teacher]
        self.weight = weight
        with torch.no_grad():
            self._texts = [teacher.encode_text(sentences)]

    def prepare(self, batch: Batch) -> Extra:
        """The teacher's features."""
        if batch.pixels.ndim != 4:
            raise ConfigError("a teacher looks at pixels, and features of a frozen image tower are kept instead")
        with torch.no_grad():
            image = self._teacher[0].encode_image(batch.pixels.float())
        return Extra(image, self._texts[0][batch.captions])

    def forward(self, features: Features, batch: Batch, extra: Extra) -> Float[Tensor, ""]:
        """See the base."""
        own = super().forward(features, batch, extra)
        assert extra.image is not None and extra.text is not None
        told = distillation_loss(
            features.image, features.text, features.scale, extra.image, extra.text, self._teacher[0].logit_scale
        )
        return own + self.weight * told


def make_objective(
    name: str,
    pair: Pair,
    *,
    dim: int,
    temperature: float = 1.0,
    queue_size: int = 0,
    momentum: float = 0.0,
    teacher: FrozenCLIP | None = None,
    distil_weight: float = 1.0,
    sentences: list[str] | None = None,
) -> Objective:
    """The objective called ``name``.

    Args:
        name: one of :data:`clipzoo_train.plugin.LOSSES`.
        pair: the towers.
        dim: width of their features.
        temperature: of the soft losses.
        queue_size: of the queue loss.
        momentum: of its key towers.
        teacher: of the distillation.
        distil_weight: of its part.
        sentences: all captions by number, for the teacher.

    Raises:
        ConfigError: if there is none of this name, or its teacher is missing.
    """
    if name == "clip":
        return Objective(pair)
    if name == "siglip":
        return SigmoidObjective(pair)
    if name == "multi-positive":
        return MultiPositiveObjective(pair)
    if name in ("soft", "simpleclip"):
        return SoftTargetObjective(pair, temperature, name == "simpleclip")
    if name == "queue":
        return QueueObjective(pair, queue_size, momentum, dim)
    if name == "distil":
        if teacher is None or sentences is None:
            raise ConfigError("loss=distil needs a teacher", hint="teacher=ViT-B-32/openai")
        return DistillationObjective(pair, teacher, distil_weight, sentences)
    raise ConfigError(f'no loss called "{name}"', closest=closest_matches(name, LOSSES), expected=", ".join(LOSSES))
