"""ZeroNVS's pose vectors against numbers worked out by hand in every mode, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.cameras import Intrinsics, look_at, position_from_spherical
from stage.errors import ParameterError
from systems.zero123.conditioning import relative_pose
from systems.zeronvs.conditioning import fov_of, pose_dimensions, pose_vector, scale_of
from systems.zeronvs.modes import MODES, known_mode, scale_name

SCALED = ("7dof", "7dof_stereomag_scale", "7dof_quantile_scale", "7dof_metric_scale")
CAMERAS = (*SCALED, "7dof_unscaled")
numbers = st.floats(-5, 5)
places = st.tuples(numbers, numbers, numbers).map(np.array)
angles = st.tuples(st.floats(0.05, np.pi - 0.05), st.floats(-np.pi, np.pi), st.floats(-np.pi, np.pi))


def turned(angle: float) -> np.ndarray:
    """A rotation about the view's axis."""
    roll = np.eye(4)
    roll[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return roll


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    """A rigid transform: a camera anywhere, that looks anywhere and is rolled."""
    place, (polar, azimuth, roll) = draw(places), draw(angles)
    return look_at(place, place + position_from_spherical(polar, azimuth, 1.0)) @ turned(roll)


def by_hand(scale: float, squash: bool = False) -> list[float]:
    """The vector of `pair()` at 60°: E by hand, row by row, and the field of view."""
    # The condition stands at (2, 0, 0) and looks at the origin: x right is +Y, y up is +Z, z back is +X of the world. The target
    # stands at (0, 4, 1) and looks along −Y: right is −X, up +Z, back +Y. In the condition's axes it stands at (4, 1, −2).
    move = np.array([4.0, 1.0, -2.0]) / scale
    x, y, z = 5 * np.tanh(move / 10) if squash else move
    return [0, 0, 1, x, 0, 1, 0, y, -1, 0, 0, z, 0, 0, 0, 1, np.pi / 3, np.sqrt(3) / 2, 0.5]


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Target and condition of `by_hand`."""
    target = np.array([[-1, 0, 0, 0], [0, 0, 1, 4], [0, 1, 0, 1], [0, 0, 0, 1.0]])
    condition = np.array([[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    return target, condition


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("7dof", by_hand(2.5)),
        ("7dof_unscaled", by_hand(1.0)),
        ("7dof_stereomag_scale", by_hand(2.5)),
        ("7dof_quantile_scale", by_hand(2.5, squash=True)),
        ("7dof_metric_scale", by_hand(2.5)),
    ],
)
def test_a_pair_by_hand(mode, expected):
    np.testing.assert_allclose(pose_vector(mode, *pair(), np.pi / 3, 2.5), expected, atol=1e-12)


def test_the_squash_in_decimals():
    # 0.5 · 10 · tanh(1.6 / 10) = 0.7932 and so on: about half of 1.6, 0.4 and −0.8.
    vector = pose_vector("7dof_quantile_scale", *pair(), np.pi / 3, 2.5)
    np.testing.assert_allclose(vector[[3, 7, 11]], [0.793242, 0.199893, -0.399149], atol=1e-6)


def test_three_degrees_of_freedom_are_zero123s_pose():
    # From the equator at azimuth 0, radius 2, to radius √17 at azimuth 90°, atan(1/4) above the equator.
    expected = [-np.arctan(0.25), 1.0, 0.0, np.sqrt(17) - 2]
    np.testing.assert_allclose(pose_vector("3dof", *pair(), np.pi / 3), expected, atol=1e-12)
    np.testing.assert_array_equal(pose_vector("3dof", *pair(), 1.0, 7.0), relative_pose(*pair()))


@pytest.mark.parametrize("mode", MODES)
def test_vectors_have_the_length_of_their_mode(mode):
    assert pose_vector(mode, *pair(), 1.0, 1.0).shape == (pose_dimensions(mode),)
    assert pose_dimensions(mode) == (4 if mode == "3dof" else 19)


@pytest.mark.parametrize("mode", CAMERAS)
@given(view=poses(), scale=st.floats(0.05, 50), fov=st.floats(0.1, 3))
def test_the_same_camera_is_the_identity(mode, view, scale, fov):
    expected = [*np.eye(4).ravel(), fov, np.sin(fov), np.cos(fov)]
    np.testing.assert_allclose(pose_vector(mode, view, view, fov, scale), expected, atol=1e-9)


@pytest.mark.parametrize("mode", CAMERAS)
@given(target=poses(), condition=poses(), motion=poses(), scale=st.floats(0.5, 50))
def test_where_the_world_begins_does_not_count(mode, target, condition, motion, scale):
    moved = pose_vector(mode, motion @ target, motion @ condition, 1.0, scale)
    np.testing.assert_allclose(moved, pose_vector(mode, target, condition, 1.0, scale), atol=1e-9)


def test_zero123s_pose_depends_on_where_the_world_begins():
    motion = np.eye(4)
    motion[:3, 3] = [1.0, 2.0, 3.0]
    target, condition = pair()
    assert np.abs(pose_vector("3dof", motion @ target, motion @ condition, 1.0) - relative_pose(*pair())).max() > 0.1


@pytest.mark.parametrize("mode", SCALED)
@given(target=poses(), condition=poses(), scale=st.floats(0.5, 5), factor=st.floats(0.1, 10))
def test_the_size_of_a_scene_does_not_count_with_its_scale(mode, target, condition, scale, factor):
    grown = [grow(view, factor) for view in (target, condition)]
    expected = pose_vector(mode, target, condition, 1.0, scale)
    np.testing.assert_allclose(pose_vector(mode, *grown, 1.0, scale * factor), expected, atol=1e-9)


def grow(view: np.ndarray, factor: float) -> np.ndarray:
    """The camera in a world of another size."""
    grown = view.copy()
    grown[:3, 3] *= factor
    return grown


def test_without_a_scale_the_size_of_a_scene_counts():
    vector = pose_vector("7dof_unscaled", *(grow(view, 3.0) for view in pair()), np.pi / 3, 2.5)
    np.testing.assert_allclose(vector, by_hand(1 / 3), atol=1e-12)


def test_translations_are_bounded_as_published():
    target, condition = np.eye(4), np.eye(4)
    target[:3, 3] = [1000.0, -1000.0, 1.0]
    moves = {mode: pose_vector(mode, target, condition, 1.0, 1.0)[[3, 7, 11]] for mode in CAMERAS}
    np.testing.assert_allclose(moves["7dof"], [1000, -1000, 1])
    np.testing.assert_allclose(moves["7dof_metric_scale"], [1000, -1000, 1])
    np.testing.assert_allclose(moves["7dof_unscaled"], [20, -20, 1])
    np.testing.assert_allclose(moves["7dof_stereomag_scale"], [20, -20, 1])
    np.testing.assert_allclose(moves["7dof_quantile_scale"], [5, -5, 5 * np.tanh(0.1)])


@pytest.mark.parametrize("scale", [0.0, -3.0, 1e-9])
def test_scales_are_at_least_a_hundredth(scale):
    np.testing.assert_allclose(pose_vector("7dof", *pair(), np.pi / 3, scale), by_hand(0.01), atol=1e-12)


def test_numbers_that_overflow_become_the_bounds():
    target = np.eye(4)
    target[:3, 3] = [np.inf, -np.inf, np.nan]
    for mode, bound in (("7dof_unscaled", 20), ("7dof_stereomag_scale", 20), ("7dof_quantile_scale", 5)):
        with np.errstate(invalid="ignore"):
            vector = pose_vector(mode, target, np.eye(4), 1.0, 1.0)
        assert np.isfinite(vector).all()
        assert np.abs(vector[[3, 7, 11]]).max() <= bound


@pytest.mark.parametrize(
    ("mode", "scale"),
    [
        ("3dof", 1.0),
        ("7dof", 3.0),
        ("7dof_unscaled", 1.0),
        ("7dof_stereomag_scale", 0.1),
        ("7dof_quantile_scale", 7.0),
        ("7dof_metric_scale", np.nan),
    ],
)
def test_each_mode_takes_its_own_scale(mode, scale):
    assert scale_of(mode, np.array([3.0, 0.05, 7.0])) == pytest.approx(scale, nan_ok=True)


def test_the_near_planes_scale_is_clipped_and_unknown_ones_stay_unknown():
    assert scale_of("7dof_stereomag_scale", np.array([1.0, 500.0, 1.0])) == 100.0
    for mode in ("7dof", "7dof_stereomag_scale", "7dof_quantile_scale"):
        assert scale_name(mode) is not None
        assert np.isnan(scale_of(mode, np.full(3, np.nan)))


def test_the_field_of_view_is_the_smaller_side_s():
    wide = Intrinsics(fx=50.0, fy=50.0, cx=80.0, cy=50.0, width=160, height=100)
    assert fov_of(np.array([wide.fx, wide.fy, wide.cx, wide.cy]), 160, 100) == pytest.approx(np.pi / 2)
    assert fov_of(np.array([50.0, 100.0, 50.0, 50.0]), 100, 100) == pytest.approx(2 * np.arctan(0.5))


def test_unknown_modes_are_refused_with_the_valid_ones():
    with pytest.raises(ParameterError, match="6dof") as refused:
        pose_dimensions("6dof")
    for mode in MODES:
        assert mode in str(refused.value)
    with pytest.raises(
        ParameterError, match=r"7dof_qs, which the released run_train_local.sh says for 7dof_quantile_scale"
    ):
        known_mode("7dof_qs")
    with pytest.raises(ParameterError, match="the modes are 3dof, 7dof,"):
        pose_vector("8dof", *pair(), 1.0, 1.0)
