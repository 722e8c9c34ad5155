"""Deleting what `upkeep.retention_registry` found: versions, runs, logged models, and artifacts of nobody.

A run goes in three steps, each of which may be repeated: into MLflow's bin, its artifacts, its row. The last needs the database:
where a server is between, rows stay in its bin until `viewforge gc` or `mlflow gc` runs beside it (docs/retention.md).
"""

import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import FileInfo, LifecycleStage
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from registry.claims import claimed
from registry.client import holders
from stage.errors import InputError
from upkeep.retention_item import Item, newest_change, size_of
from upkeep.retention_registry import Holdings, is_needed

_RUN = re.compile(r"^[0-9a-f]{32}$")
_MODEL = re.compile(r"^m-[0-9a-f]{32}$")
_MODELS = "models"
_SQLITE = "sqlite:///"


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
        """Delete it, unless it got an alias, a decision or the tag `keep` meanwhile.

        Raises:
            InputError: when it did.
        """
        model, _, number = item.name.rpartition("/")
        client = self._holdings.client
        with claimed(client, model):
            if number in holders(client, model).values():
                raise InputError(f"version {number} of {model} has an alias now", "nothing need be done")
            if is_needed(client.get_model_version(model, number)):
                raise InputError(f"version {number} of {model} is needed now", "nothing need be done")
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
        """Delete it, unless it runs again, or another workspace registered it meanwhile.

        Raises:
            InputError: when that is so.
        """
        client = self._holdings.client
        run = client.get_run(item.name)
        if self._holdings.is_run_needed_now(run):
            raise InputError(f"the run {item.name} is needed now", "nothing need be done")
        if run.info.lifecycle_stage != LifecycleStage.DELETED:
            client.delete_run(item.name)
        _delete_artifacts(run.info.artifact_uri, item.name)
        if self._rows:
            self._rows._hard_delete_run(item.name)


class ModelCollector:
    """Logged models of no version, with their artifacts."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings, self._rows = holdings, _database()

    def find(self) -> Iterator[Item]:
        """Those that are old; of deleted ones, which MLflow lists nowhere, those whose rows can be had here."""
        days = self._holdings.parameters.days
        for model in (*self._holdings.spare_models(), *self._deleted.values()):
            size = _artifact_bytes(get_artifact_repository(model.artifact_location))
            why = "deleted" if model.model_id in self._deleted else "of no version"
            yield Item("logged model", str(model.model_id), size, f"{why}, over {days} days old")

    def delete(self, item: Item) -> None:
        """Delete it, unless it was registered meanwhile.

        Raises:
            InputError: when it was.
        """
        client, deleted = self._holdings.client, self._deleted.get(item.name)
        model = deleted or client.get_logged_model(item.name)
        if self._holdings.is_model_needed_now(model):
            raise InputError(f"the logged model {item.name} is needed now", "nothing need be done")
        _delete_artifacts(model.artifact_location, item.name)
        if not deleted:
            client.delete_logged_model(item.name)
        if self._rows:
            self._rows._hard_delete_logged_model(item.name)

    @cached_property
    def _deleted(self) -> dict[str, Any]:
        """Deleted models of the experiment by their ids: left by a kill, or by a deletion behind a server."""
        ids = self._rows._get_deleted_logged_models() if self._rows and self._holdings.experiment else ()
        models = (self._rows.get_logged_model(model_id, allow_deleted=True) for model_id in ids)
        ours = [model for model in models if model.experiment_id == self._holdings.experiment.experiment_id]
        return {model.model_id: model for model in ours if self._holdings.is_spare_model(model)}


class OrphanCollector:
    """Folders among the artifacts that belong to no run and no logged model, where the disk tells their age.

    A database that was lost, or came back from an older backup, knows nothing of good artifacts: what is young, or older than the
    experiment itself, is no orphan. Behind a server or in an object store nobody here knows an age, and none is looked for.
    """

    def __init__(self, holdings: Holdings) -> None:
        # Before the runs are listed: a run is known before its artifacts are there, so none that is new looks like an orphan.
        self._holdings, self._root = holdings, _local_folder(holdings)
        self._found = list(_folders(self._root)) if self._root else []

    def find(self) -> Iterator[Item]:
        """Old folders, named as runs and models are, of none of them."""
        known = {run.info.run_id for run in self._holdings.runs}
        known |= {model.model_id for model in self._holdings.models}
        # What a version refers to is nobody's orphan, though somebody deleted the model or the run itself.
        known |= self._holdings.needed_models | self._holdings.needed_runs
        days = self._holdings.parameters.days
        for path in self._found:
            if path.name not in known and self._is_old(path):
                name = path.relative_to(str(self._root)).as_posix()
                yield Item("orphan", name, size_of(path), f"of no run and no logged model, over {days} days old")

    def delete(self, item: Item) -> None:
        """Delete it."""
        get_artifact_repository(self._holdings.experiment.artifact_location).delete_artifacts(item.name)

    def _is_old(self, path: Path) -> bool:
        changed = int(newest_change(path) * 1000)
        return self._holdings.is_old(changed) and changed >= self._holdings.experiment.creation_time


def _local_folder(holdings: Holdings) -> Path | None:
    """The folder of the experiment's artifacts; None where they are not on this disk."""
    if holdings.experiment is None:
        return None
    location = holdings.experiment.artifact_location
    return Path(local_file_uri_to_path(location)) if is_local_uri(location) else None


def _folders(root: Path) -> Iterator[Path]:
    for folder, pattern in ((root, _RUN), (root / _MODELS, _MODEL)):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink() and pattern.match(path.name):
                yield path


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

    Raises:
        InputError: when it is no file, of which MLflow would make an empty database.
    """
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        uri = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE).partition("?")[0]).is_file():
        raise InputError(f"there is no database {uri}", "check MLFLOW_BACKEND_STORE_URI, or leave it out")
    return SqlAlchemyStore(uri, "mlflow-artifacts:/") if uri else None
