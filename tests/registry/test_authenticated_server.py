"""A real MLflow server with names and passwords: who is let in, and what of ours works through it.

Its artifacts are in a store of which it alone has the key.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import mlflow
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from object_store import s3_server
from prefect_server import PROJECT, eventually, free_port

from registry.client import open_registry
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from registry.version_records import logged_model_id
from services.mlflow_server import mlflow_service
from services.service import Service
from stage.errors import InputError
from stage.workspace import Workspace
from training.tracking.journal import Journal
from training.tracking.journals import flush, journals_folder
from training.tracking.mlflow_place import experiment_id, use_mlflow
from upkeep.retention import collect
from upkeep.retention_parameters import RetentionParameters

pytestmark = pytest.mark.slow
PARAMETERS = RegisterParameters()
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """An S3-speaking store's bucket, as who has the key sees it."""
    with s3_server() as (host, port):
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        made = boto3.resource("s3", endpoint_url=f"http://{host}:{port}", **keys).Bucket("team")
        made.create()
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, bucket: Any) -> Iterator[Service]:
    """A server of an installation of its own that asks everybody for a password."""
    place = Workspace(tmp_path_factory.mktemp("installation"))
    place.mlflow.mkdir()
    shutil.copy(empty_database, place.mlflow / "mlflow.db")
    asked = "authentication: {required: always}\nmost_artifact_gib: 1\nartifacts_destination: s3://team/mlflow\n"
    (place.mlflow / "server.yaml").write_text(asked)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)
        service = mlflow_service(place, "127.0.0.1", free_port())
    assert PASSWORD not in " ".join(service.command)
    environment = {**os.environ, **service.environment, "PYTHONPATH": str(PROJECT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment["MLFLOW_S3_ENDPOINT_URL"] = bucket.meta.client.meta.endpoint_url
    environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-m", "stage.lifeline", *service.command]
    process = subprocess.Popen(
        command, env=environment, cwd=place.root, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: httpx.get(str(service.health), timeout=2, trust_env=False).status_code == 200)
        yield service
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def reached(server: Service, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace that knows the server, and has not one secret of its store."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_S3_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(server.address))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    mlflow.set_tracking_uri(str(server.address))
    return workspace


def _asked(server: Service, path: str, **options: object) -> int:
    return httpx.get(f"{server.address}{path}", timeout=20, trust_env=False, **options).status_code  # type: ignore[arg-type]


def test_strangers_are_told_that_it_lives_and_nothing_else(server: Service):
    assert _asked(server, "/health") == 200
    for path in (
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/api/2.0/mlflow-artifacts/artifacts?path=",
        "/api/2.0/mlflow/registered-models/search",
    ):
        assert _asked(server, path) == 401, path
        assert _asked(server, path, auth=("admin", "password1234")) == 401, path
        assert _asked(server, path, auth=("admin", PASSWORD)) == 200, path


def test_another_host_or_origin_is_refused(server: Service):
    path, auth = "/api/2.0/mlflow/experiments/search?max_results=1", ("admin", PASSWORD)
    assert _asked(server, path, auth=auth, headers={"Host": "evil.example"}) == 403
    host = str(server.address).removeprefix("http://").replace("127.0.0.1", "localhost")
    assert _asked(server, path, auth=auth, headers={"Host": host}) == 200
    answer = httpx.post(
        f"{server.address}/api/2.0/mlflow/experiments/create",
        json={"name": "theirs"},
        headers={"Origin": "https://evil.example"},
        auth=auth,
        trust_env=False,
        timeout=20,
    )
    assert answer.status_code == 403


def test_what_is_too_long_is_refused_before_it_has_come_or_anybody_says_who_sends_it(server: Service):
    for method, path, length in (
        ("POST", "/api/2.0/mlflow/runs/create", 32 * 2**20 + 1),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/weights", 2**30 + 1),
    ):
        connection = HTTPConnection(str(server.address).removeprefix("http://"), timeout=20)
        connection.putrequest(method, path)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        assert connection.getresponse().status == 413, path
        connection.close()
    # A request of no length is refused as soon as it is too long.
    answer = httpx.post(
        f"{server.address}/api/2.0/mlflow/runs/create", content=iter([bytes(2**20)] * 33), trust_env=False, timeout=20
    )
    assert answer.status_code == 413


def test_registering_promoting_serving_and_journals_go_through_it(reached: Workspace, server: Service, bucket: Any):
    journal = Journal(journals_folder(reached) / "one")
    start = {"journal": "a", "name": "train", "place": use_mlflow(reached), "time": 1}
    journal.append({"kind": "start", **start})
    journal.append({"kind": "end", "status": "FINISHED", "time": 2})
    journal.close()
    assert flush(reached, 30.0).sent == 1
    version = register(PARAMETERS, reached)
    assert str(version.source).startswith("models:/")
    decision = promote(PARAMETERS, reached, str(version.version))
    assert decision.promoted, decision.reasons
    client = MlflowClient()
    assert client.get_run(version.run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
    served = mlflow.pyfunc.load_model(f"models:/{PARAMETERS.model_name}@champion")
    image, poses = np.ones((1, 16, 16, 3), np.float32), np.array([[0, 0, 1, 0]], np.float32)
    assert served.predict({"image": image, "poses": poses}, params={"num_inference_steps": 1}).shape == (1, 16, 16, 3)
    # In the server's store, and on no disk.
    kept = {entry.key for entry in bucket.objects.all()}
    weights = f"mlflow/{client.get_run(version.run_id).info.experiment_id}/models/{logged_model_id(version)}"
    assert any(key.startswith(weights) for key in kept)
    assert any(f"/{version.run_id}/artifacts/figures/" in key for key in kept)
    assert not (reached.mlflow / "artifacts").exists()


def test_old_runs_are_collected_through_it_to_the_last_artifact(reached: Workspace, server: Service, bucket: Any):
    client = MlflowClient()
    experiment = experiment_id(reached)
    run = client.create_run(experiment, start_time=1).info.run_id
    client.log_text(run, "x" * 100, "notes/one.txt")
    client.set_terminated(run, end_time=2)
    referred = register(PARAMETERS, reached).run_id
    listed = collect(reached, RetentionParameters())
    # Beside what other tests left in this database.
    assert ("run", run, 100) in {(i.kind, i.name, i.bytes) for i in listed.found}
    assert listed.left == []
    assert collect(reached, RetentionParameters(), delete=True).deleted == listed.found
    # Its row is the server's to delete, and waits in the bin.
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert client.list_artifacts(run) == []
    assert not [entry.key for entry in bucket.objects.all() if run in entry.key]
    assert client.get_run(referred).info.lifecycle_stage == "active"
    assert collect(reached, RetentionParameters(), delete=True).found == []


def test_rows_in_the_server_s_bin_go_where_its_database_is_at_hand(
    reached: Workspace, server: Service, monkeypatch: pytest.MonkeyPatch
):
    client = MlflowClient()
    run = client.create_run(experiment_id(reached), start_time=1).info.run_id
    client.set_terminated(run, end_time=2)
    model = str(client.create_logged_model(experiment_id(reached), "forgotten").model_id)
    clock = SimpleNamespace(time=lambda: time.time() + 40 * 86_400)
    monkeypatch.setattr("upkeep.retention_registry.time", clock)
    binned = collect(reached, RetentionParameters(), delete=True)
    assert {("run", run), ("logged model", model)} <= {(i.kind, i.name) for i in binned.deleted}
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert collect(reached, RetentionParameters(), delete=True).found == []
    store = server.environment["MLFLOW_BACKEND_STORE_URI"]
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", store)
    listed = collect(reached, RetentionParameters())
    assert {("run", run), ("logged model", model)} <= {(i.kind, i.name) for i in listed.found}
    assert _rows(store, run, model) == 2
    assert collect(reached, RetentionParameters(), delete=True).deleted == listed.found
    assert _rows(store, run, model) == 0
    assert collect(reached, RetentionParameters(), delete=True).found == []


def _rows(store: str, run: str, model: str) -> int:
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database:
        runs = database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (run,)).fetchall()
        return len([*runs, *database.execute("SELECT 1 FROM logged_models WHERE model_id = ?", (model,))])


def test_a_wrong_password_is_one_line_that_names_the_variables_and_not_the_password(
    reached: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "canary-of-a-password")
    with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD") as caught, open_registry(reached) as client:
        client.search_registered_models()
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        register(PARAMETERS, reached)
    assert "canary" not in str(caught.value)
