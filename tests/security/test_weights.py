"""No file of weights, of words or of arrays runs anything: a canary would tell."""

from __future__ import annotations

import ast
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from limits import within_limits

import clipzoo
from clipzoo.encoders import remote_weights
from clipzoo.encoders.loading import read_state
from clipzoo.encoders.remote_weights import hub_file, safetensors_alone
from clipzoo.errors import ClipzooError, WeightsError

ROOT = Path(__file__).parents[2]


class _Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.write_text, (self.place, "it ran")


def hostile(place: Path) -> dict[str, bytes]:
    """Pickles in every wrapping that a loader may open."""
    canary = _Canary(place)
    zipped, legacy, objects, npz = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": {"a": canary}}, zipped)
    torch.save({"state_dict": {"a": canary}}, legacy, _use_new_zipfile_serialization=False)
    np.save(objects, np.array([canary], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(npz, "w") as archive:
        archive.writestr("points.npy", objects.getvalue())
    plain = pickle.dumps({"a": canary})
    return {
        "pickle": plain,
        "pickle 0": pickle.dumps({"a": canary}, 0),
        "zip": zipped.getvalue(),
        "legacy": legacy.getvalue(),
        "objects": objects.getvalue(),
        "npz": npz.getvalue(),
        # The first bytes of safetensors, so that only the content after them tells.
        "disguised": (2).to_bytes(8, "little") + b"{}" + plain,
    }


def _folder_of(model: bytes, folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(model)
    config = json.loads((ROOT / "clipzoo" / "assets" / "tiny-rn.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    clipzoo.load_clip(str(folder), device="cpu")


def _saved(name: str) -> Callable[[bytes, Path], Path]:
    def save(content: bytes, folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return save


def _style(loader: str, name: str) -> Callable[[bytes, Path], Any]:
    def load(content: bytes, folder: Path) -> Any:
        import clipzoo_style.checkpoints
        import clipzoo_style.directions
        import clipzoo_style.e4e
        import clipzoo_style.identity
        import clipzoo_style.inputs
        import clipzoo_style.mapper
        import clipzoo_style.pickles

        path = _saved(name)(content, folder)
        return {
            "generator": lambda: clipzoo_style.checkpoints.load_stylegan2(path),
            "network": lambda: clipzoo_style.pickles.read_nvlabs_pickle(path),
            "arrays": lambda: clipzoo_style.pickles.read_array_pickle(path),
            "codes": lambda: clipzoo_style.inputs.read_codes(path, clipzoo_style.checkpoints.load_stylegan2("tiny")),
            "mapper": lambda: clipzoo_style.mapper.LatentMapper.load(path),
            "e4e": lambda: clipzoo_style.e4e.load_e4e(path),
            "identity": lambda: clipzoo_style.identity.load_identity(path),
            "bank": lambda: clipzoo_style.directions.ChannelDirections.load(path),
            "published": lambda: clipzoo_style.directions.ChannelDirections.load(folder),
        }[loader]()

    return load


def _detector(content: bytes, folder: Path) -> None:
    from clipzoo_detect.network import load_network

    load_network(_saved("n.safetensors")(content, folder))


def _clip4clip(content: bytes, folder: Path) -> None:
    from clipzoo_video.published import load_clip4clip

    load_clip4clip(_saved("pytorch_model.bin")(content, folder))


def _words(content: bytes, folder: Path) -> None:
    from clipzoo_video.word_lists import read_word_lists

    read_word_lists(_saved("raw-captions.pkl")(content, folder))


def _cloud(suffix: str) -> Callable[[bytes, Path], None]:
    def load(content: bytes, folder: Path) -> None:
        from clipzoo_points import read_cloud

        read_cloud(_saved(f"cloud.{suffix}")(content, folder))

    return load


def _depth(content: bytes, folder: Path) -> None:
    from clipzoo_depth.depth_files import read_depth

    read_depth(_saved("depth.npy")(content, folder))


def _array(content: bytes, folder: Path) -> None:
    from clipzoo.data.array_files import read_npy

    read_npy(_saved("a.npy")(content, folder))


def _optimisation(content: bytes, folder: Path) -> None:
    from clipzoo.optim import _read

    _read(_saved("c.safetensors")(content, folder))


PATHS: dict[str, Callable[[bytes, Path], Any]] = {
    "load_clip ARCHITECTURE:FILE.pt": lambda c, f: clipzoo.load_clip(f"RN50:{_saved('w.pt')(c, f)}", device="cpu"),
    "load_clip folder": _folder_of,
    "read_state .pt": lambda c, f: read_state(_saved("w.pt")(c, f)),
    "read_state .safetensors": lambda c, f: read_state(_saved("w.safetensors")(c, f)),
    "read_state .bin": lambda c, f: read_state(_saved("w.bin")(c, f)),
    "read_npy": _array,
    "optimisation": _optimisation,
    "cloud npy": _cloud("npy"),
    "cloud npz": _cloud("npz"),
    "depth npy": _depth,
    "detector": _detector,
    "CLIP4Clip": _clip4clip,
    "word lists": _words,
    **{
        f"style {loader} {name}": _style(loader, name)
        for loader, name in (
            ("generator", "g.pt"), ("generator", "g.pkl"), ("network", "g.pkl"), ("arrays", "S"), ("codes", "c.pt"),
            ("codes", "c.npy"), ("mapper", "m.pt"), ("mapper", "m.safetensors"), ("e4e", "e.pt"), ("identity", "i.pth"),
            ("bank", "b.safetensors"), ("published", "S_mean_std"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("path", list(PATHS))
def test_nothing_runs_on_any_way_in(path: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for kind, content in hostile(canary).items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "fs3.npy").write_bytes(content)
        with within_limits(f"{path}, {kind}"), pytest.raises(ClipzooError):
            PATHS[path](content, folder)
        assert not canary.exists(), kind


def test_the_canary_would_sing(tmp_path: Path) -> None:
    for kind, content in hostile(tmp_path / "canary").items():
        if kind in ("pickle", "pickle 0"):
            pickle.loads(content)
        elif kind in ("zip", "legacy"):
            torch.load(io.BytesIO(content), weights_only=False)
        elif kind in ("objects", "npz"):
            loaded = np.load(io.BytesIO(content), allow_pickle=True)
            _ = loaded["points"] if kind == "npz" else loaded
        else:
            continue
        assert (tmp_path / "canary").exists(), kind
        (tmp_path / "canary").unlink()


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    import safetensors.torch

    state = {"a": torch.arange(3.0)}
    (tmp_path / "w.pt").write_bytes(safetensors.torch.save(state))
    assert torch.equal(read_state(tmp_path / "w.pt")["a"], state["a"])
    torch.save(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="renamed"):
        read_state(tmp_path / "w.safetensors")


def test_a_torch_file_that_grows_is_refused(tmp_path: Path) -> None:
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(64 << 20)}, plain)
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as packed, zipfile.ZipFile(plain) as stored:
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    plain.close()
    with within_limits("a packed torch file"), pytest.raises(WeightsError, match="would unpack"):
        read_state(tmp_path / "w.pt")


class _Hub:
    """Stands for the hub's client: files by name, and the revision they are at."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.files, self.revision, self.asked = folder, {}, "a" * 40, []
        monkeypatch.setattr("huggingface_hub.hf_hub_download", self.download)

    def download(self, repo_id: str, filename: str, revision: str | None = None, cache_dir: Any = None) -> str:
        self.asked.append((repo_id, filename, revision))
        if filename not in self.files:
            raise FileNotFoundError(f"404: {filename}")
        path = self.folder / "snapshots" / (revision or self.revision) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[filename])
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Hub:
    return _Hub(tmp_path / "hub", monkeypatch)


def test_from_the_hub_come_safetensors_alone(hub: _Hub) -> None:
    hub.files = {"open_clip_pytorch_model.bin": b"pickle", "pytorch_model.bin": b"pickle"}
    for name in (None, "open_clip_pytorch_model.bin"):
        with pytest.raises(WeightsError, match="no safetensors"):
            hub_file("org/model", name)
    assert all(name.endswith(".safetensors") for _, name, _ in hub.asked)
    with pytest.raises(WeightsError, match="pickle alone"):
        remote_weights._pretrained({"url": "https://example.org/model.pt"})


def test_revision_and_digest_are_held(hub: _Hub, tmp_path: Path) -> None:
    hub.files = {"open_clip_model.safetensors": b"first"}
    hub_file("org/model")
    pins = json.loads((tmp_path / "cache" / "weights.json").read_text())
    assert pins["org/model"]["revision"] == "a" * 40 and len(pins["org/model"]["sha256"]) == 64
    hub.revision = "b" * 40  # the author has moved on: the pinned revision is asked for
    hub_file("org/model")
    assert hub.asked[-1] == ("org/model", "open_clip_model.safetensors", "a" * 40)
    hub.files = {"open_clip_model.safetensors": b"other"}
    with pytest.raises(WeightsError, match="not those that were here first"):
        hub_file("org/model")
    with pytest.raises(WeightsError, match="not those that were here first"):
        hub_file("org/model@" + "b" * 40)


def test_open_clip_asks_through_the_same_door(hub: _Hub) -> None:
    from open_clip import factory

    before = factory.download_pretrained, factory.download_pretrained_from_hf
    hub.files = {"open_clip_pytorch_model.bin": b"pickle"}
    with pytest.raises(WeightsError):
        clipzoo.load_clip("ViT-B-32/laion2b_s34b_b79k", device="cpu")
    assert hub.asked and all(name.endswith((".safetensors", ".json", ".txt")) for _, name, _ in hub.asked)
    with safetensors_alone():
        assert factory.download_pretrained is not before[0]
    assert (factory.download_pretrained, factory.download_pretrained_from_hf) == before


UNSAFE = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.load", "marshal.loads", "shelve.open", "joblib.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "torch.jit.load", "torch.hub.load", "pandas.read_pickle", "numpy.load", "np.load", "torch.load", "tarfile.open",
    "zipfile.ZipFile", "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output", "h5py.File",
    "loadmat", "ElementTree.parse", "ElementTree.fromstring",
}  # fmt: skip
ALLOWED = {
    "clipzoo/runs.py": {"yaml.load"},  # with a loader of plain values that takes no references
    "clipzoo/data/downloads.py": {"zipfile.ZipFile", "tarfile.open"},
    "clipzoo/data/labelled_images.py": {"tarfile.open"},
    "clipzoo/store/tar_shards.py": {"tarfile.open"},
    "clipzoo/encoders/weight_files.py": {"torch.load", "zipfile.ZipFile"},
    "clipzoo/testing/contract.py": {"subprocess.run"},
    "clipzoo/bench.py": {"subprocess.run", "subprocess.Popen"},  # of this Python, without a shell
    "clipzoo/isolation.py": {"subprocess.Popen"},
    "plugins/detect/clipzoo_detect/comparison.py": {"subprocess.Popen"},  # of this Python, without a shell
    "plugins/train/clipzoo_train/caption_run.py": {"torch.load"},
    "plugins/train/clipzoo_train/loop.py": {"torch.load"},
    "plugins/depth/clipzoo_depth/nyu.py": {"h5py.File"},
    "plugins/points/clipzoo_points/files.py": {"np.load", "zipfile.ZipFile"},
    "plugins/points/clipzoo_points/hdf5.py": {"h5py.File"},
    "plugins/detect/clipzoo_detect/training.py": {"torch.load"},
    "plugins/detect/clipzoo_detect/voc.py": {"ElementTree.fromstring"},
    "plugins/style/clipzoo_style/pickles.py": {"pickle.Unpickler"},
    "plugins/video/clipzoo_video/word_lists.py": {"pickle.Unpickler"},
}
"""Where a dangerous function is used, on purpose and guarded; a new place must be thought about and listed here."""


def _used(tree: ast.AST) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    bases = (base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases)
    return {ast.unparse(one) for one in (*calls, *bases) if isinstance(one, ast.Name | ast.Attribute)}


def test_dangerous_functions_stand_where_they_are_guarded() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted([*ROOT.glob("clipzoo/**/*.py"), *ROOT.glob("plugins/*/clipzoo_*/**/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        used = {one for one in _used(ast.parse(path.read_text(encoding="utf-8"))) if one in UNSAFE}
        if used - ALLOWED.get(name, set()):
            found[name] = used - ALLOWED.get(name, set())
    assert not found


def test_every_torch_load_is_restricted_and_every_numpy_load_takes_no_objects() -> None:
    for path in sorted([*ROOT.glob("clipzoo/**/*.py"), *ROOT.glob("plugins/*/clipzoo_*/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
                wanted = ("weights_only", True) if ast.unparse(node.func) == "torch.load" else ("allow_pickle", False)
                given = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
                assert given.get(wanted[0]) is wanted[1], f"{path}:{node.lineno}"
