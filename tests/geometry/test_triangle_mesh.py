"""Triangle meshes: what can be told of them by hand."""

import numpy as np
import pytest

from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], dtype=float)
OUTWARDS = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def tetrahedron(shift: float = 0.0) -> TriangleMesh:
    return TriangleMesh(CORNERS + shift, OUTWARDS, CORNERS / 3)


def two(second: float) -> TriangleMesh:
    """Two tetrahedra, the second one scaled."""
    return TriangleMesh(np.concatenate([CORNERS, CORNERS * second + 5]), np.concatenate([OUTWARDS, OUTWARDS + 4]))


def test_a_tetrahedron():
    mesh = tetrahedron()
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1.0)
    np.testing.assert_allclose(sorted(mesh.areas()), sorted([1.0, 1.5, 3.0, 3.5]))
    np.testing.assert_array_equal(mesh.bounds, [[0, 0, 0], [1, 2, 3]])
    assert TriangleMesh(CORNERS, OUTWARDS[:, ::-1]).volume == pytest.approx(-1.0)


def test_a_hole_a_turned_face_and_nothing_bound_no_volume():
    assert not TriangleMesh(CORNERS, OUTWARDS[:3]).is_watertight
    assert TriangleMesh(CORNERS, OUTWARDS[:3]).open_edges == 3
    turned = OUTWARDS.copy()
    turned[0] = turned[0, ::-1]
    assert not TriangleMesh(CORNERS, turned).is_watertight
    assert not TriangleMesh(CORNERS, OUTWARDS[:0]).is_watertight


def test_components_and_the_vertices_of_chosen_faces():
    mesh = two(2.0)
    assert mesh.components().tolist() == [0] * 4 + [1] * 4
    second = mesh.select_faces(mesh.components() == 1)
    assert second.volume == pytest.approx(8.0)
    np.testing.assert_array_equal(second.vertices, CORNERS * 2 + 5)


def test_bounds_are_of_vertices_that_faces_use():
    stray = np.concatenate([CORNERS, [[9, 9, 9]]])
    np.testing.assert_array_equal(TriangleMesh(stray, OUTWARDS).bounds[1], [1, 2, 3])
    with pytest.raises(InputError, match="without faces"):
        _ = TriangleMesh(stray, OUTWARDS[:0]).bounds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vertices": CORNERS[:, :2]}, r"vertices has shape \(4, 2\)"),
        ({"vertices": np.where(CORNERS == 3, np.nan, CORNERS)}, "not finite in 1 of 4"),
        ({"faces": OUTWARDS + 1}, "name vertices 1 to 4 of 4"),
        ({"colours": CORNERS[:3]}, "3 colours for 4 vertices"),
    ],
)
def test_what_is_no_mesh_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        TriangleMesh(**{"vertices": CORNERS, "faces": OUTWARDS, "colours": CORNERS} | values)
