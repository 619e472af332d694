"""The trained tier: losses, detection, checkpoints, embeddings, training that goes on where it stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clipzoo_detect.network import Description, Example, TrainedViLD, ViLDNetwork, load_network, save_network
from clipzoo_detect.precompute import EmbeddingCache, embedding_meta, open_embeddings
from clipzoo_detect.splits import base_mask
from clipzoo_detect.toy import toy_scenes
from clipzoo_detect.training import Batches, Examples

import clipzoo
from clipzoo.errors import ConfigError, DataError, WeightsError

DIM = 16
HEADS = {
    "text": set(),
    "closed": set(),
    "vild": {"distillation"},
    "image": {"distillation"},
    "ensemble": {"distillation"},
}


@pytest.fixture(scope="module")
def batch():
    data = toy_scenes(2, "train")
    examples = Examples(data, None, True, DIM)
    generator = torch.Generator().manual_seed(0)
    made = []
    for place in range(2):
        one = examples[(place, False)]
        rows = F.normalize(torch.randn(len(one.boxes), DIM, generator=generator), dim=-1)
        made.append(Example(one.pixels, one.boxes, one.labels, one.masks, one.boxes + 1.0, rows))
    return made


@pytest.fixture(scope="module")
def text():
    return F.normalize(torch.randn(128, DIM, generator=torch.Generator().manual_seed(1)), dim=-1)


@pytest.mark.parametrize("variant", sorted(HEADS))
def test_losses_of_each_variant_reach_what_they_train(batch, text, variant):
    torch.manual_seed(0)
    network = ViLDNetwork(DIM, "small", variant, 128, masks=variant == "ensemble").train()
    losses = network(batch, text, base_mask(128, [3]))
    expected = {"objectness", "proposal_boxes", "boxes"} | HEADS[variant]
    expected |= set() if variant == "image" else {"classes"}
    expected |= {"masks"} if variant == "ensemble" else set()
    assert set(losses) == expected
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    reached = {name.split(".")[0] for name, weights in network.named_parameters() if weights.grad is not None}
    assert ("image_head" in reached) == (variant in ("image", "ensemble"))
    assert ("classes" in reached) == (variant == "closed")
    assert "backbone" in reached


def test_detections_lie_in_the_image_and_a_closed_set_stays_closed(text):
    torch.manual_seed(1)
    network = ViLDNetwork(DIM, "small", "closed", 8, masks=True).eval()
    base = base_mask(8, [2, 5])
    found = network.detect(torch.rand(3, 90, 140), torch.eye(8), base, limit=10)
    assert 0 < len(found) <= 10
    assert found.boxes[:, 2].max() <= 140.01
    assert found.boxes[:, 3].max() <= 90.01
    assert found.masks.shape == (len(found), 90, 140)
    assert not {2, 5} & set(found[found.scores > 0].labels.tolist())


def test_outputs_that_were_never_learned_take_nothing_from_a_closed_set():
    torch.manual_seed(1)
    network = ViLDNetwork(DIM, "small", "closed", 8, masks=False).eval()
    base, image = base_mask(8, [2, 5]), torch.rand(3, 90, 140)
    found = network.detect(image, torch.eye(8), base, limit=10)
    with torch.no_grad():
        network.classes.weight[[3, 6]] += 1.0  # the background is the first output
    assert torch.equal(network.detect(image, torch.eye(8), base, limit=10).scores, found.scores)


def test_a_closed_set_finds_its_classes_by_name_in_any_order(tiny):
    torch.manual_seed(1)
    names = ("red circle", "blue star", "green cup")
    own = describe(tiny, variant="closed", classes=names, base=("red circle", "green cup"))
    trained = TrainedViLD(ViLDNetwork(tiny.embed_dim, "small", "closed", 3, masks=False), own, tiny)
    image = torch.rand(3, 64, 64)
    one = trained.detect([image], names, limit=20)[0]
    other = trained.detect([image], ["green cup", "pink hat", "blue star", "Red circle"], limit=20)[0]
    torch.testing.assert_close(one.scores, other.scores)  # but for the order of sums
    assert [{0: 3, 2: 0}[k] for k in one.labels.tolist()] == other.labels.tolist()
    assert len(one) == 20


def test_mirroring_twice_is_nothing(batch):
    one = batch[0]
    again = one.flipped().flipped()
    assert torch.allclose(again.boxes, one.boxes)
    assert torch.equal(again.pixels, one.pixels)
    assert torch.equal(again.masks, one.masks)
    left, top, right, bottom = one.flipped().boxes[0].round().int().tolist()
    assert one.flipped().masks[0][top:bottom, left:right].sum() == one.masks[0].sum()


def describe(clip, **changes) -> Description:
    own = dict(dim=clip.embed_dim, backbone="small", variant="text", masks=False, classes=("red circle", "blue star"))
    own |= dict(base=("red circle",), encoder=clip.name, fingerprint=clip.fingerprint, steps=1)
    return Description(**{**own, **changes})


def test_a_checkpoint_comes_back_and_knows_its_encoder(tiny, tmp_path):
    torch.manual_seed(2)
    network = ViLDNetwork(tiny.embed_dim, "small", "text", 2, masks=False)
    path = tmp_path / "vild.safetensors"
    save_network(path, network, describe(tiny))
    trained = TrainedViLD.load(path, tiny)
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), trained.network.state_dict().values(), strict=True)
    )
    rows = trained.text_rows(["green cup", "Red circle"])
    assert rows.base.tolist() == [False, True]
    found = trained.detect([torch.rand(3, 64, 64)], ["green cup", "Red circle"], limit=5)[0]
    assert len(found) <= 5
    save_network(path, network, describe(tiny, fingerprint="0" * 16))
    with pytest.raises(WeightsError, match="same encoder"):
        TrainedViLD.load(path, tiny)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_network(path)


def test_a_checkpoint_that_claims_another_width_makes_no_network(tiny, tmp_path, monkeypatch):
    network = ViLDNetwork(8, "small", "text", 2, masks=False)
    save_network(tmp_path / "n.safetensors", network, describe(tiny, dim=2_500_000))
    monkeypatch.setattr("clipzoo_detect.network.ViLDNetwork", lambda *_: pytest.fail("gigabytes were asked for"))
    with pytest.raises(WeightsError, match="weights of width 8"):
        load_network(tmp_path / "n.safetensors")


def test_unknown_parts():
    with pytest.raises(ConfigError, match="vit"):
        ViLDNetwork(8, "vit")
    with pytest.raises(ConfigError, match="both"):
        ViLDNetwork(8, "small", "both")


def test_a_cache_goes_on_and_refuses_another_encoder(tiny, tmp_path):
    keys = ["a", "b", "c"]
    meta = embedding_meta(tiny, keys, 4, "grouping", "square")
    cache = EmbeddingCache(tmp_path / "cache", meta)
    rows = F.normalize(torch.randn(3, tiny.embed_dim, generator=torch.Generator().manual_seed(0)), dim=-1)
    boxes = torch.arange(12.0).reshape(3, 4)
    cache.write(1, boxes, rows)
    with pytest.raises(DataError, match="2 of 3"):
        open_embeddings(tmp_path / "cache", tiny, keys)
    again = EmbeddingCache(tmp_path / "cache", meta)
    assert again.done.tolist() == [0, 1, 0]
    read_boxes, read_rows = again.read(1)
    assert torch.equal(read_boxes, boxes)
    assert (read_rows - rows).abs().max() < 1e-3
    for place in (0, 2):
        again.write(place, boxes[:0], rows[:0])
    assert len(open_embeddings(tmp_path / "cache", tiny, keys).read(0)[0]) == 0
    with pytest.raises(DataError, match="other images"):
        open_embeddings(tmp_path / "cache", tiny, ["a", "b", "d"])
    stored = json.loads((tmp_path / "cache" / "meta.json").read_text())
    (tmp_path / "cache" / "meta.json").write_text(json.dumps({**stored, "fingerprint": "f" * 16, "encoder": "other"}))
    with pytest.raises(DataError, match="those of other"):
        open_embeddings(tmp_path / "cache", tiny, keys)
    with pytest.raises(DataError, match="no embeddings"):
        open_embeddings(tmp_path, tiny, keys)


def test_batches_depend_on_the_step_alone():
    whole = list(Batches(7, 3, 0, 8, seed=5))
    assert list(Batches(7, 3, 4, 8, seed=5)) == whole[4:]
    first_epoch = [place for batch in whole for place, _ in batch][:7]
    assert sorted(first_epoch) == list(range(7))
    parts = [list(Batches(8, 2, 0, 4, seed=5, rank=rank, world=2)) for rank in (0, 1)]
    seen = [place for step in range(2) for rank in (0, 1) for place, _ in parts[rank][step]]
    assert sorted(seen) == list(range(8))


def settings(tmp_path, **changes):
    own = dict(data="toy-detection", scenes=3, model="tiny-rn", backbone="small", proposals=6, batch_size=2, workers=0)
    own |= dict(optimiser="adamw", learning_rate=1e-3, warmup=2, masks=False, embeddings=str(tmp_path / "emb"))
    return own | dict(out=str(tmp_path)) | changes


def test_precompute_train_detect_and_resume(tmp_path, monkeypatch):
    made = clipzoo.run("vild", stage="precompute", **settings(tmp_path))
    assert made.metrics["images"] == 3
    again = clipzoo.run("vild", stage="precompute", **settings(tmp_path))
    assert again.metrics["already_done"] == 3

    from clipzoo_detect import training

    monkeypatch.setattr(training, "_SAVE_EVERY", 2)
    monkeypatch.setattr(training, "_RECORD_EVERY", 1)
    whole = clipzoo.run("vild", stage="train", steps=4, **settings(tmp_path))
    assert whole.metrics["steps"] == 4
    first, description = load_network(whole.folder / "vild.safetensors")
    assert len(description.base) == 112

    # Stopped after the second step, the third and fourth give the same weights.
    kept = training._step

    def until_killed(*arguments):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return kept(*arguments)

    monkeypatch.setattr(training, "_step", until_killed)
    with pytest.raises(KeyboardInterrupt):
        clipzoo.run("vild", stage="train", steps=4, **settings(tmp_path, out=str(tmp_path / "killed")))
    monkeypatch.setattr(training, "_step", kept)
    folder = next((tmp_path / "killed" / "vild").iterdir())
    resumed = clipzoo.run("vild", resume=folder)
    second, _ = load_network(resumed.folder / "vild.safetensors")
    for name, weights in first.state_dict().items():
        assert torch.allclose(weights, second.state_dict()[name], atol=1e-6), name

    found = clipzoo.run("vild", tier=2, weights=str(whole.folder / "vild.safetensors"), **settings(tmp_path, scenes=2))
    assert found.metrics["images"] == 2
    assert "novel_AP50" in found.metrics


def test_a_killed_precompute_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    whole = settings(tmp_path, embeddings=str(tmp_path / "whole"))
    clipzoo.run("vild", stage="precompute", **whole)

    def torn(cache, place, boxes, rows):
        if place == 1:
            cache.boxes[place, : len(boxes)] = 7.0  # half of a row is on the disk when the process dies
            raise KeyboardInterrupt
        return kept(cache, place, boxes, rows)

    kept = EmbeddingCache.write
    monkeypatch.setattr(EmbeddingCache, "write", torn)
    killed = settings(tmp_path, embeddings=str(tmp_path / "killed"))
    with pytest.raises(KeyboardInterrupt):
        clipzoo.run("vild", stage="precompute", **killed)
    with pytest.raises(DataError, match="2 of 3 images"):
        clipzoo.run("vild", stage="train", steps=1, **killed)
    monkeypatch.setattr(EmbeddingCache, "write", kept)
    assert clipzoo.run("vild", stage="precompute", **killed).metrics["already_done"] == 1
    for name in ("embeddings.f16", "boxes.f32", "counts.i32", "done.u8"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(DataError, match="other images"):
        clipzoo.run("vild", stage="precompute", **{**killed, "scenes": 2})
    for stage in ("precompute", "train"):
        with pytest.raises(DataError, match="those of tiny-rn"):
            clipzoo.run("vild", stage=stage, steps=1, **{**killed, "model": "tiny"})


def test_training_says_what_it_lacks(tmp_path):
    with pytest.raises(ConfigError, match="variant=text"):
        clipzoo.run("vild", stage="train", steps=1, **settings(tmp_path, embeddings=None))
    with pytest.raises(DataError, match="precompute"):
        clipzoo.run("vild", stage="train", steps=1, **settings(tmp_path))
    with pytest.raises(ConfigError, match="weights="):
        clipzoo.run("vild", tier=2, **settings(tmp_path))


def test_learning_rates_are_no_surprise():
    from clipzoo_detect.plugin import ViLDSettings
    from clipzoo_detect.training import learning_rate_at

    some = ViLDSettings(steps=180_000, warmup=1000, learning_rate=0.32)
    rates = [learning_rate_at(step, some) for step in (999, 161_999, 162_000, 171_000)]
    assert np.allclose(rates, [0.32, 0.32, 0.032, 0.0032])
