"""Lists of words from a pickle, without running what a pickle may order to be run."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from clipzoo.data.pickle_claims import check_claims
from clipzoo.errors import DataError

_MOST_BYTES = 256 << 20


class _PlainUnpickler(pickle.Unpickler):
    """Gives dicts, lists, tuples, texts and numbers; whatever names a class or a function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it asks for objects from elsewhere")


def read_word_lists(path: Path) -> dict[str, list[str]]:
    """Sentences a video from a pickled dict of lists of words (``raw-captions.pkl`` of MSVD).

    Args:
        path: the file.

    Raises:
        DataError: if it holds anything but plain containers of text, or another structure.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has more than {_MOST_BYTES >> 20} MB")
        raw = path.read_bytes()
        check_claims(raw)
        content = _PlainUnpickler(io.BytesIO(raw), encoding="utf-8").load()
    except DataError:
        raise
    except Exception as error:  # a damaged or hostile stream may raise anything
        raise DataError(
            f"{path} is refused: {' '.join(str(error).split())[:200] or type(error).__name__}",
            expected="a pickle of plain dicts, lists and texts: others can run programs when they are opened",
            hint="write it as JSON, {video: [sentence, ...]}, to raw-captions.json",
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}", expected="a dict from video to lists of words")
    found = {}
    for key, sentences in content.items():
        if not isinstance(key, str) or not isinstance(sentences, list | tuple):
            raise DataError(f"{path} holds something else than lists of words at {key!r}"[:300])
        found[key] = [_sentence(path, words) for words in sentences]
    return found


def _sentence(path: Path, words: Any) -> str:
    if isinstance(words, str):
        return words
    if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
        return " ".join(words)
    raise DataError(f"{path} holds a sentence that is a {type(words).__name__}", expected="a list of words")
