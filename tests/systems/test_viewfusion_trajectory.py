"""Orders and paths by hand: out to both sides of an orbit, and in equal steps towards a single view."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.cameras import look_at_origin
from stage.errors import InputError
from systems.viewfusion.trajectory import (
    Position,
    is_orbit,
    orbit_turns_deg,
    outward,
    path_towards,
    position_of,
    turn,
)


def at(azimuth_deg: float, polar_deg: float = 60.0, radius: float = 1.5) -> Position:
    return Position(math.radians(polar_deg), math.radians(azimuth_deg), radius)


def test_36_views_go_out_to_both_sides() -> None:
    turns = orbit_turns_deg(36)
    assert turns[:5] == [10, -10, 20, -20, 30]
    assert turns[-3:] == [170, -170, 180]
    assert len(turns) == 35


@given(st.integers(2, 80))
def test_an_orbit_is_evenly_spaced_and_nearest_first(views: int) -> None:
    turns = orbit_turns_deg(views)
    around = np.sort(np.mod([0.0, *turns], 360))
    np.testing.assert_allclose(np.diff(around), 360 / views, atol=1e-9)
    assert (np.diff(np.abs(turns)) >= -1e-9).all()


def test_an_orbit_of_one_view_is_refused() -> None:
    with pytest.raises(InputError, match="2 or more"):
        orbit_turns_deg(1)


@pytest.mark.parametrize(
    ("target", "start", "degrees"), [(350, 10, -20), (10, 350, 20), (190, 10, 180), (-170, 10, 180), (10, 10, 0)]
)
def test_turns_take_the_shorter_way(target: float, start: float, degrees: float) -> None:
    assert math.degrees(turn(math.radians(target), math.radians(start))) == pytest.approx(degrees, abs=1e-9)


def test_targets_of_a_ring_are_made_outwards_from_the_input() -> None:
    azimuths = [100, 77.5, 145, 55, 122.5]
    assert outward(at(100, 40), [at(each) for each in azimuths]) == [0, 4, 1, 2, 3]
    assert outward(at(100), [at(each) for each in azimuths]) == [4, 1, 2, 3], "the input's own place is none of them"


def test_what_is_an_orbit() -> None:
    ring = [at(22.5 * n) for n in range(1, 16)]
    assert is_orbit(at(0), ring)
    assert is_orbit(at(0, polar_deg=75), ring), "the input may be at another height"
    assert is_orbit(at(0), [at(45 * n) for n in range(1, 8)])
    assert not is_orbit(at(0), [at(90 * n) for n in range(1, 4)]), "gaps are too wide"
    assert not is_orbit(at(0), [*ring[:-1], at(337.5, polar_deg=61)]), "a height differs"
    assert not is_orbit(at(0), [at(10)])


def test_a_ring_of_cameras_that_were_rounded_is_a_ring() -> None:
    cameras = [look_at_origin(*at(22.5 * n)).astype(np.float32) for n in range(16)]
    first, *others = (position_of(camera) for camera in cameras)
    assert is_orbit(first, others)


def test_a_path_takes_the_steps_of_the_larger_angle() -> None:
    """45° of azimuth need ⌈45 / 10⌉ = 5 steps of 9°, in which 20° of polar angle are 4° each."""
    path = path_towards(at(350, 60, 1.5), at(35, 40, 2.0), 10)
    assert len(path) == 5
    np.testing.assert_allclose(np.degrees([p.azimuth for p in path[:-1]]), [359, 368, 377, 386], atol=1e-9)
    np.testing.assert_allclose(np.degrees([p.polar for p in path]), [56, 52, 48, 44, 40], atol=1e-9)
    np.testing.assert_allclose([p.radius for p in path], [1.6, 1.7, 1.8, 1.9, 2.0])
    assert path[-1] == at(35, 40, 2.0)


@pytest.mark.parametrize(
    ("target", "steps"), [(at(0), 1), (at(0, radius=3), 1), (at(10), 1), (at(30), 3), (at(31), 4)]
)
def test_how_many_steps_there_are(target: Position, steps: int) -> None:
    assert len(path_towards(at(0), target, 10)) == steps
    rounded = position_of(look_at_origin(*target).astype(np.float32))
    assert len(path_towards(at(0), rounded, 10)) == steps, "rounding takes no step more"


def test_a_path_by_polar_angle_alone() -> None:
    assert len(path_towards(at(0, 90), at(0, 45), 10)) == 5
