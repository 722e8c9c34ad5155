"""Gaussians moved inside: silhouettes of a sphere, thin sheets and edges, and splatter images that stay on their pixels."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rectangle_support import Rectangle, cast_rectangles

from geometry import cameras
from geometry.cameras import Intrinsics
from geometry.gaussian_tensors import GaussianTensors
from geometry.gaussians import Gaussians
from geometry.inset import inset_views, sorted_by_pixel
from geometry.rasterizer import rasterize
from geometry.splatter import SplatterView, fuse, splatter_from_passes, union

LENS = Intrinsics.from_fov(np.radians(49.1), 48)
AROUND = [(1.2, azimuth) for azimuth in np.arange(4) * np.pi / 2] + [(0.1, 0.0), (3.0, 0.0)]


def splatter(passes) -> SplatterView:
    names = ("rgb", "position", "depth", "normal", "c2w", "intrinsics")
    return splatter_from_passes(**{name: getattr(passes, name) for name in names})


@pytest.fixture(scope="module")
def sphere(sphere_passes) -> list[SplatterView]:
    return [splatter(sphere_passes(*pose, size=96)) for pose in AROUND]


def images_of(views: list[SplatterView]) -> Gaussians:
    return union([sorted_by_pixel(view) for view in views])


def agreement(gaussians: Gaussians, truth) -> tuple[float, float]:
    """IoU of the silhouettes, and PSNR on black of the whole picture."""
    seen = rasterize(GaussianTensors.of(gaussians), truth.c2w[None], truth.intrinsics, (0.0, 0.0, 0.0))
    shown = seen.alpha[0].numpy() > 0.5
    error = np.mean((seen.rgb[0].numpy() - truth.rgb) ** 2)
    return (shown & truth.mask).sum() / (shown | truth.mask).sum(), -10.0 * np.log10(error)


def test_a_sphere_has_its_silhouette_from_unseen_cameras(sphere, sphere_passes):
    inside, _ = inset_views(sphere)
    for pose in [(0.7, 0.8), (1.9, 2.5)]:
        truth = sphere_passes(*pose, size=96)
        on_it, fused, images = (agreement(g, truth) for g in (fuse(sphere), fuse(inside), images_of(inside)))
        # Measured 0.93, 21 dB on the surface: it is fatter by more than a pixel.
        assert on_it[0] < 0.95
        assert min(fused[0], images[0]) > 0.985
        assert fused[1] > on_it[1] + 2.0


def test_a_spheres_gaussians_go_in_by_so_many_pixels(sphere):
    inside, rooms = inset_views(sphere, depth=1.25)
    for before, after, room in zip(sphere, inside, rooms, strict=True):
        valid = before.valid
        radius = np.linalg.norm(after.gaussians.means.reshape(*valid.shape, 3)[valid], axis=1)
        np.testing.assert_allclose(radius, 0.5 - 1.25 * before.pitch[valid], atol=1e-5)
        assert (room == 1.0).all()
        np.testing.assert_array_equal(after.gaussians.opacities, before.gaussians.opacities)
        np.testing.assert_array_equal(after.points, before.points)


def test_depth_0_changes_nothing(sphere):
    inside, rooms = inset_views(sphere, depth=0.0)
    assert all(a is b for a, b in zip(inside, sphere, strict=True))
    assert all((room == 1.0).all() for room in rooms)
    for view in sphere:
        image = sorted_by_pixel(view).gaussians
        for field in dataclasses.fields(image):
            np.testing.assert_array_equal(getattr(image, field.name), getattr(view.gaussians, field.name))


def plates(thickness: float, half: float = 0.4) -> list[SplatterView]:
    """A red plate's front at x = 0, seen from the front, and its blue back, seen from behind."""
    front = cast_rectangles([Rectangle(0.0, half, (0.9, 0.1, 0.1))], cameras.look_at(np.array([1.5, 0, 0.0])), LENS)
    back = cast_rectangles(
        [Rectangle(-thickness, half, (0.1, 0.1, 0.9))], cameras.look_at(np.array([-1.5, 0, 0.0])), LENS
    )
    return [splatter(front), splatter(back)]


