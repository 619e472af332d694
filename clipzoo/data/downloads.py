"""Downloads that can be trusted and resumed, and archives that cannot write where they should not."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clipzoo.errors import DataError
from clipzoo.paths import offline

_CHUNK = 1 << 20
_MAX_BYTES = 64 << 30
_MAX_FILES = 2_000_000


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

    Raises:
        DataError: if no mirror gives the file whole, or its SHA-256 is wrong (it is then deleted).
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
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures = []
    for url in archive.urls:
        try:
            _download(url, part)
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        digest = _sha256(part)
        record = target.with_name(target.name + ".sha256")
        known = archive.sha256 or (record.read_text().split()[0] if record.exists() else None)
        if known is not None and digest != known:
            part.unlink()
            failures.append(f"{url}: SHA-256 is {digest}, not {known}; deleted")
            continue
        record.write_text(f"{digest}  {archive.filename}\n")
        part.replace(target)
        return target
    raise DataError(
        f"{name or archive.filename}{size} could not be downloaded",
        details=[*failures, *details],
        hint="the same command again goes on where this one stopped; or name a path with --data PATH",
    )


class _NoOtherScheme(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if not newurl.startswith(("https://", "http://")):
            raise urllib.error.URLError(f"redirect to {newurl.partition(':')[0]} refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, part: Path) -> None:
    if not url.startswith(("https://", "http://")):
        raise ValueError("not an http address")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    opener = urllib.request.build_opener(_NoOtherScheme)
    try:
        response = opener.open(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch, or the file has changed: the digest tells
            return
        raise
    with response:
        resumed = have and response.status == 206
        expected = response.headers.get("Content-Length")
        total = (have if resumed else 0) + int(expected) if expected else None
        if total is not None and total > _MAX_BYTES:
            raise ValueError(f"the server announces {total} bytes, more than {_MAX_BYTES}")
        with part.open("ab" if resumed else "wb") as file:
            written = have if resumed else 0
            while chunk := response.read(_CHUNK):
                written += len(chunk)
                if written > _MAX_BYTES:
                    raise ValueError(f"more than {_MAX_BYTES} bytes came")
                file.write(chunk)
    if total is not None and written != total:
        raise ValueError(f"the connection ended after {written} of {total} bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract(path: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``: whole or not at all, regular files only, none outside.

    Raises:
        DataError: if it is damaged, or holds links, devices, names that lead outside, or too much.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as name:
        inside = Path(name) / "content"
        inside.mkdir()
        try:
            if zipfile.is_zipfile(path):
                _unzip(path, inside)
            else:
                _untar(path, inside)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
            raise DataError(
                f"{path} cannot be unpacked: {error}", hint="delete it; the same command fetches it again"
            ) from error
        if folder.exists():
            for entry in inside.iterdir():
                goal = folder / entry.name
                if not goal.exists():
                    entry.replace(goal)
        else:
            inside.replace(folder)


def _unzip(path: Path, inside: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_amount(path, len(entries), sum(entry.file_size for entry in entries))
        for entry in entries:
            _check_name(path, entry.filename)
            if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                raise DataError(f"{path} holds a link: {entry.filename}")
        archive.extractall(inside)


def _untar(path: Path, inside: Path) -> None:
    with tarfile.open(path) as archive:
        entries = archive.getmembers()
        _check_amount(path, len(entries), sum(entry.size for entry in entries))
        for entry in entries:
            _check_name(path, entry.name)
            if not (entry.isreg() or entry.isdir()):
                raise DataError(f"{path} holds something that is neither file nor folder: {entry.name}")
        archive.extractall(inside, filter="data")


def _check_amount(path: Path, files: int, size: int) -> None:
    if files > _MAX_FILES or size > _MAX_BYTES:
        raise DataError(f"{path} would unpack to {files} files of {size} bytes together", expected="far less")


def _check_name(path: Path, name: str) -> None:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts[0] if pure.parts else ""):
        raise DataError(f"{path} holds a name that leads outside: {name}")
