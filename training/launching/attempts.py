"""Attempts at a training: what may pass is tried again from the last checkpoint, so often without a new one in between.

This is the one place that does so while the stage lives. The stage's own death, and being asked to stop, are for who started it:
the flow's retries, or running it again (docs/decisions/0044).
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from stage.errors import StageFailedError, StageKilledError, StagePreemptedError, ViewforgeError
from stage.workspace import Workspace
from training.launching.outcome import Outcome, outcome_file, outcome_of, read_outcome, record, write_outcome
from training.parameters import TrainParameters
from training.preemption import SIGNALS

_LONGEST_PAUSE = 30.0


class Attempts:
    """The attempts of one stage, on one machine or as jobs.

    Args:
        parameters: the run.
        workspace: whose checkpoints tell whether there was progress.
        machine: this one's number.
        job: Slurm's, when this runs in one.
    """

    def __init__(
        self, parameters: TrainParameters, workspace: Workspace, machine: int, job: str | None = None
    ) -> None:
        self._parameters, self._workspace = parameters, workspace
        self._machine, self._job = machine, job
        self._number, self._in_vain = 0, 0
        self._reached = self._checkpoints()
        # What an earlier launch left. In a job it names that job; elsewhere it was there before this one began.
        self._left = {} if job else {each: self._of(each) for each in range(parameters.launch.machines)}

    def run(self, attempt: Callable[[int], None]) -> None:
        """Attempt until it is done.

        Args:
            attempt: is given its number, from 1.

        Raises:
            StageFailedError: when an attempt ended for a reason that would come again, or too many in a row without a checkpoint.
            StageKilledError: when one was killed and none may follow.
            StagePreemptedError: when one was asked to stop.
        """
        while True:
            self._number += 1
            since = time.time()
            try:
                attempt(self._number)
            except ViewforgeError as error:
                self._after(error, since)
            else:
                record(self._workspace, self._outcome("finished"), self._parameters, time.time())
                return

    def _after(self, error: ViewforgeError, since: float) -> None:
        """Note how an attempt ended; return when another one follows."""
        final = self._final(error)
        record(self._workspace, self._told(final or error), self._parameters, since, last=final is not None)
        if final is not None:
            raise final from None
        pause = min(_LONGEST_PAUSE, 2.0 ** (self._in_vain - 1))
        told = f"attempt {self._number} ended ({error}); goes on from the last checkpoint in {pause:g} s"
        print(f"train: {told}", file=sys.stderr, flush=True)
        try:
            with stoppable():
                time.sleep(pause)
        except StagePreemptedError as stopped:
            record(self._workspace, self._told(stopped), self._parameters, since)
            raise
        self.heed_others()

    def heed_others(self) -> None:
        """End when another machine has, for a reason that would come again: this one would wait for it."""
        for machine in range(self._parameters.launch.machines):
            other = self._of(machine) if machine != self._machine else None
            if other is None or other.job != self._job or other == self._left.get(machine):
                continue
            if not other.may_pass and other.kind != "finished":
                error = StageFailedError(f"machine {machine} ended: {other.message}", "", other.kind)
                with suppress(OSError):
                    write_outcome(self._workspace, self._told(error))
                raise error

    def _final(self, error: ViewforgeError) -> ViewforgeError | None:
        """What to end with, unless another attempt is due."""
        if isinstance(error, StagePreemptedError) or not isinstance(error, StageKilledError):
            return error
        restarts = self._parameters.launch.restarts
        if not restarts:
            return error
        reached = self._checkpoints()
        self._in_vain = 1 if reached - self._reached else self._in_vain + 1
        self._reached = reached
        if self._in_vain <= restarts:
            return None
        return StageFailedError(
            f"{self._in_vain} attempts in a row ended before a new checkpoint, the last one: {_reason(error)}",
            "mend what ends them, or set a smaller train.checkpoint_every",
            error.kind,
        )

    def _told(self, error: ViewforgeError) -> Outcome:
        return outcome_of(error, self._number, self._machine, self._job)

    def _outcome(self, kind: str) -> Outcome:
        return Outcome(kind, attempt=self._number, machine=self._machine, job=self._job)

    def _of(self, machine: int) -> Outcome | None:
        return read_outcome(outcome_file(self._workspace, machine))

    def _checkpoints(self) -> set[Path]:
        return set(self._workspace.scratch.glob("training/*/checkpoints/step-*"))


@contextmanager
def stoppable() -> Iterator[None]:
    """Be asked to stop between two attempts or before one, when no process of the training is there to hear it."""
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise StagePreemptedError(f"{signal.Signals(number).name} between two attempts", "run again: it continues")


def _reason(error: ViewforgeError) -> str:
    text = str(error).removeprefix(StageKilledError.PREFIX)
    return text.removesuffix(f"; {error.remedy}") if error.remedy else text
