"""Videos with sentences: the published files of five datasets, a CSV, a folder, and the toy clips."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipzoo.data.video_reading import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from clipzoo.errors import DataError, closest_matches
from clipzoo_video.word_lists import read_word_lists

DIDEMO_SECONDS = 31.0
"""Descriptions of DiDeMo are of the first half minute; of longer videos the rest is not looked at."""

_PREFERRED = (*VIDEO_SUFFIXES, ".gif")
_MOST_ROWS = 10_000_000


@dataclass(frozen=True, eq=False)
class VideoItem:
    """A video that can be read.

    Args:
        key: its name in the dataset.
        source: a file, a folder of frames, or the frames themselves, uint8 ``[frames, height, width, 3]``.
        until_s: look no further than so many seconds.
    """

    key: str
    source: Path | np.ndarray
    until_s: float | None = None


@dataclass(frozen=True)
class VideoDataset:
    """Videos and the sentences that belong to them.

    Args:
        name: of the dataset.
        split: which part.
        items: videos, each of which has a sentence.
        sentences: all sentences.
        owner: the row of each sentence's video.
        notes: what was left out, and why.
        missing: captioned videos without a file.
    """

    name: str
    split: str
    items: tuple[VideoItem, ...]
    sentences: tuple[str, ...]
    owner: tuple[int, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many videos."""
        return len(self.items)

    @property
    def several(self) -> bool:
        """Whether a video has several sentences."""
        return len(self.sentences) > len(self.items)

    def chosen(self, rows: Sequence[int]) -> VideoDataset:
        """The videos ``rows`` with their sentences."""
        place = {row: new for new, row in enumerate(rows)}
        kept = [number for number, row in enumerate(self.owner) if row in place]
        return replace(
            self,
            items=tuple(self.items[row] for row in rows),
            sentences=tuple(self.sentences[number] for number in kept),
            owner=tuple(place[self.owner[number]] for number in kept),
        )


def open_clips(_: Path | None, split: str = "test", count: int = 60, frames: int = 8, **_options: Any) -> VideoDataset:
    """The toy clips: each with its caption, and the same clip backwards with the opposite caption."""
    from clipzoo.data.toy_clips import clip_dataset

    seeds = {"train": 1, "test": 2, "val": 3}
    _check_split("clips", split, seeds)
    clips = clip_dataset(count, seeds[split], frames)
    items = tuple(VideoItem(f"{split}-{number:05d}", clip.frames) for number, clip in enumerate(clips))
    return VideoDataset("clips", split, items, tuple(clip.caption for clip in clips), tuple(range(len(clips))))


def open_msrvtt(folder: Path, split: str = "test", **_options: Any) -> VideoDataset:
    """MSR-VTT: ``test`` is 1k-A (``MSRVTT_JSFUSION_test*.csv``); ``train-9k`` and ``train-7k`` are CSV and JSON."""
    if split == "test":
        path = _one_file(folder, "MSRVTT_JSFUSION_test*.csv")
        rows = _csv_rows(path, ("video_id", "sentence"))
        _refuse_repeated([row["video_id"] for row in rows], path)
        return _assemble("msrvtt", split, folder, [(row["video_id"], row["sentence"]) for row in rows])
    chosen = {"train": "9k", "train-9k": "9k", "train-7k": "7k"}
    _check_split("msrvtt", split, {"test": "", **chosen})
    path = _one_file(folder, f"MSRVTT_train.{chosen[split]}.csv")
    wanted = [row["video_id"] for row in _csv_rows(path, ("video_id",))]
    _refuse_repeated(wanted, path)
    table = _json(_one_file(folder, "MSRVTT_data.json"))
    known = set(wanted)
    try:
        pairs = [(str(row["video_id"]), str(row["caption"])) for row in table["sentences"] if row["video_id"] in known]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"MSRVTT_data.json in {folder} has no list of sentences", expected='"sentences": [{"video_id", "caption"}]'
        ) from error
    return _assemble("msrvtt", split, folder, pairs, wanted)


def open_msvd(folder: Path, split: str = "test", **_options: Any) -> VideoDataset:
    """MSVD: ``train_list.txt``, ``val_list.txt``, ``test_list.txt`` and ``raw-captions.pkl`` (or ``.json``)."""
    _check_split("msvd", split, ("train", "val", "test"))
    wanted = _lines(_one_file(folder, f"{split}_list.txt"))
    _refuse_repeated(wanted, folder / f"{split}_list.txt")
    plain = sorted(folder.rglob("raw-captions.json"))
    if plain:
        captions = _shaped(
            plain[0],
            lambda stored: {
                str(key): [" ".join(map(str, words)) if isinstance(words, list) else str(words) for words in rows]
                for key, rows in stored.items()
            },
            "{video: [sentence, ...]}",
        )
    else:
        captions = read_word_lists(_one_file(folder, "raw-captions.pkl"))
    return _assemble("msvd", split, folder, [(key, text) for key in wanted for text in captions.get(key, ())], wanted)


