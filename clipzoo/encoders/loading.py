"""Loading encoders by name: the bundled ones, open_clip's, and checkpoints of one's own."""

from __future__ import annotations

import json
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipzoo.encoders.frozen import FrozenCLIP
from clipzoo.encoders.tiny_files import TINY_NAMES, read_tiny
from clipzoo.errors import ConfigError, WeightsError, closest_matches
from clipzoo.paths import offline


def load_clip(name: str = "tiny", device: str | torch.device = "auto", precision: str = "fp32") -> FrozenCLIP:
    """Load a frozen CLIP.

    Args:
        name: ``"tiny"`` or ``"tiny-rn"`` (bundled, for demos and tests), ``"ViT-B-32/openai"`` (an open_clip
            architecture and one of its weight tags), ``"hf-hub:organisation/model"``, or a folder that holds
            ``open_clip_config.json`` and ``open_clip_model.safetensors``.
        device: ``"auto"`` takes CUDA, then MPS, then the CPU.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``, see :class:`FrozenCLIP`.

    Raises:
        ConfigError: if the name, the device or the precision does not exist.
        WeightsError: if the weights cannot be had, or do not fit the architecture.

    >>> load_clip("tiny").name
    'tiny'
    """
    target = choose_device(device)
    if name in TINY_NAMES:
        model, tokenizer, known = _load_tiny(name)
        return FrozenCLIP(model, tokenizer, name, precision=precision, known_tokens=known).to(target)
    if name.startswith("hf-hub:"):
        model, tokenizer = _open_clip(name, None, name)
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
        if not (folder / "open_clip_config.json").is_file():
            raise WeightsError(
                f"the folder {name} holds no open_clip_config.json",
                expected="open_clip_config.json and open_clip_model.safetensors",
            )
        model, tokenizer = _open_clip(f"local-dir:{folder}", None, name)
    else:
        architecture, tag = _split(name)
        model, tokenizer = _open_clip(architecture, tag, name)
    return FrozenCLIP(model, tokenizer, name, precision=precision).to(target)


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device called ``device``; ``"auto"`` takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: if there is no such device here.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f'no device called "{device}"', expected="auto, cpu, cuda, cuda:0, mps") from error
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }.get(chosen.type, False)
    if not present or (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f'the device "{device}" is not present', expected=f"one of {', '.join(_devices())}", hint="device=auto"
        )
    return chosen


def _devices() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def build_model(config: dict[str, Any]) -> nn.Module:
    """An open_clip model with fresh weights from the ``model_cfg`` of an open_clip config."""
    from open_clip.model import CLIP

    return CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=config["vision_cfg"],
        text_cfg=config["text_cfg"],
        quick_gelu=config.get("quick_gelu", False),
    )


def build_tokenizer(config: dict[str, Any]) -> Any:
    """CLIP's byte-pair tokenizer for the context of ``config``."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=config["text_cfg"]["context_length"])


def _load_tiny(name: str) -> tuple[nn.Module, Any, frozenset[int]]:
    assets = resources.files("clipzoo") / "assets"
    config = json.loads((assets / f"{name}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):  # no time for random weights that are overwritten
        model = build_model(config["model_cfg"])
    with resources.as_file(assets / f"{name}.safetensors") as path:
        state, known = read_tiny(path, config["model_cfg"])
    causal = model.attn_mask is not None and model.attn_mask.is_meta  # a buffer that no checkpoint holds
    model.load_state_dict(state, assign=True)
    if causal:
        length = config["model_cfg"]["text_cfg"]["context_length"]
        model.register_buffer("attn_mask", torch.full((length, length), -torch.inf).triu(1), persistent=False)
    visual: Any = model.visual
    visual.image_mean, visual.image_std = _mean_std(config)
    return model, build_tokenizer(config["model_cfg"]), known


def _mean_std(config: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    preprocess = config["preprocess_cfg"]
    return tuple(preprocess["mean"]), tuple(preprocess["std"])


def _split(name: str) -> tuple[str, str]:
    import open_clip

    architecture, _, tag = name.partition("/")
    architectures = open_clip.list_models()
    if architecture not in architectures:
        if any(mark in name for mark in ("\\", ".safetensors", ".pt")) or name.startswith((".", "/", "~")):
            raise WeightsError(
                f"no folder {name}", expected="a folder with open_clip_config.json and open_clip_model.safetensors"
            )
        raise ConfigError(
            f'no encoder called "{name}"',
            closest=closest_matches(architecture, [*TINY_NAMES, *architectures]),
            expected="tiny, tiny-rn, ARCHITECTURE/TAG of open_clip, hf-hub:ORGANISATION/MODEL, or a folder",
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise ConfigError(
            f'no weights "{tag}" for {architecture}' if tag else f"no weights are named for {architecture}",
            closest=[f"{architecture}/{match}" for match in closest_matches(tag, tags)],
            expected=f"one of {', '.join(tags[:12])}" if tags else "an architecture that has weights",
            hint=f"model={architecture}/{tags[0]}" if tags else None,
        )
    return architecture, tag


def _open_clip(architecture: str, tag: str | None, name: str) -> tuple[nn.Module, Any]:
    import open_clip

    quick = False
    if tag is not None:
        trained_with = bool((open_clip.get_pretrained_cfg(architecture, tag) or {}).get("quick_gelu", False))
        built_with = bool((open_clip.get_model_config(architecture) or {}).get("quick_gelu", False))
        if built_with and not trained_with:
            # Running GELU weights through QuickGELU costs points silently, so it is no warning here.
            raise WeightsError(
                f"{name}: the architecture has QuickGELU, and these weights were trained with GELU",
                hint=f"model={architecture.removesuffix('-quickgelu')}/{tag}",
            )
        quick = trained_with
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = open_clip.create_model(
                architecture, pretrained=tag, force_quick_gelu=quick, require_pretrained=True, weights_only=True
            )
        return model, open_clip.get_tokenizer(architecture)
    except Exception as error:
        where = "CLIPZOO_OFFLINE or HF_HUB_OFFLINE is set" if offline() else "they could not be fetched or read"
        raise WeightsError(
            f"the weights of {name} are not in the local cache, and {where}: {' '.join(str(error).split())[:300]}",
            hint="load them once with a network, or name a folder with open_clip_config.json and "
            "open_clip_model.safetensors; model=tiny needs no download",
        ) from error
