"""Losses against plain NumPy in float64, against stored numbers of the published code, and their known bugs."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import clipzoo.losses
from clipzoo.errors import ConfigError, DataError
from clipzoo.losses import (
    FeatureQueue,
    all_gather_features,
    contrastive_loss,
    directional_loss,
    global_loss,
    label_kl_loss,
    layer_loss,
    log_directional_loss,
    nt_xent_loss,
    patch_directional_loss,
    patch_threshold_directional_loss,
    queue_loss,
    range_loss,
    saturation_loss,
    siglip_loss,
    soft_target_loss,
    spherical_loss,
    text_direction,
    total_variation_loss,
    total_variation_norm_loss,
)

ORACLE = Path(__file__).parent / "oracle"
EPS = 1e-4


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def oracle(name: str, prefix: str = "") -> dict[str, Tensor]:
    with np.load(ORACLE / f"losses_{name}.npz") as stored:
        return {key[len(prefix) :]: torch.from_numpy(stored[key]) for key in stored.files if key.startswith(prefix)}


def gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, inputs)


def leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


# The references: NumPy, float64, loops where they are clearer.


def n(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt((v**2).sum(-1, keepdims=True))


def ref_directional(source, edited, direction):
    d = n(edited) - n(source)
    s = d / np.sqrt((d**2).sum(-1, keepdims=True) + EPS**2)
    return np.array([1 - row @ n(direction) for row in s])


def ref_patch(source, edited, directions):
    d = n(edited) - n(source)
    d = d / np.sqrt((d**2).sum(-1, keepdims=True) + EPS**2)
    cosine = d @ n(directions).T
    share = np.exp(cosine) / np.exp(cosine).sum(1, keepdims=True)
    return ((1 - cosine) * share).mean(1)


def ref_threshold(source, crops, direction, threshold=0.7):
    out = []
    for one, its_crops in zip(source, crops, strict=True):
        values = [float(ref_directional(one[None], crop[None], direction)[0]) for crop in its_crops]
        out.append(sum(value for value in values if value >= threshold) / len(values))
    return np.array(out)


def cross_entropy(logits, targets):
    top = logits.max(1, keepdims=True)
    log_q = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    return -(targets * np.where(targets > 0, log_q, 0)).sum(1)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def ref_contrastive(image, text, scale):
    logits = scale * n(image) @ n(text).T
    eye = np.eye(len(image))
    return (cross_entropy(logits, eye) + cross_entropy(logits.T, eye)) / 2


def ref_siglip(image, text, scale, bias):
    out = np.zeros(len(image))
    for i, x in enumerate(n(image)):
        for j, y in enumerate(n(text)):
            out[i] += math.log1p(math.exp(-(1 if i == j else -1) * (scale * x @ y + bias)))
    return out


def ref_label_kl(image, text, labels, scale, tau=10.0):
    same = (labels[:, None] == labels[None]).astype(float)
    target = softmax(tau * same) if np.isfinite(tau) else same / same.sum(1, keepdims=True)
    entropy = -np.where(target > 0, target * np.log(np.where(target > 0, target, 1)), 0).sum(1)
    logits = scale * n(image) @ n(text).T
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2 - entropy


def ref_soft(image, text, tau=1.0, tau_targets=1.0):
    logits = text @ image.T / tau
    target = softmax((image @ image.T + text @ text.T) / 2 / tau_targets)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def ref_nt_xent(first, second, tau):
    z = np.concatenate((n(first), n(second)))
    count = len(first)
    out = []
    for i in range(2 * count):
        others = [z[i] @ z[j] / tau for j in range(2 * count) if j != i]
        out.append(math.log(sum(math.exp(value) for value in others)) - z[i] @ z[(i + count) % (2 * count)] / tau)
    return np.array(out)


def ref_queue(query, key, queue, tau, ids=None, queue_ids=None, in_batch=True):
    q, k, m = n(query), n(key), n(queue) if len(queue) else queue
    out = []
    for i in range(len(q)):
        negatives = [m[j] for j in range(len(m)) if ids is None or ids[i] < 0 or ids[i] != queue_ids[j]]
        if in_batch:
            negatives += [k[j] for j in range(len(k)) if j != i and (ids is None or ids[i] < 0 or ids[i] != ids[j])]
        positive = math.exp(q[i] @ k[i] / tau)
        out.append(-math.log(positive / (positive + sum(math.exp(q[i] @ other / tau) for other in negatives))))
    return np.array(out)


def ref_tv(images):
    padded = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
    dx = padded[..., :-1, 1:] - padded[..., :-1, :-1]
    dy = padded[..., 1:, :-1] - padded[..., :-1, :-1]
    return (dx**2 + dy**2).mean((1, 2, 3))


def ref_tv_norm(images):
    def size(part):
        return np.sqrt((part**2).sum((1, 2, 3)))

    x = images
    right, down = x[..., :-1] - x[..., 1:], x[..., :-1, :] - x[..., 1:, :]
    return size(right) + size(down) + size(x[..., 1:, :-1] - x[..., :-1, 1:]) + size(x[..., :-1, :-1] - x[..., 1:, 1:])


def ref_layers(x, y, distance):
    total = 0.0
    for name in ("layer2", "layer3"):
        a, b = x[name], y[name]
        if distance == "cos":
            apart = 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
        else:
            apart = (a - b) ** 2 if distance == "l2" else np.abs(a - b)
        total = total + apart.reshape(len(a), -1).mean(1)
    return total + 0.1 * (1 - (n(x["embedding"]) * n(y["embedding"])).sum(-1))


def maps(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    shapes = {"layer2": (4, 6, 5, 5), "layer3": (4, 8, 3, 3), "embedding": (4, 16)}
    return {name: random(*shape, seed=seed + i, dtype=dtype) for i, (name, shape) in enumerate(shapes.items())}


Case = tuple[Callable[..., Tensor], Callable[..., np.ndarray], tuple[Any, ...]]

A, B, C = random(6, 16), random(6, 16, seed=1), random(16, seed=2)
LABELS = torch.tensor([3, 1, 3, 0, 1, 3])
QUEUE, QUEUE_IDS = random(9, 16, seed=3), torch.tensor([3, 5, -1, 1, 7, 0, 0, 8, 3])
PIXELS = 2 * random(3, 3, 7, 5, seed=4)

CASES: dict[str, Case] = {
    "directional": (directional_loss, ref_directional, (A, B, C)),
    "log directional": (
        log_directional_loss,
        lambda *args: -np.log((2 - ref_directional(*args)) / 2),
        (A, B, C),
    ),
    "global": (global_loss, lambda i, t: 1 - n(i) @ n(t), (A, C)),
    "spherical": (
        spherical_loss,
        lambda a, b: 2 * np.arcsin(np.sqrt(((n(a) - n(b)) ** 2).sum(-1)) / 2) ** 2,
        (A, B),
    ),
    "patch": (patch_directional_loss, ref_patch, (A, B, random(5, 16, seed=6))),
    "threshold": (patch_threshold_directional_loss, ref_threshold, (A, random(6, 7, 16, seed=5), C)),
    "contrastive": (
        lambda *args, **kw: contrastive_loss(*args, 14.0, **kw),
        lambda *a: ref_contrastive(*a, 14.0),
        (A, B),
    ),
    "siglip": (
        lambda *args, **kw: siglip_loss(*args, 10.0, -10.0, **kw),
        lambda *a: ref_siglip(*a, 10.0, -10.0),
        (A, B),
    ),
    "siglip chunked": (
        lambda *args, **kw: siglip_loss(*args, 10.0, -3.0, chunk_size=4, **kw),
        lambda *a: ref_siglip(*a, 10.0, -3.0),
        (A, B),
    ),
    "label kl": (
        lambda *args, **kw: label_kl_loss(*args, LABELS, 14.0, **kw),
        lambda *a: ref_label_kl(*a, LABELS.numpy(), 14.0),
        (A, B),
    ),
    "label kl, hard": (
        lambda *args, **kw: label_kl_loss(*args, LABELS, 14.0, sharpness=math.inf, **kw),
        lambda *a: ref_label_kl(*a, LABELS.numpy(), 14.0, math.inf),
        (A, B),
    ),
    "soft targets": (
        lambda *args, **kw: soft_target_loss(*args, temperature=2.0, target_temperature=3.0, detach=False, **kw),
        lambda *a: ref_soft(*a, 2.0, 3.0),
        (A, B),
    ),
    "nt-xent": (lambda *args, **kw: nt_xent_loss(*args, 0.2, **kw), lambda *a: ref_nt_xent(*a, 0.2), (A, B)),
    "queue": (
        lambda *args, **kw: queue_loss(*args, 0.2, ids=LABELS, queue_ids=QUEUE_IDS, **kw),
        lambda *a: ref_queue(*a, 0.2, LABELS.numpy(), QUEUE_IDS.numpy()),
        (A, B, QUEUE),
    ),
    "queue alone": (
        lambda *args, **kw: queue_loss(*args, 0.2, ids=LABELS, queue_ids=QUEUE_IDS, in_batch=False, **kw),
        lambda *a: ref_queue(*a, 0.2, LABELS.numpy(), QUEUE_IDS.numpy(), in_batch=False),
        (A, B, QUEUE),
    ),
    "queue, no ids": (
        lambda *args, **kw: queue_loss(*args, 0.2, **kw),
        lambda *a: ref_queue(*a, 0.2),
        (A, B, QUEUE),
    ),
    "total variation": (total_variation_loss, ref_tv, (PIXELS,)),
    "total variation norm": (total_variation_norm_loss, ref_tv_norm, (PIXELS,)),
    "range": (range_loss, lambda x: ((x - x.clip(-1, 1)) ** 2).mean((1, 2, 3)), (PIXELS,)),
    "saturation": (saturation_loss, lambda x: np.abs(x - x.clip(-1, 1)).mean((1, 2, 3)), (PIXELS,)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_equals_numpy(case: Case) -> None:
    loss, reference, inputs = case
    expected = reference(*(value.numpy() for value in inputs))
    np.testing.assert_allclose(loss(*inputs, reduction="none").numpy(), expected, rtol=0, atol=1e-11)
    single = loss(*(value.float() for value in inputs), reduction="none")
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-6, atol=2e-6)


def test_reductions_agree(case: Case) -> None:
    loss, _, inputs = case
    each = loss(*inputs, reduction="none")
    torch.testing.assert_close(loss(*inputs), each.mean())
    torch.testing.assert_close(loss(*inputs, reduction="sum"), each.sum())
    assert loss(*inputs).shape == ()
    with pytest.raises(ConfigError, match="did you mean: mean"):
        loss(*inputs, reduction="meen")


def test_gradient_is_the_derivative(case: Case) -> None:
    loss, _, inputs = case
    assert torch.autograd.gradcheck(lambda *args: loss(*args, reduction="none"), leaves(*inputs))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_before_any_arithmetic(case: Case, dtype: torch.dtype) -> None:
    loss, reference, inputs = case
    halves = [value.to(dtype) for value in inputs]
    value = loss(*halves, reduction="none")
    assert value.dtype == torch.float32
    expected = reference(*(half.double().numpy() for half in halves))
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6, atol=2e-6)


def test_autocast_does_not_lower_the_precision(case: Case) -> None:
    loss, _, inputs = case
    singles = leaves(*(value.float() for value in inputs))
    plain = loss(*singles)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(*singles)
    assert torch.equal(plain, cast)
    for found, expected in zip(gradients(cast, *singles), gradients(plain, *singles), strict=True):
        assert torch.equal(found, expected)


def test_integers_and_nothing_are_refused(case: Case) -> None:
    loss, _, inputs = case
    with pytest.raises(DataError, match=r"int64.*|type"):
        loss(*((value * 10).long() for value in inputs))
    with pytest.raises(DataError, match="length zero"):
        loss(*(value[:0] for value in inputs))
    with pytest.raises(DataError, match="is a ndarray"):
        loss(*(value.numpy() for value in inputs))


def test_nan_propagates(case: Case) -> None:
    loss, _, inputs = case
    broken = [value.clone() for value in inputs]
    broken[0].view(-1)[0] = torch.nan
    assert loss(*broken).isnan()


FEATURES = [name for name in CASES if name not in ("total variation", "total variation norm", "range", "saturation")]
UNIT = [name for name in FEATURES if name != "soft targets"]


@pytest.mark.parametrize("name", UNIT)
def test_length_of_features_does_not_matter(name: str) -> None:
    loss, _, inputs = CASES[name]
    scaled = [value * factor for value, factor in zip(inputs, (3.0, 0.01, 40.0), strict=False)]
    torch.testing.assert_close(loss(*scaled, reduction="none"), loss(*inputs, reduction="none"))


@pytest.mark.parametrize("name", FEATURES)
def test_rotation_of_the_space_does_not_matter(name: str) -> None:
    loss, _, inputs = CASES[name]
    rotation = torch.linalg.qr(random(16, 16, seed=9)).Q
    torch.testing.assert_close(
        loss(*(value @ rotation for value in inputs), reduction="none"), loss(*inputs, reduction="none")
    )


@pytest.mark.parametrize("name", [name for name in CASES if "queue" not in name and "label" not in name])
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    loss, _, inputs = CASES[name]
    rows = len(inputs[0])
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    moved = [value[order] if len(value) == rows else value for value in inputs]
    torch.testing.assert_close(loss(*moved), loss(*inputs))


@pytest.mark.parametrize("name", ["directional", "log directional", "spherical", "global", "threshold", "patch"])
def test_each_row_is_compared_with_its_own_partner_only(name: str) -> None:
    loss, _, inputs = CASES[name]
    changed = inputs[1].clone()
    if changed.ndim > 1:
        changed[2:] += 1
        other = (inputs[0], changed, *inputs[2:])
    else:
        other = (torch.cat((inputs[0][:2], inputs[0][2:] + 1)), *inputs[1:])
    torch.testing.assert_close(loss(*other, reduction="none")[:2], loss(*inputs, reduction="none")[:2])
    assert not torch.allclose(loss(*other, reduction="none")[2:], loss(*inputs, reduction="none")[2:])


@pytest.mark.parametrize(
    "name", ["directional", "spherical", "global", "total variation", "total variation norm", "range", "saturation"]
)
def test_summed_gradient_of_one_image_does_not_depend_on_the_batch(name: str) -> None:
    loss, _, inputs = CASES[name]
    (whole,) = leaves(inputs[0])
    (alone,) = leaves(inputs[0][:1])
    rest = [value[:1] if value.ndim > 1 else value for value in inputs[1:]]
    (of_whole,) = gradients(loss(whole, *inputs[1:], reduction="sum"), whole)
    (of_alone,) = gradients(loss(alone, *rest, reduction="sum"), alone)
    torch.testing.assert_close(of_whole[:1], of_alone)


# Directions


def test_text_directions_by_hand() -> None:
    source = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    target = torch.tensor([[4.0, 3.0], [-1.0, 0.0]], dtype=torch.float64)
    # pairs: (.8, .6) - (1, 0) and (-1, 0) - (0, 1): mean (-.6, -.2)
    expected = {"pairwise_mean": n(np.array([-0.6, -0.2]))}
    # prototypes: n(-.1, .3) and n(.5, .5)
    expected["prototype_diff"] = n(n(np.array([-0.1, 0.3])) - n(np.array([0.5, 0.5])))
    # raw means: (1.5, 1.5) and (.5, 1.5)
    expected["raw_mean_diff"] = n(n(np.array([1.5, 1.5])) - n(np.array([0.5, 1.5])))
    found = {order: text_direction(source, target, order) for order in expected}
    for order, value in expected.items():
        np.testing.assert_allclose(found[order].numpy(), value, atol=1e-12)
    values = list(found.values())
    assert min(float((values[i] - values[i - 1]).norm()) for i in range(3)) > 0.1


def test_text_directions_of_several_texts_at_once() -> None:
    source, target = random(3, 5, 8), random(3, 5, 8, seed=1)
    for order in ("pairwise_mean", "prototype_diff", "raw_mean_diff"):
        together = text_direction(source, target, order)
        torch.testing.assert_close(
            together, torch.stack([text_direction(s, t, order) for s, t in zip(source, target, strict=True)])
        )
        torch.testing.assert_close(together.norm(dim=-1), torch.ones(3, dtype=torch.float64))
    assert text_direction(source, target[:, :2], "prototype_diff").shape == (3, 8)


def test_text_directions_that_do_not_exist() -> None:
    with pytest.raises(DataError, match="same embedding"):
        text_direction(random(5, 8), 2 * random(5, 8))
    with pytest.raises(DataError, match="5 source templates and 4"):
        text_direction(random(5, 8), random(4, 8))
    with pytest.raises(DataError, match="shapes differ"):
        text_direction(random(5, 8), random(5, 7))
    with pytest.raises(DataError, match="templates, dim"):
        text_direction(random(8), random(8))
    with pytest.raises(ConfigError, match="did you mean: pairwise_mean"):
        text_direction(random(5, 8), random(5, 8, seed=1), "pairwise-men")
    assert text_direction(torch.full((2, 4), torch.nan), random(2, 4)).isnan().all()


@pytest.mark.parametrize("loss", [directional_loss, log_directional_loss])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_an_image_that_did_not_move_is_pulled_along_the_text(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    source = random(3, 16).to(dtype)
    (edited,) = leaves(source)
    direction = random(16, seed=2).to(dtype)
    value = loss(source, edited, direction, reduction="none")
    expected = 1.0 if loss is directional_loss else math.log(2)
    torch.testing.assert_close(value, torch.full_like(value, expected))
    (gradient,) = gradients(value.sum(), edited)
    assert gradient.isfinite().all()
    # Of unit features only the part of the direction across them can be followed.
    unit, along = n(source.double().numpy()), n(direction.double().numpy())
    across = along - (unit @ along)[:, None] * unit
    np.testing.assert_allclose(n(-gradient.double().numpy()), n(across), atol=2e-3 if dtype == torch.float16 else 1e-5)
    lengths = gradient.double() * source.double().norm(dim=-1, keepdim=True)
    assert (lengths.norm(dim=-1) <= 1.01 / EPS).all()


def test_one_unmoved_image_does_not_spoil_a_batch() -> None:
    """The published guard looks at the sum over the batch, and one zero row gives NaN."""
    (edited,) = leaves(torch.cat((A[:1], B[1:])))
    value = directional_loss(A, edited, C, reduction="none")
    assert value[0] == 1
    torch.testing.assert_close(value[1:], directional_loss(A[1:], B[1:], C, reduction="none"))
    (gradient,) = gradients(value.sum(), edited)
    assert gradient.isfinite().all() and gradient.norm(dim=-1).min() > 0


def test_a_step_from_no_edit_goes_the_right_way() -> None:
    (edited,) = leaves(A)
    (gradient,) = gradients(directional_loss(A, edited, C), edited)
    stepped = A - 1e-6 * gradient
    assert directional_loss(A, stepped, C) < 0.95


def test_log_directional_at_known_losses() -> None:
    """At 0, ln 2 and near 2, where the plain formula is infinite or NaN in single precision."""
    source, edited = torch.eye(8)[:1], torch.eye(8)[1:2]
    along = (edited - source)[0] / math.sqrt(2)
    across = torch.eye(8)[2]

    def at(loss: float) -> float:
        angle = math.acos(1 - loss)
        direction = math.cos(angle) * along + math.sin(angle) * across
        return float(log_directional_loss(source, edited, direction))

    assert at(0) == pytest.approx(0, abs=1e-6)
    assert at(1) == pytest.approx(math.log(2), abs=1e-6)
    stored = oracle("directional")
    for given, expected in zip(stored["log_dir_in"].tolist(), stored["log_dir_out"].tolist(), strict=True):
        assert at(given) == pytest.approx(expected, abs=1e-5)
    (opposite,) = leaves(edited)
    value = log_directional_loss(source, opposite, -along)
    (gradient,) = gradients(value, opposite)
    assert 19 < value < 21 and gradient.isfinite().all()


def test_log_directional_is_never_nan_near_the_opposite() -> None:
    source = random(4000, 16, dtype=torch.float32)
    edited = random(4000, 16, seed=1, dtype=torch.float32)
    direction = torch.nn.functional.normalize(source, dim=-1) - torch.nn.functional.normalize(edited, dim=-1)
    assert log_directional_loss(source, edited, direction, reduction="none").isfinite().all()


def test_threshold_drops_what_fits_and_still_counts_it() -> None:
    source, direction = torch.tensor([[1.0, 0.0]]), torch.tensor([-1.0, 1.0])
    (crops,) = leaves(torch.tensor([[[0.0, 1.0], [0.0, -1.0]]]))  # losses 0 and 1
    value = patch_threshold_directional_loss(source, crops, direction)
    assert value.item() == pytest.approx(0.5, abs=1e-6)
    assert patch_threshold_directional_loss(source, crops, direction, threshold=1.5) == 0
    (gradient,) = gradients(value, crops)
    assert (gradient[0, 0] == 0).all() and (gradient[0, 1] != 0).any()
    one_each = direction[None]
    assert patch_threshold_directional_loss(source, crops, one_each) == value
    with pytest.raises(ConfigError, match="threshold"):
        patch_threshold_directional_loss(source, crops, direction, threshold=70)
    with pytest.raises(DataError, match="crops"):
        patch_threshold_directional_loss(source, crops[0], direction)


def test_the_two_patch_losses_are_two() -> None:
    parts = random(5, 16, seed=6)
    assert not torch.isclose(
        patch_directional_loss(A, B, parts), patch_threshold_directional_loss(A, B[:, None], parts[0])
    )


def test_shapes_that_would_compare_all_with_all_are_refused() -> None:
    with pytest.raises(DataError, match="shapes differ"):
        directional_loss(A[:, None], B, C)
    with pytest.raises(DataError, match="shapes differ"):
        directional_loss(A[:1], B, C)
    with pytest.raises(DataError, match="direction has the shape"):
        directional_loss(A, B, C[:8])
    with pytest.raises(DataError, match="one vector"):
        spherical_loss(A[:, None], B)
    with pytest.raises(DataError, match="one vector"):
        spherical_loss(A, B[:5])
    assert spherical_loss(A[:, None], B[None], reduction="none").shape == (6, 6)
    with pytest.raises(DataError, match="directions"):
        patch_directional_loss(A, B, random(5, 8))
    with pytest.raises(ConfigError, match="eps"):
        directional_loss(A, B, C, eps=0.0)


def test_directional_oracle() -> None:
    stored = oracle("directional")
    source, (edited,) = stored["feat_src"], leaves(stored["feat_tgt"])
    close = dict(rtol=1e-5, atol=1e-6)
    direction = text_direction(stored["text_src_79"], stored["text_tgt_79"])
    torch.testing.assert_close(direction, stored["text_direction"][0], **close)
    value = directional_loss(source, edited, direction)
    torch.testing.assert_close(value, stored["directional"], **close)
    torch.testing.assert_close(gradients(value, edited)[0], stored["directional_grad_tgt"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(value.detach(), stored["dc_directional"], **close)
    # The released code takes the logarithm of the batch's mean.
    torch.testing.assert_close(-torch.log((2 - value.detach()) / 2), stored["dc_log_directional"], **close)
    torch.testing.assert_close(directional_loss(source, source, direction), stored["dc_directional_zero_edit"], **close)
    one_still = directional_loss(source, stored["feat_tgt_row1_equal"], direction)
    torch.testing.assert_close(one_still, stored["dc_directional_one_zero_row"], **close)
    torch.testing.assert_close(global_loss(edited.detach(), stored["text_global"][0]), stored["global"], **close)


def test_patch_directional_oracle() -> None:
    stored = oracle("directional")
    directions = stored["patch_text_directions"]
    found = text_direction(stored["text_parts_src"], stored["text_parts_tgt"])
    torch.testing.assert_close(found, directions[:3], rtol=1e-5, atol=1e-6)
    value = patch_directional_loss(stored["feat_src"][:2], stored["feat_tgt"][:2], directions)
    torch.testing.assert_close(value, stored["patch_directional"], rtol=1e-5, atol=1e-6)


# Angles


def test_spherical_is_half_the_squared_angle() -> None:
    angles = torch.linspace(0, math.pi, 101, dtype=torch.float64)
    rows = torch.stack((angles.cos(), angles.sin()), 1)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(spherical_loss(rows, start, reduction="none"), angles**2 / 2, rtol=0, atol=1e-12)
    single = spherical_loss(rows.float(), start.float(), reduction="none")
    torch.testing.assert_close(single.double(), angles**2 / 2, rtol=0, atol=2e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_spherical_gradient_is_finite_where_arcsine_has_none(sign: int) -> None:
    for dtype in (torch.float32, torch.float64):
        (image,) = leaves(random(4, 16, dtype=dtype))
        value = spherical_loss(image, sign * image.detach(), reduction="none")
        torch.testing.assert_close(
            value, torch.full_like(value, 0 if sign == 1 else math.pi**2 / 2), rtol=1e-6, atol=1e-6
        )
        (gradient,) = gradients(value.sum(), image)
        assert gradient.isfinite().all()
        if sign == 1:
            assert gradient.norm() < 1e-5


def test_global_follows_the_scale_of_the_encoder() -> None:
    cosine = torch.nn.functional.cosine_similarity(A, C[None])
    torch.testing.assert_close(global_loss(A, C, logit_scale=50.0, reduction="none"), 1 - cosine / 2)
    assert global_loss(A[:, None], random(1, 4, 16, seed=8), reduction="none").shape == (6, 4)


def test_guidance_oracle() -> None:
    stored = oracle("guidance")
    (image,) = leaves(stored["sph.a"])
    value = spherical_loss(image, stored["sph.b"], reduction="none")
    torch.testing.assert_close(value, stored["sph.loss"], rtol=1e-5, atol=1e-6)
    (gradient,) = gradients((value * stored["sph.w"]).sum(), image)
    torch.testing.assert_close(gradient, stored["sph.grad"], rtol=1e-5, atol=1e-6)
    for name, loss in (("pix.tv_loss", total_variation_loss), ("pix.range_loss", range_loss)):
        (pixels,) = leaves(stored["pix.x"])
        value = loss(pixels, reduction="none")
        torch.testing.assert_close(value, stored[name], rtol=1e-5, atol=1e-6)
        (gradient,) = gradients((value * stored["pix.w"]).sum(), pixels)
        torch.testing.assert_close(gradient, stored[f"{name}.grad"], rtol=1e-5, atol=1e-6)


# Layers


@pytest.mark.parametrize("distance", ["l2", "l1", "cos"])
def test_layers_equal_numpy(distance: str) -> None:
    """The released cosine distance crashes on the maps of a ResNet."""
    x, y = maps(0), maps(10)
    expected = ref_layers(*({k: v.numpy() for k, v in side.items()} for side in (x, y)), distance)
    found = layer_loss(x, y, distance=distance, reduction="none")
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    torch.testing.assert_close(layer_loss(x, y, distance=distance), found.mean())
    single = layer_loss({k: v.half() for k, v in x.items()}, {k: v.half() for k, v in y.items()}, distance=distance)
    assert single.dtype == torch.float32
    names = list(x)
    assert torch.autograd.gradcheck(
        lambda *values: layer_loss(dict(zip(names, values, strict=True)), y, distance=distance), leaves(*x.values())
    )
    assert float(layer_loss(x, x, distance=distance)) == pytest.approx(0, abs=1e-12)


def test_layers_oracle() -> None:
    stored = oracle("layers")

    def side(letter: str) -> dict[str, Tensor]:
        names = {"layer2": f"feat_{letter}.02", "layer3": f"feat_{letter}.03", "embedding": f"embed_{letter}"}
        return {name: stored[key] for name, key in names.items()}

    for distance in ("l2", "l1"):
        x = dict(zip(side("x"), leaves(*side("x").values()), strict=True))
        value = layer_loss(x, side("y"), distance=distance)
        torch.testing.assert_close(value, stored[f"{distance.upper()}.total"], rtol=1e-6, atol=1e-6)
        found = gradients(value, *x.values())
        for gradient, key in zip(found, ("grad_feat2", "grad_feat3", "grad_embed"), strict=True):
            expected = stored[f"{distance.upper()}.{key}"]
            torch.testing.assert_close(gradient[: len(expected)], expected, rtol=1e-5, atol=1e-8)


def test_layers_oracle_of_tokens() -> None:
    """The released code takes the cosine over tokens, a channel at a time; ours over channels, a token at a time."""
    stored = oracle("layers")

    def side(letter: str, turned: bool) -> dict[str, Tensor]:
        found = {f"layer{i}": stored[f"vit_{letter}_l{i}"] for i in (2, 3)}
        found = {name: value.mT if turned else value for name, value in found.items()}
        return found | {"embedding": stored[f"embed_{letter}"]}

    published = layer_loss(side("x", True), side("y", True), distance="cos")
    torch.testing.assert_close(published, stored["ViTCos.total"], rtol=1e-6, atol=1e-6)
    assert not torch.isclose(layer_loss(side("x", False), side("y", False), distance="cos"), published, rtol=1e-4)


def test_layers_of_an_encoder() -> None:
    clip = clipzoo.load_clip("tiny-rn")
    with torch.no_grad():
        target = clip.layers(torch.rand(2, 3, 64, 64), ["layer2", "layer3", "embedding"])
    pixels = torch.rand(2, 3, 64, 64, requires_grad=True)
    value = layer_loss(clip.layers(pixels, list(target)), target)
    assert value > 0 and gradients(value, pixels)[0].norm() > 0


def test_layers_that_do_not_fit() -> None:
    x, y = maps(0), maps(10)
    with pytest.raises(ConfigError, match="did you mean: layer2"):
        layer_loss(x, y, {"layer_2": 1.0})
    with pytest.raises(ConfigError, match="target has no layer"):
        layer_loss(x, {"layer2": y["layer2"]})
    with pytest.raises(ConfigError, match="weight"):
        layer_loss(x, y, {"layer2": 0.0})
    with pytest.raises(ConfigError, match="distance"):
        layer_loss(x, y, distance="l3")
    with pytest.raises(DataError, match="shapes differ"):
        layer_loss(x, y | {"layer2": y["layer2"][..., :2]})
    with pytest.raises(DataError, match="type"):
        layer_loss(x, y | {"layer2": y["layer2"].int()})
    assert layer_loss(x, y, {"layer2": 1.0, "missing": 0.0}) > 0


# Pairs


def tangent(gradient: Tensor, rows: Tensor) -> Tensor:
    return gradient - (gradient * rows).sum(-1, keepdim=True) * rows


@pytest.mark.parametrize("name", ["clip", "clip_bias", "siglip", "siglip_warm"])
def test_pairs_oracle(name: str) -> None:
    stored = oracle("contrastive", "openclip/")
    image, text, log_scale = leaves(stored["image"], stored["text"], stored[f"{name}/logit_scale_param"])
    if name == "clip":
        value, others = contrastive_loss(image, text, log_scale.exp(), normalise=False), ()
    else:
        (bias,) = others = leaves(stored[f"{name}/logit_bias"])
        if name == "clip_bias":
            value = contrastive_loss(image, text, log_scale.exp(), logit_bias=bias, normalise=False)
        else:
            value = siglip_loss(image, text, log_scale.exp(), bias, normalise=False)
    torch.testing.assert_close(value, stored[f"{name}/loss"], rtol=1e-10, atol=1e-12)
    keys = ("grad_image", "grad_text", "grad_logit_scale_param", "grad_logit_bias")
    for found, key in zip(gradients(value, image, text, log_scale, *others), keys, strict=False):
        torch.testing.assert_close(found, stored[f"{name}/{key}"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 5, 12, 100])
def test_chunks_change_nothing(chunk_size: int) -> None:
    stored = oracle("contrastive", "openclip/")

    def run(chunk_size: int | None) -> tuple[Tensor, ...]:
        inputs = leaves(stored["image"], stored["text"], torch.tensor(10.0).double(), torch.tensor(-10.0).double())
        value = siglip_loss(*inputs, chunk_size=chunk_size)
        return value, *gradients(value, *inputs)

    for found, expected in zip(run(chunk_size), run(None), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_chunks_bound_the_memory() -> None:
    count, chunk_size = 256, 32
    image, text = leaves(random(count, 4), random(count, 4, seed=1))

    def kept_for_backward(chunk_size: int | None) -> int:
        storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            siglip_loss(image, text, 10.0, -10.0, chunk_size=chunk_size)
        return sum(storages.values())

    assert kept_for_backward(None) > 8 * count * count
    assert kept_for_backward(chunk_size) < 8 * count * (chunk_size + 8)


def test_chance_is_the_logarithm_of_the_batch() -> None:
    for count in (4, 32):
        same = torch.ones(count, 8)
        assert contrastive_loss(same, same, 100.0) == pytest.approx(math.log(count), rel=1e-6)
        assert nt_xent_loss(same, same) == pytest.approx(math.log(2 * count - 1), rel=1e-6)


def test_bias_cancels_in_the_contrastive_loss() -> None:
    torch.testing.assert_close(contrastive_loss(A, B, 9.0, logit_bias=-7.0), contrastive_loss(A, B, 9.0))


def test_learned_scales_have_a_gradient() -> None:
    """Also where entries are masked by minus infinity."""
    scale, bias, temperature = leaves(*torch.tensor([9.0, -3.0, 0.2], dtype=torch.float64))
    ids = {"ids": LABELS, "queue_ids": QUEUE_IDS}
    check = torch.autograd.gradcheck
    assert check(lambda s, b: contrastive_loss(A, B, s, logit_bias=b), (scale, bias))
    assert check(lambda s, b: siglip_loss(A, B, s, b, chunk_size=4), (scale, bias))
    assert check(lambda s: label_kl_loss(A, B, LABELS, s, sharpness=math.inf), (scale,))
    assert check(lambda t: nt_xent_loss(A, B, t), (temperature,))
    assert check(lambda t: queue_loss(A, B, QUEUE, t, **ids), (temperature,))
    assert check(lambda t: queue_loss(A, B, QUEUE, t, **ids, in_batch=False), (temperature,))


def test_directions_are_exchanged_with_the_sides() -> None:
    torch.testing.assert_close(contrastive_loss(A, B, 9.0), contrastive_loss(B, A, 9.0))
    torch.testing.assert_close(nt_xent_loss(A, B), nt_xent_loss(B, A))


@pytest.mark.parametrize("tau", ["0.07", "0.1", "0.5"])
def test_nt_xent_oracle(tau: str) -> None:
    stored = oracle("queue", f"ntxent/tau{tau}/")
    first, second = leaves(stored["z0"], stored["z1"])
    value = nt_xent_loss(first, second, float(tau))
    torch.testing.assert_close(value, stored["loss"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(2 * value.detach(), stored["simclr_tf_loss"], rtol=1e-5, atol=1e-6)
    for found, key in zip(gradients(value, first, second), ("grad_z0", "grad_z1"), strict=True):
        torch.testing.assert_close(found, stored[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["global-without-gradient", "local-without-gradient"])
def test_gathering_without_gradient_is_refused(mode: str) -> None:
    losses = [
        lambda: contrastive_loss(A, B, 9.0, gather=mode),
        lambda: nt_xent_loss(A, B, gather=mode),
        lambda: label_kl_loss(A, B, LABELS, 9.0, gather=mode),
        lambda: soft_target_loss(A, B, gather=mode),
        lambda: soft_target_loss(A, B, gather=mode, compat="shariatnia"),
    ]
    for loss in losses:
        with pytest.raises(ConfigError, match=r"is not offered: .*gradient[\s\S]*try: gather="):
            loss()


def test_pairs_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="did you mean: global"):
        contrastive_loss(A, B, 9.0, gather="globel")
    with pytest.raises(DataError, match="shapes differ"):
        contrastive_loss(A, B[:5], 9.0)
    with pytest.raises(DataError, match=r"\[batch, dim\]"):
        contrastive_loss(A[0], B[0], 9.0)
    with pytest.raises(ConfigError, match="logit_scale is 0"):
        contrastive_loss(A, B, 0.0)
    with pytest.raises(DataError, match="logit_scale has the shape"):
        siglip_loss(A, B, torch.ones(6), -10.0)
    with pytest.raises(ConfigError, match="chunk_size"):
        siglip_loss(A, B, 10.0, -10.0, chunk_size=0)
    with pytest.raises(ConfigError, match="temperature"):
        nt_xent_loss(A, B, -1.0)
    with pytest.raises(DataError, match="labels"):
        label_kl_loss(A, B, LABELS[:5], 9.0)
    with pytest.raises(DataError, match="labels"):
        label_kl_loss(A, B, LABELS.double(), 9.0)
    with pytest.raises(DataError, match="labels"):
        label_kl_loss(A, B, LABELS > 1, 9.0)
    with pytest.raises(ConfigError, match="sharpness"):
        label_kl_loss(A, B, LABELS, 9.0, sharpness=0.0)
    with pytest.raises(ConfigError, match="compat"):
        soft_target_loss(A, B, compat="upstream")
    with pytest.raises(ConfigError, match="target_temperature"):
        soft_target_loss(A, B, compat="shariatnia", target_temperature=2.0)


def test_mixed_precision_of_the_inputs_is_raised_to_the_highest() -> None:
    assert contrastive_loss(A, B.float(), 9.0).dtype == torch.float64
    assert contrastive_loss(A.half(), B.float(), 9.0).dtype == torch.float32


def test_a_process_group_is_not_needed() -> None:
    assert all_gather_features(A) is A
    with pytest.raises(DataError, match="features is"):
        all_gather_features(torch.tensor(1.0))


# Several right answers


@pytest.mark.parametrize("name", ["dup", "unique"])
def test_label_kl_oracle(name: str) -> None:
    stored = oracle("soft_targets", f"actionclip/{name}/")
    image, text, log_scale = leaves(stored["image"], stored["text"], stored["logit_scale_param"])
    value = label_kl_loss(image, text, stored["labels"], log_scale.exp())
    torch.testing.assert_close(value, stored["loss"], rtol=1e-5, atol=1e-6)
    keys = ("grad_image", "grad_text", "grad_logit_scale")
    for found, key in zip(gradients(value, image, text, log_scale), keys, strict=True):
        torch.testing.assert_close(found, stored[key], rtol=1e-4, atol=1e-6)


def test_label_kl_of_unique_labels_is_the_contrastive_loss() -> None:
    unique = torch.arange(6)
    expected = contrastive_loss(A, B, 9.0)
    torch.testing.assert_close(label_kl_loss(A, B, unique, 9.0, sharpness=math.inf), expected)
    torch.testing.assert_close(label_kl_loss(A, B, unique, 9.0, sharpness=200.0), expected)


def test_label_kl_is_zero_at_its_targets() -> None:
    """Two rows a label that embed alike: the best that can be had, where the contrastive loss is stuck at ln 2."""
    rows, labels = torch.eye(4).repeat(2, 1), torch.arange(4).repeat(2)
    assert label_kl_loss(rows, rows, labels, 1000.0, sharpness=math.inf) == pytest.approx(0, abs=1e-6)
    assert label_kl_loss(rows, rows, labels, 10.0) == pytest.approx(0, abs=1e-6)
    assert contrastive_loss(rows, rows, 1000.0) == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("tau", ["0.5", "1.0", "2.0"])
def test_soft_target_oracle(tau: str) -> None:
    stored = oracle("soft_targets", "simpleclip/")
    temperature = float(tau)
    for detach, prefix in ((None, "grad"), (True, "detached_grad")):
        image, text = leaves(stored["image_embeddings"], stored["text_embeddings"])
        value = soft_target_loss(image, text, temperature=temperature, compat="shariatnia", detach=detach)
        torch.testing.assert_close(value, stored[f"tau{tau}/loss"], rtol=1e-5, atol=1e-6)
        for found, side in zip(gradients(value, image, text), ("image", "text"), strict=True):
            torch.testing.assert_close(found, stored[f"tau{tau}/{prefix}_{side}"], rtol=1e-4, atol=1e-6)


def test_soft_targets_are_detached() -> None:
    image, text = leaves(A, B)
    targets = torch.tensor(softmax((A @ A.T + B @ B.T).numpy() / 2))

    def with_constants(image: Tensor, text: Tensor) -> Tensor:
        logits = text @ image.T
        return -(targets * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum() / 2 / len(image)

    ours = gradients(soft_target_loss(image, text), image, text)
    for found, expected in zip(ours, gradients(with_constants(image, text), image, text), strict=True):
        torch.testing.assert_close(found, expected)
    moving = gradients(soft_target_loss(image, text, detach=False), image, text)
    assert not torch.allclose(ours[0], moving[0])


def test_soft_targets_do_not_move_with_the_temperature_of_the_logits() -> None:
    """As the temperature of the logits grows, the loss tends to ln N; the released code sharpens its targets."""
    each = soft_target_loss(A, B, temperature=1e9, reduction="none")
    torch.testing.assert_close(each, torch.full_like(each, math.log(6)))


def test_soft_targets_sum_to_one() -> None:
    """Constant logits cost ln N against any distribution; the released targets of images are none."""
    image, text = torch.zeros_like(A), B
    each = soft_target_loss(image, text, reduction="none")
    torch.testing.assert_close(each, torch.full_like(each, math.log(6)))
    published = soft_target_loss(image, text, compat="shariatnia", reduction="none")
    assert (published - math.log(6)).abs().max() > 0.01


def test_soft_targets_of_duplicates() -> None:
    """Five captions of each image that embed alike: ln 5 is the least that can be had."""
    rows = (30 * torch.eye(4)).repeat_interleave(5, 0)
    assert soft_target_loss(rows, rows) == pytest.approx(math.log(5), rel=1e-6)


# The queue


def test_an_empty_queue_gives_the_loss_within_the_batch() -> None:
    empty = FeatureQueue(0, 16)
    empty.enqueue(A)
    assert len(empty) == 0 and empty.features.shape == (0, 16)
    one_way = queue_loss(A, B, empty.features.double(), 0.1, reduction="none")
    other_way = queue_loss(B, A, empty.features.double(), 0.1, reduction="none")
    torch.testing.assert_close((one_way + other_way) / 2, contrastive_loss(A, B, 10.0, reduction="none"))
    with pytest.raises(ConfigError, match="no negatives"):
        queue_loss(A, B, empty.features, in_batch=False)


def test_same_image_is_no_negative() -> None:
    ids, queue_ids = torch.tensor([1, 1, 2, -1, -1, 3]), torch.tensor([1, -1, 9, 3])
    queue = random(4, 16, seed=7)
    plain = queue_loss(A, B, queue, 0.1, reduction="none")
    masked = queue_loss(A, B, queue, 0.1, ids=ids, queue_ids=queue_ids, reduction="none")
    less = masked < plain
    assert less.tolist() == [True, True, False, False, False, True]
    torch.testing.assert_close(masked[2:5], plain[2:5])
    everything = torch.ones(4, dtype=torch.long)
    alone = queue_loss(A[:1], B[:1], queue, 0.1, ids=everything[:1], queue_ids=everything)
    assert alone == 0


def test_queue_starts_empty_and_wraps_around() -> None:
    """Lightly starts with random rows, and drops what does not fit at the end; MoCo asks for divisible sizes."""
    queue = FeatureQueue(5, 16)
    assert len(queue) == 0
    rows = random(11, 16, dtype=torch.float32)
    ids = torch.arange(11)
    kept = []
    for start in range(0, 9, 3):
        queue.enqueue(rows[start : start + 3], ids[start : start + 3])
        kept = [*kept, *range(start, start + 3)][-5:]
        assert sorted(queue.ids.tolist()) == sorted(kept)
        torch.testing.assert_close(queue.features, torch.nn.functional.normalize(rows[queue.ids], dim=-1))
    queue.enqueue(rows, ids)
    assert sorted(queue.ids.tolist()) == [6, 7, 8, 9, 10]
    queue.enqueue(rows[:2])
    assert sorted(queue.ids.tolist()) == [-1, -1, 8, 9, 10]


def test_queue_survives_a_checkpoint(tmp_path: Path) -> None:
    queue, other = FeatureQueue(5, 16), FeatureQueue(5, 16)
    queue.enqueue(A[:4], torch.arange(4))
    torch.save(queue.state_dict(), tmp_path / "queue.pt")
    other.load_state_dict(torch.load(tmp_path / "queue.pt", weights_only=True))
    for one in (queue, other):
        one.enqueue(B[:3], torch.arange(10, 13))
    assert len(other) == 5
    assert torch.equal(queue.features, other.features) and torch.equal(queue.ids, other.ids)
    assert queue.ids.tolist() == [11, 12, 2, 3, 10]


def test_enqueueing_after_scoring_does_not_disturb_the_loss() -> None:
    queue = FeatureQueue(8, 16)
    queue.enqueue(QUEUE[:8])
    (query,) = leaves(B.float() + 0.01 * A.float())
    before = queue_loss(query, B.float(), queue.features)
    expected = gradients(before, query)[0]
    again = queue_loss(query, B.float(), queue.features)
    queue.enqueue(B.float())
    torch.testing.assert_close(gradients(again, query)[0], expected)
    # In the wrong order each key is its own negative.
    assert again < 0.1 < math.log(2) < queue_loss(query, B.float(), queue.features)


def test_moco_oracle() -> None:
    """Five steps: score against the old queue, step, then enqueue; the key tower is an average of the query tower."""
    stored = oracle("queue", "moco/")
    names = [f"{layer}.{kind}" for layer in ("body", "fc") for kind in ("weight", "bias")]
    query_tower = dict(zip(names, leaves(*(stored[f"sd/encoder_q.{name}"] for name in names)), strict=True))
    key_tower = {name: stored[f"sd/encoder_k.{name}"].clone() for name in names}
    queue = FeatureQueue(32, 16)
    queue.enqueue(stored["sd/queue"].T)

    def encode(tower: dict[str, Tensor], pixels: Tensor) -> Tensor:
        hidden = torch.relu(pixels @ tower["body.weight"].T + tower["body.bias"])
        return hidden @ tower["fc.weight"].T + tower["fc.bias"]

    for step in range(5):
        query = encode(query_tower, stored[f"step{step}/im_q"])
        for name in names:
            key_tower[name] = 0.9 * key_tower[name] + 0.1 * query_tower[name].detach()
        key = encode(key_tower, stored[f"step{step}/im_k"])
        loss = queue_loss(query, key, queue.features, 0.07, in_batch=False)
        queue.enqueue(key)
        torch.testing.assert_close(loss, stored[f"step{step}/loss"], rtol=1e-4, atol=1e-5)
        found = gradients(loss, *query_tower.values())
        if step == 0:
            torch.testing.assert_close(found[0], stored["step0/grad_query_body_weight"], rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            for tensor, gradient in zip(query_tower.values(), found, strict=True):
                tensor -= 0.3 * gradient
    torch.testing.assert_close(queue.features.T, stored["step4/queue_after"], rtol=1e-4, atol=1e-5)


def test_bank_oracle() -> None:
    """The same losses as lightly's; the same bank until a batch does not fit at its end."""
    stored = oracle("queue", "bank/")
    queue = FeatureQueue(16, 24)
    queue.enqueue(stored["initial"])
    for step in range(3):
        (first,) = leaves(stored[f"step{step}/z0"])
        second = stored[f"step{step}/z1"]
        loss = queue_loss(first, second, queue.features, float(stored["tau"]), in_batch=False)
        torch.testing.assert_close(loss, stored[f"step{step}/loss"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradients(loss, first)[0], stored[f"step{step}/grad_z0"], rtol=1e-4, atol=1e-6)
        queue.enqueue(second)
        if step < 2:
            torch.testing.assert_close(queue.features, stored[f"step{step}/bank_after"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(queue.features[:2], torch.nn.functional.normalize(second[4:], dim=-1))


def test_queues_that_do_not_fit() -> None:
    queue = FeatureQueue(4, 16)
    with pytest.raises(DataError, match="features has the shape"):
        queue.enqueue(random(3, 8))
    with pytest.raises(DataError, match="ids"):
        queue.enqueue(A, LABELS[:2])
    with pytest.raises(DataError, match="type"):
        queue.enqueue(LABELS[:, None])
    with pytest.raises(ConfigError, match="size is -1"):
        FeatureQueue(-1, 16)
    with pytest.raises(DataError, match="queue is"):
        queue_loss(A, B, random(4, 8))
    with pytest.raises(DataError, match="only one of"):
        queue_loss(A, B, QUEUE, ids=LABELS)
    with pytest.raises(DataError, match="queue_ids"):
        queue_loss(A, B, QUEUE, ids=LABELS, queue_ids=LABELS)


# Pixels


def test_even_images_have_no_variation_and_no_gradient() -> None:
    for loss in (total_variation_loss, total_variation_norm_loss):
        (pixels,) = leaves(torch.full((2, 3, 5, 6), 0.3))
        value = loss(pixels)
        assert value == 0 and (gradients(value, pixels)[0] == 0).all()


def test_range_of_the_house() -> None:
    inside = torch.rand(2, 3, 4, 4)
    assert range_loss(inside, low=0.0) == 0 and saturation_loss(inside, low=0.0) == 0
    assert range_loss(inside - 0.5) == 0 and range_loss(inside - 0.5, low=0.0) > 0
    with pytest.raises(ConfigError, match="low is 1"):
        range_loss(inside, low=1.0, high=0.0)


def test_images_that_do_not_fit() -> None:
    for loss in (total_variation_loss, total_variation_norm_loss, range_loss, saturation_loss):
        with pytest.raises(DataError, match=r"\[batch, channels, height, width\]"):
            loss(torch.rand(3, 8, 8))
    with pytest.raises(DataError, match="2 x 2"):
        total_variation_norm_loss(torch.rand(1, 3, 1, 8))


# The page and the docstrings


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "losses.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    torch.manual_seed(0)
    exec(compile(code, "docs/losses.md", "exec"), {})
    first, last = (float(word) for word in capsys.readouterr().out.split())
    assert last < first - 0.3


def test_the_page_names_every_loss() -> None:
    page = (Path(__file__).parents[1] / "docs" / "losses.md").read_text()
    assert [name for name in clipzoo.losses.__all__ if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(clipzoo.losses.__path__)])
def test_docstring_examples(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"clipzoo.losses.{name}"))
    assert found.failed == 0
