"""Checkpoints in the published layout, and models of our own training."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from clipzoo_video.clip4clip import CLIP4Clip, EncodedVideos
from clipzoo_video.published import load_clip4clip, save_head
from clipzoo_video.temporal_heads import HEADS
from clipzoo_video.training import trainable_copy
from safetensors.torch import save_file

from clipzoo.errors import WeightsError


@pytest.fixture
def published(oracle, tmp_path):
    """A tiny model in the layout of ``pytorch_model.bin``, and what the published code computed with it."""
    numbers = oracle("whole_model")
    state = {key[3:]: torch.from_numpy(value) for key, value in numbers.items() if key.startswith("sd/")}
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    return path, numbers, state


def test_a_whole_published_model(published):
    path, numbers, _ = published
    model = load_clip4clip(path, device="cpu")
    assert model.head_name == "seqTransf"
    pixels = torch.from_numpy(numbers["video"])
    mask = torch.from_numpy(numbers["video_mask"])
    with torch.no_grad():
        # The stored pixels are normalised already.
        rows = model.clip.model.encode_image(pixels.reshape(-1, *pixels.shape[-3:]))
        frames = rows.view(*mask.shape, -1)
        tokens = torch.from_numpy(numbers["input_ids"])
        tokens = torch.nn.functional.pad(tokens, (0, len(model.clip.model.positional_embedding) - tokens.shape[1]))
        text = model.clip.model.encode_text(tokens)
    assert (
        np.abs(frames.numpy() - numbers["frame_features"]).max()
        <= 1e-5 * np.abs(numbers["frame_features"]).max() + 1e-6
    )
    assert (
        np.abs(text.numpy() - numbers["text_features"].reshape(text.shape)).max()
        <= 1e-5 * np.abs(text.numpy()).max() + 1e-6
    )
    logits = model.similarity(text, EncodedVideos(frames, mask))
    assert np.abs(logits.detach().numpy() - numbers["logits"]).max() <= 1e-5 * np.abs(numbers["logits"]).max() + 1e-6


def test_tensors_of_something_else_are_refused(published, tmp_path):
    _, _, state = published
    torch.save({**state, "cross.unknown": torch.zeros(1)}, tmp_path / "a.bin")
    with pytest.raises(WeightsError, match="does not have"):
        load_clip4clip(tmp_path / "a.bin", device="cpu")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "b.bin")
    with pytest.raises(WeightsError, match="no checkpoint of CLIP4Clip"):
        load_clip4clip(tmp_path / "b.bin")
    torch.save({**state, "clip.visual.conv2.weight": torch.zeros(1)}, tmp_path / "c.bin")
    with pytest.raises(WeightsError, match="3d"):
        load_clip4clip(tmp_path / "c.bin")


class Hostile:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_checkpoint_runs_nothing(tmp_path, capsys):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps({"clip.a": Hostile()}))
    with pytest.raises(WeightsError):
        load_clip4clip(path)
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", HEADS)
def test_a_head_comes_back_as_it_was(tiny, tmp_path, name):
    torch.manual_seed(0)
    model = CLIP4Clip(tiny, name, layers=2).eval()
    model.log_scale.data.fill_(3.0)
    save_head(model, tmp_path / "head.safetensors")
    again = load_clip4clip(tmp_path / "head.safetensors", clip=tiny)
    videos = EncodedVideos(torch.randn(2, 3, 128), torch.ones(2, 3))
    text = torch.randn(2, 128)
    assert again.head_name == name
    assert torch.equal(again.similarity(text, videos), model.similarity(text, videos))
    with pytest.raises(WeightsError, match="holds no encoder"):
        load_clip4clip(tmp_path / "head.safetensors")


def test_a_trained_encoder_comes_back_with_its_head(tiny, tmp_path):
    model = CLIP4Clip(tiny, "meanP").eval()
    model.clip = trainable_copy(tiny, text=True, image=False)
    with torch.no_grad():
        model.clip.model.ln_final.weight.mul_(1.5)
    save_head(model, tmp_path / "head.safetensors")
    again = load_clip4clip(tmp_path / "head.safetensors", clip=tiny)
    assert torch.allclose(again.encode_text(["a red circle"]), model.encode_text(["a red circle"]), atol=1e-5)
    assert not torch.allclose(again.encode_text(["a red circle"]), CLIP4Clip(tiny).encode_text(["a red circle"]))


def test_a_head_of_another_encoder_is_refused(tiny, tmp_path):
    model = CLIP4Clip(tiny, "seqLSTM")
    save_head(model, tmp_path / "head.safetensors")
    other = trainable_copy(tiny, text=False, image=False)
    with torch.no_grad():
        other.model.ln_final.weight.mul_(1.5)
    with pytest.raises(WeightsError, match="trained on the features of"):
        load_clip4clip(tmp_path / "head.safetensors", clip=other)
    save_file({"log_scale": torch.zeros(1), "head.lstm.weight_ih_l0": torch.zeros(2, 2)}, tmp_path / "torn.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        load_clip4clip(tmp_path / "torn.safetensors", clip=tiny)
