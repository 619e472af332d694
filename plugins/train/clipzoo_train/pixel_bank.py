"""Images as small squares of bytes: decoded once where memory allows, ahead of the training step where it does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clipzoo.encoders.pixels import Preprocessing
from clipzoo.errors import DataError
from clipzoo.store.decoding import fit_square
from clipzoo_train.captions import CaptionedImage

T = TypeVar("T")


class PixelBank:
    """The images of a dataset, each as a square.

    For training both sides are brought to ``side`` (so that crops can be cut from the whole image; ``aspect`` undoes
    the squashing), for measuring each image is fitted as the encoder fits it.

    Args:
        images: in the order of their rows.
        side: of the squares, px.
        exact: the encoder's preprocessing, for measuring; None squashes.
        keep_bytes: squares are kept after decoding if all of them take no more than this.
        workers: threads that decode.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        side: int,
        exact: Preprocessing | None = None,
        keep_bytes: int = 1 << 32,
        workers: int = 2,
    ) -> None:
        """Reserve memory, decode nothing yet."""
        self.images = images
        self.side = side
        self.exact = exact
        self.workers = workers
        self.kept = len(images) * side * side * 3 <= keep_bytes
        self._squares = torch.empty((len(images) if self.kept else 0, 3, side, side), dtype=torch.uint8)
        self._filled = np.zeros(len(images), bool)
        self.aspects = torch.ones(len(images))

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    def read(self, rows: Sequence[int]) -> tuple[UInt8[Tensor, "rows 3 side side"], Float[Tensor, " rows"]]:
        """Squares, and width over height of the images they come from.

        Raises:
            DataError: if an image cannot be read.
        """
        if not self.kept:
            squares = torch.stack([self._decoded(row) for row in rows])
            return squares, self.aspects[list(rows)]
        for row in rows:
            if not self._filled[row]:
                self._squares[row] = self._decoded(row)
                self._filled[row] = True
        chosen = torch.as_tensor(list(rows))
        return self._squares[chosen], self.aspects[chosen]

    def _decoded(self, row: int) -> UInt8[Tensor, "3 side side"]:
        entry = self.images[row]
        try:
            # What is measured is decoded in full; crops for training come from an image twice their size.
            image = entry.read(0 if self.exact else 2 * self.side)
        except DataError as error:
            raise DataError(f"the image {entry.key} cannot be read: {error.what}", expected=error.expected) from error
        self.aspects[row] = image.width / image.height
        if self.exact:
            image = fit_square(image, self.exact)
        else:
            image = image.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def view(self, rows: Sequence[int]) -> PixelBank:
        """A bank of some of the images, without decoding them again."""
        part = PixelBank([self.images[row] for row in rows], self.side, self.exact, 0, self.workers)
        part.aspects = self.aspects[list(rows)]
        if self.kept:
            part.kept, part._filled, part._squares = True, self._filled[list(rows)], self._squares[list(rows)]
        return part

    def check(self) -> dict[int, DataError]:
        """Decode every image (or, where squares are not kept, read every header), and say which cannot be read."""

        def attempt(row: int) -> tuple[int, DataError | None]:
            try:
                if self.kept:
                    self.read([row])
                else:
                    self.images[row].read(1)
            except DataError as error:
                return row, error
            return row, None

        with ThreadPoolExecutor(self.workers) as pool:
            return {row: error for row, error in pool.map(attempt, range(len(self.images))) if error}


def ahead(work: Callable[[int], T], numbers: Iterable[int], workers: int, depth: int = 4) -> Iterator[T]:
    """Results of ``work`` in order, up to ``depth`` of them computed in threads before they are asked for.

    >>> list(ahead(lambda number: number * 2, range(3), workers=1))
    [0, 2, 4]
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for number in numbers:
                waiting.append(pool.submit(work, number))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
