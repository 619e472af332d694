"""What clipzoo knows of ViLD before it runs: names, settings, the paper. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option


@dataclass(frozen=True)
class ViLDSettings(Settings):
    """Settings of ``clipzoo run vild``."""

    model: str = option("tiny-rn", help="encoder: tiny-rn, tiny, ARCHITECTURE/TAG, hf-hub:..., or a checkpoint path")
    data: str | None = option(None, help="toy-detection, coco, lvis, voc, or a path to images or annotations")
    input: str | None = option(None, help="an image or a folder of images, instead of data")
    names: list[str] = option([], help="classes to look for; default those of the data")
    names_file: str | None = option(None, help="file with a class name a line, instead of names")
    stage: str = option(
        "detect", help="detect also evaluates where boxes are known", choices=("precompute", "train", "detect")
    )
    tier: int = option(
        0, help="0: CLIP on crops; 1: RoIAlign on dense features; 2: a trained detector", choices=(0, 1, 2)
    )
    split: str = option("val", help="part of the dataset; training takes train unless it is given")
    images: str = option("", help="folder of the images of an annotation file")
    missing: float = option(0.0, help="share of the images that may be absent from the disk", minimum=0, maximum=1)
    limit: int = option(0, help="at most so many images; 0: all", minimum=0)
    scenes: int = option(40, help="scenes of toy-detection", minimum=1)
    novel: str = option(
        "auto",
        help="novel classes: those of a benchmark; auto fits the data",
        choices=("auto", "none", "toy", "ov-coco", "lvis"),
    )
    novel_names: list[str] = option([], help="novel classes by name, instead")
    proposer: str = option("grouping", help="of tiers 0 and 1, and of precompute", choices=("grouping", "rpn"))
    proposals: int = option(300, help="boxes an image that are looked at", minimum=1)
    boxes: str | None = option(
        None, help="JSON file with boxes of your own: image name to [[left, top, right, bottom]]"
    )
    templates: list[str] = option([], help="prompts with {} for the class name; default: the 63 published ones")
    background: list[str] = option([], help="sentences for what is none of the names")
    objectness: float = option(0.5, help="weight of the proposal's score in the geometric mean", minimum=0, maximum=1)
    fit: str = option("square", help="how crops become squares", choices=("square", "centre", "squash"))
    temperature: float = option(0.0, help="of the softmax over names; 0: that of the encoder", minimum=0)
    dense_px: int = option(672, help="longer side of the image for tier 1, px", minimum=32)
    iou: float = option(0.5, help="overlap at which the weaker of two boxes of a class goes", minimum=0, maximum=1)
    threshold: float = option(0.0, help="least score of a detection that is kept", minimum=0, maximum=1)
    detections: int = option(0, help="detections kept an image; 0: 100, of LVIS 300", minimum=0)
    show: float = option(0.35, help="least score of a box in the pictures", minimum=0, maximum=1)
    pictures: int = option(12, help="images that are drawn", minimum=0)
    backend: str = option("auto", help="evaluation tool", choices=("auto", "pycocotools", "faster-coco-eval"))
    variant: str = option(
        "ensemble",
        help="of tier 2: ViLD-text, ViLD-image, ViLD, ViLD-ensemble, or a closed set of base classes",
        choices=("text", "image", "vild", "ensemble", "closed"),
    )
    backbone: str = option("resnet50", help="of tier 2", choices=("resnet50", "small"))
    weights: str | None = option(None, help="checkpoint of a trained detector; tier 2 detects with it")
    pretrained: str | None = option(None, help="checkpoint that training starts from (torchvision's, or one of these)")
    embeddings: str | None = option(
        None, help="folder of the proposal embeddings: written by precompute, read by train"
    )
    steps: int = option(90_000, help="training steps", minimum=1)
    optimiser: str = option("sgd", help="of training", choices=("sgd", "adamw"))
    learning_rate: float = option(0.02, help="reached after the warm-up", minimum=0)
    warmup: int = option(1000, help="steps of linear warm-up", minimum=0)
    distillation: float = option(0.5, help="weight of the distillation loss", minimum=0)
    novel_logits: str = option("-inf", help="of novel classes in training; zero as released", choices=("-inf", "zero"))
    masks: bool = option(True, help="train and predict masks")
    workers: int = option(2, help="processes that read images in training", minimum=0)


VILD = Plugin(
    name="vild",
    summary="find things by name: boxes from CLIP without training, or a detector distilled from it",
    settings=ViLDSettings,
    run="clipzoo_detect.run:run",
    paper=Paper(
        title="Open-vocabulary Object Detection via Vision and Language Knowledge Distillation",
        authors="Gu et al.",
        year=2022,
        url="https://arxiv.org/abs/2104.13921",
        published={
            "LVIS v1 val mask APr, ViLD, ResNet-50 (%)": 16.6,
            "LVIS v1 val mask AP, ViLD, ResNet-50 (%)": 22.5,
            "LVIS v1 val mask APr, ViLD-ensemble, ResNet-50 (%)": 18.0,
            "LVIS v1 val mask AP, ViLD-ensemble, ResNet-50 (%)": 25.9,
        },
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="COCO and LVIS: annotations CC BY 4.0, photos of their authors; toy world: Apache-2.0",
    ),
    extra="detect",
    demo={"data": "toy-detection", "scenes": 6, "proposals": 60},
    recipes="clipzoo_detect.recipe",
)
