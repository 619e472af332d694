"""Reading of videos: the frame on show at a time, in every container at hand, or an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipzoo.data.video_reading import (
    is_video,
    open_video,
    read_frames,
    sample_frames,
    sampled_times,
)
from clipzoo.data.video_sampling import clip4clip_frames, clip4clip_selection, sample_seconds
from clipzoo.errors import ConfigError, DataError

CORPUS = Path(__file__).parent / "oracle" / "video"
VIDEOS = json.loads((CORPUS / "videos.json").read_text())
WHOLE = [name for name, video in VIDEOS.items() if video["expect"] == "ok"]
REFUSED = [name for name, video in VIDEOS.items() if video["expect"].startswith("error")]


def burnt_in_number(picture: np.ndarray) -> int:
    """The number drawn into the top left 64 x 64 pixels as 16 blocks, 12 bits and 4 of checksum; -1 if they disagree."""
    grey = picture[:64, :64].astype(float).mean(-1)
    bits = [
        grey[16 * row + 4 : 16 * row + 12, 16 * column + 4 : 16 * column + 12].mean() > 127
        for row in range(4)
        for column in range(4)
    ]
    number = sum(int(bit) << place for place, bit in enumerate(bits[:12]))
    check = sum(int(bit) << place for place, bit in enumerate(bits[12:]))
    return number if check == (number ^ number >> 4 ^ number >> 8 ^ 0b1010) & 15 else -1


def numbers_of(frames) -> list[int]:
    return [burnt_in_number(frame.permute(1, 2, 0).numpy()) for frame in frames]


def check_whole(name: str, backend: str) -> None:
    told = VIDEOS[name]
    seconds, numbers, begins = zip(*told["shown"], strict=True)
    with open_video(CORPUS / name, backend) as video:
        metadata = video.metadata
        frames, pts_s = video.frames_at(seconds)
    assert numbers_of(frames) == list(numbers)
    assert pts_s == pytest.approx(np.array(begins), abs=1e-6)
    assert [metadata.width, metadata.height] == told["size"]
    assert tuple(frames.shape[1:]) == (3, metadata.height, metadata.width)
    assert metadata.rotation_deg == told["rotation"]
    assert (metadata.start_s, metadata.end_s) == pytest.approx((told["start_s"], told["end_s"]), abs=1e-6)


@pytest.mark.parametrize("name", WHOLE)
def test_pyav_gives_the_frame_on_show(name):
    pytest.importorskip("av")
    check_whole(name, "pyav")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", WHOLE)
def test_parts_that_are_decoded_beside_each_other_give_the_same_frames(name, three_threads):
    check_whole(name, "pyav")


def test_work_is_shared_at_key_frames(three_threads, monkeypatch):
    with open_video(CORPUS / "bframes_opengop_2997.mp4", "pyav") as video:
        reader = video.reader
        rows = np.arange(len(reader.times_s))
        shares = reader._shares(rows)
        assert len(shares) == 3
        assert np.concatenate(shares).tolist() == rows.tolist()
        starts = [reader.index.pts[share[0]] for share in shares]
        assert set(starts) <= set(reader.index.key_pts.tolist())
        assert max(map(len, shares)) < len(rows) / 2
        monkeypatch.setattr("clipzoo.data.video_pyav._HELD_MB", 1)
        assert len(reader._shares(rows)) == 1, "what would not fit is decoded one after the other"


def test_a_file_that_goes_away_while_it_is_read_is_named(three_threads, tmp_path):
    path = tmp_path / "gone.mp4"
    path.write_bytes((CORPUS / "bframes_opengop_2997.mp4").read_bytes())
    with open_video(path, "pyav") as video:
        path.unlink()
        with pytest.raises(DataError, match=r"gone\.mp4 cannot be opened any more"):
            video.frames_at([0.0, 2.0, 4.5])


@pytest.mark.parametrize("name", WHOLE)
def test_times_in_any_order_one_by_one(name):
    """Seeking afresh for each time gives what one pass gives."""
    pytest.importorskip("av")
    shown = VIDEOS[name]["shown"][::-3]
    with open_video(CORPUS / name, "pyav") as video:
        assert [numbers_of(video.frames_at([second])[0])[0] for second, _, _ in shown] == [
            number for _, number, _ in shown
        ]


def test_torchcodec_gives_the_frame_on_show(tmp_path):
    """In a process of its own: the libraries of FFmpeg must be found when the process starts. PyAV's wheel brings them."""
    pytest.importorskip("torchcodec")
    av = pytest.importorskip("av")
    bundled = Path(av.__file__).parent.parent / "av.libs"
    if not bundled.is_dir():
        pytest.skip("this build of PyAV brings no libraries of FFmpeg")
    for library in bundled.iterdir():
        stem, _, version = library.name.partition(".so.")
        (tmp_path / f"{stem.rsplit('-', 1)[0]}.so.{version.split('.')[0]}").symlink_to(library)
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('here', {str(Path(__file__))!r})\n"
        "here = importlib.util.module_from_spec(spec); sys.modules['here'] = here; spec.loader.exec_module(here)\n"
        "from clipzoo.data.video_reading import torchcodec_works, open_video\n"
        "if not torchcodec_works(): print('torchcodec finds no libraries'); raise SystemExit(77)\n"
        "for name in here.WHOLE: here.check_whole(name, 'auto')\n"
        "used = {name: open_video(here.CORPUS / name).metadata.backend for name in here.WHOLE}\n"
        "assert used.pop('start_offset.ts') == 'pyav'\n"
        "assert set(used.values()) == {'torchcodec'}, used\n"
        "for name in here.REFUSED: here.check_refused(name, 'auto')\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(bundled), os.environ.get("LD_LIBRARY_PATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": paths},
        capture_output=True,
        text=True,
        timeout=100,
    )
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr[-2000:]


