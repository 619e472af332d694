"""The run behind ``clipzoo run vild``: first the files, then the heavy part."""

from __future__ import annotations

from pathlib import Path

from clipzoo import Context, Result
from clipzoo.errors import ConfigError, DataError
from clipzoo_detect.annotations import DetectionData
from clipzoo_detect.datasets import open_path
from clipzoo_detect.plugin import ViLDSettings
from clipzoo_detect.prompts import class_names
from clipzoo_detect.splits import novel_labels, split_data

MAX_NAMES_BYTES = 64 << 20


def run(settings: ViLDSettings, context: Context) -> Result:
    """Open the data, and load torch and the encoder only when there is something to do."""
    if settings.stage == "precompute":
        from clipzoo_detect.precompute import precompute_run

        return precompute_run(settings, context, open_images(settings, context, training=True))
    if settings.stage == "train":
        from clipzoo_detect.training import train_run

        return train_run(settings, context, open_images(settings, context, training=True))
    from clipzoo_detect.detecting import detect

    return detect(settings, context, open_images(settings, context))


def open_images(settings: ViLDSettings, context: Context, training: bool = False) -> DetectionData:
    """The images of a run, with the class names that its settings ask for."""
    split = "train" if training and settings.split == "val" else settings.split
    options = {"split": split, "missing": settings.missing, "images": settings.images}
    if settings.input is not None:
        if settings.data is not None:
            raise ConfigError("both input and data were given", expected="one of them")
        path = Path(settings.input).expanduser()
        if not path.exists():
            raise DataError(f'"{settings.input}" is neither a file nor a folder', expected="an image, or a folder")
        data = open_path(path, **options)
    else:
        name = settings.data if settings.data is not None else "toy-detection"
        data = context.dataset("detection", name, scenes=settings.scenes, seed=settings.seed, **options)
    for note in data.notes:
        context.note(note)
    names = given_names(settings)
    data = split_data(data, _novel_of(settings, data))
    if names:
        data = data.with_classnames(names)
    if not data.classnames:
        raise DataError(
            f"nothing is known about {data.name}: it has no annotations",
            expected="names to look for",
            hint='names="cat, traffic cone, red umbrella"',
        )
    class_names(data.classnames)
    if settings.limit and settings.limit < len(data):
        # Spread over the whole, so that a short look sees every part.
        step = len(data) / settings.limit
        data = data.subset([int(place * step) for place in range(settings.limit)])
    return data


def given_names(settings: ViLDSettings) -> tuple[str, ...]:
    """The names of the settings or of the file that they name."""
    if settings.names_file is None:
        return class_names(settings.names) if settings.names else ()
    if settings.names:
        raise ConfigError("both names and names_file were given", expected="one of them")
    path = Path(settings.names_file).expanduser()
    try:
        if path.stat().st_size > MAX_NAMES_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"at most {MAX_NAMES_BYTES:,}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="a text file, one class name a line") from error
    return class_names([line for line in lines if line.strip()])


def novel_of(settings: ViLDSettings, data: DetectionData) -> list[int]:
    """Labels of the novel classes of a run."""
    split = _novel_of(settings, data)
    return novel_labels(data, split, settings.novel_names)


def _novel_of(settings: ViLDSettings, data: DetectionData) -> str:
    if settings.novel != "auto":
        return settings.novel
    if data.name == "toy-detection" and not settings.names:
        return "toy"
    return "lvis" if data.frequency and "r" in data.frequency else "none"


def base_only(settings: ViLDSettings, data: DetectionData) -> tuple[DetectionData, list[int]]:
    """Training data whose novel classes are hidden, and their labels."""
    novel = novel_of(settings, data)
    return data.without(novel), novel
