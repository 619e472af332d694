"""The published files of five datasets, a CSV, a folder; and what is wrong with them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from clipzoo_video.datasets import (
    DIDEMO_SECONDS,
    find_videos,
    open_activitynet,
    open_clips,
    open_didemo,
    open_lsmdc,
    open_msrvtt,
    open_msvd,
    open_path,
)
from clipzoo_video.word_lists import read_word_lists

from clipzoo.errors import DataError


def with_videos(folder: Path, *names: str) -> Path:
    """Files with the endings of videos: nothing here opens them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    return folder


def told(data) -> list[tuple[str, str]]:
    return [(data.items[row].key, text) for row, text in zip(data.owner, data.sentences, strict=True)]


@pytest.fixture
def msrvtt(tmp_path) -> Path:
    with_videos(tmp_path, "videos/video1.mp4", "videos/video2.webm", "videos/video3.mp4", "videos/video3.webm")
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\nret0,msr1,video1,a man sings\nret1,msr2,video2,a  dog runs\n"
    )
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo2\nvideo3\n")
    (tmp_path / "MSRVTT_train.7k.csv").write_text("video_id\nvideo3\n")
    sentences = [{"video_id": key, "caption": f"{key} {n}"} for key in ("video1", "video2", "video3") for n in range(2)]
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"videos": [], "sentences": sentences}))
    return tmp_path


def test_msrvtt(msrvtt):
    test = open_msrvtt(msrvtt)
    assert told(test) == [("video1", "a man sings"), ("video2", "a dog runs")]
    assert [item.source.name for item in test.items] == ["video1.mp4", "video2.webm"]
    assert not test.several
    train = open_msrvtt(msrvtt, "train-9k")
    assert told(train) == [(key, f"{key} {n}") for key in ("video2", "video3") for n in range(2)]
    assert train.items[1].source.name == "video3.mp4"
    assert train.several
    assert len(open_msrvtt(msrvtt, "train-7k")) == 1
    with pytest.raises(DataError, match="did you mean: train-9k"):
        open_msrvtt(msrvtt, "train9k")


def test_folders_of_frames_are_videos(msrvtt):
    for name in ("video1.mp4", "video2.webm"):
        (msrvtt / "videos" / name).unlink()
    with_videos(msrvtt, "frames/video1/1.jpg", "frames/video2/shot01_00001.jpg")
    assert [item.source.name for item in open_msrvtt(msrvtt).items] == ["video1", "video2"]


def test_msvd(tmp_path):
    with_videos(tmp_path, "YouTubeClips/abc_1_2.avi", "YouTubeClips/def_3_4.avi")
    (tmp_path / "test_list.txt").write_text("def_3_4\nabc_1_2\n\n")
    captions = {"abc_1_2": [["a", "cat"], ["one", "cat"]], "def_3_4": [["a", "car"]], "other": [["x"]]}
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(captions, protocol=2))
    assert told(open_msvd(tmp_path)) == [("def_3_4", "a car"), ("abc_1_2", "a cat"), ("abc_1_2", "one cat")]


def test_lsmdc(tmp_path):
    with_videos(tmp_path, "clips/0001_A.avi", "clips/0002_B.avi")
    path = tmp_path / "LSMDC16_challenge_1000_publictect.csv"
    path.write_text("0001_A\t0\t1\t0\t1\tSOMEONE walks, slowly.\n0002_B\t0\t1\t0\t1\tA door opens.\n")
    assert told(open_lsmdc(tmp_path)) == [("0001_A", "SOMEONE walks, slowly."), ("0002_B", "A door opens.")]
    path.write_text("0001_A\t0\t1\tSOMEONE walks\n")
    with pytest.raises(DataError, match=r"line 1 .* has 4 fields"):
        open_lsmdc(tmp_path)


def test_didemo(tmp_path):
    with_videos(tmp_path, "v/12@N00_34.mov", "v/56@N00_78.mp4")
    (tmp_path / "test_list.txt").write_text("12@N00_34.mov\n56@N00_78.mp4\n")
    rows = [("12@N00_34.mov", "a dog"), ("56@N00_78.mp4", "a boat"), ("12@N00_34.mov", "it barks")]
    (tmp_path / "test_data.json").write_text(
        json.dumps([{"video": key, "description": text, "times": []} for key, text in rows])
    )
    data = open_didemo(tmp_path)
    assert told(data) == [("12@N00_34.mov", "a dog it barks"), ("56@N00_78.mp4", "a boat")]
    assert {item.until_s for item in data.items} == {DIDEMO_SECONDS}


def test_activitynet(tmp_path):
    with_videos(tmp_path, "v_aa.mp4", "v_bb.mkv")
    (tmp_path / "val_ids.json").write_text(json.dumps(["v_aa", "bb"]))
    (tmp_path / "val_1.json").write_text(
        json.dumps({"v_aa": {"sentences": [" A man.", "He dives. "]}, "v_bb": {"sentences": ["Rain."]}})
    )
    assert told(open_activitynet(tmp_path)) == [("v_aa", "A man. He dives."), ("v_bb", "Rain.")]


