"""A person approves in Prefect: with a server of its own, a run that waits and a deployment's run that is suspended."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from prefect_server import PATIENCE, eventually, prefect_server, request
from promotion_drill import MODEL, registry_of_three

from flows.events import WAITS
from registry.parameters import RegisterParameters
from registry.promote import promote
from stage.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROJECT = Path(__file__).resolve().parents[2]
DRILL = Path(__file__).with_name("approval_drill.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a Prefect server of its own is known."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as environment:
        yield environment


@pytest.fixture
def awaiting(tmp_path: Path, empty_database: Path) -> Iterator[Workspace]:
    """A workspace whose third version passed its gate and waits for a person."""
    workspace = Workspace(tmp_path / "workspace")
    shutil.copytree(PROJECT / "mlflow", workspace.mlflow, ignore=shutil.ignore_patterns("*.db*", "artifacts"))
    shutil.copy(empty_database, workspace.mlflow / "mlflow.db")
    workspace.parameters.write_text("register: {approval: required}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        registry_of_three(workspace)
        assert promote(RegisterParameters(approval="required"), workspace).outcome == "awaiting approval"
        yield workspace
    mlflow.set_tracking_uri(None)


def runs(server: dict[str, str], workspace: Workspace) -> list[dict[str, Any]]:
    found = request(server, "POST", "/flow_runs/filter", {})
    return [run for run in found if run["parameters"] == {"root": str(workspace.root)}]


def answer(server: dict[str, str], workspace: Workspace, state: str, word: dict[str, Any]) -> None:
    """Fill in the form of the run that is in this state, as Prefect's page does."""
    (run,) = eventually(lambda: [r for r in runs(server, workspace) if r["state_name"] == state])
    outcome = request(server, "POST", f"/flow_runs/{run['id']}/resume", {"run_input": word})
    assert outcome["status"] == "ACCEPT", outcome


def told(server: dict[str, str], run: dict[str, Any]) -> list[str]:
    """The events about a run in their order, each that anybody sent."""
    of_run = {"resource": {"id": [f"prefect.flow-run.{run['id']}"]}, "order": "ASC"}
    return [event["event"] for event in request(server, "POST", "/events/filter", {"filter": of_run})["events"]]


def champion() -> str:
    return str(MlflowClient().get_registered_model(MODEL).aliases["champion"])


def test_a_run_waits_for_the_form_and_does_what_it_says(server: dict[str, str], awaiting: Workspace):
    command = [sys.executable, DRILL, "run", str(awaiting.root)]
    with subprocess.Popen(command, env=server) as process:
        answer(server, awaiting, "Paused", {"approve": False, "reason": "the handles vanish", "by": "ada"})
        assert process.wait(PATIENCE) == 0
    decision = json.loads((awaiting.root / "promotion.json").read_text())
    assert (decision["outcome"], champion()) == ("rejected", "2")
    assert decision["reasons"][0] == "rejected by ada: the handles vanish"


def test_a_deployments_run_is_suspended_and_started_again(server: dict[str, str], awaiting: Workspace):
    command = [sys.executable, DRILL, "serve", str(awaiting.root)]
    process = subprocess.Popen(command, env=server, start_new_session=True)
    try:
        deployment = eventually(lambda: request(server, "POST", "/deployments/filter", {}))[0]
        # Its SQLite answers 503 when the runner writes at the same time.
        path, once = f"/deployments/{deployment['id']}/create_flow_run", {"idempotency_key": "drill"}
        eventually(lambda: request(server, "POST", path, once))
        (run,) = eventually(lambda: [r for r in runs(server, awaiting) if r["state_name"] == "Suspended"])
        # Its last word, lest a sign of life that came late make its silence look like a death.
        eventually(lambda: told(server, run)[-1] == WAITS)
        assert "prefect.flow-run.Suspended" in told(server, run)
        answer(server, awaiting, "Suspended", {"approve": True, "reason": "looked at all", "by": "ada"})
        eventually(lambda: runs(server, awaiting)[0]["state_type"] == "COMPLETED")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    decision = json.loads((awaiting.root / "promotion.json").read_text())
    assert (decision["outcome"], champion()) == ("promoted", "3")
