"""Webdataset shards: an index of the images in a tar, so that they can be read in any order by any thread."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from clipzoo.store.sources import IMAGE_SUFFIXES, Item, plain_text

_MAX_CAPTION_BYTES = 1 << 16


def tar_items(path: Path, key: str) -> Iterator[Item]:
    """The images of an uncompressed tar, in its order.

    Members whose names are the same up to the first dot are one sample (webdataset); its ``.txt`` is the caption of
    its images. Links, devices and sparse files are left out. Nothing is unpacked.

    Args:
        path: the tar.
        key: what the keys of its images begin with.
    """
    stamp = ""
    try:
        status = path.stat()
        stamp = f"{status.st_size}:{status.st_mtime_ns}"
        with tarfile.open(path, "r:", errorlevel=1) as archive:
            yield from _samples(archive, path, key, stamp)
            if not _ends(archive, status.st_size):
                yield _problem(path, key, stamp, "is cut off, or damaged after its last readable member")
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        yield _problem(path, key, stamp, f"cannot be read as an uncompressed tar: {' '.join(str(error).split())[:200]}")


def _samples(archive: tarfile.TarFile, path: Path, key: str, stamp: str) -> Iterator[Item]:
    sample: list[tarfile.TarInfo] = []
    name = None
    broken = None
    while True:
        try:
            member = archive.next()
        except tarfile.TarError as error:
            member, broken = None, error
        if member is None:
            break
        archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise, of shards with millions
        if not member.isreg() or member.issparse():
            continue
        belongs = _sample_name(member.name)
        if belongs != name:
            yield from _images(archive, sample, path, key, stamp)
            sample, name = [], belongs
        sample.append(member)
    yield from _images(archive, sample, path, key, stamp)
    if broken is not None:
        raise broken


def _sample_name(member: str) -> str:
    folder, _, name = member.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _images(
    archive: tarfile.TarFile, sample: list[tarfile.TarInfo], path: Path, key: str, stamp: str
) -> Iterator[Item]:
    images = [member for member in sample if PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES]
    caption = _caption(archive, sample) if images else None
    for member in images:
        name = plain_text(member.name)
        yield Item(
            f"{key}/{name}",
            f"{plain_text(str(path))}/{name}",
            f"{stamp}:{member.offset_data}:{member.size}",
            caption,
            path,
            member.offset_data,
            member.size,
        )


def _caption(archive: tarfile.TarFile, sample: list[tarfile.TarInfo]) -> str | None:
    for member in sample:
        if member.name.lower().endswith(".txt") and member.size <= _MAX_CAPTION_BYTES:
            file = archive.extractfile(member)
            return file.read().decode("utf-8", "replace").strip() if file else None
    return None


def _ends(archive: tarfile.TarFile, size: int) -> bool:
    """Whether the last block read is the zeros that end a tar, or the file ends right where its last member does."""
    file = archive.fileobj
    assert file is not None
    if archive.offset >= size:
        return archive.offset == size
    file.seek(archive.offset)
    return not file.read(tarfile.BLOCKSIZE).strip(b"\0")


def _problem(path: Path, key: str, stamp: str, reason: str) -> Item:
    where = plain_text(str(path))
    return Item(key, where, stamp, None, path, problem=f"{where} {reason}")
