"""Features of the frames of many videos: decoded ahead, encoded in full batches, computed once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipzoo.data.video_reading import VideoMetadata, open_video, sampled_times
from clipzoo.data.video_sampling import sample_seconds
from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ClipzooError, DataError
from clipzoo_video.clip4clip import EncodedVideos, encode_fitted, fit_frames
from clipzoo_video.datasets import VideoItem

_READERS = 2
_AHEAD = 8


@dataclass(frozen=True)
class FrameCache:
    """Features of frames on disk, under a key that depends on all that determines them.

    Args:
        folder: where; made when the first is written.
    """

    folder: Path

    def key(self, clip: FrozenCLIP, item: VideoItem, n: int, strategy: str) -> str:
        """Of a video: its file (path, size, time of change) or its frames, the sampling, the encoder."""
        if isinstance(item.source, np.ndarray):
            of: object = hashlib.sha256(np.ascontiguousarray(item.source).data).hexdigest()
        else:
            state = item.source.stat()
            of = [str(item.source.resolve()), state.st_size, state.st_mtime_ns, item.until_s]
        content = json.dumps([1, of, n, strategy, clip.fingerprint, clip.preprocess_id, clip.precision])
        return hashlib.sha256(content.encode()).hexdigest()

    def read(self, key: str) -> Tensor | None:
        """The stored features, or None; what is damaged counts as absent."""
        try:
            rows = load_file(self._path(key))["frames"]
        except (OSError, SafetensorError, KeyError):
            return None
        return rows if rows.ndim == 2 and len(rows) and bool(torch.isfinite(rows).all()) else None

    def write(self, key: str, rows: Tensor) -> None:
        """Store features whole or not at all; a cache that cannot be written is no error."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
            os.close(handle)
            save_file({"frames": rows.contiguous()}, name)
            Path(name).replace(path)
        except OSError:
            return

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


@dataclass(frozen=True)
class EncodedItems:
    """Features of the videos that could be read.

    Args:
        videos: padded to the longest.
        rows: their rows among the items that were asked for.
    """

    videos: EncodedVideos
    rows: tuple[int, ...]


def read_item(item: VideoItem, n: int, strategy: str) -> Tensor:
    """At most ``n`` frames of a video, uint8 ``[frames, 3, height, width]``.

    Raises:
        DataError: if it cannot be read.
    """
    if isinstance(item.source, np.ndarray):
        frames = torch.from_numpy(np.ascontiguousarray(item.source)).permute(0, 3, 1, 2)
        if not len(frames):
            raise DataError(f"{item.key} has no frame")
        if len(frames) <= n:
            return frames
        return frames[torch.from_numpy(sample_seconds(len(frames), n).astype(int))]
    with open_video(item.source) as video:
        metadata = video.metadata
        if metadata.backend == "images" and (metadata.frame_count or 0) <= n:
            # A folder holds the frames that somebody chose: all of them, none twice.
            return video.frames_at(np.arange(metadata.frame_count or 0) + 0.0)[0]
        return video.frames_at(sampled_times(shortened(metadata, item.until_s), n, strategy))[0]


def shortened(metadata: VideoMetadata, until_s: float | None) -> VideoMetadata:
    """Metadata of the first ``until_s`` seconds."""
    from dataclasses import replace

    if until_s is None or metadata.duration_s <= until_s:
        return metadata
    return replace(metadata, end_s=metadata.start_s + until_s)


@torch.no_grad()
def encode_items(
    clip: FrozenCLIP,
    items: Sequence[VideoItem],
    n: int = 12,
    strategy: str = "uniform",
    *,
    cache: FrameCache | None = None,
    failed: Callable[[VideoItem, Exception], None] | None = None,
    batch_size: int = 64,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> EncodedItems:
    """Encode ``n`` frames of each video.

    Threads decode and resize the next videos while the encoder works, and the encoder sees full batches whatever the
    number of frames a video has.

    Args:
        clip: the encoder.
        items: videos.
        n: frames of each, at most.
        strategy: see :func:`clipzoo.data.video_sampling.sample_seconds`.
        cache: where features are kept between calls.
        failed: told of each video that cannot be read; without it the first such one is an error.
        batch_size: frames that pass the encoder at once.
        progress: wraps the rows.

    Raises:
        DataError: if no video can be read, or one cannot and nobody wants to be told.
    """
    done: dict[int, Tensor] = {}
    waiting: list[tuple[int, str | None, Tensor]] = []
    repeating = any(isinstance(item.source, np.ndarray) for item in items)

    def flush() -> None:
        if not waiting:
            return
        rows = _encoded(clip, torch.cat([frames for _, _, frames in waiting]), batch_size, repeating)
        for (row, key, _), features in zip(waiting, rows.split([len(frames) for _, _, frames in waiting]), strict=True):
            done[row] = features.clone()
            if cache is not None and key is not None:
                cache.write(key, done[row])
        waiting.clear()

    for row, result in _prepared(clip, items, n, strategy, cache, progress):
        if isinstance(result, ClipzooError):
            if failed is None:
                raise result
            failed(items[row], result)
        elif isinstance(result, Tensor):
            done[row] = result
        else:
            waiting.append((row, *result))
            if sum(len(frames) for _, _, frames in waiting) >= batch_size:
                flush()
    flush()
    if not done:
        raise DataError("no video could be read", expected="at least one")
    rows = sorted(done)
    return EncodedItems(EncodedVideos.padded([done[row] for row in rows]), tuple(rows))


def _encoded(clip: FrozenCLIP, pixels: Tensor, batch_size: int, repeating: bool) -> Tensor:
    """Features of fitted frames, on the CPU; with ``repeating``, frames that are equal pass the encoder once."""
    places = list(range(len(pixels)))
    if repeating:
        # Toy clips stand next to themselves played backwards, and may show two pictures only.
        known: dict[bytes, int] = {}
        places = [known.setdefault(frame.numpy().tobytes(), len(known)) for frame in pixels]
        pixels = pixels[[places.index(place) for place in range(len(known))]]
    return torch.cat([encode_fitted(clip, part).cpu() for part in pixels.split(batch_size)])[places]


def _prepared(
    clip: FrozenCLIP,
    items: Sequence[VideoItem],
    n: int,
    strategy: str,
    cache: FrameCache | None,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> Iterator[tuple[int, Tensor | tuple[str | None, Tensor] | ClipzooError]]:
    """For each row its stored features, or its key and pixels as the encoder takes them, or why there are none."""

    def prepare(item: VideoItem) -> Tensor | tuple[str | None, Tensor] | ClipzooError:
        try:
            key = None if cache is None else cache.key(clip, item, n, strategy)
            found = None if cache is None or key is None else cache.read(key)
            if found is not None:
                return found
            return key, fit_frames(clip, read_item(item, n, strategy))
        except ClipzooError as error:
            return error
        except OSError as error:
            return DataError(f"{item.key} cannot be read: {error.strerror or error}")

    clip.fingerprint  # noqa: B018 - computed once, before several threads want it
    pending: deque[tuple[int, Future[Tensor | tuple[str | None, Tensor] | ClipzooError]]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for row in progress(range(len(items))):
            pending.append((row, pool.submit(prepare, items[row])))
            if len(pending) > _AHEAD:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
