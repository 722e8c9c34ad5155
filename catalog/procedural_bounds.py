"""How much room composed parts take: their bounding box from the recipe alone, without Blender."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from catalog.procedural_meshes import build_mesh
from catalog.procedural_parts import Part

Floats = NDArray[np.float64]


def bounding_box(parts: Iterable[Part]) -> tuple[Floats, Floats]:
    """Lowest and highest corner [3] of parts that hang from one another or from nothing.

    Raises:
        KeyError: when a part hangs from one that does not come before it.
    """
    frames: dict[str | None, Floats] = {None: np.eye(4)}
    lows, highs = [], []
    for part in parts:
        frame = frames[part.parent] @ _local(part)
        frames[part.name] = frame
        points = build_mesh(part.shape, part.size, part.profile).vertices @ frame[:3, :3].T + frame[:3, 3]
        lows.append(points.min(axis=0))
        highs.append(points.max(axis=0))
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _local(part: Part) -> Floats:
    """4×4 transform of a part in its parent's frame; Blender's XYZ order turns about x first."""
    local = np.eye(4)
    local[:3, :3] = Rotation.from_euler("xyz", part.rotation).as_matrix()
    local[:3, 3] = part.position
    return local
