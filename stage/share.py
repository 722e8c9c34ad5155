"""Shares of a stage's objects, for machines that know nothing of each other: `--shard 3/16` is the third of sixteen.

Who does what follows from the catalogue alone, so every machine works it out for itself.
"""

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stage.errors import ParameterError


@dataclass(frozen=True)
class Share:
    """One of `count` parts, counted from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """The share that `3/16` names.

        Raises:
            ParameterError: when the text names none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        share = cls(int(match[1]), int(match[2])) if match else None
        if share is None or not 1 <= share.number <= share.count:
            raise ParameterError(f"no shard {text!r}", "count from 1, as in 1/16 to 16/16")
        return share

    @property
    def name(self) -> str:
        """The share in a file's name."""
        return f"{self.number}-of-{self.count}"

    def of(self, costs: Mapping[str, float]) -> set[str]:
        """The uids of this share, such that all shares cost about the same and each uid is in exactly one.

        The most costly objects are dealt first, each to whoever has least: no share takes longer than 4/3 of the best possible
        (Graham 1969, "Bounds on multiprocessing timing anomalies"). The order of `costs` does not matter.

        Args:
            costs: estimated cost of each object, in any unit.
        """
        loads = [(0.0, number) for number in range(1, self.count + 1)]
        mine: set[str] = set()
        for uid in sorted(costs, key=lambda uid: (-costs[uid], uid)):
            load, number = loads[0]
            heapq.heapreplace(loads, (load + costs[uid], number))
            if number == self.number:
                mine.add(uid)
        return mine
