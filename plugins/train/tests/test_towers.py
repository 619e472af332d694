"""Which towers, what of them is trained, and that what is written can be read by others."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from clipzoo_train.checkpoints import load_trained, save_pair
from clipzoo_train.pair import build_pair, load_weights
from clipzoo_train.token_dropping import install_token_dropping

import clipzoo
from clipzoo.encoders.pixels import unit_rows
from clipzoo.errors import ConfigError, WeightsError

WORDS = ["a cat", "a dog sits on a mat"]


def features(pair) -> tuple[torch.Tensor, torch.Tensor]:
    side = pair.preprocessing.size
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    pair.eval()
    with torch.no_grad():
        return unit_rows(pair.encode_image(pixels)), unit_rows(pair.encode_text(pair.tokens(WORDS)))


def loaded(clip, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    return clip.encode_image(pixels), clip.encode_text(WORDS)


TIMM = {"image_tower": "timm:resnet10t", "pretrained": False, "image_size": 32}


@pytest.mark.parametrize("changes", [{}, TIMM, {"sigmoid": True}], ids=["plain", "timm", "sigmoid"])
def test_a_checkpoint_is_open_clips(nano, tmp_path, changes, quiet_random):
    pair = build_pair(nano, **changes)
    pair.cut_vocabulary(WORDS)
    with torch.no_grad():
        for value in pair.parameters():
            value.add_(0.01 * torch.randn(value.shape))
    expected = features(pair)
    save_pair(pair, tmp_path, {"data": "test"})
    side = pair.preprocessing.size
    for clip in (clipzoo.load_clip(str(tmp_path), device="cpu"), load_trained(tmp_path, device="cpu"), pair.frozen()):
        for own, other in zip(expected, loaded(clip, side), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    model = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(WORDS)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(tokens, normalize=True), expected[1], rtol=1e-4, atol=1e-5)
    stored = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert stored["training"] == {"data": "test"}
    again = build_pair(str(tmp_path))
    for own, other in zip(expected, features(again), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, TIMM], ids=["open_clip", "timm"])
def test_an_mlp_head_is_read_by_its_own_loader(nano, tmp_path, changes, quiet_random):
    pair = build_pair(nano, head="mlp", **changes)
    pair.cut_vocabulary(WORDS)
    expected = features(pair)
    save_pair(pair, tmp_path)
    for own, other in zip(expected, loaded(load_trained(tmp_path, device="cpu"), pair.preprocessing.size), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    assert pair.side("image_head.fc.weight") == pair.side("text_head.projection.bias") == "head"


def trained_names(pair) -> set[str]:
    return {name.removeprefix("model.").split(".")[0] for name, v in pair.named_parameters() if v.requires_grad}


@pytest.mark.parametrize(
    ("freeze", "changes", "names"),
    [
        ("image", {}, {"token_embedding", "transformer", "positional_embedding", "ln_final", "text_projection", "logit_scale"}),
        ("text", {}, {"visual", "logit_scale"}),
        ("text", {"head": "mlp"}, {"visual", "image_head", "text_head", "logit_scale"}),
        ("image", {"head": "mlp"}, {"text", "image_head", "text_head", "logit_scale"}),
        ("image", TIMM | {"head": "linear"}, {"visual", "token_embedding", "transformer", "positional_embedding", "ln_final", "text_projection", "logit_scale"}),
    ],
)  # fmt: skip
def test_a_frozen_tower_keeps_its_head_alone(nano, freeze, changes, names, quiet_random):
    pair = build_pair(nano, freeze=freeze, **changes).train()
    assert trained_names(pair) == names
    if "image_tower" in changes:
        parts = {n for n, v in pair.named_parameters() if v.requires_grad and ".visual." in n}
        assert parts == {"model.visual.head.proj.weight"} and not pair.model.visual.trunk.training
    side = pair.preprocessing.size
    pixels, tokens = torch.rand(2, 3, side, side), pair.tokens(WORDS)
    pair.eval()
    torch.testing.assert_close(pair.image_features(pair.image_body(pixels)), pair.image_features(pixels))
    torch.testing.assert_close(pair.text_features(pair.text_body(tokens)), pair.text_features(tokens))


def test_the_cut_vocabulary_changes_nothing(nano, quiet_random):
    pair = build_pair(nano)
    before = features(pair)
    table = pair.model.token_embedding.weight.detach().clone()
    pair.cut_vocabulary([*WORDS, "something else"])
    assert len(pair.model.token_embedding.weight) < 20
    for own, other in zip(before, features(pair), strict=True):
        torch.testing.assert_close(own, other)
    with torch.no_grad():
        pair.model.token_embedding.weight.add_(1)
    full = pair.full_state()["token_embedding.weight"]
    moved = (full - table).abs().amax(1) > 0.5
    assert int(moved.sum()) == len(pair.vocabulary.known) and bool(moved[pair.vocabulary.known].all())


@pytest.mark.parametrize("tower", ["open_clip", "timm"])
def test_tokens_are_dropped_in_either_kind_of_transformer(nano, tower, quiet_random):
    changes = {"image_tower": "timm:vit_tiny_patch16_224", "pretrained": False} if tower == "timm" else {}
    pair = build_pair(nano, **changes)
    seen = []
    dropping = install_token_dropping(pair.model.visual, 0.5)
    dropping.register_forward_hook(lambda module, given, made: seen.append((given[0].shape[1], made.shape[1])))
    side = pair.preprocessing.size
    pair.train().encode_image(torch.rand(1, 3, side, side))
    pair.eval().encode_image(torch.rand(1, 3, side, side))
    (before, kept), (whole, same) = seen
    assert kept == 1 + (before - 1) // 2 and whole == same == before


def test_a_resnet_has_no_tokens_to_drop():
    with pytest.raises(ConfigError, match="vision transformer"):
        install_token_dropping(build_pair("small-rn").model.visual, 0.5)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"model": "smal-rn"}, ConfigError, "did you mean: small-rn"),
        ({"model": "small-rn", "image_tower": "timm:resnet5O"}, ConfigError, "resnet50"),
        ({"model": "tiny", "image_size": 32}, ConfigError, "brings its weights"),
        ({"model": "tiny", "head": "mlp"}, ConfigError, "its own heads"),
        ({"model": "tiny", "sigmoid": True}, ConfigError, "no bias"),
        ({"model": "coca_ViT-B-32"}, ConfigError, "writes captions"),
    ],
)
def test_wrong_names_are_told(settings, error, said):
    with pytest.raises(error, match=said):
        build_pair(**settings)


def test_weights_of_another_architecture_are_told(nano, tmp_path, quiet_random):
    with pytest.raises(WeightsError, match="another architecture"):
        load_weights(build_pair(nano), build_pair("small-rn").full_state(), "old.safetensors")
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no configuration"):
        build_pair(str(tmp_path))


def test_a_hugging_face_tower(nano, tmp_path, quiet_random):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "bert"
    config = transformers.DistilBertConfig(vocab_size=12, dim=32, n_layers=1, n_heads=2, hidden_dim=32)
    config.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "sits", "on", "mat", "the"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.DistilBertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    pair = build_pair(nano, text_tower=f"hf:{folder}", head="mlp", max_words=10, freeze="text")
    assert trained_names(pair) == {"visual", "image_head", "text_head", "logit_scale"}
    expected = features(pair)
    torch.testing.assert_close(
        pair.text_features(pair.text_body(pair.tokens(WORDS))), pair.encode_text(pair.tokens(WORDS))
    )
    save_pair(pair, tmp_path / "out")
    for own, other in zip(expected, loaded(load_trained(tmp_path / "out", device="cpu"), 16), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
