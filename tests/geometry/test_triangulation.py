"""Points from several cameras: back where they were, and errors as far as pixels were moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.cameras import Intrinsics, look_at_origin, project
from geometry.triangulation import projection_matrix, reprojection_errors, triangulate

LENS = Intrinsics.from_fov(0.86, 256)
CAMERAS = [look_at_origin(1.2, azimuth, 1.8) for azimuth in (0.0, 0.3, 0.7)]
PROJECTIONS = np.stack([projection_matrix(c2w, LENS) for c2w in CAMERAS])


def pictured(points: np.ndarray) -> np.ndarray:
    """Pixels (n, v, 2), by `geometry.cameras.project`."""
    return np.stack([project(points, c2w, LENS)[0] for c2w in CAMERAS], axis=1)


def test_a_projection_matrix_by_hand():
    # A camera on +X, 2 from the origin, focal length 256: a point 0.25 to the right (+Y) and 0.5 up lies 32 right, 64 up.
    lens = Intrinsics(256.0, 256.0, 128.0, 128.0, 256, 256)
    x, y, w = projection_matrix(look_at_origin(np.pi / 2, 0.0, 2.0), lens) @ [0.0, 0.25, 0.5, 1.0]
    assert w == pytest.approx(2.0)
    assert (x / w, y / w) == pytest.approx((160.0, 64.0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_points_are_found_where_they_are(seed: int):
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (20, 3))
    pixels, seen = pictured(points), np.ones((20, 3), dtype=bool)
    # What a camera does not see may be anything.
    seen[::2, 1] = False
    pixels[::2, 1] = 1e4
    found = triangulate(pixels, seen, PROJECTIONS)
    np.testing.assert_allclose(found, points, atol=1e-6)
    assert reprojection_errors(found, pixels, seen, PROJECTIONS).max() < 1e-3


def test_errors_are_root_mean_squares_over_who_sees():
    points = np.zeros((1, 3))
    pixels, seen = pictured(points), np.array([[True, True, False]])
    pixels[0, 0] += (3.0, 4.0)
    pixels[0, 2] += 100.0
    # √((25 + 0) / 2)
    assert reprojection_errors(points, pixels, seen, PROJECTIONS) == pytest.approx(np.sqrt(12.5))


def test_what_no_two_cameras_see_or_lies_behind_one_is_nowhere():
    pixels, seen = pictured(np.zeros((2, 3))), np.array([[True, False, False], [False, False, False]])
    assert np.isnan(triangulate(pixels, seen, PROJECTIONS)).all()
    behind = np.array([[5.0, 0.0, 2.0], [np.nan, 0.0, 0.0]])
    assert np.isinf(reprojection_errors(behind, pixels, np.ones((2, 3), dtype=bool), PROJECTIONS)).all()
