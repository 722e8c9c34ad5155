"""Views that agree with each other score higher than views that do not; neighbours are those of an orbit alone."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import match_descriptors
from textured_ball_support import RADIUS, ball_pictures, noisy, orbit_views

from evaluation.metrics import colmap_points as colmap_module
from evaluation.metrics.colmap_points import colmap_points
from evaluation.metrics.metric_set import MetricSet
from evaluation.metrics.orbit import NO_ORBIT, orbit
from evaluation.metrics.parameters import MetricParameters
from evaluation.metrics.sift_matches import descriptors, grey, matches, neighbour_matches
from evaluation.metrics.views_around import ViewsAround, of_neighbours
from geometry.cameras import look_at_origin
from stage.errors import StageFailedError

ARC = 5
needs_colmap = pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")


@pytest.fixture(scope="module")
def views():
    return orbit_views(16)


@pytest.fixture(scope="module")
def ball(views):
    return ball_pictures(views)


@pytest.fixture(scope="module")
def points(ball, views):
    """Of an arc, which is enough for COLMAP."""
    return points_of(ball[:ARC], views[:ARC])


def c2w_of(views) -> np.ndarray:
    return np.stack([view.c2w for view in views])


def points_of(pictures: np.ndarray, views) -> np.ndarray:
    return colmap_points(pictures, c2w_of(views), [view.intrinsics for view in views])


def off_the_ball(points: np.ndarray) -> np.ndarray:
    return np.abs(np.linalg.norm(points, axis=1) - RADIUS)


# Orbits


@settings(max_examples=30, deadline=None)
@given(count=st.integers(3, 40), start=st.floats(-7, 7), order=st.randoms(use_true_random=False))
def test_an_orbit_is_found_in_any_order(count: int, start: float, order) -> None:
    turns = [start + 2 * np.pi * n / count for n in range(count)]
    order.shuffle(turns)
    c2w = np.stack([look_at_origin(1.0, turn, 1.5) for turn in turns])
    found = orbit(c2w)
    assert found is not None
    assert found[0] == 0
    steps = np.diff([turns[index] for index in found]) % (2 * np.pi)
    assert steps == pytest.approx(2 * np.pi / count)


def test_views_of_no_even_ring_are_no_orbit(views) -> None:
    c2w = c2w_of(views)
    assert orbit(c2w[:2]) is None
    assert orbit(c2w[1:]) is None
    higher = np.concatenate([c2w[:-1], look_at_origin(np.deg2rad(50), np.deg2rad(337.5), 1.5)[None]])
    assert orbit(higher) is None
    nearer = np.concatenate([c2w[:-1], look_at_origin(np.deg2rad(60), np.deg2rad(337.5), 1.2)[None]])
    assert orbit(nearer) is None


def test_the_ring_follows_the_azimuth_and_closes(views) -> None:
    order = [0, 3, 1, 2, *range(4, 16)]
    numbers = np.broadcast_to(np.arange(16.0)[:, None, None, None], (16, 2, 2, 3))
    around = ViewsAround(numbers[order], c2w_of(views)[order], ())
    assert around.ring()[:, 0, 0, 0].tolist() == list(range(16))
    difference = of_neighbours(lambda a, b: np.abs(a - b).mean(axis=(1, 2, 3)))
    # Fifteen steps of one and the way back.
    assert difference(around) == pytest.approx((15 * 1 + 15) / 16)
    assert difference(ViewsAround(numbers[1:], c2w_of(views)[1:], ())) is None


# SIFT


def test_matches_equal_another_matcher(ball) -> None:
    for first, second in ((0, 1), (1, 2), (5, 9)):
        query, train = descriptors(ball[first]), descriptors(ball[second])
        found = match_descriptors(query, train, metric="euclidean", max_ratio=0.75, cross_check=False)
        assert len(query) > 50
        assert matches(query, train) == len(found)


def test_fewer_than_two_descriptors_match_nothing(ball) -> None:
    some = descriptors(ball[0])
    blank = descriptors(np.ones((256, 256, 3)))
    assert blank.shape == (0, 128)
    assert matches(some, blank) == matches(blank, some) == matches(some, some[:1]) == 0


def test_a_picture_matches_itself_almost_everywhere(ball) -> None:
    # All but descriptors with a twin.
    some = descriptors(ball[0])
    assert 0.95 * len(some) <= matches(some, some) <= len(some)


def test_grey_is_the_mean_of_the_channels_cut_to_whole_levels() -> None:
    picture = np.zeros((256, 256, 3))
    picture[..., 0], picture[..., 1] = 1.0, 0.5
    assert (grey(picture) == 127).all()
    assert grey(np.full((512, 512, 3), 0.9999)).tolist() == grey(np.full((64, 64, 3), 0.9999)).tolist()
    assert grey(np.ones((64, 32, 3))).shape == (256, 256)


def test_matches_between_neighbours_fall_with_disorder_and_noise(ball) -> None:
    shuffled = ball[np.random.default_rng(0).permutation(len(ball))]
    figures = [neighbour_matches(pictures) for pictures in (ball, noisy(ball, 0.1), noisy(ball, 0.3))]
    assert figures[0] > figures[1] > figures[2]
    assert neighbour_matches(shuffled) < 0.5 * figures[0]
    assert neighbour_matches(ball) == figures[0]


def test_pictures_without_texture_have_no_matches() -> None:
    assert neighbour_matches(np.ones((4, 64, 64, 3))) == 0.0


# COLMAP


@needs_colmap
def test_colmap_finds_the_points_where_they_are(points, ball, views) -> None:
    assert len(points) > 20
    # The surface of the ball, but for a few false matches: poses and lenses are those of the pictures.
    assert np.median(off_the_ball(points)) < 0.005
    assert np.quantile(off_the_ball(points), 0.9) < 0.02
    assert np.array_equal(points_of(ball[:ARC], views[:ARC]), points)


@needs_colmap
def test_points_fall_where_views_disagree(points, ball, views) -> None:
    others = np.concatenate([ball_pictures([view], seed=n) for n, view in enumerate(views[:ARC])])
    assert len(points_of(noisy(ball[:ARC], 0.2), views[:ARC])) < 0.8 * len(points)
    assert len(points_of(others, views[:ARC])) < 0.05 * len(points)


@needs_colmap
def test_every_view_has_its_own_lens(points, ball, views) -> None:
    # Every other picture is of a lens whose middle lies aside.
    lenses = [view.intrinsics for view in views[:ARC]]
    shifted = ball[:ARC].copy()
    shifted[::2] = np.roll(shifted[::2], 20, axis=2)
    moved = [replace(lens, cx=lens.cx + 20) if n % 2 == 0 else lens for n, lens in enumerate(lenses)]
    found = colmap_points(shifted, c2w_of(views[:ARC]), moved)
    assert np.median(off_the_ball(found)) < 0.005
    assert np.median(off_the_ball(colmap_points(shifted, c2w_of(views[:ARC]), lenses))) > 0.01


@needs_colmap
def test_pictures_without_texture_have_no_points(views) -> None:
    assert points_of(np.ones((3, 64, 64, 3)), views[:3]).shape == (0, 3)


def test_a_colmap_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, ball, views) -> None:
    monkeypatch.setattr(colmap_module, "PROCESS", "evaluation.metrics.no_such_process")
    with pytest.raises(StageFailedError, match="COLMAP failed .*no_such_process"):
        points_of(ball[:2], views[:2])


# In a set of metrics


def test_an_object_has_its_figures_and_other_protocols_the_reason(ball, views) -> None:
    metrics = MetricSet.of(MetricParameters(names=("psnr", "sift_matches")))
    figures = metrics.object(ball[1:], views[1:], ball[0], views[0])
    assert figures == {"sift_matches": neighbour_matches(ball)}
    order = np.random.default_rng(1).permutation(15) + 1
    assert metrics.object(ball[order], [views[n] for n in order], ball[0], views[0]) == figures
    assert metrics.object(ball[2:], views[2:], ball[0], views[0]) == {}
    assert metrics.seen_from(views) is metrics
    elsewhere = metrics.seen_from(views[1:])
    assert elsewhere.unavailable == {"sift_matches": NO_ORBIT}
    assert elsewhere.object(ball[2:], views[2:], ball[1], views[1]) == {}
    assert elsewhere.names == metrics.names


@needs_colmap
def test_points_need_no_orbit(points, ball, views) -> None:
    metrics = MetricSet.of(MetricParameters(names=("colmap_sparse_points",))).seen_from(views[:ARC])
    assert not metrics.unavailable
    figures = metrics.object(ball[1:ARC], views[1:ARC], ball[0], views[0])
    assert figures == {"colmap_sparse_points": float(len(points))}
