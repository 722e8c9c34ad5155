"""Folders among a run's artifacts that tags of its version lead to: had, gone for good, or out of reach at the moment."""

import posixpath
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from stage.errors import InputError


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
        InputError: when MLflow or whoever keeps its artifacts does not answer, or not to the end, or there is no room.
    """
    try:
        uri = _artifact_uri(client, run_id)
        repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri) if uri else None
        parent = posixpath.dirname(place)
        if repository is None or place not in {entry.path for entry in repository.list_artifacts(parent) or ()}:
            return None
        return Path(repository.download_artifacts(place, str(folder)))
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{place} of the run {run_id} cannot be had from MLflow at {client.tracking_uri}: {reason}",
            "check its server, its artifacts and the room here, and run it again",
        ) from error


def _artifact_uri(client: MlflowClient, run_id: str) -> str | None:
    """Where a run's artifacts are; None where there is no such run."""
    try:
        return str(client.get_run(run_id).info.artifact_uri)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return None
