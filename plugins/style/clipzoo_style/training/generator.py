"""Train the bundled generator: ``python -m clipzoo_style.training.generator``.

A real StyleGAN2 of 64 px learns the procedural faces by regression: each z decides one face (its numbers, made uniform,
are those of :func:`clipzoo.data.faces.faces_from_uniforms`), the renderer draws it, and the generator is to give that
picture. An adversarial game of this size on two processor cores would take hours and give blurred glasses.

First the mapping network alone learns a w from which the face's parameters can be read by one linear map; that takes
seconds. Then the resolution grows: a generator of 16 px is trained, whose layers begin the one of 32 px, and so on.
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
from torch import Tensor

from clipzoo.data.faces import FACE_NUMBERS, Faces, faces_from_uniforms, render_faces
from clipzoo_style.checkpoints import save_stylegan2
from clipzoo_style.stylegan2 import StyleGAN2

_LENGTHS = ("head_width", "head_height", "eye_distance", "brow", "shift")
CHANNELS = {4: 96, 8: 96, 16: 80, 32: 56, 64: 32}


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
    style_dim: int = 64
    mapping_layers: int = 4
    softness: float = 0.08
    """Width of the band in which one value of an attribute turns into the next, in shares of all faces."""
    mapping_steps: int = 6000
    """Of the mapping network before there are pictures, on batches of 512."""
    average: float = 0.995
    edge_weight: float = 0.5
    """Of the loss on differences of neighbouring pixels, which keeps lines sharp."""
    stages: tuple[Stage, ...] = (
        Stage(16, 800, 24, 2e-2),
        Stage(32, 1000, 16, 2e-2),
        Stage(64, 3000, 12, 1.5e-2),
    )


def face_numbers(z: Tensor) -> Tensor:
    """The uniform numbers of the faces that ``z [batch, z_dim]`` stands for; of a z of any length."""
    unit = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    return torch.special.ndtr(unit[:, : len(FACE_NUMBERS)])


def regression_loss(made: Tensor, wanted: Tensor, edge_weight: float) -> Tensor:
    """Absolute and squared error of pixels, and absolute error of the differences of neighbours."""
    error = made - wanted
    edges = (error[..., 1:, :] - error[..., :-1, :]).abs().mean() + (error[..., 1:] - error[..., :-1]).abs().mean()
    return error.abs().mean() + error.square().mean() + edge_weight * edges / 2


def train(recipe: Recipe, log_every: int = 50, out: Path | None = None, device: str = "cpu") -> StyleGAN2:
    """Train a generator; the averaged one is returned, and saved on the way if ``out`` is given."""
    torch.manual_seed(recipe.seed)
    averaged: StyleGAN2 | None = pretrained_mapping(recipe, device)
    for stage in recipe.stages:
        averaged = _stage(recipe, stage, averaged, log_every, out, device)
    assert averaged is not None
    return averaged


def pretrained_mapping(recipe: Recipe, device: str = "cpu") -> StyleGAN2:
    """The smallest generator, whose w tells the parameters of the face through a linear map."""
    generator = _grown(recipe, 8, None).to(device)
    wide = _parameters(torch.rand(2, len(FACE_NUMBERS)), recipe.softness).shape[1]
    head = torch.nn.Linear(recipe.style_dim, wide).to(device)
    optimiser = torch.optim.Adam(
        [{"params": generator.style.parameters(), "lr": 4.0}, {"params": head.parameters(), "lr": 3e-3}],
        betas=(0.9, 0.99),
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.mapping_steps, eta_min=1e-6)
    for step in range(recipe.mapping_steps):
        z = torch.randn(512, recipe.style_dim, device=device)
        w = generator.map(z)
        error = (head(w) - _parameters(face_numbers(z), recipe.softness)).square().mean()
        # w stays of the size that the synthesis network is made for.
        loss = error + 1e-3 * (w.square().mean() - 1).square()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 500 == 0 or step + 1 == recipe.mapping_steps:
            click.echo(f"mapping  step {step:5d}  error {error.item() ** 0.5:.4f}")
    return generator


def _parameters(numbers: Tensor, softness: float) -> Tensor:
    """The parameters of the faces in one row each, all of about the same importance."""
    faces = faces_from_uniforms(numbers, softness)
    rows = torch.cat([getattr(faces, one.name).reshape(len(numbers), -1) for one in fields(faces)], 1)
    # Lengths vary by hundredths of the image; without this they would not be learned at all.
    narrow = torch.tensor([one.name in _LENGTHS for one in fields(faces) for _ in range(_width(faces, one.name))])
    return torch.where(narrow.to(rows.device), rows * 5, rows)


def _width(faces: Faces, name: str) -> int:
    return getattr(faces, name)[0].numel()


def _stage(
    recipe: Recipe, stage: Stage, before: StyleGAN2 | None, log_every: int, out: Path | None, device: str
) -> StyleGAN2:
    generator = _grown(recipe, stage.size, before).to(device)
    averaged = _grown(recipe, stage.size, None).to(device).requires_grad_(False)
    averaged.load_state_dict(generator.state_dict())
    generator.dtype = torch.bfloat16
    mapping = [p for name, p in generator.named_parameters() if name.startswith("style.")]
    others = [
        p
        for name, p in generator.named_parameters()
        if not name.startswith(("style.", "embed")) and "noise" not in name
    ]
    optimiser = torch.optim.Adam(
        # The mapping network's weights are stored a hundredfold.
        [{"params": mapping, "lr": stage.rate * 50}, {"params": others, "lr": stage.rate}],
        betas=(0.9, 0.99),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 50, 0.5 + 0.5 * math.cos(math.pi * step / stage.steps) + 0.02)
    )
    started = time.perf_counter()
    for step in range(stage.steps):
        z = torch.randn(stage.batch, recipe.style_dim, device=device)
        with torch.no_grad():
            wanted = _pictures(face_numbers(z), recipe.softness, stage.size)
        loss = regression_loss(generator.render(generator.map(z), "none") / 2 + 0.5, wanted, recipe.edge_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        _average(averaged, generator, min(recipe.average, (step + 1) / (step + 10)))
        if step % log_every == 0 or step + 1 == stage.steps:
            spent = time.perf_counter() - started
            click.echo(f"{stage.size} px  step {step:5d}  loss {loss.item():.4f}  {spent:.0f} s")
        if out is not None and (step + 1) % 250 == 0:
            save_stylegan2(averaged.set_mean(), out)
    return averaged.set_mean()


def _pictures(numbers: Tensor, softness: float, size: int) -> Tensor:
    """Small pictures are shrunk ones, so that a later stage refines and does not contradict."""
    faces = faces_from_uniforms(numbers, softness)
    return F.avg_pool2d(render_faces(faces, 64), 64 // size) if size < 64 else render_faces(faces, 64)


def _grown(recipe: Recipe, size: int, before: StyleGAN2 | None) -> StyleGAN2:
    widths = {side: width for side, width in CHANNELS.items() if side <= size}
    generator = StyleGAN2(size, style_dim=recipe.style_dim, mapping_layers=recipe.mapping_layers, channels=widths)
    if before is not None:
        generator.load_state_dict(before.state_dict(), strict=False)
        if before.size < size:
            # The new colours begin at nothing: the picture starts as the smaller one, enlarged.
            with torch.no_grad():
                generator.to_rgbs[-1].conv.weight.zero_()  # type: ignore[union-attr, operator]
    return generator


@torch.no_grad()
def _average(averaged: StyleGAN2, generator: StyleGAN2, keep: float) -> None:
    for kept, new in zip(averaged.parameters(), generator.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("plugins/style/clipzoo_style/assets/tiny.safetensors")
)
@click.option("--scale", type=float, default=1.0, help="Factor on the steps of every stage.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=int, default=0, help="Threads of torch; 0 leaves its default.")
def main(out: Path, scale: float, device: str, threads: int) -> None:
    """Train the bundled generator and write it to OUT, with its recipe beside it."""
    if threads:
        torch.set_num_threads(threads)
    started = time.perf_counter()
    whole = Recipe()
    stages = tuple(Stage(s.size, max(1, round(s.steps * scale)), s.batch, s.rate) for s in whole.stages)
    recipe = Recipe(stages=stages, mapping_steps=max(1, round(whole.mapping_steps * scale)))
    generator = train(recipe, out=out, device=device)
    save_stylegan2(generator, out)
    seconds = time.perf_counter() - started
    out.with_suffix(".json").write_text(json.dumps({"recipe": asdict(recipe)}, indent=1) + "\n", encoding="utf-8")
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {seconds:.0f} s in all")


if __name__ == "__main__":
    main()
