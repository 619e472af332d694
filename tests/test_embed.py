import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

import clipzoo
from clipzoo.cli import cli
from clipzoo.embed_command import embed as embed_command
from clipzoo.encoders.pixels import Preprocessing
from clipzoo.errors import ConfigError, DataError, RunError, UsageError
from clipzoo.store import EmbeddingStore, embed, source_items
from clipzoo.store.decoding import Budget, Decoder, fit_square
from clipzoo.store.sources import count_items


@pytest.fixture(scope="module")
def clip():
    return clipzoo.load_clip("tiny", device="cpu")


def photo(seed: int, width: int = 96, height: int = 72) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twenty images in a folder and a subfolder, some wide, some high; names do not sort as numbers do."""
    folder = tmp_path / "photos"
    (folder / "b" / "deep").mkdir(parents=True)
    for seed in range(20):
        place = folder if seed < 12 else folder / "b" / "deep"
        photo(seed, 70 + 9 * seed, 200 - 6 * seed).save(place / f"{seed}.{'png' if seed % 3 else 'jpg'}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Pixels.


@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (64, 64), (65, 64), (63, 97), (1, 1), (3, 50), (301, 299), (64, 2000)]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("fit", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_squares_are_those_of_open_clip(size, mode, fit, interpolation) -> None:
    image = photo(3, *size).convert(mode)
    theirs = image_transform(
        64, False, (0, 0, 0), (1, 1, 1), resize_mode=fit, interpolation=interpolation, fill_color=5
    )
    ours = fit_square(image.convert("RGB"), Preprocessing(64, interpolation=interpolation, fit=fit, fill=5 / 255))
    np.testing.assert_array_equal(np.asarray(ours), (theirs(image).permute(1, 2, 0) * 255).round().byte().numpy())


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (64 * 33, 64)])
def test_a_long_strip_is_not_enlarged_whole(size) -> None:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    found = np.asarray(fit_square(image, Preprocessing(64))).astype(float)
    middle = np.asarray(image).astype(float)[(size[1] - 1) // 2, (size[0] - 1) // 2]
    assert found.shape == (64, 64, 3) and abs(found.mean((0, 1)) - middle).max() < 4


def test_features_are_those_of_open_clip_on_its_own_pixels(clip, photos, tmp_path) -> None:
    store = embed(clip, photos, tmp_path / "store", batch_size=7, progress=False).store
    transform = image_transform(64, False, clip.mean, clip.std)
    pixels = torch.stack([transform(Image.open(photos / key).convert("RGB")) for key in store.keys])
    with torch.no_grad():
        rows = torch.nn.functional.normalize(clip.model.encode_image(pixels), dim=-1).numpy()
    np.testing.assert_allclose(store.features(), rows, atol=2.0**-11)  # half a unit of fp16 below 1


def test_the_drafting_decoder_stays_near_and_says_so(clip, tmp_path) -> None:
    photo(1, 1600, 1200).save(tmp_path / "large.jpg", quality=95)
    data = (tmp_path / "large.jpg").read_bytes()
    plain, drafted = (Decoder(clip.preprocessing, kind)(data, "large.jpg") for kind in ("pil", "pil-draft"))
    assert (drafted.width, drafted.height) == (1600, 1200) and "shrunk to 200 x 150" in drafted.note
    batch = torch.from_numpy(np.stack([plain.pixels, drafted.pixels])).permute(0, 3, 1, 2).float() / 255
    rows = clip.encode_image(batch)
    assert float(rows[0] @ rows[1]) >= 0.999
    assert (plain.pixels != drafted.pixels).any()


def test_budget_makes_the_second_wait() -> None:
    import threading

    budget, order, held = Budget(10), [], threading.Event()

    def second() -> None:
        held.wait(10)
        with budget.take(1000):  # more than there is: all of it, alone
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with budget.take(1):
        held.set()
        time.sleep(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


# The store that comes out.


def test_rows_come_in_the_order_of_names(clip, photos, tmp_path) -> None:
    done = embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    expected = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    assert done.store.keys == expected and done.encoded == 20
    assert done.store.info.rows == (6, 6, 6, 2)
    table = done.store.table().to_pylist()
    for row in table:
        assert row["path"] == str(photos / row["key"])
        assert (row["width"], row["height"]) == Image.open(row["path"]).size
    np.testing.assert_allclose(np.linalg.norm(done.store.features(), axis=1), 1, atol=2e-3)


def test_the_store_says_what_it_was_made_with(clip, photos, tmp_path) -> None:
    info = embed(clip, photos, tmp_path / "store", limit=2, progress=False).store.info
    assert (info.encoder, info.fingerprint, info.preprocess_id) == ("tiny", clip.fingerprint, clip.preprocess_id)
    assert (info.dim, info.precision, info.decoder, info.count) == (128, "fp32", "pil", 2)
    assert "Pillow" in info.decoder_version and info.versions["torch"]


def test_batch_and_worker_count_do_not_matter(clip, photos, tmp_path) -> None:
    one = embed(clip, photos, tmp_path / "one", batch_size=1, workers=1, progress=False).store
    for batch_size, workers in ((20, 3), (7, 2)):
        other = embed(clip, photos, tmp_path / f"{batch_size}", batch_size=batch_size, workers=workers, progress=False)
        assert other.store.keys == one.keys
        np.testing.assert_allclose(other.store.features(), one.features(), atol=1e-3)


def test_the_same_again_makes_nothing(clip, photos, tmp_path) -> None:
    embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    before = content(tmp_path / "store")
    again = embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    assert (again.encoded, again.kept, again.redone) == (0, 20, ())
    assert content(tmp_path / "store") == before


def test_repeated_images_are_encoded_once(clip, photos, tmp_path) -> None:
    for source, copy in (("1.png", "a copy.png"), ("1.png", "zz.png"), ("b/deep/19.png", "b/deep/z.png")):
        shutil.copy(photos / source, photos / copy)
    done = embed(clip, photos, tmp_path / "store", shard_size=5, progress=False)
    assert (done.encoded, done.store.info.count, done.store.info.repeats) == (20, 23, 3)
    rows = dict(zip(done.store.keys, done.store.features(), strict=True))
    table = {row["key"]: row for row in done.store.table().to_pylist()}
    for source, copy in (("1.png", "a copy.png"), ("1.png", "zz.png"), ("b/deep/19.png", "b/deep/z.png")):
        np.testing.assert_array_equal(rows[source], rows[copy])
        for column in ("width", "height", "sha256", "note"):
            assert table[source][column] == table[copy][column] is not None
    assert done.store.verify() == []


def test_broken_files_are_left_out_and_reported(clip, photos, tmp_path) -> None:
    (photos / "0.jpg").write_bytes((photos / "0.jpg").read_bytes()[:300])
    (photos / "empty.png").touch()
    (photos / "text.webp").write_text("hello")
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    done = embed(clip, photos, tmp_path / "store", shard_size=4, progress=False)
    failures = {entry["key"]: entry["reason"] for entry in done.store.failures()}
    assert set(failures) == {"0.jpg", "empty.png", "text.webp", "gone.png"}
    assert "cannot be decoded" in failures["0.jpg"] and "is empty" in failures["empty.png"]
    assert "is no image" in failures["text.webp"] and "No such file" in failures["gone.png"]
    assert done.store.info.failures == 4 and len(done.store) == 19
    assert not set(failures) & set(done.store.keys)


def test_a_shard_of_broken_files_alone(clip, photos, tmp_path) -> None:
    for name in ("0.jpg", "1.png", "10.png", "11.png"):
        (photos / name).write_text("broken")
    store = embed(clip, photos, tmp_path / "store", shard_size=4, progress=False).store
    assert store.info.rows[0] == 0 and len(store) == 16 and store.verify() == []
    assert len(embed(clip, photos, tmp_path / "store", shard_size=4, progress=False).store) == 16


def test_nothing_readable_is_an_error(clip, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        embed(clip, tmp_path / "in", tmp_path / "store", progress=False)
    (tmp_path / "in" / "a.png").write_text("broken")
    with pytest.raises(DataError, match=r"not one of 1 images.*a\.png"):
        embed(clip, tmp_path / "in", tmp_path / "store", progress=False)
    assert json.loads((tmp_path / "store" / "failures.jsonl").read_text())["key"] == "a.png"


def test_a_huge_header_costs_one_line(clip, photos, tmp_path) -> None:
    done = embed(clip, photos, tmp_path / "store", max_pixels=20_000, progress=False)
    reasons = [entry["reason"] for entry in done.store.failures()]
    assert reasons and all("too large" in reason for reason in reasons)
    assert len(done.store) + len(reasons) == 20


def test_features_that_are_not_finite_stop_the_run(photos, tmp_path) -> None:
    broken = clipzoo.load_clip("tiny", device="cpu")
    with torch.no_grad():
        broken.model.visual.proj.fill_(torch.nan)
    with pytest.raises(RunError, match="not finite"):
        embed(broken, photos, tmp_path / "store", progress=False)


def test_half_precision_stays_within_its_tolerance(clip, photos, tmp_path) -> None:
    exact = embed(clip, photos, tmp_path / "fp32", progress=False).store
    half = clipzoo.load_clip("tiny", device="cpu", precision="bf16")
    rough = embed(half, photos, tmp_path / "bf16", progress=False).store
    assert rough.info.precision == "bf16"
    assert (exact.features() * rough.features()).sum(1).min() >= 0.998


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_the_device_gives_what_the_processor_gives(clip, photos, tmp_path, batch_size) -> None:
    here = embed(clip, photos, tmp_path / "cpu", shard_size=6, progress=False).store
    there = clipzoo.load_clip("tiny", device="cuda")
    store = embed(there, photos, tmp_path / "cuda", shard_size=6, batch_size=batch_size, progress=False).store
    assert store.keys == here.keys
    np.testing.assert_allclose(store.features(), here.features(), atol=2e-3)


# Going on.


@pytest.mark.parametrize("name", ["000001.npy", "000001.parquet"])
def test_a_half_written_shard_is_made_again(clip, photos, tmp_path, name) -> None:
    embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    before = content(tmp_path / "store")
    path = tmp_path / "store" / "shards" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    assert (again.encoded, again.kept) == (6, 14) and name in again.redone[0]
    assert content(tmp_path / "store") == before


def test_features_of_a_shard_that_were_exchanged_are_made_again(clip, photos, tmp_path) -> None:
    embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    before = content(tmp_path / "store")
    shards = tmp_path / "store" / "shards"
    shutil.copy(shards / "000000.npy", shards / "000001.npy")
    assert embed(clip, photos, tmp_path / "store", shard_size=6, progress=False).encoded == 6
    assert content(tmp_path / "store") == before


def test_a_lost_or_damaged_description_is_written_again(clip, photos, tmp_path) -> None:
    embed(clip, photos, tmp_path / "store", progress=False)
    before = content(tmp_path / "store")
    (tmp_path / "store" / "store.json").write_text("{")
    assert embed(clip, photos, tmp_path / "store", progress=False).encoded == 0
    assert content(tmp_path / "store") == before


def test_what_changed_in_the_source_is_made_again(clip, photos, tmp_path) -> None:
    embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    photo(77).save(photos / "b" / "deep" / "19.png")
    (photos / "b" / "deep" / "18.jpg").unlink()
    again = embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    assert again.kept == 18 and len(again.store) == 19  # both were in the last of four shards
    fresh = embed(clip, photos, tmp_path / "fresh", shard_size=6, progress=False)
    assert content(tmp_path / "fresh") == content(tmp_path / "store")
    assert fresh.store.keys == again.store.keys


def test_a_source_that_became_shorter(clip, photos, tmp_path) -> None:
    embed(clip, photos, tmp_path / "store", shard_size=6, progress=False)
    embed(clip, photos, tmp_path / "store", shard_size=6, limit=8, progress=False)
    embed(clip, photos, tmp_path / "fresh", shard_size=6, limit=8, progress=False)
    assert content(tmp_path / "fresh") == content(tmp_path / "store")


@pytest.mark.parametrize("settings", [{"shard_size": 5}, {"decoder": "pil-draft"}], ids=["shards", "decoder"])
def test_other_settings_are_refused(clip, photos, tmp_path, settings) -> None:
    embed(clip, photos, tmp_path / "store", progress=False)
    with pytest.raises(ConfigError, match=f"another {next(iter(settings))}"):
        embed(clip, photos, tmp_path / "store", progress=False, **settings)


def test_another_encoder_or_source_is_refused(clip, photos, tmp_path) -> None:
    embed(clip, photos, tmp_path / "store", progress=False)
    with pytest.raises(ConfigError, match="fingerprint"):
        embed(clipzoo.load_clip("tiny-rn", device="cpu"), photos, tmp_path / "store", progress=False)
    with pytest.raises(ConfigError, match="another source"):
        embed(clip, photos / "b", tmp_path / "store", progress=False)


def test_a_folder_with_other_things_is_left_alone(clip, photos) -> None:
    before = content(photos)
    with pytest.raises(UsageError, match="holds other things"):
        embed(clip, photos, photos, progress=False)
    assert content(photos) == before


SLOW = """
import signal, sys, time
import clipzoo
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background of a shell inherits that it is ignored
from clipzoo.encoders import FrozenCLIP
from clipzoo.store import embed

