"""The method does what it promises, at toy scale."""

import clipzoo


def test_what_the_sentence_says_comes_first(tmp_path) -> None:
    result = clipzoo.run("my-method", sentence="something red", per_class=2, out=str(tmp_path))
    red = [key for key in _ranked(result) if key.startswith("red-")]
    assert set(_ranked(result)[: len(red)]) == set(red)


def _ranked(result: clipzoo.RunResult) -> list[str]:
    return [row["image"] for row in result.tables[0].rows]
