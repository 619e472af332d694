"""What clipzoo knows of StyleCLIP before it runs: names, settings, the paper. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option

METHODS = ("directions", "optimise", "mapper", "nada")


@dataclass(frozen=True)
class StyleCLIPSettings(Settings):
    """Settings of ``clipzoo run styleclip``."""

    model: str = option("tiny-rn", help="encoder: tiny-rn, tiny, ARCHITECTURE/TAG, hf-hub:..., or a checkpoint path")
    method: str = option("directions", help="how to edit; nada moves the whole generator", choices=METHODS)
    prompt: list[str] = option(["a face with a hat"], help="what the images are to show; several are several edits")
    neutral: str = option("a face", help="what they show now (directions, nada)")
    input: str = option(
        "", help="aligned photos (a file or a folder), or codes (.pt, .npy, .safetensors); else samples"
    )
    generator: str = option("tiny", help="tiny, or a StyleGAN2 file: rosinality .pt, NVIDIA .pkl, .safetensors")
    samples: int = option(4, help="faces that are drawn where there is no input", minimum=1)
    truncation: float = option(0.7, help="of those faces: 0 the mean, 1 all of the variety", minimum=0, maximum=2)
    steps: int = option(
        0, help="of the optimisation or training; 0: as published (300, 50000, 300), or tiny's (80, 60, 300)", minimum=0
    )
    rate: float = option(0.0, help="learning rate; 0: as published, or what suits tiny", minimum=0)
    l2: float = option(-1.0, help="weight of the distance from the start; -1: as published, or what suits tiny")
    space: str = option(
        "auto",
        help="what optimise and mapper move; auto: w+ as published, or what suits tiny",
        choices=("auto", "w+", "w", "s"),
    )
    search: str = option(
        "auto",
        help="how optimise moves: as published, or wide, by direction and under noise; auto: wide for tiny alone",
        choices=("auto", "published", "wide"),
    )
    alpha: list[float] = option([-4.0, 4.0], help="strengths of directions; negative goes the other way")
    beta: list[float] = option(
        [], help="least relevance of a channel that moves (0 to 1), one or several; without it: chosen"
    )
    keep: list[str] = option([], help="texts that directions are not to change, such as 'a face with glasses'")
    bank: str = option("", help="bank of directions: a file of an earlier run, or StyleCLIP's folder; else it is built")
    bank_images: int = option(
        0, help="images that each channel is tried on, where a bank is built; 0: 100, or 16 for tiny", minimum=0
    )
    bank_models: list[str] = option([], help="encoders whose banks are made in the same sweep and saved")
    mapper: str = option("", help="a trained mapper to apply: .safetensors, or StyleCLIP's .pt")
    parts: list[str] = option(
        ["course", "medium", "fine"], help="layers that a mapper moves; without fine, colours stay"
    )
    train_codes: int = option(5000, help="codes that a mapper is trained on", minimum=1)
    train_batch: int = option(
        0, help="codes or images a training step (mapper, nada); 0: 2, or 8 for tiny's mapper", minimum=0
    )
    strength: float = option(0.0, help="of a mapper or an adapted generator; 0: as trained (0.1, 1)", minimum=0)
    phase: str = option(
        "all", help="layers that nada trains", choices=("all", "texture", "shape", "shape-expanded", "no-fine")
    )
    adaptive_layers: int = option(0, help="of nada, at each step; 0: all of the phase", minimum=0)
    identity: str = option("", help="face recogniser whose person is kept: model_ir_se50.pth or mobilefacenet.pt")
    identity_weight: float = option(0.1, help="its weight in the loss", minimum=0)
    encoder: str = option("", help="e4e checkpoint that inverts photos; without it they are inverted by optimisation")
    invert_steps: int = option(200, help="of that optimisation", minimum=1)
    landmarks: str = option("", help="68 or 5 points of the face in px (.npy, .txt) that the photo is aligned by")
    templates: str = option("auto", help="sentences around the texts", choices=("auto", "styleclip", "faces", "name"))
    compat: str = option("fixed", help="upstream: as the released code, with its quirks", choices=("fixed", "upstream"))
    video: str = option("none", help="film of each edit growing; mp4 needs an extra", choices=("none", "gif", "mp4"))


STYLECLIP = Plugin(
    name="styleclip",
    summary="edit faces with a sentence: latent optimisation, mapper, global directions; StyleGAN-NADA",
    settings=StyleCLIPSettings,
    run="clipzoo_style.run:run",
    paper=Paper(
        title="StyleCLIP: Text-Driven Manipulation of StyleGAN Imagery; StyleGAN-NADA: CLIP-Guided Domain Adaptation "
        "of Image Generators",
        authors="Patashnik et al.; Gal et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.17249 and https://arxiv.org/abs/2108.00946",
        published={
            "optimisation, an image (s, GTX 1080 Ti)": 98,
            "mapper, training (h, GTX 1080 Ti)": "10 to 12",
            "mapper, an image (ms, GTX 1080 Ti)": 75,
            "global directions, preparation (h, GTX 1080 Ti)": 4,
            "global directions, an image (ms, GTX 1080 Ti)": 72,
        },
        weights_licence="that of the generator and face recogniser you bring; the bundled one is Apache-2.0",
        data_licence="that of your images; procedural faces: Apache-2.0",
    ),
    extra="style",
    demo={"method": "optimise", "prompt": ["a face on a pink background", "a face with an open mouth"], "samples": 3},
    recipes="clipzoo_style.recipe",
)
