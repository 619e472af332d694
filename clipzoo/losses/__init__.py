"""Losses: pure functions on precomputed features, in fp32 or float64 whatever they are given.

See ``docs/losses.md`` for all of them in one table.
"""

from clipzoo.losses.contrastive import contrastive_loss, nt_xent_loss
from clipzoo.losses.directional import (
    directional_loss,
    log_directional_loss,
    patch_directional_loss,
    patch_threshold_directional_loss,
    text_direction,
)
from clipzoo.losses.distance import global_loss, spherical_loss
from clipzoo.losses.gather import all_gather_features
from clipzoo.losses.layers import layer_loss
from clipzoo.losses.pixels import range_loss, saturation_loss, total_variation_loss, total_variation_norm_loss
from clipzoo.losses.queue import FeatureQueue, queue_loss
from clipzoo.losses.siglip import siglip_loss
from clipzoo.losses.soft_targets import label_kl_loss, soft_target_loss

__all__ = [
    "FeatureQueue",
    "all_gather_features",
    "contrastive_loss",
    "directional_loss",
    "global_loss",
    "label_kl_loss",
    "layer_loss",
    "log_directional_loss",
    "nt_xent_loss",
    "patch_directional_loss",
    "patch_threshold_directional_loss",
    "queue_loss",
    "range_loss",
    "saturation_loss",
    "siglip_loss",
    "soft_target_loss",
    "spherical_loss",
    "text_direction",
    "total_variation_loss",
    "total_variation_norm_loss",
]
