"""FrozenCLIP: an open_clip model whose weights never move, with gradients to its input."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clipzoo.encoders import classifier_cache
from clipzoo.encoders.dense import check_mode, dense_features, in_windows
from clipzoo.encoders.halving import Halving
from clipzoo.encoders.layers import layer_features
from clipzoo.encoders.pixels import (
    Preprocessing,
    Resize,
    check_pixels,
    check_range,
    fit_pixels,
    normalise_pixels,
    unit_rows,
)
from clipzoo.encoders.saliency import saliency_maps
from clipzoo.encoders.text import embed_tokens, encode_embedded
from clipzoo.encoders.towers import Kind, cell_size, tower_kind
from clipzoo.errors import ConfigError, DataError
from clipzoo.prompts import Templates, class_prompts

_SENTENCES_AT_ONCE = 2048
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class FrozenCLIP(nn.Module):
    """A CLIP with frozen weights: images and sentences in, unit fp32 rows out.

    Made by :func:`clipzoo.load_clip`. Weights are in eval mode and need no gradient; gradients flow to the
    input, so that pixels can be optimised through it.

    Args:
        model: an open_clip model (``encode_image``, ``encode_text``, ``logit_scale``, ``visual``).
        tokenizer: from a list of sentences to token ids ``[N, context_length]``.
        name: how the model is named in records.
        precision: ``"fp32"``; ``"bf16"`` and ``"fp16"`` run the towers under autocast (features differ from
            fp32 by about 1e-2 and 1e-3 in cosine distance at most; the rows returned are fp32 either way).
        known_tokens: tokens that the model was trained on, where these are few (the tiny encoders).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        name: str,
        *,
        precision: str = "fp32",
        known_tokens: frozenset[int] | None = None,
    ) -> None:
        """Freeze ``model``."""
        super().__init__()
        if precision not in _TYPES:
            raise ConfigError(f'no precision called "{precision}"', expected=", ".join(_TYPES))
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.precision = precision
        self.known_tokens = known_tokens
        self.preprocessing = Preprocessing.of(model.visual)
        self.memory = Halving()
        self.eval()

    def train(self, mode: bool = True) -> FrozenCLIP:
        """Stay in eval mode, also inside a model that is being trained: frozen means frozen."""
        super().train(False)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def embed_dim(self) -> int:
        """Width D of the joint space."""
        with torch.no_grad():
            return int(self.encode_text(["a"]).shape[-1])

    @property
    def logit_scale(self) -> float:
        """The learned factor (not its logarithm) on cosines, 100 for most CLIPs."""
        return float(self.model.logit_scale.exp())  # type: ignore[operator, union-attr]

    @property
    def image_size(self) -> int:
        """Side of the square that the image tower takes, px."""
        return self.preprocessing.size

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted from each channel of pixels in [0, 1]."""
        return self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...]:
        """What each channel is divided by after that."""
        return self.preprocessing.std

    @property
    def preprocess_id(self) -> str:
        """What :meth:`encode_image` does to pixels by default, for records and cache keys."""
        return self.preprocessing.identity

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that depend on every weight and its name."""
        digest = hashlib.sha256()
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(f"{key}:{tuple(value.shape)}:{value.dtype}".encode())
            digest.update(memoryview(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
        return digest.hexdigest()[:16]

    def encode_image(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        *,
        resize: Resize | None = None,
        normalise: bool = True,
    ) -> Float[Tensor, "batch dim"]:
        """Embed images.

        Args:
            pixels: RGB in [0, 1] (methods such as PointCLIP pass other ranges with ``normalise=False``).
            resize: interpolation for images of another size, antialiased; by default the encoder's own (bicubic
                for nearly all). How they are fitted is the encoder's: for CLIP the short side, then the middle
                square; for SigLIP both sides.
            normalise: subtract the encoder's mean and divide by its standard deviation.

        Returns:
            Unit rows, fp32. Differentiable with respect to ``pixels``.

        Raises:
            DataError: if ``pixels`` is not floating-point ``[batch, 3, height, width]``.
            ConfigError: if ``resize`` is unknown.

        >>> import clipzoo
        >>> clipzoo.load_clip("tiny").encode_image(torch.rand(2, 3, 80, 64)).shape
        torch.Size([2, 128])
        """
        check_pixels(pixels)
        if normalise:
            check_range(pixels)

        def encode(part: Tensor) -> Tensor:
            fitted = fit_pixels(part.to(self.device), self.preprocessing, resize)
            if normalise:
                fitted = normalise_pixels(fitted, self.mean, self.std)
            with self._arithmetic():
                return unit_rows(self.model.encode_image(fitted))  # type: ignore[operator]

        return self.memory.rows(encode, pixels, splits=self._splits(pixels))

    @cached_property
    def _kind(self) -> Kind:
        return tower_kind(self.model.visual, self.name)  # type: ignore[arg-type]

    def _prepared(self, pixels: Tensor, normalise: bool) -> Tensor:
        check_pixels(pixels)
        if normalise:
            check_range(pixels)
        pixels = pixels.to(self.device)
        return normalise_pixels(pixels, self.mean, self.std) if normalise else pixels

    def dense(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        mode: str | None = None,
        *,
        normalise: bool = True,
        windows: bool = False,
    ) -> Float[Tensor, "batch rows columns dim"]:
        """One unit row a patch, comparable with those of sentences: see :mod:`clipzoo.encoders.dense`.

        Args:
            pixels: RGB in [0, 1], of any size that the patches tile (of a ResNet: 32 px); not resized.
            mode: ``"naclip"`` (default of a ViT), ``"maskclip"``, ``"sclip"``, ``"clearclip"``, ``"kk"`` or
                ``"vanilla"``; ``"attnpool"`` of a ResNet; ``"maskclip"`` of SigLIP.
            normalise: subtract the encoder's mean and divide by its standard deviation.
            windows: encode squares of the encoder's own size that overlap by half, and give each patch the mean of
                those that show it (SCLIP, Wang et al. 2023, section 4.1); so patches keep the positions that they had
                in training, and the time grows with the area of the image alone.

        Raises:
            ConfigError: if this encoder has no such mode.
            DataError: if the patches do not tile the images.

        >>> import clipzoo
        >>> clipzoo.load_clip("tiny").dense(torch.rand(1, 3, 64, 96)).shape
        torch.Size([1, 8, 12, 128])
        """
        chosen = check_mode(mode, self._kind, self.name)
        if windows:
            cell = cell_size(self.model.visual, self._kind)
            return in_windows(partial(self.dense, mode=chosen, normalise=normalise), pixels, self.image_size, cell)

        def encode(part: Tensor) -> Tensor:
            with self._arithmetic():
                prepared = self._prepared(part, normalise)
                return unit_rows(dense_features(self.model.visual, prepared, self._kind, chosen))

        return self.memory.rows(encode, pixels, splits=self._splits(pixels))

    def layers(
        self, pixels: Float[Tensor, "batch 3 height width"], names: Sequence[str | int], *, normalise: bool = True
    ) -> dict[str, Tensor]:
        """Outputs of layers inside the image tower, fp32.

        Args:
            pixels: RGB in [0, 1], not resized.
            names: of a ResNet ``stem``, ``layer1`` .. ``layer4`` (``[batch, channels, rows, columns]``); of a ViT
                block indices or ``block0`` .. (``[batch, 1 + patches, width]``, class token first); of both
                ``embedding`` (``[batch, dim]``, not normalised).
            normalise: subtract the encoder's mean and divide by its standard deviation.

        Returns:
            Name as given, as text, to tensor. Differentiable with respect to ``pixels``.

        Raises:
            ConfigError: if a name does not exist.

        >>> import clipzoo
        >>> sorted(clipzoo.load_clip("tiny-rn").layers(torch.rand(1, 3, 64, 64), ["layer2", "layer3"]))
        ['layer2', 'layer3']
        """
        with self._arithmetic():
            found = layer_features(self.model.visual, self._prepared(pixels, normalise), names, self._kind)
        return {name: value.float() for name, value in found.items()}

    def saliency(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        target: Float[Tensor, "batch dim"] | None = None,
        *,
        normalise: bool = True,
    ) -> Float[Tensor, "batch height width"]:
        """Where the encoder looks, in [0, 1]: attention of a ViT's class token, Grad-CAM of a ResNet.

        Args:
            pixels: RGB in [0, 1], not resized.
            target: for a ResNet, the unit row (of a sentence, say) that the map explains; default the image's own.
            normalise: subtract the encoder's mean and divide by its standard deviation.

        Raises:
            ConfigError: if the encoder has none, or a ViT is given a target.
        """
        with self._arithmetic():
            return saliency_maps(self.model.visual, self._prepared(pixels, normalise), self._kind, target)

    def embed_tokens(self, tokens: Tensor) -> Float[Tensor, "sentences length width"]:
        """Token embeddings of ids from :meth:`tokenise`, to be changed (learned prompts) and encoded."""
        return embed_tokens(self.model, tokens.to(self.device))

    def encode_embedded(
        self, embedded: Float[Tensor, "sentences length width"], tokens: Tensor
    ) -> Float[Tensor, "sentences dim"]:
        """Unit rows of sentences given as token embeddings; gradients flow to ``embedded``.

        Args:
            embedded: from :meth:`embed_tokens`, with learned vectors in the place of some tokens (CoOp).
            tokens: the ids ``[sentences, length]`` whose end tokens say where each sentence ends.

        Raises:
            ConfigError: if the text tower has another form (a Hugging Face model, CoCa's class token).
            DataError: if the shapes do not agree.

        >>> import clipzoo
        >>> clip = clipzoo.load_clip("tiny")
        >>> tokens = clip.tokenise(["a red circle"])
        >>> rows = clip.encode_embedded(clip.embed_tokens(tokens), tokens)
        >>> bool(torch.allclose(rows, clip.encode_text(["a red circle"]), atol=1e-6))
        True
        """
        with self._arithmetic():
            return unit_rows(encode_embedded(self.model, embedded, tokens.to(self.device)))

    def encode_text(
        self, sentences: Sequence[str], *, truncate: bool = False, batch_size: int = 256
    ) -> Float[Tensor, "sentences dim"]:
        """Embed sentences.

        Args:
            sentences: at least one.
            truncate: cut a sentence that does not fit, instead of refusing it.
            batch_size: sentences that pass the text tower at once.

        Raises:
            DataError: if there is no sentence, one is no text, or one is longer than the context.
        """
        if isinstance(sentences, str) or len(sentences) == 0:
            raise DataError(
                "no sentences were given" if len(sentences) == 0 else f"one string was given: {sentences!r}",
                expected="a list of sentences",
            )
        tokens = self.tokenise(sentences, truncate=truncate)

        def encode(part: Tensor) -> Tensor:
            with self._arithmetic():
                return unit_rows(self.model.encode_text(part.to(self.device)))  # type: ignore[operator]

        splits = self._splits(tokens)
        return torch.cat(
            [self.memory.rows(encode, part, of="sentences", splits=splits) for part in tokens.split(batch_size)]
        )

    def tokenise(self, sentences: Sequence[str], *, truncate: bool = False) -> Tensor:
        """Token ids ``[N, context_length]``; a sentence that does not fit is refused unless ``truncate``."""
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise DataError(f"a sentence is a {type(sentence).__name__}: {sentence!r}", expected="text")
        tokens = self.tokenizer(list(sentences))
        encode = getattr(self.tokenizer, "encode", None)
        if not truncate and encode is not None:
            context = tokens.shape[1]
            # The start and end tokens take two places. Only rows that are full can have been cut.
            for row in (tokens[:, -1] != 0).nonzero().flatten().tolist():
                length = len(encode(sentences[row])) + 2
                if length > context:
                    raise DataError(
                        f'the sentence "{sentences[row][:60]}..." has {length} tokens',
                        expected=f"at most {context}, the context of {self.name}",
                        hint="shorten it, or pass truncate=True",
                    )
        return tokens

    def classifier(
        self,
        classnames: Sequence[str],
        templates: Templates = "imagenet-80",
        *,
        cache: bool = True,
    ) -> Float[Tensor, "classes dim"]:
        """One unit row a class: the normalised mean of its normalised prompt embeddings.

        Args:
            classnames: K distinct names; underscores are read as spaces.
            templates: the name of a set, sentences with ``{}`` for the name, or a mapping from each class
                name to its own sentences.
            cache: keep the result on disk, under a key that depends on the weights and on every sentence.

        Raises:
            DataError: if names are empty or repeated, or a class has no sentence.
            ConfigError: if ``templates`` names no set.
        """
        prompts = class_prompts(classnames, templates)
        if not cache:
            return self._classifier(prompts)
        key = classifier_cache.key(self.fingerprint, self.precision, prompts)
        found = classifier_cache.read(key, classes=len(prompts))
        if found is None:
            found = self._classifier(prompts).cpu()
            classifier_cache.write(key, found)
        return found.to(self.device)

    @torch.no_grad()
    def _classifier(self, prompts: Mapping[str, Sequence[str]]) -> Tensor:
        """Rows of some classes at a time: memory does not grow with their number times that of the sentences."""
        means: list[Tensor] = []
        waiting: list[Sequence[str]] = []
        for number, sentences in enumerate(prompts.values(), start=1):
            waiting.append(sentences)
            if sum(map(len, waiting)) >= _SENTENCES_AT_ONCE or number == len(prompts):
                distinct = list(dict.fromkeys(sentence for group in waiting for sentence in group))
                place = {sentence: row for row, sentence in enumerate(distinct)}
                rows = self.encode_text(distinct)
                means += [rows[[place[sentence] for sentence in group]].mean(0) for group in waiting]
                waiting = []
        return unit_rows(torch.stack(means))

    def unknown_words(self, text: str) -> list[str]:
        """Words of ``text`` that this encoder never met in training; empty for encoders trained at scale."""
        if self.known_tokens is None:
            return []
        words = text.replace(",", " ").replace(".", " ").split()
        return [word for word in words if not set(self.tokenizer.encode(word)) <= self.known_tokens]

    def _splits(self, given: Tensor) -> bool:
        """Whether a batch may be encoded in parts: nobody asks for gradients, which would hold all parts at once."""
        trains = given.requires_grad or any(weights.requires_grad for weights in self.model.parameters())
        return not (torch.is_grad_enabled() and trains)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _TYPES[self.precision])
