# %% [markdown]
"""Strokes that move by their gradients.

Below CLIPasso and CLIPDraw lies a rasteriser whose every pixel has a gradient by the control points, the widths and the
colours. Here is the smallest thing it can do, without any encoder: six strokes that lie anywhere move until they draw a
ring.

Open it as a notebook (`jupytext --to notebook move_strokes.py`) or run it: it writes `strokes.png`.
"""

# %%
import torch
from clipzoo_sketch import rasterize
from clipzoo_sketch.animation import picture

from clipzoo.images.sheets import captioned_sheet
from clipzoo.optim import optimise

SIDE = 96
y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
radius = ((x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2).sqrt()
target = ((radius - 30).abs() > 3).float().expand(1, 3, SIDE, SIDE)

# %% [markdown]
# Six cubics, each with its four control points near one another. A blurred target and a blurred drawing are compared,
# so that a stroke that does not touch the ring yet feels where it is.

# %%
generator = torch.Generator().manual_seed(3)
start = SIDE * (0.2 + 0.6 * torch.rand(1, 6, 1, 2, generator=generator))
points = (start + 6 * torch.randn(1, 6, 4, 2, generator=generator)).requires_grad_()
widths, black = torch.full((1, 6), 6.0), torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(1, 6, 4)
moments: list[tuple[int, torch.Tensor]] = []


def blurred(image: torch.Tensor) -> torch.Tensor:
    """The image at half, a quarter and an eighth of its size, side by side as one vector."""
    return torch.cat([torch.nn.functional.avg_pool2d(image, 2**level).flatten(1) for level in (1, 2, 3, 4)], 1)


wanted = blurred(target)


def distance(step: int) -> torch.Tensor:
    """One loss a canvas."""
    image = rasterize(points=points, widths=widths, colors=black, size=(SIDE, SIDE), backend="torch")
    if step in (0, 10, 30, 60, 79):
        moments.append((step, image[0].detach().clone()))
    return (blurred(image) - wanted).square().mean(1)


done = optimise(distance, {"points": points}, 1.5, 80)

# %%
cells = [(picture(image), f"step {step}") for step, image in moments]
sheet = captioned_sheet([*cells, (picture(target[0]), "target")], columns=6, cell_px=150)
sheet.save("strokes.png")
sheet  # noqa: B018

# %%
first, last = (float((blurred(image[None]) - wanted).square().mean()) for image in (moments[0][1], moments[-1][1]))
print(f"distance {first:.4f} at first, {last:.4f} at last")
assert last < first
