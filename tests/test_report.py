"""The page is made from the folder alone, shows everything, and trusts nothing that stands in it."""

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import clipzoo
from clipzoo.report import write_gallery, write_report

NASTY = "<script>alert('x')</script> \"&' ü"
RUN = """
import json
from clipzoo import Result, Table
NASTY = json.loads({nasty!r})

def run(settings, context):
    context.record(NASTY, value=1)
    context.failed("bad " + NASTY, ValueError(NASTY))
    context.note(NASTY)
    context.save_image("picture", __import__("numpy").zeros((4, 6)), caption=NASTY)
    rows = [{"name": NASTY + str(k), "value": k} for k in range(500)]
    confusion = [{"": NASTY, "a": 3, "b": 0}, {"": "b", "a": 1, "b": 2}]
    return Result(
        {NASTY: 0.5}, [Table("rows", rows, NASTY), Table("matrix", confusion, "who for whom", "confusion")],
        protocol={NASTY: NASTY},
    )
"""


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.links, self.text = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def folder(install, good_source, tmp_path) -> Path:
    import json

    install("nasty", good_source[0], run=RUN.replace("{nasty!r}", repr(json.dumps(NASTY))))
    return clipzoo.run("nasty", out=tmp_path, word=NASTY).folder


def test_everything_is_escaped_and_shown(folder) -> None:
    page = Page(folder / "report.html")
    assert "script" not in page.tags
    assert "".join(page.text).count(NASTY) >= 8


def test_nothing_is_loaded_from_elsewhere(folder) -> None:
    page = Page(folder / "report.html")
    assert page.links
    for link in page.links:
        assert not link.startswith(("http", "//", "/"))
        assert (folder / link).exists(), link


def test_what_is_read_in_place_of_the_dataset_is_named(folder) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("settings:\n", "settings:\n  input: mine.jpg\n"))
    lead = (write_report(folder)).read_text(encoding="utf-8").split('class="lead">')[1].split("</p>")[0]
    assert "input <b>mine.jpg</b>" in lead and "data <b>" not in lead


def test_long_tables_are_cut_and_linked(folder) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "the first 200 of 500 rows" in text and "tables/rows.csv" in text


def test_confusion_has_counts(folder) -> None:
    text = "".join(Page(folder / "report.html").text)
    assert "who for whom" in text and "true class" in text


def test_writing_again_gives_the_same_page(folder) -> None:
    before = (folder / "report.html").read_bytes()
    assert write_report(folder).read_bytes() == before


def test_gallery_links_every_report(folder, tmp_path) -> None:
    page = Page(write_gallery([folder, folder], tmp_path / "pages" / "index.html"))
    reports = [link for link in page.links if link.endswith("report.html")]
    assert len(reports) == 2
    assert all((tmp_path / "pages" / link).exists() for link in page.links)


BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt install chromium")
def test_a_real_browser_shows_it_without_complaint(folder, tmp_path) -> None:
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'home'}",
            "--dump-dom",
            (folder / "report.html").as_uri(),
        ],
        env={**os.environ, "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "the first 200 of 500 rows" in done.stdout and "<script" not in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]


def test_what_stands_in_a_folder_of_others_is_shown_or_left_out(folder) -> None:
    stored = json.loads((folder / "metrics.json").read_text())
    stored["metrics"] = {"x": float("inf"), "y": "1e999", "\ud800": None}
    stored["artifacts"] = [
        {"path": "../../../etc/passwd.png"},
        {"path": "/etc/passwd.png"},
        3,
        {"path": "artifacts/no.png"},
    ]
    stored["tables"] = [{"name": "../run"}, {"name": "rows", "kind": "confusion"}, "x"]
    (folder / "metrics.json").write_text(json.dumps(stored))
    (folder / "tables" / "rows.csv").write_bytes(b"a,b,c\n1\n\xff,nan,inf,4\n")
    page = Page(write_report(folder))
    assert not [link for link in page.links if "passwd" in link]
    assert {"a", "b", "c"} <= set(page.text)
