"""Downloads against a server on this machine, which breaks in every way that servers do."""

import errno
import gzip
import hashlib
import io
import resource
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clipzoo.data import downloads
from clipzoo.data.downloads import Archive, _NeverLessSafe, ensure, extract, fetch
from clipzoo.errors import DataError

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
REDIRECTS = {
    "/file-redirect": "file:///etc/passwd",
    "/redirect": "/whole",
    "/loop": "/loop",
    "/ftp": "ftp://127.0.0.1/x",
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("CLIPZOO_OFFLINE")
    log = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, wanted, tag = self.path, self.headers.get("Range"), self.headers.get("If-Range")
            log.append((path, wanted))
            if path == "/gone":
                return self.send_error(404)
            if path in REDIRECTS:
                self.send_response(302)
                self.send_header("Location", REDIRECTS[path])
                return self.end_headers()
            if path == "/page" or path == "/unnamed-page":
                return self.answer(
                    200, b"  <!DOCTYPE html><p>please log in", {} if path != "/page" else {"Content-Type": "text/html"}
                )
            if path == "/nonsense":
                return self.wfile.write(b"\0\1\2 this is no HTTP\r\n\r\n")
            content = OTHER if path in ("/changed", "/short") else CONTENT
            content = content[:100] if path == "/short" else content
            content = CONTENT[:-1] + b"!" if path == "/wrong" else content
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and path != "/no-range" else 0
            mark = hashlib.sha256(content).hexdigest()[:8]
            if tag is not None and tag != mark:
                start = 0
            if start >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers = {"ETag": mark}
            if start:
                headers["Content-Range"] = f"bytes {start + (path == '/other-part')}-{len(content) - 1}/{len(content)}"
            body = content[start:]
            length = {"/longer": len(body) + 1000, "/shorter": len(body) - 1000, "/endless": 1 << 50}.get(
                path, len(body)
            )
            if path == "/packed":
                headers["Content-Encoding"] = "gzip"
            self.answer(206 if start else 200, body[: len(body) // 2] if path == "/cut" else body, headers, length)

        def answer(self, status, body, headers, length=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            try:
                for place in range(0, len(body), 100_000):
                    self.wfile.write(body[place : place + 100_000])
                    time.sleep(0.05 * (self.path == "/slow"))
            except OSError:  # the other side has heard enough
                pass

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{running.server_port}"
    yield lambda *paths, **options: (Archive("data.bin", tuple(base + path for path in paths), **options), log)
    running.shutdown()


def test_whole_file(server, tmp_path) -> None:
    archive, log = server("/whole", sha256=DIGEST)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    fetch(archive, tmp_path)
    assert len(log) == 1  # what is there is not fetched again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.bin", "data.bin.sha256"]


def test_goes_on_where_it_stopped(server, tmp_path) -> None:
    cut, log = server("/cut", sha256=DIGEST)
    with pytest.raises(DataError, match="ended after"):
        fetch(cut, tmp_path)
    half = (tmp_path / "data.bin.part").stat().st_size
    assert 0 < half < len(CONTENT)
    archive, log = server("/whole", sha256=DIGEST)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert log[-1][1] == f"bytes={half}-"


def test_a_server_without_ranges_starts_over(server, tmp_path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"something else")
    assert fetch(server("/no-range", sha256=DIGEST)[0], tmp_path).read_bytes() == CONTENT


def test_mirrors_are_tried_in_order(server, tmp_path) -> None:
    archive, log = server("/gone", "/wrong", "/redirect", sha256=DIGEST)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in log] == ["/gone", "/wrong", "/redirect", "/whole"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/page", "web page"),
        ("/unnamed-page", "web page"),
        ("/longer", "connection ended after"),
        ("/shorter", "SHA-256"),
        ("/endless", "announces"),
        ("/packed", "packed the file"),
        ("/loop", "redirect"),
        ("/ftp", "ftp refused"),
        ("/nonsense", "no HTTP"),
    ],
)
def test_a_server_that_lies_is_refused(server, tmp_path, path, reason) -> None:
    with pytest.raises(DataError, match=reason):
        fetch(server(path, sha256=DIGEST)[0], tmp_path)
    assert not (tmp_path / "data.bin").exists()
    assert fetch(server("/whole", sha256=DIGEST)[0], tmp_path).read_bytes() == CONTENT  # whatever it left does no harm


def test_a_web_page_never_becomes_the_file_nor_its_digest(server, tmp_path) -> None:
    for path in ("/page", "/unnamed-page"):
        with pytest.raises(DataError, match="web page"):
            fetch(server(path)[0], tmp_path)
    assert not (tmp_path / "data.bin").exists() and not (tmp_path / "data.bin.sha256").exists()
    assert fetch(server("/whole")[0], tmp_path).read_bytes() == CONTENT


def test_the_half_of_something_else_is_thrown_away(server, tmp_path) -> None:
    for half in (b"x" * 1000, CONTENT + b"more than all"):
        (tmp_path / "data.bin.part").write_bytes(half)
        archive, log = server("/whole", "/whole", sha256=DIGEST)
        path = fetch(archive, tmp_path)
        assert path.read_bytes() == CONTENT and log[-1][1] is None  # from the start
        path.unlink()


def test_a_server_that_sends_another_part_is_refused(server, tmp_path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match="another part"):
        fetch(server("/other-part", sha256=DIGEST)[0], tmp_path)


def test_without_a_digest_halves_of_two_versions_are_not_joined(server, tmp_path) -> None:
    with pytest.raises(DataError, match="ended after"):
        fetch(server("/cut")[0], tmp_path)
    archive, log = server("/changed")
    assert fetch(archive, tmp_path).read_bytes() == OTHER
    assert log[-1][1] is not None  # it asked for the rest, and was told that the file has changed


def test_without_a_digest_the_rest_of_the_same_version_is_taken(server, tmp_path) -> None:
    with pytest.raises(DataError, match="ended after"):
        fetch(server("/cut")[0], tmp_path)
    assert fetch(server("/whole")[0], tmp_path).read_bytes() == CONTENT


def test_never_from_https_to_http() -> None:
    from urllib.error import URLError
    from urllib.request import Request

    handler = _NeverLessSafe()
    for new in ("http://example.org/x", "HTTP://example.org/x", "file:///etc/passwd", "ftp://example.org/x"):
        with pytest.raises(URLError, match="refused"):
            handler.redirect_request(Request("https://example.org/x"), None, 302, "", {}, new)
    assert handler.redirect_request(Request("http://example.org/x"), None, 302, "", {}, "https://example.org/y")
    assert handler.redirect_request(Request("https://example.org/x"), None, 302, "", {}, "https://example.org/y")


def test_two_that_want_the_same_file_fetch_it_once(server, tmp_path) -> None:
    archive, log = server("/slow", sha256=DIGEST)
    found = []
    both = [threading.Thread(target=lambda: found.append(fetch(archive, tmp_path).read_bytes())) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert found == [CONTENT, CONTENT] and len(log) == 1


def test_a_server_that_drips_is_left(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(downloads, "_TIMEOUT_S", 0.01)
    monkeypatch.setattr(downloads, "_LEAST_BYTES_PER_S", 1 << 40)
    monkeypatch.setattr(downloads.urllib.request.OpenerDirector, "open", _patient(monkeypatch))
    with pytest.raises(DataError, match="bytes a second"):
        fetch(server("/slow", sha256=DIGEST)[0], tmp_path)


def _patient(monkeypatch):
    opened = downloads.urllib.request.OpenerDirector.open
    return lambda self, request, timeout: opened(self, request, timeout=30)


def test_a_full_disk_is_told_and_keeps_the_half(server, tmp_path, monkeypatch) -> None:
    held_back = _LimitedDisk(monkeypatch, 300_000)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        fetch(server("/whole", "/whole", sha256=DIGEST)[0], tmp_path)
    half = (tmp_path / "data.bin.part").stat().st_size
    assert 0 < half <= 300_000
    held_back.undo()
    archive, log = server("/whole", sha256=DIGEST)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert log[-1][1] == f"bytes={half}-"


class _LimitedDisk:
    """After so many bytes the kernel would say that there is no space."""

    def __init__(self, monkeypatch, size):
        self.patch, opened = monkeypatch, Path.open

        def limited(path, *arguments, **options):
            file = opened(path, *arguments, **options)
            if path.suffix != ".part":
                return file

            class Full(io.BufferedWriter):
                def write(self, content):
                    if self.tell() + len(content) > size:
                        raise OSError(errno.ENOSPC, "No space left on device")
                    return super().write(content)

            return Full(file.detach())

        monkeypatch.setattr(Path, "open", limited)

    def undo(self):
        self.patch.undo()
        self.patch.delenv("CLIPZOO_OFFLINE", raising=False)


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        fetch(server("/whole", sha256=DIGEST)[0], tmp_path / "file" / "inside")


def test_a_wrong_file_is_deleted(server, tmp_path) -> None:
    with pytest.raises(DataError, match="SHA-256"):
        fetch(server("/wrong", sha256=DIGEST)[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unpublished_digest_is_recorded_and_held(server, tmp_path) -> None:
    fetch(server("/whole")[0], tmp_path).unlink()
    assert DIGEST in (tmp_path / "data.bin.sha256").read_text()
    with pytest.raises(DataError, match="SHA-256"):
        fetch(server("/wrong")[0], tmp_path)


def test_no_redirect_to_a_file(server, tmp_path) -> None:
    with pytest.raises(DataError, match="not allowed"):
        fetch(server("/file-redirect")[0], tmp_path)


def test_only_http(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("CLIPZOO_OFFLINE")
    with pytest.raises(DataError, match="not an http address"):
        fetch(Archive("data.bin", ("file:///etc/passwd",)), tmp_path)


def test_offline_makes_no_connection(server, tmp_path, monkeypatch) -> None:
    archive, log = server("/whole")
    monkeypatch.setenv("CLIPZOO_OFFLINE", "1")
    with pytest.raises(DataError, match="put it there"):
        fetch(archive, tmp_path, instructions="put it there: x/*.bin")
    assert log == []


def make_zip(path, *names, link=False):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            if link:
                entry.external_attr = 0o120777 << 16
            archive.writestr(entry, "content")


def make_tar(path, name, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        entry.size = 7 if kind == tarfile.REGTYPE else 0
        archive.addfile(entry, io.BytesIO(b"content"))


def test_archives_are_unpacked_whole(tmp_path) -> None:
    make_zip(tmp_path / "a.zip", "top/one.txt", "top/two.txt")
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out" / "top").iterdir()) == ["one.txt", "two.txt"]
    make_tar(tmp_path / "a.tar", "three.txt")
    extract(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "three.txt").read_text() == "content"


@pytest.mark.parametrize("name", ["../out.txt", "/abs.txt", "a/../../b.txt", "C:\\x.txt", "..\\x.txt"])
def test_names_that_lead_outside_are_refused(tmp_path, name) -> None:
    make_zip(tmp_path / "a.zip", "fine.txt", name)
    make_tar(tmp_path / "a.tar", name)
    for archive in ("a.zip", "a.tar"):
        with pytest.raises(DataError, match="outside"):
            extract(tmp_path / archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_is_refused(tmp_path, kind) -> None:
    make_tar(tmp_path / "a.tar", "x", kind)
    with pytest.raises(DataError, match="neither file nor folder"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    make_zip(tmp_path / "a.zip", "x", link=True)
    with pytest.raises(DataError, match="link"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_a_damaged_archive_leaves_nothing(tmp_path) -> None:
    make_zip(tmp_path / "a.zip", "one.txt")
    broken = (tmp_path / "a.zip").read_bytes()[:40]
    (tmp_path / "a.zip").write_bytes(broken)
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def bombs(folder):
    """Archives of a few kilobytes that claim, or hold, gigabytes."""
    zeros = bytes(1 << 20)
    with (
        zipfile.ZipFile(folder / "zeros.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w") as file,
    ):
        for _ in range(100):
            file.write(zeros)
    claimed = io.BytesIO()
    with zipfile.ZipFile(claimed, "w") as archive:
        archive.writestr("x", b"content")
    content = bytearray(claimed.getvalue())
    place = content.rindex(b"PK\1\2")
    content[place + 24 : place + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    (folder / "claims.zip").write_bytes(content)
    content = bytearray(claimed.getvalue())
    content[-10:-6] = (0x7FFFFFFF).to_bytes(4, "little")
    (folder / "directory.zip").write_bytes(content)
    with gzip.open(folder / "zeros.tar.gz", "wb") as file:
        entry = tarfile.TarInfo("zeros")
        entry.size = 100 << 20
        file.write(entry.tobuf())
        for _ in range(100):
            file.write(zeros)
    for name, kind in (("pax.tar.gz", tarfile.XHDTYPE), ("long.tar.gz", tarfile.GNUTYPE_LONGNAME)):
        with gzip.open(folder / name, "wb") as file:
            entry = tarfile.TarInfo("header")
            entry.type, entry.size = kind, 300 << 20
            file.write(entry.tobuf(tarfile.GNU_FORMAT))
            for _ in range(300):
                file.write(zeros)
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_bombs_are_refused_in_little_time_and_memory(tmp_path) -> None:
    (tmp_path / "bombs").mkdir()
    for path in bombs(tmp_path / "bombs"):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        with pytest.raises(DataError):
            extract(path, tmp_path / "out")
        assert time.process_time() - start < 2, path.name
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200, path.name
        assert [entry.name for entry in tmp_path.iterdir()] == ["bombs"], path.name


def test_encrypted_and_bottomless_archives_are_refused(tmp_path) -> None:
    make_zip(tmp_path / "a.zip", "a/" * 2000 + "x")
    with pytest.raises(DataError, match="deep"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    make_zip(tmp_path / "a.zip", "one.txt")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_what_a_killed_process_left_is_removed(tmp_path) -> None:
    (tmp_path / ".unpack-out" / "half").mkdir(parents=True)
    make_zip(tmp_path / "a.zip", "top/one.txt")
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zip", "out"]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_packed_tars_are_known_by_content(tmp_path, kind) -> None:
    with tarfile.open(tmp_path / "a.tar", f"w:{kind}") as archive:
        for name in ("top", "top/one.txt"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if name == "top" else tarfile.REGTYPE
            entry.size = 0 if name == "top" else 7
            archive.addfile(entry, io.BytesIO(b"content"))
    extract(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "top" / "one.txt").read_text() == "content"


def test_ensure_fetches_and_unpacks(server, tmp_path) -> None:
    archive, _ = server("/whole", sha256=DIGEST)
    ensure([archive], tmp_path / "set")
    assert (tmp_path / "set" / "data.bin").read_bytes() == CONTENT
