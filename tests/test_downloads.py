"""Downloads against a server on this machine, which breaks in every way that servers do."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clipzoo.data.downloads import Archive, ensure, extract, fetch
from clipzoo.errors import DataError

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("CLIPZOO_OFFLINE")
    log = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            log.append((self.path, wanted))
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path != "/no-range" else 0
            if self.path == "/gone":
                return self.send_error(404)
            if self.path in ("/file-redirect", "/redirect"):
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd" if self.path == "/file-redirect" else "/whole")
                return self.end_headers()
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            body = CONTENT[start:] if self.path != "/wrong" else CONTENT[:-1] + b"!"
            self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

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
    assert not list(tmp_path.glob("*.part"))


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


def test_ensure_fetches_and_unpacks(server, tmp_path) -> None:
    archive, _ = server("/whole", sha256=DIGEST)
    ensure([archive], tmp_path / "set")
    assert (tmp_path / "set" / "data.bin").read_bytes() == CONTENT
