"""How much each condition says about a wanted view: the paper's weights, and those of the released code.

Both split 1 between the inputs and the views that were generated: the inputs have a share w, the generated views 1 − w, and each
side is divided by a softmax. Source: Yang et al. 2024, section 3.3; Wi-sc/ViewFusion, `generate_360_view_autoregressive.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import softmax

from systems.viewfusion.parameters import ViewFusionParameters
from systems.viewfusion.trajectory import Position, turn

Weights = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Place:
    """Where a view stands in the making of an orbit."""

    index: int
    """How many of the orbit's views were generated before it."""
    views: int
    """Of the whole orbit, the input among them."""


@dataclass(frozen=True)
class Offsets:
    """How far n conditions are from a wanted view."""

    azimuth: Float[np.ndarray, " n"]
    """|Δφ| by the shorter way, radians."""
    polar: Float[np.ndarray, " n"]
    """|Δθ|, radians."""
    radius: Float[np.ndarray, " n"]
    """|Δr|, scene units."""

    @property
    def angle(self) -> Float[np.ndarray, " n"]:
        """|Δφ| + |Δθ|, radians: the released code's offset, which is |Δφ| on an orbit."""
        return self.azimuth + self.polar

    @property
    def distance(self) -> Float[np.ndarray, " n"]:
        """The paper's D = |Δφ| / π + |Δθ| / π + |Δr|."""
        return self.angle / math.pi + self.radius

    def __getitem__(self, rows: Sequence[int]) -> "Offsets":
        """Those of some conditions."""
        return Offsets(self.azimuth[rows], self.polar[rows], self.radius[rows])


def offsets_from(target: Position, conditions: Sequence[Position]) -> Offsets:
    """How far conditions are from a wanted view."""
    return Offsets(
        np.array([abs(turn(target.azimuth, each.azimuth)) for each in conditions]),
        np.array([abs(target.polar - each.polar) for each in conditions]),
        np.array([abs(target.radius - each.radius) for each in conditions]),
    )


def condition_window(offsets: Offsets, given: Bool[np.ndarray, " n"], parameters: ViewFusionParameters) -> list[int]:
    """Which conditions a view is made from, in their own order: all inputs, and the nearest generated views in the window.

    Args:
        offsets: of all views that there are.
        given: which of them are inputs.
        parameters: `window_deg` and `max_conditions`.
    """
    limit = math.inf if parameters.window_deg is None else math.radians(parameters.window_deg)
    # A view at the edge of the window belongs to it, on whichever side of the edge its cosine was rounded to.
    near = [
        int(n) for n in np.argsort(offsets.distance, kind="stable") if not given[n] and offsets.angle[n] < limit + 1e-6
    ]
    inputs = [int(n) for n in np.flatnonzero(given)]
    room = len(near) if parameters.max_conditions is None else max(0, parameters.max_conditions - len(inputs))
    return sorted(inputs + near[:room])


def fusion_weights(
    offsets: Offsets, given: Bool[np.ndarray, " n"], place: Place | None, parameters: ViewFusionParameters
) -> Weights:
    """The weights of the conditions that a view is made from; their sum is 1.

    Args:
        offsets: of these conditions.
        given: which of them are inputs, at least one.
        place: in an orbit; None on the way towards a single view.
        parameters: which rule, and its temperatures.
    """
    if parameters.weights == "paper":
        return paper_weights(offsets, given, parameters.tau_c, parameters.tau_g)
    share = released_share(offsets, given, place, parameters.inference_temperature)
    several = int(given.sum()) > 1
    usual = 0.5 if place and not several else 1.0
    return released_weights(offsets, given, share, parameters.auto_temperature or usual)


def paper_weights(offsets: Offsets, given: Bool[np.ndarray, " n"], tau_c: float, tau_g: float) -> Weights:
    """The paper's: w = exp(−D / τc) for the input, (1 − w) softmax(exp(−D / τg)) for the generated views.

    Of several inputs the nearest sets w, and they divide it by the same softmax; the paper has one.
    """
    share = math.exp(-offsets.distance[given].min() / tau_c)
    return _divided(share, np.exp(-offsets.distance / tau_g), given)


def released_share(offsets: Offsets, given: Bool[np.ndarray, " n"], place: Place | None, temperature: float) -> float:
    """The share w of the inputs in the released code, T the inference temperature.

    Of an orbit of n views with k views generated before: 1 for k = 0, then exp(−(k + 1) / n / T); with several inputs
    exp(−k / (n − 1) / T). Towards a single view exp(−δ / π / T), δ the offset of the nearest input.
    """
    if place is None:
        return math.exp(-offsets.angle[given].min() / math.pi / temperature)
    if place.index == 0:
        return 1.0
    if given.sum() > 1:
        return math.exp(-place.index / (place.views - 1) / temperature)
    return math.exp(-(place.index + 1) / place.views / temperature)


def released_weights(offsets: Offsets, given: Bool[np.ndarray, " n"], share: float, temperature: float) -> Weights:
    """The released code's: each side divided by softmax(−δ / max δ / T), δ its offsets.

    T is the automatic temperature for generated views; inputs have none.
    """
    scores = np.zeros(len(given))
    for side, evenness in ((given, 1.0), (~given, temperature)):
        farthest = offsets.angle[side].max(initial=0.0)
        if farthest > 0:
            scores[side] = -offsets.angle[side] / farthest / evenness
    return _divided(share, scores, given)


def _divided(share: float, scores: Float[np.ndarray, " n"], given: Bool[np.ndarray, " n"]) -> Weights:
    """The share among inputs and the rest among generated views, by softmax of scores; inputs alone have all."""
    weights = np.empty(len(given))
    weights[given] = (1.0 if given.all() else share) * softmax(scores[given])
    weights[~given] = (1.0 - share) * softmax(scores[~given]) if not given.all() else 0.0
    return weights
