"""Which moments of a video are looked at: times in seconds, never frame numbers from a rounded frame rate."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from clipzoo.errors import ConfigError, DataError, closest_matches

Strategy = Literal["uniform", "one-per-second", "segments", "clip4clip"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
_SLICES = ("head", "tail", "uniform")


def sample_seconds(
    duration_s: float,
    n: int,
    strategy: str = "uniform",
    *,
    fps: float | None = None,
    generator: np.random.Generator | None = None,
) -> Float[np.ndarray, " frames"]:
    r"""At most ``n`` moments of a video, ascending, from its start.

    - ``"uniform"``: the middles of n equal parts, :math:`t_k = (k + 1/2) D / n`.
    - ``"one-per-second"``: 0, 1, 2, ... s; of more than n, n evenly spread ones, the first and the last among them. A
      video shorter than n seconds gives fewer.
    - ``"segments"``: one moment drawn from each of n equal parts (TSN, Wang et al. 2016); needs ``generator``.
    - ``"clip4clip"``: what the published code of CLIP4Clip takes, see :func:`clip4clip_frames`; needs ``fps``.

    Args:
        duration_s: how long the video is.
        n: how many moments.
        strategy: see above.
        fps: frames a second, as the file says; of ``"clip4clip"`` only.
        generator: source of chance; of ``"segments"`` only.

    Raises:
        DataError: if the duration is not positive and finite.
        ConfigError: if ``n`` or the strategy is impossible, or lacks what it needs.

    >>> sample_seconds(10.0, 4).tolist()
    [1.25, 3.75, 6.25, 8.75]
    >>> sample_seconds(3.5, 12, "one-per-second").tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise DataError(f"a video of {duration_s} s", expected="a duration above zero")
    if n < 1:
        raise ConfigError(f"{n} frames of a video", expected="at least 1")
    if strategy == "uniform":
        return (np.arange(n) + 0.5) * duration_s / n
    if strategy == "one-per-second":
        seconds = np.arange(math.ceil(duration_s), dtype=float)
        return seconds[_spread(len(seconds), n)] if len(seconds) > n else seconds
    if strategy == "segments":
        if generator is None:
            raise ConfigError('strategy "segments" draws', expected="a generator", hint="numpy.random.default_rng(0)")
        return (np.arange(n) + generator.random(n)) * duration_s / n
    if strategy == "clip4clip":
        if fps is None or not (math.isfinite(fps) and fps > 0):
            raise ConfigError(f'strategy "clip4clip" with fps={fps}', expected="the frame rate of the file")
        frames = clip4clip_frames(max(1, round(duration_s * fps)), fps)
        return (clip4clip_selection(frames, n) + 0.5) / fps
    raise ConfigError(
        f'no strategy called "{strategy}"',
        closest=closest_matches(strategy, STRATEGIES),
        expected=", ".join(STRATEGIES),
    )


def clip4clip_frames(frame_count: int, fps: float) -> Int[np.ndarray, " frames"]:
    """Frame numbers that the published code of CLIP4Clip reads at one frame a second, before it selects.

    It cuts the rate to a whole number: at 29.97 fps each step is 29 frames, 0.968 s. Seconds run to the end inclusive,
    and reading stops at the first frame that does not exist. A rate below one, which stops that code, counts as one.

    Args:
        frame_count: frames in the video.
        fps: frames a second.

    >>> clip4clip_frames(75, 29.97).tolist()
    [0, 29, 58]
    """
    step = max(1, int(fps))
    seconds = np.arange(math.ceil(frame_count / step) + 1)
    return (seconds * step)[seconds * step < frame_count]


def clip4clip_selection(frames: Int[np.ndarray, " read"], n: int, part: str = "uniform") -> Int[np.ndarray, " frames"]:
    """At most ``n`` of the frames read: the first, the last or evenly spread ones (``slice_framepos`` 0, 1, 2).

    Args:
        frames: from :func:`clip4clip_frames`.
        n: how many are kept.
        part: ``"head"``, ``"tail"`` or ``"uniform"`` (the default of every published recipe).

    Raises:
        ConfigError: if there is no such part.

    >>> clip4clip_selection(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    if part not in _SLICES:
        raise ConfigError(
            f'no part called "{part}"', closest=closest_matches(part, _SLICES), expected=", ".join(_SLICES)
        )
    if len(frames) <= n:
        return frames
    if part == "uniform":
        return frames[_spread(len(frames), n)]
    return frames[:n] if part == "head" else frames[-n:]


def _spread(length: int, n: int) -> np.ndarray:
    return np.linspace(0, length - 1, n).astype(int)
