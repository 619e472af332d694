"""What ``clipzoo doctor`` looks at."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipzoo.paths import cache_dir, data_dir, offline
from clipzoo.plugin import entry_points, plugins
from clipzoo.probing import probe

_PACKAGES = ("torch", "open_clip_torch", "timm", "kornia", "einops", "hydra-core", "safetensors")
_BACK_ENDS = {"pytorch3d": "point renderer of pointclip", "pydiffvg": "stroke renderer of sketches"}


@dataclass(frozen=True)
class Finding:
    """One line of the examination; ``state`` broken means that clipzoo will not work as it is."""

    name: str
    state: Literal["ok", "absent", "broken"]
    text: str


def examine(timeout_s: float = 120.0) -> list[Finding]:
    """Versions, devices, folders, plugins, datasets and optional back ends, in this order.

    Args:
        timeout_s: what importing one plugin or dataset may take, s; it happens in a process of its own.
    """
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
    findings += _plugins(timeout_s)
    findings += _datasets(timeout_s)
    for module, purpose in _BACK_ENDS.items():
        there = importlib.util.find_spec(module) is not None
        findings.append(Finding(module, "ok" if there else "absent", f"optional: {purpose}"))
    return findings


def _plugins(timeout_s: float) -> list[Finding]:
    """Each plugin with everything that a run of it would import."""
    listed = plugins()
    probed = probe(listed, runs=True, timeout_s=timeout_s)
    found = []
    for key, reference in listed.items():
        if key != reference.name:
            others = [other.distribution for other in listed.values() if other.name == reference.name]
            text = f"two distributions offer this name, so neither runs: pip uninstall one of {', '.join(others)}"
            found.append(Finding(key, "broken", text))
        elif probed[key].error:
            found.append(Finding(key, "broken", _told(probed[key].error, reference.distribution)))
        else:
            found.append(Finding(key, "ok", f"{reference.distribution} {reference.version}"))
    return found


def _datasets(timeout_s: float) -> list[Finding]:
    """Broken datasets, and names that two distributions offer; those that work are one line."""
    from clipzoo.data.registry import DATASET_GROUP, datasets

    known = datasets()
    found = [
        Finding(f"{name} (dataset)", "broken", _told(probed.error, known[name].distribution))
        for name, probed in probe(known, what="datasets", timeout_s=timeout_s).items()
        if probed.error
    ]
    offered: dict[str, set[str]] = {}
    for entry in entry_points(DATASET_GROUP):
        offered.setdefault(entry.name, set()).add(entry.dist.name if entry.dist is not None else "unknown")
    for name, owners in offered.items():
        if len(owners) > 1:
            text = f"offered by {', '.join(sorted(owners))}: only that of {known[name].distribution} is used"
            found.append(Finding(f"{name} (dataset)", "broken", text))
    return [Finding("datasets", "ok", f"{len(known)} have a name"), *found]


def _told(error: str, distribution: str) -> str:
    """The error, and whose fault it is where the error itself does not say so."""
    return error if distribution in error else f"{distribution}: {error}"


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
