"""Where the camera goes: around the middle, at its elevation, from the front, with all of the object in the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.cameras import Intrinsics, project
from geometry.gaussians import Gaussians
from viewing.turntable import orbit, pictures, rows_of_views, turntable_around

FOV = np.radians(40.0)


def points(means: np.ndarray) -> Gaussians:
    count = len(means)
    return Gaussians(
        means, np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), 0.01), np.ones(count), np.ones((count, 3))
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    size=st.floats(0.01, 100),
    offset=st.floats(-50, 50),
    fov=st.floats(0.2, 2.0),
    elevation=st.floats(-1.4, 1.4),
    turn=st.floats(0, 1),
)
def test_every_gaussian_is_in_every_picture(seed, size, offset, fov, elevation, turn):
    means = np.random.default_rng(seed).uniform(-size, size, (60, 3)) + offset
    table = turntable_around(points(means), fov)
    pixels, depth = project(means, table.c2w(elevation, turn), Intrinsics.from_fov(fov, 100))
    assert (depth > 0).all()
    assert ((pixels > 0) & (pixels < 100)).all()


def test_strays_do_not_count():
    rng = np.random.default_rng(0)
    means = rng.uniform(-0.5, 0.5, (5000, 3))
    alone = turntable_around(points(means), FOV)
    with_strays = turntable_around(points(np.concatenate([means, [[900.0, -70.0, 80.0]] * 3])), FOV)
    np.testing.assert_allclose(with_strays.target, alone.target, atol=0.01)
    assert with_strays.radius == pytest.approx(alone.radius, rel=0.05)


def test_turn_starts_at_the_front_and_goes_counter_clockwise(box):
    table = turntable_around(box, FOV, radius=2.0)
    positions = np.array([matrix[:3, 3] for matrix in orbit(table, 4, 0.0)]) - table.target
    np.testing.assert_allclose(positions, [[0, -2, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0]], atol=1e-6)
    above = table.c2w(np.radians(30), 0.0)
    assert above[2, 3] - table.target[2] == pytest.approx(1.0)
    assert above[2, 1] > 0
    assert len(rows_of_views(table, 8, (0.0, 0.5))) == 16


def test_pictures_show_front_left_and_top(box):
    (picture,) = pictures(box, [turntable_around(box, FOV).c2w(0.0, 0.0)], Intrinsics.from_fov(FOV, 64))
    assert picture.dtype == np.uint8
    assert picture.shape == (64, 64, 3)
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert np.argmax(picture[40, 20]) == 0
    assert np.argmax(picture[40, 44]) == 2
    assert np.argmax(picture[18, 32]) == 1


def test_one_gaussian_is_seen():
    assert turntable_around(points(np.ones((1, 3))), FOV).radius > 0
