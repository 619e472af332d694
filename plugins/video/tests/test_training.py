"""Training: what moves, what stays, which epoch is kept, and the same gradient on two processes as on one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from clipzoo_video.clip4clip import CLIP4Clip, EncodedVideos, frame_features
from clipzoo_video.datasets import VideoItem, open_clips
from clipzoo_video.end_to_end import train_end_to_end
from clipzoo_video.training import Pairs, TrainingRecipe, shuffled_batches, train_head, trainable_copy

from clipzoo.errors import ConfigError, DataError

SENTENCES = ("a red circle", "a green tree", "a blue fish", "a pink star")


@pytest.fixture
def cached() -> EncodedVideos:
    """Frames [4, 3, 128] whose order tells the video: no pooling does."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 1, 3, 128, generator=generator)
    return EncodedVideos(torch.cat([first, first.flip(1), second, second.flip(1)]), torch.ones(4, 3))


def pairs(sentences=SENTENCES) -> Pairs:
    return Pairs(sentences, list(range(len(sentences))), len(sentences))


@pytest.mark.parametrize("name", ["seqLSTM", "seqTransf", "tightTransf"])
def test_a_head_learns_from_cached_frames_and_the_encoder_stays(tiny, cached, name):
    torch.manual_seed(0)
    model = CLIP4Clip(tiny, name, layers=1, position_scale=20.0)
    before = tiny.fingerprint
    recipe = TrainingRecipe(epochs=40, batch_size=4, head_lr=3e-3)
    log = train_head(model, cached, pairs(), recipe)
    assert log.rows[-1]["loss"] < 0.3 * log.rows[0]["loss"]
    assert model.clip is tiny
    assert type(tiny).fingerprint.func(tiny) == before
    assert model.similarity(SENTENCES, cached).argmax(1).tolist() == [0, 1, 2, 3]


def test_mean_pooling_cannot_learn_order(tiny, cached):
    """Two videos of the same frames in another order get the same scores, however long the text tower is trained."""
    model = CLIP4Clip(tiny, "meanP")
    train_head(model, cached, pairs(), TrainingRecipe(epochs=3, batch_size=4, encoder_lr=1e-3), train_text=True)
    scores = model.similarity(SENTENCES, cached)
    assert torch.allclose(scores[:, 0], scores[:, 1], atol=1e-4)
    with pytest.raises(ConfigError, match="nothing to train"):
        train_head(CLIP4Clip(tiny, "meanP"), cached, pairs())


def test_the_text_tower_is_trained_in_a_copy(tiny, cached):
    model = CLIP4Clip(tiny, "meanP")
    before = {name: value.clone() for name, value in tiny.model.named_parameters()}
    recipe = TrainingRecipe(epochs=2, batch_size=4, encoder_lr=1e-3, freeze_stem=False)
    train_head(model, cached, pairs(), recipe, train_text=True)
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.named_parameters())
    moved = {name for name, value in model.clip.model.named_parameters() if not torch.equal(value, before[name])}
    assert "token_embedding.weight" in moved
    assert any(name.startswith("transformer.") for name in moved)
    assert not any(name.startswith("visual.") for name in moved)
    table, old = model.clip.model.token_embedding.weight, before["token_embedding.weight"]
    changed = (table != old).any(1).nonzero().flatten()
    assert set(changed.tolist()) <= set(tiny.tokenise(SENTENCES).unique().tolist()), "only tokens that occur"


def test_a_frozen_stem_stays(tiny):
    own = trainable_copy(tiny, text=True, image=True, freeze_stem=True)
    wanted = {name for name, value in own.model.named_parameters() if value.requires_grad}
    assert "visual.transformer.resblocks.0.attn.in_proj_weight" in wanted
    assert (
        not {"visual.conv1.weight", "visual.positional_embedding", "token_embedding.weight", "positional_embedding"}
        & wanted
    )
    assert not any(value.requires_grad for value in tiny.model.parameters())


def test_the_best_epoch_on_the_validation_part_is_kept(tiny, cached):
    torch.manual_seed(0)
    model = CLIP4Clip(tiny, "seqLSTM")
    seen = []

    def validation(now) -> float:
        seen.append({name: value.clone() for name, value in now.head.named_parameters()})
        return (1.0, 3.0, 2.0)[len(seen) - 1]

    log = train_head(model, cached, pairs(), TrainingRecipe(epochs=3, batch_size=4), validation=validation)
    assert log.kept_epoch == 2
    assert all(torch.equal(value, seen[1][name]) for name, value in model.head.named_parameters())
    assert "validation" in log.selection
    last = train_head(CLIP4Clip(tiny, "seqLSTM"), cached, pairs(), TrainingRecipe(epochs=2, batch_size=4))
    assert (last.kept_epoch, last.selection) == (2, "the last epoch")


def test_the_scale_stays_below_a_hundred(tiny, cached):
    model = CLIP4Clip(tiny, "seqLSTM")
    train_head(model, cached, pairs(), TrainingRecipe(epochs=4, batch_size=4, head_lr=1.0))
    assert float(model.logit_scale.detach()) <= 100.0001


def test_training_twice_gives_the_same(tiny, cached):
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        model = CLIP4Clip(tiny, "seqTransf", layers=1)
        train_head(model, cached, pairs(), TrainingRecipe(epochs=2, batch_size=2))
        found.append(model.similarity(SENTENCES, cached))
    assert torch.equal(*found)


