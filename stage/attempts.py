"""Attempts at jobs: what is tried next, and what becomes of an attempt that failed.

Fresh jobs come first, in their order, and are taken from their source only when somebody is free for one; those that are tried
again wait their time, longer after each attempt.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from stage.errors import StageFailedError
from stage.executor import ExecutorParameters, Job
from stage.failures import FailureClass, Outcome

# An object that takes its machine down with it would otherwise do so to one after the other.
_LOSSES = 3


@dataclass(frozen=True)
class Attempt:
    """A job to be tried for the n-th time, not before `due` on the monotonic clock."""

    job: Job
    number: int = 1
    due: float = 0.0
    losses: int = 0
    """How often the one who tried it was lost, which is not charged to the object."""


class AttemptQueue:
    """The attempts that are to be made.

    Args:
        jobs: the work, taken one by one.
        parameters: how often and after which wait a job is tried again.
    """

    def __init__(self, jobs: Iterable[Job], parameters: ExecutorParameters) -> None:
        self._source, self._parameters = iter(jobs), parameters
        self._fresh: deque[Attempt] = deque()
        self._again: list[Attempt] = []

    def waiting(self, most: int) -> int:
        """How many attempts are to be made, now or later, counted up to `most`."""
        missing = max(0, most - len(self._fresh))
        self._fresh.extend(Attempt(job) for job in islice(self._source, missing))
        return min(most, len(self._fresh) + len(self._again))

    def __bool__(self) -> bool:
        """Whether any attempt is still to be made, now or later."""
        return self.waiting(1) > 0

    def take(self) -> Attempt | None:
        """The next attempt whose time has come; None when there is none at the moment."""
        self.waiting(1)
        if self._fresh:
            return self._fresh.popleft()
        now = time.monotonic()
        attempt = next((attempt for attempt in self._again if attempt.due <= now), None)
        if attempt:
            self._again.remove(attempt)
        return attempt

    def give_back(self, attempt: Attempt) -> None:
        """Put an attempt back that nobody made."""
        self._again.insert(0, attempt)

    def lost(self, attempt: Attempt) -> Outcome | None:
        """Put back an attempt whose maker was lost; a crash when that happened to the object time and again."""
        if attempt.losses + 1 < _LOSSES:
            self.give_back(replace(attempt, losses=attempt.losses + 1))
            return None
        message = f"its machine or supervisor was lost {_LOSSES} times"
        return Outcome(attempt.job.uid, FailureClass.CRASH, message, "", attempt.number, 0.0, 0, {})

    def settle(self, attempt: Attempt, outcome: Outcome) -> Outcome | None:
        """The outcome, or None when its failure may pass and the job is tried again.

        Raises:
            StageFailedError: when the disk is full, which is no object's fault.
        """
        if outcome.failure is FailureClass.DISK:
            raise StageFailedError(
                f"no space left on the disk while working on {outcome.uid} ({outcome.message})",
                "free some space and run again: finished objects are kept",
            )
        if not outcome.failure or not outcome.failure.transient or attempt.number >= self._parameters.attempts:
            return outcome
        delay = self._parameters.retry_delay_seconds * 2.0 ** (attempt.number - 1)
        self._again.append(replace(attempt, number=attempt.number + 1, due=time.monotonic() + delay))
        return None