encode = FrozenCLIP.encode_image
def slowly(self, *arguments, **options):
    time.sleep(0.2)
    return encode(self, *arguments, **options)
FrozenCLIP.encode_image = slowly
embed(clipzoo.load_clip("tiny", device="cpu"), sys.argv[1], sys.argv[2], shard_size=4, batch_size=2, progress=False)
"""


def killed(photos: Path, store: Path, how: int) -> None:
    """Start an extraction in a process of its own, and end it as soon as one shard is there."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, photos, store], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (store / "shards" / "000000.parquet").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    assert process.wait(60) != 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_going_on_after_a_kill_gives_the_same_bytes(clip, photos, tmp_path, how) -> None:
    shutil.copy(photos / "1.png", photos / "b" / "z.png")
    (photos / "5.png").write_text("broken")
    store = tmp_path / "store"
    killed(photos, store, how)
    with pytest.raises(DataError, match="not complete"):
        EmbeddingStore.open(store)
    kept = len(EmbeddingStore.open(store, incomplete=True))
    (store / "shards" / ".000001.npy.4242.part").write_bytes(b"half")  # as a kill while writing leaves it
    resumed = embed(clip, photos, store, shard_size=4, batch_size=2, progress=False)
    assert 0 < kept <= resumed.kept < 20 and resumed.redone == ()
    whole = embed(clip, photos, tmp_path / "whole", shard_size=4, batch_size=2, progress=False)
    assert whole.kept == 0
    assert content(store) == content(tmp_path / "whole")


