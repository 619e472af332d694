"""What holds for every test of the core and of the plugins."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: each needs one
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """A test that calls the command line in this process may forbid the network (``--offline``): for itself alone."""
    before = dict(os.environ)
    os.environ.pop("HF_HUB_OFFLINE", None)
    yield
    os.environ.clear()
    os.environ.update(before)