def open_lsmdc(folder: Path, split: str = "test", **_options: Any) -> VideoDataset:
    """LSMDC: six fields parted by tabs: clip, four times, sentence."""
    names = {
        "train": "LSMDC16_annos_training.csv",
        "val": "LSMDC16_annos_val.csv",
        "test": "LSMDC16_challenge_1000_publictect.csv",
    }
    _check_split("lsmdc", split, names)
    path = _one_file(folder, names[split])
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        if len(fields) != 6:
            raise DataError(f"line {number} of {path} has {len(fields)} fields", expected="6, parted by tabs")
        pairs.append((fields[0], fields[5]))
    return _assemble("lsmdc", split, folder, pairs)


def open_didemo(folder: Path, split: str = "test", **_options: Any) -> VideoDataset:
    """DiDeMo: ``*_list.txt`` and ``*_data.json``; the descriptions of a video are joined to one paragraph."""
    _check_split("didemo", split, ("train", "val", "test"))
    wanted = _lines(_one_file(folder, f"{split}_list.txt"))
    told: dict[str, list[str]] = {}
    path = _one_file(folder, f"{split}_data.json")
    for key, sentence in _shaped(
        path, lambda stored: [(str(row["video"]), str(row["description"])) for row in stored], _DIDEMO_ROWS
    ):
        told.setdefault(key, []).append(sentence)
    pairs = [(key, " ".join(told[key])) for key in wanted if key in told]
    return _assemble("didemo", split, folder, pairs, wanted, until_s=DIDEMO_SECONDS)


def open_activitynet(folder: Path, split: str = "test", **_options: Any) -> VideoDataset:
    """ActivityNet Captions: ``train_ids.json`` with ``train.json``; ``val_ids.json`` with ``val_1.json`` to test."""
    names = {"train": ("train_ids.json", "train.json"), "test": ("val_ids.json", "val_1.json")}
    _check_split("activitynet", split, names)
    ids, table = (_one_file(folder, name) for name in names[split])
    found = _shaped(ids, lambda stored: [str(key) for key in stored], "a list of names")
    wanted = [key if key.startswith("v_") else f"v_{key}" for key in found]
    told = _shaped(
        table,
        lambda stored: {
            key: " ".join(str(p).strip() for p in stored[key]["sentences"]) for key in wanted if key in stored
        },
        '{name: {"sentences": [...]}}',
    )
    pairs = list(told.items())
    return _assemble("activitynet", split, folder, pairs, wanted)


def open_path(path: Path, split: str = "test", **options: Any) -> VideoDataset:
    """Videos of your own: a CSV of ``video,caption``, or a folder.

    A folder may hold the published files of a dataset, a ``captions.csv``, or beside each video a text file of the same
    name with a sentence a line.

    Raises:
        DataError: if there are no captions: a folder without them can be searched, not evaluated.
    """
    if path.is_file():
        if path.suffix.lower() not in (".csv", ".tsv"):
            raise DataError(
                f"{path} is no list of videos with captions",
                expected="a CSV with the columns video, caption",
                hint=_SEARCH,
            )
        return _open_csv(path, split)
    for marker, opener in _MARKERS.items():
        if next(iter(path.glob(marker)), None) is not None:
            return opener(path, split, **options)
    if (path / "captions.csv").is_file():
        return _open_csv(path / "captions.csv", split)
    pairs = []
    for key, file in find_videos(path).items():
        beside = file.with_suffix(".txt") if file.is_file() else file.with_name(f"{file.name}.txt")
        if beside.is_file():
            pairs += [(key, line) for line in _lines(beside)]
    if not pairs:
        raise DataError(
            f"the videos in {path} have no captions",
            expected="captions.csv (video,caption), or NAME.txt beside each video",
            hint=_SEARCH,
        )
    return _assemble(path.name, split, path, pairs)


_SEARCH = 'clipzoo run clip4clip --input FOLDER query="what to look for" searches videos without captions'
_MARKERS = {
    "MSRVTT_*": open_msrvtt,
    "raw-captions.*": open_msvd,
    "LSMDC16_*": open_lsmdc,
    "*_data.json": open_didemo,
    "val_1.json": open_activitynet,
}


def find_videos(folder: Path) -> dict[str, Path]:
    """Video files and folders of frames under ``folder``, by path without ending, in the order of their names.

    Links to folders are followed, each folder once. Of the same name with several endings the first of mp4, webm, ...
    is taken.
    """
    found: dict[str, Path] = {}
    entered = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        place = Path(here)
        own = os.path.realpath(here)
        if own in entered:  # a link to where we were
            folders.clear()
            continue
        entered.add(own)
        folders.sort()
        if place != folder and any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files):
            found[str(place.relative_to(folder))] = place
            continue
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if suffix not in _PREFERRED or name.startswith("."):
                continue
            key = str((place / name).relative_to(folder).with_suffix(""))
            old = found.get(key)
            if old is None or (old.is_file() and _PREFERRED.index(suffix) < _PREFERRED.index(old.suffix.lower())):
                found[key] = place / name
    return dict(sorted(found.items()))


