"""Every reader of files of others, with small valid files to damage."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from PIL import Image
from scipy.io import savemat


@dataclass(frozen=True)
class Reader:
    """One way into the library for a file.

    Args:
        name: for the name of the test.
        file: the name under which the damaged file is written.
        seeds: valid files, each of which is damaged; makes them.
        read: reads the file in a folder, to the last byte that its user would see.
        beside: further files that lie there, intact.
    """

    name: str
    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    beside: Callable[[], Mapping[str, bytes]] = field(default=dict)


READERS: list[Reader] = []


def reader(
    name: str, file: str, seeds: Callable[[], list[bytes]], *, beside: Callable[[], Mapping[str, bytes]] = dict,
) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:  # fmt: skip
    """Register the function below."""

    def register(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        READERS.append(Reader(name, file, seeds, read, beside))
        return read

    return register


# Bytes


def png(mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> bytes:
    return picture("PNG", mode, size)


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (6, 5), **options: Any) -> bytes:
    values = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    image = Image.fromarray(values)
    image = Image.fromarray((values[..., 0].astype(np.uint16) + 1) * 97) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def animation() -> bytes:
    frames = [Image.fromarray(np.full((5, 6, 3), value, np.uint8)) for value in (0, 90, 200)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return file.getvalue()


@cache
def video(kind: str, codec: str) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=5)
        stream.width = stream.height = 32
        stream.time_base = Fraction(1, 5)
        stream.pix_fmt = "yuv420p" if codec != "mjpeg" else "yuvj420p"
        for value in (0, 90, 200, 255):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), value, np.uint8), "rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def hdf5(content: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as stored:
        for name, values in content.items():
            stored[name] = values
    return file.getvalue()


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def tensors(content: Mapping[str, torch.Tensor], told: Any = None, key: str = "") -> bytes:
    return safetensors.torch.save(dict(content), {key: json.dumps(told)} if key else None)


def parquet(columns: Mapping[str, list[Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), file)
    return file.getvalue()


def tar(entries: Mapping[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def zipped(entries: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def told(content: Any) -> bytes:
    return json.dumps(content).encode()


PHOTO = {"a.png": png(), "b.png": png()}


# The core


@reader(
    "images", "picture.png",
    lambda: [png(), png("P"), png("RGBA"), png("I;16"), picture("JPEG"), picture("GIF"), picture("WEBP"), picture("BMP"),
             picture("TIFF"), picture("PPM"), animation()],
)  # fmt: skip
def _images(folder: Path) -> None:
    from clipzoo.images.reading import read_pixels

    read_pixels(folder / "picture.png")


@reader(
    "video", "film.mp4",
    lambda: [video("mp4", "mpeg4"), video("avi", "mjpeg"), video("matroska", "mpeg4")],
)  # fmt: skip
def _video(folder: Path) -> None:
    from clipzoo.data.video_reading import open_video

    with open_video(folder / "film.mp4", backend="pyav") as film:
        for _ in film.frames([film.metadata.start_s, (film.metadata.start_s + film.metadata.end_s) / 2]):
            pass


@reader("gif video", "film.gif", lambda: [animation()])
def _gif(folder: Path) -> None:
    from clipzoo.data.video_reading import open_video

    with open_video(folder / "film.gif") as film:
        for _ in film.frames([0.0, 0.15]):
            pass


@reader(
    "labelled images CSV", "list.csv",
    lambda: [b"path,label,split\na.png,cat,test\nb.png,dog,test\n", b"path,label\na.png,cat\n"], beside=lambda: PHOTO,
)  # fmt: skip
def _table(folder: Path) -> None:
    _all_labelled(folder / "list.csv")


def _all_labelled(path: Path) -> None:
    from clipzoo.data.labelled_images import open_images

    for item in open_images(path).items:
        item.read()


@reader(
    "labelled images tar", "set.tar",
    lambda: [tar({"0.png": png(), "0.cls": b"1", "1.png": png(), "1.json": b'{"label": "cat"}'})],
)  # fmt: skip
def _labelled_tar(folder: Path) -> None:
    _all_labelled(folder / "set.tar")


@reader("CIFAR", "test_batch.bin", lambda: [bytes(3 * 3073)], beside=lambda: {"batches.meta.txt": b"cat\ndog\n"})
def _cifar(folder: Path) -> None:
    from clipzoo.data.labelled_images import open_cifar

    for item in open_cifar(folder).items:
        item.read()


@reader(
    "Tiny-ImageNet", "val/val_annotations.txt", lambda: [b"a.png\tn01443537\t0\t0\t62\t62\nb.png\tn01443537\t0\t0\t1\t1\n"],
    beside=lambda: {"wnids.txt": b"n01443537\n", "words.txt": b"n01443537\tgoldfish\n", "val/images/a.png": png(),
                    "val/images/b.png": png()},
)  # fmt: skip
def _tiny_imagenet(folder: Path) -> None:
    _all_labelled(folder)


reader(
    "words of WordNet ids", "words.txt", lambda: [b"n99999999\tgoldfish, Carassius\n"],
    beside=lambda: {"wnids.txt": b"n99999999\n", "val/images/a.png": png(),
                    "val/val_annotations.txt": b"a.png\tn99999999\t0\t0\t1\t1\n"},
)(_all_labelled)  # fmt: skip


@reader(
    "embedding sources", "list.csv", lambda: [b"path,caption\na.png,a cat\nb.png,a dog\n", b"path\tcaption\na.png\tx\n"],
    beside=lambda: PHOTO,
)  # fmt: skip
def _source_list(folder: Path) -> None:
    _all_sources(folder / "list.csv")


def _all_sources(path: Path) -> None:
    from clipzoo.errors import DataError
    from clipzoo.store.sources import count_items, source_items

    count_items(path)
    for item in source_items(path):
        try:
            item.read()
        except DataError:  # of the item alone: the others are read
            continue


@reader(
    "embedding sources parquet", "list.parquet", lambda: [parquet({"path": ["a.png", "b.png"], "caption": ["x", "y"]})]
)
def _source_parquet(folder: Path) -> None:
    _all_sources(folder / "list.parquet")


@reader("embedding sources tar", "set.tar", lambda: [tar({"0.png": png(), "0.txt": b"a cat", "1.png": png()})])
def _source_tar(folder: Path) -> None:
    _all_sources(folder / "set.tar")


@reader("clip-retrieval", "img_emb/img_emb_0.npy", lambda: [npy(np.ones((2, 4), np.float16))])
def _clip_retrieval(folder: Path) -> None:
    from clipzoo.store.clip_retrieval import import_clip_retrieval

    _clear(folder / "out")
    import_clip_retrieval(folder, folder / "out")


@reader(
    "clip-retrieval parquet", "metadata/metadata_0.parquet",
    lambda: [parquet({"image_path": ["a", "b"], "caption": ["x", "y"], "width": [1, 2]})],
    beside=lambda: {"img_emb/img_emb_0.npy": npy(np.ones((2, 4), np.float16))},
)  # fmt: skip
def _clip_retrieval_table(folder: Path) -> None:
    _clip_retrieval(folder)


def _clear(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


@cache
def _store() -> dict[str, bytes]:
    import tempfile

    from clipzoo.store.clip_retrieval import import_clip_retrieval

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "img_emb").mkdir()
        (Path(name) / "img_emb" / "img_emb_0.npy").write_bytes(npy(np.ones((2, 4), np.float16)))
        store = import_clip_retrieval(name, Path(name) / "store").folder
        files = (path for path in store.rglob("*") if path.is_file() and path.name != ".lock")
        return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def _of_store(suffix: str) -> tuple[str, bytes]:
    return next((name, content) for name, content in _store().items() if name.endswith(suffix))


def _whole_store(folder: Path) -> None:
    from clipzoo.store import EmbeddingStore

    store = EmbeddingStore.open(folder)
    store.features()
    store.table()
    store.failures()
    store.verify()


reader("store.json", "store.json", lambda: [_of_store("store.json")[1]], beside=_store)(_whole_store)
reader("store features", "shards/000000.npy", lambda: [_of_store(".npy")[1]], beside=_store)(_whole_store)
reader("store sidecar", "shards/000000.parquet", lambda: [_of_store(".parquet")[1]], beside=_store)(_whole_store)


@reader("few-shot split", "shots.json", lambda: [told({"train": ["a"], "validation": ["b"], "shots": 1, "seed": 0})])
def _shots(folder: Path) -> None:
    from clipzoo.heads.shots import read_shots

    read_shots(folder / "shots.json")


SETTINGS = {"model": "tiny", "data": None, "seed": 0, "batch_size": 4, "out": "runs"}
CONFIG = b"format: 1\nplugin: zeroshot\nsettings:\n  model: tiny\n  seed: 3\n  names: [a, b]\nsources: {seed: command line}\n"
RUN = {"format": 1, "plugin": "zeroshot", "status": "complete", "duration_s": 1.5, "seed": 0, "command": "clipzoo run x",
       "versions": {"torch": "2"}, "host": {"system": "x"}, "paper": {"title": "t", "year": 2021}}  # fmt: skip
METRICS = {"format": 1, "metrics": {"accuracy": 0.5}, "protocol": {"split": "test"}, "notes": ["n"],
           "tables": [{"name": "rows", "caption": "c", "kind": "table"}],
           "artifacts": [{"path": "artifacts/a.png", "caption": "c"}]}  # fmt: skip


def _run_folder() -> dict[str, bytes]:
    return {"config.yaml": CONFIG, "run.json": told(RUN), "metrics.json": told(METRICS), "tables/rows.csv": b"a,b\n1,x\n",
            "artifacts/a.png": png(), "items.jsonl": b'{"key": "a", "fields": {"v": 1}}\n{"key": "b", "fields": {"error": "e"}}\n'}  # fmt: skip


def _report(folder: Path) -> None:
    from clipzoo.report import write_gallery, write_report
    from clipzoo.runs import list_runs

    list_runs(folder.parent)
    write_report(folder)
    write_gallery([folder], folder / "index.html")


@reader("run config", "config.yaml", lambda: [CONFIG], beside=_run_folder)
def _config(folder: Path) -> None:
    from clipzoo.config import compose
    from clipzoo.runs import load_config

    _, settings = load_config(folder)
    _report(folder)
    plugin, defaults = _zeroshot()
    with mock.patch("clipzoo.config._defaults", lambda _: copy.deepcopy(defaults)):
        compose(plugin, settings)


@cache
def _zeroshot() -> tuple[Any, Any]:
    """The plugin and its schema, in which no file has a part: Hydra takes 50 ms for it."""
    from clipzoo.config import _defaults
    from clipzoo.plugin import find_plugin

    plugin = find_plugin("zeroshot").load()
    return plugin, _defaults(plugin)


@reader("run metrics", "metrics.json", lambda: [told(METRICS)], beside=_run_folder)
def _metrics(folder: Path) -> None:
    from clipzoo.runs import stored_result

    stored_result(folder)


reader("report of metrics", "metrics.json", lambda: [told(METRICS)], beside=_run_folder)(_report)
reader("report of run", "run.json", lambda: [told(RUN)], beside=_run_folder)(_report)
reader("report of items", "items.jsonl", lambda: [_run_folder()["items.jsonl"]], beside=_run_folder)(_report)
reader(
    "report of a table", "tables/rows.csv", lambda: [b"a,b\n1,x\n2,nan\n", b",a,b\na,1,2\nb,3,4\n"],
    beside=lambda: {**_run_folder(), "metrics.json": told({**METRICS, "tables": [
        {"name": "rows", "caption": "c", "kind": kind} for kind in ("table", "confusion")]})},
)(_report)  # fmt: skip


@reader("run items", "items.jsonl", lambda: [_run_folder()["items.jsonl"]])
def _items(folder: Path) -> None:
    from clipzoo.plugin import Settings
    from clipzoo.runs import RunContext

    context = RunContext(folder, Settings(), progress=False)
    context.record("new", value=1)
    assert "new" in RunContext(folder, Settings(), progress=False).items()


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def _weights(folder: Path, name: str) -> None:
    from clipzoo.encoders.loading import read_state

    read_state(folder / name)


@reader("weights safetensors", "w.safetensors", lambda: [tensors(STATE, "x", "told")])
def _safetensors(folder: Path) -> None:
    _weights(folder, "w.safetensors")


@reader(
    "weights pt", "w.pt", lambda: [saved(STATE), saved({"state_dict": STATE}), saved(STATE, _use_new_zipfile_serialization=False)],
)  # fmt: skip
def _pt(folder: Path) -> None:
    _weights(folder, "w.pt")


@reader("zip archive", "a.zip", lambda: [zipped({"top/one.txt": b"one", "top/two.bin": bytes(40)})])
def _zip(folder: Path) -> None:
    from clipzoo.data.downloads import extract

    archive = next(folder.glob("a.*"))
    _clear(folder / "out")
    try:
        extract(archive, folder / "out" / "set")
    finally:
        left = [path for path in (folder / "out").rglob("*") if path.name.startswith(".unpack")]
        assert not left, f"left over: {left}"


reader("tar archive", "a.tar", lambda: [tar({"top/one.txt": b"one", "two.bin": bytes(40)})])(_zip)
reader("tar.gz archive", "a.tar.gz", lambda: [tar({"top/one.txt": b"one", "two.bin": bytes(40)}, "w:gz")])(_zip)
reader("tar.xz archive", "a.tar.xz", lambda: [tar({"top/one.txt": b"one"}, "w:xz")])(_zip)


def _optimise(path: Path, steps: int, resume: bool) -> None:
    from clipzoo.optim import optimise

    x = torch.zeros(2, 3, requires_grad=True)
    optimise(lambda _: ((x - 1) ** 2).sum(1), {"x": x}, 0.1, steps, checkpoint=path, resume=resume)


@cache
def _optimisation() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        _optimise(Path(name) / "c.safetensors", 3, False)
        return (Path(name) / "c.safetensors").read_bytes()


@reader("optimisation", "c.safetensors", lambda: [_optimisation()])
def _resume(folder: Path) -> None:
    drawn = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        _optimise(folder / "c.safetensors", 4, True)
    finally:
        torch.set_rng_state(drawn[0])
        np.random.set_state(drawn[1])
        random.setstate(drawn[2])


@cache
def _encoder() -> dict[str, bytes]:
    from clipzoo.encoders.loading import build_model

    vision = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 16, "width": 4, "heads": 1, "layers": 1}
    model = {"embed_dim": 4, "vision_cfg": vision, "text_cfg": text}
    state = {name: value.contiguous() for name, value in build_model(model).state_dict().items()}
    config = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    return {"open_clip_config.json": told(config), "open_clip_model.safetensors": tensors(state)}


@cache
def _vocabulary() -> Any:
    """In which no file has a part: open_clip takes 50 ms for it."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def _encoder_folder(folder: Path) -> None:
    import clipzoo

    with mock.patch("open_clip.factory.SimpleTokenizer", lambda **_: _vocabulary()):
        clipzoo.load_clip(str(folder), device="cpu")


