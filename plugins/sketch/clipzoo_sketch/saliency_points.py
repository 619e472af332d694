"""Where strokes begin: edges that the encoder looks at (CLIPasso, Vinker et al. 2022, section 3.4)."""

from __future__ import annotations

import random

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from clipzoo.errors import ConfigError, DataError

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue, Rec. 709."""

TEMPERATURE = 0.3
WALK = 0.05
_TRUNCATE = 4.0
_BINS = 256
_EVEN = 1e-6


def gaussian_blur(image: Float[np.ndarray, "height width"], sigma: float) -> Float[np.ndarray, "height width"]:
    """A Gaussian cut off at four standard deviations; the image is mirrored at its border, the edge pixel repeated.

    Args:
        image: one channel.
        sigma: standard deviation, px.
    """
    reach = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        side = image.shape[axis]
        # Mirrored as often as it takes: the kernel may be wider than a small image.
        place = (np.arange(side)[:, None] + offsets) % (2 * side)
        matrix = np.zeros((side, side))
        np.add.at(matrix, (np.arange(side)[:, None], np.where(place < side, place, 2 * side - 1 - place)), kernel)
        image = matrix @ image if axis == 0 else image @ matrix.T
    return image


def difference_of_gaussians(pixels: Float[np.ndarray, "3 height width"]) -> Float[np.ndarray, "height width"]:
    """``g(0.8) - 0.98 g(8)`` of the luminance; negative on the dark side of edges.

    Args:
        pixels: normalised as the encoder expects, as in the published code.
    """
    grey = np.tensordot(np.asarray(LUMINANCE), np.asarray(pixels, dtype=np.float64), 1)
    return gaussian_blur(grey, 0.8) - 0.98 * gaussian_blur(grey, 8.0)


def otsu_threshold(values: Float[np.ndarray, "*shape"]) -> float:
    """The value that parts two classes with the largest variance between them (Otsu 1979), on 256 bins.

    >>> round(otsu_threshold(np.array([0.0, 0.1, 0.9, 1.0])), 2)
    0.1
    """
    counts, edges = np.histogram(values, _BINS)
    counts = counts.astype(np.float64)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts[::-1].cumsum()[::-1]
    mean_below = (counts * centres).cumsum() / np.maximum(below, 1e-12)
    mean_above = ((counts * centres)[::-1].cumsum() / np.maximum(above[::-1], 1e-12))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(centres[between.argmax()])


def xdog(pixels: Float[np.ndarray, "3 height width"]) -> UInt8[np.ndarray, "height width"]:
    """Extended difference of Gaussians (Winnemoeller et al. 2012), made binary: 1 is flat, 0 is an edge.

    With ``D`` of :func:`difference_of_gaussians`: 1 where ``D < -0.1``, else ``1 + tanh(200 D)``; stretched to 0 .. 1
    and cut at Otsu's threshold.

    Args:
        pixels: normalised as the encoder expects, as in the published code.
    """
    values = _soft_xdog(pixels)
    # An even image must not become its own rounding errors, stretched.
    if values.max() - values.min() <= _EVEN:
        return np.ones(values.shape, dtype=np.uint8)
    values = (values - values.min()) / (values.max() - values.min())
    return (values >= otsu_threshold(values)).astype(np.uint8)


def _soft_xdog(pixels: NDArray) -> NDArray[np.float64]:
    difference = difference_of_gaussians(pixels)
    return np.where(difference < -0.1, 1.0, 1.0 + np.tanh(200 * difference))


def start_probabilities(
    saliency: Float[np.ndarray, "height width"],
    flat: UInt8[np.ndarray, "height width"] | None = None,
    temperature: float = TEMPERATURE,
) -> Float[np.ndarray, "height width"]:
    """Probability of each pixel to begin a stroke: a softmax over the salient edge pixels, zero elsewhere.

    ``M = (1 - XDoG) * saliency``; the softmax is over pixels with ``M > 0`` alone.

    Args:
        saliency: in [0, 1].
        flat: of :func:`xdog`; without it all salient pixels count.
        temperature: of the softmax; the best pixel is at most ``exp(1 / temperature)`` as likely as the worst.

    Raises:
        ConfigError: if ``temperature`` is not positive.
        DataError: if no pixel is salient: a blank image.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}", expected="a positive number")
    values = saliency if flat is None else (1 - flat.astype(saliency.dtype)) * saliency
    wanted = values > 0
    if not wanted.any():
        raise DataError(
            "the image has no salient edge: nothing to draw",
            expected="a photo of something",
            hint="look at the target picture of the run; a mask may have removed everything",
        )
    found = np.exp(values[wanted] / temperature)
    probabilities = np.zeros(values.shape, dtype=values.dtype)
    probabilities[wanted] = found / found.sum()
    return probabilities