# Sources.


def test_folders_are_walked_in_order_without_hidden_files(photos) -> None:
    (photos / ".hidden.png").touch()
    (photos / ".git").mkdir()
    shutil.copy(photos / "1.png", photos / ".git" / "x.png")
    (photos / "notes.txt").write_text("x")
    (photos / "loop").symlink_to(photos)
    found = [item.key for item in source_items(photos)]
    assert len(found) == 20 == count_items(photos) and not any("x.png" in key or "hidden" in key for key in found)


def test_lists_of_paths(clip, photos, tmp_path) -> None:
    names = ["photos/3.jpg", "photos/1.png", str(photos / "b" / "deep" / "14.png"), "photos/3.jpg"]
    captions = ['one, "two"', "naïve", "x", "y"]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n\n")
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["caption", "image_path"])
        writer.writerows(zip(captions, names, strict=True))
    rows = ["filepath\ttitle", *(f"{name}\t{caption}" for name, caption in zip(names[1:], captions[1:], strict=True))]
    (tmp_path / "tabs.csv").write_text("\n".join(rows))
    pq.write_table(pa.table({"path": names, "caption": captions}), tmp_path / "list.parquet")
    for name, with_captions in (("list.txt", False), ("list.csv", True), ("list.parquet", True)):
        store = embed(clip, tmp_path / name, tmp_path / f"{name}.store", progress=False).store
        assert store.keys == names and store.info.repeats == 1 and count_items(tmp_path / name) == 4
        assert store.table(["caption"]).column("caption").to_pylist() == (captions if with_captions else [None] * 4)
    assert [(item.key, item.caption) for item in source_items(tmp_path / "tabs.csv")] == list(
        zip(names[1:], captions[1:], strict=True)
    )
    sequence = embed(clip, [tmp_path / names[0], names[2]], tmp_path / "sequence", progress=False).store
    np.testing.assert_array_equal(sequence.features(), store.features()[[0, 2]])


