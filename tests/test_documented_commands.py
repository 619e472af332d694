"""Every documented command at work: on files of a few pixels, with the bundled encoders, for a few steps."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import socket
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documented import ROOT, TEXTS, commands_in
from PIL import Image

from clipzoo.cli import main
from clipzoo.config import compose
from clipzoo.data.scenes import render_object
from clipzoo.plugin import find_plugin

SMALL: dict[str, dict[str, Any]] = {
    "zeroshot": {"per_class": 4, "templates": "name", "compare_templates": False},
    "pointclip": {"per_class": 1, "points": 64, "shots": 1, "epochs": 2},
    "depthclip": {"rooms": 4, "steps": 2, "shots": 2, "files": 1},
    "clipasso": {"steps": 2, "restarts": 1, "size": 64, "frames": 2, "views": 1, "saliency_model": "tiny"},
    "clipdraw": {"steps": 2, "size": 64, "paths": 4, "frames": 2, "views": 1, "models": ["tiny"]},
    "styleclip": {"samples": 1, "steps": 2, "bank_images": 2, "bank_models": [], "train_codes": 4, "invert_steps": 2,
                  "generator": "g.safetensors", "encoder": ""},
    "vild": {"scenes": 2, "proposals": 6, "steps": 2, "batch_size": 2, "warmup": 1, "workers": 0, "proposer": "grouping",
             "backbone": "small", "pictures": 1, "limit": 2, "masks": False},
    "clip4clip": {"pairs": 6, "train_pairs": 8, "epochs": 1, "train_batch": 4, "frames": 2, "layers": 1},
    "train": {"limit": 12, "epochs": 1, "steps": 2, "train_batch": 4, "batch_size": 4, "accumulate": 1, "workers": 1},
}  # fmt: skip
"""Settings with which a run takes a moment."""


def small(name: str, words: list[str]) -> list[str]:
    """A documented run with less of everything that takes time, and the bundled encoders."""
    settings = compose(find_plugin(name).load(), [word for word in words if "=" in word]).settings
    changes = {"device": "cpu", "model": bundled(settings.model), **SMALL[name]}
    if name in ("styleclip", "zeroshot") and getattr(settings, "names", True):  # photos without classes
        words = ["flat_folder/" if word == "photos/" else word for word in words]
    return [*words, *(f"{key}={json.dumps(v) if isinstance(v, list | bool) else v}" for key, v in changes.items())]


def bundled(model: str) -> str:
    """The bundled encoder of the kind of ``model``."""
    if model.startswith(("tiny", "small")):
        return model
    return "tiny-rn" if "RN" in model else "tiny"


# The files that the texts speak of


def picture(shape: str, colour: str) -> Image.Image:
    return Image.fromarray(np.asarray(render_object(shape, colour, 64)))


def write_pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture(*(("circle", "red"), ("square", "blue"), ("star", "green"))[number % 3]).save(folder / name)


def write_film(path: Path) -> None:
    frames = [picture("circle", "red"), picture("tree", "green")] * 2
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=400)


def write_clouds(folder: Path) -> None:
    import h5py

    draw = np.random.default_rng(0)
    for name in ("chair", "table"):
        (folder / "my_shapes" / name).mkdir(parents=True)
        np.save(folder / "my_shapes" / name / "0.npy", draw.normal(size=(80, 3)))
    rows = "\n".join(" ".join(map(str, row)) for row in draw.normal(size=(80, 3)))
    head = (
        "ply\nformat ascii 1.0\nelement vertex 80\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (folder / "chair.ply").write_text(head + rows)
    modelnet = folder / "data" / "modelnet40" / "modelnet40_ply_hdf5_2048"
    modelnet.mkdir(parents=True)
    (modelnet / "shape_names.txt").write_text("airplane\nbathtub\n")
    for part in ("train", "test"):
        (modelnet / f"{part}_files.txt").write_text(f"{part}.h5\n")
        with h5py.File(modelnet / f"{part}.h5", "w") as file:
            file["data"], file["label"] = draw.normal(size=(4, 80, 3)), np.array([[0], [1], [0], [1]])


def write_nyu(folder: Path) -> None:
    for part in ("train", "test"):
        write_pictures(folder / part / "kitchen", "rgb_0.jpg", "rgb_1.jpg")
        for number in range(2):
            write_depth(folder / part / "kitchen" / f"sync_depth_{number}.png")


def write_depth(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.tile(np.linspace(1000, 5000, 64, dtype=np.uint16), (64, 1))).save(path)


def write_captions(folder: Path) -> None:
    names = [f"{number}.png" for number in range(12)]
    rows = [
        "image,caption",
        *(f"{name},a {colour} thing" for name, colour in zip(names, ("red", "blue") * 6, strict=True)),
    ]
    for place, images, table in (
        ("my_photos", "", "captions.csv"),
        ("data/flickr8k", "Images", "captions.txt"),
        ("data/flickr30k", "flickr30k_images", "results.csv"),
    ):
        write_pictures(folder / place / images, *names)
        (folder / place / table).write_text("\n".join(rows))
    shutil.copytree(folder / "photos", folder / "images")
    photos = sorted(path.relative_to(folder / "photos") for path in (folder / "photos").rglob("*.png"))
    (folder / "captions.csv").write_text(
        "\n".join(["image,caption", *(f"{path},a {path.parent.name}" for path in photos)])
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each, small."""
    from clipzoo_style import save_stylegan2
    from clipzoo_style.checkpoints import untrained

    folder = tmp_path_factory.mktemp("files")
    write_pictures(folder, "photo.jpg", "dog.jpg", "street.jpg", "face.png")
    Image.fromarray(np.pad(np.full((24, 24), 255, np.uint8), 20)).save(folder / "dog-mask.png")
    np.save(folder / "points.npy", np.array([[20, 24], [44, 24], [32, 36], [24, 48], [40, 48]], np.float32))
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            write_pictures(folder / "photos" / part / name, "0.png", "1.png", "2.png", "3.png")
    write_nyu(folder / "data" / "nyuv2")
    save_stylegan2(
        untrained(16, style_dim=8, mapping_layers=1, channels={4: 4, 8: 4, 16: 2}, seed=5).set_mean(8),
        folder / "g.safetensors",
    )
    write_pictures(folder / "flat_folder", "0.png", "1.png")
    (folder / "names.txt").write_text("red circle\nblue square\n")
    (folder / "list.csv").write_text("path,caption\nphoto.jpg,a thing\nstreet.jpg,another\n")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "000.tar", "w") as shard:
        shard.add(folder / "photo.jpg", "0.jpg")
    (folder / "my_pairs").mkdir()
    for number in range(3):
        write_pictures(folder / "my_pairs" / "rgb", f"{number}.png")
        write_depth(folder / "my_pairs" / "depth" / f"{number}.png")
    images = [{"id": 1, "file_name": "test/cat/0.png", "width": 64, "height": 64}]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 40, 40], "area": 1600, "iscrowd": 0}]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "red circle"}]}
    (folder / "my_boxes.json").write_text(json.dumps(content))
    for name in ("my_videos", "videos"):
        write_film(folder / name / "film.gif")
    films = [f"video{number}" for number in range(1, 7)]
    for name in films:
        write_film(folder / "data" / "msrvtt" / f"{name}.gif")
    told = "key,vid_key,video_id,sentence\nret0,msr1,video1,a red circle\nret1,msr2,video2,a green tree\n"
    (folder / "data" / "msrvtt" / "MSRVTT_JSFUSION_test.csv").write_text(told)
    (folder / "data" / "msrvtt" / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *films]))
    sentences = [{"video_id": name, "caption": "a tree"} for name in films]
    (folder / "data" / "msrvtt" / "MSRVTT_data.json").write_text(json.dumps({"sentences": sentences}))
    write_clouds(folder)
    write_captions(folder)
    return folder


