import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from clipzoo import FrozenCLIP, load_clip
from clipzoo.data.scenes import HELD_OUT, render_object
from clipzoo.encoders import classifier_cache
from clipzoo.errors import ConfigError, DataError, WeightsError
from clipzoo.prompts import class_prompts

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("tiny", "tiny-rn")


@pytest.fixture(scope="module", params=NAMES)
def clip(request):
    return load_clip(request.param, device="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPZOO_CACHE", str(tmp_path))


def golden_pixels() -> torch.Tensor:
    """A fixed wave a channel: no random generator that another version could change."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    return torch.stack([0.5 + 0.5 * torch.sin(6 * x + k) * torch.cos(5 * y - k) for k in range(3)])[None]


def test_golden_tensors(clip) -> None:
    """The weights, the pixel path and the tokenizer are those that were shipped."""
    stored = json.loads((GOLDEN / f"{clip.name}.json").read_text())
    np.testing.assert_allclose(clip.encode_image(golden_pixels())[0].numpy(), stored["image"], atol=2e-4)
    np.testing.assert_allclose(clip.encode_text([stored["sentence"]])[0].numpy(), stored["text"], atol=2e-4)
    assert clip.fingerprint == stored["fingerprint"]


def test_shipped_files_are_small() -> None:
    from importlib import resources

    for name in NAMES:
        assert len((resources.files("clipzoo") / "assets" / f"{name}.safetensors").read_bytes()) <= 8_000_000


def test_rows_are_unit_and_do_not_depend_on_the_batch(clip) -> None:
    pixels = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    rows = clip.encode_image(pixels)
    assert rows.dtype == torch.float32 and rows.shape == (3, clip.embed_dim)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(clip.encode_image(pixels[1:2])[0], rows[1], atol=1e-5, rtol=0)


def test_text_rows_do_not_depend_on_the_batch(clip) -> None:
    sentences = ["a red circle", "a depth map of a chair.", "a house"]
    torch.testing.assert_close(clip.encode_text(sentences)[1], clip.encode_text(sentences[1:2])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        clip.encode_text(sentences, batch_size=2), clip.encode_text(sentences), atol=1e-5, rtol=0
    )


def test_frozen_means_frozen(clip) -> None:
    before = clip.fingerprint
    clip.train()
    assert not any(module.training for module in clip.modules())
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    clip.encode_image(pixels).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in clip.parameters())
    del clip.__dict__["fingerprint"]
    assert clip.fingerprint == before


def test_meaning(clip) -> None:
    """The right sentence wins for combinations that were never shown in training; chance is 6 %."""
    pairs = list(HELD_OUT)
    images = np.stack([render_object(shape, colour, size=64, scale=0.6) for colour, shape in pairs])
    rows = clip.encode_image(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    text = clip.classifier([f"{colour} {shape}" for colour, shape in pairs], "photo")
    assert (rows @ text.T).argmax(1).eq(torch.arange(len(pairs))).float().mean() >= {"tiny": 0.7, "tiny-rn": 0.9}[
        clip.name
    ]


@pytest.mark.parametrize("size", [(64, 64), (80, 64), (48, 96), (224, 224)])
@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "area"])
def test_any_size_is_fitted(clip, size, resize) -> None:
    assert clip.encode_image(torch.rand(1, 3, *size), resize=resize).shape == (1, clip.embed_dim)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (torch.rand(3, 64, 64), "shape"),
        (torch.rand(1, 1, 64, 64), "shape"),
        (torch.rand(0, 3, 64, 64), "shape"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "type"),
    ],
)
def test_bad_pixels_are_refused(clip, pixels, reason) -> None:
    with pytest.raises(DataError, match=reason):
        clip.encode_image(pixels)


def test_no_resize_means_the_right_size(clip) -> None:
    with pytest.raises(DataError, match="64 x 64"):
        clip.encode_image(torch.rand(1, 3, 65, 64), resize="none")
    with pytest.raises(ConfigError):
        clip.encode_image(torch.rand(1, 3, 65, 64), resize="cubic")


def test_bad_sentences_are_refused(clip) -> None:
    for sentences in ([], "one string", [3]):
        with pytest.raises(DataError):
            clip.encode_text(sentences)
    with pytest.raises(DataError, match="tokens"):
        clip.encode_text(["word " * 100])
    assert clip.encode_text(["word " * 100], truncate=True).shape == (1, clip.embed_dim)


def test_classifier_is_the_mean_of_unit_rows(clip) -> None:
    templates = ["a photo of a {}.", "a {}."]
    weights = clip.classifier(["circle", "star"], templates)
    rows = torch.stack(
        [clip.encode_text([t.replace("{}", name) for t in templates]).mean(0) for name in ("circle", "star")]
    )
    torch.testing.assert_close(weights, torch.nn.functional.normalize(rows, dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.classifier(["circle", "star"], templates[::-1]), weights, atol=1e-5, rtol=0)


def test_classifier_is_cached_by_content(clip, tmp_path, monkeypatch) -> None:
    first = clip.classifier(["circle", "star"], "photo")
    monkeypatch.setattr(type(clip), "encode_text", lambda *_, **__: pytest.fail("the cache was not used"))
    torch.testing.assert_close(clip.classifier(["circle", "star"], "photo"), first)
    stored = list((tmp_path / "classifiers").glob("*.safetensors"))
    assert len(stored) == 1
    prompts = class_prompts(["circle", "star"], "photo")
    assert classifier_cache.key(clip.fingerprint, "fp32", prompts) == stored[0].stem
    assert classifier_cache.key(clip.fingerprint, "bf16", prompts) != stored[0].stem
    assert classifier_cache.key("other", "fp32", prompts) != stored[0].stem


def test_a_damaged_cache_is_made_again(clip, tmp_path) -> None:
    first = clip.classifier(["circle"], "photo")
    path = next((tmp_path / "classifiers").glob("*"))
    path.write_bytes(path.read_bytes()[:20])
    torch.testing.assert_close(clip.classifier(["circle"], "photo"), first)


def test_unknown_words(clip) -> None:
    assert clip.unknown_words("red circle") == []
    assert clip.unknown_words("red zeppelin") == ["zeppelin"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_within_its_tolerance(precision) -> None:
    pixels = golden_pixels()
    full = load_clip("tiny", device="cpu").encode_image(pixels)
    half = load_clip("tiny", device="cpu", precision=precision).encode_image(pixels)
    assert half.dtype == torch.float32
    assert 1 - float((full * half).sum()) < 1e-2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ViT-B-33/openai", "did you mean: .*ViT-B-32"),
        ("ViT-B-32/opnai", "ViT-B-32/openai"),
        ("tinny", "tiny"),
        ("ViT-B-32", "no weights are named"),
    ],
)
def test_unknown_encoders_name_the_closest(name, text) -> None:
    with pytest.raises(ConfigError, match=text):
        load_clip(name, device="cpu")


def test_activation_mismatch_is_refused() -> None:
    with pytest.raises((WeightsError, ConfigError)):
        load_clip("ViT-B-32-quickgelu/laion2b_s34b_b79k", device="cpu")


def test_missing_weights_say_what_to_do(monkeypatch) -> None:
    monkeypatch.setenv("CLIPZOO_OFFLINE", "1")
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(WeightsError, match="CLIPZOO_OFFLINE"):
        load_clip("ViT-B-32/openai", device="cpu")


def test_a_folder_without_a_config_is_refused(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"open_clip_config\.json"):
        load_clip(str(tmp_path), device="cpu")


def test_a_folder_in_open_clip_layout_loads(tmp_path) -> None:
    """The layout that open_clip itself pushes to a hub: config and safetensors side by side."""
    from safetensors.torch import save_file

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**config)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    clip = load_clip(str(tmp_path), device="cpu")
    pixels = torch.rand(2, 3, 32, 32)
    expected = model.eval().encode_image((pixels - 0.5) / 0.5, normalize=True)
    torch.testing.assert_close(clip.encode_image(pixels), expected, atol=1e-5, rtol=0)


def encoder_folder(folder: Path, **changes) -> Path:
    """A folder in the layout of open_clip; ``changes`` are made to the configuration after the weights were written."""
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    save_file(open_clip.model.CLIP(32, vision, text).state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    for name, value in changes.items():
        for part in (config, vision, text, preprocess):
            part.update({name: value} if name in part else {})
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 20_000), ("layers", 10**7), ("layers", [10**6] * 4), ("embed_dim", 10**8), ("image_size", 10**6),
     ("vocab_size", 10**8), ("context_length", 20_000), ("width", "wide"), ("layers", float("nan"))],
)  # fmt: skip
def test_a_configuration_larger_than_its_weights_makes_no_network(tmp_path, monkeypatch, name, value) -> None:
    folder = encoder_folder(tmp_path, **{name: value})
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: pytest.fail("memory was asked for"))
    with pytest.raises(WeightsError, match=r"tells of a network|no configuration"):
        load_clip(str(folder), device="cpu")


@pytest.mark.parametrize("value", [1e308, [0.5], ["a"] * 3, [float("nan")] * 3, {"r": 1}])
def test_pixel_means_that_are_not_three_numbers_are_refused(tmp_path, value) -> None:
    with pytest.raises(WeightsError, match="three numbers"):
        load_clip(str(encoder_folder(tmp_path, mean=value)), device="cpu")


def test_a_configuration_that_is_none_is_refused(tmp_path) -> None:
    for text in ("", "[]", "{}", '{"model_cfg": 3}', "[" * 100_000):
        encoder_folder(tmp_path)
        (tmp_path / "open_clip_config.json").write_text(text)
        with pytest.raises(WeightsError, match="no configuration of open_clip"):
            load_clip(str(tmp_path), device="cpu")


def test_unknown_devices_are_refused() -> None:
    for device in ("cuda:99", "toaster"):
        with pytest.raises(ConfigError):
            load_clip("tiny", device=device)


def test_an_untrained_architecture_agrees_with_open_clip() -> None:
    """Same weights, same pixels, same tokens: our towers are open_clip's."""
    for architecture in ("ViT-B-32", "RN50"):
        clip = load_clip(f"{architecture}/random", device="cpu")
        pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        mean, std = (torch.tensor(part)[:, None, None] for part in (clip.mean, clip.std))
        expected = clip.model.encode_image((pixels - mean) / std, normalize=True)
        torch.testing.assert_close(clip.encode_image(pixels), expected, atol=1e-5, rtol=0)
        tokens = open_clip.get_tokenizer(architecture)(["a photo of a cat"])
        expected = clip.model.encode_text(tokens, normalize=True)
        torch.testing.assert_close(clip.encode_text(["a photo of a cat"]), expected, atol=1e-5, rtol=0)


