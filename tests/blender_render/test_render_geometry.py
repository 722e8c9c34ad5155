"""Geometry passes of real renderings: depth, normals and cameras describe one and the same object."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from render_support import Rendered, back_projected, rgba, surface_points

from blender_render.passes import load_depth, load_normal
from blender_render.protocols import View
from blender_render.rendered_object import read_views
from geometry.cameras import project


def views_and_depths(rendered: Rendered, title: str) -> list[tuple[View, np.ndarray]]:
    folder = rendered.folder(title)
    return [(view, load_depth(folder / f"{number:03d}_depth.png")) for number, view in enumerate(read_views(folder))]


def test_objects_are_centred_with_their_longest_side_one(procedural: Rendered) -> None:
    for asset in procedural.assets:
        points = surface_points(procedural.folder(asset.title))
        # What is between pixel centres is not seen: a pixel is 0.05 wide at the object.
        assert np.abs(points).max() <= 0.5 + 1e-3
        assert np.linalg.norm(points, axis=1).max() <= 0.5 * np.sqrt(3)
        assert 0.88 < np.ptp(points, axis=0).max() <= 1.0 + 1e-3
        np.testing.assert_allclose(points.min(axis=0) + points.max(axis=0), 0, atol=0.1)


def reprojected(rendered: Rendered, turn: Sequence[float] = (1, 1, 1)) -> Iterator[tuple[np.ndarray, ...]]:
    """Surface points of each view in each other view: pixels, planar depths, and that view's own depth pass."""
    for asset in rendered.assets:
        for (view, depth), (other, other_depth) in permutations(views_and_depths(rendered, asset.title), 2):
            points = back_projected(depth, view.c2w, view.intrinsics) * turn
            pixels, z = project(points, other.c2w, other.intrinsics)
            yield pixels, z, other_depth


def share_in_front(pixels: np.ndarray, z: np.ndarray, depth: np.ndarray) -> float:
    """Share of points more than a pixel's width in front of everything around their pixel."""
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 1) & (row >= 1) & (column < depth.shape[1] - 1) & (row < depth.shape[0] - 1)
    around = np.stack([depth[row[inside] + y, column[inside] + x] for y in (-1, 0, 1) for x in (-1, 0, 1)])
    nearest = np.where(around > 0, around, np.inf).min(axis=0)
    return float((z[inside] < nearest - 0.05).mean())


def interpolation_errors(pixels: np.ndarray, z: np.ndarray, depth: np.ndarray, centre: float) -> np.ndarray:
    """Depth interpolated between four pixels of one smooth surface, less the depth that the point should have."""
    corner = np.floor(pixels - centre).astype(int)
    inside = ((corner >= 0) & (corner < depth.shape[0] - 1)).all(axis=1)
    (column, row), (x, y) = corner[inside].T, (pixels - centre - corner)[inside].T
    four = np.stack([depth[row, column], depth[row, column + 1], depth[row + 1, column], depth[row + 1, column + 1]])
    value = (four * np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])).sum(axis=0)
    smooth = (four > 0).all(axis=0) & (np.ptp(four, axis=0) < 0.06)
    errors = (value - z[inside])[smooth]
    # Points farther off are hidden behind the surface.
    return errors[np.abs(errors) < 0.05]


def test_what_one_view_sees_no_other_view_sees_through(procedural: Rendered) -> None:
    """Points of view A, warped into view B, never lie in front of what B sees; mirrored ones often do."""
    assert np.mean([share_in_front(*found) for found in reprojected(procedural)]) < 0.02
    mirrored = [share_in_front(*found) for found in reprojected(procedural, (1, -1, 1))]
    assert np.mean(mirrored) > 0.08, "or this test could not fail"


def test_visible_points_have_the_same_depth_in_both_views(procedural: Rendered) -> None:
    """To a tenth of a pixel's width: half a pixel's offset would show."""
    found = list(reprojected(procedural))
    right = np.concatenate([interpolation_errors(*one, centre=0.5) for one in found])
    assert len(right) > 1000
    assert np.median(np.abs(right)) < 0.005
    shifted = np.concatenate([interpolation_errors(*one, centre=0.0) for one in found])
    assert np.median(np.abs(shifted)) > 0.008, "or this test could not fail"


def test_normals_are_unit_vectors_that_face_the_camera(procedural: Rendered) -> None:
    for asset in procedural.assets:
        folder = procedural.folder(asset.title)
        for number, (view, depth) in enumerate(views_and_depths(procedural, asset.title)):
            normal = load_normal(folder / f"{number:03d}_normal.png")[depth > 0]
            np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
            towards = view.c2w[:3, 3] - back_projected(depth, view.c2w, view.intrinsics)
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            assert ((normal * towards).sum(axis=1) > -0.1).mean() > 0.97


def test_depth_covers_what_the_picture_covers(procedural: Rendered) -> None:
    for asset in procedural.assets:
        for number, (_, depth) in enumerate(views_and_depths(procedural, asset.title)):
            alpha = rgba(procedural.folder(asset.title), number)[..., 3]
            assert (depth[alpha > 0.99] > 0).mean() > 0.97
            assert (depth[alpha == 0] == 0).mean() > 0.97


def test_depth_lies_between_the_camera_and_the_far_side(procedural: Rendered) -> None:
    for asset in procedural.assets:
        for view, depth in views_and_depths(procedural, asset.title):
            radius = np.linalg.norm(view.c2w[:3, 3])
            surface = depth[depth > 0]
            assert surface.min() > radius - 0.5 * np.sqrt(3)
            assert surface.max() < radius + 0.5 * np.sqrt(3)
