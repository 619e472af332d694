"""From settings to an open_clip configuration: which architecture is trained."""

from __future__ import annotations

import copy
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

from clipzoo.encoders.tiny_files import TINY_NAMES
from clipzoo.errors import ConfigError, WeightsError, closest_matches

_SMALL_TEXT = {"context_length": 48, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
SMALL: dict[str, dict[str, Any]] = {
    "small-rn": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16, "head_width": 32},
        "text_cfg": _SMALL_TEXT,
    },
    "small-vit": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 6, "width": 128, "head_width": 32, "patch_size": 8},
        "text_cfg": _SMALL_TEXT,
    },
}
"""Architectures of a million parameters or two besides the token table, for two processors."""

PREPROCESS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def named_config(name: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The configuration called ``name``.

    Args:
        name: one of :data:`SMALL`, a bundled encoder, an open_clip architecture, alone or as ``ARCHITECTURE/TAG``, a
            ``.json`` file, or a folder with ``open_clip_config.json``.

    Returns:
        ``model_cfg``, ``preprocess_cfg``, and the name that :func:`clipzoo.load_clip` loads weights by, empty where
        training starts from nothing.

    Raises:
        ConfigError: if there is none of this name.
        WeightsError: if a file holds no configuration.
    """
    if name in SMALL:
        return copy.deepcopy(SMALL[name]), dict(PREPROCESS), ""
    if name in TINY_NAMES:
        stored = json.loads((resources.files("clipzoo") / "assets" / f"{name}.json").read_text(encoding="utf-8"))
        return stored["model_cfg"], stored["preprocess_cfg"], name
    path = Path(name).expanduser()
    if path.suffix == ".json" or path.is_dir():
        file = path / "open_clip_config.json" if path.is_dir() else path
        config, preprocess = _read(file)
        return config, preprocess, name if path.is_dir() else ""
    import open_clip

    architecture, slash, _ = name.partition("/")
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise ConfigError(
            f'no model called "{name}"',
            closest=closest_matches(architecture, [*SMALL, *TINY_NAMES, *open_clip.list_models()]),
            expected="small-rn, small-vit, an open_clip ARCHITECTURE, ARCHITECTURE/TAG, tiny, a config.json, a folder",
        )
    config = {key: value for key, value in config.items() if key != "custom_text"}
    if "multimodal_cfg" in config:
        raise ConfigError(f"{architecture} writes captions too (CoCa)", expected="an architecture of two towers")
    return config, dict(PREPROCESS), name if slash else ""


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        config = stored.get("model_cfg", stored)
        config["embed_dim"], config["vision_cfg"], config["text_cfg"]
        preprocess = {**PREPROCESS, **stored.get("preprocess_cfg", {})}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{file} is no configuration of open_clip: {type(error).__name__}: {error}",
            expected="embed_dim, vision_cfg and text_cfg",
        ) from error
    return config, preprocess


def chosen_config(
    model: str,
    *,
    image_tower: str = "",
    text_tower: str = "",
    embed_dim: int = 0,
    image_size: int = 0,
    max_words: int = 0,
    pretrained: bool = True,
    sigmoid: bool = False,
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """:func:`named_config` with other towers and sizes.

    Args:
        model: see there.
        image_tower: ``timm:NAME`` or an open_clip architecture whose image tower is taken.
        text_tower: ``hf:NAME`` or an open_clip architecture whose text tower is taken.
        embed_dim: width of the joint space; 0 keeps it.
        image_size: px; 0 keeps it.
        max_words: context length; 0 keeps it.
        pretrained: timm fetches its weights.
        sigmoid: the loss needs a learned bias, and SigLIP's initial scale.

    Raises:
        ConfigError: if a part does not exist, or weights are named for an architecture that is changed.
    """
    config, preprocess, weights = named_config(model)
    changes = bool(image_tower or text_tower or embed_dim or image_size or max_words)
    if weights and changes:
        raise ConfigError(
            f"{model} brings its weights, and the architecture is changed",
            expected="an architecture without weights, or no image_tower, text_tower, embed_dim, image_size, max_words",
        )
    if image_tower:
        config["vision_cfg"] = _image_config(image_tower, pretrained)
    if text_tower and not text_tower.startswith("hf:"):
        config["text_cfg"] = dict(named_config(text_tower)[0]["text_cfg"])
    if embed_dim:
        config["embed_dim"] = embed_dim
    if image_size:
        config["vision_cfg"]["image_size"] = image_size
    if max_words and not text_tower.startswith("hf:"):
        config["text_cfg"]["context_length"] = max_words
    if sigmoid and not weights:
        config["init_logit_scale"], config["init_logit_bias"] = math.log(10), -10.0
    return config, preprocess, weights


def _image_config(tower: str, pretrained: bool) -> dict[str, Any]:
    if not tower.startswith("timm:"):
        return dict(named_config(tower)[0]["vision_cfg"])
    import timm

    name = tower.removeprefix("timm:")
    if not timm.is_model(name.partition(".")[0]):
        raise ConfigError(
            f'timm has no model called "{name}"',
            closest=closest_matches(name, timm.list_models()),
            hint="timm:resnet50",
        )
    # Models without a pooling of their own to choose (vision transformers) keep theirs.
    pool = "" if name.startswith(("vit", "deit", "eva", "beit")) else "avg"
    return {
        "timm_model_name": name,
        "timm_model_pretrained": pretrained,
        "timm_pool": pool,
        "timm_proj": "linear",
        "image_size": 224,
    }
