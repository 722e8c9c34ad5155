"""A training as a job of Slurm: the stage submits it, follows its output, progress and state, and ends with its outcome.

To DVC and Prefect it is a stage like any other: a stage that is killed has its job cancelled, one that is asked to stop hands
that on, and one that is started again finds its job (`scratch/launch/slurm.json`) and waits for it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage.errors import InputError, StageFailedError, StageKilledError, StagePreemptedError, ViewforgeError
from stage.files import json_sha256
from stage.progress import PROGRESS_VARIABLE
from stage.workspace import Workspace
from training.launching.attempts import Attempts
from training.launching.canceller import Canceller, cancel
from training.launching.exit_reason import MESSAGE
from training.launching.followed_files import FollowedFiles
from training.launching.outcome import Outcome, launch_room, outcome_file, read_outcome
from training.launching.slurm_job import JOB_NOTE, PROGRESS
from training.launching.slurm_queue import OVER, UNKNOWN, UNREACHABLE, state_of, submit, tell_to_stop
from training.launching.slurm_state import JobNote, read_note, write_note
from training.parameters import TrainParameters
from training.preemption import SIGNALS, Notice

_LOOK_SECONDS = 1.0
# Twice in a row: a job that goes back into the queue passes through the states of an end.
_LOOKS, _LOOKS_FOR_NOTHING = 2, 10
# A machine that ends because of another one says so; the other one's reason comes first.
_BECAUSE_OF_OTHERS = ("exchange_lost", "exchange_timeout", "silent")


def train_by_slurm(parameters: TrainParameters, workspace: Workspace) -> None:
    """Train in jobs of Slurm: one, and another from the last checkpoint after what may pass.

    Raises:
        InputError: when Slurm takes no job.
        StageFailedError: with the reason of the machine that ended first, or that the job was cancelled.
        StageKilledError: when machines or processes went away as often as `train.launch.restarts` allows.
        StagePreemptedError: when the stage was asked to stop, or the job was and does not go back into the queue.
    """
    Attempts(parameters, workspace, 0).run(lambda _: SlurmTraining(parameters, workspace).run())


class SlurmTraining:
    """One job and the wait for it.

    Args:
        parameters: the run.
        workspace: on a disk that the job's machines share.
    """

    def __init__(self, parameters: TrainParameters, workspace: Workspace) -> None:
        assert parameters.launch.slurm  # noqa: S101 - that is why it is called
        self._parameters, self._workspace, self._slurm = parameters, workspace, parameters.launch.slurm
        self._room = launch_room(workspace).absolute()
        self._folder, self._note = self._room / "slurm", self._room / JOB_NOTE
        self._output = FollowedFiles(self._folder, "none")
        self._progress = FollowedFiles(self._room, PROGRESS)

    def run(self) -> None:
        """Find or submit the job, and wait for its end; raises as `train_by_slurm` does."""
        self._folder.mkdir(parents=True, exist_ok=True)
        job = self._running() or self._submitted()
        self._output = FollowedFiles(self._folder, f"{job}_*_log.out")
        with _noticing() as notice, Canceller(job, self._note):
            state = self._wait(job, notice)
        error = self._error(job, state, notice)
        if error is not None:
            raise error

    def _submitted(self) -> str:
        for machine in range(self._slurm.nodes):
            outcome_file(self._workspace, machine).unlink(missing_ok=True)
        self._progress.skip()
        job = submit(self._parameters, self._workspace.root.absolute(), self._folder)
        write_note(self._note, JobNote(job, self._slurm.nodes, sha256_of(self._parameters)))
        _say(f"submitted job {job}")
        return job

    def _running(self) -> str | None:
        """The job of an earlier stage, if it still does this training; one that does not is ended first.

        Raises:
            InputError: when Slurm does not say whether it runs: two jobs would write the same checkpoints.
        """
        note = read_note(self._note)
        state = state_of(note.job) if note else UNKNOWN
        if note is None or state in {*OVER, UNKNOWN}:
            return None
        if state == UNREACHABLE:
            raise InputError(
                f"squeue does not say whether job {note.job} of {self._workspace.root} runs",
                "run again when it answers",
            )
        if not note.cancelled and note.parameters_sha256 == sha256_of(self._parameters):
            _say(f"goes on waiting for job {note.job}, which was submitted earlier")
            return note.job
        _say(f"waits for the end of job {note.job}, which was given up")
        cancel(note.job, self._note)
        while state_of(note.job) not in {*OVER, UNKNOWN}:
            time.sleep(min(_LOOK_SECONDS, self._slurm.poll_seconds))
        return None

    def _wait(self, job: str, notice: Notice) -> str:
        """Follow a job to its end; its last state."""
        state, over, asked, deadline = "", 0, 0.0, float("inf")
        while over < (_LOOKS_FOR_NOTHING if state == UNKNOWN else _LOOKS):
            self._tell_more()
            now = time.monotonic()
            if notice.given and deadline == float("inf"):
                deadline = now + self._stop(job)
            if now > deadline:
                cancel(job, self._note)
                deadline = now + self._parameters.launch.grace_seconds
            if now - asked >= self._slurm.poll_seconds or over or self._outcomes(job, whole=True):
                asked, known = now, state
                state = state_of(job)
                over = over + 1 if self._is_over(state) else 0
                if state != known:
                    _say(f"job {job} is {state}")
            time.sleep(_LOOK_SECONDS)
        self._tell_more()
        return state

    def _is_over(self, state: str) -> bool:
        return state in {*OVER, UNKNOWN} or (state == "PREEMPTED" and not self._slurm.requeue)

    def _stop(self, job: str) -> float:
        """Hand on that the stage is asked to stop; the seconds that the job has."""
        if note := read_note(self._note):
            write_note(self._note, JobNote(note.job, note.nodes, note.parameters_sha256, cancelled=True))
        grace = self._parameters.launch.grace_seconds
        os.write(2, f"train: asked to stop: job {job} saves a checkpoint, for at most {grace:g} s\n".encode())
        tell_to_stop(job)
        return grace + self._slurm.poll_seconds

    def _tell_more(self) -> None:
        """Pass on what the job's machines have written; their last word comes with the stage's own."""
        for path, line in self._output.lines():
            machine = path.name.split("_")[1]
            if not line.startswith(MESSAGE):
                print(f"[machine {machine}] {line}" if self._slurm.nodes > 1 else line, file=sys.stderr, flush=True)
        new = [line for _, line in self._progress.lines()]
        if new and (sink := os.environ.get(PROGRESS_VARIABLE)):
            with Path(sink).open("a") as stream:
                stream.write("".join(f"{line}\n" for line in new))

    def _outcomes(self, job: str, *, whole: bool = False) -> list[Outcome]:
        """How the machines of a job ended; with `whole` none before all have."""
        files = [outcome_file(self._workspace, machine) for machine in range(self._slurm.nodes)]
        found = [outcome for path in files if (outcome := read_outcome(path)) and outcome.job == job]
        return [] if whole and len(found) < len(files) else found

    def _error(self, job: str, state: str, notice: Notice) -> ViewforgeError | None:
        """What the stage ends with; None for a training that is done."""
        outcomes = self._outcomes(job)
        if state == "CANCELLED" and not notice.given:
            # Its machines say that they were asked to stop, and somebody wants no more of it.
            return job_error(job, state)
        failed = sorted(
            (outcome for outcome in outcomes if outcome.kind != "finished"),
            key=lambda outcome: outcome.kind in _BECAUSE_OF_OTHERS,
        )
        if failed:
            return _as_error(failed[0], self._slurm.nodes)
        if state in {"COMPLETED", UNKNOWN} and len(outcomes) == self._slurm.nodes:
            return None
        if notice.given:
            return StagePreemptedError(
                f"job {job} ended before a new checkpoint", "run again: it goes on from the last one"
            )
        return job_error(job, state)


def _as_error(outcome: Outcome, nodes: int) -> ViewforgeError:
    """A machine's outcome as the stage's own error."""
    where = f" (machine {outcome.machine})" if nodes > 1 else ""
    if outcome.kind == "preempted":
        reason = outcome.message.removeprefix(StageKilledError.PREFIX).removeprefix(StagePreemptedError.PREEMPTED)
        return StagePreemptedError(reason)
    if outcome.may_pass:
        return StageKilledError(f"{outcome.message.removeprefix(StageKilledError.PREFIX)}{where}", "", outcome.kind)
    return StageFailedError(f"{outcome.message}{where}", "", outcome.kind)


def sha256_of(parameters: TrainParameters) -> str:
    """Hash of a training's parameters, by which a job that does another one is known."""
    return json_sha256(parameters.model_dump(mode="json"))


def job_error(job: str, state: str) -> ViewforgeError:
    """What a job ended of that its machines said nothing about.

    Args:
        job: its number.
        state: Slurm's word for its end.
    """
    if state == "OUT_OF_MEMORY":
        more = "raise train.launch.slurm.memory, or take fewer train.data.workers"
        return StageFailedError(f"job {job} was killed for want of memory", more, "host_memory")
    if state == "CANCELLED":
        return StageFailedError(f"job {job} was cancelled", "run again: it continues from its checkpoint", "cancelled")
    if state in {"COMPLETED", "FAILED"}:
        return StageFailedError(
            f"job {job} ended without saying why", f"look at its output, {JOB_NOTE} says which", "error"
        )
    return StageKilledError(f"job {job} ended by {state}", "run again: it continues from its checkpoint")


@contextmanager
def _noticing() -> Iterator[Notice]:
    """Heed the signals to stop for as long as it is entered."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield Notice().heed()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(what: str) -> None:
    print(f"train: {what}", file=sys.stderr, flush=True)
