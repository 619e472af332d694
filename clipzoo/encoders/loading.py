"""Loading encoders by name: the bundled ones, open_clip's, and checkpoints of one's own."""

from __future__ import annotations

import json
import os
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipzoo.encoders.frozen import FrozenCLIP
from clipzoo.encoders.remote_weights import safetensors_alone
from clipzoo.encoders.tiny_files import TINY_NAMES, read_tiny
from clipzoo.encoders.weight_files import read_weight_file
from clipzoo.errors import ConfigError, WeightsError, closest_matches
from clipzoo.paths import offline

_MOST_WORDS = 1 << 14


def load_clip(
    name: str = "tiny", device: str | torch.device = "auto", precision: str = "fp32", compile: bool = False
) -> FrozenCLIP:
    """Load a frozen CLIP.

    Args:
        name: one of

            - ``"tiny"``, ``"tiny-rn"``: bundled, for demos and tests;
            - ``"ViT-B-32/openai"``: an open_clip architecture and one of its weight tags;
            - ``"ViT-B-32/random"``: an open_clip architecture, untrained (seed 0), to measure speed with;
            - ``"ViT-B-32:weights.safetensors"``: an architecture and a file (``.safetensors``, or a state dict in
              ``.pt``, which is read without executing anything in it);
            - ``"hf-hub:organisation/model"``, or ``"hf-hub:organisation/model@revision"``;
            - a folder that holds ``open_clip_config.json`` and ``open_clip_model.safetensors``.
        device: ``"auto"`` takes CUDA, then MPS, then the CPU.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``, see :class:`FrozenCLIP`.
        compile: pass the image tower through ``torch.compile``; the first batch of each shape then takes longer.

    Raises:
        ConfigError: if the name, the device or the precision does not exist.
        WeightsError: if the weights cannot be had, or do not fit the architecture.

    >>> load_clip("tiny").name
    'tiny'
    """
    target = choose_device(device)
    if name in TINY_NAMES:
        model, tokenizer, known = _load_tiny(name)
    else:
        (model, tokenizer), known = _load(name), None
    clip = FrozenCLIP(model, tokenizer, name, precision=precision, known_tokens=known).to(target)
    if compile:
        clip.model.visual.compile()  # type: ignore[union-attr, operator]
    return clip


def _load(name: str) -> tuple[nn.Module, Any]:
    if offline():
        _forbid_network()
    if name.startswith("hf-hub:"):
        return _open_clip(name, None, name)
    architecture, colon, file = name.partition(":")
    if colon and len(architecture) > 1:  # one letter is a drive
        return _from_file(_architecture(architecture, name), Path(file).expanduser(), name)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "open_clip_config.json").is_file():
            raise WeightsError(
                f"the folder {name} holds no open_clip_config.json",
                expected="open_clip_config.json and open_clip_model.safetensors",
            )
        _check_claims(path)
        return _open_clip(f"local-dir:{path}", None, name)
    if path.is_file():
        raise WeightsError(
            f"the file {name} does not say which architecture it is",
            expected="ARCHITECTURE:FILE, or a folder with open_clip_config.json beside the weights",
            hint=f"model=ViT-B-32:{name}",
        )
    if name.endswith("/random"):
        return _untrained(_architecture(name.removesuffix("/random"), name))
    return _open_clip(*_split(name), name)


def _check_claims(folder: Path) -> None:
    """Hold what a configuration claims against the weights beside it, before a network of that size is made.

    Raises:
        WeightsError: if the network has more numbers than the largest file bytes, or the configuration cannot be read.
    """
    file = folder / "open_clip_config.json"
    most = max(path.stat().st_size for path in folder.iterdir() if path.is_file())
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
        for tower in (model["vision_cfg"], model["text_cfg"]):
            least = _least_numbers(tower, model["embed_dim"])
            if not least <= most or tower.get("context_length", 1) > _MOST_WORDS:
                raise WeightsError(
                    f"{file} tells of a network of {least:.3g} numbers, and no file in {folder} has more than {most:,} "
                    "bytes",
                    expected="the configuration that belongs to the weights",
                )
    except WeightsError:
        raise
    except (OSError, RecursionError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file} is no configuration of open_clip: {type(error).__name__}: {error}"[:400],
            expected="model_cfg with embed_dim, vision_cfg and text_cfg",
        ) from error


def _least_numbers(tower: dict[str, Any], embed_dim: int) -> float:
    """A lower bound on the weights of a tower: in each layer the square of its width, and one row a word or patch."""
    layers, width = tower.get("layers") or 1, tower.get("width") or 1
    depth = sum(layers) if isinstance(layers, list) else layers
    size = tower.get("image_size") or 0
    patches = max(size if isinstance(size, list) else [size]) / (tower.get("patch_size") or 32)
    inside = width * depth * max(tower.get("mlp_ratio") or 1, 1)
    rows = (tower.get("vocab_size") or 1, tower.get("context_length") or 1, patches**2, embed_dim)
    return width * max(inside, *rows)


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


