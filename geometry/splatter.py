"""Closed-form, pixel-aligned Gaussians from the geometry passes of a render, and their fusion over views.

Each pixel that sees a surface becomes one flat Gaussian on it: centred where the pixel's ray meets the surface, local
z along the normal, as large as the pixel's footprint, z / f, which a slanted surface stretches by 1 / |n·v| along its
slope, and as opaque as the pixel is covered. There is no optimisation, so this is closed-form ground truth from a
G-buffer and not a fit: what no view sees is absent, shading is baked in, and thin or transparent parts are as the
passes show them. `geometry.inset` then moves the Gaussians inside, so that silhouettes stay where they are.

World: right-handed, Z up, the passes' units. Passes are numpy arrays, height × width, row 0 at the top, sampled at
pixel centres without antialiasing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from geometry.cameras import Intrinsics, opencv_from_opengl, project
from geometry.gaussians import Gaussians, concatenate
from stage.errors import InputError

# At a grazing angle the footprint grows without bound, and the Gaussian would stand out beyond the silhouette.
_LEAST_FACING = 0.2
_THICKNESS = 0.1
# Below this length a pass holds no normal but a background value or an average that cancelled out.
_LEAST_NORMAL = 0.1
# Nearer than this to a frontal view the slope has no direction.
_FRONTAL = 1e-4
# Two pixels see the same surface when one lies this near to the other's tangent plane, in pixels.
_SAME_SURFACE = 1.0
_LEAST_DEPTH = 1e-6


@dataclass(frozen=True, eq=False)
class SplatterView:
    """The H·W Gaussians of one view, row-major, one per pixel."""

    gaussians: Gaussians
    """Exactly H·W; those of background pixels have opacity 0."""
    valid: Bool[np.ndarray, "h w"]
    """Pixels that see a surface."""
    points: Float[np.ndarray, "h w 3"]
    """The surface itself, wherever the Gaussians' centres are moved."""
    normals: Float[np.ndarray, "h w 3"]
    """Unit normals of the side that the camera sees, world axes."""
    facing: Float[np.ndarray, "h w"]
    """|n·v|, the cosine between normal and viewing direction; 1 where the surface faces the camera."""
    pitch: Float[np.ndarray, "h w"]
    """Width of one pixel at the Gaussian's depth, z / f, world units."""
    c2w: Float[np.ndarray, "4 4"]
    """Camera-to-world, OpenGL axes."""
    intrinsics: Intrinsics


