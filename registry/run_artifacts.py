"""What a version leads to, its model and folders among its run's artifacts: had, gone for good, or out of reach at the moment."""

import posixpath
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from stage.errors import InputError

RESTORE = "restore its artifacts"
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_REMEDY = "check its server, its artifacts and the room here, and run it again"


class OutOfReachError(InputError):
    """Artifacts that are there, as far as is known, and cannot be had at the moment: another attempt may have them."""


def fetch_folder(client: MlflowClient, run_id: str, place: str, folder: Path) -> Path | None:
    """Download a folder of a run's artifacts.

    `MlflowClient.download_artifacts` says of whatever goes wrong that there are none, so their store itself is asked.

    Args:
        client: MLflow's.
        run_id: of the run.
        place: the folder among its artifacts, at least two names long.
        folder: where to download it to.

    Returns:
        Where it lies now; None where the run, or the folder among its artifacts, is gone.

    Raises:
        OutOfReachError: when MLflow or whoever keeps its artifacts does not answer, or not to the end, or there is no room.
    """
    try:
        uri = _artifact_uri(client, run_id)
        repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri) if uri else None
        parent = posixpath.dirname(place)
        if repository is None or place not in {entry.path for entry in repository.list_artifacts(parent) or ()}:
            return None
        return Path(repository.download_artifacts(place, str(folder)))
    except (MlflowException, OSError) as error:
        raise OutOfReachError(
            f"{place} of the run {run_id} cannot be had from MLflow at {client.tracking_uri}: {_reason(error)}",
            _REMEDY,
        ) from error


def fetch_model(version: ModelVersion, folder: Path) -> Path:
    """Download the model of a registered version; an empty folder where its store has nothing.

    Args:
        version: that.
        folder: an empty one to download to.

    Raises:
        OutOfReachError: as `fetch_folder`.
        InputError: when MLflow knows no such version or model any more.
    """
    uri = f"models:/{version.name}/{version.version}"
    try:
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        absent = isinstance(error, MlflowException) and error.error_code == _ABSENT
        kind, remedy = (InputError, RESTORE) if absent else (OutOfReachError, _REMEDY)
        raise kind(f"{pipeline_name(version)} cannot be had ({_reason(error)})", remedy) from None


def pipeline_name(version: ModelVersion) -> str:
    """What errors call it."""
    return f"the pipeline of {version.name} version {version.version}"


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _artifact_uri(client: MlflowClient, run_id: str) -> str | None:
    """Where a run's artifacts are; None where there is no such run."""
    try:
        return str(client.get_run(run_id).info.artifact_uri)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
    return None
