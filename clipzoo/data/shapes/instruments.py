"""Instruments: guitar and piano."""

from __future__ import annotations

import numpy as np

from clipzoo.data.shapes.appliances import tiles
from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import curve, mirrored, rod, slices, spin, turned
from clipzoo.data.shapes.primitives import box, join, move, rotate


def _guitar_body(rng: Generator, electric: str) -> np.ndarray:
    """The body with its face to +z, from y = 0 to about 1."""
    thick = uniform(rng, 0.08, 0.14) if electric else uniform(rng, 0.2, 0.3)
    if electric == "vee":
        wing = slices([-0.45, 0, 0.75], [-0.6, -0.35, -0.16], [-0.42, 0.02, 0.16], thick / 2, -thick / 2)
        return mirrored(move(wing, (0, 0.25, 0)))
    lower, upper, waist = uniform(rng, 0.36, 0.44), uniform(rng, 0.26, 0.33), uniform(rng, 0.2, 0.29)
    if electric:
        lower, upper, waist = lower * 0.95, upper * 1.0, waist * 1.05
    half = curve(
        [
            (0.02, 0),
            (lower * 0.75, 0.05),
            (lower, 0.27),
            (waist, 0.57),
            (upper, 0.82),
            (upper * 0.65, 0.97),
            (0.04, 1.0),
        ],
        22,
    )
    half[:, 0] = np.maximum(half[:, 0], 0.02)
    left, right = -half[:, 0].copy(), half[:, 0].copy()
    y = half[:, 1]
    parts = []
    if electric:
        cut = uniform(rng, 0.08, 0.16)
        right = np.where(y > 0.85, np.minimum(right, cut), right)
        if electric == "double":
            left = np.where(y > 0.85, np.maximum(left, -cut), left)
            for side, tall in ((-1, uniform(rng, 0.05, 0.25)), (1, uniform(rng, 0.0, 0.15))):
                horn = slices(
                    [0.75, 0.85, 0.95 + tall],
                    side * np.array([0.1, 0.13, 0.2]) - 0.05,
                    side * np.array([0.18, 0.2, 0.21]) + 0.05,
                    thick / 2,
                    -thick / 2,
                )
                parts.append(horn)
    elif chance(rng, 0.25):
        right = np.where((y > 0.72) & (y < 1), np.minimum(right, 0.12), right)
    parts.append(slices(y, left, right, thick / 2, -thick / 2))
    return join(*parts)


