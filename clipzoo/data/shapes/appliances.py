"""Boxes with faces: glass box, keyboard, laptop, radio, xbox, range hood, sink."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, integer, pick, uniform
from clipzoo.data.shapes.forms import (
    cross_section,
    curve,
    ellipsoid,
    loft,
    loft_index,
    mirrored,
    rod,
    slices,
    spin,
    turned,
    wall_profile,
)
from clipzoo.data.shapes.primitives import box, cylinder, join, move, rotate, rounded_box, sheet, tube


def box_shell(size: Sequence, wall: float, floor: float) -> np.ndarray:
    """A box without a lid, its base at y = 0: outside, rim, inside and a floor at height `floor`."""
    w, h, d = (value / 2 for value in size)
    corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32)
    steps = ((0.0, 0.0), (0.0, 2 * h), (wall, 2 * h), (wall, floor))
    rings = [np.stack([corner[:, 0] * (w - inset), np.full(4, y), corner[:, 1] * (d - inset)], 1) for inset, y in steps]
    return loft(np.stack(rings))


def glass_box(rng: Generator) -> np.ndarray:
    """Triangles of a glass box: tanks, display cases, framed or lidded boxes, cases on a plinth.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    flat = pick(rng, (("cube", 0.3), ("wide", 0.3), ("tall", 0.25), ("flat", 0.15)))
    w, d = uniform(rng, 0.7, 1.0), uniform(rng, 0.5, 1.0)
    h = {
        "cube": uniform(rng, 0.7, 1.0),
        "wide": uniform(rng, 0.4, 0.7),
        "tall": uniform(rng, 1.1, 2.0),
        "flat": uniform(rng, 0.12, 0.35),
    }[str(flat)]
    if flat == "wide":
        w *= uniform(rng, 1.2, 2.0)
    kind = pick(
        rng,
        (("plain", 0.22), ("tank", 0.26), ("double", 0.14), ("framed", 0.16), ("plinth", 0.12), ("lid", 0.1)),
    )
    wall = uniform(rng, 0.01, 0.05)
    if kind == "plain":
        return box((w, h, d), (0, h / 2, 0))
    if kind == "tank":
        return box_shell((w, h, d), wall, wall)
    if kind == "double":
        return join(box((w, h, d), (0, h / 2, 0)), box((w - 2 * wall, h - 2 * wall, d - 2 * wall), (0, h / 2, 0)))
    if kind == "lid":
        lid = uniform(rng, 0.03, 0.1)
        parts = [box_shell((w, h, d), wall, wall), box((w * 1.04, lid, d * 1.04), (0, h + lid / 2, 0))]
        if chance(rng, 0.4):
            parts.append(ellipsoid((0.05, 0.05, 0.05), (0, h + lid + 0.04, 0)))
        return join(*parts)
    if kind == "plinth":
        base = uniform(rng, 0.1, 0.9) * h
        parts = [box((w * 1.03, base, d * 1.03), (0, -base / 2, 0)), box((w, h, d), (0, h / 2, 0))]
        if chance(rng, 0.4):
            parts.append(box((w * 1.03, 0.05, d * 1.03), (0, h, 0)))
        return join(*parts)
    bar = uniform(rng, 0.025, 0.06)
    parts = [box((bar, h, bar), (x * w / 2, h / 2, z * d / 2)) for x in (-1, 1) for z in (-1, 1)]
    parts += [box((w + bar, bar, bar), (0, y, z * d / 2)) for y in (0, h) for z in (-1, 1)]
    parts += [box((bar, bar, d), (x * w / 2, y, 0)) for y in (0, h) for x in (-1, 1)]
    if chance(rng, 0.8):
        parts.append(box((w, h, d), (0, h / 2, 0)))
    for k in range(integer(rng, 1, 3) if chance(rng, 0.35) else 0):
        parts.append(box((w, 0.015, d), (0, h * (k + 1) / 4, 0)))
    return join(*parts)