def siglip() -> torch.nn.Module:
    """SigLIP's towers: pooling head without a class token, both directions, a bias on the logits."""
    torch.manual_seed(0)
    vision = {"image_size": 224, "timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map"}
    vision |= {"timm_proj": "none"}
    text = {"context_length": 16, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1, "no_causal_mask": True}
    text |= {"proj_bias": True, "pool_type": "last"}
    return open_clip.model.CustomTextCLIP(768, vision, text, init_logit_bias=-10)


def test_siglip_agrees_with_open_clip() -> None:
    model = siglip().eval()
    model.visual.preprocess_cfg = {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    clip = FrozenCLIP(model, lambda sentences: torch.tensor([[5, 6, 7] + [1] * 13] * len(sentences)), "siglip")
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        clip.encode_image(pixels), model.encode_image((pixels - 0.5) / 0.5, normalize=True), atol=1e-5, rtol=0
    )
    tokens = clip.tokenise(["x"])
    expected = model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(clip.encode_text(["x"]), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.encode_embedded(clip.embed_tokens(tokens), tokens), expected, atol=1e-5, rtol=0)
    assert "squash" in clip.preprocess_id
    wide = torch.rand(1, 3, 224, 448)
    squashed = torch.nn.functional.interpolate(wide, (224, 224), mode="bicubic", antialias=True)
    torch.testing.assert_close(clip.encode_image(wide), clip.encode_image(squashed))


