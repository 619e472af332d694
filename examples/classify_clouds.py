"""Classify three point clouds with the bundled encoder, offline."""

import numpy as np
import torch
from clipzoo_points import PointCLIP, normalise_clouds

import clipzoo
from clipzoo.data.shapes import sample_shape

names = ["airplane", "chair", "toilet"]
clouds = np.stack([sample_shape(name, np.random.default_rng(7)) for name in names])

method = PointCLIP(clipzoo.load_clip("tiny"), classnames=[*names, "table", "lamp"])
probabilities = method.logits(normalise_clouds(torch.from_numpy(clouds))).softmax(-1)

for name, row in zip(names, probabilities, strict=True):
    best = int(row.argmax())
    print(f"{name:9} looks like: {method.classnames[best]} ({row[best]:.0%})")
