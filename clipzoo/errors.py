"""The error tree: what was given, what was expected, the closest match, one thing to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClipzooError(Exception):
    """Base of every error that clipzoo raises on purpose.

    Args:
        what: one sentence that names what was given and what is wrong with it.
        expected: what would have been right.
        closest: names near to the one that was given, best first.
        hint: one command or one change to try.
        details: further lines, each printed as it is.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        closest: Iterable[str] = (),
        hint: str | None = None,
        details: Iterable[str] = (),
    ) -> None:
        """Keep the parts, so that a front end may lay them out in its own way."""
        self.what = what
        self.expected = expected
        self.closest = tuple(closest)
        self.hint = hint
        self.details = tuple(details)
        super().__init__(self.message())

    def message(self) -> str:
        """The whole text, the first line a sentence, the others indented."""
        lines = [self.what]
        if self.closest:
            lines.append(f"did you mean: {', '.join(self.closest)}")
        if self.expected:
            lines.append(f"expected: {self.expected}")
        lines.extend(self.details)
        if self.hint:
            lines.append(f"try: {self.hint}")
        return "\n  ".join(lines)


class UsageError(ClipzooError):
    """The command or the call is not one that exists."""

    exit_code = 2


class ConfigError(ClipzooError):
    """A setting is unknown, has the wrong type, or is out of its range."""

    exit_code = 2


class MissingExtra(ClipzooError):
    """A distribution that this needs is not installed."""

    exit_code = 3


class WeightsError(ClipzooError):
    """Weights are missing, unreadable, or belong to another architecture."""

    exit_code = 3


class DataError(ClipzooError):
    """A file or folder of the user's is missing, broken, or not what it says."""

    exit_code = 4


class PluginError(ClipzooError):
    """A plugin cannot be loaded, or breaks the contract."""

    exit_code = 1


class RunError(ClipzooError):
    """A run stopped before it was complete; what it had finished is kept."""

    exit_code = 1


def closest_matches(name: str, names: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The names nearest to ``name``, best first, ignoring case and ``-``/``_``/space.

    >>> closest_matches("pointclp", ["depthclip", "pointclip"])
    ('pointclip',)
    """

    def plain(text: str) -> str:
        return text.lower().replace("_", "-").replace(" ", "-")

    by_plain: dict[str, str] = {}
    for candidate in names:
        by_plain.setdefault(plain(candidate), candidate)
    found = difflib.get_close_matches(plain(name), by_plain, n=limit, cutoff=0.6)
    return tuple(by_plain[match] for match in found)
