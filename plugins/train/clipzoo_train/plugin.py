"""What clipzoo knows of the trainer before it runs: names, settings, the papers. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option

LOSSES = ("clip", "siglip", "soft", "simpleclip", "multi-positive", "queue", "distil")
AUGMENTATIONS = ("none", "openclip", "flip", "strong", "blog")


@dataclass(frozen=True)
class TrainSettings(Settings):
    """Settings of ``clipzoo run train``."""

    data: str | None = option(
        "toy-captions", help="captions.csv, .tsv or .json, webdataset shards, flickr8k, flickr30k, coco-captions"
    )
    images: str = option("", help="folder of the images; default: beside the captions")
    curriculum: str = option("", help="make a bundled encoder from the toy world", choices=("", "tiny", "tiny-rn"))
    curriculum_share: float = option(1.0, help="share of its steps and data, for a trial", minimum=0.0005, maximum=1)

    # Towers
    model: str = option(
        "small-rn",
        help="start: small-rn, small-vit, an open_clip ARCHITECTURE, its config.json, ARCHITECTURE/TAG, tiny, a folder",
    )
    image_tower: str = option("", help="another image tower: timm:NAME, or that of an open_clip architecture")
    text_tower: str = option("", help="another text tower: hf:NAME_OR_FOLDER, or that of an open_clip architecture")
    pretrained: bool = option(True, help="fetch the weights of timm and Hugging Face towers")
    head: str = option("linear", help="projection: linear, or SimpleCLIP's residual MLP", choices=("linear", "mlp"))
    image_dropout: float = option(0.1, help="in the image side's MLP head", minimum=0, maximum=0.95)
    text_dropout: float = option(0.1, help="in the text side's MLP head", minimum=0, maximum=0.95)
    embed_dim: int = option(0, help="width of the joint space; 0: the model's", minimum=0)
    image_size: int = option(0, help="side of the images, px; 0: the model's", minimum=0)
    max_words: int = option(0, help="tokens a caption is cut to; 0: the model's", minimum=0)
    freeze: str = option("none", help="tower that stays as it is", choices=("none", "image", "text"))
    checkpointing: bool = option(False, help="compute activations twice to save memory")

    # Objective
    loss: str = option("clip", help="what is minimised", choices=LOSSES)
    temperature: float = option(1.0, help="of the soft losses", minimum=1e-3)
    queue_size: int = option(4096, help="earlier keys of the queue loss", minimum=0)
    momentum: float = option(0.995, help="of the queue's key towers; 0: the towers themselves", minimum=0, maximum=1)
    teacher: str = option("", help="encoder to distil from, with loss=distil")
    distil_weight: float = option(1.0, help="of the teacher's part of the loss", minimum=0)
    mask: str = option("none", help="what of an image is hidden in training", choices=("none", "tokens", "pixels"))
    mask_share: float = option(
        0.5, help="tokens: share dropped; pixels: share of images masked", minimum=0, maximum=0.99
    )
    mask_holes: int = option(1, help="pixels: holes an image", minimum=1)
    mask_size: float = option(0.04, help="pixels: area of a hole, share of the image", minimum=0.001, maximum=1)
    unmasked_share: float = option(0.05, help="last share of the steps without masks", minimum=0, maximum=1)
    augment: str = option("openclip", help="crops and colours of training images", choices=AUGMENTATIONS)
    prompt: str = option("", help='sentence around each caption, for example "This image shows {}"')

    # Loop
    epochs: int = option(10, help="passes over the training images", minimum=1)
    steps: int = option(0, help="stop after so many steps; 0: after the epochs", minimum=0)
    train_batch: int = option(64, help="pairs a step, over all processes and accumulated parts", minimum=2)
    accumulate: int = option(1, help="parts that a step's batch is computed in; negatives stay those of all", minimum=1)
    rows: str = option("images", help="an epoch has one row an image, or a caption", choices=("images", "captions"))
    lr: float = option(1e-3, help="learning rate", minimum=0)
    image_lr: float = option(0.0, help="of the image tower; 0: lr", minimum=0)
    text_lr: float = option(0.0, help="of the text tower; 0: lr", minimum=0)
    weight_decay: float = option(0.05, help="on matrices", minimum=0)
    decay_heads_only: bool = option(False, help="weight decay on the projection heads alone")
    schedule: str = option("cosine", help="of the rate", choices=("cosine", "plateau", "constant"))
    warmup: float = option(0.1, help="share of the steps in which the rate rises", minimum=0, maximum=0.9)
    plateau_patience: int = option(1, help="epochs without improvement before the rate falls", minimum=0)
    plateau_factor: float = option(0.8, help="by which it falls then", minimum=0.01, maximum=0.99)
    clip_norm: float = option(1.0, help="largest norm of the gradient; 0: none", minimum=0)
    ema: float = option(0.0, help="decay of averaged weights, which are then the result; 0: none", minimum=0, maximum=1)
    patience: int = option(0, help="stop after so many epochs without a better validation; 0: never", minimum=0)
    save_every: int = option(200, help="steps between saves that a killed run goes on from", minimum=1)
    cache_gb: float = option(4.0, help="decoded images kept in memory, at most; more are decoded again", minimum=0)
    workers: int = option(2, help="threads that decode", minimum=1)
    tensorboard: bool = option(False, help="write events for tensorboard too")

    # Evaluation
    split: str = option(
        "auto",
        help="held-out images: those the data names or a random part; simpleclip's; none measures training images",
        choices=("auto", "random", "simpleclip", "none"),
    )
    val_share: float = option(0.1, help="of a random split: by which the best epoch is chosen", minimum=0, maximum=0.9)
    test_share: float = option(0.1, help="of a random split: what is measured", minimum=0, maximum=0.9)
    limit: int = option(0, help="at most so many images; 0: all", minimum=0)
    max_failed: float = option(0.05, help="share of images that may be missing or unreadable", minimum=0, maximum=1)
    zeroshot: str = option("", help="images with classes to classify after each epoch, for example scenes")


TRAIN = Plugin(
    name="train",
    summary="train a pair of towers on images and captions: losses, masking, LiT, queues, distillation, several GPUs",
    settings=TrainSettings,
    run="clipzoo_train.run:run",
    paper=Paper(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
        published={
            "SimpleCLIP course blog, validation loss, batch 256 / 128 / 64, large masks on 0.8 of the images": (
                "3.38 / 2.96 / 2.59 (chance: 5.55 / 4.85 / 4.16)"
            ),
            "OpenCLIP ViT-B/32, training samples/s on an A100, from 4 600 GPU hours": 787,
        },
        weights_licence="none needed from scratch; towers that are fetched have their own terms",
        data_licence="Flickr8k and Flickr30k: non-commercial research; COCO: CC BY 4.0; the toy world: Apache-2.0",
    ),
    extra="train",
    demo={
        "data": "toy-captions",
        "limit": 600,
        "epochs": 6,
        "train_batch": 64,
        "zeroshot": "scenes",
        "device": "cpu",
    },
    recipes="clipzoo_train.recipe",
)
