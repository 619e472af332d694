"""The run behind ``clipzoo run styleclip``: first the settings and the files, then the heavy part."""

from __future__ import annotations

from pathlib import Path

from clipzoo import Context, Result
from clipzoo.errors import ConfigError, DataError
from clipzoo_style.films import check_writable
from clipzoo_style.plugin import StyleCLIPSettings

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CODES = (".pt", ".pth", ".npy", ".safetensors")


def run(settings: StyleCLIPSettings, context: Context) -> Result:
    """Check what was asked for, and load torch and the weights only then."""
    if not settings.prompt or not all(one.strip() for one in settings.prompt):
        raise ConfigError("no prompt was given", expected='prompt="a smiling face"')
    if settings.method == "directions" and not settings.alpha:
        raise ConfigError("no strength was given", expected="alpha=[-4, 4]")
    wrong = [beta for beta in settings.beta if not 0 <= beta <= 1]
    if wrong:
        raise ConfigError(f"beta {wrong[0]:g}", expected="0 to 1: the least cosine of a channel that moves")
    check_writable(settings.video)
    files = input_files(settings.input or settings.data or "")
    from clipzoo_style.editing import edit

    return edit(settings, context, files)


def input_files(given: str) -> list[Path]:
    """The pictures or the file of codes that were given; none for samples.

    Raises:
        DataError: if there is no such file, or the folder holds no picture.
    """
    if not given:
        return []
    path = Path(given)
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in PICTURES)
        if not found:
            raise DataError(f"the folder {path} holds no picture", expected=", ".join(PICTURES))
        return found
    if not path.is_file():
        raise DataError(f"there is no file {path}", expected="a picture, a folder of pictures, or codes")
    if path.suffix.lower() not in (*PICTURES, *CODES):
        raise DataError(f"{path.name} is no picture and no codes", expected=", ".join((*PICTURES, *CODES)))
    return [path]
