"""Schedules of timesteps and weights against the published code's, worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prior_support import alphas
from pydantic import ValidationError

from reconstruction.methods.parameters import AnchoredSdsParameters, SdsParameters, SjcParameters
from reconstruction.methods.score import noise_level
from reconstruction.methods.sds import phase_at
from reconstruction.methods.timestep_schedules import (
    THREESTUDIO_ANNEALING,
    ZERONVS_ANNEALING,
    Annealing,
    TimestepRange,
    azimuth_distance,
    lagging_share,
    sjc_range,
)
from reconstruction.methods.weight_schedules import Ramp, constant, from_share, growing


def test_sjc_draws_us_30_to_minus_10() -> None:
    # us are the noise levels from the noisiest to the cleanest; us[30:-10] is what is drawn from.
    us = noise_level(alphas().double()).flip(0)[30:-10]
    drawn = sjc_range(1000)
    assert drawn == TimestepRange(10, 969)
    levels = noise_level(alphas().double())
    assert levels[969] == us[0]
    assert levels[10] == us[-1]
    assert len(us) == 960 == drawn.most - drawn.least + 1


def test_both_ends_are_drawn() -> None:
    drawn = TimestepRange(3, 5).draw(200, torch.Generator().manual_seed(0))
    assert sorted(set(drawn.tolist())) == [3, 4, 5]


@pytest.mark.parametrize(
    ("step", "least", "most"),
    # min: 0.75 → 0.02 until 1000; max: 0.98 until 1000, 0.025 from 2500; of 1000 timesteps.
    [(0, 750, 980), (500, 385, 980), (1000, 20, 980), (1750, 20, 502), (2500, 20, 25), (3999, 20, 25)],
)
def test_zeronvs_annealing(step: int, least: int, most: int) -> None:
    assert ZERONVS_ANNEALING.at(step / 4000, 1000) == TimestepRange(least, most)


@pytest.mark.parametrize(("step", "least", "most"), [(0, 400, 850), (100, 300, 675), (200, 200, 500), (599, 200, 500)])
def test_threestudio_annealing(step: int, least: int, most: int) -> None:
    found = THREESTUDIO_ANNEALING.at(step / 600, 1000)
    # Its last digit is that of a share that is rounded.
    assert abs(found.least - least) <= 1
    assert abs(found.most - most) <= 1


@given(st.floats(0, 1))
def test_ranges_are_never_empty(share: float) -> None:
    for annealing in (THREESTUDIO_ANNEALING, ZERONVS_ANNEALING):
        found = annealing.at(share, 1000)
        assert 0 <= found.least <= found.most <= 999


def test_crossing_ends_are_refused() -> None:
    with pytest.raises(ValidationError, match="least is above most"):
        Annealing(least=constant(0.5), most=Ramp(start=0.9, end=0.4))


@pytest.mark.parametrize(
    ("step", "azimuth_deg", "as_at"),
    # 1000 steps later at 180°, 500 at 90° either way, never before the first.
    [(2000, 0, 2000), (2000, 180, 1000), (2000, 90, 1500), (2000, 270, 1500), (2000, -90, 1500), (300, 180, 0)],
)
def test_the_back_lags_behind(step: int, azimuth_deg: float, as_at: int) -> None:
    share = lagging_share(step / 4000, np.deg2rad(azimuth_deg) + 0.3, 0.3)
    assert share * 4000 == pytest.approx(as_at, abs=1e-6)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_azimuths_are_at_most_half_a_turn_apart(one: float, other: float) -> None:
    apart = azimuth_distance(one, other)
    assert 0 <= apart <= np.pi + 1e-12
    assert np.cos(apart) == pytest.approx(np.cos(one - other), abs=1e-9)


def test_ramps() -> None:
    ramp = Ramp(start=1.0, end=3.0, first=0.2, last=0.6)
    assert [ramp.at(share) for share in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([1, 1, 2, 3, 3])
    jump = Ramp(start=0.0, end=1.0, first=0.5, last=0.5)
    assert (jump.at(0.49), jump.at(0.5)) == (0.0, 1.0)


def test_smoothness_begins_at_half_and_emptiness_grows() -> None:
    # i >= 0.5 · n: of 10000 steps the first is 5000.
    assert from_share(1e4, 4999 / 10_000, 0.5) == 0.0
    assert from_share(1e4, 5000 / 10_000, 0.5) == 1e4
    # 1 + 20·i/n.
    assert [growing(2.0, share, 20.0) for share in (0.0, 0.5)] == [2.0, 22.0]


def test_published_values_are_the_defaults() -> None:
    sjc, sds, anchored = SjcParameters(), SdsParameters(), AnchoredSdsParameters()
    assert (sjc.learning_rate, sjc.guidance_scale, sjc.input_weight, sjc.emptiness_weight) == (0.05, 100, 1e4, 0)
    assert (sds.sds_weight, sds.input_weight, sds.mask_weight, sds.guidance_scale) == (0.1, 500, 50, 3)
    assert (anchored.sds_weight, anchored.input_weight, anchored.guidance_scale, anchored.lag) == (
        0.1,
        1500,
        7.5,
        0.25,
    )
    assert [anchored.anchor_probability.at(step / 4000) for step in (0, 1000, 2000, 3000)] == [1, 0.5, 0, 0]


def test_phases_follow_each_other() -> None:
    phases = SdsParameters().phases
    assert [phase_at(phases, step / 600).size for step in (0, 199, 200, 299, 300, 599)] == [64, 64, 128, 128, 256, 256]
    assert [phase.batch for phase in phases] == [12, 4, 2]
