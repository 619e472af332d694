"""Checkpoints of CLIP4Clip in the published layout, and heads of our own training."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.loading import choose_device, read_state
from clipzoo.encoders.text import text_tower
from clipzoo.errors import WeightsError
from clipzoo_video.clip4clip import CLIP4Clip
from clipzoo_video.temporal_heads import HEADS, HeadName

_NAMES: dict[HeadName, dict[str, str]] = {
    "meanP": {},
    "seqLSTM": {"lstm_visual.": "lstm."},
    "seqTransf": {"transformerClip.resblocks.": "blocks.", "frame_position_embeddings.weight": "positions"},
    "tightTransf": {
        "cross.transformer.resblocks.": "blocks.",
        "cross.embeddings.position_embeddings.weight": "positions",
        "cross.pooler.ln_pool.": "norm.",
        "cross.pooler.dense.": "dense.",
        "similarity_dense.": "score.",
    },
}
_UNUSED = {"seqLSTM": ("frame_position_embeddings.weight",)}
_OWN = "head."
_ENCODER = "encoder."


def load_clip4clip(
    path: str | Path, *, clip: FrozenCLIP | None = None, device: str | torch.device = "auto", precision: str = "fp32"
) -> CLIP4Clip:
    """Read a trained model: a published ``pytorch_model.bin``, or a head from :func:`save_head`.

    Nothing in the file is executed. A published checkpoint holds the fine-tuned encoder, which is used; in a head of
    our own there is none, and ``clip`` must be the one that it was trained on.

    Args:
        path: the file.
        clip: encoder for a file that holds none.
        device: for the encoder of a published checkpoint.
        precision: of that encoder.

    Raises:
        WeightsError: if the file cannot be read, holds something else, or belongs to another encoder.
    """
    state = read_state(Path(path).expanduser())
    ours = "log_scale" in state
    own = {key.removeprefix(_OWN): value for key, value in state.items() if key.startswith(_OWN)}
    name = _own_name(Path(path).expanduser(), own) if ours else published_head(state, path=path)
    if any(key.startswith("clip.visual.") for key in state):
        clip = published_encoder(state, str(path), device=device, precision=precision)
    if clip is None:
        raise WeightsError(f"{path} holds no encoder", expected="clip, the encoder that its head was trained on")
    if ours:
        _check_encoder(Path(path).expanduser(), clip)
        clip = _retrained(clip, state, path)
    renamed = own if ours else _renamed(state, name, path)
    layers = 1 + max((int(m[1]) for key in renamed if (m := re.match(r"blocks\.(\d{1,3})\.", key))), default=3)
    frames = len(renamed["positions"]) - 1 if "positions" in renamed else 76
    if any(value.shape[-1] != clip.embed_dim for key, value in renamed.items() if key == "positions"):
        raise WeightsError(f"{path} was trained on features of another width than {clip.embed_dim} ({clip.name})")
    model = CLIP4Clip(clip, name, layers=layers, max_frames=frames, from_text_tower=False)
    try:
        model.head.load_state_dict({key: value.float() for key, value in renamed.items()})
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {name}: {' '.join(str(error).split())[:300]}") from error
    scale = state.get("log_scale", state.get("clip.logit_scale"))
    if scale is not None:
        model.log_scale.data.fill_(float(scale))
    return model.eval()


def published_head(state: Mapping[str, Tensor], *, own: bool = False, path: Any = "the checkpoint") -> HeadName:
    """Which head the names of the tensors belong to.

    Raises:
        WeightsError: if they belong to none.

    >>> published_head({"clip.logit_scale": torch.zeros(()), "lstm_visual.weight_ih_l0": torch.zeros(4, 1)})
    'seqLSTM'
    """
    keys = list(state)

    def has(prefix: str) -> bool:
        return any(key.startswith(prefix) for key in keys)

    if own:
        if has("score."):
            return "tightTransf"
        if has("blocks."):
            return "seqTransf"
        return "seqLSTM" if has("lstm.") else "meanP"
    if has("cross.") or has("similarity_dense."):
        return "tightTransf"
    if has("transformerClip."):
        return "seqTransf"
    if has("lstm_visual."):
        return "seqLSTM"
    if has("clip."):
        return "meanP"
    raise WeightsError(
        f"{path} is no checkpoint of CLIP4Clip: {len(keys)} tensors ({', '.join(keys[:3])})",
        expected="clip.* and those of a head, or a head saved by this plugin",
    )


def published_encoder(
    state: Mapping[str, Tensor], name: str, *, device: str | torch.device = "auto", precision: str = "fp32"
) -> FrozenCLIP:
    """The fine-tuned CLIP inside a published checkpoint.

    Raises:
        WeightsError: if it looks at several frames at once (``linear_patch=3d``), or is no CLIP.
    """
    from open_clip.model import build_model_from_openai_state_dict
    from open_clip.tokenizer import SimpleTokenizer

    own = {key.removeprefix("clip."): value for key, value in state.items() if key.startswith("clip.")}
    if "visual.conv2.weight" in own:
        raise WeightsError(
            f"{name} was trained with linear_patch=3d, whose patches span three frames",
            expected="linear_patch=2d, the default of the published code",
        )
    own = {key: value for key, value in own.items() if key not in ("input_resolution", "context_length", "vocab_size")}
    try:
        model = build_model_from_openai_state_dict(dict(own), cast_dtype=torch.float16).float()
        # The builder rounds to fp16; a checkpoint may hold more.
        model.load_state_dict(own)
    except (KeyError, RuntimeError, AssertionError) as error:
        raise WeightsError(f"the encoder in {name} is no CLIP: {' '.join(str(error).split())[:300]}") from error
    tokenizer = SimpleTokenizer(context_length=len(own["positional_embedding"]))
    clip = FrozenCLIP(model, tokenizer, name, precision=precision).to(choose_device(device))
    clip.embed_dim = own["text_projection"].shape[1]
    return clip


def save_head(model: CLIP4Clip, path: str | Path) -> None:
    """Write what was trained as safetensors: head, scale, and of the encoder the tensors that are no longer its own.

    The file names the encoder that it belongs to, and :func:`load_clip4clip` wants it again.
    """
    state = {f"{_OWN}{key}": value.detach().cpu().contiguous() for key, value in model.head.state_dict().items()}
    state["log_scale"] = model.log_scale.detach().cpu().reshape(1)
    for key, value in model.clip.model.named_parameters():
        if value.requires_grad:
            state[f"{_ENCODER}{key}"] = value.detach().cpu().contiguous()
    if model.trained_words is not None:
        words = model.trained_words.cpu()
        state["words"] = words
        state["word_rows"] = text_tower(model.clip.model).token_embedding.weight.detach().cpu()[words].contiguous()
    base = getattr(model.clip, "base_fingerprint", model.clip.fingerprint)
    save_file(state, str(path), {"head": model.head_name, "encoder": model.clip.name, "of": str(base)})


def _retrained(clip: FrozenCLIP, state: Mapping[str, Tensor], path: Any) -> FrozenCLIP:
    """The encoder with the tensors that were trained with the head."""
    changed = {key.removeprefix(_ENCODER): value for key, value in state.items() if key.startswith(_ENCODER)}
    if not changed and "words" not in state:
        return clip
    own = copy.deepcopy(clip)
    own.base_fingerprint = clip.fingerprint  # type: ignore[assignment]
    own.__dict__.pop("fingerprint", None)
    known = dict(own.model.named_parameters())
    wrong = [key for key, value in changed.items() if key not in known or known[key].shape != value.shape]
    if wrong:
        raise WeightsError(f"{path} holds {len(wrong)} tensors that {clip.name} does not have: {', '.join(wrong[:3])}")
    with torch.no_grad():
        for key, value in changed.items():
            known[key].copy_(value)
        if "words" in state:
            text_tower(own.model).token_embedding.weight[state["words"]] = state["word_rows"].to(own.device)
    return own


def _own_name(path: Path, state: Mapping[str, Tensor]) -> HeadName:
    name = _metadata(path).get("head", "")
    return name if name in HEADS else published_head(state, own=True, path=path)  # type: ignore[return-value]


def _metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; another file says nothing."""
    try:
        with safe_open(str(path), "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def _check_encoder(path: Path, clip: FrozenCLIP) -> None:
    told = _metadata(path)
    if told.get("of", clip.fingerprint) != clip.fingerprint:
        raise WeightsError(
            f"the head in {path} was trained on the features of {told.get('encoder')} ({told['of']})",
            expected=f"that encoder, not {clip.name} ({clip.fingerprint})",
        )


def _renamed(state: Mapping[str, Tensor], name: HeadName, path: Any) -> dict[str, Tensor]:
    renamed, unknown = {}, []
    for key, value in state.items():
        if key.startswith("clip.") or key in _UNUSED.get(name, ()):
            continue
        for theirs, ours in _NAMES[name].items():
            if key.startswith(theirs):
                renamed[ours + key.removeprefix(theirs)] = value
                break
        else:
            unknown.append(key)
    if unknown:
        raise WeightsError(f"{path} holds {len(unknown)} tensors that {name} does not have: {', '.join(unknown[:3])}")
    return renamed
