from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from clipzoo import load_clip
from clipzoo.data.scenes import render_object
from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.dense import VIT_MODES, last_block, neighbourhood, vit_tokens
from clipzoo.encoders.towers import attention_pool, embed_patches, resize_positions
from clipzoo.errors import ConfigError, DataError

ORACLE = Path(__file__).parent / "oracle"


@pytest.fixture(scope="module")
def tiny():
    return load_clip("tiny", device="cpu")


@pytest.fixture(scope="module")
def resnet():
    return load_clip("tiny-rn", device="cpu")


@pytest.fixture(scope="module")
def siglip():
    """A ViT with the pooling head of SigLIP, small and untrained."""
    torch.manual_seed(0)
    model = open_clip.model.CustomTextCLIP(
        embed_dim=32,
        vision_cfg={
            "image_size": 32,
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        }
        | {"image_size": 224},
        text_cfg={"context_length": 16, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
        init_logit_bias=-10,
    )
    return FrozenCLIP(model, None, "siglip")


def attention_block(z) -> SimpleNamespace:
    width, heads = z["x"].shape[-1], int(z["heads"])
    attention = nn.MultiheadAttention(width, heads, batch_first=True)
    state = {key.replace("out_proj_", "out_proj."): torch.from_numpy(z[key]) for key in z.files if "proj" in key}
    attention.load_state_dict(state)
    same = nn.Identity()
    return SimpleNamespace(attn=attention, ln_1=same, ls_1=same, ln_2=same, ls_2=same, mlp=torch.zeros_like)


@pytest.mark.parametrize(
    ("mode", "key"),
    [("naclip", "na_naclip"), ("kk", "na_kk"), ("maskclip", "cl_MaskCLIP"), ("clearclip", "cl_ClearCLIP")],
)
def test_attention_against_the_published_code(mode, key) -> None:
    z = np.load(ORACLE / "dense_clip_attention.npz")
    grid = tuple(int(side) for side in z["grid"])
    with torch.no_grad():
        found = last_block(attention_block(z), torch.from_numpy(z["x"]).transpose(0, 1), grid, mode)
    np.testing.assert_allclose(found[0].numpy(), z[key][:, 0], atol=1e-5)


@pytest.mark.parametrize(("mode", "key"), [("vanilla", "na_vanilla"), ("sclip", "na_csa")])
def test_attention_that_keeps_the_residual(mode, key) -> None:
    z = np.load(ORACLE / "dense_clip_attention.npz")
    grid = tuple(int(side) for side in z["grid"])
    tokens = torch.from_numpy(z["x"]).transpose(0, 1)
    with torch.no_grad():
        found = last_block(attention_block(z), tokens, grid, mode) - tokens
    np.testing.assert_allclose(found[0].numpy(), z[key][:, 0], atol=1e-5)


def test_neighbourhood_against_the_published_code() -> None:
    z = np.load(ORACLE / "dense_clip_attention.npz")
    found = neighbourhood(tuple(int(side) for side in z["grid"]))
    np.testing.assert_allclose(found.numpy(), z["gauss_addition"], atol=1e-6)
    assert torch.equal(found, found.T) and bool((found.diagonal()[1:] == 1).all())


@pytest.fixture(scope="module")
def published_vit():
    z = np.load(ORACLE / "dense_clip_tiny_vit_naclip.npz")
    width, heads = int(z["width"]), int(z["heads"])
    visual = open_clip.transformer.VisionTransformer(
        image_size=int(z["input_resolution"]),
        patch_size=int(z["patch"]),
        width=width,
        layers=int(z["layers"]),
        heads=heads,
        mlp_ratio=4.0,
        output_dim=z["w__proj"].shape[1],
        act_layer=open_clip.transformer.QuickGELU,
    )
    visual.load_state_dict({k[3:].replace("__", "."): torch.from_numpy(z[k]) for k in z.files if k.startswith("w__")})
    return visual.eval(), z


@pytest.mark.parametrize("shape", ["square", "rect"])
@pytest.mark.parametrize(
    ("mode", "key"),
    [
        ("naclip", "out_reduced_naclip"),
        ("kk", "out_reduced_kk"),
        ("sclip", "out_vanilla_csa"),
        ("vanilla", "out_vanilla_vanilla"),
    ],
)
def test_whole_tower_against_the_published_code(published_vit, mode, key, shape) -> None:
    visual, z = published_vit
    with torch.no_grad():
        tokens, grid = vit_tokens(visual, torch.from_numpy(z[f"x_{shape}"]), mode)
    assert grid == ((7, 7) if shape == "square" else (8, 11))
    np.testing.assert_allclose(tokens.numpy(), z[f"{key}_{shape}"], atol=1e-4)


def test_positions_of_a_rectangle(published_vit) -> None:
    visual, z = published_vit
    with torch.no_grad():
        found = resize_positions(visual.positional_embedding, (7, 7), (8, 11))
    np.testing.assert_allclose(found.numpy(), z["pos_embed_rect"][0], atol=1e-5)
    smaller = resize_positions(visual.positional_embedding, (7, 7), (3, 5))
    assert smaller.shape == (16, visual.positional_embedding.shape[1])


def test_dense_attention_pool_against_the_published_code() -> None:
    z = np.load(ORACLE / "depthclip_attnpool_dense.npz")
    pool = open_clip.modified_resnet.AttentionPool2d(7, z["x"].shape[1], int(z["heads"]), z["out_HW_B_C"].shape[-1])
    pool.load_state_dict({k[3:].replace("__", "."): torch.from_numpy(z[k]) for k in z.files if k.startswith("w__")})
    with torch.no_grad():
        found = attention_pool(pool, torch.from_numpy(z["x"]))[:, 1:]
    np.testing.assert_allclose(found.transpose(0, 1).numpy(), z["out_HW_B_C"], atol=1e-5)


def test_vanilla_is_the_encoder_itself(tiny) -> None:
    pixels = torch.rand(2, 3, 64, 64)
    tokens, _ = vit_tokens(
        tiny.model.visual,
        (pixels - torch.tensor(tiny.mean)[:, None, None]) / torch.tensor(tiny.std)[:, None, None],
        "vanilla",
    )
    torch.testing.assert_close(
        torch.nn.functional.normalize(tokens[:, 0], dim=-1), tiny.encode_image(pixels), atol=1e-5, rtol=0
    )


def test_the_mean_token_of_the_pool_is_the_resnet_itself(resnet) -> None:
    pixels = torch.rand(2, 3, 64, 64)
    found = resnet.layers(pixels, ["embedding"])["embedding"]
    torch.testing.assert_close(
        torch.nn.functional.normalize(found, dim=-1), resnet.encode_image(pixels), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("mode", VIT_MODES)
@pytest.mark.parametrize("size", [(64, 64), (32, 96), (128, 72)])
def test_dense_rows(tiny, mode, size) -> None:
    pixels = torch.rand(2, 3, *size, requires_grad=True)
    rows = tiny.dense(pixels, mode)
    assert rows.shape == (2, size[0] // 8, size[1] // 8, 128) and rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))
    rows[..., 0].sum().backward()
    assert pixels.grad.abs().sum() > 0
    alone = tiny.dense(pixels[1:], mode)
    torch.testing.assert_close(alone[0], rows[1], atol=1e-5, rtol=0)


def test_dense_rows_of_a_resnet(resnet) -> None:
    assert resnet.dense(torch.rand(1, 3, 64, 128)).shape == (1, 2, 4, 128)


def test_dense_rows_of_siglip(siglip) -> None:
    pixels = torch.rand(1, 3, 224, 224)
    rows = siglip.dense(pixels)
    assert rows.shape == (1, 14, 14, 768)
    with pytest.raises(ConfigError, match="maskclip"):
        siglip.dense(pixels, "naclip")
    with pytest.raises(DataError, match="224 x 224"):
        siglip.dense(torch.rand(1, 3, 256, 224))
    with pytest.raises(ConfigError):
        siglip.saliency(pixels)
    with pytest.raises(ConfigError):
        siglip.layers(pixels, [0])


def test_modes_that_do_not_exist(tiny, resnet) -> None:
    pixels = torch.rand(1, 3, 64, 64)
    with pytest.raises(ConfigError, match="did you mean: naclip"):
        tiny.dense(pixels, "naclipp")
    with pytest.raises(ConfigError, match="attnpool"):
        resnet.dense(pixels, "naclip")
    with pytest.raises(DataError, match="72 x 64"):
        tiny.dense(torch.rand(1, 3, 70, 64))


def test_layers_are_those_of_the_forward_pass(tiny, resnet) -> None:
    pixels = torch.rand(1, 3, 64, 64)
    seen: dict[str, torch.Tensor] = {}
    handles = [
        tiny.model.visual.transformer.resblocks[2].register_forward_hook(lambda *a: seen.update(vit=a[2])),
        resnet.model.visual.layer3.register_forward_hook(lambda *a: seen.update(resnet=a[2])),
    ]
    tiny.encode_image(pixels)
    resnet.encode_image(pixels)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(tiny.layers(pixels, [2])["2"], seen["vit"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tiny.layers(pixels, ["block2", -4])["-4"], seen["vit"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(resnet.layers(pixels, ["layer3"])["layer3"], seen["resnet"], atol=1e-5, rtol=1e-5)


def test_layers_that_do_not_exist(tiny, resnet) -> None:
    pixels = torch.rand(1, 3, 64, 64)
    for clip, names in ((tiny, [6]), (tiny, ["layer1"]), (resnet, ["layer5"]), (resnet, [0]), (tiny, [])):
        with pytest.raises(ConfigError):
            clip.layers(pixels, names)


@pytest.mark.parametrize("name", ["tiny", "resnet"])
def test_saliency_lies_on_the_object(name, request) -> None:
    """More of it on the pictogram than on an empty background of the same area, for most of the places."""
    clip = request.getfixturevalue(name)
    places = [(x, y) for x in (0.3, 0.7) for y in (0.3, 0.7)]
    images = np.stack([render_object("star", "red", size=128, scale=0.4, centre=place) for place in places])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    maps = clip.saliency(pixels)
    assert maps.shape == (4, 128, 128) and float(maps.min()) == 0 and float(maps.max()) == 1
    inside = torch.from_numpy((images != 255).any(-1))
    on = torch.stack([m[i].mean() for m, i in zip(maps, inside, strict=True)])
    off = torch.stack([m[~i].mean() for m, i in zip(maps, inside, strict=True)])
    assert (on > off).float().mean() >= 0.75


def test_saliency_for_a_sentence(resnet, tiny) -> None:
    """Of two things, the one that the sentence names."""
    left = render_object("circle", "red", size=64, scale=0.4, centre=(0.25, 0.5))
    right = render_object("star", "blue", size=64, scale=0.4, centre=(0.75, 0.5))
    both = torch.from_numpy(np.minimum(left, right)).permute(2, 0, 1)[None].float() / 255
    pixels = both.expand(2, -1, -1, -1)
    rows = resnet.encode_text(["a photo of a red circle.", "a photo of a blue star."])
    circle, star = resnet.saliency(pixels, rows)
    assert (circle[:, :32].mean() - circle[:, 32:].mean()) > (star[:, :32].mean() - star[:, 32:].mean())
    with pytest.raises(ConfigError, match="ViT"):
        tiny.saliency(pixels, rows)
    with pytest.raises(DataError):
        resnet.saliency(pixels, rows[:, :5])


def test_saliency_of_nothing_is_zero(tiny) -> None:
    maps = tiny.saliency(torch.full((1, 3, 8, 8), 0.5))
    assert maps.shape == (1, 8, 8) and float(maps.abs().max()) == 0


def test_sentences_from_token_embeddings(tiny) -> None:
    tokens = tiny.tokenise(["a red circle", "two blue stars on a striped background"])
    embedded = tiny.embed_tokens(tokens).requires_grad_(True)
    rows = tiny.encode_embedded(embedded, tokens)
    torch.testing.assert_close(
        rows, tiny.encode_text(["a red circle", "two blue stars on a striped background"]), atol=1e-5, rtol=0
    )
    rows[:, 0].sum().backward()
    assert embedded.grad[0, 2].abs().sum() > 0 and embedded.grad[0, -1].abs().sum() == 0
    with pytest.raises(DataError):
        tiny.encode_embedded(embedded[:1], tokens)


def test_an_embedding_of_only_the_used_positions_is_enough(tiny) -> None:
    tokens = tiny.tokenise(["a red circle"])[:, :6]
    torch.testing.assert_close(
        tiny.encode_embedded(tiny.embed_tokens(tokens), tokens), tiny.encode_text(["a red circle"]), atol=1e-5, rtol=0
    )


def test_patches_of_the_native_size_keep_their_positions(tiny) -> None:
    pixels = torch.rand(1, 3, 64, 64)
    visual = tiny.model.visual
    tokens, grid = embed_patches(visual, pixels)
    torch.testing.assert_close(tokens, visual._embeds(pixels))
    assert grid == (8, 8)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (104, 72), (40, 200)])
def test_windows_are_the_mean_of_squares_that_overlap_by_half(tiny, size) -> None:
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))
    height, width = size
    total = torch.zeros(2, height // 8, width // 8, 128)
    for top in sorted({*range(0, max(height - 64, 0), 32), max(height - 64, 0)}):
        for left in sorted({*range(0, max(width - 64, 0), 32), max(width - 64, 0)}):
            rows = tiny.dense(pixels[:, :, top : top + 64, left : left + 64], "sclip")
            total[:, top // 8 : top // 8 + rows.shape[1], left // 8 : left // 8 + rows.shape[2]] += rows
    expected = total / total.norm(dim=-1, keepdim=True)
    assert torch.allclose(tiny.dense(pixels, "sclip", windows=True), expected, atol=1e-5)


def test_windows_of_images_that_do_not_split_into_patches_are_refused(tiny) -> None:
    with pytest.raises(DataError, match="100 x 70"):
        tiny.dense(torch.rand(1, 3, 100, 70), windows=True)
