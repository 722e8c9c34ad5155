"""The executor of a Ray cluster: actors that each supervise one worker process as a machine of one's own does.

Ray places the actors and tells when one is lost with its node; what a worker may take, how a crash is charged and which failure
is tried again is decided by the same code as on one machine. The object that a lost actor had is given to another, uncharged, so
work may be done twice; its outcome is reported once. Every node needs viewforge, and the workspace under the same path.
"""

import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

# Read when Ray is imported: nothing is sent to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayError, RayTaskError

from stage.attempts import Attempt, AttemptQueue
from stage.crew import Crew
from stage.errors import InputError, StageFailedError, ViewforgeError
from stage.executor import ExecutorParameters, Job
from stage.failures import Outcome

_POLL_SECONDS = 0.5
_START_SECONDS = 300.0
_KNOCK_SECONDS = 10.0
_CLEARING_SECONDS = 5.0
# Jobs and outcomes are small; pictures never pass through Ray. The least that it accepts.
_OBJECT_STORE_BYTES = 80 << 20


class Supervisor:
    """One supervised worker process on whatever node Ray chose."""

    def start(self, handler: str, parameters: ExecutorParameters, folder: str) -> None:
        """Get ready to work.

        Args:
            handler: the worker function, "module:function".
            parameters: limits of the worker.
            folder: where relative paths in jobs start.

        Raises:
            InputError: when this node has no such folder.
        """
        if not Path(folder).is_dir():
            node = ray.util.get_node_ip_address()
            raise InputError(f"node {node} has no folder {folder}", "put the workspace in the same place on all nodes")
        os.chdir(folder)
        self._crew = Crew(handler, parameters)

    def work(self, attempt: Attempt) -> Outcome:
        """Make one attempt.

        Raises:
            StageFailedError: when workers cannot start.
        """
        crew = self._crew
        while not crew.busy:
            crew.grow_to(1)
            if not any(worker.assign(attempt) for worker in crew.idle()):
                crew.collect()
        while not (made := crew.collect()):
            pass
        return made[0][1]

    def clear_up(self) -> None:
        """End the worker and remove its temporary files."""
        self._crew.close()


class Seat:
    """A supervisor as the executor sees it.

    Args:
        handler: the worker function, "module:function".
        parameters: what Ray is to reserve, and limits of the worker.
    """

    def __init__(self, handler: str, parameters: ExecutorParameters) -> None:
        self._supervisor = _supervisor(parameters)
        self.asked = self._supervisor.start.remote(handler, parameters, str(Path.cwd()))
        """What has not been answered yet; None when it waits for an attempt."""
        self.attempt: Attempt | None = None

    def give(self, attempt: Attempt) -> None:
        """Have an attempt made."""
        self.attempt = attempt
        written_out = replace(attempt, job=Job(attempt.job.uid, attempt.job.message()))
        self.asked = self._supervisor.work.remote(written_out)

    def take_answer(self) -> Outcome | None:
        """The outcome of the attempt, None from one who only says that it has started.

        Raises:
            ViewforgeError: when workers cannot start there.
            RayError: when the supervisor is lost.
        """
        asked, self.asked = self.asked, None
        try:
            return ray.get(asked)
        except RayTaskError as error:
            if isinstance(error.cause, ViewforgeError):
                raise error.cause from None
            raise

    def dismiss(self) -> None:
        """Have the supervisor clear up, if it has nothing to do."""
        if self.asked is None:
            self.asked = self._supervisor.clear_up.remote()

    def stop(self) -> None:
        """End the supervisor and, with it, its worker."""
        ray.kill(self._supervisor)


def _supervisor(parameters: ExecutorParameters) -> Any:  # noqa: ANN401 - Ray makes the methods of its handles as it goes
    reserved = {"num_cpus": parameters.threads_per_worker(), "num_gpus": parameters.gpus}
    return ray.remote(Supervisor).options(**reserved, scheduling_strategy="SPREAD").remote()


