"""Train the bundled generator: ``python -m clipzoo_style.training.generator``.

A real StyleGAN2 of 64 px learns the procedural faces by regression onto their renderer. An adversarial game of this
size on two processor cores would take hours and give blurred glasses.

W is made to be edited: it holds the parameters of a face (:class:`clipzoo.data.faces.Faces`), each standardised, three
times over (as it is, negated, as it is). The synthesis network learns to draw what such a code says; its affine maps
are sparse, so that a channel of S depends on few parameters. The mapping network, apart from it, learns which face a z
stands for. The resolution grows: a generator of 16 px is trained, whose layers begin the one of 32 px, and so on.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.data.faces import FACE_NUMBERS, Faces, faces_from_uniforms, render_faces
from clipzoo_style.checkpoints import load_stylegan2, save_stylegan2
from clipzoo_style.latents import Latent
from clipzoo_style.stylegan2 import StyleGAN2

CHANNELS = {4: 64, 8: 96, 16: 96, 32: 64, 64: 32}

_SIGNS = (1.0, -1.0, 1.0)
"""How often w holds a parameter, and with which sign."""

_OPACITIES = ("hair", "glasses", "tint", "hat", "age", "beard")
_CONTRAST = 2.0
_STATISTICS = 20_000
_SLOPE = 2.0


@dataclass(frozen=True)
class Stage:
    """One resolution: side in px, steps, faces a step, learning rate at its start."""

    size: int
    steps: int
    batch: int
    rate: float


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, besides the versions of the libraries."""

    seed: int = 0
    softness: float = 0.08
    """Width of the band in which one value of an attribute turns into the next, in shares of all faces."""
    mapping_steps: int = 2000
    """Of the mapping network, on batches of 512."""
    between: float = 0.35
    """Share of training faces whose every parameter lies at random between those of two faces, or somewhat beyond."""
    beyond: float = 0.3
    """How far beyond, in shares of their distance."""
    styles_read: int = 4
    """Parameters that a channel of S depends on at the start."""
    sparsity: float = 5e-3
    """Weight of the mean over channels of the absolute weights of their affine maps."""
    average: float = 0.998
    edge_weight: float = 1.0
    """Of the loss on differences of neighbouring pixels, which keeps lines sharp."""
    stages: tuple[Stage, ...] = (
        Stage(16, 800, 16, 2e-2),
        Stage(32, 1000, 12, 2e-2),
        Stage(64, 4500, 10, 1.5e-2),
    )


def face_numbers(z: Float[Tensor, "batch z_dim"]) -> Float[Tensor, "batch numbers"]:
    """The uniform numbers of the faces that ``z`` stands for; of a z of any length."""
    unit = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    return torch.special.ndtr(unit[:, : len(FACE_NUMBERS)])


def parameter_rows(faces: Faces) -> Float[Tensor, "batch parameters"]:
    """All parameters of faces side by side, a colour as three."""
    return torch.cat([getattr(faces, one.name).reshape(len(faces), -1) for one in fields(faces)], 1)


