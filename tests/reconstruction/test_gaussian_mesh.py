"""Meshes of Gaussians on surfaces that are known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mesh_support import HALF, RESOLUTION, SIDES, box, distance_to_box, small, sphere

from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians, concatenate
from geometry.rasterizer import rasterize
from geometry.triangle_mesh import TriangleMesh
from reconstruction.gaussian_mesh import mesh_from_gaussians
from reconstruction.surrounding_cameras import cameras_around, extent_of
from stage.errors import InputError


@pytest.fixture(scope="module")
def of_box() -> TriangleMesh:
    torch.set_num_threads(1)
    return mesh_from_gaussians(box(), small())


def off_sphere(mesh: TriangleMesh) -> np.ndarray:
    return np.linalg.norm(mesh.vertices, axis=1) - 0.5


@pytest.mark.parametrize("opacity", [0.95, 0.6])
def test_a_sphere_is_found_to_a_twentieth_of_a_voxel(opacity):
    """With the less opaque one a third of what a pixel shows is the far side."""
    mesh = mesh_from_gaussians(sphere(opacity=opacity), small())
    assert np.abs(off_sphere(mesh)).mean() < 0.05 / RESOLUTION
    assert np.abs(off_sphere(mesh)).max() < 0.5 / RESOLUTION
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(np.pi / 6, rel=0.01)


def test_a_box_is_found_to_a_tenth_of_a_voxel(of_box):
    distance = distance_to_box(of_box.vertices)
    assert np.abs(distance).mean() < 0.1 / RESOLUTION
    assert np.abs(distance).max() < 2.0 / RESOLUTION
    assert of_box.is_watertight
    assert of_box.volume == pytest.approx(np.prod(2 * HALF), rel=0.02)
    np.testing.assert_allclose(of_box.bounds, [-HALF, HALF], atol=0.5 / RESOLUTION)


def test_sides_have_their_colours(of_box):
    for (axis, sign), colour in SIDES.items():
        inner = np.delete(np.abs(of_box.vertices) / HALF, axis, axis=1).max(axis=1) < 0.8
        on_side = inner & (sign * of_box.vertices[:, axis] > 0.9 * HALF[axis])
        assert on_side.sum() > 50
        np.testing.assert_allclose(of_box.colours[on_side].mean(axis=0), colour, atol=0.03)


def outline_radius(gaussians: Gaussians) -> float:
    """Of the sphere whose outline is where coverage is one half, in a picture such as the mesh is made of."""
    chosen, extent = small(), extent_of(gaussians)
    fov = np.radians(chosen.fov_deg)
    lens, c2w = Intrinsics.from_fov(fov, chosen.view_size), cameras_around(extent, 1, fov)
    finer = rasterize(GaussianTensors.of(gaussians), c2w, lens).alpha[:, None]
    area = float((torch.nn.functional.interpolate(finer, scale_factor=8, mode="bilinear") >= 0.5).sum()) / 64
    return float(np.linalg.norm(c2w[0, :3, 3] - extent.centre)) * np.sin(np.arctan(np.sqrt(area / np.pi) / lens.fx))


def test_an_inset_surface_is_moved_out_to_its_outline():
    """Gaussians 0.02 inside a sphere, about as wide as pixels: their pictures show it nearly whole."""
    inside = sphere(radius=0.48, count=6000, spread=0.008)
    by_depth, by_outline = (mesh_from_gaussians(inside, small(surface=kind)) for kind in ("depth", "outline"))
    assert off_sphere(by_depth).mean() == pytest.approx(-0.02, abs=0.001)
    shown = outline_radius(inside)
    assert shown > 0.495
    assert off_sphere(by_outline).mean() + 0.5 == pytest.approx(shown, abs=0.1 / RESOLUTION)
    assert by_outline.is_watertight


def test_specks_are_dropped():
    speck = replace(
        sphere(radius=0.02, count=60), means=sphere(radius=0.02, count=60).means + np.array([0.0, 0.0, 0.7])
    )
    both = concatenate([sphere(), speck])
    assert mesh_from_gaussians(both, small()).bounds[1, 2] < 0.52
    assert mesh_from_gaussians(both, small(least_component=0.0)).bounds[1, 2] > 0.65


def test_the_same_gaussians_give_the_same_mesh():
    first, second = (mesh_from_gaussians(box(), small(views=8, resolution=24)) for _ in range(2))
    for name in ("vertices", "faces", "colours"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_what_has_no_surface_is_refused():
    ball = sphere(count=500)
    empty = ball.select(np.zeros(500, bool))
    hidden = replace(ball, opacities=np.full(500, 0.003))
    faint = replace(ball, opacities=np.full(500, 0.01))
    for gaussians, message in ((empty, "no Gaussians"), (hidden, "all 500 .* transparent"), (faint, "cover no pixel")):
        with pytest.raises(InputError, match=message):
            mesh_from_gaussians(gaussians, small(views=6))


def test_numbers_that_are_none_never_get_so_far():
    means = np.zeros((3, 3))
    means[1, 2] = np.nan
    with pytest.raises(InputError, match="means is not finite in 1 of 3 rows, first in row 1"):
        Gaussians(means, np.tile([1.0, 0, 0, 0], (3, 1)), np.ones((3, 3)), np.ones(3), np.ones((3, 3)))


def test_one_gaussian_has_a_surface():
    one = Gaussians(np.zeros((1, 3)), [[1.0, 0, 0, 0]], np.full((1, 3), 0.1), np.ones(1), np.full((1, 3), 0.5))
    mesh = mesh_from_gaussians(one, small())
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.colours, 0.5, atol=0.01)
