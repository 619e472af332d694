"""CLIP4Clip: retrieval of videos with a CLIP that sees frames (Luo et al. 2022, Neurocomputing 508)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.pixels import check_range, fit_pixels, normalise_pixels
from clipzoo.encoders.text import text_tower
from clipzoo.errors import ConfigError, DataError, WeightsError
from clipzoo_video.temporal_heads import HeadName, LooseHead, build_head, check_mask

MAX_LOG_SCALE = math.log(100)
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class EncodedVideos:
    """Features of the frames of some videos.

    Args:
        frames: ``[videos, frames, dim]``, as the encoder gives them, not normalised.
        mask: True for frames, False for padding, ``[videos, frames]``.

    Raises:
        DataError: if a video has no frame, or padding lies between frames.

    >>> len(EncodedVideos(torch.ones(2, 3, 8), torch.ones(2, 3)))
    2
    """

    frames: Float[Tensor, "videos frames dim"]
    mask: Bool[Tensor, "videos frames"]

    def __post_init__(self) -> None:
        """Check the mask once, so that no head is asked about nothing."""
        object.__setattr__(self, "mask", check_mask(self.frames, self.mask))

    def __len__(self) -> int:
        """How many videos."""
        return len(self.frames)

    def chosen(self, rows: Sequence[int] | Tensor) -> EncodedVideos:
        """The videos ``rows``."""
        return EncodedVideos(self.frames[rows], self.mask[rows])

    def to(self, device: torch.device | str) -> EncodedVideos:
        """The same on another device."""
        return EncodedVideos(self.frames.to(device), self.mask.to(device))

    @staticmethod
    def padded(videos: Sequence[Float[Tensor, "frames dim"]]) -> EncodedVideos:
        """Videos of different lengths, padded with zeros to the longest.

        Raises:
            DataError: if there is none, or one has no frame.
        """
        if not videos:
            raise DataError("no video", expected="at least one")
        frames = torch.nn.utils.rnn.pad_sequence(list(videos), batch_first=True)
        lengths = torch.tensor([len(video) for video in videos], device=frames.device)
        return EncodedVideos(frames, torch.arange(frames.shape[1], device=frames.device) < lengths[:, None])


class CLIP4Clip(nn.Module):
    r"""A frozen CLIP with one of the four similarity calculators of CLIP4Clip (section 3.3).

    The loose heads score :math:`S = e^s \, n(t) \cdot v` with the vector v of a video; tightTransf gives a score to
    each pair. ``meanP`` has no parameters and needs no training. The transformers start from the first blocks and the
    position table of the text tower, as published, where its width is that of the features.

    Args:
        clip: the encoder; stays frozen.
        head: ``"meanP"``, ``"seqLSTM"``, ``"seqTransf"`` or ``"tightTransf"``.
        layers: blocks of the transformers.
        max_frames: longest video that the transformers take.
        from_text_tower: start from the text tower; by default if the widths match.
        position_scale: factor on the position table at the start. Positions of a text tower are up to a hundred times
            smaller than frame features; on little data a head only learns about order if it can see it.

    Raises:
        ConfigError: if there is no such head, or ``from_text_tower`` is asked for and cannot be.

    >>> import clipzoo
    >>> model = CLIP4Clip(clipzoo.load_clip("tiny", device="cpu"), head="seqTransf")
    >>> videos = model.encode_video(torch.rand(2, 3, 3, 64, 64), torch.tensor([[1, 1, 1], [1, 0, 0]]))
    >>> model.similarity(["a red circle"], videos).shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        head: HeadName = "meanP",
        *,
        layers: int = 4,
        max_frames: int = 76,
        from_text_tower: bool | None = None,
        position_scale: float = 1.0,
    ) -> None:
        """Build the head beside ``clip``."""
        super().__init__()
        self.clip = clip
        self.head_name = head
        self.trained_words: Tensor | None = None
        width = clip.embed_dim
        source = _matching_tower(clip, width)
        if from_text_tower and source is None:
            raise ConfigError(
                f"the text tower of {clip.name} has another width than its features ({width})",
                expected="from_text_tower=False",
            )
        heads = None if source is None else _attention_heads(source)
        self.head = build_head(head, width, heads=heads, layers=layers, positions=max_frames + 1)
        if source is not None and from_text_tower is not False:
            _start_from(self.head, source)
        if hasattr(self.head, "positions"):
            self.head.positions.data *= position_scale  # type: ignore[union-attr, operator]
        self.log_scale = nn.Parameter(torch.tensor(min(math.log(clip.logit_scale), MAX_LOG_SCALE)))
        self.to(clip.device)

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The factor on cosines, at most 100."""
        return self.log_scale.clamp(max=MAX_LOG_SCALE).exp()

    @torch.no_grad()
    def encode_video(
        self,
        frames: Float[Tensor, "videos frames 3 height width"],
        mask: Bool[Tensor, "videos frames"] | None = None,
        *,
        batch_size: int = 64,
    ) -> EncodedVideos:
        """Embed the frames of videos; padding is not looked at.

        Args:
            frames: RGB in [0, 1] (or uint8), of any size; fitted as the encoder wants it.
            mask: 1 for frames, 0 for the padding after them; by default all are frames.
            batch_size: frames that pass the encoder at once.

        Raises:
            DataError: if the shapes do not agree, or a video has no frame.
        """
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise DataError(f"frames of the shape {tuple(frames.shape)}", expected="[videos, frames, 3, height, width]")
        mask = check_mask(frames, frames.new_ones(frames.shape[:2]) if mask is None else mask)
        rows = torch.cat([frame_features(self.clip, part) for part in frames[mask].split(batch_size)])
        features = rows.new_zeros(*mask.shape, rows.shape[-1])
        features[mask.to(rows.device)] = rows
        return EncodedVideos(features, mask.to(rows.device))

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str], *, max_words: int | None = None) -> Float[Tensor, "texts dim"]:
        """Features of sentences, not normalised.

        Args:
            sentences: at least one.
            max_words: cut to so many tokens, start and end included (published: 32); by default a sentence that does
                not fit the context is refused.
        """
        return sentence_features(self.clip, sentences, max_words=max_words)

    def video_rows(self, videos: EncodedVideos) -> Float[Tensor, "videos dim"]:
        """One unit row a video, for an index.

        Raises:
            ConfigError: if the head has none (tightTransf).
        """
        if not isinstance(self.head, LooseHead):
            raise ConfigError(
                f"a video has no vector of its own in {self.head_name}",
                expected="meanP, seqLSTM or seqTransf",
                hint="search with one of them, and rank what it finds with similarity()",
            )
        return self.head(videos.frames, videos.mask)

    def similarity(
        self, texts: Sequence[str] | Float[Tensor, "texts dim"], videos: EncodedVideos
    ) -> Float[Tensor, "texts videos"]:
        """Logits of every sentence with every video: scaled cosines, or the scores of tightTransf.

        Args:
            texts: sentences, or their features from :meth:`encode_text`.
            videos: from :meth:`encode_video`.
        """
        text = texts if isinstance(texts, Tensor) else self.encode_text(texts)
        if isinstance(self.head, LooseHead):
            return self.logit_scale * F.normalize(text, dim=-1) @ self.video_rows(videos).T
        return self.head(text, videos.frames, videos.mask)


def retrieval_loss(
    similarity: Float[Tensor, "pairs pairs"], same: Bool[Tensor, "pairs pairs"] | None = None
) -> Float[Tensor, ""]:
    """Mean of both cross-entropies of a square of logits whose diagonal is right (section 3.4, eqs. 11 to 13).

    Args:
        similarity: logits, rows sentences, columns videos.
        same: True where a pair off the diagonal is right too (another sentence of the video, or the very same
            sentence): it is left out of the sums, as neither right nor wrong.

    Raises:
        DataError: if the logits are not square.

    >>> retrieval_loss(100 * torch.eye(3))
    tensor(0.)
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise DataError(f"logits of the shape {tuple(similarity.shape)}", expected="[pairs, pairs]")
    labels = torch.arange(len(similarity), device=similarity.device)
    if same is not None:
        similarity = similarity.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), -1e9)
    return (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels)) / 2


