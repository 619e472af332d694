"""Do the sketches mean something? Measured with the bundled encoders on twelve toy objects.

    python -m clipzoo_sketch.meaning --out sheet.png

Three look at each sketch. The two encoders say to which of "a drawing of a circle", "... a square" and the other
shapes of the toy world it is nearest; `tiny-rn` is that of the loss, `tiny` only says where strokes begin. The third
knows no encoder: of the outlines of all shapes it takes the one with the least chamfer distance from the ink.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from clipzoo import load_clip
from clipzoo.data.scenes import DRAWING_TEMPLATES, SHAPES, render_object
from clipzoo.encoders import FrozenCLIP
from clipzoo_sketch.animation import picture, png
from clipzoo_sketch.clipasso import CLIPasso, Sketch, resized
from clipzoo_sketch.target import prepare_target

OBJECTS = tuple(SHAPES)[4:]
"""The twelve shapes after the four plainest."""

COUNTS = (4, 8, 16, 32)
COLOUR = "blue"
_PHOTO_PX = 256
_OUTLINE_PX = 64
_CELL_PX = 96
_SHADES = 32


@dataclass(frozen=True)
class Seen:
    """What one viewer makes of one sketch.

    Args:
        named: the shape of the toy world that it takes it for.
        similarity: cosine of the embeddings of sketch and object; NaN of a viewer that has none.
    """

    named: str
    similarity: float = float("nan")


Drawn = Callable[[int], Float[Tensor, "1 3 side side"]]


class Viewer(Protocol):
    """Anything that names what a sketch shows."""

    def look(self, drawing: Drawn, photo: Float[Tensor, "1 3 side side"]) -> Seen:
        """At a drawing, beside the picture of the object.

        Args:
            drawing: from a side in pixels to the picture ``[1, 3, side, side]``, such as ``ink.render``.
            photo: the object, in [0, 1].
        """
        ...


class EncoderViewer:
    """One encoder and its words for drawings of the toy shapes.

    Args:
        clip: the encoder.
    """

    def __init__(self, clip: FrozenCLIP) -> None:
        """Embed the words once."""
        self.clip = clip
        rows = [clip.encode_text([text.format(f"a {shape}") for shape in SHAPES]) for text in DRAWING_TEMPLATES]
        self.words = F.normalize(torch.stack(rows).mean(0), dim=-1)

    @torch.no_grad()
    def look(self, drawing: Drawn, photo: Float[Tensor, "1 3 side side"]) -> Seen:
        """The shape whose words are nearest, and the cosine of sketch and object."""
        side = self.clip.image_size
        rows = F.normalize(self.clip.encode_image(torch.cat([drawing(side), resized(photo, side)])), dim=-1)
        return Seen(tuple(SHAPES)[int((rows[:1] @ self.words.T).argmax())], float(rows[0] @ rows[1]))


class OutlineViewer:
    """Compares ink with the outlines of the toy shapes by the symmetric chamfer distance (Barrow et al. 1977).

    >>> import torch
    >>> from clipzoo_sketch.ink import Ink
    >>> square = torch.tensor([[10.0, 10], [86, 10], [86, 86], [10, 86], [10, 10]])
    >>> sides = torch.stack([square[:-1].lerp(square[1:], part) for part in (0, 1 / 3, 2 / 3, 1)], 1)
    >>> ink = Ink(sides[None], torch.full((1, 4), 3.0), torch.tensor([0.0, 0, 0, 1]).expand(1, 4, 4), 96)
    >>> OutlineViewer().look(ink.render, torch.ones(1, 3, 8, 8)).named
    'square'
    """

    def __init__(self) -> None:
        """Draw the outlines once."""
        self.outlines = [_dark_places(own_drawing(shape)(_OUTLINE_PX)[0]) for shape in SHAPES]

    @torch.no_grad()
    def look(self, drawing: Drawn, photo: Float[Tensor, "1 3 side side"]) -> Seen:
        """The shape with the nearest outline."""
        places = _dark_places(drawing(_OUTLINE_PX)[0])
        if not len(places):
            return Seen("nothing")
        apart = [torch.cdist(places, outline) for outline in self.outlines]
        return Seen(tuple(SHAPES)[int(np.argmin([float(d.amin(0).mean() + d.amin(1).mean()) for d in apart]))])


def _dark_places(pixels: Float[Tensor, "3 side side"]) -> Float[Tensor, "places 2"]:
    return (pixels.mean(0) < 0.5).nonzero().float()


def own_drawing(shape: str) -> Drawn:
    """The line drawing of a shape by the toy world, black on white."""

    def drawn(side: int) -> Tensor:
        return torch.from_numpy(render_object(shape, "black", side, style="drawing")).permute(2, 0, 1)[None] / 255

    return drawn


def on_texture(shape: str, seed: int) -> tuple[Image.Image, np.ndarray]:
    """A toy object before black and grey stripes and noise, and its mask."""
    plain = render_object(shape, COLOUR, _PHOTO_PX)
    solid = np.any(plain < 250, axis=-1)
    rows, columns = np.mgrid[:_PHOTO_PX, :_PHOTO_PX]
    generator = np.random.RandomState(seed)
    angle = generator.uniform(0, np.pi)
    stripes = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / 40) > 0
    texture = np.where(stripes, 90.0, 190.0) + generator.normal(0, 20, solid.shape)
    mixed = np.where(solid[..., None], plain, texture[..., None].clip(0, 255)).astype(np.uint8)
    return Image.fromarray(mixed), solid


def summary(seen: Mapping[str, Sequence[Seen]], objects: Sequence[str]) -> dict[str, float]:
    """How many each viewer names rightly, and the mean similarity where there is one.

    Args:
        seen: by viewer, one an object.
        objects: what was drawn.
    """
    row: dict[str, float] = {}
    for name, found in seen.items():
        row[f"named by {name}"] = sum(one.named == shape for one, shape in zip(found, objects, strict=True))
        similarity = float(np.mean([one.similarity for one in found]))
        if not np.isnan(similarity):
            row[f"cosine, {name}"] = similarity
    return row


def level_table(
    painter: CLIPasso, viewers: Mapping[str, Viewer], objects: Sequence[str], counts: Sequence[int], **given: Any
) -> tuple[list[dict[str, Any]], dict[str, Sketch]]:
    """Two rows a number of strokes: as the strokes begin, and when they are optimised.

    Before them a row for the line drawings of the toy world itself: what the viewers can name at all.

    Args:
        painter: draws.
        viewers: by name.
        objects: shapes.
        counts: numbers of strokes.
        given: to :meth:`~clipzoo_sketch.clipasso.CLIPasso.sketch`.

    Returns:
        The rows, and the sketches by shape.
    """
    sketches = {shape: painter.sketch(f"toy:{shape},{COLOUR}", list(counts), **given) for shape in objects}

    def row(drawing_of: Callable[[str], Drawn]) -> dict[str, float]:
        seen = {
            name: [viewer.look(drawing_of(shape), sketch.target.pixels) for shape, sketch in sketches.items()]
            for name, viewer in viewers.items()
        }
        return summary(seen, objects)

    rows: list[dict[str, Any]] = [{"strokes": "none", "at": "toy world's own", **row(own_drawing)}]
    for place, count in enumerate(sorted(set(counts))):
        levels = {shape: sketch.levels[place] for shape, sketch in sketches.items()}
        began = {shape: sketches[shape].template.row(level.row, count).render for shape, level in levels.items()}
        ended = {shape: level.ink.render for shape, level in levels.items()}
        rows.append({"strokes": count, "at": "start", **row(began.__getitem__)})
        rows.append({"strokes": count, "at": "end", **row(ended.__getitem__)})
    return rows, sketches


def mask_table(
    painter: CLIPasso, viewers: Mapping[str, Viewer], objects: Sequence[str], strokes: int, **given: Any
) -> list[dict[str, Any]]:
    """Two rows: objects before a texture, sketched with their mask and without.

    Args:
        painter: draws.
        viewers: by name.
        objects: shapes.
        strokes: of a sketch.
        given: to :meth:`~clipzoo_sketch.clipasso.CLIPasso.sketch`.
    """
    rows = []
    for masked in (True, False):
        seen: dict[str, list[Seen]] = {name: [] for name in viewers}
        for seed, shape in enumerate(objects):
            photo, solid = on_texture(shape, seed)
            done = painter.sketch(photo, strokes, mask=solid if masked else "none", **given)
            alone = prepare_target(f"toy:{shape},{COLOUR}", done.target.side).pixels
            for name, viewer in viewers.items():
                seen[name].append(viewer.look(done.levels[0].ink.render, alone))
        rows.append({"background": "masked" if masked else "drawn too", **summary(seen, objects)})
    return rows


def sheet(sketches: Sequence[Sketch], columns: int = 2) -> Image.Image:
    """Each photo and its sketches, some photos side by side."""
    from clipzoo.images.sheets import captioned_sheet

    cells = []
    for sketch in sketches:
        cells.append((picture(sketch.target.pixels[0]), ""))
        cells += [(picture(level.ink.render(2 * _CELL_PX)[0]), f"{level.strokes}") for level in sketch.levels]
    return captioned_sheet(cells, columns=columns * (1 + len(sketches[0].levels)), cell_px=_CELL_PX)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of equal keys as a Markdown table."""
    click.echo("| " + " | ".join(rows[0]) + " |")
    click.echo("|" + "---|" * len(rows[0]))
    for row in rows:
        click.echo("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")