@dataclass(frozen=True)
class FaceCode:
    """What w means: ``w = [p, -p, p]`` with the standardised parameters p.

    Args:
        mean: of every parameter.
        deviation: of every parameter.
        low: least value.
        high: largest value.
    """

    mean: Float[Tensor, " parameters"]
    deviation: Float[Tensor, " parameters"]
    low: Float[Tensor, " parameters"]
    high: Float[Tensor, " parameters"]

    @classmethod
    def measured(cls, softness: float, seed: int = 0) -> FaceCode:
        """Taken of random faces."""
        rows = _drawn(_STATISTICS, softness, torch.Generator().manual_seed(seed))
        return cls(rows.mean(0), rows.std(0), rows.amin(0), rows.amax(0))

    @property
    def width(self) -> int:
        """Of w."""
        return len(_SIGNS) * len(self.mean)

    def codes(self, rows: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch style_dim"]:
        """The w of faces."""
        unit = (rows - self.mean) / self.deviation
        return torch.cat([sign * unit for sign in _SIGNS], 1)

    def faces(self, rows: Float[Tensor, "batch parameters"]) -> Faces:
        """The faces that rows of parameters mean, whatever their values.

        A parameter beyond its range means the end of it. Opacities are steeper: a hat is there or is not over the
        middle half of its range, so that codes pulled towards the mean still show faces, not ghosts of attributes.
        """
        like = faces_from_uniforms(torch.zeros(1, len(FACE_NUMBERS)))
        widths = [getattr(like, one.name)[0].numel() for one in fields(like)]
        made = []
        for one, width, part in zip(
            fields(like), widths, rows.clamp(self.low, self.high).split(widths, 1), strict=True
        ):
            if one.name in _OPACITIES:
                part = (0.5 + _CONTRAST * (part - 0.5)).clamp(0, 1)
            made.append(part if width > 1 else part[:, 0])
        return Faces(*made)


def _drawn(count: int, softness: float, draw: torch.Generator) -> Tensor:
    return parameter_rows(faces_from_uniforms(torch.rand(count, len(FACE_NUMBERS), generator=draw), softness))


def training_rows(count: int, recipe: Recipe, draw: torch.Generator) -> Float[Tensor, "count parameters"]:
    """Parameters to train on: faces as they are drawn, and some between two of them in every parameter on its own."""
    rows = _drawn(count, recipe.softness, draw)
    other = _drawn(count, recipe.softness, draw)
    share = torch.rand(rows.shape, generator=draw) * (1 + 2 * recipe.beyond) - recipe.beyond
    mixed = torch.rand(count, 1, generator=draw) < recipe.between
    return torch.where(mixed, torch.lerp(rows, other, share), rows)


def regression_loss(made: Tensor, wanted: Tensor, edge_weight: float) -> Tensor:
    """Absolute and squared error of pixels, and absolute error of the differences of neighbours."""
    error = made - wanted
    edges = (error[..., 1:, :] - error[..., :-1, :]).abs().mean() + (error[..., 1:] - error[..., :-1]).abs().mean()
    return error.abs().mean() + error.square().mean() + edge_weight * edges / 2


def train(
    recipe: Recipe,
    log_every: int = 100,
    out: Path | None = None,
    device: str = "cpu",
    start: StyleGAN2 | None = None,
) -> StyleGAN2:
    """Train a generator; the averaged one is returned, and saved on the way if ``out`` is given.

    From ``start``, an earlier one, the last stage alone is done (again).
    """
    torch.manual_seed(recipe.seed)
    code = FaceCode.measured(recipe.softness, recipe.seed)
    if start is not None:
        return _stage(recipe, recipe.stages[-1], code, start, start, log_every, out, device)
    mapped = _fresh(8, code)
    fit_mapping(mapped, code, recipe)
    averaged: StyleGAN2 | None = None
    for stage in recipe.stages:
        averaged = _stage(recipe, stage, code, mapped, averaged, log_every, out, device)
    assert averaged is not None
    return averaged


def fit_mapping(generator: StyleGAN2, code: FaceCode, recipe: Recipe) -> None:
    """Teach a mapping network of two layers which w a z stands for.

    Every parameter is a function of one number of z that is nearly a staircase. A first layer with a unit at each of
    its bends, and a second one found by least squares, have it almost; gradient descent from random weights has not.
    """
    first, last = generator.style[1], generator.style[2]
    width = generator.style_dim
    draw = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        first.weight.zero_()
        for unit, (number, height) in enumerate(_bends(recipe.softness, width)):
            first.weight[unit, number] = _SLOPE * math.sqrt(width) / first.rate
            first.bias[unit] = -_SLOPE * torch.special.ndtri(torch.tensor(height)) / first.rate
        z = torch.randn(30_000, width, generator=draw)
        wanted = code.codes(parameter_rows(faces_from_uniforms(face_numbers(z), recipe.softness))) / math.sqrt(2)
        # Before the leaky rectifier of the last layer.
        wanted = torch.where(wanted < 0, wanted / 0.2, wanted)
        units = torch.cat([first(generator.style[0](z)), torch.ones(len(z), 1)], 1).double()
        square = units.T @ units
        square += 1e-6 * square.diagonal().mean() * torch.eye(width + 1)
        found = torch.linalg.solve(square, units.T @ wanted.double()).float()
        last.weight.copy_(found[:-1].T * math.sqrt(width) / last.rate)
        last.bias.copy_(found[-1] / last.rate)
    optimiser = torch.optim.Adam(generator.style.parameters(), 0.5, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.mapping_steps, eta_min=1e-4)
    for step in range(recipe.mapping_steps):
        z = torch.randn(512, width, generator=draw)
        with torch.no_grad():
            wanted = code.codes(parameter_rows(faces_from_uniforms(face_numbers(z), recipe.softness)))
        error = (generator.map(z) - wanted).square().mean()
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        optimiser.step()
        schedule.step()
        if step % 500 == 0 or step + 1 == recipe.mapping_steps:
            click.echo(f"mapping  step {step:5d}  error {error.item() ** 0.5:.3f} deviations")


def _bends(softness: float, count: int) -> list[tuple[int, float]]:
    """Where the staircases bend most: (number of the face, height in [0, 1]), ``count`` of them."""
    grid = torch.linspace(0, 1, 401)
    found: list[tuple[int, float]] = []
    for number in range(len(FACE_NUMBERS)):
        numbers = torch.full((len(grid), len(FACE_NUMBERS)), 0.5)
        numbers[:, number] = grid
        rows = parameter_rows(faces_from_uniforms(numbers, softness))
        moving = (rows[1:] - rows[:-1]).abs().sum(1)
        fast = moving > 3 * moving.median() + 1e-6
        edges = (fast[1:] != fast[:-1]).nonzero().flatten()
        # A slope without any step still bends where z is turned into a uniform number.
        found += [(number, float(grid[edge + 1])) for edge in edges] or [(number, at) for at in (0.1, 0.5, 0.9)]
    spare = [(number, at) for at in (0.9, 0.97, 0.03) for number in range(len(FACE_NUMBERS))]
    return (found + spare)[:count]


def _fresh(size: int, code: FaceCode) -> StyleGAN2:
    widths = {side: width for side, width in CHANNELS.items() if side <= size}
    return StyleGAN2(size, style_dim=code.width, mapping_layers=2, channels=widths)


def _stage(
    recipe: Recipe,
    stage: Stage,
    code: FaceCode,
    mapped: StyleGAN2,
    before: StyleGAN2 | None,
    log_every: int,
    out: Path | None,
    device: str,
) -> StyleGAN2:
    generator = _grown(recipe, stage.size, code, mapped, before).to(device)
    averaged = _fresh(stage.size, code).to(device).requires_grad_(False)
    averaged.load_state_dict(generator.state_dict())
    generator.dtype = torch.bfloat16
    named = dict(generator.named_parameters())
    affine = [named[f"{one.name}.conv.modulation.weight"] for one in generator.style_layers if not one.to_rgb]
    constant = {f"{one.name}.conv.modulation.weight" for one in generator.style_layers if one.to_rgb}
    trained = [
        one
        for name, one in named.items()
        if name not in constant and not name.startswith("style.") and "noise" not in name
    ]
    optimiser = torch.optim.Adam(trained, lr=stage.rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 50, 0.5 + 0.5 * math.cos(math.pi * step / stage.steps) + 0.01)
    )
    draw = torch.Generator().manual_seed(recipe.seed + stage.size)
    started = time.perf_counter()
    for step in range(stage.steps):
        rows = training_rows(stage.batch, recipe, draw)
        with torch.no_grad():
            wanted = _pictures(code.faces(rows), stage.size).to(device)
        made = generator.render(Latent("w", code.codes(rows).to(device)), "none") / 2 + 0.5
        error = regression_loss(made, wanted, recipe.edge_weight)
        read = sum(weight.abs().sum() for weight in affine) / generator.num_styles
        optimiser.zero_grad(set_to_none=True)
        (error + recipe.sparsity * read).backward()
        optimiser.step()
        schedule.step()
        _average(averaged, generator, min(recipe.average, (step + 1) / (step + 10)))
        if step % log_every == 0 or step + 1 == stage.steps:
            spent = time.perf_counter() - started
            told = f"loss {error.item():.4f}  squared {(made - wanted).square().mean().item() ** 0.5:.4f}"
            click.echo(f"{stage.size} px  step {step:5d}  {told}  affine {read.item():.2f}  {spent:.0f} s")
        if out is not None and (step + 1) % 250 == 0:
            save_stylegan2(averaged.set_mean(), out)
    return averaged.set_mean()