@torch.no_grad()
def frame_features(clip: FrozenCLIP, pixels: Tensor) -> Float[Tensor, "frames dim"]:
    """Features of frames as CLIP4Clip takes them: projected, fp32, not normalised.

    Args:
        clip: the encoder.
        pixels: RGB ``[frames, 3, height, width]``, floats in [0, 1] or uint8.
    """
    return encode_fitted(clip, fit_frames(clip, pixels.to(clip.device)))


def fit_frames(clip: FrozenCLIP, pixels: Tensor) -> Float[Tensor, "frames 3 size size"]:
    """Frames of any size as the encoder takes them, where they are.

    Args:
        clip: the encoder.
        pixels: RGB ``[frames, 3, height, width]``, floats in [0, 1] or uint8.
    """
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    check_range(pixels)
    # Interpolation overshoots at edges; an image file could not hold what lies outside [0, 1].
    pixels = fit_pixels(pixels, clip.preprocessing).clamp(0, 1)
    return normalise_pixels(pixels, clip.mean, clip.std)


@torch.no_grad()
def encode_fitted(clip: FrozenCLIP, pixels: Float[Tensor, "frames 3 size size"]) -> Float[Tensor, "frames dim"]:
    """Features of frames from :func:`fit_frames`, fp32, not normalised."""
    with _arithmetic(clip):
        rows = clip.model.encode_image(pixels.to(clip.device)).float()  # type: ignore[operator]
    if not bool(torch.isfinite(rows).all()):
        raise WeightsError(f"{clip.name} gives features that are not finite", hint="precision=fp32, or other weights")
    return rows


