"""The path language of SVG: the ``d`` attribute as chains of segments."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from clipzoo.errors import DataError

Point = tuple[float, float]
MAX_SEGMENTS = 1_000_000
"""Most segments of all paths of one file."""
_TOKEN = re.compile(r"([MmZzLlHhVvCcSsQqTtAa])|([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|([\s,]+)|(.)", re.DOTALL)
_FLAG = re.compile(r"[\s,]*([01])")
_ARGUMENTS = {"m": 2, "l": 2, "h": 1, "v": 1, "c": 6, "s": 4, "q": 4, "t": 2, "a": 7, "z": 0}


@dataclass
class Chain:
    """Segments that follow one another: each is its control points without the first, which ends the segment before."""

    start: Point
    segments: list[list[Point]] = field(default_factory=list)
    closed: bool = False

    @property
    def end(self) -> Point:
        """Where the last segment ends."""
        return self.segments[-1][-1] if self.segments else self.start

    def points(self) -> tuple[list[Point], int]:
        """Control points, and the degree they have in common; segments of different degrees become cubics."""
        degrees = {len(segment) for segment in self.segments} or {1}
        degree = degrees.pop() if len(degrees) == 1 else 3
        points = [self.start]
        for segment in self.segments:
            points += segment if len(segment) == degree else _cubic(points[-1], segment)
        if self.closed and len(self.segments) > 1 and points[-1] == points[0]:
            points.pop()
        return points, degree


def _cubic(start: Point, segment: list[Point]) -> list[Point]:
    def mix(a: Point, b: Point, share: float) -> Point:
        return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])

    if len(segment) == 3:
        return segment
    if len(segment) == 2:
        return [mix(start, segment[0], 2 / 3), mix(segment[1], segment[0], 2 / 3), segment[1]]
    return [mix(start, segment[0], 1 / 3), mix(start, segment[0], 2 / 3), segment[0]]


def read_path(data: str) -> list[Chain]:
    """Chains of segments of a ``d`` attribute, one for each M.

    Raises:
        DataError: if the text is no path.

    >>> [chain.points() for chain in read_path("m1 1h2v2z")]
    [([(1.0, 1.0), (3.0, 1.0), (3.0, 3.0)], 1)]
    """
    chains: list[Chain] = []
    place, command = 0, ""
    pen = _Pen(chains)
    while (place := _skip(data, place)) < len(data):
        match = _TOKEN.match(data, place)
        if match is None or match[4]:
            raise _broken(data, place)
        if match[1]:
            command, place = match[1], match.end()
            if command in "Zz":
                pen.close()
                continue
        elif not command or command in "Zz":
            raise _broken(data, place)
        if not chains and command not in "Mm":
            raise _broken(data, place)
        numbers, place = _numbers(data, place, command.lower())
        pen.draw(command, numbers)
        command = {"M": "L", "m": "l"}.get(command, command)
    return [chain for chain in chains if chain.segments or chain.closed]


def _skip(data: str, place: int) -> int:
    while place < len(data) and (data[place].isspace() or data[place] == ","):
        place += 1
    return place


def _numbers(data: str, place: int, command: str) -> tuple[list[float], int]:
    numbers: list[float] = []
    while len(numbers) < _ARGUMENTS[command]:
        place = _skip(data, place)
        # The two flags of an arc may follow one another without a space.
        is_flag = command == "a" and len(numbers) in (3, 4)
        match = (_FLAG if is_flag else _TOKEN).match(data, place)
        text = match and match[1 if is_flag else 2]
        if match is None or not text:
            raise _broken(data, place)
        numbers.append(float(text))
        if not math.isfinite(numbers[-1]):
            raise _broken(data, place)
        place = match.end()
    return numbers, place


def _broken(data: str, place: int) -> DataError:
    return DataError(
        f'path data that cannot be read at "{data[place : place + 20]}"', expected="M, L, H, V, C, S, Q, T, A, Z"
    )


class _Pen:
    """Where the path is, and the control point that S and T reflect."""

    def __init__(self, chains: list[Chain]) -> None:
        self.chains = chains
        self.at: Point = (0.0, 0.0)
        self.handle: tuple[str, Point] = ("", (0.0, 0.0))

    def close(self) -> None:
        if not self.chains:
            raise _broken("Z", 0)
        self.chains[-1].closed = True
        self.at = self.chains[-1].start
        self.handle = ("", self.at)

    def draw(self, command: str, numbers: list[float]) -> None:
        kind = command.lower()
        origin = self.at if command.islower() else (0.0, 0.0)
        if kind == "h":
            points = [(origin[0] + numbers[0], self.at[1])]
        elif kind == "v":
            points = [(self.at[0], origin[1] + numbers[0])]
        elif kind == "a":
            points = [(origin[0] + numbers[5], origin[1] + numbers[6])]
        else:
            points = [(origin[0] + x, origin[1] + y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        if kind == "m":
            self.at = points[0]
            self.chains.append(Chain(self.at))
            self.handle = ("", self.at)
            return
        if self.chains[-1].closed:
            self.chains.append(Chain(self.at))
        if kind in "st":
            points.insert(0, self._reflected({"s": "c", "t": "q"}[kind]))
        if kind == "a":
            self._extend(
                arc(self.at, points[0], numbers[0], numbers[1], numbers[2], bool(numbers[3]), bool(numbers[4]))
            )
        else:
            self._extend([points])
        self.handle = ({"s": "c", "t": "q"}.get(kind, kind), points[-2] if len(points) > 1 else self.at)

    def _reflected(self, kind: str) -> Point:
        before, point = self.handle
        return (2 * self.at[0] - point[0], 2 * self.at[1] - point[1]) if before == kind else self.at

    def _extend(self, segments: list[list[Point]]) -> None:
        chain = self.chains[-1]
        chain.segments += segments
        self.at = chain.end


def arc(
    start: Point, end: Point, rx: float, ry: float, tilt_degrees: float, large: bool, sweep: bool
) -> list[list[Point]]:
    """An elliptical arc as cubics (SVG 2, appendix B.2.4), each of at most a quarter turn."""
    rx, ry = abs(rx), abs(ry)
    if start == end:
        return []
    if rx == 0 or ry == 0:
        return [[end]]
    cos, sin = math.cos(math.radians(tilt_degrees)), math.sin(math.radians(tilt_degrees))
    dx, dy = (start[0] - end[0]) / 2, (start[1] - end[1]) / 2
    x, y = (cos * dx + sin * dy) / rx, (-sin * dx + cos * dy) / ry
    size = x * x + y * y
    if size > 1:
        rx, ry = rx * math.sqrt(size), ry * math.sqrt(size)
        x, y, size = x / math.sqrt(size), y / math.sqrt(size), 1.0
    factor = math.sqrt(max(1 / size - 1, 0.0)) * (-1 if large == sweep else 1)
    cx, cy = factor * y, -factor * x
    first = math.atan2(y - cy, x - cx)
    turn = math.atan2(-y - cy, -x - cx) - first
    if sweep and turn < 0:
        turn += 2 * math.pi
    elif not sweep and turn > 0:
        turn -= 2 * math.pi
    pieces = max(1, math.ceil(abs(turn) / (math.pi / 2) - 1e-9))
    reach = 4 / 3 * math.tan(turn / pieces / 4)
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2

    def place(u: float, v: float) -> Point:
        u, v = rx * (cx + u), ry * (cy + v)
        return middle[0] + cos * u - sin * v, middle[1] + sin * u + cos * v

    segments = []
    for piece in range(pieces):
        a, b = first + turn * piece / pieces, first + turn * (piece + 1) / pieces
        segments.append(
            [
                place(math.cos(a) - reach * math.sin(a), math.sin(a) + reach * math.cos(a)),
                place(math.cos(b) + reach * math.sin(b), math.sin(b) - reach * math.cos(b)),
                end if piece == pieces - 1 else place(math.cos(b), math.sin(b)),
            ]
        )
    return segments
