"""Against stored output of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipzoo_train.distillation import distillation_loss
from clipzoo_train.objectives import QueueObjective
from clipzoo_train.pair import build_pair
from clipzoo_train.projection import ResidualHead
from clipzoo_train.splitting import simpleclip_validation
from clipzoo_train.token_dropping import TokenDropping, kept_tokens

from clipzoo.losses import contrastive_loss, soft_target_loss


def test_distillation_is_that_of_open_clip(oracle):
    stored = {key.removeprefix("distil/"): torch.from_numpy(value) for key, value in oracle("training").items()}
    image, text = (stored[name].requires_grad_() for name in ("image", "text"))
    scale = stored["logit_scale_param"].requires_grad_()
    # open_clip takes unit features as they come; these are unit up to single precision.
    told = distillation_loss(
        image,
        text,
        scale.exp(),
        stored["dist_image"],
        stored["dist_text"],
        float(stored["dist_logit_scale"]),
        normalise=False,
    )
    torch.testing.assert_close(told, stored["distill_loss"], rtol=1e-10, atol=1e-12)
    own = contrastive_loss(image, text, scale.exp(), normalise=False)
    torch.testing.assert_close(own, stored["contrastive_loss"], rtol=1e-10, atol=1e-12)
    (own + told).backward()
    for name, value in (("image", image), ("text", text), ("logit_scale_param", scale)):
        torch.testing.assert_close(value.grad, stored[f"grad_{name}"], rtol=1e-10, atol=1e-12)


def test_head_and_loss_are_those_of_simpleclip(oracle):
    stored = {key: torch.from_numpy(value) for key, value in oracle("simpleclip").items()}
    heads = {}
    for name, width in (("image", 48), ("text", 40)):
        heads[name] = ResidualHead(width, 32).eval()
        prefix = f"sd/{name}_projection."
        heads[name].load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
    features = {name: stored[f"{name}_features"].requires_grad_() for name in heads}
    rows = {name: heads[name](features[name]) for name in heads}
    for name in heads:
        torch.testing.assert_close(rows[name], stored[f"{name}_embeddings"], rtol=1e-5, atol=1e-5)
    loss = soft_target_loss(rows["image"], rows["text"], compat="shariatnia")
    torch.testing.assert_close(loss, stored["tau1.0/loss"], rtol=1e-5, atol=1e-6)
    loss.backward()
    for name in heads:
        torch.testing.assert_close(features[name].grad, stored[f"tau1.0/grad_{name}_features"], rtol=1e-4, atol=1e-5)
        for layer in ("projection", "fc", "layer_norm"):
            expected = stored[f"tau1.0/grad/{name}_projection.{layer}.weight"]
            own = getattr(heads[name], layer).weight.grad
            assert float((own - expected).abs().max()) <= 1e-4 * float(expected.abs().max()) + 1e-6


@pytest.mark.parametrize("share", [0.5, 0.75, 0.3])
def test_tokens_are_dropped_as_in_flip(oracle, share):
    stored = {key: torch.from_numpy(value) for key, value in oracle("training").items() if key.startswith("flip")}
    kept = kept_tokens(stored["flip/noise"], share)
    assert torch.equal(kept, stored[f"flip/r{share}/ids_keep"])


def test_dropped_tokens_are_rows_of_the_input(oracle, monkeypatch):
    stored = {key: torch.from_numpy(value) for key, value in oracle("training").items() if key.startswith("flip")}
    monkeypatch.setattr(torch, "rand", lambda *shape, **how: stored["flip/noise"])
    tokens = torch.cat([torch.full((3, 1, 8), 7.0), stored["flip/x"]], 1)
    dropping = TokenDropping(0.5)
    found = dropping(tokens)
    assert torch.equal(found[:, 1:], stored["flip/r0.5/x_kept"]) and bool((found[:, 0] == 7).all())
    assert torch.equal(dropping.eval()(tokens), tokens)


def test_the_split_is_that_of_simpleclip(oracle):
    stored = oracle("training")["split/ids0to999/valid_ids_sorted"]
    assert np.array_equal(np.sort(simpleclip_validation(1000)), stored)


@pytest.mark.parametrize(("momentum", "steps"), [(0.9, 1), (0.9, 10), (0.999, 50)])
def test_key_towers_are_the_average_of_moco(oracle, nano, momentum, steps):
    stored = {key: torch.from_numpy(value) for key, value in oracle("training").items() if key.startswith("ema")}
    pair = build_pair(nano)
    objective = QueueObjective(pair, 0, momentum, 16)
    assert objective.keys is not None
    own, key = pair.model.visual.conv1.weight, objective.keys.model.visual.conv1.weight
    count = stored["ema/query"].numel()
    with torch.no_grad():
        own.reshape(-1)[:count] = stored["ema/query"].reshape(-1)
        key.reshape(-1)[:count] = stored["ema/key0"].reshape(-1)
    objective._fresh = torch.zeros(2, 16), torch.zeros(2, 16)
    batch = type("Rows", (), {"images": torch.arange(2)})()
    for _ in range(steps):
        objective.after_step(batch, None)
    expected = stored[f"ema/m{momentum}/after{steps}"].reshape(-1)
    torch.testing.assert_close(key.detach().reshape(-1)[:count], expected, rtol=1e-5, atol=1e-6)
