"""What clipzoo knows of my-method before it runs. Nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass

from clipzoo import Paper, Plugin, Settings, option


@dataclass(frozen=True)
class MyMethodSettings(Settings):
    """Settings of ``clipzoo run my-method``; each has a default and a line of help."""

    model: str = option("tiny-rn", help="encoder; tiny and tiny-rn know the toy world alone")
    data: str | None = option("scenes", help="scenes (the toy world), or a path to images of your own")
    sentence: str = option("something red", help="what to look for")
    limit: int = option(0, help="at most so many images; 0: all", minimum=0)
    show: int = option(12, help="pictures on the sheet of the best", minimum=1)
    per_class: int = option(6, help="pictures a class of the toy world", minimum=1)


MY_METHOD = Plugin(
    name="my-method",
    summary="rank images by how well a sentence describes them",
    settings=MyMethodSettings,
    run="clipzoo_my_method.run:run",
    paper=Paper(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford et al.",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
        published={},
        measured={"toy world, sentence 'something red', tiny-rn, average precision (%)": 100.0},
        weights_licence="those of the encoder; the bundled tiny encoders are Apache-2.0",
        data_licence="that of the images; toy world: Apache-2.0",
    ),
    demo={"per_class": 4},
    recipes="clipzoo_my_method.recipe",
)
