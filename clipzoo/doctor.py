"""What ``clipzoo doctor`` looks at."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipzoo.errors import ClipzooError
from clipzoo.paths import cache_dir, data_dir, offline
from clipzoo.plugin import plugins

_PACKAGES = ("torch", "open_clip_torch", "timm", "kornia", "einops", "hydra-core", "safetensors")
_BACK_ENDS = {"pytorch3d": "point renderer of pointclip", "pydiffvg": "stroke renderer of sketches"}


@dataclass(frozen=True)
class Finding:
    """One line of the examination; ``state`` broken means that clipzoo will not work as it is."""

    name: str
    state: Literal["ok", "absent", "broken"]
    text: str


def examine() -> list[Finding]:
    """Versions, devices, folders, plugins and optional back ends, in this order."""
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for name in _PACKAGES:
        try:
            findings.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "broken", "not installed: pip install clipzoo"))
    findings.append(_devices())
    for name, folder in (("cache", cache_dir()), ("data", data_dir())):
        findings.append(_folder(name, folder))
    findings.append(Finding("network", "ok", "forbidden by the environment" if offline() else "used when needed"))
    for name, reference in plugins().items():
        try:
            plugin = reference.load()
            plugin.load_run()
            findings.append(Finding(name, "ok", f"{reference.distribution} {reference.version}"))
        except ClipzooError as error:
            findings.append(Finding(name, "broken", error.what))
    for module, purpose in _BACK_ENDS.items():
        there = importlib.util.find_spec(module) is not None
        findings.append(Finding(module, "ok" if there else "absent", f"optional: {purpose}"))
    return findings


def _devices() -> Finding:
    try:
        import torch
    except Exception as error:
        return Finding("devices", "broken", f"torch cannot be imported: {error}")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return Finding("devices", "ok", ", ".join([f"cpu ({torch.get_num_threads()} threads)", *names]))


def _folder(name: str, folder: Path) -> Finding:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Finding(name, "broken", f"{folder} cannot be written; set CLIPZOO_{name.upper()}")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    return Finding(name, "ok", f"{folder} ({size / 1e6:.0f} MB)")
