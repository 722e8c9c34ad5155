"""Deleting what `upkeep.retention_registry` found: versions, runs, logged models, and artifacts of nobody.

A run goes in three steps, each of which may be repeated: into MLflow's bin, its artifacts, its row. The last needs the database:
where a server is between, rows stay in its bin until `viewforge gc` or `mlflow gc` runs beside it (docs/retention.md).
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import mlflow
from mlflow.entities import FileInfo, LifecycleStage
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from registry.claims import claimed
from registry.client import holders
from stage.errors import InputError
from upkeep.retention_item import Item
from upkeep.retention_registry import Holdings

_RUN = re.compile(r"^[0-9a-f]{32}$")
_MODEL = re.compile(r"^m-[0-9a-f]{32}$")
_MODELS = "models"


class VersionCollector:
    """Versions beyond the number that is kept."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    def find(self) -> Iterator[Item]:
        """Old versions; what they are made of is counted with their runs and models."""
        for version in self._holdings.old_versions:
            why = f"older than the newest {self._holdings.parameters.versions}, never champion"
            yield Item("version", f"{version.name}/{version.version}", 0, why)

    def delete(self, item: Item) -> None:
        """Delete it, unless it got an alias meanwhile.

        Raises:
            InputError: when it did.
        """
        model, _, number = item.name.rpartition("/")
        client = self._holdings.client
        with claimed(client, model):
            if number in holders(client, model).values():
                raise InputError(f"version {number} of {model} has an alias now", "nothing need be done")
            client.delete_model_version(model, number)


class RunCollector:
    """Runs that nobody needs, with their artifacts."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings, self._rows = holdings, _database()

    def find(self) -> Iterator[Item]:
        """Old runs; of deleted ones, whose rows cannot be had here, those that still have artifacts."""
        days = self._holdings.parameters.days
        for run in self._holdings.spare_runs():
            size = _artifact_bytes(get_artifact_repository(run.info.artifact_uri))
            in_bin = run.info.lifecycle_stage == LifecycleStage.DELETED
            if not in_bin or size or self._rows:
                why = f"{'deleted' if in_bin else 'of no version'}, ended over {days} days ago"
                yield Item("run", run.info.run_id, size, why)

    def delete(self, item: Item) -> None:
        """Delete it, unless it runs again.

        Raises:
            InputError: when it does.
        """
        client = self._holdings.client
        run = client.get_run(item.name)
        if run.info.status == "RUNNING":
            raise InputError(f"the run {item.name} goes on", "let it end")
        if run.info.lifecycle_stage != LifecycleStage.DELETED:
            client.delete_run(item.name)
        _delete_artifacts(run.info.artifact_uri, item.name)
        if self._rows:
            self._rows._hard_delete_run(item.name)


class ModelCollector:
    """Logged models of no version."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings, self._rows = holdings, _database()

    def find(self) -> Iterator[Item]:
        """Those that are old."""
        days = self._holdings.parameters.days
        for model in self._holdings.spare_models():
            size = _artifact_bytes(get_artifact_repository(model.artifact_location))
            yield Item("logged model", str(model.model_id), size, f"of no version, over {days} days old")

    def delete(self, item: Item) -> None:
        """Delete it."""
        location = self._holdings.client.get_logged_model(item.name).artifact_location
        _delete_artifacts(location, item.name)
        self._holdings.client.delete_logged_model(item.name)
        if self._rows:
            self._rows._hard_delete_logged_model(item.name)


class OrphanCollector:
    """Folders among the artifacts that belong to no run and no logged model.

    They are listed before the runs are: a run is known before its artifacts are there, so none that is new looks like an orphan.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings, self._found = holdings, list(_folders(holdings))

    def find(self) -> Iterator[Item]:
        """Folders named as runs and models are, of none of them."""
        known = {run.info.run_id for run in self._holdings.runs}
        known |= {model.model_id for model in self._holdings.models}
        for path in self._found:
            if path.rpartition("/")[2] not in known:
                yield Item("orphan", path, _artifact_bytes(self._repository(), path), "of no run and no logged model")

    def delete(self, item: Item) -> None:
        """Delete it."""
        self._repository().delete_artifacts(item.name)

    def _repository(self) -> ArtifactRepository:
        return get_artifact_repository(self._holdings.experiment.artifact_location)


def _folders(holdings: Holdings) -> Iterator[str]:
    if holdings.experiment is None:
        return
    repository = get_artifact_repository(holdings.experiment.artifact_location)
    for pattern, folder in ((_RUN, None), (_MODEL, _MODELS)):
        for entry in _listed(repository, folder):
            if entry.is_dir and pattern.match(entry.path.rpartition("/")[2]):
                yield entry.path


def _listed(repository: ArtifactRepository, path: str | None) -> Iterable[FileInfo]:
    return repository.list_artifacts(path) or ()


def _artifact_bytes(repository: ArtifactRepository, path: str | None = None) -> int:
    return sum(
        _artifact_bytes(repository, entry.path) if entry.is_dir else int(entry.file_size or 0)
        for entry in _listed(repository, path)
    )


def _delete_artifacts(uri: str, owner: str) -> None:
    """Delete the folder that holds a run's or model's artifacts, and nothing that is not named after it."""
    folder, found, _ = uri.rpartition(f"/{owner}")
    if not found:
        raise InputError(f"the artifacts of {owner} lie in {uri}, which is not named after it", "delete them by hand")
    get_artifact_repository(f"{folder}/{owner}").delete_artifacts()


def _database() -> Any:  # noqa: ANN401 - MLflow's store, which has no public type for this
    """MLflow's own store on the database, where this process may use it; None behind a server.

    `mlflow gc` deletes rows by the same calls, but takes every deleted experiment of the database with it.
    """
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        uri = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
    return SqlAlchemyStore(uri, "mlflow-artifacts:/") if uri else None
