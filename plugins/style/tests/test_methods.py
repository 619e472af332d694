"""Optimisation, mapper, directions and adaptation: parity with the published code, and what each must do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from clipzoo_style import ChannelDirections, DomainAdapter, LatentMapper, LatentOptimizer, Ranger, Sweep, build_banks
from clipzoo_style.adaptation import PHASES, diversity, layer_at, trainable_names
from clipzoo_style.checkpoints import untrained
from clipzoo_style.directions import _tried, bank_rows, sweep_codes
from clipzoo_style.encoding import bare, seen, styleclip_templates, templates_for
from clipzoo_style.identity import IRSE50, MobileFaceNet, face_crops, identity_loss, load_identity
from clipzoo_style.latent_optimisation import ramped_rate
from clipzoo_style.latents import Latent
from clipzoo_style.mapper import mapper_loss

from clipzoo.errors import ConfigError, DataError, WeightsError
from clipzoo.losses import text_direction

WIDTHS = (24, 24, 24, 20, 20, 20, 16, 16, 16, 12, 12)
TO_RGB = tuple(k in (1, 4, 7, 10) for k in range(11))


def flat(stored: dict, name: str, axis: int = 1) -> torch.Tensor:
    """The styles of all layers after one another."""
    parts = [stored[f"{name}.{k:02d}"] for k in range(11)]
    return torch.cat([part.flatten(1) if part.ndim == 5 else part for part in parts], axis)


# Latent optimisation


def test_the_rate_rises_and_falls_as_published(oracle, close):
    stored = oracle("optimise")
    for steps in (300, 40):
        close(torch.tensor([ramped_rate(step, steps) for step in range(steps)]), stored[f"lr_ramp_{steps}"])


def published(stored, linear_encoder, official):
    from torch.nn.functional import normalize

    linear_encoder.matrix = stored["clip_A"]
    linear_encoder.encode_text = lambda sentences: normalize(stored["text_feat"], dim=1)
    return linear_encoder


def recogniser(stored, weights):
    import re

    network = IRSE50((16, 16, 32, 32), (1, 2, 1, 2), 32)
    state = {k: v for k, v in weights(stored).items() if re.search(r"(input_layer|body|output_layer)", k)}
    network.load_state_dict(
        {re.sub(r"^.*?(input_layer|body|output_layer)", r"\1", k): v for k, v in state.items()}, strict=False
    )
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(("case", "steps"), [("wplus", 20), ("wplus_id", 10)])
def test_codes_move_as_in_the_published_code(oracle, official, linear, close, weights, case, steps):
    stored = oracle("optimise")
    person = recogniser(stored, weights) if case == "wplus_id" else None
    optimizer = LatentOptimizer(
        official,
        published(stored, linear, official),
        steps=steps,
        compat="upstream",
        identity=person,
        identity_weight=0.005,
    )
    way = []
    found = optimizer.edit(stored["w0"], "x", on_step=lambda moment: way.append(moment.parameters["code"].clone()))
    close(torch.stack(way).detach(), stored[f"{case}.latent_traj"], 1e-4)
    assert torch.allclose(found.history["loss"].flatten(), stored[f"{case}.loss_4dp"], atol=6e-5)
    assert torch.equal(way[0], stored["w0"])  # the first step has the rate zero


def test_styles_move_as_in_the_published_code(oracle, official, linear, close):
    stored = oracle("optimise")
    optimizer = LatentOptimizer(official, published(stored, linear, official), steps=10, space="s", compat="upstream")
    found = optimizer.edit(stored["w0"], "x")
    close(found.after.codes, flat(stored, "sspace.S_final"), 1e-4)
    for layer in official.style_layers:
        same = torch.equal(found.after.codes[:, layer.span], found.before.codes[:, layer.span])
        assert same == layer.to_rgb


def test_a_batch_of_edits_is_each_alone(small, linear):
    codes = small.sample(2, seed=1)
    prompts = ["one", "two"]
    together = LatentOptimizer(small, linear, steps=5).edit(codes, prompts)
    assert together.labels == ["one", "two", "one", "two"]
    apart = LatentOptimizer(small, linear, steps=5, batch_size=1).edit(codes, prompts)
    assert torch.allclose(together.after.codes, apart.after.codes, atol=1e-4)
    alone = LatentOptimizer(small, linear, steps=5).edit(codes[slice(1, 2)], "one")
    assert torch.allclose(together.after.codes[2:3], alone.after.codes, atol=1e-4)


def test_the_agreement_rises_and_l2_holds_it_back(small, linear):
    codes = small.sample(2, seed=1)
    free = LatentOptimizer(small, linear, steps=30, l2=0.0).edit(codes, "a thing")
    assert (free.history["clip"][-1] < free.history["clip"][0] - 0.05).all()
    held = LatentOptimizer(small, linear, steps=30, l2=1.0).edit(codes, "a thing")
    moved = [(one.after.codes - one.before.codes).norm() for one in (free, held)]
    assert moved[1] < moved[0] / 2


def test_an_interrupted_optimisation_goes_on(small, linear, tmp_path):
    codes = small.sample(1, seed=1)
    whole = LatentOptimizer(small, linear, steps=60).edit(codes, "x")

    def stop(moment):
        if moment.step == 54:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LatentOptimizer(small, linear, steps=60).edit(codes, "x", checkpoint=tmp_path, on_step=stop)
    again = LatentOptimizer(small, linear, steps=60).edit(codes, "x", checkpoint=tmp_path, resume=True)
    assert torch.equal(again.after.codes, whole.after.codes)


@pytest.mark.parametrize("space", ["w", "w+", "s"])
def test_a_wide_search_moves_each_edit_alone_and_along_its_direction(small, linear, space):
    wide = {"space": space, "neutral": "a thing", "templates": ["{}"], "jitter": 1.0, "rate": 0.2, "l2": 1e-4}
    codes = small.sample(2, seed=1)
    found = LatentOptimizer(small, linear, steps=25, **wide).edit(codes, ["one", "two"])
    apart = LatentOptimizer(small, linear, steps=25, batch_size=1, **wide).edit(codes, ["one", "two"])
    assert torch.allclose(found.after.codes, apart.after.codes, atol=1e-3)
    before, after = (linear.encode_image(small.synthesize(one)).double().numpy() for one in (found.before, found.after))
    texts = linear.encode_text(["a thing", "one", "two"]).double().numpy()
    for row, change in enumerate(after - before):
        along = texts[1 + row % 2] - texts[0]
        assert change @ along / np.linalg.norm(change) / np.linalg.norm(along) > 0.25
    if space == "s":
        for layer in small.style_layers:
            if layer.to_rgb:
                assert torch.equal(found.after.codes[:, layer.span], found.before.codes[:, layer.span])


def test_a_search_in_w_moves_all_rows_of_w_plus_alike(small, linear):
    codes = Latent("w+", small.w_plus(small.sample(1, seed=1)) + 0.1 * torch.randn(1, small.num_layers, 16))
    for jitter in (0.0, 1.0):
        found = LatentOptimizer(small, linear, steps=5, space="w", l2=0.01, jitter=jitter).edit(codes, "a thing")
        moved = found.after.codes - codes.codes
        assert moved.abs().max() > 1e-3 and torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-6)
        if not jitter:
            length = moved[0, 0].square().sum()  # of one row, not of all
            last = LatentOptimizer(small, linear, steps=5, space="w", l2=0.01).edit(codes, "a thing").history
            assert last["distance"][-1] <= length * 1.5
    with pytest.raises(DataError, match="S"):
        LatentOptimizer(small, linear, space="w").edit(small.styles(codes), "a thing")


def test_the_noise_of_an_interrupted_search_goes_on(small, linear, tmp_path):
    codes = small.sample(1, seed=1)
    wide = {"steps": 60, "space": "s", "jitter": 1.0, "neutral": "a thing", "templates": ["{}"]}
    whole = LatentOptimizer(small, linear, **wide).edit(codes, "x")

    def stop(moment):
        if moment.step == 54:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LatentOptimizer(small, linear, **wide).edit(codes, "x", checkpoint=tmp_path, on_step=stop)
    again = LatentOptimizer(small, linear, **wide).edit(codes, "x", checkpoint=tmp_path, resume=True)
    assert torch.equal(again.after.codes, whole.after.codes)
    with pytest.raises(ConfigError, match="jitter"):
        LatentOptimizer(small, linear, **{**wide, "jitter": 2.0}).edit(codes, "x", checkpoint=tmp_path, resume=True)


def test_settings_that_make_no_sense_are_refused(small, linear):
    for wrong in ({"space": "z"}, {"jitter": -1.0}, {"steps": 0}, {"rate": 0.0}, {"l2": -1.0}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            LatentOptimizer(small, linear, **wrong)
    for prompts in ("", [], [" "]):
        with pytest.raises(DataError):
            LatentOptimizer(small, linear, steps=1).edit(small.sample(1), prompts)


# Identity


def test_the_person_is_seen_as_published(oracle, close, weights):
    stored = oracle("optimise")
    network = recogniser(stored, weights)
    close(network.embed(stored["id_a_32"]), stored["id_feats_32"])
    close(identity_loss(network, stored["id_b_32"], stored["id_a_32"]), stored["id_loss_32"])
    crops = oracle("face_crops")
    close(face_crops(crops["image_64"]), crops["crop_112_from_64"])


def test_a_recogniser_is_told_by_its_keys(tmp_path):
    torch.save(MobileFaceNet().state_dict(), tmp_path / "m.pt")
    loaded = load_identity(tmp_path / "m.pt")
    rows = loaded.embed(torch.randn(2, 3, 64, 64))
    assert isinstance(loaded, MobileFaceNet) and torch.allclose(rows.norm(dim=1), torch.ones(2))
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    for name in ("x.pt", "absent.pt"):
        with pytest.raises(WeightsError):
            load_identity(tmp_path / name)


@pytest.mark.data
def test_published_mobilefacenet_loads(real_weights):
    network = load_identity(real_weights / "mobilefacenet" / "mobilefacenet.pt")
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert identity_loss(network, image, image) < 1e-5 < identity_loss(network, image, other)


# Mapper


def test_mappers_move_codes_as_published(oracle, close, weights):
    stored = oracle("mapper")
    state = weights(stored)
    levels = LatentMapper(32, compat="upstream")
    levels.load_state_dict({k.removeprefix("levels."): v for k, v in state.items() if k.startswith("levels.")})
    code = stored["x"].clone().requires_grad_()
    moved = levels(code)
    close(moved.detach(), stored["levels_out"])
    moved.backward(stored["cotangent"])
    close(code.grad, stored["levels_grad_x"])
    close(levels.apply(stored["x"]).codes.detach(), stored["w_hat_0.1"])
    fixed = LatentMapper(32)
    fixed.load_state_dict(levels.state_dict())
    close(fixed(stored["x"]).detach(), stored["levels_out_feature_axis"])
    single = LatentMapper(32, single=True, compat="upstream")
    single.load_state_dict({k.removeprefix("single.mapping."): v for k, v in state.items() if k.startswith("single.")})
    close(single(stored["x"]).detach(), stored["single_out"])
    styles = LatentMapper(widths=WIDTHS, to_rgb=TO_RGB)
    styles.load_state_dict({k.removeprefix("sspace."): v for k, v in state.items() if k.startswith("sspace.")})
    close(styles(flat(stored, "S")).detach(), flat(stored, "S_mapper_out"))


@pytest.mark.parametrize("parts", [("course", "medium", "fine"), ("course", "medium"), ("fine",)])
def test_published_mappers_load_by_their_keys(oracle, close, weights, tmp_path, parts):
    stored = oracle("mapper")
    state = {k.removeprefix("levels."): v for k, v in weights(stored).items() if k.startswith("levels.")}
    kept = {f"mapper.{k}": v for k, v in state.items() if k.partition("_")[0] in parts}
    content = {"state_dict": {**kept, "decoder.input.input": torch.zeros(1)}, "opts": {"no_fine_mapper": False}}
    torch.save(content, tmp_path / "afro.pt")
    mapper = LatentMapper.load(tmp_path / "afro.pt")
    assert mapper.parts == parts and mapper.compat == "upstream"
    whole = stored["levels_out"]
    for name, rows in (("course", slice(0, 4)), ("medium", slice(4, 8)), ("fine", slice(8, None))):
        expected = whole[:, rows] if name in parts else torch.zeros_like(whole[:, rows])
        close(mapper(stored["x"])[:, rows], expected)


@pytest.mark.parametrize("kind", ["levels", "single", "s"])
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_mapper_survives_a_file(small, tmp_path, kind, ending):
    settings = {"compat": "upstream"} | ({"single": True} if kind == "single" else {})
    mapper = LatentMapper.for_generator(small, "s" if kind == "s" else "w+", **settings)
    loaded = LatentMapper.load(mapper.save(tmp_path / f"m{ending}"))
    code = torch.randn(2, small.num_styles) if kind == "s" else torch.randn(2, 8, 16)
    assert torch.equal(loaded(code), mapper(code))
    assert loaded.compat == mapper.compat


def test_the_mappers_loss_is_the_published_one(oracle, close):
    stored = oracle("optimise")
    loss = mapper_loss(stored["mapper_loss_clip"], stored["mapper_w"], stored["mapper_w_hat"], stored["mapper_loss_id"])
    close(loss.reshape(()), stored["mapper_loss"].reshape(()))


def test_ranger_moves_as_published(oracle, close):
    stored = oracle("ranger")
    for run, rate, decay in (("lr0.5_10", 0.5, 0.0), ("lr0.05_25", 0.05, 0.0), ("lr0.05_wd", 0.05, 0.01)):
        parameters = {n: torch.nn.Parameter(stored[f"{run}.{n}.init"].clone()) for n in "WbK"}
        optimiser = Ranger(parameters.values(), lr=rate, weight_decay=decay)
        for step in range(len(stored[f"{run}.W.traj"])):
            optimiser.zero_grad()
            parts = [
                (stored[f"{run}.{n}.hess"] * (p - stored[f"{run}.{n}.center"]) ** 2).sum()
                for n, p in parameters.items()
            ]
            (sum(parts) / 2).backward()
            optimiser.step()
            for name, parameter in parameters.items():
                close(parameter.detach(), stored[f"{run}.{name}.traj"][step])


def test_a_mapper_learns_and_resumes(small, linear, tmp_path):
    codes = Latent("w+", small.w_plus(small.sample(16, seed=2)).contiguous())
    # A text that an image of this generator can agree with.
    linear.texts["a thing"] = seen(linear, small.render(small.sample(1, seed=77, truncation=1.0)), "fixed")[0]
    settings = {"steps": 40, "batch_size": 8, "rate": 5.0, "l2": 0.0}
    mapper = LatentMapper.for_generator(small, strength=1.0)
    history = mapper.fit(small, linear, "a thing", codes, **settings)
    assert history["clip"][-5:].mean() < history["clip"][:5].mean() * 0.8
    halted = LatentMapper.for_generator(small, strength=1.0)
    file = tmp_path / "state.safetensors"

    def stop(moment):
        if moment.step == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        halted.fit(small, linear, "a thing", codes, checkpoint=file, save_every=20, on_step=stop, **settings)
    again = LatentMapper.for_generator(small, seed=9, strength=1.0)
    again.fit(small, linear, "a thing", codes, checkpoint=file, save_every=20, resume=True, **settings)
    assert all(torch.equal(one, other) for one, other in zip(mapper.parameters(), again.parameters(), strict=True))


def test_mappers_refuse_what_is_none(tmp_path, small):
    torch.save({"state_dict": {"encoder.x": torch.zeros(1)}}, tmp_path / "e.pt")
    for name in ("e.pt", "absent.pt"):
        with pytest.raises(WeightsError):
            LatentMapper.load(tmp_path / name)
    with pytest.raises(DataError, match="for a mapper in w"):
        LatentMapper(16).apply(small.styles(small.sample(1)))
    with pytest.raises(ConfigError, match="parts"):
        LatentMapper(16, parts=["coarse"])
    with pytest.raises(ConfigError, match="decay"):
        LatentMapper(16).fit(small, None, "x", small.sample(1), decay=1.5)


def test_a_rate_that_falls_moves_a_mapper_as_it_says(small, linear):
    codes = Latent("w+", small.w_plus(small.sample(4, seed=1)).contiguous())
    seen_at = {}

    def remember(moment):
        seen_at[moment.step] = torch.cat([one.detach().flatten() for one in moment.parameters.values()]).clone()

    mapper = LatentMapper.for_generator(small)
    mapper.fit(
        small, linear, "x", codes, steps=20, rate=2.0, optimiser="adam", decay=0.5, batch_size=2, on_step=remember
    )
    moved = [float((seen_at[step] - seen_at[step - 1]).abs().max()) for step in (5, 19)]
    # Adam moves by about its rate: 2 at first, and 2 * (1 / 20) / 0.5 = 0.2 in the last step.
    assert 1.0 < moved[0] < 4.0 and 0.05 < moved[1] < 0.4


# Global directions


def test_the_bank_is_the_published_one(oracle, close):
    stored = oracle("global")
    close(bank_rows(stored["F"]), stored["fs3"])
    direction = text_direction(stored["text_feats_neutral"], stored["text_feats_target"], "prototype_diff")
    close(direction, stored["delta_t"])


@pytest.mark.parametrize(
    ("compat", "name"), [("upstream", "sweep_fs3_upstream"), ("fixed", "sweep_fs3_one_channel_at_a_time")]
)
def test_the_sweep_is_the_published_one(oracle, close, compat, name):
    stored = oracle("global")
    codes, mean, deviation = flat(stored, "dlatents"), flat(stored, "code_mean", 0), flat(stored, "code_std", 0)
    bank = ChannelDirections(stored["fs3"], deviation, WIDTHS, TO_RGB)
    channels = bank.places.tolist()
    rows = []
    for index in range(len(channels)):
        looks = _tried(codes, channels, index, mean, deviation, Sweep(images=5, compat=compat))
        features = torch.tanh(looks @ stored["sweep_proj"])
        rows.append(bank_rows(features.reshape(1, len(codes), 2, -1))[0])
    close(torch.stack(rows), stored[name], 2e-4)


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.15, 0.3])
def test_the_step_is_the_published_one(oracle, close, beta):
    stored = oracle("global")
    deviation = flat(stored, "code_std", 0)
    bank = ChannelDirections(stored["fs3"], deviation, WIDTHS, TO_RGB)
    close(bank.relevance(stored["delta_t"]), stored["relevance"])
    step, used, count = bank.movement(stored["delta_t"], beta)
    assert used == beta and count == int(stored[f"beta{beta}.num_channels"])
    close(step, flat(stored, f"beta{beta}.boundary", 0))
    if beta == 0.15:
        alphas = torch.tensor([-3.0, 0.0, 4.1])[None, :, None]
        close(flat(stored, "dlatents")[:, None] + alphas * step, flat(stored, "codes_alpha", 2))


def test_a_short_bank_ends_with_a_layer(oracle):
    stored = oracle("global")
    deviation = flat(stored, "code_std", 0)
    short = ChannelDirections(stored["fs3"][:88], deviation, WIDTHS, TO_RGB)
    step, _, count = short.movement(stored["delta_t"], 0.0)
    assert count == 88 and step[short.places[-1] + 1 :].abs().max() == 0
    with pytest.raises(DataError, match="end of a layer"):
        ChannelDirections(stored["fs3"][:89], deviation, WIDTHS, TO_RGB)
    with pytest.raises(DataError, match="NaN"):
        ChannelDirections(stored["fs3"] * float("nan"), deviation, WIDTHS, TO_RGB)


def test_a_beta_that_removes_everything_names_the_largest(oracle):
    stored = oracle("global")
    bank = ChannelDirections(stored["fs3"], flat(stored, "code_std", 0), WIDTHS, TO_RGB)
    largest = float(stored["relevance"].abs().max())
    with pytest.raises(ConfigError, match=f"{largest:.2f}"):
        bank.movement(stored["delta_t"], largest + 0.01)
    named = np.floor(largest * 10_000) / 10_000
    assert bank.movement(stored["delta_t"], named)[2] == 1
    _, beta, count = bank.movement(stored["delta_t"])
    assert (count > 20 and int((stored["relevance"].abs() >= beta + 0.01).sum()) <= 20) or beta == 0.30


def test_what_is_to_be_kept_is_left_alone(oracle):
    stored = oracle("global")
    bank = ChannelDirections(stored["fs3"], flat(stored, "code_std", 0), WIDTHS, TO_RGB)
    other = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(1)), dim=0)
    step, _, _ = bank.movement(stored["delta_t"], 0.05, keep=[other])
    touched = step[bank.places] != 0
    assert touched.any()
    assert (bank.relevance(stored["delta_t"]).abs() >= bank.relevance(other).abs())[touched].all()
    free, _, _ = bank.movement(stored["delta_t"], 0.05)
    assert (free != 0).sum() > (step != 0).sum()


def test_files_of_styleclip_are_a_bank(oracle, tmp_path, close):
    import pickle

    stored = oracle("global")
    spread = [stored[f"code_std.{k:02d}"].numpy() for k in range(11)]
    mean = [stored[f"code_mean.{k:02d}"].numpy() for k in range(11)]
    names = [f"G_synthesis_1/{'ToRGB' if colours else 'Conv'}/add:0" for colours in TO_RGB]
    np.save(tmp_path / "fs3.npy", stored["fs3"].numpy())
    (tmp_path / "S_mean_std").write_bytes(pickle.dumps([mean, spread], 3))
    (tmp_path / "S").write_bytes(pickle.dumps([names, mean], 3))
    bank = ChannelDirections.load(tmp_path)
    assert bank.widths == WIDTHS and bank.to_rgb == TO_RGB
    close(bank.movement(stored["delta_t"], 0.15)[0], flat(stored, "beta0.15.boundary", 0))
    again = ChannelDirections.load(bank.save(tmp_path / "bank.safetensors"))
    assert torch.allclose(again.rows, bank.rows, atol=1e-3) and torch.equal(again.places, bank.places)
    np.save(tmp_path / "fs3.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(WeightsError):
            ChannelDirections.load(path)


SWEEP = Sweep(images=3, statistics=60)


@pytest.mark.parametrize("place", [5, 40])
def test_a_row_of_the_bank_is_what_its_definition_says(small, linear, place):
    bank = ChannelDirections.build(small, linear, sweep=SWEEP, batch_size=7)
    codes, mean, deviation = sweep_codes(small, SWEEP)
    changes = []
    for code in codes:
        ends = []
        for sign in (-5.0, 5.0):
            tried = code.clone()
            tried[place] = mean[place] + sign * deviation[place]
            row = seen(linear, small.render(Latent("s", tried[None])), "fixed")[0].double().numpy()
            ends.append(row / np.linalg.norm(row))
        change = ends[1] - ends[0]
        changes.append(change / np.linalg.norm(change))
    expected = np.mean(changes, 0)
    expected /= np.linalg.norm(expected)
    row = bank.rows[(bank.places == place).nonzero().item()]
    assert np.allclose(row.numpy(), expected, atol=1e-3)


def test_an_interrupted_bank_goes_on(small, linear, tmp_path):
    whole = ChannelDirections.build(small, linear, sweep=SWEEP)
    file = tmp_path / "bank.safetensors"

    def halting(channels, total):
        for index in channels:
            if index == 40:
                raise KeyboardInterrupt
            yield index

    with pytest.raises(KeyboardInterrupt):
        ChannelDirections.build(small, linear, sweep=SWEEP, checkpoint=file, progress=halting)
    done = len(safetensors.torch.load_file(file)[""])
    seen_channels = []

    def counting(channels, total):
        for index in channels:
            seen_channels.append(index)
            yield index

    again = ChannelDirections.build(small, linear, sweep=SWEEP, checkpoint=file, progress=counting)
    assert 0 < done <= 40 and seen_channels[0] == done
    assert torch.allclose(again.rows, whole.rows, atol=1e-6)
    with pytest.raises(DataError, match="another sweep"):
        ChannelDirections.build(small, linear, sweep=Sweep(images=2, statistics=60), checkpoint=file)
    file.write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged"):
        ChannelDirections.build(small, linear, sweep=SWEEP, checkpoint=file)


def test_two_encoders_share_a_sweep(small, linear):
    from copy import copy

    other = copy(linear)
    other.matrix = -linear.matrix.flip(0)
    both = build_banks(small, {"a": linear, "b": other}, sweep=SWEEP, batch_size=5)
    assert torch.allclose(both["a"].rows, ChannelDirections.build(small, linear, sweep=SWEEP).rows, atol=1e-5)
    assert not torch.allclose(both["a"].rows, both["b"].rows, atol=1e-2)


def test_an_edit_follows_the_text_and_its_sign(small, linear):
    bank = ChannelDirections.build(small, linear, sweep=SWEEP)
    codes = small.sample(3, seed=8)
    found = bank.edit(small, linear, codes, "a face", "a smiling face", alpha=[-4.0, 0.0, 4.0], templates=["{}"])
    direction = bank.text_direction(linear, "a face", "a smiling face", ["{}"])
    score = seen(linear, small.render(found.after), "fixed") @ direction
    lower, still, higher = score.reshape(3, 3).T
    assert torch.equal(found.after.codes[1::3], found.before.codes[1::3])
    assert (higher > still).all() and (lower < still).all()
    other = untrained(16, style_dim=4, mapping_layers=1, channels={4: 4, 8: 4, 16: 4})
    with pytest.raises(DataError, match="styles"):
        bank.edit(other, linear, other.sample(1), "a face", "a smiling face", templates=["{}"])


def test_the_templates_are_the_published_ones():
    import hashlib

    found = styleclip_templates()
    assert len(found) == 79
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    assert digest == "9cf11dc6bfc24c775bd4a500a616fde36d9f19a7c61234bdd111606bd649a0ef"
    assert templates_for("auto", "ViT-B-32/openai") == found != templates_for("auto", "tiny")
    assert bare("an old face") == "old face" and bare("face") == "face"


# Adaptation


def test_the_right_weights_train(small):
    names = trainable_names(small)
    assert {"input.input", "conv1.conv.weight", "conv1.noise.weight", "convs.5.conv.modulation.bias"} <= set(names)
    assert not any(name.startswith(("style.", "to_rgb")) for name in names)
    for phase, (start, end) in PHASES.items():
        kept = {name.split(".")[1] for name in trainable_names(small, phase) if name.startswith("convs")}
        assert kept == {str(k) for k in range(6)[start:end]}


def test_rows_of_w_feed_the_layers_that_the_map_names(small):
    code = small.w_plus(small.sample(1)).clone()
    for row in range(small.num_layers - 1):
        moved = code.clone()
        moved[:, row] += 1.0
        changed = [
            layer.name
            for layer, one, two in zip(
                small.style_layers,
                small.split_styles(Latent("w+", code)),
                small.split_styles(Latent("w+", moved)),
                strict=True,
            )
            if not torch.equal(one, two) and not layer.to_rgb
        ]
        assert changed == [layer_at(row)]
    assert layer_at(3, "upstream") == "convs.1"


@pytest.mark.parametrize("compat", ["fixed", "upstream"])
def test_a_generator_is_moved_and_its_twin_is_not(small, linear, tmp_path, compat):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    settings = {"templates": ["{}"], "batch_size": 4, "rate": 0.01, "noise": "fixed", "compat": compat}
    adapter = DomainAdapter(small, linear, "a photo", "a sketch", **settings)
    history = adapter.fit(25)
    # An image that has not moved has no direction: its loss is one.
    assert history["loss"][0] == pytest.approx(1, abs=1e-3) and history["loss"][-5:].mean() < 0.8
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    code = small.sample(2, seed=3)
    unmoved, whole = adapter.generator_at(0.0), adapter.generator_at(1.0)
    assert torch.equal(unmoved.render(code), small.render(code))
    assert not torch.allclose(whole.render(code), small.render(code), atol=1e-2)
    path = adapter.save(tmp_path / "delta.safetensors")
    again = DomainAdapter(small, linear, "x", "y", templates=["{}"]).load(path)
    assert torch.equal(again.generator_at().render(code), whole.render(code))
    assert again.target == "a sketch"
    with pytest.raises(WeightsError, match="another generator"):
        DomainAdapter(whole, linear, "x", "y", templates=["{}"]).load(path)


def test_adaptation_resumes_and_freezes_layers(small, linear, tmp_path):
    settings = {"templates": ["{}"], "rate": 0.01, "adaptive_layers": 1, "adaptive_batch": 2}
    whole = DomainAdapter(small, linear, "a", "b", **settings)
    whole.fit(60)
    untouched = [name for name, change in whole.delta.items() if change.abs().max() == 0]
    assert untouched and whole.delta["input.input"].abs().max() > 0
    file = tmp_path / "state.safetensors"

    def stop(moment):
        if moment.step == 55:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DomainAdapter(small, linear, "a", "b", **settings).fit(60, checkpoint=file, on_step=stop)
    again = DomainAdapter(small, linear, "a", "b", **settings)
    again.fit(60, checkpoint=file, resume=True)
    assert all(torch.equal(whole.delta[name], change) for name, change in again.delta.items())


def test_adaptation_refuses_what_makes_no_sense(small, linear):
    for wrong in ({"phase": "textures"}, {"noise": "loud"}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            DomainAdapter(small, linear, "a", "b", templates=["{}"], **wrong)
    with pytest.raises(DataError, match="same embedding"):
        DomainAdapter(small, linear, "a", "a", templates=["{}"])
    assert diversity(torch.ones(3, 4)) == pytest.approx(0, abs=1e-6)
    assert diversity(torch.eye(4)) == pytest.approx(1)


def test_published_numbers_are_on_the_paper_card():
    from clipzoo_style.plugin import STYLECLIP

    assert json.dumps(dict(STYLECLIP.paper.published))
