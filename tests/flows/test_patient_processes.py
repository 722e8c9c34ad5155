"""A cancelled run has the time for its checkpoint that its worker was given, through Prefect's own cancellation."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import anyio
import pytest
from prefect.runner import _flow_run_executor
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle, ProcessManager, create_isolated_termination_scope

from flows import patient_processes

RUN = UUID(int=7)
PROGRAM = "import signal, time; signal.signal(signal.SIGTERM, {}); print(1, flush=True); time.sleep(60)"
SAVING = PROGRAM.format("lambda *_: (time.sleep(0.3), exit(3))")
DEAF = PROGRAM.format("signal.SIG_IGN")


@pytest.fixture(autouse=True)
def prefects_own() -> Iterator[None]:
    """Prefect as it was."""
    yield
    _flow_run_executor.ProcessManager = ProcessManager  # type: ignore[misc]


async def cancelled(program: str) -> tuple[int | None, float]:
    """How a process ends whose run is cancelled, and after how long."""
    processes = _flow_run_executor.ProcessManager()
    async with await anyio.open_process([sys.executable, "-c", program], start_new_session=True) as process:
        assert process.stdout is not None
        await process.stdout.receive()
        await processes.add(RUN, ProcessHandle(process, create_isolated_termination_scope(process.pid)))
        nothing: Any = AsyncMock()
        cancelling = CancellationManager(
            process_manager=processes,
            hook_runner=nothing,
            state_proposer=nothing,
            event_emitter=nothing,
            client=nothing,
        )
        nothing.get_flow_and_deployment.return_value = (None, None)
        started = time.monotonic()
        run: Any = SimpleNamespace(id=RUN, name="run")
        await cancelling.cancel(run)
        return await process.wait(), time.monotonic() - started


def test_a_run_ends_by_itself_within_the_workers_time() -> None:
    patient_processes.give(20)
    assert asyncio.run(cancelled(SAVING))[0] == 3


def test_a_run_that_does_not_end_is_killed_after_the_workers_time_and_not_after_prefects() -> None:
    patient_processes.give(0.4)
    status, seconds = asyncio.run(cancelled(DEAF))
    assert status == -signal.SIGKILL
    assert 0.4 <= seconds < 20


def test_prefect_takes_its_processes_from_where_ours_are_put() -> None:
    assert "ProcessManager" in FlowRunExecutorContext.__aenter__.__code__.co_names
    patient_processes.give(86400)
    assert FlowRunExecutorContext.__aenter__.__globals__["ProcessManager"] is patient_processes.PatientProcesses
    assert patient_processes.PatientProcesses.seconds == 600
