"""Which views of an object are neighbours: those of an even ring around it, and no others."""

import numpy as np
from jaxtyping import Float

from geometry.cameras import spherical_from_position

NO_ORBIT = "the views are not an even orbit of one elevation, so none are neighbours"
_FEWEST = 3
_DEGREES = 0.5
_DISTANCE = 0.01


def orbit(c2w: Float[np.ndarray, "v 4 4"]) -> list[int] | None:
    """The views in order of azimuth, from the first one on; None when they are not an orbit.

    An orbit has 3 views or more at one elevation and distance and at equal steps all around, to half a degree and a hundredth.
    Each view's neighbour is the next, the last one's is the first.

    Args:
        c2w: of the views, OpenGL axes, Z up, about the origin.
    """
    if len(c2w) < _FEWEST:
        return None
    spherical = np.array([spherical_from_position(camera[:3, 3]) for camera in c2w])
    polar, distance = np.rad2deg(spherical[:, 0]), spherical[:, 2]
    turns = np.rad2deg(spherical[:, 1] - spherical[0, 1]) % 360.0
    # The first view's own turn, and one that differs from it by rounding.
    turns[turns > 360.0 - 1e-6] = 0.0
    order = np.argsort(turns, kind="stable")
    steps = np.diff(turns[order], append=360.0)
    even = np.abs(steps - 360.0 / len(c2w)).max() <= _DEGREES
    level = np.ptp(polar) <= _DEGREES and np.ptp(distance) <= _DISTANCE * distance.mean()
    return [int(index) for index in order] if even and level else None
