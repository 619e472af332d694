"""The rasteriser's images: stored renderings of diffvg, plain references, and input that is hardly a stroke."""

from pathlib import Path

import numpy as np
import pytest
import torch
from clipzoo_sketch import numba_backend, rasterize, torch_backend
from clipzoo_sketch.geometry import elevate
from clipzoo_sketch.rasterizer import choose_backend
from clipzoo_sketch.scene import Scene

from clipzoo.errors import ConfigError, DataError

STORED = np.load(Path(__file__).parent / "oracle" / "strokes.npz")
SCENES = sorted({name.partition("/")[0] for name in STORED.files})
BACKENDS = {"torch": torch_backend, "numba": numba_backend}
BLACK = (0.0, 0.0, 0.0, 1.0)


def stored_scene(name: str) -> dict[str, np.ndarray]:
    return {file.partition("/")[2]: STORED[file] for file in STORED.files if file.startswith(name + "/")}


def draw_stored(stored: dict[str, np.ndarray], backend: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The scene path by path, since its paths differ in shape; and the tensors that it is a function of."""
    given = {
        name: torch.from_numpy(stored[name].astype(np.float32)).requires_grad_()
        for name in ("points", "stroke_width", "stroke_color", "fill_color")
    }
    image = torch.ones(1, 3, 224, 224)
    for path, radius in enumerate(given["stroke_width"]):
        points = given["points"][slice(*stored["path_ptr"][path : path + 2])]
        closed = bool(stored["is_closed"][path])
        around = torch.cat([points, points[:1]]) if closed else points
        cubics, place = [], 0
        for inner in stored["num_control_points"][slice(*stored["seg_ptr"][path : path + 2])]:
            cubics.append(elevate(around[place : place + inner + 2]))
            place += inner + 1
        scene = Scene(
            torch.stack(cubics)[None, None],
            radius.view(1, 1),
            given["stroke_color"][path].view(1, 1, 4) if stored["has_stroke"][path] else None,
            given["fill_color"][path].view(1, 1, 4) if stored["has_fill"][path] else None,
            image,
            closed,
            "evenodd" if stored["even_odd"][path] else "nonzero",
        )
        image = BACKENDS[backend].render(scene)
    return image, given


@pytest.mark.parametrize("name", SCENES)
def test_images_are_the_stored_renderings(name: str) -> None:
    """diffvg with 400 samples a pixel; one whose strokes cross in a pixel may differ there, and nowhere else."""
    stored = stored_scene(name)
    image, _ = draw_stored(stored, "numba")
    off = (image[0].detach().permute(1, 2, 0).numpy() - stored["image"].astype(np.float64)).__abs__()
    assert off.mean() <= 5e-4
    assert (off.max(-1) > 0.1).mean() <= 1e-3


@pytest.mark.parametrize("name", [name for name in SCENES if f"{name}/to_points" in STORED.files])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_those_of_the_exact_area(name: str, backend: str) -> None:
    stored = stored_scene(name)
    image, given = draw_stored(stored, backend)
    (image[0].permute(1, 2, 0) * torch.from_numpy(stored["weights"].astype(np.float32))).sum().backward()
    for ours, key in (("points", "to_points"), ("stroke_width", "to_width")):
        if key in stored and np.linalg.norm(stored[key]) > 0:
            exact = stored[key].reshape(given[ours].shape)
            off = np.linalg.norm(given[ours].grad.numpy() - exact) / np.linalg.norm(exact)
            assert off <= 0.02, (name, ours, off)


@pytest.mark.parametrize("name", [name for name in SCENES if f"{name}/weights" in STORED.files])
def test_colour_gradients_are_those_of_diffvg(name: str) -> None:
    stored = stored_scene(name)
    image, given = draw_stored(stored, "numba")
    (image[0].permute(1, 2, 0) * torch.from_numpy(stored["weights"].astype(np.float32))).sum().backward()
    for ours, key, drawn in (
        ("stroke_color", "to_stroke_color", "has_stroke"),
        ("fill_color", "to_fill_color", "has_fill"),
    ):
        if stored[drawn].any():
            theirs = stored[key]
            assert np.linalg.norm(given[ours].grad.numpy() - theirs) <= 0.01 * np.linalg.norm(theirs), name


def strokes(paths: int, points: int, seed: int = 0, canvases: int = 1, side: float = 48.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(canvases, paths, points, 2, generator=generator, dtype=dtype) * side,
        torch.rand(canvases, paths, generator=generator, dtype=dtype) * 6 + 0.3,
        torch.rand(canvases, paths, 4, generator=generator, dtype=dtype),
    )


def black(*shape: int) -> torch.Tensor:
    return torch.tensor(BLACK).expand(*shape, 4)


def sampled(points: np.ndarray, radius: float, size: tuple[int, int], times: int = 24) -> np.ndarray:
    """Coverage by brute force, float64: samples of a pixel that are nearer than the radius to one of many curve points."""
    t = np.linspace(0, 1, 3000)[:, None]
    curve = (1 - t) ** 3 * points[0] + 3 * t * (1 - t) ** 2 * points[1]
    curve = curve + 3 * t**2 * (1 - t) * points[2] + t**3 * points[3]
    height, width = size
    ys = (np.arange(height * times) + 0.5) / times
    xs = (np.arange(width * times) + 0.5) / times
    inside = np.empty((len(ys), len(xs)), bool)
    for row, y in enumerate(ys):
        near = curve[np.abs(curve[:, 1] - y) < radius]
        reach = np.sqrt(radius**2 - (near[:, 1] - y) ** 2)
        starts, ends = np.sort(near[:, 0] - reach), np.sort(near[:, 0] + reach)
        inside[row] = np.searchsorted(starts, xs, "right") > np.searchsorted(ends, xs, "left")
    return inside.reshape(height, times, width, times).mean((1, 3))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("radius", [0.4, 1.5, 6.0])
def test_coverage_is_the_sampled_area(backend: str, radius: float) -> None:
    points = np.array([[5.0, 20.3], [30.0, -8.0], [-4.0, 5.0], [25.2, 27.1]])
    image = rasterize(
        torch.tensor(points, dtype=torch.float32)[None, None],
        torch.tensor([[2 * radius]]),
        black(1, 1),
        (32, 32),
        backend=backend,
    )
    off = np.abs(1 - image[0, 0].numpy() - sampled(points, radius, (32, 32)))
    assert off.mean() < 1e-3
    assert (off > 0.02).sum() <= 6  # where the curve crosses itself


@pytest.mark.parametrize(
    "kind",
    ["line", "quadratic", "cubic", "chain", "polyline", "closed", "closed-chain", "fill", "fill-evenodd", "both"],
)
@pytest.mark.parametrize("antialias", [True, False])
def test_backends_agree(kind: str, antialias: bool) -> None:
    """Same pixels and same gradients from the compiled loops as from the vectorised reference."""
    count = {"line": 2, "quadratic": 3, "cubic": 4, "chain": 7, "polyline": 5, "closed": 4}.get(kind, 6)
    options = {"antialias": antialias}
    if kind == "polyline":
        options["degree"] = 1
    if kind.startswith(("closed", "fill", "both")):
        options["closed"] = True
    if kind == "fill-evenodd":
        options["fill_rule"] = "evenodd"
    results = []
    for backend in BACKENDS:
        points, widths, colours = (tensor.requires_grad_() for tensor in strokes(5, count, canvases=2))
        fill = colours.flip(-2).detach().requires_grad_() if kind.startswith(("fill", "both")) else None
        lines = None if kind.startswith("fill") else colours
        below = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(1)).requires_grad_()
        image = rasterize(points, widths, lines, (40, 56), below, fill=fill, backend=backend, **options)
        weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
        (image * weights).sum().backward()
        wanted = [tensor for tensor in (points, widths, lines, fill, below) if tensor is not None]
        results.append([image] + [torch.zeros_like(t) if t.grad is None else t.grad for t in wanted])
    for first, second in zip(*results, strict=True):
        assert (first - second).norm() <= 1e-4 * first.norm() + 1e-5


@pytest.mark.parametrize(("points_a_path", "closed"), [(2, False), (4, False), (4, True), (7, False), (7, True)])
def test_gradients_are_central_differences(closed: bool, points_a_path: int) -> None:
    """In float64, for every kind of input at once: random directions in the space of all of them."""
    points, widths, colours = strokes(3, points_a_path, seed=3, side=20.0, dtype=torch.float64)
    given = [points, widths, colours, colours.flip(-1).clone()]
    weights = torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def value(points, widths, colours, fill):
        return (rasterize(points, widths, colours, (20, 20), closed=closed, fill=fill, backend="torch") * weights).sum()

    inputs = [tensor.clone().requires_grad_() for tensor in given]
    gradients = torch.autograd.grad(value(*inputs), inputs)
    generator = torch.Generator().manual_seed(5)
    for which in range(4 if points_a_path > 2 else 3):  # the inside of a line is empty, and grows either way
        step = torch.randn(given[which].shape, generator=generator, dtype=torch.float64) * 1e-6
        moved = [[t + sign * step if i == which else t for i, t in enumerate(given)] for sign in (1, -1)]
        difference = (value(*moved[0]) - value(*moved[1])).item() / 2
        expected = (gradients[which] * step).sum().item()
        scale = gradients[which].norm().item() * step.norm().item()
        assert abs(difference - expected) <= 1e-3 * scale, which


@pytest.mark.parametrize("backend", BACKENDS)
def test_overlap_of_one_stroke_is_no_darker_and_of_two_is(backend: str) -> None:
    """A stroke at half opacity that crosses itself, and two that cross each other."""
    cross = torch.tensor([[4.0, 4.0], [28.0, 28.0], [28.0, 4.0], [4.0, 28.0]])
    half = torch.tensor([0.0, 0.0, 0.0, 0.5])
    one = rasterize(cross[None, None], torch.full((1, 1), 5.0), half.view(1, 1, 4), (32, 32), degree=1, backend=backend)
    assert one.amin() == pytest.approx(0.5)
    two = rasterize(cross.view(1, 2, 2, 2), torch.full((1, 2), 5.0), half.expand(1, 2, 4), (32, 32), backend=backend)
    assert two[0, 0, 15, 15] == pytest.approx(0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_later_paths_lie_above_and_fills_below_their_strokes(backend: str) -> None:
    square = torch.tensor([[8.0, 8.0], [24.0, 8.0], [24.0, 24.0], [8.0, 24.0]])
    paths = torch.stack([square, square + 4])[None]
    red, blue = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    image = rasterize(
        paths,
        torch.full((1, 2), 2.0),
        black(1, 2),
        (32, 32),
        closed=True,
        fill=torch.stack([red, blue])[None],
        degree=1,
        backend=backend,
    )[0]
    assert image[:, 10, 10].tolist() == [1, 0, 0]
    assert image[:, 20, 20].tolist() == [0, 0, 1]
    assert image[:, 20, 8].tolist() == [0, 0, 0]
    assert image[:, 2, 2].tolist() == [1, 1, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_point_is_a_disc_with_gradients(backend: str) -> None:
    """All control points equal: no direction, and still a dot that can be moved and grown."""
    points = torch.full((1, 1, 4, 2), 8.0).requires_grad_()
    widths = torch.full((1, 1), 6.0, requires_grad=True)
    single = rasterize(points[:, :, :1], widths, black(1, 1), (16, 16), backend=backend)
    assert torch.equal(single, rasterize(points, widths, black(1, 1), (16, 16), backend=backend))
    image = rasterize(points, widths, black(1, 1), (16, 16), backend=backend)
    area = (1 - image[0, 0]).sum()
    assert area.item() == pytest.approx(9 * np.pi, rel=2e-3)
    area.backward()
    assert widths.grad.item() == pytest.approx(3 * np.pi, rel=2e-3)  # d(pi w^2 / 4) / dw
    assert points.grad.sum(2).abs().max() < 1e-6
    # Of the sum of columns of covered pixels, the derivative by x is the length of the lines between columns in the disc.
    points = torch.tensor([8.3, 8.0]).expand(1, 1, 4, 2).clone().requires_grad_()
    image = rasterize(points, widths, black(1, 1), (16, 16), backend=backend)
    ((1 - image[0, 0]) * torch.arange(16.0)).sum().backward()
    lines = np.arange(6, 12)
    lengths = 2 * np.sqrt(9 - (lines - 8.3) ** 2)
    assert points.grad[0, 0, :, 0].sum().item() == pytest.approx(lengths.sum(), rel=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_degenerate_curves_stay_finite(backend: str) -> None:
    """Doubled ends, a cusp, a path that returns on itself, no length in a part of a chain, evenly spaced points."""
    awkward = torch.tensor(
        [
            [[4.0, 4.0], [4.0, 4.0], [20.0, 20.0], [20.0, 20.0]],
            [[4.0, 10.0], [24.0, 10.0], [4.0, 10.0], [24.0, 10.0]],
            [[4.0, 4.0], [24.0, 24.0], [24.0, 4.0], [4.0, 24.0]],
            [[2.0, 2.0], [10.0, 2.0], [18.0, 2.0], [26.0, 2.0]],
            [[16.0, 16.0], [28.0, 16.0], [4.0, 16.0], [16.0, 16.0]],
        ]
    )
    chain = torch.cat([awkward, awkward[:, 3:].expand(-1, 3, -1)], 1)
    for points in (awkward, chain):
        points = points[None].clone().requires_grad_()
        widths = torch.full((1, 5), 3.0, requires_grad=True)
        image = rasterize(points, widths, black(1, 5), (28, 28), backend=backend)
        (image * torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))).sum().backward()
        assert image.isfinite().all()
        assert points.grad.isfinite().all()
        assert points.grad.abs().max() < 1e3
        assert widths.grad.isfinite().all()
    straight = rasterize(awkward[None, 3:4], torch.full((1, 1), 3.0), black(1, 1), (28, 28), backend=backend)
    assert straight[0, 0, 2, 4:24].max() == 0  # the evenly spaced line is all there


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_part_without_length_changes_nothing(backend: str) -> None:
    points, widths, colours = strokes(4, 4)
    longer = torch.cat([points, points[:, :, 3:].expand(-1, -1, 3, -1)], 2)
    same = rasterize(points, widths, colours, (48, 48), backend=backend)
    assert torch.equal(rasterize(longer, widths, colours, (48, 48), backend=backend), same)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_closed_strokes_have_no_hole(backend: str) -> None:
    """A ring whose radius is below that of its line is a disc."""
    triangle = torch.tensor([[15.0, 15.0], [18.0, 15.0], [16.5, 17.5]])
    image = rasterize(
        triangle[None, None], torch.full((1, 1), 12.0), black(1, 1), (32, 32), closed=True, degree=1, backend=backend
    )
    assert image[0, 0, 13:19, 13:19].max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_width_zero_is_invisible_and_can_grow(backend: str) -> None:
    points, _, _ = strokes(2, 4)
    widths = torch.zeros(1, 2, requires_grad=True)
    image = rasterize(points, widths, black(1, 2), (48, 48), backend=backend)
    assert image.min().item() == pytest.approx(1, abs=1e-6)
    (1 - image).sum().backward()
    assert (widths.grad > 0).all()
    assert torch.equal(
        rasterize(points, -torch.ones(1, 2), black(1, 2), (48, 48), backend=backend).round(decimals=5),
        torch.ones(1, 3, 48, 48),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_strokes_off_the_canvas(backend: str) -> None:
    """What lies outside is cut off: as a part of a larger canvas, however far away."""
    points, widths, colours = strokes(12, 4, side=90.0)
    points = points - 25
    large = rasterize(points + 30, widths, colours, (100, 100), backend=backend)
    small = rasterize(points, widths, colours, (40, 40), backend=backend)
    assert (large[:, :, 30:70, 30:70] - small).abs().max() < 1e-5
    far = (points + 1e7).requires_grad_()
    image = rasterize(far, widths, colours, (40, 40), backend=backend)
    assert torch.equal(image, torch.ones_like(image))
    image.sum().backward()
    assert torch.equal(far.grad, torch.zeros_like(far))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (17, 30)])
def test_canvases_of_any_shape(backend: str, size: tuple[int, int]) -> None:
    points = torch.tensor([[[[-5.0, -5.0], [70.0, 70.0]]]])
    image = rasterize(points, torch.full((1, 1), 200.0), black(1, 1), size, backend=backend)
    assert image.shape == (1, 3, *size)
    assert image.abs().max() < 1e-6


def test_a_large_canvas_costs_what_is_drawn() -> None:
    points = torch.tensor([[[[100.0, 100.0], [3000.0, 200.0], [100.0, 3000.0], [4000.0, 4000.0]]]]).requires_grad_()
    image = rasterize(points, torch.full((1, 1), 9.0), black(1, 1), (4096, 4096), backend="numba")
    image.mean().backward()
    assert points.grad.isfinite().all()
    assert image.min() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_strokes_and_no_canvases(backend: str) -> None:
    image = rasterize(
        torch.zeros(2, 0, 4, 2), torch.zeros(2, 0), torch.zeros(2, 0, 4), (8, 9), (0.2, 0.4, 0.6), backend=backend
    )
    assert image[1, :, 3, 3].tolist() == pytest.approx([0.2, 0.4, 0.6])
    none = rasterize(torch.zeros(0, 3, 4, 2), torch.zeros(0, 3), torch.zeros(0, 3, 4), (8, 9), backend=backend)
    assert none.shape == (0, 3, 8, 9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_is_its_canvases(backend: str) -> None:
    points, widths, colours = strokes(6, 7, canvases=3)
    whole = rasterize(points, widths, colours, (40, 48), backend=backend)
    for row in range(3):
        alone = rasterize(
            points[row : row + 1], widths[row : row + 1], colours[row : row + 1], (40, 48), backend=backend
        )
        assert (whole[row] - alone[0]).abs().max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_turned_canvas_has_a_turned_image(backend: str) -> None:
    points, widths, colours = strokes(6, 4)
    image = rasterize(points, widths, colours, (48, 48), backend=backend)
    turned = rasterize(points.flip(-1), widths, colours, (48, 48), backend=backend)
    assert (turned - image.transpose(2, 3)).abs().max() < 1e-4
    reversed_ = rasterize(points.flip(2), widths, colours, (48, 48), backend=backend)
    assert (reversed_ - image).abs().max() < 1e-4


def test_without_antialiasing_pixels_are_all_or_nothing() -> None:
    points, widths, _ = strokes(3, 4)
    hard = rasterize(points, widths, black(1, 3), (48, 48), antialias=False)
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    soft = rasterize(points, widths, black(1, 3), (48, 48))
    assert (hard - soft).abs().mean() < 0.03
    line = rasterize(
        torch.tensor([[[[0.0, 8.0], [16.0, 8.0]]]]), torch.full((1, 1), 4.0), black(1, 1), (16, 16), antialias=False
    )
    assert line[0, 0, :, 8].tolist() == [1] * 6 + [0] * 4 + [1] * 6


def test_even_odd_leaves_the_middle_of_a_star_empty() -> None:
    angles = torch.arange(5) * 4 * torch.pi / 5
    star = (16 + 14 * torch.stack([angles.sin(), -angles.cos()], -1))[None, None]
    images = [
        rasterize(star, torch.zeros(1, 1), None, (32, 32), closed=True, fill=black(1, 1), degree=1, fill_rule=rule)
        for rule in ("nonzero", "evenodd")
    ]
    both = torch.stack([image[0, 0, [16, 6], 16] for image in images])
    assert (both - torch.tensor([[0.0, 0.0], [1.0, 0.0]])).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["points", "widths", "colors", "fill"])
def test_values_that_are_not_finite_are_named(name: str) -> None:
    points, widths, colours = strokes(2, 4)
    given = {"points": points, "widths": widths, "colors": colours, "fill": colours.clone()}
    given[name].view(-1)[3 if name != "widths" else 1] = torch.nan
    with pytest.raises(DataError, match=name):
        rasterize(**given, size=(8, 8))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"points": torch.zeros(2, 4, 2)}, "points of shape"),
        ({"points": torch.zeros(1, 2, 5, 2)}, "degree"),
        ({"widths": torch.zeros(2)}, "widths of shape"),
        ({"widths": torch.zeros(1, 2, device="meta")}, "widths on meta"),
        ({"colors": torch.zeros(1, 2, 3)}, "colors of shape"),
        ({"fill": torch.zeros(1, 1, 4)}, "fill of shape"),
        ({"size": (0, 8)}, "size"),
        ({"size": (8, 1 << 20)}, "size"),
        ({"background": (1.0, 1.0)}, "background"),
        ({"backend": "numbra"}, "numba"),
        ({"fill_rule": "odd"}, "fill_rule"),
        ({"degree": 4}, "degree"),
    ],
)
def test_what_does_not_fit_is_said(changed: dict, told: str) -> None:
    points, widths, colours = strokes(2, 4)
    with pytest.raises(ConfigError, match=told):
        rasterize(**{"points": points, "widths": widths, "colors": colours, "size": (8, 8), **changed})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_it_went_in(backend: str, dtype: torch.dtype) -> None:
    points, widths, colours = strokes(2, 4)
    points = points.to(dtype).requires_grad_()
    image = rasterize(points, widths, colours, (48, 48), backend=backend)
    expected = rasterize(points.float(), widths, colours, (48, 48), backend=backend)
    assert image.dtype == dtype
    assert (image.float() - expected).abs().max() < 0.02
    image.sum().backward()
    assert points.grad.dtype == dtype and points.grad.isfinite().all()


def test_auto_is_the_fastest_that_is_there(monkeypatch) -> None:
    assert choose_backend("auto", torch.device("cpu")) == "numba"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend("auto", torch.device("cpu")) == "torch"
    assert choose_backend("auto", torch.device("cuda")) == "torch"
    with pytest.raises(ConfigError, match="cuda"):
        choose_backend("numba", torch.device("cuda"))
