"""Splatter images of nothing in particular, for whoever measures or compares a system and learns nothing."""

from dataclasses import replace

import torch

from geometry.splatter_tensor import CHANNELS
from systems.trainable import SplatterImages, Views


def with_splatters(views: Views, count: int) -> Views:
    """Views with as many splatter images of the pictures' size, all values of all Gaussians one half.

    Args:
        views: the condition last.
        count: splatter images of each sample, as if the condition's camera saw them.
    """
    samples, size = len(views.uids), views.rgba.shape[2]
    channels = views.rgba.new_full((samples, count, len(CHANNELS), size, size), 0.5, dtype=torch.float16)
    c2w = views.c2w[:, -1:].expand(samples, count, 4, 4)
    return replace(views, splatters=SplatterImages(channels, c2w, views.intrinsics[:, -1:].expand(samples, count, 4)))
