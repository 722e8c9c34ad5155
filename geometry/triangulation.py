"""Points seen from several cameras: where they are, and how far their pictures lie from where they were seen.

Linear triangulation after Hartley and Zisserman, Multiple View Geometry (2nd edition), section 12.2: the point whose projections
agree best with what was seen, algebraically.
"""

import numpy as np
from jaxtyping import Bool, Float

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl

_NEAR = 1e-9


def projection_matrix(c2w: Float[np.ndarray, "4 4"], intrinsics: Intrinsics) -> Float[np.ndarray, "3 4"]:
    """K [R | t] from world points to homogeneous pixels.

    Args:
        c2w: camera-to-world, OpenGL axes.
        intrinsics: of the camera.
    """
    return intrinsics.matrix() @ invert_rigid(opencv_from_opengl(c2w))[:3]


def triangulate(
    pixels: Float[np.ndarray, "n v 2"], seen: Bool[np.ndarray, "n v"], projections: Float[np.ndarray, "v 3 4"]
) -> Float[np.ndarray, "n 3"]:
    """World points by linear least squares; NaN where rays are parallel or a point is seen by fewer than two cameras.

    Args:
        pixels: where each point is seen by each camera, x right and y down from the top-left corner.
        seen: which of these count.
        projections: `projection_matrix` of the cameras.
    """
    # Each camera says x·(row 3) − (row 1) = 0 and y·(row 3) − (row 2) = 0 of the homogeneous point.
    rows = pixels[..., None] * projections[None, :, 2:3] - projections[None, :, :2]
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    rows = np.where(seen[:, :, None, None], rows, 0.0).reshape(len(pixels), -1, 4)
    _, vectors = np.linalg.eigh(np.einsum("nri,nrj->nij", rows, rows))
    homogeneous = vectors[:, :, 0]
    weak = (np.abs(homogeneous[:, 3]) < _NEAR) | (seen.sum(axis=1) < 2)
    weight = np.where(weak, np.nan, homogeneous[:, 3])
    return homogeneous[:, :3] / weight[:, None]


def reprojection_errors(
    points: Float[np.ndarray, "n 3"],
    pixels: Float[np.ndarray, "n v 2"],
    seen: Bool[np.ndarray, "n v"],
    projections: Float[np.ndarray, "v 3 4"],
) -> Float[np.ndarray, " n"]:
    """Root mean square distance of each point's pictures from where it was seen, pixels.

    Infinite for a point that is NaN or behind a camera that claims to see it.

    Args:
        points: world points.
        pixels: where each was seen by each camera.
        seen: which of these count.
        projections: `projection_matrix` of the cameras.
    """
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    projected = np.einsum("vij,nj->nvi", projections, homogeneous)
    depth = projected[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = ((projected[..., :2] / depth[..., None] - pixels) ** 2).sum(axis=-1)
    bad = ~np.isfinite(squared) | (depth <= _NEAR)
    squared = np.where(seen, np.where(bad, np.inf, squared), 0.0)
    return np.sqrt(squared.sum(axis=1) / np.maximum(seen.sum(axis=1), 1))
