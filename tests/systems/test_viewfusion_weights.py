"""Weights of conditions against numbers worked out by hand, and what holds for all of them; which conditions are taken."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.trajectory import Position
from systems.viewfusion.weights import Offsets, Place, condition_window, fusion_weights, offsets_from


def at(azimuth_deg: float, polar_deg: float = 60.0, radius: float = 1.5) -> Position:
    return Position(math.radians(polar_deg), math.radians(azimuth_deg), radius)


def weights(
    target: Position, views: list[Position], given: list[bool], place: Place | None = None, **changes: Any
) -> np.ndarray:
    parameters = ViewFusionParameters(**changes)
    return fusion_weights(offsets_from(target, views), np.array(given), place, parameters)


def test_offsets_take_the_shorter_way() -> None:
    offsets = offsets_from(at(10, 60, 1.5), [at(350, 45, 1.75), at(190)])
    np.testing.assert_allclose(np.degrees(offsets.azimuth), [20, 180], atol=1e-9)
    np.testing.assert_allclose(np.degrees(offsets.polar), [15, 0], atol=1e-9)
    np.testing.assert_allclose(offsets.radius, [0.25, 0], atol=1e-12)
    np.testing.assert_allclose(offsets.distance, [20 / 180 + 15 / 180 + 0.25, 1], atol=1e-9)


def test_the_papers_weights_by_hand() -> None:
    """D is 1/2, 1/4 and 1/4 + 1/10: w = e^(−1/2 / 0.5) = 0.367879; of the rest e^(e^(−0.25)) to e^(e^(−0.35))."""
    made = weights(at(90), [at(0), at(45), at(135, radius=1.6)], [True, False, False])
    one, other = math.exp(math.exp(-0.25)), math.exp(math.exp(-0.35))
    rest = 1 - 0.36787944117
    np.testing.assert_allclose(
        made, [0.36787944117, rest * one / (one + other), rest * other / (one + other)], atol=1e-9
    )
    np.testing.assert_allclose(made, [0.367879, 0.327767, 0.304354], atol=1e-6)


@pytest.mark.parametrize(("index", "share"), [(0, 1.0), (1, math.exp(-2 / 36 / 0.5)), (34, math.exp(-35 / 36 / 0.5))])
def test_the_released_share_on_an_orbit(index: int, share: float) -> None:
    views = [at(0), at(10)] if index else [at(0)]
    made = weights(at(20), views, [True, False][: len(views)], Place(index, 36), weights="released")
    assert made[0] == pytest.approx(share)


def test_the_released_softmax_by_hand() -> None:
    """Offsets 10° and 30° of the generated views: −1/3 / 0.5 and −1 / 0.5."""
    made = weights(at(20), [at(0), at(10), at(-10)], [True, False, False], Place(2, 36), weights="released")
    share = math.exp(-3 / 36 / 0.5)
    near, far = math.exp(-2 / 3), math.exp(-2)
    np.testing.assert_allclose(made[1:], (1 - share) * np.array([near, far]) / (near + far), atol=1e-9)


def test_the_released_weights_towards_a_single_view_by_hand() -> None:
    """The input is 60° away, so w = e^(−1/3 / 0.5); the automatic temperature is 1."""
    made = weights(at(60), [at(0), at(10), at(40)], [True, False, False], weights="released")
    share, near, far = math.exp(-2 / 3), math.exp(-20 / 50), math.exp(-1)
    expected = [share, (1 - share) * far / (near + far), (1 - share) * near / (near + far)]
    np.testing.assert_allclose(made, expected, atol=1e-9)


def test_several_inputs_share_by_the_released_rule() -> None:
    """With k = 5 of an orbit of 36: e^(−5/35 / 0.5) for the three inputs, by softmax(−δ / 100°), whatever the temperature."""
    inputs, share, terms = [at(20), at(-50), at(100)], math.exp(-5 / 35 / 0.5), np.exp([-0.2, -0.5, -1.0])
    for temperature in (None, 0.5):
        made = weights(
            *(at(0), [*inputs, at(10)], [True, True, True, False], Place(5, 36)),
            weights="released",
            auto_temperature=temperature,
        )
        np.testing.assert_allclose(made, [*(share * terms / terms.sum()), 1 - share], atol=1e-9)


def test_the_nearest_of_several_inputs_sets_the_papers_share() -> None:
    one = weights(at(90), [at(45), at(80)], [True, False])
    both = weights(at(90), [at(45), at(-90), at(80)], [True, True, False])
    assert both[:2].sum() == pytest.approx(one[0])
    assert both[0] > both[1]


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_an_input_alone_has_all(rule: Any) -> None:
    for place in (None, Place(7, 36)):
        assert weights(at(90), [at(0)], [True], place, weights=rule).tolist() == [1.0]


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_a_condition_at_the_wanted_place_is_no_division_by_zero(rule: Any) -> None:
    made = weights(at(30), [at(0), at(30)], [True, False], Place(3, 16), weights=rule)
    assert np.isfinite(made).all()
    assert made.sum() == pytest.approx(1)


_ANGLES = st.floats(-400, 400, allow_nan=False)


@drawn(
    rule=st.sampled_from(["paper", "released"]),
    views=st.lists(st.tuples(_ANGLES, st.floats(1, 179), st.floats(0.5, 3)), min_size=1, max_size=12),
    inputs=st.integers(1, 4),
    index=st.none() | st.integers(0, 35),
)
def test_weights_are_shares_of_one_and_fall_with_distance(
    rule: Any, views: list[tuple[float, float, float]], inputs: int, index: int | None
) -> None:
    positions = [at(*view) for view in views]
    given = np.arange(len(positions)) < inputs
    place = None if index is None else Place(index, 36)
    offsets = offsets_from(at(0), positions)
    made = fusion_weights(offsets, given, place, ViewFusionParameters(weights=rule))
    assert made.sum() == pytest.approx(1)
    assert (made >= 0).all()
    far = offsets.distance if rule == "paper" else offsets.angle
    generated = np.flatnonzero(~given)
    ordered = generated[np.argsort(far[generated], kind="stable")]
    assert (np.diff(made[ordered]) <= 1e-12).all()


def chosen(azimuths: list[float], given: list[bool], **changes: Any) -> list[int]:
    offsets: Offsets = offsets_from(at(0), [at(each) for each in azimuths])
    return condition_window(offsets, np.array(given), ViewFusionParameters(**changes))


def test_the_window_leaves_far_views_out_but_no_input() -> None:
    azimuths, given = [180, 130, 125, -120, 10], [True, False, False, False, False]
    assert chosen(azimuths, given) == [0, 2, 3, 4]
    assert chosen(azimuths, given, window_deg=None) == [0, 1, 2, 3, 4]
    assert chosen(azimuths, given, window_deg=5) == [0]


def test_at_most_so_many_conditions_are_the_nearest_and_all_inputs() -> None:
    azimuths, given = [90, 170, 40, -30, 20, -10], [True, True, False, False, False, False]
    assert chosen(azimuths, given, max_conditions=4) == [0, 1, 4, 5]
    assert chosen(azimuths, given, max_conditions=1) == [0, 1]
