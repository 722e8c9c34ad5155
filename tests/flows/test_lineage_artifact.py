"""What a run shows of where its model comes from: DVC's revision, the commit, the training run with its page."""

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from flows import artifacts
from registry.lineage import MODEL_TAG
from stage.files import folder_sha256
from stage.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a lock file and a model, and an MLflow of its own."""
    place = Workspace(tmp_path)
    place.model.mkdir(parents=True)
    (place.model / "model_index.json").write_text("{}")
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return place


def shown(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What is published, by key."""
    found: dict[str, dict[str, Any]] = {}
    for kind in ("table", "link"):
        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", lambda **given: found.update({given["key"]: given}))
    artifacts.publish_lineage(place)
    mlflow.set_tracking_uri(None)
    return found


def facts(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["value"] for row in found["lineage"]["table"]}


def test_a_run_in_a_local_database_is_named(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(f"sqlite:///{place.root / 'mlflow.db'}")
    tags = {MODEL_TAG: folder_sha256(place.model)}
    run = client.create_run(client.create_experiment("trainings"), tags=tags).info.run_id
    found = shown(place, monkeypatch)
    assert facts(found)["MLflow run"] == run
    assert facts(found)["DVC revision"].endswith(hashlib.md5(b"schema: '2.0'\n").hexdigest())
    assert "mlflow-run" not in found, "a database has no pages"
    (place.model / "unet.bin").write_text("other weights")
    # Looking it up, MLflow's library took the variable away again.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place.root / 'mlflow.db'}")
    assert facts(shown(place, monkeypatch))["MLflow run"] == "none with these weights"


def test_a_run_on_a_server_has_a_link_without_password(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@mlflow.example:5000/")
    run = SimpleNamespace(info=SimpleNamespace(experiment_id="7"))
    monkeypatch.setattr("registry.register.training_run", lambda *_: "abc")
    monkeypatch.setattr(MlflowClient, "get_run", lambda *_: run)
    found = shown(place, monkeypatch)
    assert found["mlflow-run"]["link"] == "http://mlflow.example:5000/#/experiments/7/runs/abc"
    assert "secret" not in str(found)


def test_a_registry_that_is_away_fails_nothing(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = shown(place, monkeypatch)
    assert facts(found)["MLflow run"].startswith("unknown: MLflow at http://127.0.0.1:1")


def test_before_any_training_there_is_the_revision_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(shown(Workspace(tmp_path), monkeypatch))
    assert (found["DVC revision"], found["model"]) == ("no dvc.lock", "none is trained yet")
