"""Triangle meshes as surfaces to be measured: points on them, and which points they enclose.

Meshes of assets are seldom watertight: parts overlap, sheets are open, faces are doubled. What is inside is therefore told by the
generalised winding number (Jacobson et al. 2013), which is 1 inside and 0 outside of a closed mesh, more within overlaps, and
falls smoothly through holes; libigl approximates it for soups of triangles (Barill et al. 2018).
"""

from dataclasses import dataclass

import igl
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int

from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError

# Of the longest side: how far on both sides of a sample is looked whether it lies within the solid.
_STEP = 1e-3
# A surface of which less than a twentieth shows is sampled by fewer points than asked for.
_ROUNDS = 20
_INSIDE = 0.5
# A triangle's area relative to the square of the longest side, below which it has no normal.
_LEAST_AREA = 1e-12


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points on a surface with the unit normals of their triangles, n of each."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: slice | Bool[np.ndarray, " n"]) -> "SurfaceSamples":
        return SurfaceSamples(self.points[rows], self.normals[rows])


def measurable(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh without the triangles that have no area.

    Raises:
        InputError: when no triangle has one.
    """
    if not len(mesh.faces):
        raise InputError("the mesh has no triangle")
    areas = mesh.areas()
    kept = areas > _LEAST_AREA * longest_side(mesh) ** 2
    if not kept.any():
        raise InputError(f"the mesh has {len(areas)} triangles and no area")
    return mesh.select_faces(kept)


def longest_side(mesh: TriangleMesh) -> float:
    """Of the box around a mesh."""
    return float(np.ptp(mesh.bounds, axis=0).max())


def boxed(mesh: TriangleMesh, side: float) -> TriangleMesh:
    """The mesh moved and scaled so that its box is about the origin and its longest side is `side`."""
    return TriangleMesh((mesh.vertices - mesh.bounds.mean(axis=0)) * (side / longest_side(mesh)), mesh.faces)


def encloses(mesh: TriangleMesh, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Whether each point is inside: |winding number| > 1/2, so that a mesh turned inside out counts as its like."""
    vertices, points = (np.ascontiguousarray(array, dtype=np.float64) for array in (mesh.vertices, points))
    return np.abs(igl.fast_winding_number(vertices, mesh.faces, points)) > _INSIDE


def sample_surface(mesh: TriangleMesh, count: int, seed: int) -> SurfaceSamples:
    """Points spread evenly over the part of a surface that bounds the solid; the same seed gives the same points.

    What lies within the solid, where parts overlap or touch, is not of its surface: points a little before and behind of it
    are both inside.

    Args:
        mesh: what `measurable` gives.
        count: number of points; fewer are given where less than a twentieth of the area bounds the solid.
        seed: of the draws.

    Raises:
        InputError: when nothing bounds the solid.
    """
    random, found = np.random.default_rng(seed), SurfaceSamples(np.empty((0, 3)), np.empty((0, 3)))
    for _ in range(_ROUNDS):
        more = _exposed(mesh, _drawn(mesh, count, int(random.integers(2**32))))
        found = SurfaceSamples(*map(np.concatenate, zip(_pair(found), _pair(more), strict=True)))
        if len(found) >= count:
            return found[:count]
    if not len(found):
        raise InputError(f"none of the mesh's {len(mesh.faces)} triangles shows: all lie within one another")
    return found


def _pair(samples: SurfaceSamples) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    return samples.points, samples.normals


def _drawn(mesh: TriangleMesh, count: int, seed: int) -> SurfaceSamples:
    drawn = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, faces = trimesh.sample.sample_surface(drawn, count, seed=seed)[:2]
    return SurfaceSamples(np.asarray(points), _normals(mesh, faces))


def _normals(mesh: TriangleMesh, faces: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    a, b, c = np.moveaxis(mesh.vertices.astype(np.float64)[mesh.faces[faces]], 1, 0)
    crossed = np.cross(b - a, c - a)
    return np.asarray(crossed / np.linalg.norm(crossed, axis=1, keepdims=True))


def _exposed(mesh: TriangleMesh, samples: SurfaceSamples) -> SurfaceSamples:
    step = _STEP * longest_side(mesh) * samples.normals
    return samples[~(encloses(mesh, samples.points + step) & encloses(mesh, samples.points - step))]
