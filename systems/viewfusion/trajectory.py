"""In which order views are made: around an orbit from the input to both sides, or step by step towards a single view.

Positions are those of cameras that look at the origin. Source: Wi-sc/ViewFusion, `generate_360_view_autoregressive.py` and its
script for single targets.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from geometry.cameras import spherical_from_position
from stage.errors import InputError

# Angles that come from matrices are a little off; no step more is taken for that, and no ring broken.
_ROUNDING = 1e-3
_HALF_TURN_ROUNDING = 1e-6
# With gaps as wide as this a neighbour says little more than the input.
_WIDEST_GAP_DEG = 45.0


class Position(NamedTuple):
    """Where a camera is about the origin."""

    polar: float
    """From +Z, radians."""
    azimuth: float
    """From +X, counter-clockwise seen from above, radians."""
    radius: float
    """Scene units."""


def position_of(c2w: Float[np.ndarray, "4 4"]) -> Position:
    """The position of a camera, OpenGL axes."""
    return Position(*spherical_from_position(c2w[:3, 3]))


def turn(target: float, start: float) -> float:
    """The shorter way from one azimuth to another, radians in (−π, π]; half a turn is counter-clockwise, however rounded."""
    most = math.pi + _HALF_TURN_ROUNDING
    return most - (most - (target - start)) % (2 * math.pi)


def orbit_turns_deg(views: int) -> list[float]:
    """Turns of the views of an orbit from the input's, degrees, in the order that they are made: +10, −10, +20, … at 36 views.

    Raises:
        InputError: for fewer than two views.
    """
    if views < 2:
        raise InputError(f"an orbit of {views} views", "ask for 2 or more")
    step = 360.0 / views
    return [step * (n // 2 + 1) * (1 if n % 2 == 0 else -1) for n in range(views - 1)]


def outward(start: Position, targets: Sequence[Position]) -> list[int]:
    """The order in which the views of a ring are made: by their turn from the input, of two alike the counter-clockwise first.

    A view from the input's own place is left out: it says nothing that the input does not.
    """
    turns = [turn(target.azimuth, start.azimuth) for target in targets]
    moved = [n for n, target in enumerate(targets) if not _at(start, target)]
    return sorted(moved, key=lambda n: (round(abs(turns[n]), 6), -turns[n]))


def _at(start: Position, target: Position) -> bool:
    moves = (turn(target.azimuth, start.azimuth), target.polar - start.polar, target.radius - start.radius)
    return all(abs(move) < _ROUNDING for move in moves)


def is_orbit(start: Position, targets: Sequence[Position]) -> bool:
    """Whether views lie on a ring around the vertical axis, with gaps of at most 45° between them and the input."""
    if len(targets) < 2:
        return False
    heights = np.array([[target.polar, target.radius] for target in targets])
    azimuths = np.sort(np.mod([start.azimuth, *(target.azimuth for target in targets)], 2 * math.pi))
    gaps = np.diff(azimuths, append=azimuths[0] + 2 * math.pi)
    widest = math.radians(_WIDEST_GAP_DEG) + _ROUNDING
    return bool((np.ptp(heights, axis=0) < _ROUNDING).all() and gaps.max() <= widest)


def path_towards(start: Position, target: Position, step_deg: float) -> list[Position]:
    """Equal steps from a position to another, the last of them there: S = max(⌈|Δφ| / step⌉, ⌈|Δθ| / step⌉), at least one.

    Args:
        start: of the input.
        target: of the wanted view; azimuths turn the shorter way.
        step_deg: most that azimuth and polar angle change in a step, degrees.
    """
    moves = np.array([target.polar - start.polar, turn(target.azimuth, start.azimuth), target.radius - start.radius])
    largest = float(np.abs(moves[:2]).max()) - _ROUNDING
    steps = max(1, math.ceil(largest / math.radians(step_deg)))
    return [Position(*(np.array(start) + moves * n / steps)) for n in range(1, steps)] + [target]
