"""What clipzoo knows of the plugin ``zeroshot`` before it runs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo.data.registry import DatasetSpec
from clipzoo.plugin import Paper, Plugin, Settings, option

HEADS = ("zero-shot", "linear-probe", "text-probe", "knn", "tip-adapter", "tip-adapter-f", "clip-adapter")


@dataclass(frozen=True)
class ZeroShotSettings(Settings):
    """Settings of ``clipzoo run zeroshot``."""

    data: str | None = option("scenes", help="scenes, cifar10, cifar100, or a path: folder a class, CSV, .tar shards")
    split: str = option("test", help="part of the data that is classified")
    head: str = option("zero-shot", help="what classifies; all compares every one", choices=(*HEADS, "all"))
    templates: list[str] = option(["imagenet-80"], help="a set of prompts by name, or sentences with {} for the name")
    compare_templates: bool = option(True, help="report the accuracy of each published set of prompts beside it")
    names: list[str] = option([], help="class names for images without labels, or instead of the data's own")
    train_split: str = option("train", help="part that the heads other than zero-shot learn from")
    shots: int = option(0, help="training images a class; 0: all", minimum=0)
    shots_file: str = option("", help="a few-shot split to use, written by an earlier run as shots.json")
    limit: int = option(0, help="at most so many images of a split; 0: all", minimum=0)
    per_class: int = option(20, help="pictures a class of the toy world", minimum=1)


ZEROSHOT = Plugin(
    name="zeroshot",
    summary="classify images: sentences, linear and k-NN probes, Tip-Adapter, CLIP-Adapter on cached features",
    settings=ZeroShotSettings,
    run="clipzoo.zeroshot.run:run",
    paper=Paper(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
        published={
            "ImageNet zero-shot top-1, ViT-B/32, 80 templates (%)": 63.3,
            "ImageNet zero-shot top-1, ViT-B/16, 80 templates (%)": 68.3,
            "CIFAR-10 zero-shot top-1, ViT-B/32, open_clip's table (%)": 89.83,
            "ImageNet 16-shot top-1, RN50, Tip-Adapter-F (%)": 65.51,
        },
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="that of the images; toy world: Apache-2.0",
    ),
    demo={"data": "scenes", "model": "tiny-rn", "per_class": 6, "head": "all", "shots": 4},
)

SCENES = DatasetSpec(
    name="scenes",
    kind="images",
    summary="the toy world: 16 combinations of colour and shape that the tiny encoders never saw",
    open="clipzoo.data.labelled_images:open_scenes",
    licence="Apache-2.0",
    generated=True,
)
IMAGES_PATH = DatasetSpec(
    name="images-path",
    kind="images",
    summary="images of your own, by path: a folder a class, CSV, webdataset, CIFAR, ImageNet, Tiny-ImageNet",
    open="clipzoo.data.labelled_images:open_images",
    paths=True,
)
