"""Batches of captions: which rows, in which order, with which pixels; every batch depends on its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clipzoo.errors import ConfigError
from clipzoo.losses.gather import world_size
from clipzoo_train.augmentation import Augmentation, augmented, with_holes
from clipzoo_train.captions import CaptionedImage
from clipzoo_train.objectives import Batch
from clipzoo_train.pixel_bank import PixelBank, ahead
from clipzoo_train.processes import own_share, rank


@dataclass(frozen=True)
class Holes:
    """Settings of :func:`clipzoo_train.augmentation.with_holes`."""

    share: float
    count: int
    area: float


class Feeder:
    """Makes the batches of every epoch.

    Args:
        images: to train on.
        bank: their squares.
        tokens: of every different caption, ``[captions, length]``; or kept features of a frozen text tower.
        numbers: from a caption to its row in ``tokens``.
        batch_size: pairs a step, over all processes.
        size: of the pixels, px.
        preset: of the augmentation.
        holes: square masks, or None.
        unmasked_from: step from which there are no masks.
        rows: an epoch has one row an ``"images"`` (a random caption of each) or one a ``"captions"``.
        seed: of order, captions and augmentation.
        device: that the batches go to.
        kept: features of a frozen image tower by image, instead of pixels.
        workers: threads that decode.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        bank: PixelBank,
        tokens: Tensor,
        numbers: dict[str, int],
        *,
        batch_size: int,
        size: int,
        preset: Augmentation,
        holes: Holes | None = None,
        unmasked_from: int = 0,
        rows: str = "images",
        seed: int = 0,
        device: torch.device | str = "cpu",
        kept: Tensor | None = None,
        workers: int = 2,
    ) -> None:
        """Number the captions of each image."""
        self.images = images
        self.bank = bank
        self.tokens = tokens.to(device)
        self.numbers = [[numbers[caption] for caption in image.captions] for image in images]
        self.size = size
        self.preset = preset
        self.holes = holes
        self.unmasked_from = unmasked_from
        self.rows = rows
        self.seed = seed
        self.device = torch.device(device)
        self.kept = kept
        self.workers = workers
        total = len(images) if rows == "images" else sum(map(len, self.numbers))
        self.batch_size = min(batch_size, total) // world_size() * world_size()
        if self.batch_size < 2 or self.batch_size < world_size():
            raise ConfigError(
                f"batches of {batch_size} of {total} rows for {world_size()} processes",
                expected="two pairs a batch and one a process at least",
            )
        self.epoch_steps = total // self.batch_size

    def order(self, epoch: int) -> np.ndarray:
        """(row of the image, number of the caption) of every row of an epoch, shuffled."""
        dice = np.random.default_rng([self.seed, 11, epoch])
        if self.rows == "captions":
            pairs = np.array([(row, number) for row, own in enumerate(self.numbers) for number in own])
        else:
            pairs = np.array([(row, own[dice.integers(len(own))]) for row, own in enumerate(self.numbers)])
        return dice.permutation(pairs)

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from its step ``first`` on, decoded ahead in threads."""
        order = self.order(epoch)
        size = self.batch_size

        def load(number: int) -> tuple[int, np.ndarray, Tensor, Tensor]:
            rows = order[number * size : (number + 1) * size]
            rows = rows[own_share(range(len(rows)))]
            if self.kept is not None:
                return number, rows, self.kept[rows[:, 0]], torch.empty(0)
            squares, aspects = self.bank.read(rows[:, 0].tolist())
            return number, rows, squares, aspects

        for number, rows, squares, aspects in ahead(load, range(first, self.epoch_steps), self.workers):
            pixels = squares.to(self.device)
            if self.kept is None:
                pixels = self._pixels(squares, aspects, epoch, number)
            captions = torch.from_numpy(rows[:, 1]).to(self.device)
            yield Batch(pixels, self.tokens[captions], torch.from_numpy(rows[:, 0]).to(self.device), captions)

    def _pixels(self, squares: Tensor, aspects: Tensor, epoch: int, number: int) -> Tensor:
        mixed = np.random.default_rng([self.seed, 13, epoch, number, rank()]).integers(2**62)
        generator = torch.Generator().manual_seed(int(mixed))
        pixels = squares.to(self.device, non_blocking=True).float() / 255
        pixels = augmented(pixels, aspects, self.preset, self.size, generator)
        step = epoch * self.epoch_steps + number
        if self.holes is not None and step < self.unmasked_from:
            pixels = with_holes(pixels, self.holes.share, self.holes.count, self.holes.area, generator)
        return pixels

    def told(self, batch: Batch) -> str:
        """Keys of the images of a batch, for errors."""
        return ", ".join(self.images[row].key for row in batch.images[:8].tolist()) + (" ..." if len(batch) > 8 else "")