for _name in ("open_clip_config.json", "open_clip_model.safetensors"):
    reader(f"encoder {_name}", _name, lambda name=_name: [_encoder()[name]], beside=lambda: _encoder())(_encoder_folder)  # type: ignore[misc]


# Points

POINTS = np.random.default_rng(0).normal(size=(8, 3)).astype("<f4")
_ROWS = "".join(" ".join(f"{value:.3f}" for value in point) + "\n" for point in POINTS)
_PLY = "ply\nformat {} 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
_PLY_FACES = "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
_PCD = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 8\nHEIGHT 1\nPOINTS 8\nDATA {}\n"


def _packed() -> bytes:
    columns = np.ascontiguousarray(POINTS.T).tobytes()
    packed = b"".join(b"\x1f" + columns[place : place + 32] for place in range(0, len(columns), 32))
    return len(packed).to_bytes(4, "little") + len(columns).to_bytes(4, "little") + packed


CLOUDS: dict[str, Callable[[], list[bytes]]] = {
    "off": lambda: [f"OFF\n8 2 0\n{_ROWS}3 0 1 2\n4 0 1 2 3\n".encode()],
    "ply": lambda: [
        (_PLY.format("ascii") + _PLY_FACES + _ROWS + "3 0 1 2\n3 1 2 3\n").encode(),
        (_PLY.format("binary_little_endian") + _PLY_FACES).encode() + POINTS.tobytes()
        + b"".join(b"\3" + np.array(f, "<i4").tobytes() for f in ((0, 1, 2), (1, 2, 3))),
    ],
    "obj": lambda: [("".join(f"v {row}\n" for row in _ROWS.splitlines()) + "f 1 2 3\nf 2/1/1 3/2/2 4/3/3\n").encode()],
    "pcd": lambda: [_PCD.format("ascii").encode() + _ROWS.encode(), _PCD.format("binary").encode() + POINTS.tobytes(),
                    _PCD.format("binary_compressed").encode() + _packed()],
    "npy": lambda: [npy(POINTS), npy(POINTS.astype(np.float64))],
    "npz": lambda: [zipped({"points.npy": npy(POINTS)})],
    "xyz": lambda: [_ROWS.encode(), b"8\n" + _ROWS.encode(), _ROWS.replace(" ", ",").encode()],
}  # fmt: skip


