"""Read the pickles of NVIDIA's StyleGAN2 code, and StyleCLIP's lists of arrays, without executing what is in them.

Such a network pickles its own source text and runs it when it is unpickled. Here every name in the file stands for an
inert record of ours, or the file is refused: no import, no call and no attribute of anything else takes place.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipzoo.data.pickle_claims import check_claims
from clipzoo.errors import DataError, WeightsError

MAX_BYTES = 8 << 30
"""Largest file that is read."""

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_ARRAY_KINDS = "biuf"
_MOST_MODULES = 100_000


@dataclass(frozen=True)
class StoredNetwork:
    """A network of a pickle, as data.

    Args:
        class_name: as it was called, ``Generator`` or ``Discriminator``.
        settings: the arguments that it was made with.
        tensors: parameters and buffers, with the names of a state dict.
    """

    class_name: str
    settings: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, Tensor] = field(repr=False)


def read_nvlabs_pickle(path: str | Path) -> dict[str, StoredNetwork]:
    """The networks in a ``.pkl`` of stylegan2-ada-pytorch or stylegan3, by their names (``G``, ``D``, ``G_ema``).

    Raises:
        WeightsError: if it is no such file, is damaged, or names anything that such a file has no use for; nothing in
            it has run by then.
    """
    path = Path(path)
    content = _content(path)
    try:
        stored = _safely(content, path, _Reader)
    except DataError as error:
        raise WeightsError(error.what, expected=error.expected, hint=error.hint, details=error.details) from error
    networks = {}
    if isinstance(stored, dict):
        for name, value in stored.items():
            if isinstance(name, str) and isinstance(value, _Persistent):
                networks[name] = _network(value, path)
    if not networks:
        raise WeightsError(
            f"{path} holds no network of stylegan2-ada-pytorch",
            expected="a dictionary with G_ema, as its training writes",
        )
    return networks


def read_array_pickle(path: str | Path) -> Any:
    """Lists, texts and arrays of numbers from a pickle, such as StyleCLIP's ``S`` and ``S_mean_std``.

    Raises:
        DataError: if the file is damaged, or holds anything else.
    """
    path = Path(path)
    return _plain(_safely(_content(path), path, _Reader))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path} has {path.stat().st_size >> 30} GB", expected=f"at most {MAX_BYTES >> 30} GB")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}", expected="a file") from error


def _safely(content: bytes, path: Path, reader: Callable[[io.BytesIO], _Reader]) -> Any:
    """The object in a pickle.

    Raises:
        DataError: whatever is wrong with it.
    """
    try:
        check_claims(content)
        stream = io.BytesIO(content)
        stored = reader(stream).load()
        if stream.tell() != len(content):
            raise ValueError(f"{len(content) - stream.tell()} bytes after its end")
        return stored
    except _RefusedError as error:
        module = str(error).rpartition(".")[0]
        hint = None
        if module.startswith(("dnnlib.tflib", "tensorflow")):
            hint = "convert a TensorFlow network with legacy.py of stylegan2-ada-pytorch first"
        raise DataError(
            f"{path} names {error}, and was not read any further",
            expected="tensors, arrays, texts and numbers; nothing of it was executed",
            hint=hint,
        ) from error
    except DataError:
        raise
    except Exception as error:  # a damaged stream may raise nearly anything
        text = " ".join(str(error).split())[:160]
        raise DataError(f"{path} is no pickle, or damaged: {type(error).__name__}: {text}") from error


class _RefusedError(Exception):
    pass


class _Call:
    """Stands for a function of the file's world; nothing can be set on it."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[..., Any]) -> None:
        object.__setattr__(self, "_work", work)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _RefusedError("a change of a function")

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("a change of a function")

    def __call__(self, *arguments: Any) -> Any:
        return self._work(*arguments)


@dataclass
class _Persistent:
    """A module: class name, source text that stays text, and state."""

    meta: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        raise _RefusedError("a change of a module")


