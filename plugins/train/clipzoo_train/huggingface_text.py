"""A text tower of Hugging Face's transformers, and its tokenizer behind open_clip's interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.errors import MissingExtra, WeightsError
from clipzoo.paths import offline


class HuggingFaceText(nn.Module):
    """The first token of the last layer of an encoder such as DistilBERT, as SimpleCLIP takes it.

    Args:
        name: a model of the hub, or a folder with ``config.json`` and a tokenizer; weights in it are loaded.
        pretrained: fetch or read weights; without, they are random.

    Raises:
        MissingExtra: if transformers is not installed.
        WeightsError: if the model cannot be had.
    """

    def __init__(self, name: str, pretrained: bool = True) -> None:
        """Build the encoder."""
        super().__init__()
        auto = _transformers()
        folder = Path(name).expanduser()
        local = folder.is_dir()
        read = pretrained and (not local or any(folder.glob("*.safetensors")))
        try:
            options = {"local_files_only": offline() or local}
            self.config = auto.AutoConfig.from_pretrained(name, **options)
            make = auto.AutoModel.from_pretrained if read else None
            self.transformer = make(name, **options) if make else auto.AutoModel.from_config(self.config)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"the text tower {name} cannot be had: {' '.join(str(error).split())[:200]}",
                expected="a model of Hugging Face's hub, or a folder with config.json",
            ) from error
        self.width = int(self.config.hidden_size)

    def forward(self, tokens: Int[Tensor, "sentences length"]) -> Float[Tensor, "sentences width"]:
        """Features of sentences; padding is not attended to."""
        padding = self.config.pad_token_id or 0
        mask = tokens != padding
        mask[:, 0] = True
        length = int(mask.sum(1).max())
        hidden = self.transformer(input_ids=tokens[:, :length], attention_mask=mask[:, :length].long())
        return hidden.last_hidden_state[:, 0]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations twice to save memory."""
        if enable:
            self.transformer.gradient_checkpointing_enable()


class HuggingFaceTokenizer:
    """From sentences to ids ``[sentences, context_length]``, cut and padded.

    Args:
        name: as for :class:`HuggingFaceText`.
        context_length: tokens a sentence is cut to; SimpleCLIP's is 200.
    """

    def __init__(self, name: str, context_length: int) -> None:
        """Read the tokenizer."""
        auto = _transformers()
        try:
            self._tokenizer: Any = auto.AutoTokenizer.from_pretrained(
                name, local_files_only=offline() or Path(name).expanduser().is_dir()
            )
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"the tokenizer of {name} cannot be had: {' '.join(str(error).split())[:200]}",
                expected="a model of Hugging Face's hub, or a folder with its tokenizer",
            ) from error
        self.context_length = context_length

    def __call__(self, sentences: str | Sequence[str]) -> Int[Tensor, "sentences length"]:
        """Ids of one sentence or several."""
        told = [sentences] if isinstance(sentences, str) else list(sentences)
        made = self._tokenizer(told, padding="max_length", truncation=True, max_length=self.context_length)
        return torch.tensor(made["input_ids"])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            "text towers of Hugging Face need transformers", hint='pip install "clipzoo-train[huggingface]"'
        ) from error
    return transformers
