"""Downloads that can be trusted and resumed, and archives that cannot write where they should not."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.client
import io
import lzma
import shutil
import struct
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clipzoo.errors import DataError
from clipzoo.locks import held
from clipzoo.paths import offline

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0
_LEAST_BYTES_PER_S = 1024
_MAX_BYTES = 64 << 30
_MAX_FILES = 500_000
_MAX_RATIO = 200  # unpacked over packed: pictures and annotations stay far below, a bomb is made of more
_MAX_DEPTH = 64
_MAX_DIRECTORY_BYTES = 64 << 20
_END_BYTES = 66_000


@dataclass(frozen=True)
class Archive:
    """A file to fetch.

    Args:
        filename: what it is called on disk; ``.zip`` and ``.tar*`` are unpacked.
        urls: mirrors, tried in this order; https or http.
        sha256: of the whole file. Where the publisher gives none, it is recorded beside the file at the first
            download, and every later download must have the same.
        size_bytes: for the messages.
    """

    filename: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size_bytes: int | None = None


def ensure(archives: Sequence[Archive], folder: Path, *, instructions: str = "", name: str = "the data") -> None:
    """Fetch and unpack what is missing in ``folder``.

    Raises:
        DataError: if the network is forbidden or fails, or a file is not what was published.
    """
    for archive in archives:
        path = fetch(archive, folder.parent / ".downloads" / name, instructions=instructions, name=name)
        if archive.filename.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")):
            extract(path, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / archive.filename)


def fetch(archive: Archive, folder: Path, *, instructions: str = "", name: str = "") -> Path:
    """Download one file into ``folder``, going on where an earlier try stopped.

    Two processes that want the same file download it once. A file whose digest is published is taken from any mirror;
    of another, a half that is there is gone on with only if the server says that it is still the same file.

    Raises:
        DataError: if no mirror gives the file whole, its SHA-256 is wrong (it is then deleted), or the disk is full.
    """
    target = folder / archive.filename
    if target.exists():
        return target
    size = f" ({archive.size_bytes / 1e6:.0f} MB)" if archive.size_bytes else ""
    details = [line for line in (instructions, *(f"from: {url}" for url in archive.urls)) if line]
    if offline():
        raise DataError(
            f"{name or archive.filename}{size} is not on disk, and the network is forbidden by the environment",
            details=details,
            hint="unset CLIPZOO_OFFLINE, or name a path with --data PATH",
        )
    failures: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / f".{archive.filename}.lock", wait=True):
            if target.exists() or any(_taken(archive, url, target, failures) for url in archive.urls):
                return target
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}",
            expected="a folder that can be written, with space in it",
            hint="the same command again goes on where this one stopped; CLIPZOO_DATA names another folder",
        ) from error
    raise DataError(
        f"{name or archive.filename}{size} could not be downloaded",
        details=[*failures, *details],
        hint="the same command again goes on where this one stopped; or name a path with --data PATH",
    )


def _taken(archive: Archive, url: str, target: Path, failures: list[str]) -> bool:
    """Whether ``url`` gave the file; if not, why not is added to ``failures``."""
    part, record = (target.with_name(target.name + suffix) for suffix in (".part", ".sha256"))
    known = archive.sha256 or (record.read_text().split()[0] if record.exists() else None)
    limit = min(_MAX_BYTES, 4 * archive.size_bytes + (64 << 20)) if archive.size_bytes else _MAX_BYTES
    for _ in range(2):  # a half of something else is found out at the end, and thrown away
        try:
            went_on = _download(url, part, limit, any_half=known is not None)
        except _LocalError as error:
            raise OSError(error.reason.errno, error.reason.strerror) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}")
            return False
        digest = _sha256(part)
        if known is None or digest == known:
            record.write_text(f"{digest}  {archive.filename}\n")
            _tag(part).unlink(missing_ok=True)
            part.replace(target)
            return True
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        if not went_on:
            break
    failures.append(f"{url}: SHA-256 is {digest}, not {known}; deleted")
    return False


class _LocalError(Exception):
    """The disk, not the network: another mirror would not help."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _NeverLessSafe(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https alone, and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("https", "http") or (req.full_url.lower().startswith("https:") and scheme != "https"):
            raise urllib.error.URLError(f"redirect from {req.full_url.partition(':')[0]} to {scheme} refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, part: Path, limit: int, *, any_half: bool) -> bool:
    """Bring ``part`` to its end; whether it went on with what was there.

    Raises:
        ValueError: if what the server says contradicts itself, or it is no file but a web page.
        OSError: of the network.
        _LocalError: of the disk.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError("not an http address")
    have = part.stat().st_size if part.exists() else 0
    tag = _tag(part).read_text() if _tag(part).exists() else ""
    if have and not any_half and not tag:
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and not any_half:
        headers["If-Range"] = tag
    try:
        response = urllib.request.build_opener(_NeverLessSafe).open(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                    return True
                part.unlink()
                raise ValueError("the file there is shorter than the half here, which was deleted") from error
        raise
    with response:
        went_on = have > 0 and response.status == 206
        start = have if went_on else 0
        _check_answer(response, url, start)
        told = response.headers.get("Content-Length")
        total = start + int(told) if told else None
        if total is not None and total > limit:
            raise ValueError(f"the server announces {total:,} bytes, more than {limit:,}")
        with _local():
            mark = response.headers.get("ETag", "")
            _tag(part).write_text("" if mark.startswith("W/") else mark)
        written = _write(response, part, start, limit)
    if total is not None and written != total:
        raise ValueError(f"the connection ended after {written:,} of {total:,} bytes")
    return went_on


def _check_answer(response: http.client.HTTPResponse, url: str, start: int) -> None:
    """Refuse an answer that is not the rest of the file."""
    if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise ValueError(f"the server sent another part than the one from byte {start:,}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError(f"the server packed the file ({response.headers['Content-Encoding']}) without being asked")
    if response.headers.get_content_type() == "text/html" and not url.endswith((".html", ".htm")):
        raise ValueError("the server answered with a web page: the file has moved, or wants a login")


def _write(response: http.client.HTTPResponse, part: Path, written: int, limit: int) -> int:
    began, before = time.monotonic(), written
    with _local():
        file = part.open("ab" if written else "wb")
    with file:
        while chunk := response.read1(_CHUNK):
            if not written and chunk[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise ValueError("the server answered with a web page: the file has moved, or wants a login")
            written += len(chunk)
            if written > limit:
                raise ValueError(f"more than {limit:,} bytes came")
            with _local():
                file.write(chunk)
                file.flush()
            seconds = time.monotonic() - began
            if seconds > _TIMEOUT_S and (written - before) / seconds < _LEAST_BYTES_PER_S:
                raise ValueError(f"the server sends {(written - before) / seconds:.0f} bytes a second")
    return written


@contextmanager
def _local() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _LocalError(error) from error


def _tag(part: Path) -> Path:
    """Where it is kept which version of the file a half is of."""
    return part.with_name(part.name + ".etag")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(path: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``: whole or not at all, regular files only, none outside.

    Raises:
        DataError: if it is damaged, or holds links, devices, names that lead outside, or too much.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.parent / f".{folder.name}.lock", wait=True):
            inside = folder.parent / f".unpack-{folder.name}"
            shutil.rmtree(inside, ignore_errors=True)  # of a process that was killed
            inside.mkdir()
            try:
                (_unzip if zipfile.is_zipfile(path) else _untar)(path, inside)
                _move(inside, folder)
            finally:
                shutil.rmtree(inside, ignore_errors=True)
    except DataError:
        raise
    except Exception as error:  # the readers of damaged archives may raise nearly anything
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path} cannot be unpacked: {text}", hint="delete it; the same command fetches it again"
        ) from error


def _move(inside: Path, folder: Path) -> None:
    if not folder.exists():
        inside.replace(folder)
        return
    for entry in inside.iterdir():
        goal = folder / entry.name
        if not goal.exists():
            entry.replace(goal)


def _unzip(path: Path, inside: Path) -> None:
    claimed = _directory_bytes(path)
    if claimed > _MAX_DIRECTORY_BYTES:
        raise DataError(f"{path} has a directory of {claimed:,} bytes", expected=f"at most {_MAX_DIRECTORY_BYTES:,}")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_amount(path, len(entries), sum(entry.file_size for entry in entries))
        for entry in entries:
            _check_name(path, entry.filename)
            kind = (entry.external_attr >> 16) & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                what = "a link" if kind == 0o120000 else "something that is neither file nor folder"
                raise DataError(f"{path} holds {what}: {entry.filename}")
            if entry.flag_bits & 1:
                raise DataError(f"{path} is encrypted: {entry.filename}")
        archive.extractall(inside)


def _directory_bytes(path: Path) -> int:
    """What the end of a zip says of the size of its directory, which is read into memory at once."""
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(max(0, end - _END_BYTES))
        tail = file.read()
        place = tail.rfind(b"PK\5\6")
        if place < 0 or len(tail) < place + 22:
            raise ValueError("its end is missing")
        (size,) = struct.unpack_from("<I", tail, place + 12)
        far = tail.rfind(b"PK\6\6", 0, place)
        if far >= 0 and len(tail) >= far + 48:
            size = max(size if size != 0xFFFFFFFF else 0, struct.unpack_from("<Q", tail, far + 40)[0])
        return size


def _untar(path: Path, inside: Path) -> None:
    with _unpacked(path) as plain, tarfile.open(fileobj=_Modest(plain), mode="r:", errorlevel=1) as archive:
        size = 0
        for files, entry in enumerate(archive, start=1):
            size += entry.size
            _check_amount(path, files, size)
            _check_name(path, entry.name)
            if not (entry.isreg() or entry.isdir()):
                raise DataError(f"{path} holds something that is neither file nor folder: {entry.name}")
            archive.extract(entry, inside, filter="data")
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise


def _unpacked(path: Path) -> Any:
    """The tar inside, by content and not by name."""
    with path.open("rb") as file:
        head = file.read(6)
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(magic):
            return opener(path, "rb")
    return path.open("rb")


class _Modest:
    """A file that is read in small pieces: a header of a tar may claim gigabytes, which would be read at once."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()


def _check_amount(path: Path, files: int, size: int) -> None:
    most = min(_MAX_BYTES, _MAX_RATIO * path.stat().st_size + (64 << 20))
    if files > _MAX_FILES or size > most:
        raise DataError(
            f"{path} would unpack to {files:,} files of {size:,} bytes together",
            expected=f"at most {_MAX_FILES:,} files of {most:,} bytes",
        )


def _check_name(path: Path, name: str) -> None:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts[0] if pure.parts else "") or "\0" in name:
        raise DataError(f"{path} holds a name that leads outside: {name!r}"[:400])
    if len(pure.parts) > _MAX_DEPTH:
        raise DataError(f"{path} holds folders {len(pure.parts)} deep", expected=f"at most {_MAX_DEPTH}")