def check_refused(name: str, backend: str) -> None:
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        open_video(CORPUS / name, backend)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_video_is_refused_with_its_name(name):
    pytest.importorskip("av")
    check_refused(name, "auto")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_video_that_is_cut_off_gives_what_is_there_and_refuses_the_rest(threads, request):
    pytest.importorskip("av")
    if threads == 3:
        request.getfixturevalue("three_threads")
    path = CORPUS / "truncated_partial.mp4"
    with open_video(path, "pyav") as video:
        assert video.metadata.duration_s == pytest.approx(4.0)
        frames, _ = video.frames_at([0.0, 0.5, 1.3])
        assert numbers_of(frames) == [0, 12, 32]
        for missing in (1.6, 2.0, 3.9):
            with pytest.raises(DataError, match="cut off"):
                video.frames_at([missing])
    with pytest.raises(DataError, match="cut off"):
        sample_frames(path, 12)


@pytest.mark.parametrize("second", [-0.1, 4.0, 1e9, float("nan")])
def test_times_outside_are_refused(second):
    pytest.importorskip("av")
    with pytest.raises(DataError):
        read_frames(CORPUS / "cfr24.mp4", [second])


def test_no_times_no_frames():
    pytest.importorskip("av")
    with pytest.raises(DataError, match="no times"):
        read_frames(CORPUS / "cfr24.mp4", [])


def test_a_missing_file_names_its_neighbour():
    with pytest.raises(DataError, match=r"did you mean: cfr24\.mp4"):
        open_video(CORPUS / "cfr24.mp5")
    with pytest.raises(ConfigError, match="pyav"):
        open_video(CORPUS / "cfr24.mp4", "pyaw")


def test_a_folder_of_frames_is_a_video(tmp_path):
    for number in (1, 2, 10):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number}.png")
    frames, pts_s = read_frames(tmp_path, [2.9, 0.0, 1.0])
    assert frames[:, 0, 0, 0].tolist() == [10, 1, 2]
    assert pts_s.tolist() == [2.0, 0.0, 1.0]
    assert frames.shape == (3, 3, 6, 8)
    assert is_video(tmp_path)


def test_a_folder_of_frames_of_two_sizes_is_refused(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "1.png")
    Image.new("RGB", (9, 6)).save(tmp_path / "2.png")
    with pytest.raises(DataError, match="another size"):
        read_frames(tmp_path, [0.0, 1.0])
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"1\.png"):
        read_frames(tmp_path, [0.0])


def test_an_empty_folder_is_no_video(tmp_path):
    with pytest.raises(DataError, match="no frame"):
        open_video(tmp_path)
    assert not is_video(tmp_path)


def test_a_gif_keeps_the_times_of_its_frames(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[200, 700, 100], loop=0)
    with open_video(path) as video:
        assert video.metadata.duration_s == pytest.approx(1.0)
        shown, pts_s = video.frames_at([0.1, 0.2, 0.85, 0.95])
    assert pts_s == pytest.approx([0.0, 0.2, 0.2, 0.9])
    assert shown[:, :, 4, 4].tolist() == [[255, 0, 0], [0, 255, 0], [0, 255, 0], [0, 0, 255]]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"a\.gif"):
        read_frames(path, [0.0])


