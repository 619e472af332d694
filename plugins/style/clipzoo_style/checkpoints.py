"""StyleGAN2 files: rosinality ``.pt``, NVIDIA ``.pkl`` (read as data), safetensors; what they hold is inferred.

Size, widths, depth of the mapping network and classes are read off the shapes: there is no setting to get wrong.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from clipzoo.encoders.weight_files import read_weight_file
from clipzoo.errors import ConfigError, WeightsError
from clipzoo_style.pickles import StoredNetwork, read_nvlabs_pickle
from clipzoo_style.stylegan2 import StyleGAN2

TINY = Path(__file__).parent / "assets" / "tiny.safetensors"
"""The bundled generator of 64 px faces."""

Layout = Literal["rosinality", "nvlabs"]

_FORMAT = "clipzoo-stylegan2-1"
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_FILTER = (1.0, 3.0, 3.0, 1.0)


def load_stylegan2(
    path: str | Path = "tiny", *, device: str | torch.device = "cpu", size: int | None = None
) -> StyleGAN2:
    """A generator from a file, in evaluation mode and without gradients for its weights.

    Args:
        path: ``"tiny"`` for the bundled 64 px faces, or a rosinality ``.pt``, a ``.pkl`` of stylegan2-ada-pytorch, or a
            safetensors file in either naming.
        device: where to put it.
        size: side in px that it must have; None takes any.

    Raises:
        WeightsError: if there is no such file, or it holds something else; no code in it is ever executed.

    >>> generator = load_stylegan2("tiny")
    >>> generator.synthesize(generator.sample(2)).shape
    torch.Size([2, 3, 64, 64])
    """
    if str(path) == "tiny":
        path = TINY
        if not path.is_file():
            raise WeightsError(
                "the generator that ships with clipzoo-style is missing from this installation",
                hint="pip install --force-reinstall clipzoo-style, or python -m clipzoo_style.training.generator",
            )
    path = Path(path)
    generator = _read(path)
    if size is not None and generator.size != size:
        raise WeightsError(f"{path} makes images of {generator.size} px", expected=f"{size} px")
    generator.name = path.stem
    return generator.to(device).eval().requires_grad_(False)


def _read(path: Path) -> StyleGAN2:
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}", expected='a file, or "tiny"') from error
    if start.startswith((_ZIP, _OLD_TORCH)):
        return _from_torch(_torch_content(path), path)
    if start[8:9] == b"{":
        return _from_safetensors(path)
    if start.startswith(b"\x80"):
        networks = read_nvlabs_pickle(path)
        if "G_ema" not in networks:
            raise WeightsError(f"{path} holds {', '.join(networks)}", expected="G_ema, the averaged generator")
        return from_nvlabs(networks["G_ema"], str(path))
    raise WeightsError(
        f"{path} is no checkpoint of StyleGAN2", expected="rosinality .pt, stylegan2-ada-pytorch .pkl, or .safetensors"
    )


def _torch_content(path: Path) -> Any:
    return read_weight_file(path)


def _from_torch(content: Any, path: Path) -> StyleGAN2:
    if isinstance(content, Mapping) and "g_ema" in content:
        return from_rosinality(content["g_ema"], content.get("latent_avg"), str(path))
    if isinstance(content, Mapping) and "state_dict" in content:
        names = {str(key).partition(".")[0] for key in content["state_dict"]}
        kind = "a latent mapper" if "mapper" in names else "an e4e encoder" if "encoder" in names else "another network"
        raise WeightsError(
            f"{path} is the checkpoint of {kind}",
            expected="a generator",
            hint="LatentMapper.load or load_e4e" if kind != "another network" else None,
        )
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return from_state(content, str(path))
    keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
    raise WeightsError(f"{path} holds {keys}", expected='a dictionary with "g_ema"')


def _from_safetensors(path: Path) -> StyleGAN2:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            told = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path} is no safetensors file, or damaged: {error}") from error
    try:
        clamp = json.loads(told.get("clamp", "null"))
    except ValueError as error:
        raise WeightsError(f"{path} has damaged metadata") from error
    return from_state(state, str(path), clamp)


def from_state(state: Mapping[str, Tensor], source: str = "the state", clamp: float | None = None) -> StyleGAN2:
    """A generator from a flat state dict in either naming."""
    if "synthesis.b4.const" in state or any(key.startswith(("synthesis.", "mapping.")) for key in state):
        settings = {"synthesis_kwargs": {"conv_clamp": clamp}}
        return from_nvlabs(StoredNetwork("Generator", settings, dict(state)), source)
    state = dict(state)
    mean = state.pop("latent_avg", None)
    return from_rosinality(state, mean, source, clamp)


def from_rosinality(
    state: Mapping[str, Tensor], mean: Tensor | None = None, source: str = "the state", clamp: float | None = None
) -> StyleGAN2:
    """A generator from a state dict in rosinality's naming; its filter kernels may be missing, nothing else may.

    Raises:
        WeightsError: if it is no generator, or keys or shapes do not fit.
    """
    _refuse_others(state, source)
    state = {key: value for key, value in state.items() if not key.endswith(".kernel")}
    try:
        # A mapping layer, a constant and the convolutions tell everything.
        doublings = len({key.split(".")[1] for key in state if key.startswith("convs.")}) // 2
        depth = len({key for key in state if re.fullmatch(r"style\.\d+\.weight", key)})
        channels = {4: state["input.input"].shape[1]}
        for j in range(doublings):
            channels[8 * 2**j] = state[f"convs.{2 * j}.conv.weight"].shape[1]
        label = state.get("embed.weight")
        style_dim = state["conv1.conv.modulation.weight"].shape[1]
        first = state["style.1.weight"].shape[1]
        generator = untrained(
            4 * 2**doublings,
            style_dim=style_dim,
            z_dim=first - (style_dim if label is not None else 0),
            mapping_layers=depth,
            channels=channels,
            label_dim=0 if label is None else label.shape[1],
            clamp=clamp,
        )
    except (KeyError, IndexError, AttributeError, ConfigError) as error:
        known = ", ".join(list(state)[:4])
        raise WeightsError(
            f"{source} is no generator of StyleGAN2: {error}", details=[f"its keys: {known}, ..."]
        ) from error
    _fill(generator, state, source)
    if mean is not None:
        # e4e and pSp keep the mean of every layer; they are equal where it comes from a generator.
        mean = mean if mean.ndim == 1 else mean.reshape(-1, mean.shape[-1]).mean(0)
        if mean.shape != generator.w_mean.shape:
            raise WeightsError(f"{source} has a mean latent {tuple(mean.shape)}", expected=f"[{generator.style_dim}]")
        generator.w_mean.copy_(mean)
    else:
        generator.set_mean()
    return generator


def untrained(size: int, *, seed: int = 0, **shape: Any) -> StyleGAN2:
    """A generator with random weights of a seed; the global generator of torch stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StyleGAN2(size, **shape)