def tiles(
    x: np.ndarray,
    z: np.ndarray,
    width: np.ndarray | float,
    depth: float,
    y: float,
    height: float,
    taper: float = 0.85,
) -> np.ndarray:
    """Key caps: many tapered blocks without a floor at (x, z), ``[n, 10, 3, 3]`` flattened."""
    count = len(x)
    corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32)
    half = np.stack([np.broadcast_to(np.asarray(width) / 2, count), np.full(count, depth / 2)], 1)
    low = np.empty((count, 4, 3), np.float32)
    low[..., 0] = x[:, None] + corner[:, 0] * half[:, :1]
    low[..., 1] = y
    low[..., 2] = z[:, None] + corner[:, 1] * half[:, 1:]
    high = low.copy()
    high[..., 0] = x[:, None] + corner[:, 0] * half[:, :1] * taper
    high[..., 1] = y + height
    high[..., 2] = z[:, None] + corner[:, 1] * half[:, 1:] * taper
    both = np.concatenate([low, high], 1)
    index = np.concatenate([loft_index(2, 4, True), [[4, 5, 6], [4, 6, 7]]])
    return both[:, index].reshape(-1, 3, 3)


def _key_rows(
    rng: Generator,
    width: float,
    depth: float,
    y: float,
    rows: int,
    height: float,
    pad: bool,
    centre: Sequence = (0.0, 0.0),
) -> np.ndarray:
    """Rows of keys with a space bar in the first, and a block of digits at the right where `pad` is set."""
    pitch = depth / rows
    main = width * (0.76 if pad else 1.0)
    per_row = max(6, int(main / pitch + 0.5))
    step = main / per_row
    x, z, wide = [], [], []
    for row in range(rows):
        at = depth / 2 - (row + 0.5) * pitch
        if row == 0:
            edge = np.concatenate([np.arange(3) + 0.5, [per_row / 2], per_row - 2.5 + np.arange(3)])
            sizes = np.array([1.0, 1, 1, max(per_row - 7, 1), 1, 1, 1])
        else:
            edge, sizes = np.arange(per_row) + 0.5, np.ones(per_row)
        x.append(-width / 2 + edge * step)
        wide.append(sizes * step * 0.86)
        z.append(np.full(len(edge), at))
    if pad:
        columns = width / 2 - (np.arange(4) + 0.5) * width * 0.05
        for row in range(max(rows - 1, 1)):
            x.append(columns)
            wide.append(np.full(4, width * 0.043))
            z.append(np.full(4, depth / 2 - (row + 0.5) * pitch))
    return tiles(
        np.concatenate(x) + centre[0],
        np.concatenate(z) + centre[1],
        np.concatenate(wide),
        pitch * 0.86,
        y,
        height,
    )


def keyboard(rng: Generator) -> np.ndarray:
    """Triangles of a computer keyboard: long or compact, flat or wedged, with feet, a palm rest or a split.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, flat, the long side along x.
    """
    pad = chance(rng, 0.75)
    depth = uniform(rng, 0.28, 0.44)
    width = uniform(rng, 0.95, 1.1) if pad else uniform(rng, 0.7, 0.95)
    front, back = uniform(rng, 0.015, 0.03), uniform(rng, 0.02, 0.07)
    rest = uniform(rng, 0.1, 0.2) if chance(rng, 0.2) else 0.0
    slant = np.arctan2(back - front, depth)
    edge = np.array([-depth / 2, depth / 2])
    body = rotate(
        slices([0, 0.6, 1.0], [-width / 2] * 3, [width / 2] * 3, depth / 2, -depth / 2)
        * np.array([1, front, 1], np.float32),
        "x",
        slant,
    )
    if chance(rng, 0.5):
        body = rounded_box((width, front, depth), (0, front / 2, 0), front * 0.45)
        body = rotate(body, "x", slant)
    parts = [body]
    rows = 6 if chance(rng, 0.65) else 5
    top_margin = depth * (uniform(rng, 0.1, 0.25) if chance(rng, 0.4) else 0.05)
    tall = uniform(rng, 0.008, 0.025)
    area = depth - top_margin - depth * 0.05
    keys = _key_rows(rng, width * 0.95, area, front, rows, tall, pad, (0, (top_margin - depth * 0.05) / 2))
    parts.append(rotate(keys, "x", slant))
    if rest:
        parts.append(slices([0, front * 0.8], [-width / 2] * 2, [width / 2] * 2, [depth / 2 + rest] * 2, edge[1]))
    if chance(rng, 0.3):
        parts.append(mirrored(box((0.05, 0.04, 0.03), (width * 0.4, -0.02, -depth * 0.45))))
    whole = join(*parts)
    if pad or chance(rng, 0.7):
        return whole
    half = rotate(whole * np.array([0.55, 1, 1], np.float32), "y", uniform(rng, 0.05, 0.25))
    return mirrored(move(half, (-0.03 - float(half[..., 0].max()), 0, 0)))