def _cloud_reader(suffix: str) -> None:
    @reader(f"cloud {suffix}", f"cloud.{suffix}", CLOUDS[suffix])
    def _cloud(folder: Path) -> None:
        from clipzoo_points import read_cloud

        cloud = read_cloud(folder / f"cloud.{suffix}", points=16)
        assert np.isfinite(cloud).all() and cloud.shape[1] == 3


for _suffix in CLOUDS:
    _cloud_reader(_suffix)


@reader("clouds HDF5", "data.h5", lambda: [hdf5({"data": POINTS.reshape(1, 8, 3), "label": np.zeros(1, np.int64)})])
def _points_hdf5(folder: Path) -> None:
    from clipzoo_points.hdf5 import read_arrays

    read_arrays(folder / "data.h5", ("data", "label"))


def _cloud_sets(folder: Path) -> None:
    from clipzoo_points.datasets import open_path

    for item in open_path(folder).items:
        item.read()


reader(
    "lists of ModelNet", "modelnet40_test.txt", lambda: [b"chair_0001\nsofa_0002\n"],
    beside=lambda: {"modelnet40_shape_names.txt": b"chair\nsofa\n", "chair/chair_0001.txt": _ROWS.encode()},
)(_cloud_sets)  # fmt: skip
reader(
    "lists of HDF5", "test_files.txt", lambda: [b"data/a.h5\n"],
    beside=lambda: {"a.h5": hdf5({"data": POINTS.reshape(1, 8, 3), "label": np.zeros(1, np.int64)}),
                    "shape_names.txt": b"chair\nsofa\n"},
)(_cloud_sets)  # fmt: skip


