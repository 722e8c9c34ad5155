"""Pace: units a second, time left, and cost, in figures and in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage.executor import ExecutorParameters
from stage.pace import Cost, duration_text, pace, pace_text


def test_before_the_first_unit_there_is_none() -> None:
    assert pace(0, 10, 5.0, Cost(2)) == {}
    assert pace_text({}) == ""


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0.01, 1e6), st.integers(1, 512))
def test_what_is_left_takes_as_long_as_what_was_done(units: int, remaining: int, seconds: float, cores: int) -> None:
    figures = pace(units, remaining, seconds, Cost(cores, 2.0))
    assert figures["remaining_seconds"] * units == pytest.approx(remaining * seconds, rel=1e-3, abs=units)
    assert figures["core_seconds_per_1000"] * units == pytest.approx(1000 * cores * seconds, rel=1e-3, abs=units)
    assert figures["cost_per_1000"] == pytest.approx(figures["core_seconds_per_1000"] / 1800, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (None, "0.25/s, 40 s left"),
        (Cost(8), "0.25/s, 40 s left, 32,000 core-s per 1,000"),
        (Cost(8, 0.045), "0.25/s, 40 s left, 0.4 per 1,000"),
    ],
)
def test_in_words(cost: Cost | None, words: str) -> None:
    assert pace_text(pace(5, 10, 20.0, cost)) == words


def test_when_all_is_done_nothing_is_left() -> None:
    assert pace_text(pace(5, 0, 20.0)) == "0.25/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "60 min"), (9000, "2.5 h"), (200_000, "2.3 days")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_workers_take_up_their_threads_busy_or_not() -> None:
    assert ExecutorParameters(workers=3, price_per_core_hour=0.04).cost().price_per_core_hour == 0.04
    parameters = ExecutorParameters(workers=1)
    assert parameters.cost().cores == parameters.threads_per_worker()
