"""Random geometric views as batched homographies: sampled for each seed and view, composed, applied at once.

A homography maps where a pixel of the *result* is to where it is taken from in the *source*, both in [-1, 1] from edge
to edge of the image (``grid_sample`` without aligned corners), so that composition needs no sizes. Samplers turn
uniform numbers into parameters; :func:`uniforms` draws them for each (seed, step, view) from a generator of its own, so
that a view never depends on what else is in the batch, and a resumed run sees the same views.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.geometry.transform import get_perspective_transform
from torch import Tensor

from clipzoo.errors import ConfigError, DataError
from clipzoo.images.resampling import mip_levels

PERSPECTIVE_DRAWS = 9
AFFINE_DRAWS = 7
FLIP_DRAWS = 1
_TRIES = 10
RESIZED_CROP_DRAWS = 2 * _TRIES + 2
"""How many uniform numbers each sampler takes."""


def stream_key(seed: int, step: int, view: int, salt: str = "") -> int:
    """The seed of the generator of one view: 63 bits that share nothing with those of its neighbours."""
    text = struct.pack("<qqq", seed, step, view) + salt.encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def uniforms(
    seeds: int | Sequence[int], views: int, draws: int, *, step: int = 0
) -> Float[Tensor, "seeds views draws"]:
    """Uniform numbers in [0, 1), the same for a (seed, step, view) whatever the others are.

    Args:
        seeds: one a restart or image; a single number is one seed.
        views: N, views of each.
        draws: numbers a view.
        step: of the optimisation.

    Returns:
        float64 on the CPU.

    >>> bool((uniforms([3, 5], 4, 2)[1] == uniforms(5, 4, 2)[0]).all())
    True
    """
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    if not seeds or views < 1 or draws < 1:
        raise ConfigError(f"{len(seeds)} seeds, {views} views, {draws} draws", expected="at least one of each")
    made = torch.empty(len(seeds), views, draws, dtype=torch.float64)
    generator = torch.Generator()
    for row, seed in enumerate(seeds):
        for view in range(views):
            generator.manual_seed(stream_key(int(seed), step, view))
            torch.rand(draws, generator=generator, dtype=torch.float64, out=made[row, view])
    return made


def normals(
    seeds: int | Sequence[int],
    views: int,
    shape: Sequence[int],
    *,
    step: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Normal numbers ``[seeds, views, *shape]``, one generator on ``device`` a (seed, step, view).

    Devices have different generators: unlike :func:`uniforms`, the numbers depend on the kind of device.
    """
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    made = torch.empty(len(seeds), views, *shape, device=device, dtype=dtype)
    generator = torch.Generator(device=device)
    for row, seed in enumerate(seeds):
        for view in range(views):
            generator.manual_seed(stream_key(int(seed), step, view, "noise"))
            made[row, view].normal_(generator=generator)
    return made