def test_a_csv_of_your_own(tmp_path):
    with_videos(tmp_path, "a.mp4", "sub/b.mp4")
    path = tmp_path / "mine.csv"
    path.write_text('video,caption\na.mp4,"one, two"\nsub/b.mp4,three\nb,four\n')
    assert sorted(text for _, text in told(open_path(path))) == ["four", "one, two", "three"]
    path.write_text("video,caption,split\na,one,train\nb,two,test\n")
    assert told(open_path(path)) == [("b", "two")]
    assert told(open_path(path, "train")) == [("a", "one")]


def test_a_folder_of_your_own(tmp_path, msrvtt):
    folder = tmp_path / "mine"
    with_videos(folder, "a.mp4", "b.mp4", "c.mp4")
    (folder / "a.txt").write_text("a cat\na small cat\n")
    (folder / "b.txt").write_text("a dog\n")
    assert told(open_path(folder)) == [("a", "a cat"), ("a", "a small cat"), ("b", "a dog")]
    assert told(open_path(msrvtt))[0] == ("video1", "a man sings"), "published files are known by their names"
    with pytest.raises(DataError, match="--input"):
        open_path(with_videos(tmp_path / "silent", "a.mp4"))


def test_captions_without_video_and_the_reverse_are_told(tmp_path):
    with_videos(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "captions.csv").write_text("video,caption\na,cat\na,cat\nb, \nc,dog\n")
    data = open_path(tmp_path)
    assert told(data) == [("a", "cat")]
    assert data.missing == ("c",)
    notes = " | ".join(data.notes)
    assert "1 captioned videos have no file: c" in notes
    assert "1 videos have no caption: b" in notes
    assert "1 captions are empty" in notes
    assert "1 captions are given twice" in notes


def test_two_videos_of_one_name(tmp_path):
    with_videos(tmp_path, "x/a.mp4", "y/a.mp4")
    (tmp_path / "captions.csv").write_text("video,caption\na,cat\n")
    with pytest.raises(DataError, match='two videos are called "a"'):
        open_path(tmp_path)


def test_a_video_named_twice_in_a_list(msrvtt):
    path = msrvtt / "MSRVTT_JSFUSION_test.csv"
    path.write_text(path.read_text() + "ret2,msr1,video1,again\n")
    with pytest.raises(DataError, match="twice: video1"):
        open_msrvtt(msrvtt)


@pytest.mark.parametrize("content", ["", "clip,text\na,b\n", "video,caption\na\n", "video,caption\nnone,b\n"])
def test_csv_that_cannot_be_used(tmp_path, content):
    with_videos(tmp_path, "a.mp4")
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(DataError, match=r"m\.csv|no captioned video"):
        open_path(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"video,caption\na,\xff\xfe\n")
    with pytest.raises(DataError, match="cannot be read"):
        open_path(tmp_path / "m.csv")


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_hostile_pickle_runs_nothing(tmp_path):
    victim = tmp_path / "ran"
    path = tmp_path / "raw-captions.pkl"
    path.write_bytes(pickle.dumps({"a": [Hostile(victim)]}))
    with pytest.raises(DataError, match="refused"):
        read_word_lists(path)
    assert not victim.exists()
    pickle.loads(path.read_bytes())
    assert victim.exists(), "the file does what it threatens where nothing stops it"


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle", pickle.dumps([1]), pickle.dumps({"a": 3}), pickle.dumps({"a": [[1]]}), pickle.dumps({3: []})],
)
def test_pickles_of_something_else(tmp_path, content):
    path = tmp_path / "raw-captions.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="raw-captions"):
        read_word_lists(path)


def test_pickles_of_an_older_python(tmp_path):
    path = tmp_path / "raw-captions.pkl"
    # What Python 2 wrote of {"a": [["one", "cat"]]}: byte strings, protocol 0.
    path.write_bytes(b"(dp0\nS'a'\np1\n(lp2\n(lp3\nS'one'\np4\naS'cat'\np5\naas.")
    assert read_word_lists(path) == {"a": ["one cat"]}


def test_videos_in_folders(tmp_path):
    with_videos(tmp_path, "b.webm", "b.mp4", "sub/c.gif", "sub/notes.txt", "f/1.png", ".hidden.mp4")
    assert list(find_videos(tmp_path)) == ["b", "f", "sub/c"]
    assert find_videos(tmp_path)["b"].suffix == ".mp4"


def test_links_to_folders_are_followed_once(tmp_path):
    elsewhere = with_videos(tmp_path / "elsewhere", "a.mp4")
    (elsewhere / "back").symlink_to(elsewhere, target_is_directory=True)
    folder = with_videos(tmp_path / "here", "b.mp4")
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert list(find_videos(folder)) == ["b", "linked/a"]


def test_toy_clips_come_in_pairs():
    data = open_clips(None, count=6)
    assert len(data) == 12
    assert np.array_equal(data.items[0].source[::-1], data.items[1].source)
    train = open_clips(None, "train", count=6)
    assert not np.array_equal(train.items[0].source, data.items[0].source)
    with pytest.raises(DataError, match="split"):
        open_clips(None, "testt")


@pytest.mark.data
def test_real_msrvtt_files(real_data):
    data = open_path(real_data / "msrvtt")
    assert len(data) == len(data.sentences) >= 200
    assert not data.missing
