"""What people asked for, one after another on each device: waiting, running with its steps, cancelled, done.

pool = Pool(["cuda:0", "cuda:1"], most_waiting=8, most_seconds=600.0)
job = pool.submit(lambda worker, job: …)
job.cancel()

A pool has one thread for each device and one line of waiting jobs before all of them: who comes first is served first, by
whichever device is free. Work looks at `Job.check` wherever it can end; a cancelled job frees its device there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from stage.errors import InputError, ViewforgeError


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CancelledJobError(ViewforgeError):
    """Somebody cancelled the job that is running."""


class Job:
    """One request.

    Args:
        most_seconds: that it may take once it has begun.
    """

    def __init__(self, most_seconds: float) -> None:
        self.state = JobState.WAITING
        self.note = ""
        """What is being done, in words."""
        self.done, self.total = 0, 0
        """Steps; a total of 0 is not known."""
        self.result: Any = None
        self.error: Exception | None = None
        """Why it failed."""
        self._most_seconds = most_seconds
        self._begun = self._ended = 0.0
        self._cancelled = threading.Event()
        self._over = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self._over.is_set()

    @property
    def seconds(self) -> float:
        """For which it has run."""
        return (self._ended or time.monotonic()) - self._begun if self._begun else 0.0

    def cancel(self) -> None:
        """Ask it to end; it does so at its next `check`, or without having begun."""
        self._cancelled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it came."""
        return self._over.wait(seconds)

    def check(self) -> None:
        """End here if it is to end.

        Raises:
            CancelledJobError: when it has been cancelled.
            InputError: when it has taken too long.
        """
        if self._cancelled.is_set():
            raise CancelledJobError("cancelled")
        if self._begun and self.seconds > self._most_seconds:
            raise InputError(f"it took more than {self._most_seconds:.0f} s", "ask for fewer steps or views")

    def expect(self, total: int, note: str) -> None:
        """Say what comes, in so many steps."""
        self.done, self.total, self.note = 0, total, note
        self.check()

    def advance(self) -> None:
        """Count a step."""
        self.done += 1
        self.check()

    def _run(self, work: Callable[["Job"], Any]) -> None:
        self._begun, self.state = time.monotonic(), JobState.RUNNING
        try:
            self.check()
            self.result = work(self)
            self._end(JobState.DONE)
        except CancelledJobError:
            self._end(JobState.CANCELLED)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next visitor's job has to run
            self.error = error
            self._end(JobState.FAILED)

    def _end(self, state: JobState) -> None:
        self._ended, self.state = time.monotonic(), state
        self._over.set()


Work: TypeAlias = Callable[[str, Job], Any]
"""What is done for a job, on the device of a name."""


class Pool:
    """Devices that serve jobs.

    Args:
        devices: their names.
        most_waiting: jobs that may wait.
        most_seconds: that a job may take.
    """

    def __init__(self, devices: Sequence[str], most_waiting: int, most_seconds: float) -> None:
        self._most_waiting, self._most_seconds = most_waiting, most_seconds
        self._line: deque[tuple[Job, Work]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running: set[Job] = set()
        self._threads = [
            threading.Thread(target=self._serve, args=(device,), name=f"demo-{device}", daemon=True)
            for device in devices
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> Job:
        """Have something done; at once where a device is free.

        Raises:
            InputError: when too many wait already.
        """
        job = Job(self._most_seconds)
        with self._changed:
            self._forget_cancelled()
            free = len(self._threads) - len(self._running)
            if self._closed or len(self._line) - max(free, 0) >= self._most_waiting:
                raise InputError(f"{len(self._line)} requests wait already", "try again in a few minutes")
            self._line.append((job, work))
            self._changed.notify()
        return job

    def before(self, job: Job) -> int:
        """How many jobs come before one that waits, those that run among them."""
        with self._changed:
            self._forget_cancelled()
            waiting = [each for each, _ in self._line]
            return waiting.index(job) + len(self._running) if job in waiting else 0

    def close(self) -> None:
        """Cancel everything, and wait a little for what runs."""
        with self._changed:
            self._closed = True
            for job in [*self._running, *(job for job, _ in self._line)]:
                job.cancel()
            self._forget_cancelled()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(5.0)

    def _forget_cancelled(self) -> None:
        """Those that wait and have been cancelled are over without a device."""
        kept: deque[tuple[Job, Work]] = deque()
        for job, work in self._line:
            if job._cancelled.is_set():
                job._end(JobState.CANCELLED)
            else:
                kept.append((job, work))
        self._line = kept

    def _serve(self, device: str) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._closed)
                self._forget_cancelled()
                if self._closed:
                    return
                if not self._line:
                    continue
                job, work = self._line.popleft()
                self._running.add(job)
            try:
                job._run(lambda job, work=work: work(device, job))  # type: ignore[misc]
            finally:
                with self._changed:
                    self._running.discard(job)
