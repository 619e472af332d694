"""What a detector finds in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipzoo.errors import DataError


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes with a class and a score each, best first.

    Attributes:
        boxes: left, top, right, bottom, px.
        scores: in [0, 1].
        labels: places in the list of names that was looked for.
        masks: pixels of each, or None where the detector has none.
    """

    boxes: Float[Tensor, "found 4"]
    scores: Float[Tensor, " found"]
    labels: Int[Tensor, " found"]
    masks: Bool[Tensor, "found height width"] | None = None

    def __post_init__(self) -> None:
        """Refuse tensors that do not belong together."""
        alike = self.boxes.shape == (len(self.scores), 4) and self.labels.shape == self.scores.shape
        if not alike or (self.masks is not None and len(self.masks) != len(self.scores)):
            raise DataError(
                f"boxes {tuple(self.boxes.shape)}, scores {tuple(self.scores.shape)}, labels {tuple(self.labels.shape)}"
                + ("" if self.masks is None else f", masks {tuple(self.masks.shape)}"),
                expected="[N, 4], [N], [N] and, if any, masks [N, height, width]",
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: Bool[Tensor, " found"] | Int[Tensor, " chosen"] | slice) -> Detections:
        masks = None if self.masks is None else self.masks[chosen]
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen], masks)

    def above(self, score: float) -> Detections:
        """Those whose score is at least ``score``."""
        return self[self.scores >= score]

    def plain(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """As JSON holds them: name, score and box of each.

        >>> one = Detections(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.5]), torch.tensor([1]))
        >>> one.plain(["cat", "dog"])
        [{'name': 'dog', 'score': 0.5, 'box': [1.0, 2.0, 3.0, 4.0]}]
        """
        return [
            {"name": names[label], "score": round(score, 5), "box": [round(edge, 2) for edge in box]}
            for box, score, label in zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        ]

    @classmethod
    def none(cls) -> Detections:
        """Nothing found."""
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
