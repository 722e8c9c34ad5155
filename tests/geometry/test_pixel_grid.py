"""Gaussians on their pixels: whatever an optimiser does to the values, each projects into its own pixel."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.cameras import Intrinsics, look_at_origin, project
from geometry.gaussians import Gaussians
from geometry.pixel_grid import PixelGrid, confine
from geometry.splatter import splatter_from_passes
from stage.errors import InputError

SIZE = 16
ANGLES = [(1.1, 0.4), (1.9, 2.5)]


@pytest.fixture(scope="module")
def views(sphere_passes) -> list[Gaussians]:
    """The closed form of two views of the sphere."""
    passes = [sphere_passes(*angle, size=SIZE) for angle in ANGLES]
    return [splatter_from_passes(p.rgb, p.position, p.depth, p.normal, p.c2w, p.intrinsics).gaussians for p in passes]


@pytest.fixture(scope="module")
def cameras(sphere_passes) -> tuple[np.ndarray, list[Intrinsics]]:
    passes = [sphere_passes(*angle, size=SIZE) for angle in ANGLES]
    return np.stack([p.c2w for p in passes]), [p.intrinsics for p in passes]


@pytest.fixture(scope="module")
def grid(views, cameras) -> PixelGrid:
    return PixelGrid.of(views, *cameras)


def pixels_off_centre(images: list[Gaussians], cameras, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from their pixels' centres and depths of a view's Gaussians that show."""
    shown = images[number].opacities > 1 / 255
    rows, columns = np.mgrid[:SIZE, :SIZE].reshape(2, -1)[:, shown] + 0.5
    seen, depths = project(images[number].means[shown], cameras[0][number], cameras[1][number])
    return seen - np.stack([columns, rows], axis=1), depths


def test_the_start_is_the_closed_form(views, grid):
    for image, view in zip(grid.splatter_images(grid.start), views, strict=True):
        np.testing.assert_allclose(image.means, view.means, atol=1e-6)
        np.testing.assert_allclose(image.scales, view.scales.clip(max=np.exp(-2)), rtol=1e-5)
        np.testing.assert_allclose(image.opacities, view.opacities, atol=1e-6)
        np.testing.assert_array_equal(image.colours, view.colours)
        np.testing.assert_array_equal(image.quaternions, view.quaternions)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.floats(0.01, 100.0))
def test_any_values_stay_in_their_pixels(grid, cameras, seed, spread):
    noise = torch.Generator().manual_seed(seed)
    values = {
        name: value + (spread if name in ("depths", "shifts") else 0.1) * torch.randn(value.shape, generator=noise)
        for name, value in grid.start.items()
    }
    confine(values)
    images = grid.splatter_images(values)
    for number in range(len(ANGLES)):
        offsets, depths = pixels_off_centre(images, cameras, number)
        assert np.abs(offsets).max() < 0.5
        assert (depths > 0).all()


def test_depths_stay_within_their_reach(views, cameras, grid):
    values = {name: value.clone() for name, value in grid.start.items()}
    values["depths"] += 1000.0
    focal = cameras[1][0].fx
    _, depths = pixels_off_centre(grid.splatter_images(values), cameras, 0)
    _, start = pixels_off_centre(views, cameras, 0)
    np.testing.assert_allclose(depths, start * np.exp(2.0 / focal), rtol=1e-5)
    fixed = PixelGrid.of(views, *cameras, depth_reach=0.0)
    np.testing.assert_allclose(pixels_off_centre(fixed.splatter_images(values), cameras, 0)[1], start, rtol=1e-6)


def test_neighbours_adjoin_on_one_surface(grid, cameras):
    seen = [
        project(image.means, *camera)[0] for image, camera in zip(grid.views, zip(*cameras, strict=True), strict=True)
    ]
    pixels = np.concatenate([view[mask] for view, mask in zip(seen, grid.taking_part, strict=True)])
    owner = np.repeat(np.arange(len(seen)), [mask.sum() for mask in grid.taking_part])
    first, second = grid.neighbours.numpy().T
    np.testing.assert_allclose(np.abs(pixels[first] - pixels[second]).sum(axis=1), 1.0, atol=1e-3)
    np.testing.assert_array_equal(owner[first], owner[second])
    ratio = grid.depths.numpy()[first] / grid.depths.numpy()[second]
    assert np.abs(ratio - 1).max() < 5 / cameras[1][0].fx + 1e-3
    # Nearly all of the sphere's pixels have one to the right and one below.
    assert len(first) > 1.5 * len(grid)


