"""The file format of the bundled encoders: half precision, and token rows only for tokens that were trained.

CLIP's tokenizer has 49 408 tokens, of which the toy world uses a few hundred. The file keeps their rows; the
rows of all other tokens are made by a formula, so that a word the encoder never met is still a definite vector
and two such words differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipzoo.errors import WeightsError

TINY_NAMES = ("tiny", "tiny-rn")
_EMBEDDING = "token_embedding.weight"
_IDS, _ROWS = "token_embedding.ids", "token_embedding.rows"


def untrained_rows(vocabulary: int, width: int) -> Tensor:
    """Rows for tokens that were never trained, ``[vocabulary, width]``: fixed waves, one frequency a token.

    >>> untrained_rows(3, 2).shape
    torch.Size([3, 2])
    """
    token = torch.arange(vocabulary, dtype=torch.float32)[:, None]
    column = torch.arange(width, dtype=torch.float32)[None]
    return 0.02 * torch.sin((token % 509 + 1) * (column + 1) * 0.7548777 + (token // 509) * (column + 1) * 0.5698403)


def write_tiny(path: Path, state: dict[str, Tensor], trained_tokens: Tensor) -> None:
    """Save a state dict of an open_clip model in this format.

    Args:
        path: the file to write.
        state: the model's state dict.
        trained_tokens: sorted ids of the tokens whose rows are kept.
    """
    kept = {
        key: value.detach().half().contiguous() if value.is_floating_point() else value.detach().contiguous()
        for key, value in state.items()
        if key != _EMBEDDING
    }
    kept[_IDS] = trained_tokens.to(torch.int32).contiguous()
    kept[_ROWS] = state[_EMBEDDING][trained_tokens].detach().half().contiguous()
    save_file(kept, path)


def read_tiny(path: Path, config: dict[str, Any]) -> tuple[dict[str, Tensor], frozenset[int]]:
    """The state dict in fp32, and the ids of the tokens that were trained.

    Raises:
        WeightsError: if the file is missing, damaged or of another layout.
    """
    try:
        stored = load_file(path)
        ids, rows = stored.pop(_IDS).long(), stored.pop(_ROWS).float()
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsError(
            f"{path.name} cannot be read: {error}", hint="reinstall clipzoo: the file belongs to the package"
        ) from error
    state = {key: value.float() if value.is_floating_point() else value for key, value in stored.items()}
    table = untrained_rows(config["text_cfg"]["vocab_size"], config["text_cfg"]["width"])
    table[ids] = rows
    state[_EMBEDDING] = table
    return state, frozenset(ids.tolist())
