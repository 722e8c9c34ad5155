"""Closed-form splats of an analytic sphere and of hand-made pixels: places, rotations, scales, background, fusion."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geometry import cameras
from geometry.cameras import Intrinsics
from geometry.gaussians import Gaussians
from geometry.splatter import SplatterView, fuse, splatter_from_passes
from stage.errors import InputError

# One pixel, f = 10, at (2, 0, 0) looking at the origin: right is +Y, up is +Z.
PIXEL = Intrinsics(fx=10.0, fy=10.0, cx=0.5, cy=0.5, width=1, height=1)
SIDE = cameras.look_at(np.array([2.0, 0.0, 0.0]))


def splatter(passes, **changes) -> SplatterView:
    return splatter_from_passes(**{f.name: getattr(passes, f.name) for f in dataclasses.fields(passes)} | changes)


def one_pixel(normal: tuple[float, float, float], depth: float = 2.0) -> SplatterView:
    colour, position = np.full((1, 1, 3), 0.25), np.zeros((1, 1, 3))
    return splatter_from_passes(
        colour, position, np.full((1, 1), depth), np.array(normal).reshape(1, 1, 3), SIDE, PIXEL
    )


def axes_of(gaussians: Gaussians) -> np.ndarray:
    """Rotation matrices, columns the Gaussians' own axes in the world."""
    return Rotation.from_quat(np.roll(gaussians.quaternions, -1, axis=1)).as_matrix()


@pytest.mark.parametrize(("polar", "azimuth"), [(1.1, 0.7), (0.0, 0.0), (2.6, -2.0)])
def test_means_project_to_their_pixels_centres(sphere_passes, polar, azimuth):
    passes = sphere_passes(polar, azimuth)
    gaussians = splatter(passes).gaussians
    assert len(gaussians) == 64 * 64
    pixels, depth = cameras.project(gaussians.means, passes.c2w, passes.intrinsics)
    rows, columns = np.mgrid[:64, :64].reshape(2, -1) + 0.5
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1), atol=1e-4)
    mask = passes.mask.ravel()
    np.testing.assert_allclose(depth[mask], passes.depth.ravel()[mask], atol=1e-6)


def test_local_z_is_the_normal_and_x_points_up_the_slope(sphere_passes):
    passes = sphere_passes(1.1, 0.7)
    view = splatter(passes)
    chosen = view.gaussians.select(passes.mask.ravel())
    axes, normals = axes_of(chosen), passes.normal[passes.mask]
    np.testing.assert_allclose(axes[:, :, 2], normals, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0, atol=1e-6)
    towards_camera = passes.c2w[:3, 3] - chosen.means
    towards_camera /= np.linalg.norm(towards_camera, axis=1, keepdims=True)
    # y is square to the viewing direction, and x leans towards the camera.
    np.testing.assert_allclose(np.sum(axes[:, :, 1] * towards_camera, axis=1), 0.0, atol=1e-5)
    assert (np.sum(axes[:, :, 0] * towards_camera, axis=1) > -1e-6).all()
    np.testing.assert_allclose(view.facing[passes.mask], np.sum(normals * towards_camera, axis=1), atol=1e-6)


def test_scales_of_a_slanted_pixel_by_hand():
    # |n·v| = cos 60° = 0.5; s = 0.6 · 2 / 10 = 0.12, twice that along the slope.
    view = one_pixel((0.5, 0.0, np.sqrt(0.75)))
    np.testing.assert_allclose(view.gaussians.scales, [[0.24, 0.12, 0.012]], rtol=1e-6)
    np.testing.assert_allclose(view.gaussians.opacities, [0.97])
    assert view.facing[0, 0] == pytest.approx(0.5)
    assert view.pitch[0, 0] == pytest.approx(0.2)
    # The slope runs towards the camera and down.
    np.testing.assert_allclose(axes_of(view.gaussians)[0, :, 0], [np.sqrt(0.75), 0.0, -0.5], atol=1e-6)


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.1, 0.0, np.sqrt(0.99))])
def test_the_stretch_of_a_grazing_pixel_is_bounded(normal):
    np.testing.assert_allclose(one_pixel(normal).gaussians.scales, [[0.6, 0.12, 0.012]], rtol=1e-6)


