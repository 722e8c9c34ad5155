"""How sure a mean over objects is, and a difference of two: percentile bootstrap over objects.

Objects are what varies from one evaluation to another, so they are drawn again, with replacement, and never single views:
views of one object are hard or easy together.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float
    count: int
    """Objects that it is over; with one the interval has no width and says nothing."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean of ours minus theirs over the same objects, with its confidence interval."""

    mean: float
    low: float
    high: float
    wins: int
    """Objects whose figure of ours is the larger one."""
    losses: int
    ties: int
    count: int


def bootstrap_mean(values: Float[np.ndarray, " n"], confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean of figures of objects, and the interval that holds it with this confidence.

    Args:
        values: a figure an object, all finite.
        confidence: in (0, 1).
        seed: of the resampling.

    Raises:
        ValueError: when there is no object, or a figure is not finite.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} figures, of which {int((~np.isfinite(values)).sum())} are not finite")
    means = _resampled_means(values, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def paired_difference(
    ours: Float[np.ndarray, " n"], theirs: Float[np.ndarray, " n"], confidence: float = 0.95, seed: int = 0
) -> PairedDifference:
    """How much larger our figures are than theirs on the same objects, in the same order.

    Args:
        ours: a figure an object.
        theirs: as many.
        confidence: in (0, 1).
        seed: of the resampling.

    Raises:
        ValueError: when there is no object, the numbers of objects differ, or a figure is not finite.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} figures against {len(theirs)}")
    differences = ours - theirs
    interval = bootstrap_mean(differences, confidence, seed)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedDifference(
        interval.mean, interval.low, interval.high, wins, losses, len(differences) - wins - losses, len(differences)
    )


def _resampled_means(values: Float[np.ndarray, " n"], seed: int) -> Float[np.ndarray, " r"]:
    generator = np.random.default_rng(seed)
    # A block at a time: all draws of a thousand objects at once would be 80 MB of indices.
    blocks = [generator.integers(0, len(values), (RESAMPLES // 10, len(values))) for _ in range(10)]
    return np.concatenate([values[block].mean(axis=1) for block in blocks])
