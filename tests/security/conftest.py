"""The modules beside these tests can be imported by them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def everything_imported() -> None:
    """What is imported at the first use counts against no file."""
    import open_clip  # noqa: F401
    import timm  # noqa: F401

    import clipzoo

    clipzoo.load_clip("tiny", device="cpu").encode_text(["a circle"])
