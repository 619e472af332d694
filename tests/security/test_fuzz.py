"""Damaged files and invented ones: a reader gives its result or a ClipzooError, within two seconds and 500 MB."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import within_limits
from mutation import damaged
from readers import READERS, Reader

from clipzoo.errors import ClipzooError

CASES = 2000
"""Damaged copies a reader."""

FACTOR = float(os.environ.get("CLIPZOO_FUZZ", "1"))
"""Share of them that is tried; all of them take under four minutes of one core."""

EACH = pytest.mark.parametrize("reader", READERS, ids=[reader.name.replace(" ", "-") for reader in READERS])


def prepared(reader: Reader, folder: Path) -> Path:
    """The folder with everything that belongs to the file, and the place of the file itself."""
    for name, content in {**reader.beside(), reader.file: b""}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / reader.file


def look(reader: Reader, path: Path, folder: Path, content: bytes) -> bool:
    """Whether the reader took the file.

    Raises:
        AssertionError: if it raises anything but an error of ours, or warns.
    """
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(folder)
    except ClipzooError:
        return False
    except BaseException as error:
        raise AssertionError(f"{reader.name}: {type(error).__name__}: {error}\n{content[:2000]!r}") from error
    return True


@EACH
def test_damaged_files(reader: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = prepared(reader, folder)
    seeds = tuple(reader.seeds())
    for number, seed in enumerate(seeds):
        assert look(reader, path, folder, seed), f"seed {number} of {reader.name} is not taken as it is"
        for content in damaged(seed, math.ceil(FACTOR * CASES / len(seeds)), number, seeds):
            with within_limits(reader.name):
                look(reader, path, folder, content)


@pytest.mark.slow
@EACH
def test_damaged_files_for_long(reader: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = prepared(reader, folder)
    seeds = tuple(reader.seeds())
    for number, seed in enumerate(seeds):
        for content in damaged(seed, math.ceil(10 * CASES / len(seeds)), 1000 + number, seeds):
            with within_limits(reader.name):
                look(reader, path, folder, content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OF_JSON = [reader for reader in READERS if reader.file.endswith(".json")]
OF_TEXT = [
    reader for reader in READERS if reader.file.endswith((".csv", ".txt", ".svg", ".xml", ".yaml", ".off", ".xyz"))
]
QUICK = settings(
    max_examples=int(60 * max(FACTOR, 0.1)),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("reader", OF_JSON, ids=[reader.name.replace(" ", "-") for reader in OF_JSON])
def test_any_json(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("json") / "run"
    path = prepared(reader, folder)
    valid = json.loads(reader.seeds()[0])
    names = sorted(valid) if isinstance(valid, dict) else ["a"]

    @QUICK
    @given(JSON | st.dictionaries(st.sampled_from(names), JSON, max_size=6))
    def check(content: object) -> None:
        with within_limits(reader.name):
            look(reader, path, folder, json.dumps(content).encode())

    check()


@pytest.mark.parametrize("reader", OF_TEXT, ids=[reader.name.replace(" ", "-") for reader in OF_TEXT])
def test_any_text(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("text") / "run"
    path = prepared(reader, folder)
    head = reader.seeds()[0].decode("utf-8", "replace").splitlines(keepends=True)[0]

    @QUICK
    @given(st.text(max_size=60), st.booleans())
    def check(text: str, headed: bool) -> None:
        with within_limits(reader.name):
            look(reader, path, folder, ((head if headed else "") + text).encode("utf-8", "surrogatepass"))

    check()


@pytest.mark.parametrize("reader", READERS, ids=[reader.name.replace(" ", "-") for reader in READERS])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 65536, b"PK\3\4", b"\x80\4.", b"{" * 20_000, b"[" * 200_000, b"<a>" * 50_000]
)
def test_what_no_file_of_this_kind_is(reader: Reader, content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = prepared(reader, folder)
    with within_limits(reader.name):
        look(reader, path, folder, content)
