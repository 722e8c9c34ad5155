"""Figures about meshes against closed forms, and against a second computation by brute force."""

import math

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geometry.perceptual import Unavailable
from geometry.surface_metrics import (
    box_points,
    chamfer_l1,
    chamfer_l2,
    f_score,
    grid_points,
    nearest,
    normal_consistency,
    viewfusion_scores,
    volume_iou,
)
from geometry.surfaces import SurfaceSamples, encloses, longest_side, measurable, sample_surface
from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError

COUNT = 4000


def box(
    size: tuple[float, float, float] = (1.0, 1.0, 1.0), at: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> TriangleMesh:
    mesh = trimesh.creation.box(size)
    return TriangleMesh(mesh.vertices + np.array(at), mesh.faces)


def sphere(radius: float) -> TriangleMesh:
    mesh = trimesh.creation.icosphere(4, radius)
    return TriangleMesh(mesh.vertices, mesh.faces)


def sheet(height: float) -> TriangleMesh:
    """A unit square facing up."""
    vertices = np.array([[0, 0, height], [1, 0, height], [1, 1, height], [0, 1, height]])
    return TriangleMesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]))


def joined(*parts: TriangleMesh) -> TriangleMesh:
    firsts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + first for part, first in zip(parts, firsts[:-1], strict=True)]
    return TriangleMesh(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def test_concentric_spheres_are_the_difference_of_their_radii_apart() -> None:
    pairs = nearest(sample_surface(sphere(0.4), 20_000, 1), sample_surface(sphere(0.5), 20_000, 2))
    assert chamfer_l1(pairs) == pytest.approx(0.1, rel=2e-3)
    assert chamfer_l2(pairs) == pytest.approx(2 * 0.1**2, rel=4e-3)
    assert f_score(pairs, 0.09) == 0.0
    assert f_score(pairs, 0.11) == 1.0
    assert normal_consistency(pairs) > 0.999


def test_parallel_sheets_are_their_distance_apart() -> None:
    pairs = nearest(sample_surface(sheet(0.0), 20_000, 1), sample_surface(sheet(0.2), 20_000, 2))
    assert chamfer_l1(pairs) == pytest.approx(0.2, rel=2e-3)
    assert normal_consistency(pairs) == pytest.approx(1.0)


def test_a_share_that_is_missing_lowers_recall_and_leaves_precision() -> None:
    """One of two far cubes is found: precision 1, recall 1/2, so that F = 2/3."""
    pairs = nearest(sample_surface(box(), COUNT, 1), sample_surface(joined(box(), box(at=(10, 0, 0))), COUNT, 2))
    assert f_score(pairs, 0.1) == pytest.approx(2 / 3, abs=0.01)
    # Each point of the lost cube is 9 to 10 from the found one's face.
    assert chamfer_l1(pairs) == pytest.approx(9.5 / 2 / 2, rel=0.02)


def test_a_face_turned_by_its_edge_has_the_cosine_of_the_turn() -> None:
    turned = Rotation.from_euler("x", 60, degrees=True).as_matrix()
    plane = sheet(0.0)
    pairs = nearest(
        sample_surface(TriangleMesh(plane.vertices @ turned.T, plane.faces), COUNT, 0), sample_surface(plane, COUNT, 0)
    )
    assert normal_consistency(pairs) == pytest.approx(0.5)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 1.5])
def test_cubes_that_overlap_share_the_volume_that_they_share(shift: float) -> None:
    prediction, truth = box(at=(shift, 0.1, 0.0)), box()
    common = max(0.0, 1 - shift) * 0.9
    expected = common / (2 - common)
    assert volume_iou(prediction, truth, grid_points(64, 0.6 + shift)) == pytest.approx(expected, abs=0.02)
    points = box_points([prediction, truth], 40_000, 0)
    assert volume_iou(prediction, truth, points) == pytest.approx(expected, abs=0.01)


def test_the_grid_holds_cell_centres_of_the_cube_around_the_origin() -> None:
    points = grid_points(4)
    assert np.unique(points).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert len(points) == 64


def test_nearest_neighbours_equal_those_by_brute_force() -> None:
    """Mean distances and cosines from the whole table of distances."""
    ours, theirs = sample_surface(sphere(0.4), 700, 1), sample_surface(box((0.9, 0.5, 0.4)), 600, 2)
    table = np.linalg.norm(ours.points[:, None] - theirs.points[None], axis=-1)
    cosines = np.abs(ours.normals @ theirs.normals.T)
    rows, columns = table.argmin(axis=1), table.argmin(axis=0)
    pairs = nearest(ours, theirs)
    assert chamfer_l1(pairs) == pytest.approx((table.min(1).mean() + table.min(0).mean()) / 2, rel=1e-12)
    assert chamfer_l2(pairs) == pytest.approx((table.min(1) ** 2).mean() + (table.min(0) ** 2).mean(), rel=1e-12)
    expected = (cosines[np.arange(700), rows].mean() + cosines[columns, np.arange(600)].mean()) / 2
    assert normal_consistency(pairs) == pytest.approx(expected, rel=1e-12)
    precision, recall = (table.min(1) < 0.1).mean(), (table.min(0) < 0.1).mean()
    assert f_score(pairs, 0.1) == pytest.approx(2 / (1 / precision + 1 / recall))


