"""One interface to several open-vocabulary detectors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ConfigError, MissingExtra, WeightsError, closest_matches
from clipzoo_detect.boxes import best_detections, clip_boxes
from clipzoo_detect.detections import Detections
from clipzoo_detect.grounding import CHUNK, Aggregate, aggregate, build_prompt, chunk, merge_detections, positive_map
from clipzoo_detect.prompts import class_names, prompt_name
from clipzoo_detect.vild import ViLD, as_images

DETECTORS = ("vild0", "vild", "owlv2", "mm-grounding-dino")
WEIGHTS = {
    "owlv2": "google/owlv2-base-patch16-ensemble",
    "mm-grounding-dino": "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg",
}
"""Weights on the Hugging Face hub that are taken where none are named."""


class Detector(Protocol):
    """Anything that finds things by name."""

    def detect(self, images: Any, names: Sequence[str]) -> list[Detections]:
        """Boxes, scores and labels (places in ``names``) for each image."""
        ...


def detector(
    name: str,
    *,
    clip: FrozenCLIP | None = None,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Detector:
    """A detector by name.

    Args:
        name: ``"vild0"`` (training-free, needs ``clip``), ``"vild"`` (trained, needs ``clip`` and ``weights``),
            ``"owlv2"`` or ``"mm-grounding-dino"`` (through transformers).
        clip: the encoder.
        weights: a checkpoint; of the last two a folder or a name on the Hugging Face hub.
        device: of the last two.
        **options: of the class.

    Raises:
        ConfigError: if there is no such detector, or it lacks what it needs.
        MissingExtra: if transformers is not installed.
        WeightsError: if the weights cannot be read.
    """
    if name not in DETECTORS:
        raise ConfigError(
            f'no detector called "{name}"', closest=closest_matches(name, DETECTORS), expected=", ".join(DETECTORS)
        )
    if name in ("vild0", "vild") and clip is None:
        raise ConfigError(f'the detector "{name}" needs an encoder', hint='clip=clipzoo.load_clip("ViT-B-32/openai")')
    if name == "vild0":
        assert clip is not None
        return ViLD(clip, **options)
    if name == "vild":
        from clipzoo_detect.network import TrainedViLD

        if weights is None:
            raise ConfigError('the detector "vild" needs weights', expected="a file that stage=train wrote")
        assert clip is not None
        return TrainedViLD.load(weights, clip, **options)
    kind = OWLv2Detector if name == "owlv2" else GroundingDetector
    return kind.from_pretrained(str(weights or WEIGHTS[name]), device, **options)


class OWLv2Detector:
    """OWLv2 (Minderer et al. 2023) through transformers.

    Its images are padded to a square at the bottom and the right, and its boxes are relative to that square.

    Args:
        model: ``Owlv2ForObjectDetection``.
        processor: ``Owlv2Processor``.
        template: with ``{}`` for the name.
        threshold: least score.
        iou: of the suppression within a class; the model itself does none.
        limit: detections an image.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        template: str = "a photo of a {}",
        threshold: float = 0.1,
        iou: float = 0.5,
        limit: int = 300,
    ) -> None:
        """Put the model in evaluation mode."""
        self.model, self.processor = model.eval(), processor
        self.template, self.threshold, self.iou, self.limit = template, threshold, iou, limit

    @classmethod
    def from_pretrained(cls, weights: str, device: torch.device | str = "cpu", **options: Any) -> OWLv2Detector:
        """From a folder or the hub.

        Raises:
            MissingExtra: if transformers is not installed.
            WeightsError: if there are no such weights.
        """
        model, processor = _pretrained("Owlv2ForObjectDetection", "Owlv2Processor", weights, device)
        return cls(model, processor, **options)

    @torch.no_grad()
    def detect(self, images: Any, names: Sequence[str]) -> list[Detections]:
        """Find things by name, as :meth:`ViLD.detect` does."""
        sentences = [self.template.replace("{}", prompt_name(name)) for name in class_names(names)]
        return [self._one(image, sentences) for image in as_images(images)]

    def _one(self, image: Tensor, sentences: list[str]) -> Detections:
        # Its text tower reads 16 tokens: of longer names the beginning.
        inputs = self.processor(text=[sentences], images=_picture(image), return_tensors="pt", truncation=True)
        output = self.model(**_moved(inputs, self.model))
        height, width = image.shape[-2:]
        boxes = _corners(output.pred_boxes[0]) * max(height, width)
        return _best(
            clip_boxes(boxes, (height, width)), output.logits[0].sigmoid(), self.iou, self.threshold, self.limit
        )


