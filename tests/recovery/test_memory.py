"""Out of memory on a GPU: the batch is halved where the result cannot depend on it, and that is said."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

import clipzoo
from clipzoo.encoders.halving import Halving
from clipzoo.errors import RunError
from clipzoo.plugin import Settings
from clipzoo.runs import RunContext


class _Small:
    """An encoder's method on a device that holds ``most`` rows at once."""

    def __init__(self, work, most: int) -> None:
        self.work, self.most, self.sizes = work, most, []

    def __call__(self, batch, *arguments, **options):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.work(batch, *arguments, **options)


@pytest.fixture
def clip():
    return clipzoo.load_clip("tiny-rn", device="cpu")


def test_the_batch_is_halved_and_the_rows_are_the_same(clip, monkeypatch) -> None:
    pixels = torch.rand(11, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = clip.encode_image(pixels)
    small = _Small(clip.model.encode_image, 3)
    monkeypatch.setattr(clip.model, "encode_image", small)
    told: list[str] = []
    clip.memory.tell = told.append
    torch.testing.assert_close(clip.encode_image(pixels), whole, atol=1e-6, rtol=0)
    assert small.sizes == [11, 5, 2, 2, 2, 2, 2, 1]
    assert len(told) == 2 and "11 images at once: at most 5" in told[0] and "does not depend" in told[1]
    small.sizes.clear()
    clip.encode_image(pixels[:4])
    assert small.sizes == [2, 2] and len(told) == 2  # what fitted is remembered


def test_sentences_are_halved_apart_from_images(clip, monkeypatch) -> None:
    sentences = [f"a {colour} circle" for colour in ("red", "blue", "green", "yellow", "black")]
    whole = clip.encode_text(sentences)
    monkeypatch.setattr(clip.model, "encode_text", _Small(clip.model.encode_text, 2))
    with pytest.warns(ResourceWarning, match="5 sentences at once: at most 2"):
        rows = clip.encode_text(sentences)
    torch.testing.assert_close(rows, whole, atol=1e-6, rtol=0)
    assert clip.memory.most == {"sentences": 2}


def test_dense_maps_are_halved(clip, monkeypatch) -> None:
    from clipzoo.encoders import frozen

    pixels = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = clip.dense(pixels)
    work = frozen.dense_features

    def small(visual, prepared, *rest):
        return _Small(lambda batch: work(visual, batch, *rest), 1)(prepared)

    monkeypatch.setattr(frozen, "dense_features", small)
    with pytest.warns(ResourceWarning):
        torch.testing.assert_close(clip.dense(pixels), whole, atol=1e-6, rtol=0)


def test_where_gradients_are_wanted_nothing_is_split(clip, monkeypatch) -> None:
    monkeypatch.setattr(clip.model, "encode_image", _Small(clip.model.encode_image, 1))
    pixels = torch.rand(2, 3, 64, 64, requires_grad=True)
    with pytest.raises(torch.OutOfMemoryError):
        clip.encode_image(pixels)
    assert not clip.memory.most
    with torch.no_grad(), pytest.warns(ResourceWarning):
        assert len(clip.encode_image(pixels)) == 2


def test_one_image_that_does_not_fit_is_an_error(clip, monkeypatch) -> None:
    monkeypatch.setattr(clip.model, "encode_image", _Small(clip.model.encode_image, 0))
    with pytest.raises(RunError, match="one of the images") as caught, pytest.warns(ResourceWarning):
        clip.encode_image(torch.rand(3, 3, 64, 64))
    assert "device=cpu" in caught.value.message()


def test_other_errors_pass() -> None:
    def broken(_):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        Halving().rows(broken, torch.zeros(4))


def test_a_run_notes_it(tmp_path, monkeypatch) -> None:
    context = RunContext(tmp_path, Settings(model="tiny-rn", device="cpu"), progress=False)
    monkeypatch.setattr(context.clip.model, "encode_image", _Small(context.clip.model.encode_image, 2))
    context.clip.encode_image(torch.rand(4, 3, 64, 64))
    assert len(context.notes) == 1 and "4 images at once" in context.notes[0]
    assert copy.deepcopy(context.clip).memory.tell == context.note  # not a copy of the run


def test_an_embedding_store_comes_out_whole(clip, tmp_path, monkeypatch) -> None:
    from clipzoo.store import embed

    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(7):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
            tmp_path / "photos" / f"{number}.png"
        )
    whole = embed(clip, tmp_path / "photos", tmp_path / "whole", batch_size=7, progress=False).store
    monkeypatch.setattr(clip.model, "encode_image", _Small(clip.model.encode_image, 2))
    with pytest.warns(ResourceWarning, match="7 images at once"):
        halved = embed(clip, tmp_path / "photos", tmp_path / "halved", batch_size=7, progress=False).store
    assert halved.keys == whole.keys
    np.testing.assert_allclose(halved.features(), whole.features(), atol=1e-3)
    assert json.loads((tmp_path / "halved" / "store.json").read_text())["complete"]
