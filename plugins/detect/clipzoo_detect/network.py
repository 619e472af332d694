"""The detector that ViLD trains: Mask R-CNN whose classes are sentences (Gu et al. 2022, sections 3.2 to 3.4)."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_loss, paste_masks_in_image
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, box_iou

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ConfigError, DataError, WeightsError
from clipzoo_detect.boxes import best_detections, decode_boxes, encode_boxes, valid_boxes
from clipzoo_detect.detections import Detections
from clipzoo_detect.prompts import class_names, class_sentences, known_templates, prompt_name
from clipzoo_detect.scores import base_cross_entropy, distillation_loss, region_logits, vild_ensemble
from clipzoo_detect.vild import as_images

Variant = Literal["text", "image", "vild", "ensemble", "closed"]
VARIANTS = ("text", "image", "vild", "ensemble", "closed")

_IMAGENET_MEAN = [0.485, 0.456, 0.406]
_IMAGENET_STD = [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class Shape:
    """Sizes of a network.

    Args:
        least_px: shorter side of the images; one of them is drawn in training.
        most_px: longer side at most.
        channels: of the feature pyramid.
        width: of the fully connected layers.
        convolutions: of a region head, before those.
        anchors: side of the anchors of each level, px.
        rpn_before: proposals a level before suppression, in training and in testing.
        rpn_after: after it.
        regions: sampled an image in training, a quarter of them things at most.
        pooled: levels of the pyramid that regions are cut from.
    """

    least_px: tuple[int, ...]
    most_px: int
    channels: int
    width: int
    convolutions: int
    anchors: tuple[int, ...]
    rpn_before: tuple[int, int]
    rpn_after: tuple[int, int]
    regions: int
    pooled: tuple[str, ...]


SHAPES: dict[str, Shape] = {
    "resnet50": Shape(
        (640, 672, 704, 736, 768, 800), 1333, 256, 1024, 4, (32, 64, 128, 256, 512), (2000, 1000), (1000, 1000), 512,
        ("0", "1", "2", "3"),
    ),
    "small": Shape((112,), 224, 64, 256, 1, (16, 32, 64), (200, 100), (100, 100), 40, ("0", "1", "2")),
}  # fmt: skip


class SmallBackbone(nn.Module):
    """Three stages of residual blocks and a feature pyramid, strides 4, 8 and 16: what toy scenes need."""

    def __init__(self, out_channels: int) -> None:
        """Build it with random weights."""
        super().__init__()
        widths = (32, 64, 96, 128)
        self.stem = _conv(3, widths[0], 2)
        self.stages = nn.ModuleList(nn.Sequential(_conv(a, b, 2), _Residual(b)) for a, b in pairwise(widths))
        self.pyramid = FeaturePyramidNetwork(list(widths[1:]), out_channels)
        self.out_channels = out_channels

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Maps of the pyramid, finest first."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        x = self.stem(pixels)
        for place, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(place)] = x
        return self.pyramid(maps)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            _conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), _norm(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.inside(x))


def _norm(width: int) -> nn.GroupNorm:
    # differs from the paper: groups instead of batches, so that a run on one small device needs no synchronised BN.
    return nn.GroupNorm(min(32, width // 8), width)


def _conv(inside: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, out, 3, stride, 1, bias=False), _norm(out), nn.ReLU(inplace=True))


class RegionHead(nn.Module):
    """Convolutions and two layers from the pooled map of a region to an embedding in the space of CLIP."""

    def __init__(self, shape: Shape, dim: int) -> None:
        """Build it with random weights."""
        super().__init__()
        self.convolutions = nn.Sequential(*(_conv(shape.channels, shape.channels) for _ in range(shape.convolutions)))
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(shape.channels * 49, shape.width),
            nn.LayerNorm(shape.width),
            nn.ReLU(inplace=True),
            nn.Linear(shape.width, shape.width),
            nn.LayerNorm(shape.width),
            nn.ReLU(inplace=True),
        )
        self.project = nn.Linear(shape.width, dim)

    def forward(self, pooled: Float[Tensor, "regions channels 7 7"]) -> tuple[Tensor, Tensor]:
        """Unit embeddings, and the features from which boxes are refined."""
        features = self.layers(self.convolutions(pooled))
        return F.normalize(self.project(features), dim=-1), features


@dataclass(frozen=True, eq=False)
class Example:
    """One training image.

    Attributes:
        pixels: RGB in [0, 1].
        boxes: of the annotated base things, px.
        labels: their classes, from zero.
        masks: their pixels, or None.
        proposals: boxes whose embeddings are distilled, px.
        embeddings: of those, unit rows.
    """

    pixels: Float[Tensor, "3 height width"]
    boxes: Float[Tensor, "things 4"]
    labels: Tensor
    masks: Tensor | None
    proposals: Float[Tensor, "proposals 4"]
    embeddings: Float[Tensor, "proposals dim"]

    def flipped(self) -> Example:
        """The mirror image."""
        width = self.pixels.shape[-1]

        def turned(boxes: Tensor) -> Tensor:
            return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)

        masks = None if self.masks is None else self.masks.flip(-1)
        return Example(
            self.pixels.flip(-1), turned(self.boxes), self.labels, masks, turned(self.proposals), self.embeddings
        )


class ViLDNetwork(nn.Module):
    """Mask R-CNN with class-agnostic boxes and masks, whose classifier is a matrix of text embeddings.

    Args:
        dim: width of the joint space of the encoder.
        backbone: ``"resnet50"`` or ``"small"``.
        variant: ``"text"``, ``"image"``, ``"vild"`` (one head), ``"ensemble"`` (a head each), or ``"closed"``: the
            linear classifier of Mask R-CNN, which knows no classes but its own.
        classes: of ``"closed"``.
        masks: predict masks.

    Raises:
        ConfigError: if a name is unknown.
    """

    def __init__(
        self, dim: int, backbone: str = "resnet50", variant: Variant = "ensemble", classes: int = 0, masks: bool = True
    ) -> None:
        """Build it with random weights."""
        super().__init__()
        if backbone not in SHAPES:
            raise ConfigError(f'no backbone called "{backbone}"', expected=", ".join(SHAPES))
        if variant not in VARIANTS:
            raise ConfigError(f'no variant called "{variant}"', expected=", ".join(VARIANTS))
        shape = SHAPES[backbone]
        self.shape, self.variant = shape, variant
        self.transform = GeneralizedRCNNTransform(
            list(shape.least_px),  # type: ignore[arg-type]
            shape.most_px,
            _IMAGENET_MEAN,
            _IMAGENET_STD,  # type: ignore[arg-type]
        )
        self.backbone: Any = (
            SmallBackbone(shape.channels)
            if backbone == "small"
            else resnet_fpn_backbone(
                backbone_name="resnet50", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
            )
        )
        sizes = tuple((side,) for side in shape.anchors)
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(
                shape.channels, anchors.num_anchors_per_location()[0], conv_depth=2 if backbone == "resnet50" else 1
            ),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256 if backbone == "resnet50" else 64,
            positive_fraction=0.5,
            pre_nms_top_n={"training": shape.rpn_before[0], "testing": shape.rpn_before[1]},
            post_nms_top_n={"training": shape.rpn_after[0], "testing": shape.rpn_after[1]},
            nms_thresh=0.7,
        )
        self.box_pool = MultiScaleRoIAlign(list(shape.pooled), 7, 2)
        self.text_head = RegionHead(shape, dim)
        self.image_head = RegionHead(shape, dim) if variant in ("image", "ensemble") else None
        self.deltas = nn.Linear(shape.width, 4)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)
        self.background = nn.Parameter(torch.randn(dim) * 0.01)
        self.classes = nn.Linear(shape.width, 1 + classes) if variant == "closed" else None
        self.mask_head: nn.Module | None = None
        if masks:
            self.mask_pool = MultiScaleRoIAlign(list(shape.pooled), 14, 2)
            layers = (shape.channels,) * (4 if backbone == "resnet50" else 2)
            self.mask_head = nn.Sequential(
                MaskRCNNHeads(shape.channels, layers, 1), MaskRCNNPredictor(shape.channels, shape.channels, 1)
            )

    def forward(
        self,
        examples: Sequence[Example],
        text: Float[Tensor, "classes dim"],
        base: Tensor,
        *,
        distillation: float = 0.5,
        novel: Literal["-inf", "zero"] = "-inf",
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            examples: with annotations of base classes alone.
            text: rows of all classes.
            base: bool, which of them may be learned from.
            distillation: weight of the distillation loss.
            novel: see :func:`clipzoo_detect.base_cross_entropy`.

        Returns:
            ``objectness``, ``proposal_boxes``, ``classes``, ``boxes``, ``masks`` and ``distillation``, as far as the
            variant has them.
        """
        targets = [self._target(example) for example in examples]
        batch, targets = self.transform([example.pixels for example in examples], targets)
        maps = self.backbone(batch.tensors)
        proposals, found = self.rpn(batch, maps, targets)
        losses = {"objectness": found["loss_objectness"], "proposal_boxes": found["loss_rpn_box_reg"]}
        sampled = [self._sampled(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
        boxes = [one[0] for one in sampled]
        labels, matched = torch.cat([one[1] for one in sampled]), torch.cat([one[2] for one in sampled])
        embedded, features = self.text_head(self.box_pool(maps, boxes, batch.image_sizes))
        if self.variant != "image":
            logits = region_logits(embedded, text, self.background) if self.classes is None else self.classes(features)
            losses["classes"] = base_cross_entropy(logits, labels, base, novel).mean()
        things = labels > 0
        wanted = encode_boxes(matched[things], torch.cat(boxes)[things])
        losses["boxes"] = F.huber_loss(self.deltas(features[things]), wanted, reduction="sum") / max(len(labels), 1)
        if self.mask_head is not None:
            losses["masks"] = self._mask_loss(maps, batch.image_sizes, sampled, targets)
        if self.variant in ("image", "vild", "ensemble"):
            losses["distillation"] = self._distil(maps, batch.image_sizes, targets, examples, distillation)
        return losses

    def _target(self, example: Example) -> dict[str, Tensor]:
        target = {"boxes": example.boxes, "labels": example.labels + 1}
        if self.mask_head is not None:
            height, width = example.pixels.shape[-2:]
            masks = example.masks
            target["masks"] = torch.zeros(len(example.boxes), height, width) if masks is None else masks
            target["masks"] = target["masks"].to(torch.uint8).to(example.pixels.device)
        return target

    @torch.no_grad()
    def _sampled(self, proposals: Tensor, target: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Regions of an image to learn from, the annotated boxes among them: boxes, labels, matched boxes, matches."""
        truth = target["boxes"]
        boxes = torch.cat([proposals, truth.to(proposals)])
        labels = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        match = labels.clone()
        if len(truth):
            overlap, match = box_iou(boxes, truth).max(1)
            labels = torch.where(overlap >= 0.5, target["labels"][match], 0)
        order = torch.randperm(len(boxes), device=boxes.device)
        things, others = order[labels[order] > 0], order[labels[order] == 0]
        things = things[: self.shape.regions // 4]
        kept = torch.cat([things, others[: self.shape.regions - len(things)]])
        matched = truth[match[kept]] if len(truth) else boxes[kept]
        return boxes[kept], labels[kept], matched.to(boxes), match[kept]

    def _mask_loss(self, maps: Any, sizes: Any, sampled: Sequence[tuple[Tensor, ...]], targets: Any) -> Tensor:
        assert self.mask_head is not None
        things = [labels > 0 for _, labels, _, _ in sampled]
        boxes = [one[0][own] for one, own in zip(sampled, things, strict=True)]
        if sum(map(len, boxes)) == 0:
            return maps["0"].sum() * 0
        logits = self.mask_head(self.mask_pool(maps, boxes, sizes))
        matches = [one[3][own] for one, own in zip(sampled, things, strict=True)]
        zeros = [torch.zeros(len(target["boxes"]), dtype=torch.long, device=logits.device) for target in targets]
        return maskrcnn_loss(logits, boxes, [target["masks"] for target in targets], zeros, matches)

    def _distil(self, maps: Any, sizes: Any, targets: Any, examples: Sequence[Example], weight: float) -> Tensor:
        if sum(len(example.proposals) for example in examples) == 0:
            return maps["0"].sum() * 0
        boxes = []
        for example, size in zip(examples, sizes, strict=True):
            height, width = example.pixels.shape[-2:]
            boxes.append(example.proposals * example.proposals.new_tensor([size[1] / width, size[0] / height] * 2))
        # Without an image branch of its own, ViLD distils into the head that also classifies.
        head = self.text_head if self.image_head is None else self.image_head
        embedded, _ = head(self.box_pool(maps, boxes, sizes))
        wanted = torch.cat([example.embeddings for example in examples])
        return distillation_loss(embedded, wanted, weight=weight)

    @torch.no_grad()
    def detect(
        self,
        pixels: Float[Tensor, "3 height width"],
        text: Float[Tensor, "classes dim"],
        base: Tensor,
        *,
        iou: float = 0.5,
        threshold: float = 0.0,
        limit: int = 300,
        mask_limit: int = 100,
        temperature: float = 0.01,
        weight: float = 2 / 3,
    ) -> Detections:
        """Find the classes in an image; the network must be in evaluation mode.

        Args:
            pixels: RGB in [0, 1].
            text: a row a class; of ``"closed"`` it points to one of those learned, see :meth:`TrainedViLD.text_rows`.
            base: bool, which classes were trained on: the ensemble trusts its text branch there.
            iou: of the suppression within a class.
            threshold: least score.
            limit: detections at most.
            mask_limit: the best of them that get masks: with more detections, there are no others.
            temperature: of the softmax.
            weight: lambda of the ensemble.
        """
        size = pixels.shape[-2], pixels.shape[-1]
        batch, _ = self.transform([pixels])
        maps = self.backbone(batch.tensors)
        proposals, objectness = self.propose(batch, maps)
        if len(proposals) == 0:
            return Detections.none()
        pooled = self.box_pool(maps, [proposals], batch.image_sizes)
        embedded, features = self.text_head(pooled)
        base = base.to(text.device)
        if self.classes is None:
            logits = region_logits(embedded, text, self.background, temperature)
        else:
            learned = self.classes(features)
            logits = torch.cat([learned[:, :1], learned[:, 1:] @ text.T], 1)
            # Outputs of classes without annotations were never learned: they may not take probability from the others.
            logits[:, 1:][:, ~base] = -torch.inf
        p_text = logits.softmax(-1)[:, 1:]
        scores = p_text
        if self.image_head is not None:
            p_image = region_logits(self.image_head(pooled)[0], text, temperature=temperature).softmax(-1)
            # An image branch has no background: alone, it needs to be told where things are.
            scores = (
                vild_ensemble(p_text, p_image, base, weight)
                if self.variant == "ensemble"
                else (p_image * objectness[:, None]).sqrt()
            )
        boxes = decode_boxes(self.deltas(features), proposals, batch.image_sizes[0])
        usable = valid_boxes(boxes)
        boxes, scores = boxes[usable], scores[usable]
        rows, labels = best_detections(boxes, scores, iou=iou, threshold=threshold, limit=limit)
        found = boxes[rows]
        masks = None
        factor = found.new_tensor([size[1] / batch.image_sizes[0][1], size[0] / batch.image_sizes[0][0]] * 2)
        if self.mask_head is not None and limit <= mask_limit:
            logits = self.mask_head(self.mask_pool(maps, [found], batch.image_sizes))
            masks = paste_masks_in_image(logits.sigmoid(), found * factor, size)[:, 0] > 0.5
            masks = masks.cpu()
        return Detections((found * factor).cpu(), scores[rows, labels].cpu(), labels.cpu(), masks)

    @torch.no_grad()
    def propose(self, batch: Any, maps: Any) -> tuple[Tensor, Tensor]:
        """Boxes of the one image of a batch, px of its transformed size, and their objectness."""
        from clipzoo_detect.proposals import rpn_proposals

        return rpn_proposals(self.rpn, batch, maps)


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself.

    Args:
        dim: width of the joint space.
        backbone: see :class:`ViLDNetwork`.
        variant: see :class:`ViLDNetwork`.
        masks: whether it predicts masks.
        classes: all names of its training, in the order of learned rows.
        base: those that were annotated.
        encoder: name of the encoder.
        fingerprint: of its weights.
        steps: of training.
    """

    dim: int
    backbone: str
    variant: str
    masks: bool
    classes: tuple[str, ...]
    base: tuple[str, ...]
    encoder: str
    fingerprint: str
    steps: int


class TrainedViLD:
    """A trained detector with its encoder: finds things by name.

    Args:
        network: the detector.
        description: of its training.
        clip: the encoder that it was trained with.

    Raises:
        WeightsError: if ``clip`` is another encoder.
    """

    def __init__(self, network: ViLDNetwork, description: Description, clip: FrozenCLIP) -> None:
        """Put the network in evaluation mode."""
        if clip.fingerprint != description.fingerprint:
            raise WeightsError(
                f"the detector was trained with {description.encoder} ({description.fingerprint}), "
                f"this encoder is {clip.name} ({clip.fingerprint})",
                expected="the same encoder: its sentences are the classes",
                hint=f"model={description.encoder}",
            )
        self.network = network.eval().to(clip.device)
        self.description = description
        self.clip = clip

    @classmethod
    def load(cls, path: str | Path, clip: FrozenCLIP, device: torch.device | str | None = None) -> TrainedViLD:
        """Read a checkpoint that training wrote.

        Raises:
            WeightsError: if it is none, or belongs to another encoder.
        """
        network, description = load_network(path)
        trained = cls(network, description, clip)
        if device is not None:
            trained.network.to(device)
        return trained

    @property
    def protocol(self) -> dict[str, Any]:
        """How it was trained, for records."""
        own = self.description
        return {
            "encoder": f"{own.encoder} ({own.fingerprint})",
            "tier": f"2, ViLD-{own.variant}, backbone {own.backbone}, {own.steps} steps",
            "trained on": f"{len(own.base)} base classes of {len(own.classes)}",
            "prompts": f"{len(known_templates(self.clip))} templates",
            "selection": "the last step of training",
        }

    @torch.no_grad()
    def text_rows(self, names: Sequence[str], synonyms: Mapping[str, Sequence[str]] | None = None) -> _Rows:
        """Rows of the classifier for these names, and which of them it was trained on.

        Of a closed set they point to its classes: one in the place of the class, zeros for a name that it never met.
        """
        wanted = class_names(names)
        trained = {prompt_name(name) for name in self.description.base}
        base = torch.tensor([prompt_name(name) in trained for name in wanted])
        if self.network.classes is not None:
            own = [prompt_name(name) for name in self.description.classes]
            pointers = [[float(prompt_name(name) == known) for known in own] for name in wanted]
            return _Rows(torch.tensor(pointers), base)
        sentences = class_sentences(wanted, known_templates(self.clip), synonyms)
        return _Rows(self.clip.classifier(wanted, sentences), base)

    def detect_rows(self, pixels: Float[Tensor, "3 height width"], rows: _Rows, **options: Any) -> Detections:
        """Like :meth:`detect`, of one image and for rows from :meth:`text_rows`."""
        device = self.network.background.device
        return self.network.detect(pixels.to(device), rows.text.to(device), rows.base.to(device), **options)

    def detect(self, images: Any, names: Sequence[str], *, limit: int = 300) -> list[Detections]:
        """Find things by name, as :meth:`ViLD.detect` does."""
        rows = self.text_rows(names)
        return [self.detect_rows(image, rows, limit=limit) for image in as_images(images)]


@dataclass(frozen=True, eq=False)
class _Rows:
    text: Tensor
    base: Tensor


def save_network(path: Path, network: ViLDNetwork, description: Description) -> None:
    """Write a checkpoint, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(state, part, metadata={"clipzoo_detect": json.dumps(asdict(description))})
    part.replace(path)


def load_network(path: str | Path) -> tuple[ViLDNetwork, Description]:
    """Read a checkpoint of :func:`save_network`.

    Raises:
        WeightsError: if it is none.
    """
    path = Path(path).expanduser()
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("clipzoo_detect")
            state = {key: file.get_tensor(key) for key in file.keys()}
        if text is None:
            raise WeightsError(f"{path} holds no detector of clipzoo", expected="a file that stage=train wrote")
        content = json.loads(text)
        content["classes"], content["base"] = tuple(content["classes"]), tuple(content["base"])
        description = Description(**content)
        _check_widths(path, description, state)
        network = ViLDNetwork(
            description.dim,
            description.backbone,
            description.variant,  # type: ignore[arg-type]
            len(description.classes),
            description.masks,
        )
        network.load_state_dict(state)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}"[:300], expected="a file that stage=train wrote") from error
    except Exception as error:
        if isinstance(error, WeightsError | ConfigError | DataError):
            raise
        raise WeightsError(f"{path} cannot be read: {error}"[:300], expected="a file that stage=train wrote") from error
    return network, description


def _check_widths(path: Path, description: Description, state: Mapping[str, Tensor]) -> None:
    """Hold the description against the weights before a network of its size is made: it may claim any number."""
    width = state["background"].numel()
    if description.dim != width:
        raise WeightsError(f"{path} has weights of width {width}", expected=f"{description.dim}, as its header says")
