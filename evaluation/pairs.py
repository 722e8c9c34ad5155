"""Two methods, or two models, over the same objects: the mean difference of each figure with its confidence interval.

A difference counts as decided when its interval does not hold zero, over six objects or more: with fewer all of them may well
lean to one side by chance (of five one time in sixteen). Pairs decide far earlier than two intervals beside each
other, since an object that is hard for one is hard for the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from evaluation.metrics.definitions import MetricDefinition
from evaluation.statistics import FEW, PairedDifference, paired_difference

Outcome = Literal["better", "worse", "undecided"]
_DIGITS = 6


@dataclass(frozen=True)
class Pairing:
    """Ours against theirs in one figure of one subset."""

    subset: str
    metric: MetricDefinition
    difference: PairedDifference
    """Ours minus theirs; wins are objects on which our figure is the larger one."""

    @property
    def outcome(self) -> Outcome:
        """What the interval says of ours, the direction of the figure considered."""
        low, high = self.difference.low, self.difference.high
        if low <= 0.0 <= high or self.difference.count < FEW:
            return "undecided"
        return "better" if (low > 0.0) == (self.metric.better == "higher") else "worse"

    @property
    def better_on(self) -> int:
        """Objects on which ours is the better one."""
        return self.difference.wins if self.metric.better == "higher" else self.difference.losses

    @property
    def worse_on(self) -> int:
        """Objects on which ours is the worse one."""
        return self.difference.losses if self.metric.better == "higher" else self.difference.wins

    def to_json(self) -> dict[str, str | int | float]:
        """The pairing as JSON."""
        difference = self.difference
        return {
            "subset": self.subset,
            "metric": self.metric.name,
            "better_is": self.metric.better,
            "difference": round(difference.mean, _DIGITS),
            "low": round(difference.low, _DIGITS),
            "high": round(difference.high, _DIGITS),
            "better_on": self.better_on,
            "worse_on": self.worse_on,
            "ties": difference.ties,
            "objects": difference.count,
            "outcome": self.outcome,
        }


def pairings(
    ours: pd.DataFrame, theirs: pd.DataFrame, definitions: Sequence[MetricDefinition], confidence: float = 0.95
) -> list[Pairing]:
    """A pairing for each subset and figure that both have.

    Args:
        ours: rows of `per_object.parquet` of one method.
        theirs: of another method, or of another evaluation; objects that one of the two lacks are left out.
        definitions: of the figures.
        confidence: of the intervals.
    """
    both = ours.merge(theirs, on=["subset", "uid"], suffixes=("", " theirs"))
    found = []
    for subset in dict.fromkeys(both["subset"]):
        rows = both[both["subset"] == subset]
        for definition in definitions:
            pairing = _pairing(str(subset), definition, rows, confidence)
            if pairing:
                found.append(pairing)
    return found


def _pairing(subset: str, definition: MetricDefinition, rows: pd.DataFrame, confidence: float) -> Pairing | None:
    names = [definition.name, f"{definition.name} theirs"]
    if not set(names) <= set(rows.columns):
        return None
    values = rows[names].dropna().astype(float)
    if values.empty:
        return None
    ours, theirs = (values[name].to_numpy() for name in names)
    return Pairing(subset, definition, paired_difference(ours, theirs, confidence))
