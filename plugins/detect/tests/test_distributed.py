"""Training with two processes against a plain average of their gradients."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import subprocess
import sys

import pytest
import torch
from clipzoo_detect.__main__ import main
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


def with_torchrun(words: list[str], _patch) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "clipzoo_detect", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def with_this_process(words: list[str], patch) -> None:
    """What torchrun tells its processes, told to this one, which has its libraries in memory, and to one more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    told |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    other = subprocess.Popen(
        [sys.executable, "-m", "clipzoo_detect", *words],
        env={**os.environ, **told, "RANK": "1", "LOCAL_RANK": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for name, value in {**told, "RANK": "0", "LOCAL_RANK": "0"}.items():
        patch.setenv(name, value)
    # Without the other one this process would wait for half an hour.
    faulthandler.dump_traceback_later(300, exit=True)
    try:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code in (0, None)
        assert other.wait(60) == 0, other.communicate()[1][-3000:]
    finally:
        faulthandler.cancel_dump_traceback_later()
        other.kill()
        other.communicate()


@pytest.fixture
def one_thread():
    """As in the other process: sums in another order make other last digits, and Adam makes steps of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
@pytest.mark.parametrize("start", [with_this_process, pytest.param(with_torchrun, marks=pytest.mark.slow)])
def test_two_processes_average_their_gradients_and_one_keeps_the_folder(tmp_path, monkeypatch, one_thread, start):
    with monkeypatch.context() as patch:
        start([*WORDS, f"out={tmp_path / 'runs'}"], patch)
    (folder,) = (tmp_path / "runs" / "vild").iterdir()
    together = load_network(folder / "vild.safetensors")[0].state_dict()
    for name, weights in by_hand(tmp_path).items():
        assert torch.allclose(together[name], weights, atol=2e-5), name
    # A finished run is resumed in vain: no process waits for the others, and the detector stays as it is.
    written = (folder / "vild.safetensors").stat().st_mtime_ns
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(SystemExit) if rank == "0" else contextlib.nullcontext():
            main(["--resume", str(folder)])
    assert (folder / "vild.safetensors").stat().st_mtime_ns == written


def test_processes_that_were_not_joined_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="clipzoo_detect"):
        clipzoo.run("vild", **{**{w.partition("=")[0]: value_of(w) for w in WORDS}, "stage": "train", "out": tmp_path})