def laptop(rng: Generator) -> np.ndarray:
    """Triangles of an open laptop: the lid at 80 to 140 degrees, with or without keys and a touch pad.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the screen facing +z.
    """
    width = 1.0
    depth = width * uniform(rng, 0.62, 0.8)
    base, lid = uniform(rng, 0.02, 0.075), uniform(rng, 0.012, 0.045)
    opening = pick(rng, ((uniform(rng, 88, 94), 0.25), (uniform(rng, 95, 120), 0.55), (uniform(rng, 120, 140), 0.2)))
    soft = chance(rng, 0.4)
    block = (
        rounded_box((width, base, depth), (0, base / 2, 0), base * 0.4)
        if soft
        else box((width, base, depth), (0, base / 2, 0))
    )
    parts = [block]
    tall = depth * uniform(rng, 0.92, 1.02)
    screen = box((width, tall, lid), (0, tall / 2, 0))
    parts_lid = [screen]
    if chance(rng, 0.45):
        border = uniform(rng, 0.03, 0.07)
        parts_lid.append(box((width - 2 * border, tall - 2 * border, lid * 0.4), (0, tall / 2, lid * 0.4)))
    raised = join(*parts_lid)
    raised = rotate(raised, "x", -np.deg2rad(opening - 90))
    lift = base * uniform(rng, 0.4, 1.0)
    parts.append(move(raised, (0, lift, -depth / 2 + (lid / 2 if chance(rng, 0.7) else -lid / 2))))
    if chance(rng, 0.6):
        rows, high = integer(rng, 4, 6), uniform(rng, 0.004, 0.015)
        parts.append(
            _key_rows(
                rng,
                width * uniform(rng, 0.78, 0.94),
                depth * 0.45,
                base,
                rows,
                high,
                chance(rng, 0.15),
                (0, -depth * 0.15),
            )
        )
    if chance(rng, 0.5):
        parts.append(box((width * uniform(rng, 0.18, 0.3), 0.006, depth * 0.2), (0, base, depth * 0.3)))
    if chance(rng, 0.4):
        parts.append(spin([(0, -0.4), (base * 0.4, -0.4), (base * 0.4, 0.4), (0, 0.4)], "x", (0, base, -depth / 2), 8))
    return join(*parts)


