"""People."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipzoo.data.shapes.draws import Generator, chance, pick, uniform
from clipzoo.data.shapes.forms import TAU, curve, ellipsoid, loft, loft_index, rod, turned
from clipzoo.data.shapes.primitives import box, join, rotate, rounded_box

_JOINT_WEIGHTS = curve(np.eye(3), 7)
_LINEAR_WEIGHTS = np.stack([np.interp(np.linspace(0, 2, 7), np.arange(3), row) for row in np.eye(3)], 1)


def _limbs(chains: Sequence, radii: Sequence, segments: int = 8) -> np.ndarray:
    """Smooth tubes through three joints each: chains ``[k, 3, 3]``, radii at the joints ``[k, 3]``."""
    weights = _JOINT_WEIGHTS
    spine = np.einsum("nj,kjc->knc", weights, np.asarray(chains, np.float64))
    tangent = np.gradient(spine, axis=1)
    # The reference leans so far out of every plane that a limb moves in that no limb runs along it.
    side = np.stack(
        [
            tangent[..., 1] * 0.8 - tangent[..., 2] * 0.17,
            tangent[..., 2] * 0.57 - tangent[..., 0] * 0.8,
            tangent[..., 0] * 0.17 - tangent[..., 1] * 0.57,
        ],
        -1,
    )
    side /= np.sqrt((side**2).sum(-1, keepdims=True)) + 1e-9
    a, b = np.moveaxis(side, -1, 0), np.moveaxis(tangent, -1, 0)
    up = np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], -1)
    up /= np.sqrt((up**2).sum(-1, keepdims=True)) + 1e-9
    angle = np.arange(segments)[:, None] / segments * TAU
    thick = np.einsum("nj,kj->kn", _LINEAR_WEIGHTS, np.asarray(radii, np.float64))[:, :, None, None]
    rings = spine[:, :, None] + thick * (np.cos(angle) * side[:, :, None] + np.sin(angle) * up[:, :, None])
    index = loft_index(len(weights), segments, True)
    return rings.astype(np.float32).reshape(len(spine), -1, 3)[:, index].reshape(-1, 3, 3)


def _arm(rng: Generator, shoulder: np.ndarray, side: int, pose: str) -> np.ndarray:
    """Shoulder, elbow and wrist ``[3, 3]`` of an arm; the pose says where the two bones go."""
    upper, fore = 0.29, 0.26
    out, ahead = {
        "down": (uniform(rng, 0.05, 0.3), uniform(rng, -0.15, 0.2)),
        "hip": (0.75, -0.25),
        "tee": (1.5, 0.0),
        "raised": (uniform(rng, 1.3, 2.6), 0.1),
        "bent": (0.15, 0.1),
        "salute": (1.3, 0.2),
        "spread": (uniform(rng, 0.5, 1.0), 0.0),
        "folded": (0.2, 0.25),
    }[pose]
    elbow = shoulder + upper * np.array([side * np.sin(out), -np.cos(out) * np.cos(ahead), np.cos(out) * np.sin(ahead)])
    reach = {
        "down": (side * 0.1, -1, uniform(rng, 0.0, 0.4)),
        "hip": (-side * 0.9, -0.5, 0.25),
        "tee": (side, 0, 0),
        "raised": (side * uniform(rng, -0.2, 0.8), 1, 0.1),
        "bent": (-side * uniform(rng, -0.2, 0.6), uniform(rng, -0.2, 0.5), 1),
        "salute": (-side * 0.9, 0.75, 0.25),
        "spread": (side * np.sin(out), -np.cos(out), 0.2),
        "folded": (-side, 0.1, 0.5),
    }[pose]
    return np.stack([shoulder, elbow, elbow + fore * np.asarray(reach) / np.linalg.norm(reach)])


def _leg(rng: Generator, hip: np.ndarray, side: int, pose: str) -> np.ndarray:
    """Hip, knee and ankle ``[3, 3]`` of a leg."""
    swing, bend = 0.0, 0.0
    if pose == "walk":
        swing, bend = side * uniform(rng, 0.2, 0.5), uniform(rng, 0.0, 0.5)
    if pose == "sit":
        swing, bend = uniform(rng, 1.3, 1.6), 1.5
    spread = side * uniform(rng, 0.0, 0.16)
    thigh_long, shin = 0.43, 0.42
    knee = hip + thigh_long * np.array([np.sin(spread), -np.cos(swing), np.sin(swing)])
    low = swing - bend
    ankle = knee + shin * np.array([np.sin(spread) * 0.6, -np.cos(low), np.sin(low)])
    return np.stack([hip, knee, ankle])


def person(rng: Generator) -> np.ndarray:
    """Triangles of a person, standing in various poses, some walking or seated; slim to stout.

    Args:
        rng: the source of every draw.

    Returns:
        float32 ``[T, 3, 3]`` in metres, facing +z except for a few.
    """
    if chance(rng, 0.04):
        return _flat_figure(rng)
    stout = uniform(rng, 0.82, 1.3)
    hip_y = 0.9
    pose = str(pick(rng, (("stand", 0.72), ("walk", 0.2), ("sit", 0.08))))
    arms = str(
        pick(
            rng,
            (
                ("down", 0.46),
                ("hip", 0.1),
                ("tee", 0.06),
                ("raised", 0.08),
                ("bent", 0.14),
                ("spread", 0.1),
                ("folded", 0.06),
            ),
        )
    )
    heights = np.array([hip_y - 0.08, hip_y + 0.02, hip_y + 0.15, hip_y + 0.3, hip_y + 0.42, hip_y + 0.5, hip_y + 0.56])
    waist = uniform(rng, 0.78, 1.05)
    wide = np.array([0.14, 0.17, 0.15 * waist, 0.165, 0.185, 0.15, 0.06]) * stout
    deep = np.array([0.1, 0.115, 0.1 * waist, 0.12, 0.12, 0.085, 0.06]) * stout * uniform(rng, 0.9, 1.1)
    if chance(rng, 0.25):
        wide[:3], deep[:3] = wide[:3] * 1.15, deep[:3] * 1.2
    angle = np.arange(12) / 12 * TAU
    rings = np.stack(
        [np.outer(wide, np.cos(angle)), np.repeat(heights[:, None], 12, 1), np.outer(deep, np.sin(angle))], -1
    )
    parts = [loft(rings)]
    neck = hip_y + 0.56
    parts.append(rod((0, neck - 0.03, 0), (0, neck + 0.1, 0.01), 0.055, 8))
    turn = uniform(rng, -0.5, 0.5)
    skull = ellipsoid((0.078, 0.115, 0.098), (0, neck + 0.17, 0.015), segments=10)
    parts.append(rotate(skull, "y", turn))
    cover = pick(rng, (("hair", 0.4), ("none", 0.25), ("long", 0.17), ("hat", 0.1), ("cap", 0.08)))
    if cover == "hair":
        parts.append(ellipsoid((0.088, 0.09, 0.105), (0, neck + 0.21, -0.01), segments=8))
    elif cover == "long":
        parts += [
            ellipsoid((0.09, 0.09, 0.1), (0, neck + 0.2, -0.02), segments=8),
            ellipsoid((0.085, 0.17, 0.05), (0, neck + 0.08, -0.07), segments=8),
        ]
    elif cover in ("hat", "cap"):
        brim = 0.17 if cover == "hat" else 0.1
        parts.append(turned([(brim, neck + 0.24), (0.095, neck + 0.245), (0.085, neck + 0.33), (0, neck + 0.34)]))
    sleeve = uniform(rng, 0.038, 0.058) * stout
    other = arms if chance(rng, 0.6) else "down"
    if arms == "raised" and chance(rng, 0.4):
        arms, other = "salute", "down"
    chains = [
        _arm(rng, np.array([side * 0.17 * stout, neck - 0.09, 0.0]), side, how)
        for side, how in ((1, arms), (-1, other))
    ]
    parts += [ellipsoid((0.04, 0.05, 0.04), hand + 0.27 * (hand - elbow), 8) for _, elbow, hand in chains]
    if pose != "sit" and chance(rng, 0.15):
        hem, length = uniform(rng, 0.18, 0.34), uniform(rng, 0.35, 0.85)
        parts.append(
            turned([(0.15 * stout, hip_y + 0.12), (0.19 * stout, hip_y - 0.05), (hem, hip_y - length)])
            * np.array([1, 1, 0.8], np.float32)
        )
    thigh, cuff = uniform(rng, 0.085, 0.11) * stout, uniform(rng, 0.045, 0.085)
    legs = [_leg(rng, np.array([side * 0.09 * stout, hip_y - 0.02, 0.0]), side, pose) for side in (1, -1)]
    parts += [ellipsoid((0.05, 0.045, 0.13), leg[2] + (0, -0.03, 0.07), 8) for leg in legs]
    arm, shank = (sleeve * 1.25, sleeve, sleeve * 0.75), (thigh, (thigh + cuff) * 0.45, cuff)
    parts.append(_limbs([*chains, *legs], [arm, arm, shank, shank]))
    if pose != "sit" and chance(rng, 0.1):
        parts.append(
            box((0.12, 0.3, 0.38), (0.36 * stout, 0.62, 0))
            if chance(rng, 0.5)
            else rounded_box((0.3, 0.42, 0.16), (0, neck - 0.28, -0.2), 0.05)
        )
    whole = join(*parts)
    return rotate(whole, "y", pick(rng, ((0.0, 0.7), (np.pi, 0.12), (rng.random() * TAU, 0.18))))


def _flat_figure(rng: Generator) -> np.ndarray:
    """A cut-out person, as the scale figures of drawings are."""
    figure = person(np.random.default_rng(rng.integers(1 << 31)))
    return figure * np.array([1, 1, 0.02], np.float32)
