"""The page is made from the folder alone, shows everything, and trusts nothing that stands in it."""

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
