"""Camera sets of Zero-1-to-G: the six views of its splatter images, its training renders, and its evaluation.

(mengxuyiGit/LGM.) Everything looks at the origin, at an object whose longest side is 1, as in `blender_render.camera_sets`.
"""

import numpy as np

from blender_render.camera_sets import (
    FOV,
    SIX_VIEW_AZIMUTHS,
    SIX_VIEW_ELEVATIONS,
    SIX_VIEW_RADIUS,
    CameraSet,
    View,
    filling_distance,
    orbit,
    random_in_shell,
    ring,
    six_around_an_input,
)
from geometry.cameras import Intrinsics

EVALUATION_RADIUS, LARA_FOV = 1.3, np.deg2rad(39.6)
LVIS_FOV, EARLY_FOV = np.deg2rad([60.0, 47.1])
LARA_AZIMUTHS = np.deg2rad([0.0, 90.0, 180.0, 270.0, 30.0, 330.0])
LARA_ELEVATION = np.deg2rad(20.0)


def zero_1_to_g_lvis(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """The six views of Zero-1-to-G's second generation on LVIS: those of `six_views` through a lens of 60°.

    (Branches `zero1toG_*`.)
    """
    return _six_views_through(float(LVIS_FOV), size)


def zero_1_to_g_lvis_early(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """As `zero_1_to_g_lvis`, through the 47.1° of its first runs."""
    return _six_views_through(float(EARLY_FOV), size)


def zero_1_to_g_lara(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """The six views of Zero-1-to-G's variant on LaRa's data: four sides and two beside the first, at one elevation, FOV 39.6°.

    (Final configurations.) The elevation, 20°, within the 5° to 30° of G-Objaverse's ring, and the distance, 2.56, at which the
    unit cube's bounding sphere fits, are our choice: none is published.
    """
    lens = float(LARA_FOV)
    radius = float(filling_distance(np.array([lens]))[0])
    return CameraSet((), tuple(orbit(LARA_AZIMUTHS, np.full(6, LARA_ELEVATION), radius, lens, size)))


def zero_1_to_g(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """The orbit that Zero-1-to-G is evaluated on: elevation 0, distance 1.3, FOV 39.6°; it takes 16 views.

    (`dataset_v5_GSO`.) A picture shows ±0.47 around the centre, less than the longest side. That the first is the input is our
    choice. For its training views see `zero_1_to_g_training`.
    """
    orbited = ring(views, 0.0, EVALUATION_RADIUS, float(LARA_FOV), size)
    return CameraSet(tuple(orbited[:1]), tuple(orbited[1:]))


def zero_1_to_g_training(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """Zero-1-to-G's training renders: the input, the six views of the splatter images, and random ones; it takes 56 views.

    (README's branch, `core/dataset_v4_code.py`: pictures 000, 001 … 006 and 007 … 055.) The first seven are those of
    `zero123plus_v1_1`, the six in the order of `splatter.layout: six_views`. Where the random ones stand is not published; that
    it is on Zero-1-to-3's shell, through the same lens, is our choice.
    """
    return _training(generator, views, size, FOV)


def zero_1_to_g_lvis_training(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """As `zero_1_to_g_training`, through the 60° of `zero_1_to_g_lvis`."""
    return _training(generator, views, size, float(LVIS_FOV))


def _six_views_through(fov: float, size: int) -> CameraSet:
    return CameraSet((), tuple(orbit(SIX_VIEW_AZIMUTHS, SIX_VIEW_ELEVATIONS, SIX_VIEW_RADIUS, fov, size)))


def _training(generator: np.random.Generator, views: int, size: int, fov: float) -> CameraSet:
    known = six_around_an_input(generator, SIX_VIEW_ELEVATIONS, SIX_VIEW_RADIUS, fov, size)
    lens = Intrinsics.from_fov(fov, size)
    others = [View(random_in_shell(generator), lens) for _ in range(views - len(known.views))]
    return CameraSet(known.inputs, (*known.targets, *others))
