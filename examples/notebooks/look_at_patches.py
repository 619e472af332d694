# %% [markdown]
"""What does a patch of an image say?

A frozen CLIP gives one row for a whole image. `clip.dense` gives a row for every patch, comparable with sentences: the
cosine with "red circle" is a map of where there is something like it. This needs no training and no boxes.

Open it as a notebook (`jupytext --to notebook look_at_patches.py`) or run it: it writes `patches.png`.
"""

# %%
import numpy as np
import torch
from PIL import Image

import clipzoo
from clipzoo.data.scenes import scene_dataset
from clipzoo.images.sheets import captioned_sheet

clip = clipzoo.load_clip("tiny")
scene = next(scene for scene in scene_dataset(50, seed=4, size=128, objects=2) if len(scene.boxes) == 2)
pixels = torch.from_numpy(np.asarray(scene.image)).permute(2, 0, 1)[None].float() / 255
print([f"{thing.colour} {thing.shape}" for thing in scene.objects])

# %% [markdown]
# The sentences name the two things. A map is read relative to the other sentence: the level of a cosine says little,
# the difference between two says where.

# %%
sentences = [f"a {thing.colour} {thing.shape}" for thing in scene.objects]
rows = clip.encode_text(sentences)
patches = clip.dense(pixels, "naclip")[0]  # [h, w, dim]
similarity = patches @ rows.T  # [h, w, 2]
maps = similarity - similarity.flip(-1)
print(patches.shape, maps.shape)


# %%
def heat(values: torch.Tensor) -> Image.Image:
    """A map in [0, 1] from blue to red, over the picture in grey."""
    large = torch.nn.functional.interpolate(values[None, None], pixels.shape[-2:], mode="bilinear")[0, 0]
    strength = ((large - large.min()) / (large.max() - large.min())).clamp(0, 1)
    grey = pixels[0].mean(0)
    mixed = torch.stack([0.35 * grey + 0.65 * strength, 0.35 * grey, 0.35 * grey + 0.65 * (1 - strength)])
    return Image.fromarray((mixed * 255).byte().permute(1, 2, 0).numpy())


sheet = captioned_sheet(
    [(Image.fromarray(np.asarray(scene.image)), "the scene")]
    + [(heat(maps[..., place]), sentence) for place, sentence in enumerate(sentences)],
    columns=3,
    cell_px=220,
)
sheet.save("patches.png")
sheet  # noqa: B018

# %% [markdown]
# How often is the strongest patch inside the box of the thing that was named?

# %%
side = scene.image.shape[0] / maps.shape[0]
for place, sentence in enumerate(sentences):
    row, column = divmod(int(maps[..., place].argmax()), maps.shape[1])
    x, y = (column + 0.5) * side, (row + 0.5) * side
    left, top, right, bottom = scene.boxes[place]
    inside = left - side <= x <= right + side and top - side <= y <= bottom + side
    print(f"{sentence}: strongest at ({x:.0f}, {y:.0f}) px, {'inside' if inside else 'outside'} its box")
