"""Colours of a surface from the pictures that were taken of it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree

from reconstruction.depth_views import DepthView
from reconstruction.fusion import sampled

# The most frontal views decide: a view at 60° counts a sixteenth of one from ahead.
_SHARPNESS = 4
# Views that together weigh less do not see a point.
_LEAST_WEIGHT = 1e-3


def colours_at(points: Float[np.ndarray, "n 3"], views: Sequence[DepthView], reach: float) -> Float[np.ndarray, "n 3"]:
    """Colours of points on a surface: means over the views that see them, weighted by how frontally; sRGB in [0, 1].

    A point that no view sees has the colour of the nearest that one does; grey when none is seen.

    Args:
        points: world units.
        views: what was seen.
        reach: how far a point may lie from the depth that is seen there to be the same surface, world units.
    """
    if not views:
        return np.full((len(points), 3), 0.5)
    places = torch.tensor(points, dtype=views[0].depth.dtype, device=views[0].depth.device)
    total, weights = places.new_zeros(len(places), 3), places.new_zeros(len(places))
    for view in views:
        pixels, z = view.project(places)
        maps = torch.cat([view.rgb.permute(2, 0, 1), view.depth[None], view.weight[None]])
        *rgb, depth, cosine = sampled(maps, pixels)
        weight = torch.where((depth - z).abs() <= reach, cosine**_SHARPNESS, 0.0)
        total += weight[:, None] * torch.stack(rgb, dim=1)
        weights += weight
    mean = (total / weights.clamp(min=_LEAST_WEIGHT)[:, None]).clamp(0.0, 1.0).cpu().numpy()
    return _filled(points, mean, (weights >= _LEAST_WEIGHT).cpu().numpy())


def _filled(
    points: Float[np.ndarray, "n 3"], colours: Float[np.ndarray, "n 3"], seen: np.ndarray
) -> Float[np.ndarray, "n 3"]:
    """The colours, those that are not seen from the nearest that is."""
    if not seen.any():
        return np.full_like(colours, 0.5)
    _, nearest = cKDTree(points[seen]).query(points[~seen])
    colours[~seen] = colours[seen][nearest]
    return colours
