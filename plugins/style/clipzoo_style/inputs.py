"""Codes to edit: drawn, read from a file, or found for photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from clipzoo import Context
from clipzoo.data.array_files import read_npy
from clipzoo.errors import ClipzooError, DataError, WeightsError
from clipzoo.images.reading import read_pixels
from clipzoo_style.alignment import align_face
from clipzoo_style.checkpoints import _torch_content
from clipzoo_style.e4e import load_e4e
from clipzoo_style.inversion import invert
from clipzoo_style.latents import Latent
from clipzoo_style.plugin import StyleCLIPSettings
from clipzoo_style.run import CODES
from clipzoo_style.stylegan2 import StyleGAN2

_MOST_CODES = 100_000
_MOST_LANDMARK_BYTES = 1 << 20


@dataclass(frozen=True)
class Start:
    """What is edited: a code and a name each, and how they came about."""

    latent: Latent
    names: list[str]
    origin: str


def open_codes(settings: StyleCLIPSettings, context: Context, generator: StyleGAN2, files: Sequence[Path]) -> Start:
    """The codes of a run.

    Raises:
        DataError: if none of the inputs can be used.
    """
    if not files:
        draw = context.generator("samples")
        codes = generator.sample(settings.samples, seed=draw, truncation=settings.truncation)
        return Start(
            codes, [f"sample-{k:03d}" for k in range(settings.samples)], f"samples, psi {settings.truncation:g}"
        )
    if files[0].suffix.lower() in CODES:
        latent = read_codes(files[0], generator)
        return Start(latent, [f"{files[0].stem}-{k:03d}" for k in range(len(latent))], f"codes of {files[0].name}")
    return _photos(settings, context, generator, files)


def read_codes(path: Path, generator: StyleGAN2) -> Latent:
    """Codes from a file: a bare tensor of one code or many, or a safetensors file with one tensor.

    Raises:
        DataError: if it holds something else, or codes of another generator.
    """
    try:
        if path.suffix == ".npy":
            content: object = torch.from_numpy(read_npy(path)).float()
        elif path.suffix == ".safetensors":
            stored = safetensors.torch.load_file(path)
            content = next(iter(stored.values())) if len(stored) == 1 else stored
        else:
            content = _torch_content(path)
    except (OSError, TypeError, ValueError, DataError, WeightsError, safetensors.SafetensorError) as error:
        raise DataError(
            f"{path} holds no codes: {str(error)[:200]}", expected="a tensor [layers, dim] or [n, layers, dim]"
        ) from error
    if isinstance(content, list | tuple) and all(isinstance(part, Tensor) for part in content):
        latent = generator.latent([part.float() for part in content])
    elif isinstance(content, Tensor):
        latent = generator.latent(content.float())
    else:
        raise DataError(f"{path} holds a {type(content).__name__}", expected="one tensor of codes")
    if not 0 < len(latent) <= _MOST_CODES or not bool(torch.isfinite(latent.codes).all()):
        raise DataError(f"{path} holds {len(latent)} codes, or NaN", expected="finite codes, one or more")
    return latent.to(generator.device)


def _photos(settings: StyleCLIPSettings, context: Context, generator: StyleGAN2, files: Sequence[Path]) -> Start:
    images, names = [], []
    for file in files:
        try:
            images.append(read_photo(file, settings.landmarks, max(generator.size, 256)))
            names.append(file.stem)
        except ClipzooError as error:
            if len(files) == 1:
                raise
            context.failed(file.stem, error)
    if not images:
        raise DataError(f"not one picture of {files[0].parent} could be read")
    if not settings.landmarks:
        context.note("Photos are taken to be aligned as the generator's training images; landmarks=FILE aligns them.")
    batch = torch.stack(images).to(generator.device)
    if settings.encoder:
        return Start(
            load_e4e(settings.encoder, generator.device).invert(batch), names, f"e4e, {Path(settings.encoder).name}"
        )
    latent, error = invert(generator, batch, context.clip, steps=settings.invert_steps)
    context.note(f"Inverted by optimisation: root mean squared error {float(error.mean()):.3f} of the range.")
    return Start(latent, names, f"optimisation, {settings.invert_steps} steps")


def read_photo(file: Path, landmarks: str = "", size: int = 256) -> Tensor:
    """A picture ``[3, size, size]`` in [0, 1]: aligned by landmarks, or its middle square.

    Raises:
        DataError: if the picture or the landmarks cannot be read.
    """
    image = torch.from_numpy(read_pixels(file).copy()).permute(2, 0, 1).float() / 255
    if landmarks:
        try:
            points = _read_points(Path(landmarks))
        except (OSError, ValueError, TypeError, DataError) as error:
            raise DataError(
                f"{landmarks} holds no landmarks: {error}", expected="68 or 5 rows of x and y, px"
            ) from error
        return align_face(image, torch.from_numpy(points), size)
    side = min(image.shape[1:])
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    square = image[None, :, top : top + side, left : left + side]
    return torch.nn.functional.interpolate(square, (size, size), mode="bicubic", antialias=True, align_corners=False)[
        0
    ].clamp(0, 1)


def _read_points(path: Path) -> np.ndarray:
    if path.stat().st_size > _MOST_LANDMARK_BYTES:
        raise ValueError(f"the file has {path.stat().st_size:,} bytes")
    if path.suffix.lower() == ".npy":
        points = read_npy(path)
    else:
        # numpy.loadtxt warns of an empty file, and of nothing that matters here.
        points = np.array([line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        points = points.astype(np.float32)
    if not np.isfinite(points).all():
        raise ValueError("it holds numbers that are not finite")
    return points
