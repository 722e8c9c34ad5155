"""Triangle meshes as surfaces to be measured: points on them, and which points they enclose.

Meshes of assets are seldom watertight: parts overlap, sheets are open, faces are doubled. What is inside is therefore told by the
generalised winding number (Jacobson et al. 2013), which is 1 inside and 0 outside of a closed mesh, more within overlaps, and
falls smoothly through holes; libigl approximates it for soups of triangles (Barill et al. 2018).
"""

from dataclasses import dataclass
from functools import cached_property

import igl
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int

from stage.errors import InputError

# Of the longest side: how far on both sides of a sample is looked whether it lies within the solid.
_STEP = 1e-3
# A surface of which less than a twentieth shows is sampled by fewer points than asked for.
_ROUNDS = 20
_INSIDE = 0.5
# A triangle's area relative to the square of the longest side, below which it has no normal.
_LEAST_AREA = 1e-14


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points on a surface with the unit normals of their triangles, n of each."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: slice | Bool[np.ndarray, " n"]) -> "SurfaceSamples":
        return SurfaceSamples(self.points[rows], self.normals[rows])


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh; triangles without an area are left out.

    Raises:
        InputError: when shapes or indices do not fit, a vertex in use is not finite, or no triangle has an area.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    """Indices of vertices, counter-clockwise seen from outside."""

    def __post_init__(self) -> None:
        vertices, faces = np.asarray(self.vertices, dtype=np.float64), np.asarray(self.faces)
        _check(vertices, faces)
        corners = vertices[faces]
        crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        least = _LEAST_AREA * float(np.ptp(corners.reshape(-1, 3), axis=0).max()) ** 2
        kept = 0.5 * np.linalg.norm(crossed, axis=1) > least
        if not kept.any():
            raise InputError(f"the mesh has {len(faces)} triangles and no area")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", np.ascontiguousarray(faces[kept], dtype=np.int64))

    @cached_property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """Lowest and highest corner of the box around all triangles."""
        used = self.vertices[np.unique(self.faces)]
        return np.stack([used.min(axis=0), used.max(axis=0)])

    @property
    def longest_side(self) -> float:
        """Of that box."""
        return float(np.ptp(self.bounds, axis=0).max())

    def boxed(self, side: float) -> "Surface":
        """The surface moved and scaled so that its box is about the origin and its longest side is `side`."""
        return Surface((self.vertices - self.bounds.mean(axis=0)) * (side / self.longest_side), self.faces)

    def encloses(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Whether each point is inside: |winding number| > 1/2, so that a mesh turned inside out counts as its like."""
        wound = igl.fast_winding_number(self.vertices, self.faces, np.ascontiguousarray(points, dtype=np.float64))
        return np.abs(wound) > _INSIDE

    def sample(self, count: int, seed: int) -> SurfaceSamples:
        """Points spread evenly over the part of the surface that bounds the solid; the same seed gives the same points.

        What lies within the solid, where parts overlap or touch, is not of its surface: points a little before and behind
        of it are both inside.

        Args:
            count: number of points; fewer are given where less than a twentieth of the triangles' area bounds the solid.
            seed: of the draws.

        Raises:
            InputError: when none of the triangles' area bounds the solid.
        """
        random, found = np.random.default_rng(seed), []
        for _ in range(_ROUNDS):
            found.append(self._exposed(self._drawn(count, int(random.integers(2**32)))))
            if sum(map(len, found)) >= count:
                break
        points = np.concatenate([part.points for part in found])[:count]
        if not len(points):
            raise InputError(f"none of the mesh's {len(self.faces)} triangles shows: all lie within one another")
        return SurfaceSamples(points, np.concatenate([part.normals for part in found])[:count])

    def _drawn(self, count: int, seed: int) -> SurfaceSamples:
        mesh = trimesh.Trimesh(self.vertices, self.faces, process=False)
        points, faces = trimesh.sample.sample_surface(mesh, count, seed=seed)[:2]
        corners = self.vertices[self.faces[faces]]
        crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return SurfaceSamples(np.asarray(points), crossed / np.linalg.norm(crossed, axis=1, keepdims=True))

    def _exposed(self, samples: SurfaceSamples) -> SurfaceSamples:
        step = _STEP * self.longest_side * samples.normals
        return samples[~(self.encloses(samples.points + step) & self.encloses(samples.points - step))]


def _check(vertices: np.ndarray, faces: np.ndarray) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(f"a mesh of vertices {vertices.shape} and faces {faces.shape}", "give (v, 3) and (f, 3)")
    if not len(faces):
        raise InputError("the mesh has no triangle")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"a triangle of the mesh names vertex {faces.max()} of {len(vertices)}")
    if not np.isfinite(vertices[np.unique(faces)]).all():
        raise InputError("a vertex of the mesh is not finite")
