"""The part of a picture that an object can be seen in: Cycles need not look elsewhere.

What lies outside is background, exactly 0 in all passes. A picture rendered within its window has the same pixels as a whole one,
unless it is denoised: the denoiser then sees another frame, and its pixels differ by a little.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geometry.cameras import Intrinsics, project

# The pixel filter reaches 1.5 pixels; the rest is background for the denoiser to tell an edge by.
_MARGIN_PIXELS = 4.0
_NEAREST = 1e-3


@dataclass(frozen=True)
class Window:
    """A rectangle as shares of the picture's width and height, from the lower left corner, as Blender counts."""

    left: float
    bottom: float
    right: float
    top: float


WHOLE = Window(0.0, 0.0, 1.0, 1.0)


def window(corners: Float[np.ndarray, "n 3"], c2w: Float[np.ndarray, "4 4"], lens: Intrinsics) -> Window:
    """The rectangle around what lies within the convex hull of some points, with a margin of a few pixels.

    The whole picture when there are no points, one lies beside or behind the camera, or none is in the picture.

    Args:
        corners: world points, such as the corners of bounding boxes.
        c2w: camera-to-world, OpenGL axes.
        lens: intrinsics of the picture.
    """
    if not len(corners):
        return WHOLE
    pixels, depth = project(corners, c2w, lens)
    if depth.min() < _NEAREST:
        return WHOLE
    size = np.array([lens.width, lens.height])
    low = np.clip(np.floor(pixels.min(axis=0) - _MARGIN_PIXELS), 0, size) / size
    high = np.clip(np.ceil(pixels.max(axis=0) + _MARGIN_PIXELS), 0, size) / size
    if (low >= high).any():
        return WHOLE
    return Window(float(low[0]), float(1 - high[1]), float(high[0]), float(1 - low[1]))
