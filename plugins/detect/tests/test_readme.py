"""The commands of the README on a COCO of five photos: from embeddings to a trained detector that is measured."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from clipzoo_detect import proposals
from clipzoo_detect.__main__ import main as with_several_processes
from clipzoo_detect.network import ViLDNetwork
from clipzoo_detect.proposals import RPNProposer
from PIL import Image, ImageDraw

from clipzoo.cli import main

README = Path(__file__).parents[1] / "README.md"
NAMES = ("person", "car", "dog", "cake", "toothbrush", "hair drier")
COLOURS = ("red", "green", "blue", "orange", "purple", "black")
SMALL = ["model=tiny-rn", "proposals=6", "batch_size=2", "steps=2", "warmup=1", "workers=0", "device=cpu", "pictures=1"]


def documented(start: str) -> list[list[str]]:
    """The commands of the README that begin so, as words."""
    found = re.findall(rf"(?:`|^    )({re.escape(start)}[^`\n]*)", README.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(command, comments=True) for command in found]


def write_coco(folder: Path) -> None:
    """``annotations/instances_*2017.json`` and the photos, as they are unpacked."""
    draw = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    for part, count in (("train2017", 3), ("val2017", 2)):
        (folder / part).mkdir()
        images, annotations = [], []
        for number in range(1, count + 1):
            name = f"{number:012d}.jpg"
            photo = Image.new("RGB", (96, 72), "white")
            for label in draw.choice(len(NAMES), 3, replace=False).tolist():
                left, top = draw.integers(0, (60, 40)).tolist()
                box = [left, top, 30, 24]
                outline = [left, top, left + 30, top, left + 30, top + 24, left, top + 24]
                ImageDraw.Draw(photo).rectangle((left, top, left + 30, top + 24), fill=COLOURS[label])
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box,
                     "area": 720, "iscrowd": 0, "segmentation": [outline]}
                )  # fmt: skip
            photo.save(folder / part / name)
            images.append({"id": number, "file_name": name, "width": 96, "height": 72})
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(NAMES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """A working folder, with the dataset where it is looked for, and a proposal network that has learned nothing."""
    monkeypatch.setenv("CLIPZOO_DATA", str(tmp_path / "data"))
    write_coco(tmp_path / "data" / "coco")
    network = ViLDNetwork(8, "small", "text", masks=False)
    monkeypatch.setattr(proposals.RPNProposer, "pretrained", lambda device="cpu": RPNProposer(network.to(device)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result_of(words: list[str], run=main) -> tuple[Path, dict]:
    """Folder and metrics of a run that a command makes."""
    before = set(Path("runs/vild").glob("*")) if Path("runs/vild").is_dir() else set()
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code in (0, None)
    (folder,) = set(Path("runs/vild").glob("*")) - before
    return folder, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.parametrize("backbone", ["small", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_open_vocabulary_coco_from_end_to_end(coco, backbone):
    precompute, train, evaluate = documented("clipzoo run vild recipe=ov-coco")
    own = [*SMALL, f"backbone={backbone}"]
    _, told = result_of([*precompute[1:], *own])
    assert told["images"] == 3
    assert (coco / "coco-embeddings" / "meta.json").is_file()
    trained, told = result_of([*train[1:], *own])
    assert told["steps"] == 2
    evaluate = [word.replace("runs/vild/RUN", str(trained)) for word in evaluate]
    _, told = result_of([*evaluate[1:], *own])
    assert told["images"] == 2
    assert {"novel_AP50", "base_AP50"} <= set(told)

    (together,) = documented("torchrun")
    assert together[:5] == ["torchrun", "--nproc-per-node", "8", "-m", "clipzoo_detect"]
    _, told = result_of([*together[5:], *own], with_several_processes)
    assert told["steps"] == 2


def test_coco_is_measured_without_training(coco):
    _, told = result_of(["run", "vild", "--data", "coco", "model=ViT-B-32/openai", *SMALL])
    assert told["images"] == 2


def test_the_toy_world_from_a_common_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, precompute, train, evaluate = documented("clipzoo run vild recipe=toy")
    own = [*SMALL, "scenes=3"]
    start, told = result_of([*first[1:], *own])
    assert told["steps"] == 2
    begun = str(start / "vild.safetensors")
    _, told = result_of([*(word.replace("START", begun) for word in precompute[1:]), *own])
    assert told["images"] == 3
    trained, told = result_of([*(word.replace("START", begun) for word in train[1:]), *own])
    assert told["steps"] == 2
    _, told = result_of([*(word.replace("runs/vild/RUN", str(trained)) for word in evaluate[1:]), *own])
    assert told["images"] == 3
