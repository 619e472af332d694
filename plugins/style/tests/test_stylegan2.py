"""The generator: parity with the published code, properties, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from clipzoo_style.checkpoints import from_nvlabs, untrained
from clipzoo_style.latents import Latent, joined
from clipzoo_style.pickles import StoredNetwork
from clipzoo_style.stylegan2 import ModulatedConv, config_f_channels

from clipzoo.errors import ConfigError, DataError


def test_images_are_those_of_the_published_code(official, oracle, close):
    stored = oracle("stylegan2")
    w = official.map(stored["z"])
    close(w, stored["w"])
    close(official.render(w), stored["img_from_z"])
    close(official.render(official.truncate(w, 0.7)), stored["img_trunc_0.7"])
    close(official.render(stored["wplus"]), stored["img_from_wplus"])
    maps = [stored[f"noise_explicit.{k:02d}"] for k in range(7)]
    close(official.render(stored["wplus"], maps), stored["img_explicit_noise"])


def test_styles_and_their_edits_are_those_of_the_published_code(official, oracle, close):
    stored = oracle("stylegan2")
    for k, style in enumerate(official.split_styles(official.latent(stored["wplus"]))):
        close(style, stored[f"S.{k:02d}"].flatten(1))
    edited = [stored[f"S_edit.{k:02d}"].clone().requires_grad_() for k in range(11)]
    image = official.render(edited)
    close(image.detach(), stored["img_from_S_edit"])
    (image * stored["cotangent"]).sum().backward()
    for k, part in enumerate(edited):
        close(part.grad, stored[f"grad_S_edit.{k:02d}"])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_published_code(official, oracle, checkpointing, close):
    stored = oracle("stylegan2")
    official.checkpointing = checkpointing
    code = stored["wplus"].clone().requires_grad_()
    (official.render(code) * stored["cotangent"]).sum().backward()
    official.checkpointing = False
    close(code.grad, stored["grad_wplus"])


@pytest.mark.parametrize("case", ["uncond", "cond_map2_clamp"])
def test_nvidia_networks_give_their_images(oracle, case, close, weights):
    stored = oracle(f"ada_{case}")
    clamp = {"synthesis_kwargs": {"conv_clamp": 2.0}} if "clamp" in case else {}
    generator = from_nvlabs(StoredNetwork("Generator", clamp, weights(stored)))
    labels = (stored["c"],) if "c" in stored else ()
    w = generator.map(stored["z"], *labels)
    close(w, stored["ws"][:, 0])
    close(generator.truncate(w, 0.7).codes[:, None].expand(-1, 8, -1), stored["ws_psi0.7"])
    close(generator.truncate(w, 0.7, 3).codes, stored["ws_psi0.7_cut3"])
    close(generator.render(w), stored["img_const"])
    close(generator.render(w, "none"), stored["img_none"])
    for k, style in enumerate(generator.split_styles(generator.latent(stored["wplus"]))):
        close(style, stored[f"affine_wplus.{k:02d}"])


def test_styles_of_styleclips_pytorch_port_are_ours(oracle, close, weights):
    generator = from_nvlabs(StoredNetwork("Generator", {}, weights(oracle("ada_uncond"))))
    stored = oracle("global_torch_s")
    ours = generator.split_styles(generator.latent(stored["wplus"]))
    for k, style in enumerate(ours):
        close(style, stored[f"S.{k:02d}"])
    close(generator.render([stored[f"S_edit.{k:02d}"] for k in range(11)]), stored["img_from_S_edit"])


def test_a_modulated_convolution_is_one_with_modulated_weights():
    torch.manual_seed(0)
    layer = ModulatedConv(3, 4, 3, 5)
    x, style = torch.randn(2, 3, 6, 6), torch.rand(2, 3) + 0.5
    ours = layer(x, style).detach().double().numpy()
    weight = layer.weight[0].detach().double().numpy()
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for image in range(2):
        own = weight * style[image].double().numpy()[None, :, None, None] / math.sqrt(27)
        own /= np.sqrt((own**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        for row in range(6):
            for column in range(6):
                patch = padded[image, :, row : row + 3, column : column + 3]
                expected = (own * patch).sum((1, 2, 3))
                assert np.allclose(ours[image, :, row, column], expected, atol=1e-5)


def test_config_f_has_the_published_counts():
    widths = config_f_channels(1024)
    assert widths == {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    with torch.device("meta"):
        from clipzoo_style.stylegan2 import StyleGAN2

        generator = StyleGAN2(1024)
    layers = generator.style_layers
    assert generator.num_layers == 18 and len(layers) == 26 and generator.num_styles == 9088
    assert sum(one.channels for one in layers if one.to_rgb) == 3040
    assert sum(one.channels for one in layers if not one.to_rgb and one.resolution <= 128) == 5376
    assert [one.w_index for one in layers] == [0, 1, *[2 * j + k for j in range(8) for k in (1, 2, 3)]]


def test_codes_of_every_space_give_the_same_image(small):
    w = small.sample(2, seed=4)
    plus = Latent("w+", small.w_plus(w))
    expected = small.synthesize(w)
    for code in (plus, small.styles(w), plus.codes, small.split_styles(w)):
        assert torch.allclose(small.synthesize(code), expected, atol=1e-6)
    assert expected.min() >= 0 and expected.max() <= 1
    assert torch.equal(small.truncate(w, 0.0).codes, small.w_mean.expand(2, -1))


def test_a_batch_is_its_images_one_by_one(small):
    codes = small.sample(3, seed=1)
    together = small.render(codes)
    for row in range(3):
        assert torch.allclose(small.render(codes[slice(row, row + 1)])[0], together[row], atol=1e-5)


def test_noise_is_fixed_unless_it_is_asked_for(small):
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if "noise" in name:
                parameter.fill_(0.3)
    code = small.sample(1)
    assert torch.equal(small.render(code), small.render(code))
    draws = [small.render(code, "fresh", torch.Generator().manual_seed(k)) for k in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert not torch.equal(small.render(code, "none"), small.render(code))


def test_half_precision_stays_near(small):
    code = small.sample(2, seed=3)
    exact = small.synthesize(code)
    small.dtype = torch.bfloat16
    rough = small.synthesize(code)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05
    assert (rough - exact).abs().max() > 0


def test_one_code_may_come_without_its_batch_axis(small):
    code = torch.randn(8, 16)
    assert small.latent(code).codes.shape == (1, 8, 16)
    assert small.latent(code[None]).codes.shape == (1, 8, 16)
    assert small.latent(torch.randn(3, 16)).space == "w"


def test_as_many_seeds_as_layers_are_no_code_of_w_plus(small):
    z = torch.randn(small.num_layers, small.z_dim)
    images = small.synthesize(small.map(z))
    assert images.shape[0] == small.num_layers
    assert torch.allclose(images[:3], small.synthesize(small.map(z[:3])), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 18, 16), (2, 7, 16), (3, 17), (2, 8, 15), ()])
def test_a_code_of_another_generator_is_refused(small, shape):
    with pytest.raises(DataError, match="32 px"):
        small.synthesize(torch.randn(shape))


def test_a_code_of_eighteen_layers_is_named(small):
    with pytest.raises(DataError, match="1024 px"):
        small.latent(torch.randn(1, 18, 16))


def test_wrong_calls_are_refused(small):
    with pytest.raises(DataError, match="shape"):
        small.map(torch.randn(2, 17))
    with pytest.raises(DataError, match="without classes"):
        small.map(torch.randn(2, 16), torch.zeros(2, 3))
    with pytest.raises(DataError, match="conditioned on 3 classes"):
        untrained(8, style_dim=4, mapping_layers=1, channels={4: 2, 8: 2}, label_dim=3).map(torch.randn(2, 4))
    with pytest.raises(DataError, match="noise"):
        small.render(small.sample(1), [torch.zeros(1, 1, 4, 4)])
    with pytest.raises(DataError, match="no W"):
        small.w_plus(small.styles(small.sample(1)))
    with pytest.raises(ConfigError, match="power of two"):
        untrained(48)
    with pytest.raises(ConfigError, match="channels"):
        untrained(16, channels={4: 2, 8: 2})
    with pytest.raises(DataError, match="one space"):
        joined([small.sample(1), small.styles(small.sample(1))])


def test_the_global_random_state_stays(small, small_shape):
    before = torch.get_rng_state()
    untrained(32, **small_shape)
    small.sample(2, seed=1)
    assert torch.equal(before, torch.get_rng_state())
