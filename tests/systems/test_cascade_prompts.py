"""The poses of self-prompted views, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.cameras import look_at_origin
from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.cascade_zero123.prompts import Offset, near_position, prompt_offsets, prompt_poses

PUBLISHED = prompt_offsets(PromptParameters().near)
HALF = math.sqrt(0.5)


def test_the_published_offsets() -> None:
    """±45° of azimuth and 30° higher."""
    assert (Offset(0, math.pi / 4), Offset(0, -math.pi / 4), Offset(-math.pi / 6)) == PUBLISHED


def test_a_pair_by_hand() -> None:
    """Condition on the horizon at azimuth 0 and distance 2, target a quarter turn on, 60° from the top, at distance 1.5."""
    target, condition = look_at_origin(math.pi / 3, math.pi / 2, 1.5), look_at_origin(math.pi / 2, 0.0, 2.0)
    poses = prompt_poses(target, condition, PUBLISHED)
    sixth = math.pi / 6
    np.testing.assert_allclose(poses.coarse, [-sixth, 1, 0, -0.5], atol=1e-12)
    np.testing.assert_allclose(poses.asked, [[0, HALF, HALF, 0], [0, -HALF, HALF, 0], [-sixth, 0, 1, 0]], atol=1e-12)
    # From 45° the target is 45° on, from −45° it is 135° on, and from 60° it is as high.
    np.testing.assert_allclose(
        poses.near, [[-sixth, HALF, HALF, -0.5], [-sixth, HALF, -HALF, -0.5], [0, 1, 0, -0.5]], atol=1e-12
    )


def test_an_offset_ends_at_the_pole() -> None:
    """20° from the top, 30° higher: the near view is at the top, the Base is asked for 20°, and the target lies from there."""
    condition, target = look_at_origin(math.radians(20), 0.4, 1.8), look_at_origin(math.radians(50), 0.4, 1.8)
    poses = prompt_poses(target, condition, [Offset(polar=math.radians(-30)), Offset(polar=math.pi)])
    np.testing.assert_allclose(poses.asked[:, 0], [math.radians(-20), math.radians(160)], atol=1e-12)
    np.testing.assert_allclose(poses.near[:, 0], [math.radians(50), math.radians(-130)], atol=1e-12)


def test_no_near_views() -> None:
    poses = prompt_poses(look_at_origin(1.0, 0.5, 2.0), look_at_origin(1.2, 0.0, 2.0), [])
    assert poses.asked.shape == poses.near.shape == (0, 4)


angles = st.floats(-1.5, 1.5)


@given(
    st.floats(0.05, 3.09), st.floats(-3.0, 3.0), st.floats(1.5, 2.2), st.tuples(angles, angles, st.floats(-0.4, 0.4))
)
def test_a_target_at_the_near_view_is_at_no_distance(
    polar: float, azimuth: float, radius: float, moves: tuple[float, float, float]
) -> None:
    """T of equal views is [0, 0, 1, 0], and the Base is asked for the coarse target where it is asked for the near view."""
    offset = Offset(*moves)
    near = near_position((polar, azimuth, radius), offset)
    if not 1e-3 < near[0] < math.pi - 1e-3:  # at the pole a position has no azimuth
        return
    poses = prompt_poses(look_at_origin(*near), look_at_origin(polar, azimuth, radius), [offset])
    assert poses.near[0] == pytest.approx([0, 0, 1, 0], abs=1e-6)
    assert poses.asked[0] == pytest.approx(poses.coarse, abs=1e-6)