def test_lists_with_what_cannot_be_read(clip, photos, tmp_path) -> None:
    (tmp_path / "list.txt").write_text("photos/1.png\nphotos/none.png\nhttps://example.org/a.jpg\nphotos\n")
    store = embed(clip, tmp_path / "list.txt", tmp_path / "store", progress=False).store
    assert store.keys == ["photos/1.png"]
    assert [entry["key"] for entry in store.failures()] == ["photos/none.png", "https://example.org/a.jpg", "photos"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_not_waited_for(clip, photos, tmp_path) -> None:
    os.mkfifo(photos / "pipe.png")
    assert len(embed(clip, photos, tmp_path / "store", progress=False).store) == 20


def test_file_names_that_are_no_text(clip, photos, tmp_path) -> None:
    try:
        shutil.copy(os.fsencode(photos / "1.png"), os.fsencode(photos) + b"/\xff\xfe.png")
    except OSError:
        pytest.skip("this file system takes only text as names")
    store = embed(clip, photos, tmp_path / "store", progress=False).store
    assert r"\xff\xfe.png" in store.keys and len(store) == 21


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.csv", b"colour,shape\nred,round\n", "colour, shape"),
        ("a.parquet", b"PAR1 nonsense", "no Parquet file"),
        ("a.zip", b"PK", "no source of images"),
    ],
)
def test_what_is_no_list(name, data, text, tmp_path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=text):
        list(source_items(tmp_path / name))


