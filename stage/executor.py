"""Fan-out over objects: supervised worker processes behind one small interface.

A stage hands over jobs and the name of a worker function and receives one `Outcome` an object, in order of completion.
`LocalExecutor` runs each worker in its own process group, watches time and memory, kills the group on either, charges exactly one
object with a crash, and retries transient failures. Success is the worker's own answer, never its exit code.
"""

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import Field

from stage.errors import StageFailedError
from stage.failures import FailureClass, Outcome
from stage.pace import Cost
from stage.parameters import Parameters
from stage.worker import Worker

_POLL_SECONDS = 0.2
# Importing Blender takes a second or two, minutes on a cold network file system.
_START_SECONDS = 300.0


class ExecutorParameters(Parameters):
    """How a stage's worker processes are run."""

    workers: int = Field(default=0, ge=0)
    """Worker processes; 0 takes one per CPU core."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """Wall-clock limit of one object; the worker's process group is killed past it."""
    memory_limit_gib: float = Field(default=8.0, gt=0)
    """Resident memory limit of one worker with its children."""
    recycle_after: int = Field(default=100, ge=1)
    """Objects after which a worker process is replaced, since Blender's memory creeps."""
    attempts: int = Field(default=2, ge=1)
    """Attempts at an object whose failure may pass (crash, timeout, out of memory)."""
    retry_delay_seconds: float = Field(default=1.0, ge=0)
    """Least wait before an object's second attempt; it doubles with each further one."""
    price_per_core_hour: float | None = Field(default=None, ge=0)
    """Price of a CPU core for an hour; with it progress tells the cost of 1,000 objects, without it their core-seconds."""

    def worker_count(self) -> int:
        """The number of worker processes on this machine."""
        return self.workers or len(os.sched_getaffinity(0))

    def threads_per_worker(self) -> int:
        """Threads that each worker may use so that all together fill the cores."""
        return max(1, len(os.sched_getaffinity(0)) // self.worker_count())

    def cost(self) -> Cost:
        """What the workers take up while they run."""
        return Cost(self.worker_count() * self.threads_per_worker(), self.price_per_core_hour)


# What a worker function receives, as JSON; or what makes it, called when it is the job's turn.
Payload = dict[str, Any] | Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One object's work: its uid and what the worker function receives."""

    uid: str
    payload: Payload

    def message(self) -> dict[str, Any]:
        """The payload, made now if it is made on demand."""
        return self.payload() if callable(self.payload) else self.payload


@dataclass(frozen=True)
class Attempt:
    """A job to be tried for the n-th time, not before `due` on the monotonic clock."""

    job: Job
    number: int = 1
    due: float = 0.0

    def next(self, delay: float) -> "Attempt":
        """The following attempt, after a delay that doubles each time."""
        return Attempt(self.job, self.number + 1, time.monotonic() + delay * 2.0 ** (self.number - 1))


class Executor(Protocol):
    """Runs jobs somewhere and reports each object exactly once."""

    def run(self, handler: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield one outcome a job, in order of completion; `handler` is "module:function"."""
        ...


class LocalExecutor:
    """Supervised worker processes on this machine.

    Args:
        parameters: counts and limits.
    """

    def __init__(self, parameters: ExecutorParameters) -> None:
        self.parameters = parameters

    def run(self, handler: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield one outcome a job.

        Raises:
            StageFailedError: when workers cannot start, or the disk is full.
        """
        pending = deque(Attempt(job) for job in jobs)
        workers: list[Worker] = []
        try:
            while pending or any(worker.job for worker in workers):
                self._feed(handler, workers, pending)
                for worker in self._ready(workers):
                    outcome = self._collect(worker, pending)
                    if outcome:
                        yield outcome
                workers = [worker for worker in workers if worker.alive]
        finally:
            for worker in workers:
                worker.stop()

    def _feed(self, handler: str, workers: list[Worker], pending: deque[Attempt]) -> None:
        """Give every idle worker a job, starting workers up to the limit."""
        wanted = min(self.parameters.worker_count(), len(pending) + sum(bool(w.job) for w in workers))
        while len(workers) < wanted:
            workers.append(Worker.start(handler, self.parameters.threads_per_worker()))
        for worker in workers:
            attempt = _first_due(pending) if worker.idle else None
            if attempt and worker.assign(attempt.job, attempt.number):
                pending.remove(attempt)

    def _ready(self, workers: list[Worker]) -> list[Worker]:
        """Workers that have something to say, have died, or are past a limit; waits a moment for the first."""
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            spoken = {id(key.data) for key, _ in selector.select(_POLL_SECONDS)}
        for worker in workers:
            worker.measure()
        return [w for w in workers if id(w) in spoken or self._excess(w)]

    def _excess(self, worker: Worker) -> FailureClass | None:
        if not worker.was_ready and worker.age > _START_SECONDS:
            raise StageFailedError(
                f"a worker for {worker.handler} did not start within {_START_SECONDS:g} s: {worker.last_line()}",
                "see --verbose",
            )
        if not worker.job:
            return None
        if worker.seconds > self.parameters.timeout_seconds:
            return FailureClass.TIMEOUT
        if worker.peak_memory > self.parameters.memory_limit_gib * 2**30:
            return FailureClass.OUT_OF_MEMORY
        return None

    def _collect(self, worker: Worker, pending: deque[Attempt]) -> Outcome | None:
        """The outcome that a ready worker brings; None when it only reported ready or its object is tried again."""
        answer = worker.read_answer()
        if answer is None and (excess := self._excess(worker)):
            worker.stop()
            answer = {"failure": excess, "message": self._excess_message(excess)}
        elif answer is None and worker.ended:
            worker.stop()
            answer = self._death(worker)
        if answer is None or not worker.job:
            return None
        outcome = worker.outcome(answer)
        if outcome.failure is FailureClass.DISK:
            raise StageFailedError(
                f"no space left on the disk while working on {outcome.uid} ({outcome.message})",
                "free some space and run again: finished objects are kept",
            )
        return self._settle(worker, outcome, pending)

    def _settle(self, worker: Worker, outcome: Outcome, pending: deque[Attempt]) -> Outcome | None:
        """Retry a transient failure, or hand the outcome out; a worker that has done its share is replaced."""
        job, number = worker.release()
        if worker.jobs_done >= self.parameters.recycle_after:
            worker.stop()
        if outcome.failure and outcome.failure.transient and number < self.parameters.attempts:
            pending.append(Attempt(job, number).next(self.parameters.retry_delay_seconds))
            return None
        return outcome

    def _excess_message(self, excess: FailureClass) -> str:
        if excess is FailureClass.TIMEOUT:
            return f"took longer than {self.parameters.timeout_seconds:g} s"
        return f"used more than {self.parameters.memory_limit_gib:g} GiB"

    def _death(self, worker: Worker) -> dict[str, Any]:
        if not worker.was_ready:
            raise StageFailedError(
                f"a worker for {worker.handler} could not start: {worker.last_line()}", "see --verbose"
            )
        code = worker.process.returncode
        reason = signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
        return {"failure": FailureClass.CRASH, "message": f"the worker died ({reason})"}


def _first_due(pending: deque[Attempt]) -> Attempt | None:
    """The first attempt whose time has come; fresh ones stand before those that are tried again."""
    now = time.monotonic()
    return next((attempt for attempt in pending if attempt.due <= now), None)
