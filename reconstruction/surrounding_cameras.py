"""Cameras all around an object, evenly spread over a sphere, from which all of it is in the picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geometry.cameras import look_at, position_from_spherical
from geometry.gaussians import Gaussians

_GOLDEN_ANGLE = np.pi * (3.0 - np.sqrt(5.0))
# Room around the object, as a share of its radius.
_MARGIN = 0.05
# A Gaussian is drawn out to about three standard deviations.
_REACH = 3.0


@dataclass(frozen=True, eq=False)
class Extent:
    """Where the Gaussians are that are seen."""

    lower: Float[np.ndarray, "3"]
    """Least corner, world units."""
    upper: Float[np.ndarray, "3"]
    """Greatest corner."""

    @property
    def centre(self) -> Float[np.ndarray, "3"]:
        """Middle of the box."""
        return 0.5 * (self.lower + self.upper)

    @property
    def longest(self) -> float:
        """Its longest side."""
        return float((self.upper - self.lower).max())

    @property
    def radius(self) -> float:
        """Of the sphere around the box."""
        return 0.5 * float(np.linalg.norm(self.upper - self.lower))


def extent_of(gaussians: Gaussians) -> Extent:
    """The box around at least one Gaussian, each reaching three of its largest standard deviations."""
    reach = _REACH * gaussians.scales.max(axis=1, keepdims=True).astype(np.float64)
    return Extent((gaussians.means - reach).min(axis=0), (gaussians.means + reach).max(axis=0))


def cameras_around(extent: Extent, count: int, fov: float) -> Float[np.ndarray, "v 4 4"]:
    """c2w of cameras at the points of a Fibonacci spiral, OpenGL axes, looking at the extent's centre.

    Heights are evenly spaced without the poles, azimuths a golden angle apart (González 2010, "Measurement of areas on a sphere
    using Fibonacci and latitude–longitude lattices", section 3).

    Args:
        extent: what fits into every picture.
        count: number of cameras.
        fov: full field of view, radians.
    """
    radius = extent.radius * (1.0 + _MARGIN) / float(np.sin(0.5 * fov))
    heights = 1.0 - 2.0 * (np.arange(count) + 0.5) / count
    offsets = [
        position_from_spherical(float(np.arccos(height)), float(number * _GOLDEN_ANGLE), radius)
        for number, height in enumerate(heights)
    ]
    return np.stack([look_at(extent.centre + offset, extent.centre) for offset in offsets])
