"""ViLD without training: a frozen CLIP names what lies in proposed boxes (Gu et al. 2022, section 3.2 and table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torchvision.ops import roi_align

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.pixels import check_range
from clipzoo.errors import ConfigError, DataError
from clipzoo.prompts import Templates
from clipzoo_detect.boxes import best_detections
from clipzoo_detect.crops import FITS, Fit, crop_batches, region_crops
from clipzoo_detect.detections import Detections
from clipzoo_detect.prompts import class_names, class_sentences, known_templates
from clipzoo_detect.proposals import Proposals, Proposer, given_proposals
from clipzoo_detect.proposals import proposer as named_proposer
from clipzoo_detect.scores import region_logits

Features = Literal["crops", "dense"]
BACKGROUND = ("background", "a photo of the background", "a photo of a part of an object")
"""Sentences that a region may fit better than any name; one column each."""

_TOY_BACKGROUND = ("background", "a photo of the background", "a white background", "a photo")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Names to look for, as CLIP's text tower sees them.

    Attributes:
        names: distinct.
        text: one unit row a name.
        background: one unit row a sentence.
    """

    names: tuple[str, ...]
    text: Float[Tensor, "classes dim"]
    background: Float[Tensor, "sentences dim"]


class ViLD:
    """Open-vocabulary detection without training: proposals, a frozen CLIP on each, a text classifier, NMS.

    Args:
        clip: the encoder.
        features: ``"crops"``: CLIP on the crops of each box and of its surroundings (tier 0); ``"dense"``: RoIAlign on
            the patch features of the whole image, one pass an image (tier 1).
        proposer: ``"grouping"``, ``"rpn"``, or a proposer of your own.
        proposals: boxes an image that are looked at.
        templates: prompts with ``{}`` for the name; ``"vild"`` are the 63 published ones (of an encoder that knows few
            words, those that it knows); anything else as for :meth:`FrozenCLIP.classifier`.
        background: sentences for what is none of the names.
        objectness: weight of the proposal's score in the geometric mean with the class probability, 0 to 1.
        context: factors by which boxes grow before they are cut out; their embeddings are summed.
        fit: how crops become squares, see :func:`clipzoo_detect.crop_regions`.
        temperature: of the softmax; default that of the encoder, 0.01 for most.
        iou: of the suppression within a class.
        threshold: least score.
        limit: detections an image.
        batch_size: crops that pass the encoder at once; default 16 on a CPU, whose cache holds them, and 128 elsewhere.
        dense_px: longer side of the image for ``features="dense"``, px.
        dense_mode: see :meth:`FrozenCLIP.dense`.

    Raises:
        ConfigError: if an argument is unknown or out of its range.

    >>> import clipzoo
    >>> image = torch.ones(3, 96, 96)
    >>> image[:, 20:60, 30:70] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    >>> found = ViLD(clipzoo.load_clip("tiny")).detect([image], ["red square", "blue circle"])[0]
    >>> int(found.labels[0]), found.boxes[0].round().tolist()
    (0, [30.0, 20.0, 70.0, 60.0])
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        *,
        features: Features = "crops",
        proposer: str | Proposer = "grouping",
        proposals: int = 300,
        templates: Templates = "vild",
        background: Sequence[str] | None = None,
        objectness: float = 0.5,
        context: Sequence[float] = (1.0, 1.5),
        fit: Fit = "square",
        temperature: float | None = None,
        iou: float = 0.5,
        threshold: float = 0.0,
        limit: int = 300,
        batch_size: int | None = None,
        dense_px: int = 672,
        dense_mode: str | None = None,
    ) -> None:
        """Keep the settings; nothing is computed yet."""
        if features not in ("crops", "dense"):
            raise ConfigError(f'no features called "{features}"', expected="crops or dense")
        if fit not in FITS:
            raise ConfigError(f'no fit called "{fit}"', expected=", ".join(FITS))
        if not 0 <= objectness <= 1:
            raise ConfigError(f"objectness is {objectness}", expected="a weight in [0, 1]")
        if not context or min(context) <= 0:
            raise ConfigError(f"context is {tuple(context)}", expected="factors above 0, at least one")
        if temperature is not None and temperature <= 0:
            raise ConfigError(f"temperature is {temperature}", expected="a number above 0")
        self.clip = clip
        self.features: Features = features
        self.proposer = named_proposer(proposer, clip.device)
        self.proposals = proposals
        self.templates = templates
        few = clip.known_tokens is not None
        self.background = tuple(background if background is not None else _TOY_BACKGROUND if few else BACKGROUND)
        self.objectness = objectness
        self.context = tuple(context)
        self.fit: Fit = fit
        self.temperature = 1 / clip.logit_scale if temperature is None else temperature
        self.iou, self.threshold, self.limit = iou, threshold, limit
        self.batch_size = batch_size
        self.dense_px, self.dense_mode = dense_px, dense_mode
        self._vocabulary: Vocabulary | None = None

    @torch.no_grad()
    def vocabulary(self, names: Sequence[str]) -> Vocabulary:
        """Names as rows of a text classifier; those of the last call are kept.

        Raises:
            DataError: if there are none, one is empty, or two are alike.
        """
        wanted = class_names(names)
        if self._vocabulary is None or self._vocabulary.names != wanted:
            if self.templates == "vild":
                templates = known_templates(self.clip)
                text = self.clip.classifier(wanted, class_sentences(wanted, templates))
            else:
                text = self.clip.classifier(wanted, self.templates)
            rows = self.clip.encode_text(self.background) if self.background else text[:0]
            self._vocabulary = Vocabulary(wanted, text, rows)
        return self._vocabulary

    @torch.no_grad()
    def propose(self, image: Float[Tensor, "3 height width"]) -> Proposals:
        """The boxes of one image that would be looked at."""
        return self.proposer(image).first(self.proposals)

    @torch.no_grad()
    def embed(
        self, image: Float[Tensor, "3 height width"], boxes: Float[Tensor, "boxes 4"]
    ) -> Float[Tensor, "boxes dim"]:
        r"""Unit rows of regions in the space of the sentences.

        Of crops: :math:`\ell_2(\ell_2(V(\mathrm{crop}_{1\times})) + \ell_2(V(\mathrm{crop}_{1.5\times})))` (Gu et al.
        2022, section 3.3); of dense features: the mean of the patches under the box.

        Args:
            image: RGB in [0, 1].
            boxes: px.
        """
        if len(boxes) == 0:
            return torch.zeros(0, self.clip.embed_dim, device=self.clip.device)
        image, boxes = image.to(self.clip.device), boxes.to(self.clip.device)
        if self.features == "dense":
            return self._embed_dense(image, boxes)
        return embed_crops(self.clip, image, boxes, context=self.context, fit=self.fit, batch_size=self.batch_size)

    def _embed_dense(self, image: Tensor, boxes: Tensor) -> Tensor:
        patch = patch_px(self.clip)
        height, width = image.shape[-2:]
        grow = self.dense_px / max(height, width)
        rows, columns = (max(patch, round(side * grow / patch) * patch) for side in (height, width))
        resized = F.interpolate(image[None], (rows, columns), mode="bicubic", antialias=True).clamp(0, 1)
        maps = self.clip.dense(resized, self.dense_mode).permute(0, 3, 1, 2)
        factor = boxes.new_tensor([columns / width, rows / height] * 2) / patch
        pooled = roi_align(maps, [boxes * factor], output_size=3, sampling_ratio=2, aligned=True)
        return F.normalize(pooled.mean((2, 3)), dim=-1)

    @torch.no_grad()
    def detect(
        self,
        images: Sequence[Float[Tensor, "3 height width"] | Image.Image] | Float[Tensor, "batch 3 height width"],
        names: Sequence[str],
        boxes: Sequence[Float[Tensor, "boxes 4"]] | None = None,
    ) -> list[Detections]:
        """Find things by name.

        Args:
            images: RGB in [0, 1], each of its own size; or PIL images.
            names: of the classes, distinct.
            boxes: proposals of your own for each image, px; those without area in the image are left out.

        Returns:
            For each image boxes, scores and labels, best first; labels are places in ``names``.

        Raises:
            DataError: if an image is none, there is no name, two are alike, or there are not boxes for each image.
        """
        pictures = as_images(images)
        if boxes is not None and len(boxes) != len(pictures):
            raise DataError(f"{len(pictures)} images with boxes for {len(boxes)}", expected="boxes for each image")
        vocabulary = self.vocabulary(names)
        found = []
        for place, image in enumerate(pictures):
            if boxes is None:
                proposed = self.propose(image)
            else:
                proposed, _ = given_proposals(boxes[place], (image.shape[-2], image.shape[-1]))
            found.append(self.classify(proposed, self.embed(image, proposed.boxes), vocabulary))
        return found

    def classify(self, proposed: Proposals, regions: Float[Tensor, "boxes dim"], vocabulary: Vocabulary) -> Detections:
        r"""Scores of embedded proposals, and what survives the suppression.

        :math:`s_k = o^w \, p_k^{1 - w}` with the objectness o and the softmax p over names and background.
        """
        if len(proposed) == 0:
            return Detections.none()
        logits = region_logits(regions, vocabulary.text, vocabulary.background, self.temperature)
        probability = logits.softmax(-1)[:, len(vocabulary.background) :]
        objectness = proposed.objectness.to(probability)[:, None]
        scores = objectness**self.objectness * probability ** (1 - self.objectness)
        places = proposed.boxes.to(scores.device)
        rows, labels = best_detections(places, scores, iou=self.iou, threshold=self.threshold, limit=self.limit)
        return Detections(places[rows].cpu(), scores[rows, labels].cpu(), labels.cpu())


@torch.no_grad()
def embed_crops(
    clip: FrozenCLIP,
    image: Float[Tensor, "3 height width"],
    boxes: Float[Tensor, "boxes 4"],
    *,
    context: Sequence[float] = (1.0, 1.5),
    fit: Fit = "square",
    batch_size: int | None = None,
) -> Float[Tensor, "boxes dim"]:
    """Unit rows of boxes: the sum of the embeddings of the box and of its surroundings, each distinct crop once."""
    size = image.shape[-2], image.shape[-1]
    crops, rows = region_crops(boxes, size, tuple(context))
    at_once = batch_size or (16 if clip.device.type == "cpu" else 128)
    batches = crop_batches(image, crops, clip.image_size, fit, at_once)
    parts = [clip.encode_image(batch, resize="none") for batch in batches]
    return F.normalize(torch.cat(parts)[rows].sum(0), dim=-1)


def patch_px(clip: FrozenCLIP) -> int:
    """Side of a patch of :meth:`FrozenCLIP.dense`, px: sides of images must be its multiples."""
    visual: Any = clip.model.visual
    patch = getattr(visual, "patch_size", None)
    if patch is None and hasattr(visual, "trunk"):
        patch = visual.trunk.patch_embed.patch_size
    if patch is None:
        return 32  # a ResNet, whatever the stride of its first layer
    return int(patch[0] if isinstance(patch, tuple | list) else patch)


def as_images(images: Any) -> list[Tensor]:
    """Images as a list of float tensors ``[3, H, W]`` in [0, 1].

    Raises:
        DataError: if something else is among them.
    """
    if isinstance(images, Image.Image) or (isinstance(images, Tensor) and images.ndim == 3):
        raise DataError("a single image was given", expected="a list of images", hint="[image]")
    found = []
    for place, image in enumerate(images):
        if isinstance(image, Image.Image):
            found.append(pixels_of(image))
            continue
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
            shape = tuple(getattr(image, "shape", ())) or type(image).__name__
            raise DataError(f"image {place} is {shape}", expected="a tensor [3, height, width] or a PIL image")
        if not image.is_floating_point():
            raise DataError(
                f"image {place} has the type {image.dtype}",
                expected="floating point in [0, 1]",
                hint="image.float() / 255",
            )
        check_range(image[None])
        found.append(image.float())
    return found


def pixels_of(image: Image.Image) -> Float[Tensor, "3 height width"]:
    """A PIL image as RGB in [0, 1]."""
    rgb = image.convert("RGB")
    flat = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
    return flat.reshape(rgb.height, rgb.width, 3).permute(2, 0, 1).float() / 255
