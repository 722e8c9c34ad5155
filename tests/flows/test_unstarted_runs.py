"""Runs that a killed worker left pending are scheduled anew, and only those. On Prefect's API in this process, without a port."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.server.api.server import create_app
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.states import Pending, Running

from flows.unstarted_runs import FLOW_RUN, schedule_unstarted

POOL, AT_ONCE = "cpu", timedelta(seconds=-1)
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# Name of the run: its worker, if it was told, and whether it runs.
RUNS = {
    "of a killed worker": ("killed", False),
    "of nobody": (None, False),
    "of a worker that lives": ("living", False),
    "that has a process here": ("killed", False),
    "that runs": ("killed", True),
}


@flow
def nothing() -> None:
    """A flow."""


async def taken(client: PrefectClient) -> dict[str, UUID]:
    """A pool with a worker that lives, and runs that were taken from it."""
    await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    await client.send_worker_heartbeat(POOL, "living", heartbeat_interval_seconds=30)
    made = {}
    for name, (worker, runs) in RUNS.items():
        run = await client.create_flow_run(nothing, name=name, state=Pending(), work_pool_name=POOL)
        if worker:
            await client.update_flow_run_labels(run.id, {"prefect.worker.name": worker})
        if runs:
            await client.set_flow_run_state(run.id, Running())
        made[name] = run.id
    return made


async def scheduled_anew() -> tuple[set[str], set[str], dict[str, str]]:
    """Names of the runs that were, before their time and after it, and the states of all."""
    async with PrefectClient(create_app(ephemeral=True)) as client:
        runs = await taken(client)
        process = subprocess.Popen(SLEEP, env={**os.environ, FLOW_RUN: str(runs["that has a process here"])})
        try:
            found = [await schedule_unstarted(client, POOL), await schedule_unstarted(client, POOL, AT_ONCE)]
        finally:
            process.kill()
            process.wait()
        states = {name: (await client.read_flow_run(run)).state for name, run in runs.items()}
    early, late = ({name for name, run in runs.items() if run in each} for each in found)
    return early, late, {name: state.name for name, state in states.items() if state}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_killed_worker_did_not_start_is_scheduled_anew_and_nothing_else(tmp_path: Path) -> None:
    own = {PREFECT_HOME: tmp_path, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(own, restore_defaults={PREFECT_API_URL}):
        early, late, states = asyncio.run(scheduled_anew())
    assert (tmp_path / "prefect.db").is_file()
    assert early == set()
    assert late == {"of a killed worker", "of nobody"}
    assert {name for name, state in states.items() if state == "AwaitingRetry"} == late
    assert states["that runs"] == "Running"