@given(seed=st.integers(0, 2**31), turn=st.floats(0, 2 * math.pi))
@settings(max_examples=10, deadline=None)
def test_figures_do_not_depend_on_where_both_stand_nor_on_which_is_which(seed: int, turn: float) -> None:
    move = Rotation.from_rotvec(turn * np.array([0.6, 0.0, 0.8])).as_matrix()
    shift = np.random.default_rng(seed).uniform(-1, 1, 3)
    first, second = sample_surface(box((0.9, 0.5, 0.4)), 300, seed), sample_surface(sphere(0.4), 300, seed + 1)
    moved = [SurfaceSamples(part.points @ move.T + shift, part.normals @ move.T) for part in (first, second)]
    there, back, elsewhere = nearest(first, second), nearest(second, first), nearest(*moved)
    for figure in (chamfer_l1, chamfer_l2, normal_consistency, lambda pairs: f_score(pairs, 0.1)):
        assert figure(back) == pytest.approx(figure(there), rel=1e-9)
        assert figure(elsewhere) == pytest.approx(figure(there), rel=1e-9)


def test_viewfusions_figures_do_not_see_place_and_size() -> None:
    shown = viewfusion_scores(box((0.3, 0.3, 0.3), at=(2, 0, 0)), box(), 0)
    floor = viewfusion_scores(box(), box(), 0)
    assert shown == pytest.approx(floor)
    # A cube of side 1.6 has an area of 15.4; 10 000 points on it are about √(15.4 / 10 000) / 2 = 0.02 apart.
    assert 0.0002 < floor["viewfusion_chamfer"] < 0.002
    assert floor["viewfusion_f_score"] == 1.0
    flat = viewfusion_scores(box((1, 1, 0.1)), box(), 0)
    assert flat["viewfusion_chamfer"] > 100 * floor["viewfusion_chamfer"]


def test_samples_are_the_same_for_the_same_seed_and_even_over_the_area() -> None:
    surface = box((2.0, 1.0, 1.0))
    first, again, other = (sample_surface(surface, COUNT, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)
    ends = np.abs(first.normals[:, 0]) > 0.5
    assert ends.mean() == pytest.approx(2 / 10, abs=0.02)
    outward = np.einsum("ni,ni->n", first.points, first.normals)
    assert (outward > 0).all()


def test_only_what_bounds_the_solid_is_sampled() -> None:
    """Two cubes that overlap by a half: nothing of either within the other, and nothing where a third touches."""
    union = joined(box(), box(at=(0.5, 0, 0)), box(at=(0, 0, 1)))
    points = sample_surface(union, COUNT, 0).points
    within = (
        (np.abs(points[:, 1]) < 0.49) & (points[:, 0] > -0.49) & (points[:, 0] < 0.99) & (np.abs(points[:, 2]) < 0.49)
    )
    assert not within.any()
    touching = (np.abs(points[:, :2]) < 0.49).all(axis=1) & (np.abs(points[:, 2] - 0.5) < 1e-6)
    assert not touching.any()
    assert len(points) == COUNT


@pytest.mark.parametrize(
    ("surface", "inside", "outside"),
    [
        (joined(box(), box(at=(0.5, 0, 0))), (0.25, 0, 0), (1.1, 0, 0)),
        (TriangleMesh(box().vertices, box().faces[:, ::-1]), (0.0, 0, 0), (0.6, 0, 0)),
        (TriangleMesh(box().vertices, box().faces[1:]), (0.0, 0.1, 0.1), (0.6, 0, 0)),
        (joined(box(), box()), (0.2, 0.1, 0), (0.6, 0, 0)),
    ],
    ids=["overlapping", "inside out", "a hole", "doubled"],
)
def test_meshes_that_are_not_watertight_have_an_inside(surface: TriangleMesh, inside: tuple, outside: tuple) -> None:
    assert encloses(surface, np.array([inside, outside])).tolist() == [True, False]


def test_an_open_sheet_encloses_nothing_and_says_so() -> None:
    points = grid_points(8)
    assert volume_iou(box(), sheet(0.2), points) == Unavailable("the asset encloses no volume")
    assert volume_iou(sheet(0.2), box(), points) == 0.0


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), "the mesh has no triangle"),
        (np.ones((3, 3)), np.array([[0, 1, 2]]), "the mesh has 1 triangles and no area"),
    ],
)
def test_what_is_no_surface_is_one_line(vertices: np.ndarray, faces: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measurable(TriangleMesh(vertices, faces))


def test_triangles_without_an_area_are_left_out() -> None:
    plane = sheet(0.0)
    faces = np.concatenate([plane.faces, [[0, 1, 1]]])
    surface = measurable(TriangleMesh(plane.vertices, faces))
    assert len(surface.faces) == 2
    assert longest_side(surface) == 1.0


def test_a_part_within_another_has_nothing_to_sample() -> None:
    small = box((0.2, 0.2, 0.2))
    points = sample_surface(joined(small, box()), COUNT, 0).points
    assert (np.abs(points).max(axis=1) > 0.4).all()