@settings(deadline=None, max_examples=20)
@given(thickness=st.floats(0.0, 0.2))
def test_the_sides_of_a_sheet_nearly_meet_and_never_cross(thickness):
    views = plates(thickness)
    inside, rooms = inset_views(views)
    wanted = 1.6 * views[0].pitch[views[0].valid]
    front, back = (view.gaussians.select(view.valid.ravel()) for view in inside)
    assert front.means[:, 0].min() >= -0.5 * thickness - 1e-5
    assert back.means[:, 0].max() <= -0.5 * thickness + 1e-5
    expected = np.minimum(1.0, 0.45 * thickness / wanted)
    np.testing.assert_allclose(rooms[0][views[0].valid], expected, atol=0.06)


def test_a_sheet_shows_the_colour_of_the_side_that_is_seen():
    inside, _ = inset_views(plates(0.004))
    for view, channel in zip(inside, (0, 2), strict=True):
        seen = rasterize(GaussianTensors.of(union(inside)), view.c2w[None], view.intrinsics)
        assert seen.rgb[0, 24, 24].argmax() == channel
        # Opaque but for its border, where it would be fatter otherwise.
        opacities = view.gaussians.opacities.reshape(view.valid.shape)
        assert opacities[24, 24] == pytest.approx(0.95)
        assert opacities[view.valid].min() == pytest.approx(0.15 * 0.95)
        assert (opacities[view.valid] < 0.9).mean() < 0.45


def test_beside_an_edge_there_is_as_much_room_as_the_other_face_leaves():
    # The face x = 0 reaches to y = 0.4, where a face begins that looks along y.
    front = plates(0.0)[0]
    side = cast_rectangles([Rectangle(0.4, 0.4, (0.1, 0.9, 0.1))], cameras.look_at(np.array([1.9, 0, 0.0])), LENS)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shift = np.array([-0.4, 0.0, 0.0])
    c2w = side.c2w.copy()
    c2w[:3, :3], c2w[:3, 3] = turn @ c2w[:3, :3], turn @ c2w[:3, 3] + shift
    turned = dataclasses.replace(
        side,
        c2w=c2w,
        normal=side.normal @ turn.T,
        position=(side.position @ turn.T + shift) * (side.depth > 0)[..., None],
    )
    views = [front, splatter(turned)]
    inside, (room, _) = inset_views(views)
    distance = 0.4 - front.points[..., 1]
    wanted = 1.6 * front.pitch
    near = front.valid & (distance < 0.8 * wanted) & (np.abs(front.points[..., 2]) < 0.3)
    assert near.sum() > 10
    np.testing.assert_allclose((room * wanted)[near], 0.9 * distance[near], atol=0.15 * wanted.max())
    faded = inside[0].gaussians.opacities.reshape(room.shape)
    np.testing.assert_allclose(faded[near], 0.95 * room[near] ** 2, atol=1e-5)
    far = front.valid & (distance > 2.0 * wanted)
    assert (room[far] == 1.0).all()


@pytest.mark.parametrize("depth", [0.5, 1.6, 3.0])
def test_a_splatter_image_stays_on_its_pixels(sphere, depth):
    inside, _ = inset_views(sphere, depth)
    for view in inside:
        image = sorted_by_pixel(view)
        shown = image.valid
        np.testing.assert_array_equal(image.gaussians.opacities.reshape(shown.shape) > 0, shown)
        # The surface of each moves along: it is still so far above.
        above = np.linalg.norm(image.points[shown] - image.gaussians.means[shown.ravel()], axis=1)
        np.testing.assert_allclose(above, depth * image.pitch[shown], rtol=1e-3)
        pixels, _ = cameras.project(image.gaussians.means, view.c2w, view.intrinsics)
        rows, columns = np.nonzero(shown)
        beside = pixels.reshape(*shown.shape, 2)[shown] - np.stack([columns, rows], axis=1) - 0.5
        assert np.abs(beside).max() <= 0.75 + 1e-4
        # No gaps inside, and nothing outside of the outline.
        assert not (shown & ~view.valid).any()
        from_middle = np.hypot(*(np.argwhere(view.valid & ~shown) - 47.5).T)
        assert from_middle.min(initial=np.inf) > 0.85 * np.sqrt(view.valid.sum() / np.pi)


def test_no_surface_at_all_is_no_problem():
    empty = cast_rectangles([], cameras.look_at(np.array([1.5, 0, 0.0])), LENS)
    inside, rooms = inset_views([splatter(empty)])
    assert not sorted_by_pixel(inside[0]).valid.any()
    assert (rooms[0] == 1).all()
