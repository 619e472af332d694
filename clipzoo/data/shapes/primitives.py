"""Building blocks of procedural shapes: every function returns triangles, float32 ``[T, 3, 3]``, y up."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

Triangles = np.ndarray
Pattern = Literal["uniform", "even", "clustered", "mixed"]

_AXES = {"x": 0, "y": 1, "z": 2}
_CORNERS = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], np.float32)
_QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
_BOX = np.array([t for a, b, c, d in _QUADS for t in ((a, b, c), (a, c, d))])


def box(size: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> Triangles:
    """A box of (width, height, depth) about ``centre``.

    >>> box((1, 1, 1)).shape
    (12, 3, 3)
    """
    return (_CORNERS * np.asarray(size, np.float32) + np.asarray(centre, np.float32))[_BOX]


@lru_cache(maxsize=256)
def _grid_faces(rows: int, columns: int, wrap: bool) -> np.ndarray:
    row = np.arange(rows - 1)[:, None] * columns
    column = np.arange(columns if wrap else columns - 1)[None]
    a, b = row + column, row + (column + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


@lru_cache(maxsize=64)
def _circle(segments: int) -> np.ndarray:
    angle = np.arange(segments) * (2 * np.pi / segments)
    return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)


def _fan(ring: np.ndarray) -> Triangles:
    centre = np.broadcast_to(ring.mean(0), ring.shape)
    return np.stack([centre, ring, np.roll(ring, -1, 0)], 1)


def revolve(profile: np.ndarray, segments: int = 20, closed: bool = False) -> Triangles:
    """The surface that a profile of (radius, height) rows sweeps about the vertical; ``closed`` caps both ends."""
    profile = np.asarray(profile, np.float32)
    circle = _circle(segments)
    rings = np.empty((len(profile), segments, 3), np.float32)
    rings[..., 0] = profile[:, :1] * circle[:, 0]
    rings[..., 1] = profile[:, 1:]
    rings[..., 2] = profile[:, :1] * circle[:, 1]
    parts = [rings.reshape(-1, 3)[_grid_faces(len(profile), segments, True)]]
    if closed:
        parts += [_fan(rings[end]) for end in (0, -1) if profile[end, 0] > 0]
    return join(*parts)


def cylinder(
    radius: float,
    height: float,
    centre: tuple[float, float, float] = (0, 0, 0),
    top_radius: float | None = None,
    segments: int = 16,
    caps: bool = True,
) -> Triangles:
    """An upright cylinder, cone (``top_radius=0``) or frustum about ``centre``."""
    top = radius if top_radius is None else top_radius
    profile = np.array([(radius, -height / 2), (top, height / 2)], np.float32)
    return move(revolve(profile, segments, closed=caps), centre)


def ellipsoid(
    radii: tuple[float, float, float],
    centre: tuple[float, float, float] = (0, 0, 0),
    segments: int = 14,
    bottom_fraction: float = 0.0,
    top_fraction: float = 1.0,
) -> Triangles:
    """An ellipsoid, or the part of it between two fractions of its height."""
    low, high = np.arccos(np.clip(1 - 2 * np.array([bottom_fraction, top_fraction]), -1, 1))
    angle = np.linspace(low, high, max(4, segments // 2 + 1))
    profile = np.stack([np.sin(angle), -np.cos(angle)], -1)
    return scale(revolve(profile, segments), radii) + np.asarray(centre, np.float32)


def extrude(polygon: np.ndarray, depth: float, centre_z: float = 0.0) -> Triangles:
    """A prism over a simple polygon in the xy plane, convex or not."""
    outline = np.asarray(polygon, np.float32)
    faces = _ear_clip(outline)
    front = np.c_[outline, np.full(len(outline), centre_z + depth / 2)].astype(np.float32)
    back = front - np.array([0, 0, depth], np.float32)
    following = np.roll(np.arange(len(outline)), -1)
    sides = np.concatenate(
        [
            np.stack([back, back[following], front[following]], 1),
            np.stack([back, front[following], front], 1),
        ]
    )
    return join(front[faces], back[faces], sides)


def _ear_clip(outline: np.ndarray) -> np.ndarray:
    points = outline.tolist()
    left = list(range(len(points)))
    area = sum(points[i - 1][0] * points[i][1] - points[i][0] * points[i - 1][1] for i in left)
    if area < 0:
        left.reverse()
    faces = []

    def turn(a: list[float], b: list[float], c: list[float]) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    while len(left) > 3:
        for position in range(len(left)):
            i, j, k = left[position - 1], left[position], left[(position + 1) % len(left)]
            a, b, c = points[i], points[j], points[k]
            if turn(a, b, c) <= 0:
                continue
            if not any(
                turn(a, b, points[m]) >= 0 and turn(b, c, points[m]) >= 0 and turn(c, a, points[m]) >= 0
                for m in left
                if m not in (i, j, k)
            ):
                faces.append((i, j, k))
                del left[position]
                break
        else:  # flat or touching itself: what is left is closed as it is
            faces.extend((left[0], left[m], left[m + 1]) for m in range(1, len(left) - 1))
            return np.array(faces)
    faces.append(tuple(left))
    return np.array(faces)


def tube(path: np.ndarray, radius: float | np.ndarray, segments: int = 8) -> Triangles:
    """A round tube along ``path`` [n, 3], open at both ends, of one radius or one a point."""
    path = np.asarray(path, np.float32)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    # A direction that no part of the path follows serves as reference for all rings.
    reference = np.eye(3, dtype=np.float32)[np.abs(tangent).max(0).argmin()]
    side = np.cross(tangent, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    up = np.cross(side, tangent)
    circle = _circle(segments)
    radii = np.broadcast_to(np.asarray(radius, np.float32), (len(path),))[:, None, None]
    rings = path[:, None] + radii * (circle[None, :, :1] * side[:, None] + circle[None, :, 1:] * up[:, None])
    return rings.reshape(-1, 3)[_grid_faces(len(path), segments, True)].astype(np.float32)


def sheet(corners: np.ndarray, thickness: float = 0.0) -> Triangles:
    """A flat or bent quadrilateral over four corners [4, 3] in order; with a thickness, a slab."""
    corners = np.asarray(corners, np.float32)
    face = corners[[[0, 1, 2], [0, 2, 3]]]
    if thickness == 0:
        return face
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    offset = normal / (np.linalg.norm(normal) + 1e-9) * (thickness / 2)
    top, bottom = corners + offset, corners - offset
    following = [1, 2, 3, 0]
    sides = np.concatenate(
        [
            np.stack([bottom, bottom[following], top[following]], 1),
            np.stack([bottom, top[following], top], 1),
        ]
    )
    return join(face + offset, face - offset, sides).astype(np.float32)


def torus(
    major: float,
    minor: float,
    centre: tuple[float, float, float] = (0, 0, 0),
    axis: str = "y",
    segments: int = 18,
) -> Triangles:
    """A ring of tube radius ``minor`` about ``axis``."""
    circle = _circle(10)
    profile = np.stack([major + minor * circle[:, 0], minor * circle[:, 1]], -1)
    ring = revolve(np.concatenate([profile, profile[:1]]), segments)
    if axis == "x":
        ring = rotate(ring, "z", np.pi / 2)
    elif axis == "z":
        ring = rotate(ring, "x", np.pi / 2)
    return move(ring, centre)


def rounded_box(
    size: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0), radius: float = 0.05
) -> Triangles:
    """A box whose edges are rounded in the plan and bevelled above and below."""
    w, h, d = size
    r = min(radius, 0.49 * min(size))
    circle = _circle(12)
    corner = np.sign(np.round(circle, 6) + 1e-9)

    def ring(inset: float, y: float) -> np.ndarray:
        plan = corner * np.array([w / 2 - r, d / 2 - r], np.float32) + circle * (r - inset)
        return np.stack([plan[:, 0], np.full(12, y), plan[:, 1]], -1)

    b = 0.3 * r
    rings = np.stack(
        [ring(r * 0.7, -h / 2), ring(0, -h / 2 + b + 0.4 * r), ring(0, h / 2 - b - 0.4 * r), ring(r * 0.7, h / 2)]
    ).astype(np.float32)
    side = rings.reshape(-1, 3)[_grid_faces(4, 12, True)]
    return move(join(side, _fan(rings[0]), _fan(rings[-1])), centre)


def frame(
    width: float, height: float, thickness: float, depth: float, centre: tuple[float, float, float] = (0, 0, 0)
) -> Triangles:
    """Four bars about an opening, in the xy plane."""
    across = (width - thickness) / 2
    up = (height - thickness) / 2
    return move(
        join(
            box((thickness, height, depth), (-across, 0, 0)),
            box((thickness, height, depth), (across, 0, 0)),
            box((width - 2 * thickness, thickness, depth), (0, up, 0)),
            box((width - 2 * thickness, thickness, depth), (0, -up, 0)),
        ),
        centre,
    )


def rotate(
    triangles: Triangles, axis: str, angle_rad: float, about: tuple[float, float, float] = (0, 0, 0)
) -> Triangles:
    """Turn by the right-hand rule about an axis through ``about``."""
    i, j = [k for k in range(3) if k != _AXES[axis]]
    if axis == "y":
        i, j = j, i
    turn = np.eye(3, dtype=np.float32)
    turn[i, i] = turn[j, j] = np.cos(angle_rad)
    turn[j, i], turn[i, j] = np.sin(angle_rad), -np.sin(angle_rad)
    pivot = np.asarray(about, np.float32)
    return (triangles - pivot) @ turn.T + pivot


def move(triangles: Triangles, offset: tuple[float, float, float] | np.ndarray) -> Triangles:
    """Shift by ``offset``."""
    return triangles + np.asarray(offset, np.float32)


def scale(triangles: Triangles, factors: float | tuple[float, float, float]) -> Triangles:
    """Stretch about the origin."""
    return triangles * np.asarray(factors, np.float32)


def mirror(triangles: Triangles, axis: str) -> Triangles:
    """Reflect in the plane through the origin that ``axis`` is normal to."""
    factors = np.ones(3, np.float32)
    factors[_AXES[axis]] = -1
    return triangles * factors


def join(*parts: Triangles) -> Triangles:
    """All parts as one shape."""
    return np.concatenate(parts).astype(np.float32, copy=False)


def sample_surface(
    triangles: Triangles, count: int, generator: np.random.Generator, pattern: Pattern = "uniform"
) -> np.ndarray:
    """Points on the surface, ``[count, 3]`` float32.

    Args:
        triangles: ``[T, 3, 3]``.
        count: number of points.
        generator: source of randomness.
        pattern: ``"uniform"`` independent by area; ``"even"`` spread evenly over the area; ``"clustered"`` with a
            density that varies from triangle to triangle; ``"mixed"`` one of these at random.
    """
    if pattern == "mixed":
        pattern = ("uniform", "even", "clustered")[generator.choice(3, p=(0.45, 0.35, 0.2))]
    edges = triangles[:, 1:] - triangles[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1).astype(np.float64) + 1e-12
    if pattern == "clustered":
        area *= np.exp(generator.normal(0, 0.7, len(area)))
    bounds = np.cumsum(area)
    if pattern == "even":
        # One point a stratum of area, and a low-discrepancy sequence within the triangle.
        place = (np.arange(count) + generator.random(count)) / count
        u = (np.arange(count) * 0.7548776662 + generator.random()) % 1
        v = (np.arange(count) * 0.5698402910 + generator.random()) % 1
    else:
        place, u, v = generator.random((3, count))
    chosen = np.minimum(np.searchsorted(bounds, place * bounds[-1], side="right"), len(triangles) - 1)
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u)[:, None], np.where(outside, 1 - v, v)[:, None]
    first, one, two = triangles[chosen, 0], edges[chosen, 0], edges[chosen, 1]
    return (first + u * one + v * two).astype(np.float32)
