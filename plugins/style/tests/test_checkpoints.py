"""Files: three published layouts, written here and read back; hostile and mixed-up ones are refused."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import zipfile
from typing import ClassVar

import numpy as np
import pytest
import torch
from clipzoo_style import load_stylegan2, read_nvlabs_pickle, save_stylegan2
from clipzoo_style.checkpoints import nvlabs_state, rosinality_state, untrained
from clipzoo_style.pickles import read_array_pickle

from clipzoo.errors import ClipzooError, ConfigError, DataError, WeightsError


class _Named:
    """Pickles as a call of a function that has to exist nowhere."""

    def __init__(self, module: str, name: str, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class _Writer(pickle._Pickler):
    """Writes names of modules that are not installed, as files of others do."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_named(self, value: _Named) -> None:
        self.write(b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n")
        self.save(tuple(value.arguments))
        self.write(pickle.REDUCE)
        self.memoize(value)

    dispatch[_Named] = save_named


def _pickled(value: object) -> bytes:
    stream = io.BytesIO()
    _Writer(stream, 4).dump(value)
    return stream.getvalue()


def _storage(tensor: torch.Tensor) -> _Named:
    plain = tensor.contiguous().clone().untyped_storage()
    stream = io.BytesIO()
    typed = torch.storage.TypedStorage(wrap_storage=plain, dtype=tensor.dtype, _internal=True)
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    return _Named("torch.storage", "_load_from_bytes", stream.getvalue())


def _tensor(tensor: torch.Tensor) -> _Named:
    tensor = tensor.contiguous()
    rebuilt = _Named(
        "torch._utils",
        "_rebuild_tensor_v2",
        _storage(tensor),
        0,
        tuple(tensor.shape),
        tuple(tensor.stride()),
        False,
        collections.OrderedDict(),
    )
    return rebuilt


def _module(name: str, tensors: dict[str, torch.Tensor], **settings) -> _Named:
    """A persistent module as stylegan2-ada-pytorch pickles it, with children for the dots in the names."""
    own = {key: _tensor(value) for key, value in tensors.items() if "." not in key}
    children: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if "." in key:
            head, _, tail = key.partition(".")
            children.setdefault(head, {})[tail] = value
    state = {
        "_parameters": {
            key: _Named("torch._utils", "_rebuild_parameter", value, True, {}) for key, value in own.items()
        },
        "_buffers": {},
        "_modules": {head: _module(head, inner) for head, inner in children.items()},
        "_init_kwargs": settings,
    }
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('the source was executed')",
        "class_name": name,
        "state": state,
    }
    return _Named("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


@pytest.fixture
def generator():
    return untrained(32, style_dim=8, mapping_layers=3, channels={4: 6, 8: 6, 16: 4, 32: 4}, seed=5).set_mean(64)


def same(one, other) -> None:
    assert one.size == other.size and one.channels == other.channels and one.clamp == other.clamp
    assert torch.equal(one.w_mean, other.w_mean)
    z = torch.randn(2, one.z_dim, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one.render(one.map(z)), other.render(other.map(z)))


@pytest.mark.parametrize(
    ("name", "layout"), [("g.pt", "rosinality"), ("g.safetensors", "rosinality"), ("g.safetensors", "nvlabs")]
)
def test_what_is_saved_is_loaded(generator, tmp_path, name, layout):
    path = save_stylegan2(generator, tmp_path / name, layout)
    loaded = load_stylegan2(path)
    same(loaded, generator)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert list(tmp_path.iterdir()) == [path]


def test_rosinality_training_files_load_with_and_without_kernels(generator, tmp_path):
    state = rosinality_state(generator)
    bare = {key: value for key, value in state.items() if not key.endswith(".kernel")}
    assert len(bare) < len(state)
    for number, g_ema in enumerate((state, bare)):
        path = tmp_path / f"{number}.pt"
        torch.save({"g": state, "d": {}, "g_ema": g_ema, "g_optim": {}, "latent_avg": generator.w_mean}, path)
        same(load_stylegan2(path), generator)


def test_a_file_without_a_mean_gets_the_same_one_each_time(generator, tmp_path):
    torch.save({"g_ema": rosinality_state(generator)}, tmp_path / "g.pt")
    one, two = load_stylegan2(tmp_path / "g.pt"), load_stylegan2(tmp_path / "g.pt")
    assert torch.equal(one.w_mean, two.w_mean)


def test_nvidia_pickles_are_read_and_their_source_is_not_run(generator, tmp_path):
    state = nvlabs_state(generator)
    settings = {"img_resolution": 32, "synthesis_kwargs": {"conv_clamp": 256}}
    content = {"training_set_kwargs": None, "G": None, "G_ema": _module("Generator", state, **settings)}
    path = tmp_path / "g.pkl"
    path.write_bytes(_pickled(content))
    network = read_nvlabs_pickle(path)["G_ema"]
    assert network.class_name == "Generator" and network.settings == settings
    assert network.tensors.keys() == state.keys()
    assert all(torch.equal(network.tensors[key], state[key]) for key in state)
    loaded = load_stylegan2(path)
    assert loaded.clamp == 256
    generator.clamp = 256
    same(loaded, generator)


def test_a_conditional_model_with_another_z_survives(tmp_path):
    made = untrained(16, style_dim=6, z_dim=10, mapping_layers=2, channels={4: 4, 8: 4, 16: 4}, label_dim=3, clamp=8.0)
    save_stylegan2(made, tmp_path / "g.safetensors")
    loaded = load_stylegan2(tmp_path / "g.safetensors")
    assert (loaded.label_dim, loaded.z_dim, loaded.clamp) == (3, 10, 8.0)
    assert torch.equal(loaded.render(loaded.sample(2)), made.render(made.sample(2)))
    with pytest.raises(ConfigError, match="safetensors"):
        save_stylegan2(made, tmp_path / "g.pt")


# What is refused


class _Attack:
    def __reduce__(self):
        return os.system, ("touch executed",)


class _NestedAttack:
    def __reduce__(self):
        return pickle.loads, (pickle.dumps(_Attack()),)


def _attacks() -> dict[str, bytes]:
    inner = pickle.dumps(_Attack())
    torch_file = io.BytesIO()
    torch.save({"g_ema": _Attack()}, torch_file)
    legacy = io.BytesIO()
    torch.save({"g_ema": _Attack()}, legacy, _use_new_zipfile_serialization=False)
    storage = _Named("torch.storage", "_load_from_bytes", inner)
    hidden = {"G_ema": _module("Generator", {"a": torch.zeros(1)})}
    found = {
        "system": inner,
        "nested": pickle.dumps(_NestedAttack()),
        "protocol 0": pickle.dumps(_Attack(), 0),
        "eval": b'c__builtin__\neval\n(S\'open("executed","w")\'\ntR.',
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0etouch executed\x85R.",
        "attribute": b"\x80\x04\x8c\x05torch\x8c\x0bhub.os.fork\x93.",
        "in a storage": _pickled({"G_ema": storage}),
        "in torch.save": torch_file.getvalue(),
        "in old torch.save": legacy.getvalue(),
        "beside a network": _pickled({**hidden, "extra": _Named("os", "system", "touch executed")}),
        "object array": _pickled({"G_ema": _Named("numpy", "dtype", "O", False, True)}),
    }
    return found


@pytest.mark.parametrize("name", list(_attacks()))
def test_hostile_files_are_refused_and_nothing_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(_attacks()[name])
    with pytest.raises(WeightsError):
        load_stylegan2(path)
    with pytest.raises(ClipzooError):
        read_array_pickle(path)
    assert not (tmp_path / "executed").exists()


def test_functions_of_the_reader_cannot_be_changed(tmp_path):
    # BUILD on a stand-in: what a file sets must not stay for the next file.
    hostile = b"ctorch._utils\n_rebuild_tensor_v2\n}(S'_work'\nctorch.storage\n_load_from_bytes\nub."
    path = tmp_path / "x.pkl"
    path.write_bytes(hostile)
    with pytest.raises(DataError):
        read_array_pickle(path)


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 10 << 30) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 10 << 30) + b"abc.",
        b"\x80\x04\x95" + struct.pack("<Q", 10 << 30) + b"N.",
        b"\x80\x04Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
        b"\x80\x04X" + struct.pack("<I", (1 << 32) - 1) + b"a.",
    ],
    ids=["bytes", "bytearray", "frame", "memo", "text"],
)
def test_a_claim_of_ten_gigabytes_reserves_nothing(tmp_path, claim):
    import resource

    path = tmp_path / "claim.pkl"
    path.write_bytes(claim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError):
        load_stylegan2(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    tensor = torch.arange(4.0)
    rebuilt = _Named("torch._utils", "_rebuild_tensor_v2", _storage(tensor), 0, (1 << 32,), (1,), False, {})
    path = tmp_path / "x.pkl"
    path.write_bytes(_pickled([rebuilt]))
    with pytest.raises(DataError, match="storage of 4 numbers"):
        read_array_pickle(path)


def test_damaged_files_are_refused(generator, tmp_path):
    for name in ("g.pt", "g.safetensors"):
        path = save_stylegan2(generator, tmp_path / name)
        content = path.read_bytes()
        for cut in (0, 7, len(content) // 2, len(content) - 9):
            path.write_bytes(content[:cut])
            with pytest.raises(WeightsError):
                load_stylegan2(path)
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02.")
    for path in (tmp_path / "z.pt", tmp_path / "absent.pt", tmp_path):
        with pytest.raises(WeightsError):
            load_stylegan2(path)


def test_mixed_up_checkpoints_are_named(generator, tmp_path):
    state = rosinality_state(generator)
    cases = {
        "discriminator": {"g_ema": {"convs.0.0.weight": torch.zeros(1), "final_linear.0.weight": torch.zeros(1)}},
        "StyleGAN3": {"synthesis.input.freqs": torch.zeros(1), "synthesis.L0.up_filter": torch.zeros(1)},
        "latent mapper": {"state_dict": {"mapper.course_mapping.mapping.1.weight": torch.zeros(1)}, "opts": {}},
        "e4e": {"state_dict": {"encoder.body.0.x": torch.zeros(1)}, "opts": {}},
        "does not fit": {"g_ema": {key: value for key, value in state.items() if key != "convs.3.activate.bias"}},
        "bogus": {"g_ema": state | {"bogus.weight": torch.zeros(1)}},
        "NaN": {"g_ema": state | {"input.input": torch.full_like(state["input.input"], float("nan"))}},
        "no generator": {"g_ema": {"layer.weight": torch.zeros(2)}},
        "g_ema": {"model": torch.zeros(1), "step": 3},
    }
    for text, content in cases.items():
        path = tmp_path / "x.pt"
        torch.save(content, path)
        with pytest.raises(WeightsError, match=text):
            load_stylegan2(path)
    save_stylegan2(generator, tmp_path / "g.pt")
    with pytest.raises(WeightsError, match="32 px"):
        load_stylegan2(tmp_path / "g.pt", size=64)


def test_what_cannot_be_written_is_refused(generator, tmp_path):
    for name, layout in (("g.pkl", "rosinality"), ("g.pt", "nvlabs"), ("g.safetensors", "tensorflow")):
        with pytest.raises(ConfigError):
            save_stylegan2(generator, tmp_path / name, layout)
    with pytest.raises(WeightsError):
        save_stylegan2(generator, "/proc/nowhere/g.safetensors")


def test_lists_of_arrays_are_read(tmp_path):
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((3, 2), order="F")]
    path = tmp_path / "S"
    path.write_bytes(pickle.dumps([["a", "b"], arrays], 3))
    names, found = read_array_pickle(path)
    assert names == ["a", "b"]
    assert all(np.array_equal(one, other) for one, other in zip(found, arrays, strict=True))
    path.write_bytes(pickle.dumps(np.array([{"a": 1}], dtype=object)))
    with pytest.raises(DataError):
        read_array_pickle(path)


@pytest.mark.data
def test_published_files_load(real_weights, oracle, weights):
    folder = real_weights.parent / "oracle" / "generative"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    stored = oracle("ada_uncond")
    network = read_nvlabs_pickle(folder / "stylegan2_ada_32_uncond_seed0_nosrc.pkl")["G_ema"]
    assert all(torch.equal(network.tensors[key], value) for key, value in weights(stored).items())
    with pytest.raises(WeightsError, match="bogus"):
        load_stylegan2(folder / "stylegan2_rosinality_32_BAD_keys.pt")
