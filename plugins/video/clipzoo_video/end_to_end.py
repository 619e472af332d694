"""Training of the whole model from frames: both towers and the head (section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.encoders.pixels import fit_pixels
from clipzoo.errors import ConfigError
from clipzoo_video.clip4clip import CLIP4Clip, sentence_token_rows
from clipzoo_video.datasets import VideoItem
from clipzoo_video.encoding import read_item
from clipzoo_video.training import (
    Batch,
    Pairs,
    TrainingLog,
    TrainingRecipe,
    fit,
    shuffled_batches,
    steps_an_epoch,
    trainable_copy,
)

_READERS = 4


def train_end_to_end(
    model: CLIP4Clip,
    items: Sequence[VideoItem],
    pairs: Pairs,
    recipe: TrainingRecipe | None = None,
    *,
    frames: int = 12,
    sampling: str = "uniform",
    validation: Callable[[CLIP4Clip], float] | None = None,
    report: Callable[[str], None] | None = None,
) -> TrainingLog:
    """Train image tower, text tower and head together; under torchrun on several processes with one exact loss.

    Call ``torch.distributed.init_process_group`` first to train on several. Decoding runs ahead in threads.

    Args:
        model: changed in place; its encoder is replaced by a copy that is trained.
        items: videos, all readable (see :func:`clipzoo_video.encoding.encode_items`).
        pairs: which sentence belongs to which of them.
        recipe: how; ``precision="bf16"`` computes in bf16 with fp32 weights.
        frames: of each video, at most.
        sampling: see :func:`clipzoo.data.video_sampling.sample_seconds`.
        validation: see :func:`clipzoo_video.training.train_head`.
        report: receives a line an epoch.

    Raises:
        ConfigError: if there are not as many videos as the pairs say.
        DataError: if a video cannot be read.
    """
    recipe = recipe or TrainingRecipe()
    if len(items) != pairs.videos:
        raise ConfigError(f"{len(items)} videos", expected=f"{pairs.videos}, as the pairs say")
    model.clip = trainable_copy(model.clip, text=True, image=True, freeze_stem=recipe.freeze_stem)
    device = model.clip.device
    tokens = sentence_token_rows(model.clip, pairs.sentences, recipe.max_words)
    names = {sentence: row for row, sentence in enumerate(dict.fromkeys(pairs.sentences))}
    sentence_of = torch.tensor([names[sentence] for sentence in pairs.sentences])
    owner = torch.tensor(list(pairs.owner))

    def batches(epoch: int) -> Iterator[Batch]:
        drawn = list(shuffled_batches(len(owner), recipe.batch_size, recipe.seed, epoch, pairs.together))
        with ThreadPoolExecutor(_READERS) as pool:
            ahead = [pool.submit(_small, model.clip, items[int(owner[row])], frames, sampling) for row in drawn[0]]
            for number, rows in enumerate(drawn):
                pixels = [future.result() for future in ahead]
                if number + 1 < len(drawn):
                    following = drawn[number + 1]
                    ahead = [
                        pool.submit(_small, model.clip, items[int(owner[row])], frames, sampling) for row in following
                    ]
                shown, mask = _padded(pixels, frames)
                yield Batch(
                    tokens[rows].to(device),
                    shown.to(device),
                    mask.to(device),
                    owner[rows].to(device),
                    sentence_of[rows].to(device),
                )

    words = None if recipe.freeze_stem else tokens.unique()
    steps = steps_an_epoch(len(owner), recipe.batch_size)
    return fit(model, batches, steps, recipe, words=words, validation=validation, report=report)


def _small(clip: FrozenCLIP, item: VideoItem, frames: int, sampling: str) -> Tensor:
    """Frames of the size that the encoder takes, uint8: what waits for it takes little memory."""
    pictures = fit_pixels(read_item(item, frames, sampling).float() / 255, clip.preprocessing)
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)


def _padded(pixels: Sequence[Tensor], frames: int) -> tuple[Tensor, Tensor]:
    """One batch of the full number of frames, so that every process sends the same shape."""
    shown = pixels[0].new_zeros(len(pixels), frames, *pixels[0].shape[1:])
    mask = torch.zeros(len(pixels), frames, dtype=torch.bool)
    for row, own in enumerate(pixels):
        shown[row, : len(own)] = own
        mask[row, : len(own)] = True
    return shown, mask
