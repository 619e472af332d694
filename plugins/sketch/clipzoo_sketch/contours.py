"""Contours of a photo: a line drawing of it without a network, and strokes that begin along its lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clipzoo_sketch.saliency_points import gaussian_blur

SCALE = 2 / 224
"""Standard deviation of the blur before the gradient, in shares of the side: a line is about as wide as a stroke."""

LONGEST = 0.4
"""Of strokes that begin along a contour, in shares of the side: a cubic does not follow much more."""

_FULL = 0.5
_SMOOTH = 1.5
_FLAT = 1e-3
_END = 0.25
_SAME_LINE = 3.0
# Width of the line that a straight edge becomes, in standard deviations: the integral of min(1, 2 exp(-x^2 / 2)).
_LINE_WIDTH = 3.554
# Control points of the cubic through four points at t = 0, 1/3, 2/3, 1.
_THROUGH = np.array([[1, 0, 0, 0], [-5 / 6, 3, -3 / 2, 1 / 3], [1 / 3, -3 / 2, 3, -5 / 6], [0, 0, 0, 1]])


class Traced(NamedTuple):
    """Strokes that follow contours."""

    starts: Int[np.ndarray, "strokes 2"]
    points: Float[np.ndarray, "strokes points 2"]


def contour_strength(
    pixels: Float[np.ndarray, "3 height width"], inside: Bool[np.ndarray, "height width"] | None = None
) -> Float[np.ndarray, "height width"]:
    r"""How much a pixel is part of a contour, in [0, 1]: the gradient of the blurred photo (Canny 1986, first step).

    :math:`\min(1, |\nabla (g_\sigma * I)| / (\max / 2))`, the largest over red, green and blue, so that an edge between
    colours of one brightness counts too.

    Args:
        pixels: in [0, 1].
        inside: where the photo is, the rest being a border: in it and where the blur sees it is no contour.

    Returns:
        Zero everywhere for an even photo.
    """
    sigma = _sigma(pixels)
    slopes = [np.hypot(*np.gradient(gaussian_blur(np.asarray(plane, np.float64), sigma))) for plane in pixels]
    strength = np.max(slopes, axis=0)
    if inside is not None:
        strength = np.where(away_from_border(inside, sigma), strength, 0.0)
    most = strength.max()
    return np.zeros_like(strength) if most * sigma < _FLAT else np.minimum(1, strength / (_FULL * most))


def away_from_border(inside: Bool[np.ndarray, "height width"], sigma: float) -> Bool[np.ndarray, "height width"]:
    """Where a blur of ``sigma`` px does not see the edge of ``inside``; the edge of the picture is none."""
    return gaussian_blur(inside.astype(np.float64), sigma) > 0.999


def contour_length(
    pixels: Float[np.ndarray, "3 height width"], inside: Bool[np.ndarray, "height width"] | None = None
) -> float:
    """Of all contours together, px; weak ones count in part.

    >>> photo = np.ones((3, 224, 224))
    >>> photo[:, 50:150, 50:150] = 0
    >>> 370 < contour_length(photo) < 430
    True
    """
    return float(contour_strength(pixels, inside).sum() / (_LINE_WIDTH * _sigma(pixels)))


def line_drawing(
    pixels: Float[np.ndarray, "3 height width"], inside: Bool[np.ndarray, "height width"] | None = None
) -> Float[np.ndarray, "3 height width"]:
    """Its contours in black on white, as grey as they are weak.

    >>> photo = np.ones((3, 32, 32))
    >>> photo[:, 8:24, 8:24] = 0
    >>> drawn = line_drawing(photo)[0]
    >>> bool(drawn[16, 8] < 0.1), bool(drawn[16, 16] > 0.99), bool(drawn[2, 2] > 0.99)
    (True, True, True)
    """
    return np.repeat((1 - contour_strength(pixels, inside))[None], 3, 0)


def nearby_ink(pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """For each pixel the colour, of its own and the eight around it, that is least like white paper.

    On the edge of an object this is the object's colour, not the mixture that the edge shows.
    """
    apart = (1 - pixels).square().sum(1, keepdim=True)
    _, place = F.max_pool2d(apart, 3, 1, 1, return_indices=True)
    return pixels.flatten(2).gather(2, place.flatten(2).expand(-1, pixels.shape[1], -1)).view_as(pixels)


def contour_angles(pixels: Float[np.ndarray, "3 height width"]) -> Float[np.ndarray, "height width"]:
    """Direction of the contour at each pixel, radians from the x axis towards y, without a sign.

    Across the largest eigenvector of the structure tensor (Foerstner and Guelch 1987), summed over colours.

    Args:
        pixels: in [0, 1].
    """
    sigma = _sigma(pixels)
    tensor = np.zeros((3, *pixels.shape[-2:]))
    for plane in np.asarray(pixels, np.float64):
        down, right = np.gradient(gaussian_blur(np.asarray(plane), sigma))
        tensor += np.stack([right * right, down * down, right * down])
    xx, yy, xy = (gaussian_blur(part, _SMOOTH * sigma) for part in tensor)
    return 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2


def trace_contours(
    pixels: Float[np.ndarray, "3 height width"],
    probabilities: Float[np.ndarray, "height width"],
    strokes: int,
    seed: int,
    *,
    segments: int = 1,
    inside: Bool[np.ndarray, "height width"] | None = None,
) -> Traced:
    r"""Bezier strokes along contours, drawn one after the other, rarely where one runs already.

    The middle of a stroke is drawn by the probabilities; the stroke follows the contour to both sides, over its share
    of the length of all contours (at most :data:`LONGEST`) or until the contour ends. Then probabilities are multiplied
    by :math:`1 - \exp(-d^2 / 2 s^2)` with the distance :math:`d` to the stroke, and :math:`s` the width of a line.

    Args:
        pixels: in [0, 1].
        probabilities: of a stroke to begin at a pixel.
        strokes: how many.
        seed: of the draw.
        segments: cubic segments a stroke; a stroke has ``3 segments + 1`` points.
        inside: as of :func:`contour_strength`.

    Returns:
        ``starts`` (row, column) of the middles, and ``points`` (x, y), px.
    """
    strength, angles = contour_strength(pixels, inside), contour_angles(pixels)
    half = min(LONGEST * max(strength.shape), contour_length(pixels, inside) / strokes) / 2
    generator = np.random.RandomState(seed)
    rows, columns = np.nonzero(probabilities > 0)
    weights = probabilities[rows, columns].astype(np.float64)
    left, starts, points = weights.copy(), [], []
    for _ in range(strokes):
        # Every contour has a stroke: begin again at all of them.
        left = left if left.sum() > 1e-3 * weights.sum() else weights.copy()
        place = generator.choice(len(left), p=left / left.sum())
        start = float(columns[place]), float(rows[place])
        ahead, behind = (_follow(angles, strength, start, sign, max(1, round(half))) for sign in (1.0, -1.0))
        path = np.concatenate([behind[:0:-1], ahead])
        starts.append((rows[place], columns[place]))
        points.append(_through(path, segments))
        apart = np.min((columns - path[:, :1]) ** 2 + (rows - path[:, 1:]) ** 2, axis=0)
        left = left * -np.expm1(-apart / (2 * (_SAME_LINE * _sigma(pixels)) ** 2))
    return Traced(np.asarray(starts), np.asarray(points))


def _sigma(pixels: NDArray) -> float:
    return SCALE * max(pixels.shape[-2:])


def _follow(
    angles: NDArray, strength: NDArray, start: tuple[float, float], sign: float, steps: int
) -> NDArray[np.float64]:
    """The way along a contour from a start, a pixel a step; where it begins counts as its first point."""
    height, width = angles.shape
    place = np.asarray(start)
    heading = np.zeros(2)
    way = [place]
    for done in range(steps):
        x, y = np.rint(place).astype(int)
        step = np.array([np.cos(angles[y, x]), np.sin(angles[y, x])])
        heading = sign * step if not done else step if step @ heading >= 0 else -step
        place = np.clip(place + heading, 0, (width - 1, height - 1))
        x, y = np.rint(place).astype(int)
        if done and strength[y, x] < _END:
            break
        way.append(place)
    return np.asarray(way)


def _through(path: NDArray, segments: int) -> NDArray[np.float64]:
    """Control points of cubics that pass through evenly spaced points of a path."""
    places = np.linspace(0, len(path) - 1, 3 * segments + 1)
    whole = np.arange(len(path))
    points = np.stack([np.interp(places, whole, path[:, axis]) for axis in (0, 1)], -1)
    parts = [_THROUGH @ points[3 * part : 3 * part + 4] for part in range(segments)]
    return np.concatenate([parts[0][:1], *(part[1:] for part in parts)])
