"""A worker ends when it is asked to, also where its server is away and nobody can be told."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest
from prefect.client.schemas.objects import StateType
from prefect.utilities.services import critical_service_loop
from prefect_server import PROJECT

from flows import worker
from flows.flow_parameters import FlowParameters
from services.patience import GRACE_SECONDS
from training.parameters import LaunchParameters

RUN = UUID(int=7)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_whose_server_is_away_ends_all_the_same(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.worker", "--pool", "cpu"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        # It is up, and says that it cannot reach the server.
        assert any("start" in line or "API" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_training_has_time_for_its_checkpoint_in_its_flow_and_the_flow_in_its_worker() -> None:
    training, stage = LaunchParameters().grace_seconds, FlowParameters().grace_seconds
    assert training + 10 <= stage <= min(worker._GRACE_SECONDS, GRACE_SECONDS) - 10


class Leaving(worker.GracefulWorker):
    """A worker that was just submitting a run when it was asked to stop."""

    def __init__(self) -> None:
        self._submitting_flow_run_ids = {RUN}
        self.started: subprocess.Popen[bytes] | None = None

    async def submit(self) -> None:
        """Start the run."""
        await asyncio.sleep(0.5)
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        self.started = subprocess.Popen(command, env={**os.environ, "PREFECT__FLOW_RUN_ID": str(RUN)})
        self._submitting_flow_run_ids.clear()


@pytest.mark.parametrize("ends_itself", [False, True])
def test_a_run_that_is_just_being_submitted_is_ended_and_scheduled_anew(
    monkeypatch: pytest.MonkeyPatch, ends_itself: bool
) -> None:
    anew: list[UUID] = []

    async def schedule(run: UUID) -> None:
        anew.append(run)

    async def leave() -> subprocess.Popen[bytes]:
        leaving = Leaving()
        submitting = asyncio.ensure_future(leaving.submit())
        await worker._leave(leaving, 20)
        await submitting
        assert leaving.started is not None
        return leaving.started

    monkeypatch.setattr(worker, "_schedule_anew", schedule)
    if ends_itself:
        # It may have ended, and its worker may have asked how, between two looks.
        monkeypatch.setattr(psutil.Process, "terminate", vanished)
        monkeypatch.setattr(worker, "_still_runs", lambda _: False)
    started = asyncio.run(leave())
    try:
        assert anew == [RUN]
        assert ends_itself or started.wait(5) == -signal.SIGTERM
    finally:
        started.kill()
        started.wait()


def vanished(process: psutil.Process) -> None:
    raise psutil.NoSuchProcess(process.pid)


@pytest.mark.parametrize(
    ("states", "anew"),
    [
        (["RUNNING", "CRASHED"], True),
        (["PENDING"], True),
        (["RUNNING"], True),
        (["RUNNING", "COMPLETED"], False),
        (["CANCELLED"], False),
    ],
)
def test_the_last_word_on_a_run_that_was_stopped_is_the_workers(
    monkeypatch: pytest.MonkeyPatch, states: list[str], anew: bool
) -> None:
    """What the run or Prefect's worker says of its end is awaited, as it would come after and stay."""
    remaining, told = list(states), []

    class Client:
        async def read_flow_run(self, _: UUID) -> SimpleNamespace:
            kind = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            return SimpleNamespace(state=SimpleNamespace(type=StateType[kind]))

        async def set_flow_run_state(self, run: UUID, state: Any, *, force: bool) -> None:
            told.append((run, state.name, force))

    @asynccontextmanager
    async def client() -> AsyncIterator[Client]:
        yield Client()

    monkeypatch.setattr(worker, "get_client", client)
    monkeypatch.setattr(worker, "_SETTLING_SECONDS", 0.5)
    asyncio.run(worker._schedule_anew(RUN))
    assert told == ([(RUN, "AwaitingRetry", True)] if anew else [])
    assert len(remaining) == 1


@pytest.mark.parametrize("leaving", [False, True])
def test_a_sign_of_life_looks_for_runs_of_killed_workers_and_bears_a_server_that_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leaving: bool
) -> None:
    looked: list[str] = []

    async def nothing(_: object) -> None:
        pass

    async def schedule(_: object, pool: str) -> list[UUID]:
        looked.append(pool)
        if len(looked) == 2:
            raise httpx.ConnectError("All connection attempts failed")
        return [RUN]

    monkeypatch.setattr(worker.ProcessWorker, "sync_with_backend", nothing)
    monkeypatch.setattr(worker, "schedule_unstarted", schedule)
    made: Any = worker.GracefulWorker(work_pool_name="cpu")
    made._client, made.leaving = object(), leaving
    for _ in range(2):
        asyncio.run(made.sync_with_backend())
    said = capsys.readouterr().out
    assert looked == ([] if leaving else ["cpu", "cpu"])
    assert ("scheduled anew" in said, "All connection attempts failed" in said) == (not leaving, not leaving)


@pytest.mark.parametrize(("status", "ends"), [(None, False), (503, False), (401, True)])
@pytest.mark.parametrize("loop", ["get_and_submit_flow_runs", "sync_with_backend"])
def test_a_worker_bears_a_server_that_is_away_for_as_long_as_it_is_and_no_refusal(
    monkeypatch: pytest.MonkeyPatch, loop: str, status: int | None, ends: bool
) -> None:
    """Prefect's loops end the worker, and with it its runs, after twelve errors."""
    asked: list[int] = []

    async def fail(_: object) -> None:
        asked.append(1)
        if status is None:
            raise httpx.ConnectError("All connection attempts failed")
        request = httpx.Request("POST", "http://127.0.0.1:9/api")
        httpx.Response(status, request=request).raise_for_status()

    async def work(made: worker.GracefulWorker) -> None:
        until = asyncio.wait_for(critical_service_loop(getattr(made, loop), 0.001, backoff=1, printer=str), 0.5)
        with pytest.raises(httpx.HTTPStatusError if ends else TimeoutError):
            await until

    monkeypatch.setattr(worker.ProcessWorker, loop, fail)
    asyncio.run(work(worker.GracefulWorker(work_pool_name="cpu")))
    assert (len(asked) == 1) == ends
