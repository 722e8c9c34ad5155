"""Closed-form splats of an analytic sphere and of hand-made pixels: places, rotations, scales, background, fusion."""

import dataclasses

import numpy as np
import pytest
from rectangle_support import Rectangle, cast_rectangles
from scipy.ndimage import binary_erosion
from scipy.spatial.transform import Rotation

from geometry import cameras
from geometry.cameras import Intrinsics
from geometry.gaussians import Gaussians
from geometry.splatter import SplatterView, fuse, splatter_from_passes, union
from stage.errors import InputError

# One pixel, f = 10, at (2, 0, 0) looking at the origin: right is +Y, up is +Z.
PIXEL = Intrinsics(fx=10.0, fy=10.0, cx=0.5, cy=0.5, width=1, height=1)
SIDE = cameras.look_at(np.array([2.0, 0.0, 0.0]))


def splatter(passes, **changes) -> SplatterView:
    return splatter_from_passes(**{f.name: getattr(passes, f.name) for f in dataclasses.fields(passes)} | changes)


def one_pixel(normal: tuple[float, float, float], depth: float = 2.0) -> SplatterView:
    colour, position = np.full((1, 1, 3), 0.25), np.zeros((1, 1, 3))
    normals = np.array(normal).reshape(1, 1, 3)
    return splatter_from_passes(colour, position, np.full((1, 1), depth), normals, SIDE, PIXEL, footprint=0.4)


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
    # |n·v| = cos 60° = 0.5; s = 0.4 · 2 / 10 = 0.08, twice that along the slope.
    view = one_pixel((0.5, 0.0, np.sqrt(0.75)))
    np.testing.assert_allclose(view.gaussians.scales, [[0.16, 0.08, 0.008]], rtol=1e-6)
    np.testing.assert_allclose(view.gaussians.opacities, [0.95])
    assert view.facing[0, 0] == pytest.approx(0.5)
    assert view.pitch[0, 0] == pytest.approx(0.2)
    # The slope runs towards the camera and down.
    np.testing.assert_allclose(axes_of(view.gaussians)[0, :, 0], [np.sqrt(0.75), 0.0, -0.5], atol=1e-6)


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.1, 0.0, np.sqrt(0.99))])
def test_the_stretch_of_a_grazing_pixel_is_bounded(normal):
    np.testing.assert_allclose(one_pixel(normal).gaussians.scales, [[0.4, 0.08, 0.008]], rtol=1e-6)


def test_a_frontal_pixel_takes_the_cameras_right_as_x():
    view = one_pixel((1.0, 0.0, 0.0))
    np.testing.assert_allclose(axes_of(view.gaussians)[0], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(view.gaussians.scales, [[0.08, 0.08, 0.008]], rtol=1e-6)


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
    np.testing.assert_allclose(view.gaussians.opacities, np.where(passes.mask, 0.95, 0.0).ravel(), rtol=1e-6)
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


def test_opacity_is_that_of_the_covered_share_of_the_pixel(sphere_passes):
    passes = sphere_passes(1.1, 0.7)
    coverage = np.linspace(0.0, 1.0, passes.depth.size).reshape(passes.depth.shape)
    opacities = splatter(passes, coverage=coverage).gaussians.opacities
    np.testing.assert_allclose(opacities, np.where(passes.mask, 0.95 * coverage, 0.0).ravel(), atol=1e-6)


def test_normals_are_those_of_the_side_that_is_seen(sphere_passes):
    passes = sphere_passes(1.1, 0.7)
    inwards = splatter(passes, normal=-passes.normal)
    np.testing.assert_allclose(inwards.normals[passes.mask], passes.normal[passes.mask], atol=1e-6)


def of_colour(gaussians: Gaussians, colour: tuple[float, float, float]) -> Gaussians:
    return gaussians.select(np.all(np.isclose(gaussians.colours, colour, atol=1e-6), axis=1))


def wall_and_plate(position: tuple[float, float, float], seen_as: tuple[float, float, float], *, plate: bool = True):
    """A wall at x = 0, in the colour of the view, and a green plate of half its size at x = 0.3."""
    rectangles = [Rectangle(0.0, 0.4, seen_as)] + ([Rectangle(0.3, 0.2, GREEN)] if plate else [])
    return splatter(cast_rectangles(rectangles, cameras.look_at(np.array(position)), LENS))


RED, GREEN, BLUE = (0.9, 0.1, 0.1), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9)
LENS = Intrinsics.from_fov(np.radians(49.1), 48)


def test_no_gaussian_bridges_two_surfaces_at_different_depths():
    fused = fuse([wall_and_plate((1.5, 0.7, 0.2), RED), wall_and_plate((1.5, -0.7, 0.2), RED)])
    on_wall, on_plate = of_colour(fused, RED), of_colour(fused, GREEN)
    assert len(on_wall) + len(on_plate) == len(fused)
    np.testing.assert_allclose(on_wall.means[:, 0], 0.0, atol=1e-6)
    np.testing.assert_allclose(on_plate.means[:, 0], 0.3, atol=1e-6)


def test_a_place_is_left_to_the_view_that_sees_it_most_densely():
    slanted, frontal = (wall_and_plate(at, c, plate=False) for at, c in [((1.6, 2.0, 0.0), RED), ((1.5, 0, 0), BLUE)])
    for views in ([slanted, frontal], [frontal, slanted]):
        fused = fuse(views)
        assert len(of_colour(fused, BLUE)) == frontal.valid.sum()
        # Of the slanted view only what lies within a pixel of the wall's border is left, where the other has background.
        rest = np.abs(of_colour(fused, RED).means[:, 1:]).max(axis=1)
        assert len(rest) < 0.2 * slanted.valid.sum()
        assert (rest > 0.4 - 2 * frontal.pitch.max()).all()


def test_what_the_better_view_does_not_see_is_kept():
    # Head-on the plate hides the middle of the wall, which the slanted view sees behind it.
    slanted, frontal = wall_and_plate((1.0, 1.2, 0.0), RED), wall_and_plate((1.5, 0.0, 0.0), BLUE)
    fused = fuse([slanted, frontal])
    kept = of_colour(fused, RED).means
    shadow = 0.2 * 1.5 / 1.2
    hidden = slanted.valid & (slanted.points[..., 0] < 0.1)
    hidden &= np.abs(slanted.points[..., 1:]).max(axis=-1) < shadow - 1e-3
    assert hidden.sum() > 20
    for point in slanted.points[hidden]:
        assert np.linalg.norm(kept - point, axis=1).min() < 1e-6


def test_a_surface_seen_from_both_sides_keeps_both():
    front, back = wall_and_plate((1.5, 0, 0), RED, plate=False), wall_and_plate((-1.5, 0, 0), BLUE, plate=False)
    fused = fuse([front, back])
    assert len(of_colour(fused, RED)) == front.valid.sum()
    assert len(of_colour(fused, BLUE)) == back.valid.sum()


def test_fusing_a_view_with_itself_adds_nothing_but_at_its_border(sphere_passes):
    view = splatter(sphere_passes(1.1, 0.7))
    once, twice = fuse([view]), fuse([view, view])
    assert len(once) == len(union([view])) == view.valid.sum()
    np.testing.assert_array_equal(twice.means[: len(once)], once.means)
    border = view.valid & ~binary_erosion(view.valid, np.ones((3, 3)))
    assert len(twice) - len(once) <= border.sum()


def test_fusing_only_background_gives_no_gaussians():
    assert len(fuse([one_pixel((1.0, 0.0, 0.0), depth=0.0)])) == 0
    assert len(fuse([])) == 0
