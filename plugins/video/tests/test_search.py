"""Search: the right moment at every frame rate, an index that grows and shrinks with its folder."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from clipzoo_video.clip4clip import CLIP4Clip
from clipzoo_video.datasets import find_videos
from clipzoo_video.search import VideoIndex
from PIL import Image

from clipzoo.errors import ConfigError, DataError

STAR, TREE = "a red star", "a green tree"


@pytest.fixture(scope="module")
def index(tiny, video_folder, tmp_path_factory):
    found = VideoIndex(tmp_path_factory.mktemp("index"), tiny)
    found.update(find_videos(video_folder))
    return found


def near(moment, start_s: float, end_s: float, tolerance_s: float) -> bool:
    inside = start_s - 1e-6 <= moment.best_s < end_s
    return inside and abs(moment.start_s - start_s) <= tolerance_s and abs(moment.end_s - end_s) <= tolerance_s


RATES = {
    "24": Fraction(24),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
    "59.94": Fraction(60000, 1001),
}


@pytest.mark.parametrize("rate", [*RATES, "uneven"])
def test_the_moment_of_a_card_at_any_frame_rate(tiny, tmp_path, rate, draw_card, write_cards):
    blank = draw_card(None)
    cards = [
        (2.3, blank),
        (1.9, draw_card("star", "red")),
        (2.6, blank),
        (1.7, draw_card("tree", "green")),
        (2.0, blank),
    ]
    write_cards(tmp_path / "a.mp4", cards, RATES.get(rate, Fraction(25)), uneven=rate == "uneven")
    index = VideoIndex(tmp_path / "index", tiny)
    index.update(find_videos(tmp_path))
    for query, start_s, end_s in ((STAR, 2.3, 4.2), (TREE, 6.8, 8.5)):
        best = index.query(index.query_row(query))[0]
        assert best.relevant
        assert near(best, start_s, end_s, 0.5), best


def test_the_right_video_and_moment_come_first(index):
    star, tree = (index.query(index.query_row(query))[0] for query in (STAR, TREE))
    assert (star.video, tree.video) == ("first", "second")
    assert near(star, 3, 5, 0.5)
    assert near(tree, 2, 4, 0.5)


def test_an_image_is_a_query(index, tmp_path, draw_card):
    Image.fromarray(draw_card("fish", "blue")).save(tmp_path / "fish.png")
    best = index.query(index.query_row(image=tmp_path / "fish.png"))[0]
    assert (best.video, best.best_s) == ("frames", 2.0)


def test_text_and_image_are_the_sum_of_their_rows(index, tmp_path, draw_card):
    Image.fromarray(draw_card("fish", "blue")).save(tmp_path / "fish.png")
    text, image = index.query_row(STAR), index.query_row(image=tmp_path / "fish.png")
    both = index.query_row(STAR, tmp_path / "fish.png")
    assert torch.allclose(both, F.normalize(text + image, dim=0), atol=1e-6)


def test_the_index_follows_its_folder(tiny, video_folder, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(video_folder, folder)
    index = VideoIndex(tmp_path / "index", tiny)
    first = index.update(find_videos(folder))
    assert (sorted(first.added), first.frames) == (["first", "frames", "second"], 16 + 14 + 4)
    again = index.update(find_videos(folder))
    assert (again.added, again.frames, len(again.kept)) == ([], 0, 3)
    (folder / "first.mp4").unlink()
    os.utime(folder / "second.mp4", ns=(1, 1))
    third = index.update(find_videos(folder))
    assert (third.added, third.removed, third.frames) == (["second"], ["first"], 14)
    assert all(moment.video != "first" for moment in index.query(index.query_row(STAR), top=100))


def test_another_rate_is_another_index(tiny, video_folder, tmp_path):
    videos = {"second": find_videos(video_folder)["second"]}
    VideoIndex(tmp_path, tiny).update(videos)
    assert VideoIndex(tmp_path, tiny, per_second=1.0).update(videos).frames == 7


def test_a_broken_video_is_told_and_does_not_stop_the_rest(tiny, video_folder, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(video_folder / "second.mp4", folder)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "empty.mp4").write_bytes(b"")
    told = []
    index = VideoIndex(tmp_path / "index", tiny)
    change = index.update(find_videos(folder), failed=lambda key, error: told.append(key))
    assert change.added == ["second"]
    assert sorted(told) == sorted(change.failed) == ["broken", "empty"]
    assert "cannot be opened" in change.failed["broken"]


def test_a_damaged_file_of_the_index_is_made_again(tiny, video_folder, tmp_path):
    videos = {"second": find_videos(video_folder)["second"]}
    index = VideoIndex(tmp_path, tiny)
    index.update(videos)
    stored = next(tmp_path.glob("*.safetensors"))
    stored.write_bytes(stored.read_bytes()[:50])
    assert index.update(videos).added == ["second"]


@pytest.mark.parametrize("change", [{"spans": None}, {"times": torch.zeros(1)}, {"frames": torch.zeros(14, 3)}])
def test_a_file_of_the_index_without_its_numbers_is_named(tiny, video_folder, tmp_path, change):
    from safetensors import safe_open
    from safetensors.torch import save_file

    index = VideoIndex(tmp_path, tiny)
    index.update({"second": find_videos(video_folder)["second"]})
    path = next(tmp_path.glob("*.safetensors"))
    with safe_open(path, "pt") as file:
        told, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()} | change
    save_file({key: value for key, value in tensors.items() if value is not None}, path, told)
    with pytest.raises(DataError, match=rf"{path.name} is damaged"):
        index.query(index.query_row(TREE))


def test_still_frames_are_stored_once(index):
    stored = {video.key: video for video in index._load()}
    second = stored["second"]
    assert len(second.frames) < 10, "of 14 frames looked at"
    assert second.spans[0, 0] == 0
    assert second.spans[-1, 1] == pytest.approx(7.0)
    assert (second.spans[1:, 0] == second.spans[:-1, 1]).all()


def test_windows_cover_the_video(index):
    best = index.query_windows(index.query_row(TREE))[0]
    assert best.video == "second"
    assert best.start_s <= 3 <= best.end_s


def test_what_is_not_there_is_not_relevant(index):
    """The query has an answer in no video: its best moments do not stand out as those of a right query do."""
    present = index.query(index.query_row(STAR))[0].score
    absent = [moment for moment in index.query(index.query_row("a purple cup")) if moment.relevant]
    assert all(moment.score < present for moment in absent)


def test_a_trained_head_may_order_what_was_found(tiny, index):
    torch.manual_seed(0)
    model = CLIP4Clip(tiny, "tightTransf", layers=1).eval()
    found = index.query(index.query_row(STAR))
    again = index.rerank(model, STAR, found)
    assert sorted(again, key=str) == sorted(found, key=str)
    assert index.rerank(CLIP4Clip(tiny), STAR, found)[0] == found[0]


def test_nothing_to_look_for_or_in(tiny, index, tmp_path):
    with pytest.raises(DataError, match="query is empty"):
        index.query_row("  ")
    with pytest.raises(DataError, match="is empty"):
        VideoIndex(tmp_path, tiny).query(torch.zeros(128))
    with pytest.raises(ConfigError, match="per_second=0"):
        VideoIndex(tmp_path, tiny, per_second=0)