def _pictures(faces: Faces, size: int) -> Tensor:
    """Small pictures are shrunk ones, so that a later stage refines and does not contradict."""
    return F.avg_pool2d(render_faces(faces, 64), 64 // size)


def _grown(recipe: Recipe, size: int, code: FaceCode, mapped: StyleGAN2, before: StyleGAN2 | None) -> StyleGAN2:
    generator = _fresh(size, code)
    draw = torch.Generator().manual_seed(recipe.seed + size + 1)
    with torch.no_grad():
        for layer in generator.style_layers:
            weight = generator.get_parameter(f"{layer.name}.conv.modulation.weight")
            # Few parameters a channel from the start: what begins at zero rises above the penalty only if it must.
            chosen = torch.rand(len(weight), len(code.mean), generator=draw).argsort(1) < recipe.styles_read
            weight.mul_(chosen.repeat(1, len(_SIGNS)).to(weight))
    if before is not None:
        generator.load_state_dict(before.state_dict(), strict=False)
        if before.size < size:
            # The new colours begin at nothing: the picture starts as the smaller one, enlarged.
            with torch.no_grad():
                generator.to_rgbs[-1].conv.weight.zero_()  # type: ignore[union-attr, operator]
    generator.style.load_state_dict(mapped.style.state_dict())
    for layer in generator.style_layers:
        if layer.to_rgb:
            # Every face has the same styles of colours: what StyleCLIP leaves alone in S is then nothing of a face's.
            with torch.no_grad():
                generator.get_parameter(f"{layer.name}.conv.modulation.weight").zero_()
    return generator


@torch.no_grad()
def _average(averaged: StyleGAN2, generator: StyleGAN2, keep: float) -> None:
    for kept, new in zip(averaged.parameters(), generator.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("plugins/style/clipzoo_style/assets/tiny.safetensors")
)
@click.option("--start", type=click.Path(path_type=Path), default=None, help="Do the last stage from this generator.")
@click.option("--scale", type=float, default=1.0, help="Factor on the steps of every stage.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, default=0, help="Threads of torch; 0 leaves its default.")
def main(out: Path, start: Path | None, scale: float, device: str, threads: int) -> None:
    """Train the bundled generator and write it to OUT, with its recipe beside it."""
    if threads:
        torch.set_num_threads(threads)
    started = time.perf_counter()
    whole = Recipe()
    stages = tuple(Stage(s.size, max(1, round(s.steps * scale)), s.batch, s.rate) for s in whole.stages)
    recipe = Recipe(stages=stages, mapping_steps=max(1, round(whole.mapping_steps * scale)))
    generator = train(recipe, out=out, device=device, start=start and load_stylegan2(start))
    save_stylegan2(generator, out)
    seconds = time.perf_counter() - started
    out.with_suffix(".json").write_text(json.dumps({"recipe": asdict(recipe)}, indent=1) + "\n", encoding="utf-8")
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {seconds:.0f} s in all")


if __name__ == "__main__":
    main()
