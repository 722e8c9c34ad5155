"""How near a reconstructed mesh is to the true one: Chamfer distances, F-scores, normal consistency and volume IoU.

Distances are between points sampled on both surfaces, so that two samples of one surface are not at 0: with n points on an area A
the nearest one is about √(A/n)/2 away. Lengths are in units of the meshes' frame; ours has the true object's longest side at 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from geometry.perceptual import Unavailable
from geometry.surfaces import SurfaceSamples, boxed, encloses, sample_surface
from geometry.triangle_mesh import TriangleMesh

# ViewFusion's evaluator (Wi-sc/ViewFusion, syncdreamer_3drec/test_3d_shape.py).
VIEWFUSION_SIDE = 1.6
VIEWFUSION_SAMPLES = 10_000
VIEWFUSION_THRESHOLD = 0.1


@dataclass(frozen=True, eq=False)
class Nearest:
    """What the samples of two surfaces have for nearest neighbours on each other."""

    accuracy: Float[np.ndarray, " n"]
    """Distance of each point of the prediction to the truth."""
    completeness: Float[np.ndarray, " m"]
    """Distance of each point of the truth to the prediction."""
    cosines: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]
    """Between the normals of each such pair, in the same order."""


def nearest(prediction: SurfaceSamples, truth: SurfaceSamples) -> Nearest:
    """Nearest neighbours in both directions, exactly."""
    accuracy, rows = cKDTree(truth.points).query(prediction.points)
    completeness, columns = cKDTree(prediction.points).query(truth.points)
    cosines = (
        np.sum(prediction.normals * truth.normals[rows], axis=1),
        np.sum(truth.normals * prediction.normals[columns], axis=1),
    )
    return Nearest(accuracy, completeness, cosines)


def chamfer_l1(pairs: Nearest) -> float:
    """Half the sum of both mean distances, as SyncDreamer's `eval_mesh.py` has it."""
    return float(pairs.accuracy.mean() + pairs.completeness.mean()) / 2


def chamfer_l2(pairs: Nearest) -> float:
    """The sum of both mean squared distances, as ViewFusion's `test_3d_shape.py` has it."""
    return float(np.square(pairs.accuracy).mean() + np.square(pairs.completeness).mean())


def f_score(pairs: Nearest, threshold: float) -> float:
    """Harmonic mean of precision and recall (Knapitsch et al. 2017): the shares of points nearer than `threshold`."""
    precision, recall = (float((side < threshold).mean()) for side in (pairs.accuracy, pairs.completeness))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def normal_consistency(pairs: Nearest) -> float:
    """Mean |cosine| between a point's normal and its neighbour's, of both directions (Mescheder et al. 2019, eq. in § 4)."""
    return float(sum(np.abs(side).mean() for side in pairs.cosines)) / 2


def volume_iou(prediction: TriangleMesh, truth: TriangleMesh, points: Float[np.ndarray, "n 3"]) -> float | Unavailable:
    """Of the points within either mesh the share within both; not available where the truth encloses none of them."""
    inside: list[Bool[np.ndarray, " n"]] = [encloses(mesh, points) for mesh in (prediction, truth)]
    if not inside[1].any():
        return Unavailable("the asset encloses no volume")
    return float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())


def grid_points(resolution: int, half: float = 1.0) -> Float[np.ndarray, "n 3"]:
    """The centres of resolution³ cells of the cube from −half to half; SyncDreamer's `eval_mesh.py` has 64³ from −1 to 1."""
    axis = ((np.arange(resolution) + 0.5) / resolution * 2.0 - 1.0) * half
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def box_points(meshes: Sequence[TriangleMesh], count: int, seed: int) -> Float[np.ndarray, "n 3"]:
    """Points drawn evenly from the box around all meshes."""
    bounds = np.stack([mesh.bounds for mesh in meshes]).astype(np.float64)
    low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
    return np.random.default_rng(seed).uniform(low, high, (count, 3))


def viewfusion_scores(prediction: TriangleMesh, truth: TriangleMesh, seed: int) -> dict[str, float]:
    """ViewFusion's Chamfer distance and F-score.

    Both meshes are brought to a longest side of 1.6 about the origin by their own boxes, 10 000 points are drawn on each,
    distances are squared, and the F-score's threshold is 0.01 of those. It is blind to place and size, therefore.

    Args:
        prediction: the mesh to judge, standing like the truth.
        truth: the true mesh.
        seed: of the draws.
    """
    meshes = [boxed(mesh, VIEWFUSION_SIDE) for mesh in (prediction, truth)]
    pairs = nearest(*(sample_surface(mesh, VIEWFUSION_SAMPLES, seed + n) for n, mesh in enumerate(meshes)))
    return {"viewfusion_chamfer": chamfer_l2(pairs), "viewfusion_f_score": f_score(pairs, VIEWFUSION_THRESHOLD)}
