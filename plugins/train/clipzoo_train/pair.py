"""A pair of towers that is being trained: what is frozen, what is a head, and how it becomes a frozen CLIP again."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipzoo.encoders import FrozenCLIP, load_clip
from clipzoo.encoders.pixels import Preprocessing, normalise_pixels
from clipzoo.encoders.text import encode_embedded, text_tower
from clipzoo.errors import ConfigError, WeightsError
from clipzoo_train.huggingface_text import HuggingFaceText, HuggingFaceTokenizer
from clipzoo_train.projection import ResidualHead
from clipzoo_train.tower_specs import chosen_config
from clipzoo_train.vocabulary import CompactVocabulary

MAX_LOG_SCALE = math.log(100)
_HEADS = ("visual.proj", "text_projection", "text.text_projection", "visual.head.", "text.proj", "text_head.")


class TwoTowers(nn.Module):
    """Towers that open_clip has no configuration for, behind its interface.

    Args:
        visual: an open_clip image tower; with a residual head, one that ends in the features of its trunk.
        text: any module from tokens to features.
        image_head: after ``visual``, or None.
        text_head: after ``text``.
    """

    def __init__(self, visual: nn.Module, text: nn.Module, image_head: nn.Module | None, text_head: nn.Module) -> None:
        """Put them together, with CLIP's initial temperature."""
        super().__init__()
        self.visual = visual
        self.text = text
        self.image_head = image_head
        self.text_head = text_head
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.logit_bias: nn.Parameter | None = None

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Image features."""
        features = self.visual(pixels)
        return features if self.image_head is None else self.image_head(features)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Text features."""
        return self.text_head(self.text(tokens))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations twice to save memory, where the towers can."""
        for tower in (self.visual, self.text):
            if hasattr(tower, "set_grad_checkpointing"):
                tower.set_grad_checkpointing(enable)  # type: ignore[operator]


class Pair(nn.Module):
    """Two towers, their tokenizer and their configuration.

    Args:
        model: with open_clip's interface (``visual``, ``encode_image``, ``encode_text``, ``logit_scale``).
        tokenizer: from sentences to ids.
        config: ``model_cfg`` and ``preprocess_cfg``, and ``clipzoo_train`` where open_clip has no such model.
        freeze: ``"none"``, ``"image"`` or ``"text"``.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, config: dict[str, Any], freeze: str = "none") -> None:
        """Freeze what stays as it is."""
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.freeze = freeze
        self.vocabulary: CompactVocabulary | None = None
        model.requires_grad_(True)
        if freeze != "none":
            for name, value in self.model.named_parameters():
                value.requires_grad_(not self._stays(name))
        self.preprocessing = Preprocessing.of(model.visual)

    def __deepcopy__(self, memo: dict[int, Any]) -> Pair:
        """Weights are copied; the tokenizer, whose tables are large and never change, is shared."""
        made = Pair.__new__(Pair)
        memo[id(self)] = made
        shared = ("tokenizer", "config", "vocabulary", "preprocessing")
        for key, value in self.__dict__.items():
            made.__dict__[key] = value if key in shared else copy.deepcopy(value, memo)
        return made

    def _stays(self, name: str) -> bool:
        """A projection inside an open_clip tower is frozen with it (LiT); a head after a trunk is not."""
        if self.freeze == "image":
            return name.startswith("visual.") and not name.startswith("visual.head.")
        heads = ("visual.", "image_head.", "text_head.", "logit_")
        return self.freeze == "text" and not name.startswith(heads)

    @staticmethod
    def side(name: str) -> str:
        """``"image"``, ``"text"`` or ``"head"``: which part a parameter of the model belongs to."""
        if name in ("logit_scale", "logit_bias") or name.startswith(("image_head.", *_HEADS)):
            return "head"
        return "image" if name.startswith("visual.") else "text"

    def train(self, mode: bool = True) -> Pair:
        """A frozen tower stays in eval mode: its dropout and its batch statistics do not move."""
        super().train(mode)
        if self.freeze == "image":
            getattr(self.model.visual, "trunk", self.model.visual).train(False)  # type: ignore[union-attr]
        if self.freeze == "text":
            getattr(self.model, "text", getattr(self.model, "transformer", self.model)).train(False)
        return self

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosines, with its gradient."""
        return self.model.logit_scale.exp()  # type: ignore[operator, union-attr]

    @property
    def logit_bias(self) -> Tensor | None:
        """Added to logits by the sigmoid loss."""
        return getattr(self.model, "logit_bias", None)

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep the factor between 1 and 100, as CLIP does."""
        self.model.logit_scale.clamp_(0, MAX_LOG_SCALE)  # type: ignore[operator, union-attr]

    def normalised(self, pixels: Float[Tensor, "batch 3 size size"]) -> Tensor:
        """Pixels in [0, 1] as the image tower takes them."""
        return normalise_pixels(pixels, self.preprocessing.mean, self.preprocessing.std)

    def encode_image(self, pixels: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Features of pixels in [0, 1], not normalised."""
        return self.model.encode_image(self.normalised(pixels))  # type: ignore[operator]

    def encode_text(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch dim"]:
        """Features of tokens from :meth:`tokens`, not normalised; what follows the longest sentence is left out."""
        if self.vocabulary is None and not self._causal:
            return self.model.encode_text(tokens)  # type: ignore[operator]
        if self._causal:
            tokens = tokens[:, : int(tokens.argmax(1).max()) + 1]
        features = encode_embedded(self.model, text_tower(self.model).token_embedding(tokens), tokens)
        return self.model.text_head(features) if isinstance(self.model, TwoTowers) else features

    @property
    def _causal(self) -> bool:
        """Whether later positions do not matter to earlier ones: CLIP's own text tower."""
        try:
            tower = text_tower(self.model)
        except ConfigError:
            return False
        kind = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", "argmax")
        return tower.attn_mask is not None and kind == "argmax"

    def fit_images(self, how: str) -> None:
        """Change how images are made square: ``"shortest"``, ``"squash"`` or ``"longest"``; it is written down too."""
        self.config["preprocess_cfg"] = {**self.config["preprocess_cfg"], "resize_mode": how}
        set_preprocessing(self.model.visual, self.config["preprocess_cfg"])
        self.preprocessing = Preprocessing.of(self.model.visual)

    def image_body(self, pixels: Tensor) -> Tensor:
        """What comes before the image head: what can be kept when the image tower is frozen."""
        trunk = getattr(self.model.visual, "trunk", None)
        pixels = self.normalised(pixels)
        if isinstance(self.model, TwoTowers) and self.model.image_head is not None:
            return self.model.visual(pixels)  # type: ignore[operator]
        if trunk is not None:
            return trunk(pixels)
        return self.model.visual(pixels)  # type: ignore[operator]

    def image_tail(self, features: Tensor) -> Tensor:
        """The image head on features that were kept."""
        if isinstance(self.model, TwoTowers) and self.model.image_head is not None:
            return self.model.image_head(features)
        head = getattr(self.model.visual, "head", None)
        return (
            head(features) if getattr(self.model.visual, "trunk", None) is not None and head is not None else features
        )

    def text_body(self, tokens: Tensor) -> Tensor:
        """What comes before the text head."""
        return self.model.text(tokens) if isinstance(self.model, TwoTowers) else self.encode_text(tokens)  # type: ignore[operator]

    def text_tail(self, features: Tensor) -> Tensor:
        """The text head on features that were kept."""
        return self.model.text_head(features) if isinstance(self.model, TwoTowers) else features

    def image_features(self, given: Tensor) -> Float[Tensor, "batch dim"]:
        """Of pixels in [0, 1], or of features of the frozen image tower that were kept."""
        return self.encode_image(given) if given.ndim == 4 else self.image_tail(given)

    def text_features(self, given: Tensor) -> Float[Tensor, "batch dim"]:
        """Of tokens, or of features of the frozen text tower that were kept."""
        return self.text_tail(given) if given.is_floating_point() else self.encode_text(given)

    def tokens(self, sentences: Sequence[str]) -> Int[Tensor, "sentences length"]:
        """Ids of sentences, in the compact vocabulary if there is one."""
        tokens = self.tokenizer(list(sentences))
        return tokens if self.vocabulary is None else self.vocabulary.compact(tokens)

    def cut_vocabulary(self, sentences: Sequence[str]) -> None:
        """Train the token rows of these sentences alone; nothing happens to a frozen or foreign text tower."""
        if self.freeze == "text" or not self._causal:
            return
        tokens = torch.cat([self.tokenizer(list(part)) for part in _parts(sentences, 4096)])
        self.vocabulary = CompactVocabulary(text_tower(self.model), tokens)

    def full_state(self) -> dict[str, Tensor]:
        """The model's state dict with the whole token table."""
        state = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        if self.vocabulary is not None:
            name = next(name for name in state if name.endswith("token_embedding.weight"))
            state[name] = self.vocabulary.full_table(state[name])
        return state

    def frozen(self, name: str = "trained") -> FrozenCLIP:
        """A copy as a :class:`clipzoo.encoders.FrozenCLIP`, with the whole vocabulary."""
        model = copy.deepcopy(self.model)
        if self.vocabulary is not None:
            tower = text_tower(model)
            table = self.vocabulary.full_table(tower.token_embedding.weight)
            tower.token_embedding = nn.Embedding.from_pretrained(table)
        device = next(self.model.parameters()).device
        return FrozenCLIP(model, self.tokenizer, name).to(device)


def build_pair(
    model: str = "small-rn",
    *,
    image_tower: str = "",
    text_tower: str = "",
    pretrained: bool = True,
    head: str = "linear",
    image_dropout: float = 0.1,
    text_dropout: float = 0.1,
    embed_dim: int = 0,
    image_size: int = 0,
    max_words: int = 0,
    freeze: str = "none",
    sigmoid: bool = False,
) -> Pair:
    """The towers that are to be trained.

    Args:
        model: see :func:`clipzoo_train.tower_specs.named_config`.
        image_tower: another image tower.
        text_tower: another text tower.
        pretrained: fetch weights of timm and Hugging Face towers.
        head: ``"linear"``, or ``"mlp"`` for SimpleCLIP's residual MLP, which open_clip itself cannot load.
        image_dropout: of the MLP head.
        text_dropout: of the MLP head.
        embed_dim: width of the joint space; 0 keeps the model's.
        image_size: px; 0 keeps the model's.
        max_words: context length; 0 keeps the model's.
        freeze: ``"none"``, ``"image"`` or ``"text"``; heads of a frozen tower are trained.
        sigmoid: give it SigLIP's bias and scale.

    Raises:
        ConfigError: if a name does not exist, or parts do not go together.
        WeightsError: if weights cannot be had.
    """
    config, preprocess, weights = chosen_config(
        model,
        image_tower=image_tower,
        text_tower=text_tower,
        embed_dim=embed_dim,
        image_size=image_size,
        max_words=max_words,
        pretrained=pretrained,
        sigmoid=sigmoid,
    )
    own = {
        "head": head,
        "text_tower": text_tower if text_tower.startswith("hf:") else "",
        "max_words": max_words or 200,
        "image_dropout": image_dropout,
        "text_dropout": text_dropout,
    }
    stored: dict[str, Any] = {"model_cfg": config, "preprocess_cfg": preprocess}
    if weights:
        if head != "linear":
            raise ConfigError(f"{model} has its own heads", expected="head=linear, or an architecture without weights")
        clip = load_clip(weights, device="cpu")
        pair = Pair(clip.model, clip.tokenizer, stored, freeze)
        if sigmoid and pair.logit_bias is None:
            raise ConfigError(f"{model} has no bias for the sigmoid loss", expected="loss=clip, or a SigLIP model")
        return pair
    if head == "linear" and not own["text_tower"]:
        plain, tokenizer = _open_clip(config)
        set_preprocessing(plain.visual, preprocess)
        return Pair(plain, tokenizer, stored, freeze)
    if sigmoid:
        raise ConfigError("the sigmoid loss with an MLP head or a Hugging Face tower", expected="head=linear")
    stored["clipzoo_train"] = own
    towers, tokenizer = own_towers(config, own, pretrained)
    set_preprocessing(towers.visual, preprocess)
    return Pair(towers, tokenizer, stored, freeze)


def own_towers(config: dict[str, Any], own: dict[str, Any], pretrained: bool) -> tuple[TwoTowers, Any]:
    """Towers that open_clip has no configuration for, and their tokenizer.

    Args:
        config: open_clip's, for the towers that are its own.
        own: ``head``, ``text_tower``, ``max_words`` and the two dropouts.
        pretrained: fetch the weights of a Hugging Face tower.
    """
    mlp, dim = own["head"] == "mlp", int(config["embed_dim"])
    config = {**config, "vision_cfg": dict(config["vision_cfg"])}
    if mlp and config["vision_cfg"].get("timm_model_name"):
        config["vision_cfg"]["timm_proj"] = "none"
    base, tokenizer = _open_clip(config)
    visual: Any = base.visual
    image_head = None
    if mlp:
        with torch.no_grad():
            side = Preprocessing.of(visual).size
            width = visual.eval()(torch.zeros(1, 3, side, side)).shape[-1]
        image_head = ResidualHead(width, dim, own["image_dropout"])
    if own["text_tower"]:
        name = own["text_tower"].removeprefix("hf:")
        text: Any = HuggingFaceText(name, pretrained)
        most = int(getattr(text.config, "max_position_embeddings", 512))
        tokenizer = HuggingFaceTokenizer(name, min(int(own["max_words"]), most))
    else:
        text = _open_clip({**config, "custom_text": True})[0].text
        text.text_projection = None
    wide = int(text.width if own["text_tower"] else text.ln_final.weight.shape[0])
    text_head = ResidualHead(wide, dim, own["text_dropout"]) if mlp else nn.Linear(wide, dim, bias=False)
    return TwoTowers(visual, text, image_head, text_head), tokenizer


def _open_clip(config: dict[str, Any]) -> tuple[Any, Any]:
    from open_clip.model import CLIP, CustomTextCLIP

    parts = {key: value for key, value in config.items() if key not in ("custom_text", "tokenizer_kwargs")}
    custom = config.get("custom_text", False)
    try:
        model = (CustomTextCLIP if custom else CLIP)(**parts)
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"open_clip cannot build this model: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            expected="a configuration that its version knows",
        ) from error
    text = config["text_cfg"]
    if text.get("hf_tokenizer_name"):
        name = text["hf_tokenizer_name"]
        return model, HuggingFaceTokenizer(name, int(text.get("context_length", 77)))
    return model, _tokenizer(int(text.get("context_length", 77)))


@cache
def _tokenizer(context_length: int) -> Any:
    """CLIP's tokenizer, whose tables take half a second to make."""
    from open_clip import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length)


def set_preprocessing(visual: Any, preprocess: dict[str, Any]) -> None:
    """Tell an image tower how its images are prepared, as open_clip's loaders do."""
    visual.preprocess_cfg = {
        "mean": tuple(preprocess["mean"]),
        "std": tuple(preprocess["std"]),
        "interpolation": preprocess.get("interpolation", "bicubic"),
        "resize_mode": preprocess.get("resize_mode", "shortest"),
    }


def load_weights(pair: Pair, state: dict[str, Tensor], where: str) -> None:
    """Take over a state dict of the same architecture.

    Raises:
        WeightsError: naming what is missing and what is unknown.
    """
    own = pair.model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or other:
        raise WeightsError(
            f"{where} is of another architecture: {len(missing)} tensors are missing ({', '.join(missing[:2])}), "
            f"{len(unknown)} are unknown ({', '.join(unknown[:2])}), {len(other)} have other shapes "
            f"({', '.join(sorted(other)[:2])})",
            expected="weights of the architecture that is trained",
        )
    pair.model.load_state_dict(state)


def _parts(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
