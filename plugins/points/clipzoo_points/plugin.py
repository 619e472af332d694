"""What clipzoo knows of PointCLIP before it runs: names, settings, the paper. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option


@dataclass(frozen=True)
class PointCLIPSettings(Settings):
    """Settings of ``clipzoo run pointclip``."""

    data: str | None = option("shapes", help="shapes, modelnet10, modelnet40, scanobjectnn, or a path to clouds")
    split: str = option("test", help="part of the dataset that is classified")
    variant: str = option("OBJ_ONLY", help="of scanobjectnn", choices=("OBJ_ONLY", "OBJ_BG", "PB_T50_RS"))
    mode: str = option("both", help="projection; both averages the probabilities", choices=("v1", "v2", "both"))
    adapter: bool = option(False, help="train the few-shot inter-view adapter first (mode=v1, ten views)")
    shots: int = option(16, help="training clouds a class, for the adapter and the search of view weights", minimum=1)
    epochs: int = option(250, help="epochs of the adapter", minimum=1)
    weights: str = option(
        "equal",
        help="view weights: equal, held-out (search on training clouds), agreement (no labels), or "
        "official-protocol (search on the evaluated split, as published)",
        choices=("equal", "held-out", "agreement", "official-protocol"),
    )
    view_weights: list[float] = option([], help="weights of your own, one a view; overrides weights")
    templates: list[str] = option([], help="prompts with {} for the class name; default: the published sentence")
    names: list[str] = option([], help="class names for clouds without labels, or instead of the dataset's")
    points: int = option(1024, help="points of each cloud that are used", minimum=1)
    up_axis: str = option("auto", help="axis that points up in the files", choices=("auto", "x", "y", "z"))
    raster: int = option(0, help="side of the v1 depth image in pixels; 0: 128, or the encoder's if smaller", minimum=0)
    renderer: str = option(
        "builtin", help="of the v1 images; pytorch3d where it is installed", choices=("builtin", "pytorch3d")
    )
    limit: int = option(0, help="at most so many clouds; 0: all", minimum=0)
    per_class: int = option(20, help="shapes a class of the toy world", minimum=1)


POINTCLIP = Plugin(
    name="pointclip",
    summary="classify point clouds through their depth maps, zero-shot or with a few examples",
    settings=PointCLIPSettings,
    run="clipzoo_points.run:run",
    paper=Paper(
        title="PointCLIP: Point Cloud Understanding by CLIP; PointCLIP V2: Prompting CLIP and GPT for Powerful "
        "3D Open-world Learning",
        authors="Zhang et al.; Zhu et al.",
        year=2022,
        url="https://arxiv.org/abs/2112.02413 and https://arxiv.org/abs/2211.11682",
        published={
            "ModelNet10 zero-shot top-1, V1 (%)": 30.23,
            "ModelNet10 zero-shot top-1, V2, ViT-B/16 (%)": 73.13,
            "ModelNet40 zero-shot top-1, V2, ViT-B/16 (%)": 64.22,
            "ModelNet40 16-shot top-1, V1, RN101 adapter (%)": 86.71,
        },
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="ModelNet: academic research only; ScanObjectNN: its terms of use; toy world: Apache-2.0",
    ),
    extra="points",
    demo={"data": "shapes", "per_class": 3, "mode": "both"},
    recipes="clipzoo_points.recipe",
)
