"""The four similarity calculators of CLIP4Clip (Luo et al. 2022, section 3.3), on features of frames and sentences."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clipzoo.errors import ConfigError, DataError, closest_matches

HeadName = Literal["meanP", "seqLSTM", "seqTransf", "tightTransf"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)
_PAIRS_AT_ONCE = 1024
_EPSILON = 1e-12  # of LayerNorm, as published


def check_mask(frames: Tensor, mask: Tensor) -> Bool[Tensor, "videos frames"]:
    """The mask as booleans, if each video has frames and its padding comes after them.

    Args:
        frames: ``[videos, frames, ...]``.
        mask: 1 or True for frames, 0 for padding, ``[videos, frames]``.

    Raises:
        DataError: if the shapes do not agree, a video has no frame at all, or padding lies between frames.

    >>> check_mask(torch.zeros(1, 3, 8), torch.tensor([[1, 1, 0]])).tolist()
    [[True, True, False]]
    """
    if mask.ndim != 2 or mask.shape != frames.shape[:2]:
        raise DataError(
            f"a mask of the shape {tuple(mask.shape)} for frames of {tuple(frames.shape)}",
            expected="[videos, frames] of both",
        )
    mask = mask.to(frames.device) > 0
    empty = (~mask.any(1)).nonzero().flatten()
    if len(empty):
        raise DataError(
            f"no frame of the videos {empty[:8].tolist()} is unmasked",
            expected="at least one frame a video: a score of none means nothing",
            hint="leave out what could not be decoded",
        )
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise DataError("the mask has padding before a frame", expected="frames first, padding after them")
    return mask


def mean_of_frames(
    frames: Float[Tensor, "videos frames dim"], mask: Bool[Tensor, "videos frames"]
) -> Float[Tensor, "videos dim"]:
    r"""Masked mean of unit frames, made unit again: :math:`v = n(\sum_f m_f n(V_f) / \sum_f m_f)`.

    >>> mean_of_frames(torch.eye(2)[None], torch.tensor([[True, True]]))
    tensor([[0.7071, 0.7071]])
    """
    unit = F.normalize(frames.masked_fill(~mask[..., None], 0), dim=-1)
    return F.normalize(unit.sum(1) / mask.sum(1, keepdim=True), dim=-1)


class _Attention(nn.Module):
    """Self-attention with keys masked, under the parameter names of :class:`torch.nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # A masked key gets the weight zero. The published addend of -1e6 comes to the same in fp32.
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.out_proj(attended.transpose(1, 2).reshape(batch, length, width))


class _QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ResidualBlock(nn.Module):
    """A pre-norm transformer block as in CLIP: QuickGELU, four-fold width in the middle, LayerNorm eps 1e-12."""

    def __init__(self, width: int, heads: int) -> None:
        """Random weights of CLIP's scale."""
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = _Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = nn.Sequential(
            OrderedDict(
                [
                    ("c_fc", nn.Linear(width, 4 * width)),
                    ("gelu", _QuickGELU()),
                    ("c_proj", nn.Linear(4 * width, width)),
                ]
            )
        )

    def forward(self, x: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"]) -> Tensor:
        """One block; keys where ``mask`` is False are not looked at."""
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class TemporalHead(nn.Module):
    """What the heads share: width and the longest video that they take."""

    loose = True
    """Whether a video has a vector of its own, independent of the query (so that it can be indexed)."""

    max_frames: int | None = None

    def check(self, frames: Tensor, mask: Tensor) -> Bool[Tensor, "videos frames"]:
        """The checked mask.

        Raises:
            DataError: as :func:`check_mask`, or if there are more frames than positions.
        """
        if self.max_frames is not None and frames.shape[1] > self.max_frames:
            raise DataError(
                f"videos of {frames.shape[1]} frames",
                expected=f"at most {self.max_frames}: the head has so many positions",
            )
        return check_mask(frames, mask)


class LooseHead(TemporalHead):
    """A head that turns the frames of a video into one vector (meanP, seqLSTM, seqTransf)."""

    def temporal(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames that know of each other; here as they are."""
        return frames

    def forward(
        self, frames: Float[Tensor, "videos frames dim"], mask: Bool[Tensor, "videos frames"]
    ) -> Float[Tensor, "videos dim"]:
        """Unit rows, one a video.

        Args:
            frames: features as the encoder gives them, not normalised; what lies in padding does not matter.
            mask: 1 for frames, 0 for padding.

        Raises:
            DataError: see :meth:`check`.
        """
        mask = self.check(frames, mask)
        frames = frames.masked_fill(~mask[..., None], 0)
        return mean_of_frames(self.temporal(frames, mask), mask)


class MeanP(LooseHead):
    """Mean pooling, without parameters (section 3.3, "parameter-free type").

    >>> MeanP()(torch.ones(1, 2, 4), torch.ones(1, 2)).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """


class SeqLSTM(LooseHead):
    """One forward LSTM over the frames, added to them, then mean pooling (section 3.3, "sequential type")."""

    def __init__(self, width: int) -> None:
        """Random weights."""
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def temporal(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames plus the state of the LSTM at each; padding comes later in time and changes nothing."""
        return frames + self.lstm(frames)[0]


class SeqTransf(LooseHead):
    """Transformer over frames with positions, added to the frames, then mean pooling (section 3.3).

    Args:
        width: of the features.
        heads: of the attention; published: one for 64 of width.
        layers: blocks; published: 4.
        positions: longest video, frames; published: 77.
    """

    def __init__(self, width: int, heads: int, layers: int = 4, positions: int = 77) -> None:
        """Random weights."""
        super().__init__()
        self.max_frames = positions
        self.positions = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.blocks = nn.ModuleList(ResidualBlock(width, heads) for _ in range(layers))

    def temporal(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames plus the output of the blocks; the sum leaves the positions out, as published."""
        x = frames + self.positions[: frames.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return frames + x


class TightTransf(TemporalHead):
    """Transformer over a sentence and the frames together, a score for each pair (section 3.3, "tight type").

    Costs a pass for every pair: to search many videos, let a loose head choose the few that this one ranks.

    Args:
        width: of the features.
        heads: of the attention; published: one for 64 of width.
        layers: blocks; published: 4.
        positions: longest sequence, the sentence and its frames; published: 77.
        dropout: after the positions; published: 0.1.
    """

    loose = False

    def __init__(self, width: int, heads: int, layers: int = 4, positions: int = 77, dropout: float = 0.1) -> None:
        """Random weights."""
        super().__init__()
        self.max_frames = positions - 1
        self.positions = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(ResidualBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.dense = nn.Linear(width, width)
        self.activation = _QuickGELU()
        self.score = nn.Linear(width, 1)

    def forward(
        self,
        text: Float[Tensor, "texts dim"],
        frames: Float[Tensor, "videos frames dim"],
        mask: Bool[Tensor, "videos frames"],
        pairs_at_once: int = _PAIRS_AT_ONCE,
    ) -> Float[Tensor, "texts videos"]:
        """Scores of all pairs.

        Args:
            text: features of sentences, not normalised.
            frames: features of frames, not normalised.
            mask: 1 for frames, 0 for padding.
            pairs_at_once: pairs in memory at once, where no gradient is wanted.

        Raises:
            DataError: see :meth:`check`.
        """
        mask = self.check(frames, mask)
        frames = frames.masked_fill(~mask[..., None], 0)
        rows = len(text) if torch.is_grad_enabled() else max(1, pairs_at_once // len(frames))
        columns = len(frames) if torch.is_grad_enabled() else min(len(frames), pairs_at_once)
        return torch.cat(
            [
                torch.cat(
                    [
                        self._scores(some, *part)
                        for part in zip(frames.split(columns), mask.split(columns), strict=True)
                    ],
                    1,
                )
                for some in text.split(rows)
            ]
        )

    def _scores(self, text: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        texts, (videos, length, width) = len(text), frames.shape
        first = text[:, None, None].expand(texts, videos, 1, width)
        x = torch.cat([first, frames.expand(texts, -1, -1, -1)], 2).flatten(0, 1)
        keys = torch.cat([mask.new_ones(videos, 1), mask], 1).expand(texts, -1, -1).flatten(0, 1)
        x = self.dropout(x + self.positions[: length + 1])
        for block in self.blocks:
            x = block(x, keys)
        pooled = self.activation(self.dense(self.norm(x[:, 0])))
        return self.score(pooled).view(texts, videos)


def build_head(
    name: str, width: int, *, heads: int | None = None, layers: int = 4, positions: int = 77
) -> LooseHead | TightTransf:
    """The head called ``name`` with random weights.

    Args:
        name: one of :data:`HEADS`.
        width: of the encoder's features.
        heads: of the attention; by default one for 64 of width.
        layers: blocks of the transformers.
        positions: longest sequence of the transformers.

    Raises:
        ConfigError: if there is no such head, or the width cannot be shared among the attention heads.

    >>> type(build_head("seqTransf", 128)).__name__
    'SeqTransf'
    """
    if name == "meanP":
        return MeanP()
    if name == "seqLSTM":
        return SeqLSTM(width)
    heads = heads or max(1, width // 64)
    if name in ("seqTransf", "tightTransf") and width % heads:
        raise ConfigError(f"{heads} attention heads for features of the width {width}", expected="a divisor of it")
    if name == "seqTransf":
        return SeqTransf(width, heads, layers, positions)
    if name == "tightTransf":
        return TightTransf(width, heads, layers, positions)
    raise ConfigError(f'no head called "{name}"', closest=closest_matches(name, HEADS), expected=", ".join(HEADS))
