"""What this machine is, and what it does in a second: one line of JSON for ``clipzoo bench``.

The speeds are those of a large matrix product and of a large copy, measured here and now, with the threads that the
benchmarks have: the floor of a job is what such a machine needs at least, not what is printed on its box.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from _timing import best_s

PACKAGES = ("clipzoo", "torch", "open_clip_torch", "numpy")


def processor() -> str:
    """The name of the processor, as the system tells it."""
    told = Path("/proc/cpuinfo")
    if told.is_file():
        for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def speeds(device: str) -> dict[str, float]:
    """Operations a second in fp32 and bf16, and bytes a second."""
    side = 8192 if device == "cuda" else 1536
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if device == "cpu" and name == "bf16":
            continue
        left, right = (torch.rand(side, side, device=device, dtype=dtype) for _ in "ab")
        found[name] = 2 * side**3 / best_s(lambda left=left, right=right: left @ right, 5, device)
    source = torch.rand(2**28 if device == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    found["bytes"] = 2 * 4 * source.numel() / best_s(lambda: target.copy_(source), 5, device)
    return found


def versions() -> dict[str, str]:
    """The versions that decide a time."""
    told = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            told[name] = "not installed"
    return told


def main() -> None:
    cuda = torch.cuda.is_available() and "cpu" not in sys.argv[1:]
    devices = ["cpu", "cuda"] if cuda else ["cpu"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told: dict[str, Any] = {
        "machine": {"cpu": f"{processor()}, {cores} cores"},
        "threads": torch.get_num_threads(),
        "speeds": {device: speeds(device) for device in devices},
        "versions": versions(),
    }
    if cuda:
        told["machine"]["cuda"] = torch.cuda.get_device_name()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
