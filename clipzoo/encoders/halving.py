"""Batches that the memory of a device does not hold are encoded in parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clipzoo.errors import RunError


class Halving:
    """Halves a batch where a GPU runs out of memory, says so once, and remembers what fitted.

    For work that treats the rows of a batch one by one, and whose gradients nobody asks for: then the parts give what
    the whole would have given.

    Attributes:
        most: kind of rows to how many fitted at last; nothing as long as everything has.
        tell: called with a sentence when a batch is halved; by default it is a warning.
    """

    def __init__(self) -> None:
        """Nothing has been too large yet."""
        self.most: dict[str, int] = {}
        self.tell: Callable[[str], Any] = lambda text: warnings.warn(text, ResourceWarning, stacklevel=4)

    def rows(
        self, work: Callable[[Tensor], Tensor], batch: Tensor, *, of: str = "images", splits: bool = True
    ) -> Tensor:
        """``work(batch)``, in parts if it must be.

        Args:
            work: from a batch to as many rows.
            batch: along the first axis.
            of: what the rows are, for messages.
            splits: whether the parts may be worked on one after the other; gradients hold the memory of all of them.

        Raises:
            RunError: if not even one row fits.

        >>> Halving().rows(lambda batch: batch + 1, torch.zeros(3)).tolist()
        [1.0, 1.0, 1.0]
        """
        if not splits:
            return work(batch)
        done: list[Tensor] = []
        place = 0
        while place < len(batch) or not done:
            part = batch[place : place + self.most.get(of, len(batch))]
            try:
                done.append(work(part))
                place += len(part)
                continue
            except torch.OutOfMemoryError as error:
                if len(part) < 2:
                    raise RunError(
                        f"the device has not enough memory for one of the {of}",
                        hint="a smaller encoder, a smaller image, or device=cpu",
                    ) from error
            # Outside of the handler: what it caught would keep the memory of the failed attempt.
            self._halve(len(part), of)
        return done[0] if len(done) == 1 else torch.cat(done)

    def _halve(self, tried: int, of: str) -> None:
        self.most[of] = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.tell(
            f"The device ran out of memory with {tried} {of} at once: at most {self.most[of]} at once are encoded from "
            "here on. The result does not depend on it."
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Halving:
        """What is told goes to the same listener: a copy of an encoder does not copy its run."""
        made = Halving()
        made.most, made.tell = dict(self.most), self.tell
        return made
