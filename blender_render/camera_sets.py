"""Camera sets: the views that each system published, as functions of a generator, a number of views and a size.

All look at the origin, at an object whose longest side is 1. What a set takes as input stands before what it wants predicted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geometry.cameras import Intrinsics, fov_from_lens, look_at_origin

# The 35 mm lens on a 32 mm sensor of allenai/objaverse-rendering, which most of the sets below use.
FOV = fov_from_lens(lens_mm=35.0, sensor_mm=32.0)
ZERO123_RADIUS = (1.5, 2.2)
SYNCDREAMER_ELEVATION = np.deg2rad(30.0)
SYNCDREAMER_INPUT_ELEVATIONS = np.deg2rad([-10.0, 40.0])
SIX_VIEW_RADIUS = 1.5
SIX_VIEW_AZIMUTHS = np.deg2rad([30.0, 90.0, 150.0, 210.0, 270.0, 330.0])
# Zero123++ v1.1 (SUDO-AI-3D/zero123plus): elevations that alternate between +30° and −20°; v1.2: +20° and −10°.
SIX_VIEW_ELEVATIONS = np.deg2rad([30.0, -20.0, 30.0, -20.0, 30.0, -20.0])
ZERO123PLUS_ELEVATIONS = np.deg2rad([20.0, -10.0, 20.0, -10.0, 20.0, -10.0])
ZERO123PLUS_FOV = np.deg2rad(30.0)
ZERO123PLUS_RADIUS = 2.0
VIEWFUSION_ELEVATION = np.deg2rad(30.0)
VIEWFUSION_FREE_ELEVATIONS = np.deg2rad([0.0, 30.0])
LGM_RADIUS, LGM_TURNS, LGM_INPUTS = 1.5, 5, 4
# At 20° the far side of an object is 5.9 away, just within the 6 that stored depth reaches.
HAMMERSLEY_FOV = np.deg2rad([20.0, 70.0])
_BOUNDING_RADIUS = 0.5 * np.sqrt(3.0)


@dataclass(frozen=True)
class View:
    """One camera of a set.

    `c2w` is 4×4 camera-to-world in OpenGL axes, Z-up world.
    """

    c2w: Float[np.ndarray, "4 4"]
    intrinsics: Intrinsics


@dataclass(frozen=True)
class CameraSet:
    """The views of an object: those that a system is given and those that it is to predict.

    Args:
        inputs: views that are meant to be given; empty when any view may be.
        targets: the others.
        spares: for each view other poses (c2w) to take in turn when it stands in or close to something; empty where all stand
            outside of what they show.
    """

    inputs: tuple[View, ...]
    targets: tuple[View, ...]
    spares: tuple[tuple[Float[np.ndarray, "4 4"], ...], ...] = ()

    @property
    def views(self) -> list[View]:
        """All views in the order in which they are rendered: inputs first."""
        return [*self.inputs, *self.targets]


def zero123(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """Random views of the whole sphere shell, as Zero-1-to-3's training renders; any of them may be the input.

    The direction is a vector drawn uniformly in the cube [−1, 1]³ and normalised, the radius uniform in [1.5, 2.2]
    (cvlab-columbia/zero123 `objaverse-rendering/scripts/blender_script.py`).
    """
    intrinsics = Intrinsics.from_fov(FOV, size)
    return CameraSet((), tuple(View(random_in_shell(generator), intrinsics) for _ in range(views)))


def random_in_shell(generator: np.random.Generator) -> Float[np.ndarray, "4 4"]:
    """c2w of one view of `zero123`."""
    direction = generator.uniform(-1.0, 1.0, 3)
    radius = generator.uniform(*ZERO123_RADIUS)
    return _towards(direction, radius)


def _towards(direction: Float[np.ndarray, "3"], radius: float) -> Float[np.ndarray, "4 4"]:
    x, y, z = direction / np.linalg.norm(direction)
    return look_at_origin(float(np.arccos(z)), float(np.arctan2(y, x)), radius)


def gso_free(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """Random poses around scanned objects, the first of them the input, as Zero-1-to-3 evaluates.

    Published is "random poses, first view input, rest targets" (cvlab-columbia/zero123 issue 22) and no code. That directions
    are uniform over the sphere, and radius and lens those of the training views, is our choice.
    """
    intrinsics = Intrinsics.from_fov(FOV, size)
    some = [
        View(_towards(generator.standard_normal(3), generator.uniform(*ZERO123_RADIUS)), intrinsics)
        for _ in range(views)
    ]
    return CameraSet(tuple(some[:1]), tuple(some[1:]))


def syncdreamer(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """Evenly spaced azimuths from 0 at elevation 30° and distance 1.5; SyncDreamer takes 16 of them.

    (liuyuan-pal/SyncDreamer `blender_script.py`, camera type `fixed`.) The first is the input of our evaluation.
    """
    orbited = ring(views, SYNCDREAMER_ELEVATION, ZERO123_RADIUS[0], FOV, size)
    return CameraSet(tuple(orbited[:1]), tuple(orbited[1:]))


def syncdreamer_training(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """SyncDreamer's training data: a set of random inputs and as many fixed targets, 16 and 16.

    Inputs stand at the azimuths of the targets, with elevations uniform in [−10°, 40°] and the same distance 1.5
    (liuyuan-pal/SyncDreamer `blender_script.py`, camera type `random`). The targets are those of `syncdreamer`.
    """
    half = views // 2
    elevations = _uniform(generator, SYNCDREAMER_INPUT_ELEVATIONS, half)
    inputs = orbit(_even_azimuths(half), elevations, ZERO123_RADIUS[0], FOV, size)
    return CameraSet(tuple(inputs), tuple(ring(half, SYNCDREAMER_ELEVATION, ZERO123_RADIUS[0], FOV, size)))


def six_views(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """The six fixed views of Zero123++ v1.1 at distance 1.5, from which splatter images are made."""
    return CameraSet((), tuple(orbit(SIX_VIEW_AZIMUTHS, SIX_VIEW_ELEVATIONS, SIX_VIEW_RADIUS, FOV, size)))


def zero123plus(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """Zero123++ v1.2: an input and the six views at azimuths 30°, 90° … 330° from it, elevations +20° and −10°, FOV 30°.

    (SUDO-AI-3D/zero123plus.) With the model no distance is published; its users take 4.0 (TencentARC/InstantMesh
    `camera_util.py`), which at this lens shows ±1.07 and so suits a longest side of 2: ours is half of it. The input's elevation,
    uniform in SyncDreamer's [−10°, 40°], and its lens and distance, those of the targets, are our choice.
    """
    return six_around_an_input(generator, ZERO123PLUS_ELEVATIONS, ZERO123PLUS_RADIUS, ZERO123PLUS_FOV, size)


def zero123plus_v1_1(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """Zero123++ v1.1: as v1.2, with elevations +30° and −20°.

    No lens or distance is published; 49.13° and 1.5 are what Zero-1-to-G trains with on this layout (its README's branch), whose
    pictures 000 (input) and 001 … 006 (targets) these are. The input's elevation is our choice, as in `zero123plus`.
    """
    return six_around_an_input(generator, SIX_VIEW_ELEVATIONS, SIX_VIEW_RADIUS, FOV, size)


def six_around_an_input(
    generator: np.random.Generator, elevations: Float[np.ndarray, "6"], radius: float, fov: float, size: int
) -> CameraSet:
    """An input at azimuth 0, its elevation uniform in [−10°, 40°], and six views at azimuths 30°, 90° … 330° from it.

    Args:
        generator: draws the input's elevation.
        elevations: of the six, radians.
        radius: of all seven.
        fov: full field of view of all, radians.
        size: picture width and height, pixels.
    """
    elevation = _uniform(generator, SYNCDREAMER_INPUT_ELEVATIONS, 1)
    given = orbit(np.zeros(1), elevation, radius, fov, size)
    return CameraSet(tuple(given), tuple(orbit(SIX_VIEW_AZIMUTHS, elevations, radius, fov, size)))


def viewfusion360(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """ViewFusion's 36 views, 10° apart, around the input's elevation; the input is the first.

    Elevation 30° and distance 1.5 are the defaults of its reconstruction (Wi-sc/ViewFusion `my_train_renderer_spin36.py`).
    Pictures are numbered by azimuth; the order of generation, +10°, −10°, +20° …, is the sampler's.
    """
    orbited = ring(views, VIEWFUSION_ELEVATION, ZERO123_RADIUS[0], FOV, size)
    return CameraSet(tuple(orbited[:1]), tuple(orbited[1:]))


def viewfusion_free(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """ViewFusion's free renders: random views above the horizon, the first of them the input; it takes 12.

    Elevation uniform in [0°, 30°], azimuth in [0°, 360°), distance in [1.5, 2.2], each view by itself (Wi-sc/ViewFusion's
    variant of Zero-1-to-3's Blender script). It takes a view from a list as the input; that ours is the first is as random.
    """
    elevations = _uniform(generator, VIEWFUSION_FREE_ELEVATIONS, views)
    azimuths = generator.uniform(0.0, 2.0 * np.pi, views)
    radii = generator.uniform(*ZERO123_RADIUS, views)
    intrinsics = Intrinsics.from_fov(FOV, size)
    rows = zip(0.5 * np.pi - elevations, azimuths, radii, strict=True)
    some = [View(look_at_origin(*map(float, row)), intrinsics) for row in rows]
    return CameraSet(tuple(some[:1]), tuple(some[1:]))


def lgm(generator: np.random.Generator, views: int, size: int) -> CameraSet:  # noqa: ARG001 - fixed views
    """LGM: four inputs at right angles on the horizon, then a spiral around the sphere; radius 1.5, FOV 49.1°.

    LGM renders 100 views on a spiral whose elevation goes from 90° to −90° in about five turns (3DTopia/LGM issue 22, which shows
    it as a picture), so `views` is 104 for its data. Ours keeps half a step from the poles, where a camera has no azimuth: our
    choice. The inputs are those of its inference (`infer.py`); in training it draws them from the spiral's middle.
    """
    inputs = ring(LGM_INPUTS, 0.0, LGM_RADIUS, FOV, size)
    steps = (np.arange(views - LGM_INPUTS) + 0.5) / (views - LGM_INPUTS)
    spiral = orbit(2.0 * np.pi * LGM_TURNS * steps, np.pi * (0.5 - steps), LGM_RADIUS, FOV, size)
    return CameraSet(tuple(inputs), tuple(spiral))


def hammersley(generator: np.random.Generator, views: int, size: int) -> CameraSet:
    """Views spread evenly over the sphere, each with its own lens, at the distance where the object fills the same share.

    TRELLIS's condition views (microsoft/TRELLIS `dataset_toolkits/render_cond.py`): a Hammersley sequence with a random offset;
    the bounding sphere of the unit cube touches the picture's edges, r = (√3/2) / sin(FOV/2), with 1/r² uniform. TRELLIS takes
    FOV 10° to 70°; 20° to 70°, for which stored depth suffices, is our choice, as is that views are spread evenly.
    """
    offset = generator.uniform(size=2)
    closeness = _uniform(generator, filling_distance(HAMMERSLEY_FOV) ** -2, views)
    some = [
        _filling_view(*_hammersley_point(number, views, offset), float(near**-0.5), size)
        for number, near in enumerate(closeness)
    ]
    return CameraSet((), tuple(some))


def filling_distance(fov: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Where the bounding sphere of the unit cube just fits into a field of view."""
    return np.asarray(_BOUNDING_RADIUS / np.sin(0.5 * fov))


def _filling_view(polar: float, azimuth: float, radius: float, size: int) -> View:
    fov = 2.0 * float(np.arcsin(_BOUNDING_RADIUS / radius))
    return View(look_at_origin(polar, azimuth, radius), Intrinsics.from_fov(fov, size))


def _hammersley_point(number: int, total: int, offset: Float[np.ndarray, "2"]) -> tuple[float, float]:
    """Polar angle and azimuth of the n-th point: one coordinate evenly spaced, the other n's bits mirrored at the point."""
    height = (number + offset[0]) / total
    mirrored = int(f"{number:b}"[::-1], 2) / 2 ** number.bit_length()
    return float(np.arccos(1.0 - 2.0 * height)), float(2.0 * np.pi * (mirrored + offset[1]))


def _uniform(generator: np.random.Generator, bounds: Float[np.ndarray, "2"], count: int) -> Float[np.ndarray, " n"]:
    low, high = bounds
    return generator.uniform(low, high, count)


def _even_azimuths(views: int) -> Float[np.ndarray, " n"]:
    return np.arange(views) * 2.0 * np.pi / views


def ring(views: int, elevation: float, radius: float, fov: float, size: int) -> list[View]:
    """Views at one elevation, radians, evenly spaced from azimuth 0; otherwise as `orbit`."""
    return orbit(_even_azimuths(views), np.full(views, elevation), radius, fov, size)


def orbit(
    azimuths: Float[np.ndarray, " n"], elevations: Float[np.ndarray, " n"], radius: float, fov: float, size: int
) -> list[View]:
    """Views at these azimuths and elevations, radians, that look at the origin through one lens.

    Args:
        azimuths: from +X counter-clockwise.
        elevations: above the horizon, one of each azimuth.
        radius: of all.
        fov: full field of view, radians.
        size: picture width and height, pixels.
    """
    intrinsics = Intrinsics.from_fov(fov, size)
    polars = 0.5 * np.pi - elevations
    return [
        View(look_at_origin(float(polar), float(azimuth), radius), intrinsics)
        for polar, azimuth in zip(polars, azimuths, strict=True)
    ]