def radio(rng: Generator) -> np.ndarray:
    """Triangles of a radio: table sets, portables with handle and aerial, boom boxes, handsets, old arches.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the dial facing +z.
    """
    kind = pick(rng, (("table", 0.34), ("portable", 0.26), ("boom", 0.2), ("handset", 0.08), ("arch", 0.12)))
    w, h, d = 1.0, uniform(rng, 0.45, 0.75), uniform(rng, 0.2, 0.45)
    if kind == "handset":
        w, h, d = uniform(rng, 0.35, 0.5), 1.0, uniform(rng, 0.15, 0.3)
    if kind == "boom":
        h, d = uniform(rng, 0.38, 0.55), uniform(rng, 0.2, 0.35)
    front = d / 2
    knob = uniform(rng, 0.03, 0.07)
    if kind == "arch":
        h = uniform(rng, 0.9, 1.3)
        y = np.array([0, 0.45, 0.65, 0.8, 0.9, 0.97, 1.0])
        half = np.where(y < 0.5, 1.0, np.sqrt(np.clip(1 - ((y - 0.5) / 0.52) ** 2, 0.02, 1))) * w / 2
        parts = [slices(y * h, -half, half, front, -front), box((w * 1.06, 0.06, d * 1.1), (0, 0.03, 0))]
    elif chance(rng, 0.55):
        parts = [box((w, h, d), (0, h / 2, 0))]
    else:
        parts = [rounded_box((w, h, d), (0, h / 2, 0), min(w, h, d) * uniform(rng, 0.1, 0.35))]
    sides = (-1, 1) if kind == "boom" or chance(rng, 0.25) else ((-1,) if chance(rng, 0.7) else (1,))
    for side in sides:
        radius = min(w, h) * (uniform(rng, 0.26, 0.38) if kind != "arch" else 0.28)
        at = (side * (w / 2 - radius - 0.04) if kind not in ("handset", "arch") else 0, h * 0.5, front)
        if kind == "handset":
            radius = w * 0.38
            at = (0, h * 0.28, front)
        deep = uniform(rng, 0.01, 0.05)
        parts.append(
            spin(
                [
                    (radius, -0.01),
                    (radius, deep),
                    (radius * 0.85, deep),
                    (radius * 0.4, deep * 0.2),
                    (0, deep * 0.2),
                ],
                "z",
                at,
                16,
            )
        )
    if kind != "boom":
        free = -sides[0] if len(sides) == 1 else 0
        parts.append(box((w * 0.36, h * 0.2, 0.03), (free * w * 0.24, h * uniform(rng, 0.62, 0.75), front)))
    count = integer(rng, 1, 4)
    for k in range(count):
        x = (k - (count - 1) / 2) * w * 0.16 + (0 if len(sides) == 2 else -sides[0] * w * 0.22)
        x = float(np.clip(x, -w * 0.42, w * 0.42))
        high = h * (0.15 if kind != "boom" else 0.85)
        parts.append(spin([(knob, 0), (knob * 0.9, knob), (0, knob)], "z", (x, high, front), 10))
    if kind == "boom" or (kind == "portable" and chance(rng, 0.7)):
        reach, rise = w * uniform(rng, 0.3, 0.48), uniform(rng, 0.08, 0.25)
        path = np.array(
            [(-reach, h * 0.95, 0), (-reach, h + rise, 0), (reach, h + rise, 0), (reach, h * 0.95, 0)], np.float32
        )
        parts.append(tube(path, uniform(rng, 0.015, 0.035), 6))
    if kind in ("portable", "handset", "boom") and chance(rng, 0.65):
        tall, lean = uniform(rng, 0.4, 1.0), uniform(rng, -0.1, 0.5)
        start = (w * 0.42, h * 0.98, -d * 0.3)
        parts.append(rod(start, (start[0] + tall * np.sin(lean), start[1] + tall * np.cos(lean), start[2]), 0.012, 5))
    if chance(rng, 0.3) and kind != "handset":
        parts.append(mirrored(cylinder(0.04, 0.05, (w * 0.38, -0.02, 0), segments=8)))
    if kind == "boom":
        parts.append(box((w * 0.28, h * 0.35, 0.04), (0, h * 0.35, front)))
    return join(*parts)


