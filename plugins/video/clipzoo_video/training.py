"""Training of CLIP4Clip: the head (and the text tower) on cached frames, or everything end to end (section 4.1).

# differs from the paper: AdamW with fp32 weights and bias correction at a learning rate that means what it says. The
# published 1e-7 only works together with fp16 weights, fp16 moments and no bias correction, where the step that is
# taken is up to a hundred times larger, and depends on the size of the gradients.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.pixels import fit_pixels, normalise_pixels
from clipzoo.encoders.text import encode_embedded, text_tower
from clipzoo.errors import ConfigError, DataError
from clipzoo.losses import all_gather_features
from clipzoo.losses.gather import world_size
from clipzoo_video.clip4clip import MAX_LOG_SCALE, CLIP4Clip, EncodedVideos, retrieval_loss, sentence_token_rows
from clipzoo_video.temporal_heads import LooseHead

_STEM = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "token_embedding", "patch_embed", "embedding")
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is trained.

    Args:
        epochs: passes over the pairs.
        batch_size: pairs a step, over all processes; more negatives with more.
        head_lr: learning rate of the head.
        encoder_lr: of what is trained of the encoder (published, with other arithmetic: 1e-7).
        weight_decay: on matrices only.
        warmup: share of the steps in which the rate rises; then it falls as a cosine.
        clip_norm: largest norm of the gradient.
        max_words: sentences are cut to so many tokens.
        precision: ``"fp32"`` or ``"bf16"`` (autocast; the weights and their averages stay fp32).
        freeze_stem: leave patch, position and token embeddings as they are, as published.
        seed: of the order of the pairs.
    """

    epochs: int = 5
    batch_size: int = 128
    head_lr: float = 1e-4
    encoder_lr: float = 1e-6
    weight_decay: float = 0.2
    warmup: float = 0.1
    clip_norm: float = 1.0
    max_words: int = 32
    precision: str = "fp32"
    freeze_stem: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: naming it.
        """
        if self.epochs < 1 or self.batch_size < 2:
            raise ConfigError(
                f"{self.epochs} epochs of batches of {self.batch_size}",
                expected="at least one epoch, and batches of two: a pair alone has no negatives",
            )
        if self.precision not in _TYPES:
            raise ConfigError(f'no precision called "{self.precision}"', expected=", ".join(_TYPES))


@dataclass(frozen=True)
class Pairs:
    """Sentences and the videos that they belong to.

    Args:
        sentences: one or several a video.
        owner: the row of each one's video.
        videos: how many there are.
        together: pairs of one group share a batch, as each other's negatives; by default any may. For clips of
            which one is the other played backwards: apart they teach nothing about order.

    Raises:
        DataError: if there are no sentences, or one has no video.
    """

    sentences: Sequence[str]
    owner: Sequence[int]
    videos: int
    together: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check that each sentence has a video."""
        if not len(self.sentences) or len(self.sentences) != len(self.owner):
            raise DataError(
                f"{len(self.sentences)} sentences and {len(self.owner)} owners", expected="as many, at least one"
            )
        if self.together is not None and len(self.together) != len(self.owner):
            raise DataError(f"{len(self.together)} groups of {len(self.owner)} pairs", expected="one a pair")
        bad = [row for row in self.owner if not 0 <= row < self.videos]
        if bad:
            raise DataError(f"sentences belong to the videos {bad[:5]}", expected=f"rows 0 to {self.videos - 1}")


@dataclass(frozen=True)
class Batch:
    """Some pairs: ``frames`` are features ``[pairs, frames, dim]`` or pixels ``[pairs, frames, 3, height, width]``."""

    tokens: Int[Tensor, "pairs length"]
    frames: Tensor
    mask: Bool[Tensor, "pairs frames"]
    video: Int[Tensor, " pairs"]
    sentence: Int[Tensor, " pairs"]


