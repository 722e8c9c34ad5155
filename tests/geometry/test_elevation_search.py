"""The elevation of a camera from matches of made-up points, exact and spoilt."""

import math

import numpy as np
import pytest

from geometry.cameras import Intrinsics, look_at_origin, project
from geometry.elevation_search import ELEVATIONS_DEG, Matches, Turn, match_errors, search_elevation

TEN = math.radians(10.0)
TURNS = (Turn(0.0, 0.0), Turn(-TEN, 0.0), Turn(0.0, -TEN), Turn(0.0, TEN))
LENS = Intrinsics.from_fov(0.8575, 256)


def matches_at(
    elevation_deg: float, radius: float = 1.7, noise: float = 0.0, wrong: float = 0.0, azimuth: float = 1.0
) -> Matches:
    """Matches between every two views of 60 points, some of them wrong, of views that turn `azimuth` as far as they say."""
    random = np.random.default_rng(3)
    points = random.uniform(-0.4, 0.4, (60, 3))
    polar = math.pi / 2 - math.radians(elevation_deg)
    cameras = [look_at_origin(polar + turn.polar, 0.5 + azimuth * turn.azimuth, radius) for turn in TURNS]
    pixels = np.stack([project(points, c2w, LENS)[0] for c2w in cameras], axis=1)
    pairs = [(one, other) for one in range(4) for other in range(one)]
    seen = np.repeat([[view in pair for view in range(4)] for pair in pairs], 60, axis=0)
    rows = np.tile(pixels, (len(pairs), 1, 1)) + random.normal(0.0, noise, (360, 4, 2))
    rows[random.uniform(size=360) < wrong] = random.uniform(0.0, 256.0, (4, 2))
    return Matches(rows, seen)


def searched(matches: Matches):
    return search_elevation(matches, TURNS, LENS, np.random.default_rng(0))


@pytest.mark.parametrize("elevation", [-40.0, -5.0, 0.0, 13.3, 45.0, 70.0])
@pytest.mark.parametrize("radius", [1.2, 2.2])
def test_exact_matches_give_the_elevation(elevation: float, radius: float):
    matches = matches_at(elevation, radius)
    found = searched(matches)
    assert math.degrees(found.elevation) == pytest.approx(elevation, abs=0.1)
    assert (found.inliers, found.matches) == (360, 360)
    assert not found.at_the_edge
    assert match_errors(matches, TURNS, LENS, math.radians(elevation)).max() < 1e-3
    assert match_errors(matches, TURNS, LENS, math.radians(elevation + 10)).mean() > 0.1


def test_wrong_matches_have_no_say():
    found = searched(matches_at(30.0, noise=0.3, wrong=0.3))
    assert math.degrees(found.elevation) == pytest.approx(30.0, abs=1.0)
    assert math.degrees(found.low) <= 30.5
    assert math.degrees(found.high) >= 29.5
    assert 0.6 < found.inliers / found.matches < 0.85
    assert found.error == pytest.approx(0.3, abs=0.1)


def test_noise_widens_the_interval():
    widths = [found.high - found.low for found in (searched(matches_at(30.0, noise=noise)) for noise in (0.2, 1.2))]
    assert math.degrees(widths[0]) < math.degrees(widths[1])


def test_points_near_the_camera_move_and_what_stands_still_does_not():
    assert searched(matches_at(20.0)).motion > 0.03
    still = matches_at(20.0)
    frozen = Matches(np.repeat(still.pixels[:, :1], 4, axis=1), still.seen)
    assert searched(frozen).motion == 0.0


def test_a_model_that_turns_less_than_it_says_lowers_the_elevation():
    # Matches tell the turn times the sine of the elevation, and they all fit: docs/howto-pictures.md warns of it.
    slow = matches_at(45.0, azimuth=0.8)
    found = searched(slow)
    assert math.sin(found.elevation) == pytest.approx(0.8 * math.sin(math.radians(45.0)), abs=0.03)
    assert found.inliers == found.matches


@pytest.mark.parametrize(("beyond", "edge"), [(-64.0, ELEVATIONS_DEG[0]), (78.0, ELEVATIONS_DEG[1])])
def test_the_last_elevation_tried_is_told(beyond: float, edge: float):
    found = searched(matches_at(beyond))
    assert found.at_the_edge
    assert math.degrees(found.elevation) == pytest.approx(edge, abs=0.01)


def test_the_same_draws_give_the_same_interval_and_no_matches_none():
    assert searched(matches_at(30.0, noise=0.8)) == searched(matches_at(30.0, noise=0.8))
    with pytest.raises(ValueError, match="no matches"):
        searched(Matches(np.zeros((0, 4, 2)), np.zeros((0, 4), dtype=bool)))