def splatter_from_passes(
    rgb: Float[np.ndarray, "h w 3"],
    position: Float[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"],
    normal: Float[np.ndarray, "h w 3"],
    c2w: Float[np.ndarray, "4 4"],
    intrinsics: Intrinsics,
    footprint: float = 0.5,
    opacity: float = 0.95,
    coverage: Float[np.ndarray, "h w"] | None = None,
) -> SplatterView:
    """One Gaussian per pixel, row-major.

    The tangent scale is `footprint`·z/f, divided by max(|n·v|, 0.2) along the slope, which is local x; thickness is a
    tenth of the tangent scale. A background pixel keeps its place with opacity 0: its Gaussian lies on the pixel's ray
    at a planar depth of the camera's distance from the origin, where objects stand, and faces the camera.

    Args:
        rgb: sRGB in [0, 1], straight alpha.
        position: world position of the surface at the pixel's centre.
        depth: planar z, world units; zero or not finite is background.
        normal: unit normals in the world; a pixel without one gets a Gaussian that faces the camera.
        c2w: camera-to-world, OpenGL axes.
        intrinsics: of the passes.
        footprint: standard deviation in pixels; less is sharper, more stays closed when one zooms in.
        opacity: peak opacity of a Gaussian that covers its pixel.
        coverage: the picture's alpha in [0, 1], which the opacity is multiplied with; whole pixels when absent.

    Raises:
        InputError: when a pass has another shape than the intrinsics, or a valid pixel a position or colour that is not
            finite.
    """
    coverage = np.ones_like(depth) if coverage is None else coverage
    _check_shapes(intrinsics, rgb=rgb, position=position, depth=depth, normal=normal, coverage=coverage)
    valid = (np.isfinite(depth) & (depth > 0.0)).ravel()
    _check_positions(position.reshape(-1, 3), valid)
    z = np.where(valid, depth.ravel(), _placeholder_depth(c2w)).astype(np.float64)
    points = np.where(valid[:, None], position.reshape(-1, 3), _points_on_rays(c2w, intrinsics, z))
    towards_camera = _unit(c2w[:3, 3] - points)
    normals = _usable_normals(normal.reshape(-1, 3), valid, towards_camera)
    facing = np.abs(np.sum(normals * towards_camera, axis=1))
    pitch = z / float(np.sqrt(intrinsics.fx * intrinsics.fy))
    gaussians = Gaussians(
        means=points,
        quaternions=_quaternions(_surface_frames(normals, towards_camera, c2w)),
        scales=_scales(footprint * pitch, facing),
        opacities=np.where(valid, opacity * coverage.ravel(), 0.0),
        colours=np.where(valid[:, None], rgb.reshape(-1, 3), np.nan_to_num(rgb.reshape(-1, 3)).clip(0.0, 1.0)),
    )
    seen_side = np.where(np.sum(normals * towards_camera, axis=1, keepdims=True) < 0.0, -normals, normals)
    size = depth.shape
    return SplatterView(
        gaussians,
        valid.reshape(size),
        points.reshape(*size, 3),
        seen_side.reshape(*size, 3),
        facing.reshape(size),
        pitch.reshape(size),
        np.asarray(c2w, dtype=np.float64),
        intrinsics,
    )


def union(views: Sequence[SplatterView]) -> Gaussians:
    """The valid Gaussians of all views in the order of the views, row-major within each."""
    return concatenate([view.gaussians.select(view.valid.ravel()) for view in views])


def fuse(views: Sequence[SplatterView]) -> Gaussians:
    """The union without what another view sees better, in the same order.

    A view samples a surface with |n·v| / z² pixels per area. A Gaussian is left out when a view that samples its place more
    densely, or as densely and comes earlier, sees it: when the four pixels of that view around it all lie on its surface.
    An occluded place has pixels of another surface around it, and a place at the edge of what the better view sees
    has background there, so neither is lost.
    """
    return concatenate([view.gaussians.select(_unsurpassed(number, views)) for number, view in enumerate(views)])


def _unsurpassed(number: int, views: Sequence[SplatterView]) -> Bool[np.ndarray, " n"]:
    """The valid pixels of one view, row-major, whose place no other view samples better."""
    view = views[number]
    best = view.valid.ravel().copy()
    own = _density(view, view.points.reshape(-1, 3), view.normals.reshape(-1, 3))
    for rival_number, rival in enumerate(views):
        if rival_number == number:
            continue
        kept = np.flatnonzero(best)
        points, normals = view.points.reshape(-1, 3)[kept], view.normals.reshape(-1, 3)[kept]
        density = _density(rival, points, normals)
        better = density > own[kept] if rival_number > number else density >= own[kept]
        kept, points, normals = kept[better], points[better], normals[better]
        best[kept[_surrounds(rival, points, normals, view.pitch.ravel()[kept])]] = False
    return best


def _density(
    view: SplatterView, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, " n"]:
    """Pixels per area, up to the focal length squared, with which a view samples places; below 0 from behind."""
    to_camera = view.c2w[:3, 3] - points
    depth = to_camera @ view.c2w[:3, 2]
    cosine = np.sum(to_camera * normals, axis=1) / np.linalg.norm(to_camera, axis=1)
    focal = view.intrinsics.fx * view.intrinsics.fy
    return np.asarray(np.where(depth > 0.0, cosine * focal / np.maximum(depth, _LEAST_DEPTH) ** 2, -1.0))


def _surrounds(
    view: SplatterView,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    pitch: Float[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Whether all four pixels of a view around each place see the surface that the place lies on."""
    height, width = view.valid.shape
    pixels, _ = project(points, view.c2w, view.intrinsics)
    # Clamped before they become integers, because a place beside the camera may project anywhere.
    corner = np.floor(np.clip(np.nan_to_num(pixels), -2.0, max(height, width) + 2.0) - 0.5).astype(np.int64)
    within = np.all((corner >= 0) & (corner < [width - 1, height - 1]), axis=1)
    corner = np.clip(corner, 0, [width - 2, height - 2])
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = corner[:, 0] + right, corner[:, 1] + down
        off_plane = np.abs(np.sum((view.points[row, column] - points) * normals, axis=1))
        within &= view.valid[row, column] & (off_plane < _SAME_SURFACE * pitch)
    return within


def _check_shapes(intrinsics: Intrinsics, **passes: np.ndarray) -> None:
    for name, values in passes.items():
        size = (intrinsics.height, intrinsics.width)
        expected = size if name in {"depth", "coverage"} else (*size, 3)
        if values.shape != expected:
            raise InputError(f"pass {name} has shape {values.shape} where the camera's size gives {expected}")


def _check_positions(position: Float[np.ndarray, "n 3"], valid: Bool[np.ndarray, " n"]) -> None:
    bad = np.flatnonzero(valid & ~np.isfinite(position).all(axis=1))
    if bad.size:
        raise InputError(
            f"pass position is not finite in {bad.size} pixels that have a depth, first in pixel {bad[0]}"
        )


def _placeholder_depth(c2w: Float[np.ndarray, "4 4"]) -> float:
    """Distance of the camera from the origin; 1 for a camera that stands on it."""
    return float(np.linalg.norm(c2w[:3, 3])) or 1.0


def _points_on_rays(
    c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics, z: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """World points on the rays through the pixel centres, row-major, at planar depths z."""
    rows, columns = np.mgrid[: intrinsics.height, : intrinsics.width].reshape(2, -1) + 0.5
    x, y = (columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy
    camera = np.stack([x, y, np.ones_like(x)], axis=1) * z[:, None]
    axes = opencv_from_opengl(c2w)[:3]
    return camera @ axes[:, :3].T + axes[:, 3]


def _usable_normals(
    normals: Float[np.ndarray, "n 3"], valid: Bool[np.ndarray, " n"], towards_camera: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Unit normals, the direction to the camera where there is none."""
    length = np.linalg.norm(normals, axis=1)
    # A comparison with NaN is false, so pixels without a number are unusable too.
    usable = valid & (length > _LEAST_NORMAL) & np.isfinite(length)
    return _unit(np.where(usable[:, None], normals, towards_camera))


def _surface_frames(
    normals: Float[np.ndarray, "n 3"], towards_camera: Float[np.ndarray, "n 3"], c2w: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "n 3 3"]:
    """Rotations with columns x, y, z: z the normal, x the tangent part of the viewing direction.

    Seen head-on that part vanishes, and x is the tangent part of the camera's right axis.
    """
    slope = _tangent_part(towards_camera, normals)
    right = _tangent_part(np.broadcast_to(c2w[:3, 0], normals.shape), normals)
    frontal = np.linalg.norm(slope, axis=1, keepdims=True) < _FRONTAL
    x = _unit(np.where(frontal, right, slope))
    return np.stack([x, np.cross(normals, x), normals], axis=2)


def _scales(tangent: Float[np.ndarray, " n"], facing: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """Scales along slope, across it and along the normal."""
    return np.stack([tangent / np.maximum(facing, _LEAST_FACING), tangent, _THICKNESS * tangent], axis=1)


def _quaternions(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 4"]:
    """Unit quaternions wxyz with the first component that is not zero positive, of the two that mean the same."""
    xyzw: np.ndarray = Rotation.from_matrix(rotations).as_quat(canonical=True)
    return np.roll(xyzw, 1, axis=1)


def _tangent_part(vectors: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return vectors - np.sum(vectors * normals, axis=1, keepdims=True) * normals


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float64).tiny), dtype=np.float64)