@dataclass
class TrainingLog:
    """What happened: loss and validation of each epoch, and which epoch was kept."""

    rows: list[dict[str, float]] = field(default_factory=list)
    kept_epoch: int = 0
    selection: str = "the last epoch"


class _PairLoss(nn.Module):
    """The loss of a batch, over the batches of all processes: one module, so that DDP sees one forward."""

    def __init__(self, model: CLIP4Clip, precision: str, words: Tensor | None) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        self.words = words
        if words is not None:
            # Of a table of 49 408 tokens only those that occur are trained: the others would cost most of each step.
            table = text_tower(model.clip.model).token_embedding.weight
            self.embedding = nn.Parameter(table[words].detach().clone())

    def text_features(self, tokens: Tensor) -> Tensor:
        """Of ids. What comes after the longest sentence's end is left out: attention looks back only."""
        model = self.model.clip.model
        try:
            tower = text_tower(model)
        except ConfigError:
            return model.encode_text(tokens)  # type: ignore[operator]
        if tower.attn_mask is not None:
            tokens = tokens[:, : int((tokens != 0).sum(1).max())]
        if self.words is None:
            return encode_embedded(model, tower.token_embedding(tokens), tokens)
        return encode_embedded(model, self.embedding[torch.searchsorted(self.words, tokens.contiguous())], tokens)

    @torch.no_grad()
    def write_back(self) -> None:
        """Put the trained token embeddings into the table of the encoder."""
        if self.words is not None:
            text_tower(self.model.clip.model).token_embedding.weight[self.words] = self.embedding.detach()
            self.model.trained_words = self.words

    def forward(self, tokens: Tensor, frames: Tensor, mask: Tensor, video: Tensor, sentence: Tensor) -> Tensor:
        model = self.model
        with torch.autocast(tokens.device.type, _TYPES[self.precision], enabled=self.precision != "fp32"):
            text = self.text_features(tokens)
            features = frames if frames.ndim == 3 else _features_of_pixels(model.clip, frames, mask)
        # Heads, gathering and loss in fp32, whatever the towers ran in.
        text, features = text.float(), features.float()
        everyone = all_gather_features(text)
        if isinstance(model.head, LooseHead):
            rows = all_gather_features(model.head(features, mask))
            logits = model.logit_scale * F.normalize(everyone, dim=-1) @ rows.T
        else:
            # Each process scores its own sentences with the videos of all.
            # differs from the paper: there a process sees its own videos only, and fewer negatives.
            videos, kept = all_gather_features(features), all_gather_features(mask.float()) > 0
            logits = all_gather_features(model.head(text, videos, kept))
            # The scale has no part in these scores; DDP wants to see it all the same.
            logits = logits + 0 * model.log_scale
        videos_of, sentences_of = all_gather_features(video), all_gather_features(sentence)
        same = (videos_of[:, None] == videos_of) | (sentences_of[:, None] == sentences_of)
        return retrieval_loss(logits, same)


