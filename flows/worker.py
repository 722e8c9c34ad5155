"""A process worker that ends gracefully: asked to stop by SIGTERM, it lets its runs write their checkpoints first.

    python -m flows.worker --pool gpu [--limit 1] [--with-healthcheck] [--grace-seconds 60]

Prefect's own worker of type process kills its runs at once. This one takes no more runs then, hands SIGTERM on to those that it
has, waits for them, and schedules them anew, so that they go on where they were when a worker is there again.
"""

import argparse
import asyncio
import os
import signal
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry
from prefect.workers.process import ProcessWorker

_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
_GRACE_SECONDS = 60.0
_TICK_SECONDS = 0.2


class GracefulWorker(ProcessWorker):
    """Prefect's process worker that can be told to take no more runs."""

    type = "process"
    leaving = False
    """Whether it takes no more runs."""

    async def get_and_submit_flow_runs(self) -> list[Any]:
        """Submit the runs that are due, unless leaving."""
        return [] if self.leaving else await super().get_and_submit_flow_runs()


async def work(pool: str, limit: int | None, grace_seconds: float, *, with_healthcheck: bool = False) -> None:
    """Work until asked to stop by SIGTERM or SIGINT.

    Args:
        pool: name of the work pool.
        limit: how many runs at once; any number when None.
        grace_seconds: what runs get for ending.
        with_healthcheck: whether it tells on PREFECT_WORKER_WEBSERVER_HOST and _PORT that it still asks for work.
    """
    worker = GracefulWorker(work_pool_name=pool, limit=limit)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    working = asyncio.ensure_future(worker.start(with_healthcheck=with_healthcheck))
    asking = asyncio.ensure_future(asked.wait())
    await asyncio.wait({working, asking}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        worker.leaving = True
        await _leave(grace_seconds)
        working.cancel()
    asking.cancel()
    await asyncio.gather(working, asking, return_exceptions=True)


async def _leave(grace_seconds: float) -> None:
    """End the runs of this worker, and schedule anew those that it ended."""
    runs = _runs()
    for process in runs.values():
        process.terminate()
    deadline = asyncio.get_running_loop().time() + grace_seconds
    while any(_runs_still(process) for process in runs.values()) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_TICK_SECONDS)
    for run in runs:
        await _schedule_anew(run)


def _runs() -> dict[UUID, psutil.Process]:
    """The processes of flow runs that this process has started."""
    found = {}
    for process in psutil.Process(os.getpid()).children():
        try:
            run = process.environ().get(_FLOW_RUN)
        except psutil.Error:
            continue
        if run:
            found[UUID(run)] = process
    return found


def _runs_still(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def _schedule_anew(run: UUID) -> None:
    """Have a run that ended by the signal started again, and no other one."""
    async with get_client() as client:
        state = (await client.read_flow_run(run)).state
        if state is None or state.type in {StateType.CRASHED, StateType.RUNNING}:
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
