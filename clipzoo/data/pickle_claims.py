"""What a pickle claims before it is read: numbers that would make its reader reserve memory are refused."""

from __future__ import annotations

import pickletools

_CLAIMS = {"BINPUT", "LONG_BINPUT", "PUT", "BINGET", "LONG_BINGET", "GET", "FRAME"}


def check_claims(content: bytes) -> None:
    """Walk through the instructions of a pickle without following any.

    Args:
        content: the whole file.

    Raises:
        ValueError: if it is no pickle, is cut off, or names places and lengths far beyond its own size, for which its
            reader would set memory aside.

    >>> import pickle
    >>> check_claims(pickle.dumps({"a": [1, 2]}))
    """
    for code, argument, _ in pickletools.genops(content):
        if code.name == "BYTEARRAY8":
            raise ValueError("it holds a bytearray")
        if code.name in _CLAIMS and isinstance(argument, int) and argument > len(content):
            raise ValueError(f"{code.name} of {argument} in a file of {len(content)} bytes")
