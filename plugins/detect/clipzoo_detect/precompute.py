"""Embeddings of proposals, computed once: what ViLD distils (Gu et al. 2022, section 3.3)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipzoo import Context, Result
from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ClipzooError, ConfigError, DataError
from clipzoo_detect.annotations import DetectionData
from clipzoo_detect.plugin import ViLDSettings
from clipzoo_detect.proposals import Proposer, RPNProposer, proposer
from clipzoo_detect.vild import embed_crops, pixels_of

FORMAT = 1


class EmbeddingCache:
    """Boxes and embeddings of the proposals of every image, memory-mapped: ``[images, proposals, dim]`` in fp16.

    An image counts as done when its byte in ``done.u8`` is set, which happens after its rows are on the disk: a run
    that was killed goes on, and no torn row is ever read.

    Args:
        folder: of the files.
        meta: what determines the content.

    Raises:
        DataError: if the folder holds embeddings of another encoder, other images or other settings.
    """

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        """Open the files; make them where they are absent."""
        self.folder, self.meta = folder, meta
        path = folder / "meta.json"
        if path.exists():
            _check(_read_meta(path), meta, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / ".meta.json.part"
            part.write_text(json.dumps(meta, indent=1), encoding="utf-8")
            part.replace(path)
        images, proposals, dim = meta["images"], meta["proposals"], meta["dim"]
        self.embeddings = _mapped(folder / "embeddings.f16", np.float16, (images, proposals, dim))
        self.boxes = _mapped(folder / "boxes.f32", np.float32, (images, proposals, 4))
        self.counts = _mapped(folder / "counts.i32", np.int32, (images,))
        self.done = _mapped(folder / "done.u8", np.uint8, (images,))

    def write(self, place: int, boxes: Tensor, embeddings: Tensor) -> None:
        """Keep the proposals of an image."""
        count = len(boxes)
        self.boxes[place, :count] = boxes.cpu().numpy()
        self.embeddings[place, :count] = embeddings.cpu().half().numpy()
        self.counts[place] = count
        for rows in (self.boxes, self.embeddings, self.counts):
            rows.flush()
        self.done[place] = 1
        self.done.flush()

    def read(self, place: int) -> tuple[Tensor, Tensor]:
        """Boxes and embeddings of an image, those of one that could not be read are none."""
        count = int(self.counts[place])
        boxes = torch.from_numpy(np.array(self.boxes[place, :count]))
        return boxes, torch.from_numpy(np.array(self.embeddings[place, :count])).float()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(rows.nbytes for rows in (self.embeddings, self.boxes, self.counts, self.done))


def open_embeddings(folder: str | Path, clip: FrozenCLIP, keys: Sequence[str]) -> EmbeddingCache:
    """The finished embeddings in a folder, for these images.

    Raises:
        DataError: if they are absent, unfinished, of another encoder or of other images.
    """
    folder = Path(folder).expanduser()
    path = folder / "meta.json"
    if not path.exists():
        raise DataError(
            f"{folder} holds no embeddings", expected="a folder that precompute wrote", hint="stage=precompute"
        )
    meta = _read_meta(path)
    wanted = {**meta, "fingerprint": clip.fingerprint, "encoder": clip.name, "keys": _digest(keys), "images": len(keys)}
    cache = EmbeddingCache(folder, wanted)
    open_places = int((cache.done == 0).sum())
    if open_places:
        raise DataError(
            f"{open_places} of {len(keys)} images in {folder} have no embeddings yet",
            expected="a finished precompute",
            hint=f"stage=precompute embeddings={folder} goes on where it stopped",
        )
    return cache


def embedding_meta(clip: FrozenCLIP, keys: Sequence[str], proposals: int, source: str, fit: str) -> dict[str, Any]:
    """What determines the content of a cache."""
    return {
        "format": FORMAT,
        "encoder": clip.name,
        "fingerprint": clip.fingerprint,
        "dim": clip.embed_dim,
        "images": len(keys),
        "proposals": proposals,
        "keys": _digest(keys),
        "source": source,
        "fit": fit,
        "context": [1.0, 1.5],
    }


def precompute_run(settings: ViLDSettings, context: Context, data: DetectionData) -> Result:
    """Embed the proposals of every training image; what is done already is passed over."""
    if settings.embeddings is None:
        raise ConfigError("embeddings names no folder", expected="where to keep them", hint="embeddings=FOLDER")
    clip = context.clip
    keys = [image.key for image in data.images]
    source = _source(settings, context)
    name = settings.weights or settings.proposer
    meta = embedding_meta(clip, keys, settings.proposals, name, settings.fit)
    cache = EmbeddingCache(Path(settings.embeddings).expanduser(), meta)
    pending = [place for place in range(len(keys)) if not cache.done[place]]
    already = len(keys) - len(pending)
    started = time.perf_counter()
    failed = 0
    for place in context.progress(pending, total=len(pending), label="precompute"):
        try:
            pixels = pixels_of(data.images[place].read()).to(context.device)
        except ClipzooError as error:
            context.failed(keys[place], error)
            cache.write(place, torch.zeros(0, 4), torch.zeros(0, clip.embed_dim))
            failed += 1
            continue
        proposed = source(pixels).first(settings.proposals)
        boxes = proposed.boxes.to(context.device)
        rows = embed_crops(clip, pixels, boxes, fit=settings.fit, batch_size=settings.batch_size)  # type: ignore[arg-type]
        cache.write(place, boxes, rows)
    took = time.perf_counter() - started
    done = len(pending) - failed
    metrics = {"images": len(keys), "already_done": already, "proposals_an_image": float(cache.counts.mean())}
    metrics["megabytes"] = round(cache.bytes / 1e6, 1)
    if done:
        metrics["seconds_an_image"] = round(took / done, 4)
    return Result(metrics, protocol={name: value for name, value in meta.items() if name != "keys"})


def _source(settings: ViLDSettings, context: Context) -> Proposer:
    if settings.weights is None:
        return proposer(settings.proposer, context.device)
    from clipzoo_detect.network import load_network

    network, _ = load_network(settings.weights)
    return RPNProposer(network.to(context.device), settings.proposals)


def _digest(keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content
    except (OSError, ValueError, AssertionError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="delete the folder, and precompute again") from error


def _check(stored: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    if stored.get("fingerprint") != wanted["fingerprint"]:
        raise DataError(
            f"the embeddings in {folder} are those of {stored.get('encoder')} ({stored.get('fingerprint')}), "
            f"not of {wanted['encoder']} ({wanted['fingerprint']})",
            expected="embeddings of the same encoder",
            hint=f"model={stored.get('encoder')}, or another folder",
        )
    for name, value in wanted.items():
        if stored.get(name) != value:
            what = "other images" if name in ("keys", "images") else f"{name} {stored.get(name)}, not {value}"
            raise DataError(f"the embeddings in {folder} were made with {what}", hint="another folder")


def _mapped(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    mode = "r+" if path.exists() and path.stat().st_size == size else "w+"
    if mode == "w+" and path.exists():
        raise DataError(f"{path} has {path.stat().st_size:,} bytes", expected=f"{size:,}", hint="delete the folder")
    return np.memmap(path, dtype=kind, mode=mode, shape=shape)
