"""Geometry passes of real renderings: depth, normals and cameras describe one and the same object."""

from itertools import permutations

import numpy as np

from blender_render.passes import load_depth, load_normal
from blender_render.protocols import View
from blender_render.rendered_object import read_views
from geometry.cameras import project
from render_support import Rendered, back_projected, rgba, surface_points


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


def share_in_front(point_depth: np.ndarray, pixels: np.ndarray, depth: np.ndarray) -> float:
    """Share of points that lie in front of everything around their pixel: a camera that is right sees no such points."""
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 1) & (row >= 1) & (column < depth.shape[1] - 1) & (row < depth.shape[0] - 1)
    around = [depth[row[inside] + y, column[inside] + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    nearest = np.where(np.stack(around) > 0, np.stack(around), np.inf).min(axis=0)
    return float((point_depth[inside] < nearest - 0.02).mean())


def test_what_one_view_sees_no_other_view_sees_through(procedural: Rendered) -> None:
    """Depth of view A, warped into view B, is never in front of B's own; with a wrong camera it often is."""
    right, wrong = [], []
    for asset in procedural.assets:
        for (view, depth), (other, other_depth) in permutations(views_and_depths(procedural, asset.title), 2):
            points = back_projected(depth, view.c2w, view.intrinsics)
            for found, mirror in ((right, [1, 1, 1]), (wrong, [1, -1, 1])):
                pixels, z = project(points * mirror, other.c2w, other.intrinsics)
                found.append(share_in_front(z, pixels, other_depth))
    assert np.mean(right) < 0.005
    assert max(right) < 0.05
    assert np.mean(wrong) > 0.05, "or this test could not fail"


def test_visible_points_have_the_same_depth_in_both_views(procedural: Rendered) -> None:
    agreeing, visible = 0, 0
    for asset in procedural.assets:
        for (view, depth), (other, other_depth) in permutations(views_and_depths(procedural, asset.title), 2):
            pixels, z = project(back_projected(depth, view.c2w, view.intrinsics), other.c2w, other.intrinsics)
            column, row = np.floor(pixels).astype(int).T
            inside = (column >= 0) & (row >= 0) & (column < 32) & (row < 32)
            seen = other_depth[row[inside], column[inside]]
            near = (seen > 0) & (np.abs(seen - z[inside]) < 0.15)
            visible += near.sum()
            agreeing += (np.abs(seen - z[inside])[near] < 0.05).sum()
    assert visible > 1000
    assert agreeing / visible > 0.8


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