def test_a_gif_that_claims_a_huge_canvas_is_refused(tmp_path):
    path = tmp_path / "a.gif"
    Image.new("RGB", (8, 8), "red").save(path)
    content = bytearray(path.read_bytes())
    content[6:10] = (9000).to_bytes(2, "little") * 2
    path.write_bytes(content)
    with pytest.raises(DataError, match="9000 x 9000"):
        read_frames(path, [0.0])


@pytest.mark.parametrize("n", [1, 4, 12])
def test_uniform_moments_are_the_middles_of_equal_parts(n):
    moments = sample_seconds(7.0, n)
    assert moments == pytest.approx([(k + 0.5) * 7.0 / n for k in range(n)])


def test_one_a_second_then_uniform():
    assert sample_seconds(3.0, 12, "one-per-second").tolist() == [0, 1, 2]
    assert sample_seconds(100.0, 3, "one-per-second").tolist() == [0, 49, 99]
    assert sample_seconds(0.2, 3, "one-per-second").tolist() == [0]


def test_segments_draw_one_moment_from_each_part():
    drawn = np.stack([sample_seconds(10.0, 5, "segments", generator=np.random.default_rng(seed)) for seed in range(50)])
    assert (drawn >= np.arange(5) * 2).all()
    assert (drawn < np.arange(1, 6) * 2).all()
    assert drawn.std(0).min() > 0.3
    with pytest.raises(ConfigError, match="generator"):
        sample_seconds(10.0, 5, "segments")


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_video_without_duration_is_refused(duration_s):
    with pytest.raises(DataError, match="duration"):
        sample_seconds(duration_s, 4)


def test_strategies_are_checked():
    with pytest.raises(ConfigError, match="did you mean: uniform"):
        sample_seconds(1.0, 4, "uniforn")
    with pytest.raises(ConfigError, match="at least 1"):
        sample_seconds(1.0, 0)
    with pytest.raises(ConfigError, match="frame rate"):
        sample_seconds(1.0, 4, "clip4clip")


def test_the_published_frames_of_clip4clip():
    """Whole rates, an inclusive end, 29.97 fps cut to 29, and a selection with linspace; by hand."""
    assert clip4clip_frames(100, 25.0).tolist() == [0, 25, 50, 75]
    assert clip4clip_frames(101, 25.0).tolist() == [0, 25, 50, 75, 100]
    assert clip4clip_frames(90, 29.97).tolist() == [0, 29, 58, 87]
    frames = np.arange(10) * 29
    assert clip4clip_selection(frames, 4).tolist() == [0, 87, 174, 261]
    assert clip4clip_selection(frames, 4, "head").tolist() == [0, 29, 58, 87]
    assert clip4clip_selection(frames, 4, "tail").tolist() == [174, 203, 232, 261]
    assert sample_seconds(4.0, 12, "clip4clip", fps=25.0) == pytest.approx(np.array([0.5, 25.5, 50.5, 75.5]) / 25)


def test_sampled_times_stay_inside():
    pytest.importorskip("av")
    for name in ("start_offset.ts", "cfr5994.mp4", "single_frame.mp4"):
        with open_video(CORPUS / name, "pyav") as video:
            for strategy in ("uniform", "one-per-second", "clip4clip"):
                times = sampled_times(video.metadata, 12, strategy)
                assert len(video.frames_at(times)[0]) == len(times)


@pytest.fixture
def long_video(tmp_path):
    """Ten hours at one frame in twenty seconds, key frames apart: 1800 frames whose grey tells the ten minutes."""
    av = pytest.importorskip("av")
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 30
        for number in range(1800):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 + 3 * (number // 30), np.uint8), format="rgb24")
            frame.pts = 20 * number
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("threads", [1, 3])
def test_a_long_video_is_read_where_it_is_asked_for(threads, long_video, request, monkeypatch):
    if threads == 3:
        request.getfixturevalue("three_threads")
    with open_video(long_video, "pyav") as video:
        decoded = 0
        kept = type(video.reader)._decoded

        def counted(reader):
            nonlocal decoded
            for frame in kept(reader):
                decoded += 1
                yield frame

        monkeypatch.setattr(type(video.reader), "_decoded", counted)
        frames, pts_s = video.frames_at([30010.0, 50.0])
        assert pts_s.tolist() == [30000.0, 40.0]
        assert [round((float(frame.float().mean()) - 20) / 3) for frame in frames] == [50, 0]
        assert decoded < 70, "only the groups of pictures asked for are decoded"
        assert sum(1 for _ in video.frames(np.arange(0, 36000, 20.0))) == 1800