def _open_csv(path: Path, split: str) -> VideoDataset:
    rows = _csv_rows(path, ("video", "caption"))
    if any("split" in row for row in rows):
        splits = sorted({row.get("split") or "" for row in rows})
        _check_split(path.name, split, splits)
        rows = [row for row in rows if row.get("split") == split]
    return _assemble(path.stem, split, path.parent, [(row["video"], row["caption"]) for row in rows])


def _assemble(
    name: str,
    split: str,
    folder: Path,
    pairs: Iterable[tuple[str, str]],
    wanted: Sequence[str] = (),
    *,
    until_s: float | None = None,
) -> VideoDataset:
    """Bring captions and files together; what has no partner is counted, named, and left out."""
    captions: dict[str, list[str]] = {key: [] for key in wanted}
    empty, repeated = 0, 0
    for key, sentence in pairs:
        captions.setdefault(key, [])
        sentence = " ".join(sentence.split())
        if not sentence:
            empty += 1
        elif sentence in captions[key]:
            repeated += 1
        else:
            captions[key].append(sentence)
    silent = [key for key, sentences in captions.items() if not sentences]
    files = _by_name(find_videos(folder), folder)
    missing = [key for key, sentences in captions.items() if sentences and _path_of(key, files) is None]
    lost = set(missing) | set(silent)
    kept = [key for key in captions if key not in lost]
    notes = []
    if missing:
        notes.append(f"{len(missing)} captioned videos have no file: {_some(missing)}")
    if silent:
        notes.append(f"{len(silent)} videos have no caption: {_some(silent)}")
    if empty:
        notes.append(f"{empty} captions are empty")
    if repeated:
        notes.append(f"{repeated} captions are given twice to the same video, and count once")
    if not kept:
        raise DataError(
            f"{name}, split {split}: no captioned video is in {folder}",
            details=notes,
            expected="NAME.mp4, or a folder NAME of frames",
        )
    items = tuple(VideoItem(key, _path_of(key, files), until_s) for key in kept)  # type: ignore[arg-type]
    sentences = [(row, sentence) for row, key in enumerate(kept) for sentence in captions[key]]
    return VideoDataset(
        name,
        split,
        items,
        tuple(sentence for _, sentence in sentences),
        tuple(row for row, _ in sentences),
        tuple(notes),
        tuple(missing),
    )


def _by_name(videos: Mapping[str, Path], folder: Path) -> dict[str, list[Path]]:
    """Files under every name that a list may call them by: path, file name, stem."""
    found: dict[str, list[Path]] = {}
    for key, path in videos.items():
        for name in {key, str(path.relative_to(folder)), path.name, Path(path.name).stem}:
            found.setdefault(name, []).append(path)
    return found


def _path_of(key: str, files: Mapping[str, list[Path]]) -> Path | None:
    """The file called ``key``.

    Raises:
        DataError: if there are two.
    """
    candidates = files.get(key) or files.get(Path(key).stem) or []
    if len(candidates) > 1:
        raise DataError(
            f'two videos are called "{key}": {candidates[0]} and {candidates[1]}', expected="one name for one video"
        )
    return candidates[0] if candidates else None


def _refuse_repeated(keys: Sequence[str], path: Path) -> None:
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise DataError(f"{path} names {len(twice)} videos twice: {_some(twice)}", expected="each video once")


def _one_file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.rglob(pattern))
    if not found:
        near = closest_matches(pattern, [file.name for file in folder.iterdir()])
        raise DataError(f"there is no {pattern} in {folder}", closest=near)
    return found[0]


def _csv_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column {', '.join(missing)}: {', '.join(reader.fieldnames or ()) or 'it is empty'}",
                    expected=", ".join(columns),
                )
            rows = []
            for number, row in enumerate(reader, start=2):
                if any(row[column] is None for column in columns):
                    raise DataError(f"line {number} of {path} is too short", expected=", ".join(columns))
                rows.append(row)
                if len(rows) > _MOST_ROWS:
                    raise DataError(f"{path} has more than {_MOST_ROWS:,} lines")
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {' '.join(str(error).split())[:200]}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {' '.join(str(error).split())[:200]}") from error


_DIDEMO_ROWS = '[{"video", "description"}, ...]'


def _shaped(path: Path, arrange: Callable[[Any], Any], expected: str) -> Any:
    """What ``arrange`` makes of a JSON file, whose shape is that of ``expected`` or refused."""
    stored = _json(path)
    try:
        return arrange(stored)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path} has another structure: {type(error).__name__}: {error}"[:300], expected=expected
        ) from error


def _lines(path: Path) -> list[str]:
    try:
        return [line.rstrip("\r") for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _check_split(name: str, split: str, splits: Iterable[str]) -> None:
    known = list(splits)
    if split not in known:
        raise DataError(
            f'{name} has no split "{split}"', closest=closest_matches(split, known), expected=", ".join(known)
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
