"""Geometry passes of real renderings: depth, normals and cameras describe one and the same object."""

import numpy as np
from render_support import Rendered, back_projected, rgba, surface_points
from reprojection import interpolation_errors, reprojected, share_in_front, views_and_depths

from blender_render.passes import load_normal


def test_objects_are_centred_with_their_longest_side_one(procedural: Rendered) -> None:
    for asset in procedural.assets:
        points = surface_points(procedural.folder(asset.title))
        # What is between pixel centres is not seen: a pixel is 0.05 wide at the object.
        assert np.abs(points).max() <= 0.5 + 1e-3
        assert np.linalg.norm(points, axis=1).max() <= 0.5 * np.sqrt(3)
        assert 0.88 < np.ptp(points, axis=0).max() <= 1.0 + 1e-3
        np.testing.assert_allclose(points.min(axis=0) + points.max(axis=0), 0, atol=0.1)


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