# Depth


@reader(
    "depth image", "depth.png", lambda: [png("I;16"), picture("TIFF", "I;16"), picture("PPM", "I;16")],
)  # fmt: skip
def _depth(folder: Path) -> None:
    from clipzoo_depth.depth_files import read_depth

    read_depth(next(folder.glob("depth.*")))


reader("depth npy", "depth.npy", lambda: [npy(np.ones((3, 4), np.float32)), npy(np.ones((1, 3, 4), np.uint16))])(_depth)


@cache
def _nyu() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as stored:
        stored["images"] = np.zeros((2, 3, 5, 4), np.uint8)
        stored["depths"] = stored["rawDepths"] = np.ones((2, 5, 4), np.float32)
        references = np.empty((1, 2), h5py.ref_dtype)
        for place in range(2):
            stored[f"#refs#/{place}"] = np.array([[ord(letter)] for letter in "bath"], np.uint16)
            references[0, place] = stored[f"#refs#/{place}"].ref
        stored.create_dataset("sceneTypes", data=references, dtype=h5py.ref_dtype)
    return file.getvalue()


def _splits(packed: bool = False) -> bytes:
    file = io.BytesIO()
    savemat(file, {"testNdxs": np.array([[1], [2]]), "trainNdxs": np.array([[2]])}, do_compression=packed)
    return file.getvalue()