def test_a_surface_that_moves_as_a_whole_is_not_rough(grid):
    values = {name: value + 0.7 for name, value in grid.start.items()}
    assert float(grid.roughness(values)) == 0.0
    values["depths"] = torch.zeros(len(grid))
    values["depths"][grid.neighbours[0, 0]] = 0.1
    touching = int((grid.neighbours == grid.neighbours[0, 0]).sum())
    assert float(grid.roughness(values)) == pytest.approx(0.1 * touching / len(grid.neighbours), rel=1e-2)


def test_surfaces_behind_one_another_are_no_neighbours(views, cameras):
    c2w, lens = cameras[0][0], cameras[1][0]
    eye = c2w[:3, 3]
    left = np.tile(np.arange(SIZE) < SIZE // 2, SIZE)[:, None]
    split = dataclasses.replace(views[0], means=np.where(left, eye + 2.0 * (views[0].means - eye), views[0].means))
    whole, parted = (PixelGrid.of([view], [c2w], [lens]) for view in (views[0], split))
    columns = np.flatnonzero(parted.taking_part[0]) % SIZE
    across = {tuple(pair) for pair in columns[parted.neighbours.numpy()]}
    assert (SIZE // 2 - 1, SIZE // 2) not in across
    assert (SIZE // 2 - 1, SIZE // 2) in {tuple(pair) for pair in columns[whole.neighbours.numpy()]}


def test_a_pixel_of_depth_is_a_pixels_width_at_that_depth(grid):
    values = {name: value.clone() for name, value in grid.start.items()}
    values["depths"] += 0.1
    focal = 0.5 * SIZE / np.tan(np.radians(49.1) / 2)
    moved = (grid.gaussians(values).means - grid.gaussians(grid.start).means).norm(dim=1)
    rays = grid.rays.norm(dim=1)
    torch.testing.assert_close(moved, grid.depths * rays * float(np.expm1(0.1 / focal)), rtol=1e-3, atol=1e-6)


def test_the_background_is_left_alone(views, grid):
    values = {name: value + 0.5 for name, value in grid.start.items()}
    confine(values)
    for image, view in zip(grid.splatter_images(values), views, strict=True):
        empty = view.opacities == 0
        assert empty.any()
        for name in ("means", "quaternions", "scales", "opacities", "colours"):
            np.testing.assert_array_equal(getattr(image, name)[empty], getattr(view, name)[empty])
        assert (image.scales[~empty] != view.scales[~empty]).all()


def test_confined_values_are_what_attribute_images_hold(grid):
    values = {name: value + 100.0 for name, value in grid.start.items()}
    confine(values)
    gaussians = grid.gaussians(values)
    assert float(gaussians.scales.max()) <= np.exp(-2) + 1e-6
    assert float(gaussians.opacities.max()) < 1.0
    assert float(gaussians.colours.max()) == 1.0


def test_gradients_reach_every_value(grid):
    values = {name: value.clone().requires_grad_() for name, value in grid.start.items()}
    gaussians = grid.gaussians(values)
    parts = (gaussians.means, gaussians.quaternions, gaussians.scales, gaussians.opacities, gaussians.colours)
    sum(part.square().sum() for part in parts).backward()
    assert all(value.grad is not None and bool((value.grad != 0).any()) for value in values.values())


def test_the_cameras_of_other_views_are_refused(views, cameras):
    with pytest.raises(InputError, match=r"view 0: \d+ of \d+ Gaussians lie a pixel or more beside their own"):
        PixelGrid.of(views, cameras[0][::-1], cameras[1])


def test_a_view_of_another_size_is_refused(views, cameras):
    with pytest.raises(InputError, match="view 1 has 255 Gaussians where its camera has 16 × 16 pixels"):
        PixelGrid.of([views[0], views[1].select(np.arange(255))], *cameras)


def test_an_empty_object_is_refused(sphere_passes, cameras):
    blank = splatter_from_passes(
        *(np.zeros((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE, 3))),
        look_at_origin(1.1, 0.4, 1.6),
        cameras[1][0],
    )
    with pytest.raises(InputError, match="no view has a Gaussian that shows"):
        PixelGrid.of([blank.gaussians], cameras[0][:1], cameras[1][:1])
