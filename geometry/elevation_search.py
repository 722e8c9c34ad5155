"""How high a camera stands, from points matched among views that are turned by known angles from its own.

A turn by an azimuth is about the world's vertical. How that axis lies in the camera's picture depends on the camera's elevation,
so the right elevation is the one under which matched points meet in space. This is the principle of One-2-3-45 (Liu et al. 2023;
its code is `elevation_estimate/utils/elev_est_api.py`). The cameras' distance cancels: on a sphere of twice the radius the same
pictures are of an object of twice the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar

from geometry.cameras import Intrinsics, look_at_origin
from geometry.triangulation import projection_matrix, reprojection_errors, triangulate

ELEVATIONS_DEG = (-60.0, 74.0)
"""Elevations that are searched: not much higher, a turn by ten degrees leads over the pole, where up is down."""
_STEP_DEG = 2.0
WIDE = np.deg2rad(20.0)
"""Azimuth between views, radians, at which an object's near side moves far."""
_DRAWS = 200
_TAILS = (5.0, 95.0)
_ROUNDING = 1e-9
# Beyond this share of the picture's width a match counts as wrong: 3 of 256 pixels.
_WRONG = 3.0 / 256.0


@dataclass(frozen=True)
class Turn:
    """A camera relative to the input's: added to its polar angle from +Z, and to its azimuth, radians."""

    polar: float
    azimuth: float


@dataclass(frozen=True, eq=False)
class Matches:
    """Points that were seen by several of some views."""

    pixels: Float[np.ndarray, "n v 2"]
    """Where, x right and y down from the top-left corner."""
    seen: Bool[np.ndarray, "n v"]
    """By which."""

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class ElevationSearch:
    """The elevation of least error, and what speaks for it."""

    elevation: float
    """Of the input's camera above the horizon, radians."""
    low: float
    """5 % of the elevations that other draws of pairs of views would have given lie below, radians."""
    high: float
    """And 5 % above."""
    inliers: int
    """Matches that fit it."""
    matches: int
    """Of so many."""
    error: float
    """Root mean square distance of the former's reprojections, pixels."""
    at_the_edge: bool
    """Whether it is the first or last that was tried."""
    motion: float
    """Median distance that points which fit move between views `WIDE` apart in azimuth, in widths of the picture; 0 for none."""


def search_elevation(
    matches: Matches, turns: Sequence[Turn], intrinsics: Intrinsics, draws: np.random.Generator
) -> ElevationSearch:
    """The elevation under which matched points meet best.

    The error of a match counts squared up to that of a wrong one, so that wrong ones have no more to say. The interval is of a
    bootstrap over pairs of views: it knows of pairs that contradict each other, and not of views that are wrong all together.

    Args:
        matches: at least one.
        turns: of the views, the input's own first among them or not.
        intrinsics: of all views.
        draws: for the bootstrap.

    Raises:
        ValueError: when there are no matches.
    """
    if not len(matches):
        raise ValueError("no matches to search an elevation by")
    tried = np.deg2rad(np.arange(ELEVATIONS_DEG[0], ELEVATIONS_DEG[1] + 0.5, _STEP_DEG))
    wrong = _WRONG * intrinsics.width

    def costs(elevation: float) -> Float[np.ndarray, " n"]:
        return np.minimum(match_errors(matches, turns, intrinsics, elevation), wrong) ** 2

    table = np.stack([costs(elevation) for elevation in tried], axis=1)
    best = int(table.sum(axis=0).argmin())
    around = (tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)])
    found = float(minimize_scalar(lambda angle: costs(angle).mean(), bounds=around, method="bounded").x)
    squared = costs(found)
    fits = squared < wrong**2
    low, high = _interval(tried, table, matches.seen, draws)
    return ElevationSearch(
        elevation=found,
        low=min(low, found),
        high=max(high, found),
        inliers=int(fits.sum()),
        matches=len(matches),
        error=float(np.sqrt(squared[fits].mean())) if fits.any() else float("inf"),
        at_the_edge=best in (0, len(tried) - 1),
        motion=_motion(matches, turns, fits) / intrinsics.width,
    )


def _interval(
    tried: Float[np.ndarray, " e"],
    table: Float[np.ndarray, "n e"],
    seen: Bool[np.ndarray, "n v"],
    draws: np.random.Generator,
) -> tuple[float, float]:
    """5th and 95th percentile of the best elevations under pairs of views drawn with replacement."""
    _, pair_of = np.unique(seen, axis=0, return_inverse=True)
    pairs = np.zeros((pair_of.max() + 1, len(tried)))
    np.add.at(pairs, pair_of, table)
    counts = draws.multinomial(len(pairs), np.full(len(pairs), 1.0 / len(pairs)), size=_DRAWS)
    low, high = np.percentile(tried[(counts @ pairs).argmin(axis=1)], _TAILS)
    return float(low), float(high)


def _motion(matches: Matches, turns: Sequence[Turn], fits: Bool[np.ndarray, " n"]) -> float:
    """Median distance, pixels, that fitting points move between views that are `WIDE` apart in azimuth alone."""
    distances = [
        np.linalg.norm(matches.pixels[both, one] - matches.pixels[both, other], axis=1)
        for one, other in combinations(range(len(turns)), 2)
        if turns[one].polar == turns[other].polar
        and abs(turns[one].azimuth - turns[other].azimuth) >= WIDE - _ROUNDING
        and (both := fits & matches.seen[:, one] & matches.seen[:, other]).any()
    ]
    return float(np.median(np.concatenate(distances))) if distances else 0.0


def match_errors(
    matches: Matches, turns: Sequence[Turn], intrinsics: Intrinsics, elevation: float
) -> Float[np.ndarray, " n"]:
    """Reprojection error of each match, pixels, if the input's camera stood at an elevation.

    Args:
        matches: among the views.
        turns: of the views.
        intrinsics: of all views.
        elevation: of the input's camera above the horizon, radians.
    """
    polar = 0.5 * np.pi - elevation
    cameras = [look_at_origin(polar + turn.polar, turn.azimuth, 1.0) for turn in turns]
    projections = np.stack([projection_matrix(c2w, intrinsics) for c2w in cameras])
    points = triangulate(matches.pixels, matches.seen, projections)
    return reprojection_errors(points, matches.pixels, matches.seen, projections)