@reader("NYU mat", "nyu_depth_v2_labeled.mat", lambda: [_nyu()], beside=lambda: {"splits.mat": _splits()})
def _nyuv2(folder: Path) -> None:
    from clipzoo_depth.nyu import open_nyuv2

    for item in open_nyuv2(folder).items:
        item.read()


reader(
    "NYU splits", "splits.mat", lambda: [_splits(), _splits(True)], beside=lambda: {"nyu_depth_v2_labeled.mat": _nyu()}
)(_nyuv2)


@reader(
    "KITTI calibration", "calib.txt",
    lambda: [b"P2: 7 0 6 0 0 7 1 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"],
)  # fmt: skip
def _calibration(folder: Path) -> None:
    from clipzoo_depth.kitti import read_calibration

    read_calibration(next(folder.glob("calib.*")))


reader(
    "KITTI calibration JSON", "calib.json",
    lambda: [told({"cam2img": np.eye(4).tolist(), "lidar2cam": np.eye(4).tolist()})],
)(_calibration)  # fmt: skip


@reader(
    "KITTI scan", "0.bin", lambda: [np.ones((6, 4), "<f4").tobytes()],
    beside=lambda: {"0.png": png(size=(20, 20)),
                    "calib.json": told({"cam2img": np.eye(4).tolist(), "lidar2cam": np.eye(4).tolist()})},
)  # fmt: skip
def _scan(folder: Path) -> None:
    from clipzoo_depth.kitti import open_kitti

    for item in open_kitti(folder).items:
        item.read()


@reader(
    "KITTI intrinsics", "intrinsics/0_image_1.txt", lambda: [b"7 0 3 0 7 2 0 0 1\n"],
    beside=lambda: {"groundtruth_depth/0_groundtruth_depth_1.png": png("I;16"), "image/0_image_1.png": png()},
)  # fmt: skip
def _intrinsics(folder: Path) -> None:
    from clipzoo_depth.kitti import open_kitti

    for item in open_kitti(folder).items:
        item.read()


# Detection

COCO = {
    "images": [{"id": 1, "width": 6, "height": 5, "file_name": "a.png"}, {"id": 2, "width": 6, "height": 5, "file_name": "b.png",
                "neg_category_ids": [3], "not_exhaustive_category_ids": [3]}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 3, 3], "area": 9, "iscrowd": 0,
                     "segmentation": [[0, 0, 3, 0, 3, 3]]}],
    "categories": [{"id": 3, "name": "cat", "synonyms": ["kitten"], "frequency": "f"}],
}  # fmt: skip
VOC = (
    b"<annotation><filename>a.png</filename><size><width>6</width><height>5</height><depth>3</depth></size><object>"
    b"<name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
    b"</object></annotation>"
)


@reader("COCO", "instances.json", lambda: [told(COCO)], beside=lambda: PHOTO)
def _coco(folder: Path) -> None:
    from clipzoo_detect.coco import read_coco

    data = read_coco(folder / "instances.json", folder, missing=1)
    for image in data.images:
        _ = image.boxes, image.labels
        image.read()


@reader("Pascal VOC", "a.xml", lambda: [VOC], beside=lambda: PHOTO)
def _voc(folder: Path) -> None:
    from clipzoo_detect.voc import read_voc

    for image in read_voc(folder, missing=1).images:
        _ = image.boxes, image.labels


@reader(
    "Pascal VOC list", "ImageSets/Main/test.txt", lambda: [b"a 1\nb\n"],
    beside=lambda: {"Annotations/a.xml": VOC, "JPEGImages/a.png": png()},
)  # fmt: skip
def _voc_list(folder: Path) -> None:
    from clipzoo_detect.voc import read_voc

    read_voc(folder, "test", missing=1)


@reader("names of classes", "names.txt", lambda: [b"cat\nred dog\n"])
def _names(folder: Path) -> None:
    from clipzoo_detect.plugin import ViLDSettings
    from clipzoo_detect.run import given_names

    given_names(ViLDSettings(names_file=str(folder / "names.txt")))


