"""Zero-1-to-G's layout of training data, as its loader reads it: renderings with cameras, and folders of splatter images.

`RENDERINGS/{scene}/000.png` … `055.png` (RGBA, square) with `000.npy` …, a pickled dictionary of elevation, azimuth and radius
and perhaps fov, in degrees; 000 is the condition, 001 to 006 are the views of the splatter images.
`SPLATTERS/*/9000-9999/{scene}/eval_pred_gs_*_es/` has `splatter_0.ply` … `splatter_5.ply`, 128² Gaussians each, and `fused.ply`,
in the frame in which the camera of 001 has no rotation and stands at (0, 0, 1.5). Source: mengxuyiGit/LGM
`core/dataset_v4_code.py`, branch `zero123plus_v2_autodecoder`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import FOV, View
from blender_render.splatter_files import FUSED, view_path
from geometry.cameras import Intrinsics, c2w_from_zero_1_to_g, first_camera_frame, zero_1_to_g_from_c2w
from geometry.similarity import Similarity

VIEWS = 56
SPLATTER_VIEWS = 6
SPLATTER_FILES = (*(view_path(Path(), number).name for number in range(SPLATTER_VIEWS)), FUSED)
FIRST_SPLATTER_VIEW = 1
"""The picture that shows what `splatter_0.ply` does."""
CAMERA_DISTANCE = 1.5
"""`cam_radius`: where the first camera stands in the frame of the splatter images, wherever it stood for its picture."""
# A lens of less is one in radians.
_LEAST_FOV, _GREATEST_FOV = 5.0, 160.0


def view_of(values: Mapping[str, object], turned_deg: float, size: int) -> View:
    """The camera of a `.npy`.

    Args:
        values: its dictionary.
        turned_deg: what is taken from the azimuth: that of the input, so that this stands at azimuth 0.
        size: picture width and height, pixels.

    Raises:
        ValueError: when a number is missing, is none, or is out of its range.
    """
    elevation, azimuth, radius = (number_of(values, name) for name in ("elevation", "azimuth", "radius"))
    if abs(elevation) > 90.0 or radius <= 0.0:
        raise ValueError(f"elevation {elevation:g}° or radius {radius:g} is out of range")
    fov = number_of(values, "fov") if "fov" in values else float(np.rad2deg(FOV))
    if not _LEAST_FOV <= fov <= _GREATEST_FOV:
        raise ValueError(f"fov {fov:g} is no field of view in degrees")
    c2w = c2w_from_zero_1_to_g(elevation, azimuth - turned_deg, radius)
    return View(c2w, Intrinsics.from_fov(float(np.deg2rad(fov)), size))


def number_of(values: Mapping[str, object], name: str) -> float:
    """A number of a `.npy`'s dictionary.

    Raises:
        ValueError: when it is missing or no finite number.
    """
    if name not in values:
        raise ValueError(f"{name} is missing")
    number = np.asarray(values[name])
    if number.size != 1 or number.dtype.kind not in "iuf" or not np.isfinite(number).all():
        raise ValueError(f"{name} is no number")
    return float(number.item())


def values_of(view: View) -> dict[str, float]:
    """What a `.npy` says of a camera; the inverse of `view_of`.

    Raises:
        ValueError: when the camera does not look at the origin upright.
    """
    elevation, azimuth, radius = zero_1_to_g_from_c2w(view.c2w)
    fov = float(np.rad2deg(view.intrinsics.fov_x))
    return {"elevation": elevation, "azimuth": azimuth, "radius": radius, "fov": fov}


def splatter_frame(first_c2w: Float[np.ndarray, "4 4"]) -> Similarity:
    """From the world to the frame of the splatter images.

    Args:
        first_c2w: of the picture 001, OpenGL axes.
    """
    matrix = first_camera_frame(first_c2w, CAMERA_DISTANCE)
    return Similarity(matrix[:3, :3], 1.0, matrix[:3, 3])
