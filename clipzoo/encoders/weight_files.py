"""Tensors from files of others: the content says what a file is, and nothing in it is executed."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from clipzoo.errors import WeightsError

_ZIP = b"PK\x03\x04"
_MAX_HEADER_BYTES = 100_000_000  # the limit of the format itself


def read_weight_file(path: str | Path) -> Any:
    """What a checkpoint holds: of safetensors a dict of tensors, of a PyTorch file tensors in plain containers.

    The first bytes decide which of the two it is, whatever its name ends in. A pickle is read by PyTorch's restricted
    reader alone (``weights_only=True``): where that refuses, no other is tried.

    Args:
        path: the file; tensors come to the CPU.

    Raises:
        WeightsError: if it is missing, damaged, of another kind, or asks for anything but tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}", expected="a file of weights") from error
    if len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= min(size, _MAX_HEADER_BYTES):
        return _safetensors(path)
    if path.suffix == ".safetensors":
        raise WeightsError(
            f"{path} is no safetensors file, or is damaged",
            hint="a pickle that was renamed stays a pickle: give it its own name, .pt",
        )
    try:
        if head.startswith(_ZIP):
            _check_zip(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about its own older formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a damaged or hostile file may make the reader raise anything
        raise WeightsError(
            f"{path} cannot be read as plain tensors: {' '.join(str(error).split())[:200]}",
            expected="a state dict; programs (TorchScript) and pickled objects are not executed",
            hint="save its state_dict() with safetensors",
        ) from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except Exception as error:
        raise WeightsError(
            f"{path} is no safetensors file, or is damaged: {' '.join(str(error).split())[:200]}"
        ) from error


def _check_zip(path: Path, size: int) -> None:
    """PyTorch packs nothing: a record that grows when it is read is a bomb."""
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > size:
        raise WeightsError(
            f"{path} would unpack to {claimed:,} bytes, and has {size:,}",
            expected="a file of torch.save, which packs nothing",
        )