def test_a_missing_source_names_the_closest(photos) -> None:
    with pytest.raises(DataError, match="did you mean: photos"):
        source_items(photos.with_name("fotos"))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def png(seed: int) -> bytes:
    file = io.BytesIO()
    photo(seed).save(file, "PNG")
    return file.getvalue()


def test_webdataset_shards(clip, photos, tmp_path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(folder / "000.tar", {"a.png": png(1), "a.txt": b"caption one\n", "a.json": b"{}", "b.0.png": png(2)})
    write_tar(folder / "001.tar", {"x/c.txt": "zwö".encode(), "x/c.PNG": png(3), "x/d.cls": b"3"})
    store = embed(clip, folder, tmp_path / "store", progress=False).store
    assert store.keys == ["000.tar/a.png", "000.tar/b.0.png", "001.tar/x/c.PNG"]
    assert store.table().column("caption").to_pylist() == ["caption one", None, "zwö"]
    for seed in (1, 2, 3):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    loose = embed(clip, [tmp_path / f"{seed}.png" for seed in (1, 2, 3)], tmp_path / "loose", progress=False).store
    np.testing.assert_array_equal(store.features(), loose.features())
    single = embed(clip, folder / "001.tar", tmp_path / "single", progress=False).store
    assert single.keys == ["001.tar/x/c.PNG"]


@pytest.mark.parametrize("keep", [512 + 100, 3 * 512, 0, 100])
def test_a_tar_that_is_cut_off(clip, photos, tmp_path, keep) -> None:
    write_tar(photos / "z.tar", {"a.png": png(1), "b.png": png(2)})
    (photos / "z.tar").write_bytes((photos / "z.tar").read_bytes()[:keep])
    store = embed(clip, photos, tmp_path / "store", progress=False).store
    assert len(store) == 20 and any("z.tar" in entry["key"] for entry in store.failures())


def test_the_whole_members_before_a_cut_are_used(clip, tmp_path) -> None:
    write_tar(tmp_path / "z.tar", {"a.png": png(1), "b.png": png(2)})
    (tmp_path / "z.tar").write_bytes((tmp_path / "z.tar").read_bytes()[: 512 + -(-len(png(1)) // 512) * 512 + 700])
    store = embed(clip, tmp_path / "z.tar", tmp_path / "store", progress=False).store
    assert store.keys == ["z.tar/a.png"] and len(store.failures()) == 2  # b.png, and the tar itself


def test_members_that_are_no_files_are_left_out(clip, tmp_path) -> None:
    with tarfile.open(tmp_path / "z.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "link.png"), (tarfile.CHRTYPE, "dev.png"), (tarfile.LNKTYPE, "hard.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/hostname"
            archive.addfile(member)
        member = tarfile.TarInfo("../../a.png")
        member.size = len(png(1))
        archive.addfile(member, io.BytesIO(png(1)))
    store = embed(clip, tmp_path / "z.tar", tmp_path / "store", progress=False).store
    assert store.keys == ["z.tar/../../a.png"]  # a name in a record; nothing is unpacked


def test_a_compressed_tar_is_refused_with_its_reason(clip, tmp_path) -> None:
    with tarfile.open(tmp_path / "z.tar", "w:gz") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = len(png(1))
        archive.addfile(member, io.BytesIO(png(1)))
    with pytest.raises(DataError, match="uncompressed tar"):
        embed(clip, tmp_path / "z.tar", tmp_path / "store", progress=False)


# The command.


@pytest.fixture
def command(capsys, monkeypatch):
    from clipzoo.cli import main

    monkeypatch.setitem(cli.commands, "embed", embed_command)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["embed", *map(str, arguments)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def test_command_makes_a_store(command, photos, tmp_path) -> None:
    (photos / "5.png").write_text("broken")
    store = tmp_path / "store"
    code, out, err = command(photos, "--out", store, "model=tiny", "batch_size=4", "--device", "cpu", "--limit", 15)
    assert code == 0, err
    assert "14 rows of width 128: 14 encoded" in out and "left out: 1" in out and "never saw a photograph" in out
    assert len(EmbeddingStore.open(store)) == 14
    code, out, _ = command(photos, "--out", store, "--limit", 15, "--device", "cpu")
    assert code == 0 and "0 encoded" in out and "kept: 14" in out


def test_command_imports_clip_retrieval(command, tmp_path) -> None:
    folder = Path(__file__).parent / "oracle" / "clip_retrieval_layout_seed0"
    code, out, _ = command(folder, "--out", tmp_path / "store")
    assert code == 0 and "imported 200 rows of width 64" in out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["fotos", "--out", "s"], 4, "did you mean: photos"),
        (["photos"], 2, "--out"),
        (["photos", "--out", "s", "modle=tiny"], 2, "did you mean: model"),
        (["photos", "--out", "s", "model=ViT-B-23/openai"], 2, "did you mean: ViT-B-32"),
        (["photos", "--out", "s", "--batch-size", "0"], 2, "batch-size"),
        (["photos", "--out", "s", "batch_size=x"], 2, "batch-size"),
        (["photos", "--out", "s", "--decoder", "gpu"], 2, "pil-draft"),
        (["photos", "--out", "photos"], 2, "holds other things"),
        (["empty", "--out", "s"], 4, "holds no images"),
    ],
)
def test_command_errors(command, photos, monkeypatch, arguments, code, text) -> None:
    monkeypatch.chdir(photos.parent)
    Path("empty").mkdir()
    found, _, err = command(*arguments)
    assert found == code and text in err
    assert err.startswith("error: ")


def test_command_is_light() -> None:
    code = "import sys, clipzoo.embed_command; print([m for m in ('torch', 'numpy', 'PIL', 'pyarrow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
