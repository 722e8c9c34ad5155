"""MLflow's server comes late, is killed and comes back: every figure is there exactly once, and training waited for nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from stage.workspace import Workspace
from training.tracking.journal import Journal
from training.tracking.mlflow_run import MlflowRun
from training.tracking.parameters import TrackingParameters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PATIENCE = 300.0
Server = Callable[[], "subprocess.Popen[bytes]"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def start(tmp_path: Path, address: str) -> Iterator[Server]:
    """Starts MLflow's own server over one database, and waits for it; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def server() -> "subprocess.Popen[bytes]":
        stores = ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
        artifacts = ["--artifacts-destination", (tmp_path / "artifacts").as_uri()]
        port = address.rpartition(":")[2]
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1", *stores, *artifacts],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": ""},
            start_new_session=True,
        )
        started.append(process)
        wait_until(lambda: answers(address))
        return process

    yield server
    for process in started:
        kill(process)


def kill(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_nothing_is_lost_when_the_server_comes_late_and_is_killed(
    tmp_path: Path, address: str, start: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    picture = tmp_path / "grid.png"
    Image.new("RGB", (8, 8)).save(picture)
    folder = tmp_path / "journal"
    parameters = TrackingParameters(system_metrics_seconds=None, patience_seconds=120)
    run = MlflowRun(Workspace(tmp_path), "train", folder, parameters)
    run.parameters({"seed": 1})
    run.continue_after(0)
    note(run, range(1, 101))
    first = start()
    note(run, range(101, 201))
    wait_until(lambda: sent(folder))
    kill(first)
    note(run, range(201, 301))
    run.image("samples_val", picture, 300)
    start()
    note(run, range(301, 401))
    run.tag("viewforge.model_sha256", "ff")
    run.finish()
    check(MlflowClient(address))


def note(run: MlflowRun, steps: range) -> None:
    started = time.monotonic()
    for step in steps:
        run.metrics({"loss": step / 10, "gradient_norm": 1.0}, step)
    assert time.monotonic() - started < 2


def sent(folder: Path) -> bool:
    """Whether the server has everything that is noted so far."""
    journal = Journal(folder)
    complete = journal.complete
    journal.close()
    return complete


def check(client: MlflowClient) -> None:
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    for key in ("loss", "gradient_norm"):
        history = client.get_metric_history(run.info.run_id, key)
        assert [metric.step for metric in sorted(history, key=lambda m: m.step)] == list(range(1, 401))
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "1"}
    assert run.data.tags["viewforge.model_sha256"] == "ff"
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert len([path for path in pictures if path.endswith(".png")]) == 1