@click.command(help=__doc__)
@click.option("--model", default="tiny-rn", show_default=True, help="Encoder of the loss.")
@click.option("--saliency-model", default="tiny", show_default=True)
@click.option("--tuning", default="auto", show_default=True)
@click.option("--steps", default=80, show_default=True)
@click.option("--restarts", default=1, show_default=True)
@click.option("--views", default=2, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--counts", default=",".join(map(str, COUNTS)), show_default=True, help="Numbers of strokes.")
@click.option("--objects", default=",".join(OBJECTS), show_default=False, help="Shapes of the toy world.")
@click.option("--mask/--no-mask", default=True, help="Also what a mask is good for.")
@click.option("--photo", multiple=True, type=click.Path(exists=True, path_type=Path), help="A photo to sketch too.")
@click.option("--out", type=click.Path(path_type=Path), help="PNG of all sketches.")
@click.option("--threads", default=2, show_default=True)
def main(
    model: str,
    saliency_model: str,
    tuning: str,
    steps: int,
    restarts: int,
    views: int,
    seed: int,
    counts: str,
    objects: str,
    mask: bool,
    photo: tuple[Path, ...],
    out: Path | None,
    threads: int,
) -> None:
    """Print both tables and write the sheet."""
    torch.set_num_threads(threads)
    clips = {name: load_clip(name) for name in dict.fromkeys([model, saliency_model])}
    viewers: dict[str, Viewer] = {name: EncoderViewer(clip) for name, clip in clips.items()}
    viewers["outlines"] = OutlineViewer()
    painter = CLIPasso(clips[model], clips[saliency_model], views=views, tuning=tuning)
    shapes, numbers = [word for word in objects.split(",") if word], [int(count) for count in counts.split(",")]
    given: dict[str, Any] = {"steps": steps, "restarts": restarts, "seed": seed}
    started, drawn = time.perf_counter(), []
    click.echo(f"{steps} steps, {restarts} restarts, {views} views, seed {seed}, tuning {tuning}")
    if shapes:
        click.echo(f"{len(shapes)} objects; chance is 1 in {len(SHAPES)}")
        rows, sketches = level_table(painter, viewers, shapes, numbers, **given)
        drawn += sketches.values()
        print_table(rows)
        if mask:
            strokes = numbers[min(1, len(numbers) - 1)]
            click.echo(f"before a texture, {strokes} strokes")
            print_table(mask_table(painter, viewers, shapes, strokes, **given))
    for path in photo:
        sketch = painter.sketch(path, numbers, **given)
        drawn.append(sketch)
        click.echo(f"{path.stem}: " + ", ".join(f"{one.strokes}: {one.similarity:.3f}" for one in sketch.levels))
    if out is not None and drawn:
        out.write_bytes(png(sheet(drawn).quantize(_SHADES, Image.Quantize.MAXCOVERAGE)))
    click.echo(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
