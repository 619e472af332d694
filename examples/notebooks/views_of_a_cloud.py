# %% [markdown]
"""What does a chair look like to an encoder that has only seen pictures?

PointCLIP shows a cloud of points to a frozen CLIP as depth maps from several sides and adds up what each of them says.
Here every view votes alone; then the same chair lies on its back.

Open it as a notebook (`jupytext --to notebook views_of_a_cloud.py`) or run it: it writes `views.png`.
"""

# %%
import numpy as np
import torch
from clipzoo_points import PointCLIP, normalise_clouds
from PIL import Image

import clipzoo
from clipzoo.data.shapes import CATEGORIES, sample_shape
from clipzoo.images.sheets import captioned_sheet

method = PointCLIP(clipzoo.load_clip("tiny"), CATEGORIES, mode="v2")
chair = torch.from_numpy(sample_shape("chair", np.random.default_rng(3), points=2048)).float()
on_its_back = chair[:, [0, 2, 1]] * torch.tensor([1.0, -1.0, 1.0])
clouds = normalise_clouds(torch.stack([chair, on_its_back]))
images, features = method.depth_images(clouds), method.features(clouds)
print(images.shape, features.shape)  # two clouds, ten views

# %% [markdown]
# A view alone: the softmax over its cosines. All together: the sum of their scores, which is what the method answers.

# %%
scale = method.clip.logit_scale
votes = (scale * features @ method.text.T).softmax(-1)  # [2, views, classes]
together = method.logits_from_features(features).softmax(-1)


def told(probabilities: torch.Tensor) -> str:
    """The likeliest class and its probability."""
    best = int(probabilities.argmax())
    return f"{CATEGORIES[best]} {float(probabilities[best]):.0%}"


cells = []
for place, title in enumerate(("upright", "on its back")):
    for view in range(0, images.shape[1], 2):
        picture = (images[place, view].clamp(0, 1) * 255).byte().numpy()
        cells.append((Image.fromarray(picture), f"{method.view_names[view]}: {told(votes[place, view])}"))
    print(f"{title}: all {images.shape[1]} views say {told(together[place])}")
sheet = captioned_sheet(cells, columns=5, cell_px=150)
sheet.save("views.png")
sheet  # noqa: B018

# %% [markdown]
# Upright, the views from the side agree, and the one from above sees no chair. On its back it is the view from above
# alone that sees one: so `up_axis=`, which says where up is, matters more than any prompt.

# %%
label = CATEGORIES.index("chair")
upright, lying = votes[0, :, label], votes[1, :, label]
print(f"probability of a chair, mean of the views: {upright.mean():.2f} upright, {lying.mean():.2f} on its back")
assert upright.mean() > lying.mean()
