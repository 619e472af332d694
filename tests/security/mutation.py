"""Damage to valid files, the same for the same seed: bytes, numbers in texts, and the tree of a JSON."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_PAGE = 4096
_NUMBERS = (
    b"-1",
    b"0",
    b"1",
    b"nan",
    b"-inf",
    b"1e999",
    b"1e308",
    b"1e-320",
    b"2147483648",
    b"4294967295",
    b"9" * 30,
    b"x",
    b"",
)
_WORDS = (
    b"\0" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\1\0\0\0",
    b"\0\0\0\1",
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
)
_LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, float("nan"), float("inf"), 10**30, 2**63, "", "x", "../../etc/passwd", "\0", "\ud800",
    [], {}, [[]], [None], {"": 0}, [1, 2, 3, 4], ["a"], {"a": [1]}, "9" * 40,
)  # fmt: skip


def damaged(content: bytes, cases: int, seed: int, others: tuple[bytes, ...] = ()) -> Iterator[bytes]:
    """``cases`` damaged copies of ``content``; a file of JSON is now and then damaged as a tree.

    Args:
        content: a valid file.
        cases: how many.
        seed: of the choices.
        others: further valid files, to splice with.
    """
    draw = random.Random(seed)
    tree = _tree(content)
    for _ in range(cases):
        if tree is not None and draw.random() < 0.7:
            yield json.dumps(_grafted(tree, draw)).encode()
            continue
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
            _change(changed, draw, others)
        yield bytes(changed)


def _tree(content: bytes) -> Any:
    try:
        found = json.loads(content)
    except (ValueError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict | list) else None


def _change(content: bytearray, draw: random.Random, others: tuple[bytes, ...]) -> None:
    place = _place(len(content), draw)
    kind = draw.randrange(10)
    if kind == 0:  # torn
        del content[place:]
    elif kind == 1:  # a piece is missing
        del content[place : place + draw.choice((1, 2, 4, 8, 64))]
    elif kind == 2:  # a piece occurs twice
        content[place:place] = content[place : place + draw.choice((1, 4, 16, 256))]
    elif kind == 3:  # something strange in between
        content[place:place] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 2, 8))))
    elif kind == 4:  # a length, an offset, a count
        word = draw.choice(_WORDS)
        content[place : place + len(word)] = word
    elif kind in (5, 6):  # a number in a text
        found = list(islice(_NUMBER.finditer(content), 400))
        if found:
            one = draw.choice(found)
            content[one.start() : one.end()] = draw.choice(_NUMBERS)
    elif kind == 7 and others:  # the end of another file
        other = draw.choice(others)
        content[place:] = other[min(place, len(other)) :]
    else:  # single bits
        for _ in range(draw.choice((1, 3, 20))):
            if content:
                content[min(_place(len(content), draw), len(content) - 1)] ^= 1 << draw.randrange(8)


def _place(size: int, draw: random.Random) -> int:
    """A place from 0 to ``size``, of a big file as often in its first or last pages as anywhere: directories are there."""
    if size > 2 * _PAGE and draw.random() < 0.5:
        place = draw.randrange(_PAGE)
        return place if draw.random() < 0.7 else size - place
    return draw.randrange(size + 1)


def _grafted(tree: Any, draw: random.Random) -> Any:
    """A copy with one to three branches replaced, left out, or repeated."""
    changed = json.loads(json.dumps(tree))
    for _ in range(draw.choice((1, 1, 2, 3))):
        branches = [(parent, key) for parent in _containers(changed) for key in _keys(parent)]
        if not branches:
            return copy.deepcopy(draw.choice(_LEAVES))
        parent, key = draw.choice(branches)
        kind = draw.randrange(8)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.append(parent[key])
        elif kind == 2 and isinstance(parent, dict):
            parent[draw.choice(("id", "x", "", "__proto__"))] = parent.pop(key)
        elif kind == 3:
            other, name = draw.choice(branches)
            if other is not parent or name != key:
                parent[key] = json.loads(json.dumps(other[name])) if name in _keys(other) else None
        else:
            parent[key] = copy.deepcopy(draw.choice(_LEAVES))
    return changed


def _containers(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        yield tree
        for key in _keys(tree):
            yield from _containers(tree[key])


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))
