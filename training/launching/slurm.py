"""A training as a job of Slurm: the stage submits it, follows its output, progress and state, and ends with its outcome.

To DVC and Prefect it is a stage like any other: a stage that is killed has its job cancelled, one that is asked to stop hands
that on, and one that is started again finds its job (`scratch/launch/slurm.json`) and waits for it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stage.errors import InputError, StageFailedError, StageKilledError, StagePreemptedError, ViewforgeError
from stage.files import file_sha256, json_sha256
from stage.parameters import load_seed
from stage.progress import PROGRESS_VARIABLE
from stage.workspace import Workspace
from training.data.datasets import place_of
from training.data.index import INDEX
from training.launching.attempts import Attempts
from training.launching.canceller import Canceller, cancel
from training.launching.exit_reason import MESSAGE
from training.launching.followed_files import FollowedFiles
from training.launching.outcome import Outcome, launch_room, outcome_file, read_outcome
from training.launching.slurm_job import JOB_NOTE, PROGRESS
from training.launching.slurm_queue import (
    OVER,
    PREEMPTED,
    UNKNOWN,
    UNREACHABLE,
    jobs_named,
    name_of,
    state_of,
    submit,
    tell_to_stop,
)
from training.launching.slurm_state import JobNote, give_up, read_note, write_note
from training.parameters import TrainParameters
from training.preemption import SIGNALS, Notice

_LOOK_SECONDS = 1.0
# Twice in a row: a job that goes back into the queue passes through the states of an end.
_LOOKS, _LOOKS_FOR_NOTHING = 2, 10
_OVER_OR_PREEMPTED = frozenset({*OVER, UNKNOWN, PREEMPTED})
# In these a job whose machines have all said how they ended is about to be over.
_ENDING = ("RUNNING", "COMPLETING")
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
        self._root, self._room = workspace.root.absolute(), launch_room(workspace).absolute()
        self._folder, self._note = self._room / "slurm", self._room / JOB_NOTE
        self._output = FollowedFiles(self._folder, "none")
        self._progress = FollowedFiles(self._room, PROGRESS)

    def run(self) -> None:
        """Find or submit the job, and wait for its end; raises as `train_by_slurm` does."""
        self._folder.mkdir(parents=True, exist_ok=True)
        job = self._running()
        with _noticing() as notice:
            job = job or self._submitted()
            self._output = FollowedFiles(self._folder, f"{job}_*_log.out")
            with Canceller(job, self._note):
                state = self._wait(job, notice)
        error = self._error(job, state, notice)
        if error is not None:
            raise error

    def _submitted(self) -> str:
        for machine in range(self._slurm.nodes):
            outcome_file(self._workspace, machine).unlink(missing_ok=True)
        (self._room / PROGRESS).unlink(missing_ok=True)
        job = submit(self._parameters, self._root, self._folder)
        try:
            write_note(self._note, JobNote(job, self._slurm.nodes, sha256_of(self._parameters, self._workspace)))
        except BaseException:
            # As on a full disk: nobody would wait for it.
            cancel(job, self._note)
            raise
        _say(f"submitted job {job}")
        return job

    def _running(self) -> str | None:
        """The job of an earlier stage, if it still does this training; those that do not are ended first.

        Raises:
            InputError: when Slurm does not say whether one runs: two jobs would write the same checkpoints.
        """
        note = read_note(self._note)
        if note and self._runs(note.job):
            if not note.cancelled and note.parameters_sha256 == sha256_of(self._parameters, self._workspace):
                _say(f"goes on waiting for job {note.job}, which was submitted earlier")
                return note.job
            self._end(note.job, "which was given up")
        self._end_unnoted()
        return None

    def _runs(self, job: str) -> bool:
        state = state_of(job)
        for _ in range(_LOOKS_FOR_NOTHING):
            # One that goes back into the queue passes through this.
            if state != PREEMPTED:
                break
            time.sleep(self._pause)
            state = state_of(job)
        if state == UNREACHABLE:
            raise self._unsure(f"job {job}")
        return state not in _OVER_OR_PREEMPTED

    def _end_unnoted(self) -> None:
        """End the jobs of a stage that was killed between submitting one and noting its number."""
        jobs = jobs_named(name_of(self._root))
        if jobs is None:
            raise self._unsure("a job")
        for job in jobs:
            self._end(job, "which was submitted by a stage that was killed")

    def _end(self, job: str, which: str) -> None:
        _say(f"waits for the end of job {job}, {which}")
        again = 0.0
        while state_of(job) not in _OVER_OR_PREEMPTED:
            if time.monotonic() > again:
                cancel(job, self._note)
                again = time.monotonic() + self._parameters.launch.grace_seconds
            time.sleep(self._pause)

    def _unsure(self, what: str) -> InputError:
        return InputError(f"squeue does not say whether {what} of {self._root} runs", "run again when it answers")

    @property
    def _pause(self) -> float:
        return min(_LOOK_SECONDS, self._slurm.poll_seconds)

    def _wait(self, job: str, notice: Notice) -> str:
        """Follow a job to its end; its last state."""
        state, over, asked, deadline = "", 0, 0.0, float("inf")
        while over < (_LOOKS_FOR_NOTHING if state in (UNKNOWN, PREEMPTED) else _LOOKS):
            self._tell_more()
            now = time.monotonic()
            if notice.given and deadline == float("inf"):
                deadline = now + self._stop(job)
            if now > deadline:
                cancel(job, self._note)
                deadline = now + self._parameters.launch.grace_seconds
            ending = state in _ENDING and self._outcomes(job, whole=True)
            if not state or now - asked >= self._slurm.poll_seconds or over or ending:
                asked, known = now, state
                state = state_of(job)
                over = over + 1 if state in _OVER_OR_PREEMPTED else 0
                if state != known:
                    _say(f"job {job} is {state}")
            time.sleep(_LOOK_SECONDS)
        self._tell_more()
        return state

    def _stop(self, job: str) -> float:
        """Hand on that the stage is asked to stop; the seconds that the job has."""
        with suppress(OSError):
            give_up(self._note)
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
            # A disk that is full ends no job.
            with suppress(OSError), Path(sink).open("a") as stream:
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
            return self._cancelled(job)
        failed = sorted(
            (outcome for outcome in outcomes if outcome.kind != "finished"),
            key=lambda outcome: outcome.kind in _BECAUSE_OF_OTHERS,
        )
        if failed:
            return _as_error(failed[0], self._slurm.nodes)
        if len(outcomes) == self._slurm.nodes:
            # Done, whatever its last second met with.
            return None
        if notice.given:
            return StagePreemptedError(
                f"job {job} ended before a new checkpoint", "run again: it goes on from the last one"
            )
        return job_error(job, state)

    def _cancelled(self, job: str) -> ViewforgeError:
        note = read_note(self._note)
        if note and note.job == job and note.cancelled:
            # The stage before this one was killed, and its job cancelled only after this one had found it.
            return StageKilledError(f"job {job} was cancelled by the end of an earlier stage", "run again")
        return job_error(job, "CANCELLED")


def _as_error(outcome: Outcome, nodes: int) -> ViewforgeError:
    """A machine's outcome as the stage's own error."""
    where = f" (machine {outcome.machine})" if nodes > 1 else ""
    if outcome.kind == "preempted":
        reason = outcome.message.removeprefix(StageKilledError.PREFIX).removeprefix(StagePreemptedError.PREEMPTED)
        return StagePreemptedError(reason)
    if outcome.may_pass:
        return StageKilledError(f"{outcome.message.removeprefix(StageKilledError.PREFIX)}{where}", "", outcome.kind)
    return StageFailedError(f"{outcome.message}{where}", "", outcome.kind)


def sha256_of(parameters: TrainParameters, workspace: Workspace) -> str:
    """Hash of a training's parameters, seed and the indexes of its shards here, by which a job that does another one is known."""
    folders = [place_of(dataset, workspace.root) for dataset in parameters.data.datasets]
    indexes = [folder / INDEX for folder in folders if isinstance(folder, Path)]
    told = {
        "parameters": parameters.model_dump(mode="json"),
        "seed": load_seed(workspace.parameters),
        "shards": [file_sha256(path) for path in indexes if path.exists()],
    }
    return json_sha256(told)


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
