"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import clipzoo


def modules() -> list[str]:
    left_out = ("clipzoo.cli",)
    found = pkgutil.walk_packages(clipzoo.__path__, "clipzoo.")
    return sorted(module.name for module in found if not module.name.startswith(left_out))


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": __import__("torch"), "np": __import__("numpy")})
    assert result.failed == 0