@pytest.fixture(autouse=True)
def among_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's working folder, and the datasets that were downloaded."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("CLIPZOO_DATA", str(files / "data"))
    monkeypatch.setattr(sys, "argv", ["clipzoo"])


# The commands

ELSEWHERE = {
    r"--resume|=START|/RUN/": "what an earlier command made: rule 'resume' of the contract, plugins/detect/tests/test_readme.py",
    r"recipe=ov-coco|--data coco": "plugins/detect/tests/test_readme.py",
    r"text_tower=hf:": "needs a network; plugins/train/tests/test_towers.py",
    r"run train recipe=tiny": "trains for hours; plugins/train/tests/test_toy.py",
}
"""Runs that are not made here, and why."""


def commands(*first: str) -> list[list[str]]:
    """The documented commands that begin so, each once; those without a setting are names in a sentence."""
    found = [words for page in TEXTS for words in commands_in(page) if tuple(words[: len(first)]) == first]
    return [list(words) for words in dict.fromkeys(map(tuple, found))]


def elsewhere(words: list[str]) -> bool:
    return any(re.search(pattern, " ".join(words)) for pattern in ELSEWHERE)


def succeeds(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    assert ended.value.code in (0, None), told.err


RUNS = [words for words in commands("clipzoo", "run") if len(words) > 3 and not elsewhere(words)]


@pytest.mark.parametrize("words", RUNS, ids=lambda words: " ".join(words[2:])[:70])
def test_a_documented_run_ends_well(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    succeeds(["run", words[2], *small(words[2], words[3:])], capsys)


def test_every_exception_is_still_documented() -> None:
    lines = [" ".join(words) for words in commands("clipzoo", "run")]
    assert [pattern for pattern in ELSEWHERE if not any(re.search(pattern, line) for line in lines)] == []


@pytest.mark.parametrize("words", [words for words in commands("clipzoo", "embed") if len(words) > 2], ids=" ".join)
def test_a_documented_store_is_written(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [f"model={bundled(word)}" if word.startswith("model=") else word for word in words]
    place = words.index("--out") + 1
    words[place] = str(tmp_path / words[place])
    succeeds([*words[1:], "device=cpu"], capsys)
    assert (Path(words[place]) / "store.json").is_file()


SCRIPTS = sorted({words[1] for words in commands("python") if words[1].startswith("benchmarks/")})
MODULES = sorted({words[2] for words in commands("python", "-m") if words[2].startswith("clipzoo")} - {"clipzoo_train"})


@pytest.mark.parametrize("name", [*SCRIPTS, *MODULES])
def test_a_documented_program_starts_and_tells_its_options(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own tests let it work; here it is imported as a program, with all that it imports."""
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.syspath_prepend(str((ROOT / name).parent))  # as Python does
    with pytest.raises(SystemExit) as ended:
        if name in SCRIPTS:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert ended.value.code in (0, None), capsys.readouterr().err
    assert "--" in capsys.readouterr().out


TOGETHER = [words[3:] for words in commands("python", "-m", "clipzoo_train")]


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_what_torchrun_starts_runs_alone(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipzoo_train.__main__ import main as train

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for key, value in {
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }.items():
        monkeypatch.setenv(key, str(value))
    ended = train(small("train", words))
    assert ended == 0, capsys.readouterr().err
