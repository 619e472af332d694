"""The Triton kernels against the torch back end: under Triton's interpreter where there is no GPU.

Triton decides at its first import whether it interprets, so that a process of its own does the comparison: this file, run
as a program, prints what the tests look at.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from clipzoo_sketch import rasterize, torch_backend
from clipzoo_sketch.geometry import to_cubics
from clipzoo_sketch.scene import Scene

from clipzoo.errors import ConfigError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = {"open": (False, True), "fill": (True, True), "evenodd": (True, True), "hard": (False, False)}


def draw(backend, kind: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Canvases whose sides are no multiple of a tile, strokes that leave them; the image and all gradients."""
    closed, antialias = CASES[kind]
    generator = torch.Generator().manual_seed(1)
    given = {
        "points": (torch.rand(2, 2, 4, 2, generator=generator) * torch.tensor([20.0, 8, 8, 8])[:, None]).cumsum(2) - 6,
        "widths": torch.rand(2, 2, generator=generator) * 5,
        "colours": torch.rand(2, 2, 4, generator=generator),
        "fill": torch.rand(2, 2, 4, generator=generator),
        "background": torch.rand(2, 3, 14, 20, generator=generator),
    }
    weights = torch.randn(2, 3, 14, 20, generator=generator).to(DEVICE)
    given = {name: tensor.to(DEVICE).requires_grad_() for name, tensor in given.items()}
    scene = Scene(
        to_cubics(given["points"], closed, 1 if kind == "evenodd" else None),
        given["widths"] / 2,
        None if kind == "fill" else given["colours"],
        given["fill"] if closed else None,
        given["background"],
        closed,
        "evenodd" if kind == "evenodd" else "nonzero",
        antialias,
    )
    image = backend.render(scene)
    (image * weights).sum().backward()
    return image, {name: torch.zeros_like(t) if t.grad is None else t.grad for name, t in given.items()}


def draw_nothing(backend) -> tuple[float, float]:
    """Strokes off the canvas make no pairs of layers and tiles: what is left of the background, and the gradient."""
    points = torch.full((1, 2, 4, 2), 500.0, device=DEVICE).requires_grad_()
    ones, background = torch.ones(1, 2, 4, device=DEVICE), torch.full((1, 3, 20, 20), 0.5, device=DEVICE)
    image = backend.render(Scene(to_cubics(points, False), ones[..., 0], ones, None, background, False))
    image.sum().backward()
    return (image - background).abs().max().item(), points.grad.abs().max().item()


def compare() -> dict:
    from clipzoo_sketch import triton_backend

    told = {"nothing": draw_nothing(triton_backend)}
    for kind in CASES:
        image, gradients = draw(triton_backend, kind)
        expected, wanted = draw(torch_backend, kind)
        off = (image - expected).abs()
        told[kind] = {
            "largest": off.max().item(),
            "pixels": (off.amax(1) > 1e-4).float().mean().item(),
            "gradients": {
                name: ((gradients[name] - theirs).norm() / theirs.norm().clamp(min=1e-6)).item()
                for name, theirs in wanted.items()
            },
            "size": {name: theirs.norm().item() for name, theirs in wanted.items()},
        }
    return told


@pytest.fixture(scope="module")
def compared() -> dict:
    pytest.importorskip("triton", reason="Triton is not installed")
    interpreted = {} if DEVICE == "cuda" else {"TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, __file__], env={**os.environ, **interpreted}, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "hard"])
def test_the_kernels_do_what_torch_does(compared: dict, kind: str) -> None:
    told = compared[kind]
    assert told["largest"] < 1e-4
    assert max(told["gradients"].values()) < 2e-3, told["gradients"]
    assert told["size"]["points"] > 0.1


def test_without_antialiasing(compared: dict) -> None:
    told = compared["hard"]
    assert told["pixels"] < 5e-3  # centres that lie on an outline
    assert told["gradients"]["points"] == told["size"]["points"] == 0
    assert told["gradients"]["colours"] < 0.02


def test_nothing_to_see(compared: dict) -> None:
    assert compared["nothing"] == [0, 0]


@pytest.mark.skipif(DEVICE == "cuda" or "TRITON_INTERPRET" in os.environ, reason="asks what happens without a GPU")
def test_on_the_cpu_it_says_so() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    with pytest.raises(ConfigError, match="CPU"):
        rasterize(torch.rand(1, 1, 4, 2), torch.ones(1, 1), torch.ones(1, 1, 4), (8, 8), backend="triton")


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_there() -> None:
    """What the interpreter accepts and the compiler does not would else be seen on a GPU alone."""
    pytest.importorskip("triton", reason="Triton is not installed")
    run = subprocess.run([sys.executable, __file__, "compile"], capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == ["winding", "edge", "composite", "uncomposite"]


def compile_kernels() -> list[str]:
    import triton
    from clipzoo_sketch import triton_kernels
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    values, places, whole = "*fp32", "*i64", "i32"
    listed = [values, places, places, places, values, "*i32", values]
    signatures = {
        "winding": [values, places, places, places, values, whole, whole],
        "edge": [values, places, places, places, values, values, whole, whole],
        "composite": [values, *listed, *[whole] * 4],
        "uncomposite": [values, *listed, values, values, *[whole] * 4],
    }
    for name, types in signatures.items():
        kernel = getattr(triton_kernels, f"{name}_kernel")
        fixed = {"ANTIALIAS": True, "KEEP": True, "TILE": 16}
        constants = {(kernel.arg_names.index(key),): value for key, value in fixed.items() if key in kernel.arg_names}
        signature = dict(zip(kernel.arg_names, [*types, *["constexpr"] * len(constants)], strict=True))
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    return list(signatures)


if __name__ == "__main__":
    print(json.dumps(compile_kernels() if sys.argv[1:] == ["compile"] else compare()))
