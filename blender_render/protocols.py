"""Camera protocols: which views a system or an evaluation asks for, as named, seeded sets of cameras.

All look at the origin, at an object whose longest side is 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geometry.cameras import Intrinsics, fov_from_lens, look_at_origin, position_from_spherical
from stage.errors import ParameterError
from stage.parameters import nearest_remedy

# Every one of the protocols below uses the 35 mm lens on a 32 mm sensor of allenai/objaverse-rendering.
FOV = fov_from_lens(lens_mm=35.0, sensor_mm=32.0)
ZERO123_RADIUS = (1.5, 2.2)
# SyncDreamer's cameras (liuyuan-pal/SyncDreamer, blender_script.py): 16 azimuths at 30° elevation, distance 1.5.
SYNCDREAMER_ELEVATION = np.deg2rad(30.0)
SIX_VIEW_RADIUS = 1.5
# Zero123++ v1.1 (SUDO-AI-3D/zero123plus): azimuths 30°, 90° … with elevations that alternate between +30° and −20°.
SIX_VIEW_AZIMUTHS = np.deg2rad([30.0, 90.0, 150.0, 210.0, 270.0, 330.0])
SIX_VIEW_ELEVATIONS = np.deg2rad([30.0, -20.0, 30.0, -20.0, 30.0, -20.0])


@dataclass(frozen=True)
class View:
    """One camera of a protocol.

    `c2w` is 4×4 camera-to-world in OpenGL axes, Z-up world.
    """

    c2w: Float[np.ndarray, "4 4"]
    intrinsics: Intrinsics


def zero123(generator: np.random.Generator, views: int, size: int) -> list[View]:
    """Random views of the whole sphere shell, as Zero-1-to-3's training renders.

    The direction is a vector drawn uniformly in the cube [−1, 1]³ and normalised, the radius uniform in [1.5, 2.2]
    (cvlab-columbia/zero123 `objaverse-rendering/scripts/blender_script.py`).
    """
    intrinsics = Intrinsics.from_fov(FOV, size)
    return [View(_random_in_shell(generator), intrinsics) for _ in range(views)]


def _random_in_shell(generator: np.random.Generator) -> Float[np.ndarray, "4 4"]:
    direction = generator.uniform(-1.0, 1.0, 3)
    radius = generator.uniform(*ZERO123_RADIUS)
    x, y, z = direction / np.linalg.norm(direction)
    return look_at_origin(float(np.arccos(z)), float(np.arctan2(y, x)), radius)


def syncdreamer(generator: np.random.Generator, views: int, size: int) -> list[View]:  # noqa: ARG001 - fixed views
    """Evenly spaced azimuths from 0 at elevation 30° and distance 1.5; SyncDreamer takes 16 of them."""
    azimuths = np.arange(views) * 2.0 * np.pi / views
    return _orbit(azimuths, np.full(views, SYNCDREAMER_ELEVATION), ZERO123_RADIUS[0], size)


def six_views(generator: np.random.Generator, views: int, size: int) -> list[View]:  # noqa: ARG001 - fixed views
    """The six fixed views of Zero123++ v1.1 at distance 1.5, from which splatter images are made."""
    if views != len(SIX_VIEW_AZIMUTHS):
        raise ParameterError(f"the protocol six_views has 6 views, not {views}", "set views to 6")
    return _orbit(SIX_VIEW_AZIMUTHS, SIX_VIEW_ELEVATIONS, SIX_VIEW_RADIUS, size)


def _orbit(
    azimuths: Float[np.ndarray, " n"], elevations: Float[np.ndarray, " n"], radius: float, size: int
) -> list[View]:
    intrinsics = Intrinsics.from_fov(FOV, size)
    polars = 0.5 * np.pi - elevations
    return [
        View(look_at_origin(float(polar), float(azimuth), radius), intrinsics)
        for polar, azimuth in zip(polars, azimuths, strict=True)
    ]


Protocol = Callable[[np.random.Generator, int, int], list[View]]
PROTOCOLS: dict[str, Protocol] = {"zero123": zero123, "syncdreamer": syncdreamer, "six_views": six_views}


def cameras(protocol: str, generator: np.random.Generator, views: int, size: int) -> list[View]:
    """The cameras of a protocol by its name.

    Args:
        protocol: a key of `PROTOCOLS`.
        generator: source of randomness of the random ones.
        views: number of views.
        size: picture width and height, pixels.

    Raises:
        ParameterError: for an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ParameterError(f"unknown camera protocol {protocol!r}", nearest_remedy(protocol, PROTOCOLS))
    return PROTOCOLS[protocol](generator, views, size)


def light_position(generator: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A place for the key light: above the horizon by 30° to 75°, any azimuth, 2.5 to 3.5 away."""
    polar = np.deg2rad(generator.uniform(15.0, 60.0))
    return position_from_spherical(float(polar), generator.uniform(-np.pi, np.pi), generator.uniform(2.5, 3.5))
