"""What clipzoo knows of CLIPasso and CLIPDraw before they run: names, settings, the papers. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clipzoo import Paper, Plugin, Settings, option

Fit = Literal["pad", "crop", "squash"]


@dataclass(frozen=True)
class SketchSettings(Settings):
    """What both plugins share."""

    steps: int = option(2000, help="steps of the optimisation", minimum=1)
    restarts: int = option(3, help="drawings from other starts, all in one batch; the best is kept", minimum=1)
    size: int = option(224, help="side of the canvas, px", minimum=16, maximum=4096)
    views: int = option(4, help="random views of the drawing a step", minimum=1)
    compat: str = option("fixed", help="upstream: as the released code, with its quirks", choices=("fixed", "upstream"))
    backend: str = option("auto", help="of the rasteriser", choices=("auto", "torch", "numba", "triton", "diffvg"))
    frames: int = option(24, help="pictures of the way, for the contact sheet and the film", minimum=2, maximum=500)
    video: str = option("gif", help="film of the optimisation", choices=("none", "gif", "mp4"))
    save_every: int = option(100, help="steps between saves for --resume; 0: at the end alone", minimum=0)


@dataclass(frozen=True)
class CLIPassoSettings(SketchSettings):
    """Settings of ``clipzoo run clipasso``."""

    model: str = option("tiny-rn", help="encoder of the loss; RN101/openai as published")
    saliency_model: str = option("tiny", help="encoder that says where strokes begin; ViT-B-32/openai as published")
    input: str = option("toy:fish,blue", help="a photo, or toy:SHAPE or toy:SHAPE,COLOUR of the toy world")
    strokes: list[int] = option([16], help="numbers of strokes, each a drawing of its own (paper: 4, 8, 16, 32)")
    segments: int = option(1, help="cubic segments a stroke", minimum=1, maximum=16)
    width: float = option(
        0.0, help="of strokes, px; 0: 3 px at 224, and at least 1.5 pixels of the encoder's image", minimum=0
    )
    colour: bool = option(False, help="optimise the colours of the strokes too")
    mask: str = option("auto", help="auto (alpha), none, alpha, rembg, or a file, bright where the object is")
    fit: str = option(
        "auto", help="of photos that are not square; auto: pad", choices=("auto", "pad", "crop", "squash")
    )
    centre: bool = option(False, help="bring the masked object to the middle")
    learning_rate: float = option(1.0, help="of points, pixels of the encoder's image a step", minimum=0)
    tuning: str = option(
        "auto",
        help="paper: as published; small: contours, for encoders of less than 128 px; auto: by the encoder",
        choices=("auto", "paper", "small"),
    )
    layers: list[str] = option([], help="layers of the loss, with weights: layer2, layer3:0.5; default: of the tuning")
    semantic: float | None = option(
        None, help="weight of the embedding in the loss; default: of the tuning, as published 0.1", minimum=0
    )
    distance: str = option("l2", help="of layers", choices=("l2", "l1", "cos"))
    select: str = option(
        "loss", help="the best restart has the least loss, or the most similarity", choices=("loss", "similarity")
    )
    early_stop: bool = option(True, help="freeze restarts that came to rest")


@dataclass(frozen=True)
class CLIPDrawSettings(SketchSettings):
    """Settings of ``clipzoo run clipdraw``."""

    prompt: str = option("a red heart", help='what to draw; several with weights: "a red heart:2 | a drawing"')
    negative: str = option("", help='what to stay away from, weights 0.3 unless given: "a photo | a square:0.5"')
    image_prompt: str = option("", help="a picture to resemble, with a weight: photo.jpg:0.5")
    models: list[str] = option([], help="further encoders, whose losses are averaged with that of model")
    restarts: int = option(1, help="drawings from other starts, all in one batch; the best is kept", minimum=1)
    steps: int = option(1000, help="steps of the optimisation", minimum=1)
    paths: int = option(256, help="strokes", minimum=1, maximum=4096)
    segments: int = option(3, help="most cubic segments a stroke", minimum=1, maximum=16)
    max_width: float = option(100.0, help="widest stroke, px at a canvas of 224", minimum=2)
    learning_rate: float = option(1.0, help="of points, pixels of the encoder's image a step", minimum=0)
    nouns: list[str] = option([], help="words to probe the drawing with: the five nearest are told")


CLIPASSO = Plugin(
    name="clipasso",
    summary="draw a photo with a few Bezier strokes (SVG)",
    settings=CLIPassoSettings,
    run="clipzoo_sketch.run_clipasso:run",
    paper=Paper(
        title="CLIPasso: Semantically-Aware Object Sketching",
        authors="Vinker et al.",
        year=2022,
        url="https://arxiv.org/abs/2202.05822",
        weights_licence="those of the encoders; the bundled tiny encoders are Apache-2.0",
        data_licence="your photo; toy world: Apache-2.0",
    ),
    extra="sketch",
    demo={"input": "toy:fish,blue", "strokes": [12], "steps": 150, "restarts": 2},
    recipes="clipzoo_sketch.recipe.clipasso",
)

CLIPDRAW = Plugin(
    name="clipdraw",
    summary="draw a sentence with coloured Bezier strokes (SVG)",
    settings=CLIPDrawSettings,
    run="clipzoo_sketch.run_clipdraw:run",
    paper=Paper(
        title="CLIPDraw: Exploring Text-to-Drawing Synthesis through Language-Image Encoders",
        authors="Frans et al.",
        year=2022,
        url="https://arxiv.org/abs/2106.14843",
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="none needed",
    ),
    extra="sketch",
    demo={"prompt": "a red heart", "models": ["tiny-rn"], "paths": 32, "steps": 120, "size": 128},
    recipes="clipzoo_sketch.recipe.clipdraw",
)