class RayExecutor:
    """Supervised worker processes on the nodes of a Ray cluster.

    Args:
        parameters: which cluster, counts and limits.
    """

    def __init__(self, parameters: ExecutorParameters) -> None:
        self.parameters = parameters

    def run(self, handler: str, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield one outcome a job.

        Raises:
            InputError: when there is no such cluster, or it lacks the workspace.
            StageFailedError: when workers cannot start, or the disk is full.
        """
        queue = AttemptQueue(jobs, self.parameters)
        if not queue:
            return
        seats: list[Seat] = []
        with _connected(self.parameters.address):
            try:
                yield from self._run(handler, queue, seats)
            finally:
                _end(seats)

    def _run(self, handler: str, queue: AttemptQueue, seats: list[Seat]) -> Iterator[Outcome]:
        last_sign = time.monotonic()
        while queue or any(seat.attempt for seat in seats):
            wanted = sum(bool(seat.attempt) for seat in seats) + queue.waiting(self._limit())
            seats.extend(Seat(handler, self.parameters) for _ in range(len(seats), min(wanted, self._limit())))
            _feed(seats, queue)
            for seat in _answered(seats):
                last_sign = time.monotonic()
                if settled := _settle(seat, seats, queue):
                    yield settled
            if (
                all(seat.asked and not seat.attempt for seat in seats)
                and time.monotonic() - last_sign > _START_SECONDS
            ):
                raise StageFailedError(
                    f"no node of the cluster took a worker for {handler} within {_START_SECONDS:g} s",
                    "see `ray status`",
                )

    def _limit(self) -> int:
        """As many workers as were asked for, or as the cluster has cores for now: nodes come and go."""
        cores = int(ray.cluster_resources().get("CPU", 0))
        return self.parameters.workers or max(1, cores // self.parameters.threads_per_worker())


def _feed(seats: list[Seat], queue: AttemptQueue) -> None:
    for seat in seats:
        if seat.asked is None and (attempt := queue.take()):
            seat.give(attempt)


def _answered(seats: list[Seat]) -> list[Seat]:
    """Who has answered or is lost; waits a moment for the first."""
    asked = [seat.asked for seat in seats if seat.asked]
    if not asked:
        time.sleep(_POLL_SECONDS)
        return []
    ray.wait(asked, timeout=_POLL_SECONDS)
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=0)
    return [seat for seat in seats if seat.asked in answered]


def _settle(seat: Seat, seats: list[Seat], queue: AttemptQueue) -> Outcome | None:
    """What an answer settles: None when nothing was asked, or the attempt is made again."""
    attempt, seat.attempt = seat.attempt, None
    try:
        outcome = seat.take_answer()
    except RayTaskError:
        raise
    except RayError:
        seats.remove(seat)
        # One that cannot be reached at the moment would go on beside its successor.
        seat.stop()
        return queue.lost(attempt) if attempt else None
    return queue.settle(attempt, outcome) if attempt and outcome else None


def _end(seats: list[Seat]) -> None:
    """End all supervisors; those that have nothing to do clear up before, the others' leavings go with the next run there."""
    for seat in seats:
        seat.dismiss()
    deadline = time.monotonic() + _CLEARING_SECONDS
    while any(seat.asked and not seat.attempt for seat in seats) and time.monotonic() < deadline:
        for seat in _answered([seat for seat in seats if not seat.attempt]):
            seat.asked = None
    for seat in seats:
        seat.stop()


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster, or to one that is started here and ends with it; one that there is already is used."""
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    here: dict[str, Any] = {
        "num_cpus": len(os.sched_getaffinity(0)),
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        if address:
            _knock(address)
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else here))
    except (OSError, RuntimeError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise InputError(
            f"no Ray cluster at {address or 'this machine'}: {cause}", "start it or mend executor.address"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