def test_batches_hold_every_pair_once_and_groups_together():
    rows = torch.cat(list(shuffled_batches(12, 4, seed=0, epoch=0)))
    assert sorted(rows.tolist()) == list(range(12))
    assert rows.tolist() != torch.cat(list(shuffled_batches(12, 4, seed=0, epoch=1))).tolist()
    for batch in shuffled_batches(12, 4, seed=1, epoch=0, together=[row // 2 for row in range(12)]):
        assert sorted(row ^ 1 for row in batch.tolist()) == sorted(batch.tolist())
    assert len(list(shuffled_batches(10, 4, seed=0, epoch=0))) == 2, "a shorter last batch is dropped"


def test_pairs_that_do_not_fit():
    with pytest.raises(DataError, match="owners"):
        Pairs(["a"], [0, 1], 2)
    with pytest.raises(DataError, match="rows 0 to 1"):
        Pairs(["a"], [2], 2)
    with pytest.raises(ConfigError, match="no negatives"):
        TrainingRecipe(batch_size=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_end_to_end_moves_both_towers(tiny, precision):
    data = open_clips(None, count=2, frames=3)
    torch.manual_seed(0)
    model = CLIP4Clip(tiny, "seqTransf", layers=1)
    recipe = TrainingRecipe(epochs=2, batch_size=4, encoder_lr=1e-4, precision=precision)
    log = train_end_to_end(model, data.items, Pairs(data.sentences, data.owner, len(data)), recipe, frames=3)
    assert np.isfinite([row["loss"] for row in log.rows]).all()
    old = dict(tiny.model.named_parameters())
    moved = {name for name, value in model.clip.model.named_parameters() if not torch.equal(value, old[name])}
    assert any(name.startswith("visual.transformer") for name in moved)
    assert any(name.startswith("transformer") for name in moved)
    assert all(value.dtype == torch.float32 for value in model.parameters()), "weights stay fp32"


def test_end_to_end_sees_what_the_cache_sees(tiny):
    """With nothing trained of the encoder, pixels in the loop give the features that are cached."""
    from clipzoo_video.training import _features_of_pixels

    data = open_clips(None, count=1, frames=3)
    pixels = torch.stack([torch.from_numpy(item.source).permute(0, 3, 1, 2) for item in data.items])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    found = _features_of_pixels(tiny, pixels, mask)
    assert torch.allclose(found[0], frame_features(tiny, pixels[0]), atol=1e-4)
    assert found[1, 1:].abs().max() == 0


def test_a_video_that_cannot_be_read_stops_end_to_end_training(tiny, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    items = [VideoItem("a", tmp_path / "a.mp4")] * 2
    with pytest.raises(DataError, match=r"a\.mp4"):
        train_end_to_end(CLIP4Clip(tiny), items, Pairs(["a", "b"], [0, 1], 2), TrainingRecipe(batch_size=2))


_PROCESS = """
import sys, torch, torch.distributed as dist
import clipzoo
from clipzoo_video.clip4clip import CLIP4Clip
from clipzoo_video.training import Batch, TrainingRecipe, fit
world, rank, meeting, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if world > 1:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + meeting, world_size=world, rank=rank)
clip = clipzoo.load_clip("tiny", device="cpu")
frames = torch.randn(4, 3, 128, generator=torch.Generator().manual_seed(1))
mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]) > 0
tokens = clip.tokenise(["a red circle", "a green tree", "a blue fish", "a pink star"])
own = torch.arange(4).chunk(world)[rank]
batch = Batch(tokens[own], frames[own], mask[own], own, own)
found = {}
for head in ("seqTransf", "tightTransf"):
    torch.manual_seed(0)
    model = CLIP4Clip(clip, head, layers=1)
    if hasattr(model.head, "dropout"):
        model.head.dropout.p = 0.0
    fit(model, lambda epoch: [batch], 1, TrainingRecipe(epochs=1, batch_size=4, head_lr=0.0, clip_norm=1e9))
    found |= {head + " " + name: value.grad for name, value in model.named_parameters() if value.grad is not None}
if rank == 0:
    torch.save(found, out)
"""


def test_two_processes_have_the_gradient_of_one(tmp_path, monkeypatch):
    """The gradient that DDP leaves on each process is that of one process with the whole batch."""
    meeting, out = str(tmp_path / "meeting"), str(tmp_path / "two.pt")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, "2", str(rank), meeting, out], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    alone = str(tmp_path / "one.pt")
    monkeypatch.setattr(sys, "argv", ["one", "1", "0", "", alone])
    exec(compile(_PROCESS, "one process", "exec"), {})
    for process in started:
        _, told = process.communicate(timeout=900)
        assert process.returncode == 0, told[-2000:]
    one, two = torch.load(alone, weights_only=True), torch.load(out, weights_only=True)
    assert one.keys() == two.keys()
    assert len(one) > 20
    for name, gradient in one.items():
        scale = float(gradient.abs().max())
        assert float((two[name] - gradient).abs().max()) <= 1e-5 * scale + 1e-7, name


def test_the_script_of_torchrun_is_in_the_documentation():
    page = Path(__file__).parents[1] / "README.md"
    assert "torchrun" in page.read_text(encoding="utf-8")
