"""From a photo to the square picture that is drawn: its mask, and a white border instead of distortion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, MissingExtra, closest_matches
from clipzoo.images.reading import decode, open_header, read_image
from clipzoo_sketch.plugin import Fit

Photo = str | Path | Image.Image | np.ndarray | Tensor
Mask = str | Path | Image.Image | np.ndarray | Tensor | Callable[[Image.Image], Any] | None

TOY = "toy:"
_SOLID = 0.5
_SMALLEST_OBJECT = 1e-4


@dataclass(frozen=True)
class Target:
    """What is drawn.

    Args:
        pixels: the picture, in [0, 1].
        mask: where the object is; None if nothing was masked.
        name: of the photo, for records.
        notes: what had to be decided on the way.
        inside: where the photo is, if it fills its frame and a white border was added; None where nothing tells the two
            apart. The edge between them is no contour of anything.
    """

    pixels: Float[Tensor, "1 3 side side"]
    mask: Bool[Tensor, "side side"] | None = None
    name: str = "image"
    notes: tuple[str, ...] = ()
    inside: Bool[Tensor, "side side"] | None = None

    @property
    def side(self) -> int:
        """Side of the square, px."""
        return self.pixels.shape[-1]


def prepare_target(
    photo: Photo, side: int = 224, *, mask: Mask = "auto", fit: Fit = "pad", centre: bool = False
) -> Target:
    """The square picture of a photo.

    Args:
        photo: a path, ``"toy:SHAPE"`` for an object of the toy world, a PIL image, an array ``[H, W, 3]`` or
            ``[H, W, 4]`` (8 bit, or in [0, 1]), or a tensor ``[3, H, W]`` in [0, 1].
        side: of the picture, px.
        mask: what of the photo is the object, the rest becomes white: ``"auto"`` is the alpha channel where it has
            one; ``"none"`` keeps everything; ``"rembg"`` asks the package of that name; a path, image, array or
            tensor of the photo's size, bright where the object is; or a function from the RGB image to one.
        fit: ``"pad"`` adds white to the short sides; ``"crop"`` keeps the middle square; ``"squash"`` distorts, as
            CLIPasso's code does.
        centre: bring the masked object to the middle, with 10 px around it.

    Raises:
        ConfigError: if ``fit``, ``side`` or a word for ``mask`` is unknown.
        DataError: if the photo or the mask cannot be read, differ in size, or the mask is empty.
        MissingExtra: if ``rembg`` is asked for and not installed.

    >>> prepare_target(np.zeros((40, 80, 3), np.uint8), 32).pixels[0, 0, :, 16].tolist()[:9]
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    if fit not in get_args(Fit):
        raise ConfigError(
            f'no fit called "{fit}"',
            closest=closest_matches(str(fit), get_args(Fit)),
            expected=", ".join(get_args(Fit)),
        )
    if side < 1:
        raise ConfigError(f"a picture of {side} px", expected="at least one pixel")
    name = photo if isinstance(photo, str | Path) else "image"
    image, alpha, notes = _read(photo)
    solid, told = _mask(mask, image, alpha)
    notes += told
    if solid is not None:
        if solid.mean() < _SMALLEST_OBJECT:
            raise DataError(
                "the mask keeps nothing of the image", expected="an object in it", hint='mask="none", or another mask'
            )
        image = Image.composite(image, Image.new("RGB", image.size, "white"), _grey(solid))
    elif centre:
        raise ConfigError("centre needs to know the object", expected="a mask")
    if centre:
        assert solid is not None
        image, solid = _centred(image, solid)
    if max(image.size) < side:
        notes.append(f"enlarged from {image.width} x {image.height} px")
    square = _square(image, side, fit, "white")
    shown = None if solid is None else _square(_grey(solid), side, fit, 0)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 255
    kept = None if shown is None else torch.from_numpy(np.array(shown)) > 127
    inside = None
    if solid is None and fit == "pad" and image.width != image.height:
        frame = _square(Image.new("L", image.size, 255), side, fit, 0)
        inside = torch.from_numpy(np.array(frame)) > 127
    return Target(pixels, kept, str(name), tuple(notes), inside)


def _read(photo: Photo) -> tuple[Image.Image, np.ndarray | None, list[str]]:
    """RGB on white, the alpha channel in [0, 1] where it says something, notes."""
    if isinstance(photo, str) and photo.startswith(TOY):
        return _toy(photo.removeprefix(TOY)), None, []
    if isinstance(photo, str | Path):
        header = open_header(photo)
        has_alpha = "A" in header.image.mode or "transparency" in header.image.info
        picture = decode(header)
        return picture.image, _file_alpha(photo, picture.image) if has_alpha else None, list(picture.notes)
    if isinstance(photo, Tensor):
        array = photo.detach().cpu().numpy()
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
        if array.ndim != 3 or array.shape[0] not in (3, 4):
            raise DataError(f"a tensor of the shape {tuple(photo.shape)}", expected="[3, height, width], RGB in [0, 1]")
        return _from_array(array.transpose(1, 2, 0))
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    return _from_picture(photo)


