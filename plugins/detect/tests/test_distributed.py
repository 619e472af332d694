"""Training with two processes against a plain average of their gradients."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from clipzoo_detect.network import load_network
from clipzoo_detect.plugin import ViLDSettings
from clipzoo_detect.splits import base_mask, novel_labels
from clipzoo_detect.toy import toy_scenes
from clipzoo_detect.training import Batches, Examples, _optimiser, _prepared, learning_rate_at

import clipzoo
from clipzoo.errors import ConfigError
from clipzoo.runs import RunContext

WORDS = [
    "data=toy-detection",
    "scenes=5",
    "model=tiny-rn",
    "backbone=small",
    "variant=text",
    "batch_size=1",
    "steps=2",
    "warmup=2",
    "optimiser=adamw",
    "learning_rate=0.001",
    "masks=false",
    "workers=0",
]


def by_hand(tmp_path) -> dict[str, torch.Tensor]:
    """The same steps in one process: gradients of two batches of one image, their mean, one step."""
    settings = ViLDSettings(**{word.partition("=")[0]: value_of(word) for word in WORDS})
    data = toy_scenes(5, "train")
    novel = novel_labels(data, "toy")
    context = RunContext(tmp_path, settings, progress=False)
    network, _, text, _ = _prepared(settings, context, data, novel)
    examples, base = Examples(data.without(novel), None, False, 128), base_mask(len(data.classnames), novel)
    optimiser = _optimiser(settings, network)
    batches = [list(Batches(5, 1, 0, 2, 0, rank, 2)) for rank in (0, 1)]
    for step in range(2):
        optimiser.zero_grad()
        for rank in (0, 1):
            torch.manual_seed(step)
            losses = network([examples[place] for place in batches[rank][step]], text, base)
            (torch.stack(list(losses.values())).sum() / 2).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        optimiser.step()
    return network.state_dict()


def value_of(word: str):
    text = word.partition("=")[2]
    kinds = {"true": True, "false": False}
    if text in kinds:
        return kinds[text]
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_processes_average_their_gradients_and_one_keeps_the_folder(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "clipzoo_detect", *WORDS, f"out={tmp_path / 'runs'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "runs" / "vild").iterdir()
    together = load_network(folder / "vild.safetensors")[0].state_dict()
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # as in the processes: sums in another order make other last digits, and Adam makes steps of them
    try:
        alone = by_hand(tmp_path)
    finally:
        torch.set_num_threads(threads)
    for name, weights in alone.items():
        assert torch.allclose(together[name], weights, atol=2e-5), name
    again = subprocess.run(
        [*command[:8], "--resume", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert again.returncode == 0, again.stderr[-3000:]


def test_processes_that_were_not_joined_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="clipzoo_detect"):
        clipzoo.run("vild", **{**{w.partition("=")[0]: value_of(w) for w in WORDS}, "stage": "train", "out": tmp_path})
