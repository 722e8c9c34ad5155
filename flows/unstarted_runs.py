"""Runs that a worker took and did not live to start: `Pending` for ever, unless somebody schedules them anew.

A worker that is killed between taking a run and starting its process leaves it so. The worker of the same pool that is started
next, or another one that works there, does this with each sign of life (`flows.worker`).
"""

import os
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkerFilter,
    WorkerFilterStatus,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.states import AwaitingRetry

PATIENCE = timedelta(seconds=300)
"""How long a run may take from being taken to running; its slot of its deployment's limit comes free after as long."""
FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""The variable by which processes know their flow run."""
_WORKER = "prefect.worker.name"
_MOST = 200


async def schedule_unstarted(client: PrefectClient, pool: str, patience: timedelta = PATIENCE) -> list[UUID]:
    """Schedule anew what nobody is about to start: taken long ago, by a worker without signs of life, and without a process here.

    Should one start it on another machine after all, the later of the two waits for the workspace and finds everything fresh.

    Args:
        client: of the server.
        pool: a work pool of type process.
        patience: how long ago.

    Returns:
        The runs.
    """
    due = datetime.now(UTC) - patience
    old = [run for run in await _pending(client, pool) if run.state and run.state.timestamp < due]
    if not old:
        return []
    alive, here = await _alive(client, pool), _started_here()
    lost = [run for run in old if run.labels.get(_WORKER) not in alive and run.id not in here]
    return [run.id for run in lost if await _scheduled(client, run)]


async def _scheduled(client: PrefectClient, run: FlowRun) -> bool:
    """Schedule a run anew, unless it is no longer as it was seen: another worker did so, or it runs."""
    state = (await client.read_flow_run(run.id)).state
    if state is None or run.state is None or state.id != run.state.id:
        return False
    await client.set_flow_run_state(run.id, AwaitingRetry(message="Its worker ended before it was started."))
    return True


async def _pending(client: PrefectClient, pool: str) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING]))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        limit=_MOST,
    )


async def _alive(client: PrefectClient, pool: str) -> Collection[object]:
    """Names of the workers that gave a sign of life lately."""
    online = WorkerFilter(status=WorkerFilterStatus(any_=[WorkerStatus.ONLINE]))
    return {worker.name for worker in await client.read_workers_for_work_pool(pool, online, offset=0, limit=_MOST)}


def _started_here() -> Collection[UUID]:
    """The runs that have a process on this machine, which may be about to tell of itself."""
    found = set()
    for process in psutil.process_iter():
        try:
            run = process.environ().get(FLOW_RUN)
        except psutil.Error:
            continue
        if run and process.pid != os.getpid():
            found.add(UUID(run))
    return found