@reader("boxes JSON", "boxes.json", lambda: [told({"a.png": [[0, 0, 3, 3]]})])
def _boxes(folder: Path) -> None:
    from clipzoo_detect.detecting import _own_boxes

    _own_boxes(str(folder / "boxes.json"))


@reader("precompute meta", "meta.json", lambda: [told({"format": 1, "fingerprint": "x", "images": 1, "proposals": 2})])
def _precomputed(folder: Path) -> None:
    from clipzoo_detect.precompute import _read_meta

    _read_meta(folder / "meta.json")


@cache
def _detector() -> bytes:
    import tempfile

    from clipzoo_detect.network import Description, ViLDNetwork, save_network

    fields = {"dim": 8, "backbone": "small", "variant": "vild", "masks": False}
    with _slim(), tempfile.TemporaryDirectory() as name:
        network = ViLDNetwork(8, "small", "vild", 1, False)
        save_network(Path(name) / "n.safetensors", network, _described(Description, fields))
        return (Path(name) / "n.safetensors").read_bytes()


def _slim() -> Any:
    """The small network with heads of a few numbers: two megabytes in place of seven."""
    import dataclasses

    from clipzoo_detect.network import SHAPES

    return mock.patch.dict(SHAPES, small=dataclasses.replace(SHAPES["small"], channels=8, width=8))


def _described(kind: Any, given: Mapping[str, Any]) -> Any:
    import dataclasses

    blank = {"str": "", "int": 1, "float": 1.0, "bool": False}
    values = {
        one.name: given.get(one.name, ("cat",) if "tuple" in str(one.type) else blank.get(str(one.type), ""))
        for one in dataclasses.fields(kind)
    }
    return kind(**values)


@reader("detector", "n.safetensors", lambda: [_detector()])
def _load_detector(folder: Path) -> None:
    from clipzoo_detect.network import load_network

    with _slim():
        load_network(folder / "n.safetensors")


# Sketch

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" viewBox="0 0 20 20"><g transform="translate(1 2) '
    b'rotate(30)"><path d="M1 1C2 2 3 3 4 4S5 5 6 6Q7 7 8 8T9 9A2 3 0 0 1 5 6L3 3Z" stroke="#f00" fill="none" stroke-width="2"/>'
    b'<circle cx="5" cy="5" r="3" fill="rgb(10%,20,3)"/><rect x="1" y="1" width="3" height="4" rx="1" style="fill:blue"/>'
    b'<polyline points="1,1 2,2 3,1" stroke="black" fill="none" opacity="50%"/></g>'
    b'<metadata id="clipzoo">{"prompt": "x"}</metadata></svg>'
)


@reader("SVG", "drawing.svg", lambda: [SVG])
def _svg(folder: Path) -> None:
    from clipzoo_sketch.drawing import Drawing

    Drawing.from_svg(folder / "drawing.svg")


# Style


@cache
def _generator() -> Any:
    from clipzoo_style.checkpoints import untrained

    return untrained(8, style_dim=4, mapping_layers=1, channels={4: 2, 8: 2}, seed=5).set_mean(8)


@cache
def _generator_file(name: str, layout: str = "rosinality") -> bytes:
    import tempfile

    from clipzoo_style import save_stylegan2

    with tempfile.TemporaryDirectory() as folder:
        return save_stylegan2(_generator(), Path(folder) / name, layout).read_bytes()


@reader(
    "generator", "g.pt",
    lambda: [_generator_file("g.pt"), _generator_file("g.safetensors"), _generator_file("g.safetensors", "nvlabs")],
)  # fmt: skip
def _load_generator(folder: Path) -> None:
    from clipzoo_style import load_stylegan2

    load_stylegan2(folder / "g.pt")


@reader(
    "array pickle",
    "S",
    lambda: [pickle.dumps([["a", "RGB"], [np.ones((2, 3), np.float32), np.arange(4)]], p) for p in (0, 2, 4)],
)
def _array_pickle(folder: Path) -> None:
    from clipzoo_style.pickles import read_array_pickle

    read_array_pickle(folder / "S")


reader("generator pickle", "S", lambda: [_network_pickle()])(lambda folder: _read_network(folder / "S"))


def _read_network(path: Path) -> None:
    from clipzoo_style.pickles import read_nvlabs_pickle

    read_nvlabs_pickle(path)


def _network_pickle() -> bytes:
    """What stylegan2-ada-pytorch writes, with a module that exists nowhere."""
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_init_kwargs": {"size": 8}}
    stored = pickle.dumps({"class_name": "Generator", "state": state}, 2)
    head = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    return b"\x80\x02}X\x05\0\0\0G_ema" + head + stored[2:-1] + b"\x85Rs."


CODES = np.zeros((4, 4), np.float32)


def _codes(folder: Path) -> None:
    from clipzoo_style.inputs import read_codes

    read_codes(next(folder.glob("codes.*")), _generator())


