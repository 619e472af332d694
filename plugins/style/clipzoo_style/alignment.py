"""FFHQ alignment from landmarks: which square of a photo a face generator means by "a face"."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipzoo.errors import DataError

# Where FFHQ's crops have the eyes and the mouth, as shares of the side; averages of its definition on a frontal face.
_MOST_SIDES = 8.0  # of a crop, in longer sides of its picture: beyond is no face, and a crop without end
_EYES = ((0.375, 0.48), (0.625, 0.48))


def face_points(landmarks: Float[Tensor, "points 2"]) -> tuple[Tensor, Tensor, Tensor]:
    """Left eye, right eye and mouth (as seen in the picture) of 68 or 5 landmarks, in px.

    Raises:
        DataError: if there are neither 68 nor 5.
    """
    points = torch.as_tensor(landmarks, dtype=torch.float64)
    if points.shape == (68, 2):
        return points[36:42].mean(0), points[42:48].mean(0), (points[48] + points[54]) / 2
    if points.shape == (5, 2):
        return points[0], points[1], (points[3] + points[4]) / 2
    raise DataError(
        f"landmarks of the shape {tuple(points.shape)}",
        expected="[68, 2] in dlib's order, or [5, 2]: left eye, right eye, nose, left and right corner of the mouth",
    )


def ffhq_quad(landmarks: Float[Tensor, "points 2"]) -> Float[Tensor, "4 2"]:
    r"""The corners (top left, bottom left, bottom right, top right) of FFHQ's crop (Karras et al. 2019, appendix A).

    With the eye-to-eye vector e and the eye-to-mouth vector m: the x axis is :math:`e - \mathrm{rot}(m)`, of the length
    :math:`\max(2 |e|, 1.8 |m|)`; the middle lies a tenth of m below the eyes.
    """
    left, right, mouth = face_points(landmarks)
    across, down = right - left, mouth - (left + right) / 2
    x = across - torch.stack([-down[1], down[0]]) * 1.0
    length = float(x.norm())
    if length < 1e-6:
        raise DataError("landmarks that lie on one point", expected="eyes and mouth of a face")
    x = x / length * max(float(across.norm()) * 2.0, float(down.norm()) * 1.8)
    y = torch.stack([-x[1], x[0]])
    middle = (left + right) / 2 + down * 0.1
    return torch.stack([middle - x - y, middle - x + y, middle + x + y, middle + x - y])


def align_face(
    image: Float[Tensor, "3 height width"], landmarks: Float[Tensor, "points 2"], size: int = 256
) -> Float[Tensor, "3 size size"]:
    """The FFHQ crop of a photo.

    Args:
        image: in [0, 1].
        landmarks: 68 or 5 points in px, x before y.
        size: side of the crop, px.

    Raises:
        DataError: if the landmarks are none of a face.
    """
    corners = ffhq_quad(landmarks).to(image)
    side = float((corners[3] - corners[0]).norm())
    if side > _MOST_SIDES * max(image.shape[1:]):
        raise DataError(
            f"landmarks of a face of {side:,.0f} px, in a picture of {image.shape[2]} x {image.shape[1]} px",
            expected="points in pixels of this picture",
        )
    # Fine enough that averaging, not bilinear reading, does the shrinking.
    factor = max(1, math.ceil(side / size))
    steps = (torch.arange(size * factor, device=image.device, dtype=image.dtype) + 0.5) / (size * factor)
    origin, right, down = corners[0], corners[3] - corners[0], corners[1] - corners[0]
    places = origin + steps[None, :, None] * right + steps[:, None, None] * down
    extent = places.new_tensor([image.shape[2], image.shape[1]])
    grid = places / extent * 2 - 1
    crop = F.grid_sample(image[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(crop, factor)[0].clamp(0, 1)


def misalignment(landmarks: Float[Tensor, "points 2"], side: float) -> float:
    """How far the eyes of an image of ``side`` px lie from where FFHQ has them, as a share of the side.

    Below 0.05 is aligned; an identity loss or an encoder is meaningless above 0.1.
    """
    left, right, _ = face_points(landmarks)
    wanted = torch.tensor(_EYES, dtype=torch.float64)
    return float((torch.stack([left, right]) / side - wanted).norm(dim=1).max())


def check_aligned(landmarks: Float[Tensor, "points 2"], side: float, limit: float = 0.1) -> None:
    """Refuse an image whose face is elsewhere.

    Raises:
        DataError: if it is.
    """
    error = misalignment(landmarks, side)
    if error > limit:
        raise DataError(
            f"the face is not aligned: its eyes are {error:.0%} of the side away from their place",
            expected="an FFHQ crop",
            hint="clipzoo_style.align_face(image, landmarks)",
        )
