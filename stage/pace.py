"""Pace of a stage: units a second, the time that is left, and what a thousand units cost.

The figures are part of each progress line (`stage.progress`); `pace_text` says them in words, for bars, logs and artifacts alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_THOUSAND = 1000


@dataclass(frozen=True)
class Cost:
    """What the work takes up while it runs."""

    cores: int
    """CPU cores that its workers are given, busy or not."""
    price_per_core_hour: float | None = None
    """Price of one of them for an hour, in whatever currency; None when nobody said."""

    def figures(self, units: int, seconds: float) -> dict[str, float]:
        """Core-seconds, and with a price the cost, of a thousand units when so many took so many seconds."""
        core_seconds = seconds * self.cores * _THOUSAND / units
        figures = {"core_seconds_per_1000": round(core_seconds, 1)}
        if self.price_per_core_hour is not None:
            figures["cost_per_1000"] = round(core_seconds / 3600 * self.price_per_core_hour, 4)
        return figures


def pace(units: int, remaining: int, seconds: float, cost: Cost | None = None) -> dict[str, float]:
    """The figures of a progress line; none before the first unit is done.

    Args:
        units: done since the start of this run; those of a run before took their time then.
        remaining: yet to be done.
        seconds: since the start of this run.
        cost: what the work takes up; None leaves its figures out.
    """
    if units <= 0 or seconds <= 0:
        return {}
    figures = {"per_second": round(units / seconds, 4), "remaining_seconds": round(remaining * seconds / units, 1)}
    return {**figures, **(cost.figures(units, seconds) if cost else {})}


def pace_text(record: Mapping[str, Any]) -> str:
    """The figures of a progress line in words; empty when it has none."""
    if "per_second" not in record:
        return ""
    words = [f"{record['per_second']:.3g}/s"]
    if record["remaining_seconds"]:
        words.append(f"{duration_text(record['remaining_seconds'])} left")
    if "cost_per_1000" in record:
        words.append(f"{record['cost_per_1000']:.4g} per 1,000")
    elif "core_seconds_per_1000" in record:
        words.append(f"{record['core_seconds_per_1000']:,.0f} core-s per 1,000")
    return ", ".join(words)


def duration_text(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 2.1 days."""
    for limit, size, unit in ((90.0, 1.0, "s"), (5400.0, 60.0, "min")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
