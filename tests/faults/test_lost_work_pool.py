"""A work pool is deleted on the server: `viewforge deploy` brings it back, with the deployments' hold on it; a worker works."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_server import PROJECT, eventually, prefect_server, request
from versioned_workspace import versioned_workspace

from flows.recent_runs import Runs, server_runs
from stage.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(1)]
POOL = "cpu"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    with prefect_server(tmp_path / "prefect") as environment:
        yield environment


def deploy(server: dict[str, str], place: Workspace) -> None:
    command = [sys.executable, "-m", "cli.main", "deploy", "-w", str(place.root)]
    result = subprocess.run(command, cwd=PROJECT, env=server, capture_output=True, text=True, check=False, timeout=400)
    assert result.returncode == 0, result.stderr


def verification(server: dict[str, str]) -> dict[str, Any]:
    """The deployment `verify/weekly`."""
    return dict(request(server, "GET", "/deployments/name/verify/weekly", {}))


def asked(server: dict[str, str]) -> str:
    """The id of a new run of it, due at once."""
    path = f"/deployments/{verification(server)['id']}/create_flow_run"
    return str(request(server, "POST", path, {"state": {"type": "SCHEDULED"}})["id"])


def state(server: dict[str, str], run: str) -> str:
    return str(request(server, "GET", f"/flow_runs/{run}", {})["state_name"])


def runs(server: dict[str, str]) -> Runs:
    return server_runs(server["PREFECT_API_URL"], 5)


def test_a_deleted_pool_comes_back_and_late_runs_are_done(
    tmp_path: Path, server: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("flows.recent_runs._PATIENCE_SECONDS", 60.0)
    place = versioned_workspace(tmp_path / "workspace")
    server = {**server, "PREFECT_HOME": str(tmp_path / "client"), "MLFLOW_TRACKING_URI": ""}
    deploy(server, place)
    assert dict(runs(server).pools).keys() == {"cpu", "gpu"}
    lost = asked(server)
    request(server, "DELETE", f"/work_pools/{POOL}", {})
    assert dict(runs(server).pools).keys() == {"gpu"}
    assert verification(server)["work_pool_name"] is None
    deploy(server, place)
    assert verification(server)["work_pool_name"] == POOL
    late = asked(server)
    worker = subprocess.Popen(
        [sys.executable, "-m", "flows.worker", "--pool", POOL], cwd=PROJECT, env=server, start_new_session=True
    )
    try:
        eventually(lambda: state(server, late) == "Completed")
        eventually(lambda: dict(runs(server).pools)[POOL] == "READY")
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)
    assert [run.state for run in runs(server).last][:1] == ["Completed"]
    # A run that waited in the pool has none any more: it stays, or the limit of its deployment, which skips what comes while one
    # runs, cancels it. The schedules, which are the server's, plan new ones.
    assert state(server, lost) in {"Scheduled", "Late", "Cancelled"}
    assert runs(server).planned > 0
