"""Trained towers on disk in open_clip's layout, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipzoo.encoders import FrozenCLIP, load_clip
from clipzoo.errors import WeightsError
from clipzoo_train.pair import Pair, load_weights, own_towers, set_preprocessing

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def save_pair(pair: Pair, folder: Path, card: dict[str, Any] | None = None) -> Path:
    """Write ``open_clip_config.json`` and ``open_clip_model.safetensors``.

    :func:`clipzoo.load_clip` and open_clip (``local-dir:FOLDER``) load it; models with an MLP head or a Hugging Face
    text tower, which open_clip has no configuration for, load with :func:`load_trained` alone.

    Args:
        pair: what was trained.
        folder: to write to.
        card: more to write into the configuration, for example how it was trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(json.dumps(pair.config))
    config["model_cfg"].get("vision_cfg", {}).pop("patch_dropout", None)
    config["model_cfg"].get("vision_cfg", {}).update(
        {"timm_model_pretrained": False} if config["model_cfg"]["vision_cfg"].get("timm_model_name") else {}
    )
    state = {name: value.contiguous().clone() for name, value in pair.full_state().items()}
    save_file(state, folder / f".{WEIGHTS}.part")
    (folder / f".{WEIGHTS}.part").replace(folder / WEIGHTS)
    text = json.dumps({**config, **({"training": card} if card else {})}, indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return folder


def load_trained(folder: str | Path, device: str | torch.device = "auto", precision: str = "fp32") -> FrozenCLIP:
    """Load what a run has trained, also where open_clip has no such architecture.

    Args:
        folder: that :func:`save_pair` has written.
        device: as for :func:`clipzoo.load_clip`.
        precision: as for :func:`clipzoo.load_clip`.

    Raises:
        WeightsError: if the folder holds no such thing, or its weights are of another architecture.
    """
    path = Path(folder).expanduser()
    config = _read_config(path)
    if "clipzoo_train" not in config:
        return load_clip(str(path), device=device, precision=precision)
    from clipzoo.encoders.loading import choose_device

    own = config["clipzoo_train"]
    towers, tokenizer = own_towers(config["model_cfg"], own, pretrained=False)
    set_preprocessing(towers.visual, config["preprocess_cfg"])
    pair = Pair(towers, tokenizer, config)
    load_weights(pair, read_weights(path / WEIGHTS), str(path))
    return FrozenCLIP(pair.model, tokenizer, str(folder), precision=precision).to(choose_device(device))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} holds no readable {CONFIG}", expected="a folder that a run has written") from error


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: if it is missing or damaged.
    """
    try:
        return load_file(file)
    except Exception as error:
        raise WeightsError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from error