def draw_starts(
    probabilities: Float[np.ndarray, "height width"], strokes: int, seed: int
) -> Int[np.ndarray, "strokes 2"]:
    """Pixels (row, column) where strokes begin, drawn without replacement.

    The legacy generator of NumPy with ``seed`` and the probabilities in float64, as in the published code. Where fewer
    pixels are possible than strokes are asked for, the rest is drawn again from all of them.

    Args:
        probabilities: of :func:`start_probabilities`.
        strokes: how many.
        seed: of the draw.
    """
    flat = probabilities.astype(np.float64).ravel()
    flat /= flat.sum()
    generator = np.random.RandomState(seed)
    possible = int((flat > 0).sum())
    chosen = generator.choice(flat.size, size=min(strokes, possible), replace=False, p=flat)
    if strokes > possible:
        chosen = np.concatenate([chosen, generator.choice(flat.size, size=strokes - possible, p=flat)])
    return np.stack(np.divmod(chosen, probabilities.shape[1]), -1)


def draw_spread_starts(
    probabilities: Float[np.ndarray, "height width"], strokes: int, seed: int
) -> Int[np.ndarray, "strokes 2"]:
    r"""Pixels (row, column) drawn one after the other, each less likely the nearer it lies to those before it.

    The probability is multiplied by :math:`1 - \exp(-d^2 / 2 \sigma^2)` with the distance :math:`d` to every earlier
    start, and :math:`\sigma` the spacing of so many points around the pixels that can be drawn. Independent draws, as
    published, put several strokes on one spot where the saliency of an encoder is coarse.

    Args:
        probabilities: of :func:`start_probabilities`.
        strokes: how many.
        seed: of the draw.
    """
    generator = np.random.RandomState(seed)
    rows, columns = np.nonzero(probabilities > 0)
    weights = probabilities[rows, columns].astype(np.float64)
    spread = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / strokes
    left, chosen = weights.copy(), []
    for _ in range(strokes):
        # Fewer places than strokes: begin again at all of them.
        left = left if left.sum() > 1e-12 * weights.sum() else weights.copy()
        place = generator.choice(len(left), p=left / left.sum())
        chosen.append((rows[place], columns[place]))
        apart = (rows - rows[place]) ** 2 + (columns - columns[place]) ** 2
        left = left * -np.expm1(-apart / (2 * spread))
    return np.asarray(chosen)


def walk_points(
    starts: Int[np.ndarray, "strokes 2"], side: tuple[int, int], seed: int, *, segments: int = 1, walk: float = WALK
) -> Float[np.ndarray, "strokes points 2"]:
    """Control points of Bezier strokes: a short random walk from each start, px (x, y).

    ``p_k = p_{k-1} + walk * (u - 0.5)`` in shares of the canvas, ``u`` uniform from Python's generator with ``seed``.

    Args:
        starts: (row, column) of the first points.
        side: height and width of the canvas, px.
        seed: of the walk.
        segments: cubic segments a stroke; a stroke has ``3 segments + 1`` points.
        walk: largest step to either side is half of it.
    """
    height, width = side
    generator = random.Random(seed)
    strokes = []
    for row, column in starts.tolist():
        points = [(column / width, row / height)]
        for _ in range(3 * segments):
            x, y = points[-1]
            points.append((x + walk * (generator.random() - 0.5), y + walk * (generator.random() - 0.5)))
        strokes.append(points)
    return np.asarray(strokes, dtype=np.float64) * (width, height)
