"""A camera's way around Gaussians, and the pictures on it: the frames of a video, the tiles of a contact sheet.

World: Z up; the camera always keeps +Z up in its picture. It starts in front of the object, at −Y, where glTF's front is after
Blender's import, and goes counter-clockwise seen from above. Everything runs on the CPU, so that every machine makes the same
pictures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from geometry.cameras import Intrinsics, look_at, position_from_spherical
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.rasterizer import rasterize

_FRONT = -np.pi / 2
# Of trained Gaussians a few lie far away; this share on each side of each axis does not count.
_STRAYS = 0.001
# Room around the object, as a share of its radius.
_MARGIN = 0.08
# A single point has no extent; any distance shows it.
_LEAST_EXTENT = 1e-3


@dataclass(frozen=True)
class Turntable:
    """Where the camera goes."""

    target: Float[np.ndarray, "3"]
    """What it looks at, world units."""
    radius: float
    """Its distance from there, world units."""

    def c2w(self, elevation: float, turn: float) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world, OpenGL axes.

        Args:
            elevation: above the horizon, radians in (−π/2, π/2).
            turn: around +Z, in whole turns; 0 is the front.
        """
        offset = position_from_spherical(np.pi / 2 - elevation, _FRONT + 2 * np.pi * turn, self.radius)
        return look_at(self.target + offset, self.target)


def turntable_around(gaussians: Gaussians, fov: float, radius: float | None = None) -> Turntable:
    """A turntable that shows all of the Gaussians, but for a thousandth that may stray.

    Args:
        gaussians: world units, at least one.
        fov: full field of view, radians.
        radius: distance of the camera; None takes the least at which a sphere around the object fits into the picture.
    """
    means = gaussians.means.astype(np.float64)
    target = np.quantile(means, [_STRAYS, 1 - _STRAYS], axis=0).mean(axis=0)
    extent = float(np.quantile(np.linalg.norm(means - target, axis=1), 1 - _STRAYS))
    fitting = max(extent, _LEAST_EXTENT) * (1 + _MARGIN) / float(np.sin(fov / 2))
    return Turntable(target, radius or fitting)


def orbit(turntable: Turntable, frames: int, elevation: float) -> list[Float[np.ndarray, "4 4"]]:
    """The cameras of one whole turn; after the last would come the first."""
    return [turntable.c2w(elevation, frame / frames) for frame in range(frames)]


def rows_of_views(turntable: Turntable, columns: int, elevations: Sequence[float]) -> list[Float[np.ndarray, "4 4"]]:
    """The cameras of a contact sheet, row by row: a whole turn at each elevation."""
    return [matrix for elevation in elevations for matrix in orbit(turntable, columns, elevation)]


def pictures(
    gaussians: Gaussians, cameras: Sequence[Float[np.ndarray, "4 4"]], intrinsics: Intrinsics
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """What each camera sees, on white, one at a time: a video's frames need not fit in memory together."""
    tensors = GaussianTensors.of(gaussians)
    for matrix in cameras:
        with torch.inference_mode():
            rgb = rasterize(tensors, matrix[None], intrinsics, backend="cpu").rgb[0]
        yield (rgb.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).numpy()