reader("codes npy", "codes.npy", lambda: [npy(CODES[None]), npy(CODES[:1])])(_codes)
reader("codes safetensors", "codes.safetensors", lambda: [tensors({"w": torch.from_numpy(CODES)[None]})])(_codes)
reader("codes pt", "codes.pt", lambda: [saved(torch.from_numpy(CODES)[None])])(_codes)


@reader(
    "landmarks",
    "points.txt",
    lambda: [b"".join(b"%d %d\n" % (k, k * 2) for k in (3, 9, 6, 4, 8))],
    beside=lambda: {"a.png": png(size=(16, 16))},
)
def _landmarks(folder: Path) -> None:
    from clipzoo_style.inputs import read_photo

    read_photo(folder / "a.png", str(next(folder.glob("points.*"))), 16)


reader(
    "landmarks npy", "points.npy", lambda: [npy(np.array([[3, 9], [9, 3], [6, 6], [4, 8], [8, 8]], np.float32))],
    beside=lambda: {"a.png": png(size=(16, 16))},
)(_landmarks)  # fmt: skip


@cache
def _mapper() -> bytes:
    import tempfile

    from clipzoo_style.mapper import LatentMapper

    with tempfile.TemporaryDirectory() as folder:
        return LatentMapper(4).save(Path(folder) / "m.safetensors").read_bytes()


@reader("latent mapper", "m.safetensors", lambda: [_mapper()])
def _load_mapper(folder: Path) -> None:
    from clipzoo_style.mapper import LatentMapper

    LatentMapper.load(folder / "m.safetensors")


def _difference() -> bytes:
    from clipzoo_style.adaptation import fingerprint

    name, weights = next(iter(_generator().named_parameters()))
    told = {"base": fingerprint(_generator()), "source": "a", "target": "b", "phase": "texture"}
    return tensors({name: torch.zeros_like(weights)}, told, "adapter")


@cache
def _published_mapper() -> bytes:
    from clipzoo_style.mapper import LatentMapper

    state = {f"mapper.{name}": value for name, value in LatentMapper(4).state_dict().items()}
    return saved({"state_dict": state, "opts": {"exp_dir": "x"}})


@reader("latent mapper checkpoint", "m.pt", lambda: [_published_mapper()])
def _load_published_mapper(folder: Path) -> None:
    from clipzoo_style.mapper import LatentMapper

    LatentMapper.load(folder / "m.pt")


@reader("generator difference", "d.safetensors", lambda: [_difference()])
def _load_difference(folder: Path) -> None:
    from clipzoo_style.adaptation import DomainAdapter

    adapter = object.__new__(DomainAdapter)
    adapter.generator = _generator()
    adapter.load(folder / "d.safetensors")


@reader(
    "bank of directions", "b.safetensors",
    lambda: [tensors({"rows": torch.ones(3, 4), "deviation": torch.ones(3)},
                     {"widths": [1, 2], "to_rgb": [False, False], "model": "x"}, "bank")],
)  # fmt: skip
def _bank(folder: Path) -> None:
    from clipzoo_style.directions import ChannelDirections

    ChannelDirections.load(folder / "b.safetensors")


@reader(
    "published directions", "S_mean_std", lambda: [pickle.dumps([[np.ones(2)], [np.ones(2), np.ones(1)]])],
    beside=lambda: {"fs3.npy": npy(np.ones((3, 4), np.float32)), "S": pickle.dumps([["a", "b"], []])},
)  # fmt: skip
def _published_bank(folder: Path) -> None:
    from clipzoo_style.directions import ChannelDirections

    ChannelDirections.load(folder)


@cache
def _e4e_file() -> bytes:
    from clipzoo_style.e4e import E4E

    state = {f"encoder.{name}": value for name, value in E4E(1, (16, 16, 16, 16), (1, 1, 1, 1)).state_dict().items()}
    return saved({"state_dict": state, "latent_avg": torch.zeros(16), "opts": {"start_from_latent_avg": True}})


@reader("e4e", "e.pt", lambda: [_e4e_file()])
def _e4e(folder: Path) -> None:
    from clipzoo_style.e4e import load_e4e

    load_e4e(folder / "e.pt", widths=(16, 16, 16, 16), units=(1, 1, 1, 1))


# Video


@reader("word lists", "raw-captions.pkl", lambda: [pickle.dumps({"a": [["a", "cat"], ["x"]]}, p) for p in (0, 2, 4)])
def _words(folder: Path) -> None:
    from clipzoo_video.word_lists import read_word_lists

    read_word_lists(folder / "raw-captions.pkl")


FILMS = {"video1.gif": animation(), "video2.gif": animation()}


def _captioned(folder: Path) -> None:
    from clipzoo_video.datasets import open_path

    open_path(folder)


def _one(name: str, content: bytes, beside: Mapping[str, bytes] = {}) -> None:
    reader(f"captions {name}", name, lambda: [content], beside=lambda: {**FILMS, **beside})(_captioned)


