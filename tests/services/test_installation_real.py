"""`viewforge up` and `viewforge down` with Prefect, MLflow and workers as they are."""

import os
import signal

import httpx
import psutil
import pytest
from prefect_server import PROJECT, eventually, free_port, request
from standing_in import bearing

from services import ports, state
from services.installation import overview
from stage.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(1)]
PATIENCE = 600


@pytest.fixture
def place(tmp_path, viewforge):
    place = Workspace(tmp_path / "workspace")
    place.root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (place.root / name).write_bytes((PROJECT / name).read_bytes())
    yield place
    viewforge("down", "-w", place.root, "--grace", "0", timeout=PATIENCE)
    assert bearing(place) == []


def runs_of(server):
    return {found["id"]: found for found in request(server, "POST", "/flow_runs/filter", {})}


def test_an_installation_works_is_mended_and_leaves_nothing(place, viewforge):
    prefect, mlflow = free_port(), free_port()
    asked = ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow), "--patience", str(PATIENCE)]
    result = viewforge("up", "-w", place.root, *asked, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert f"export PREFECT_API_URL=http://127.0.0.1:{prefect}/api\n" in result.stdout
    assert f"export MLFLOW_TRACKING_URI=http://127.0.0.1:{mlflow}\n" in result.stdout
    statuses = {status.name: status for status in overview(place)}
    assert list(statuses) == ["supervisor", "prefect", "mlflow", "worker-cpu", "worker-gpu"]
    assert all(status.healthy for status in statuses.values())

    server = {"PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api"}
    assert {pool["name"] for pool in request(server, "POST", "/work_pools/filter", {})} == {"cpu", "gpu"}
    # A server that was killed comes back with what it knew.
    os.kill(statuses["prefect"].pid, signal.SIGKILL)
    eventually(lambda: overview(place)[1].deaths == 1 and overview(place)[1].healthy, PATIENCE)
    assert overview(place)[1].pid != statuses["prefect"].pid
    again = viewforge("up", "-w", place.root, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    assert "runs already" in again.stdout

    deployment = request(server, "GET", "/deployments/name/verify/weekly", {})
    run = request(server, "POST", f"/deployments/{deployment['id']}/create_flow_run", {})["id"]
    eventually(lambda: runs_of(server)[run]["state_type"] in {"RUNNING", "COMPLETED"}, PATIENCE)
    eventually(lambda: runs_of(server)[run]["state_type"] == "COMPLETED", PATIENCE)
    assert httpx.get(f"http://127.0.0.1:{mlflow}/version", timeout=60, trust_env=False).status_code == 200

    family = [*bearing(place), *children_of(state.read(place))]
    assert len(family) >= 6
    result = viewforge("down", "-w", place.root, timeout=PATIENCE)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "ended"), result.stderr
    _, alive = psutil.wait_procs(family, 5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert all(ports.is_free("127.0.0.1", port) for port in (prefect, mlflow))
    assert viewforge("down", "-w", place.root).stdout == "nothing runs here\n"


def children_of(known: state.State) -> list[psutil.Process]:
    return [
        child for service in known.services for child in psutil.Process(service.process.pid).children(recursive=True)
    ]
