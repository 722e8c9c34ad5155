"""Seconds of phases add up, also of one that fails."""

import time

import pytest

from stage.stopwatch import Stopwatch


def test_a_phase_adds_up_and_others_are_apart() -> None:
    stopwatch = Stopwatch()
    for _ in range(2):
        with stopwatch.phase("render"):
            time.sleep(0.02)
    with pytest.raises(OSError, match="full"):
        _fail_in_a_phase(stopwatch)
    seconds = stopwatch.seconds()
    assert list(seconds) == ["render", "encode"]
    assert 0.04 <= seconds["render"] < 0.3
    assert 0.01 <= seconds["encode"] < 0.2


def _fail_in_a_phase(stopwatch: Stopwatch) -> None:
    with stopwatch.phase("encode"):
        time.sleep(0.01)
        raise OSError("full")