def guitar(rng: Generator) -> np.ndarray:
    """Triangles of a guitar: acoustic, single and double cut electrics, flying V; upright or lying.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    electric = str(pick(rng, (("", 0.4), ("double", 0.33), ("single", 0.17), ("vee", 0.1))))
    body = _guitar_body(rng, electric)
    face = float(body[..., 2].max())
    top = float(body[..., 1].max()) if electric != "double" else 0.92
    long = uniform(rng, 0.65, 1.2)
    width = uniform(rng, 0.085, 0.12)
    parts = [body, box((width, long + 0.2, 0.05), (0, top + long / 2 - 0.1, face - 0.005))]
    if electric == "" or chance(rng, 0.5):
        parts.append(box((width, 0.25, 0.02), (0, top - 0.2, face + 0.01)))
    head = uniform(rng, 0.24, 0.38)
    slant = uniform(rng, 0.0, 0.28)
    end = top + long
    wide = width * uniform(rng, 1.2, 1.9)
    lean = uniform(rng, -0.06, 0.1) if electric else 0.0
    plate = slices(
        [0, head * 0.3, head],
        np.array([-width / 2, -wide / 2, -wide / 2 * 0.9 + lean]),
        np.array([width / 2, wide / 2, wide / 2 + lean]),
        0.02,
        -0.02,
    )
    parts.append(move(rotate(plate, "x", -slant), (0, end, face - 0.01)))
    one_sided = electric and chance(rng, 0.5)
    for k in range(3 if not one_sided else 6):
        y = head * (0.3 + 0.55 * k / (2 if not one_sided else 5))
        for side in (-1, 1) if not one_sided else (-1,):
            parts.append(box((0.06, 0.025, 0.02), (side * (wide / 2 + 0.02), end + y, face - 0.01 - y * np.sin(slant))))
    bridge = uniform(rng, 0.2, 0.32) + (0.1 if electric == "vee" else 0)
    parts.append(box((uniform(rng, 0.16, 0.28), 0.05, 0.03), (0, bridge, face + 0.01)))
    if electric:
        for k in range(integer(rng, 2, 3)):
            parts.append(box((0.2, 0.06, 0.025), (0, bridge + 0.12 * (k + 1), face + 0.01)))
        for k in range(integer(rng, 2, 4)):
            parts.append(spin([(0.025, 0), (0.025, 0.04), (0, 0.04)], "z", (0.17 + 0.03 * k, 0.3 - 0.08 * k, face), 8))
        if chance(rng, 0.3):
            parts.append(rod((0.08, bridge, face + 0.03), (0.18, bridge + 0.25, face + 0.06), 0.01, 4))
    elif chance(rng, 0.7):
        parts.append(spin([(0.13, 0), (0.13, 0.012), (0.105, 0.012), (0.1, -0.03)], "z", (0, top * 0.68, face), 14))
    whole = join(*parts)
    pose = pick(rng, (("flat", 0.4), ("side", 0.2), ("upright", 0.4)))
    if pose == "upright":
        return rotate(whole, "x", -uniform(rng, 0.0, 0.3)) if chance(rng, 0.15) else whole
    lying = rotate(whole, "x", -np.pi / 2)
    return rotate(lying, "y", np.pi / 2 if pose == "side" else 0.0) if pose == "side" else lying


def _piano_keys(width: float, y: float, z: float, depth: float) -> np.ndarray:
    """White keys as one ledge, black keys as blocks."""
    count = 24
    x = (np.arange(count) - (count - 1) / 2) * width / count
    black = np.arange(count) % 7
    dark = x[(black != 2) & (black != 6)] + width / count / 2
    return join(
        box((width, 0.03, depth), (0, y, z)),
        tiles(dark, np.full(len(dark), z - depth * 0.18), width / count * 0.5, depth * 0.6, y + 0.015, 0.02, 0.9),
    )


def _upright_piano(rng: Generator) -> np.ndarray:
    w, h, d = 1.5, uniform(rng, 1.05, 1.4), uniform(rng, 0.28, 0.42)
    shelf, reach = uniform(rng, 0.6, 0.72), uniform(rng, 0.22, 0.35)
    parts = [box((w, h, d), (0, h / 2, -reach / 2)), box((w * 1.02, 0.04, d * 1.1), (0, h, -reach / 2))]
    front = d / 2 - reach / 2
    parts.append(box((w, uniform(rng, 0.06, 0.14), reach), (0, shelf - 0.05, front + reach / 2)))
    parts.append(_piano_keys(w * 0.9, shelf + 0.02, front + reach * 0.6, reach * 0.6))
    parts.append(mirrored(box((0.06, 0.2, reach), (w / 2 - 0.03, shelf + 0.05, front + reach / 2))))
    if chance(rng, 0.7):
        parts.append(mirrored(box((0.07, shelf, 0.08), (w / 2 - 0.05, shelf / 2, front + reach - 0.06))))
        parts.append(mirrored(box((0.09, 0.07, reach), (w / 2 - 0.05, 0.035, front + reach / 2))))
    if chance(rng, 0.5):
        parts.append(
            rotate(
                box((w * 0.5, 0.25, 0.02), (0, shelf + 0.25, front + 0.04)),
                "x",
                -0.2,
                (0, shelf + 0.15, front + 0.04),
            )
        )
    for k in range(integer(rng, 0, 3)):
        parts.append(box((0.03, 0.02, 0.1), ((k - 1) * 0.1, 0.08, front + 0.05)))
    return join(*parts)


def _grand_piano(rng: Generator) -> np.ndarray:
    w, long = 1.5, uniform(rng, 1.5, 2.6)
    high, deep = uniform(rng, 0.62, 0.72), uniform(rng, 0.25, 0.35)
    z = np.linspace(0, 1, 18)
    bend = uniform(rng, 0.42, 0.55)
    right = w * np.interp(
        z, [0, 0.25, 0.45, 0.7, 0.9, 0.97, 1.0], [1, 1, 0.86, bend + 0.05, bend, bend * 0.75, bend * 0.4]
    )
    left, right = np.full(18, -w / 2), right - w / 2
    left[-2:] += w * np.array([0.04, 0.12])
    depth_of = z * long

    def slab(base: float, thick: float) -> np.ndarray:
        rings = slices(depth_of, left, right, base + thick, base)
        return rings[..., [0, 2, 1]] * np.array([1, 1, -1], np.float32) + np.array([0, 0, long * 0.5], np.float32)

    parts = [slab(high, deep)]
    if chance(rng, 0.6):
        lid = slab(0, 0.03) + np.array([w / 2, 0, 0], np.float32)
        lid = rotate(lid, "z", uniform(rng, 0.35, 0.75)) - np.array([w / 2, -(high + deep), 0], np.float32)
        parts += [
            lid,
            rod((w * 0.35, high + deep, long * 0.2), (w * 0.25, high + deep + w * 0.33, long * 0.2), 0.02, 4),
        ]
    front = long * 0.5
    ledge = uniform(rng, 0.2, 0.3)
    parts.append(box((w, 0.1, ledge), (0, high + 0.06, front + ledge / 2)))
    parts.append(_piano_keys(w * 0.9, high + 0.13, front + ledge * 0.55, ledge * 0.7))
    parts.append(mirrored(box((0.07, deep * 0.7, ledge), (w / 2 - 0.035, high + deep * 0.35, front + ledge / 2))))
    thick = uniform(rng, 0.04, 0.08)
    for x, at in ((-w * 0.43, front - 0.1), (w * 0.43, front - 0.1), (-w * 0.2, -front + long * 0.18)):
        parts.append(
            turned([(thick * 0.6, 0), (thick * 0.5, 0.1), (thick, high * 0.7), (thick * 1.2, high)])
            + np.array([x, 0, at], np.float32)
        )
    if chance(rng, 0.6):
        parts += [
            box((0.25, 0.05, 0.12), (0, 0.1, front - 0.2)),
            mirrored(rod((0.08, 0.1, front - 0.22), (0.08, high, front - 0.25), 0.02, 4)),
        ]
    if chance(rng, 0.5):
        parts.append(box((w * 0.45, 0.28, 0.03), (0, high + deep + 0.14, front - 0.1)))
    return join(*parts)


def piano(rng: Generator) -> np.ndarray:
    """Triangles of a piano: uprights, grands with the lid open or shut, stage pianos; some with a bench.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, the keys towards +z.
    """
    kind = pick(rng, (("upright", 0.45), ("grand", 0.47), ("stage", 0.08)))
    if kind == "stage":
        high = uniform(rng, 0.6, 0.8)
        parts = [box((1.4, 0.14, 0.4), (0, high, 0)), _piano_keys(1.25, high + 0.08, 0.1, 0.18)]
        parts.append(mirrored(box((0.05, high, 0.4), (0.6, high / 2, 0))))
        parts.append(box((1.2, 0.1, 0.03), (0, high * 0.35, -0.1)))
        whole = join(*parts)
    else:
        whole = _upright_piano(rng) if kind == "upright" else _grand_piano(rng)
    if chance(rng, 0.28):
        front, high = float(whole[..., 2].max()), uniform(rng, 0.42, 0.52)
        z = front + uniform(rng, 0.05, 0.4)
        seat = box((uniform(rng, 0.4, 0.9), 0.1, 0.35), (0, high, z))
        legs = [box((0.05, high, 0.05), (x * 0.18, high / 2, z + s * 0.13)) for x in (-1, 1) for s in (-1, 1)]
        whole = join(whole, seat, *legs)
    return whole
