"""Weights from a hub: safetensors alone, and once seen always the same revision and the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipzoo.errors import WeightsError
from clipzoo.paths import cache_dir

_SAFE_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
_PATCH = threading.RLock()
_REVISION = re.compile(r"[0-9a-f]{40}")


@contextmanager
def safetensors_alone() -> Iterator[None]:
    """Inside of the block open_clip downloads through :func:`hub_file`, and takes no pickle from anywhere."""
    from open_clip import factory

    with _PATCH:  # its functions belong to the process
        before = factory.download_pretrained, factory.download_pretrained_from_hf
        factory.download_pretrained, factory.download_pretrained_from_hf = _pretrained, hub_file
        try:
            yield
        finally:
            factory.download_pretrained, factory.download_pretrained_from_hf = before


def hub_file(
    model_id: str, filename: str | None = None, revision: str | None = None, cache_dir: str | None = None
) -> str:
    """The path of a file of a model on the Hugging Face hub, downloaded if it is not in the local cache.

    Weights are taken as safetensors or not at all. The first time, revision and SHA-256 are written to ``weights.json``
    in the cache of clipzoo; from then on that revision is asked for, and other bytes are refused.

    Args:
        model_id: ``organisation/model``, or ``organisation/model@revision``.
        filename: a name in it; by default its weights.
        revision: of it; by default the one that was seen first.
        cache_dir: of the hub's client.

    Raises:
        WeightsError: if there is no such file, there are no safetensors, or they are not those that were seen first.
    """
    import huggingface_hub

    model_id, _, named = model_id.partition("@")
    pins = _pins()
    revision = named or revision or pins.get(model_id, {}).get("revision")
    weights = filename is None or not filename.endswith((".json", ".txt"))
    failures: list[str] = []
    for name in _safe_names(filename) if weights else (str(filename),):
        try:
            path = huggingface_hub.hf_hub_download(model_id, name, revision=revision, cache_dir=cache_dir)
        except Exception as error:  # the client raises errors of many libraries
            failures.append(f"{name}: {' '.join(str(error).split())[:160]}")
            continue
        if weights:
            _hold(model_id, Path(path), pins.get(model_id))
        return str(path)
    raise WeightsError(
        f"{model_id} gives no safetensors" if weights else f"{model_id} gives no {filename}",
        expected="weights as safetensors: pickles from elsewhere are not opened",
        details=failures[:3],
    )


def _pretrained(cfg: dict[str, Any], prefer_hf_hub: bool = True, cache_dir: str | None = None) -> str:
    """What open_clip's function of this name does, for weights on the hub."""
    if cfg and "file" in cfg:
        return cfg["file"]
    place = (cfg or {}).get("hf_hub", "")
    if not place:
        raise WeightsError(
            f"these weights are published as a pickle alone ({(cfg or {}).get('url', 'no address')})",
            expected="safetensors",
            hint="fetch the file yourself, and name it: model=ARCHITECTURE:FILE; nothing in it is executed",
        )
    model_id, filename = os.path.split(place)
    return hub_file(model_id, filename or None, cache_dir=cache_dir)


def _safe_names(filename: str | None) -> tuple[str, ...]:
    own = () if filename is None else (str(Path(filename).with_suffix(".safetensors")),)
    return tuple(dict.fromkeys((*own, *_SAFE_NAMES)))


def _hold(model_id: str, path: Path, pin: dict[str, Any] | None) -> None:
    """Compare with what was seen first, or remember it."""
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    if pin is not None and pin.get("stamp") == stamp and pin.get("path") == str(path):
        return  # hashed before, and untouched
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if pin is not None and pin.get("sha256") != digest:
        raise WeightsError(
            f"the weights of {model_id} are not those that were here first: SHA-256 {digest}, not {pin.get('sha256')}",
            hint=f"if that is meant, remove {model_id} from {_file()}",
        )
    revision = next((part for part in path.parts if _REVISION.fullmatch(part)), None)
    _write({**_pins(), model_id: {"revision": revision, "sha256": digest, "path": str(path), "stamp": stamp}})


def _file() -> Path:
    return cache_dir() / "weights.json"


def _pins() -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{_file()} cannot be read: {error}", hint="delete it to trust the weights anew") from error
    if not isinstance(found, dict) or not all(isinstance(pin, dict) for pin in found.values()):
        raise WeightsError(f"{_file()} holds something else", hint="delete it to trust the weights anew")
    return found


def _write(pins: dict[str, dict[str, Any]]) -> None:
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}.part")
        part.write_text(json.dumps(pins, indent=1) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be written: {error.strerror}", hint="CLIPZOO_CACHE names another folder"
        ) from error
