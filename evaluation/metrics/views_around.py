"""All pictures of an object with their cameras, which figures of consistency need at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from evaluation.metrics.colmap_points import colmap_points
from evaluation.metrics.orbit import orbit
from evaluation.metrics.sift_matches import neighbour_matches
from geometry.cameras import Intrinsics

Pictures = Float[np.ndarray, "v h w 3"]
PairMetric = Callable[[Pictures, Pictures], Float[np.ndarray, " v"]]


@dataclass(frozen=True)
class ViewsAround:
    """An object's pictures, RGB on white in [0, 1], in any order; c2w in OpenGL axes, Z up, about the origin."""

    pictures: Pictures
    c2w: Float[np.ndarray, "v 4 4"]
    lenses: tuple[Intrinsics, ...]

    def ring(self) -> Pictures | None:
        """The pictures in order of azimuth; None when they are not an even orbit."""
        order = orbit(self.c2w)
        return None if order is None else self.pictures[order]


ObjectMetric = Callable[[ViewsAround], float | None]
"""A figure of an object; None where its views do not have it."""


def of_neighbours(pair: PairMetric) -> ObjectMetric:
    """The mean of a figure of pairs over each view and the next around the object."""

    def mean(around: ViewsAround) -> float | None:
        ring = around.ring()
        return None if ring is None else float(pair(ring, np.roll(ring, -1, axis=0)).mean())

    return mean


def sift_matches(around: ViewsAround) -> float | None:
    """`neighbour_matches` of an orbit."""
    ring = around.ring()
    return None if ring is None else neighbour_matches(ring)


def sparse_points(around: ViewsAround) -> float:
    """How many points COLMAP triangulates."""
    return float(len(colmap_points(around.pictures, around.c2w, around.lenses)))