def xbox(rng: Generator) -> np.ndarray:
    """Triangles of a games console, lying or standing: heavy, waisted or slim; some game pads.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    kind = pick(rng, (("first", 0.3), ("waisted", 0.3), ("slab", 0.25), ("pad", 0.15)))
    if kind == "pad":
        return _game_pad(rng)
    if kind == "first":
        w, h, d = 1.0, uniform(rng, 0.28, 0.36), uniform(rng, 0.75, 0.95)
        lid = h * uniform(rng, 0.7, 0.85)
        bar = w * uniform(rng, 0.12, 0.2)
        parts = [
            slices(
                [0, lid * 0.5, lid],
                [-w / 2, -w / 2 * 0.97, -w / 2],
                [w / 2, w / 2 * 0.97, w / 2],
                d / 2,
                -d / 2,
            )
        ]
        top = (h - lid) / 2
        if chance(rng, 0.75):
            slant = np.arctan2(d, w) * uniform(rng, 0.7, 1.0)
            beam = box((np.hypot(w, d) * 0.88, h - lid, bar), (0, lid + top, 0))
            parts += [rotate(beam, "y", slant), rotate(beam, "y", -slant)]
        parts.append(cylinder(w * uniform(rng, 0.13, 0.2), (h - lid) * 1.2, (0, lid + top, 0)))
        for k in range(4):
            parts.append(spin([(0.05, 0), (0.05, 0.02), (0, 0.02)], "z", ((k - 1.5) * 0.14, lid * 0.3, d / 2), 10))
        parts.append(box((w * 0.4, h * 0.12, 0.02), (w * 0.1, lid * 0.7, d / 2)))
    elif kind == "waisted":
        w, h, d = 1.0, uniform(rng, 0.24, 0.32), uniform(rng, 0.75, 0.9)
        y = np.linspace(0, 1, 7)
        pinch = 1 - uniform(rng, 0.02, 0.09) * np.sin(np.pi * y)
        x = np.linspace(-1, 1, 9)
        ring_h = h * (1 - uniform(rng, 0.1, 0.25) * (1 - x**2))
        rings = np.stack(
            [
                np.stack(
                    [
                        np.full(4, a * w / 2),
                        np.array([-1, 1, 1, -1], np.float32) * b / 2 + h / 2,
                        np.array([-1, -1, 1, 1], np.float32) * d / 2 * (1 - 0.03 * (1 - a * a)),
                    ],
                    1,
                )
                for a, b in zip(x, ring_h, strict=True)
            ]
        )
        parts = [loft(rings) * np.array([1, 1, pinch.min()], np.float32)]
        parts.append(spin([(0.06, -0.01), (0.06, 0.02), (0, 0.02)], "z", (w * 0.38, h / 2, d / 2 * 0.96), 12))
        parts.append(box((w * 0.5, h * 0.14, 0.03), (-w * 0.05, h * 0.55, d / 2 * 0.95)))
        if chance(rng, 0.4):
            parts.append(box((w * 0.22, h * 0.8, d * 0.7), (-w * 0.5, h / 2, -d * 0.08)))
    else:
        w, h, d = 1.0, uniform(rng, 0.18, 0.28), uniform(rng, 0.7, 0.98)
        parts = [box((w, h * 0.5, d), (0, h * 0.25, 0)), box((w * 0.98, h * 0.5, d * 0.98), (0, h * 0.75, 0))]
        parts.append(box((w * 0.4, 0.02, 0.02), (-w * 0.2, h * 0.7, d / 2)))
        parts.append(cylinder(w * 0.18, 0.02, (w * 0.2, h, 0)))
    whole = join(*parts)
    return rotate(whole, "z", np.pi / 2) if kind != "first" and chance(rng, 0.4) else whole


def _game_pad(rng: Generator) -> np.ndarray:
    """A controller lying down: body, two grips, sticks, buttons."""
    wide, thick, deep = uniform(rng, 0.42, 0.54), uniform(rng, 0.1, 0.16), uniform(rng, 0.22, 0.3)
    reach, end = uniform(rng, 0.3, 0.55), uniform(rng, 0.07, 0.12)
    parts = [
        ellipsoid((wide, thick, deep), (0, 0.15, 0)),
        ellipsoid((0.32, thick + 0.01, 0.22), (0, 0.16, 0.02)),
    ]
    path = curve([(wide * 0.68, 0.15, 0), (wide * 0.9, 0.13, reach * 0.45), (wide * 0.94, 0.08, reach)], 6)
    parts += [mirrored(tube(path, np.linspace(0.16, end, 6), 8)), mirrored(ellipsoid((end,) * 3, path[-1], 8))]
    top = 0.15 + thick
    for x, z in ((-0.25, -0.04), (0.13, 0.12)):
        parts.append(cylinder(0.07, 0.1, (x, top, z), segments=10))
    parts += [
        cylinder(0.03, 0.04, (0.28 + 0.07 * a, top, -0.05 + 0.07 * b), segments=8)
        for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
    ]
    parts += [box((0.15, 0.03, 0.05), (-0.13, top, 0.12)), box((0.05, 0.03, 0.15), (-0.13, top, 0.12))]
    whole = join(*parts)
    return rotate(whole, "x", uniform(rng, 0, 1.57)) if chance(rng, 0.4) else whole


def range_hood(rng: Generator) -> np.ndarray:
    """Triangles of a cooker hood: canopies under a chimney, flat T shapes, curved glass, wedges.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``.
    """
    kind = pick(rng, (("canopy", 0.42), ("slab", 0.25), ("glass", 0.13), ("under", 0.12), ("tilted", 0.08)))
    w, d = 1.0, uniform(rng, 0.45, 0.75)
    duct_w, duct_d = uniform(rng, 0.22, 0.42), uniform(rng, 0.22, 0.4)
    tall = uniform(rng, 0.45, 1.1)
    against_wall = chance(rng, 0.75)
    shift = (d - duct_d) / 2 if against_wall else 0.0
    lip = uniform(rng, 0.03, 0.1)
    if kind == "under":
        h = uniform(rng, 0.15, 0.35)
        return join(
            slices(
                [0, h * 0.4, h],
                [-w / 2] * 3,
                [w / 2] * 3,
                [d / 2, d / 2, d / 2 - d * uniform(rng, 0.1, 0.6)],
                -d / 2,
            ),
            box((w * 0.9, 0.02, d * 0.12), (0, h * 0.2, d / 2)),
        )
    duct = box((duct_w, tall, duct_d), (0, tall / 2, -shift))
    if chance(rng, 0.2):
        duct = cylinder(duct_w / 2, tall, (0, tall / 2, -shift))
    if kind == "canopy":
        rise = uniform(rng, 0.15, 0.45)
        t = np.linspace(0, 1, 6)
        ease = t if chance(rng, 0.65) else 1 - (1 - t) ** 2.2
        y = np.concatenate([[0], lip + t * rise])
        half = np.concatenate([[w / 2], w / 2 + (duct_w / 2 - w / 2) * ease])
        front = np.concatenate([[d / 2], d / 2 + (duct_d / 2 - shift - d / 2) * ease])
        back = np.concatenate([[-d / 2], -d / 2 + (-duct_d / 2 - shift + d / 2) * ease])
        return join(slices(y, -half, half, front, back), move(duct, (0, lip + rise, 0)))
    if kind == "glass":
        x = np.linspace(-1, 1, 9)
        drop = uniform(rng, 0.08, 0.2)
        rings = np.stack(
            [
                np.stack(
                    [
                        np.full(4, a * w / 2),
                        np.array([0, 0.02, 0.02, 0], np.float32) - drop * a * a,
                        np.array([-1, -1, 1, 1], np.float32) * d / 2,
                    ],
                    1,
                )
                for a in x
            ]
        )
        return join(loft(rings), box((w * 0.55, 0.08, d * 0.8), (0, 0.02, -d * 0.08)), duct)
    if kind == "tilted":
        plate = rotate(box((w, 0.08, d * 1.1), (0, 0, 0)), "x", uniform(rng, 0.6, 1.1))
        return join(plate, move(duct, (0, 0.1, -0.1)))
    return join(
        box((w, lip, d), (0, lip / 2, 0)),
        move(duct, (0, lip, 0)),
        box((w * 0.85, 0.02, d * 0.8), (0, -0.01, 0)),
    )


def _tap(rng: Generator, base: Sequence, reach: float) -> np.ndarray:
    """A tap that leans towards +z: a swan neck or a straight spout, with a lever or two handles."""
    x, y, z = base
    rise, thick = uniform(rng, 0.12, 0.4), uniform(rng, 0.014, 0.026)
    if chance(rng, 0.65):
        path = curve(
            [
                (x, y, z),
                (x, y + rise, z),
                (x, y + rise * 1.2, z + reach * 0.5),
                (x, y + rise * 0.9, z + reach),
            ],
            10,
        )
    else:
        path = np.array([(x, y, z), (x, y + rise * 0.6, z), (x, y + rise * 0.5, z + reach)], np.float32)
    parts = [tube(path, thick, 6), cylinder(thick * 2, 0.03, (x, y + 0.015, z), segments=10)]
    if chance(rng, 0.5):
        for side in (-1, 1):
            parts.append(cylinder(thick * 1.3, 0.08, (x + side * 0.14, y + 0.04, z), segments=8))
            parts.append(box((0.09, 0.02, 0.02), (x + side * 0.14, y + 0.085, z)))
    else:
        parts.append(rod((x, y + 0.06, z), (x + 0.09, y + 0.12, z), thick * 0.5, 5))
    return join(*parts)


def sink(rng: Generator) -> np.ndarray:
    """Triangles of a sink: kitchen bowls, vessels, pedestals, wall basins, cabinets, with taps.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]``, the tap at -z.
    """
    kind = pick(rng, (("kitchen", 0.36), ("vessel", 0.18), ("pedestal", 0.2), ("wall", 0.14), ("cabinet", 0.12)))
    w, d, deep = uniform(rng, 0.8, 1.2), uniform(rng, 0.5, 0.7), uniform(rng, 0.15, 0.3)
    parts = []
    if kind == "kitchen":
        bowls = pick(rng, ((1, 0.45), (2, 0.5), (3, 0.05)))
        span = w / bowls * (1.0 if bowls > 1 or chance(rng, 0.5) else 0.6)
        rim, back = uniform(rng, 0.03, 0.06), uniform(rng, 0.05, 0.12)
        for k in range(bowls):
            cell = span * (k - (bowls - 1) / 2) + (0 if bowls > 1 or span == w else w * 0.2)
            tub = _basin(span, d, deep, rim, back, 0.03 if chance(rng, 0.5) else deep)
            parts.append(move(tub, (cell, 0, 0)))
        if bowls == 1 and span < w:
            parts.append(box((w * 0.4, 0.03, d), (-w * 0.3, -0.015, 0)))
        parts.append(_tap(rng, (0, 0, -d / 2 + back * 0.5), d * uniform(rng, 0.25, 0.45)))
        return join(*parts)
    kinds = (("round", 0.5), ("oval", 0.3), ("square", 0.2))
    shape = pick(rng, kinds)
    outline = cross_section(rng, str(shape), 24) if shape != "round" else None
    radius = uniform(rng, 0.28, 0.4)
    side = curve([(radius * uniform(rng, 0.4, 0.75), 0), (radius * 0.9, deep * 0.5), (radius, deep)], 6)
    tub = turned(wall_profile(side, uniform(rng, 0.02, 0.06), 0.04), outline)
    behind = -float(tub[..., 2].min())
    if kind == "vessel":
        top = box((w, uniform(rng, 0.03, 0.12), d), (0, -0.03, 0))
        return join(tub, top, _tap(rng, (0, 0, -behind - 0.04), behind * 0.6)) if chance(rng, 0.7) else tub
    tall = uniform(rng, 0.55, 0.8)
    if kind == "pedestal":
        foot = radius * uniform(rng, 0.4, 0.6)
        column = turned(
            [
                (0, -tall),
                (foot, -tall),
                (foot * 0.9, -tall + 0.05),
                (foot * 0.55, -tall * 0.6),
                (foot * 0.75, 0.03),
            ]
        )
        slab = box((radius * 2, 0.06, radius * 0.6), (0, deep - 0.03, -behind - radius * 0.1))
        return join(tub, column, slab, _tap(rng, (0, deep, -behind - radius * 0.1), behind * 0.6))
    if kind == "wall":
        block = _basin(w * 0.7, d, deep, 0.04, uniform(rng, 0.08, 0.15), uniform(rng, 0.1, 1.0) * deep)
        return join(block, _tap(rng, (0, 0, -d / 2 + 0.05), d * 0.35))
    counter = _basin(w, d, deep, w * 0.18, 0.12, 0.04)
    cabinet = box((w * 0.96, tall, d * 0.94), (0, -tall / 2 - 0.04, 0))
    return join(counter, cabinet, _tap(rng, (0, 0, -d / 2 + 0.06), d * 0.35))


def _basin(w: float, d: float, deep: float, rim: float, back: float, skirt: float) -> np.ndarray:
    """A rectangular bowl cut into a slab: rim at y = 0, a wider ledge at the back, outside down to -skirt."""
    corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32)
    centre, half = (back - rim) / 2, (d - back - rim) / 2

    def ring(x: float, z: float, at: float, y: float) -> np.ndarray:
        return np.stack([corner[:, 0] * x, np.full(4, y), corner[:, 1] * z + at], 1)

    rings = [
        ring(w / 2, d / 2, 0, -skirt),
        ring(w / 2, d / 2, 0, 0),
        ring(w / 2 - rim, half, centre, 0),
        ring(w / 2 - rim * 1.6, half * 0.92, centre, -deep),
    ]
    parts = [loft(np.stack(rings).astype(np.float32), caps=False)]
    parts.append(sheet(ring(w / 2 - rim * 1.6, half * 0.92, centre, -deep).astype(np.float32)))
    if skirt < deep * 0.8:
        outer = [
            ring(w / 2 - rim, half, centre, -skirt),
            ring(w / 2 - rim * 1.4, half * 0.95, centre, -deep - 0.015),
        ]
        parts.append(loft(np.stack(outer).astype(np.float32), caps=False))
    parts.append(cylinder(0.035, 0.012, (0, -deep + 0.006, centre), segments=10))
    return join(*parts)
