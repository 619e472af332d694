# %% [markdown]
"""How far is "far"?

DepthCLIP asks at every place of an image which of seven words fits, "This object is close", "... far", and so on, gives
each word a depth in metres and mixes them. Nothing is trained. Here is where each word is heard, and what that makes.

Open it as a notebook (`jupytext --to notebook words_for_distance.py`) or run it: it writes `words.png`.
"""

# %%
import torch
from clipzoo_depth import DepthCLIP
from PIL import Image

import clipzoo
from clipzoo.data.rooms import room_dataset
from clipzoo.images.sheets import captioned_sheet

room = room_dataset(4, seed=11)[2]
pixels = torch.from_numpy(room.image).permute(2, 0, 1)[None].float() / 255
truth = torch.from_numpy(room.depth)
clip = clipzoo.load_clip("tiny-rn")
published = DepthCLIP(clip, preprocessing="encoder")
softer = DepthCLIP(clip, preprocessing="encoder", temperature=5.0)
features = published.features(pixels)  # [1, rows, columns, dim]: encoded once, compared twice
shares = {method.temperature: method.logits_of(features).softmax(1)[0] for method in (published, softer)}
for temperature, share in shares.items():
    print(f"temperature {temperature}: the likeliest word of a place has {share.amax(0).mean():.0%} on average")

# %% [markdown]
# At the published temperature of 0.1 one word takes nearly all of a place, so depth comes in steps: those of the words
# that won somewhere. At 5 neighbouring words share a place. Each map of a word is as white as its largest share.


# %%
def grey(values: torch.Tensor, most: float) -> Image.Image:
    """A map from 0 (black) to ``most`` (white), in the size of the room."""
    large = torch.nn.functional.interpolate(values[None, None], pixels.shape[-2:], mode="bilinear")[0, 0]
    return Image.fromarray((large / most).clamp(0, 1).mul(255).byte().numpy())


far = float(truth.max())
cells = [(Image.fromarray(room.image), "the room"), (grey(truth, far), f"true depth, white is {far:.1f} m")]
for method in (published, softer):
    cells.append((grey(method.predict(pixels)[0, 0], far), f"depth, temperature {method.temperature:g}"))
for word, metres, share in zip(softer.words, softer.bins.tolist(), shares[softer.temperature], strict=True):
    cells.append((grey(share, float(share.max())), f"{word}, {metres:g} m: at most {share.max():.0%}"))
sheet = captioned_sheet(cells, columns=4, cell_px=190)
sheet.save("words.png")
sheet  # noqa: B018

# %% [markdown]
# Does it know near from far? Of pairs of pixels half a metre apart: how often is the one it calls nearer the nearer?

# %%
one, other = torch.randint(truth.numel(), (2, 4000), generator=torch.Generator().manual_seed(0))
true_nearer = truth.flatten()[one] < truth.flatten()[other]
apart = (truth.flatten()[one] - truth.flatten()[other]).abs() > 0.5
for method in (published, softer):
    depth = method.predict(pixels).flatten()
    right = ((depth[one] < depth[other]) == true_nearer)[apart].float().mean()
    print(f"temperature {method.temperature:g}: {right:.0%} of the pairs in the right order")
    assert right > 0.5