class GroundingDetector:
    """Grounding DINO and MM-Grounding-DINO (Zhao et al. 2024) through transformers, with class scores, not phrases.

    The names of up to 40 classes make one prompt; a class scores what its own tokens score; prompts are merged.

    Args:
        model: ``MMGroundingDinoForObjectDetection`` or ``GroundingDinoForObjectDetection``.
        processor: its processor, with a fast tokenizer.
        how: see :func:`clipzoo_detect.grounding.aggregate`.
        size: classes a prompt.
        threshold: least score.
        iou: of the suppression within a class.
        limit: detections an image.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        how: Aggregate = "mean",
        size: int = CHUNK,
        threshold: float = 0.1,
        iou: float = 0.6,
        limit: int = 300,
    ) -> None:
        """Put the model in evaluation mode."""
        self.model, self.processor = model.eval(), processor
        self.how: Aggregate = how
        self.size, self.threshold, self.iou, self.limit = size, threshold, iou, limit

    @classmethod
    def from_pretrained(cls, weights: str, device: torch.device | str = "cpu", **options: Any) -> GroundingDetector:
        """From a folder or the hub.

        Raises:
            MissingExtra: if transformers is not installed.
            WeightsError: if there are no such weights.
        """
        model, processor = _pretrained("AutoModelForZeroShotObjectDetection", "AutoProcessor", weights, device)
        return cls(model, processor, **options)

    @torch.no_grad()
    def detect(self, images: Any, names: Sequence[str]) -> list[Detections]:
        """Find things by name, as :meth:`ViLD.detect` does."""
        chunks = chunk([prompt_name(name) for name in class_names(names)], self.size)
        found = []
        for image in as_images(images):
            parts = [self._one(image, part) for part in chunks]
            found.append(merge_detections(parts, chunks, self.iou, self.limit))
        return found

    def _one(self, image: Tensor, names: Sequence[str]) -> Detections:
        text, spans = build_prompt(names)
        inputs = self.processor(images=_picture(image), text=text, return_tensors="pt")
        output = self.model(**_moved(inputs, self.model))
        tokens = output.logits[0].sigmoid()
        positive = positive_map(self.processor.tokenizer, text, spans, tokens.shape[-1]).to(tokens.device)
        height, width = image.shape[-2:]
        boxes = _corners(output.pred_boxes[0]) * tokens.new_tensor([width, height, width, height])
        scores = aggregate(tokens, positive, self.how)
        return _best(clip_boxes(boxes, (height, width)), scores, self.iou, self.threshold, self.limit)


def _pretrained(model: str, processor: str, weights: str, device: torch.device | str) -> tuple[Any, Any]:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtra(
            "this detector needs transformers, which is not installed",
            hint='pip install "clipzoo-detect[transformers]"',
        ) from error
    try:
        return (
            getattr(transformers, model).from_pretrained(weights).to(device),
            getattr(transformers, processor).from_pretrained(weights),
        )
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"the weights {weights} cannot be loaded: {text}", expected="a folder, or a name on the Hugging Face hub"
        ) from error


def _moved(inputs: Any, model: Any) -> dict[str, Any]:
    device = getattr(model, "device", torch.device("cpu"))
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def _picture(image: Float[Tensor, "3 height width"]) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def _corners(boxes: Float[Tensor, "boxes 4"]) -> Float[Tensor, "boxes 4"]:
    """From centre and size to corners."""
    half = boxes[:, 2:] / 2
    return torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def _best(boxes: Tensor, scores: Tensor, iou: float, threshold: float, limit: int) -> Detections:
    rows, labels = best_detections(boxes, scores, iou=iou, threshold=threshold, limit=limit)
    return Detections(boxes[rows].cpu(), scores[rows, labels].cpu(), labels.cpu())
