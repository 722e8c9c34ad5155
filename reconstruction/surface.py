"""The surface of a signed distance on a grid: marching cubes by scikit-image, and which of its components are kept."""

import numpy as np
from jaxtyping import Float
from skimage.measure import marching_cubes

from geometry.triangle_mesh import TriangleMesh
from reconstruction.fusion import VoxelGrid


def surface_of(distances: Float[np.ndarray, "x y z"], grid: VoxelGrid) -> TriangleMesh:
    """The surface where the distance is 0, faces outwards; without faces where there is none.

    Closed, since what lies outside the grid counts as outside the object (Lewiner et al. 2003, "Efficient implementation of
    Marching Cubes' cases with topological guarantees", by scikit-image).
    """
    padded = np.pad(distances, 1, constant_values=1.0)
    if not (padded.min() < 0.0 < padded.max()):
        return TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3)))
    vertices, faces, _, _ = marching_cubes(padded, 0.0)
    return TriangleMesh((vertices - 1.0) * grid.edge + grid.origin, faces)


def largest_components(mesh: TriangleMesh, least_share: float) -> TriangleMesh:
    """The components that have at least a share of the area of the largest; cavities are components too."""
    if not len(mesh.faces):
        return mesh
    numbers = mesh.components()
    areas = np.bincount(numbers, weights=mesh.areas())
    return mesh.select_faces((areas >= least_share * areas.max())[numbers])
