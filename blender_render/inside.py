"""Cameras inside a room: on an arc about its middle, looking across it at different places, each through its own lens.

Coordinates are those of the normalised scene: the room's longest side is 1 and its middle the origin. Nothing here is published:
such cameras are what indoor sets as RealEstate10K have and objects have not, positions and directions that do not depend on
one another.
"""

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import CameraSet, View
from geometry.cameras import Intrinsics, look_at

FOV = np.deg2rad([55.0, 80.0])
# Of a camera's place: distance from the middle and height above it.
_DISTANCE, _HEIGHT = (0.12, 0.3), (-0.08, 0.12)
# Half the arc that the views of a room stand on, radians.
_ARC = np.deg2rad(45.0)
# The views look about here, on the far side of the middle, each at most so far beside it and so high.
_AHEAD, _BESIDE, _AIM = 0.14, 0.18, (-0.14, 0.02)
# Poses besides the first that a view may take; in 24 composed rooms no view needed more than four of them.
SPARES = 23


def inside(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """Views from within a room, of which any may be the input; pairs of them share a good part of what they see.

    Azimuths lie within 45° of a direction drawn for the room, distances from the middle in [0.12, 0.3], heights in [−0.08, 0.12].
    A view looks at a point within 0.18 along x and y of one that lies 0.14 beyond the middle, at a height in [−0.14, 0.02];
    the full field of view is uniform in [55°, 80°].
    """
    middle = float(generator.uniform(-np.pi, np.pi))
    targets, spares = [], []
    for _ in range(views):
        lens = Intrinsics.from_fov(float(generator.uniform(*FOV)), size)
        first, *others = [_pose(generator, middle) for _ in range(1 + SPARES)]
        targets.append(View(first, lens))
        spares.append(tuple(others))
    return CameraSet((), tuple(targets), tuple(spares))


def _pose(generator: np.random.Generator, middle: float) -> Float[np.ndarray, "4 4"]:
    azimuth, distance = middle + generator.uniform(-_ARC, _ARC), generator.uniform(*_DISTANCE)
    position = np.array([distance * np.cos(azimuth), distance * np.sin(azimuth), generator.uniform(*_HEIGHT)])
    beside = generator.uniform(-_BESIDE, _BESIDE, 2)
    aim = np.array(
        [beside[0] - _AHEAD * np.cos(middle), beside[1] - _AHEAD * np.sin(middle), generator.uniform(*_AIM)]
    )
    return look_at(position, aim)
