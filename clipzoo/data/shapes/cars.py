"""Cars and lorries: front towards +z, metres."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, pick, uniform
from clipzoo.data.shapes.forms import loft, mirrored, slices, spin, wheel
from clipzoo.data.shapes.primitives import box, join, move, rounded_box, sheet

# Roof lines from rear to front: (place along the length, share of the height), and what goes with them.
_CARS = {
    "sedan": (
        [
            (0, 0.36),
            (0.02, 0.64),
            (0.15, 0.68),
            (0.3, 0.97),
            (0.42, 1.0),
            (0.55, 0.98),
            (0.71, 0.66),
            (0.95, 0.52),
            (1.0, 0.3),
        ],
        (4.4, 5.0),
        (1.72, 1.86),
        (1.38, 1.5),
        0.64,
    ),
    "hatchback": (
        [
            (0, 0.36),
            (0.02, 0.66),
            (0.1, 0.92),
            (0.2, 0.99),
            (0.5, 1.0),
            (0.74, 0.64),
            (0.96, 0.52),
            (1.0, 0.28),
        ],
        (3.6, 4.2),
        (1.62, 1.8),
        (1.42, 1.56),
        0.62,
    ),
    "estate": (
        [
            (0, 0.34),
            (0.02, 0.62),
            (0.07, 0.94),
            (0.14, 1.0),
            (0.55, 0.99),
            (0.71, 0.66),
            (0.95, 0.54),
            (1.0, 0.28),
        ],
        (4.4, 4.9),
        (1.72, 1.86),
        (1.42, 1.55),
        0.63,
    ),
    "suv": (
        [
            (0, 0.36),
            (0.015, 0.62),
            (0.05, 0.95),
            (0.1, 1.0),
            (0.55, 1.0),
            (0.69, 0.66),
            (0.96, 0.58),
            (1.0, 0.3),
        ],
        (4.2, 5.0),
        (1.78, 2.0),
        (1.65, 1.95),
        0.62,
    ),
    "jeep": (
        [
            (0, 0.36),
            (0.01, 0.6),
            (0.02, 0.98),
            (0.05, 1.0),
            (0.58, 1.0),
            (0.62, 0.62),
            (0.98, 0.58),
            (1.0, 0.34),
        ],
        (3.6, 4.4),
        (1.6, 1.9),
        (1.75, 1.95),
        0.6,
    ),
    "sports": (
        [
            (0, 0.46),
            (0.02, 0.72),
            (0.14, 0.78),
            (0.34, 0.98),
            (0.44, 1.0),
            (0.52, 0.97),
            (0.68, 0.66),
            (0.94, 0.42),
            (1.0, 0.22),
        ],
        (4.1, 4.7),
        (1.8, 2.0),
        (1.08, 1.3),
        0.66,
    ),
    "coupe": (
        [
            (0, 0.4),
            (0.02, 0.66),
            (0.1, 0.7),
            (0.32, 0.98),
            (0.42, 1.0),
            (0.5, 0.97),
            (0.65, 0.68),
            (0.96, 0.56),
            (1.0, 0.3),
        ],
        (4.4, 5.1),
        (1.75, 1.95),
        (1.28, 1.42),
        0.66,
    ),
    "van": (
        [
            (0, 0.3),
            (0.01, 0.5),
            (0.02, 0.97),
            (0.05, 1.0),
            (0.72, 1.0),
            (0.88, 0.58),
            (0.97, 0.46),
            (1.0, 0.24),
        ],
        (4.5, 5.6),
        (1.8, 2.05),
        (1.8, 2.4),
        0.55,
    ),
    "bus": (
        [(0, 0.2), (0.005, 0.5), (0.01, 0.97), (0.03, 1.0), (0.95, 1.0), (0.98, 0.9), (1.0, 0.4)],
        (7.0, 11.0),
        (2.2, 2.6),
        (2.6, 3.2),
        0.5,
    ),
    "pickup": (
        [
            (0, 0.32),
            (0.005, 0.4),
            (0.35, 0.4),
            (0.355, 0.6),
            (0.37, 0.97),
            (0.42, 1.0),
            (0.58, 1.0),
            (0.7, 0.64),
            (0.97, 0.57),
            (1.0, 0.32),
        ],
        (4.9, 5.7),
        (1.8, 2.05),
        (1.65, 1.95),
        0.6,
    ),
    "roadster": (
        [
            (0, 0.46),
            (0.02, 0.76),
            (0.27, 0.82),
            (0.3, 0.55),
            (0.56, 0.55),
            (0.6, 0.84),
            (0.96, 0.6),
            (1.0, 0.34),
        ],
        (3.9, 4.6),
        (1.7, 1.9),
        (0.95, 1.1),
        0.84,
    ),
    "vintage": (
        [
            (0, 0.3),
            (0.06, 0.6),
            (0.14, 0.9),
            (0.2, 0.99),
            (0.5, 1.0),
            (0.53, 0.96),
            (0.57, 0.6),
            (0.62, 0.58),
            (0.97, 0.54),
            (1.0, 0.34),
        ],
        (3.8, 4.6),
        (1.3, 1.55),
        (1.6, 1.85),
        0.6,
    ),
}
_CAR_WEIGHTS = (
    ("sedan", 0.24),
    ("hatchback", 0.11),
    ("estate", 0.05),
    ("suv", 0.13),
    ("jeep", 0.05),
    ("sports", 0.14),
    ("coupe", 0.1),
    ("van", 0.05),
    ("bus", 0.02),
    ("pickup", 0.06),
    ("roadster", 0.05),
    ("vintage", 0.04),
)


_CAR_STATIONS = np.linspace(0.02, 0.98, 7)


def _car_body(
    rng: Generator, roof: np.ndarray, size: tuple, belt: float, clearance: float, wheels: tuple
) -> np.ndarray:
    """Loft from rear to front; the underside rises over the wheels to leave arches."""
    length, width, height = size
    radius, axles = wheels
    reach = radius * 1.2 / length
    arch = np.concatenate([axle + reach * np.array([-1.0, -0.98, -0.5, 0.5, 0.98, 1.0]) for axle in axles])
    place = np.sort(np.concatenate([roof[:, 0], arch, _CAR_STATIONS]))
    place = np.minimum(np.maximum(place, 0), 1)
    top = np.interp(place, roof[:, 0], roof[:, 1]) * height
    bottom = np.full(len(place), clearance) + np.where((place < 0.02) | (place > 0.98), 0.08, 0.0)
    inside = np.min(np.abs(place[:, None] - np.asarray(axles)), 1)
    bottom = np.where(inside < reach * 0.99, np.maximum(bottom, radius * uniform(rng, 1.5, 1.9)), bottom)
    bottom = np.minimum(bottom, top - 0.05)
    round_end = uniform(rng, 0.03, 0.16)
    half = 0.5 * width * (1 - round_end * (np.abs(place - 0.5) * 2) ** 4)
    side = np.minimum(top, belt * height)
    glass = np.minimum((top - side) / ((1 - belt) * height), 1.2)
    narrow = half * (0.94 - uniform(rng, 0.06, 0.26) * glass)
    middle = 0.5 * (bottom + side)
    z = (place - 0.5) * length
    rings = np.empty((len(place), 8, 3), np.float32)
    for k, (x, y) in enumerate(((half * 0.94, bottom), (half, middle), (half * 0.97, side), (narrow, top))):
        rings[:, k, 0], rings[:, 7 - k, 0] = -x, x
        rings[:, k, 1] = rings[:, 7 - k, 1] = y
    rings[..., 2] = z[:, None]
    return loft(rings)


def _truck(rng: Generator) -> np.ndarray:
    length, width = uniform(rng, 5.5, 9.0), uniform(rng, 2.0, 2.5)
    cab, tall = uniform(rng, 1.6, 2.2), uniform(rng, 1.5, 2.0)
    radius, floor = uniform(rng, 0.42, 0.52), uniform(rng, 0.75, 1.0)
    front = length / 2
    cab_body = slices(
        [floor - 0.3, floor + tall * 0.45, floor + tall],
        -width / 2 * np.array([1, 1, 0.9]),
        width / 2 * np.array([1, 1, 0.9]),
        [front, front, front - uniform(rng, 0.1, 0.6)],
        front - cab,
    )
    long = length - cab - uniform(rng, 0.05, 0.3)
    load = uniform(rng, 1.0, 2.6)
    body = box((width, load, long), (0, floor + load / 2, -front + long / 2))
    beams = mirrored(box((0.12, 0.2, length * 0.95), (0.4, floor - 0.15, 0)))
    axles = [front - cab * 0.6, -front + uniform(rng, 0.9, 1.6)]
    if chance(rng, 0.4):
        axles.append(axles[1] + radius * 2.3)
    tyres = [mirrored(wheel(radius, 0.3, (width / 2 - 0.17, radius, z))) for z in axles]
    return join(cab_body, body, beams, *tyres)


def car(rng: Generator) -> np.ndarray:
    """Triangles of a road car on separate wheels: sedans, SUVs, sports cars, vans, pick-ups, lorries.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, front towards +z.
    """
    if chance(rng, 0.03):
        return _truck(rng)
    kind = str(pick(rng, _CAR_WEIGHTS))
    line, lengths, widths, heights, belt = _CARS[kind]
    roof = np.array(line, float)
    roof[1:-1, 0] += (rng.random(len(line) - 2) - 0.5) * 0.012
    roof[:, 1] *= 1 + (rng.random(len(line)) - 0.5) * 0.06
    roof[:, 0] = np.sort(roof[:, 0])
    length, width, height = uniform(rng, *lengths), uniform(rng, *widths), uniform(rng, *heights)
    radius = height * uniform(rng, 0.2, 0.245) if height < 1.6 else uniform(rng, 0.34, 0.43)
    clearance = radius * uniform(rng, 0.45, 0.85)
    axles = (uniform(rng, 0.17, 0.23), uniform(rng, 0.78, 0.84))
    parts = [_car_body(rng, roof, (length, width, height), belt, clearance, (radius, axles))]
    tread = uniform(rng, 0.18, 0.27)
    wheels = mirrored(wheel(radius, tread, (width / 2 - tread * uniform(rng, 0.45, 0.62), radius, 0)))
    parts += [move(wheels, (0, 0, (axle - 0.5) * length)) for axle in axles]
    if chance(rng, 0.6):
        at = (width / 2 + 0.05, height * belt + 0.06, length * 0.17)
        parts.append(mirrored(box((uniform(rng, 0.12, 0.22), 0.12, 0.08), at)))
    if chance(rng, 0.4):
        for end in (-1, 1):
            parts.append(rounded_box((width * 0.94, 0.16, 0.16), (0, clearance + 0.22, end * length / 2), 0.05))
    if kind in ("sports", "coupe") and chance(rng, 0.4):
        high = height * uniform(rng, 0.8, 0.98)
        parts.append(box((width * 0.85, 0.04, 0.25), (0, high, -length * 0.46)))
        parts.append(
            mirrored(
                box(
                    (0.05, high - height * 0.65, 0.12),
                    (width * 0.33, (high + height * 0.65) / 2, -length * 0.46),
                )
            )
        )
    if kind == "pickup":
        rail, floor = height * 0.6, height * 0.39
        wall = (0.08, rail - floor, length * 0.36)
        parts.append(mirrored(box(wall, (width / 2 * 0.93, (rail + floor) / 2, -length * 0.32))))
        parts.append(box((width * 0.9, rail - floor, 0.06), (0, (rail + floor) / 2, -length * 0.495)))
    if kind in ("roadster", "vintage", "jeep") and chance(rng, 0.7):
        parts.append(mirrored(box((width * 0.3, height * 0.35, 0.15), (width * 0.2, height * 0.68, -length * 0.12))))
    if kind == "roadster":
        glass = height * uniform(rng, 1.1, 1.3)
        parts.append(
            sheet(
                np.array(
                    [
                        (-width * 0.4, height * 0.82, length * 0.1),
                        (width * 0.4, height * 0.82, length * 0.1),
                        (width * 0.34, glass, 0),
                        (-width * 0.34, glass, 0),
                    ],
                    np.float32,
                ),
                0.03,
            )
        )
    if kind == "vintage":
        for axle in axles:
            guard = rounded_box(
                (0.25, 0.12, radius * 2.6), (width / 2 + 0.08, radius * 2.05, (axle - 0.5) * length), 0.04
            )
            parts.append(mirrored(guard))
    if kind in ("suv", "estate", "jeep") and chance(rng, 0.4):
        parts.append(mirrored(box((0.05, 0.05, length * 0.4), (width * 0.33, height + 0.05, -length * 0.12))))
    if kind == "jeep" and chance(rng, 0.5):
        parts.append(spin([(0, 0), (radius, 0), (radius, -0.22), (0, -0.22)], "z", (0, height * 0.5, -length / 2)))
    return join(*parts)
