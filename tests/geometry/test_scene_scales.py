"""Scene scales against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.cameras import look_at_origin
from geometry.scene_scales import SCALES, depth_quantile, near_depth, nearplane_quantile, scene_radius


def cameras(*centres: tuple[float, float, float]) -> np.ndarray:
    c2w = np.tile(np.eye(4), (len(centres), 1, 1))
    c2w[:, :3, 3] = centres
    return c2w


def test_the_radius_is_the_mean_distance_to_the_mean_centre() -> None:
    # Their mean is (1, 1, 0); the distances are √2, √2, √5 and 1.
    c2w = cameras((0, 0, 0), (2, 0, 0), (0, 3, 0), (2, 1, 0))
    assert scene_radius(c2w) == pytest.approx((2 * math.sqrt(2) + math.sqrt(5) + 1) / 4, abs=1e-12)
    assert scene_radius(cameras((5, 6, 7))) == 0.0


def test_the_radius_knows_neither_where_the_world_is_nor_how_it_is_turned() -> None:
    c2w = np.stack([look_at_origin(1.0 + 0.1 * n, 0.7 * n, 2.0) for n in range(5)])
    world = look_at_origin(0.4, 1.0, 30.0)
    assert scene_radius(world @ c2w) == pytest.approx(scene_radius(c2w), rel=1e-12)


def test_near_planes_are_the_tenth_percent_of_the_fifth_ones() -> None:
    # Linear between neighbours: of 0, 1 … 20 (without its 0, which is no depth) Q5 lies at 0.05·19 = 0.95 from 1.
    first = np.arange(21.0).reshape(3, 7)
    second = np.full((3, 7), 4.0)
    assert near_depth(first) == pytest.approx(1.95)
    # Of 1.95 and 4 the tenth percent is 1.95 + 0.1 · 2.05.
    assert nearplane_quantile([first, second]) == pytest.approx(2.155)
    assert nearplane_quantile([first, np.zeros((3, 7)), second]) == pytest.approx(2.155), "a view without depth"


def test_the_view_s_quantile_is_of_every_fourth_row_and_column() -> None:
    depth = np.full((9, 9), 100.0)
    depth[::4, ::4] = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    # Of 1 … 9 the fifth part lies at 0.2 · 8 = 1.6 from 1.
    assert depth_quantile(depth) == pytest.approx(2.6)
    depth[0, 0] = 0.0
    # Of 2 … 9 it lies at 0.2 · 7 = 1.4 from 2.
    assert depth_quantile(depth) == pytest.approx(3.4)


def test_depth_is_clipped_as_published() -> None:
    assert depth_quantile(np.full((4, 4), 1e-5)) == 1e-3
    assert depth_quantile(np.full((4, 4), 1e5)) == 1e3


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_depth_is_not_counted(nothing: float) -> None:
    depth = np.full((8, 8), nothing)
    assert all(math.isnan(one) for one in (near_depth(depth), depth_quantile(depth), nearplane_quantile([depth])))
    depth[4, 4] = 2.5
    assert near_depth(depth) == depth_quantile(depth) == nearplane_quantile([depth]) == 2.5
    assert math.isnan(nearplane_quantile([]))


@given(st.floats(0.1, 50.0), st.integers(0, 2**32 - 1))
def test_all_scales_are_lengths(factor: float, seed: int) -> None:
    chance = np.random.default_rng(seed)
    depths, centres = chance.uniform(0.5, 9.0, (3, 8, 8)), chance.normal(size=(3, 3))

    def scales(unit: float) -> list[float]:
        return [
            scene_radius(cameras(*(unit * centres))),
            nearplane_quantile(unit * depths),
            depth_quantile(unit * depths[0]),
        ]

    assert len(SCALES) == len(scales(1.0))
    np.testing.assert_allclose(scales(factor), np.multiply(factor, scales(1.0)), rtol=1e-9)
