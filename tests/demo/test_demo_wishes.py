"""What a visitor may ask for, and the cameras of it."""

import math

import numpy as np
import pytest

from demo.wishes import Wish, bounds, default_wish, wish_of
from stage.errors import ParameterError
from stage.workspace import Workspace
from systems.zero123.conditioning import poses_from_degrees, relative_pose


def test_a_wish_is_the_relative_pose_of_its_degrees():
    wish = Wish(azimuth_deg=60.0, rise_deg=20.0, farther=0.25, elevation_deg=10.0)
    given = relative_pose(wish.target(32).c2w, wish.condition(32).c2w)
    # Higher is a smaller polar angle.
    assert np.allclose(given, poses_from_degrees([60.0], -20.0, 0.25)[0].numpy(), atol=1e-6)


def test_no_camera_stands_above_a_pole():
    wish = Wish(rise_deg=90.0, elevation_deg=80.0)
    c2w = wish.target(32).c2w
    assert np.isfinite(c2w).all()
    assert math.degrees(math.asin(c2w[2, 3] / 1.5)) == pytest.approx(89.0)


def test_a_turn_goes_all_around_counter_clockwise():
    positions = np.array([view.c2w[:3, 3] for view in Wish(views=4).turn(32)])
    assert np.allclose(positions, [[0, 1.5, 0], [-1.5, 0, 0], [0, -1.5, 0]], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 1000), ("views", 500), ("guidance", math.nan), ("seed", -1), ("scheduler", "none")]
)
def test_whoever_goes_round_the_sliders_is_refused(name, value):
    with pytest.raises(ParameterError, match=f"the page.{name}"):
        wish_of({name: value})


def test_bounds_are_those_of_the_model():
    assert bounds("views") == (4.0, 36.0)
    assert bounds("seed") == (0.0, 2**31 - 1)


def test_the_page_begins_as_the_evaluation_sampled(tmp_path):
    assert default_wish(Workspace(tmp_path)) == Wish()
    (tmp_path / "params.yaml").write_text("evaluate: {inference_steps: 500, guidance_scale: 2.5, scheduler: dpm}\n")
    found = default_wish(Workspace(tmp_path))
    assert (found.steps, found.guidance, found.eta, found.scheduler) == (100, 2.5, 0.0, "dpm")