@pytest.mark.parametrize("size", [(64, 64), (97, 64), (50, 71), (300, 201)])
def test_pixels_are_fitted_as_open_clip_does(size) -> None:
    """torchvision's resize of the short side and centre crop, on tensors."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    from clipzoo.encoders.pixels import Preprocessing, fit_pixels

    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    published = Compose([Resize(64, InterpolationMode.BICUBIC, antialias=True), CenterCrop(64)])
    torch.testing.assert_close(fit_pixels(pixels, Preprocessing(64)), published(pixels), atol=1e-5, rtol=0)


def test_other_ways_to_fit() -> None:
    from clipzoo.encoders.pixels import Preprocessing, fit_pixels

    pixels = torch.rand(1, 3, 40, 80)
    assert fit_pixels(pixels, Preprocessing(64, fit="squash")).shape == (1, 3, 64, 64)
    padded = fit_pixels(pixels, Preprocessing(64, fit="longest", fill=0.5))
    assert padded.shape == (1, 3, 64, 64) and bool((padded[..., :16, :] == 0.5).all())


SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def small(tmp_path):
    """An architecture of our own that open_clip knows by name, and a model of it."""
    (tmp_path / "clipzoo-test-small.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(tmp_path / "clipzoo-test-small.json")
    torch.manual_seed(3)
    return open_clip.model.CLIP(**SMALL).eval()


@pytest.mark.parametrize("form", ["safetensors", "pt", "checkpoint"])
def test_weights_from_a_file(small, tmp_path, form) -> None:
    from safetensors.torch import save_file

    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    state = small.state_dict()
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(
            {"state_dict": {f"module.{k}": v for k, v in state.items()}} if form == "checkpoint" else state, path
        )
    clip = load_clip(f"clipzoo-test-small:{path}", device="cpu")
    pixels = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(part)[:, None, None] for part in (clip.mean, clip.std))
    expected = small.encode_image((pixels - mean) / std, normalize=True)
    torch.testing.assert_close(clip.encode_image(pixels), expected, atol=1e-5, rtol=0)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_pickles_are_not_executed(small, tmp_path, suffix) -> None:
    import pickle

    path = tmp_path / f"w{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match=str(path.name)):
        load_clip(f"clipzoo-test-small:{path}", device="cpu")


def test_weights_of_another_architecture(small, tmp_path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    state = small.state_dict()
    save_file({k: v for k, v in state.items() if k != "ln_final.weight"}, path)
    with pytest.raises(WeightsError, match=r"ln_final\.weight"):
        load_clip(f"clipzoo-test-small:{path}", device="cpu")
    save_file({k: (v.repeat(2, 1) if k == "token_embedding.weight" else v) for k, v in state.items()}, path)
    with pytest.raises(WeightsError, match="do not fit"):
        load_clip(f"clipzoo-test-small:{path}", device="cpu")
    with pytest.raises(WeightsError, match="no file"):
        load_clip("clipzoo-test-small:/nowhere.pt", device="cpu")
    with pytest.raises(WeightsError, match=r"ViT-B-32:"):
        load_clip(str(path), device="cpu")


@pytest.mark.parametrize(("change", "reason"), [(lambda p: p * 255, "0..255"), (lambda p: p * float("nan"), "NaN")])
def test_pixels_out_of_range_are_refused(clip, change, reason) -> None:
    with pytest.raises(DataError, match=reason):
        clip.encode_image(change(torch.rand(1, 3, 64, 64)))


def test_generator_output_a_little_out_of_range_is_taken(clip) -> None:
    clip.encode_image(torch.rand(1, 3, 64, 64) * 2.4 - 1.2)


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_sentence_is_a_sentence(clip, text) -> None:
    assert torch.isfinite(clip.encode_text([text])).all()


@pytest.mark.parametrize("name", ["ViT-B-32/openai", "RN50/openai", "hf-hub:timm/nothing", "ViT-B-16-SigLIP/webli"])
def test_offline_makes_no_connection(name, monkeypatch, tmp_path) -> None:
    import socket

    def refused(*_: object, **__: object):
        pytest.fail("a connection was tried")

    monkeypatch.setenv("CLIPZOO_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(WeightsError, match="CLIPZOO_OFFLINE"):
        load_clip(name, device="cpu")


def test_compiled_encoders_keep_their_fingerprint(monkeypatch) -> None:
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *_, **__: compiled.append(type(self).__name__))
    assert load_clip("tiny", device="cpu", compile=True).fingerprint == load_clip("tiny", device="cpu").fingerprint
    assert compiled == ["VisionTransformer"]
