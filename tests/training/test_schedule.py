"""Learning rates by hand, PyTorch's plateau beside ours, and a plateau that goes on where it was."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from training.parameters import OptimizerParameters
from training.schedule import Schedule, build_schedule


def schedule_of(steps: int = 12, **settings: Any) -> Schedule:
    return build_schedule(OptimizerParameters.model_validate(settings), steps)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (1, 0.2), (3, 0.4), (4, 0.4), (8, 0.2), (11, 0.015224)])
def test_warm_up_then_half_a_cosine(step: int, expected: float) -> None:
    schedule = schedule_of(learning_rate=0.4, warmup_steps=4, schedule="cosine")
    assert schedule.rate(step) == pytest.approx(expected, rel=1e-4)


# 0.4·(0.25 + 0.75·½(1 + cos(π·done))): done ½ gives 0.4·0.625.
@pytest.mark.parametrize(("step", "expected"), [(4, 0.4), (8, 0.25), (12, 0.1)])
def test_half_a_cosine_down_to_a_floor(step: int, expected: float) -> None:
    schedule = schedule_of(learning_rate=0.4, warmup_steps=4, schedule="cosine", floor=0.25)
    assert schedule.rate(step) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (1, 0.4), (2, 0.4), (7, 0.2), (11, 0.04)])
def test_warm_up_then_a_line(step: int, expected: float) -> None:
    schedule = schedule_of(learning_rate=0.4, warmup_steps=2, schedule="linear")
    assert schedule.rate(step) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (1, 0.4), (2, 0.4), (999, 0.4)])
def test_warm_up_then_constant(step: int, expected: float) -> None:
    schedule = schedule_of(1000, learning_rate=0.4, warmup_steps=2, schedule="constant")
    assert schedule.rate(step) == pytest.approx(expected)


# LambdaLinearScheduler of CompVis/latent-diffusion: f(n) = (1 − 1e-6)/100·n + 1e-6 up to n = 100, then 1.
@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1e-10), (1, 1.00009900e-6), (50, 5.0000050e-5), (99, 9.9000001e-5), (100, 1e-4), (10**6, 1e-4)],
)
def test_published_warm_up(step: int, expected: float) -> None:
    schedule = schedule_of(10**6, learning_rate=1e-4, warmup_steps=100, warmup_from=1e-6, schedule="constant")
    assert schedule.rate(step) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "plateau"])
def test_no_warm_up_starts_at_the_peak(schedule: str) -> None:
    assert schedule_of(1, learning_rate=0.4, warmup_steps=0, schedule=schedule).rate(0) == 0.4


def test_a_warm_up_longer_than_the_run_is_cut_off() -> None:
    assert schedule_of(10, learning_rate=1.0, warmup_steps=100).rate(9) == pytest.approx(0.1)


@given(
    kind=st.sampled_from(["constant", "linear", "cosine"]),
    warmup=st.integers(0, 30),
    steps=st.integers(1, 100),
    floor=st.floats(0, 1),
    first=st.none() | st.floats(0, 1),
)
def test_rates_rise_to_the_peak_and_fall_to_the_floor(
    kind: str, warmup: int, steps: int, floor: float, first: float | None
) -> None:
    schedule = schedule_of(
        steps, learning_rate=2.0, warmup_steps=warmup, schedule=kind, floor=floor, warmup_from=first
    )
    rates = [schedule.rate(step) for step in range(steps)]
    rising, falling = rates[:warmup], rates[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert all(2.0 * floor - 1e-9 <= rate <= 2.0 for rate in falling)
    assert falling[:1] in ([], [2.0])


PLATEAU = {"schedule": "plateau", "learning_rate": 0.8, "warmup_steps": 0}


def losses(count: int) -> list[float]:
    """They fall, stand still, fall a little, and stand still; with noise that a window averages out."""
    chance = torch.Generator().manual_seed(0)
    noise = (0.2 * torch.randn(count, generator=chance)).tolist()
    return [1 + math.exp(-step / 20) + noise[step] for step in range(count)]


def test_plateau_lowers_the_rate_after_its_patience_by_hand() -> None:
    settings = {"window": 2, "patience": 1, "factor": 0.5, "threshold": 0.1}
    schedule = schedule_of(**PLATEAU, plateau=settings, floor=0.25)
    seen = []
    # Means of two: 2, 1.9 (no tenth less: bad), 1.85 (again: lowered), 1.7 (better), 1.7, 1.7 (lowered), to the floor.
    for step, loss in enumerate([1, 3, 1.8, 2.0, 1.8, 1.9, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7]):
        schedule.observe(step, loss)
        seen.append(schedule.rate(step + 1))
    assert seen == [0.8] * 5 + [0.4] * 6 + [0.2] * 5


def test_plateau_is_pytorchs_on_the_means_of_windows() -> None:
    settings = {"window": 5, "patience": 3, "factor": 0.7, "threshold": 0.01}
    schedule = schedule_of(**PLATEAU, plateau=settings)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    theirs = ReduceLROnPlateau(optimizer, factor=0.7, patience=3, threshold=0.01)
    values = losses(300)
    for step, loss in enumerate(values):
        schedule.observe(step, loss)
        if step % 5 == 4:
            theirs.step(sum(values[step - 4 : step + 1]) / 5)
        assert schedule.rate(step + 1) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert schedule.rate(300) < 0.8


@pytest.mark.parametrize("stop", [1, 7, 10, 123])
def test_a_resumed_plateau_equals_an_undisturbed_one(stop: int) -> None:
    settings = {"window": 5, "patience": 2, "threshold": 0.01}
    undisturbed, first = (schedule_of(**PLATEAU, plateau=settings) for _ in range(2))
    values = losses(300)
    rates = []
    for step, loss in enumerate(values):
        undisturbed.observe(step, loss)
        rates.append(undisturbed.rate(step + 1))
    for step in range(stop):
        first.observe(step, values[step])
    resumed = schedule_of(**PLATEAU, plateau=settings)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step in range(stop, 300):
        resumed.observe(step, values[step])
        assert resumed.rate(step + 1) == rates[step]
    assert rates[-1] < rates[0]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_not_observed(loss: float) -> None:
    schedule = schedule_of(**PLATEAU, plateau={"window": 1, "patience": 0})
    schedule.observe(0, 1.0)
    schedule.observe(1, loss)
    assert schedule.rate(2) == 0.8
    schedule.observe(2, 2.0)
    assert schedule.rate(3) == 0.4


def test_losses_of_the_warm_up_do_not_count() -> None:
    schedule = schedule_of(schedule="plateau", learning_rate=0.8, warmup_steps=3, plateau={"window": 1, "patience": 0})
    for step in range(3):
        schedule.observe(step, float(step))
    assert schedule.rate(3) == 0.8


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_other_schedules_have_no_state(kind: str) -> None:
    schedule = schedule_of(schedule=kind)
    schedule.observe(0, 5.0)
    assert schedule.state_dict() == {}
