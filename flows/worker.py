"""A process worker that ends gracefully: asked to stop by SIGTERM, it lets its runs write their checkpoints first.

    python -m flows.worker --pool gpu [--limit 1] [--with-healthcheck] [--grace-seconds 60]

Prefect's own worker of type process kills its runs at once. This one takes no more runs then, hands SIGTERM on to those that it
has, waits for them, and schedules them anew, so that they go on where they were when a worker is there again. A run that is
cancelled gets the same time, and what a killed worker of its pool had taken and not started it schedules anew.
"""

import argparse
import asyncio
import os
import signal
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry
from prefect.workers.process import ProcessWorker

from flows import patient_processes
from flows.unstarted_runs import FLOW_RUN, schedule_unstarted

_GRACE_SECONDS = 60.0
_TICK_SECONDS = 0.2
_SERVER_SECONDS = 10.0
_SETTLING_SECONDS = 3.0
_UNTOLD = {StateType.PENDING, StateType.RUNNING}


class GracefulWorker(ProcessWorker):
    """Prefect's process worker that can be told to take no more runs."""

    type = "process"
    leaving = False
    """Whether it takes no more runs."""

    @property
    def submits(self) -> bool:
        """Whether it is about to start the process of a run."""
        return bool(self._submitting_flow_run_ids)

    @classmethod
    def __dispatch_key__(cls) -> str:
        """A name of its own in Prefect's list of workers, where its type stands for Prefect's."""
        return "viewforge-process"

    async def get_and_submit_flow_runs(self) -> list[Any]:
        """Submit the runs that are due, unless leaving."""
        try:
            return [] if self.leaving else await super().get_and_submit_flow_runs()
        except httpx.HTTPError as error:
            _bear(error)
            return []

    async def sync_with_backend(self) -> None:
        """Give a sign of life, at the start and twice a minute, and have runs started that a killed worker had taken."""
        try:
            await super().sync_with_backend()
            for run in [] if self.leaving else await schedule_unstarted(self.client, self._work_pool_name):
                print(f"worker: flow run {run} is scheduled anew: its worker did not live to start it", flush=True)
        except httpx.HTTPError as error:
            _bear(error)


def _bear(error: httpx.HTTPError) -> None:
    """Say that the server is away: after twenty minutes of it Prefect's worker would end, and kill its runs.

    Raises:
        HTTPStatusError: when the server refuses, which does not pass by itself.
    """
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
        raise error
    print(f"worker: the server is away: {str(error) or type(error).__name__}", flush=True)


async def work(pool: str, limit: int | None, grace_seconds: float, *, with_healthcheck: bool = False) -> None:
    """Work until asked to stop by SIGTERM or SIGINT.

    Args:
        pool: name of the work pool.
        limit: how many runs at once; any number when None.
        grace_seconds: what runs get for ending, when the worker is stopped and when they are cancelled.
        with_healthcheck: whether it tells on PREFECT_WORKER_WEBSERVER_HOST and _PORT that it still asks for work.
    """
    patient_processes.give(grace_seconds)
    worker = GracefulWorker(work_pool_name=pool, limit=limit)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    working = asyncio.ensure_future(worker.start(with_healthcheck=with_healthcheck))
    asking = asyncio.ensure_future(asked.wait())
    await asyncio.wait({working, asking}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        worker.leaving = True
        await _leave(worker, grace_seconds)
        working.cancel()
        if not (await asyncio.wait({working}, timeout=_SERVER_SECONDS))[0]:
            # It tells a server that is away of its end, over and over; its runs have ended.
            os._exit(0)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def _leave(worker: GracefulWorker, grace_seconds: float) -> None:
    """End the runs of a worker, and schedule anew those that it ended."""
    clock, runs = asyncio.get_running_loop().time, dict[UUID, psutil.Process]()
    deadline = clock() + grace_seconds
    while True:
        # Again and again: one that was just being submitted appears after the worker was asked to stop.
        for run, process in _runs().items():
            if run not in runs:
                runs[run] = process
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
        left = [process for process in runs.values() if _still_runs(process)]
        if not (left or worker.submits) or clock() >= deadline:
            break
        await asyncio.sleep(_TICK_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    await asyncio.gather(*map(_told, runs))


async def _told(run: UUID) -> None:
    """Have the server schedule a run anew; where it does not answer, say so."""
    try:
        await asyncio.wait_for(_schedule_anew(run), _SERVER_SECONDS)
    except (TimeoutError, httpx.HTTPError) as error:
        reason = str(error) or "the server does not answer"
        print(f"worker: flow run {run} is not scheduled anew: {reason}", flush=True)


def _runs() -> dict[UUID, psutil.Process]:
    """The processes of flow runs that this process has started."""
    found = {}
    for process in psutil.Process(os.getpid()).children():
        try:
            run = process.environ().get(FLOW_RUN)
        except psutil.Error:
            continue
        if run:
            found[UUID(run)] = process
    return found


def _still_runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def _schedule_anew(run: UUID) -> None:
    """Have a run that ended by the signal started again, and no other one."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _SETTLING_SECONDS
    async with get_client() as client:
        # Its own word on its end or Prefect's may be on its way, and would come after this one.
        while (state := (await client.read_flow_run(run)).state) and state.type in _UNTOLD and clock() < deadline:
            await asyncio.sleep(_TICK_SECONDS)
        if state is None or state.type in {StateType.CRASHED, *_UNTOLD}:
            await client.set_flow_run_state(run, AwaitingRetry(message="Its worker was asked to stop."), force=True)


def main() -> None:
    """Work for the pool of the command line."""
    parser = argparse.ArgumentParser(description="A process worker that lets its runs end when it is asked to stop.")
    parser.add_argument("--pool", required=True, help="work pool")
    parser.add_argument("--limit", type=int, help="runs at once")
    parser.add_argument("--grace-seconds", type=float, default=_GRACE_SECONDS, help="what runs get for ending")
    parser.add_argument("--with-healthcheck", action="store_true", help="answer /health as Prefect's worker does")
    chosen = parser.parse_args()
    asyncio.run(work(chosen.pool, chosen.limit, chosen.grace_seconds, with_healthcheck=chosen.with_healthcheck))


if __name__ == "__main__":
    main()
