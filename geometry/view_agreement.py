"""How far splatter images of overlapping views disagree about where a surface is.

pairs = shared_pixels(points, valid, c2w, lenses)     # of the true surface
distance = disagreement(sampled_points, pairs)

A position image says of every pixel where its surface is. Where two views see the same place of an object, their images have to
name the same place, whatever made them.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from geometry.cameras import Intrinsics, project


def shared_pixels(
    points: Float[np.ndarray, "v h w 3"],
    valid: Bool[np.ndarray, "v h w"],
    c2w: Float[np.ndarray, "v 4 4"],
    lenses: Sequence[Intrinsics],
    within: float = 1.0,
) -> Int[np.ndarray, "m 2"]:
    """Pairs of pixels of different views that see the same place, as places in the flattened (v, h, w).

    A pixel's point is projected to another view; that view sees it where the nearest pixel's own point lies within so many of
    that view's pixels of it, and not where it sees background or something nearer.

    Args:
        points: what each pixel sees, world units.
        valid: pixels that see a surface.
        c2w: camera-to-world, OpenGL axes.
        lenses: of the views.
        within: how far apart the two points may be, pixels at their depth.
    """
    count, height, width = valid.shape
    flat, seen = points.reshape(-1, 3), valid.reshape(-1)
    pairs = []
    for view in range(count):
        own = view * height * width + np.flatnonzero(valid[view])
        for other in range(count):
            if other == view:
                continue
            pixels, depth = project(flat[own], c2w[other], lenses[other])
            inside = (depth > 0.0) & np.all((pixels >= 0.0) & (pixels < [width, height]), axis=1)
            column, row = np.where(inside[:, None], pixels, 0.0).astype(np.int64).T
            there = (other * height + row) * width + column
            apart = np.linalg.norm(flat[there] - flat[own], axis=1)
            same = inside & seen[there] & (apart < within * depth / lenses[other].fx)
            pairs.append(np.stack([own[same], there[same]], axis=1))
    return np.concatenate(pairs)


def disagreement(points: Float[np.ndarray, "v h w 3"], pairs: Int[np.ndarray, "m 2"]) -> float:
    """Mean distance of what paired pixels see, world units.

    Args:
        points: of position images.
        pairs: of `shared_pixels`, at least one.
    """
    flat = points.reshape(-1, 3)
    return float(np.linalg.norm(flat[pairs[:, 0]] - flat[pairs[:, 1]], axis=1).mean())
