"""The guard of a training against steps whose loss or gradient is not finite: they are left out, and too many end the run."""

from collections.abc import Mapping, Sequence
from typing import Any

from stage.errors import StageFailedError
from training.parameters import GuardParameters

_NAMED = 8


class Guard:
    """Counts the steps that were left out.

    Args:
        parameters: how many may be.
    """

    def __init__(self, parameters: GuardParameters) -> None:
        self._parameters = parameters
        self.skipped = 0
        self._in_a_row = 0
        self._first = ""

    def taken(self) -> None:
        """A step was taken."""
        self._in_a_row = 0

    def overflowed(self) -> None:
        """A step was left out because fp16's scale was too large: a smaller one is tried, and no limit counts it."""
        self.skipped += 1

    def left_out(self, step: int, reason: str, rate: float, uids: Sequence[str]) -> None:
        """A step was left out.

        Args:
            step: counted from 1.
            reason: what was not finite.
            rate: the step's learning rate.
            uids: the samples of all processes.

        Raises:
            StageFailedError: when these are too many, with the first of those in a row.
        """
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row == 1:
            more = f" and {len(uids) - _NAMED} more" if len(uids) > _NAMED else ""
            self._first = f"step {step}: {reason} at learning rate {rate:g}, samples {', '.join(uids[:_NAMED])}{more}"
        self._check(step)

    def state_dict(self) -> dict[str, Any]:
        """The counters."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row, "first": self._first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self.skipped, self._in_a_row, self._first = state["skipped"], state["in_a_row"], state["first"]

    def _check(self, step: int) -> None:
        row, share = self._parameters.max_skipped_in_a_row, self._parameters.max_skipped_share
        # Of few steps a share says nothing.
        if self._in_a_row <= row and self.skipped <= max(row, share * step):
            return
        raise StageFailedError(
            f"{self.skipped} of {step} steps were left out, {self._in_a_row} in a row; the first was {self._first}",
            "lower train.optimizer.learning_rate, look at these samples, or raise train.guard's limits",
        )
