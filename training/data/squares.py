"""Pictures of one size for a batch: the middle square of each, made smaller by averaging areas, and the intrinsics that follow.

The middle square is what Zero-1-to-3 and ZeroNVS train on. Nothing is enlarged: what is not in a picture is not made up.
"""

import numpy as np

from blender_render.view_codecs import resized
from stage.errors import InputError
from training.data.reader import ObjectViews


def squared(views: ObjectViews, size: int) -> ObjectViews:
    """Views of `size` × `size` pixels.

    A crop by (left, top) of a square whose side is s, then made smaller by k = size / s, maps a pixel (x, y), whose centre lies
    at half-integers, to k·(x − left, y − top): so fx and fy become k times, and the principal point moves likewise.

    Raises:
        InputError: when the pictures are smaller than that.
    """
    height, width = views.rgba.shape[1:3]
    side = min(height, width)
    if side < size:
        raise InputError(
            f"{views.uid} has {width}×{height} pixels, {size}×{size} are wanted", "ask for a smaller size"
        )
    left, top = (width - side) // 2, (height - side) // 2
    middle = views.rgba[:, top : top + side, left : left + side]
    rgba = middle if side == size else np.stack([resized(picture, size) for picture in middle])
    return ObjectViews(views.uid, rgba, views.c2w, (views.intrinsics - [0, 0, left, top]) * (size / side))