def train_head(
    model: CLIP4Clip,
    videos: EncodedVideos,
    pairs: Pairs,
    recipe: TrainingRecipe | None = None,
    *,
    train_text: bool = False,
    validation: Callable[[CLIP4Clip], float] | None = None,
    report: Callable[[str], None] | None = None,
) -> TrainingLog:
    """Train the head on frames that were encoded once; minutes where end-to-end training takes hours.

    Args:
        model: changed in place. With ``train_text`` its encoder is replaced by a copy with another text tower.
        videos: cached frames.
        pairs: which sentence belongs to which video.
        recipe: how.
        train_text: train the text tower too, as the paper trains everything; frames stay cached.
        validation: gives the number by which the best epoch is chosen, on data apart from training *and* test; without
            it the last epoch is kept.
        report: receives a line an epoch.

    Raises:
        ConfigError: if there is nothing to train (meanP without ``train_text``).
        DataError: if videos and pairs do not agree.
    """
    recipe = recipe or TrainingRecipe()
    if len(videos) != pairs.videos:
        raise DataError(f"{len(videos)} videos are encoded", expected=f"{pairs.videos}, as the pairs say")
    if not list(model.head.parameters()) and not train_text:
        raise ConfigError(
            "meanP has no parameters, and the encoder is frozen: there is nothing to train",
            expected="another head, or train_text=True",
        )
    if train_text:
        model.clip = trainable_copy(model.clip, text=True, image=False, freeze_stem=recipe.freeze_stem)
    device = model.clip.device
    tokens = sentence_token_rows(model.clip, pairs.sentences, recipe.max_words)
    names = {sentence: row for row, sentence in enumerate(dict.fromkeys(pairs.sentences))}
    sentence_of = torch.tensor([names[sentence] for sentence in pairs.sentences])
    owner = torch.tensor(list(pairs.owner))

    def batches(epoch: int) -> Iterator[Batch]:
        for rows in shuffled_batches(len(owner), recipe.batch_size, recipe.seed, epoch, pairs.together):
            of = owner[rows]
            chosen = of.to(videos.frames.device)
            yield Batch(
                tokens[rows].to(device),
                videos.frames[chosen].to(device),
                videos.mask[chosen].to(device),
                of.to(device),
                sentence_of[rows].to(device),
            )

    steps = steps_an_epoch(len(owner), recipe.batch_size)
    words = tokens.unique() if train_text and not recipe.freeze_stem else None
    return fit(model, batches, steps, recipe, words=words, validation=validation, report=report)


