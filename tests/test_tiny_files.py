"""The file format of the tiny encoders."""

import numpy as np
import pytest
import torch

from clipzoo.encoders.tiny_files import read_tiny, untrained_rows, write_tiny
from clipzoo.errors import WeightsError


def test_file_round_trip(tmp_path) -> None:
    config = {"text_cfg": {"vocab_size": 20, "width": 4}}
    known = torch.tensor([3, 7])
    state = {"token_embedding.weight": torch.randn(20, 4), "other": torch.randn(3), "steps": torch.tensor(5)}
    write_tiny(tmp_path / "a.safetensors", state, known)
    back, tokens = read_tiny(tmp_path / "a.safetensors", config)
    assert tokens == {3, 7} and back["steps"] == 5
    torch.testing.assert_close(back["other"], state["other"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        back["token_embedding.weight"][known], state["token_embedding.weight"][known], atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(back["token_embedding.weight"][4], untrained_rows(20, 4)[4])


def test_untrained_tokens_differ_from_one_another() -> None:
    table = untrained_rows(49408, 16)
    assert len(np.unique(table.numpy().round(6), axis=0)) == 49408


@pytest.mark.parametrize("damage", [b"", b"xx", None])
def test_a_damaged_file_is_named(tmp_path, damage) -> None:
    path = tmp_path / "tiny.safetensors"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(WeightsError, match=r"tiny\.safetensors"):
        read_tiny(path, {"text_cfg": {"vocab_size": 20, "width": 4}})