def _fill(generator: StyleGAN2, state: Mapping[str, Tensor], source: str) -> None:
    own = generator.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    uneven = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if missing or extra or uneven:
        details = [f"missing: {', '.join(missing[:4])}"] if missing else []
        details += [f"unknown: {', '.join(extra[:4])}"] if extra else []
        details += [f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}" for key in sorted(uneven)[:4]]
        raise WeightsError(f"{source} does not fit a generator of {generator.size} px", details=details)
    bad = [key for key, value in state.items() if not torch.isfinite(value.float()).all()]
    if bad:
        raise WeightsError(f"{source} holds NaN or infinite weights", details=[f"in {bad[0]}"])
    generator.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()})


def _refuse_others(state: Mapping[str, Any], source: str) -> None:
    keys = set(map(str, state))
    if any("final_linear" in key or ".mbstd" in key or key.startswith(("b4.fc", "b4.out")) for key in keys):
        raise WeightsError(f"{source} is a discriminator", expected="a generator (g_ema or G_ema)")
    if any("synthesis.input" in key or "up_filter" in key for key in keys):
        raise WeightsError(
            f"{source} is a StyleGAN3 generator", expected="StyleGAN2", hint="a stylegan2 network from the same authors"
        )


def from_nvlabs(network: StoredNetwork, source: str = "the network") -> StyleGAN2:
    """A generator from a network of stylegan2-ada-pytorch.

    Raises:
        WeightsError: if it is a discriminator, StyleGAN3, or of another architecture than "skip".
    """
    _refuse_others(network.tensors, source)
    tensors = dict(network.tensors)
    taps = torch.tensor(_FILTER)
    for key in [key for key in tensors if key.endswith("resample_filter")]:
        if not torch.allclose(tensors.pop(key).float(), torch.outer(taps, taps) / 64):
            raise WeightsError(f"{source} resamples with a filter of its own", expected="[1, 3, 3, 1]", details=[key])
    others = [key for key in tensors if ".skip." in key or ".fromrgb." in key]
    if others or not any(".torgb." in key for key in tensors):
        raise WeightsError(f'{source} is of another architecture than "skip"', details=others[:1])
    try:
        state = _to_rosinality(tensors)
        mean = tensors["mapping.w_avg"]
    except (KeyError, IndexError) as error:
        raise WeightsError(f"{source} lacks {error}", expected="a Generator of stylegan2-ada-pytorch") from error
    settings = network.settings.get("synthesis_kwargs")
    clamp = settings.get("conv_clamp") if isinstance(settings, Mapping) else None
    return from_rosinality(state, mean, source, None if clamp is None else float(clamp))


def _names(sides: list[int]) -> list[tuple[str, str, int | None]]:
    """(NVIDIA's block, rosinality's layer, number of its noise map), of every layer."""
    named: list[tuple[str, str, int | None]] = [("b4.conv1", "conv1", 0), ("b4.torgb", "to_rgb1", None)]
    for j, side in enumerate(sides):
        named.append((f"b{side}.conv0", f"convs.{2 * j}", 2 * j + 1))
        named.append((f"b{side}.conv1", f"convs.{2 * j + 1}", 2 * j + 2))
        named.append((f"b{side}.torgb", f"to_rgbs.{j}", None))
    return named