@torch.no_grad()
def sentence_features(
    clip: FrozenCLIP, sentences: Sequence[str], *, max_words: int | None = None, batch_size: int = 256
) -> Float[Tensor, "texts dim"]:
    """Features of sentences as CLIP4Clip takes them: projected, fp32, not normalised.

    Args:
        clip: the encoder.
        sentences: at least one.
        max_words: see :meth:`CLIP4Clip.encode_text`.
        batch_size: sentences that pass the text tower at once.

    Raises:
        DataError: if there is no sentence, one is empty, or one does not fit.
    """
    if isinstance(sentences, str) or len(sentences) == 0:
        raise DataError("no sentences were given", expected="a list of sentences")
    blank = [place for place, sentence in enumerate(sentences) if not str(sentence).strip()]
    if blank:
        raise DataError(f"the sentences {blank[:8]} are empty", expected="words to look for")
    tokens = clip.tokenise(sentences) if max_words is None else sentence_token_rows(clip, sentences, max_words)
    rows = []
    for part in tokens.split(batch_size):
        with _arithmetic(clip):
            rows.append(clip.model.encode_text(part.to(clip.device)).float())  # type: ignore[operator]
    return torch.cat(rows)


def sentence_tokens(clip: FrozenCLIP, sentences: Sequence[str], max_words: int) -> Tensor:
    """Token ids ``[texts, max_words]``: start, words, end, zeros; longer sentences lose their last words.

    Raises:
        ConfigError: if ``max_words`` leaves no room for a word.
    """
    if max_words < 3:
        raise ConfigError(f"max_words is {max_words}", expected="at least 3: start, a word, end")
    return clip.tokenizer(list(sentences), context_length=max_words)


def sentence_token_rows(clip: FrozenCLIP, sentences: Sequence[str], max_words: int) -> Tensor:
    """The ids of :func:`sentence_tokens`, padded with zeros to the length that the text tower takes."""
    context = clip.tokenise(["a"]).shape[1]
    tokens = sentence_tokens(clip, sentences, min(max_words, context))
    return F.pad(tokens, (0, context - tokens.shape[1]))


def _arithmetic(clip: FrozenCLIP) -> torch.autocast:
    return torch.autocast(clip.device.type, _TYPES[clip.precision], enabled=clip.precision != "fp32")


def _matching_tower(clip: FrozenCLIP, width: int) -> nn.Module | None:
    """The text tower, if its blocks have the width of the features."""
    try:
        tower = text_tower(clip.model)
    except ConfigError:
        return None
    return tower if tower.positional_embedding.shape[1] == width else None


def _attention_heads(tower: nn.Module) -> int:
    return int(tower.transformer.resblocks[0].attn.num_heads)  # type: ignore[union-attr, index]


@torch.no_grad()
def _start_from(head: nn.Module, tower: nn.Module) -> None:
    """Copy the first blocks and positions of the text tower into a transformer head, as far as both have them."""
    if not hasattr(head, "blocks"):
        return
    for block, source in zip(head.blocks, tower.transformer.resblocks, strict=False):  # type: ignore[union-attr, arg-type]
        block.load_state_dict(source.state_dict())
    table: Tensor = tower.positional_embedding  # type: ignore[assignment]
    rows = min(len(table), len(head.positions))  # type: ignore[arg-type]
    head.positions[:rows] = table[:rows]  # type: ignore[index]
