"""Damaged samples of a training run: each is said once, and too many of them end it."""

import logging
from collections.abc import Iterable

from stage.failures import FailureClass, Outcome, check_failure_rate
from training.data.batches import Damage

_log = logging.getLogger(__name__)


class DamageRecord:
    """The distinct samples that could not be read so far.

    Args:
        samples: how many there are in all.
        max_failure_rate: share of them past which the run fails.
    """

    def __init__(self, samples: int, max_failure_rate: float) -> None:
        self.samples, self.max_failure_rate = samples, max_failure_rate
        self._found: dict[tuple[str, int], Damage] = {}

    @property
    def found(self) -> list[Damage]:
        """The damaged samples in the order in which they were met."""
        return list(self._found.values())

    def add(self, damaged: Iterable[Damage]) -> None:
        """Note damaged samples and say those that are new.

        Raises:
            StageFailedError: when there are too many, with the first few.
        """
        damaged = list(damaged)
        for damage in damaged:
            if (damage.dataset, damage.sample) not in self._found:
                _log.warning("left out, another sample stands in: %s", damage.message)
        self.count(damaged)

    def count(self, damaged: Iterable[Damage]) -> None:
        """Note damaged samples that another process says.

        Raises:
            StageFailedError: as when they are added.
        """
        for damage in damaged:
            self._found.setdefault((damage.dataset, damage.sample), damage)
        outcomes = [_outcome(damage) for damage in self._found.values()]
        check_failure_rate("train.data", outcomes, self.samples, self.max_failure_rate)


def _outcome(damage: Damage) -> Outcome:
    subject = f"{damage.dataset} {damage.sample}"
    return Outcome(subject, FailureClass.CHECKSUM, damage.message, "", 1, 0.0, 0, {})
