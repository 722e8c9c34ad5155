"""Where a workspace's MLflow is: the server that the environment names, or a local database."""

import os
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

from stage.workspace import Workspace

EXPERIMENT = "viewforge"
# `set_tracking_uri` writes MLFLOW_TRACKING_URI, which the next workspace of this process must not take for a server.
_OWN: set[str] = set()


def use_mlflow(workspace: Workspace) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI`, or at SQLite under the workspace's `mlflow/`; the URI."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri or uri in _OWN:
        uri = f"sqlite:///{workspace.mlflow.resolve() / 'mlflow.db'}"
        _OWN.add(uri)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    return uri


def bound_requests(seconds: int) -> None:
    """Let no request of this process last longer, nor be tried again by MLflow itself: a journal does that.

    What the environment says already stays.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(seconds))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def experiment_id(workspace: Workspace) -> str:
    """The experiment of all runs, made on first use, with its artifacts beside the local database."""
    client = MlflowClient()
    existing = client.get_experiment_by_name(EXPERIMENT)
    if existing:
        return str(existing.experiment_id)
    local = mlflow.get_tracking_uri().startswith("sqlite:///")
    location = (workspace.mlflow.resolve() / "artifacts").as_uri() if local else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))