def _from_array(array: np.ndarray) -> tuple[Image.Image, np.ndarray | None, list[str]]:
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise DataError(f"an array of the shape {array.shape}", expected="[height, width, 3 or 4]")
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating):
            raise DataError(f"an array of {array.dtype}", expected="8-bit pixels, or floating point in [0, 1]")
        if not np.isfinite(array).all() or array.min() < -0.01 or array.max() > 1.01:
            raise DataError("an array with values outside [0, 1], NaN or infinite", expected="floats in [0, 1]")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    return _from_picture(Image.fromarray(array))


def _from_picture(image: Image.Image) -> tuple[Image.Image, np.ndarray | None, list[str]]:
    if not isinstance(image, Image.Image):
        raise DataError(
            f"a photo of the type {type(image).__name__}", expected="a path, an image, an array or a tensor"
        )
    if "A" not in image.mode and "transparency" not in image.info:
        return image.convert("RGB"), None, []
    alpha = image.convert("RGBA").getchannel("A")
    white = Image.new("RGB", image.size, "white")
    white.paste(image.convert("RGB"), mask=alpha)
    return white, _meaningful(alpha), []


def _file_alpha(path: str | Path, upright: Image.Image) -> np.ndarray | None:
    from PIL import ImageOps

    alpha = ImageOps.exif_transpose(open_header(path).image.convert("RGBA")).getchannel("A")
    return _meaningful(alpha) if alpha.size == upright.size else None


def _meaningful(alpha: Image.Image) -> np.ndarray | None:
    values = np.asarray(alpha, dtype=np.float32) / 255
    return values if values.min() < 1 else None


def _toy(shape: str) -> Image.Image:
    from clipzoo.data.scenes import render_object

    name, _, colour = shape.partition(",")
    return Image.fromarray(render_object(name.strip(), colour.strip() or "black", 256))


def _mask(mask: Mask, image: Image.Image, alpha: np.ndarray | None) -> tuple[np.ndarray | None, list[str]]:
    """Where the object is, bool [height, width], or None."""
    if mask is None or (isinstance(mask, str) and mask in ("none", "")):
        return None, []
    if isinstance(mask, str) and mask == "auto":
        return (None, []) if alpha is None else (alpha > _SOLID, ["masked by its alpha channel"])
    if isinstance(mask, str) and mask == "alpha":
        if alpha is None:
            raise DataError("mask=alpha, and the image is opaque", expected="an image with transparency")
        return alpha > _SOLID, ["masked by its alpha channel"]
    if isinstance(mask, str) and mask == "rembg":
        return _as_mask(_rembg(image), image), ["masked by rembg"]
    if callable(mask):
        return _as_mask(mask(image), image), ["masked by a function"]
    if isinstance(mask, str | Path):
        if not Path(mask).exists():
            words = ("auto", "none", "alpha", "rembg")
            raise ConfigError(
                f"mask={mask} is no file",
                closest=closest_matches(str(mask), words),
                expected=f"{', '.join(words)}, a file",
            )
        return _as_mask(read_image(mask), image), [f"masked by {Path(mask).name}"]
    return _as_mask(mask, image), ["masked"]


def _as_mask(given: Any, image: Image.Image) -> np.ndarray:
    if isinstance(given, Image.Image):
        given = np.asarray(given.convert("L"))
    array = np.squeeze(np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given))
    if array.shape != (image.height, image.width):
        raise DataError(
            f"the mask is {' x '.join(map(str, array.shape))}", expected=f"{image.height} x {image.width}, as the image"
        )
    if array.dtype == bool:
        return array
    values = array.astype(np.float64) / (255 if np.issubdtype(array.dtype, np.integer) and array.max() > 1 else 1)
    return values > _SOLID


def _rembg(image: Image.Image) -> Any:
    try:
        from rembg import remove
    except (ImportError, SystemExit) as error:  # it ends the program where its runtime is missing
        raise MissingExtra(
            "mask=rembg, and rembg is not installed", hint='pip install "clipzoo-sketch[mask]"'
        ) from error
    return remove(image, only_mask=True)


def _grey(solid: np.ndarray) -> Image.Image:
    return Image.fromarray(solid.astype(np.uint8) * 255)


def _centred(image: Image.Image, solid: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """The object in the middle of a white square, ten pixels around it."""
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    width, height = box[2] - box[0], box[3] - box[1]
    side = max(width, height) + 20
    corner = ((side - width) // 2, (side - height) // 2)
    square, moved = Image.new("RGB", (side, side), "white"), Image.new("L", (side, side), 0)
    square.paste(image.crop(box), corner)
    moved.paste(_grey(solid).crop(box), corner)
    return square, np.asarray(moved) > 0


def _square(image: Image.Image, side: int, fit: Fit, fill: Any) -> Image.Image:
    """The image as a square; the mask passes through the same, so that both stay in register."""
    width, height = image.size
    if fit == "pad" and width != height:
        longest = max(width, height)
        padded = Image.new(image.mode, (longest, longest), fill)
        padded.paste(image, ((longest - width) // 2, (longest - height) // 2))
        image = padded
    elif fit == "crop" and width != height:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    return image.resize((side, side), Image.Resampling.BICUBIC) if image.size != (side, side) else image