_one("captions.csv", b"video,caption\nvideo1,a cat\nvideo2,a dog\n")
_one("video1.txt", b"a cat\na red cat\n")
_one("MSRVTT_JSFUSION_test.csv", b"key,vid_key,video_id,sentence\nret0,msr1,video1,a cat\nret1,msr2,video2,a dog\n")
_one("raw-captions.json", told({"video1": [["a", "cat"]], "video2": ["a dog"]}), {"test_list.txt": b"video1\nvideo2\n"})
_one("test_list.txt", b"video1\nvideo2\n", {"raw-captions.json": told({"video1": [["a", "cat"]]})})
_one("LSMDC16_challenge_1000_publictect.csv", b"video1\t0\t1\t0\t1\ta cat\nvideo2\t0\t1\t0\t1\ta dog\n")
_one("test_data.json", told([{"video": "video1", "description": "a cat"}]), {"test_list.txt": b"video1\n"})
_one(
    "val_1.json",
    told({"v_a": {"duration": 3, "sentences": ["a cat"]}}),
    {"val_ids.json": told(["v_a"]), "v_a.gif": animation()},
)
_one("val_ids.json", told(["v_a"]), {"val_1.json": told({"v_a": {"sentences": ["a cat"]}}), "v_a.gif": animation()})


@reader("MSR-VTT JSON", "MSRVTT_data.json", lambda: [told({"sentences": [{"video_id": "video1", "caption": "a cat"}]})],
        beside=lambda: {**FILMS, "MSRVTT_train.9k.csv": b"video_id\nvideo1\n"})  # fmt: skip
def _msrvtt(folder: Path) -> None:
    from clipzoo_video.datasets import open_msrvtt

    open_msrvtt(folder, "train-9k")


@cache
def _tiny_clip() -> Any:
    import clipzoo

    return clipzoo.load_clip("tiny-rn", device="cpu")


@cache
def _head() -> bytes:
    import tempfile

    from clipzoo_video.clip4clip import CLIP4Clip
    from clipzoo_video.published import save_head

    with tempfile.TemporaryDirectory() as folder:
        save_head(
            CLIP4Clip(_tiny_clip(), "seqTransf", layers=1, max_frames=4, from_text_tower=False),
            Path(folder) / "h.safetensors",
        )
        return (Path(folder) / "h.safetensors").read_bytes()


@reader("CLIP4Clip head", "h.safetensors", lambda: [_head()])
def _clip4clip(folder: Path) -> None:
    from clipzoo_video.published import load_clip4clip

    load_clip4clip(next(folder.glob("h.*")), clip=_tiny_clip())


reader(
    "CLIP4Clip checkpoint", "h.bin",
    lambda: [saved(safetensors.torch.load(_head()))],
)(_clip4clip)  # fmt: skip


@cache
def _index() -> bytes:
    import tempfile

    from clipzoo_video.search import VideoIndex

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a.gif").write_bytes(animation())
        VideoIndex(Path(name) / "index", _tiny_clip()).update({"a": Path(name) / "a.gif"})
        (file,) = (Path(name) / "index").glob("*.safetensors")
        return file.read_bytes()


@cache
def _looked_for() -> torch.Tensor:
    return _tiny_clip().encode_text(["a red circle"])[0]


@reader("video index", "i.safetensors", lambda: [_index()])
def _search(folder: Path) -> None:
    from clipzoo_video.search import VideoIndex

    index = VideoIndex(folder, _tiny_clip())
    index.query(_looked_for())
    index.query_windows(_looked_for())


# Training


def _captions_for_training(name: str, file: str, content: bytes) -> None:
    @reader(f"training {name}", file, lambda: [content], beside=lambda: PHOTO)
    def _read(folder: Path) -> None:
        from clipzoo_train.caption_files import open_captions

        open_captions(folder / file)


_captions_for_training("captions", "captions.csv", b"image,caption,split\na.png,a cat,train\nb.png,a dog,test\n")
_captions_for_training("Flickr8k", "captions.txt", b"a.png#0\ta cat\nb.png#1\ta dog\n")
_captions_for_training("shards", "set.tar", tar({"0.png": png(), "0.txt": b"a cat\nb", "1.png": png()}))


_captions_for_training(
    "JSON lines", "captions.jsonl",
    b'{"image": "a.png", "caption": "a cat"}\n{"image": "b.png", "caption": ["a", "b"]}\n',
)  # fmt: skip
_captions_for_training(
    "COCO", "captions.json",
    told({"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "caption": "x"}]}),
)  # fmt: skip
_captions_for_training(
    "Karpathy", "captions.json",
    told({"images": [{"filepath": "", "filename": "a.png", "split": "train", "sentences": [{"raw": "a cat"}]}]}),
)  # fmt: skip
_captions_for_training("captions by image", "captions.json", told({"a.png": ["a cat", "x"], "b.png": "y"}))


@reader("towers", "config.json", lambda: [_encoder()["open_clip_config.json"]])
def _towers(folder: Path) -> None:
    from clipzoo_train.tower_specs import named_config

    named_config(str(folder / "config.json"))