def fit(
    model: CLIP4Clip,
    batches: Callable[[int], Iterable[Batch]],
    epoch_steps: int,
    recipe: TrainingRecipe,
    *,
    words: Int[Tensor, " words"] | None = None,
    validation: Callable[[CLIP4Clip], float] | None = None,
    report: Callable[[str], None] | None = None,
) -> TrainingLog:
    """Train what of ``model`` wants a gradient; in a process group with DDP and the batches of all as negatives.

    Args:
        model: changed in place; the best epoch's weights are put back at the end.
        batches: from an epoch to this process's batches.
        epoch_steps: how many those are.
        recipe: how.
        words: sorted ids of the tokens whose embeddings are trained too.
        validation: see :func:`train_head`.
        report: receives a line an epoch.

    Raises:
        ConfigError: if nothing wants a gradient.
        DataError: if the loss is not finite.
    """
    pair_loss = _PairLoss(model, recipe.precision, None if words is None else words.to(model.clip.device))
    trained = {
        name.removeprefix("model."): value for name, value in pair_loss.named_parameters() if value.requires_grad
    }
    if not [name for name in trained if name != "log_scale"]:
        raise ConfigError(
            "nothing of the model wants a gradient", expected="a head with parameters, or a trained encoder"
        )
    loss_of: nn.Module = pair_loss
    if world_size() > 1:
        loss_of = DistributedDataParallel(loss_of)
    optimiser = torch.optim.AdamW(_groups(trained, recipe), betas=(0.9, 0.98), eps=1e-6)
    total = epoch_steps * recipe.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _factor(step, total, recipe.warmup))
    log = TrainingLog(selection="the best epoch on the validation part" if validation else "the last epoch")
    best, kept = -math.inf, None
    model.train()
    for epoch in range(recipe.epochs):
        losses = []
        for batch in batches(epoch):
            loss = loss_of(batch.tokens, batch.frames, batch.mask, batch.video, batch.sentence)
            if not bool(torch.isfinite(loss)):
                raise DataError(f"the loss of epoch {epoch + 1} is {float(loss)}", hint="a smaller learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained.values(), recipe.clip_norm)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                model.log_scale.clamp_(max=MAX_LOG_SCALE)
            losses.append(loss.detach())
        row = {"epoch": epoch + 1, "loss": float(torch.stack(losses).mean())}
        if validation is not None:
            model.eval()
            pair_loss.write_back()
            row["validation"] = validation(model)
            model.train()
        log.rows.append(row)
        if report is not None and _first_process():
            report(" ".join(f"{name} {value:.4g}" for name, value in row.items()))
        score = row.get("validation", float(epoch))
        if score > best:
            best, log.kept_epoch = score, epoch + 1
            kept = {name: value.detach().clone() for name, value in trained.items()} if validation else None
    if kept is not None:
        with torch.no_grad():
            for name, value in trained.items():
                value.copy_(kept[name])
    pair_loss.write_back()
    model.eval()
    return log


def trainable_copy(clip: FrozenCLIP, *, text: bool, image: bool, freeze_stem: bool = True) -> FrozenCLIP:
    """A copy of an encoder of which the towers named want gradients; the original stays frozen.

    Args:
        clip: the encoder.
        text: train the text tower.
        image: train the image tower.
        freeze_stem: but not patch, position and token embeddings.
    """
    own = copy.deepcopy(clip)
    own.base_fingerprint = getattr(clip, "base_fingerprint", clip.fingerprint)  # type: ignore[assignment]
    own.__dict__.pop("fingerprint", None)
    for name, value in own.model.named_parameters():
        tower = image if name.startswith("visual.") else text
        parts = name.split(".")
        stem = any(part in _STEM for part in parts)
        # The table of tokens is never trained whole: see the words of fit().
        value.requires_grad_(
            tower and name != "logit_scale" and "token_embedding" not in parts and not (freeze_stem and stem)
        )
    return own


def shuffled_batches(
    pairs: int, batch_size: int, seed: int, epoch: int, together: Sequence[int] | None = None
) -> Iterator[Tensor]:
    """Rows of this process's batches; every process draws the same order and takes its own part of each batch.

    Args:
        pairs: how many.
        batch_size: over all processes; a last, shorter batch is dropped.
        seed: of the order.
        epoch: each has its own order.
        together: rows of one group follow each other.
    """
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(pairs, generator=generator)
    if together is not None:
        groups = torch.tensor(list(together)).unique(return_inverse=True)[1]
        place = torch.randperm(int(groups.max()) + 1, generator=generator)[groups]
        order = order[place[order].argsort(stable=True)]
    processes = world_size()
    rank = dist.get_rank() if processes > 1 else 0
    size = min(batch_size, pairs) // processes * processes
    if size < 2:
        raise ConfigError(
            f"batches of {batch_size} pairs for {processes} processes", expected="one pair a process at least"
        )
    for first in range(0, pairs - size + 1, size):
        yield order[first : first + size].chunk(processes)[rank]


def steps_an_epoch(pairs: int, batch_size: int) -> int:
    """Full batches of :func:`shuffled_batches`, at least one."""
    size = min(batch_size, pairs) // world_size() * world_size()
    return max(1, pairs // max(size, 1))


def _features_of_pixels(clip: FrozenCLIP, frames: Tensor, mask: Tensor) -> Float[Tensor, "pairs frames dim"]:
    """Features with gradients; what is padding is not encoded."""
    pixels = frames[mask]
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    pixels = normalise_pixels(fit_pixels(pixels, clip.preprocessing).clamp(0, 1), clip.mean, clip.std)
    rows = clip.model.encode_image(pixels)  # type: ignore[operator]
    features = rows.new_zeros(*mask.shape, rows.shape[-1])
    features[mask] = rows
    return features


def _groups(trained: dict[str, nn.Parameter], recipe: TrainingRecipe) -> list[dict]:
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, value in trained.items():
        decayed = value.ndim >= 2 and not name.endswith(("positions", "embedding"))
        groups.setdefault((name.startswith(("clip.", "embedding")), decayed), []).append(value)
    return [
        {
            "params": values,
            "lr": recipe.encoder_lr if encoder else recipe.head_lr,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for (encoder, decayed), values in groups.items()
    ]


def _factor(step: int, total: int, warmup: float) -> float:
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def _first_process() -> bool:
    return world_size() == 1 or dist.get_rank() == 0
