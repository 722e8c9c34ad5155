"""Triangle meshes in memory: checked vertices, faces and colours, and what can be told of them.

World: right-handed, Z up. A face's vertices go counter-clockwise seen from outside.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stage.errors import InputError


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """Triangles between shared vertices; arrays are converted to contiguous float32 and int64.

    Raises:
        InputError: when shapes disagree, a value is not finite, or a face names a vertex that is not there.
    """

    vertices: Float[np.ndarray, "n 3"]
    """Positions, world units."""
    faces: Int[np.ndarray, "f 3"]
    """Indices of vertices."""
    colours: Float[np.ndarray, "n 3"] | None = None
    """RGB of each vertex, sRGB in [0, 1]; none where the mesh has no colours."""

    def __post_init__(self) -> None:
        # Writing through the freeze: this is still construction.
        object.__setattr__(self, "vertices", _array("vertices", self.vertices, np.float32))
        object.__setattr__(self, "faces", _array("faces", self.faces, np.int64))
        count = len(self.vertices)
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < count:
            raise InputError(f"mesh: faces name vertices {self.faces.min()} to {self.faces.max()} of {count}")
        if self.colours is not None:
            object.__setattr__(self, "colours", _array("colours", self.colours, np.float32))
            if len(self.colours) != count:
                raise InputError(f"mesh: {len(self.colours)} colours for {count} vertices")

    @property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """Least and greatest corner of the box around the vertices that faces use.

        Raises:
            InputError: when there is no face.
        """
        if not len(self.faces):
            raise InputError("mesh: without faces it has no bounds")
        used = self.vertices[np.unique(self.faces)]
        return np.stack([used.min(axis=0), used.max(axis=0)])

    @property
    def is_watertight(self) -> bool:
        """Whether it has faces and no open edge: it bounds a volume."""
        return len(self.faces) > 0 and not self.open_edges

    @property
    def open_edges(self) -> int:
        """How many edges run more often one way than the other."""
        a, b = self.faces, np.roll(self.faces, -1, axis=1)
        keys, inverse = np.unique(
            np.sort(np.stack([a.ravel(), b.ravel()], axis=1), axis=1), axis=0, return_inverse=True
        )
        balance = np.bincount(inverse.ravel(), weights=np.where(a < b, 1, -1).ravel(), minlength=len(keys))
        return int(np.count_nonzero(balance))

    @property
    def volume(self) -> float:
        """Signed volume, world units³, by the divergence theorem; positive when a closed mesh faces outwards."""
        a, b, c = np.moveaxis(self.vertices.astype(np.float64)[self.faces], 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    def areas(self) -> Float[np.ndarray, " f"]:
        """Of each face, world units²."""
        a, b, c = np.moveaxis(self.vertices.astype(np.float64)[self.faces], 1, 0)
        return np.asarray(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1))

    def components(self) -> Int[np.ndarray, " f"]:
        """The number of the connected component that each face belongs to; faces connect through shared vertices."""
        rows, columns = self.faces[:, [0, 1]].ravel(), self.faces[:, [1, 2]].ravel()
        links = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(self.vertices),) * 2)
        _, of_vertex = connected_components(links, directed=False)
        return np.asarray(np.unique(of_vertex[self.faces[:, 0]], return_inverse=True)[1], dtype=np.int64)

    def select_faces(self, chosen: np.ndarray) -> "TriangleMesh":
        """The faces that a mask or indices pick, with the vertices that they use, in order."""
        faces = self.faces[chosen]
        used, inverse = np.unique(faces, return_inverse=True)
        colours = None if self.colours is None else self.colours[used]
        return TriangleMesh(self.vertices[used], inverse.reshape(-1, 3), colours)


def _array(name: str, values: np.ndarray, dtype: type) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"mesh: {name} has shape {array.shape} where (n, 3) is expected")
    if not np.isfinite(array).all():
        raise InputError(
            f"mesh: {name} is not finite in {int((~np.isfinite(array)).any(axis=1).sum())} of {len(array)} rows"
        )
    return array
