"""A crew: the supervised worker processes of one machine that serve one worker function.

Each worker has its own process group and one object at a time. The crew watches time and memory, kills the group on either,
charges exactly one object with a crash, and replaces workers that died or have done their share. Success is the worker's own
answer, never its exit code.
"""

import selectors
import signal
from types import TracebackType
from typing import Any

from stage.attempts import Attempt
from stage.errors import StageFailedError
from stage.executor import ExecutorParameters
from stage.failures import FailureClass, Outcome
from stage.temporary_folder import OwnedFolder
from stage.worker import Worker

_POLL_SECONDS = 0.2
# Importing Blender takes a second or two, minutes on a cold network file system.
_START_SECONDS = 300.0
# One may fall to a passing want of memory; what is broken fails every time.
_STARTS = 3


class Crew:
    """Workers of this machine, as a context manager that leaves none behind.

    Args:
        handler: the worker function, "module:function".
        parameters: limits of a worker.
    """

    def __init__(self, handler: str, parameters: ExecutorParameters) -> None:
        self.handler, self.parameters = handler, parameters
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._folder = OwnedFolder("viewforge-workers-")

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers and remove their temporary files."""
        for worker in self._workers:
            worker.stop()
        self._folder.remove()

    @property
    def busy(self) -> int:
        """Workers that have a job."""
        return sum(worker.attempt is not None for worker in self._workers)

    def grow_to(self, count: int) -> None:
        """Start workers until there are so many."""
        while len(self._workers) < count:
            self._workers.append(
                Worker.start(self.handler, self.parameters.threads_per_worker(), self._folder.subfolder())
            )

    def idle(self) -> list[Worker]:
        """Workers that wait for a job."""
        return [worker for worker in self._workers if worker.idle]

    def collect(self) -> list[tuple[Attempt, Outcome]]:
        """What became of attempts since the last call; waits a moment for the first.

        Raises:
            StageFailedError: when workers cannot start.
        """
        collected = [self._outcome(worker) for worker in self._ready()]
        self._workers = [worker for worker in self._workers if worker.alive]
        return [pair for pair in collected if pair]

    def _ready(self) -> list[Worker]:
        """Workers that have something to say, have died, or are past a limit."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            spoken = {id(key.data) for key, _ in selector.select(_POLL_SECONDS)}
        for worker in self._workers:
            worker.measure()
        return [worker for worker in self._workers if id(worker) in spoken or self._excess(worker)]

    def _excess(self, worker: Worker) -> FailureClass | None:
        if not worker.was_ready and worker.age > _START_SECONDS:
            raise StageFailedError(
                f"a worker for {self.handler} did not start within {_START_SECONDS:g} s: {worker.last_line()}",
                "see --verbose",
            )
        if not worker.attempt:
            return None
        if worker.seconds > self.parameters.timeout_seconds:
            return FailureClass.TIMEOUT
        if worker.peak_memory > self.parameters.memory_limit_gib * 2**30:
            return FailureClass.OUT_OF_MEMORY
        return None

    def _outcome(self, worker: Worker) -> tuple[Attempt, Outcome] | None:
        """What a ready worker brings; None when it had no job, or only reported ready."""
        answer = worker.read_answer()
        if worker.was_ready:
            self._failed_starts = 0
        if answer is None and (excess := self._excess(worker)):
            worker.stop()
            answer = {"failure": excess, "message": self._excess_message(excess)}
        elif answer is None and worker.ended:
            worker.stop()
            answer = self._death(worker)
        if answer is None or not worker.attempt:
            return None
        outcome = worker.outcome(answer)
        attempt = worker.release()
        if self._has_done_its_share(worker):
            worker.stop()
        return attempt, outcome

    def _has_done_its_share(self, worker: Worker) -> bool:
        limits = self.parameters
        return worker.jobs_done >= limits.recycle_after or worker.memory_growth > limits.recycle_growth_gib * 2**30

    def _excess_message(self, excess: FailureClass) -> str:
        if excess is FailureClass.TIMEOUT:
            return f"took longer than {self.parameters.timeout_seconds:g} s"
        return f"used more than {self.parameters.memory_limit_gib:g} GiB"

    def _death(self, worker: Worker) -> dict[str, Any] | None:
        """The answer in place of the one that a dead worker owes."""
        if not worker.was_ready:
            self._failed_starts += 1
            if self._failed_starts < _STARTS:
                return None
            raise StageFailedError(
                f"a worker for {self.handler} could not start, {_STARTS} times in a row: {worker.last_line()}",
                "see --verbose",
            )
        code = worker.process.returncode
        reason = signal.Signals(-code).name if code and code < 0 else f"exit status {code}"
        return {"failure": FailureClass.CRASH, "message": f"the worker died ({reason})"}
