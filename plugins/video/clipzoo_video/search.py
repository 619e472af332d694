"""Search in a folder of videos: indexed once, asked with a sentence or an image, answered with moments."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipzoo.data.video_reading import open_video
from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import ClipzooError, ConfigError, DataError
from clipzoo_video.clip4clip import CLIP4Clip, EncodedVideos, encode_fitted, fit_frames, sentence_features

_LAYOUT = 1
_AT_ONCE = 64
_LEAST_SPREAD = 0.01
"""Of cosines: where nearly all frames score alike, noise must not look like an answer."""
_NEUTRAL = tuple(
    f"{kind} of {what}"
    for kind in ("a photo", "an image", "a picture", "a video", "a frame", "a view", "a close-up")
    for what in ("something", "a thing", "a place")
)


@dataclass(frozen=True)
class Moment:
    """An answer: a stretch of a video.

    Args:
        video: its key: the path in the folder, without ending.
        path: the file.
        start_s: where it begins.
        end_s: where it ends.
        best_s: presentation time of the frame that fits best.
        score: cosine of that frame with the query.
        z: how far that is above what the frames of the library score for this query, in robust deviations.
        relevant: whether it stands out; see :meth:`VideoIndex.query`.
    """

    video: str
    path: Path
    start_s: float
    end_s: float
    best_s: float
    score: float
    z: float
    relevant: bool


@dataclass
class IndexChange:
    """What an update did, by key."""

    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    """Frames that were decoded and encoded."""


@dataclass(frozen=True)
class _Indexed:
    """What is stored of a video."""

    key: str
    path: Path
    frames: Tensor
    times: np.ndarray
    spans: np.ndarray
    windows: Tensor
    window_spans: np.ndarray


class VideoIndex:
    """Features of the frames of videos, and of windows of several seconds, on disk: one file a video.

    Frames that look like the one before are not stored again, but the stored one covers their time.

    Args:
        folder: of the index; made if it is not there.
        clip: the encoder; an index belongs to one.
        per_second: frames looked at, a second.
        window_s: length of a window; they overlap by half.
        same: cosine above which a frame counts as equal to the one before.

    Raises:
        ConfigError: if a number is out of its range.
    """

    def __init__(
        self,
        folder: str | Path,
        clip: FrozenCLIP,
        *,
        per_second: float = 2.0,
        window_s: float = 4.0,
        same: float = 0.98,
    ) -> None:
        """Look at nothing yet."""
        if per_second <= 0 or window_s <= 0 or not 0 < same <= 1:
            raise ConfigError(
                f"per_second={per_second}, window_s={window_s}, same={same}", expected="above zero, and same at most 1"
            )
        self.folder = Path(folder).expanduser()
        self.clip = clip
        self.per_second, self.window_s, self.same = per_second, window_s, same
        self._loaded: list[_Indexed] | None = None

    def update(
        self,
        videos: Mapping[str, Path],
        *,
        failed: Callable[[str, Exception], None] | None = None,
        progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    ) -> IndexChange:
        """Index what is new or has changed, forget what is gone; what is unchanged is not read.

        Args:
            videos: key to file; see :func:`clipzoo_video.datasets.find_videos`.
            failed: told of each video that cannot be read; what was stored of it before is forgotten.
            progress: wraps the keys.
        """
        change = IndexChange()
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = {self._path(key).name for key in videos}
        for file in sorted(self.folder.glob("*.safetensors")):
            if file.name not in wanted:
                change.removed.append(str(_header(file).get("key", file.stem)))
                file.unlink(missing_ok=True)
        for key in progress(list(videos)):
            path, file = videos[key], self._path(key)
            if _header(file) == self._state(key, path):
                change.kept.append(key)
                continue
            try:
                stored, count = self._encoded(path)
            except ClipzooError as error:
                file.unlink(missing_ok=True)
                change.failed[key] = error.what
                if failed is not None:
                    failed(key, error)
                continue
            _write_whole(file, save(stored, {"about": json.dumps(self._state(key, path))}))
            change.added.append(key)
            change.frames += count
        self._loaded = None
        return change

    def query_row(self, text: str = "", image: str | Path | None = None) -> Float[Tensor, " dim"]:
        """The unit row that is looked for: of a sentence, of an image, or the normalised sum of both.

        Raises:
            DataError: if neither is given, or the image cannot be read.
        """
        rows = []
        if text.strip():
            rows.append(self.clip.encode_text([text])[0].detach())
        if image is not None:
            from clipzoo.images.reading import read_pixels

            pixels = torch.from_numpy(np.array(read_pixels(image))).permute(2, 0, 1)[None].float() / 255
            with torch.no_grad():
                rows.append(self.clip.encode_image(pixels)[0])
        if not rows:
            raise DataError("the query is empty", expected="a sentence, or an image")
        return F.normalize(torch.stack(rows).sum(0), dim=0)

    def query(
        self, row: Float[Tensor, " dim"], *, top: int = 10, least_z: float = 3.0, gap_s: float = 1.0
    ) -> list[Moment]:
        """Moments that fit best, best first.

        There is no threshold on cosines, whose level differs from query to query. A moment is relevant if its best
        frame stands ``least_z`` robust deviations (1.4826 times the median distance from the median) above what the
        frames of the library score for this query, is at least half as far above it as the best one, and scores
        higher than neutral sentences ("a photo of something", ...) do on that frame.

        Args:
            row: from :meth:`query_row`.
            top: at most so many.
            least_z: see above.
            gap_s: neighbouring moments closer than this are one.

        Raises:
            DataError: if the index is empty.
        """
        indexed = self._load()
        if not indexed:
            raise DataError(f"the index in {self.folder} is empty", expected="videos", hint="update() it first")
        row = row.to("cpu", torch.float32)
        scores = [F.normalize(video.frames.float(), dim=-1) @ row for video in indexed]
        # Each stored frame counts as often as it was seen: a still scene is one row, and most of a library.
        weights = [np.maximum(np.diff(video.spans, axis=1)[:, 0], 1e-3) for video in indexed]
        every, weight = torch.cat(scores).numpy().astype(np.float64), np.concatenate(weights)
        middle = _weighted_median(every, weight)
        spread = max(1.4826 * _weighted_median(np.abs(every - middle), weight), _LEAST_SPREAD)
        peak = float(every.max())
        found = []
        for video, own in zip(indexed, scores, strict=True):
            for span, best in _stretches(own.numpy(), video.spans, middle, gap_s):
                score = float(own[best])
                z = (score - middle) / spread
                stands_out = z >= least_z and score - middle >= 0.5 * (peak - middle)
                found.append((score, video, span, best, z, stands_out))
        found.sort(key=lambda entry: -entry[0])
        return [
            Moment(
                video.key,
                video.path,
                float(span[0]),
                float(span[1]),
                float(video.times[best]),
                score,
                z,
                bool(stands_out and self._beats_neutral(video.frames[best], score)),
            )
            for score, video, span, best, z, stands_out in found[:top]
        ]

    def query_windows(self, row: Float[Tensor, " dim"], *, top: int = 10) -> list[Moment]:
        """Windows of :attr:`window_s` seconds by the cosine of their mean frame: for what no single frame shows."""
        indexed = self._load()
        row = row.to("cpu", torch.float32)
        found = []
        for video in indexed:
            own = F.normalize(video.windows.float(), dim=-1) @ row
            found += [(float(score), video, place) for place, score in enumerate(own)]
        if not found:
            raise DataError(f"the index in {self.folder} is empty", expected="videos", hint="update() it first")
        every = np.array([score for score, _, _ in found])
        middle = float(np.median(every))
        spread = max(1.4826 * float(np.median(np.abs(every - middle))), _LEAST_SPREAD)
        found.sort(key=lambda entry: -entry[0])
        moments = []
        for score, video, place in found[:top]:
            start, end = video.window_spans[place]
            z = (score - middle) / spread
            moments.append(
                Moment(video.key, video.path, float(start), float(end), float((start + end) / 2), score, z, z >= 3.0)
            )
        return moments

    def rerank(self, model: CLIP4Clip, sentence: str, moments: Sequence[Moment], frames: int = 12) -> list[Moment]:
        """The same moments in the order of a trained head, which sees the frames of each together.

        Args:
            model: for example tightTransf, which is too slow to look at everything.
            sentence: what is looked for.
            moments: from :meth:`query`.
            frames: at most so many stored frames of each.
        """
        if not moments:
            return []
        by_key = {video.key: video for video in self._load()}
        clips = []
        for moment in moments:
            video = by_key[moment.video]
            inside = np.flatnonzero((video.spans[:, 1] > moment.start_s) & (video.spans[:, 0] < moment.end_s))
            if len(inside) > frames:
                inside = inside[np.linspace(0, len(inside) - 1, frames).astype(int)]
            clips.append(video.frames[torch.from_numpy(inside)].float().to(model.clip.device))
        with torch.no_grad():
            scores = model.similarity(sentence_features(model.clip, [sentence]), EncodedVideos.padded(clips))[0]
        return [moments[place] for place in scores.argsort(descending=True, stable=True).tolist()]

    def _beats_neutral(self, frame: Tensor, score: float) -> bool:
        if self.clip.known_tokens is not None:
            return True  # an encoder of few words has never met most of the neutral ones
        if not hasattr(self, "_neutral"):
            with torch.no_grad():
                self._neutral = self.clip.encode_text(list(_NEUTRAL)).cpu()
        null = self._neutral @ F.normalize(frame.float(), dim=0)
        return score > float(torch.quantile(null, 0.95))

    def _state(self, key: str, path: Path) -> dict[str, Any]:
        """All that what is stored of a video depends on."""
        state = path.stat()
        size, changed = state.st_size, state.st_mtime_ns
        if path.is_dir():
            files = sorted(path.iterdir())
            size = sum(file.stat().st_size for file in files)
            changed = max([file.stat().st_mtime_ns for file in files], default=changed)
        return {
            "layout": _LAYOUT,
            "key": key,
            "path": str(path.resolve()),
            "bytes": size,
            "changed_ns": changed,
            "encoder": self.clip.fingerprint,
            "pixels": self.clip.preprocess_id,
            "precision": self.clip.precision,
            "per_second": self.per_second,
            "window_s": self.window_s,
            "same": self.same,
        }

    @torch.no_grad()
    def _encoded(self, path: Path) -> tuple[dict[str, Tensor], int]:
        """Rows of a video; whatever its length, only a few frames are in memory."""
        kept = _Kept(self.same, self.window_s / 2)
        with open_video(path) as video:
            metadata = video.metadata
            per_second = self.per_second
            if metadata.backend == "images":
                per_second = metadata.average_fps or 1.0
            count = max(1, int(np.ceil(metadata.duration_s * per_second - 1e-9)))
            seconds = metadata.start_s + (np.arange(count) + 0.5) / per_second
            seconds = seconds[seconds < metadata.end_s]
            if not len(seconds):
                seconds = np.array([metadata.start_s + metadata.duration_s / 2])
            edges = np.append(metadata.start_s + np.arange(len(seconds)) / per_second, metadata.end_s)
            waiting: list[Tensor] = []
            shown: list[float] = []
            for number, (picture, pts_s) in enumerate(video.frames(seconds), start=1):
                waiting.append(fit_frames(self.clip, torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]))
                shown.append(pts_s)
                if len(waiting) == _AT_ONCE or number == len(seconds):
                    rows = encode_fitted(self.clip, torch.cat(waiting)).cpu()
                    first = number - len(waiting)
                    for place, features in enumerate(rows):
                        kept.add(features, shown[place], edges[first + place], edges[first + place + 1])
                    waiting, shown = [], []
        return kept.stored(), len(seconds)

    def _load(self) -> list[_Indexed]:
        if self._loaded is None:
            self._loaded = []
            for file in sorted(self.folder.glob("*.safetensors")):
                about = _header(file)
                if about.get("encoder") == self.clip.fingerprint and about.get("layout") == _LAYOUT:
                    self._loaded.append(_indexed(file, about, self.clip.embed_dim))
        return self._loaded

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


class _Kept:
    """Rows as they arrive: alike neighbours joined, and sums for windows."""

    def __init__(self, same: float, stride_s: float) -> None:
        self.same, self.stride_s = same, stride_s
        self.rows: list[Tensor] = []
        self.times: list[float] = []
        self.spans: list[list[float]] = []
        self.sums: list[Tensor] = []
        self.sum_spans: list[list[float]] = []

    def add(self, features: Tensor, pts_s: float, start_s: float, end_s: float) -> None:
        unit = F.normalize(features, dim=0)
        if self.rows and float(unit @ F.normalize(self.rows[-1], dim=0)) > self.same:
            self.spans[-1][1] = end_s
        else:
            self.rows.append(features)
            self.times.append(pts_s)
            self.spans.append([start_s, end_s])
        if self.sums and start_s < self.sum_spans[-1][0] + self.stride_s - 1e-9:
            self.sums[-1] += unit
            self.sum_spans[-1][1] = end_s
        else:
            self.sums.append(unit.clone())
            self.sum_spans.append([start_s, end_s])

    def stored(self) -> dict[str, Tensor]:
        pairs = range(max(1, len(self.sums) - 1))
        last = len(self.sums) - 1
        windows = [self.sums[row] + (self.sums[row + 1] if row < last else 0) for row in pairs]
        spans = [[self.sum_spans[row][0], self.sum_spans[min(row + 1, last)][1]] for row in pairs]
        return {
            "frames": torch.stack(self.rows).half(),
            "times": torch.tensor(self.times, dtype=torch.float64),
            "spans": torch.tensor(self.spans, dtype=torch.float64),
            "windows": F.normalize(torch.stack(windows), dim=-1).half(),
            "window_spans": torch.tensor(spans, dtype=torch.float64),
        }


def _stretches(
    scores: np.ndarray, spans: np.ndarray, middle: float, gap_s: float
) -> list[tuple[tuple[float, float], int]]:
    """Stretches of a video around its peaks, each with the row of its peak.

    A stretch holds the frames at least half as far above the middle of the library as its own peak; what is left
    outside may have peaks of its own.
    """
    free = np.ones(len(scores), dtype=bool)
    found = []
    while free.any():
        best = int(np.where(free, scores, -np.inf).argmax())
        level = middle + 0.5 * (scores[best] - middle)
        if scores[best] <= middle:
            if not found:
                found.append(((float(spans[best, 0]), float(spans[best, 1])), best))
            break
        first = last = best
        for step, edge in ((-1, -1), (1, len(scores))):
            at = best
            for place in range(best + step, edge, step):
                apart = spans[at, 0] - spans[place, 1] if step < 0 else spans[place, 0] - spans[at, 1]
                if not free[place] or apart > gap_s:
                    break
                if scores[place] >= level:
                    at = place
            first, last = (at, last) if step < 0 else (first, at)
        free[first : last + 1] = False
        found.append(((float(spans[first, 0]), float(spans[last, 1])), best))
    return found


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _indexed(file: Path, about: Mapping[str, Any], dim: int) -> _Indexed:
    """What a file of the index holds.

    Raises:
        DataError: if it is damaged.
    """
    try:
        with safe_open(str(file), "pt") as stored:
            part = {name: stored.get_tensor(name) for name in stored.keys()}
        frames, windows = len(part["frames"]), len(part["windows"])
        shapes = {"frames": (frames, dim), "times": (frames,), "spans": (frames, 2)}
        shapes |= {"windows": (windows, dim), "window_spans": (windows, 2)}
        wrong = [name for name, shape in shapes.items() if part[name].shape != shape]
        if wrong or not frames or not windows:
            raise ValueError(f"the shape of {', '.join(wrong) or 'frames'}")
        times, spans, window_spans = (part[name].double().numpy() for name in ("times", "spans", "window_spans"))
        return _Indexed(about["key"], Path(about["path"]), part["frames"], times, spans, part["windows"], window_spans)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{file} is damaged: {type(error).__name__}: {error}", hint="delete it: update() makes it again"
        ) from error


def _header(file: Path) -> dict[str, Any]:
    """What a stored file says of itself; a damaged one says nothing, and is made again."""
    try:
        with safe_open(str(file), "pt") as stored:
            about = json.loads((stored.metadata() or {}).get("about", "{}"))
        return about if isinstance(about, dict) else {}
    except (OSError, SafetensorError, ValueError):
        return {}


def _write_whole(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).replace(path)