class _Array:
    """A numpy array on its way: numpy builds one empty and fills it by its state."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _array(shape, dtype, fortran, raw)


class _Dtype:
    def __init__(self, name: Any, *_: Any) -> None:
        self.name = str(name)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in "<>" else "="

    def numpy(self) -> np.dtype:
        made = np.dtype(self.order + self.name if self.order in "<>" else self.name)
        if made.kind not in _ARRAY_KINDS:
            raise _RefusedError(f"an array of {self.name}")
        return made


@dataclass
class _Storage:
    values: Tensor


def _array(shape: tuple[int, ...], dtype: _Dtype, fortran: Any, raw: Any) -> np.ndarray:
    if not isinstance(raw, bytes) or not isinstance(dtype, _Dtype):
        raise _RefusedError("an array of objects")
    return np.frombuffer(raw, dtype.numpy()).reshape(shape, order="F" if fortran else "C").copy()


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return _array((), dtype, False, raw).item()


def _tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if not isinstance(storage, _Storage):
        raise _RefusedError("a tensor without storage")
    reach = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
    if offset < 0 or min((*size, *stride, 0)) < 0 or (math.prod(size) and reach > len(storage.values)):
        raise ValueError(f"a tensor {tuple(size)} in a storage of {len(storage.values)} numbers")
    return torch.as_strided(storage.values, tuple(size), tuple(stride), offset).clone()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError("bytes in an unusual form")
    return text.encode("latin1")


def _storage(raw: bytes) -> _Storage:
    """A storage as old ``torch.save`` wrote it: magic, version, machine, record, its key, then length and numbers."""
    stream = io.BytesIO(raw)
    for _ in range(3):
        _StorageReader(stream).load()
    record = _StorageReader(stream).load()
    keys = _StorageReader(stream).load()
    if not isinstance(record, tuple) or len(record) < 5 or record[0] != "storage" or len(keys) != 1:
        raise _RefusedError("something else than a storage")
    dtype, claimed = record[1], record[4]
    (count,) = struct.unpack("<q", stream.read(8))
    rest = stream.read()
    width = torch.empty(0, dtype=dtype).element_size()
    if count != claimed or count < 0 or count * width != len(rest):
        raise ValueError(f"a storage of {claimed} numbers in {len(rest)} bytes")
    values = torch.frombuffer(bytearray(rest), dtype=dtype) if count else torch.empty(0, dtype=dtype)
    return _Storage(values)


class _StorageReader(pickle.Unpickler):
    """Knows the names of storage types, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """A storage type as its dtype."""
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, record: Any) -> Any:
        """The record of a storage, as it is."""
        return record


class _Reader(pickle.Unpickler):
    """Knows what networks are made of. Every reader has types of its own: what a file does to them ends with it."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        record = type("Record", (dict,), {"__setstate__": lambda self, state: self.update(state or {})})
        array = type("Array", (_Array,), {})
        dtype = type("Dtype", (_Dtype,), {})
        known: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "dnnlib.util.EasyDict": record,
            "torch_utils.persistence._reconstruct_persistent_obj": _Call(_Persistent),
            "torch._utils._rebuild_tensor_v2": _Call(_tensor),
            "torch._utils._rebuild_parameter": _Call(lambda data, *_: data),
            "torch.storage._load_from_bytes": _Call(_storage),
            "numpy.dtype": _Call(dtype),
            "_codecs.encode": _Call(_encoded),  # bytes, in pickles of protocol 2 and less
            "numpy.ndarray": _Call(array),
        }
        for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known[f"{core}.scalar"] = _Call(_scalar)
            known[f"{core}._reconstruct"] = _Call(lambda *_: array())
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        """Our stand-in for a name.

        Raises:
            _RefusedError: if there is none.
        """
        found = self._known.get(f"{module}.{name}")
        if found is None:
            raise _RefusedError(f"{module}.{name}")
        return found


def _network(module: _Persistent, path: Path) -> StoredNetwork:
    tensors: dict[str, Tensor] = {}
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, one = waiting.pop()
        seen += 1
        state = one.meta.get("state") if isinstance(one, _Persistent) and isinstance(one.meta, dict) else None
        if not isinstance(state, dict) or seen > _MOST_MODULES:
            raise WeightsError(
                f"{path} holds a network in an unknown form", expected="stylegan2-ada-pytorch, version 6"
            )
        for kind in ("_parameters", "_buffers"):
            for name, tensor in dict(state.get(kind) or {}).items():
                if isinstance(tensor, Tensor):
                    tensors[f"{prefix}{name}"] = tensor
        waiting += [
            (f"{prefix}{name}.", child)
            for name, child in dict(state.get("_modules") or {}).items()
            if child is not None
        ]
    state = module.meta["state"]
    settings = _plain(state.get("_init_kwargs") or {})
    return StoredNetwork(str(module.meta.get("class_name")), settings if isinstance(settings, dict) else {}, tensors)


def _plain(value: Any) -> Any:
    """Containers of ordinary types; arrays as numpy's."""
    if isinstance(value, _Array):
        if value.value is None:
            raise DataError("an array without content")
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray | Tensor):
        return value
    raise DataError(f"a {type(value).__name__} where data was expected")
