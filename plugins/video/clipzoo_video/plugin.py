"""What clipzoo knows of CLIP4Clip before it runs: names, settings, the paper. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option


@dataclass(frozen=True)
class CLIP4ClipSettings(Settings):
    """Settings of ``clipzoo run clip4clip``."""

    data: str | None = option(
        "clips", help="clips, msrvtt, msvd, lsmdc, didemo, activitynet, a CSV of video,caption, or a folder"
    )
    input: str = option("", help="folder of videos, or one video, to search in; no captions needed")
    query: str = option("", help="sentence to look for in the videos of input")
    query_image: str = option("", help="image to look for; together with a sentence, both count")
    split: str = option("test", help="part of the dataset that is evaluated")
    heads: list[str] = option(["meanP"], help="meanP, seqLSTM, seqTransf, tightTransf, or several of them")
    weights: str = option("", help="trained model: a published pytorch_model.bin, or head.safetensors of a run")
    train: str = option(
        "none",
        help="what is trained first: nothing, the head, head and text tower on cached frames, or all end to end",
        choices=("none", "head", "text", "all"),
    )
    train_split: str = option("train", help="part of the dataset that is trained on")
    val_split: str = option("", help="part by which the best epoch is chosen; default: a tenth of the training videos")
    epochs: int = option(5, help="of training", minimum=1)
    train_batch: int = option(128, help="pairs a training step: as many negatives", minimum=2)
    head_lr: float = option(1e-4, help="learning rate of the head", minimum=0)
    encoder_lr: float = option(1e-6, help="learning rate of what is trained of the encoder", minimum=0)
    layers: int = option(4, help="blocks of the transformer heads", minimum=1)
    position_scale: float = option(1.0, help="factor on the heads' position table before training", minimum=0)
    frames: int = option(12, help="frames a video, at most (64 for DiDeMo and ActivityNet)", minimum=1)
    sampling: str = option("uniform", help="which frames", choices=("uniform", "one-per-second", "clip4clip"))
    max_words: int = option(32, help="sentences are cut to so many tokens (64 for paragraphs)", minimum=3)
    max_failed: float = option(0.05, help="share of videos that may be missing or unreadable", minimum=0, maximum=1)
    limit: int = option(0, help="at most so many videos; 0: all", minimum=0)
    pairs: int = option(60, help="of the toy clips: pairs of a clip and the same backwards", minimum=6)
    train_pairs: int = option(300, help="the same, to train on", minimum=6)
    index: str = option("", help="folder of the search index; default: in the cache, one for each folder of videos")
    per_second: float = option(2.0, help="frames a second that the search looks at", minimum=0.01)
    top: int = option(10, help="answers of a search, at most", minimum=1)


CLIP4CLIP = Plugin(
    name="clip4clip",
    summary="find videos by sentences: text-video retrieval with four temporal heads, and search in your own folder",
    settings=CLIP4ClipSettings,
    run="clipzoo_video.run:run",
    paper=Paper(
        title="CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip Retrieval and Captioning",
        authors="Luo et al.",
        year=2022,
        url="https://arxiv.org/abs/2104.08860",
        published={
            "MSR-VTT 1k-A text to video R@1, meanP, 9k training, ViT-B/32 (%)": 43.1,
            "MSR-VTT 1k-A text to video R@1, seqTransf, 9k training, ViT-B/32 (%)": 44.5,
            "MSVD text to video R@1, meanP, ViT-B/32 (%)": 46.2,
            "MSR-VTT 1k-A text to video R@1, zero-shot, ViT-B/32 (%)": 30.6,
        },
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="MSR-VTT, MSVD, LSMDC, DiDeMo, ActivityNet: their own terms; toy clips: Apache-2.0",
    ),
    extra="video",
    demo={
        "data": "clips",
        "heads": ["meanP", "seqTransf"],
        "train": "text",
        "pairs": 24,
        "train_pairs": 150,
        "frames": 6,
        "layers": 2,
        "position_scale": 40.0,
        "epochs": 30,
        "train_batch": 32,
        "head_lr": 1e-3,
        "encoder_lr": 3e-3,
    },
    recipes="clipzoo_video.recipe",
)
