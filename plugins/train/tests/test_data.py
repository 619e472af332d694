"""Captions as people have them, and everything that can be wrong with them."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
from clipzoo_train.augmentation import PRESETS, Augmentation, augmented, with_holes
from clipzoo_train.caption_files import open_captions
from clipzoo_train.captions import CaptionData, CaptionedImage, from_pixels, repeated_captions
from clipzoo_train.feeding import Feeder
from clipzoo_train.pixel_bank import PixelBank, ahead
from clipzoo_train.splitting import split_images
from PIL import Image

from clipzoo.data.registry import open_dataset
from clipzoo.encoders.pixels import Preprocessing
from clipzoo.errors import ClipzooError, DataError


def told(data: CaptionData) -> dict[str, tuple[str, ...]]:
    return {image.key: image.captions for image in data.images}


def test_a_folder_with_captions(pictures):
    data = open_dataset("captions", str(pictures))
    assert len(data) == 16 and all(len(image.captions) == 2 for image in data.images) and not data.problems
    assert data.images[0].read(0).size == (64, 64)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", "image,caption\n00.png,a dog\n00.png,a cat\n01.png,a bird\n"),
        ("captions.csv", "filepath\ttitle\n00.png\ta dog\n00.png\ta cat\n01.png\ta bird\n"),
        ("results.csv", "image_name| comment_number| comment\n00.png| 0| a dog\n00.png| 1| a cat\n01.png| 0| a bird\n"),
        ("Flickr8k.token.txt", "00.png#0\ta dog\n00.png#1\ta cat\n01.png#0\ta bird\n"),
        ("captions.json", json.dumps({"00.png": ["a dog", "a cat"], "01.png": "a bird"})),
        ("captions.jsonl", '{"image":"00.png","captions":["a dog","a cat"]}\n{"image":"01.png","text":"a bird"}\n'),
        (
            "coco.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "00.png"}, {"id": 2, "file_name": "01.png"}],
                    "annotations": [
                        {"image_id": 1, "caption": "a dog"},
                        {"image_id": 1, "caption": "a cat"},
                        {"image_id": 2, "caption": "a bird"},
                    ],
                }
            ),
        ),
    ],
)
def test_layouts_mean_the_same(pictures, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    data = open_captions(tmp_path / name, images=str(pictures))
    assert told(data) == {"00.png": ("a dog", "a cat"), "01.png": ("a bird",)}


def test_karpathys_parts_are_kept(pictures, tmp_path):
    entries = [("00.png", "restval"), ("01.png", "train"), ("02.png", "val"), ("03.png", "test")]
    images = [{"filename": name, "split": part, "sentences": [{"raw": f"a {name}"}]} for name, part in entries]
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}))
    data = open_captions(tmp_path / "dataset.json", images=str(pictures))
    split = split_images(data, "auto", 0.1, 0.1, 0)
    assert [len(part) for part in (split.train, split.val, split.test)] == [2, 1, 1]
    assert split.how == "as the data says"


def test_shards(pictures, tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        for name, text in (("00", "a dog\na cat"), ("01", "a bird")):
            shard.add(pictures / f"{name}.png", f"{name}.png")
            entry = tarfile.TarInfo(f"{name}.txt")
            entry.size = len(text)
            shard.addfile(entry, io.BytesIO(text.encode()))
    for path in (tmp_path, tmp_path / "0.tar"):
        data = open_captions(path)
        assert sorted(told(data).values()) == [("a bird",), ("a dog", "a cat")]
        assert data.images[0].read(0).size == (64, 64)


def test_text_files_beside_images(pictures, tmp_path):
    shutil.copy(pictures / "00.png", tmp_path)
    (tmp_path / "00.txt").write_text("a dog\na cat\n")
    assert told(open_captions(tmp_path)) == {"00.png": ("a dog", "a cat")}


def test_what_cannot_be_used_is_listed(pictures, table, tmp_path):
    for name in ("00.png", "01.png", "02.png"):
        shutil.copy(pictures / name, tmp_path)
    rows = [("00.png", "a dog"), ("00.png", "a dog"), ("00.png", " "), ("gone.png", "a cat"), ("01.png", "")]
    data = open_captions(table(tmp_path / "captions.csv", rows))
    assert told(data) == {"00.png": ("a dog",)}
    assert data.problems == {
        "caption given twice": ("00.png",),
        "empty caption": ("00.png", "01.png"),
        "caption without image": ("gone.png",),
        "image without caption": ("01.png", "02.png"),
    }
    assert repeated_captions(data) == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("captions.csv", b"picture,words\n00.png,a dog\n", "columns picture, words"),
        ("captions.csv", "image,caption\n00.png,caf\u00e9\n".encode("latin-1"), "line 2 holds the byte 0xe9"),
        ("captions.csv", b"image,caption\ngone.png,a dog\n", "1 x caption without image"),
        ("captions.csv", b"", r"columns \(none\)"),
        ("captions.json", b"[1, 2]", "no known layout"),
        ("captions.json", b"{", "no known layout"),
        ("captions.xlsx", b"x", "no file of captions"),
    ],
)
def test_wrong_files_are_named(pictures, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_captions(tmp_path / name, images=str(pictures))
    with pytest.raises(ClipzooError, match="no folder"):
        open_captions(pictures / "captions.csv", images=str(tmp_path / "nowhere"))


def images(count: int) -> tuple[CaptionedImage, ...]:
    dice = np.random.default_rng(0)
    return tuple(
        CaptionedImage(
            f"{k}", (f"caption {k}", f"again {k}"), from_pixels(dice.integers(0, 256, (20, 30, 3), np.uint8))
        )
        for k in range(count)
    )


def test_a_split_is_by_image_and_whole():
    data = CaptionData("some", images(40), {})
    split = split_images(data, "auto", 0.1, 0.2, 3)
    parts = [{image.key for image in part} for part in (split.train, split.val, split.test)]
    assert [len(part) for part in parts] == [28, 4, 8] and len(set.union(*parts)) == 40
    assert split_images(data, "auto", 0.1, 0.2, 3).test == split.test
    assert split_images(data, "auto", 0.1, 0.2, 4).test != split.test
    assert len(split_images(data, "simpleclip", 0, 0, 0).test) == 8
    with pytest.raises(DataError, match="two left"):
        split_images(CaptionData("few", images(3), {}), "auto", 0.4, 0.4, 0)


def test_squares_for_measuring_are_those_of_the_encoder():
    from clipzoo.store.decoding import fit_square

    some = images(3)
    exact = Preprocessing(16)
    squares, _ = PixelBank(some, 16, exact).read([2, 0])
    assert np.array_equal(squares[0].permute(1, 2, 0).numpy(), np.asarray(fit_square(some[2].read(0), exact)))
    kept, again = PixelBank(some, 12), PixelBank(some, 12, keep_bytes=0)
    assert kept.kept and not again.kept
    for first, second in zip(kept.read([1, 2]), again.read([1, 2]), strict=True):
        assert torch.equal(first, second)
    assert float(kept.aspects[1]) == 1.5


def test_broken_images_are_found(tmp_path):
    def broken(least):
        raise DataError("it is torn")

    bank = PixelBank([*images(2), CaptionedImage("torn", ("a",), broken)], 8)
    assert list(bank.check()) == [2]
    with pytest.raises(DataError, match="torn cannot be read"):
        bank.read([2])


def test_results_come_in_order_and_errors_come_through():
    assert list(ahead(lambda k: k * k, range(20), workers=3)) == [k * k for k in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda k: 1 // (k - 5), range(20), workers=2))


def test_a_whole_crop_is_the_image():
    squares = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = Augmentation(area=(1.0, 1.0), ratio=(1.0, 1.0))
    found = augmented(squares, torch.ones(3), whole, 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, squares)
    mirrored = augmented(squares, torch.ones(3), Augmentation((1, 1), (1, 1), mirror=1.0), 8, torch.Generator())
    torch.testing.assert_close(mirrored, squares.flip(3))


def test_a_crop_of_a_squashed_image_has_its_own_proportions():
    """A ramp along each axis tells where a crop lies: its sides, in pixels of the image, have the ratio asked for."""
    ramp = torch.linspace(0, 1, 64)
    squares = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)])[None]
    aspect = 1.5
    preset = Augmentation(area=(0.3, 0.3), ratio=(1.0, 1.0))
    crop = augmented(
        squares.repeat(20, 1, 1, 1), torch.full((20,), aspect), preset, 32, torch.Generator().manual_seed(1)
    )
    wide = (crop[:, 0, 0, -1] - crop[:, 0, 0, 0]) * 32 / 31
    tall = (crop[:, 1, -1, 0] - crop[:, 1, 0, 0]) * 32 / 31
    torch.testing.assert_close(wide * aspect, tall, rtol=0.02, atol=0)
    torch.testing.assert_close(wide * tall, torch.full((20,), 0.3), rtol=0.04, atol=0)
    assert float(crop[:, 0, 0, 0].std()) > 0.03


@pytest.mark.parametrize("name", PRESETS)
def test_presets_stay_in_range_and_repeat(name):
    squares = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    made = [augmented(squares, torch.ones(4), PRESETS[name], 16, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert made[0].shape == (4, 3, 16, 16) and torch.equal(*made)
    assert 0 <= float(made[0].min()) and float(made[0].max()) <= 1


def test_holes_cover_what_they_should():
    ones = torch.ones(400, 3, 50, 50)
    holed = with_holes(ones, 0.4, 1, 0.04, torch.Generator().manual_seed(0))
    black = (holed[:, 0] == 0).flatten(1).float().mean(1)
    assert float((black > 0).float().mean()) == pytest.approx(0.4, abs=0.08)
    torch.testing.assert_close(black[black > 0], torch.full_like(black[black > 0], 0.04))
    assert torch.equal(holed[:, 0], holed[:, 2])


def make_feeder(some, **settings) -> Feeder:
    sentences = [caption for image in some for caption in image.captions]
    numbers = {caption: row for row, caption in enumerate(sentences)}
    tokens = torch.arange(len(sentences))[:, None]
    preset = PRESETS["openclip"]
    return Feeder(some, PixelBank(some, 16), tokens, numbers, size=16, preset=preset, **{"batch_size": 4, **settings})


@pytest.mark.parametrize("rows", ["images", "captions"])
def test_every_row_once_an_epoch_and_every_caption_with_its_image(rows):
    feeder = make_feeder(images(8), rows=rows)
    batches = list(feeder.batches(0, 0))
    seen = torch.cat([batch.images for batch in batches])
    captions = torch.cat([batch.captions for batch in batches])
    assert bool((captions // 2 == seen).all())
    assert sorted(seen.tolist()) == sorted([*range(8)] * (2 if rows == "captions" else 1))
    if rows == "captions":
        assert sorted(captions.tolist()) == list(range(16))
    assert not torch.equal(seen, torch.cat([batch.images for batch in feeder.batches(1, 0)]))


def test_a_batch_depends_on_its_numbers_alone():
    feeder = make_feeder(images(12))
    later = next(iter(feeder.batches(3, 2)))
    again = list(make_feeder(images(12)).batches(3, 0))[2]
    assert torch.equal(later.pixels, again.pixels) and torch.equal(later.tokens, again.tokens)
    assert feeder.told(later).count(",") == 3


@pytest.mark.data
def test_flickr8k(real_data):
    data = open_captions(real_data / "flickr8k")
    assert len(data) >= 400 and sum(len(image.captions) for image in data.images) >= 5 * len(data) - 5
    bank = PixelBank(data.images[:20], 64)
    assert not bank.check()
    assert 0.5 < float(bank.aspects.min()) and float(bank.aspects.max()) < 3.0
    assert isinstance(data.images[0].read(0), Image.Image)