def test_a_frontal_pixel_takes_the_cameras_right_as_x():
    view = one_pixel((1.0, 0.0, 0.0))
    np.testing.assert_allclose(axes_of(view.gaussians)[0], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(view.gaussians.scales, [[0.12, 0.12, 0.012]], rtol=1e-6)


@pytest.mark.parametrize("normal", [(0.0, 0.0, 0.0), (np.nan, 0.0, 0.0), (np.inf, 1.0, 0.0)])
def test_a_surface_without_a_normal_faces_the_camera(normal):
    view = one_pixel(normal)
    assert view.valid.all()
    np.testing.assert_allclose(axes_of(view.gaussians)[0, :, 2], [1.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("background", [0.0, np.inf, np.nan, -1.0])
def test_background_keeps_its_place_with_opacity_0(sphere_passes, background):
    passes = sphere_passes(1.1, 0.7)
    empty = ~passes.mask
    depth = np.where(empty, background, passes.depth)
    view = splatter(passes, depth=depth, position=np.where(empty[..., None], np.nan, passes.position))
    np.testing.assert_array_equal(view.valid, passes.mask)
    np.testing.assert_allclose(view.gaussians.opacities, np.where(passes.mask, 0.97, 0.0).ravel(), rtol=1e-6)
    _, placed = cameras.project(view.gaussians.means[empty.ravel()], passes.c2w, passes.intrinsics)
    np.testing.assert_allclose(placed, 1.6, atol=1e-5)


def test_colours_are_row_major(sphere_passes):
    passes = sphere_passes(1.1, 0.7)
    np.testing.assert_allclose(splatter(passes).gaussians.colours.reshape(64, 64, 3), passes.rgb, atol=1e-6)


@pytest.mark.parametrize("name", ["rgb", "position", "depth", "normal"])
def test_a_pass_of_another_size_is_named(sphere_passes, name):
    passes = sphere_passes(1.1, 0.7)
    with pytest.raises(InputError, match=f"pass {name} has shape"):
        splatter(passes, **{name: getattr(passes, name)[:-1]})


def test_a_position_that_is_no_number_is_refused(sphere_passes):
    passes = sphere_passes(1.1, 0.7)
    position = passes.position.copy()
    position[32, 32] = np.nan
    with pytest.raises(
        InputError, match="pass position is not finite in 1 pixels that have a depth, first in pixel 2080"
    ):
        splatter(passes, position=position)


def points_view(x: list[float], facing: list[float]) -> SplatterView:
    """A view of one row of points on the x axis, pixel pitch 1; the second is background."""
    count = len(x)
    valid = np.arange(count)[None] != 1
    gaussians = Gaussians(
        means=np.stack([x, np.full(count, 0.1), np.full(count, 0.1)], axis=1),
        quaternions=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        scales=np.ones((count, 3)),
        opacities=valid[0].astype(float),
        colours=np.zeros((count, 3)),
    )
    return SplatterView(gaussians, valid, np.array([facing]), np.ones((1, count)))


def test_fuse_keeps_the_most_frontal_of_each_voxel_in_order():
    # Voxels of half a unit: 0.1, 0.2 and 0.3 share one, −0.1 has its own across the border; 9 is background.
    first = points_view([0.1, 9.0, 3.0, -0.1], [0.5, 1.0, 0.9, 0.2])
    second = points_view([0.2, 9.0, 3.1, 0.3], [0.8, 1.0, 0.9, 0.8])
    np.testing.assert_allclose(fuse([first, second]).means[:, 0], [3.0, -0.1, 0.2])
    np.testing.assert_allclose(fuse([second, first]).means[:, 0], [0.2, 3.1, -0.1])


def test_fuse_takes_the_edge_in_pixels():
    view = points_view([0.1, 9.0, 0.3, 0.9, 1.1], [0.1, 1.0, 0.2, 0.3, 0.1])
    np.testing.assert_allclose(fuse([view], voxel=0.2).means[:, 0], [0.1, 0.3, 0.9, 1.1])
    np.testing.assert_allclose(fuse([view], voxel=1.0).means[:, 0], [0.9, 1.1])


def test_fusing_a_view_with_itself_gives_the_view(sphere_passes):
    view = splatter(sphere_passes(1.1, 0.7))
    once, twice = fuse([view], voxel=0.5), fuse([view, view], voxel=0.5)
    assert len(once) > 0.95 * view.valid.sum()
    np.testing.assert_array_equal(once.means, twice.means)
    assert (once.opacities > 0).all()


def test_fusing_only_background_gives_no_gaussians():
    assert len(fuse([one_pixel((1.0, 0.0, 0.0), depth=0.0)])) == 0
    assert len(fuse([])) == 0
