"""What is done to sets of Gaussians: transform, crop, prune, thin out. To merge them is `geometry.gaussians.concatenate`.

Every function returns new Gaussians, those kept in their order; a mask of one's own goes to `Gaussians.select`.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from geometry.gaussians import Gaussians
from geometry.similarity import Similarity
from geometry.spherical_harmonics import rotated_harmonics
from stage.errors import InputError


def transform(gaussians: Gaussians, similarity: Similarity) -> Gaussians:
    """The same Gaussians in another frame: a camera that is moved along sees the same picture.

    Means, axes and scales follow, and so do the directions that colours depend on.
    """
    axes = Rotation.from_quat(gaussians.quaternions, scalar_first=True)
    turned = Rotation.from_matrix(similarity.rotation) * axes
    return Gaussians(
        means=similarity.apply(gaussians.means),
        quaternions=turned.as_quat(scalar_first=True),
        scales=similarity.scale * gaussians.scales.astype(np.float64),
        opacities=gaussians.opacities,
        colours=gaussians.colours,
        harmonics=rotated_harmonics(gaussians.harmonics, similarity.rotation),
    )


def crop_to_box(gaussians: Gaussians, lower: Float[np.ndarray, "3"], upper: Float[np.ndarray, "3"]) -> Gaussians:
    """Those whose means lie in an axis-aligned box, its faces included."""
    return gaussians.select(np.all((gaussians.means >= lower) & (gaussians.means <= upper), axis=1))


def crop_to_sphere(gaussians: Gaussians, centre: Float[np.ndarray, "3"], radius: float) -> Gaussians:
    """Those whose means lie in a sphere, its surface included."""
    offsets = gaussians.means.astype(np.float64) - centre
    return gaussians.select(np.linalg.norm(offsets, axis=1) <= radius)


def prune(
    gaussians: Gaussians, least_opacity: float = 0.0, least_scale: float = 0.0, greatest_scale: float = np.inf
) -> Gaussians:
    """Without those too faint, too small or too large to be of use.

    Args:
        gaussians: world units.
        least_opacity: fainter ones go.
        least_scale: those whose largest standard deviation is less go.
        greatest_scale: those whose largest standard deviation is more go.
    """
    size = gaussians.scales.max(axis=1, initial=0.0)
    return gaussians.select((gaussians.opacities >= least_opacity) & (size >= least_scale) & (size <= greatest_scale))


def deduplicate(gaussians: Gaussians, edge: float, score: Float[np.ndarray, " n"] | None = None) -> Gaussians:
    """One Gaussian per cubic voxel: the one of the highest score, of equals the first.

    Args:
        gaussians: world units.
        edge: of the voxels, which start at the origin, world units.
        score: opacities by default.
    """
    chosen = gaussians.opacities if score is None else score
    return gaussians.select(best_of_each_voxel(gaussians.means, chosen, edge))


def best_of_each_voxel(
    points: Float[np.ndarray, "n 3"], score: Float[np.ndarray, " n"], edge: float
) -> Int[np.ndarray, " k"]:
    """Ascending indices of the highest-scored point of each cubic voxel; the first of equals.

    Raises:
        InputError: when the edge is not positive, or so small that a voxel's number leaves 64 bits.
    """
    if not edge > 0.0:
        raise InputError(f"voxel edge {edge} is not positive")
    places = np.floor(points.astype(np.float64) / edge)
    if len(places) and np.abs(places).max() >= 2.0**63:
        raise InputError(f"voxel edge {edge} is too small for points at {np.abs(points).max()}")
    cells = places.astype(np.int64)
    # lexsort is stable and sorts by its last key first: by cell, within it by falling score.
    order = np.lexsort((-score, cells[:, 2], cells[:, 1], cells[:, 0]))
    ordered = cells[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    return np.sort(order[first])
