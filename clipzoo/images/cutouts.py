"""Cutouts: the random views through which systems show an image to CLIP, by the name of the system.

Upstream each is a loop over views. Here a call draws what is random for all views of all images, each from a generator
of its own (:mod:`clipzoo.images.warps`), and applies it in a few batched operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, closest_matches
from clipzoo.images import colours, warps
from clipzoo.images.pixels import clamp_with_gradient, mean_max_pool
from clipzoo.images.resampling import WindowKernel, resize_windows, whole_image


@dataclass(frozen=True)
class Draw:
    """What was random in the views of S seeds: pass it to :meth:`Cutouts.apply` with another image for the same views.

    Args:
        size: height and width of the images that it was drawn for, px.
        boxes: windows ``[S, N, 4]`` (top, left, height, width), px.
        homographies: ``[S, N, 3, 3]``, see :mod:`clipzoo.images.warps`.
        then: further ones, applied after them.
        grey: which views are grey, ``[S, N]``.
        jitter: factors ``[S, N, 4]``, see :func:`clipzoo.images.colours.jitter`.
        erased: rectangles ``[S, N, 4]``, px of the result.
        noise: standard deviation of each view's noise, ``[S, N]``.
        key: seeds and step, from which the noise itself is made where the images are.
    """

    size: tuple[int, int]
    boxes: Float[Tensor, "seeds views 4"] | None = None
    homographies: Float[Tensor, "seeds views 3 3"] | None = None
    then: Float[Tensor, "seeds views 3 3"] | None = None
    grey: Bool[Tensor, "seeds views"] | None = None
    jitter: Float[Tensor, "seeds views 4"] | None = None
    erased: Float[Tensor, "seeds views 4"] | None = None
    noise: Float[Tensor, "seeds views"] | None = None
    key: tuple[tuple[int, ...], int] = ((0,), 0)


@dataclass(frozen=True)
class Style:
    """How one system makes its views.

    Args:
        summary: one line.
        source: where it is published.
        draws: uniform numbers a view.
        options: what can be set, with the published values; ``count`` is N.
        draw: from uniform numbers, the cutouts and the image's height and width to a :class:`Draw`.
        apply: from images, a draw and the cutouts to views.
    """

    summary: str
    source: str
    draws: int
    options: dict[str, Any]
    draw: Callable[[Tensor, Cutouts, int, int], Draw]
    apply: Callable[[Tensor, Draw, Cutouts], Tensor]


@dataclass(frozen=True)
class Cutouts:
    """Random views of images, as one of the published systems makes them.

    ========== ================================================================== =====
    style      views                                                                  N
    ========== ================================================================== =====
    clipdraw   perspective 0.5 on white, crop of 0.7 to 0.9 of the area                4
    clipasso   the image itself, then perspective 0.5 on black, crop of 0.8        1 + 4
    vqgan      pooled image (mean and maximum), affine, perspective, colour, noise    32
    crowson    squares between ``size`` and the short side, adaptive average          16
    crowson-v2 stratified normal sides, mean-colour padding                           32
    eleuther   squares of normal side, Lanczos and bicubic, then as vqgan             32
    original   squares as crowson's, Lanczos and bicubic, clamped with gradient       32
    disco      whole image padded to a square, and inner squares, some grey        4 + 12
    clipstyler windows of 128 px, perspective 0.5                                     64
    ========== ================================================================== =====

    Args:
        style: a name of the table.
        size: side of a view, px.
        count: N; default as published. Of ``clipasso`` it counts the image itself; ``disco`` has ``overview`` and
            ``inner`` among its options instead.
        compose_warps: resample once, through one homography (sharper and faster); ``False`` resamples twice where the
            published code does, with torchvision's seam at borders, and leaves out the filter where it has none.
            Of ``vqgan`` and ``eleuther`` two steps also lose what the first pushes out of the frame.
        augment: the colour changes, noise and warps of ``vqgan``, ``eleuther`` and ``disco``; ``False`` cuts only.
        options: settings of the style that differ from the published ones, see :data:`CUTOUT_STYLES`.

    Raises:
        ConfigError: if there is no such style or option.

    >>> cutouts = Cutouts("crowson", size=16, count=4)
    >>> cutouts(torch.rand(2, 3, 48, 64), seeds=[0, 1]).shape
    torch.Size([2, 4, 3, 16, 16])
    """

    style: str
    size: int = 224
    count: int | None = None
    compose_warps: bool = True
    augment: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a style or an option that does not exist."""
        if self.style not in CUTOUT_STYLES:
            raise ConfigError(
                f'no cutouts called "{self.style}"',
                closest=closest_matches(self.style, CUTOUT_STYLES),
                expected=", ".join(CUTOUT_STYLES),
            )
        known = [name for name in CUTOUT_STYLES[self.style].options if name != "count"]
        for name in self.options:
            if name not in known:
                raise ConfigError(
                    f'the cutouts of {self.style} have no option "{name}"',
                    closest=closest_matches(name, known),
                    expected=", ".join(known) or "no options",
                )
        if self.count is not None and self.style == "disco":
            raise ConfigError(
                f"count {self.count} for the cutouts of disco", expected='options={"overview": ..., "inner": ...}'
            )
        if self.size < 1 or self.views < 1:
            raise ConfigError(f"size {self.size} and count {self.count}", expected="at least one pixel and one view")

    @property
    def views(self) -> int:
        """N, how many views an image gets."""
        if self.style == "disco":
            return self.setting("overview") + self.setting("inner")
        return CUTOUT_STYLES[self.style].options["count"] if self.count is None else self.count

    def setting(self, name: str) -> Any:
        """The value of one of the style's options."""
        return self.options.get(name, CUTOUT_STYLES[self.style].options[name])

    def draw(self, height: int, width: int, seeds: int | Sequence[int] = 0, step: int = 0) -> Draw:
        """Draw the views of images of one size; on the CPU, a few microseconds a view.

        Args:
            height: of the images, px.
            width: of the images, px.
            seeds: one an image, or one number for the same views of every image.
            step: of the optimisation; the views of a step depend on nothing that happened before.

        Raises:
            DataError: if the images are too small for the style.
        """
        if min(height, width) < 2:
            raise DataError(f"images of {height} x {width} px", expected="at least 2 x 2 px to cut views from")
        seeds = (seeds,) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
        style = CUTOUT_STYLES[self.style]
        drawn = style.draw(warps.uniforms(seeds, self.views, style.draws, step=step), self, height, width)
        return replace(drawn, size=(height, width), key=(seeds, step))

    def apply(
        self, images: Float[Tensor, "images 3 height width"], draw: Draw
    ) -> Float[Tensor, "images views 3 size size"]:
        """The views of a draw; differentiable in the images.

        Args:
            images: RGB, ``[B, 3, H, W]``; in [0, 1] for the styles with colour changes or clamps.
            draw: from :meth:`draw`, for B seeds or one.

        Returns:
            ``[B, N, 3, size, size]``; ``.flatten(0, 1)`` is what an encoder takes. View n of an image stays view n,
            so a mean over axis 1 is a mean over views.

        Raises:
            DataError: if the images are not RGB, or the draw is for another size or number of images.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or not len(images):
            raise DataError(
                f"images of the shape {tuple(images.shape)} and type {images.dtype}",
                expected="floating point [images, 3, height, width], RGB",
            )
        if tuple(images.shape[-2:]) != draw.size:
            raise DataError(f"images of {tuple(images.shape[-2:])} px and a draw for {draw.size} px")
        if len(draw.key[0]) not in (1, len(images)):
            raise DataError(f"{len(images)} images and {len(draw.key[0])} seeds", expected="one seed an image, or one")
        return CUTOUT_STYLES[self.style].apply(images, draw, self)

    def __call__(
        self, images: Float[Tensor, "images 3 height width"], *, seeds: int | Sequence[int] = 0, step: int = 0
    ) -> Float[Tensor, "images views 3 size size"]:
        """Draw and apply; see :meth:`draw` and :meth:`apply`."""
        return self.apply(images, self.draw(*images.shape[-2:], seeds=seeds, step=step))


def _expanded(views: Tensor, images: Tensor) -> Tensor:
    """Views of one seed for every image."""
    return views.expand(len(images), *views.shape[1:])


# CLIPDraw and CLIPasso: a perspective, then a crop that is resized to the view.


def _strokes_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    first, second = u[..., : warps.PERSPECTIVE_DRAWS], u[..., warps.PERSPECTIVE_DRAWS :]
    tilted = warps.random_perspective(first, height, width, cutouts.setting("distortion"))
    boxes = warps.random_resized_crop(second, height, width, cutouts.setting("area"), cutouts.setting("ratio"))
    return Draw((height, width), boxes=boxes, homographies=tilted)


def _asso_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    drawn = _strokes_draw(u, cutouts, height, width)
    assert drawn.boxes is not None and drawn.homographies is not None
    # The first view is the image, so that the loss also sees the sketch where it is.
    boxes, tilted = drawn.boxes.clone(), drawn.homographies.clone()
    boxes[:, 0], tilted[:, 0] = whole_image(height, width)[0, 0], torch.eye(3, dtype=torch.float64)
    return replace(drawn, boxes=boxes, homographies=tilted)


def _strokes_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    assert draw.boxes is not None and draw.homographies is not None
    fill = cutouts.setting("fill")
    if cutouts.compose_warps:
        views = warps.compose(draw.homographies, warps.crop_homography(draw.boxes, *draw.size))
        return warps.warp(images, views, cutouts.size, fill=fill)
    return _twice(images, draw, cutouts.size, draw.size, fill, "bilinear-antialias")


def _twice(
    images: Tensor, draw: Draw, size: int, between: tuple[int, int], fill: float, kernel: WindowKernel
) -> Tensor:
    """The perspective at the size of the images, then the windows."""
    assert draw.boxes is not None and draw.homographies is not None
    tilted = warps.warp(images, draw.homographies, between, fill=fill, border="torchvision", antialias=False)
    boxes = draw.boxes.expand(len(images), -1, -1).flatten(0, 1)[:, None]
    return resize_windows(tilted.flatten(0, 1), boxes, size, kernel).reshape(*tilted.shape[:2], 3, size, size)


# Square windows of guided diffusion and of VQGAN-CLIP.


def _crowson_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    return Draw((height, width), warps.random_square(u, height, width, cutouts.size, cutouts.setting("power")))


def _crowson_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    assert draw.boxes is not None
    return resize_windows(images, draw.boxes, cutouts.size, "adaptive-average")


def _original_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    assert draw.boxes is not None
    return clamp_with_gradient(resize_windows(images, draw.boxes, cutouts.size, "lanczos-bicubic"))


def _stratified_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    """One side from each quantile of the normal distribution cut off below the view and above the long side."""
    short, long = min(height, width), max(height, width)
    mean, spread = cutouts.setting("mean") * short, cutouts.setting("spread") * short
    low, high = (
        torch.special.ndtr(torch.tensor((side - mean) / spread, dtype=torch.float64))
        for side in (min(cutouts.size, long), long)
    )
    # The order of the strata is that of one more uniform number a view: a random permutation without a shared state.
    stratum = u[..., 3].argsort(-1).double()
    quantile = low + (stratum + u[..., 0]) / u.shape[1] * (high - low)
    side = (mean + spread * torch.special.ndtri(quantile)).clamp(min(cutouts.size, long), long)
    return Draw((height, width), torch.stack([u[..., 2] * (long - side), u[..., 1] * (long - side), side, side], -1))


def _stratified_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    assert draw.boxes is not None
    height, width = draw.size
    long = max(height, width)
    left, top = (long - width) // 2, (long - height) // 2
    pad = (left, long - width - left, top, long - height - top)
    colour = images.mean((-2, -1), keepdim=True)
    square = F.pad(images - colour, pad) + colour
    views = warps.crop_homography(draw.boxes, long, long)
    return warps.warp(square, views, cutouts.size, border="replicate", antialias=cutouts.compose_warps)


# VQGAN-CLIP: pooled or cut, then kornia's changes in the order affine, perspective, colour, erasing, noise.

_VQGAN_DRAWS = 3 + warps.AFFINE_DRAWS + warps.PERSPECTIVE_DRAWS + colours.JITTER_DRAWS + colours.ERASE_DRAWS + 1


def _vqgan_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    size, p = cutouts.size, cutouts.setting("probability")
    cut, affine, tilt, colour, hole, noise = u.split(
        [3, warps.AFFINE_DRAWS, warps.PERSPECTIVE_DRAWS, colours.JITTER_DRAWS, colours.ERASE_DRAWS, 1], -1
    )
    boxes = None
    if cutouts.style == "eleuther":
        boxes = warps.random_normal_square(cut, height, width, size, cutouts.setting("mean"), cutouts.setting("spread"))
    if not cutouts.augment:
        return Draw((height, width), boxes)
    moved = warps.random_affine(affine, size, size, 15.0, (0.1, 0.1), shear=5.0, probability=p)
    tilted = warps.random_perspective(tilt, size, size, cutouts.setting("distortion"), p)
    return Draw(
        (height, width),
        boxes,
        moved,
        tilted,
        jitter=colours.jitter_factors(colour, 0.1, probability=p),
        # One rectangle for all views of a seed.
        erased=colours.erased_boxes(hole[:, :1], size, probability=p).expand(-1, u.shape[1], -1),
        noise=noise[..., 0] * cutouts.setting("noise"),
    )


def _vqgan_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    if draw.boxes is not None:
        views = resize_windows(images, draw.boxes, cutouts.size, "lanczos-bicubic")
    else:
        # The pooled image is the same for every view: pooled once.
        views = mean_max_pool(images, cutouts.size)[:, None]
    if draw.homographies is None or draw.then is None:
        return views.expand(-1, cutouts.views, -1, -1, -1)
    if cutouts.compose_warps:
        views = _warp_each(views, warps.compose(draw.homographies, draw.then), cutouts.size)
    else:
        views = _warp_each(_warp_each(views, draw.homographies, cutouts.size), draw.then, cutouts.size)
    views = _coloured(views, draw)
    return clamp_with_gradient(views) if cutouts.style == "eleuther" else views


def _warp_each(views: Tensor, homographies: Tensor, size: int) -> Tensor:
    """Every view under its own homography; one view of an image under all of them."""
    if views.shape[1] == 1:
        return warps.warp(views[:, 0], homographies, size)
    each = homographies.expand(len(views), -1, -1, -1).flatten(0, 1)[:, None]
    return warps.warp(views.flatten(0, 1), each, size).reshape(*views.shape[:3], size, size)


def _coloured(views: Tensor, draw: Draw) -> Tensor:
    if draw.grey is not None:
        views = colours.grey(views, _expanded(draw.grey, views))
    if draw.jitter is not None:
        factors = _expanded(draw.jitter, views)
        views = colours.jitter(views.flatten(0, 1), factors.flatten(0, 1)).reshape(views.shape)
    if draw.erased is not None:
        views = colours.erase(views, _expanded(draw.erased, views))
    if draw.noise is not None:
        seeds, step = draw.key
        noise = warps.normals(seeds, views.shape[1], views.shape[2:], step=step, device=views.device, dtype=views.dtype)
        views = views + noise * draw.noise.to(views)[..., None, None, None]
    return views


# Disco Diffusion: the whole image in up to four variants, then inner squares.

_DISCO_DRAWS = 3 + warps.FLIP_DRAWS + warps.AFFINE_DRAWS + 1 + colours.JITTER_DRAWS


def _disco_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    overview, inner = cutouts.setting("overview"), cutouts.setting("inner")
    cut, mirror, affine, dull, colour = u.split([3, 1, warps.AFFINE_DRAWS, 1, colours.JITTER_DRAWS], -1)
    boxes = warps.random_square(cut[:, overview:], height, width, cutouts.size, cutouts.setting("power"))
    # Upstream counts from zero and includes the end: one more grey view than the share says, even for a share of zero.
    dull_inner = torch.arange(inner) <= int(cutouts.setting("grey") * inner)
    # Above four overviews all are plain.
    dull_overview = torch.tensor([False, True, False, True][:overview] if overview <= 4 else [False] * overview)
    always = torch.cat([dull_overview, dull_inner]).expand(u.shape[:2])
    if not cutouts.augment:
        return Draw((height, width), boxes, grey=always)
    return Draw(
        (height, width),
        boxes,
        warps.compose(
            warps.flips(mirror[..., 0], 0.5),
            warps.random_affine(affine, cutouts.size, cutouts.size, 10.0, (0.05, 0.05)),
        ),
        grey=always | (dull[..., 0] < 0.1),
        jitter=colours.jitter_factors(colour, 0.1, cutouts.setting("hue")),
        # Three times noise of 0.01, between the steps.
        noise=torch.full(u.shape[:2], cutouts.setting("noise") * 3**0.5, dtype=torch.float64),
    )


def _disco_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    assert draw.boxes is not None
    overview, size = cutouts.setting("overview"), cutouts.size
    parts = []
    if overview:
        height, width = draw.size
        long = max(height, width)
        sides, ends = (long - width) // 2, (long - height) // 2
        square = F.pad(images, (sides, long - width - sides, ends, long - height - ends))
        whole = F.interpolate(square, (size, size), mode="bicubic", align_corners=False, antialias=True)
        mirrored = [overview <= 4 and place >= 2 for place in range(overview)]
        parts.append(torch.stack([whole.flip(-1) if flipped else whole for flipped in mirrored], 1))
    if cutouts.setting("inner"):
        parts.append(resize_windows(images, draw.boxes, size, "bicubic-antialias"))
    views = torch.cat(parts, 1)
    if draw.homographies is not None:
        views = _warp_each(views, draw.homographies, size)
    return _coloured(views, draw)


# CLIPstyler: windows of a fixed size under a perspective of their own.


def _styler_draw(u: Tensor, cutouts: Cutouts, height: int, width: int) -> Draw:
    side = cutouts.setting("window")
    if side > min(height, width):
        raise DataError(
            f"windows of {side} px in images of {height} x {width} px",
            expected="windows that fit",
            hint=f'options={{"window": {min(height, width) // 4}}}, or larger images',
        )
    left, top = (u[..., 0] * (width - side + 1)).floor(), (u[..., 1] * (height - side + 1)).floor()
    boxes = torch.stack([top, left, torch.full_like(top, side), torch.full_like(top, side)], -1)
    return Draw((height, width), boxes, warps.random_perspective(u[..., 2:], side, side, cutouts.setting("distortion")))


def _styler_apply(images: Tensor, draw: Draw, cutouts: Cutouts) -> Tensor:
    assert draw.boxes is not None and draw.homographies is not None
    side = cutouts.setting("window")
    # The corners of a window that the perspective leaves empty are black, though the image goes on there.
    windows = resize_windows(images, draw.boxes, side, "adaptive-average")
    flat = windows.flatten(0, 1)
    tilts = draw.homographies.expand(len(images), -1, -1, -1).flatten(0, 1)[:, None]
    if cutouts.compose_warps:
        views = warps.warp(flat, tilts, cutouts.size)[:, 0]
    else:
        tilted = warps.warp(flat, tilts, side, border="torchvision", antialias=False)[:, 0]
        views = F.interpolate(tilted, (cutouts.size,) * 2, mode="bilinear", align_corners=False, antialias=True)
    return views.reshape(*windows.shape[:3], cutouts.size, cutouts.size)


_STROKES = warps.PERSPECTIVE_DRAWS + warps.RESIZED_CROP_DRAWS

CUTOUT_STYLES: dict[str, Style] = {
    "clipdraw": Style(
        "perspective on white, then a crop",
        "Frans et al. 2022, CLIPDraw",
        _STROKES,
        {"count": 4, "distortion": 0.5, "area": (0.7, 0.9), "ratio": (3 / 4, 4 / 3), "fill": 1.0},
        _strokes_draw,
        _strokes_apply,
    ),
    "clipasso": Style(
        "the image, and perspectives on black, then a crop",
        "Vinker et al. 2022, CLIPasso, section 3.3",
        _STROKES,
        {"count": 5, "distortion": 0.5, "area": (0.8, 0.8), "ratio": (1.0, 1.0), "fill": 0.0},
        _asso_draw,
        _strokes_apply,
    ),
    "vqgan": Style(
        "pooled image under affine, perspective, colour, erasing and noise",
        "Crowson et al. 2022, VQGAN-CLIP; the script's latest cutouts",
        _VQGAN_DRAWS,
        {"count": 32, "distortion": 0.7, "probability": 0.7, "noise": 0.1},
        _vqgan_draw,
        _vqgan_apply,
    ),
    "crowson": Style(
        "random squares, adaptive average",
        "Crowson 2021, CLIP-guided diffusion",
        3,
        {"count": 16, "power": 1.0},
        _crowson_draw,
        _crowson_apply,
    ),
    "crowson-v2": Style(
        "stratified normal sides, mean-colour padding",
        "Crowson 2022, CLIP-guided diffusion, second version",
        4,
        {"count": 32, "mean": 0.8, "spread": 0.3},
        _stratified_draw,
        _stratified_apply,
    ),
    "eleuther": Style(
        "squares of normal side, Lanczos, then as vqgan",
        "EleutherAI 2021, VQGAN-CLIP; its latest cutouts",
        _VQGAN_DRAWS,
        {"count": 32, "mean": 0.8, "spread": 0.3, "distortion": 0.7, "probability": 0.7, "noise": 0.1},
        _vqgan_draw,
        _vqgan_apply,
    ),
    "original": Style(
        "random squares, Lanczos, clamped with gradient",
        "Crowson et al. 2022, VQGAN-CLIP; its first cutouts",
        3,
        {"count": 32, "power": 1.0},
        _crowson_draw,
        _original_apply,
    ),
    "disco": Style(
        "whole image padded to a square, and inner squares",
        "Disco Diffusion 5, 2022",
        _DISCO_DRAWS,
        {"overview": 4, "inner": 12, "power": 1.0, "grey": 0.2, "hue": 0.1, "noise": 0.01},
        _disco_draw,
        _disco_apply,
    ),
    "clipstyler": Style(
        "windows of 128 px under perspectives",
        "Kwon and Ye 2022, CLIPstyler, section 3.2",
        2 + warps.PERSPECTIVE_DRAWS,
        {"count": 64, "window": 128, "distortion": 0.5},
        _styler_draw,
        _styler_apply,
    ),
}
"""What each style draws and which of its settings can be changed, with the published values."""
