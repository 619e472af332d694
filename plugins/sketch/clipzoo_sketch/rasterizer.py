"""Strokes to pixels, differentiable in points, widths and colours."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, MissingExtra, closest_matches
from clipzoo_sketch.geometry import to_cubics
from clipzoo_sketch.scene import FillRule, Scene

Backend = Literal["auto", "torch", "numba", "triton", "diffvg"]
BACKENDS = ("auto", "torch", "numba", "triton", "diffvg")
MAX_SIDE = 16384
"""Longest side of a canvas, pixels."""


def rasterize(
    points: Float[Tensor, "canvas path point 2"],
    widths: Float[Tensor, "canvas path"],
    colors: Float[Tensor, "canvas path 4"] | None,
    size: tuple[int, int] = (224, 224),
    background: Sequence[float] | Tensor = (1.0, 1.0, 1.0),
    closed: bool = False,
    fill: Float[Tensor, "canvas path 4"] | None = None,
    antialias: bool = True,
    backend: Backend = "auto",
    *,
    degree: int | None = None,
    fill_rule: FillRule = "nonzero",
) -> Float[Tensor, "canvas 3 height width"]:
    r"""Draw strokes, and filled paths, onto canvases.

    A stroke is the set of points nearer than half its width to its path: ends and joins are round, and where a stroke
    crosses itself it is no darker. A pixel shows :math:`C \leftarrow C + a (c - C)` for each path in order, with
    :math:`a` the opacity times the area of the pixel's square that the stroke covers. That area is exact up to 0.01 px
    of the outline, and so are its derivatives by the points, the widths and the colours.

    Args:
        points: control points, pixels, x to the right and y down; the corner of the canvas is (0, 0), the centre of its
            first pixel (0.5, 0.5). 1 point is a dot, 2 are a line, 3 a quadratic, 3n + 1 a chain of n cubics. A closed
            path of 3n points (n at least 2) returns to its first one by its last cubic, others by a straight line.
        widths: full widths, pixels; at a width of 0, or less, nothing is drawn.
        colors: straight RGBA in [0, 1] of the strokes; None to draw none.
        size: height and width of the canvas, pixels.
        background: RGB below everything: one colour, one a canvas ``[canvas, 3]``, or an image
            ``[canvas, 3, height, width]``.
        closed: every path ends where it begins.
        fill: straight RGBA of the insides of paths, below their strokes; open paths are closed by a straight line.
        antialias: pixels have the share that is covered; else all or nothing, by their centres, without a gradient to
            points and widths.
        backend: ``"torch"`` (any device, the reference), ``"numba"`` (CPU), ``"triton"`` (GPU), ``"diffvg"`` (if
            installed), or ``"auto"``: the fastest of the first three on the device of ``points``.
        degree: of the segments, where the number of points does not tell: 1 for polylines, 2 or 3.
        fill_rule: ``"nonzero"`` or ``"evenodd"``: which points are inside a path that crosses itself.

    Returns:
        RGB, in [0, 1] if the colours are.

    Raises:
        ConfigError: if shapes do not fit each other, or a setting is none that exists.
        DataError: if points, widths or colours are not finite.

    >>> dot = torch.full((1, 1, 4, 2), 8.0)
    >>> image = rasterize(dot, torch.tensor([[4.0]]), torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]), size=(16, 16))
    >>> image.shape, round((1 - image[0, 0]).sum().item(), 1)  # the area of a disc of radius 2
    (torch.Size([1, 3, 16, 16]), 12.6)
    """
    _check(points, widths, colors, fill, size, backend, fill_rule)
    widths = widths.to(points.dtype)
    colors, fill = (None if paint is None else paint.to(points.dtype) for paint in (colors, fill))
    scene = Scene(
        cubics=to_cubics(points, closed, degree),
        # clamp(min=0) would have no gradient at 0, from where a stroke must be able to grow.
        radii=torch.where(widths < 0, 0.0, widths) / 2,
        stroke_colours=colors,
        fill_colours=fill,
        background=_background(background, len(points), size, points),
        closed=closed,
        fill_rule=fill_rule,
        antialias=antialias,
    )
    if not points.numel() or (colors is None and fill is None):
        return scene.background.clone()
    home = importlib.import_module(f"clipzoo_sketch.{choose_backend(backend, points.device)}_backend")
    return home.render(scene)


def choose_backend(backend: Backend, device: torch.device) -> str:
    """The back end that ``"auto"`` stands for on a device, or the one that was named.

    Raises:
        ConfigError: if the one that was named does not run on the device.
        MissingExtra: if it is not installed.
    """
    if backend == "auto":
        wanted = {"cpu": "numba", "cuda": "triton"}.get(device.type, "torch")
        return wanted if importlib.util.find_spec(wanted) else "torch"
    homes = {"numba": ("cpu",), "triton": ("cuda", "cpu")}
    if device.type not in homes.get(backend, (device.type,)):
        raise ConfigError(
            f'backend="{backend}" with tensors on {device}', expected=" or ".join(homes[backend]), hint="backend=torch"
        )
    if backend in homes and importlib.util.find_spec(backend) is None:
        raise MissingExtra(f"the {backend} back end was asked for, and {backend} is not installed", hint="backend=auto")
    return backend


def _background(colour: Sequence[float] | Tensor, canvases: int, size: tuple[int, int], like: Tensor) -> Tensor:
    colour = torch.as_tensor(colour, dtype=like.dtype, device=like.device)
    if colour.shape in ((3,), (canvases, 3)):
        colour = colour[..., None, None]
    shape = (canvases, 3, *size)
    try:
        return colour.expand(shape)
    except RuntimeError as error:
        raise ConfigError(
            f"background of shape {list(colour.shape)}", expected=f"[3], [{canvases}, 3] or {list(shape)}"
        ) from error


def _check(
    points: Tensor,
    widths: Tensor,
    colors: Tensor | None,
    fill: Tensor | None,
    size: tuple[int, int],
    backend: str,
    fill_rule: str,
) -> None:
    if points.ndim != 4 or points.shape[-1] != 2 or not points.is_floating_point():
        raise ConfigError(
            f"points of shape {list(points.shape)}, {points.dtype}", expected="float [canvas, path, point, 2]"
        )
    canvases, paths = points.shape[:2]
    for name, value, shape in (
        ("widths", widths, (canvases, paths)),
        ("colors", colors, (canvases, paths, 4)),
        ("fill", fill, (canvases, paths, 4)),
    ):
        if value is not None and tuple(value.shape) != shape:
            raise ConfigError(f"{name} of shape {list(value.shape)}", expected=f"{list(shape)}, as points have it")
        if value is not None and value.device != points.device:
            raise ConfigError(f"{name} on {value.device}", expected=f"{points.device}, where points are")
    for name, value in (("points", points), ("widths", widths), ("colors", colors), ("fill", fill)):
        if value is not None and not torch.isfinite(value.detach()).all():
            raise DataError(f"{name} hold values that are not finite", hint="a smaller learning rate")
    if len(size) != 2 or not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in size):
        raise ConfigError(f"size={size!r}", expected=f"(height, width), each from 1 to {MAX_SIDE} pixels")
    for name, value, names in (("backend", backend, BACKENDS), ("fill_rule", fill_rule, ("nonzero", "evenodd"))):
        if value not in names:
            raise ConfigError(f'{name}="{value}"', expected=", ".join(names), closest=closest_matches(value, names))