def compose(*homographies: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """One homography for several, given in the order in which they would be applied to the image.

    >>> compose(flips(torch.zeros(1)), flips(torch.zeros(1)))[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if not homographies:
        raise ConfigError("nothing to compose", expected="at least one homography")
    total = homographies[0]
    for one in homographies[1:]:
        total = total @ one
    return total


def identity_like(batch: Tensor) -> Float[Tensor, "*batch 3 3"]:
    """A homography that changes nothing, for each entry of ``batch``."""
    return torch.eye(3, dtype=torch.float64).expand(*batch.shape, 3, 3)


def flips(u: Float[Tensor, "*batch"], probability: float = 1.0) -> Float[Tensor, "*batch 3 3"]:
    """Left and right exchanged where ``u < probability``."""
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    return torch.where((u < probability)[..., None, None], mirror, identity_like(u))


def random_perspective(
    u: Float[Tensor, "*batch 9"], height: int, width: int, distortion: float = 0.5, probability: float = 1.0
) -> Float[Tensor, "*batch 3 3"]:
    """Each corner moves inwards by whole pixels, uniform in 0 to ``floor(distortion * side // 2)``, as in torchvision.

    Args:
        u: :data:`PERSPECTIVE_DRAWS` uniform numbers.
        height: of the image, px.
        width: of the image, px.
        distortion: 0 to 1, without 1.
        probability: of each image to be changed.

    Raises:
        ConfigError: if ``distortion`` or a size is out of range.
    """
    if not 0 <= distortion < 1 or min(height, width) < 2:
        raise ConfigError(
            f"a perspective of {distortion} on {height} x {width} pixels", expected="0 <= distortion < 1, two pixels"
        )
    most = torch.tensor([int(distortion * (width // 2)), int(distortion * (height // 2))], dtype=torch.float64)
    inward = (u[..., :8].unflatten(-1, (4, 2)) * (most + 1)).floor()
    right, bottom = float(width - 1), float(height - 1)
    corners = torch.tensor([[0, 0], [right, 0], [right, bottom], [0, bottom]], dtype=torch.float64)
    signs = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=torch.float64)
    moved = corners + signs * inward
    matrix = pixel_homography(moved, corners.expand_as(moved), height, width)
    return torch.where((u[..., 8] < probability)[..., None, None], matrix, identity_like(u[..., 8]))


def pixel_homography(
    result: Float[Tensor, "*batch 4 2"], source: Float[Tensor, "*batch 4 2"], height: int, width: int
) -> Float[Tensor, "*batch 3 3"]:
    """The homography that takes four points (x, y) of the result from four points of the source, px from the edge."""
    flat = get_perspective_transform(result.reshape(-1, 4, 2).double(), source.reshape(-1, 4, 2).double())
    unit = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], dtype=torch.float64)
    return (unit @ flat @ torch.linalg.inv(unit)).reshape(*result.shape[:-2], 3, 3)


def random_affine(
    u: Float[Tensor, "*batch 7"],
    height: int,
    width: int,
    degrees: float = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float = 0.0,
    probability: float = 1.0,
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation, shear along x, scaling and then translation about the middle, uniform in their ranges.

    Args:
        u: :data:`AFFINE_DRAWS` uniform numbers: angle, x, y, scale, shear, one unused, whether to apply it.
        height: of the image, px.
        width: of the image, px.
        degrees: largest angle to either side.
        translate: largest shift in x and y, as shares of width and height.
        scale: least and largest factor.
        shear: largest angle to either side, degrees.
        probability: of each image to be changed.
    """
    if degrees < 0 or min(translate) < 0 or not 0 < scale[0] <= scale[1] or not 0 <= shear < 90:
        raise ConfigError(
            f"degrees {degrees}, translate {translate}, scale {scale}, shear {shear}",
            expected="non-negative ranges, 0 < least scale <= largest, shear below 90",
        )

    def between(number: Tensor, most: float) -> Tensor:
        return (2 * number - 1) * most

    angle = torch.deg2rad(between(u[..., 0], degrees))
    slant = torch.deg2rad(between(u[..., 4], shear)).tan()
    size = scale[0] + u[..., 3] * (scale[1] - scale[0])
    x, y = between(u[..., 1], translate[0] * width), between(u[..., 2], translate[1] * height)
    one, nil = torch.ones_like(x), torch.zeros_like(x)
    cos, sin = angle.cos(), angle.sin()
    forward = torch.stack(
        [size * cos, size * (-cos * slant - sin), x, size * sin, size * (-sin * slant + cos), y, nil, nil, one], -1
    ).unflatten(-1, (3, 3))
    unit = torch.diag(torch.tensor([2 / width, 2 / height, 1.0], dtype=torch.float64))
    matrix = unit @ torch.linalg.inv(forward) @ torch.linalg.inv(unit)
    return torch.where((u[..., 6] < probability)[..., None, None], matrix, identity_like(x))


def random_resized_crop(
    u: Float[Tensor, "*batch 22"],
    height: int,
    width: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float[Tensor, "*batch 4"]:
    """Windows (top, left, height, width), px: area and log of the aspect ratio uniform, as in torchvision.

    The first of ten tries that fits is taken, or else the largest window in the middle that keeps the ratio.

    Args:
        u: :data:`RESIZED_CROP_DRAWS` uniform numbers.
        height: of the image, px.
        width: of the image, px.
        scale: least and largest share of the area.
        ratio: least and largest width / height.
    """
    if not 0 < scale[0] <= scale[1] or not 0 < ratio[0] <= ratio[1]:
        raise ConfigError(f"scale {scale} and ratio {ratio}", expected="0 < least <= largest")
    area = height * width * (scale[0] + u[..., :_TRIES] * (scale[1] - scale[0]))
    low, high = (torch.tensor(value, dtype=torch.float64).log() for value in ratio)
    aspect = (low + u[..., _TRIES : 2 * _TRIES] * (high - low)).exp()
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.double().argmax(-1, keepdim=True)
    wide, tall = wide.gather(-1, first).squeeze(-1), tall.gather(-1, first).squeeze(-1)
    top = (u[..., 2 * _TRIES] * (height - tall + 1)).floor()
    left = (u[..., 2 * _TRIES + 1] * (width - wide + 1)).floor()
    drawn = torch.stack([top, left, tall, wide], -1)
    tall, wide = float(height), float(width)
    if width / height < min(ratio):
        tall = float(round(width / min(ratio)))
    elif width / height > max(ratio):
        wide = float(round(height * max(ratio)))
    middle = torch.tensor([(height - tall) // 2, (width - wide) // 2, tall, wide], dtype=torch.float64)
    return torch.where(fits.any(-1, keepdim=True), drawn, middle)


def random_square(
    u: Float[Tensor, "*batch 3"], height: int, width: int, least: int, power: float = 1.0
) -> Float[Tensor, "*batch 4"]:
    """Square windows of side ``int(u^power * (most - least) + least)``, most the short side (Crowson's cutouts).

    Args:
        u: three uniform numbers: side, left, top.
        height: of the image, px.
        width: of the image, px.
        least: smallest side, px; of a smaller image its short side.
        power: above one favours small windows.
    """
    short = min(height, width)
    least = min(short, least)
    return _placed((u[..., 0] ** power * (short - least) + least).floor(), u[..., 1:], height, width)


def _placed(side: Tensor, u: Tensor, height: int, width: int) -> Tensor:
    left = (u[..., 0] * (width - side + 1)).floor()
    top = (u[..., 1] * (height - side + 1)).floor()
    return torch.stack([top, left, side, side], -1)


def random_normal_square(
    u: Float[Tensor, "*batch 3"], height: int, width: int, least: int, mean: float = 0.8, spread: float = 0.3
) -> Float[Tensor, "*batch 4"]:
    """Square windows whose side is normal in shares of the short side, clipped to ``least`` px and to all of it."""
    short = min(height, width)
    share = mean + spread * torch.special.ndtri(u[..., 0].clamp(min=1e-12))
    side = (short * share.clamp(min(1.0, least / short), 1.0)).floor()
    return _placed(side, u[..., 1:], height, width)


def crop_homography(boxes: Float[Tensor, "*batch 4"], height: int, width: int) -> Float[Tensor, "*batch 3 3"]:
    """The homography that shows only the window (top, left, height, width), px, of an image."""
    top, left, tall, wide = boxes.double().unbind(-1)
    one, nil = torch.ones_like(top), torch.zeros_like(top)
    rows = [wide / width, nil, (2 * left + wide) / width - 1, nil, tall / height, (2 * top + tall) / height - 1]
    return torch.stack([*rows, nil, nil, one], -1).unflatten(-1, (3, 3))


def warp(
    images: Float[Tensor, "seeds channels height width"],
    homographies: Float[Tensor, "seeds views 3 3"],
    size: int | tuple[int, int],
    *,
    fill: float | Sequence[float] = 0.0,
    border: str = "fill",
    antialias: bool = True,
) -> Float[Tensor, "seeds views channels rows columns"]:
    """Every view of every image in one ``grid_sample`` (one a level of the pyramid where views may shrink).

    Shapes depend on the arguments' shapes alone, so it compiles and can be recorded in a CUDA graph. The same
    ``homographies`` on another batch of images give the same views of those.

    Args:
        images: ``[S, C, H, W]``, floating point; ``[1, C, H, W]`` for the same image under every seed.
        homographies: ``[S, N, 3, 3]``; ``[1, N, 3, 3]`` for the same views of every image.
        size: of the result, px: a side, or rows and columns.
        fill: value outside the image, one or one a channel.
        border: ``"fill"``; ``"replicate"`` continues the edge of the image; ``"torchvision"`` is ``"fill"`` with
            torchvision's seam, where a pixel half outside is weighted by its share inside twice.
        antialias: where a view shrinks, sample a pyramid of averaged images, blended by the local scale; bilinear
            alone aliases. No cost unless the image is larger than the result.

    Raises:
        ConfigError: if ``border`` is unknown.
        DataError: if the shapes do not agree.

    >>> views = random_perspective(uniforms([0, 1], 4, PERSPECTIVE_DRAWS), 32, 32)
    >>> warp(torch.rand(2, 3, 32, 32), views, 24).shape
    torch.Size([2, 4, 3, 24, 24])
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    _check(images, homographies, border)
    seeds = max(len(images), len(homographies))
    height, width = images.shape[-2:]
    # Coordinates in half precision would be off by whole pixels.
    work = images if images.dtype in (torch.float32, torch.float64) else images.float()
    work = work.expand(seeds, -1, -1, -1)
    matrix = homographies.to(work.device, torch.float64).expand(seeds, -1, -1, -1)
    views, channels = matrix.shape[1], work.shape[1]
    grid, level = _grid(matrix, rows, columns, height, width)
    grid = grid.to(work.dtype).reshape(seeds, views * rows, columns, 2)
    colour = torch.as_tensor(fill, dtype=work.dtype, device=work.device).reshape(-1, 1, 1)

    levels = mip_levels(height, width, min(rows, columns)) if antialias else 0
    weights = _blend(level, levels).to(work.dtype).reshape(levels + 1, seeds, 1, views * rows, columns)
    total: Tensor | float = 0.0
    for depth in range(levels + 1):
        total = total + weights[depth] * _sampled(work, grid, colour, border)
        if depth < levels:
            work = F.adaptive_avg_pool2d(work, ((work.shape[-2] + 1) // 2, (work.shape[-1] + 1) // 2))
    assert isinstance(total, Tensor)
    done = total.reshape(seeds, channels, views, rows, columns).transpose(1, 2)
    return done.to(images.dtype)


def _sampled(images: Tensor, grid: Tensor, colour: Tensor, border: str) -> Tensor:
    if border == "replicate":
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if border == "torchvision":
        share = F.grid_sample(torch.ones_like(images[:, :1]), grid, align_corners=False)
        return F.grid_sample(images, grid, align_corners=False) * share + (1 - share) * colour
    return F.grid_sample(images - colour, grid, align_corners=False) + colour


def _grid(matrix: Tensor, rows: int, columns: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from, and log2 of how many source pixels lie between neighbours."""
    y = (2 * torch.arange(rows, dtype=torch.float64, device=matrix.device) + 1) / rows - 1
    x = (2 * torch.arange(columns, dtype=torch.float64, device=matrix.device) + 1) / columns - 1
    points = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns), torch.ones_like(x).expand(rows, -1)], -1)
    taken = torch.einsum("rck,snjk->snrcj", points, matrix)
    depth = taken[..., 2]
    # Behind the camera there is no image.
    ahead = depth > 1e-6
    depth = torch.where(ahead, depth, 1)
    grid = torch.where(ahead[..., None], taken[..., :2] / depth[..., None], 3)
    area = torch.linalg.det(matrix).abs()[..., None, None] / depth**3 * (height * width / (rows * columns))
    return grid, area.clamp(min=1e-12).log2() / 2


def _blend(level: Tensor, levels: int) -> Tensor:
    """Weights of the pyramid's levels: the two around the wanted one, linearly."""
    wanted = level.clamp(0, levels)
    steps = torch.arange(levels + 1, dtype=level.dtype, device=level.device)
    return (1 - (wanted - steps.reshape(-1, *[1] * level.ndim)).abs()).clamp(min=0)


def _check(images: Tensor, homographies: Tensor, border: str) -> None:
    if border not in ("fill", "replicate", "torchvision"):
        raise ConfigError(f'no border called "{border}"', expected='"fill", "replicate" or "torchvision"')
    if images.ndim != 4 or not images.is_floating_point() or 0 in images.shape:
        raise DataError(
            f"images of the shape {tuple(images.shape)} and type {images.dtype}",
            expected="floating point [seeds, channels, height, width]",
        )
    if homographies.ndim != 4 or homographies.shape[-2:] != (3, 3):
        raise DataError(f"homographies of the shape {tuple(homographies.shape)}", expected="[seeds, views, 3, 3]")
    if 1 not in (len(images), len(homographies)) and len(images) != len(homographies):
        raise DataError(
            f"{len(images)} images and homographies for {len(homographies)} seeds", expected="as many, or one of either"
        )
