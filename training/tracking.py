"""Experiment tracking: one small protocol, of which MLflow is the implementation and silence the alternative."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from stage.workspace import Workspace

EXPERIMENT = "viewforge"
_LONGEST_PARAMETER = 500
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


def experiment_id(workspace: Workspace) -> str:
    """The experiment of all runs, made on first use, with its artifacts beside the local database."""
    client = MlflowClient()
    existing = client.get_experiment_by_name(EXPERIMENT)
    if existing:
        return str(existing.experiment_id)
    local = mlflow.get_tracking_uri().startswith("sqlite:///")
    location = (workspace.mlflow.resolve() / "artifacts").as_uri() if local else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))


class Tracker(Protocol):
    """Where a training run reports."""

    def parameters(self, values: Mapping[str, object]) -> None:
        """Note what the run was asked to do."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note figures of a step."""

    def tag(self, key: str, value: str) -> None:
        """Label the run."""

    def finish(self) -> None:
        """Mark the run as successful."""

    def fail(self) -> None:
        """Mark the run as failed."""


class Silence:
    """A tracker for the processes of a distributed run that do not report."""

    def parameters(self, values: Mapping[str, object]) -> None:
        """Nothing."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def tag(self, key: str, value: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def fail(self) -> None:
        """Nothing."""


class MlflowRun:
    """A run in MLflow that a killed and restarted training continues.

    Args:
        workspace: whose MLflow is used.
        name: display name.
        note: file that remembers the run's id between attempts.
    """

    def __init__(self, workspace: Workspace, name: str, note: Path) -> None:
        use_mlflow(workspace)
        self._client = MlflowClient()
        self.run_id = self._continued(note) or self._created(workspace, name, note)

    def _continued(self, note: Path) -> str | None:
        if not note.is_file():
            return None
        found = self._client.search_runs(
            [e.experiment_id for e in self._client.search_experiments()], f"attributes.run_id = '{note.read_text()}'"
        )
        if not found:
            return None
        run_id = str(found[0].info.run_id)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _created(self, workspace: Workspace, name: str, note: Path) -> str:
        run = self._client.create_run(experiment_id(workspace), run_name=name)
        note.write_text(run.info.run_id)
        return str(run.info.run_id)

    def parameters(self, values: Mapping[str, object]) -> None:
        """Note what the run was asked to do; a continued run has them already."""
        known = self._client.get_run(self.run_id).data.params
        new = [Param(k, str(v)[:_LONGEST_PARAMETER]) for k, v in values.items() if k not in known]
        for start in range(0, len(new), 100):
            self._client.log_batch(self.run_id, params=new[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Note figures of a step."""
        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(k, v, now, step) for k, v in values.items()])

    def tag(self, key: str, value: str) -> None:
        """Label the run."""
        self._client.log_batch(self.run_id, tags=[RunTag(key, value)])

    def finish(self) -> None:
        """Mark the run as successful."""
        self._client.set_terminated(self.run_id)

    def fail(self) -> None:
        """Mark the run as failed."""
        self._client.set_terminated(self.run_id, "FAILED")


def flattened(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested parameters as one level of dotted keys."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
