"""Cameras against numbers worked out by hand, and round trips between conventions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry import cameras
from geometry.cameras import Intrinsics

POLAR = st.floats(0.01, np.pi - 0.01)
AZIMUTH = st.floats(-3.14, 3.14)
RADIUS = st.floats(0.1, 10.0)

# At (2, 0, 0) looking at the origin with +Z up: right is +Y, up is +Z, backward is +X.
SIDE = np.array([[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def test_straight_above_is_polar_zero():
    assert cameras.spherical_from_position(np.array([0.0, 0.0, 2.0])) == (0.0, 0.0, 2.0)


@pytest.mark.parametrize(
    ("position", "spherical"),
    [
        ((1.5, 0.0, 0.0), (np.pi / 2, 0.0, 1.5)),
        ((0.0, 3.0, 0.0), (np.pi / 2, np.pi / 2, 3.0)),
        ((0.0, 0.0, -1.0), (np.pi, 0.0, 1.0)),
        ((1.0, 1.0, np.sqrt(2.0)), (np.pi / 4, np.pi / 4, 2.0)),
    ],
)
def test_spherical_by_hand(position, spherical):
    np.testing.assert_allclose(cameras.spherical_from_position(np.array(position)), spherical, atol=1e-12)
    np.testing.assert_allclose(cameras.position_from_spherical(*spherical), position, atol=1e-12)


@given(POLAR, AZIMUTH, RADIUS)
def test_spherical_round_trip(polar, azimuth, radius):
    position = cameras.position_from_spherical(polar, azimuth, radius)
    np.testing.assert_allclose(cameras.spherical_from_position(position), (polar, azimuth, radius), atol=1e-9)


def test_look_at_from_the_side():
    c2w = cameras.look_at(np.array([2.0, 0.0, 0.0]))
    np.testing.assert_allclose(c2w, SIDE, atol=1e-12)
    np.testing.assert_allclose(-c2w[:3, 2], [-1.0, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("height", [2.0, -2.0])
def test_look_at_over_the_pole_is_a_rotation_with_up_along_y(height):
    c2w = cameras.look_at(np.array([0.0, 0.0, height]))
    np.testing.assert_allclose(c2w[:3, 1], [0.0, 1.0, 0.0], atol=1e-12)
    assert np.linalg.det(c2w[:3, :3]) == pytest.approx(1.0)


def test_look_at_a_target():
    c2w = cameras.look_at(np.array([3.0, 1.0, 0.5]), np.array([1.0, 1.0, 0.5]))
    np.testing.assert_allclose(c2w[:3, :3], SIDE[:3, :3], atol=1e-12)


def test_look_at_its_own_position_is_refused():
    with pytest.raises(ValueError, match="own position"):
        cameras.look_at(np.ones(3), np.ones(3))


@given(POLAR, AZIMUTH, RADIUS)
def test_look_at_is_rigid_and_upright(polar, azimuth, radius):
    c2w = cameras.look_at_origin(polar, azimuth, radius)
    np.testing.assert_allclose(c2w[:3, :3].T @ c2w[:3, :3], np.eye(3), atol=1e-9)
    assert np.linalg.det(c2w[:3, :3]) == pytest.approx(1.0)
    assert c2w[2, 0] == pytest.approx(0.0, abs=1e-9)
    assert c2w[2, 1] > 0.0
    np.testing.assert_allclose(cameras.invert_rigid(c2w) @ c2w, np.eye(4), atol=1e-9)


def test_opencv_flips_up_and_backward():
    opencv = cameras.opencv_from_opengl(SIDE)
    np.testing.assert_allclose(opencv[:3, 0], [0.0, 1.0, 0.0])
    np.testing.assert_allclose(opencv[:3, 1], [0.0, 0.0, -1.0])
    np.testing.assert_allclose(opencv[:3, 2], [-1.0, 0.0, 0.0])
    np.testing.assert_allclose(opencv[:3, 3], [2.0, 0.0, 0.0])
    np.testing.assert_array_equal(cameras.opencv_from_opengl(opencv), SIDE)


def test_zero123_matrix_by_hand():
    expected = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, -2.0]]
    np.testing.assert_allclose(cameras.zero123_from_c2w(SIDE), expected, atol=1e-12)


@given(POLAR, AZIMUTH, RADIUS)
def test_zero123_round_trip_and_centre(polar, azimuth, radius):
    c2w = cameras.look_at_origin(polar, azimuth, radius)
    matrix = cameras.zero123_from_c2w(c2w)
    assert matrix.shape == (3, 4)
    np.testing.assert_allclose(-matrix[:, :3].T @ matrix[:, 3], c2w[:3, 3], atol=1e-9)
    np.testing.assert_allclose(cameras.c2w_from_zero123(matrix), c2w, atol=1e-9)


def test_intrinsics_of_a_right_angle():
    intrinsics = Intrinsics.from_fov(np.pi / 2, 100)
    np.testing.assert_allclose(intrinsics.matrix(), [[50.0, 0.0, 50.0], [0.0, 50.0, 50.0], [0.0, 0.0, 1.0]])
    assert intrinsics.fov_x == pytest.approx(np.pi / 2)


def test_fov_of_blenders_lens():
    assert np.degrees(cameras.fov_from_lens(35.0, 32.0)) == pytest.approx(49.134, abs=1e-3)


@pytest.mark.parametrize(
    ("point", "pixel", "depth"),
    [
        ((0.0, 0.0, 0.0), (50.0, 50.0), 2.0),
        ((0.0, 1.0, 0.0), (75.0, 50.0), 2.0),
        ((0.0, 0.0, 1.0), (50.0, 25.0), 2.0),
        ((1.0, 0.5, -0.5), (75.0, 75.0), 1.0),
    ],
)
def test_projection_of_known_points(point, pixel, depth):
    pixels, depths = cameras.project(np.array([point]), SIDE, Intrinsics.from_fov(np.pi / 2, 100))
    np.testing.assert_allclose(pixels, [pixel], atol=1e-12)
    np.testing.assert_allclose(depths, [depth], atol=1e-12)


def test_points_behind_the_camera_have_negative_depth():
    _, depths = cameras.project(np.array([[3.0, 0.0, 0.0]]), SIDE, Intrinsics.from_fov(1.0, 8))
    assert depths[0] == pytest.approx(-1.0)


@given(POLAR, AZIMUTH, RADIUS)
def test_in_the_published_frame_the_first_camera_stands_on_z_without_rotation(polar, azimuth, radius):
    first = cameras.look_at_origin(polar, azimuth, radius)
    frame = cameras.first_camera_frame(first)
    placed = np.eye(4)
    placed[2, 3] = radius
    np.testing.assert_allclose(frame @ first, placed, atol=1e-9)
    np.testing.assert_allclose(frame[:3, :3] @ frame[:3, :3].T, np.eye(3), atol=1e-12)
    # The object stays where the camera looks.
    np.testing.assert_allclose(frame[:3, 3], 0.0, atol=1e-9)
