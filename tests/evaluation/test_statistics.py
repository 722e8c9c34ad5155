"""Intervals over objects: exact where they can be worked out by hand, and of the width that theory gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import FEW, bootstrap_mean, expanded_confidence, paired_difference


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


@pytest.mark.parametrize(("count", "expanded"), [(6, 0.9951), (30, 0.9625), (1000, 0.9503)])
def test_quantiles_are_taken_farther_out_where_objects_are_few(count: int, expanded: float) -> None:
    # 1 − 2·Φ(√(n / (n − 1))·t): of 6 objects t = −2.5706, and Φ(−2.8160) = 0.00243.
    assert expanded_confidence(0.95, count) == pytest.approx(expanded, abs=1e-4)


def test_two_objects_leave_everything_between_them_possible() -> None:
    interval = bootstrap_mean(np.array([1.0, 3.0]))
    assert (interval.mean, interval.low, interval.high) == (2.0, 1.0, 3.0)


def test_one_object_has_no_width() -> None:
    interval = bootstrap_mean(np.array([7.0]))
    assert (interval.low, interval.high, interval.count) == (7.0, 7.0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("count", [FEW, 10, 30])
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_an_interval_holds_the_mean_as_often_as_it_says(count: int, law: str) -> None:
    """300 samples: the share that is held varies by 1.3 points around 95 %."""
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 1, (300, count)) if law == "normal" else generator.uniform(-1, 1, (300, count))
    intervals = [bootstrap_mean(sample) for sample in samples]
    held = np.mean([interval.low <= 0.0 <= interval.high for interval in intervals])
    assert 0.91 <= held <= 0.985
