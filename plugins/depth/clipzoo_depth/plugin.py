"""What clipzoo knows of DepthCLIP before it runs: names, settings, the paper. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option


@dataclass(frozen=True)
class DepthCLIPSettings(Settings):
    """Settings of ``clipzoo run depthclip``."""

    model: str = option("tiny-rn", help="encoder: tiny, tiny-rn, ARCHITECTURE/TAG, hf-hub:..., or a checkpoint path")
    data: str | None = option("rooms", help="rooms, nyuv2, kitti, or a path to images with or without depth")
    input: str | None = option(None, help="photo or folder of photos of your own; instead of data")
    split: str = option("test", help="part of the dataset")
    protocol: str = option(
        "auto",
        help="how depth is measured; auto: that of the dataset",
        choices=("auto", "nyu-eigen", "kitti-garg", "whole"),
    )
    projection: str = option("auto", help="attnpool (ResNets: the paper), even_channels (the release), a ViT's modes")
    windows: str = option(
        "auto",
        help="encode squares of the encoder's own size that overlap by half; auto: for ViTs",
        choices=("auto", "yes", "no"),
    )
    compare: bool = option(False, help="score even_channels beside attnpool too; the encoder runs twice")
    prompts: list[str] = option(["paper"], help="paper, degrees, steps, remote, or one phrase a bin, near to far")
    bins: list[str] = option(["paper"], help="paper, wide, even, near, far, or depths in m, ascending")
    scene_bins: bool = option(False, help="the paper's bins for bathrooms and classrooms, where scenes are known")
    template: str = option("This object is {}", help="sentence with {} for the phrase")
    temperature: float = option(0.1, help="of the softmax over bins", minimum=1e-4)
    flip: bool = option(True, help="average with the mirror image")
    preprocessing: str = option(
        "imagenet", help="mean and deviation: imagenet (as published) or the encoder's", choices=("imagenet", "encoder")
    )
    short_side: int = option(
        0, help="short side of the images for the encoder, px; 0: as they are, photos at most 416", minimum=0
    )
    learn: list[str] = option(
        [], help="bins, prompts or context, learned from training images", choices=("bins", "prompts", "context")
    )
    shots: int = option(8, help="training images", minimum=1)
    steps: int = option(300, help="steps of learning", minimum=1)
    unit: str = option(
        "mm", help="of 16-bit depth files of your own", choices=("mm", "cm", "m", "m/256", "m/1000", "m/5000")
    )
    depth_map: str = option(
        "raw", help="of nyu_depth_v2_labeled.mat: raw as published, or filled", choices=("raw", "filled")
    )
    batch_size: int = option(8, help="images a batch; with flip the encoder sees twice as many", minimum=1)
    fov_deg: float = option(
        60.0, help="horizontal field of view, where no intrinsics are known", minimum=1.0, maximum=170.0
    )
    rooms: int = option(24, help="rooms of the toy world", minimum=1)
    limit: int = option(0, help="at most so many images; 0: all", minimum=0)
    files: int = option(12, help="images whose depth is written (PNG, npy, colours, bins, ply); -1: all", minimum=-1)


DEPTHCLIP = Plugin(
    name="depthclip",
    summary="depth of photos from words, zero-shot or with a few examples",
    settings=DepthCLIPSettings,
    run="clipzoo_depth.run:run",
    paper=Paper(
        title="Can Language Understand Depth?",
        authors="Zhang et al.",
        year=2022,
        url="https://arxiv.org/abs/2207.01077",
        published={
            "NYU Depth v2 delta1, RN50, zero-shot": 0.394,
            "NYU Depth v2 delta2": 0.683,
            "NYU Depth v2 delta3": 0.851,
            "NYU Depth v2 AbsRel": 0.388,
            "NYU Depth v2 log10": 0.156,
            "NYU Depth v2 RMSE (m)": 1.167,
        },
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="NYU Depth v2: see its homepage; KITTI: CC BY-NC-SA 3.0; toy rooms: Apache-2.0",
    ),
    extra="depth",
    demo={
        "data": "rooms",
        "rooms": 16,
        "model": "tiny",
        "preprocessing": "encoder",
        "learn": ["bins", "prompts"],
        "steps": 200,
        "files": 4,
    },
    recipes="clipzoo_depth.recipe",
)