def _forbid_network() -> None:
    """Hub clients read their switch when they are imported, which may have happened before it was set."""
    import huggingface_hub.constants as hub

    os.environ["HF_HUB_OFFLINE"] = "1"
    hub.HF_HUB_OFFLINE = True


def _architecture(architecture: str, name: str) -> str:
    import open_clip

    architectures = open_clip.list_models()
    if architecture in architectures:
        return architecture
    if any(mark in name for mark in ("\\", ".safetensors", ".pt")) or name.startswith((".", "/", "~")):
        raise WeightsError(
            f"no folder {name}", expected="a folder with open_clip_config.json and open_clip_model.safetensors"
        )
    raise ConfigError(
        f'no encoder called "{name}"',
        closest=closest_matches(architecture, [*TINY_NAMES, *architectures]),
        expected="tiny, tiny-rn, ARCHITECTURE/TAG of open_clip, ARCHITECTURE:FILE, hf-hub:ORGANISATION/MODEL, or a "
        "folder",
    )


def _split(name: str) -> tuple[str, str]:
    import open_clip

    architecture, _, tag = name.partition("/")
    _architecture(architecture, name)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise ConfigError(
            f'no weights "{tag}" for {architecture}' if tag else f"no weights are named for {architecture}",
            closest=[f"{architecture}/{match}" for match in closest_matches(tag, tags)],
            expected=f"one of {', '.join(tags[:12])}" if tags else "an architecture that has weights",
            hint=f"model={architecture}/{tags[0]}" if tags else None,
        )
    return architecture, tag


def _untrained(architecture: str) -> tuple[nn.Module, Any]:
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(architecture, pretrained=None, pretrained_text=False)
    return model, _tokenizer(architecture)


def _tokenizer(architecture: str) -> Any:
    import open_clip

    try:
        with safetensors_alone():
            return open_clip.get_tokenizer(architecture)
    except Exception as error:
        if not offline():
            raise WeightsError(
                f"the tokenizer of {architecture} cannot be had: {' '.join(str(error).split())[:300]}",
                hint="load it once with a network",
            ) from error
        return _NoTokenizer(architecture)


class _NoTokenizer:
    """Stands where a tokenizer would have to be fetched: images can be encoded without it."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture

    def __call__(self, sentences: list[str]) -> Tensor:
        raise WeightsError(
            f"the tokenizer of {self.architecture} is not in the local cache, and the network is forbidden",
            hint="load it once with a network",
        )


def _from_file(architecture: str, path: Path, name: str) -> tuple[nn.Module, Any]:
    import open_clip

    if not path.is_file():
        raise WeightsError(f"no file {path}", expected="a .safetensors or .pt file of weights")
    state = read_state(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = open_clip.create_model(architecture, pretrained=None, pretrained_text=False)
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights in {path} do not fit {architecture}: {' '.join(str(error).split())[:300]}"
        ) from error
    if missing or unexpected:
        raise WeightsError(
            f"the weights in {path} do not fit {architecture}: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}), {len(unexpected)} are unknown ({', '.join(unexpected[:3])})",
            expected=f"a state dict of open_clip's {architecture}",
        )
    return model, _tokenizer(architecture)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, with nothing in it executed.

    Args:
        path: safetensors, or a PyTorch file that holds a state dict (also under ``state_dict``; a ``module.``
            before every name is dropped, and the position ids and sizes of older files are left out).

    Raises:
        WeightsError: if the file cannot be read so.
    """
    found = read_weight_file(path)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path} holds no state dict", expected="a mapping from names to tensors")
    if not all(isinstance(key, str) for key in found):
        raise WeightsError(f"{path} holds tensors without names", expected="a mapping from names to tensors")
    if found and all(key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): value for key, value in found.items()}
    unused = ("input_resolution", "context_length", "vocab_size", "text.transformer.embeddings.position_ids")
    return {key: value for key, value in found.items() if key not in unused}


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
        with warnings.catch_warnings(), safetensors_alone():
            warnings.simplefilter("ignore")
            model = open_clip.create_model(
                architecture, pretrained=tag, force_quick_gelu=quick, require_pretrained=True, weights_only=True
            )
        return model, _tokenizer(architecture)
    except WeightsError:
        raise
    except Exception as error:
        where = "CLIPZOO_OFFLINE or HF_HUB_OFFLINE is set" if offline() else "they could not be fetched or read"
        raise WeightsError(
            f"the weights of {name} are not in the local cache, and {where}: {' '.join(str(error).split())[:300]}",
            hint="load them once with a network, or name a folder with open_clip_config.json and "
            "open_clip_model.safetensors; model=tiny needs no download",
        ) from error