def _to_rosinality(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    sides = sorted({int(m[1]) for key in tensors if (m := re.match(r"synthesis\.b(\d+)\.", key))} - {4})
    if sides != [8 * 2**j for j in range(len(sides))]:
        raise KeyError(f"a resolution between {sides}")
    state = {"input.input": tensors["synthesis.b4.const"][None]}
    for key, value in tensors.items():
        if match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key):
            state[f"style.{int(match[1]) + 1}.{match[2]}"] = value
        elif key.startswith("mapping.embed."):
            state[key.removeprefix("mapping.")] = value
    for block, layer, noise in _names(sides):
        theirs = f"synthesis.{block}"
        state[f"{layer}.conv.weight"] = tensors[f"{theirs}.weight"][None]
        for part in ("weight", "bias"):
            state[f"{layer}.conv.modulation.{part}"] = tensors[f"{theirs}.affine.{part}"]
        if noise is None:
            state[f"{layer}.bias"] = tensors[f"{theirs}.bias"].reshape(1, 3, 1, 1)
        else:
            state[f"{layer}.activate.bias"] = tensors[f"{theirs}.bias"]
            state[f"{layer}.noise.weight"] = tensors[f"{theirs}.noise_strength"].reshape(1)
            state[f"noises.noise_{noise}"] = tensors[f"{theirs}.noise_const"][None, None]
    return state


def nvlabs_state(generator: StyleGAN2) -> dict[str, Tensor]:
    """The weights under NVIDIA's names."""
    own = generator.state_dict()
    state = {"synthesis.b4.const": own["input.input"][0], "mapping.w_avg": generator.w_mean.clone()}
    for key, value in own.items():
        if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
            state[f"mapping.fc{int(match[1]) - 1}.{match[2]}"] = value
        elif key.startswith("embed."):
            state[f"mapping.{key}"] = value
    sides = [side for side in sorted(generator.channels) if side > 4]
    for block, layer, noise in _names(sides):
        theirs = f"synthesis.{block}"
        state[f"{theirs}.weight"] = own[f"{layer}.conv.weight"][0]
        for part in ("weight", "bias"):
            state[f"{theirs}.affine.{part}"] = own[f"{layer}.conv.modulation.{part}"]
        if noise is None:
            state[f"{theirs}.bias"] = own[f"{layer}.bias"].flatten()
        else:
            state[f"{theirs}.bias"] = own[f"{layer}.activate.bias"]
            state[f"{theirs}.noise_strength"] = own[f"{layer}.noise.weight"][0]
            state[f"{theirs}.noise_const"] = own[f"noises.noise_{noise}"][0, 0]
    return state


def rosinality_state(generator: StyleGAN2) -> dict[str, Tensor]:
    """The weights under rosinality's names, with the filter kernels that its code expects."""
    if generator.label_dim or generator.clamp is not None:
        raise ConfigError(
            "rosinality's layout has no classes and no clamp of activations", hint="write .safetensors in place of .pt"
        )
    state = dict(generator.state_dict())
    taps = torch.tensor(_FILTER)
    kernel = torch.outer(taps, taps) / 16
    for j in range(len(generator.to_rgbs)):
        state[f"convs.{2 * j}.conv.blur.kernel"] = kernel.clone()
        state[f"to_rgbs.{j}.upsample.kernel"] = kernel.clone()
    return state


def save_stylegan2(generator: StyleGAN2, path: str | Path, layout: Layout = "rosinality") -> Path:
    """Write a generator, whole or not at all.

    Args:
        generator: to be written, with its mean of w.
        path: ``.pt`` (rosinality's layout alone) or ``.safetensors``.
        layout: names of the tensors in a safetensors file.

    Raises:
        ConfigError: if the ending is another, or the layout cannot hold it. ``.pkl`` is read, never written.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".safetensors") or layout not in ("rosinality", "nvlabs"):
        raise ConfigError(f"{path.name} in the layout {layout}", expected=".pt or .safetensors; rosinality or nvlabs")
    if path.suffix == ".pt" and layout != "rosinality":
        raise ConfigError("a .pt is written in rosinality's layout", hint="layout=rosinality, or .safetensors")
    if bool(torch.isnan(generator.w_mean).any()):
        generator.set_mean()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(_content(generator, path.suffix, layout))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _content(generator: StyleGAN2, suffix: str, layout: str) -> bytes:
    if suffix == ".pt":
        state = {key: value.detach().cpu().clone() for key, value in rosinality_state(generator).items()}
        stream = io.BytesIO()
        torch.save({"g_ema": state, "latent_avg": generator.w_mean.cpu().clone()}, stream)
        return stream.getvalue()
    state = nvlabs_state(generator) if layout == "nvlabs" else dict(generator.state_dict())
    if layout == "rosinality":
        state["latent_avg"] = generator.w_mean
    ready = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    return safetensors.torch.save(ready, metadata={"format": _FORMAT, "clamp": json.dumps(generator.clamp)})
