"""Intervals over objects: exact where they can be worked out by hand, and of the width that theory gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import bootstrap_mean, paired_difference


def test_equal_figures_leave_no_doubt() -> None:
    interval = bootstrap_mean(np.full(5, 3.0))
    assert (interval.mean, interval.low, interval.high, interval.count) == (3.0, 3.0, 3.0, 5)


def test_the_interval_of_many_objects_has_the_normal_width() -> None:
    values = np.random.default_rng(0).normal(20.0, 2.0, 400)
    interval = bootstrap_mean(values, confidence=0.95)
    half = 1.96 * values.std() / 20.0
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_pairs_are_compared_object_by_object() -> None:
    theirs = np.array([10.0, 20.0, 30.0, 40.0])
    difference = paired_difference(theirs + np.array([1.0, 1.0, -1.0, 0.0]), theirs)
    assert difference.mean == 0.25
    assert (difference.wins, difference.losses, difference.ties, difference.count) == (2, 1, 1, 4)
    # Objects differ by 30 and pairs by 2 at most: the interval knows of pairs.
    assert -1.0 <= difference.low < 0.25 < difference.high <= 1.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.floats(0.5, 0.99))
def test_the_mean_lies_in_its_interval_and_the_seed_decides(values: list[float], confidence: float) -> None:
    interval = bootstrap_mean(np.array(values), confidence)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval == bootstrap_mean(np.array(values), confidence)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_no_figure_and_no_number_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        bootstrap_mean(np.array(values))


def test_pairs_need_the_same_objects() -> None:
    with pytest.raises(ValueError, match="3 figures against 2"):
        paired_difference(np.zeros(3), np.zeros(2))
