"""Procedural furniture of the ModelNet categories, the ten of ModelNet10 among them.

Every generator takes a ``numpy.random.Generator`` and returns triangles ``[T, 3, 3]``, y up, front towards +z,
standing on y = 0. Each is a mixture of structural types, because real models of one class differ in their parts
more than in their proportions. Surfaces hidden inside are left out where that is cheap, as in CAD models.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from clipzoo.data.shapes.primitives import (
    Triangles,
    box,
    cylinder,
    ellipsoid,
    extrude,
    frame,
    join,
    move,
    revolve,
    rotate,
    rounded_box,
    scale,
    sheet,
    torus,
    tube,
)

Rng = np.random.Generator


def _u(g: Rng, low: float, high: float) -> float:
    return float(low + (high - low) * g.random())


def _p(g: Rng, probability: float) -> bool:
    return bool(g.random() < probability)


def _kind(g: Rng, **weights: float) -> str:
    names = list(weights)
    share = np.array(list(weights.values()))
    return names[int(np.searchsorted(np.cumsum(share / share.sum()), g.random()))]


def _block(g: Rng, size: tuple[float, float, float], centre: tuple[float, float, float], soft: float) -> Triangles:
    """A box, or with probability ``soft`` a rounded one."""
    return rounded_box(size, centre, _u(g, 0.15, 0.45) * min(size)) if _p(g, soft) else box(size, centre)


def _leg(g: Rng, x: float, z: float, top: float, thick: float, style: str, splay: float = 0.0) -> Triangles:
    """One leg from the floor to height ``top`` at (x, z); ``splay`` moves its foot outwards."""
    foot = (x + splay * np.sign(x), z + splay * np.sign(z))
    if style == "square" and splay == 0:
        return box((thick, top, thick), (x, top / 2, z))
    if style == "turned":
        heights = np.linspace(0, top, 7)
        radii = thick / 2 * np.array([0.7, 1.0, 0.6, 1.1, 0.7, 1.2, 1.2])
        return move(revolve(np.stack([radii, heights], -1), 8), (x, 0, z))
    bottom = thick * (0.5 if style == "tapered" else 1.0) / 2
    path = np.array([(foot[0], 0, foot[1]), (x, top, z)])
    return tube(path, np.array([bottom, thick / 2]), 4 if style == "square" else 8)


def _four_legs(g: Rng, w: float, d: float, top: float, thick: float, inset: float = 0.0, style: str = "") -> Triangles:
    style = style or _kind(g, square=5, round=2, tapered=2, turned=1)
    splay = _u(g, 0.02, 0.12) * min(w, d) if style != "square" and _p(g, 0.35) else 0.0
    x, z = w / 2 - thick / 2 - inset - splay, d / 2 - thick / 2 - inset - splay
    return join(*[_leg(g, sx * x, sz * z, top, thick, style, splay) for sx in (-1, 1) for sz in (-1, 1)])


def _aprons(w: float, d: float, top: float, height: float, thick: float, inset: float) -> Triangles:
    x, z = w / 2 - inset, d / 2 - inset
    return join(
        box((2 * x, height, thick), (0, top - height / 2, z)),
        box((2 * x, height, thick), (0, top - height / 2, -z)),
        box((thick, height, 2 * z), (x, top - height / 2, 0)),
        box((thick, height, 2 * z), (-x, top - height / 2, 0)),
    )


def _round_slab(radius_x: float, radius_z: float, thick: float, y: float) -> Triangles:
    return scale(cylinder(1.0, thick, segments=24), (radius_x, 1, radius_z)) + np.array([0, y, 0], np.float32)


def _star_foot(g: Rng, reach: float, height: float, rays: int, wheels: bool) -> Triangles:
    parts = []
    for k in range(rays):
        a = 2 * np.pi * k / rays
        end = (reach * np.cos(a), height * 0.35, reach * np.sin(a))
        parts.append(tube(np.array([(0, height, 0), end]), np.array([0.035, 0.02]), 5))
        if wheels:
            parts.append(ellipsoid((0.03, 0.03, 0.03), (end[0], 0.03, end[2]), 8))
    return join(*parts)


def table(g: Rng) -> Triangles:
    """Four legs, trestles, slabs, pedestals, crossed and sled frames; dining, coffee and conference sizes."""
    size = _kind(g, dining=5, coffee=3, conference=2, side=1.5)
    w, d, h = {
        "dining": (_u(g, 1.0, 2.2), _u(g, 0.75, 1.1), _u(g, 0.68, 0.8)),
        "coffee": (_u(g, 0.8, 1.5), _u(g, 0.5, 0.9), _u(g, 0.3, 0.5)),
        "conference": (_u(g, 2.2, 4.0), _u(g, 1.0, 1.5), _u(g, 0.7, 0.78)),
        "side": (_u(g, 0.6, 0.9), _u(g, 0.6, 0.9), _u(g, 0.5, 0.8)),
    }[size]
    if _p(g, 0.15):
        w = d = (w + d) / 2
    t = _u(g, 0.015, 0.07)
    round_top = _p(g, 0.28 if size != "conference" else 0.4)
    top = _round_slab(w / 2, d / 2, t, h - t / 2) if round_top else _block(g, (w, t, d), (0, h - t / 2, 0), 0.2)
    under = h - t
    support = _kind(
        g, legs=11, pedestal=4.5 if round_top else 1.5, slabs=2.5, trestle=2, cross=1.2, sled=1.3, double=1.5, frame=1.2
    )
    parts = [top]
    reach = 0.62 if round_top else 1.0
    if support == "legs":
        thick = _u(g, 0.03, 0.11)
        inset = _u(g, 0, 0.12) * min(w, d)
        parts.append(_four_legs(g, w * reach, d * reach, under, thick, inset))
        if _p(g, 0.6) and not round_top:
            parts.append(_aprons(w, d, under, _u(g, 0.04, 0.13), 0.02, inset + thick / 2))
        if _p(g, 0.22):
            y = _u(g, 0.15, 0.35) * h
            if _p(g, 0.5):
                parts.append(box((w * reach * 0.85, 0.02, d * reach * 0.8), (0, y, 0)))
            else:
                parts += [box((w * reach * 0.85, 0.03, 0.03), (0, y, z * d * reach * 0.4)) for z in (-1, 1)]
    elif support in ("pedestal", "double"):
        radius = _u(g, 0.03, 0.12) * min(w, d) + 0.02
        base = _u(g, 0.2, 0.36) * min(w, d)
        column = cylinder(radius, under, (0, under / 2, 0), _u(g, 0.6, 1.4) * radius, 12, caps=False)
        style = _kind(g, disc=3, feet=3, box=1)
        if style == "disc":
            foot = cylinder(base, 0.04, (0, 0.02, 0), base * _u(g, 0.4, 1), 16)
        elif style == "feet":
            foot = _star_foot(g, base, _u(g, 0.08, 0.25), int(g.integers(3, 5)), False)
        else:
            foot = box((base * 1.8, 0.06, base * 1.8), (0, 0.03, 0))
        one = join(column, foot)
        x = _u(g, 0.22, 0.34) * w
        parts += [move(one, (-x, 0, 0)), move(one, (x, 0, 0))] if support == "double" else [one]
    elif support == "slabs":
        thick, x = _u(g, 0.02, 0.1), _u(g, 0.3, 0.5) * w
        parts += [box((thick, under, d * _u(g, 0.7, 1)), (s * (x - thick / 2), under / 2, 0)) for s in (-1, 1)]
        if _p(g, 0.5):
            parts.append(box((2 * x, under * _u(g, 0.2, 0.8), 0.03), (0, under * 0.6, 0)))
    elif support == "trestle":
        x, thick = _u(g, 0.28, 0.42) * w, _u(g, 0.04, 0.1)
        for s in (-1, 1):
            parts += [
                box((thick, under, thick * 1.5), (s * x, under / 2, 0)),
                box((thick, thick, d * 0.8), (s * x, thick / 2, 0)),
                box((thick, thick, d * 0.8), (s * x, under - thick / 2, 0)),
            ]
        parts.append(box((2 * x, thick, thick), (0, under * _u(g, 0.25, 0.6), 0)))
    elif support == "cross":
        for x in (-0.38 * w, 0.38 * w):
            for s in (-1, 1):
                parts.append(tube(np.array([(x, 0, -s * d * 0.42), (x, under, s * d * 0.42)]), _u(g, 0.02, 0.05), 4))
        parts.append(box((0.76 * w, 0.04, 0.04), (0, under / 2, 0)))
    elif support == "sled":
        r = _u(g, 0.015, 0.05)
        for x in (-0.42 * w, 0.42 * w):
            path = np.array([(x, under, -d * 0.4), (x, r, -d * 0.4), (x, r, d * 0.4), (x, under, d * 0.4)])
            parts += [tube(path[k : k + 2], r, 6) for k in range(3)]
    else:
        r = _u(g, 0.03, 0.08)
        parts.append(_four_legs(g, w, d, under, r, 0, "square"))
        parts += [box((w, r, r), (0, y, z * (d - r) / 2)) for y in (r / 2, under - r / 2) for z in (-1, 1)]
        parts += [box((r, r, d), (x * (w - r) / 2, y, 0)) for y in (r / 2, under - r / 2) for x in (-1, 1)]
    return join(*parts)


def _drawer_fronts(
    g: Rng, w: float, low: float, high: float, z: float, rows: int, columns: int, knobs: bool = True
) -> list[Triangles]:
    gap = _u(g, 0.01, 0.03)
    out = _u(g, 0.005, 0.025)
    dh, dw = (high - low) / rows, w / columns
    style = _kind(g, knob=3, bar=2, none=3) if knobs else "none"
    parts = []
    for r in range(rows):
        for c in range(columns):
            x, y = -w / 2 + dw * (c + 0.5), low + dh * (r + 0.5)
            parts.append(box((dw - gap, dh - gap, out), (x, y, z + out / 2)))
            if style == "knob":
                for k in (-1, 1) if dw > 0.45 else (0,):
                    parts.append(ellipsoid((0.018, 0.018, 0.018), (x + k * dw * 0.28, y, z + out + 0.015), 6))
            elif style == "bar":
                parts.append(box((min(0.15, dw * 0.4), 0.012, 0.02), (x, y, z + out + 0.015)))
    return parts


def _case(g: Rng, w: float, h: float, d: float, base: float, style: str) -> list[Triangles]:
    """The body of a chest on a foot of height ``base``: legs, plinth or none, with or without a top plate."""
    parts = [box((w, h - base, d), (0, base + (h - base) / 2, 0))]
    if style == "legs":
        parts.append(_four_legs(g, w, d, base, _u(g, 0.03, 0.07)))
    elif style == "plinth":
        parts.append(box((w * 0.97, base, d * 0.95), (0, base / 2, 0)))
    elif style == "bracket":
        parts += [box((0.12 * w, base, 0.03), (s * 0.44 * w, base / 2, d / 2 - 0.015)) for s in (-1, 1)]
        parts += [
            box((0.03, base, 0.2 * d), (s * (w / 2 - 0.015), base / 2, z * 0.4 * d)) for s in (-1, 1) for z in (-1, 1)
        ]
    if _p(g, 0.6):
        over = _u(g, 0.01, 0.04)
        parts.append(box((w + 2 * over, _u(g, 0.015, 0.05), d + 2 * over), (0, h, 0)))
    return parts


def dresser(g: Rng) -> Triangles:
    """A wide or tall chest of drawers on legs, plinth or brackets, sometimes with a mirror."""
    if _kind(g, wide=3, tall=1.2) == "wide":
        w, h = _u(g, 1.0, 1.9), _u(g, 0.7, 1.05)
        rows, columns = int(g.integers(2, 5)), int(g.integers(2, 4))
    else:
        w, h = _u(g, 0.6, 1.0), _u(g, 1.0, 1.5)
        rows, columns = int(g.integers(4, 7)), 1 + int(_p(g, 0.3))
    d = _u(g, 0.38, 0.58)
    style = _kind(g, legs=2.5, plinth=2, bracket=1.5, none=1)
    base = 0.0 if style == "none" else _u(g, 0.05, 0.22)
    parts = _case(g, w, h, d, base, style if base else "none")
    parts += _drawer_fronts(g, w * 0.95, base + 0.02, h - 0.03, d / 2, rows, columns)
    if _p(g, 0.22):
        mw, mh = w * _u(g, 0.5, 0.95), _u(g, 0.6, 1.0)
        parts.append(box((mw, mh, 0.03), (0, h + mh / 2 + 0.02, -d / 2 + 0.04)))
        parts.append(frame(mw + 0.08, mh + 0.08, 0.06, 0.05, (0, h + mh / 2 + 0.02, -d / 2 + 0.05)))
    return join(*parts)


def night_stand(g: Rng) -> Triangles:
    """A small chest about as high as wide, with drawers, an open shelf, or a round body."""
    w = _u(g, 0.42, 0.68)
    d = w * _u(g, 0.7, 1.05)
    h = w * _u(g, 0.85, 1.45)
    kind = _kind(g, chest=5, open=3, legs=2.5, round=0.7)
    if kind == "chest":
        style = _kind(g, legs=2, plinth=2, bracket=1, none=1.2)
        base = 0.0 if style == "none" else _u(g, 0.04, 0.25) * h
        parts = _case(g, w, h, d, base, style if base else "none")
        parts += _drawer_fronts(g, w * 0.93, base + 0.02, h - 0.03, d / 2, int(g.integers(1, 4)), 1)
    elif kind == "round":
        parts = [
            cylinder(w / 2, h * 0.45, (0, h * 0.75, 0), segments=20),
            _four_legs(g, w * 0.7, w * 0.7, h * 0.55, 0.035),
        ]
    elif kind == "open":
        t = _u(g, 0.015, 0.04)
        parts = [box((t, h, d), (s * (w - t) / 2, h / 2, 0)) for s in (-1, 1)]
        parts += [box((w, t, d), (0, y, 0)) for y in (h - t / 2, _u(g, 0.05, 0.2) * h)]
        if _p(g, 0.7):
            parts.append(box((w, h, t), (0, h / 2, -d / 2 + t / 2)))
        split = _u(g, 0.45, 0.75) * h
        parts.append(box((w - 2 * t, t, d), (0, split, 0)))
        if _p(g, 0.75):
            parts += _drawer_fronts(g, w - 2 * t, split, h - t, d / 2 - 0.01, 1, 1)
    else:
        body = _u(g, 0.22, 0.5) * h
        thick = _u(g, 0.025, 0.055)
        parts = [
            box((w * 0.94, body, d * 0.94), (0, h - body / 2, 0)),
            box((w, 0.025, d), (0, h, 0)),
            _four_legs(g, w * 0.95, d * 0.95, h - body, thick),
        ]
        parts += _drawer_fronts(g, w * 0.88, h - body + 0.01, h - 0.03, d * 0.47, 1 + int(body > 0.3 * h), 1)
        if _p(g, 0.55):
            parts.append(box((w * 0.9, 0.02, d * 0.9), (0, _u(g, 0.12, 0.3) * h, 0)))
    return join(*parts)


def desk(g: Rng) -> Triangles:
    """Pedestals of drawers on one or both sides, panels, L shapes, hutches, legs with a shallow drawer."""
    w, d, h = _u(g, 1.05, 1.9), _u(g, 0.5, 0.9), _u(g, 0.7, 0.8)
    t = _u(g, 0.018, 0.06)
    under = h - t
    parts = [box((w, t, d), (0, h - t / 2, 0))]

    def pedestal(x: float, pw: float) -> list[Triangles]:
        base = _u(g, 0, 0.1)
        pd = d * _u(g, 0.85, 0.98)
        body = [box((pw, under - base, pd), (x, base + (under - base) / 2, 0))]
        fronts = _drawer_fronts(g, pw * 0.92, base + 0.01, under - 0.01, pd / 2, int(g.integers(2, 5)), 1)
        return body + [move(front, (x, 0, 0)) for front in fronts]

    pw = _u(g, 0.3, 0.48) * min(1.0, w / 1.3)
    kind = _kind(g, double=4, single=4, panels=3, legs=2, lshape=2.4, floating=1.2)
    if kind == "double":
        parts += pedestal(-(w - pw) / 2 + 0.01, pw) + pedestal((w - pw) / 2 - 0.01, pw)
        if _p(g, 0.4):
            parts.append(box((w - 2 * pw, 0.1, d * 0.8), (0, under - 0.05, 0)))
    elif kind == "single":
        s = 1 if _p(g, 0.5) else -1
        parts += pedestal(s * ((w - pw) / 2 - 0.01), pw)
        if _p(g, 0.55):
            parts.append(box((t, under, d * 0.95), (-s * (w / 2 - t), under / 2, 0)))
        else:
            parts += [_leg(g, -s * (w / 2 - 0.05), z * (d / 2 - 0.05), under, 0.05, "square") for z in (-1, 1)]
    elif kind == "panels":
        parts += [box((t, under, d * _u(g, 0.8, 1)), (s * (w / 2 - t), under / 2, 0)) for s in (-1, 1)]
        if _p(g, 0.35):
            parts.append(box((w * 0.9, 0.1, d * 0.7), (0, under - 0.05, 0.02)))
    elif kind == "legs":
        thick = _u(g, 0.035, 0.07)
        parts.append(_four_legs(g, w, d, under, thick))
        body = _u(g, 0.1, 0.2)
        parts.append(box((w - 2 * thick, body, d * 0.9), (0, under - body / 2, 0)))
        parts += _drawer_fronts(g, w - 2 * thick, under - body, under, d * 0.45, 1, int(g.integers(1, 4)))
    elif kind == "floating":
        thick = 0.05
        parts.append(_four_legs(g, w, d, under, thick, 0.02, "square"))
        s = 1 if _p(g, 0.5) else -1
        drop = _u(g, 0.25, 0.5)
        parts.append(box((pw, drop, d * 0.85), (s * (w - pw) / 2 * 0.9, under - drop / 2, 0)))
    else:
        s = 1 if _p(g, 0.5) else -1
        rd, rw = _u(g, 0.7, 1.4), _u(g, 0.4, 0.6)
        cz = d / 2 + rd / 2
        parts.append(box((rw, t, rd), (s * (w - rw) / 2, h - t / 2, cz)))
        parts.append(box((rw * 0.95, under, t), (s * (w - rw) / 2, under / 2, d / 2 + rd - t)))
        parts.append(box((t, under, d * 0.95), (-s * (w / 2 - t), under / 2, 0)))
        if _p(g, 0.6):
            one = pedestal(0, rw * 0.9)
            parts += [move(rotate(part, "y", -s * np.pi / 2), (s * (w - rw) / 2, 0, cz + 0.1)) for part in one]
        else:
            parts.append(box((t, under, rd), (s * (w / 2 - t), under / 2, cz)))
    if _p(g, 0.55):
        drop = under * _u(g, 0.35, 1.0)
        parts.append(box((w * 0.94, drop, 0.02), (0, under - drop / 2, -d / 2 + _u(g, 0.02, 0.2) * d)))
    if _p(g, 0.22):
        hh, hd = _u(g, 0.3, 0.9), d * _u(g, 0.25, 0.45)
        z = -d / 2 + hd / 2
        parts += [box((0.025, hh, hd), (s * (w / 2 - 0.02), h + hh / 2, z)) for s in (-1, 1)]
        parts += [box((w, 0.025, hd), (0, h + hh * f, z)) for f in ((1.0, 0.55) if _p(g, 0.5) else (1.0,))]
        if _p(g, 0.6):
            parts.append(box((w, hh, 0.02), (0, h + hh / 2, -d / 2)))
    if _p(g, 0.07):
        parts.append(move(monitor(g) * np.float32(0.45), (_u(g, -0.2, 0.2) * w, h, -0.1 * d)))
    return join(*parts)


def chair(g: Rng) -> Triangles:
    """Dining, bar-back, arm, cantilever, folding, swivel and lounge chairs."""
    w, d = _u(g, 0.4, 0.56), _u(g, 0.38, 0.55)
    seat = _u(g, 0.4, 0.5)
    t = _u(g, 0.02, 0.09)
    back = _u(g, 0.35, 0.7)
    lean = _u(g, 0.0, 0.3)
    kind = _kind(g, legs=9, swivel=4, cantilever=1.5, lounge=2, shell=1.5, sled=1)
    parts: list[Triangles] = []
    if kind == "lounge":
        w, d, seat, t = _u(g, 0.6, 0.8), _u(g, 0.6, 0.8), _u(g, 0.32, 0.42), _u(g, 0.12, 0.25)
        lean = _u(g, 0.15, 0.45)
    top = seat
    round_seat = kind in ("legs", "swivel") and _p(g, 0.12)
    if round_seat:
        parts.append(_round_slab(w / 2, d / 2, t, top - t / 2))
    else:
        parts.append(_block(g, (w, t, d), (0, top - t / 2, 0), 0.45))
    under = top - t

    def leaning(part: Triangles) -> Triangles:
        return rotate(part, "x", -lean, (0, top, -d / 2))

    bt = _u(g, 0.015, 0.06) if kind != "lounge" else _u(g, 0.08, 0.2)
    style = _kind(g, panel=5, bars=2.5, slats=2.5, upper=2, curved=1.5)
    if kind in ("swivel", "lounge", "shell") and style in ("bars", "slats"):
        style = "panel"
    z = -d / 2 + bt / 2
    if style == "panel":
        parts.append(leaning(_block(g, (w * _u(g, 0.85, 1), back, bt), (0, top + back / 2, z), 0.5)))
    elif style in ("bars", "slats"):
        post = _u(g, 0.025, 0.05)
        parts += [leaning(box((post, back, post), (s * (w / 2 - post / 2), top + back / 2, z))) for s in (-1, 1)]
        parts.append(leaning(box((w, _u(g, 0.04, 0.12), post), (0, top + back * 0.95, z))))
        if style == "bars":
            count = int(g.integers(3, 8))
            parts += [
                leaning(box((0.018, back, 0.018), (x, top + back / 2, z)))
                for x in np.linspace(-w * 0.36, w * 0.36, count)
            ]
        else:
            count = int(g.integers(2, 5))
            parts += [
                leaning(box((w, _u(g, 0.03, 0.09), 0.018), (0, top + back * f, z)))
                for f in np.linspace(0.25, 0.8, count)
            ]
    elif style == "upper":
        high = back * _u(g, 0.35, 0.6)
        parts.append(leaning(_block(g, (w * 0.95, high, bt), (0, top + back - high / 2, z), 0.5)))
        parts += [leaning(box((0.03, back - high, 0.03), (s * w * 0.35, top + (back - high) / 2, z))) for s in (-1, 1)]
    else:
        angle = np.linspace(-0.9, 0.9, 7)
        bow = np.stack([np.sin(angle) * w * 0.62, np.zeros(7), -np.cos(angle) * d * 0.6 + d * 0.1], -1)
        for a, b in pairwise(bow):
            up = np.array([0, back, 0])
            base = np.array([0, top, 0])
            parts.append(leaning(sheet(np.stack([a + base, b + base, b + base + up, a + base + up]), bt)))
    if kind == "legs":
        thick = _u(g, 0.022, 0.06)
        parts.append(_four_legs(g, w * 0.95, d * 0.95, under, thick, 0, "tapered" if round_seat else ""))
        if _p(g, 0.45):
            y = _u(g, 0.2, 0.6) * under
            parts += [box((0.02, 0.02, d * 0.85), (s * (w * 0.47 - thick / 2), y, 0)) for s in (-1, 1)]
            parts.append(box((w * 0.85, 0.02, 0.02), (0, y, 0)))
    elif kind == "swivel":
        parts.append(cylinder(_u(g, 0.02, 0.04), under - 0.08, (0, 0.08 + (under - 0.08) / 2, 0), segments=8))
        if _p(g, 0.82):
            parts.append(_star_foot(g, _u(g, 0.25, 0.35), _u(g, 0.08, 0.14), 5 if _p(g, 0.8) else 4, _p(g, 0.7)))
        else:
            parts.append(cylinder(_u(g, 0.2, 0.28), 0.03, (0, 0.015, 0), segments=20))
    elif kind in ("cantilever", "sled"):
        r = _u(g, 0.012, 0.022)
        for x in (-w * 0.45, w * 0.45):
            path = [(x, under, -d * 0.45), (x, under, d * 0.45), (x, r, d * 0.45), (x, r, -d * 0.45)]
            if kind == "sled":
                path.append((x, under, -d * 0.45))
            points = np.array(path)
            parts += [tube(points[k : k + 2], r, 6) for k in range(len(points) - 1)]
        parts.append(box((w * 0.9, 2 * r, 2 * r), (0, r, -d * 0.45)))
    elif kind == "shell":
        parts.append(_four_legs(g, w * 0.9, d * 0.9, under, 0.03, 0, "round"))
    else:
        parts.append(
            _four_legs(g, w, d, under, _u(g, 0.03, 0.07)) if _p(g, 0.6) else box((w, under, d), (0, under / 2, 0))
        )
    if _p(g, 0.95 if kind == "lounge" else 0.6 if kind == "swivel" else 0.3):
        ah = _u(g, 0.16, 0.28)
        at = _u(g, 0.03, 0.06) if kind != "lounge" else _u(g, 0.06, 0.16)
        for s in (-1, 1):
            x = s * (w / 2 + at / 2 * (kind == "lounge"))
            parts.append(_block(g, (at, 0.03, d * _u(g, 0.6, 0.95)), (x, top + ah, 0), 0.3))
            if kind == "lounge" and _p(g, 0.7):
                parts.append(box((at, ah + t, d * 0.9), (x, top + (ah - t) / 2, 0)))
            else:
                parts.append(box((0.03, ah, 0.03), (x, top + ah / 2, d * 0.3)))
                if _p(g, 0.5):
                    parts.append(box((0.03, ah, 0.03), (x, top + ah / 2, -d * 0.35)))
    return join(*parts)


def sofa(g: Rng) -> Triangles:
    """Seat, back and arms with separate cushions or without; corners, chaises, curved backs, on legs or not."""
    seats = int(g.choice([1, 2, 3, 4], p=[0.1, 0.35, 0.45, 0.1]))
    w = seats * _u(g, 0.55, 0.75)
    d = _u(g, 0.75, 1.05)
    base = _u(g, 0.05, 0.16) if _p(g, 0.6) else 0.0
    seat = _u(g, 0.36, 0.48)
    height = _u(g, 0.65, 0.98)
    bt, aw = _u(g, 0.14, 0.3), _u(g, 0.1, 0.3)
    arm = seat + _u(g, 0.08, 0.3)
    soft = _u(g, 0.1, 0.9)
    full = w + 2 * aw
    cushion = _u(g, 0.1, 0.2)
    parts = [box((full, seat - cushion - base, d), (0, base + (seat - cushion - base) / 2, 0))]
    front = (d + 0.02) / 2
    split = seats if _p(g, 0.7) else 1
    for k in range(split):
        x = -w / 2 + w / split * (k + 0.5)
        parts.append(_block(g, (w / split * 0.98, cushion, d - bt), (x, seat - cushion / 2, bt / 2), soft))
    parts.append(
        _block(
            g, (full if _p(g, 0.5) else w, height - base, bt), (0, base + (height - base) / 2, -d / 2 + bt / 2), soft
        )
    )
    if _p(g, 0.55):
        ch = height - seat + _u(g, -0.08, 0.08)
        for k in range(split):
            x = -w / 2 + w / split * (k + 0.5)
            one = _block(g, (w / split * 0.96, ch, 0.16), (x, seat + ch / 2, -d / 2 + bt + 0.07), soft)
            parts.append(rotate(one, "x", -_u(g, 0, 0.25), (x, seat, -d / 2 + bt)))
    sides = [-1, 1]
    shape = _kind(g, plain=7, corner=2, chaise=1.2)
    if shape != "plain" and _p(g, 0.6):
        sides = [-1 if _p(g, 0.5) else 1]
    for s in sides if _p(g, 0.92) else []:
        x = s * (w + aw) / 2
        style = _kind(g, block=3, rolled=2, thin=1)
        if style == "thin":
            parts.append(box((aw * 0.4, arm - base, d), (x, base + (arm - base) / 2, 0)))
        else:
            parts.append(_block(g, (aw, arm - base, d), (x, base + (arm - base) / 2, 0), soft))
        if style == "rolled":
            roll = rotate(cylinder(aw * 0.62, d, segments=12), "x", np.pi / 2)
            parts.append(move(roll, (x, arm - aw * 0.2, 0)))
    if shape != "plain":
        s = -sides[0] if len(sides) == 1 else (1 if _p(g, 0.5) else -1)
        ld, lw = _u(g, 0.6, 1.5), _u(g, 0.6, 0.9)
        x = s * (full - lw) / 2
        parts.append(_block(g, (lw, seat - base, ld), (x, base + (seat - base) / 2, front + ld / 2), soft))
        if shape == "corner":
            parts.append(
                box((bt, height - base, ld + d), (s * (full / 2 - bt / 2), base + (height - base) / 2, ld / 2))
            )
    if base:
        thick = _u(g, 0.03, 0.07)
        parts.append(_four_legs(g, full * 0.97, d * 0.95, base, thick, 0, _kind(g, square=2, round=2, tapered=1)))
    body = join(*parts)
    if _p(g, 0.08):  # a gentle bend
        bend = _u(g, 0.1, 0.3) / full
        body = body.copy()
        body[..., 2] += bend * body[..., 0] ** 2
    return body


def bed(g: Rng) -> Triangles:
    """Single to king, with head and foot boards, pillows, blankets; bunks, canopies, platforms, side tables."""
    w, length = _u(g, 0.9, 2.0), _u(g, 1.9, 2.2)
    base = _u(g, 0.05, 0.35)
    mattress = _u(g, 0.15, 0.32)
    top = base + mattress
    kind = _kind(g, ordinary=10, bunk=1.3, poster=1.5)
    soft = _u(g, 0.2, 0.9)

    def bunk(y: float, with_frame: bool) -> list[Triangles]:
        out = [_block(g, (w, mattress, length), (0, y + mattress / 2, 0), soft)]
        if with_frame:
            rail = _u(g, 0.08, 0.2)
            out.append(_block(g, (w + 0.08, rail, length + 0.06), (0, y - rail / 2 + 0.06, 0), 0.1))
        count = 2 if w > 1.25 else 1
        if _p(g, 0.75):
            pw = w / count * _u(g, 0.7, 0.9)
            for k in range(count):
                x = (k - (count - 1) / 2) * w / count
                pillow = (
                    ellipsoid((pw / 2, 0.08, 0.2), (0, 0, 0), 10)
                    if _p(g, 0.4)
                    else rounded_box((pw, 0.12, 0.38), radius=0.05)
                )
                out.append(move(rotate(pillow, "x", _u(g, 0, 0.5)), (x, y + mattress + 0.05, -length / 2 + 0.28)))
        if _p(g, 0.45):
            cover = length * _u(g, 0.4, 0.8)
            drop = min(y + mattress, _u(g, 0.1, 0.5))
            z = length / 2 - cover / 2 + 0.02
            out.append(box((w + 0.05, 0.05, cover), (0, y + mattress + 0.015, z)))
            out += [box((0.02, drop, cover), (s * (w / 2 + 0.03), y + mattress - drop / 2, z)) for s in (-1, 1)]
        return out

    head = top + _u(g, 0.2, 0.85)
    parts = bunk(base, _p(g, 0.7))
    if kind == "bunk":
        upper = base + _u(g, 0.85, 1.15)
        parts += bunk(upper, True)
        high = upper + 0.6
        post = _u(g, 0.05, 0.09)
        parts += [
            box((post, high, post), (sx * (w / 2 + 0.03), high / 2, sz * length / 2))
            for sx in (-1, 1)
            for sz in (-1, 1)
        ]
        rails = [upper + 0.35, upper + 0.5]
        parts += [box((0.03, 0.05, length), (s * (w / 2 + 0.03), y, 0)) for s in (-1, 1) for y in rails]
        parts += [box((w, 0.05, 0.03), (0, y, s * length / 2)) for s in (-1, 1) for y in (*rails, 0.4, 0.7)]
        if _p(g, 0.6):
            parts += [box((0.4, 0.03, 0.03), (w / 4, y, length / 2 + 0.05)) for y in np.arange(0.3, upper, 0.3)]
        return join(*parts)
    board = _kind(g, panel=5, bars=1.6, curved=1.6, none=1.3)
    z = -length / 2 - 0.04
    bw = w + _u(g, 0.02, 0.3)
    bt = _u(g, 0.03, 0.15)

    def bars(high: float, at: float) -> list[Triangles]:
        out = [box((0.05, high, 0.05), (s * w / 2, high / 2, at)) for s in (-1, 1)]
        out += [box((w, 0.04, 0.04), (0, y, at)) for y in (high - 0.02, base + 0.1)]
        return out + [
            box((0.02, high - base - 0.1, 0.02), (x, (high + base) / 2, at))
            for x in np.linspace(-w * 0.42, w * 0.42, int(g.integers(4, 9)))
        ]

    def curved(high: float, at: float) -> Triangles:
        angle = np.linspace(0, np.pi, 9)
        arch = np.stack([np.cos(angle) * bw / 2, high * 0.75 + np.sin(angle) * high * 0.25], -1)
        outline = np.concatenate([arch, [(-bw / 2, 0), (bw / 2, 0)]])
        return extrude(outline, bt, at)

    if board == "panel":
        parts.append(_block(g, (bw, head, bt), (0, head / 2, z), 0.25))
    elif board == "bars":
        parts += bars(head, z)
    elif board == "curved":
        parts.append(curved(head, z))
    if board != "none" and _p(g, 0.45):
        foot = top + _u(g, -0.1, 0.25)
        at = length / 2 + 0.04
        parts += (
            bars(foot, at)
            if board == "bars"
            else [curved(foot, at) if board == "curved" else box((bw, foot, bt), (0, foot / 2, at))]
        )
    if kind == "poster":
        high, post = _u(g, 1.7, 2.2), _u(g, 0.05, 0.1)
        x, zz = w / 2 + 0.03, length / 2
        parts += [box((post, high, post), (sx * x, high / 2, sz * zz)) for sx in (-1, 1) for sz in (-1, 1)]
        if _p(g, 0.75):
            parts += [box((2 * x, 0.05, 0.05), (0, high, sz * zz)) for sz in (-1, 1)]
            parts += [box((0.05, 0.05, 2 * zz), (sx * x, high, 0)) for sx in (-1, 1)]
        if _p(g, 0.25):
            parts.append(box((2 * x, 0.02, 2 * zz), (0, high + 0.03, 0)))
    elif base > 0.12 and _p(g, 0.7):
        parts.append(_four_legs(g, w, length, base, _u(g, 0.05, 0.1)))
    else:
        parts.append(box((w * 0.97, base, length * 0.97), (0, base / 2, 0)))
    if _p(g, 0.12):
        for s in (-1, 1) if _p(g, 0.7) else (1,):
            parts.append(box((0.45, 0.45, 0.4), (s * (w / 2 + 0.32), 0.225, -length / 2 + 0.2)))
    return join(*parts)


def monitor(g: Rng) -> Triangles:
    """Flat panels on every kind of foot, bare panels, and tubes with a deep back."""
    w = _u(g, 0.4, 0.75)
    h = w * _u(g, 0.55, 0.85)
    kind = _kind(g, flat=8, tube=2.2, bare=0.8, allinone=1.2)
    parts: list[Triangles] = []
    if kind == "tube":
        h = w * _u(g, 0.75, 0.95)
        d = w * _u(g, 0.6, 1.0)
        lift = _u(g, 0.03, 0.12)
        face, deep = _u(g, 0.15, 0.4) * d, 0.0
        deep = d - face
        parts.append(_block(g, (w, h, face), (0, lift + h / 2, 0), 0.2))
        sw, sh = w * _u(g, 0.45, 0.75), h * _u(g, 0.45, 0.75)
        a = np.array([(-w / 2, 0), (w / 2, 0), (w / 2, h), (-w / 2, h)]) * [1, 1] * 0.97
        b = np.array([(-sw / 2, 0.1 * h), (sw / 2, 0.1 * h), (sw / 2, 0.1 * h + sh), (-sw / 2, 0.1 * h + sh)])
        near = np.c_[a[:, 0], a[:, 1] + lift, np.full(4, -face / 2)]
        far = np.c_[b[:, 0], b[:, 1] + lift, np.full(4, -face / 2 - deep)]
        for k in range(4):
            m = (k + 1) % 4
            parts.append(sheet(np.stack([near[k], near[m], far[m], far[k]])))
        parts.append(sheet(far))
        parts.append(cylinder(_u(g, 0.25, 0.4) * w, lift, (0, lift / 2, -deep * 0.3), segments=16))
        return join(*parts)
    t = _u(g, 0.015, 0.09)
    lift = h * _u(g, 0.15, 0.55) if kind != "bare" else 0.0
    bezel = _u(g, 0.01, 0.05)
    panel = [_block(g, (w, h, t), (0, h / 2, 0), 0.15)]
    if _p(g, 0.5):
        panel.append(frame(w, h, bezel, 0.02, (0, h / 2, t / 2 + 0.008)))
    if _p(g, 0.4):
        bump = (w * _u(g, 0.3, 0.8), h * _u(g, 0.3, 0.8), _u(g, 0.02, 0.1))
        panel.append(box(bump, (0, h * _u(g, 0.4, 0.55), -t / 2 - bump[2] / 2)))
    tilt = _u(g, -0.03, 0.2) if _p(g, 0.5) else 0.0
    body = rotate(join(*panel), "x", -tilt, (0, h / 2, 0))
    low = h * _u(g, 0, 0.08) if kind == "allinone" else 0.0
    parts.append(move(body, (0, lift - low, 0)))
    if kind == "bare":
        return join(*parts)
    back = -t / 2 - _u(g, 0.0, 0.06)
    reach = lift + h * _u(g, 0.1, 0.5)
    neck = _kind(g, column=4, plate=3, leaning=2)
    if neck == "column":
        parts.append(cylinder(_u(g, 0.015, 0.04), reach, (0, reach / 2, back), segments=10))
    elif neck == "plate":
        parts.append(box((w * _u(g, 0.1, 0.35), reach, _u(g, 0.015, 0.05)), (0, reach / 2, back)))
    else:
        bw = w * _u(g, 0.12, 0.4)
        foot = back - _u(g, 0.05, 0.15)
        parts.append(
            sheet(
                np.array([(-bw / 2, 0, foot), (bw / 2, 0, foot), (bw / 2, reach, back), (-bw / 2, reach, back)]), 0.02
            )
        )
    fw, fd = w * _u(g, 0.3, 0.7), _u(g, 0.14, 0.28)
    foot = _kind(g, oval=3, plate=3, arms=2, arc=1)
    ft = _u(g, 0.01, 0.035)
    if foot == "oval":
        parts.append(move(_round_slab(fw / 2, fd / 2, ft, ft / 2), (0, 0, back + 0.02)))
    elif foot == "plate":
        parts.append(_block(g, (fw, ft, fd), (0, ft / 2, back + 0.02), 0.3))
    elif foot == "arms":
        for s in (-1, 1):
            parts.append(tube(np.array([(0, 0.03, back), (s * fw / 2, 0.01, fd * 0.6)]), 0.015, 6))
            parts.append(tube(np.array([(0, 0.03, back), (s * fw / 3, 0.01, -fd * 0.6)]), 0.015, 6))
    else:
        angle = np.linspace(0, np.pi, 9)
        path = np.stack([np.cos(angle) * fw / 2, np.full(9, 0.015), np.sin(angle) * fd - 0.02], -1)
        parts.append(tube(path, 0.018, 6))
    return join(*parts)


def _bowl_with_rim(profile: list[tuple[float, float]], stretch: tuple[float, float], segments: int = 24) -> Triangles:
    return scale(revolve(np.array(profile), segments), (stretch[0], 1, stretch[1]))


def toilet(g: Rng) -> Triangles:
    """Bowl on a foot with a tank, seat and lid; one-piece, wall-hung, lid up or down."""
    long, wide = _u(g, 0.24, 0.32), _u(g, 0.17, 0.22)
    rim = _u(g, 0.36, 0.45)
    hung = _p(g, 0.12)
    foot = _u(g, 0.45, 0.9)
    low = rim * 0.35 if hung else 0.0
    outside = [(foot * 0.9, low), (foot * _u(g, 0.7, 1.0), low + (rim - low) * 0.35), (0.9, rim * 0.75), (1.0, rim)]
    inside = [(0.78, rim), (0.6, rim * 0.75), (0.25, rim * 0.55), (0.0, rim * 0.53)]
    parts = [_bowl_with_rim([*outside, *inside], (wide, long))]
    if _p(g, 0.5) and not hung:  # the foot reaches back under the tank
        parts.append(box((wide * 1.1, rim * 0.9, long), (0, rim * 0.45, -long * 0.8)))
    seat = rim + 0.01
    lid_up = _p(g, 0.5)
    back = -long * _u(g, 0.85, 1.0)
    lid = _round_slab(wide * 1.02, long * 1.02, 0.02, 0.0)
    if lid_up:
        parts.append(move(rotate(lid, "x", -np.pi / 2 + _u(g, -0.15, 0.1)), (0, seat + long * 0.95, back + 0.03)))
        if _p(g, 0.7):
            ring = [(0.72, seat), (0.74, seat + 0.02), (1.0, seat + 0.02), (1.02, seat)]
            parts.append(_bowl_with_rim(ring, (wide, long)))
    else:
        parts.append(move(lid, (0, seat + 0.015, 0)))
    tank = _kind(g, tank=7, low=1.5, none=1.2)
    td = _u(g, 0.14, 0.22)
    tw = wide * _u(g, 1.7, 2.5)
    if tank == "tank":
        th = _u(g, 0.28, 0.45)
        body = _block(g, (tw, th, td), (0, rim + th / 2, back - td / 2), 0.35)
        parts += [body, _block(g, (tw * 1.06, 0.035, td * 1.1), (0, rim + th, back - td / 2), 0.2)]
        if _p(g, 0.6):
            parts.append(box((tw * 0.8, rim * _u(g, 0.2, 0.95), td), (0, rim * 0.6, back - td / 2)))
        if _p(g, 0.4):
            parts.append(box((0.05, 0.015, 0.02), (tw * 0.35, rim + th * 0.85, back + 0.01)))
    elif tank == "low":
        th = _u(g, 0.1, 0.22)
        parts.append(_block(g, (tw * 0.9, rim + th, td), (0, (rim + th) / 2, back - td / 2), 0.5))
    else:
        parts.append(box((tw * 0.8, _u(g, 0.2, 0.9), 0.1), (0, rim * 0.7, back - 0.05)))
    return join(*parts)


def bathtub(g: Rng) -> Triangles:
    """Rectangular tubs with an oval or straight basin, free-standing ovals, claw feet, corner tubs."""
    w, d, h = _u(g, 1.35, 1.9), _u(g, 0.65, 0.95), _u(g, 0.38, 0.65)
    kind = _kind(g, builtin=5, oval=3, claw=2, corner=1.2, trough=1)
    parts: list[Triangles] = []
    if kind == "corner":
        w = d = _u(g, 1.2, 1.6)
    wall = _u(g, 0.04, 0.12)
    floor = _u(g, 0.1, 0.3) * h
    if kind in ("oval", "claw"):
        lift = _u(g, 0.06, 0.15) if kind == "claw" else 0.0
        foot = _u(g, 0.6, 0.9)
        outer = [(foot, lift), (foot + (1 - foot) * 0.6, lift + (h - lift) * 0.35), (1.0, h)]
        roll = [(1.0 + _u(g, 0.0, 0.06), h + 0.02), (0.97, h + 0.02)]
        inner = [
            (0.94, h - 0.02),
            (foot * 0.95, floor + lift + 0.1),
            (foot * 0.7, floor * 0.5 + lift),
            (0, floor * 0.5 + lift),
        ]
        tub = _bowl_with_rim([*outer, *roll, *inner], (w / 2, d / 2))
        if _p(g, 0.35):  # one end higher, as slipper tubs have
            tub = tub.copy()
            tub[..., 1] *= 1 + _u(g, 0.1, 0.3) * np.maximum(tub[..., 0], 0) / w * 2
        if _p(g, 0.4):  # the plan between an ellipse and a rectangle
            tub = tub.copy()
            angle = np.arctan2(tub[..., 2] / d, tub[..., 0] / w)
            swell = 1 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle))) ** _u(g, 0.2, 0.7)
            tub[..., 0] *= swell
            tub[..., 2] *= swell
        parts.append(tub)
        if kind == "claw":
            parts += [
                ellipsoid((0.05, lift / 2 + 0.03, 0.05), (sx * w * 0.33, lift / 2, sz * d * 0.28), 8)
                for sx in (-1, 1)
                for sz in (-1, 1)
            ]
    else:
        # A rectangular shell: outer walls, a rim between rectangle and basin, and the basin.
        segments = 24
        angle = np.arange(segments) * (2 * np.pi / segments)
        square = (
            np.stack([np.cos(angle), np.sin(angle)], -1)
            / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))[:, None]
        )
        circle = np.stack([np.cos(angle), np.sin(angle)], -1)
        blend = _u(g, 0.0, 1.0) if kind != "trough" else 0.0
        plan = square * (1 - blend) + circle * blend
        half = np.array([w / 2, d / 2])

        def ring(shape: np.ndarray, shrink: float, y: float) -> np.ndarray:
            flat = shape * (half - shrink)
            return np.stack([flat[:, 0], np.full(segments, y), flat[:, 1]], -1)

        taper = _u(g, 0.03, 0.15)
        skirt = _u(g, 0, 0.06)
        rings = [
            ring(square, skirt, 0),
            ring(square, 0, h),
            ring(plan, wall, h),
            ring(plan, wall + taper * 0.6, floor + 0.08),
            ring(plan, wall + taper + 0.06, floor),
        ]
        if kind == "trough" and _p(g, 0.5):
            rings = rings[1:]
        for a, b in pairwise(rings):
            a2, b2 = np.roll(a, -1, 0), np.roll(b, -1, 0)
            parts += [np.stack([a, a2, b2], 1), np.stack([a, b2, b], 1)]
        last = rings[-1]
        parts.append(np.stack([last, np.roll(last, -1, 0), np.broadcast_to(last.mean(0), last.shape)], 1))
        if kind == "corner":
            cut = _u(g, 0.2, 0.45) * w
            body = join(*parts)
            over = np.maximum(body[..., 0] + body[..., 2] - (w - cut), 0) / 2
            body[..., 0] -= over
            body[..., 2] -= over
            parts = [body]
    if _p(g, 0.4):
        x = -w / 2 + 0.06
        parts.append(tube(np.array([(x, h, 0), (x, h + 0.15, 0), (x + 0.12, h + 0.15, 0)]), 0.018, 6))
        if _p(g, 0.5):
            parts += [ellipsoid((0.025, 0.025, 0.025), (x, h + 0.04, s * 0.1), 6) for s in (-1, 1)]
    return join(*parts)


def bench(g: Rng) -> Triangles:
    """Park benches with slatted backs, plain planks on slabs or legs, picnic and padded benches."""
    w, d, seat = _u(g, 1.0, 2.2), _u(g, 0.3, 0.55), _u(g, 0.38, 0.5)
    t = _u(g, 0.03, 0.1)
    parts: list[Triangles] = []
    slats = int(g.integers(3, 7)) if _p(g, 0.45) else 1
    for k in range(slats):
        z = -d / 2 + d / slats * (k + 0.5)
        parts.append(box((w, t, d / slats * (0.8 if slats > 1 else 1)), (0, seat - t / 2, z)))
    under = seat - t
    support = _kind(g, legs=3, slabs=2, cast=2)
    if support == "legs":
        parts.append(_four_legs(g, w * 0.92, d, under, _u(g, 0.04, 0.09)))
    elif support == "slabs":
        parts += [box((_u(g, 0.05, 0.2), under, d * 0.9), (s * w * 0.38, under / 2, 0)) for s in (-1, 1)]
    else:
        parts += [
            frame(d, under, 0.04, 0.05) @ np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32)
            + np.array([s * w * 0.45, under / 2, 0], np.float32)
            for s in (-1, 1)
        ]
    if _p(g, 0.55):
        back, lean = _u(g, 0.3, 0.5), _u(g, 0.05, 0.3)
        rows = int(g.integers(2, 6)) if _p(g, 0.6) else 1
        rest = [
            box((w, back / rows * (0.7 if rows > 1 else 1), 0.03), (0, seat + back / rows * (k + 0.5), -d / 2))
            for k in range(rows)
        ]
        rest += [box((0.05, back, 0.05), (x, seat + back / 2, -d / 2 - 0.02)) for x in (-w * 0.45, 0, w * 0.45)]
        parts.append(rotate(join(*rest), "x", -lean, (0, seat, -d / 2)))
        if _p(g, 0.5):
            parts += [box((0.05, 0.04, d), (s * w * 0.47, seat + 0.22, 0)) for s in (-1, 1)]
            parts += [box((0.05, 0.22, 0.05), (s * w * 0.47, seat + 0.11, d * 0.45)) for s in (-1, 1)]
    return join(*parts)


def bookshelf(g: Rng) -> Triangles:
    """Upright shelves with sides, with or without a back, divided in columns, sometimes with books."""
    w, d, h = _u(g, 0.6, 1.8), _u(g, 0.22, 0.4), _u(g, 1.1, 2.3)
    t = _u(g, 0.015, 0.05)
    columns, rows = 1 + int(_p(g, 0.4)) * int(g.integers(1, 3)), int(g.integers(3, 7))
    parts = [box((t, h, d), (x, h / 2, 0)) for x in np.linspace(-w / 2, w / 2, columns + 1)]
    levels = np.linspace(_u(g, 0, 0.1), h - t / 2, rows + 1)
    parts += [box((w, t, d), (0, y, 0)) for y in levels]
    if _p(g, 0.65):
        parts.append(box((w, h, 0.015), (0, h / 2, -d / 2)))
    if _p(g, 0.35):
        for y in levels[:-1]:
            x = -w / 2 + 0.05
            while x < w / 2 - 0.1 and _p(g, 0.9):
                bw = _u(g, 0.02, 0.07)
                bh = (levels[1] - levels[0]) * _u(g, 0.5, 0.85)
                parts.append(box((bw, bh, d * 0.7), (x, y + bh / 2, 0)))
                x += bw + _u(g, 0, 0.05)
    return join(*parts)


def wardrobe(g: Rng) -> Triangles:
    """A tall closed cupboard with two or more doors, sometimes with drawers below."""
    w, d, h = _u(g, 0.8, 2.2), _u(g, 0.5, 0.7), _u(g, 1.7, 2.3)
    base = _u(g, 0, 0.12)
    parts = _case(g, w, h, d, base, _kind(g, legs=1, plinth=2) if base > 0.03 else "none")
    low = base + (_u(g, 0.2, 0.5) if _p(g, 0.3) else 0)
    if low > base + 0.1:
        parts += _drawer_fronts(g, w * 0.96, base + 0.02, low, d / 2, 1, 2)
    parts += _drawer_fronts(g, w * 0.97, low, h - 0.04, d / 2, 1, int(g.integers(2, 5)), knobs=False)
    if _p(g, 0.6):
        parts += [box((0.02, 0.2, 0.03), (s * 0.05, h * 0.5, d / 2 + 0.03)) for s in (-1, 1)]
    return join(*parts)


def tv_stand(g: Rng) -> Triangles:
    """A low wide cabinet: open shelves, doors, glass on posts, sometimes with a screen on it."""
    w, d, h = _u(g, 1.0, 2.0), _u(g, 0.38, 0.55), _u(g, 0.35, 0.65)
    t = _u(g, 0.015, 0.05)
    kind = _kind(g, shelves=4, cabinet=2, posts=1.5)
    parts: list[Triangles] = []
    if kind == "cabinet":
        base = _u(g, 0.03, 0.15)
        parts += _case(g, w, h, d, base, _kind(g, legs=2, plinth=1))
        parts += _drawer_fronts(g, w * 0.96, base, h, d / 2, 1, int(g.integers(2, 5)))
    else:
        levels = (h - t / 2, _u(g, 0.35, 0.6) * h, t)
        parts += [box((w * (1 if k == 0 else 0.94), t, d), (0, y, 0)) for k, y in enumerate(levels)]
        if kind == "posts":
            parts.append(_four_legs(g, w * 0.92, d * 0.9, h, 0.04, 0, "round"))
        else:
            cuts = np.linspace(-w / 2 + t, w / 2 - t, int(g.integers(2, 5)))
            parts += [box((t, h, d * 0.95), (x, h / 2, 0)) for x in cuts]
            if _p(g, 0.5):
                parts.append(box((w, h, 0.015), (0, h / 2, -d / 2)))
    if _p(g, 0.12):
        parts.append(box((w * 0.7, w * 0.4, 0.06), (0, h + w * 0.22, 0)))
    return join(*parts)


def stool(g: Rng) -> Triangles:
    """A seat without a back on legs, a column or a drum."""
    r, h = _u(g, 0.15, 0.22), _u(g, 0.42, 0.8)
    t = _u(g, 0.03, 0.1)
    seat = _round_slab(r, r, t, h - t / 2) if _p(g, 0.65) else _block(g, (2 * r, t, 2 * r), (0, h - t / 2, 0), 0.4)
    parts = [seat]
    kind = _kind(g, legs=5, column=2.5, three=1.5, drum=0.7)
    if kind == "legs":
        parts.append(
            _four_legs(g, 1.7 * r, 1.7 * r, h - t, _u(g, 0.025, 0.05), 0, _kind(g, round=2, tapered=2, square=2))
        )
        if _p(g, 0.6):
            parts.append(torus(r * 0.85, 0.012, (0, h * _u(g, 0.25, 0.45), 0)))
    elif kind == "three":
        for k in range(3):
            a = 2 * np.pi * k / 3
            parts.append(
                tube(
                    np.array(
                        [
                            (r * 1.1 * np.cos(a), 0, r * 1.1 * np.sin(a)),
                            (r * 0.6 * np.cos(a), h - t, r * 0.6 * np.sin(a)),
                        ]
                    ),
                    0.02,
                    6,
                )
            )
    elif kind == "column":
        parts += [
            cylinder(0.025, h - t, (0, (h - t) / 2, 0), segments=10),
            cylinder(r * 1.1, 0.03, (0, 0.015, 0), r * 0.6, 20),
        ]
        if _p(g, 0.5):
            parts.append(torus(r * 0.8, 0.012, (0, h * 0.35, 0)))
    else:
        parts.append(cylinder(r * 0.9, h - t, (0, (h - t) / 2, 0), r * _u(g, 0.6, 1), 20))
    return join(*parts)


def mantel(g: Rng) -> Triangles:
    """A fireplace surround: two pillars, a lintel and a shelf, sometimes with a hearth."""
    w, h, d = _u(g, 1.2, 2.0), _u(g, 1.0, 1.5), _u(g, 0.12, 0.35)
    pillar, lintel = _u(g, 0.12, 0.3) * w / 1.5, _u(g, 0.15, 0.4)
    parts = [box((pillar, h - lintel, d), (s * (w - pillar) / 2, (h - lintel) / 2, 0)) for s in (-1, 1)]
    parts.append(box((w, lintel, d), (0, h - lintel / 2, 0)))
    parts.append(box((w * _u(g, 1.02, 1.2), _u(g, 0.03, 0.08), d * 1.5), (0, h + 0.02, d * 0.2)))
    if _p(g, 0.5):
        parts += [box((pillar * 1.2, 0.1, d * 1.2), (s * (w - pillar) / 2, 0.05, 0)) for s in (-1, 1)]
    if _p(g, 0.3):
        parts.append(box((w * 1.1, 0.05, d * 2.5), (0, 0.025, d * 0.8)))
    if _p(g, 0.4):
        parts.append(box((w - 2 * pillar, h - lintel, 0.02), (0, (h - lintel) / 2, -d / 2)))
    return join(*parts)


def door(g: Rng) -> Triangles:
    """A leaf with panels or panes, alone or in its frame, one or two wings."""
    w, h, t = _u(g, 0.7, 1.1) * (2 if _p(g, 0.2) else 1), _u(g, 1.9, 2.3), _u(g, 0.03, 0.08)
    parts = [box((w, h, t), (0, h / 2, 0))]
    rows, columns = int(g.integers(1, 4)), int(g.integers(1, 3))
    if _p(g, 0.7):
        for r in range(rows):
            for c in range(columns):
                x, y = (c - (columns - 1) / 2) * w / columns, h / rows * (r + 0.5)
                parts += [frame(w / columns * 0.75, h / rows * 0.8, 0.03, 0.02, (x, y, s * t / 2)) for s in (-1, 1)]
    if _p(g, 0.55):
        parts.append(frame(w + 0.2, h + 0.1, 0.1, t * 2.2, (0, h / 2 + 0.05, 0)))
    if _p(g, 0.7):
        parts += [ellipsoid((0.03, 0.03, 0.03), (w * 0.43, h * 0.47, s * (t / 2 + 0.04)), 8) for s in (-1, 1)]
    return join(*parts)


def curtain(g: Rng) -> Triangles:
    """Wavy cloth hanging from a rod, in one or two halves, gathered or straight."""
    w, h = _u(g, 1.2, 2.4), _u(g, 1.4, 2.5)
    waves, depth = _u(g, 4, 12), _u(g, 0.03, 0.1)
    parts: list[Triangles] = []
    halves = 2 if _p(g, 0.6) else 1
    for k in range(halves):
        columns, rows = 28, 6
        u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
        span = w / halves * _u(g, 0.45, 0.98)
        pinch = 1 - (_u(g, 0.3, 0.7) * np.exp(-(((v - 0.4) / 0.15) ** 2)) if _p(g, 0.4) else 0)
        x = u * span * pinch
        z = depth * np.sin(2 * np.pi * waves * u / halves)
        points = np.stack([x - w / 2, v * h, z], -1)
        if k == 1:
            points[..., 0] *= -1
        a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
        parts += [np.stack([a, b, c], -2).reshape(-1, 3, 3), np.stack([a, c, d], -2).reshape(-1, 3, 3)]
    if _p(g, 0.7):
        parts.append(tube(np.array([(-w * 0.55, h + 0.03, 0), (w * 0.55, h + 0.03, 0)]), 0.02, 6))
    if _p(g, 0.25):
        parts.append(box((w * 1.02, _u(g, 0.2, 0.4), 0.15), (0, h - 0.05, 0)))
    return join(*parts)


GENERATORS: dict[str, Callable[[Rng], Triangles]] = {
    generator.__name__: generator
    for generator in (
        bathtub,
        bed,
        bench,
        bookshelf,
        chair,
        curtain,
        desk,
        door,
        dresser,
        mantel,
        monitor,
        night_stand,
        sofa,
        stool,
        table,
        toilet,
        tv_stand,
        wardrobe,
    )
}
"""Category name to generator."""
