"""Batches on their way through the image tower, so arranged that the device does not wait for the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import Tensor

from clipzoo.encoders import FrozenCLIP
from clipzoo.errors import RunError

Receive = Callable[[list[Any], Float16[np.ndarray, "rows dim"]], None]


class Feeder:
    """Collects 8-bit squares into batches and hands out their features in the order they came.

    Pixels travel as bytes and become floats on the device. On CUDA there are two page-locked buffers: while one
    batch is encoded, the next is filled and copied on a stream of its own, and the features of the one before come
    back without anyone waiting for them.

    Args:
        clip: the encoder.
        batch_size: images a batch.
        receive: called with the tags and the features of each finished batch, in order.
    """

    def __init__(self, clip: FrozenCLIP, batch_size: int, receive: Receive) -> None:
        """Make the buffers."""
        self._clip = clip
        self._receive = receive
        self._batch_size = batch_size
        self._cuda = clip.device.type == "cuda"
        shape = (batch_size, clip.image_size, clip.image_size, 3)
        self._buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=self._cuda) for _ in range(1 + self._cuda)]
        self._copies = torch.cuda.Stream(clip.device) if self._cuda else None
        self._in_flight: deque[tuple[list[Any], Tensor, Any]] = deque()
        self._tags: list[Any] = []

    def add(self, tag: Any, pixels: UInt8[np.ndarray, "size size 3"]) -> None:
        """Put one image into the batch that is being filled; a full batch goes off."""
        np.copyto(self._buffers[0][len(self._tags)].numpy(), pixels)
        self._tags.append(tag)
        if len(self._tags) == self._batch_size:
            self.send()

    def send(self) -> None:
        """Encode what has been collected, also if it is no full batch."""
        if not self._tags:
            return
        tags, self._tags = self._tags, []
        pixels = self._buffers[0][: len(tags)]
        if self._cuda:
            self._in_flight.append((tags, *self._launch(pixels)))
            self._buffers.reverse()
            # The buffer that is filled next was copied for the batch before: that one must have left it.
            while len(self._in_flight) > 1:
                self._deliver()
        else:
            self._hand_out(tags, _encode(self._clip, pixels.to(self._clip.device)).cpu())

    def drain(self) -> None:
        """Encode what is left, and hand out everything."""
        self.send()
        while self._in_flight:
            self._deliver()

    def _launch(self, pixels: Tensor) -> tuple[Tensor, Any]:
        assert self._copies is not None
        current = torch.cuda.current_stream(self._clip.device)
        with torch.cuda.stream(self._copies):
            moved = pixels.to(self._clip.device, non_blocking=True)
        current.wait_stream(self._copies)
        moved.record_stream(current)
        rows = _encode(self._clip, moved)
        host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        host.copy_(rows, non_blocking=True)
        done = torch.cuda.Event()
        done.record(current)
        return host, done

    def _deliver(self) -> None:
        tags, host, done = self._in_flight.popleft()
        done.synchronize()
        self._hand_out(tags, host)

    def _hand_out(self, tags: list[Any], rows: Tensor) -> None:
        features = rows.numpy()
        if not np.isfinite(features).all():
            raise RunError(
                f"{self._clip.name} gave numbers that are not finite",
                expected="finite features",
                hint="precision=fp32, or other weights",
            )
        self._receive(tags, features)


@torch.inference_mode()
def _encode(clip: FrozenCLIP, pixels: Tensor) -> Tensor:
    floats = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return clip.encode_image(floats, resize="none").half()
